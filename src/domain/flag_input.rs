//! A proposal as a client writes it, before it is understood: the one parse of `POST /v1/flags` and of every row of an
//! import. Its errors name fields and rules, never a value.

use super::strict::{Object, object, present, present_object, word};
use super::{
    Category, Directory, Fault, LegalBasis, Proposal, Source, SourceKind, Subject, SubjectError, SubjectInput,
    Timestamp, Urgency, Verdict, Violation,
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

/// Why an input is no proposal: where, and whether its shape is wrong (400) or a subject's value (422).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputError {
    pub violation: Violation,
    pub fault: Fault,
}

impl InputError {
    pub fn shape(pointer: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { violation: Violation { pointer: pointer.into(), reason: reason.into() }, fault: Fault::Shape }
    }

    /// Of a subject that stands at `pointer`.
    pub fn of_subject(error: SubjectError, pointer: &str) -> Self {
        Self { violation: error.violation.under(pointer), fault: error.fault }
    }
}

impl FlagInput<'_> {
    pub fn parse(self, directory: &Directory) -> Result<Proposal, InputError> {
        if self.linked.len() > LINKED_MAX {
            return Err(InputError::shape("/linked", "expected at most 16 subjects"));
        }
        let subject = |input: &SubjectInput<'_>, pointer: &str| {
            Subject::parse(input, directory).map_err(|error| InputError::of_subject(error, pointer))
        };
        let linked = self.linked.iter().enumerate();
        Ok(Proposal {
            subject: subject(&self.subject, "/subject")?,
            verdict: self.verdict,
            category: self.category,
            case: text(self.case, "/case", CASE_CHARS_MAX)?,
            reason: text(self.reason, "/reason", REASON_CHARS_MAX)?,
            legal_basis: self.legal_basis.map(LegalBasisInput::parse).transpose()?,
            expires_at: self.expires_at,
            urgency: if self.urgent { Urgency::Urgent } else { Urgency::Normal },
            linked: linked
                .map(|(place, Object(input))| subject(input, &format!("/linked/{place}")))
                .collect::<Result<_, _>>()?,
            source: match self.source {
                None => Source { kind: SourceKind::Police, reference: None },
                Some(source) => source.parse()?,
            },
        })
    }
}

impl LegalBasisInput {
    pub fn parse(self) -> Result<LegalBasis, InputError> {
        let is_date = self.issued_on.len() == 10 && self.issued_on.parse::<jiff::civil::Date>().is_ok();
        if !is_date {
            return Err(InputError::shape("/legal_basis/issued_on", "expected a date such as 2026-11-20"));
        }
        Ok(LegalBasis {
            document: text(self.document, "/legal_basis/document", DOCUMENT_CHARS_MAX)?,
            issued_on: self.issued_on,
            authority: text(self.authority, "/legal_basis/authority", AUTHORITY_CHARS_MAX)?,
        })
    }
}

impl SourceInput {
    pub fn parse(self) -> Result<Source, InputError> {
        let reference = self.reference.map(|given| text(given, "/source/reference", REFERENCE_CHARS_MAX));
        Ok(Source { kind: self.kind, reference: reference.transpose()? })
    }
}

/// A text of 1 to `chars_max` characters, none of them a control character, trimmed of nothing.
pub fn text(given: String, pointer: &str, chars_max: usize) -> Result<String, InputError> {
    let fits = (1..=chars_max).contains(&given.chars().count()) && !given.chars().any(char::is_control);
    if fits {
        Ok(given)
    } else {
        let reason = format!("expected 1 to {chars_max} characters and no control characters");
        Err(InputError::shape(pointer, reason))
    }
}
