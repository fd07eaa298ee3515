//! A connection as the statements above see it. What opens and closes transactions and their parts is not sent alone where
//! it can go with the next statement. A connection that failed to answer is dead for good.

use super::failure::{self, WrongValue};
use super::session::{Purpose, Route, Session, types};
use crate::domain::Timestamp;
use crate::store::{self, Connection, Row, StoreError, Value};
use futures_util::StreamExt;
use futures_util::future::join_all;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, RowStream, Statement};

/// Rows taken at once from what has arrived. What has not been taken waits with the server.
const ROWS_AT_ONCE: usize = 256;

const BEGIN_PART: &str = "SAVEPOINT part;";
const KEEP_PART: &str = "RELEASE SAVEPOINT part;";
const UNDO_PART: &str = "ROLLBACK TO SAVEPOINT part; RELEASE SAVEPOINT part;";

pub struct PostgresConnection {
    session: Lent,
    pub(super) route: Arc<Route>,
    limit: Duration,
    begin: &'static str,
    transaction: Transaction,
    /// Sent with the next statement, before it.
    before: String,
    is_dead: bool,
}

/// A session of its own, or one of the readers'.
pub(super) enum Lent {
    Own(Session),
    Pooled(super::readers::Pooled),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transaction {
    Closed,
    /// Begun here; the server does not know yet.
    Planned,
    Open,
}

impl PostgresConnection {
    pub(super) fn new(session: Lent, route: Arc<Route>, purpose: Purpose) -> Self {
        let begin = match purpose {
            Purpose::Read | Purpose::Follow => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;",
            Purpose::Write | Purpose::Search | Purpose::KeepUp | Purpose::Set => "BEGIN;",
        };
        let (limit, transaction) = (purpose.limit(), Transaction::Closed);
        Self { session, route, limit, begin, transaction, before: String::new(), is_dead: false }
    }

    pub(super) fn into_session(self) -> Lent {
        self.session
    }

    pub(super) fn session(&self) -> &Session {
        match &self.session {
            Lent::Own(session) => session,
            Lent::Pooled(session) => session,
        }
    }

    fn keep(&mut self, sql: &'static str, statement: Statement) {
        match &mut self.session {
            Lent::Own(session) => session.keep(sql, statement),
            Lent::Pooled(session) => session.keep(sql, statement),
        }
    }

    /// Runs statements without values, as text.
    pub(super) fn run(&mut self, sql: &str) -> Result<(), StoreError> {
        self.check_alive()?;
        let mut before = self.before();
        before.sql.push_str(sql);
        let done = self.route.block_on(self.limit, before.send(&self.session().client));
        self.settled(done)
    }

