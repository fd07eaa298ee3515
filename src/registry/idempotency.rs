//! Creating with an Idempotency-Key: the answer is kept in the transaction of the change, so a repetition gets the first
//! answer, its entry's place included, even if the first one was lost between commit and client.

use super::{Answered, Call, Error, Registry, digest};
use crate::domain::{Change, KeptAnswer, LogPosition};
use crate::log::{AppendError, Entry, Record, Refusal};
use crate::store;

const CREATED: u16 = 201;

/// The key of a request, and the digest that tells the request from another with the same key.
#[derive(Clone)]
pub struct IdempotencyKey {
    key: String,
    request: [u8; 32],
}

impl IdempotencyKey {
    pub const CHARS_MAX: usize = 64;

    /// `None` unless the key is 1 to 64 printable ASCII characters.
    pub fn parse(key: &[u8], path: &str, body: &[u8]) -> Option<Self> {
        Self::of_digest(key, digest(&[path.as_bytes(), b"\n", body].concat()))
    }

    /// As `parse`, for a request that is not held whole: `request` tells it from any other.
    pub fn of_digest(key: &[u8], request: [u8; 32]) -> Option<Self> {
        let fits = (1..=Self::CHARS_MAX).contains(&key.len()) && key.iter().all(|byte| (b' '..=b'~').contains(byte));
        let key = std::str::from_utf8(key).ok().filter(|_| fits)?;
        Some(Self { key: key.to_owned(), request })
    }
}

impl Registry {
    /// The first answer to this request, if it was given before.
    pub(super) async fn kept_answer(&self, call: &Call, key: &IdempotencyKey) -> Result<Option<Answered>, Error> {
        let (client, text) = (call.actor.client.clone(), key.key.clone());
        let kept = self.read(move |connection| store::answers::find(connection, &client, &text)).await?;
        match kept {
            None => Ok(None),
            Some((kept, _)) if kept.request != key.request => Err(Error::KeyReused),
            Some((kept, position)) => Ok(Some(answered(kept, position))),
        }
    }

    /// Commits a creating change, its entry and its answer.
    #[allow(clippy::too_many_arguments)]
    pub(super) async fn create(
        &self,
        call: &Call,
        key: IdempotencyKey,
        mut entry: Entry,
        change: Change,
        body: Vec<u8>,
        etag: String,
        location: String,
    ) -> Result<Answered, Error> {
        entry.answer_digest = Some(digest(&body));
        let keep = KeptAnswer {
            client: call.actor.client.clone(),
            key: key.key.clone(),
            request: key.request,
            at: call.at,
            status: CREATED,
            location,
            etag,
            body,
        };
        let pending = self.log.submit(Record::changing(entry, change, Some(keep.clone())))?;
        match pending.durable().await {
            Ok(position) => Ok(answered(keep, position)),
            // The same request was under way at the same time and came first.
            Err(AppendError::Refused(Refusal::KeyUsed)) => self.kept_answer(call, &key).await?.ok_or(Error::KeyReused),
            Err(error) => Err(error.into()),
        }
    }
}

fn answered(kept: KeptAnswer, position: LogPosition) -> Answered {
    Answered { body: kept.body, position, etag: Some(kept.etag), location: Some(kept.location) }
}
