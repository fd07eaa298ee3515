//! How long a new urgent flag may answer before anybody approves it. What cannot be looked at is not taken for nothing: then
//! no urgent flag is raised for the moment, and one that waits for its approval still is.

use super::audit::blocking;
use super::flags::invalid;
use super::{Error, Registry};
use crate::domain::{Flag, FlagId, Proposal, Subject, Timestamp, UrgentTime};
use crate::store::{self, Connection, StoreError};
use std::sync::Arc;

const SPENT: &str = "urgent flags that nobody approved have answered for it for 72 hours of the last 30 days";
const NOT_KNOWN: Error = Error::Unavailable("How long urgent flags have answered cannot be told for a moment.");
/// Versions of a flag that are read at once.
const VERSIONS_AT_ONCE: u32 = 100;

impl Registry {
    /// The latest end that an urgent flag may have by what others before it have answered for its subjects.
    pub(super) async fn end_of_urgent(&self, proposal: &Proposal, now: Timestamp) -> Result<Timestamp, Error> {
        let subjects: Vec<Subject> = std::iter::once(&proposal.subject).chain(&proposal.linked).cloned().collect();
        let (from, version) = (UrgentTime::raised_from(now), self.index.list_version());
        let (register, store) = (Arc::clone(&self.register), Arc::clone(&self.store));
        let find = move || {
            let others = register.read(version, |reader| {
                if reader.covered()?.change < version {
                    return Ok(None);
                }
                let of = |subject| reader.answered_alone_for(subject, from);
                subjects.iter().map(of).collect::<Result<Vec<_>, _>>().map(Some)
            });
            let others = others.map_err(|error| {
                tracing::error!(%error, "the officers' view cannot be read");
                NOT_KNOWN
            })?;
            let others = others.ok_or(NOT_KNOWN)?;
            let ends = store.find(|connection| {
                let each = subjects.iter().zip(&others);
                each.map(|(subject, ids)| Ok(time_of(connection, subject, ids, now)?.end_of_next())).collect()
            });
            ends.map_err(Error::from)
        };
        let ends: Vec<Option<Timestamp>> = blocking(find).await??;
        let end = |(place, end): (usize, Option<Timestamp>)| {
            let pointer = || place.checked_sub(1).map_or("/subject".to_owned(), |place| format!("/linked/{place}"));
            end.ok_or_else(|| invalid(&pointer(), SPENT))
        };
        let ends: Vec<Timestamp> = ends.into_iter().enumerate().map(end).collect::<Result<_, _>>()?;
        ends.into_iter().min().ok_or_else(|| Error::Internal("a proposal without a subject".to_owned()))
    }
}

/// When these flags answered for the subject, as far as nobody has approved them.
fn time_of(
    connection: &mut dyn Connection,
    subject: &Subject,
    ids: &[FlagId],
    now: Timestamp,
) -> Result<UrgentTime, StoreError> {
    let mut time = UrgentTime::before(now);
    for id in ids {
        if store::flags::find(connection, *id)?.is_some_and(|flag| flag.is_urgent_alone()) {
            add(connection, subject, *id, &mut time)?;
        }
    }
    Ok(time)
}

fn add(
    connection: &mut dyn Connection,
    subject: &Subject,
    id: FlagId,
    time: &mut UrgentTime,
) -> Result<(), StoreError> {
    let mut newest: Option<Flag> = None;
    loop {
        let after = newest.as_ref().map_or(0, |flag| flag.version);
        let versions = store::history::versions(connection, id, after, VERSIONS_AT_ONCE)?;
        if versions.is_empty() {
            break;
        }
        for version in versions {
            if let Some(before) = newest.replace(version.flag) {
                time.add(subject, &before, newest.as_ref());
            }
        }
    }
    if let Some(newest) = &newest {
        time.add(subject, newest, None);
    }
    Ok(())
}
