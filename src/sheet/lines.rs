//! NDJSON: one JSON object a line. A line without an end is cut off at a limit, and never held whole.

use super::{Row, Rows, broken};
use crate::domain::import::{FileFault, RowFault, RowInput};
use std::io::{BufRead, BufReader, Read};

const LINE_BYTES_MAX: usize = 64 * 1024;

pub(super) struct LineRows<R> {
    inner: BufReader<R>,
    number: u64,
}

impl<R: Read> LineRows<R> {
    pub(super) fn open(inner: R) -> Self {
        Self { inner: BufReader::with_capacity(LINE_BYTES_MAX, inner), number: 0 }
    }

    /// A line without its end, if it is not too long; `None` at the end of the file.
    fn next_line(&mut self) -> Result<Option<Result<Vec<u8>, ()>>, FileFault> {
        let (mut line, mut is_too_long, mut is_begun) = (Vec::new(), false, false);
        loop {
            let piece = self.inner.fill_buf().map_err(|error| broken(&error))?;
            if piece.is_empty() {
                break;
            }
            is_begun = true;
            let end = piece.iter().position(|byte| *byte == b'\n');
            let part = piece.get(..end.unwrap_or(piece.len())).unwrap_or_default();
            is_too_long |= line.len() + part.len() > LINE_BYTES_MAX;
            if !is_too_long {
                line.extend_from_slice(part);
            }
            let taken = end.map_or(piece.len(), |end| end + 1);
            self.inner.consume(taken);
            if end.is_some() {
                break;
            }
        }
        Ok(is_begun.then_some(if is_too_long { Err(()) } else { Ok(line) }))
    }
}

impl<R: Read + Send> Rows for LineRows<R> {
    fn next_row(&mut self) -> Result<Option<Row>, FileFault> {
        loop {
            let Some(line) = self.next_line()? else { return Ok(None) };
            self.number += 1;
            let input = match line {
                Ok(line) if line.trim_ascii().is_empty() => continue,
                Ok(line) => RowInput::Line(line),
                Err(()) => RowInput::Faulty(RowFault::new("", "is longer than 64 KiB")),
            };
            return Ok(Some(Row { number: self.number, input }));
        }
    }
}
