//! What the registry is about: subjects, flags, verdicts, parties. Pure: no I/O, no clock, no randomness, no async.

pub mod advice;
pub mod banks;
pub mod check;
pub mod directory;
pub mod flag_input;
pub mod identifiers;
pub mod import;
pub mod party;
pub mod phone;
pub mod strict;
pub mod subject;
pub mod subject_input;
pub mod vietqr;
pub mod wallets;

mod ascii;
mod change;
mod flag;
mod ids;
mod kept;
mod listed;
mod position;
mod subject_hash;
mod table;
mod timestamp;
mod verdict;
mod violation;

pub use change::{Change, Replaces};
pub use directory::Directory;
pub use flag::{Actor, Flag, FlagState, LegalBasis, MoveError, Proposal, ProposalError, Source, SourceKind, Urgency};
pub use flag_input::{FlagInput, InputError};
pub use ids::{CheckId, FlagId, ImportId, RequestId, TokenId};
pub use kept::KeptAnswer;
pub use listed::ListedFlag;
pub use position::LogPosition;
pub use subject::{Fault, Subject, SubjectError, SubjectKind};
pub use subject_hash::{SubjectHash, SubjectHasher};
pub use subject_input::SubjectInput;
pub use timestamp::Timestamp;
pub use verdict::{Category, Verdict};
pub use violation::Violation;
