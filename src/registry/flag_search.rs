//! Finding flags: the officers' view names candidates, and each is read from the store and looked at once more before it is
//! shown. What a unit does not see is never shown to it.

use super::flags::invalid;
use super::{Call, Error, Registry};
use crate::domain::party::PartyId;
use crate::domain::{Flag, FlagConditions, FlagId, Timestamp};
use crate::register::Register;
use crate::store::sqlite::register::{Asked, Budget, Effort, Moment};
use crate::store::{self, Connection, Store, StoreError};
use std::sync::Arc;

/// Flags whose version at a moment is read between two looks at the clock.
const PAST_AT_ONCE: usize = 200;

/// What a search of flags looks for.
#[derive(Clone)]
pub struct FlagSearch {
    pub conditions: FlagConditions,
    /// Only flags that this unit or one below it owns.
    pub unit: Option<PartyId>,
    /// Flags as they were at this moment.
    pub as_of: Option<Timestamp>,
    /// Only flags before this place.
    pub before: Option<u64>,
    pub limit: u32,
}

impl FlagSearch {
    /// What the log says of it: which conditions were given, and the moment.
    pub(super) fn told(&self) -> Option<String> {
        let names: Vec<&str> = self.conditions.names().chain(self.unit.as_ref().map(|_| "unit")).collect();
        let conditions = (!names.is_empty()).then(|| format!("conditions={}", names.join(",")));
        let told: Vec<String> = conditions.into_iter().chain(self.as_of.map(|at| format!("as_of={at}"))).collect();
        (!told.is_empty()).then(|| told.join(" "))
    }
}

/// A page of flags, the newest first.
pub(super) struct Found {
    pub(super) flags: Vec<Flag>,
    /// Before which place the next page begins.
    pub(super) next: Option<u64>,
    pub(super) list_version: u64,
    pub(super) is_up_to_date: bool,
}

impl Registry {
    pub(super) async fn find_flags(&self, call: &Call, mut search: FlagSearch) -> Result<Found, Error> {
        if let Some(unit) = &search.unit {
            let units = self.access.units_below(unit);
            if units.is_empty() {
                return Err(invalid("/unit", "is no police unit"));
            }
            search.conditions.units = Some(units);
        }
        let looking = Looking {
            store: Arc::clone(&self.store),
            register: Arc::clone(&self.register),
            version: self.index.list_version(),
            seen_by: self.access.units_below(&call.actor.party),
            at: search.as_of.unwrap_or(call.at),
            search,
        };
        let found = tokio::task::spawn_blocking(move || looking.page()).await;
        found.map_err(|_| Error::Internal("a reader stopped".to_owned()))?
    }
}

struct Looking {
    store: Arc<dyn Store>,
    register: Arc<Register>,
    /// Changes up to this number must not be missed.
    version: u64,
    seen_by: Vec<PartyId>,
    at: Timestamp,
    search: FlagSearch,
}

impl Looking {
    fn page(&self) -> Result<Found, Error> {
        let limit = usize::try_from(self.search.limit).unwrap_or(usize::MAX);
        let budget = Budget::of(Effort::default());
        let (mut flags, mut before, mut list_version) = (Vec::new(), self.search.before, None);
        loop {
            // One more than is shown tells whether there is more.
            let asked = self.asked(before, (limit + 1).saturating_sub(flags.len()));
            let look =
                self.register.read(self.version, |reader| Ok((reader.covered()?, reader.look(&asked, &budget)?)));
            let (covered, piece) = look.map_err(|error| {
                tracing::error!(%error, "the officers' view cannot be read");
                Error::Unavailable("Flags cannot be searched for a moment.")
            })?;
            let list_version = *list_version.get_or_insert(covered.change);
            let is_up_to_date = list_version >= self.version;
            let page = |flags, next| Found { flags, next, list_version, is_up_to_date };
            for (place, flag) in self.wanted_of(piece.found)? {
                if flags.len() == limit {
                    // The next page begins with this one.
                    return Ok(page(flags, Some(place + 1)));
                }
                flags.push(flag);
            }
            match piece.next {
                Some(next) if !budget.is_spent() => before = Some(next),
                next => return Ok(page(flags, next)),
            }
        }
    }

    fn asked(&self, before: Option<u64>, found_max: usize) -> Asked<'_> {
        let (version, found_max) = match self.search.as_of {
            Some(_) => (Moment::Past, found_max.max(PAST_AT_ONCE)),
            None => (Moment::Newest, found_max),
        };
        Asked { conditions: &self.search.conditions, seen_by: &self.seen_by, at: self.at, version, before, found_max }
    }

    /// The flags at the moment that is asked for: those asked for and seen, each with its place.
    fn wanted_of(&self, candidates: Vec<(u64, FlagId)>) -> Result<Vec<(u64, Flag)>, StoreError> {
        self.store.find(|connection| {
            let mut wanted = Vec::new();
            for (place, id) in &candidates {
                wanted.extend(self.as_wanted(connection, *id)?.map(|flag| (*place, flag)));
            }
            Ok(wanted)
        })
    }

    fn as_wanted(&self, connection: &mut dyn Connection, id: FlagId) -> Result<Option<Flag>, StoreError> {
        let newest = store::flags::find(connection, id)?.ok_or(StoreError::Corrupt("a flag without its version"))?;
        let is_seen = [newest.unit()].into_iter().chain(&newest.coordinating).any(|unit| self.seen_by.contains(unit));
        if !is_seen {
            return Ok(None);
        }
        let flag = match self.search.as_of {
            Some(as_of) => store::history::version_at(connection, id, as_of)?,
            None => Some(newest),
        };
        Ok(flag.filter(|flag| self.search.conditions.hold(flag, self.at)))
    }
}
