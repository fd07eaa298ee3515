//! Reading what clients send: bodies with a size, a time and a media type, JSON that names its faults, and query
//! parameters of which none is unknown.

use super::edge::arrival;
use super::problem::{Problem, Slug};
use crate::clock::Stopwatch;
use crate::domain::strict::{Object, escape, explain};
use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::{Bytes, BytesMut};
use actix_web::{FromRequest, HttpRequest};
use serde::de::{Deserialize, DeserializeOwned};
use std::future::{Future, Ready, poll_fn, ready};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// A body must be there so long after its request. The edge sees to it that a reader looks again then.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(5);
pub const CHECK_BYTES_MAX: usize = 16 * 1024;
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Flags, parties, clients: people's work.
pub const WORK_BYTES_MAX: usize = 64 * 1024;

/// A body that is not read yet, so that who is asking is known before what they ask.
pub struct Unread {
    payload: Payload,
    /// From the head; a body longer than its limit is refused unread.
    length: Option<u64>,
    content_type: Option<HeaderValue>,
    is_encoded: bool,
    since: Stopwatch,
}

impl FromRequest for Unread {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let headers = request.headers();
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        ready(arrival(request).map(|arrival| Self {
            payload: payload.take(),
            length: length.and_then(|length| length.parse().ok()),
            content_type: headers.get(header::CONTENT_TYPE).cloned(),
            is_encoded: headers.contains_key(header::CONTENT_ENCODING),
            since: arrival.watch,
        }))
    }
}

impl Unread {
    /// A JSON body of at most `bytes_max` bytes; an absent body is no bytes.
    pub async fn json(self, bytes_max: usize) -> Result<Json, Problem> {
        Ok(Json(self.read(bytes_max, "application/json").await?))
    }

    /// The bytes of an RFC 6749 form.
    pub async fn form(self) -> Result<Bytes, Problem> {
        self.read(CHECK_BYTES_MAX, "application/x-www-form-urlencoded").await
    }

    /// A body that is too large to be held: its media type, its length if the head tells it, and its pieces.
    pub fn pieces(self) -> Result<(String, Option<u64>, Payload), Problem> {
        if self.is_encoded {
            return Err(Problem::new(Slug::UnsupportedMediaType, "A Content-Encoding is not taken."));
        }
        let content_type = self.content_type.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok((content_type.to_owned(), self.length, self.payload))
    }

    async fn read(self, bytes_max: usize, media_type: &'static str) -> Result<Bytes, Problem> {
        if self.length.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > bytes_max)) {
            return Err(too_large(bytes_max));
        }
        if self.is_encoded {
            return Err(Problem::new(Slug::UnsupportedMediaType, "A Content-Encoding is not taken."));
        }
        let mistyped = || Problem::new(Slug::UnsupportedMediaType, format!("Send it as {media_type}."));
        let given = media_type_of(self.content_type.as_ref());
        if !given.is_empty() && !given.eq_ignore_ascii_case(media_type.as_bytes()) {
            return Err(mistyped());
        }
        let bytes = read(self.payload, bytes_max, self.since).await?;
        if given.is_empty() && !bytes.is_empty() { Err(mistyped()) } else { Ok(bytes) }
    }
}

/// Without its parameters; empty if there is none.
fn media_type_of(content_type: Option<&HeaderValue>) -> &[u8] {
    let mut parts = content_type.map(HeaderValue::as_bytes).unwrap_or_default().split(|byte| *byte == b';');
    parts.next().unwrap_or_default().trim_ascii()
}

/// The body of an act that needs none: absent, or `{}`.
#[derive(serde::Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct EmptyBody {}

/// The bytes of a JSON body.
pub struct Json(pub Bytes);

