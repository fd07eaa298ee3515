//! `/v1/imports`: hand a file in, find it, look at it, fetch its report, decide on it. A body is never held whole: it goes to
//! disk as it comes.

use super::body::{BODY_TIME_MAX, EmptyBody, Query, Unread, WORK_BYTES_MAX};
use super::caller::{Caller, FlagApprove, FlagRead, FlagWrite};
use super::flag_bodies::ReasonBody;
use super::problem::{Problem, Slug};
use super::search_body::CURSOR;
use super::{XLSX, idempotency_key_of_digest, if_match, rendered, streamed};
use crate::domain::import::{Defaults, FILE_BYTES_MAX, ImportForm, ImportState};
use crate::domain::party::PartyId;
use crate::domain::{Category, ImportId, SourceKind, Verdict};
use crate::registry::{Error, ImportFilter, NewImport, Received, Registry, Upload};
use crate::sheet;
use actix_web::dev::Payload;
use actix_web::web::{Bytes, BytesMut};
use actix_web::{HttpRequest, HttpResponse, web};
use sha2::{Digest, Sha256};
use std::future::poll_fn;
use std::pin::Pin;

const STATES: &str = "expected a state such as done";
/// What is gathered before it is written.
const WRITE_BYTES: usize = 1024 * 1024;

pub async fn create(
    caller: Caller<FlagWrite>,
    request: HttpRequest,
    body: Unread,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    // Before the body is read.
    idempotency_key_of_digest(&request, [0; 32])?;
    let (media_type, length, payload) = body.pieces()?;
    let new = read_request(&caller.query, &media_type)?;
    if length.is_some_and(|length| length > FILE_BYTES_MAX) {
        return Err(too_large());
    }
    let upload = receive(payload, registry.begin_upload(&caller.call).await?).await?;
    let told = format!("{}\n{}?{}\n{media_type}\n", request.path(), new.dry_run, request.query_string());
    let digest = Sha256::new().chain_update(told).chain_update(upload.digest()).finalize();
    let key = idempotency_key_of_digest(&request, digest.into())?;
    Ok(match registry.receive_import(&caller.call, key, new, upload).await? {
        Received::New(answered) => rendered(HttpResponse::Created(), answered),
        Received::Same(answered) => rendered(HttpResponse::Ok(), answered),
    })
}

pub async fn list(caller: Caller<FlagRead>, registry: &'static Registry) -> Result<HttpResponse, Problem> {
    let filter = ImportFilter {
        state: caller.query.value("state", STATES, ImportState::parse)?,
        before: caller.query.value("cursor", CURSOR, ImportId::parse)?,
        limit: caller.query.limit()?,
    };
    Ok(rendered(HttpResponse::Ok(), registry.list_imports(&caller.call, filter).await?))
}

pub async fn read(
    caller: Caller<FlagRead>,
    id: web::Path<String>,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let answered = registry.read_import(&caller.call, import_id(&id)?).await?;
    Ok(rendered(HttpResponse::Ok(), crate::registry::Answered { location: None, ..answered }))
}

pub async fn report(
    caller: Caller<FlagRead>,
    id: web::Path<String>,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let (position, report) = registry.report_import(&caller.call, import_id(&id)?).await?;
    Ok(streamed("text/csv; charset=utf-8; header=present", position, report))
}

pub async fn approve(
    caller: Caller<FlagApprove>,
    request: HttpRequest,
    id: web::Path<String>,
    body: Unread,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let (id, version) = (import_id(&id)?, if_match(&request)?);
    body.json(WORK_BYTES_MAX).await?.parse_or_default::<EmptyBody>()?;
    Ok(rendered(HttpResponse::Ok(), registry.approve_import(&caller.call, id, version).await?))
}

pub async fn reject(
    caller: Caller<FlagApprove>,
    request: HttpRequest,
    id: web::Path<String>,
    body: Unread,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let (id, version) = (import_id(&id)?, if_match(&request)?);
    let reason = body.json(WORK_BYTES_MAX).await?.parse::<ReasonBody>()?.read()?;
    Ok(rendered(HttpResponse::Ok(), registry.reject_import(&caller.call, id, version, reason).await?))
}

/// What is no import's id names nothing.
fn import_id(text: &str) -> Result<ImportId, Problem> {
    Ok(ImportId::parse(text).ok_or(Error::NotFound)?)
}

fn too_large() -> Problem {
    Problem::new(Slug::PayloadTooLarge, format!("At most {FILE_BYTES_MAX} bytes are taken here."))
}

fn read_request(query: &Query, content_type: &str) -> Result<NewImport, Problem> {
    let dry_run = query.value("dry_run", "expected true or false", |text| text.parse().ok())?.unwrap_or(false);
    query.value("verdict", "expected warn, hold or block", |text| {
        Verdict::parse(text).filter(|verdict| *verdict != Verdict::Clear)
    })?;
    query.value("category", "expected a category such as mule", Category::parse)?;
    query.value("source_kind", "expected police, bank_report, ministry or citizen", SourceKind::parse)?;
    query.value("unit", "expected the id of a unit", PartyId::parse)?;
    let mut defaults = Defaults::default();
    for column in Defaults::COLUMNS {
        if let Some(value) = query.text(column.as_str()) {
            defaults.put(column, value)?;
        }
    }
    let mut parts = content_type.split(';').map(str::trim);
    let form = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
        "text/csv" => ImportForm::Csv,
        "application/x-ndjson" => ImportForm::Ndjson,
        XLSX => ImportForm::Xlsx,
        _ => {
            let taken = format!("Send it as text/csv, application/x-ndjson or {XLSX}.");
            return Err(Problem::new(Slug::UnsupportedMediaType, taken));
        }
    };
    let charset = parts.find_map(|part| part.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("charset")));
    let charset = charset.map(|(_, label)| label.trim_matches('"').to_ascii_lowercase());
    if charset.as_deref().is_some_and(|label| !sheet::is_charset(label)) {
        let taken = "The charset must be utf-8, utf-16le, utf-16be or windows-1258.";
        return Err(Problem::new(Slug::UnsupportedMediaType, taken));
    }
    Ok(NewImport { dry_run, form, charset, defaults })
}

/// Writes the body as it comes. A body that stands still is given up.
async fn receive(payload: Payload, mut upload: Upload) -> Result<Upload, Problem> {
    let mut payload = Box::pin(payload);
    let mut gathered = BytesMut::with_capacity(WRITE_BYTES);
    loop {
        let next = poll_fn(|context| futures_core::Stream::poll_next(Pin::as_mut(&mut payload), context));
        let next = tokio::time::timeout(BODY_TIME_MAX, next).await;
        let next = next.map_err(|_| Problem::new(Slug::RequestTimeout, "The body stood still."))?;
        let chunk: Option<Bytes> =
            next.transpose().map_err(|_| Problem::new(Slug::InvalidRequest, "The body broke off."))?;
        let is_last = chunk.is_none();
        gathered.extend_from_slice(&chunk.unwrap_or_default());
        let so_far = upload.bytes() + u64::try_from(gathered.len()).unwrap_or(u64::MAX);
        if so_far > FILE_BYTES_MAX {
            return Err(too_large());
        }
        if gathered.len() >= WRITE_BYTES || is_last {
            let bytes = gathered.split().freeze();
            let written = tokio::task::spawn_blocking(move || upload.write(&bytes).map(|()| upload)).await;
            upload = written.map_err(|_| Error::Internal("a writer of files stopped".to_owned()))??;
        }
        if is_last {
            return Ok(upload);
        }
    }
}
