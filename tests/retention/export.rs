//! An export of a log whose old entries are archived: with the archives it is verified like any other, and without them it
//! is not called bad.

use crate::registry::{Registry, assert_says};
use canhbao::log::{Entry, Exported, entries_of};
use std::fs;

/// What the server would export.
fn export(registry: &Registry, file: &str) {
    let database = registry.sql();
    let mut statement = database.prepare("SELECT place, entries FROM log_batch ORDER BY place").unwrap();
    let batches = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))).unwrap();
    let mut lines = String::new();
    for batch in batches {
        let (place, entries) = batch.unwrap();
        for (index, bytes) in (u64::try_from(place).unwrap()..).zip(entries_of(&entries)) {
            let bytes = bytes.unwrap();
            let entry = Entry::decode(bytes).unwrap();
            lines += &serde_json::to_string(&Exported { node: "main", index, entry: &entry, bytes }).unwrap();
            lines.push('\n');
        }
    }
    fs::write(registry.path(file), lines).unwrap();
}

#[tokio::test]
async fn an_export_of_an_archived_log_is_verified_with_the_archives() {
    let (registry, between) = Registry::with(600, 600).await;
    export(&registry, "whole");
    registry.archive(&between, "first").done();
    let (later, middle) = (registry.grow(600).await, registry.count("SELECT MIN(place) FROM log_batch"));
    registry.grow(300).await;
    registry.archive(&later, "second").done();
    registry.grow(5).await;
    export(&registry, "export");
    fs::write(registry.path("kept"), registry.checkpoint()).unwrap();
    let (first, size) =
        (registry.count("SELECT MIN(place) FROM log_batch"), registry.count("SELECT MAX(place + size) FROM log_batch"));
    let verify = |name: &str, more: &[&str]| registry.verify(name, &[&["--checkpoint", "kept"], more].concat());
    let both = ["--archive", "second", "--archive", "first"];

    verify("export", &[]).failed(3, &format!("begins with entry {first}, not with 0; give the archives"));
    verify("export", &["--archive", "first"]).failed(3, &format!("begins with entry {first}, not with {middle}"));
    verify("whole", &both).failed(2, "before the archives end");
    verify("export", &["--archive", "data/registry.db"]).failed(2, "no archive");
    let lines = fs::read_to_string(registry.path("export")).unwrap();
    fs::write(registry.path("changed"), lines.replacen("\"list_version\":0", "\"list_version\":1", 1)).unwrap();
    verify("changed", &both).failed(1, &format!("tampered with: entry {first}"));
    let cut = lines.lines().take(10).map(|line| format!("{line}\n")).collect::<String>();
    fs::write(registry.path("cut"), cut).unwrap();
    verify("cut", &both).failed(1, &format!("entry {}: it is missing", first + 10));

    assert_says(&verify("export", &both).done(), &[&format!("entries: 0 to before {size}"), "1 given"]);
    let begin = format!("entries: {middle} to before {size}");
    assert_says(&verify("export", &["--archive", "second"]).done(), &[&begin, "were not looked at"]);
}
