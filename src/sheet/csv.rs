//! CSV as spreadsheets write it: commas, semicolons or tabs, whichever the header has most of. Rows go through buffers of a
//! fixed size, and no quote may swallow any. A cell that a spreadsheet would run is refused.

use super::quotes::Quotes;
use super::{Row, Rows, broken, fault};
use crate::domain::import::{Cell, Columns, FileFault, RowFault, RowInput, columns::COLUMNS_MAX};
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use std::io::Read;

const PIECE_BYTES: usize = 64 * 1024;
/// One row, without its quotes.
const ROW_BYTES_MAX: usize = 64 * 1024;
/// What makes a spreadsheet run a cell.
pub(super) const RUNS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

pub(super) struct CsvRows<R> {
    records: Records<R>,
    columns: Columns,
    number: u64,
}

struct Records<R> {
    inner: R,
    reader: Reader,
    quotes: Quotes,
    piece: Vec<u8>,
    piece_at: usize,
    /// The byte before; of a line's end it tells whether it has a second.
    before: u8,
    row: Vec<u8>,
    ends: Vec<usize>,
}

/// What came of one record.
enum Record {
    Cells(Vec<String>),
    TooMany,
    /// It may be many rows that two wrong quotes have made one of.
    TooLong,
    End,
}

impl<R: Read + Send> CsvRows<R> {
    pub(super) fn open(mut inner: R) -> Result<Self, FileFault> {
        let mut piece = vec![0; PIECE_BYTES];
        let mut filled = 0;
        while let Some(rest) = piece.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match inner.read(rest).map_err(|error| broken(&error))? {
                0 => break,
                read => filled += read,
            }
        }
        piece.truncate(filled);
        let delimiter = delimiter_of(&piece);
        let reader = ReaderBuilder::new().delimiter(delimiter).build();
        let mut quotes = Quotes::of(delimiter);
        quotes.pass(&piece)?;
        let (row, ends) = (vec![0; ROW_BYTES_MAX], vec![0; COLUMNS_MAX + 1]);
        let mut records = Records { inner, reader, quotes, piece, piece_at: 0, before: b'\n', row, ends };
        let number = 1 + records.skip_blank()?;
        let columns = match records.next()? {
            Record::Cells(names) => Columns::of_header(names.iter().map(String::as_str))?,
            Record::TooMany | Record::TooLong => {
                return Err(fault("the header is too long, or has more than 64 columns"));
            }
            Record::End => return Err(fault("the file is empty")),
        };
        Ok(Self { records, columns, number })
    }
}

impl<R: Read + Send> Rows for CsvRows<R> {
    fn next_row(&mut self) -> Result<Option<Row>, FileFault> {
        loop {
            self.number += 1 + self.records.skip_blank()?;
            let record = self.records.next()?;
            let input = match record {
                Record::End => return Ok(None),
                Record::TooLong => {
                    let reason = "a row is longer than 64 KiB; look for a quote that is closed too late".to_owned();
                    return Err(FileFault { row: Some(self.number), field: None, reason });
                }
                Record::TooMany => RowInput::Faulty(RowFault::new("", "has more than 64 cells")),
                Record::Cells(cells) if cells.iter().all(|cell| cell.trim().is_empty()) => continue,
                Record::Cells(cells) if cells.len() != self.columns.len() => {
                    let reason = format!("has {} cells, the header has {}", cells.len(), self.columns.len());
                    RowInput::Faulty(RowFault::new("", reason))
                }
                Record::Cells(cells) => RowInput::Cells(
                    (0..).zip(cells).filter_map(|(place, text)| Some((self.columns.at(place)?, cell(text)))).collect(),
                ),
            };
            return Ok(Some(Row { number: self.number, input }));
        }
    }
}

/// An apostrophe before what would run is the export's, and is taken off. A plus before digits is a phone number's.
fn cell(text: String) -> Cell {
    let would_run = |rest: &&str| rest.trim_start_matches('\'').starts_with(RUNS);
    if let Some(rest) = text.strip_prefix('\'').filter(would_run) {
        return Cell::Text(rest.to_owned());
    }
    let is_phone = text.strip_prefix('+').is_some_and(|rest| {
        !rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit() || matches!(c, ' ' | '.' | '-'))
    });
    if text.starts_with(RUNS) && !is_phone { Cell::Formula } else { Cell::Text(text) }
}

/// The likeliest of the usual ones, by the first line.
fn delimiter_of(start: &[u8]) -> u8 {
    let mut counts = [(b',', 0), (b';', 0), (b'\t', 0)];
    let mut is_quoted = false;
    for byte in start {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'\n' if !is_quoted => break,
            byte if !is_quoted => {
                counts.iter_mut().filter(|(delimiter, _)| delimiter == byte).for_each(|(_, count)| *count += 1);
            }
            _ => {}
        }
    }
    let most = counts.iter().rev().max_by_key(|(_, count)| *count);
    most.map_or(b',', |(delimiter, _)| *delimiter)
}

impl<R: Read> Records<R> {
    fn read_on(&mut self) -> Result<(), FileFault> {
        if self.piece_at >= self.piece.len() {
            self.piece.resize(PIECE_BYTES, 0);
            let read = self.inner.read(&mut self.piece).map_err(|error| broken(&error))?;
            self.piece.truncate(read);
            self.piece_at = 0;
            self.quotes.pass(&self.piece)?;
            if read == 0 {
                self.quotes.end()?;
            }
        }
        Ok(())
    }

    /// Reads past empty lines, which the reader of records would do without counting them; returns how many.
    fn skip_blank(&mut self) -> Result<u64, FileFault> {
        let mut blank = 0;
        loop {
            self.read_on()?;
            let next = self.piece.get(self.piece_at).copied();
            match (self.before, next) {
                (b'\r', Some(b'\n')) => {}
                (_, Some(b'\n' | b'\r')) => blank += 1,
                (_, Some(_) | None) => return Ok(blank),
            }
            self.before = next.unwrap_or_default();
            self.piece_at += 1;
        }
    }

    fn next(&mut self) -> Result<Record, FileFault> {
        let (mut row_at, mut ends_at, mut has_too_many) = (0, 0, false);
        loop {
            self.read_on()?;
            let input = self.piece.get(self.piece_at..).unwrap_or_default();
            let row = self.row.get_mut(row_at..).unwrap_or_default();
            let ends = self.ends.get_mut(ends_at..).unwrap_or_default();
            let (result, read, written, ended) = self.reader.read_record(input, row, ends);
            self.before = input.get(..read).and_then(|taken| taken.last()).copied().unwrap_or(self.before);
            self.piece_at += read;
            row_at += written;
            ends_at += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => return Ok(Record::TooLong),
                // What has been read of the row is thrown away, so that its end is found.
                ReadRecordResult::OutputEndsFull => (row_at, ends_at, has_too_many) = (0, 0, true),
                ReadRecordResult::Record | ReadRecordResult::End if has_too_many => return Ok(Record::TooMany),
                ReadRecordResult::Record => return Ok(Record::Cells(self.cells(ends_at))),
                ReadRecordResult::End => return Ok(Record::End),
            }
        }
    }

    fn cells(&self, count: usize) -> Vec<String> {
        let mut start = 0;
        let ends = self.ends.iter().take(count);
        ends.map(|end| {
            let bytes = self.row.get(start..*end).unwrap_or_default();
            start = *end;
            String::from_utf8_lossy(bytes).into_owned()
        })
        .collect()
    }
}
