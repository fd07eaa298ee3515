//! What officers send about flags, and how it is read: every fault names its place, and no value is repeated.

use super::checks::read_subjects;
use super::problem::Problem;
use super::text;
use crate::domain::party::{ClientId, PartyId};
use crate::domain::strict::{Object, object, present, present_object, present_word, word};
use crate::domain::{
    COORDINATING_MAX, Category, Changes, LINKED_MAX, LegalBasis, LiftCause, Proposal, Source, SourceKind, Subject,
    SubjectInput, Timestamp, Urgency, Verdict,
};
use crate::registry::{Owner, Registry};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FlagBody<'a> {
    #[serde(borrow, deserialize_with = "object")]
    subject: SubjectInput<'a>,
    #[serde(deserialize_with = "word")]
    verdict: Verdict,
    #[serde(deserialize_with = "word")]
    category: Category,
    case: String,
    reason: String,
    #[serde(default, deserialize_with = "present_object")]
    legal_basis: Option<LegalBasisBody>,
    #[serde(default, deserialize_with = "present")]
    expires_at: Option<Timestamp>,
    #[serde(default)]
    urgent: bool,
    #[serde(default, borrow)]
    linked: Vec<Object<SubjectInput<'a>>>,
    #[serde(default, deserialize_with = "present_object")]
    source: Option<SourceBody>,
    #[serde(default, deserialize_with = "present")]
    unit: Option<PartyId>,
    #[serde(default)]
    coordinating: Vec<PartyId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LegalBasisBody {
    document: String,
    issued_on: String,
    authority: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceBody {
    #[serde(deserialize_with = "word")]
    kind: SourceKind,
    #[serde(default, deserialize_with = "present")]
    reference: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReasonBody {
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LiftBody {
    reason: String,
    #[serde(default, deserialize_with = "present_word")]
    cause: Option<LiftCause>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RenewBody {
    reason: String,
    #[serde(default, deserialize_with = "present")]
    expires_at: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AmendBody<'a> {
    reason: String,
    #[serde(borrow, deserialize_with = "object")]
    changes: ChangesBody<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangesBody<'a> {
    #[serde(default, deserialize_with = "present_word")]
    verdict: Option<Verdict>,
    #[serde(default, deserialize_with = "present_word")]
    category: Option<Category>,
    #[serde(default, deserialize_with = "present")]
    case: Option<String>,
    #[serde(default, deserialize_with = "present")]
    reason: Option<String>,
    #[serde(default, deserialize_with = "present_object")]
    legal_basis: Option<LegalBasisBody>,
    #[serde(default, borrow, deserialize_with = "present")]
    linked: Option<Vec<Object<SubjectInput<'a>>>>,
    #[serde(default, deserialize_with = "present")]
    coordinating: Option<Vec<PartyId>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TransferBody {
    reason: String,
    unit: PartyId,
    officer: ClientId,
}

impl FlagBody<'_> {
    pub(super) fn read(self, registry: &Registry) -> Result<Proposal, Problem> {
        let subject = super::read_subject(&self.subject, "/subject", registry)?;
        Ok(Proposal {
            subject,
            verdict: self.verdict,
            category: self.category,
            case: case(self.case, "/case")?,
            reason: reason(self.reason, "/reason")?,
            legal_basis: self.legal_basis.map(|basis| basis.read("/legal_basis")).transpose()?,
            expires_at: self.expires_at,
            urgency: if self.urgent { Urgency::Urgent } else { Urgency::Normal },
            linked: linked(&self.linked, "/linked", registry)?,
            source: match self.source {
                None => Source { kind: SourceKind::Police, reference: None },
                Some(source) => Source {
                    kind: source.kind,
                    reference: source.reference.map(|given| text(given, "/source/reference", 128)).transpose()?,
                },
            },
            unit: self.unit,
            coordinating: coordinating(self.coordinating, "/coordinating")?,
        })
    }
}

impl ReasonBody {
    pub(super) fn read(self) -> Result<String, Problem> {
        reason(self.reason, "/reason")
    }
}

impl LiftBody {
    pub(super) fn read(self) -> Result<(String, LiftCause), Problem> {
        Ok((reason(self.reason, "/reason")?, self.cause.unwrap_or(LiftCause::Ended)))
    }
}

impl RenewBody {
    pub(super) fn read(self) -> Result<(String, Option<Timestamp>), Problem> {
        Ok((reason(self.reason, "/reason")?, self.expires_at))
    }
}

impl AmendBody<'_> {
    pub(super) fn read(self, registry: &Registry) -> Result<(String, Changes), Problem> {
        Ok((reason(self.reason, "/reason")?, self.changes.read(registry)?))
    }
}

impl ChangesBody<'_> {
    pub(super) fn read(self, registry: &Registry) -> Result<Changes, Problem> {
        let read_linked = |given: Vec<_>| linked(&given, "/changes/linked", registry);
        let read_units = |given| coordinating(given, "/changes/coordinating");
        Ok(Changes {
            verdict: self.verdict,
            category: self.category,
            case: self.case.map(|given| case(given, "/changes/case")).transpose()?,
            reason: self.reason.map(|given| reason(given, "/changes/reason")).transpose()?,
            legal_basis: self.legal_basis.map(|basis| basis.read("/changes/legal_basis")).transpose()?,
            linked: self.linked.map(read_linked).transpose()?,
            coordinating: self.coordinating.map(read_units).transpose()?,
        })
    }
}

impl TransferBody {
    pub(super) fn read(self) -> Result<(String, Owner), Problem> {
        Ok((reason(self.reason, "/reason")?, Owner { unit: self.unit, officer: self.officer }))
    }
}

impl LegalBasisBody {
    fn read(self, pointer: &str) -> Result<LegalBasis, Problem> {
        let at = |field: &str| format!("{pointer}/{field}");
        let is_date = self.issued_on.len() == 10 && self.issued_on.parse::<jiff::civil::Date>().is_ok();
        if !is_date {
            return Err(Problem::violation(at("issued_on"), "expected a date such as 2026-11-20"));
        }
        Ok(LegalBasis {
            document: text(self.document, at("document"), 128)?,
            issued_on: self.issued_on,
            authority: text(self.authority, at("authority"), 200)?,
        })
    }
}

fn case(given: String, pointer: &'static str) -> Result<String, Problem> {
    text(given, pointer, 64)
}

fn reason(given: String, pointer: &'static str) -> Result<String, Problem> {
    text(given, pointer, 2000)
}

fn linked(
    given: &[Object<SubjectInput<'_>>],
    pointer: &'static str,
    registry: &Registry,
) -> Result<Vec<Subject>, Problem> {
    if given.len() > LINKED_MAX {
        return Err(Problem::violation(pointer, "expected at most 16 subjects"));
    }
    read_subjects(given, pointer, registry)
}

fn coordinating(given: Vec<PartyId>, pointer: &'static str) -> Result<Vec<PartyId>, Problem> {
    if given.len() > COORDINATING_MAX {
        return Err(Problem::violation(pointer, "expected at most 8 units"));
    }
    Ok(given)
}
