//! How values go to SQLite, and how a row that comes back is read.

use crate::store::{Row, StoreError, Value};
use rusqlite::types::{ToSqlOutput, ValueRef};

pub(super) struct SqliteRow<'a>(pub(super) &'a rusqlite::Row<'a>);

impl Row for SqliteRow<'_> {
    fn int(&self, column: usize) -> Result<i64, StoreError> {
        self.0.get_ref(column)?.as_i64().map_err(|_| StoreError::Corrupt("no integer where one belongs"))
    }

    fn optional_int(&self, column: usize) -> Result<Option<i64>, StoreError> {
        if self.0.get_ref(column)? == ValueRef::Null { Ok(None) } else { self.int(column).map(Some) }
    }

    fn text(&self, column: usize) -> Result<&str, StoreError> {
        self.0.get_ref(column)?.as_str().map_err(|_| StoreError::Corrupt("no text where one belongs"))
    }

    fn optional_text(&self, column: usize) -> Result<Option<&str>, StoreError> {
        if self.0.get_ref(column)? == ValueRef::Null { Ok(None) } else { self.text(column).map(Some) }
    }

    fn blob(&self, column: usize) -> Result<&[u8], StoreError> {
        self.0.get_ref(column)?.as_blob().map_err(|_| StoreError::Corrupt("no bytes where some belong"))
    }
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Value::Null => ValueRef::Null,
            Value::Int(number) => ValueRef::Integer(number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}
