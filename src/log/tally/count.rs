//! Counting entries. A check that was answered with flags counts once, for the weightiest flag of its weightiest subject.

use super::super::view::EntryView;
use super::super::{Act, Entry, FlagVersion, Resource, each_entry};
use crate::behind;
use crate::domain::party::PartyId;
use crate::domain::{
    Amount, Category, Counted, Day, Flag, FlagId, FlagMove, FlagState, Key, Outcome, Tally, Timestamp, Urgency,
    Verdict, Warning,
};
use crate::store::log::LogNumber;
use crate::store::{self, Connection, StoreError};
use std::collections::HashMap;

const FLAGS_KNOWN_MAX: usize = 100_000;

/// What is known of versions of flags, so that each is read once.
#[derive(Default)]
pub(super) struct Known(HashMap<(FlagId, u32), Of, foldhash::fast::RandomState>);

/// The unit that owned a flag, and the flag's category. Nothing if the flag is not there.
type Of = Option<(PartyId, Category)>;

impl Known {
    fn find(&mut self, connection: &mut dyn Connection, flag: &FlagVersion) -> Result<Of, StoreError> {
        if let Some(of) = self.0.get(&(flag.id, flag.version)) {
            return Ok(of.clone());
        }
        if self.0.len() >= FLAGS_KNOWN_MAX {
            self.0.clear();
        }
        let of = store::tally::flag_version(connection, flag.id, flag.version)?.as_ref().map(of);
        self.0.insert((flag.id, flag.version), of.clone());
        Ok(of)
    }
}

fn of(flag: &Flag) -> (PartyId, Category) {
    (flag.unit().clone(), flag.category)
}

/// Counts the entries from `first` to before `end`.
pub(super) fn count(
    connection: &mut dyn Connection,
    log: LogNumber,
    first: u64,
    end: u64,
    known: &mut Known,
    tally: &mut Tally,
) -> Result<(), StoreError> {
    // Those for which something must be looked up, which cannot be done while entries are read.
    let mut later = Vec::new();
    each_entry(connection, log, first, end, &mut |bytes| {
        const UNREADABLE: StoreError = StoreError::Corrupt("an entry that cannot be read");
        let entry = EntryView::read(bytes).ok_or(UNREADABLE)?;
        if entry.act == Act::Check && entry.verdict == Some(Verdict::Clear) {
            let party = std::str::from_utf8(entry.party).ok().and_then(PartyId::parse).ok_or(UNREADABLE)?;
            tally.add(key(entry.at, Counted::Check, party, None, entry.verdict), &Amount::of(1));
        } else if says(entry.act) != Says::Nothing {
            later.push(Entry::decode(bytes).ok_or(UNREADABLE)?);
        }
        Ok(())
    })?;
    for entry in later {
        // It may bring a thousand flags.
        behind::give_way();
        count_entry(connection, &entry, known, tally)?;
    }
    Ok(())
}

/// What entries of an act say that is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    /// A check, or what became of one.
    Check,
    Objection(Counted),
    /// What was done to flags.
    Change,
    Nothing,
}

fn says(act: Act) -> Says {
    match act {
        Act::Check | Act::CheckOutcome => Says::Check,
        Act::ObjectionFile => Says::Objection(Counted::ObjectionFiled),
        Act::ObjectionUphold => Says::Objection(Counted::ObjectionUpheld),
        Act::ObjectionDismiss => Says::Objection(Counted::ObjectionDismissed),
        Act::FlagRaise | Act::FlagApprove | Act::FlagReject | Act::FlagLift | Act::FlagMerge | Act::FlagImport => {
            Says::Change
        }
        Act::CheckRead
        | Act::FlagRead
        | Act::FlagList
        | Act::FlagSearch
        | Act::FlagAmend
        | Act::FlagRenew
        | Act::FlagTransfer
        | Act::FlagCorrect
        | Act::PartyCreate
        | Act::PartyDisable
        | Act::PartyEnable
        | Act::PartyList
        | Act::ClientCreate
        | Act::ClientRotate
        | Act::ClientDisable
        | Act::ClientEnable
        | Act::ClientList
        | Act::TokenIssue
        | Act::Refused
        | Act::LogKey
        | Act::LogRead
        | Act::LogReport
        | Act::LogArchive
        | Act::ObjectionList
        | Act::ImportReceive
        | Act::ImportRead
        | Act::ImportApprove
        | Act::ImportReject
        | Act::FlagExport
        | Act::StatisticsRead
        | Act::StatisticsReport => Says::Nothing,
    }
}

fn count_entry(
    connection: &mut dyn Connection,
    entry: &Entry,
    known: &mut Known,
    tally: &mut Tally,
) -> Result<(), StoreError> {
    match says(entry.act) {
        Says::Nothing => Ok(()),
        Says::Check => count_check(connection, entry, known, tally),
        Says::Change => count_change(connection, entry, tally),
        Says::Objection(counted) => {
            if let Some(Resource::Objection(objection)) = entry.resource {
                let flag = store::tally::flag_of_objection(connection, objection, entry.list_version)?;
                let verdict = flag.as_ref().map(|flag| flag.verdict);
                let of = flag.as_ref().map(of);
                tally.add(key(entry.at, counted, entry.party.clone(), of, verdict), &Amount::of(1));
            }
            // One that was upheld may have lifted its flag.
            count_change(connection, entry, tally)
        }
    }
}

