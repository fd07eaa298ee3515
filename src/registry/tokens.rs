//! Access tokens: who proves to be a client gets one for the scopes it asks for and may have (RFC 6749 §4.4).

use super::{Call, Error, Registry, random_bytes};
use crate::auth::{AuthorityError, ClientState};
use crate::domain::party::{ClientId, CredentialKind, Policy, Scopes};
use crate::domain::{Actor, RequestId, Timestamp, TokenId};
use crate::log::{Act, Resource};
use secrecy::SecretString;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

/// What a client shows at the token endpoint.
pub enum Proof {
    Secret { client: ClientId, secret: SecretString },
    Assertion(String),
}

pub struct Granted {
    pub access_token: String,
    pub scopes: Scopes,
    pub expires_in_s: u64,
}

/// The errors of RFC 6749 §5.2, and the two that are about load.
#[derive(Debug)]
pub enum TokenError {
    InvalidClient,
    InvalidScope,
    /// Too many requests, or too many failures; seconds to wait.
    RateLimited(u64),
    Registry(Error),
}

impl From<Error> for TokenError {
    fn from(error: Error) -> Self {
        Self::Registry(error)
    }
}

impl From<AuthorityError> for TokenError {
    fn from(error: AuthorityError) -> Self {
        Self::Registry(error.into())
    }
}

impl Registry {
    pub async fn grant_token(
        &self,
        request_id: RequestId,
        address: IpAddr,
        proof: Proof,
        wanted: Option<Scopes>,
    ) -> Result<Granted, TokenError> {
        self.must_be_fresh()?;
        let now = self.now();
        let claimed = match &proof {
            Proof::Secret { client, .. } => client.clone(),
            Proof::Assertion(assertion) => self.authority.claimed_client(assertion).ok_or(TokenError::InvalidClient)?,
        };
        let failures = self.authority.failures();
        if let Some(wait_s) = failures.wait_s(&claimed, address, now) {
            return Err(TokenError::RateLimited(wait_s));
        }
        let state = self.access.client(&claimed);
        if !self.is_proven(state.as_deref(), proof, now).await? {
            failures.failed(&claimed, address, now);
            return Err(TokenError::InvalidClient);
        }
        let state = state.filter(|state| state.is_enabled()).ok_or(TokenError::InvalidClient)?;
        failures.succeeded(&claimed, address, now);
        self.grant(request_id, &state, wanted, now).await
    }

    /// An unknown client costs as much as a known one with a wrong secret.
    async fn is_proven(&self, state: Option<&ClientState>, proof: Proof, now: Timestamp) -> Result<bool, TokenError> {
        let credentials = state.map_or(&[][..], |state| &state.client.credentials);
        let valid = credentials.iter().filter(|credential| credential.is_valid_at(now));
        match proof {
            Proof::Secret { secret, .. } => {
                let hashes = valid.filter_map(|credential| match &credential.kind {
                    CredentialKind::Secret { phc } => Some(phc.clone()),
                    CredentialKind::Key { .. } => None,
                });
                Ok(self.authority.verify_secret(secret, hashes.collect()).await?)
            }
            Proof::Assertion(assertion) => {
                let keys = valid.filter_map(|credential| match &credential.kind {
                    CredentialKind::Key { public_key } => Some(public_key.as_str()),
                    CredentialKind::Secret { .. } => None,
                });
                Ok(self.authority.verify_assertion(&assertion, keys, now))
            }
        }
    }

    async fn grant(
        &self,
        request_id: RequestId,
        state: &Arc<ClientState>,
        wanted: Option<Scopes>,
        now: Timestamp,
    ) -> Result<Granted, TokenError> {
        let actor = Actor { party: state.client.party.clone(), client: state.client.id.clone() };
        let call = Call { request_id, at: now, actor };
        let taken = state.limits().take(Policy::Token, NonZeroU32::MIN);
        if let Some(wait_s) = taken.retry_after_s {
            self.refuse_by_quota(&call);
            return Err(TokenError::RateLimited(wait_s));
        }
        let scopes = wanted.unwrap_or(state.scopes());
        if scopes.is_empty() || !scopes.is_subset(state.scopes()) {
            return Err(TokenError::InvalidScope);
        }
        let id = TokenId::mint(now, random_bytes()?);
        let (access_token, expires_in_s) = self.authority.issue(&state.client.id, scopes, id, now)?;
        let mut entry = self.entry(Act::TokenIssue, &call);
        entry.resource = Some(Resource::Token(id));
        self.log_reading(&entry).await?;
        Ok(Granted { access_token, scopes, expires_in_s })
    }
}
