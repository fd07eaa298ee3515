//! What the registry is about: subjects, flags, verdicts, parties. Pure: no I/O, no clock, no randomness, no async.

pub mod advice;
pub mod banks;
pub mod check;
pub mod directory;
pub mod folding;
pub mod identifiers;
pub mod party;
pub mod phone;
pub mod strict;
pub mod subject;
pub mod subject_input;
pub mod vietqr;
pub mod wallets;

mod amendment;
mod as_canonical;
mod ascii;
mod change;
mod cleaning;
mod conditions;
mod correction;
mod flag;
mod ids;
mod kept;
mod listed;
mod merging;
mod moves;
mod objection;
mod position;
mod proposal;
mod subject_hash;
mod table;
mod timestamp;
mod unit;
mod verdict;
mod violation;

pub use amendment::{Changes, Pending};
pub use change::{Change, Replaces};
pub use cleaning::{Alike, Stale};
pub use conditions::{FlagConditions, Span};
pub use correction::{Correction, Findings, Told};
pub use directory::Directory;
pub use flag::{
    Actor, ClosingCause, Flag, FlagMove, FlagState, LegalBasis, LiftCause, Source, SourceKind, Step, Urgency,
};
pub use ids::{CheckId, FlagId, ObjectionId, RequestId, TokenId};
pub use kept::KeptAnswer;
pub use listed::ListedFlag;
pub use merging::{MERGED_AT_ONCE_MAX, MergeError, MergeFault, Merging, Place};
pub use moves::MoveError;
pub use objection::{Attachment, DecidedAlready, NewObjection, Objection, ObjectionState, Remedy};
pub use position::{LogPosition, LogPositions};
pub use proposal::{LINKED_MAX, Proposal, ProposalError, URGENT_AGAIN_MS};
pub use subject::{Fault, Subject, SubjectError, SubjectKind};
pub use subject_hash::{SubjectHash, SubjectHasher};
pub use subject_input::SubjectInput;
pub use timestamp::Timestamp;
pub use unit::{COORDINATING_MAX, Standing, UNIT_LEVELS_MAX, UnitChain};
pub use verdict::{Category, Verdict};
pub use violation::Violation;
