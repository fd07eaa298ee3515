//! Filling a registry before it serves anybody: `init` and `demo`. Seeds go through the log like every other change.

use super::{Call, Error, Registry};
use crate::domain::party::{Client, Party};
use crate::domain::{Change, Flag, Replaces};
use crate::log::{Act, Pending, Record, Resource};

pub enum Seed {
    Party(Party),
    Client(Box<Client>),
    /// Flags that come as one change.
    Flags(Vec<Flag>),
    /// What somebody has done.
    Done {
        act: Act,
        resource: Resource,
        change: Change,
    },
}

impl Registry {
    /// Hands a seed to the writer; the caller waits for it when it wants to.
    pub fn sow(&self, call: &Call, seed: Seed) -> Result<Pending, Error> {
        let (act, resource, change) = match seed {
            Seed::Party(party) => {
                let resource = Resource::Party(party.id.clone());
                (Act::PartyCreate, Some(resource), Change::Party { replaces: Replaces::Nothing, party })
            }
            Seed::Client(client) => {
                let resource = Resource::Client(client.id.clone());
                (Act::ClientCreate, Some(resource), Change::Client { replaces: Replaces::Nothing, client })
            }
            Seed::Flags(flags) => (Act::FlagImport, None, Change::Flags(flags)),
            Seed::Done { act, resource, change } => (act, Some(resource), change),
        };
        let mut entry = self.entry(act, call);
        entry.resource = resource;
        entry.count = u32::try_from(change.flags().count()).unwrap_or(u32::MAX).max(1);
        Ok(self.log.submit(Record::changing(entry, change, None))?)
    }
}
