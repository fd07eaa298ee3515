//! Moving a registry into a shared database, table by table and row by row, and what tells that both hold the same. The
//! search index is not moved: it is made anew.

use super::postgres::{BulkTable, PostgresConnection};
use super::{Connection, Row, StoreError, Value};
use crate::domain::Timestamp;
use sha2::{Digest as _, Sha256};

/// What a column holds.
#[derive(Clone, Copy)]
enum Kind {
    Int,
    OptionalInt,
    Text,
    OptionalText,
    Blob,
}
use Kind::{Blob, Int, OptionalInt, OptionalText, Text};

/// How its rows are written.
#[derive(Clone, Copy)]
enum Way {
    Copied(BulkTable),
    Inserted(&'static str),
}
use Way::{Copied, Inserted};

/// A table of a registry, read in an order that both engines have.
#[derive(Clone, Copy)]
pub struct Table {
    pub name: &'static str,
    select: &'static str,
    count: &'static str,
    columns: &'static [Kind],
    way: Way,
}

/// In the order in which they are filled: what others rest on comes before them, and what says that a registry is there
/// comes last.
pub const TABLES: [Table; 21] = [
    Table {
        name: "party",
        select: "SELECT id, name, role, state, version, created_at, change, parent FROM party ORDER BY id",
        count: "SELECT COUNT(*) FROM party",
        columns: &[Text, Text, Text, Text, Int, Int, Int, OptionalText],
        way: Inserted(
            "INSERT INTO party (id, name, role, state, version, created_at, change, parent) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        ),
    },
    Table {
        name: "client",
        select: "SELECT id, party, name, scopes, quotas, state, version, created_at, tokens_void_until, change \
                 FROM client ORDER BY id",
        count: "SELECT COUNT(*) FROM client",
        columns: &[Text, Text, Text, Text, Text, Text, Int, Int, OptionalInt, Int],
        way: Inserted(
            "INSERT INTO client (id, party, name, scopes, quotas, state, version, created_at, tokens_void_until, change) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        ),
    },
    Table {
        name: "client_credential",
        select: "SELECT client, place, kind, value, created_at, expires_at FROM client_credential ORDER BY client, place",
        count: "SELECT COUNT(*) FROM client_credential",
        columns: &[Text, Int, Text, Text, Int, OptionalInt],
        way: Inserted(
            "INSERT INTO client_credential (client, place, kind, value, created_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        ),
    },
    Table {
        name: "change",
        select: "SELECT number, at, node, log_index, kind FROM change ORDER BY number",
        count: "SELECT COUNT(*) FROM change",
        columns: &[Int, Int, Text, Int, Text],
        way: Copied(BulkTable::Change),
    },
    Table {
        name: "flag",
        select: "SELECT id, subject, verdict, category, case_ref, state, version, since, expires_at, document, linked, \
                 unit FROM flag ORDER BY id",
        count: "SELECT COUNT(*) FROM flag",
        columns: &[Blob, Text, Text, Text, Text, Text, Int, OptionalInt, OptionalInt, OptionalText, OptionalText, Text],
        way: Copied(BulkTable::Flag),
    },
    Table {
        name: "flag_version",
        select: "SELECT flag, version, change, body FROM flag_version ORDER BY flag, version",
        count: "SELECT COUNT(*) FROM flag_version",
        columns: &[Blob, Int, Int, Text],
        way: Copied(BulkTable::FlagVersion),
    },
    Table {
        name: "objection",
        select: "SELECT id, flag, party, state, deadline, version, filed, change, body FROM objection \
                 ORDER BY id",
        count: "SELECT COUNT(*) FROM objection",
        columns: &[Blob, Blob, Text, Text, Int, Int, Int, Int, Text],
        way: Inserted(
            "INSERT INTO objection (id, flag, party, state, deadline, version, filed, change, body) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        ),
    },
    Table {
        name: "correction",
        select: "SELECT flag, node, due_at, completed_at, log_from, log_to, change FROM correction \
                 ORDER BY flag",
        count: "SELECT COUNT(*) FROM correction",
        columns: &[Blob, Text, Int, OptionalInt, Text, Text, Int],
        way: Inserted(
            "INSERT INTO correction (flag, node, due_at, completed_at, log_from, log_to, change) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        ),
    },
    Table {
        name: "correction_party",
        select: "SELECT party, flag, checks, first_at, last_at, change FROM correction_party \
                 ORDER BY flag, party",
        count: "SELECT COUNT(*) FROM correction_party",
        columns: &[Text, Blob, Int, Int, Int, Int],
        way: Inserted(
            "INSERT INTO correction_party (party, flag, checks, first_at, last_at, change) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        ),
    },
    Table {
        name: "import",
        select: "SELECT id, unit, node, state, once, step, body FROM import ORDER BY id",
        count: "SELECT COUNT(*) FROM import",
        columns: &[Blob, Text, Text, Text, OptionalText, Int, Text],
        way: Inserted(
            "INSERT INTO import (id, unit, node, state, once, step, body) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        ),
    },
    Table {
        name: "import_part",
        select: "SELECT import, first_row, last_row, flags, report FROM import_part ORDER BY import, first_row",
        count: "SELECT COUNT(*) FROM import_part",
        columns: &[Blob, Int, Int, Blob, Text],
        way: Copied(BulkTable::ImportPart),
    },
    Table {
        name: "kept_answer",
        select: "SELECT client, key, request, at, node, log_index, status, location, etag, body FROM kept_answer \
                 ORDER BY client, key",
        count: "SELECT COUNT(*) FROM kept_answer",
        columns: &[Text, Text, Blob, Int, Text, Int, Int, Text, Text, Blob],
        way: Copied(BulkTable::KeptAnswer),
    },
    Table {
        name: "check_outcome",
        select: "SELECT check_id, at, node, log_index, told FROM check_outcome ORDER BY check_id",
        count: "SELECT COUNT(*) FROM check_outcome",
        columns: &[Blob, Int, Text, Int, Text],
        way: Inserted("INSERT INTO check_outcome (check_id, at, node, log_index, told) VALUES ($1, $2, $3, $4, $5)"),
    },
    Table {
        name: "log",
        select: "SELECT node, number, epoch FROM log ORDER BY number",
        count: "SELECT COUNT(*) FROM log",
        columns: &[Text, Int, Int],
        // No process is heard there yet.
        way: Inserted("INSERT INTO log (node, number, epoch) VALUES ($1, $2, $3)"),
    },
    Table {
        name: "log_batch",
        select: "SELECT place, size, at_min, at_max, entries FROM log_batch ORDER BY place",
        count: "SELECT COUNT(*) FROM log_batch",
        columns: &[Int, Int, Int, Int, Blob],
        way: Copied(BulkTable::LogBatch),
    },
    Table {
        name: "log_tile",
        select: "SELECT place, root, hashes FROM log_tile ORDER BY place",
        count: "SELECT COUNT(*) FROM log_tile",
        columns: &[Int, Blob, Blob],
        way: Copied(BulkTable::LogTile),
    },
    Table {
        name: "log_checkpoint",
        select: "SELECT place, at, note FROM log_checkpoint ORDER BY place",
        count: "SELECT COUNT(*) FROM log_checkpoint",
        columns: &[Int, Int, Text],
        way: Copied(BulkTable::LogCheckpoint),
    },
    Table {
        name: "log_archive",
        select: "SELECT place, size, at_max, sealed_at, file_name, digest, answers FROM log_archive ORDER BY place",
        count: "SELECT COUNT(*) FROM log_archive",
        columns: &[Int, Int, Int, Int, Text, Blob, OptionalInt],
        way: Inserted(
            "INSERT INTO log_archive (place, size, at_max, sealed_at, file_name, digest, answers) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        ),
    },
    Table {
        name: "archived_answer",
        select: "SELECT flag, party, place, checks, first_at, last_at FROM archived_answer \
                 ORDER BY flag, party, place",
        count: "SELECT COUNT(*) FROM archived_answer",
        columns: &[Blob, Text, Int, Int, Int, Int],
        way: Copied(BulkTable::ArchivedAnswer),
    },
    Table {
        name: "change_head",
        select: "SELECT id, number FROM change_head ORDER BY id",
        count: "SELECT COUNT(*) FROM change_head",
        columns: &[Int, Int],
        way: Inserted("INSERT INTO change_head (id, number) VALUES ($1, $2)"),
    },
    Table {
        name: "registry",
        select: "SELECT id, name, created_at, pepper FROM registry ORDER BY id",
        count: "SELECT COUNT(*) FROM registry",
        columns: &[Int, Text, Int, Blob],
        way: Inserted("INSERT INTO registry (id, name, created_at, pepper) VALUES ($1, $2, $3, $4)"),
    },
];

/// What a table holds, told so shortly that two can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    pub rows: u64,
    /// SHA-256 over all values of all rows, each with its kind and its length.
    digest: [u8; 32],
}

impl Table {
    pub fn rows(&self, connection: &mut dyn Connection) -> Result<u64, StoreError> {
        let mut rows = 0;
        connection.query(self.count, &[], &mut |row| {
            rows = row.count(0)?;
            Ok(())
        })?;
        Ok(rows)
    }

    /// `progress` is told each row.
    pub fn sum(&self, connection: &mut dyn Connection, progress: &mut dyn FnMut()) -> Result<Sum, StoreError> {
        let mut adding = Adding::default();
        connection.query(self.select, &[], &mut |row| {
            adding.row(&self.values(row)?)?;
            progress();
            Ok(())
        })?;
        Ok(adding.sum())
    }

    /// Writes all rows into the open transaction of `target`; returns what was written.
    pub fn copy(
        &self,
        source: &mut dyn Connection,
        target: &mut PostgresConnection,
        progress: &mut dyn FnMut(),
    ) -> Result<Sum, StoreError> {
        let mut adding = Adding::default();
        match self.way {
            Inserted(sql) => source.query(self.select, &[], &mut |row| {
                let values = self.values(row)?;
                target.execute(sql, &values)?;
                adding.row(&values)?;
                progress();
                Ok(())
            })?,
            Copied(table) => {
                let mut fill = |rows: &mut super::postgres::BulkRows<'_>| {
                    source.query(self.select, &[], &mut |row| {
                        let values = self.values(row)?;
                        rows.put(&values)?;
                        adding.row(&values)?;
                        progress();
                        Ok(())
                    })
                };
                target.copy(table, &mut fill)?;
            }
        }
        Ok(adding.sum())
    }

    fn values<'a>(&self, row: &'a dyn Row) -> Result<Vec<Value<'a>>, StoreError> {
        let value = |(column, kind): (usize, &Kind)| {
            Ok(match kind {
                Int => Value::Int(row.int(column)?),
                OptionalInt => row.optional_int(column)?.map_or(Value::Null, Value::Int),
                Text => Value::Text(row.text(column)?),
                OptionalText => row.optional_text(column)?.map_or(Value::Null, Value::Text),
                Blob => Value::Blob(row.blob(column)?),
            })
        };
        self.columns.iter().enumerate().map(value).collect()
    }
}

#[derive(Default)]
struct Adding {
    rows: u64,
    digest: Sha256,
}

impl Adding {
    fn row(&mut self, values: &[Value<'_>]) -> Result<(), StoreError> {
        self.rows += 1;
        for value in values {
            match value {
                Value::Null => self.digest.update([0]),
                Value::Int(number) => self.bytes(1, &number.to_be_bytes())?,
                Value::Text(text) => self.bytes(2, text.as_bytes())?,
                Value::Blob(bytes) => self.bytes(3, bytes)?,
            }
        }
        Ok(())
    }

    fn bytes(&mut self, kind: u8, bytes: &[u8]) -> Result<(), StoreError> {
        let length = u64::try_from(bytes.len()).map_err(|_| StoreError::Corrupt("a value without an end"))?;
        self.digest.update([kind]);
        self.digest.update(length.to_be_bytes());
        self.digest.update(bytes);
        Ok(())
    }

    fn sum(self) -> Sum {
        Sum { rows: self.rows, digest: self.digest.finalize().into() }
    }
}

/// The first and the last of the times by which batches are put into parts; `None` without batches.
pub fn times(connection: &mut dyn Connection) -> Result<Option<(Timestamp, Timestamp)>, StoreError> {
    let mut found = None;
    connection.query("SELECT MIN(at_max), MAX(at_max) FROM log_batch", &[], &mut |row| {
        if row.optional_int(0)?.is_some() {
            found = Some((Timestamp::from_ms(row.count(0)?), Timestamp::from_ms(row.count(1)?)));
        }
        Ok(())
    })?;
    Ok(found)
}
