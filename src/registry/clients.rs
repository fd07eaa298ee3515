//! Clients: create, rotate, disable, enable, read, list (operators only). A secret is shown once, in the answer that made
//! it, and is kept as a hash.

use super::flags::{etag, invalid};
use super::{Answered, Call, Error, Registry, random_bytes, render};
use crate::auth::{ClientKey, ClientState};
use crate::domain::party::{AccessState, Client, ClientId, Credential, CredentialKind, PartyId, Quotas, Scopes};
use crate::domain::{Change, Replaces, Timestamp};
use crate::log::{Act, Resource};
use serde::Serialize;

/// Beside the newest credential, older ones may overlap while a client changes over.
const CREDENTIALS_MAX: usize = 4;

pub struct NewClient {
    /// Chosen by the registry if absent.
    pub id: Option<ClientId>,
    pub party: PartyId,
    pub name: String,
    pub scopes: Scopes,
    pub quotas: Quotas,
    /// With a public key the client proves itself by `private_key_jwt`; without one it gets a secret.
    pub public_key: Option<ClientKey>,
}

pub struct Rotation {
    /// How long the old credentials stay valid; 0 revokes them, and every token that was issued, at once.
    pub grace_s: u32,
    pub public_key: Option<ClientKey>,
}

impl Rotation {
    pub const GRACE_S_DEFAULT: u32 = 86_400;
    pub const GRACE_S_MAX: u32 = 604_800;
}

impl Registry {
    pub async fn create_client(&self, call: &Call, new: NewClient) -> Result<Answered, Error> {
        let party = self.access.party(&new.party).ok_or_else(|| invalid("/party", "no such party"))?;
        if !new.scopes.is_subset(party.role.may_hold()) {
            return Err(invalid("/scopes", "the party's role does not allow these scopes"));
        }
        let id = match new.id {
            Some(id) => id,
            None => self.mint_client_id(&new.party)?,
        };
        let (credential, shown) = self.new_credential(new.public_key, call.at).await?;
        let client = Client {
            id,
            party: new.party,
            name: new.name,
            scopes: new.scopes,
            quotas: new.quotas,
            state: AccessState::Enabled,
            version: 1,
            created_at: call.at,
            tokens_void_until: None,
            credentials: vec![credential],
        };
        let location = format!("/v1/clients/{}", client.id);
        match self.write_client(Act::ClientCreate, call, Replaces::Nothing, client, shown).await {
            Ok(answered) => Ok(Answered { location: Some(location), ..answered }),
            Err(Error::StaleVersion) => Err(Error::Conflict("A client with this id exists already.")),
            Err(error) => Err(error),
        }
    }

    pub async fn rotate_client(
        &self,
        call: &Call,
        id: &ClientId,
        version: u32,
        rotation: Rotation,
    ) -> Result<Answered, Error> {
        let old = self.client_in_version(id, version)?;
        let (credential, shown) = self.new_credential(rotation.public_key, call.at).await?;
        let end = call.at.plus_ms(u64::from(rotation.grace_s) * 1000);
        let overlapping = old.client.credentials.iter().filter_map(|credential| {
            let expires_at = credential.expires_at.map_or(end, |earlier| earlier.min(end));
            let kept = Credential { expires_at: Some(expires_at), ..credential.clone() };
            kept.is_valid_at(call.at).then_some(kept)
        });
        let client = Client {
            version: version.saturating_add(1),
            tokens_void_until: if rotation.grace_s == 0 { Some(call.at) } else { old.client.tokens_void_until },
            credentials: std::iter::once(credential).chain(overlapping).take(CREDENTIALS_MAX).collect(),
            ..old.client.clone()
        };
        self.write_client(Act::ClientRotate, call, Replaces::Version(version), client, shown).await
    }

    /// A disabled client's tokens are refused with its next request, and stay refused when it is enabled again.
    pub async fn set_client_state(
        &self,
        call: &Call,
        id: &ClientId,
        version: u32,
        state: AccessState,
    ) -> Result<Answered, Error> {
        let old = self.client_in_version(id, version)?;
        if *id == call.actor.client && state == AccessState::Disabled {
            return Err(Error::InvalidTransition("A client cannot disable itself.".to_owned()));
        }
        let (act, tokens_void_until) = match state {
            AccessState::Enabled => (Act::ClientEnable, old.client.tokens_void_until),
            AccessState::Disabled => (Act::ClientDisable, Some(call.at)),
        };
        let version_new = version.saturating_add(1);
        let client = Client { state, version: version_new, tokens_void_until, ..old.client.clone() };
        self.write_client(act, call, Replaces::Version(version), client, None).await
    }

