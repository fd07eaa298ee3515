//! Tables as people send and take them: CSV, XLSX and NDJSON, read row by row in bounded memory and written so that nothing
//! in them runs. Readers trust nothing: what is too long, too many, packed too tight or written in an unknown way is refused.

mod csv;
mod lines;
mod package;
mod quotes;
mod text;
pub mod write;
mod xlsx;

pub use text::is_charset;

use crate::domain::import::{FileFault, ImportForm, ROWS_MAX, RowInput};
use std::io::{Read, Seek};

/// One row of a file, with its number as a spreadsheet or an editor shows it.
#[derive(Debug)]
pub struct Row {
    pub number: u64,
    pub input: RowInput,
}

trait Rows: Send {
    /// The next row that is not blank; `None` at the end.
    fn next_row(&mut self) -> Result<Option<Row>, FileFault>;
}

/// The rows of one file.
pub struct Sheet {
    rows: Box<dyn Rows>,
    read: u64,
}

impl Sheet {
    /// `charset` is what the client says that the text is written in; a byte order mark goes before it.
    pub fn open(
        file: impl Read + Seek + Send + 'static,
        form: ImportForm,
        charset: Option<&str>,
    ) -> Result<Self, FileFault> {
        let rows: Box<dyn Rows> = match form {
            ImportForm::Csv => Box::new(csv::CsvRows::open(text::Utf8::of(file, charset)?)?),
            ImportForm::Ndjson => Box::new(lines::LineRows::open(text::Utf8::of(file, charset)?)),
            ImportForm::Xlsx => Box::new(xlsx::XlsxRows::open(file)?),
        };
        Ok(Self { rows, read: 0 })
    }

    pub fn next_row(&mut self) -> Result<Option<Row>, FileFault> {
        let row = self.rows.next_row()?;
        self.read += u64::from(row.is_some());
        if self.read > ROWS_MAX {
            return Err(fault("the file has more than 1,000,000 rows"));
        }
        Ok(row)
    }
}

fn fault(reason: impl Into<String>) -> FileFault {
    FileFault { row: None, field: None, reason: reason.into() }
}