impl Json {
    /// Reads the body as `T`, which must refuse unknown fields; every fault names where it is.
    pub fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Problem> {
        // That it is UTF-8 is quicker to see for the whole than for string after string.
        match std::str::from_utf8(&self.0).map(serde_json::from_str::<Object<T>>) {
            Ok(Ok(Object(value))) => Ok(value),
            Ok(Err(_)) | Err(_) => Err(Problem::violations(Slug::InvalidRequest, vec![explain::<Object<T>>(&self.0)])),
        }
    }

    /// As `parse`, for a body that may be absent.
    pub fn parse_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, Problem> {
        if self.0.is_empty() { Ok(T::default()) } else { self.parse() }
    }
}

fn too_large(bytes_max: usize) -> Problem {
    Problem::new(Slug::PayloadTooLarge, format!("At most {bytes_max} bytes are taken here."))
}

async fn read(payload: Payload, bytes_max: usize, since: Stopwatch) -> Result<Bytes, Problem> {
    let mut reading = pin!(collect(payload, bytes_max));
    poll_fn(|context| match reading.as_mut().poll(context) {
        Poll::Pending if since.elapsed() >= BODY_TIME_MAX => {
            Poll::Ready(Err(Problem::new(Slug::RequestTimeout, "The body did not arrive in time.")))
        }
        polled @ (Poll::Ready(_) | Poll::Pending) => polled,
    })
    .await
}

async fn collect(payload: Payload, bytes_max: usize) -> Result<Bytes, Problem> {
    let mut payload = pin!(payload);
    let mut whole: Option<Bytes> = None;
    let mut gathered = BytesMut::new();
    loop {
        let next = poll_fn(|context| futures_core::Stream::poll_next(payload.as_mut(), context)).await;
        let Some(chunk) = next else { break };
        let chunk = chunk.map_err(|_| Problem::new(Slug::InvalidRequest, "The body broke off."))?;
        if gathered.len() + whole.as_ref().map_or(0, Bytes::len) + chunk.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        match whole.take() {
            None if gathered.is_empty() => whole = Some(chunk),
            first => {
                gathered.extend_from_slice(&first.unwrap_or_default());
                gathered.extend_from_slice(&chunk);
            }
        }
    }
    Ok(whole.unwrap_or_else(|| gathered.freeze()))
}

/// For URLs that know no query parameters and ask for no token.
pub struct NoQuery;

impl FromRequest for NoQuery {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Query::parse(request.query_string(), &[]).map(|_| Self))
    }
}

/// The query parameters of a request whose names were checked before.
#[derive(Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Refuses a parameter that is unknown here or given twice.
    pub fn parse(text: &str, known: &[&str]) -> Result<Self, Problem> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            if !known.contains(&name.as_ref()) {
                return Err(Problem::violation(format!("/{}", escape(&name)), "is not a query parameter here"));
            }
            if pairs.iter().any(|(earlier, _)| *earlier == name) {
                return Err(Problem::violation(format!("/{}", escape(&name)), "is given twice"));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(pairs))
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that `read` must accept.
    pub fn value<T>(&self, name: &str, reason: &str, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Problem> {
        let text = self.text(name);
        text.map(|text| read(text).ok_or_else(|| Problem::violation(format!("/{name}"), reason))).transpose()
    }

    /// `limit` of every list.
    pub fn limit(&self) -> Result<u32, Problem> {
        let read = |text: &str| text.parse().ok().filter(|limit| (1..=LIST_ROWS_MAX).contains(limit));
        Ok(self.value("limit", LIMIT, read)?.unwrap_or(LIST_ROWS_DEFAULT))
    }
}

/// `limit` of a list that is asked for in a body.
pub fn limit(given: Option<u32>) -> Result<u32, Problem> {
    let limit = given.unwrap_or(LIST_ROWS_DEFAULT);
    if (1..=LIST_ROWS_MAX).contains(&limit) { Ok(limit) } else { Err(Problem::violation("/limit", LIMIT)) }
}

const LIMIT: &str = "expected a number from 1 to 200";

pub const LIST_ROWS_MAX: u32 = 200;
pub const LIST_ROWS_DEFAULT: u32 = 50;
