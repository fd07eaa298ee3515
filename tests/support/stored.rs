//! What a registry's database holds of its logs and changes, as it stands there, from whichever engine. It must never write
//! to what it reads.

use super::postgres;
use rusqlite::Connection;
use std::path::{Path, PathBuf};

/// Indices of a log and its number are one integer in the database.
const LOG_PLACES: u64 = 1 << 40;
const LOGS: &str = "SELECT node, number FROM log ORDER BY number";
const BATCHES: &str = "SELECT place, size, at_min, at_max, entries FROM log_batch ORDER BY place";
const CHANGES: &str = "SELECT number, at, node, log_index FROM change ORDER BY number";
const CHANGE_HEAD: &str = "SELECT number FROM change_head";

/// Where a registry's database is.
#[derive(Clone, Debug)]
pub enum Place {
    /// In this data directory.
    Embedded(PathBuf),
    /// PostgreSQL at this URL.
    Shared(String),
}

impl Place {
    /// Where the configuration in a data directory says.
    pub fn of(data: &Path) -> Self {
        let text = std::fs::read_to_string(data.join(canhbao::config::FILE)).unwrap_or_default();
        let config: toml::Table = text.parse().unwrap();
        match config.get("store").and_then(toml::Value::as_str) {
            None | Some("") => Self::Embedded(data.to_owned()),
            Some(url) => Self::Shared(url.to_owned()),
        }
    }
}

pub struct Stored {
    /// Each node with its batches, in order.
    pub logs: Vec<(String, Vec<StoredBatch>)>,
    pub changes: Vec<StoredChange>,
    pub change_head: u64,
}

pub struct StoredBatch {
    pub first_index: u64,
    pub size: u64,
    pub at_min: u64,
    pub at_max: u64,
    pub entries: Vec<u8>,
}

pub struct StoredChange {
    pub number: u64,
    pub at: u64,
    pub node: String,
    pub log_index: u64,
}

/// A value that both engines have.
enum Cell {
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
}

type Rows = Vec<Vec<Cell>>;

impl Stored {
    pub fn read(place: &Place) -> Self {
        let statements = [LOGS, BATCHES, CHANGES, CHANGE_HEAD];
        let [logs, batches, changes, head] = match place {
            Place::Embedded(data) => read_embedded(data, statements),
            Place::Shared(url) => read_shared(url, statements),
        };
        let mut logs: Vec<(String, Vec<StoredBatch>)> = (0..)
            .zip(logs)
            .map(|(number, row)| {
                assert_eq!(row[1].count(), number, "the logs are not numbered without a gap");
                (row[0].text(), Vec::new())
            })
            .collect();
        for row in batches {
            let (number, first_index) = (row[0].count() / LOG_PLACES, row[0].count() % LOG_PLACES);
            let (_, log) = logs.get_mut(usize::try_from(number).unwrap()).expect("a batch of no log");
            log.push(StoredBatch {
                first_index,
                size: row[1].count(),
                at_min: row[2].count(),
                at_max: row[3].count(),
                entries: row[4].blob(),
            });
        }
        let change = |row: Vec<Cell>| StoredChange {
            number: row[0].count(),
            at: row[1].count(),
            node: row[2].text(),
            log_index: row[3].count(),
        };
        Self { logs, changes: changes.into_iter().map(change).collect(), change_head: head[0][0].count() }
    }
}

impl Cell {
    fn count(&self) -> u64 {
        let Self::Int(number) = self else { panic!("no integer") };
        u64::try_from(*number).unwrap()
    }

    fn text(&self) -> String {
        let Self::Text(text) = self else { panic!("no text") };
        text.clone()
    }

    fn blob(&self) -> Vec<u8> {
        let Self::Blob(bytes) = self else { panic!("no blob") };
        bytes.clone()
    }
}

/// Reads a copy, so that nothing here can touch the original.
fn read_embedded<const N: usize>(data: &Path, statements: [&str; N]) -> [Rows; N] {
    let copy = tempfile::tempdir().unwrap();
    for name in ["registry.db", "registry.db-wal"] {
        if data.join(name).exists() {
            std::fs::copy(data.join(name), copy.path().join(name)).unwrap();
        }
    }
    let database = Connection::open(copy.path().join("registry.db")).unwrap();
    statements.map(|statement| {
        let mut statement = database.prepare(statement).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        let mut found = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            found.push((0..columns).map(|column| embedded_cell(row.get_ref(column).unwrap())).collect());
        }
        found
    })
}

fn embedded_cell(value: rusqlite::types::ValueRef<'_>) -> Cell {
    use rusqlite::types::ValueRef;
    match value {
        ValueRef::Integer(number) => Cell::Int(number),
        ValueRef::Text(text) => Cell::Text(String::from_utf8(text.to_vec()).unwrap()),
        ValueRef::Blob(bytes) => Cell::Blob(bytes.to_vec()),
        ValueRef::Null | ValueRef::Real(_) => panic!("a value of a type that no column has"),
    }
}

fn read_shared<const N: usize>(url: &str, statements: [&str; N]) -> [Rows; N] {
    postgres::snapshot(url, statements).map(|rows| rows.iter().map(shared_cells).collect())
}

fn shared_cells(row: &tokio_postgres::Row) -> Vec<Cell> {
    use tokio_postgres::types::Type;
    let cell = |(place, column): (usize, &tokio_postgres::Column)| match *column.type_() {
        Type::INT8 => Cell::Int(row.get(place)),
        Type::TEXT => Cell::Text(row.get(place)),
        Type::BYTEA => Cell::Blob(row.get(place)),
        ref other => panic!("{other}: a type that no column has"),
    };
    row.columns().iter().enumerate().map(cell).collect()
}
