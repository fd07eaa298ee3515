//! The registry as an authorization server: issues access tokens, verifies them, and verifies what clients prove
//! themselves with. Hashing secrets is slow on purpose, so it never runs on a thread that answers requests, and only a
//! few at once.

use super::access_token::{IssueError, Issuer, TokenError};
use super::assertion::verify_assertion;
use super::client_key::ClientKey;
use super::keys::KeyRing;
use super::limits::Failures;
use super::replay::ReplayGuard;
use super::secret::{self, ClientSecret, SecretError};
use crate::domain::party::{ClientId, Scopes};
use crate::domain::{Timestamp, TokenId};
use crate::entropy;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Secrets hashed at once: each takes some 20 ms of a processor and 19 MiB.
const HASHING_MAX: usize = 2;
const HASHING_WAIT_MAX: Duration = Duration::from_secs(3);
const ASSERTION_BYTES_MAX: usize = 4096;

pub struct Authority {
    issuer_url: String,
    token_endpoint: String,
    issuer: Issuer,
    failures: Failures,
    replays: ReplayGuard,
    hashing: Semaphore,
}

/// What a good access token says.
pub struct AccessToken {
    pub client: ClientId,
    pub id: TokenId,
    pub scopes: Scopes,
    pub expires_at_s: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("too many secrets are being verified")]
    Busy,
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error("no randomness")]
    Entropy(#[from] entropy::EntropyError),
    #[error("a hashing thread stopped")]
    Stopped,
}

impl Authority {
    /// `issuer_url` is both issuer and audience: the registry's tokens are for the registry.
    pub fn new(issuer_url: String, keys: KeyRing, lifetime_s: u32) -> Result<Self, IssueError> {
        Ok(Self {
            token_endpoint: format!("{issuer_url}/oauth2/token"),
            issuer: Issuer::new(&issuer_url, &issuer_url, keys, lifetime_s)?,
            issuer_url,
            failures: Failures::default(),
            replays: ReplayGuard::new(),
            hashing: Semaphore::new(HASHING_MAX),
        })
    }

    pub fn issuer(&self) -> &str {
        &self.issuer_url
    }

    pub fn jwks(&self) -> serde_json::Value {
        self.issuer.ring().jwks()
    }

    pub fn failures(&self) -> &Failures {
        &self.failures
    }

    pub fn verify(&self, token: &str, now: Timestamp) -> Result<AccessToken, TokenError> {
        let verified = self.issuer.verify(token, seconds(now))?;
        Ok(AccessToken {
            id: TokenId::parse(verified.jti()).ok_or(TokenError::TokenId)?,
            expires_at_s: u64::try_from(verified.expires_at_s()).map_err(|_| TokenError::Expired)?,
            client: verified.client().clone(),
            scopes: verified.scopes(),
        })
    }

    /// The token and its lifetime in seconds.
    pub fn issue(
        &self,
        client: &ClientId,
        scopes: Scopes,
        id: TokenId,
        now: Timestamp,
    ) -> Result<(String, u64), AuthorityError> {
        let issued = self.issuer.issue(client, scopes, &id.to_string(), seconds(now))?;
        Ok((issued.as_str().to_owned(), issued.expires_in_s().into()))
    }

    /// A new secret and the hash to keep.
    pub async fn new_secret(&self) -> Result<(ClientSecret, String), AuthorityError> {
        let secret = ClientSecret::from_random(&entropy::bytes32()?);
        let salt = entropy::bytes16()?;
        let text = SecretString::from(secret.expose().to_owned());
        let phc = self.hash_apart(move || secret::hash(text.expose_secret(), &salt)).await?;
        Ok((secret, phc))
    }

    /// Whether the secret is behind one of the hashes. No hash costs as much as one.
    pub async fn verify_secret(&self, secret: SecretString, hashes: Vec<String>) -> Result<bool, AuthorityError> {
        let verify = move || {
            if hashes.is_empty() {
                secret::verify(secret.expose_secret(), secret::DUMMY_PHC)?;
                return Ok(false);
            }
            let mut proven = false;
            for phc in &hashes {
                proven |= secret::verify(secret.expose_secret(), phc)?;
            }
            Ok(proven)
        };
        self.hash_apart(verify).await
    }

    async fn hash_apart<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, SecretError> + Send + 'static,
    ) -> Result<T, AuthorityError> {
        let permit = tokio::time::timeout(HASHING_WAIT_MAX, self.hashing.acquire()).await;
        let _permit = permit.map_err(|_| AuthorityError::Busy)?.map_err(|_| AuthorityError::Stopped)?;
        let done = tokio::task::spawn_blocking(work).await;
        Ok(done.map_err(|_| AuthorityError::Stopped)??)
    }

    /// The client that an assertion claims to be from, before anything is proven.
    pub fn claimed_client(&self, assertion: &str) -> Option<ClientId> {
        #[derive(serde::Deserialize)]
        struct Claims {
            sub: String,
        }
        if assertion.len() > ASSERTION_BYTES_MAX {
            return None;
        }
        let payload = URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1)?).ok()?;
        let claims: Claims = serde_json::from_slice(&payload).ok()?;
        ClientId::parse(&claims.sub)
    }

    /// Whether the assertion is good under one of the client's keys, and fresh.
    pub fn verify_assertion<'k>(&self, assertion: &str, keys: impl Iterator<Item = &'k str>, now: Timestamp) -> bool {
        let keys: Vec<ClientKey> = keys.filter_map(|key| ClientKey::parse(key).ok()).collect();
        let audiences = [self.token_endpoint.as_str(), self.issuer_url.as_str()];
        let verified = verify_assertion(assertion, |_| Some(keys), &audiences, seconds(now));
        verified.is_ok_and(|proof| {
            self.replays.admit(proof.client(), proof.jti(), proof.expires_at_s(), seconds(now)).is_ok()
        })
    }
}

fn seconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_s()).unwrap_or(i64::MAX)
}
