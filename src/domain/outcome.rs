//! What became of the transaction of a check, as the bank that asked tells it. In the log it is the text of one entry's
//! `reference`, so that the entry alone tells it for ever.

use super::money::{Currency, Money};
use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Completed,
    CancelledByCustomer,
    Held,
    Refused,
}

impl Decision {
    pub const ALL: [Self; 4] = [Self::Completed, Self::CancelledByCustomer, Self::Held, Self::Refused];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::CancelledByCustomer => "cancelled_by_customer",
            Self::Held => "held",
            Self::Refused => "refused",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|decision| decision.as_str() == text)
    }
}

/// Whether the customer saw a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warning {
    Shown,
    NotShown,
}

impl Warning {
    pub fn of(is_shown: bool) -> Self {
        if is_shown { Self::Shown } else { Self::NotShown }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Shown => "warned",
            Self::NotShown => "not_warned",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub decision: Decision,
    pub warning: Warning,
    /// Of the transaction, if it has one.
    pub amount: Option<Money>,
}

/// `cancelled_by_customer warned 5000000 VND`
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.decision.as_str(), self.warning.as_str())?;
        match self.amount {
            Some(amount) => write!(f, " {} {}", amount.value(), amount.currency().as_str()),
            None => Ok(()),
        }
    }
}

impl Outcome {
    /// Accepts exactly what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let decision = Decision::parse(words.next()?)?;
        let warning = words.next()?;
        let warning = [Warning::Shown, Warning::NotShown].into_iter().find(|known| known.as_str() == warning)?;
        let amount = match words.next() {
            None => None,
            Some(value) => Some(Money::parse(value, Currency::parse(words.next()?)?)?),
        };
        let read = Self { decision, warning, amount };
        (read.to_string() == text).then_some(read)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_outcome() -> impl Strategy<Value = Outcome> {
        let amount =
            (1..1_000_000_000_u64, prop::sample::select(vec!["VND", "USD", "KWD"])).prop_map(|(units, code)| {
                let currency = Currency::parse(code).unwrap();
                Money::parse(&currency.amount(units.into()), currency).unwrap()
            });
        let parts = (prop::sample::select(Decision::ALL.to_vec()), any::<bool>(), prop::option::of(amount));
        parts.prop_map(|(decision, shown, amount)| Outcome { decision, warning: Warning::of(shown), amount })
    }

    proptest! {
        #[test]
        fn an_outcome_read_back_is_the_same(outcome in any_outcome()) {
            prop_assert_eq!(Outcome::parse(&outcome.to_string()), Some(outcome));
        }

        #[test]
        fn any_text_is_refused_or_read_back_the_same(text in "(completed|held)( warned| not_warned)( 0{0,1}[0-9]{1,3}(\\.[0-9])? (VND|USD|XXX))? ?") {
            if let Some(outcome) = Outcome::parse(&text) {
                prop_assert_eq!(outcome.to_string(), text);
            }
        }
    }
}
