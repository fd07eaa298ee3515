//! What can go wrong in a use case, in the registry's words. Texts are for clients and name no value of theirs, except
//! `Internal`, which is for the operational log and never leaves the house.

use crate::auth::AuthorityError;
use crate::domain::import::ImportMoveError;
use crate::domain::{DecidedAlready, MoveError, ProposalError, Violation};
use crate::log::{AppendError, EntryTooLarge, Refusal};
use crate::store::StoreError;

#[derive(Debug)]
pub enum Error {
    /// The request's shape is wrong: 400.
    Invalid(Vec<Violation>),
    /// The shape is right, but a subject is none: 422.
    InvalidSubject(Vec<Violation>),
    /// The thing exists and does not allow the move: 422.
    InvalidTransition(String),
    NotFound,
    /// It may have been there: entries before this one are no longer in the database.
    Archived(u64),
    /// The caller may do such things, but not this one: 403.
    Forbidden(&'static str),
    Conflict(&'static str),
    StaleVersion,
    KeyReused,
    Unavailable(&'static str),
    Internal(String),
}

impl From<AppendError> for Error {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::QueueFull => Self::Unavailable("The registry is overloaded."),
            AppendError::Closed => Self::Unavailable("The registry is shutting down."),
            AppendError::CommitFailed => Self::Unavailable("The registry cannot write its log."),
            AppendError::Gone => Self::Unavailable("The registry cannot reach its database."),
            AppendError::TooLate => Self::Unavailable("The request waited too long."),
            AppendError::TooLarge => Self::Internal(error.to_string()),
            AppendError::Refused(Refusal::Precondition) => Self::StaleVersion,
            AppendError::Refused(Refusal::KeyUsed) => Self::KeyReused,
        }
    }
}

impl From<AuthorityError> for Error {
    fn from(error: AuthorityError) -> Self {
        match error {
            AuthorityError::Busy => Self::Unavailable("Too many clients are proving themselves."),
            AuthorityError::Secret(_)
            | AuthorityError::Issue(_)
            | AuthorityError::Entropy(_)
            | AuthorityError::Stopped => Self::Internal(error.to_string()),
        }
    }
}

impl From<EntryTooLarge> for Error {
    fn from(error: EntryTooLarge) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            // On a new connection, or after the other transaction, the same request may well be answered.
            StoreError::Lost(_) | StoreError::Undone(_) => Self::from(AppendError::Gone),
            StoreError::Fenced | StoreError::Corrupt(_) | StoreError::Engine(_) => Self::Internal(error.to_string()),
        }
    }
}

impl From<ProposalError> for Error {
    fn from(error: ProposalError) -> Self {
        Self::Invalid(vec![Violation { pointer: error.pointer().to_owned(), reason: error.to_string() }])
    }
}

impl From<ImportMoveError> for Error {
    fn from(error: ImportMoveError) -> Self {
        match error {
            ImportMoveError::SameOfficer => {
                Self::Forbidden("Another officer than the one who handed the file in must decide.")
            }
            ImportMoveError::Illegal { .. } | ImportMoveError::DryRun { .. } => {
                Self::InvalidTransition(error.to_string())
            }
        }
    }
}

impl From<MoveError> for Error {
    fn from(error: MoveError) -> Self {
        match error {
            MoveError::SameOfficer => Self::Forbidden("Another officer than the one who raised the flag must decide."),
            MoveError::Content(error) => error.into(),
            MoveError::Illegal { .. }
            | MoveError::ApprovedAlready
            | MoveError::NotApproved { .. }
            | MoveError::ExpiryPassed
            | MoveError::EndsEarlier
            | MoveError::AnotherWaits
            | MoveError::OwnedAlready
            | MoveError::NotInFavour => Self::InvalidTransition(error.to_string()),
        }
    }
}

impl From<DecidedAlready> for Error {
    fn from(error: DecidedAlready) -> Self {
        Self::InvalidTransition(error.to_string())
    }
}
