//! Many rows at once, by COPY: for filling a new database. It is part of the connection's open transaction, and rows go out
//! as they come, so that no table has to fit into memory.

use super::connection::{Parameter, PostgresConnection};
use super::failure;
use crate::store::{StoreError, Value};
use std::pin::Pin;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};

/// A table whose rows can be copied; the values are in the order of its columns in the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkTable {
    LogBatch,
    LogTile,
    LogCheckpoint,
    ArchivedAnswer,
    Change,
    Flag,
    FlagVersion,
    ImportPart,
    KeptAnswer,
}

impl BulkTable {
    fn statement(self) -> &'static str {
        match self {
            Self::LogBatch => "COPY log_batch (place, size, at_min, at_max, entries) FROM STDIN (FORMAT binary)",
            Self::LogTile => "COPY log_tile (place, root, hashes) FROM STDIN (FORMAT binary)",
            Self::LogCheckpoint => "COPY log_checkpoint (place, at, note) FROM STDIN (FORMAT binary)",
            Self::ArchivedAnswer => {
                "COPY archived_answer (flag, party, place, checks, first_at, last_at) FROM STDIN (FORMAT binary)"
            }
            Self::Change => "COPY change (number, at, node, log_index, kind) FROM STDIN (FORMAT binary)",
            Self::Flag => {
                "COPY flag (id, subject, verdict, category, case_ref, state, version, since, expires_at, document, \
                 linked, unit) FROM STDIN (FORMAT binary)"
            }
            Self::FlagVersion => "COPY flag_version (flag, version, change, body) FROM STDIN (FORMAT binary)",
            Self::ImportPart => {
                "COPY import_part (import, first_row, last_row, flags, report) FROM STDIN (FORMAT binary)"
            }
            Self::KeptAnswer => {
                "COPY kept_answer (client, key, request, at, node, log_index, status, location, etag, body) \
                 FROM STDIN (FORMAT binary)"
            }
        }
    }

    fn types(self) -> &'static [Type] {
        const INT: Type = Type::INT8;
        const TEXT: Type = Type::TEXT;
        const BLOB: Type = Type::BYTEA;
        match self {
            Self::LogBatch => &[INT, INT, INT, INT, BLOB],
            Self::LogTile => &[INT, BLOB, BLOB],
            Self::LogCheckpoint => &[INT, INT, TEXT],
            Self::ArchivedAnswer => &[BLOB, TEXT, INT, INT, INT, INT],
            Self::Change => &[INT, INT, TEXT, INT, TEXT],
            Self::Flag => &[BLOB, TEXT, TEXT, TEXT, TEXT, TEXT, INT, INT, INT, TEXT, TEXT, TEXT],
            Self::FlagVersion => &[BLOB, INT, INT, TEXT],
            Self::ImportPart => &[BLOB, INT, INT, BLOB, TEXT],
            Self::KeptAnswer => &[TEXT, TEXT, BLOB, INT, TEXT, INT, INT, TEXT, TEXT, BLOB],
        }
    }
}

/// Takes the rows of a table.
pub struct BulkRows<'a> {
    put: &'a mut dyn FnMut(&[Value<'_>]) -> Result<(), StoreError>,
}

impl BulkRows<'_> {
    pub fn put(&mut self, values: &[Value<'_>]) -> Result<(), StoreError> {
        (self.put)(values)
    }
}

impl PostgresConnection {
    /// Copies the rows that `fill` puts into a table; returns how many. A transaction must be open, and if this fails it must
    /// be rolled back.
    pub fn copy(
        &mut self,
        table: BulkTable,
        fill: &mut dyn FnMut(&mut BulkRows<'_>) -> Result<(), StoreError>,
    ) -> Result<u64, StoreError> {
        self.begin_now()?;
        let (route, limit) = (self.route.clone(), self.limit());
        let failed = |error: tokio_postgres::Error| failure::of_statement(&error);
        let statement = table.statement();
        let client = &self.session().client;
        let sink = route.block_on(limit, async { client.copy_in(statement).await.map_err(failed) });
        let sink = self.settled(sink)?;
        let mut writer = Box::pin(BinaryCopyInWriter::new(sink, table.types()));
        let columns = table.types().len();
        let mut put = |values: &[Value<'_>]| {
            if values.len() != columns {
                return Err(StoreError::Corrupt("a row of another length than its table's"));
            }
            let parameters: Vec<Parameter<'_>> = values.iter().copied().map(Parameter).collect();
            let parameters: Vec<&(dyn ToSql + Sync)> =
                parameters.iter().map(|one| -> &(dyn ToSql + Sync) { one }).collect();
            let row = Pin::as_mut(&mut writer).write(&parameters);
            route.block_on(limit, async { row.await.map_err(failed) })
        };
        // If it fails, the writer is dropped unfinished, and with it all rows.
        let filled = fill(&mut BulkRows { put: &mut put });
        self.settled(filled)?;
        let copied = route.block_on(limit, async { Pin::as_mut(&mut writer).finish().await.map_err(failed) });
        self.settled(copied)
    }
}