/// What a reader below said. Its own words come through; the system's do not name a value either.
fn broken(error: &std::io::Error) -> FileFault {
    fault(format!("cannot be read: {error}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::domain::Directory;
    use crate::domain::import::Defaults;
    use proptest::prelude::*;
    use std::io::Cursor;
    use std::sync::LazyLock;

    static DIRECTORY: LazyLock<Directory> = LazyLock::new(|| Directory::built_in().unwrap());
    const HEADER: [&str; 6] = ["bank", "number", "verdict", "category", "case", "reason"];
    const FORMS: [ImportForm; 3] = [ImportForm::Csv, ImportForm::Xlsx, ImportForm::Ndjson];

    /// Each row's number with what it says, or where it is at fault.
    fn read(form: ImportForm, bytes: Vec<u8>) -> Vec<(u64, Result<[String; 3], String>)> {
        let mut sheet = Sheet::open(Cursor::new(bytes), form, None).unwrap();
        let mut rows = Vec::new();
        while let Some(row) = sheet.next_row().unwrap() {
            let read = row.input.read(&Defaults::default(), &DIRECTORY);
            let told = read.map(|flag| [flag.subject.canonical(), flag.case, flag.reason]);
            rows.push((row.number, told.map_err(|fault| fault.field.trim_start_matches("/subject").replace('/', ""))));
        }
        rows
    }

    fn written(form: ImportForm, rows: &[[String; 6]]) -> Vec<u8> {
        let mut out = Vec::new();
        match form {
            ImportForm::Csv => {
                write::put_csv_row(&mut out, HEADER.into_iter());
                for row in rows {
                    write::put_csv_row(&mut out, row.iter().map(String::as_str));
                }
            }
            ImportForm::Ndjson => {
                for [bank, number, verdict, category, case, reason] in rows {
                    let subject = serde_json::json!({ "kind": "account", "bank": bank, "number": number });
                    let line = serde_json::json!({ "subject": subject, "verdict": verdict, "category": category,
                        "case": case, "reason": reason });
                    out.extend(format!("{line}\n").into_bytes());
                }
            }
            ImportForm::Xlsx => {
                let mut book = rust_xlsxwriter::Workbook::new();
                let sheet = book.add_worksheet();
                for (place, cells) in (0..).zip(std::iter::once(&HEADER.map(str::to_owned)).chain(rows)) {
                    for (column, cell) in (0..).zip(cells) {
                        sheet.write_string(place, column, cell).unwrap();
                    }
                }
                out = book.save_to_buffer().unwrap();
            }
        }
        out
    }

    /// What people write: letters, marks of CSV and of spreadsheets, no space at either end.
    fn text() -> impl Strategy<Value = String> {
        "[a-zA-ZàảãáạăđĐơư0-9'=+@,;\"<>&_-][a-zA-ZàảãáạăđĐơư0-9 '=+@,;\"<>&_-]{0,30}[a-zA-ZơưĐ0-9'\"]"
    }

    fn row() -> impl Strategy<Value = [String; 6]> {
        let number = prop_oneof!["[0-9]{6,16}", "[0-9A-Z]{4,20}", "[0-9.]{1,5}", "[!]{5}"];
        (number, text(), text()).prop_map(|(number, case, reason)| {
            ["VCB".to_owned(), number, "warn".to_owned(), "mule".to_owned(), case, reason]
        })
    }

    proptest! {
        #[test]
        fn the_same_rows_come_out_of_every_form(rows in prop::collection::vec(row(), 1..8)) {
            let [csv, xlsx, lines] = FORMS.map(|form| read(form, written(form, &rows)));
            let numbers: Vec<u64> = csv.iter().map(|(number, _)| *number).collect();
            prop_assert_eq!(numbers, (2..).take(rows.len()).collect::<Vec<u64>>());
            prop_assert_eq!(&csv, &xlsx);
            let lines: Vec<_> = lines.into_iter().map(|(number, told)| (number + 1, told)).collect();
            prop_assert_eq!(csv, lines);
        }

        #[test]
        fn no_bytes_stop_a_reader_and_numbers_go_up(
            bytes in prop::collection::vec(any::<u8>(), 0..2000),
            form in prop::sample::select(&FORMS[..]),
            charset in prop::sample::select(&[None, Some("utf-16le"), Some("windows-1258")][..]),
        ) {
            reads_on(&bytes, form, charset)?;
        }

        #[test]
        fn no_spoilt_file_stops_a_reader(
            rows in prop::collection::vec(row(), 1..8),
            form in prop::sample::select(&FORMS[..]),
            spoilt in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let mut bytes = written(form, &rows);
            for (place, byte) in spoilt {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            reads_on(&bytes, form, None)?;
        }
    }

    #[test]
    fn rows_have_the_numbers_that_a_spreadsheet_shows() {
        let row = "VCB,123456,warn,mule,C,";
        for end in ["\n", "\r\n", "\r"] {
            let head = HEADER.join(",");
            let lines =
                [&head, "", &format!("{row}a"), &format!("{row}\"b{end}b\""), ",,,,,", "", "", &format!("{row}c")];
            let numbers: Vec<u64> =
                read(ImportForm::Csv, lines.join(end).into_bytes()).into_iter().map(|(number, _)| number).collect();
            assert_eq!(numbers, [3, 4, 8], "{end:?}");
            let late = format!("{end}{end}{head}{end}{row}a{end}");
            assert_eq!(read(ImportForm::Csv, late.into_bytes()).first().unwrap().0, 4, "{end:?}");
        }
    }

    /// Reads to the end or to a fault of the file.
    fn reads_on(bytes: &[u8], form: ImportForm, charset: Option<&str>) -> Result<(), TestCaseError> {
        let Ok(mut sheet) = Sheet::open(Cursor::new(bytes.to_vec()), form, charset) else { return Ok(()) };
        let mut last = 0;
        while let Ok(Some(row)) = sheet.next_row() {
            prop_assert!(row.number > last, "row {} comes after row {last}", row.number);
            last = row.number;
            drop(row.input.read(&Defaults::default(), &DIRECTORY));
        }
        Ok(())
    }
}
