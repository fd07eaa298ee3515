//! What has become of an import's rows, in numbers, and a few of its flags to look at: what a supervisor needs who cannot
//! read a million rows. The sample is drawn evenly over all flags, and is the same however often the file is read.

use super::RowKey;
use crate::domain::{Flag, FlagId, Subject};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Flags of a sample.
pub const SAMPLES_MAX: usize = 20;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub rows: u64,
    pub accepted: u64,
    pub duplicate: u64,
    pub invalid: u64,
    /// Accepted rows, by what they say.
    pub by_verdict: BTreeMap<String, u64>,
    pub by_category: BTreeMap<String, u64>,
    /// By BIN, or the code of a wallet's provider.
    pub by_bank: BTreeMap<String, u64>,
    pub by_kind: BTreeMap<String, u64>,
    /// The flags with the least keys.
    samples: Vec<(RowKey, FlagId)>,
}

impl Tally {
    pub fn accept(&mut self, key: RowKey, flag: &Flag) {
        self.rows += 1;
        self.accepted += 1;
        let bank = match &flag.subject {
            Subject::Account(account) => Some(account.bin().as_str().to_owned()),
            Subject::Wallet(wallet) => Some(wallet.provider().as_str().to_owned()),
            Subject::Person(_) | Subject::Organisation(_) | Subject::Phone(_) => None,
        };
        let counts = [
            (&mut self.by_verdict, Some(flag.verdict.as_str())),
            (&mut self.by_category, Some(flag.category.as_str())),
            (&mut self.by_kind, Some(flag.subject.kind().as_str())),
            (&mut self.by_bank, bank.as_deref()),
        ];
        for (counts, name) in counts {
            let Some(name) = name else { continue };
            match counts.get_mut(name) {
                Some(count) => *count += 1,
                None => drop(counts.insert(name.to_owned(), 1)),
            }
        }
        let place = self.samples.partition_point(|(other, _)| *other < key);
        if place < SAMPLES_MAX {
            self.samples.insert(place, (key, flag.id));
            self.samples.truncate(SAMPLES_MAX);
        }
    }

    pub fn count_duplicate(&mut self) {
        self.rows += 1;
        self.duplicate += 1;
    }

    pub fn count_invalid(&mut self) {
        self.rows += 1;
        self.invalid += 1;
    }

    pub fn samples(&self) -> impl Iterator<Item = FlagId> {
        self.samples.iter().map(|(_, flag)| *flag)
    }
}
