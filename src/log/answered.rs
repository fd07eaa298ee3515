//! What the checks in an archive were answered with, summed up by flag and party: of those entries it is all that the database
//! keeps, so that a correction finds who was answered long ago. It counts what a search of the log finds, and holds no subject.

use super::archive::Part;
use super::{Entry, EntryView, LogFilter, each_entry};
use crate::domain::{AnsweredParties, Answers, FlagId};
use crate::store::{self, Connection, StoreError};
use std::collections::BTreeSet;

/// Sums up a part of a node's log, which the archive holds that is read.
pub fn sum_up(connection: &mut dyn Connection, node: &str, part: &Part) -> Result<AnsweredParties, StoreError> {
    let log = store::log::find(connection, node)?.ok_or(StoreError::Corrupt("no log"))?;
    let mut answered = AnsweredParties::new();
    each_entry(connection, log, part.first_index, part.end, &mut |bytes| add(&mut answered, bytes))?;
    Ok(answered)
}

/// A check counts once for a flag, also if the flag answered for several of its subjects.
fn add(answered: &mut AnsweredParties, bytes: &[u8]) -> Result<(), StoreError> {
    let view = EntryView::read(bytes).ok_or(UNREADABLE)?;
    let mut flags: BTreeSet<FlagId> = BTreeSet::new();
    for subject in view.subjects() {
        flags.extend(subject.flags().filter_map(|id| id.try_into().ok()).map(FlagId::from_bytes));
    }
    flags.retain(|flag| LogFilter::answered_with(*flag).matches(&view));
    if flags.is_empty() {
        return Ok(());
    }
    let entry = Entry::decode(bytes).ok_or(UNREADABLE)?;
    for flag in flags {
        Answers::at(entry.at, entry.count.into()).add_to(answered, (flag, entry.party.clone()));
    }
    Ok(())
}

const UNREADABLE: StoreError = StoreError::Corrupt("an entry that cannot be read");

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::super::{Act, EntrySubject, FlagVersion, SKEW_MS_MAX};
    use super::*;
    use crate::domain::party::{ClientId, PartyId};
    use crate::domain::{RequestId, SubjectHash, Timestamp, Verdict};

    /// Adds an act whose subjects were answered with these flags.
    fn say(answered: &mut AnsweredParties, act: Act, at: Timestamp, subjects: &[&[FlagId]]) {
        let (party, client) = (PartyId::parse("970436").unwrap(), ClientId::parse("core").unwrap());
        let mut entry = Entry::new(act, at, RequestId::from_bytes([1; 16]), party, client);
        let versions = |flags: &[FlagId]| flags.iter().map(|id| FlagVersion { id: *id, version: 2 }).collect();
        let subject = |flags: &&[FlagId]| EntrySubject {
            hash: SubjectHash::from_bytes([2; 32]),
            verdict: Some(Verdict::Warn),
            flags: versions(flags),
        };
        entry.subjects = subjects.iter().map(subject).collect();
        let mut bundle = Vec::new();
        entry.encode(&mut bundle).unwrap();
        add(answered, &bundle[2..]).unwrap();
    }

    #[test]
    fn a_check_counts_once_for_each_of_its_flags_and_other_acts_and_times_do_not() {
        let minted = Timestamp::from_ms(1_795_489_200_000);
        let [one, other] = [1, 2].map(|byte| FlagId::mint(minted, [byte; 16]));
        let mut answered = AnsweredParties::new();
        let earliest = minted.minus_ms(SKEW_MS_MAX);
        say(&mut answered, Act::Check, earliest.plus_ms(9), &[&[one, other], &[one], &[]]);
        say(&mut answered, Act::Check, earliest, &[&[one]]);
        for (act, at) in [(Act::Check, earliest.minus_ms(1)), (Act::CheckRead, minted), (Act::FlagList, minted)] {
            say(&mut answered, act, at, &[&[one]]);
        }
        say(&mut answered, Act::Check, minted, &[&[]]);
        say(&mut answered, Act::Check, minted, &[]);
        let party = || PartyId::parse("970436").unwrap();
        let of_one = Answers { checks: 2, first_at: earliest, last_at: earliest.plus_ms(9) };
        let of_other = Answers { checks: 1, first_at: earliest.plus_ms(9), last_at: earliest.plus_ms(9) };
        assert_eq!(answered, [((one, party()), of_one), ((other, party()), of_other)].into());
        assert!(add(&mut answered, b"no entry").is_err());
    }
}
