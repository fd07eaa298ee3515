//! Any bytes as the JSON of a subject: what is accepted must survive its normal forms.
#![no_main]

use std::sync::LazyLock;

use canhbao::domain::directory::Directory;
use canhbao::domain::subject::Subject;
use canhbao::domain::subject_input::SubjectInput;
use libfuzzer_sys::fuzz_target;

static DIRECTORY: LazyLock<Directory> =
    LazyLock::new(|| Directory::built_in().expect("the built-in directory parses"));

fuzz_target!(|data: &[u8]| {
    if let Some(subject) = parse(data) {
        let canonical = subject.canonical();
        assert!(Subject::from_canonical(&canonical).as_ref() == Some(&subject));
        let json = serde_json::to_vec(&subject).expect("a subject serializes");
        assert!(parse(&json) == Some(subject));
    }
    if let Ok(text) = str::from_utf8(data)
        && let Some(subject) = Subject::from_canonical(text)
    {
        assert!(subject.canonical() == text);
    }
});

fn parse(json: &[u8]) -> Option<Subject> {
    let input: SubjectInput<'_> = serde_json::from_slice(json).ok()?;
    Subject::parse(&input, &DIRECTORY).ok()
}
