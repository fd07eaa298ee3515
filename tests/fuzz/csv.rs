//! Any bytes as a CSV file of flags: no panic, row numbers that go up, and faults that name a field.
#![no_main]

use std::io::Cursor;
use std::sync::LazyLock;

use canhbao::domain::directory::Directory;
use canhbao::domain::import::{Defaults, ImportForm};
use canhbao::sheet::Sheet;
use libfuzzer_sys::fuzz_target;

static DIRECTORY: LazyLock<Directory> =
    LazyLock::new(|| Directory::built_in().expect("the built-in directory parses"));

fuzz_target!(|data: &[u8]| {
    for charset in [None, Some("windows-1258")] {
        let Ok(mut sheet) = Sheet::open(Cursor::new(data.to_vec()), ImportForm::Csv, charset) else { continue };
        let mut last = 0;
        while let Ok(Some(row)) = sheet.next_row() {
            assert!(row.number > last);
            last = row.number;
            if let Err(fault) = row.input.read(&Defaults::default(), &DIRECTORY) {
                assert!(!fault.reason.is_empty());
            }
        }
    }
});
