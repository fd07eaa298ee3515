//! `/v1/flags/{id}/objections` and `/v1/objections`: file, uphold, dismiss, read, list.

use super::body::{Unread, WORK_BYTES_MAX};
use super::caller::{Caller, FlagWrite, ObjectionFile, ObjectionRead};
use super::flag_bodies::ChangesBody;
use super::flags::flag_id;
use super::problem::Problem;
use super::{idempotency_key, if_match, rendered, text};
use crate::domain::strict::{Object, present, present_object};
use crate::domain::{Attachment, NewObjection, ObjectionId, ObjectionState};
use crate::registry::{Error, ObjectionFilter, Overdue, Registry};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

const ATTACHMENTS_MAX: usize = 16;
const SHA256_CHARS: usize = 64;
const STATES: &str = "expected open, overdue, upheld or dismissed";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ObjectionBody {
    text: String,
    #[serde(default, deserialize_with = "present")]
    reference: Option<String>,
    #[serde(default)]
    attachments: Vec<Object<AttachmentBody>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AttachmentBody {
    name: String,
    sha256: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpholdBody<'a> {
    answer: String,
    #[serde(default, borrow, deserialize_with = "present_object")]
    changes: Option<ChangesBody<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DismissBody {
    answer: String,
}

pub async fn file(
    caller: Caller<ObjectionFile>,
    request: HttpRequest,
    flag: web::Path<String>,
    body: Unread,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let flag = flag_id(&flag)?;
    let body = body.json(WORK_BYTES_MAX).await?;
    let key = idempotency_key(&request, &body.0)?;
    let new = body.parse::<ObjectionBody>()?.read()?;
    let answered = registry.file_objection(&caller.call, key, flag, new).await?;
    Ok(rendered(HttpResponse::Created(), answered))
}

pub async fn uphold(
    caller: Caller<FlagWrite>,
    request: HttpRequest,
    id: web::Path<String>,
    body: Unread,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let (id, version) = (objection_id(&id)?, if_match(&request)?);
    let body = body.json(WORK_BYTES_MAX).await?;
    let UpholdBody { answer, changes } = body.parse()?;
    let answer = text(answer, "/answer", 2000)?;
    let changes = changes.map(|changes| changes.read(registry)).transpose()?;
    Ok(rendered(HttpResponse::Ok(), registry.uphold_objection(&caller.call, id, version, answer, changes).await?))
}

pub async fn dismiss(
    caller: Caller<FlagWrite>,
    request: HttpRequest,
    id: web::Path<String>,
    body: Unread,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let (id, version) = (objection_id(&id)?, if_match(&request)?);
    let answer = text(body.json(WORK_BYTES_MAX).await?.parse::<DismissBody>()?.answer, "/answer", 2000)?;
    Ok(rendered(HttpResponse::Ok(), registry.dismiss_objection(&caller.call, id, version, answer).await?))
}

pub async fn read(
    caller: Caller<ObjectionRead>,
    id: web::Path<String>,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    Ok(rendered(HttpResponse::Ok(), registry.read_objection(&caller.call, objection_id(&id)?).await?))
}

pub async fn list(caller: Caller<ObjectionRead>, registry: &'static Registry) -> Result<HttpResponse, Problem> {
    let state = |text: &str| match text {
        "overdue" => Some((Some(ObjectionState::Open), Overdue::Only)),
        text => ObjectionState::parse(text).map(|state| (Some(state), Overdue::All)),
    };
    let (state, overdue) = caller.query.value("state", STATES, state)?.unwrap_or((None, Overdue::All));
    let before = caller.query.value("cursor", "expected a next_cursor of this list", ObjectionId::parse)?;
    let filter = ObjectionFilter { state, overdue, before, limit: caller.query.limit()? };
    Ok(rendered(HttpResponse::Ok(), registry.list_objections(&caller.call, filter).await?))
}

/// What is no objection's id names nothing.
fn objection_id(text: &str) -> Result<ObjectionId, Problem> {
    Ok(ObjectionId::parse(text).ok_or(Error::NotFound)?)
}

impl ObjectionBody {
    fn read(self) -> Result<NewObjection, Problem> {
        if self.attachments.len() > ATTACHMENTS_MAX {
            return Err(Problem::violation("/attachments", "expected at most 16 attachments"));
        }
        let attachments = self.attachments.into_iter().enumerate();
        Ok(NewObjection {
            text: text(self.text, "/text", 4000)?,
            reference: self.reference.map(|given| text(given, "/reference", 128)).transpose()?,
            attachments: attachments.map(|(place, Object(given))| given.read(place)).collect::<Result<_, _>>()?,
        })
    }
}

impl AttachmentBody {
    fn read(self, place: usize) -> Result<Attachment, Problem> {
        let is_digest = self.sha256.len() == SHA256_CHARS
            && self.sha256.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if !is_digest {
            let pointer = format!("/attachments/{place}/sha256");
            return Err(Problem::violation(pointer, "expected 64 digits of 0-9 and a-f"));
        }
        Ok(Attachment { name: text(self.name, format!("/attachments/{place}/name"), 200)?, sha256: self.sha256 })
    }
}
