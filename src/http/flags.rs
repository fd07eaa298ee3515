//! `/v1/flags`: raise, approve, reject, lift, read, list.

use super::body::{EmptyBody, Unread, WORK_BYTES_MAX};
use super::caller::{Caller, FlagApprove, FlagRead, FlagWrite};
use super::checks::read_subjects;
use super::problem::{Problem, Slug};
use super::{if_match, rendered, text};
use crate::domain::strict::{Object, object, present, present_object, word};
use crate::domain::{
    Category, FlagId, FlagState, LegalBasis, Proposal, Source, SourceKind, SubjectInput, Timestamp, Urgency, Verdict,
};
use crate::registry::{Error, FlagFilter, IdempotencyKey, Registry};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

const LINKED_MAX: usize = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FlagBody<'a> {
    #[serde(borrow, deserialize_with = "object")]
    subject: SubjectInput<'a>,
    #[serde(deserialize_with = "word")]
    verdict: Verdict,
    #[serde(deserialize_with = "word")]
    category: Category,
    case: String,
    reason: String,
    #[serde(default, deserialize_with = "present_object")]
    legal_basis: Option<LegalBasisBody>,
    #[serde(default, deserialize_with = "present")]
    expires_at: Option<Timestamp>,
    #[serde(default)]
    urgent: bool,
    #[serde(default, borrow)]
    linked: Vec<Object<SubjectInput<'a>>>,
    #[serde(default, deserialize_with = "present_object")]
    source: Option<SourceBody>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LegalBasisBody {
    document: String,
    issued_on: String,
    authority: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceBody {
    #[serde(deserialize_with = "word")]
    kind: SourceKind,
    #[serde(default, deserialize_with = "present")]
    reference: Option<String>,
}

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
    let proposal = body.parse::<FlagBody<'_>>()?.read(registry)?;
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

impl FlagBody<'_> {
    fn read(self, registry: &Registry) -> Result<Proposal, Problem> {
        if self.linked.len() > LINKED_MAX {
            return Err(Problem::violation("/linked", "expected at most 16 subjects"));
        }
        let subject = super::read_subject(&self.subject, "/subject", registry)?;
        Ok(Proposal {
            subject,
            verdict: self.verdict,
            category: self.category,
            case: text(self.case, "/case", 64)?,
            reason: text(self.reason, "/reason", 2000)?,
            legal_basis: self.legal_basis.map(LegalBasisBody::read).transpose()?,
            expires_at: self.expires_at,
            urgency: if self.urgent { Urgency::Urgent } else { Urgency::Normal },
            linked: read_subjects(&self.linked, "/linked", registry)?,
            source: match self.source {
                None => Source { kind: SourceKind::Police, reference: None },
                Some(source) => Source {
                    kind: source.kind,
                    reference: source.reference.map(|given| text(given, "/source/reference", 128)).transpose()?,
                },
            },
        })
    }
}

impl LegalBasisBody {
    fn read(self) -> Result<LegalBasis, Problem> {
        let is_date = self.issued_on.len() == 10 && self.issued_on.parse::<jiff::civil::Date>().is_ok();
        if !is_date {
            return Err(Problem::violation("/legal_basis/issued_on", "expected a date such as 2026-11-20"));
        }
        Ok(LegalBasis {
            document: text(self.document, "/legal_basis/document", 128)?,
            issued_on: self.issued_on,
            authority: text(self.authority, "/legal_basis/authority", 200)?,
        })
    }
}