    pub async fn read_client(&self, call: &Call, id: &ClientId) -> Result<Answered, Error> {
        let state = self.access.client(id).ok_or(Error::NotFound)?;
        let mut entry = self.entry(Act::ClientList, call);
        entry.resource = Some(Resource::Client(id.clone()));
        let answered = self.answer_reading(entry, render(&ClientView::new(&state.client, None))?).await?;
        Ok(Answered { etag: Some(etag(state.client.version)), ..answered })
    }

    pub async fn list_clients(&self, call: &Call, after: Option<&ClientId>, limit: u32) -> Result<Answered, Error> {
        let shown = usize::try_from(limit).unwrap_or(usize::MAX);
        let found = self.access.clients(after, shown.saturating_add(1));
        let more = found.len() > shown;
        let items: Vec<ClientView<'_>> =
            found.iter().take(shown).map(|state| ClientView::new(&state.client, None)).collect();
        let next_cursor = items.last().filter(|_| more).map(|client| client.client_id);
        let body = render(&ClientList { next_cursor, items })?;
        self.answer_reading(self.entry(Act::ClientList, call), body).await
    }

    fn client_in_version(&self, id: &ClientId, version: u32) -> Result<std::sync::Arc<ClientState>, Error> {
        let state = self.access.client(id).ok_or(Error::NotFound)?;
        if state.client.version == version { Ok(state) } else { Err(Error::StaleVersion) }
    }

    fn mint_client_id(&self, party: &PartyId) -> Result<ClientId, Error> {
        let [a, b, c, d, e, f, ..] = random_bytes()?;
        let suffix: String = [a, b, c, d, e, f].iter().map(|byte| format!("{byte:02x}")).collect();
        ClientId::parse(&format!("{party}-{suffix}")).ok_or_else(|| Error::Internal("a client id".to_owned()))
    }

    /// A credential and, if it is a secret, the text that is shown once.
    async fn new_credential(
        &self,
        public_key: Option<ClientKey>,
        now: Timestamp,
    ) -> Result<(Credential, Option<String>), Error> {
        let (kind, shown) = match public_key {
            Some(key) => (CredentialKind::Key { public_key: key.to_jwk() }, None),
            None => {
                let (secret, phc) = self.authority.new_secret().await?;
                (CredentialKind::Secret { phc }, Some(secret.expose().to_owned()))
            }
        };
        Ok((Credential { kind, created_at: now, expires_at: None }, shown))
    }

    async fn write_client(
        &self,
        act: Act,
        call: &Call,
        replaces: Replaces,
        client: Client,
        shown: Option<String>,
    ) -> Result<Answered, Error> {
        let body = render(&ClientView::new(&client, shown))?;
        let mut entry = self.entry(act, call);
        entry.resource = Some(Resource::Client(client.id.clone()));
        let etag = etag(client.version);
        let change = Change::Client { replaces, client: Box::new(client) };
        self.answer_changing(entry, change, body, etag).await
    }
}

#[derive(Serialize)]
struct ClientList<'a> {
    items: Vec<ClientView<'a>>,
    next_cursor: Option<&'a ClientId>,
}

#[derive(Serialize)]
struct ClientView<'a> {
    client_id: &'a ClientId,
    /// Only in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
    party: &'a PartyId,
    name: &'a str,
    scopes: Vec<&'static str>,
    quotas: &'a Quotas,
    state: AccessState,
    version: u32,
    created_at: Timestamp,
    credentials: Vec<CredentialView>,
}

#[derive(Serialize)]
struct CredentialView {
    kind: &'static str,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
}

impl<'a> ClientView<'a> {
    fn new(client: &'a Client, client_secret: Option<String>) -> Self {
        Self {
            client_id: &client.id,
            client_secret,
            party: &client.party,
            name: &client.name,
            scopes: client.scopes.iter().map(crate::domain::party::Scope::as_str).collect(),
            quotas: &client.quotas,
            state: client.state,
            version: client.version,
            created_at: client.created_at,
            credentials: client
                .credentials
                .iter()
                .map(|credential| CredentialView {
                    kind: match credential.kind {
                        CredentialKind::Secret { .. } => "secret",
                        CredentialKind::Key { .. } => "key",
                    },
                    created_at: credential.created_at,
                    expires_at: credential.expires_at,
                })
                .collect(),
        }
    }
}
