//! One line of JSON as a row of an import: what `POST /v1/flags` takes, or a flag as the registry shows it.

use super::cell::{composed, date};
use super::{Column, Defaults, RowFault};
use crate::domain::flag_input::{LegalBasisInput, SourceInput};
use crate::domain::party::PartyId;
use crate::domain::strict::{Object, explain, object, word};
use crate::domain::subject_input::InputKind;
use crate::domain::{Category, Directory, FlagInput, Proposal, SourceKind, SubjectInput, Timestamp, Verdict};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;

/// A line as `POST /v1/flags` takes it, or as the registry shows a flag: what the registry alone decides on is read past.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FlagLine<'a> {
    #[serde(borrow, deserialize_with = "object")]
    subject: SubjectInput<'a>,
    #[serde(default)]
    verdict: Option<String>,
    #[serde(default)]
    category: Option<String>,
    #[serde(default)]
    case: Option<String>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    legal_basis: Option<LegalBasisInput>,
    #[serde(default)]
    expires_at: Option<Timestamp>,
    #[serde(default)]
    urgent: bool,
    #[serde(default, borrow)]
    linked: Vec<Object<SubjectInput<'a>>>,
    #[serde(default)]
    source: Option<SourceLine>,
    #[serde(default)]
    unit: Option<PartyId>,
    #[serde(default)]
    coordinating: Vec<PartyId>,
    #[serde(default, rename = "officer")]
    _officer: Option<IgnoredAny>,
    #[serde(default, rename = "id")]
    _id: Option<IgnoredAny>,
    #[serde(default, rename = "state")]
    _state: Option<IgnoredAny>,
    #[serde(default, rename = "version")]
    _version: Option<IgnoredAny>,
    #[serde(default, rename = "raised_by")]
    _raised_by: Option<IgnoredAny>,
    #[serde(default, rename = "raised_at")]
    _raised_at: Option<IgnoredAny>,
    #[serde(default, rename = "approved_by")]
    _approved_by: Option<IgnoredAny>,
    #[serde(default, rename = "approved_at")]
    _approved_at: Option<IgnoredAny>,
    #[serde(default, rename = "since")]
    _since: Option<IgnoredAny>,
    #[serde(default, rename = "closed_by")]
    _closed_by: Option<IgnoredAny>,
    #[serde(default, rename = "closed_at")]
    _closed_at: Option<IgnoredAny>,
    #[serde(default, rename = "closing_reason")]
    _closing_reason: Option<IgnoredAny>,
    #[serde(default, rename = "closing_cause")]
    _closing_cause: Option<IgnoredAny>,
    #[serde(default, rename = "merged_into")]
    _merged_into: Option<IgnoredAny>,
    #[serde(default, rename = "merged")]
    _merged: Option<IgnoredAny>,
    #[serde(default, rename = "pending")]
    _pending: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceLine {
    #[serde(deserialize_with = "word")]
    kind: SourceKind,
    #[serde(default)]
    reference: Option<String>,
}

pub(super) fn read_line(line: &[u8], defaults: &Defaults, directory: &Directory) -> Result<Proposal, RowFault> {
    let Ok(Object(read)) = serde_json::from_slice::<Object<FlagLine<'_>>>(line) else {
        let violation = explain::<Object<FlagLine<'_>>>(line);
        return Err(RowFault::new(violation.pointer, violation.reason));
    };
    let default = |column: Column| defaults.value(column).map(str::to_owned);
    let must = |given: Option<String>, column: Column| {
        let given = given.or_else(|| default(column)).map(|text| composed(&text).into_owned());
        given.ok_or_else(|| RowFault::new(format!("/{}", column.as_str()), "is missing"))
    };
    let (verdict, category) = (must(read.verdict, Column::Verdict)?, must(read.category, Column::Category)?);
    let mut subject = read.subject;
    if subject.kind == InputKind::Account && subject.bank.is_none() {
        subject.bank = default(Column::Bank).map(Cow::Owned);
    }
    let basis = [Column::Document, Column::IssuedOn, Column::Authority].map(default);
    let source = read.source.map(|source| SourceInput { kind: source.kind, reference: source.reference });
    let input = FlagInput {
        subject,
        verdict: Verdict::parse(&verdict).ok_or_else(|| RowFault::new("/verdict", "expected warn, hold or block"))?,
        category: Category::parse(&category)
            .ok_or_else(|| RowFault::new("/category", "expected a category such as mule"))?,
        case: must(read.case, Column::Case)?,
        reason: must(read.reason, Column::Reason)?,
        legal_basis: read.legal_basis.or(match basis {
            [Some(document), Some(issued_on), Some(authority)] => {
                Some(LegalBasisInput { document, issued_on: date(&issued_on), authority })
            }
            _ => None,
        }),
        expires_at: read.expires_at,
        urgent: read.urgent,
        linked: read.linked,
        source: source.or(default(Column::SourceKind)
            .and_then(|kind| SourceKind::parse(&kind))
            .map(|kind| SourceInput { kind, reference: default(Column::SourceReference) })),
        unit: read.unit.or_else(|| default(Column::Unit).and_then(|id| PartyId::parse(&id))),
        coordinating: read.coordinating,
    };
    input.parse(directory).map_err(|error| RowFault::of(error, str::to_owned))
}
