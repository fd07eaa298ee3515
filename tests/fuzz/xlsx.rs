//! Any bytes as an XLSX file of flags, or as the sheet in one: no panic, and row numbers that go up.
#![no_main]

use std::io::Cursor;
use std::sync::LazyLock;

use canhbao::domain::directory::Directory;
use canhbao::domain::import::{Defaults, ImportForm};
use canhbao::sheet::Sheet;
use libfuzzer_sys::fuzz_target;

const BOOK: &[u8] = br#"<workbook xmlns:r="r"><sheets><sheet name="1" sheetId="1" r:id="a"/></sheets></workbook>"#;
const LINKS: &[u8] = br#"<Relationships><Relationship Id="a" Target="sheet.xml"/></Relationships>"#;
const TEXTS: &[u8] = b"<sst><si><t>bank</t></si><si><t>number</t></si></sst>";

static DIRECTORY: LazyLock<Directory> =
    LazyLock::new(|| Directory::built_in().expect("the built-in directory parses"));

fuzz_target!(|data: &[u8]| {
    read(data.to_vec());
    read(package(&[
        ("xl/workbook.xml", BOOK),
        ("xl/_rels/workbook.xml.rels", LINKS),
        ("xl/sharedStrings.xml", TEXTS),
        ("xl/sheet.xml", data),
    ]));
});

fn read(bytes: Vec<u8>) {
    let Ok(mut sheet) = Sheet::open(Cursor::new(bytes), ImportForm::Xlsx, None) else { return };
    let mut last = 0;
    while let Ok(Some(row)) = sheet.next_row() {
        assert!(row.number > last);
        last = row.number;
        drop(row.input.read(&Defaults::default(), &DIRECTORY));
    }
}

/// A package whose parts are not packed.
fn package(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    let word = |number: usize| u32::try_from(number).expect("a fuzzer's input is short").to_le_bytes();
    let half = |number: usize| u16::try_from(number).expect("a name is short").to_le_bytes();
    for (name, bytes) in parts {
        let sizes = [&[0; 4][..], &word(bytes.len()), &word(bytes.len()), &half(name.len())].concat();
        directory.extend([b"PK\x01\x02\x14\0\x14\0\0\0\0\0\0\0\0\0", &sizes[..], &[0; 12], &word(out.len())].concat());
        directory.extend(name.as_bytes());
        out.extend([b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0", &sizes[..], &[0; 2], name.as_bytes(), bytes].concat());
    }
    let count = half(parts.len());
    let end = [b"PK\x05\x06\0\0\0\0", &count[..], &count, &word(directory.len()), &word(out.len()), &[0; 2]].concat();
    [out, directory, end].concat()
}
