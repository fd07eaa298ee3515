//! What statistics count of the acts in the log, by day and by all that they can be asked for. It holds no subject and no
//! id, and its written form is read back whole or not at all.

use super::money::Currency;
use super::outcome::Decision;
use super::party::PartyId;
use super::period::Day;
use super::{Category, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counted {
    Check,
    WarningShown,
    Completed,
    CancelledByCustomer,
    Held,
    Refused,
    FlagRaised,
    /// Decided on as a proposal or as an urgent flag; what is decided of it afterwards does not count.
    FlagApproved,
    FlagRejected,
    /// Ended by somebody while it answered, also by merging.
    FlagLifted,
    /// A flag that was found wrong after it had answered, so that those who were answered with it are told.
    FlagCorrected,
    ObjectionFiled,
    ObjectionUpheld,
    ObjectionDismissed,
}

impl From<Decision> for Counted {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Completed => Self::Completed,
            Decision::CancelledByCustomer => Self::CancelledByCustomer,
            Decision::Held => Self::Held,
            Decision::Refused => Self::Refused,
        }
    }
}

/// By what is counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub day: Day,
    pub counted: Counted,
    /// Whose act it was.
    pub party: PartyId,
    /// The unit that owned the flag.
    pub unit: Option<PartyId>,
    pub category: Option<Category>,
    /// Of a check and its outcome, what was answered; of a flag, its own.
    pub verdict: Option<Verdict>,
}

/// How many, and the money of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    pub count: u64,
    /// In the smallest units of each currency.
    pub money: BTreeMap<Currency, u128>,
}

impl Amount {
    pub fn of(count: u64) -> Self {
        Self { count, money: BTreeMap::new() }
    }

    pub fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        for (currency, units) in &other.money {
            let sum = self.money.entry(*currency).or_default();
            *sum = sum.saturating_add(*units);
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(HashMap<Key, Amount, foldhash::quality::RandomState>);

/// The written form of one of them.
#[derive(Serialize, Deserialize)]
struct Row(u32, Counted, PartyId, Option<PartyId>, Option<Category>, Option<Verdict>, u64, Vec<(String, String)>);

impl Tally {
    pub fn add(&mut self, key: Key, amount: &Amount) {
        self.0.entry(key).or_default().add(amount);
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Amount)> {
        self.0.iter()
    }

    /// The first and the last day of what was counted.
    pub fn days(&self) -> Option<(Day, Day)> {
        let days = || self.0.keys().map(|key| key.day);
        days().min().zip(days().max())
    }

    /// The same tally always gives the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut rows: Vec<_> = self.0.iter().collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        let row = |(key, amount): (&Key, &Amount)| {
            let money = amount.money.iter().map(|(currency, units)| (currency.as_str().to_owned(), units.to_string()));
            let Key { day, counted, party, unit, category, verdict } = key.clone();
            Row(day.number(), counted, party, unit, category, verdict, amount.count, money.collect())
        };
        // Nothing in a row is a thing that JSON cannot hold.
        serde_json::to_vec(&rows.into_iter().map(row).collect::<Vec<_>>()).unwrap_or_default()
    }

    /// `None` for what `to_bytes` does not write.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let rows: Vec<Row> = serde_json::from_slice(bytes).ok()?;
        let mut tally = Self::default();
        for Row(day, counted, party, unit, category, verdict, count, money) in rows {
            let key = Key { day: Day::from_number(day), counted, party, unit, category, verdict };
            let money = money.into_iter().map(|(code, units)| Some((Currency::parse(&code)?, units.parse().ok()?)));
            let amount = Amount { count, money: money.collect::<Option<_>>()? };
            if tally.0.insert(key, amount).is_some() {
                return None;
            }
        }
        Some(tally)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_key() -> impl Strategy<Value = Key> {
        let party =
            prop::sample::select(vec!["970436", "momo", "hanoi-police"]).prop_map(|id| PartyId::parse(id).unwrap());
        let counted = prop::sample::select(vec![Counted::Check, Counted::Held, Counted::FlagRaised]);
        let verdict = prop::option::of(prop::sample::select(Verdict::ALL.to_vec()));
        let category = prop::option::of(prop::sample::select(Category::ALL.to_vec()));
        (0..40_000_u32, counted, party.clone(), prop::option::of(party), category, verdict).prop_map(
            |(day, counted, party, unit, category, verdict)| Key {
                day: Day::from_number(day),
                counted,
                party,
                unit,
                category,
                verdict,
            },
        )
    }

    proptest! {
        #[test]
        fn a_tally_read_back_is_the_same(keys in prop::collection::vec((any_key(), 0..u64::MAX, any::<u128>()), 0..20)) {
            let mut tally = Tally::default();
            for (key, count, units) in keys {
                tally.add(key, &Amount { count, money: BTreeMap::from([(Currency::VND, units)]) });
            }
            prop_assert_eq!(Tally::from_bytes(&tally.to_bytes()), Some(tally));
        }
    }

    #[test]
    fn bytes_that_are_torn_or_say_a_thing_twice_are_refused() {
        let mut tally = Tally::default();
        let party = PartyId::parse("970436").unwrap();
        let key =
            Key { day: Day::from_number(1), counted: Counted::Check, party, unit: None, category: None, verdict: None };
        tally.add(key, &Amount::of(2));
        let bytes = tally.to_bytes();
        assert_eq!(Tally::from_bytes(bytes.get(..bytes.len() - 1).unwrap()), None);
        let row = String::from_utf8(bytes).unwrap().trim_matches(['[', ']']).to_owned();
        assert_eq!(Tally::from_bytes(format!("[[{row}],[{row}]]").as_bytes()), None);
    }
}
