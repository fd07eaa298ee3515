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
use actix_web::{FromRequest, HttpRequest};
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::{Future, Ready, ready};
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

/// What a handler needs of its caller; it stands in the handler's signature.
pub trait Need: 'static {
    /// Any of these; none: any client with a valid token.
    const SCOPES: &'static [Scope];
    const POLICY: Policy;
}

macro_rules! need {
    ($(#[$doc:meta])* $name:ident, $scopes:expr, $policy:expr) => {
        $(#[$doc])*
        pub struct $name;
        impl Need for $name {
            const SCOPES: &'static [Scope] = $scopes;
            const POLICY: Policy = $policy;
        }
    };
}

need!(Check, &[Scope::Check], Policy::Checks);
need!(CheckBatch, &[Scope::Check], Policy::Batch);
need!(CheckRead, &[Scope::Check], Policy::Lists);
need!(FlagRead, &[Scope::FlagRead], Policy::Lists);
need!(FlagWrite, &[Scope::FlagWrite], Policy::Writes);
need!(FlagApprove, &[Scope::FlagApprove], Policy::Writes);
need!(ObjectionFile, &[Scope::ReportWrite], Policy::Writes);
need!(
    /// Those who answer objections and those who file them.
    ObjectionRead, &[Scope::FlagRead, Scope::ReportWrite], Policy::Lists
);
need!(
    /// Officers and auditors: a bank's figures are not another's to see.
    StatisticsRead, &[Scope::FlagRead, Scope::LogRead], Policy::Lists
);
need!(LogRead, &[Scope::LogRead], Policy::Lists);
need!(AdminRead, &[Scope::Admin], Policy::Lists);
need!(AdminWrite, &[Scope::Admin], Policy::Writes);
need!(
    /// Whoever has access at all.
    Anyone, &[], Policy::Lists
);

/// An authenticated caller with the scope that `N` names and something left of its quota.
pub struct Caller<N> {
    pub call: Call,
    pub query: Query,
    verified: Rc<Verified>,
    need: PhantomData<N>,
}

impl<N: Need> Caller<N> {
    /// Takes `count` more from the quota, for a request that asks several things at once.
    pub fn take(&self, request: &HttpRequest, registry: &Registry, count: NonZeroU32) -> Result<(), Problem> {
        admit_by_quota(request, registry, &self.call, self.verified.state.limits().take(N::POLICY, count))
    }

    fn may(&self) -> bool {
        N::SCOPES.is_empty() || N::SCOPES.iter().any(|scope| self.verified.scopes.contains(*scope))
    }

    fn identify(request: &HttpRequest) -> Result<Self, Problem> {
        let Arrival { request_id, at, .. } = arrival(request)?;
        let registry = registry_of(request)?;
        registry.must_be_fresh()?;
        let verified = verified(request, registry, at)?;
        let call = Call { request_id, at, actor: verified.actor.clone() };
        admit_by_quota(request, registry, &call, verified.state.limits().take(N::POLICY, NonZeroU32::MIN))?;
        let query = match request.query_string() {
            "" => Query::default(),
            text => Query::parse(text, super::query_parameters(request.method(), request.match_pattern().as_deref()))?,
        };
        Ok(Self { call, query, verified, need: PhantomData })
    }
}

impl<N: Need> FromRequest for Caller<N> {
    type Error = Problem;
    type Future = Identifying<N>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let caller = match Self::identify(request) {
            Ok(caller) if caller.may() => return Identifying::Done(Some(Ok(caller))),
            Ok(caller) => caller,
            Err(problem) => return Identifying::Done(Some(Err(problem))),
        };
        let registry = registry_of(request);
        Identifying::Refusing(Box::pin(async move {
            registry?.refuse(&caller.call, Slug::InsufficientScope.as_str()).await?;
            let scopes: Vec<&str> = N::SCOPES.iter().map(|scope| scope.as_str()).collect();
            let detail = format!("This needs the scope {}.", scopes.join(" or "));
            let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{}\"", scopes.join(" "));
            Err(Problem::new(Slug::InsufficientScope, detail).with(header::WWW_AUTHENTICATE, challenge))
        }))
    }
}

/// Known at once, unless a refusal must first be logged.
pub enum Identifying<N> {
    Done(Option<Result<Caller<N>, Problem>>),
    Refusing(Pin<Box<dyn Future<Output = Result<Caller<N>, Problem>>>>),
}

