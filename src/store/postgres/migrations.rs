//! The schema on PostgreSQL, and what brings an older one up to it. A migration that has run is never changed. The numbers
//! are those of the embedded database's: the same number is the same tables.

use super::connection::PostgresConnection;
use crate::domain::Timestamp;
use crate::store::{Connection, StoreError, Value};

const SCHEMA: &str = include_str!("schema.sql");
/// What the first schema for this engine has from the start.
const FIRST: i64 = 4;
/// What brings a database made by an older version up to `SCHEMA`: entry k is migration `FIRST` + 1 + k.
const MIGRATIONS: &[&str] = &[LIFE, VIEW, OUTCOMES, IMPORTS, ANSWERED, NUMBERED];
const LIFE: &str = r#"
ALTER TABLE party ADD COLUMN parent TEXT COLLATE "C";
ALTER TABLE flag ADD COLUMN unit TEXT COLLATE "C" NOT NULL DEFAULT '';
UPDATE flag SET unit = (SELECT CAST(body AS json) -> 'raised_by' ->> 'party' FROM flag_version
    WHERE flag_version.flag = flag.id AND flag_version.version = flag.version);
CREATE INDEX flag_by_unit ON flag (unit, id);
CREATE INDEX flag_by_subject ON flag (subject, id);
CREATE TABLE flag_link (
    subject TEXT COLLATE "C" NOT NULL,
    flag BYTEA NOT NULL,
    PRIMARY KEY (subject, flag)
);
CREATE TABLE flag_coordinating (
    unit TEXT COLLATE "C" NOT NULL,
    flag BYTEA NOT NULL,
    PRIMARY KEY (unit, flag)
);
CREATE INDEX flag_coordinating_by_flag ON flag_coordinating (flag);
INSERT INTO flag_link (subject, flag) SELECT DISTINCT
    json_array_elements_text(COALESCE(CAST(body AS json) -> 'linked', CAST('[]' AS json))), flag FROM flag_version;
CREATE TABLE objection (
    id BYTEA NOT NULL PRIMARY KEY,
    flag BYTEA NOT NULL,
    party TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    deadline BIGINT NOT NULL,
    version BIGINT NOT NULL,
    filed BIGINT NOT NULL,
    change BIGINT NOT NULL,
    body TEXT COLLATE "C" NOT NULL
);
CREATE UNIQUE INDEX objection_open ON objection (flag, party) WHERE state = 'open';
CREATE INDEX objection_by_flag ON objection (flag, id);
CREATE INDEX objection_by_party ON objection (party, id);
CREATE INDEX objection_by_state ON objection (state, id);
CREATE TABLE correction (
    flag BYTEA NOT NULL PRIMARY KEY,
    node TEXT COLLATE "C" NOT NULL,
    due_at BIGINT NOT NULL,
    completed_at BIGINT,
    log_from TEXT COLLATE "C" NOT NULL,
    log_to TEXT COLLATE "C" NOT NULL,
    change BIGINT NOT NULL
);
CREATE INDEX correction_due ON correction (due_at) WHERE completed_at IS NULL;
CREATE TABLE correction_party (
    party TEXT COLLATE "C" NOT NULL,
    flag BYTEA NOT NULL,
    checks BIGINT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    change BIGINT NOT NULL,
    PRIMARY KEY (flag, party)
);
CREATE INDEX correction_of_party ON correction_party (party, change);
"#;
const VIEW: &str = "
DROP INDEX flag_by_state;
DROP INDEX flag_by_unit;
DROP INDEX flag_by_subject;
DROP TABLE flag_link;
DROP TABLE flag_coordinating;
";
const OUTCOMES: &str = r#"
CREATE TABLE check_outcome (
    check_id BYTEA NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    node TEXT COLLATE "C" NOT NULL,
    log_index BIGINT NOT NULL,
    told TEXT COLLATE "C" NOT NULL
);
CREATE TABLE tally (
    place BIGINT NOT NULL PRIMARY KEY,
    seal BYTEA NOT NULL,
    first_day BIGINT NOT NULL,
    last_day BIGINT NOT NULL,
    body BYTEA NOT NULL
);
"#;
const IMPORTS: &str = r#"
CREATE TABLE import (
    id BYTEA NOT NULL PRIMARY KEY,
    unit TEXT COLLATE "C" NOT NULL,
    node TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    once TEXT COLLATE "C",
    step BIGINT NOT NULL,
    body TEXT COLLATE "C" NOT NULL
);
CREATE UNIQUE INDEX import_by_file ON import (unit, once);
CREATE TABLE import_part (
    import BYTEA NOT NULL REFERENCES import (id),
    first_row BIGINT NOT NULL,
    last_row BIGINT NOT NULL,
    flags BYTEA NOT NULL,
    report TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (import, first_row)
);
CREATE TRIGGER import_part_is_never_updated BEFORE UPDATE ON import_part
FOR EACH ROW EXECUTE FUNCTION refuse_change('reports are append-only');
CREATE TRIGGER import_part_is_never_deleted BEFORE DELETE ON import_part
FOR EACH ROW EXECUTE FUNCTION refuse_change('reports are append-only');
CREATE TRIGGER import_part_is_never_emptied BEFORE TRUNCATE ON import_part
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('reports are append-only');
"#;
const ANSWERED: &str = r#"
ALTER TABLE log_archive ADD COLUMN answers BIGINT;
CREATE TABLE archived_answer (
    flag BYTEA NOT NULL,
    party TEXT COLLATE "C" NOT NULL,
    place BIGINT NOT NULL,
    checks BIGINT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (flag, party, place)
);
CREATE TRIGGER archived_answer_is_never_updated BEFORE UPDATE ON archived_answer
FOR EACH ROW EXECUTE FUNCTION refuse_change('answers are append-only');
CREATE TRIGGER archived_answer_is_never_deleted BEFORE DELETE ON archived_answer
FOR EACH ROW EXECUTE FUNCTION refuse_change('answers are append-only');
CREATE TRIGGER archived_answer_is_never_emptied BEFORE TRUNCATE ON archived_answer
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('answers are append-only');
"#;
/// Rows that hold a whole document have numbers: here all rows have.
const NUMBERED: &str = "";
/// Held by whoever changes the schema: `canhbao` in bytes.
const SCHEMA_LOCK: i64 = 0x63_61_6e_68_62_61_6f;

