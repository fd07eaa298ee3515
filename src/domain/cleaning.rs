//! What of the list needs somebody's care: flags that say the same, flags that nobody has looked at for long, subjects that
//! checks no longer lead to. It only tells; nothing is changed because of it.

use super::banks::Bin;
use super::party::PartyId;
use super::{Directory, Subject};
use serde::Serialize;

/// Why flags of one subject may be the same flag twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Alike {
    /// Two are of one case.
    SameCase,
    /// Two units raised it.
    SeveralUnits,
}

impl Alike {
    /// Of flags of one subject: the unit that owns each, and its case in the form in which cases are compared.
    pub fn of<'a>(flags: impl IntoIterator<Item = (&'a PartyId, &'a str)>) -> Vec<Self> {
        let (units, cases): (Vec<&PartyId>, Vec<&str>) = flags.into_iter().unzip();
        let mut distinct = cases.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let same_case = (distinct.len() < cases.len()).then_some(Self::SameCase);
        let first = units.first();
        let several_units = units.iter().any(|unit| Some(unit) != first).then_some(Self::SeveralUnits);
        same_case.into_iter().chain(several_units).collect()
    }
}

/// Why an active flag is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stale {
    /// Nobody has raised, approved, renewed, amended or merged it for so long.
    NotReviewed,
    /// It ends soon.
    Expiring,
}

impl Directory {
    /// Whether a check can name the subject as it is. If not, its bank or provider has left the directory, or its name stands
    /// for another one now: the check is refused, or it is about another subject.
    pub fn leads_to(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Account(account) => {
                self.knows_bank(account.bin()) && self.wallets().behind(account.bin(), account.number()).is_none()
            }
            Subject::Wallet(wallet) => {
                self.wallets().provider_of(wallet.provider().as_str()) == Some(wallet.provider())
            }
            Subject::Person(_) | Subject::Organisation(_) | Subject::Phone(_) => true,
        }
    }

    /// Whether it leads to every subject of the bank or the provider of this one.
    pub fn leads_to_all_of(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Account(account) => self.knows_bank(account.bin()) && !self.wallets().may_be_behind(account.bin()),
            Subject::Wallet(_) | Subject::Person(_) | Subject::Organisation(_) | Subject::Phone(_) => {
                self.leads_to(subject)
            }
        }
    }

    fn knows_bank(&self, bin: Bin) -> bool {
        self.banks().bin_of(bin.as_str()) == Some(bin)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::domain::banks::BankDirectory;
    use proptest::prelude::*;

    fn unit(name: &str) -> PartyId {
        PartyId::parse(name).unwrap()
    }

    #[test]
    fn flags_are_alike_by_case_or_by_units() {
        let (a, b) = (unit("ward-a"), unit("ward-b"));
        assert_eq!(Alike::of([(&a, "1"), (&a, "2")]), []);
        assert_eq!(Alike::of([(&a, "1"), (&a, "2"), (&a, "1")]), [Alike::SameCase]);
        assert_eq!(Alike::of([(&a, "1"), (&a, "2"), (&b, "3")]), [Alike::SeveralUnits]);
        assert_eq!(Alike::of([(&a, "1"), (&b, "1")]), [Alike::SameCase, Alike::SeveralUnits]);
        assert_eq!(Alike::of([(&a, "1")]), []);
        assert_eq!(Alike::of([]), []);
    }

    #[test]
    fn a_bank_that_left_or_has_another_bin_is_led_to_no_more() {
        let built_in = include_str!("banks.csv");
        let without = |bin: &str| {
            let kept = built_in.lines().filter(|line| !line.starts_with(bin));
            Directory::with_banks(
                BankDirectory::parse(&kept.map(|line| [line, "\n"].concat()).collect::<String>()).unwrap(),
            )
        };
        let subject = Subject::from_canonical("account:970436:0011001932418").unwrap();
        assert!(Directory::built_in().unwrap().leads_to(&subject));
        assert!(!without("970436,").unwrap().leads_to(&subject));
        assert!(without("970415,").unwrap().leads_to(&subject));
        // What leads to a wallet was never the account's own name.
        let momo = Subject::from_canonical("account:971025:PSP0001").unwrap();
        assert!(!Directory::built_in().unwrap().leads_to(&momo));
    }

    proptest! {
        #[test]
        fn it_leads_to_what_parses_to_the_same(bin in "97[0-9]{4}|970436|971025", number in "(99MM|99ZP|PSP)?[0-9]{6,12}") {
            let directory = Directory::built_in().unwrap();
            let subject = Subject::from_canonical(&format!("account:{bin}:{number}")).unwrap();
            let json = serde_json::to_string(&subject).unwrap();
            let parsed = Subject::parse(&serde_json::from_str(&json).unwrap(), &directory).ok();
            let leads = parsed.as_ref() == Some(&subject);
            prop_assert_eq!(directory.leads_to(&subject), leads);
            prop_assert!(leads || !directory.leads_to_all_of(&subject));
        }
    }
}
