//! Figures, as they are told: added up from what is counted of the logs, for those who may see them.

use crate::domain::party::PartyId;
use crate::domain::{Amount, Counted, Currency, Key, Verdict};
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};

/// What items are made by. What has no such thing is in the total alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Unit,
    Party,
    Category,
    Verdict,
    Outcome,
    Day,
    Month,
}

impl By {
    pub const ALL: [Self; 7] =
        [Self::Unit, Self::Party, Self::Category, Self::Verdict, Self::Outcome, Self::Day, Self::Month];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Party => "party",
            Self::Category => "category",
            Self::Verdict => "verdict",
            Self::Outcome => "outcome",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.as_str() == text)
    }

    fn of(self, key: &Key) -> Option<String> {
        match self {
            Self::Unit => key.unit.as_ref().map(ToString::to_string),
            Self::Party => Some(key.party.to_string()),
            Self::Category => key.category.map(|category| category.as_str().to_owned()),
            Self::Verdict => key.verdict.map(|verdict| verdict.as_str().to_owned()),
            Self::Outcome => outcome(key.counted).map(str::to_owned),
            Self::Day => Some(key.day.to_string()),
            Self::Month => Some(key.day.month()),
        }
    }
}

fn outcome(counted: Counted) -> Option<&'static str> {
    match counted {
        Counted::Completed => Some("completed"),
        Counted::CancelledByCustomer => Some("cancelled_by_customer"),
        Counted::Held => Some("held"),
        Counted::Refused => Some("refused"),
        Counted::Check
        | Counted::WarningShown
        | Counted::FlagRaised
        | Counted::FlagApproved
        | Counted::FlagRejected
        | Counted::FlagLifted
        | Counted::FlagCorrected
        | Counted::ObjectionFiled
        | Counted::ObjectionUpheld
        | Counted::ObjectionDismissed => None,
    }
}

/// What the caller may see.
#[derive(Clone, Debug)]
pub(super) enum Sight {
    /// An auditor.
    Everything,
    /// The unit at the root: all checks, and what concerns the flags of its units.
    Root(BTreeSet<PartyId>),
    /// A unit below: only what concerns the flags of its units.
    Branch(BTreeSet<PartyId>),
}

impl Sight {
    pub(super) fn sees_unit(&self, unit: Option<&PartyId>) -> bool {
        match self {
            Self::Everything => true,
            Self::Root(units) | Self::Branch(units) => unit.is_some_and(|unit| units.contains(unit)),
        }
    }

    fn sees_all_checks(&self) -> bool {
        match self {
            Self::Everything | Self::Root(_) => true,
            Self::Branch(_) => false,
        }
    }
}

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Figures {
    /// Null for those who do not see all of them.
    pub(super) checks: Option<u64>,
    pub(super) hits: u64,
    pub(super) warnings_shown: u64,
    pub(super) completed: u64,
    pub(super) cancelled_by_customer: u64,
    pub(super) held: u64,
    pub(super) refused: u64,
    pub(super) money_kept: Moneys,
    pub(super) money_held: Moneys,
    pub(super) flags_raised: u64,
    pub(super) flags_approved: u64,
    pub(super) flags_rejected: u64,
    pub(super) flags_lifted: u64,
    pub(super) flags_corrected: u64,
    pub(super) objections_filed: u64,
    pub(super) objections_upheld: u64,
    pub(super) objections_dismissed: u64,
}

/// Sums of money, one a currency, in its smallest units.
#[derive(Clone, Debug, Default)]
pub(super) struct Moneys(pub(super) BTreeMap<Currency, u128>);

impl Moneys {
    fn add(&mut self, amount: &Amount) {
        for (currency, units) in &amount.money {
            let sum = self.0.entry(*currency).or_default();
            *sum = sum.saturating_add(*units);
        }
    }

