//! Quotes of CSV as RFC 4180 has them, checked while the bytes go by. A quote where none may be refuses the file: it would
//! hide the rows behind it in one cell, and nobody would count them.

use crate::domain::import::FileFault;

const BARE: &str = "a cell that is not in quotes has a quote";
const CLOSED_WITHIN: &str = "a cell goes on after its closing quote";
const NEVER_CLOSED: &str = "a cell in quotes has no end, and the file ends";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Where a cell begins.
    Beginning,
    /// In a cell without quotes.
    Plain,
    Quoted,
    /// After a quote in a quoted cell: the cell's end, or the first of two.
    Closed,
}

pub(super) struct Quotes {
    delimiter: u8,
    place: Place,
    before: u8,
    /// As an editor counts.
    line: u64,
    /// As a spreadsheet counts: a cell may have several lines.
    row: u64,
    /// The line in which the last quoted cell begins.
    opened: Option<u64>,
}

impl Quotes {
    pub(super) fn of(delimiter: u8) -> Self {
        Self { delimiter, place: Place::Beginning, before: 0, line: 1, row: 1, opened: None }
    }

    /// Looks at the bytes that follow those of the call before.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Result<(), FileFault> {
        for byte in bytes {
            let is_end = matches!(byte, b'\r' | b'\n');
            self.place = match (self.place, *byte) {
                (Place::Beginning, b'"') => {
                    self.opened = Some(self.line);
                    Place::Quoted
                }
                (Place::Plain, b'"') => return Err(self.fault(BARE)),
                (Place::Quoted, b'"') => Place::Closed,
                (Place::Closed, b'"') | (Place::Quoted, _) => Place::Quoted,
                (Place::Beginning | Place::Plain | Place::Closed, byte) if is_end || byte == self.delimiter => {
                    Place::Beginning
                }
                (Place::Beginning | Place::Plain, _) => Place::Plain,
                (Place::Closed, _) => return Err(self.fault(CLOSED_WITHIN)),
            };
            if is_end && (*byte, self.before) != (b'\n', b'\r') {
                self.line += 1;
                self.row += u64::from(self.place != Place::Quoted);
            }
            self.before = *byte;
        }
        Ok(())
    }

    /// There are no more bytes.
    pub(super) fn end(&self) -> Result<(), FileFault> {
        match self.place {
            Place::Beginning | Place::Plain | Place::Closed => Ok(()),
            Place::Quoted => Err(self.fault(NEVER_CLOSED)),
        }
    }

    fn fault(&self, what: &str) -> FileFault {
        let opened = self.opened.map(|line| format!("; the last cell in quotes begins in line {line}"));
        let reason = format!("{what} in line {}{}", self.line, opened.unwrap_or_default());
        FileFault { row: Some(self.row), field: None, reason }
    }
}
