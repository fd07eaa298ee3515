//! One connection to the server with the statements it knows: how it is made, and with which settings. Nothing here waits
//! without an end.

use super::address::{Address, Place};
use super::{failure, tls};
use crate::store::{StoreError, Value};
use secrecy::ExposeSecret;
use std::collections::HashMap;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio_postgres::config::SslMode;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, NoTls, Socket, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

const CONNECT_LIMIT: Duration = Duration::from_secs(2);
const KEEPALIVE_AFTER: Duration = Duration::from_secs(10);

/// What a connection is for. Its settings go with the first packet, so that no connection is without them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The log's writer: it waits for no one long, and what it leaves lying is undone by the server before it is missed.
    Write,
    /// The search index's writer: what it commits may be lost.
    Search,
    Read,
    /// Reading what other nodes change: one that waits is late.
    Follow,
    /// Making parts of tables, for which others should not wait.
    KeepUp,
    /// Making, migrating and filling a database.
    Set,
}

impl Purpose {
    /// How long an answer, or the next rows of one, may take.
    pub(super) fn limit(self) -> Duration {
        Duration::from_secs(match self {
            Self::Follow => 2,
            Self::Write | Self::KeepUp => 5,
            Self::Search | Self::Read => 30,
            Self::Set => 600,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Write => "canhbao/writer",
            Self::Search => "canhbao/search",
            Self::Read => "canhbao/reader",
            Self::Follow => "canhbao/follower",
            Self::KeepUp => "canhbao/keep-up",
            Self::Set => "canhbao/set-up",
        }
    }

    fn settings(self) -> String {
        let mut all = vec!["default_transaction_isolation=read\\ committed", "client_connection_check_interval=5s"];
        all.extend(match self {
            Self::Write => [
                "synchronous_commit=on",
                "statement_timeout=4500ms",
                "lock_timeout=4s",
                // It holds the numbering of changes, for which other nodes wait, and never pauses itself.
                "idle_in_transaction_session_timeout=1s",
            ],
            Self::Search => [
                "synchronous_commit=off",
                "statement_timeout=29s",
                "lock_timeout=29s",
                "idle_in_transaction_session_timeout=60s",
            ],
            // A statement's rows are fetched at the pace of who reads them; the limit is on each fetch.
            Self::Read | Self::Follow => [
                "default_transaction_read_only=on",
                "statement_timeout=0",
                "lock_timeout=29s",
                "idle_in_transaction_session_timeout=60s",
            ],
            Self::KeepUp => [
                "synchronous_commit=on",
                "statement_timeout=4500ms",
                "lock_timeout=500ms",
                "idle_in_transaction_session_timeout=5s",
            ],
            Self::Set => [
                "synchronous_commit=on",
                "statement_timeout=0",
                "lock_timeout=60s",
                "idle_in_transaction_session_timeout=0",
            ],
        });
        all.iter().map(|setting| format!("-c {setting}")).collect::<Vec<_>>().join(" ")
    }
}

/// How the server is reached, and the threads that do it.
pub(super) struct Route {
    address: Address,
    tls: Option<MakeRustlsConnect>,
    /// It is there until the route is dropped.
    runtime: Option<Runtime>,
}

impl Route {
    pub(super) fn to(address: &Address) -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("postgres")
            .enable_all()
            .build()
            .map_err(|error| StoreError::Engine(error.to_string()))?;
        Ok(Self { address: address.clone(), tls: tls::connector(address)?, runtime: Some(runtime) })
    }

    /// Runs `work` to its end, or to that of the limit. Must not be called where futures run.
    pub(super) fn block_on<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let Some(runtime) = &self.runtime else { return Err(StoreError::Lost("it is closed".to_owned())) };
        runtime.block_on(within(limit, work))
    }

    pub(super) fn connect_blocking(&self, purpose: Purpose) -> Result<Session, StoreError> {
        self.block_on(CONNECT_LIMIT, self.connect(purpose))
    }

    pub(super) async fn connect(&self, purpose: Purpose) -> Result<Session, StoreError> {
        let config = self.config(purpose);
        match &self.tls {
            None => {
                let made = within(CONNECT_LIMIT, async { config.connect(NoTls).await.map_err(failed) }).await?;
                Ok(Session::new(made.0, made.1))
            }
            Some(tls) => {
                let made = within(CONNECT_LIMIT, async { config.connect(tls.clone()).await.map_err(failed) }).await?;
                Ok(Session::new(made.0, made.1))
            }
        }
    }

    fn config(&self, purpose: Purpose) -> Config {
        let Address { user, place, port, database, password } = &self.address;
        let mut config = Config::new();
        config.user(user).port(*port).dbname(database).application_name(purpose.name()).options(purpose.settings());
        config.keepalives_idle(KEEPALIVE_AFTER).tcp_user_timeout(purpose.limit());
        match place {
            Place::Socket(directory) => config.host_path(directory).ssl_mode(SslMode::Disable),
            Place::Loopback(name) => config.host(name).ssl_mode(SslMode::Disable),
            Place::Host { name, .. } => config.host(name).ssl_mode(SslMode::Require),
        };
        if let Some(password) = password {
            config.password(password.expose_secret());
        }
        config
    }
}

fn failed(error: tokio_postgres::Error) -> StoreError {
    failure::of_connect(&error)
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let late = |_| StoreError::Lost(format!("no answer within {} s", limit.as_secs()));
    tokio::time::timeout(limit, work).await.map_err(late)?
}

impl Drop for Route {
    /// Not waiting, since that is not allowed everywhere.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(super) struct Session {
    pub(super) client: Client,
    statements: HashMap<&'static str, Statement>,
}

impl Session {
    fn new<S>(client: Client, connection: tokio_postgres::Connection<Socket, S>) -> Self
    where
        S: tokio_postgres::tls::TlsStream + Unpin + Send + 'static,
    {
        // It ends with the client. Its errors reach whoever waits for an answer, and the next one who asks.
        tokio::spawn(async move { drop(connection.await) });
        Self { client, statements: HashMap::new() }
    }

    pub(super) fn statement(&self, sql: &'static str) -> Option<&Statement> {
        self.statements.get(sql)
    }

    pub(super) fn keep(&mut self, sql: &'static str, statement: Statement) {
        self.statements.insert(sql, statement);
    }
}

/// The types of a statement's parameters as its first values have them; of one that is NULL the server knows best.
pub(super) fn types(values: &[Value<'_>]) -> Vec<Type> {
    let of = |value: &Value<'_>| match value {
        Value::Null => Type::UNKNOWN,
        Value::Int(_) => Type::INT8,
        Value::Text(_) => Type::TEXT,
        Value::Blob(_) => Type::BYTEA,
    };
    values.iter().map(of).collect()
}
