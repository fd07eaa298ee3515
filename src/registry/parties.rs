//! Parties: create, disable, enable, read, list (operators only).

use super::flags::{etag, invalid};
use super::{Answered, Call, Error, Registry, render};
use crate::domain::party::{AccessState, Party, PartyId, Role};
use crate::domain::{Change, Replaces, UNIT_LEVELS_MAX};
use crate::log::{Act, Resource};
use serde::Serialize;
use std::sync::Arc;

pub struct NewParty {
    pub id: PartyId,
    pub name: String,
    pub role: Role,
    /// Of a police unit: the one above it.
    pub parent: Option<PartyId>,
}

#[derive(Serialize)]
struct PartyList<'a> {
    items: Vec<&'a Party>,
    next_cursor: Option<&'a PartyId>,
}

impl Registry {
    pub async fn create_party(&self, call: &Call, new: NewParty) -> Result<Answered, Error> {
        if let Some(parent) = &new.parent {
            self.may_be_above(parent, new.role)?;
        }
        let party = Party {
            id: new.id,
            name: new.name,
            role: new.role,
            parent: new.parent,
            state: AccessState::Enabled,
            version: 1,
            created_at: call.at,
        };
        let location = format!("/v1/parties/{}", party.id);
        let answered = self.write_party(Act::PartyCreate, call, Replaces::Nothing, party).await;
        match answered {
            Ok(answered) => Ok(Answered { location: Some(location), ..answered }),
            Err(Error::StaleVersion) => Err(Error::Conflict("A party with this id exists already.")),
            Err(error) => Err(error),
        }
    }

    fn may_be_above(&self, parent: &PartyId, role: Role) -> Result<(), Error> {
        let above = self.access.party(parent).filter(|above| above.role == Role::Police);
        if role != Role::Police || above.is_none() {
            return Err(invalid("/parent", "expected a police unit, above another one"));
        }
        if self.access.chain(parent).levels() >= UNIT_LEVELS_MAX {
            return Err(invalid("/parent", "expected a unit with at most 2 others above it"));
        }
        Ok(())
    }

    /// Enables or disables a party, and with it all its clients.
    pub async fn set_party_state(
        &self,
        call: &Call,
        id: &PartyId,
        version: u32,
        state: AccessState,
    ) -> Result<Answered, Error> {
        let old = self.access.party(id).ok_or(Error::NotFound)?;
        if old.version != version {
            return Err(Error::StaleVersion);
        }
        if *id == call.actor.party && state == AccessState::Disabled {
            return Err(Error::InvalidTransition("An operator cannot disable its own party.".to_owned()));
        }
        let act = match state {
            AccessState::Enabled => Act::PartyEnable,
            AccessState::Disabled => Act::PartyDisable,
        };
        let party = Party { state, version: version.saturating_add(1), ..Party::clone(&old) };
        self.write_party(act, call, Replaces::Version(version), party).await
    }

    pub async fn read_party(&self, call: &Call, id: &PartyId) -> Result<Answered, Error> {
        let party = self.access.party(id).ok_or(Error::NotFound)?;
        let mut entry = self.entry(Act::PartyList, call);
        entry.resource = Some(Resource::Party(party.id.clone()));
        let answered = self.answer_reading(entry, render(&*party)?).await?;
        Ok(Answered { etag: Some(etag(party.version)), ..answered })
    }

    pub async fn list_parties(&self, call: &Call, after: Option<&PartyId>, limit: u32) -> Result<Answered, Error> {
        let shown = usize::try_from(limit).unwrap_or(usize::MAX);
        let found: Vec<Arc<Party>> = self.access.parties(after, shown.saturating_add(1));
        let more = found.len() > shown;
        let items: Vec<&Party> = found.iter().take(shown).map(AsRef::as_ref).collect();
        let next_cursor = items.last().filter(|_| more).map(|party| &party.id);
        let body = render(&PartyList { next_cursor, items })?;
        self.answer_reading(self.entry(Act::PartyList, call), body).await
    }

    async fn write_party(&self, act: Act, call: &Call, replaces: Replaces, party: Party) -> Result<Answered, Error> {
        let body = render(&party)?;
        let mut entry = self.entry(act, call);
        entry.resource = Some(Resource::Party(party.id.clone()));
        let etag = etag(party.version);
        self.answer_changing(entry, Change::Party { replaces, party }, body, etag).await
    }
}
