//! `/v1/parties`: create, disable, enable, read, list.

use super::body::{EmptyBody, Unread, WORK_BYTES_MAX};
use super::caller::{AdminRead, AdminWrite, Caller};
use super::problem::Problem;
use super::{if_match, rendered, text};
use crate::domain::party::{AccessState, PartyId, Role};
use crate::domain::strict::{present, word};
use crate::registry::{Error, NewParty, Registry};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartyBody {
    id: PartyId,
    name: String,
    #[serde(deserialize_with = "word")]
    role: Role,
    #[serde(default, deserialize_with = "present")]
    parent: Option<PartyId>,
}

pub async fn create(
    caller: Caller<AdminWrite>,
    body: Unread,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let PartyBody { id, name, role, parent } = body.json(WORK_BYTES_MAX).await?.parse()?;
    let new = NewParty { id, name: text(name, "/name", 200)?, role, parent };
    Ok(rendered(HttpResponse::Created(), registry.create_party(&caller.call, new).await?))
}

pub async fn disable(
    caller: Caller<AdminWrite>,
    request: HttpRequest,
    id: web::Path<String>,
    body: Unread,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    body.json(WORK_BYTES_MAX).await?.parse_or_default::<EmptyBody>()?;
    set_state(&caller, &request, &id, registry, AccessState::Disabled).await
}

pub async fn enable(
    caller: Caller<AdminWrite>,
    request: HttpRequest,
    id: web::Path<String>,
    body: Unread,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    body.json(WORK_BYTES_MAX).await?.parse_or_default::<EmptyBody>()?;
    set_state(&caller, &request, &id, registry, AccessState::Enabled).await
}

async fn set_state(
    caller: &Caller<AdminWrite>,
    request: &HttpRequest,
    id: &str,
    registry: &Registry,
    state: AccessState,
) -> Result<HttpResponse, Problem> {
    let (id, version) = (party_id(id)?, if_match(request)?);
    Ok(rendered(HttpResponse::Ok(), registry.set_party_state(&caller.call, &id, version, state).await?))
}

pub async fn read(
    caller: Caller<AdminRead>,
    id: web::Path<String>,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    Ok(rendered(HttpResponse::Ok(), registry.read_party(&caller.call, &party_id(&id)?).await?))
}

pub async fn list(caller: Caller<AdminRead>, registry: &'static Registry) -> Result<HttpResponse, Problem> {
    let after = caller.query.value("cursor", "expected a next_cursor of this list", PartyId::parse)?;
    let limit = caller.query.limit()?;
    Ok(rendered(HttpResponse::Ok(), registry.list_parties(&caller.call, after.as_ref(), limit).await?))
}

fn party_id(text: &str) -> Result<PartyId, Problem> {
    Ok(PartyId::parse(text).ok_or(Error::NotFound)?)
}
