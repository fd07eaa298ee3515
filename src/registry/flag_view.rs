//! How officers see flags: whole, with what waits for approval, and version by version.

use crate::domain::party::{ClientId, PartyId};
use crate::domain::{
    Actor, Category, Changes, ClosingCause, Flag, FlagId, FlagMove, FlagState, LegalBasis, LogPosition, LogPositions,
    Pending, Source, Subject, Timestamp, Urgency, Verdict,
};
use crate::store::corrections::Kept;
use crate::store::history::Version;
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct FlagList<'a> {
    pub(super) items: Vec<FlagView<'a>>,
    pub(super) next_cursor: Option<String>,
    /// What was changed up to this number was looked at.
    pub(super) list_version: u64,
    /// Whether that is all that was changed before the question came.
    pub(super) up_to_date: bool,
}

/// A flag as officers see it.
#[derive(Serialize)]
pub(super) struct FlagView<'a> {
    id: FlagId,
    subject: &'a Subject,
    verdict: Verdict,
    category: Category,
    case: &'a str,
    reason: &'a str,
    legal_basis: Option<&'a LegalBasis>,
    source: &'a Source,
    linked: &'a [Subject],
    urgent: bool,
    unit: &'a PartyId,
    officer: &'a ClientId,
    coordinating: &'a [PartyId],
    state: FlagState,
    version: u32,
    raised_by: &'a Actor,
    raised_at: Timestamp,
    approved_by: Option<&'a Actor>,
    approved_at: Option<Timestamp>,
    since: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    closed_by: Option<&'a Actor>,
    closed_at: Option<Timestamp>,
    closing_reason: Option<&'a str>,
    closing_cause: Option<ClosingCause>,
    merged_into: Option<FlagId>,
    merged: &'a [FlagId],
    pending: Option<PendingView<'a>>,
}

impl<'a> FlagView<'a> {
    pub(super) fn new(flag: &'a Flag, now: Timestamp) -> Self {
        Self {
            id: flag.id,
            subject: &flag.subject,
            verdict: flag.verdict,
            category: flag.category,
            case: &flag.case,
            reason: &flag.reason,
            legal_basis: flag.legal_basis.as_ref(),
            source: &flag.source,
            linked: &flag.linked,
            urgent: flag.urgency == Urgency::Urgent,
            unit: flag.unit(),
            officer: flag.officer(),
            coordinating: &flag.coordinating,
            state: flag.state_at(now),
            version: flag.version,
            raised_by: &flag.raised_by,
            raised_at: flag.raised_at,
            approved_by: flag.approved_by.as_ref(),
            approved_at: flag.approved_at,
            since: flag.since,
            expires_at: flag.expires_at,
            closed_by: flag.closed_by.as_ref(),
            closed_at: flag.closed_at,
            closing_reason: flag.closing_reason.as_deref(),
            closing_cause: flag.closing_cause,
            merged_into: flag.merged_into,
            merged: &flag.merged,
            pending: flag.pending.as_deref().map(PendingView::new),
        }
    }
}

/// An amendment or a later end that waits for another officer.
#[derive(Serialize)]
struct PendingView<'a> {
    changes: ChangesView<'a>,
    proposed_by: &'a Actor,
    proposed_at: Timestamp,
    reason: &'a str,
}

#[derive(Serialize)]
struct ChangesView<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<Verdict>,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<Category>,
    #[serde(skip_serializing_if = "Option::is_none")]
    case: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    legal_basis: Option<&'a LegalBasis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    linked: Option<&'a [Subject]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    coordinating: Option<&'a [PartyId]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

impl<'a> PendingView<'a> {
    fn new(pending: &'a Pending) -> Self {
        let Changes { verdict, category, case, reason, legal_basis, linked, coordinating } = &pending.changes;
        let changes = ChangesView {
            verdict: *verdict,
            category: *category,
            case: case.as_deref(),
            reason: reason.as_deref(),
            legal_basis: legal_basis.as_ref(),
            linked: linked.as_deref(),
            coordinating: coordinating.as_deref(),
            expires_at: pending.expires_at,
        };
        Self { changes, proposed_by: &pending.by, proposed_at: pending.at, reason: &pending.reason }
    }
}

/// What became of a flag, version by version.
#[derive(Serialize)]
pub(super) struct History<'a, O> {
    pub(super) id: FlagId,
    pub(super) items: Vec<HistoryItem<'a>>,
    pub(super) next_cursor: Option<u32>,
    pub(super) objections: Vec<O>,
    pub(super) correction: Option<CorrectionView<'a>>,
}

#[derive(Serialize)]
pub(super) struct HistoryItem<'a> {
    version: u32,
    act: FlagMove,
    by: Actor,
    at: Timestamp,
    reason: Option<String>,
    log_entry: &'a LogPosition,
    flag: FlagView<'a>,
}

impl<'a> HistoryItem<'a> {
    pub(super) fn new(version: &'a Version) -> Self {
        let step = version.flag.step();
        Self {
            version: version.flag.version,
            act: step.what,
            by: step.by,
            at: step.at,
            reason: step.reason,
            log_entry: &version.entry,
            flag: FlagView::new(&version.flag, step.at),
        }
    }
}

/// Who must be told that the flag should never have been there.
#[derive(Serialize)]
pub(super) struct CorrectionView<'a> {
    completed_at: Option<Timestamp>,
    /// Nothing is missing from here on; of what was archived before nothing is kept.
    log_from: Option<&'a LogPositions>,
    log_to: Option<&'a LogPositions>,
    parties: Vec<ToldView<'a>>,
}

#[derive(Serialize)]
struct ToldView<'a> {
    party: &'a PartyId,
    checks: u64,
    first_at: Timestamp,
    last_at: Timestamp,
}

impl<'a> CorrectionView<'a> {
    pub(super) fn new(kept: &'a Kept) -> Self {
        let parties = kept.findings.parties.iter().map(|told| ToldView {
            party: &told.party,
            checks: told.checks,
            first_at: told.first_at,
            last_at: told.last_at,
        });
        Self {
            completed_at: kept.completed_at,
            log_from: Some(&kept.findings.from).filter(|from| !from.is_empty()),
            log_to: Some(&kept.findings.to).filter(|to| !to.is_empty()),
            parties: parties.collect(),
        }
    }
}
