//! The schema of the embedded database, and what brings an older one up to it. A migration that has run is never changed.

use super::SqliteConnection;
use crate::domain::Timestamp;
use crate::store::{Connection, StoreError, Value};

pub(super) const SCHEMA: &str = include_str!("../../../schema.sql");
/// What brings a database made by an older version up to `SCHEMA`: entry k is migration k + 2.
pub(super) const MIGRATIONS: &[&str] = &[TREE, ARCHIVE, NODES, LIFE, VIEW, OUTCOMES, IMPORTS, ANSWERED, NUMBERED];
const TREE: &str = "
CREATE TABLE log_tile (place INTEGER NOT NULL PRIMARY KEY, root BLOB NOT NULL, hashes BLOB NOT NULL) STRICT;
CREATE TABLE log_checkpoint (place INTEGER NOT NULL PRIMARY KEY, at INTEGER NOT NULL, note TEXT NOT NULL) STRICT;
CREATE TRIGGER log_tile_is_never_updated BEFORE UPDATE ON log_tile
BEGIN SELECT RAISE (ABORT, 'the log is append-only'); END;
CREATE TRIGGER log_tile_is_never_deleted BEFORE DELETE ON log_tile
BEGIN SELECT RAISE (ABORT, 'the log is append-only'); END;
CREATE TRIGGER log_checkpoint_is_never_updated BEFORE UPDATE ON log_checkpoint
BEGIN SELECT RAISE (ABORT, 'the log is append-only'); END;
CREATE TRIGGER log_checkpoint_is_never_deleted BEFORE DELETE ON log_checkpoint
BEGIN SELECT RAISE (ABORT, 'the log is append-only'); END;
";
const ARCHIVE: &str = "
CREATE TABLE log_archive (place INTEGER NOT NULL PRIMARY KEY, size INTEGER NOT NULL, at_max INTEGER NOT NULL,
    sealed_at INTEGER NOT NULL, file_name TEXT NOT NULL, digest BLOB NOT NULL) STRICT;
DROP TRIGGER log_batch_is_never_deleted;
DROP TRIGGER log_tile_is_never_deleted;
CREATE TRIGGER log_batch_is_never_deleted BEFORE DELETE ON log_batch
WHEN NOT EXISTS (SELECT 1 FROM log_archive WHERE place <= OLD.place AND place + size >= OLD.place + OLD.size)
BEGIN SELECT RAISE (ABORT, 'the log is append-only'); END;
CREATE TRIGGER log_tile_is_never_deleted BEFORE DELETE ON log_tile
WHEN OLD.place % 256 <> 0 OR NOT EXISTS (
    SELECT 1 FROM log_archive
    WHERE place / 1099511627776 = OLD.place / 1099511627776 AND place + size > OLD.place - OLD.place % 65536 + 65536)
BEGIN SELECT RAISE (ABORT, 'the log is append-only'); END;
CREATE TRIGGER log_archive_follows_on_another BEFORE INSERT ON log_archive
WHEN NOT EXISTS (SELECT 1 FROM log_checkpoint WHERE place = NEW.place + NEW.size)
    OR (NEW.place % 1099511627776 <> 0 AND NOT EXISTS (SELECT 1 FROM log_archive WHERE place + size = NEW.place))
BEGIN SELECT RAISE (ABORT, 'no archive that follows on another and ends under a checkpoint'); END;
CREATE TRIGGER log_archive_is_never_updated BEFORE UPDATE ON log_archive
BEGIN SELECT RAISE (ABORT, 'the log is append-only'); END;
CREATE TRIGGER log_archive_is_never_deleted BEFORE DELETE ON log_archive
BEGIN SELECT RAISE (ABORT, 'the log is append-only'); END;
";
const NODES: &str = "
ALTER TABLE registry ADD COLUMN pepper BLOB;
ALTER TABLE log ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE log ADD COLUMN heard_at INTEGER NOT NULL DEFAULT 0;
CREATE INDEX flag_version_by_change ON flag_version (change);
";
const LIFE: &str = "
ALTER TABLE party ADD COLUMN parent TEXT;
ALTER TABLE flag ADD COLUMN unit TEXT NOT NULL DEFAULT '';
UPDATE flag SET unit = (SELECT json_extract(body, '$.raised_by.party') FROM flag_version
    WHERE flag_version.flag = flag.id AND flag_version.version = flag.version);
CREATE INDEX flag_by_unit ON flag (unit, id);
CREATE INDEX flag_by_subject ON flag (subject, id);
CREATE TABLE flag_link (subject TEXT NOT NULL, flag BLOB NOT NULL, PRIMARY KEY (subject, flag)) STRICT,
    WITHOUT ROWID;
