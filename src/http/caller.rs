//! Who is asking, how often, may they: the token, then the quota, then the scope. The quota comes before the scope since
//! a refused scope leaves an entry, and a flood of them must not fill the disk.

use super::body::Query;
use super::edge::{Arrival, arrival, show_quota};
use super::problem::{Problem, Slug};
use crate::auth::{ClientState, Taken};
use crate::domain::party::{Policy, Scope, Scopes};
use crate::domain::{Actor, Timestamp};
use crate::registry::{Call, Registry};
use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest, web};
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;

/// What a handler needs of its caller; it stands in the handler's signature.
pub trait Need: 'static {
    /// `None`: any client with a valid token.
    const SCOPE: Option<Scope>;
    const POLICY: Policy;
}

macro_rules! need {
    ($(#[$doc:meta])* $name:ident, $scope:expr, $policy:expr) => {
        $(#[$doc])*
        pub struct $name;
        impl Need for $name {
            const SCOPE: Option<Scope> = $scope;
            const POLICY: Policy = $policy;
        }
    };
}

need!(Check, Some(Scope::Check), Policy::Checks);
need!(CheckBatch, Some(Scope::Check), Policy::Batch);
need!(CheckRead, Some(Scope::Check), Policy::Lists);
need!(FlagRead, Some(Scope::FlagRead), Policy::Lists);
need!(FlagWrite, Some(Scope::FlagWrite), Policy::Writes);
need!(FlagApprove, Some(Scope::FlagApprove), Policy::Writes);
need!(AdminRead, Some(Scope::Admin), Policy::Lists);
need!(AdminWrite, Some(Scope::Admin), Policy::Writes);
need!(
    /// Whoever has access at all.
    Anyone, None, Policy::Lists
);

/// An authenticated caller with the scope that `N` names and something left of its quota.
pub struct Caller<N> {
    pub call: Call,
    pub query: Query,
    state: Arc<ClientState>,
    need: PhantomData<N>,
}

impl<N: Need> Caller<N> {
    /// Takes `count` more from the quota, for a request that asks several things at once.
    pub fn take(&self, request: &HttpRequest, registry: &Registry, count: NonZeroU32) -> Result<(), Problem> {
        admit_by_quota(request, registry, &self.call, self.state.limits().take(N::POLICY, count))
    }

    fn identify(request: &HttpRequest) -> Result<(Self, Scopes), Problem> {
        let Arrival { request_id, at } = arrival(request)?;
        let registry = registry_of(request)?;
        let (state, scopes) = verified(request, registry, at)?;
        let actor = Actor { party: state.client.party.clone(), client: state.client.id.clone() };
        let call = Call { request_id, at, actor };
        admit_by_quota(request, registry, &call, state.limits().take(N::POLICY, NonZeroU32::MIN))?;
        let known = super::query_parameters(request.match_pattern().as_deref());
        let query = Query::parse(request.query_string(), known)?;
        Ok((Self { call, query, state, need: PhantomData }, scopes))
    }
}

impl<N: Need> FromRequest for Caller<N> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let identified = Self::identify(request);
        let registry = request.app_data::<web::Data<Registry>>().cloned();
        Box::pin(async move {
            let (caller, scopes) = identified?;
            match (N::SCOPE, registry) {
                (Some(scope), Some(registry)) if !scopes.contains(scope) => {
                    registry.refuse(&caller.call, Slug::InsufficientScope.as_str()).await?;
                    let detail = format!("This needs the scope {}.", scope.as_str());
                    let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{}\"", scope.as_str());
                    Err(Problem::new(Slug::InsufficientScope, detail).with(header::WWW_AUTHENTICATE, challenge))
                }
                _ => Ok(caller),
            }
        })
    }
}

fn admit_by_quota(request: &HttpRequest, registry: &Registry, call: &Call, taken: Taken) -> Result<(), Problem> {
    show_quota(request, taken);
    match taken.retry_after_s {
        None => Ok(()),
        Some(wait_s) => {
            registry.refuse_by_quota(call);
            Err(Problem::rate_limited(wait_s))
        }
    }
}

fn registry_of(request: &HttpRequest) -> Result<&Registry, Problem> {
    let registry = request.app_data::<web::Data<Registry>>().map(|data| data.get_ref());
    registry.ok_or_else(|| Problem::new(Slug::Internal, "The server is not set up."))
}

/// Tokens that this worker has verified, by their digest. An entry is good until the token expires or its client
/// changes, whichever is first.
#[derive(Default)]
pub struct VerifiedTokens(RefCell<HashMap<[u8; 32], Verified>>);

#[derive(Clone)]
struct Verified {
    state: Arc<ClientState>,
    scopes: Scopes,
    expires_at_s: u64,
}

const VERIFIED_MAX: usize = 10_000;
const NO_TOKEN: &str = "Bearer realm=\"canhbao\"";
const BAD_TOKEN: &str = "Bearer realm=\"canhbao\", error=\"invalid_token\"";

impl VerifiedTokens {
    fn find(&self, key: &[u8; 32], now: Timestamp) -> Option<Verified> {
        let verified = self.0.borrow().get(key).cloned()?;
        (!verified.state.is_superseded() && now.as_s() < verified.expires_at_s).then_some(verified)
    }

    fn keep(&self, key: [u8; 32], verified: Verified, now: Timestamp) {
        let mut kept = self.0.borrow_mut();
        if kept.len() >= VERIFIED_MAX {
            kept.retain(|_, old| !old.state.is_superseded() && now.as_s() < old.expires_at_s);
        }
        if kept.len() < VERIFIED_MAX {
            kept.insert(key, verified);
        }
    }
}

fn verified(request: &HttpRequest, registry: &Registry, now: Timestamp) -> Result<(Arc<ClientState>, Scopes), Problem> {
    let token = bearer_token(request)?;
    let tokens = request.app_data::<VerifiedTokens>();
    let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    if let Some(verified) = tokens.and_then(|tokens| tokens.find(&key, now)) {
        return Ok((verified.state, verified.scopes));
    }
    let refused = || Problem::unauthenticated("The access token is not valid.", BAD_TOKEN);
    let token = registry.authority().verify(token, now).map_err(|_| refused())?;
    let state = registry.client(&token.client).filter(|state| state.admits(&token.id)).ok_or_else(refused)?;
    let scopes = token.scopes.intersection(state.scopes());
    if let Some(tokens) = tokens {
        let expires_at_s = token.expires_at_s;
        tokens.keep(key, Verified { state: Arc::clone(&state), scopes, expires_at_s }, now);
    }
    Ok((state, scopes))
}

fn bearer_token(request: &HttpRequest) -> Result<&str, Problem> {
    let mut headers = request.headers().get_all(header::AUTHORIZATION);
    let value = match (headers.next(), headers.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    };
    let (scheme, token) = value
        .and_then(|value| value.split_once(' '))
        .ok_or_else(|| Problem::unauthenticated("Send one Authorization: Bearer header.", NO_TOKEN))?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token)
    } else {
        Err(Problem::unauthenticated("The scheme must be Bearer.", NO_TOKEN))
    }
}
