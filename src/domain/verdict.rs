//! What the registry advises about a subject, from `clear` up to `block`, and why (the category of the scheme).
//! The order of the verdicts is the order of their weight: the highest of several is the answer.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Clear,
    Warn,
    Hold,
    Block,
}

impl Verdict {
    pub const ALL: [Self; 4] = [Self::Clear, Self::Warn, Self::Hold, Self::Block];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Warn => "warn",
            Self::Hold => "hold",
            Self::Block => "block",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.as_str() == text)
    }

    /// The byte in an entry of the log and in the index.
    pub fn code(self) -> u8 {
        match self {
            Self::Clear => 1,
            Self::Warn => 2,
            Self::Hold => 3,
            Self::Block => 4,
        }
    }

    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.code() == code)
    }

    /// What a flag with this verdict says of a subject it only links to: one step less, but never silence.
    pub fn by_link(self) -> Self {
        match self {
            Self::Clear => Self::Clear,
            Self::Warn | Self::Hold => Self::Warn,
            Self::Block => Self::Hold,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    Mule,
    Impersonation,
    Investment,
    Romance,
    Job,
    Loan,
    ECommerce,
    AccountRental,
    Malware,
    Phishing,
    Gambling,
    Other,
}

impl Category {
    pub const ALL: [Self; 12] = [
        Self::Mule,
        Self::Impersonation,
        Self::Investment,
        Self::Romance,
        Self::Job,
        Self::Loan,
        Self::ECommerce,
        Self::AccountRental,
        Self::Malware,
        Self::Phishing,
        Self::Gambling,
        Self::Other,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mule => "mule",
            Self::Impersonation => "impersonation",
            Self::Investment => "investment",
            Self::Romance => "romance",
            Self::Job => "job",
            Self::Loan => "loan",
            Self::ECommerce => "e_commerce",
            Self::AccountRental => "account_rental",
            Self::Malware => "malware",
            Self::Phishing => "phishing",
            Self::Gambling => "gambling",
            Self::Other => "other",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|category| category.as_str() == text)
    }

    /// The byte in the index.
    pub fn code(self) -> u8 {
        match self {
            Self::Mule => 1,
            Self::Impersonation => 2,
            Self::Investment => 3,
            Self::Romance => 4,
            Self::Job => 5,
            Self::Loan => 6,
            Self::ECommerce => 7,
            Self::AccountRental => 8,
            Self::Malware => 9,
            Self::Phishing => 10,
            Self::Gambling => 11,
            Self::Other => 12,
        }
    }

    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|category| category.code() == code)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_read_back_the_same_and_equal_the_wire_form() {
        for verdict in Verdict::ALL {
            assert_eq!(Verdict::parse(verdict.as_str()), Some(verdict));
            assert_eq!(Verdict::from_code(verdict.code()), Some(verdict));
            assert_eq!(serde_json::to_value(verdict).unwrap(), verdict.as_str());
        }
        for category in Category::ALL {
            assert_eq!(Category::parse(category.as_str()), Some(category));
            assert_eq!(Category::from_code(category.code()), Some(category));
            assert_eq!(serde_json::to_value(category).unwrap(), category.as_str());
        }
    }

    #[test]
    fn a_link_weighs_one_step_less_but_never_reads_as_clear() {
        assert_eq!(Verdict::Block.by_link(), Verdict::Hold);
        assert_eq!(Verdict::Hold.by_link(), Verdict::Warn);
        assert_eq!(Verdict::Warn.by_link(), Verdict::Warn);
    }
}