INSERT INTO flag_link (subject, flag) SELECT DISTINCT json_each.value, flag_version.flag
    FROM flag_version, json_each(flag_version.body, '$.linked');
CREATE TABLE flag_coordinating (unit TEXT NOT NULL, flag BLOB NOT NULL, PRIMARY KEY (unit, flag)) STRICT,
    WITHOUT ROWID;
CREATE INDEX flag_coordinating_by_flag ON flag_coordinating (flag);
CREATE TABLE objection (id BLOB NOT NULL PRIMARY KEY, flag BLOB NOT NULL, party TEXT NOT NULL, state TEXT NOT
    NULL, deadline INTEGER NOT NULL, version INTEGER NOT NULL, filed INTEGER NOT NULL, change INTEGER NOT NULL,
    body TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX objection_open ON objection (flag, party) WHERE state = 'open';
CREATE INDEX objection_by_flag ON objection (flag, id);
CREATE INDEX objection_by_party ON objection (party, id);
CREATE INDEX objection_by_state ON objection (state, id);
CREATE TABLE correction (flag BLOB NOT NULL PRIMARY KEY, node TEXT NOT NULL, due_at INTEGER NOT NULL,
    completed_at INTEGER, log_from TEXT NOT NULL, log_to TEXT NOT NULL, change INTEGER NOT NULL) STRICT, WITHOUT
    ROWID;
CREATE INDEX correction_due ON correction (due_at) WHERE completed_at IS NULL;
CREATE TABLE correction_party (party TEXT NOT NULL, flag BLOB NOT NULL, checks INTEGER NOT NULL, first_at
    INTEGER NOT NULL, last_at INTEGER NOT NULL, change INTEGER NOT NULL, PRIMARY KEY (flag, party)) STRICT,
    WITHOUT ROWID;
CREATE INDEX correction_of_party ON correction_party (party, change);
";
const VIEW: &str = "
DROP INDEX flag_by_state;
DROP INDEX flag_by_unit;
DROP INDEX flag_by_subject;
DROP TABLE flag_link;
DROP TABLE flag_coordinating;
";
const OUTCOMES: &str = "
CREATE TABLE check_outcome (check_id BLOB NOT NULL PRIMARY KEY, at INTEGER NOT NULL, node TEXT NOT NULL,
    log_index INTEGER NOT NULL, told TEXT NOT NULL) STRICT, WITHOUT ROWID;
";
const IMPORTS: &str = "
CREATE TABLE import (id BLOB NOT NULL PRIMARY KEY, unit TEXT NOT NULL, node TEXT NOT NULL, state TEXT NOT NULL, once TEXT,
    step INTEGER NOT NULL, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX import_by_file ON import (unit, once);
CREATE TABLE import_part (import BLOB NOT NULL REFERENCES import (id), first_row INTEGER NOT NULL,
    last_row INTEGER NOT NULL, flags BLOB NOT NULL, report TEXT NOT NULL, PRIMARY KEY (import, first_row)) STRICT, WITHOUT ROWID;
CREATE TRIGGER import_part_is_never_updated BEFORE UPDATE ON import_part
BEGIN SELECT RAISE (ABORT, 'reports are append-only'); END;
CREATE TRIGGER import_part_is_never_deleted BEFORE DELETE ON import_part
BEGIN SELECT RAISE (ABORT, 'reports are append-only'); END;
";
const ANSWERED: &str = "
ALTER TABLE log_archive ADD COLUMN answers INTEGER;
CREATE TABLE archived_answer (flag BLOB NOT NULL, party TEXT NOT NULL, place INTEGER NOT NULL, checks INTEGER NOT NULL,
    first_at INTEGER NOT NULL, last_at INTEGER NOT NULL, PRIMARY KEY (flag, party, place)) STRICT, WITHOUT ROWID;
CREATE TRIGGER archived_answer_is_never_updated BEFORE UPDATE ON archived_answer
BEGIN SELECT RAISE (ABORT, 'answers are append-only'); END;
CREATE TRIGGER archived_answer_is_never_deleted BEFORE DELETE ON archived_answer
BEGIN SELECT RAISE (ABORT, 'answers are append-only'); END;
";
/// Rows that hold a whole document get numbers. A new table takes the name of the old one after that is gone, and with it its
/// indexes and triggers; what refers to it follows.
const NUMBERED: &str = "
CREATE TABLE numbered_flag_version (flag BLOB NOT NULL, version INTEGER NOT NULL, change INTEGER NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (flag, version)) STRICT;
INSERT INTO numbered_flag_version (flag, version, change, body)
    SELECT flag, version, change, body FROM flag_version ORDER BY flag, version;
DROP TABLE flag_version;
ALTER TABLE numbered_flag_version RENAME TO flag_version;
CREATE INDEX flag_version_by_change ON flag_version (change);
CREATE TRIGGER flag_version_is_never_updated BEFORE UPDATE ON flag_version
BEGIN SELECT RAISE (ABORT, 'versions are append-only'); END;
CREATE TRIGGER flag_version_is_never_deleted BEFORE DELETE ON flag_version
BEGIN SELECT RAISE (ABORT, 'versions are append-only'); END;
CREATE TABLE numbered_objection (id BLOB NOT NULL PRIMARY KEY, flag BLOB NOT NULL, party TEXT NOT NULL, state TEXT NOT NULL,
    deadline INTEGER NOT NULL, version INTEGER NOT NULL, filed INTEGER NOT NULL, change INTEGER NOT NULL, body TEXT NOT NULL)
    STRICT;
INSERT INTO numbered_objection (id, flag, party, state, deadline, version, filed, change, body)
    SELECT id, flag, party, state, deadline, version, filed, change, body FROM objection ORDER BY id;
DROP TABLE objection;
ALTER TABLE numbered_objection RENAME TO objection;
CREATE UNIQUE INDEX objection_open ON objection (flag, party) WHERE state = 'open';
CREATE INDEX objection_by_flag ON objection (flag, id);
CREATE INDEX objection_by_party ON objection (party, id);
CREATE INDEX objection_by_state ON objection (state, id);
CREATE TABLE numbered_import (id BLOB NOT NULL PRIMARY KEY, unit TEXT NOT NULL, node TEXT NOT NULL, state TEXT NOT NULL,
    once TEXT, step INTEGER NOT NULL, body TEXT NOT NULL) STRICT;
INSERT INTO numbered_import (id, unit, node, state, once, step, body)
    SELECT id, unit, node, state, once, step, body FROM import ORDER BY id;
CREATE TABLE numbered_import_part (import BLOB NOT NULL REFERENCES numbered_import (id), first_row INTEGER NOT NULL,
    last_row INTEGER NOT NULL, flags BLOB NOT NULL, report TEXT NOT NULL, PRIMARY KEY (import, first_row)) STRICT;
INSERT INTO numbered_import_part (import, first_row, last_row, flags, report)
    SELECT import, first_row, last_row, flags, report FROM import_part ORDER BY import, first_row;
DROP TABLE import_part;
DROP TABLE import;
ALTER TABLE numbered_import RENAME TO import;
ALTER TABLE numbered_import_part RENAME TO import_part;
CREATE UNIQUE INDEX import_by_file ON import (unit, once);
CREATE TRIGGER import_part_is_never_updated BEFORE UPDATE ON import_part
BEGIN SELECT RAISE (ABORT, 'reports are append-only'); END;
CREATE TRIGGER import_part_is_never_deleted BEFORE DELETE ON import_part
BEGIN SELECT RAISE (ABORT, 'reports are append-only'); END;
CREATE TABLE numbered_kept_answer (client TEXT NOT NULL, key TEXT NOT NULL, request BLOB NOT NULL, at INTEGER NOT NULL,
    node TEXT NOT NULL, log_index INTEGER NOT NULL, status INTEGER NOT NULL, location TEXT NOT NULL, etag TEXT NOT NULL,
    body BLOB NOT NULL, PRIMARY KEY (client, key)) STRICT;
INSERT INTO numbered_kept_answer (client, key, request, at, node, log_index, status, location, etag, body)
    SELECT client, key, request, at, node, log_index, status, location, etag, body FROM kept_answer ORDER BY client, key;
DROP TABLE kept_answer;
ALTER TABLE numbered_kept_answer RENAME TO kept_answer;
";

/// Runs what is missing, each migration in a transaction of its own.
pub(super) fn migrate(connection: &mut SqliteConnection, now: Timestamp) -> Result<(), StoreError> {
    let (applied, newest) = (applied(connection)?, newest()?);
    if applied > newest {
        return Err(StoreError::Engine(format!("the database has migration {applied}, this program knows {newest}")));
    }
    for (number, sql) in (2..).zip(MIGRATIONS) {
        if number <= applied {
            continue;
        }
        connection.begin()?;
        connection.inner.execute_batch(sql)?;
        connection.execute(
            "INSERT INTO schema_migration (number, applied_at) VALUES ($1, $2)",
            &[Value::Int(number), Value::count(now.as_ms())?],
        )?;
        connection.commit()?;
    }
    Ok(())
}

pub(super) fn applied(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    let mut applied = 0;
    connection.query("SELECT COALESCE(MAX(number), 0) FROM schema_migration", &[], &mut |row| {
        applied = row.int(0)?;
        Ok(())
    })?;
    Ok(applied)
}

pub(super) fn newest() -> Result<i64, StoreError> {
    i64::try_from(MIGRATIONS.len() + 1).map_err(|_| StoreError::Corrupt("too many migrations"))
}

const ARCHIVE_TABLES: [&str; 7] =
    ["schema_migration", "registry", "log", "log_batch", "log_tile", "log_checkpoint", "log_archive"];

/// The tables of an archive: those of the log, as `SCHEMA` makes them.
pub(super) fn archive_schema() -> Option<String> {
    let mut schema = String::new();
    for name in ARCHIVE_TABLES {
        let (_, table) = SCHEMA.split_once(&format!("CREATE TABLE {name} ("))?;
        let (columns, rest) = table.split_once("\n) STRICT")?;
        let (options, _) = rest.split_once(';')?;
        schema.push_str(&format!("CREATE TABLE {name} ({columns}\n) STRICT{options};\n"));
    }
    Some(schema)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::SqliteStore;
    use super::*;
    use crate::store::Store;

    /// Everything that was made, by name, with its words.
    fn made(connection: &mut dyn Connection) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let sql =
            "SELECT name, sql FROM sqlite_master WHERE type IN ('trigger', 'index') AND sql IS NOT NULL ORDER BY name";
        let each = &mut |row: &dyn crate::store::Row| {
            found.push((row.text(0)?.to_owned(), row.text(1)?.to_owned()));
            Ok(())
        };
        connection.query(sql, &[], each).unwrap();
        found
    }

    /// The tables with how they keep their rows.
    fn tables(connection: &mut dyn Connection) -> Vec<(String, i64, i64, i64)> {
        let mut found = Vec::new();
        let sql = "SELECT name, ncol, wr, strict FROM pragma_table_list WHERE schema = 'main' ORDER BY name";
        let each = &mut |row: &dyn crate::store::Row| {
            found.push((row.text(0)?.to_owned(), row.int(1)?, row.int(2)?, row.int(3)?));
            Ok(())
        };
        connection.query(sql, &[], each).unwrap();
        found
    }

    #[test]
    fn a_database_from_before_archives_gets_the_tables_and_triggers_of_a_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("registry.db");
        SqliteStore::create(&path, "registry.example", Timestamp::EPOCH).unwrap();
        let mut writer = SqliteStore::open(&path, Timestamp::EPOCH).unwrap().writer().unwrap();
        let (new, new_tables) = (made(writer.as_mut()), tables(writer.as_mut()));
        for sql in [
            "DROP TABLE log_archive",
            "DROP TRIGGER log_batch_is_never_deleted",
            "DROP TRIGGER log_tile_is_never_deleted",
            "CREATE TRIGGER log_batch_is_never_deleted BEFORE DELETE ON log_batch BEGIN SELECT 1; END",
            "CREATE TRIGGER log_tile_is_never_deleted BEFORE DELETE ON log_tile BEGIN SELECT 1; END",
            "ALTER TABLE registry DROP COLUMN pepper",
            "ALTER TABLE log DROP COLUMN epoch",
            "ALTER TABLE log DROP COLUMN heard_at",
            "CREATE INDEX flag_by_state ON flag (state, id)",
            "DROP TABLE objection",
            "DROP TABLE flag_version",
            "CREATE TABLE flag_version (flag BLOB NOT NULL, version INTEGER NOT NULL, change INTEGER NOT NULL, body TEXT \
             NOT NULL, PRIMARY KEY (flag, version)) STRICT, WITHOUT ROWID",
            "DROP TABLE correction",
            "DROP TABLE correction_party",
            "ALTER TABLE flag DROP COLUMN unit",
            "ALTER TABLE party DROP COLUMN parent",
            "DROP TABLE check_outcome",
            "DROP TABLE import_part",
            "DROP TABLE import",
            "DROP TABLE archived_answer",
            "DELETE FROM schema_migration WHERE number >= 3",
        ] {
            writer.execute(sql, &[]).unwrap();
        }
        assert_ne!(made(writer.as_mut()), new);
        drop(writer);
        let mut writer = SqliteStore::open(&path, Timestamp::EPOCH).unwrap().writer().unwrap();
        assert_eq!(made(writer.as_mut()), new);
        assert_eq!(tables(writer.as_mut()), new_tables);
        let sql = "SELECT place, size, at_max, sealed_at, file_name, digest FROM log_archive";
        writer.query(sql, &[], &mut |_| Ok(())).unwrap();
    }

    #[test]
    fn an_archive_has_the_tables_of_the_log_alone() {
        let schema = archive_schema().unwrap();
        assert_eq!(schema.matches("CREATE TABLE").count(), ARCHIVE_TABLES.len());
        assert!(!schema.contains("TRIGGER") && !schema.contains("party"), "{schema}");
        assert!(schema.contains("WITHOUT ROWID"), "{schema}");
    }
}
