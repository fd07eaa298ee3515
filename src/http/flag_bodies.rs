//! What officers send about flags beside new ones, and how it is read: every fault names its place, and no value is repeated.

use super::problem::Problem;
use crate::domain::flag_input::{LegalBasisInput, case, coordinating, linked, reason};
use crate::domain::party::{ClientId, PartyId};
use crate::domain::strict::{Object, object, present, present_object, present_word};
use crate::domain::{Category, Changes, LiftCause, SubjectInput, Timestamp, Verdict};
use crate::registry::{Owner, Registry};
use serde::Deserialize;

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
    legal_basis: Option<LegalBasisInput>,
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

impl ReasonBody {
    pub(super) fn read(self) -> Result<String, Problem> {
        Ok(reason(self.reason, "/reason")?)
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
        let read_linked = |given: Vec<_>| linked(&given, "/changes/linked", &registry.directory());
        let read_units = |given| coordinating(given, "/changes/coordinating");
        Ok(Changes {
            verdict: self.verdict,
            category: self.category,
            case: self.case.map(|given| case(given, "/changes/case")).transpose()?,
            reason: self.reason.map(|given| reason(given, "/changes/reason")).transpose()?,
            legal_basis: self.legal_basis.map(|basis| basis.parse("/changes/legal_basis")).transpose()?,
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
