//! What PostgreSQL's errors mean to those above. The server's details hold values of rows, and so may its words about data:
//! they go no further than here.

use crate::store::StoreError;
use std::error::Error as _;
use tokio_postgres::error::{DbError, SqlState};

/// Of a statement on an open connection.
pub(super) fn of_statement(error: &tokio_postgres::Error) -> StoreError {
    if let Some(answer) = error.as_db_error() {
        return of_server(answer);
    }
    // All else is the way there and back, but for values that are not of the statement's types.
    match error.source() {
        Some(cause) if cause.is::<WrongValue>() => StoreError::Corrupt("a value of another type than its column"),
        _ => StoreError::Lost(words(error)),
    }
}

/// Of making a connection. What does not pass by itself, such as a certificate or a password that is refused, is not `Lost`.
pub(super) fn of_connect(error: &tokio_postgres::Error) -> StoreError {
    if let Some(answer) = error.as_db_error() {
        return of_server(answer);
    }
    let mut cause = error.source();
    while let Some(inner) = cause {
        let wrapped = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if inner.is::<rustls::Error>() || wrapped.is_some_and(|wrapped| wrapped.is::<rustls::Error>()) {
            return StoreError::Engine(words(error));
        }
        cause = inner.source();
    }
    match error.source() {
        Some(cause) if cause.is::<std::io::Error>() => StoreError::Lost(words(error)),
        None if error.is_closed() => StoreError::Lost(words(error)),
        _ => StoreError::Engine(words(error)),
    }
}

fn of_server(answer: &DbError) -> StoreError {
    let code = answer.code();
    let text = spoken(answer);
    let is_undone =
        [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED, SqlState::LOCK_NOT_AVAILABLE];
    let is_lost = [
        SqlState::QUERY_CANCELED,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        SqlState::TOO_MANY_CONNECTIONS,
    ];
    if is_undone.contains(code) {
        StoreError::Undone(text)
    } else if is_lost.contains(code)
        || code.code().starts_with("08")
        || answer.severity() == "FATAL" && is_passing(code)
    {
        StoreError::Lost(text)
    } else {
        StoreError::Engine(text)
    }
}

/// Classes of errors that end a connection and may be gone for the next one: of the system, of resources.
fn is_passing(code: &SqlState) -> bool {
    ["53", "57", "58", "XX"].iter().any(|class| code.code().starts_with(class))
}

/// Words about data can repeat it; names of tables and constraints cannot.
fn spoken(answer: &DbError) -> String {
    let code = answer.code().code();
    let place =
        [answer.table(), answer.column(), answer.constraint()].into_iter().flatten().collect::<Vec<_>>().join(", ");
    match (code.get(..2), place.is_empty()) {
        (Some("22" | "23"), true) => format!("PostgreSQL refuses a value ({code})"),
        (Some("22" | "23"), false) => format!("PostgreSQL refuses a value ({code}: {place})"),
        _ => format!("{} ({code})", answer.message()),
    }
}

/// An error and what led to it, in one line.
fn words(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

/// A parameter whose column has another type.
#[derive(Debug, thiserror::Error)]
#[error("another type")]
pub(super) struct WrongValue;
