//! A check: what a bank asks about the subjects of one transaction, and what it is answered.

use super::advice::{Advice, Context};
use super::{Category, CheckId, FlagId, Subject, SubjectKind, Timestamp, Verdict};
use serde::Serialize;

pub const SUBJECTS_MAX: usize = 16;
pub const CHECKS_IN_BATCH_MAX: usize = 1_000;

/// A question in normal form.
pub struct Question {
    pub subjects: Vec<Subject>,
    pub context: Context,
    pub reference: Option<String>,
    pub operator: Option<String>,
}

/// The body of a 200, exactly.
#[derive(Serialize)]
pub struct Answer<'a> {
    pub id: CheckId,
    pub verdict: Verdict,
    pub results: Vec<SubjectResult<'a>>,
    pub advice: Option<Advice>,
    pub list_version: u64,
    pub checked_at: Timestamp,
    /// 16 random bytes in base64url. The log has only the digest of this body, which tells nothing without them.
    pub salt: String,
}

#[derive(Serialize)]
pub struct SubjectResult<'a> {
    pub subject: &'a Subject,
    pub verdict: Verdict,
    pub flags: Vec<FlagShown<'a>>,
}

#[derive(Serialize)]
pub struct FlagShown<'a> {
    pub id: FlagId,
    pub verdict: Verdict,
    pub category: Category,
    pub case: &'a str,
    pub since: Timestamp,
    pub expires_at: Timestamp,
    pub document: Option<&'a str>,
    /// The kind of the subject that the flag is about, if it only links to this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linked_from: Option<SubjectKind>,
}