    /// The statement, which is made known to the server if it is not yet.
    fn prepared(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<Statement, StoreError> {
        if let Some(statement) = self.session().statement(sql) {
            return Ok(statement.clone());
        }
        self.check_alive()?;
        let before = self.before();
        let (client, types) = (&self.session().client, types(values));
        let work = async {
            let (sent, made) = futures_util::join!(before.send(client), client.prepare_typed(sql, &types));
            sent?;
            made.map_err(|error| failure::of_statement(&error))
        };
        let made = self.route.block_on(self.limit, work);
        let statement = self.settled(made)?;
        self.keep(sql, statement.clone());
        Ok(statement)
    }

    /// Waits for an answer to a statement that travels with what is to be sent before it.
    fn answered<T>(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
        ask: impl AsyncFnOnce(&Client, &Statement, Vec<Parameter<'_>>) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, StoreError> {
        let statement = self.prepared(sql, values)?;
        self.check_alive()?;
        let before = self.before();
        let client = &self.session().client;
        let parameters = values.iter().copied().map(Parameter).collect();
        let work = async {
            let (sent, answer) = futures_util::join!(before.send(client), ask(client, &statement, parameters));
            sent?;
            answer.map_err(|error| failure::of_statement(&error))
        };
        let answer = self.route.block_on(self.limit, work);
        self.settled(answer)
    }

    fn before(&mut self) -> Before {
        let sql = std::mem::take(&mut self.before);
        let begins = self.transaction == Transaction::Planned;
        if begins {
            self.transaction = Transaction::Open;
        }
        Before { sql, begins }
    }

    /// What an answer says of the connection.
    pub(super) fn settled<T>(&mut self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        self.is_dead |= matches!(answer, Err(StoreError::Lost(_)));
        answer
    }

    /// Begins what is planned, so that what does not go through here is part of it.
    pub(super) fn begin_now(&mut self) -> Result<(), StoreError> {
        self.check_begun()?;
        if self.transaction == Transaction::Planned { self.run("") } else { Ok(()) }
    }

    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    fn check_alive(&self) -> Result<(), StoreError> {
        if self.is_dead { Err(StoreError::Lost("the connection broke before".to_owned())) } else { Ok(()) }
    }

    fn check_begun(&self) -> Result<(), StoreError> {
        self.check_alive()?;
        match self.transaction {
            Transaction::Closed => Err(StoreError::Engine("no transaction is open".to_owned())),
            Transaction::Planned | Transaction::Open => Ok(()),
        }
    }

    /// Hands each row to `each`; those behind the first that it refuses are thrown away as they come.
    fn drain(
        &mut self,
        rows: RowStream,
        each: &mut dyn FnMut(&dyn Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut rows = Box::pin(rows).ready_chunks(ROWS_AT_ONCE);
        loop {
            let next = self.route.block_on(self.limit, async { Ok(rows.next().await) });
            let Some(chunk) = self.settled(next)? else { return Ok(()) };
            for row in chunk {
                let row = row.map_err(|error| failure::of_statement(&error));
                each(&PostgresRow(self.settled(row)?))?;
            }
        }
    }
}

/// What is sent before a statement, without waiting for its answer first.
struct Before {
    sql: String,
    begins: bool,
}

impl Before {
    async fn send(&self, client: &Client) -> Result<(), StoreError> {
        if self.sql.is_empty() {
            return Ok(());
        }
        let sent = client.batch_execute(&self.sql).await.map_err(|error| failure::of_statement(&error));
        match sent {
            // The statement that travels with it may have been done, and alone; only a new connection can find out.
            Err(error) if self.begins => Err(StoreError::Lost(error.to_string())),
            sent => sent,
        }
    }
}

impl Connection for PostgresConnection {
    fn now(&mut self) -> Result<Timestamp, StoreError> {
        let mut now = Err(StoreError::Corrupt("no clock"));
        self.query("SELECT FLOOR(EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::BIGINT", &[], &mut |row| {
            now = row.count(0).map(Timestamp::from_ms);
            Ok(())
        })?;
        now
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        self.check_alive()?;
        if self.transaction != Transaction::Closed {
            return Err(StoreError::Engine("a transaction is open already".to_owned()));
        }
        self.transaction = Transaction::Planned;
        self.before = self.begin.to_owned();
        Ok(())
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.check_begun()?;
        if self.transaction == Transaction::Open {
            // The server answers COMMIT after a failure with a quiet ROLLBACK; any statement before it is refused aloud.
            self.run("SELECT; COMMIT;")?;
        }
        self.before.clear();
        self.transaction = Transaction::Closed;
        Ok(())
    }

    fn rollback(&mut self) -> Result<(), StoreError> {
        self.check_begun()?;
        self.before.clear();
        if self.transaction == Transaction::Open {
            self.run("ROLLBACK;")?;
        }
        self.transaction = Transaction::Closed;
        Ok(())
    }

    fn begin_part(&mut self) -> Result<(), StoreError> {
        self.check_begun()?;
        self.before.push_str(BEGIN_PART);
        Ok(())
    }

    fn keep_part(&mut self) -> Result<(), StoreError> {
        self.check_begun()?;
        match self.before.strip_suffix(BEGIN_PART) {
            Some(rest) => self.before.truncate(rest.len()),
            None => self.before.push_str(KEEP_PART),
        }
        Ok(())
    }

    fn undo_part(&mut self) -> Result<(), StoreError> {
        self.check_begun()?;
        match self.before.strip_suffix(BEGIN_PART) {
            Some(rest) => self.before.truncate(rest.len()),
            None => self.before.push_str(UNDO_PART),
        }
        Ok(())
    }

    fn is_far(&self) -> bool {
        true
    }

    /// A lock and no update, which would leave an old version of the row for each batch while somebody holds a snapshot. The
    /// commit is written and waited for all the same.
    fn hold_log(&mut self, number: u64, epoch: u64) -> Result<bool, StoreError> {
        let mut is_held = false;
        let sql = "SELECT epoch FROM log WHERE number = $1 AND epoch = $2 FOR NO KEY UPDATE";
        self.query(sql, &[Value::count(number)?, Value::count(epoch)?], &mut |_| {
            is_held = true;
            Ok(())
        })?;
        Ok(is_held)
    }

    /// Nothing is left over by a server that runs on.
    fn settle(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn drops_later(&self) -> bool {
        true
    }

    fn execute(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        self.answered(sql, values, async |client, statement, values| client.execute_raw(statement, values).await)
    }

    fn execute_all(&mut self, statements: &[store::Statement<'_>]) -> Result<Vec<u64>, StoreError> {
        let prepared: Result<Vec<Statement>, StoreError> =
            statements.iter().map(|statement| self.prepared(statement.sql, &statement.values)).collect();
        let prepared = prepared?;
        self.check_alive()?;
        let before = self.before();
        let client = &self.session().client;
        let sent = prepared.iter().zip(statements).map(|(prepared, statement)| {
            client.execute_raw(prepared, statement.values.iter().copied().map(Parameter).collect::<Vec<_>>())
        });
        let work = async {
            let (sent, answers) = futures_util::join!(before.send(client), join_all(sent));
            sent?;
            answers.into_iter().map(|answer| answer.map_err(|error| failure::of_statement(&error))).collect()
        };
        let answers = self.route.block_on(self.limit, work);
        self.settled(answers)
    }

    fn query(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
        each: &mut dyn FnMut(&dyn Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let rows =
            self.answered(sql, values, async |client, statement, values| client.query_raw(statement, values).await)?;
        self.drain(rows, each)
    }
}

struct PostgresRow(tokio_postgres::Row);

impl PostgresRow {
    fn column<'a, T: tokio_postgres::types::FromSql<'a>>(
        &'a self,
        column: usize,
        fault: &'static str,
    ) -> Result<T, StoreError> {
        self.0.try_get(column).map_err(|_| StoreError::Corrupt(fault))
    }
}

impl Row for PostgresRow {
    fn int(&self, column: usize) -> Result<i64, StoreError> {
        self.column(column, "no integer where one belongs")
    }

    fn optional_int(&self, column: usize) -> Result<Option<i64>, StoreError> {
        self.column(column, "no integer where one belongs")
    }

    fn text(&self, column: usize) -> Result<&str, StoreError> {
        self.column(column, "no text where one belongs")
    }

    fn optional_text(&self, column: usize) -> Result<Option<&str>, StoreError> {
        self.column(column, "no text where one belongs")
    }

    fn blob(&self, column: usize) -> Result<&[u8], StoreError> {
        self.column(column, "no bytes where some belong")
    }
}

/// A value on its way. The client library writes what it sends into its own log, which must not see it.
pub(super) struct Parameter<'a>(pub(super) Value<'a>);

impl std::fmt::Debug for Parameter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }
}

impl ToSql for Parameter<'_> {
    fn to_sql(&self, to: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self.0 {
            Value::Null => Ok(IsNull::Yes),
            Value::Int(number) if *to == Type::INT8 => number.to_sql(to, out),
            Value::Text(text) if *to == Type::TEXT || *to == Type::NAME => text.to_sql(to, out),
            Value::Blob(bytes) if *to == Type::BYTEA => bytes.to_sql(to, out),
            Value::Int(_) | Value::Text(_) | Value::Blob(_) => Err(Box::new(WrongValue)),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