impl<N> Unpin for Identifying<N> {}

impl<N> Future for Identifying<N> {
    type Output = Result<Caller<N>, Problem>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Done(result) => match result.take() {
                Some(result) => Poll::Ready(result),
                None => Poll::Pending,
            },
            Self::Refusing(refusing) => refusing.as_mut().poll(context),
        }
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

fn registry_of(request: &HttpRequest) -> Result<&'static Registry, Problem> {
    let registry = request.app_data::<&'static Registry>().copied();
    registry.ok_or_else(|| Problem::new(Slug::Internal, "The server is not set up."))
}

/// The registry lives as long as the process: a shared count of its users would be a word that every worker writes with
/// every request.
impl FromRequest for &'static Registry {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(registry_of(request))
    }
}

/// Tokens that this worker has verified. An entry is good until the token expires or its client changes, whichever is
/// first. Only good tokens get in, so the quick hash has no enemy.
#[derive(Default)]
pub struct VerifiedTokens(RefCell<HashMap<Box<[u8]>, Rc<Verified>, foldhash::quality::RandomState>>);

struct Verified {
    state: Arc<ClientState>,
    /// This worker's own copies of the ids: counts of their users that all workers share would be written with every check.
    actor: Actor,
    scopes: Scopes,
    expires_at_s: u64,
}

const VERIFIED_MAX: usize = 10_000;
const NO_TOKEN: &str = "Bearer realm=\"canhbao\"";
const BAD_TOKEN: &str = "Bearer realm=\"canhbao\", error=\"invalid_token\"";

impl VerifiedTokens {
    fn find(&self, token: &[u8], now: Timestamp) -> Option<Rc<Verified>> {
        let verified = self.0.borrow().get(token).map(Rc::clone)?;
        (!verified.state.is_superseded() && now.as_s() < verified.expires_at_s).then_some(verified)
    }

    fn keep(&self, token: &[u8], verified: &Rc<Verified>, now: Timestamp) {
        let mut kept = self.0.borrow_mut();
        if kept.len() >= VERIFIED_MAX {
            kept.retain(|_, old| !old.state.is_superseded() && now.as_s() < old.expires_at_s);
        }
        if kept.len() < VERIFIED_MAX {
            kept.insert(token.into(), Rc::clone(verified));
        }
    }
}

fn verified(request: &HttpRequest, registry: &Registry, now: Timestamp) -> Result<Rc<Verified>, Problem> {
    let bytes = bearer_token(request)?;
    let tokens = request.app_data::<VerifiedTokens>();
    if let Some(verified) = tokens.and_then(|tokens| tokens.find(bytes, now)) {
        return Ok(verified);
    }
    let refused = || Problem::unauthenticated("The access token is not valid.", BAD_TOKEN);
    let text = std::str::from_utf8(bytes).map_err(|_| refused())?;
    let token = registry.authority().verify(text, now).map_err(|_| refused())?;
    let state = registry.client(&token.client).filter(|state| state.admits(&token.id)).ok_or_else(refused)?;
    let scopes = token.scopes.intersection(state.scopes());
    let actor = Actor { party: state.client.party.copied(), client: state.client.id.copied() };
    let verified = Rc::new(Verified { state, actor, scopes, expires_at_s: token.expires_at_s });
    if let Some(tokens) = tokens {
        tokens.keep(bytes, &verified, now);
    }
    Ok(verified)
}

/// The token as it came: that its bytes are text is looked at once, when it is verified.
fn bearer_token(request: &HttpRequest) -> Result<&[u8], Problem> {
    let mut headers = request.headers().get_all(header::AUTHORIZATION);
    let value = match (headers.next(), headers.next()) {
        (Some(value), None) => value.as_bytes(),
        _ => &[],
    };
    let mut parts = value.splitn(2, |byte| *byte == b' ');
    let (scheme, token) = parts
        .next()
        .zip(parts.next())
        .ok_or_else(|| Problem::unauthenticated("Send one Authorization: Bearer header.", NO_TOKEN))?;
    if scheme.eq_ignore_ascii_case(b"bearer") {
        Ok(token)
    } else {
        Err(Problem::unauthenticated("The scheme must be Bearer.", NO_TOKEN))
    }
}
