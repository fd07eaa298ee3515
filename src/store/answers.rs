//! Statements over kept answers (Idempotency-Key).

use super::{Connection, StoreError, Value};
use crate::domain::party::ClientId;
use crate::domain::{KeptAnswer, LogPosition, Timestamp};

/// Keeps an answer; false if the client used the key before.
pub fn insert(connection: &mut dyn Connection, answer: &KeptAnswer, entry: &LogPosition) -> Result<bool, StoreError> {
    let rows = connection.execute(
        "INSERT INTO kept_answer (client, key, request, at, node, log_index, status, location, etag, body) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (client, key) DO NOTHING",
        &[
            Value::Text(answer.client.as_str()),
            Value::Text(&answer.key),
            Value::Blob(&answer.request),
            Value::count(answer.at.as_ms())?,
            Value::Text(&entry.node),
            Value::count(entry.index)?,
            Value::Int(answer.status.into()),
            Value::Text(&answer.location),
            Value::Text(&answer.etag),
            Value::Blob(&answer.body),
        ],
    )?;
    Ok(rows == 1)
}

pub fn find(
    connection: &mut dyn Connection,
    client: &ClientId,
    key: &str,
) -> Result<Option<(KeptAnswer, LogPosition)>, StoreError> {
    let mut found = None;
    connection.query(
        "SELECT request, at, node, log_index, status, location, etag, body FROM kept_answer \
         WHERE client = $1 AND key = $2",
        &[Value::Text(client.as_str()), Value::Text(key)],
        &mut |row| {
            let answer = KeptAnswer {
                client: client.clone(),
                key: key.to_owned(),
                request: row.blob(0)?.try_into().map_err(|_| StoreError::Corrupt("a digest of another length"))?,
                at: Timestamp::from_ms(row.count(1)?),
                status: u16::try_from(row.int(4)?).map_err(|_| StoreError::Corrupt("an impossible status"))?,
                location: row.text(5)?.to_owned(),
                etag: row.text(6)?.to_owned(),
                body: row.blob(7)?.to_vec(),
            };
            found = Some((answer, LogPosition { node: row.text(2)?.to_owned().into(), index: row.count(3)? }));
            Ok(())
        },
    )?;
    Ok(found)
}