fn count_check(
    connection: &mut dyn Connection,
    entry: &Entry,
    known: &mut Known,
    tally: &mut Tally,
) -> Result<(), StoreError> {
    let weightiest = entry.subjects.iter().find(|subject| subject.verdict == entry.verdict);
    let of = match weightiest.and_then(|subject| subject.flags.first()) {
        Some(flag) => known.find(connection, flag)?,
        None => None,
    };
    let mut add = |counted, amount: &Amount| {
        tally.add(key(entry.at, counted, entry.party.clone(), of.clone(), entry.verdict), amount);
    };
    if entry.act == Act::Check {
        add(Counted::Check, &Amount::of(entry.count.into()));
        return Ok(());
    }
    let outcome = entry.reference.as_deref().and_then(Outcome::parse);
    let outcome = outcome.ok_or(StoreError::Corrupt("an outcome that is none"))?;
    let mut amount = Amount::of(1);
    amount.money.extend(outcome.amount.map(|money| (money.currency(), u128::from(money.units()))));
    add(outcome.decision.into(), &amount);
    if outcome.warning == Warning::Shown {
        add(Counted::WarningShown, &Amount::of(1));
    }
    Ok(())
}

/// What an act made of flags: all of them, since a list that is imported is one act.
fn count_change(connection: &mut dyn Connection, entry: &Entry, tally: &mut Tally) -> Result<(), StoreError> {
    let mut add = |counted, flag: &Flag| {
        tally.add(key(entry.at, counted, entry.party.clone(), Some(of(flag)), Some(flag.verdict)), &Amount::of(1));
    };
    let mut wrong = Vec::new();
    store::tally::flags_of_change(connection, entry.list_version, &mut |flag, before| {
        if entry.act == Act::FlagImport {
            // It brings flags with all that was done to them elsewhere.
            add(Counted::FlagRaised, &flag);
            if flag.state == FlagState::Active && flag.urgency == Urgency::Normal {
                add(Counted::FlagApproved, &flag);
            }
            return Ok(());
        }
        if let Some(counted) = counted_of(&flag, before.as_ref()) {
            add(counted, &flag);
        }
        if flag.must_be_corrected() {
            wrong.push(flag);
        }
        Ok(())
    })?;
    for flag in wrong {
        for told in told_with(connection, flag, entry.list_version)? {
            add(Counted::FlagCorrected, &told);
        }
    }
    Ok(())
}

/// As what a new version of a flag counts.
fn counted_of(flag: &Flag, before: Option<&Flag>) -> Option<Counted> {
    let step = flag.step();
    let was_approved = before.is_some_and(|before| before.approved_by.is_some());
    let was_active = before.is_some_and(|before| before.state_at(step.at) == FlagState::Active);
    match step.what {
        FlagMove::Raise => Some(Counted::FlagRaised),
        // These two also decide on what waits of a flag that was approved before.
        FlagMove::Approve => (!was_approved).then_some(Counted::FlagApproved),
        FlagMove::Reject => (!was_approved).then_some(Counted::FlagRejected),
        // What was over before can only be found wrong. What others were merged into goes on.
        FlagMove::Lift | FlagMove::Merge => {
            (was_active && flag.state == FlagState::Lifted).then_some(Counted::FlagLifted)
        }
        FlagMove::Renew | FlagMove::Amend | FlagMove::Transfer => None,
    }
}

/// The flags of which it is told that they were wrong once this one is: itself and those that it took in, as far as they
/// had answered and it was not told before.
fn told_with(connection: &mut dyn Connection, wrong: Flag, change: u64) -> Result<Vec<Flag>, StoreError> {
    let mut told = Vec::new();
    for id in &wrong.merged {
        told.extend(store::tally::flag_at(connection, *id, change)?.filter(|flag| flag.since.is_some()));
    }
    told.push(wrong);
    let mut new = Vec::new();
    for flag in told {
        if !is_told(connection, flag.id, change.saturating_sub(1))? {
            new.push(flag);
        }
    }
    Ok(new)
}

/// Whether it was told at a change that a flag was wrong: by itself, or with one into which it was merged.
fn is_told(connection: &mut dyn Connection, id: FlagId, change: u64) -> Result<bool, StoreError> {
    let mut next = Some(id);
    while let Some(id) = next {
        let flag = store::tally::flag_at(connection, id, change)?;
        if flag.as_ref().is_some_and(Flag::must_be_corrected) {
            return Ok(true);
        }
        next = flag.and_then(|flag| flag.merged_into);
    }
    Ok(false)
}

fn key(at: Timestamp, counted: Counted, party: PartyId, of: Of, verdict: Option<Verdict>) -> Key {
    let (unit, category) = of.unzip();
    Key { day: Day::of(at), counted, party, unit, category, verdict }
}
