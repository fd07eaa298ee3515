//! `/v1/clients`: create, rotate, disable, enable, read, list.

use super::body::{EmptyBody, Unread, WORK_BYTES_MAX};
use super::caller::{AdminRead, AdminWrite, Caller};
use super::problem::Problem;
use super::{if_match, rendered, text};
use crate::auth::ClientKey;
use crate::domain::party::{AccessState, ClientId, PartyId, Policy, Quotas, Scope, Scopes};
use crate::domain::strict::{object, present};
use crate::registry::{Error, NewClient, Registry, Rotation};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientBody {
    #[serde(default, deserialize_with = "present")]
    client_id: Option<ClientId>,
    party: PartyId,
    name: String,
    scopes: Vec<String>,
    #[serde(default, deserialize_with = "object")]
    quotas: Quotas,
    #[serde(default, deserialize_with = "present")]
    public_key: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RotationBody {
    #[serde(default, deserialize_with = "present")]
    grace_s: Option<u32>,
    #[serde(default, deserialize_with = "present")]
    public_key: Option<String>,
}

pub async fn create(
    caller: Caller<AdminWrite>,
    body: Unread,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let body: ClientBody = body.json(WORK_BYTES_MAX).await?.parse()?;
    let new = NewClient {
        id: body.client_id,
        party: body.party,
        name: text(body.name, "/name", 200)?,
        scopes: read_scopes(&body.scopes)?,
        quotas: read_quotas(body.quotas)?,
        public_key: body.public_key.as_deref().map(read_key).transpose()?,
    };
    Ok(rendered(HttpResponse::Created(), registry.create_client(&caller.call, new).await?))
}

pub async fn rotate(
    caller: Caller<AdminWrite>,
    request: HttpRequest,
    id: web::Path<String>,
    body: Unread,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let (id, version) = (client_id(&id)?, if_match(&request)?);
    let body: RotationBody = body.json(WORK_BYTES_MAX).await?.parse_or_default()?;
    let grace_s = body.grace_s.unwrap_or(Rotation::GRACE_S_DEFAULT);
    if grace_s > Rotation::GRACE_S_MAX {
        return Err(Problem::violation("/grace_s", "expected at most 604800 seconds"));
    }
    let rotation = Rotation { grace_s, public_key: body.public_key.as_deref().map(read_key).transpose()? };
    Ok(rendered(HttpResponse::Ok(), registry.rotate_client(&caller.call, &id, version, rotation).await?))
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
    let (id, version) = (client_id(id)?, if_match(request)?);
    Ok(rendered(HttpResponse::Ok(), registry.set_client_state(&caller.call, &id, version, state).await?))
}

pub async fn read(
    caller: Caller<AdminRead>,
    id: web::Path<String>,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    Ok(rendered(HttpResponse::Ok(), registry.read_client(&caller.call, &client_id(&id)?).await?))
}

pub async fn list(caller: Caller<AdminRead>, registry: &'static Registry) -> Result<HttpResponse, Problem> {
    let after = caller.query.value("cursor", "expected a next_cursor of this list", ClientId::parse)?;
    let limit = caller.query.limit()?;
    Ok(rendered(HttpResponse::Ok(), registry.list_clients(&caller.call, after.as_ref(), limit).await?))
}

fn client_id(text: &str) -> Result<ClientId, Problem> {
    Ok(ClientId::parse(text).ok_or(Error::NotFound)?)
}

fn read_scopes(names: &[String]) -> Result<Scopes, Problem> {
    if names.is_empty() {
        return Err(Problem::violation("/scopes", "expected at least one scope"));
    }
    let mut scopes = Vec::with_capacity(names.len());
    for (place, name) in names.iter().enumerate() {
        let scope = Scope::parse(name).filter(|scope| !scopes.contains(scope));
        let unknown = || Problem::violation(format!("/scopes/{place}"), "is not a scope, or is given twice");
        scopes.push(scope.ok_or_else(unknown)?);
    }
    Ok(Scopes::of(&scopes))
}

fn read_quotas(quotas: Quotas) -> Result<Quotas, Problem> {
    for policy in Policy::ALL {
        if quotas.of(policy).is_some_and(|quota| !quota.is_within_limits()) {
            let pointer = format!("/quotas/{}/window_s", policy.as_str());
            return Err(Problem::violation(pointer, "expected at most 3600 seconds"));
        }
    }
    Ok(quotas)
}

fn read_key(text: &str) -> Result<ClientKey, Problem> {
    ClientKey::parse(text).map_err(|error| Problem::violation("/public_key", error.to_string()))
}