pub(super) fn is_empty(connection: &mut PostgresConnection) -> Result<bool, StoreError> {
    let mut tables = 0;
    connection.query(
        "SELECT COUNT(*) FROM pg_catalog.pg_tables WHERE schemaname = current_schema() AND tablename = 'registry'",
        &[],
        &mut |row| {
            tables = row.int(0)?;
            Ok(())
        },
    )?;
    Ok(tables == 0)
}

/// Makes a database that `fill` fills, all in one transaction: nobody ever sees less than all of it. The parts for the
/// months of `times` are made before.
pub(super) fn fill(
    connection: &mut PostgresConnection,
    times: Option<(Timestamp, Timestamp)>,
    now: Timestamp,
    fill: &mut dyn FnMut(&mut PostgresConnection) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    begin_empty(connection, now)?;
    if let Some((first, last)) = times {
        connection.make_parts(first, last)?;
    }
    fill(connection)?;
    connection.commit()
}

pub(super) fn create(connection: &mut PostgresConnection, registry: &str, now: Timestamp) -> Result<(), StoreError> {
    begin_empty(connection, now)?;
    connection.execute(
        "INSERT INTO registry (id, name, created_at) VALUES (1, $1, $2)",
        &[Value::Text(registry), Value::count(now.as_ms())?],
    )?;
    connection.execute("INSERT INTO change_head (id, number) VALUES (1, 0)", &[])?;
    connection.commit()
}

/// A transaction in which there are all tables, and no rows.
fn begin_empty(connection: &mut PostgresConnection, now: Timestamp) -> Result<(), StoreError> {
    connection.begin()?;
    lock(connection)?;
    if !is_empty(connection)? {
        return Err(StoreError::Engine("the database has a registry already".to_owned()));
    }
    connection.run(SCHEMA)?;
    for number in 1..=newest()? {
        record(connection, number, now)?;
    }
    Ok(())
}

/// Runs what is missing, all of it or nothing, while the other nodes that start wait.
pub(super) fn migrate(connection: &mut PostgresConnection, now: Timestamp) -> Result<(), StoreError> {
    if is_empty(connection)? {
        return Err(StoreError::Engine("no registry is in the database".to_owned()));
    }
    connection.begin()?;
    lock(connection)?;
    let (applied, newest) = (applied(connection)?, newest()?);
    if applied > newest {
        return Err(StoreError::Engine(format!("the database has migration {applied}, this program knows {newest}")));
    }
    for (number, sql) in (FIRST + 1..).zip(MIGRATIONS) {
        if number > applied {
            connection.run(sql)?;
            record(connection, number, now)?;
        }
    }
    connection.commit()
}

/// Taken until the transaction ends.
fn lock(connection: &mut PostgresConnection) -> Result<(), StoreError> {
    connection.execute("SELECT pg_advisory_xact_lock($1)", &[Value::Int(SCHEMA_LOCK)]).map(drop)
}

fn record(connection: &mut PostgresConnection, number: i64, now: Timestamp) -> Result<(), StoreError> {
    connection
        .execute(
            "INSERT INTO schema_migration (number, applied_at) VALUES ($1, $2)",
            &[Value::Int(number), Value::count(now.as_ms())?],
        )
        .map(drop)
}

fn applied(connection: &mut PostgresConnection) -> Result<i64, StoreError> {
    let mut applied = 0;
    connection.query("SELECT COALESCE(MAX(number), 0) FROM schema_migration", &[], &mut |row| {
        applied = row.int(0)?;
        Ok(())
    })?;
    Ok(applied)
}

fn newest() -> Result<i64, StoreError> {
    let later = i64::try_from(MIGRATIONS.len()).map_err(|_| StoreError::Corrupt("too many migrations"))?;
    Ok(FIRST + later)
}
