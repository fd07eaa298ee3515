//! `/v1/flags`: raise, approve, reject, lift, renew, amend, transfer, read, list, search, history.

use super::accept::{Offer, accepted};
use super::body::{EmptyBody, Unread, WORK_BYTES_MAX};
use super::caller::{Caller, FlagApprove, FlagRead, FlagWrite};
use super::flag_bodies::{AmendBody, LiftBody, ReasonBody, RenewBody, TransferBody};
use super::problem::Problem;
use super::search_body::{CURSOR, SearchBody, place};
use super::{XLSX, idempotency_key, if_match, rendered, streamed};
use crate::domain::{FlagId, FlagInput, FlagState, Timestamp};
use crate::registry::{Error, ExportForm, FlagFilter, Registry};
use actix_web::{HttpRequest, HttpResponse, web};

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
    let reason = body.json(WORK_BYTES_MAX).await?.parse::<ReasonBody>()?.read()?;
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
    let (reason, cause) = body.json(WORK_BYTES_MAX).await?.parse::<LiftBody>()?.read()?;
    Ok(rendered(HttpResponse::Ok(), registry.lift_flag(&caller.call, id, version, reason, cause).await?))
}

pub async fn renew(
    caller: Caller<FlagWrite>,
    request: HttpRequest,
    id: web::Path<String>,
    body: Unread,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let (id, version) = (flag_id(&id)?, if_match(&request)?);
    let (reason, end) = body.json(WORK_BYTES_MAX).await?.parse::<RenewBody>()?.read()?;
    Ok(rendered(HttpResponse::Ok(), registry.renew_flag(&caller.call, id, version, end, reason).await?))
}

pub async fn amend(
    caller: Caller<FlagWrite>,
    request: HttpRequest,
    id: web::Path<String>,
    body: Unread,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let (id, version) = (flag_id(&id)?, if_match(&request)?);
    let body = body.json(WORK_BYTES_MAX).await?;
    let (reason, changes) = body.parse::<AmendBody<'_>>()?.read(registry)?;
    Ok(rendered(HttpResponse::Ok(), registry.amend_flag(&caller.call, id, version, changes, reason).await?))
}

pub async fn transfer(
    caller: Caller<FlagWrite>,
    request: HttpRequest,
    id: web::Path<String>,
    body: Unread,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let (id, version) = (flag_id(&id)?, if_match(&request)?);
    let (reason, owner) = body.json(WORK_BYTES_MAX).await?.parse::<TransferBody>()?.read()?;
    Ok(rendered(HttpResponse::Ok(), registry.transfer_flag(&caller.call, id, version, owner, reason).await?))
}

pub async fn read(
    caller: Caller<FlagRead>,
    id: web::Path<String>,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let at = caller.query.value("at", "expected an RFC 3339 time", Timestamp::parse)?;
    Ok(rendered(HttpResponse::Ok(), registry.read_flag(&caller.call, flag_id(&id)?, at).await?))
}

pub async fn list(caller: Caller<FlagRead>, registry: &'static Registry) -> Result<HttpResponse, Problem> {
    let filter = FlagFilter {
        state: caller.query.value(
            "state",
            "expected proposed, active, rejected, lifted or expired",
            FlagState::parse,
        )?,
        before: caller.query.value("cursor", CURSOR, place)?,
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
    Ok(streamed(media_type, position, pieces))
}

pub async fn search(
    caller: Caller<FlagRead>,
    body: Unread,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let body = body.json(WORK_BYTES_MAX).await?;
    let search = body.parse::<SearchBody<'_>>()?.read(registry)?;
    Ok(rendered(HttpResponse::Ok(), registry.search_flags(&caller.call, search).await?))
}

pub async fn history(
    caller: Caller<FlagRead>,
    id: web::Path<String>,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let version = |text: &str| text.parse().ok().filter(|version: &u32| *version > 0 && version.to_string() == text);
    let after = caller.query.value("cursor", CURSOR, version)?;
    let (id, limit) = (flag_id(&id)?, caller.query.limit()?);
    Ok(rendered(HttpResponse::Ok(), registry.read_flag_history(&caller.call, id, after, limit).await?))
}

/// What is no flag's id names nothing.
pub(super) fn flag_id(text: &str) -> Result<FlagId, Problem> {
    Ok(FlagId::parse(text).ok_or(Error::NotFound)?)
}
