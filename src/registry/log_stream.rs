//! The log as a stream: everything before the entry of its own reading, in constant memory, at the pace of whoever takes it.

use super::audit::UNREADABLE;
use super::places::{NoPlace, Place};
use super::streams::Pieces;
use super::{Call, Error, LogPage, Registry};
use crate::domain::LogPosition;
use crate::log::{Act, CSV_HEADER, Covered, Entry, Exported, FoundIn, Merged, Piece};
use crate::store::{Store, StoreError};
use std::sync::Arc;

/// One piece of a stream: a few hundred kilobytes.
const STREAM_PIECE: Piece = Piece { found_max: 256, looked_max: 16_384 };

/// How a stream is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogForm {
    NdJson,
    Csv,
}

impl Registry {
    /// Everything that stands before the entry of this reading, to be taken piece by piece.
    pub async fn stream_log(&self, call: &Call, asked: LogPage, form: LogForm) -> Result<LogStream, Error> {
        let place = self.streams.take(&call.actor.client).map_err(|no_place| match no_place {
            NoPlace::OfAll => Error::Unavailable("Too many streams of the log at once."),
            NoPlace::OfThisClient => Error::Unavailable("Too many streams of the log at once by this client."),
        })?;
        // What is not there leaves no entry.
        let nodes = self.open_merged(&asked, None).await?.nodes().map(str::to_owned).collect::<Vec<_>>();
        let position = self.log_reading(&self.reading_entry(Act::LogRead, call, &asked, &nodes)).await?;
        let merged = self.open_merged(&asked, Some(position.clone())).await?;
        Ok(LogStream {
            position,
            store: Arc::clone(&self.store),
            covered: self.search.covered(),
            merged,
            form,
            is_begun: false,
            _place: place,
        })
    }
}

/// A part of the log on its way to a client, in constant memory.
pub struct LogStream {
    /// Of the entry of this reading.
    pub position: LogPosition,
    store: Arc<dyn Store>,
    covered: Covered,
    merged: Merged,
    form: LogForm,
    is_begun: bool,
    _place: Place,
}

impl LogStream {
    pub fn form(&self) -> LogForm {
        self.form
    }

    fn write(&self, found: &FoundIn, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let FoundIn { node, found } = found;
        let entry = Entry::decode(&found.bytes).ok_or(UNREADABLE)?;
        let exported = Exported { node, index: found.index, entry: &entry, bytes: &found.bytes };
        match self.form {
            LogForm::Csv => {
                let mut row = String::with_capacity(1024);
                exported.write_csv(&mut row);
                out.extend(row.as_bytes());
            }
            LogForm::NdJson => {
                serde_json::to_writer(&mut *out, &exported)
                    .map_err(|_| StoreError::Corrupt("an entry that JSON cannot hold"))?;
                out.push(b'\n');
            }
        }
        Ok(())
    }
}

impl Pieces for LogStream {
    fn next_piece(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let mut out = Vec::new();
        if !std::mem::replace(&mut self.is_begun, true) && self.form == LogForm::Csv {
            out.extend(CSV_HEADER.as_bytes());
        }
        while out.is_empty() && !self.merged.is_done() {
            let mut found = Vec::new();
            let (merged, covered) = (&mut self.merged, &self.covered);
            self.store.read(&mut |connection| {
                found = merged.read(connection, covered, STREAM_PIECE)?;
                Ok(())
            })?;
            for found in found {
                self.write(&found, &mut out)?;
            }
        }
        Ok(Some(out).filter(|out| !out.is_empty()))
    }
}
