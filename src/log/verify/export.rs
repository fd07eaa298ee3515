//! An export as a source: NDJSON, an entry a line, as `log::exported` writes it. A line is good only if it is to the byte
//! what this program would write for the entry's bytes. Entries of other logs may stand between, where it is known which:
//! they are for a verification of their own.

use super::{Fault, Source, StoredTile, VerifyError};
use crate::domain::Timestamp;
use crate::log::{Entry, Exported};
use crate::store::log::LogBatch;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use std::borrow::Cow;
use std::io::{BufRead, Read};

const ENTRIES_AT_ONCE: u64 = 1024;
/// An entry of 64 KiB in base64, and its fields beside it, each character escaped.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

pub struct Export<R> {
    lines: R,
    node: String,
    /// Nodes whose entries are passed over.
    others: Vec<String>,
    next_index: u64,
    latest: Timestamp,
    line: Vec<u8>,
    rendered: Vec<u8>,
}

/// What is needed to write the line again.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    node: Cow<'a, str>,
    index: u64,
    #[serde(borrow)]
    bytes: Cow<'a, str>,
}

/// The index of the first entry in an export that is of none of the `others`; 0 if it tells none.
pub fn first_of_export(mut lines: impl BufRead, others: &[String]) -> Result<u64, VerifyError> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        read.map_err(|error| VerifyError::Unreadable(error.to_string()))?;
        if line.is_empty() || !is_of(others, &line) {
            return Ok(serde_json::from_slice::<Line<'_>>(&line).map_or(0, |line| line.index));
        }
    }
}

/// Whether a line says that it is an entry of one of these nodes.
fn is_of(nodes: &[String], line: &[u8]) -> bool {
    !nodes.is_empty()
        && serde_json::from_slice::<Line<'_>>(line).is_ok_and(|line| nodes.iter().any(|node| *node == line.node))
}

impl<R: BufRead> Export<R> {
    /// An export of the log of `node` from its first entry on, among entries of the `others`.
    pub fn new(lines: R, node: &str, others: &[String]) -> Self {
        Self {
            lines,
            node: node.to_owned(),
            others: others.to_vec(),
            next_index: 0,
            latest: Timestamp::EPOCH,
            line: Vec::new(),
            rendered: Vec::new(),
        }
    }

    /// The export begins where archives end; the latest time of an entry in them counts on.
    pub(super) fn continue_from(&mut self, index: u64, latest: Timestamp) {
        (self.next_index, self.latest) = (index, latest);
    }

    /// Reads a line; false at the end. A last line that was cut off is a fault, not an end.
    fn read_line(&mut self) -> Result<bool, VerifyError> {
        self.line.clear();
        let read = self.lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut self.line);
        let read = read.map_err(|error| VerifyError::Unreadable(error.to_string()))?;
        if read > 0 && self.line.pop_if(|byte| *byte == b'\n').is_none() {
            return Err(Fault::Line.at(self.next_index));
        }
        Ok(read > 0)
    }

    /// The index and the bytes of the entry in the line, and its time.
    fn parse_line(&mut self) -> Option<(u64, Vec<u8>, Timestamp)> {
        let line: Line<'_> = serde_json::from_slice(&self.line).ok()?;
        let bytes = BASE64.decode(line.bytes.as_bytes()).ok()?;
        let entry = Entry::decode(&bytes)?;
        self.rendered.clear();
        let exported = Exported { node: &self.node, index: line.index, entry: &entry, bytes: &bytes };
        serde_json::to_writer(&mut self.rendered, &exported).ok()?;
        let holds = line.node == self.node && self.rendered == self.line;
        holds.then_some((line.index, bytes, entry.at))
    }
}

impl<R: BufRead> Source for Export<R> {
    fn next_batch(&mut self) -> Result<Option<LogBatch>, VerifyError> {
        let mut batch = LogBatch {
            first_index: self.next_index,
            size: 0,
            at_min: Timestamp::from_ms(u64::MAX),
            at_max: self.latest,
            entries: Vec::new(),
        };
        while batch.size < ENTRIES_AT_ONCE && self.read_line()? {
            if is_of(&self.others, &self.line) {
                continue;
            }
            let expected = self.next_index;
            let (index, bytes, at) = self.parse_line().ok_or_else(|| Fault::Line.at(expected))?;
            let length = u16::try_from(bytes.len()).map_err(|_| Fault::Line.at(expected))?;
            if index != expected {
                return Err(Fault::Gap { found: index }.at(expected.min(index)));
            }
            batch.entries.extend(length.to_be_bytes());
            batch.entries.extend(bytes);
            batch.at_min = batch.at_min.min(at);
            batch.at_max = batch.at_max.max(at);
            batch.size += 1;
            self.next_index += 1;
        }
        self.latest = batch.at_max;
        Ok((batch.size > 0).then_some(batch))
    }

    fn checkpoints(&mut self, _: u64) -> Result<Vec<(u64, String)>, VerifyError> {
        Ok(Vec::new())
    }

    fn tile(&mut self, _: u8, _: u64) -> Result<StoredTile, VerifyError> {
        Ok(StoredTile::NoneKept)
    }

    fn tile_count(&mut self) -> Result<Option<u64>, VerifyError> {
        Ok(None)
    }
}
