//! A change: one numbered step of the registry, as the new whole state of what changed and the version it must
//! replace. It says nothing of how it is stored or looked up.

use super::import::ImportStep;
use super::party::{Client, Party};
use super::{Correction, Flag, LogPosition, Objection, Timestamp};

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
    Objection {
        replaces: Replaces,
        objection: Box<Objection>,
    },
    Correction(Correction),
    /// Several that belong to one act, in this order: all of them are made, or none. None of them is such a change itself.
    Together(Vec<Change>),
}

/// A change that is durable.
#[derive(Debug)]
pub struct Made {
    pub number: u64,
    pub change: Change,
    /// When the act was done and which entry tells of it; `None` where only the store tells.
    pub told: Option<(Timestamp, LogPosition)>,
}

impl Made {
    /// As another node made it, or as it is told once more.
    pub fn elsewhere((number, change): (u64, Change)) -> Self {
        Self { number, change, told: None }
    }
}

/// The precondition of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaces {
    Nothing,
    Version(u32),
}

impl Change {
    /// The flags whose new state the change carries.
    pub fn flags(&self) -> impl Iterator<Item = &Flag> {
        self.parts().iter().flat_map(|part| match part {
            Self::Flag { flag, .. } => std::slice::from_ref(flag.as_ref()),
            Self::Flags(flags) => flags.as_slice(),
            Self::Import(step) => step.flags(),
            Self::Party { .. }
            | Self::Client { .. }
            | Self::Objection { .. }
            | Self::Correction(_)
            | Self::Together(_) => &[],
        })
    }

    pub fn into_flags(self) -> Vec<Flag> {
        match self {
            Self::Flag { flag, .. } => vec![*flag],
            Self::Flags(flags) => flags,
            Self::Import(step) => step.into_flags(),
            Self::Together(parts) => parts.into_iter().flat_map(Self::into_flags).collect(),
            Self::Party { .. } | Self::Client { .. } | Self::Objection { .. } | Self::Correction(_) => Vec::new(),
        }
    }

    /// The changes that it consists of: itself, unless it is several.
    pub fn parts(&self) -> &[Self] {
        match self {
            Self::Together(parts) => parts,
            Self::Flag { .. }
            | Self::Flags(_)
            | Self::Import(_)
            | Self::Party { .. }
            | Self::Client { .. }
            | Self::Objection { .. }
            | Self::Correction(_) => std::slice::from_ref(self),
        }
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Self::Flag { .. } => "flag",
            Self::Flags(_) => "flags",
            Self::Import(_) => "import",
            Self::Party { .. } => "party",
            Self::Client { .. } => "client",
            Self::Objection { .. } => "objection",
            Self::Correction(_) => "correction",
            Self::Together(_) => "together",
        }
    }
}
