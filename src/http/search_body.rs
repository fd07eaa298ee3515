//! What officers send to search flags, and how it is read: every fault names its place, and no value is repeated.

use super::body::limit;
use super::problem::{Problem, Slug};
use crate::domain::folding::{NumberPart, Words, folded};
use crate::domain::party::{ClientId, PartyId};
use crate::domain::strict::{present, present_object, present_word};
use crate::domain::{
    Category, FlagConditions, FlagState, SourceKind, Span, SubjectInput, SubjectKind, Timestamp, Verdict, Violation,
};
use crate::registry::{FlagSearch, Registry};
use serde::Deserialize;

const CASE_CHARS_MAX: usize = 64;
const PLACE_MAX: u64 = 9_999_999_999_999;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchBody<'a> {
    #[serde(default, borrow, deserialize_with = "present_object")]
    subject: Option<SubjectInput<'a>>,
    #[serde(default, deserialize_with = "present")]
    number_part: Option<String>,
    #[serde(default, deserialize_with = "present_word")]
    kind: Option<SubjectKind>,
    #[serde(default, deserialize_with = "present")]
    bank: Option<String>,
    #[serde(default, deserialize_with = "present")]
    provider: Option<String>,
    #[serde(default, deserialize_with = "present_word")]
    state: Option<FlagState>,
    #[serde(default, deserialize_with = "present_word")]
    verdict: Option<Verdict>,
    #[serde(default, deserialize_with = "present_word")]
    category: Option<Category>,
    #[serde(default, deserialize_with = "present_word")]
    source: Option<SourceKind>,
    #[serde(default, deserialize_with = "present")]
    case: Option<String>,
    #[serde(default, deserialize_with = "present")]
    unit: Option<PartyId>,
    #[serde(default, deserialize_with = "present")]
    officer: Option<ClientId>,
    #[serde(default, deserialize_with = "present")]
    text: Option<String>,
    #[serde(default, deserialize_with = "present")]
    raised_from: Option<Timestamp>,
    #[serde(default, deserialize_with = "present")]
    raised_to: Option<Timestamp>,
    #[serde(default, deserialize_with = "present")]
    changed_from: Option<Timestamp>,
    #[serde(default, deserialize_with = "present")]
    changed_to: Option<Timestamp>,
    #[serde(default, deserialize_with = "present")]
    expires_from: Option<Timestamp>,
    #[serde(default, deserialize_with = "present")]
    expires_to: Option<Timestamp>,
    #[serde(default, deserialize_with = "present")]
    as_of: Option<Timestamp>,
    #[serde(default, deserialize_with = "present")]
    cursor: Option<String>,
    #[serde(default, deserialize_with = "present")]
    limit: Option<u32>,
}

impl SearchBody<'_> {
    pub(super) fn read(self, registry: &Registry) -> Result<FlagSearch, Problem> {
        let mut faults = Faults(Vec::new());
        let directory = registry.directory();
        let case =
            |text: &str| Some(folded(text)).filter(|key| !key.is_empty() && text.chars().count() <= CASE_CHARS_MAX);
        let bank = |text: &str| directory.banks().bin_of(text);
        let provider = |text: &str| directory.wallets().provider_of(text);
        let conditions = FlagConditions {
            subject: None,
            number_part: faults.read(
                "number_part",
                self.number_part,
                NumberPart::parse,
                "expected 4 to 36 letters and digits",
            ),
            kind: self.kind,
            bank: faults.read("bank", self.bank, bank, "is no known bank"),
            provider: faults.read("provider", self.provider, provider, "is no known provider"),
            state: self.state,
            verdict: self.verdict,
            category: self.category,
            source: self.source,
            case: faults.read("case", self.case, case, "expected a case of at most 64 characters"),
            units: None,
            officer: self.officer,
            raised: faults.span("raised", self.raised_from, self.raised_to),
            changed: faults.span("changed", self.changed_from, self.changed_to),
            expires: faults.span("expires", self.expires_from, self.expires_to),
            text: faults.read("text", self.text, Words::parse, "expected 1 to 16 words in at most 400 bytes"),
        };
        let before = faults.read("cursor", self.cursor, place, CURSOR);
        faults.none()?;
        let subject = self.subject.as_ref().map(|subject| super::read_subject(subject, "/subject", registry));
        let conditions = FlagConditions { subject: subject.transpose()?, ..conditions };
        Ok(FlagSearch { conditions, unit: self.unit, as_of: self.as_of, before, limit: limit(self.limit)? })
    }
}

pub(super) const CURSOR: &str = "expected a next_cursor of this list";

/// The cursor of a list of flags.
pub(super) fn place(text: &str) -> Option<u64> {
    text.parse().ok().filter(|place: &u64| (1..=PLACE_MAX).contains(place) && place.to_string() == text)
}

/// What is wrong with a body, all of it.
struct Faults(Vec<Violation>);

impl Faults {
    fn read<T>(
        &mut self,
        field: &str,
        given: Option<String>,
        read: impl Fn(&str) -> Option<T>,
        reason: &str,
    ) -> Option<T> {
        let value = read(&given?);
        if value.is_none() {
            self.add(field, reason);
        }
        value
    }

    fn span(&mut self, name: &str, from: Option<Timestamp>, to: Option<Timestamp>) -> Span {
        if from.zip(to).is_some_and(|(from, to)| from >= to) {
            self.add(&format!("{name}_to"), &format!("expected a moment after {name}_from"));
        }
        Span { from, to }
    }

    fn add(&mut self, field: &str, reason: &str) {
        self.0.push(Violation { pointer: format!("/{field}"), reason: reason.to_owned() });
    }

    fn none(self) -> Result<(), Problem> {
        if self.0.is_empty() { Ok(()) } else { Err(Problem::violations(Slug::InvalidRequest, self.0)) }
    }
}
