//! Tables as people send and take them: CSV, XLSX and NDJSON, read row by row in bounded memory and written so that nothing
//! in them runs. Readers trust nothing: what is too long, too many, packed too tight or written in an unknown way is refused.

mod csv;
mod lines;
mod package;
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