    pub(super) fn of(&self, currency: Currency) -> u128 {
        self.0.get(&currency).copied().unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Sum {
    value: String,
    currency: &'static str,
}

impl Serialize for Moneys {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sum =
            |(currency, units): (&Currency, &u128)| Sum { value: currency.amount(*units), currency: currency.as_str() };
        serializer.collect_seq(self.0.iter().map(sum))
    }
}

impl Figures {
    /// Of an outcome only what came after an answer that was not clear: what else was refused is not for what we said.
    fn add(&mut self, key: &Key, amount: &Amount) {
        let after_a_hit = if key.verdict == Some(Verdict::Clear) { &Amount::default() } else { amount };
        let to = match key.counted {
            Counted::Check => {
                self.checks = self.checks.map(|checks| checks.saturating_add(amount.count));
                self.hits = self.hits.saturating_add(after_a_hit.count);
                return;
            }
            Counted::WarningShown => &mut self.warnings_shown,
            Counted::Completed => &mut self.completed,
            Counted::CancelledByCustomer => {
                self.money_kept.add(after_a_hit);
                &mut self.cancelled_by_customer
            }
            Counted::Held => {
                self.money_held.add(after_a_hit);
                &mut self.held
            }
            Counted::Refused => {
                self.money_kept.add(after_a_hit);
                &mut self.refused
            }
            Counted::FlagRaised => &mut self.flags_raised,
            Counted::FlagApproved => &mut self.flags_approved,
            Counted::FlagRejected => &mut self.flags_rejected,
            Counted::FlagLifted => &mut self.flags_lifted,
            Counted::FlagCorrected => &mut self.flags_corrected,
            Counted::ObjectionFiled => &mut self.objections_filed,
            Counted::ObjectionUpheld => &mut self.objections_upheld,
            Counted::ObjectionDismissed => &mut self.objections_dismissed,
        };
        *to = to.saturating_add(after_a_hit.count);
    }

    /// A check of which only that it was is seen.
    fn add_check(&mut self, amount: &Amount) {
        self.checks = self.checks.map(|checks| checks.saturating_add(amount.count));
    }
}

/// Adds up: the total, and items by several things at once.
pub(super) struct Summing {
    sight: Sight,
    pub(super) total: Figures,
    pub(super) items: Vec<(By, BTreeMap<String, Figures>)>,
}

impl Summing {
    pub(super) fn new(sight: Sight, by: &[By]) -> Self {
        let total = Self::none(&sight);
        Self { sight, total, items: by.iter().map(|by| (*by, BTreeMap::new())).collect() }
    }

    fn none(sight: &Sight) -> Figures {
        Figures { checks: sight.sees_all_checks().then_some(0), ..Figures::default() }
    }

    pub(super) fn add(&mut self, key: &Key, amount: &Amount) {
        let is_seen = self.sight.sees_unit(key.unit.as_ref());
        if !(is_seen || key.counted == Counted::Check && self.sight.sees_all_checks()) {
            return;
        }
        let put = |figures: &mut Figures| {
            if is_seen || is_clear(key) { figures.add(key, amount) } else { figures.add_check(amount) }
        };
        put(&mut self.total);
        for (by, items) in &mut self.items {
            // What a unit does not see has no name for it either.
            let names_what_is_unseen = !is_seen && matches!(by, By::Unit | By::Category);
            if let Some(name) = by.of(key).filter(|_| !names_what_is_unseen) {
                put(items.entry(name).or_insert_with(|| Self::none(&self.sight)));
            }
        }
    }

    /// The figures of a thing, also of one of which nothing was counted.
    pub(super) fn of(&self, by: By, name: &str) -> Figures {
        let items = self.items.iter().find(|(known, _)| *known == by);
        let found = items.and_then(|(_, items)| items.get(name)).cloned();
        found.unwrap_or_else(|| Self::none(&self.sight))
    }
}

fn is_clear(key: &Key) -> bool {
    key.verdict == Some(Verdict::Clear)
}

/// How the list stands now.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Standing {
    pub(super) flags_active: u64,
    pub(super) flags_proposed: u64,
    /// Their end has passed, and nobody lifted them.
    pub(super) flags_expired: u64,
    pub(super) objections_open: u64,
    /// Of those that are open.
    pub(super) objections_overdue: u64,
}

impl Standing {
    pub(super) fn add(&mut self, other: &Self) {
        self.flags_active += other.flags_active;
        self.flags_proposed += other.flags_proposed;
        self.flags_expired += other.flags_expired;
        self.objections_open += other.objections_open;
        self.objections_overdue += other.objections_overdue;
    }
}
