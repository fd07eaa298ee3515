//! One row of an import as it stands in its file, what it says of itself, and what is wrong with it: a fault names the field
//! and the rule, never the value.

use super::cell::{Cell, composed};
use super::cells::Cells;
use super::line::read_line;
use super::{Column, Defaults};
use crate::domain::{Directory, InputError, Proposal};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// One row as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowInput {
    /// The cells that are not empty.
    Cells(Vec<(Column, Cell)>),
    /// A line of JSON.
    Line(Vec<u8>),
    /// A row that the file's form does not allow.
    Faulty(RowFault),
}

/// Why a row is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowFault {
    /// The column, or in JSON the pointer; empty for the whole row.
    pub field: String,
    pub reason: String,
}

impl RowFault {
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }

    /// The first fault; `field` names the place that a pointer means.
    pub(super) fn of(error: InputError, field: impl Fn(&str) -> String) -> Self {
        let first = error.violations.into_iter().next();
        first.map_or_else(|| Self::new("", "is no flag"), |first| Self::new(field(&first.pointer), first.reason))
    }

    pub(super) fn at(column: Column, reason: &str) -> Self {
        Self::new(column.as_str(), reason)
    }
}

/// What two rows share that say the same of a subject: a digest of its canonical text and of the case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey(u128);

impl RowKey {
    pub fn of(subject: &str, case: &str) -> Self {
        let digest = Sha256::new().chain_update(subject).chain_update([0]).chain_update(composed(case).as_bytes());
        let digest: [u8; 32] = digest.finalize().into();
        let (first, _) = digest.split_at(16);
        Self(first.try_into().map_or(0, u128::from_be_bytes))
    }
}

impl Serialize for RowKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:032x}", self.0))
    }
}

impl<'de> Deserialize<'de> for RowKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(Self).map_err(|_| D::Error::custom("expected a key of a row"))
    }
}

impl RowInput {
    /// What the row proposes. Rules that look at the time, or at several fields, are the proposal's own.
    pub fn read(&self, defaults: &Defaults, directory: &Directory) -> Result<Proposal, RowFault> {
        match self {
            Self::Faulty(fault) => Err(fault.clone()),
            Self::Line(line) => read_line(line, defaults, directory),
            Self::Cells(cells) => {
                let cells = Cells::read(cells, defaults)?;
                let input = cells.input()?;
                input.parse(directory).map_err(|error| RowFault::of(error, |pointer| column_of(pointer).to_owned()))
            }
        }
    }

    /// Where a row of this form names a field that a proposal's own rules refuse.
    pub fn field_of(&self, pointer: &str) -> String {
        match self {
            Self::Line(_) => pointer.to_owned(),
            Self::Cells(_) | Self::Faulty(_) => column_of(pointer).to_owned(),
        }
    }
}

/// Which column holds what stands at a pointer in the body of `POST /v1/flags`.
fn column_of(pointer: &str) -> &str {
    let mut parts = pointer.split('/').skip(1);
    match (parts.next().unwrap_or_default(), parts.next()) {
        ("subject", None) => Column::Kind.as_str(),
        ("subject", Some("id")) => Column::WalletId.as_str(),
        ("legal_basis", None) => Column::Document.as_str(),
        ("subject" | "legal_basis", Some(field)) => field,
        ("source", Some("reference")) => Column::SourceReference.as_str(),
        ("source", _) => Column::SourceKind.as_str(),
        (field, _) => field,
    }
}
