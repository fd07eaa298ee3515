//! How clean the list of each unit is: counts of what the lists of `cleaning` name one by one.

use super::cleaning::{Care, Covering, DAY_MS, StaleAfter, alike};
use super::{Answered, Call, Error, Registry, render};
use crate::domain::Timestamp;
use crate::domain::party::PartyId;
use crate::log::Act;
use crate::store;
use crate::store::sqlite::register::{Counting, Counts};
use serde::Serialize;
use std::collections::HashMap;

/// After how many days something is counted.
#[derive(Clone, Copy, Debug)]
pub struct QualityTerms {
    pub stale: StaleAfter,
    /// A proposal of which nobody has decided so long waits.
    pub waiting_days: u32,
    /// What ended within these is counted as expired.
    pub expired_days: u32,
}

/// A page of units, in the order of their ids.
#[derive(Clone, Debug)]
pub struct QualityPage {
    pub after: Option<PartyId>,
    pub limit: u32,
}

impl Registry {
    /// A line for each unit that the caller's sees: its own and those below.
    pub async fn summarise_quality(
        &self,
        call: &Call,
        terms: QualityTerms,
        page: QualityPage,
    ) -> Result<Answered, Error> {
        let _turn = self.turn().await?;
        let summary = self.care(call, move |care| summary(care, terms, &page)).await?;
        let body = render(&summary)?;
        let mut entry = self.entry(Act::FlagList, call);
        entry.reference = Some("quality".to_owned());
        self.answer_reading(entry, body).await
    }
}

#[derive(Serialize)]
struct Summary {
    items: Vec<UnitView>,
    next_cursor: Option<PartyId>,
    list_version: u64,
    up_to_date: bool,
}

#[derive(Serialize)]
struct UnitView {
    unit: PartyId,
    proposed: u64,
    active: u64,
    waiting: u64,
    not_reviewed: u64,
    expiring: u64,
    expired: u64,
    duplicates: u64,
    unparsable: u64,
    without_legal_basis: u64,
    without_case: u64,
    objections_open: u64,
    objections_overdue: u64,
}

/// Counts by unit that were found apart.
struct Found {
    counts: HashMap<PartyId, Counts>,
    duplicates: HashMap<PartyId, u64>,
    not_led_to: HashMap<PartyId, u64>,
}

fn summary(care: &Care, terms: QualityTerms, page: &QualityPage) -> Result<Summary, Error> {
    let mut units: Vec<&PartyId> = care.seen_by.iter().collect();
    units.sort_unstable();
    let rest: Vec<&PartyId> =
        units.into_iter().filter(|unit| page.after.as_ref().is_none_or(|after| *unit > after)).collect();
    let shown = rest.get(..usize::try_from(page.limit).unwrap_or(usize::MAX)).unwrap_or(&rest);
    let from = counting(terms, care.at);
    let (found, covering) = care.view(|reader, seen| {
        let mut duplicates = HashMap::new();
        reader.each_crowd(seen, &mut |live| {
            let alike = !alike(live).is_empty();
            for live in live.iter().filter(|_| alike) {
                *duplicates.entry(live.unit.clone()).or_default() += 1;
            }
        })?;
        let counts = reader.counts(seen, from)?;
        Ok(Found { counts, duplicates, not_led_to: reader.counts_not_led_to(seen, &care.directory)? })
    })?;
    let objections = care.store.find(|connection| store::objections::open_of_units(connection, care.at))?;
    let Covering { list_version, up_to_date } = covering;
    Ok(Summary {
        items: shown.iter().map(|unit| UnitView::new(unit, &found, &objections)).collect(),
        next_cursor: shown.last().filter(|_| shown.len() < rest.len()).map(|unit| PartyId::clone(unit)),
        list_version,
        up_to_date,
    })
}

fn counting(terms: QualityTerms, now: Timestamp) -> Counting {
    let before = |days: u32| now.minus_ms(u64::from(days) * DAY_MS);
    Counting {
        stale: terms.stale.moments(now),
        proposed: before(terms.waiting_days),
        ended: before(terms.expired_days),
    }
}

impl UnitView {
    fn new(unit: &PartyId, found: &Found, objections: &HashMap<PartyId, (u64, u64)>) -> Self {
        let counts = found.counts.get(unit).copied().unwrap_or_default();
        let of = |counted: &HashMap<PartyId, u64>| counted.get(unit).copied().unwrap_or_default();
        let (objections_open, objections_overdue) = objections.get(unit).copied().unwrap_or_default();
        Self {
            unit: unit.clone(),
            proposed: counts.proposed,
            active: counts.active,
            waiting: counts.waiting,
            not_reviewed: counts.not_reviewed,
            expiring: counts.expiring,
            expired: counts.expired,
            duplicates: of(&found.duplicates),
            unparsable: of(&found.not_led_to),
            without_legal_basis: counts.without_legal_basis,
            without_case: counts.without_case,
            objections_open,
            objections_overdue,
        }
    }
}
