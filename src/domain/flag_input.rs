//! A proposal as a client writes it, before it is understood: the one parse of `POST /v1/flags` and of every row of an
//! import. Its errors name fields and rules, never a value.

use super::input::{InputError, subjects, text};
use super::party::PartyId;
use super::strict::{Object, object, present, present_object, word};
use super::{
    COORDINATING_MAX, Category, Directory, LegalBasis, Proposal, Source, SourceKind, Subject, SubjectInput, Timestamp,
    Urgency, Verdict,
};
use serde::Deserialize;

pub const LINKED_MAX: usize = 16;
pub const CASE_CHARS_MAX: usize = 64;
pub const REASON_CHARS_MAX: usize = 2000;
pub const DOCUMENT_CHARS_MAX: usize = 128;
pub const AUTHORITY_CHARS_MAX: usize = 200;
pub const REFERENCE_CHARS_MAX: usize = 128;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlagInput<'a> {
    #[serde(borrow, deserialize_with = "object")]
    pub subject: SubjectInput<'a>,
    #[serde(deserialize_with = "word")]
    pub verdict: Verdict,
    #[serde(deserialize_with = "word")]
    pub category: Category,
    pub case: String,
    pub reason: String,
    #[serde(default, deserialize_with = "present_object")]
    pub legal_basis: Option<LegalBasisInput>,
    #[serde(default, deserialize_with = "present")]
    pub expires_at: Option<Timestamp>,
    #[serde(default)]
    pub urgent: bool,
    #[serde(default, borrow)]
    pub linked: Vec<Object<SubjectInput<'a>>>,
    #[serde(default, deserialize_with = "present_object")]
    pub source: Option<SourceInput>,
    #[serde(default, deserialize_with = "present")]
    pub unit: Option<PartyId>,
    #[serde(default)]
    pub coordinating: Vec<PartyId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LegalBasisInput {
    pub document: String,
    pub issued_on: String,
    pub authority: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceInput {
    #[serde(deserialize_with = "word")]
    pub kind: SourceKind,
    #[serde(default, deserialize_with = "present")]
    pub reference: Option<String>,
}

impl FlagInput<'_> {
    pub fn parse(self, directory: &Directory) -> Result<Proposal, InputError> {
        let subject = Subject::parse(&self.subject, directory);
        Ok(Proposal {
            subject: subject.map_err(|error| InputError::of_subject(error, "/subject"))?,
            verdict: self.verdict,
            category: self.category,
            case: case(self.case, "/case")?,
            reason: reason(self.reason, "/reason")?,
            legal_basis: self.legal_basis.map(|basis| basis.parse("/legal_basis")).transpose()?,
            expires_at: self.expires_at,
            urgency: if self.urgent { Urgency::Urgent } else { Urgency::Normal },
            linked: linked(&self.linked, "/linked", directory)?,
            source: match self.source {
                None => Source { kind: SourceKind::Police, reference: None },
                Some(source) => source.parse()?,
            },
            unit: self.unit,
            coordinating: coordinating(self.coordinating, "/coordinating")?,
        })
    }
}

impl LegalBasisInput {
    pub fn parse(self, pointer: &str) -> Result<LegalBasis, InputError> {
        let at = |field: &str| format!("{pointer}/{field}");
        let is_date = self.issued_on.len() == 10 && self.issued_on.parse::<jiff::civil::Date>().is_ok();
        if !is_date {
            return Err(InputError::shape(at("issued_on"), "expected a date such as 2026-11-20"));
        }
        Ok(LegalBasis {
            document: text(self.document, at("document"), DOCUMENT_CHARS_MAX)?,
            issued_on: self.issued_on,
            authority: text(self.authority, at("authority"), AUTHORITY_CHARS_MAX)?,
        })
    }
}

impl SourceInput {
    fn parse(self) -> Result<Source, InputError> {
        let reference = self.reference.map(|given| text(given, "/source/reference", REFERENCE_CHARS_MAX));
        Ok(Source { kind: self.kind, reference: reference.transpose()? })
    }
}

pub fn case(given: String, pointer: &str) -> Result<String, InputError> {
    text(given, pointer, CASE_CHARS_MAX)
}

pub fn reason(given: String, pointer: &str) -> Result<String, InputError> {
    text(given, pointer, REASON_CHARS_MAX)
}

pub fn linked(
    given: &[Object<SubjectInput<'_>>],
    pointer: &str,
    directory: &Directory,
) -> Result<Vec<Subject>, InputError> {
    if given.len() > LINKED_MAX {
        return Err(InputError::shape(pointer, "expected at most 16 subjects"));
    }
    subjects(given, pointer, directory)
}

pub fn coordinating(given: Vec<PartyId>, pointer: &str) -> Result<Vec<PartyId>, InputError> {
    if given.len() > COORDINATING_MAX {
        return Err(InputError::shape(pointer, "expected at most 8 units"));
    }
    Ok(given)
}
