//! A change: one numbered step of the registry, as the new whole state of what changed and the version it must
//! replace. It says nothing of how it is stored or looked up.

use super::Flag;
use super::import::ImportStep;
use super::party::{Client, Party};

#[derive(Clone, Debug)]
pub enum Change {
    Flag {
        replaces: Replaces,
        flag: Box<Flag>,
    },
    /// Many new flags in one step, for a list that arrives as a whole.
    Flags(Vec<Flag>),
    /// A step of an import, with the flags that it makes or decides on.
    Import(Box<ImportStep>),
    Party {
        replaces: Replaces,
        party: Party,
    },
    Client {
        replaces: Replaces,
        client: Box<Client>,
    },
}

/// The precondition of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaces {
    Nothing,
    Version(u32),
}

impl Change {
    /// The flags whose new state the change carries.
    pub fn flags(&self) -> &[Flag] {
        match self {
            Self::Flag { flag, .. } => std::slice::from_ref(flag),
            Self::Flags(flags) => flags,
            Self::Import(step) => &step.flags,
            Self::Party { .. } | Self::Client { .. } => &[],
        }
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Self::Flag { .. } => "flag",
            Self::Flags(_) => "flags",
            Self::Import(_) => "import",
            Self::Party { .. } => "party",
            Self::Client { .. } => "client",
        }
    }
}
