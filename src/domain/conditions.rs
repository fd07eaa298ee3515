//! What officers look for among flags. This is what "found" means: whatever finds candidates faster, a flag is shown only
//! if `hold` says so.

use super::banks::Bin;
use super::folding::{NumberPart, Words, folded};
use super::party::{ClientId, PartyId};
use super::wallets::ProviderCode;
use super::{Category, Flag, FlagState, SourceKind, Subject, SubjectKind, Timestamp, Verdict};

/// All that is given must hold of a flag at a moment.
#[derive(Clone, Default)]
pub struct FlagConditions {
    /// Named by the flag, as its own subject or by link.
    pub subject: Option<Subject>,
    /// Occurs in the number of a subject that the flag names.
    pub number_part: Option<NumberPart>,
    /// Of the flag's own subject.
    pub kind: Option<SubjectKind>,
    pub bank: Option<Bin>,
    pub provider: Option<ProviderCode>,
    pub state: Option<FlagState>,
    pub verdict: Option<Verdict>,
    pub category: Option<Category>,
    pub source: Option<SourceKind>,
    /// Folded.
    pub case: Option<String>,
    /// Any of these owns the flag.
    pub units: Option<Vec<PartyId>>,
    pub officer: Option<ClientId>,
    pub raised: Span,
    /// When the version was made.
    pub changed: Span,
    pub expires: Span,
    /// Of the reason and the case.
    pub text: Option<Words>,
}

/// From a moment on, and before another one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

impl Span {
    pub fn is_open(&self) -> bool {
        self.from.is_none() && self.to.is_none()
    }

    /// What has no time lies in no span but an open one.
    fn holds(&self, time: Option<Timestamp>) -> bool {
        let lies = |time| self.from.is_none_or(|from| time >= from) && self.to.is_none_or(|to| time < to);
        time.map_or(self.is_open(), lies)
    }
}

impl FlagConditions {
    /// The names of those that are given, as who asks writes them. Never a value, which may be personal.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        let Self {
            subject,
            number_part,
            kind,
            bank,
            provider,
            state,
            verdict,
            category,
            source,
            case,
            units,
            officer,
            raised,
            changed,
            expires,
            text,
        } = self;
        let given = [
            ("subject", subject.is_some()),
            ("number_part", number_part.is_some()),
            ("kind", kind.is_some()),
            ("bank", bank.is_some()),
            ("provider", provider.is_some()),
            ("state", state.is_some()),
            ("verdict", verdict.is_some()),
            ("category", category.is_some()),
            ("source", source.is_some()),
            ("case", case.is_some()),
            ("units", units.is_some()),
            ("officer", officer.is_some()),
            ("raised_from", raised.from.is_some()),
            ("raised_to", raised.to.is_some()),
            ("changed_from", changed.from.is_some()),
            ("changed_to", changed.to.is_some()),
            ("expires_from", expires.from.is_some()),
            ("expires_to", expires.to.is_some()),
            ("text", text.is_some()),
        ];
        given.into_iter().filter_map(|(name, is_given)| is_given.then_some(name))
    }

    pub fn hold(&self, flag: &Flag, at: Timestamp) -> bool {
        let subjects = || [&flag.subject].into_iter().chain(&flag.linked);
        self.state.is_none_or(|state| flag.state_at(at) == state)
            && self.verdict.is_none_or(|verdict| flag.verdict == verdict)
            && self.category.is_none_or(|category| flag.category == category)
            && self.source.is_none_or(|source| flag.source.kind == source)
            && self.kind.is_none_or(|kind| flag.subject.kind() == kind)
            && self.bank.is_none_or(|bank| flag.subject.institution() == Some(bank.as_str()))
            && self.provider.is_none_or(|provider| flag.subject.institution() == Some(provider.as_str()))
            && self.units.as_ref().is_none_or(|units| units.contains(flag.unit()))
            && self.officer.as_ref().is_none_or(|officer| flag.officer() == officer)
            && self.raised.holds(Some(flag.raised_at))
            && self.changed.holds(Some(flag.step().at))
            && self.expires.holds(flag.expires_at)
            && self.subject.as_ref().is_none_or(|subject| flag.names(subject))
            && self.number_part.as_ref().is_none_or(|part| subjects().any(|subject| part.occurs_in(subject)))
            && self.case.as_ref().is_none_or(|case| folded(&flag.case) == *case)
            && self.text.as_ref().is_none_or(|words| words.occur_in(&flag.searched_text()))
    }
}

impl Flag {
    /// The text in which words are looked for, folded.
    pub fn searched_text(&self) -> String {
        [folded(&self.reason), folded(&self.case)].join(" ")
    }
}
