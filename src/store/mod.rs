//! The database: its contract, and the statements over it (one file a subject), written once in the SQL that SQLite
//! and PostgreSQL share. Drivers only connect, migrate and run; nothing above this layer sees SQL.

pub mod access;
pub mod answered;
pub mod answers;
pub mod archive;
pub mod changes;
pub mod corrections;
pub mod flags;
pub mod history;
pub mod imports;
pub mod lease;
pub mod log;
pub mod moving;
pub mod objections;
pub mod outcomes;
pub mod postgres;
pub mod registry;
pub mod search;
pub mod sqlite;
pub mod tally;
pub mod tree;
mod units;

use crate::domain::Timestamp;

/// A database that keeps what it was given.
///
/// Durability contract: when `Connection::commit` returns `Ok`, everything executed since `begin` is on stable storage
/// and survives a crash of the process, of the system and of its power. When it returns an error, nothing is known: the
/// caller must treat the connection as dead, must not retry on it, and must find out on a new one what was kept. Between
/// `begin` and `commit` nobody else sees the work. Readers see whole transactions only, and never wait for the writer.
pub trait Store: Send + Sync {
    /// A connection that writes. A node's log has one.
    fn writer(&self) -> Result<Box<dyn Connection + Send>, StoreError>;

    /// The connection that writes the search index, which is derived data: its commits may be lost, but not torn. It never
    /// makes `writer`'s wait.
    fn search_writer(&self) -> Result<Box<dyn Connection + Send>, StoreError>;

    /// Whether other processes may write to this database at the same time.
    fn is_shared(&self) -> bool;

    /// Does what a database needs from time to time to take entries of `now` and the months after it.
    fn keep_up(&self, now: Timestamp) -> Result<(), StoreError>;

    /// Drops what lies in recorded archives and is still here, as far as `now` lets it. Nobody sees a difference, nobody waits
    /// for it, and what an interrupted or refused call leaves the next one takes up.
    fn drop_archived(&self, now: Timestamp) -> Result<(), StoreError>;

    /// Lends a connection that only reads; it sees the search index too.
    fn read(&self, work: &mut dyn FnMut(&mut dyn Connection) -> Result<(), StoreError>) -> Result<(), StoreError>;

    /// As `read`, but it waits for no other reader, and not long for the database: for one thread that may not be late.
    fn read_at_once(
        &self,
        work: &mut dyn FnMut(&mut dyn Connection) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.read(work)
    }
}

impl dyn Store + '_ {
    /// Runs `work` on a connection that only reads and returns what it found.
    pub fn find<T>(&self, work: impl Fn(&mut dyn Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut found = None;
        self.read(&mut |connection| {
            found = Some(work(connection)?);
            Ok(())
        })?;
        found.ok_or(StoreError::Corrupt("no reader ran"))
    }

    /// As `find`, by `read_at_once`.
    pub fn find_at_once<T>(
        &self,
        work: impl Fn(&mut dyn Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut found = None;
        self.read_at_once(&mut |connection| {
            found = Some(work(connection)?);
            Ok(())
        })?;
        found.ok_or(StoreError::Corrupt("no reader ran"))
    }
}

pub trait Connection {
    /// The time by the database's clock, which is one for all who share it.
    fn now(&mut self) -> Result<Timestamp, StoreError>;

    fn begin(&mut self) -> Result<(), StoreError>;
    fn commit(&mut self) -> Result<(), StoreError>;
    fn rollback(&mut self) -> Result<(), StoreError>;
    /// Starts a part of a transaction that can be undone alone. Parts are not nested.
    fn begin_part(&mut self) -> Result<(), StoreError>;
    fn keep_part(&mut self) -> Result<(), StoreError>;
    fn undo_part(&mut self) -> Result<(), StoreError>;

    /// Keeps a log's row from all who hold or change it, until the open transaction ends; false if its epoch is another one.
    fn hold_log(&mut self, number: u64, epoch: u64) -> Result<bool, StoreError>;

    /// Whether each statement goes to another process, so that few are better than many.
    fn is_far(&self) -> bool;

    /// Does what nobody waits for; to be called between two transactions, after what has been answered.
    fn rest(&mut self) {}

    /// Brings everything committed into the main file, so that a copy of it is whole. For a clean end.
    fn settle(&mut self) -> Result<(), StoreError>;

    /// Whether what an archive holds is dropped after its transaction, by `Store::drop_archived`, since others share the database.
    fn drops_later(&self) -> bool;

    /// Runs a statement; returns how many rows it touched.
    fn execute(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<u64, StoreError>;

    /// Runs statements in order, as if each by itself, without waiting for one before the next is sent where that costs time;
    /// returns how many rows each touched. What runs after one that touched none may have to be undone.
    fn execute_all(&mut self, statements: &[Statement<'_>]) -> Result<Vec<u64>, StoreError> {
        statements.iter().map(|statement| self.execute(statement.sql, &statement.values)).collect()
    }

    /// Streams the rows of a query.
    fn query(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
        each: &mut dyn FnMut(&dyn Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;
}

/// A statement with its values, which is run later.
pub struct Statement<'a> {
    pub sql: &'static str,
    pub values: Vec<Value<'a>>,
}

#[derive(Clone, Copy)]
pub enum Value<'a> {
    Null,
    Int(i64),
    Text(&'a str),
    Blob(&'a [u8]),
}

impl Value<'_> {
    /// Counters and milliseconds stay far below 2^63; a larger number would be a defect and is refused, not wrapped.
    pub fn count(number: u64) -> Result<Self, StoreError> {
        i64::try_from(number).map(Self::Int).map_err(|_| StoreError::Corrupt("a number over 2^63"))
    }
}

/// One row of an answer; columns count from 0. Reading a column as another type is an error, never a guess.
pub trait Row {
    fn int(&self, column: usize) -> Result<i64, StoreError>;
    fn optional_int(&self, column: usize) -> Result<Option<i64>, StoreError>;
    fn text(&self, column: usize) -> Result<&str, StoreError>;
    fn optional_text(&self, column: usize) -> Result<Option<&str>, StoreError>;
    fn blob(&self, column: usize) -> Result<&[u8], StoreError>;

    fn count(&self, column: usize) -> Result<u64, StoreError> {
        u64::try_from(self.int(column)?).map_err(|_| StoreError::Corrupt("a negative count"))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The connection is dead. If it died in `commit`, what was to be committed may be kept or not.
    #[error("the database is lost: {0}")]
    Lost(String),
    /// The engine undid the transaction because of another one. It may be done once more.
    #[error("the database undid a transaction: {0}")]
    Undone(String),
    /// Another process has taken this node's log.
    #[error("another process has taken over this log")]
    Fenced,
    /// What is stored does not have the form that the code writes.
    #[error("the database holds {0}")]
    Corrupt(&'static str),
    /// The engine's own words. They name files, tables and codes, never values.
    #[error("{0}")]
    Engine(String),
}
