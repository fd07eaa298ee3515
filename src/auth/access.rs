//! Parties and clients in memory, as the caller's check needs them. Changed only by `publish` (committed changes) and
//! loaded from the store at start; readers take no lock.

use super::limits::{DefaultQuotas, Limits};
use crate::domain::party::{AccessState, Client, ClientId, Party, PartyId, Role, Scopes};
use crate::domain::{Change, TokenId, UnitChain};
use crate::store::{self, Connection, Store, StoreError};
use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A client with its party, as of one version of both.
pub struct ClientState {
    pub client: Client,
    pub party: Arc<Party>,
    limits: Arc<Limits>,
    superseded: AtomicBool,
}

impl ClientState {
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A newer version is in force; what was derived from this one must be derived again.
    pub fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Acquire)
    }

    pub fn is_enabled(&self) -> bool {
        self.client.state == AccessState::Enabled && self.party.state == AccessState::Enabled
    }

    /// Whether a token of this client, issued with this id, is still worth something.
    pub fn admits(&self, token: &TokenId) -> bool {
        self.is_enabled() && self.client.tokens_void_until.is_none_or(|until| token.minted_at() > until)
    }

    pub fn scopes(&self) -> Scopes {
        self.client.scopes.intersection(self.party.role.may_hold())
    }
}

#[derive(Clone)]
struct State {
    /// Nodes among which quotas are shared.
    nodes: u32,
    parties: BTreeMap<PartyId, Arc<Party>>,
    clients: BTreeMap<ClientId, Arc<ClientState>>,
}

pub struct Access {
    state: ArcSwap<State>,
    defaults: DefaultQuotas,
}

impl Access {
    pub fn load(store: &dyn Store, defaults: DefaultQuotas) -> Result<Self, StoreError> {
        let load = |connection: &mut dyn Connection| {
            Ok((store::access::load_parties(connection)?, store::access::load_clients(connection)?))
        };
        let (parties, clients) = store.find(load)?;
        let mut state = State { nodes: 1, parties: BTreeMap::new(), clients: BTreeMap::new() };
        for party in parties {
            state.put_party(party);
        }
        for client in clients {
            state.put_client(client, &defaults);
        }
        Ok(Self { state: ArcSwap::from_pointee(state), defaults })
    }

    pub fn client(&self, id: &ClientId) -> Option<Arc<ClientState>> {
        self.state.load().clients.get(id).cloned()
    }

    pub fn party(&self, id: &PartyId) -> Option<Arc<Party>> {
        self.state.load().parties.get(id).cloned()
    }

    /// A unit with those above it. What is no known party has none.
    pub fn chain(&self, unit: &PartyId) -> UnitChain {
        let state = self.state.load();
        UnitChain::new(unit.clone(), |unit| state.parties.get(unit)?.parent.clone())
    }

    /// The unit and all below it.
    pub fn units_below(&self, unit: &PartyId) -> Vec<PartyId> {
        let state = self.state.load();
        let police = state.parties.values().filter(|party| party.role == Role::Police).map(|party| &party.id);
        police.filter(|id| *id == unit || self.chain(id).lies_within(unit)).cloned().collect()
    }

    /// A page of parties in the order of their ids, after `after`.
    pub fn parties(&self, after: Option<&PartyId>, rows_max: usize) -> Vec<Arc<Party>> {
        let state = self.state.load();
        let start = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        state.parties.range((start, std::ops::Bound::Unbounded)).take(rows_max).map(|(_, p)| Arc::clone(p)).collect()
    }

    /// A page of clients in the order of their ids, after `after`.
    pub fn clients(&self, after: Option<&ClientId>, rows_max: usize) -> Vec<Arc<ClientState>> {
        let state = self.state.load();
        let start = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        state.clients.range((start, std::ops::Bound::Unbounded)).take(rows_max).map(|(_, c)| Arc::clone(c)).collect()
    }

    /// Lets each client have its part of every quota, where so many nodes answer. No two calls that change anything run at
    /// once.
    pub fn share_quotas(&self, nodes: u64) {
        let nodes = u32::try_from(nodes).unwrap_or(u32::MAX).max(1);
        let mut state = State::clone(&self.state.load());
        if state.nodes == nodes {
            return;
        }
        state.nodes = nodes;
        let replaced = state.renew_limits(&self.defaults);
        self.put(state, &replaced);
    }

    /// Puts committed changes in. No two calls that change anything run at once.
    pub fn publish(&self, changes: &[&Change]) {
        let concerns_access = |change: &Change| matches!(change, Change::Party { .. } | Change::Client { .. });
        let parts = || changes.iter().flat_map(|change| change.parts());
        if !parts().any(concerns_access) {
            return;
        }
        let mut state = State::clone(&self.state.load());
        let mut replaced = Vec::new();
        for change in parts() {
            match change {
                Change::Party { party, .. } => replaced.extend(state.put_party(party.clone())),
                Change::Client { client, .. } => {
                    replaced.extend(state.put_client(Client::clone(client), &self.defaults));
                }
                Change::Flag { .. }
                | Change::Flags(_)
                | Change::Import(_)
                | Change::Objection { .. }
                | Change::Correction(_)
                | Change::Together(_) => {}
            }
        }
        self.put(state, &replaced);
    }

    fn put(&self, state: State, replaced: &[Arc<ClientState>]) {
        self.state.store(Arc::new(state));
        for old in replaced {
            old.superseded.store(true, Ordering::Release);
        }
    }
}

impl State {
    /// Returns the clients' states that this replaces: a party's state is part of each of its clients'.
    fn put_party(&mut self, party: Party) -> Vec<Arc<ClientState>> {
        let party = Arc::new(party);
        self.parties.insert(party.id.clone(), Arc::clone(&party));
        let mut replaced = Vec::new();
        for state in self.clients.values_mut().filter(|state| state.client.party == party.id) {
            let new = ClientState {
                client: state.client.clone(),
                party: Arc::clone(&party),
                limits: Arc::clone(&state.limits),
                superseded: AtomicBool::new(false),
            };
            replaced.push(std::mem::replace(state, Arc::new(new)));
        }
        replaced
    }

    fn put_client(&mut self, client: Client, defaults: &DefaultQuotas) -> Option<Arc<ClientState>> {
        // The store refuses a client without a party, so this is never a silent loss.
        let party = Arc::clone(self.parties.get(&client.party)?);
        let old = self.clients.get(&client.id);
        // A client that keeps its quotas keeps what it has used of them.
        let limits = match old {
            Some(old) if old.client.quotas == client.quotas => Arc::clone(&old.limits),
            _ => Arc::new(Limits::new(defaults, &client.quotas, self.nodes)),
        };
        let state = ClientState { client, party, limits, superseded: AtomicBool::new(false) };
        self.clients.insert(state.client.id.clone(), Arc::new(state))
    }

    /// What clients have used of their quotas is forgotten. Returns the states that this replaces.
    fn renew_limits(&mut self, defaults: &DefaultQuotas) -> Vec<Arc<ClientState>> {
        let nodes = self.nodes;
        let renew = |state: &mut Arc<ClientState>| {
            let limits = Arc::new(Limits::new(defaults, &state.client.quotas, nodes));
            let (client, party) = (state.client.clone(), Arc::clone(&state.party));
            let new = ClientState { client, party, limits, superseded: AtomicBool::new(false) };
            std::mem::replace(state, Arc::new(new))
        };
        self.clients.values_mut().map(renew).collect()
    }
}
