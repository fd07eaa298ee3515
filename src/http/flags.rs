//! `/v1/flags`: raise, approve, reject, lift, read, list.

use super::accept::{Offer, accepted};
use super::body::{EmptyBody, Unread, WORK_BYTES_MAX};
use super::caller::{Caller, FlagApprove, FlagRead, FlagWrite};
use super::problem::{Problem, Slug};
use super::stream::LogBody;
use super::{LOG_ENTRY, XLSX, if_match, rendered, text};
use crate::domain::{FlagId, FlagInput, FlagState};
use crate::registry::{Error, ExportForm, FlagFilter, IdempotencyKey, Registry};
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReasonBody {
    reason: String,
}

pub async fn raise(
    caller: Caller<FlagWrite>,
    request: HttpRequest,
    body: Unread,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let body = body.json(WORK_BYTES_MAX).await?;
    let key = idempotency_key(&request, &body.0)?;
    let proposal = body.parse::<FlagInput<'_>>()?.parse(&registry.directory())?;
    let answered = registry.raise_flag(&caller.call, key, proposal).await?;
    Ok(rendered(HttpResponse::Created(), answered))
}

pub async fn approve(
    caller: Caller<FlagApprove>,
    request: HttpRequest,
    id: web::Path<String>,
    body: Unread,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let (id, version) = (flag_id(&id)?, if_match(&request)?);
    body.json(WORK_BYTES_MAX).await?.parse_or_default::<EmptyBody>()?;
    Ok(rendered(HttpResponse::Ok(), registry.approve_flag(&caller.call, id, version).await?))
}

pub async fn reject(
    caller: Caller<FlagApprove>,
    request: HttpRequest,
    id: web::Path<String>,
    body: Unread,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let (id, version) = (flag_id(&id)?, if_match(&request)?);
    let reason = text(body.json(WORK_BYTES_MAX).await?.parse::<ReasonBody>()?.reason, "/reason", 2000)?;
    Ok(rendered(HttpResponse::Ok(), registry.reject_flag(&caller.call, id, version, reason).await?))
}

pub async fn lift(
    caller: Caller<FlagWrite>,
    request: HttpRequest,
    id: web::Path<String>,
    body: Unread,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let (id, version) = (flag_id(&id)?, if_match(&request)?);
    let reason = text(body.json(WORK_BYTES_MAX).await?.parse::<ReasonBody>()?.reason, "/reason", 2000)?;
    Ok(rendered(HttpResponse::Ok(), registry.lift_flag(&caller.call, id, version, reason).await?))
}

pub async fn read(
    caller: Caller<FlagRead>,
    id: web::Path<String>,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    Ok(rendered(HttpResponse::Ok(), registry.read_flag(&caller.call, flag_id(&id)?).await?))
}

pub async fn list(caller: Caller<FlagRead>, registry: &'static Registry) -> Result<HttpResponse, Problem> {
    let filter = FlagFilter {
        state: caller.query.value(
            "state",
            "expected proposed, active, rejected, lifted or expired",
            FlagState::parse,
        )?,
        before: caller.query.value("cursor", "expected a next_cursor of this list", FlagId::parse)?,
        limit: caller.query.limit()?,
    };
    Ok(rendered(HttpResponse::Ok(), registry.list_flags(&caller.call, filter).await?))
}

/// Everything that is proposed or in force, as a stream.
pub async fn export(
    caller: Caller<FlagRead>,
    request: HttpRequest,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let (form, media_type) = match accepted(&request, &Offer::EXPORT)? {
        Offer::NdJson => (ExportForm::NdJson, "application/x-ndjson"),
        Offer::Xlsx => (ExportForm::Xlsx, XLSX),
        Offer::Csv | Offer::Json => (ExportForm::Csv, "text/csv; charset=utf-8; header=present"),
    };
    let (position, pieces) = registry.export_flags(&caller.call, form).await?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, media_type))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((LOG_ENTRY, position))
        .body(LogBody::start(pieces)))
}

/// What is no flag's id names nothing.
fn flag_id(text: &str) -> Result<FlagId, Problem> {
    Ok(FlagId::parse(text).ok_or(Error::NotFound)?)
}

fn idempotency_key(request: &HttpRequest, body: &[u8]) -> Result<IdempotencyKey, Problem> {
    let header = request.headers().get("idempotency-key");
    let missing = || Problem::new(Slug::IdempotencyKeyMissing, "Send an Idempotency-Key of 1 to 64 printable ASCII.");
    let key = header.ok_or_else(missing)?;
    IdempotencyKey::parse(key.as_bytes(), request.path(), body).ok_or_else(missing)
}
