//! A file of flags that an officer handed in, and the moves of its life. Its flags are proposals until another officer
//! decides on all of them; a row is taken whole or not at all, and none twice.

mod cell;
mod cells;
pub mod columns;
pub mod defaults;
mod line;
pub mod row;
pub mod tally;

pub use cell::Cell;
pub use cells::linked_text;
pub use columns::{Column, Columns};
pub use defaults::Defaults;
pub use row::{RowFault, RowInput, RowKey};
pub use tally::Tally;

use super::{Actor, Flag, FlagId, ImportId, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Rows of one file.
pub const ROWS_MAX: u64 = 1_000_000;
/// Bytes of one file.
pub const FILE_BYTES_MAX: u64 = 200 * 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportState {
    /// The file is on disk and waits for its turn.
    Received,
    /// Its rows are being taken.
    Running,
    /// All rows are read; the flags are proposals.
    Done,
    /// The file cannot be read; `fault` says why.
    Failed,
    /// Its flags are being approved.
    Approving,
    Approved,
    /// Its flags are being rejected.
    Rejecting,
    Rejected,
}

impl ImportState {
    pub const ALL: [Self; 8] = [
        Self::Received,
        Self::Running,
        Self::Done,
        Self::Failed,
        Self::Approving,
        Self::Approved,
        Self::Rejecting,
        Self::Rejected,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Approving => "approving",
            Self::Approved => "approved",
            Self::Rejecting => "rejecting",
            Self::Rejected => "rejected",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportForm {
    Csv,
    Xlsx,
    Ndjson,
}

impl ImportForm {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Xlsx => "xlsx",
            Self::Ndjson => "ndjson",
        }
    }
}

/// Why a file as a whole cannot be read, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFault {
    pub row: Option<u64>,
    pub field: Option<String>,
    pub reason: String,
}

/// What another officer decided on all flags of an import, and how far that has been carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    pub by: Actor,
    pub at: Timestamp,
    pub reason: Option<String>,
    /// Flags that were decided on so far.
    pub decided: u64,
    /// Flags that somebody had decided on alone before, or whose wanted expiry has passed.
    pub passed_over: u64,
    /// The last row of the last part that was decided on.
    pub up_to_row: u64,
}

/// One state of an import, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    pub id: ImportId,
    pub state: ImportState,
    /// 1 and counting with each change of the state; the ETag.
    pub version: u32,
    /// Counts everything that was written of it.
    pub step: u64,
    pub dry_run: bool,
    pub form: ImportForm,
    /// What the client said that the text is written in.
    pub charset: Option<String>,
    /// SHA-256 of the file, in hexadecimal digits.
    pub sha256: String,
    pub bytes: u64,
    pub defaults: Defaults,
    pub received_by: Actor,
    pub received_at: Timestamp,
    /// Rows of the file; known once it has been read through.
    pub rows_total: Option<u64>,
    /// The number of the last row that has been dealt with.
    pub up_to_row: u64,
    pub tally: Tally,
    pub fault: Option<FileFault>,
    pub finished_at: Option<Timestamp>,
    pub decision: Option<Decision>,
}

/// Rows that were dealt with together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportPart {
    pub first_row: u64,
    pub last_row: u64,
    /// The flags that the rows became.
    pub flags: Vec<FlagId>,
    /// The rows' lines of the report.
    pub report: String,
}

/// One step of an import: its new state with the part and the flags that belong to it. They are stored together. What is stored
/// of them as JSON is made with the step, since whoever waits for the log's writer waits for all that it does.
#[derive(Clone, Debug)]
pub struct ImportStep {
    /// The step that it must follow; `None` for a new import.
    pub follows: Option<u64>,
    /// Which node works on it.
    pub node: String,
    pub part: Option<ImportPart>,
    import: Import,
    flags: Vec<Flag>,
    import_json: String,
    flags_json: Vec<String>,
}

impl ImportStep {
    /// A step that changes no flag.
    pub fn new(follows: Option<u64>, import: Import, node: String) -> Result<Self, serde_json::Error> {
        let import_json = serde_json::to_string(&import)?;
        Ok(Self { follows, node, part: None, import, flags: Vec::new(), import_json, flags_json: Vec::new() })
    }

    pub fn with_flags(self, part: Option<ImportPart>, flags: Vec<Flag>) -> Result<Self, serde_json::Error> {
        let json: Result<_, _> = flags.iter().map(serde_json::to_string).collect();
        Ok(Self { part, flags, flags_json: json?, ..self })
    }

    pub fn import(&self) -> &Import {
        &self.import
    }

    pub fn import_json(&self) -> &str {
        &self.import_json
    }

    pub fn flags(&self) -> &[Flag] {
        &self.flags
    }

    pub fn into_flags(self) -> Vec<Flag> {
        self.flags
    }

    /// The flags with their JSON.
    pub fn flags_with_json(&self) -> impl Iterator<Item = (&Flag, &str)> {
        self.flags.iter().zip(self.flags_json.iter().map(String::as_str))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportMoveError {
    #[error("an import that is {} cannot be {wanted}", from.as_str())]
    Illegal { from: ImportState, wanted: &'static str },
    #[error("a dry run has no flags that could be {wanted}")]
    DryRun { wanted: &'static str },
    #[error("another officer than the one who handed the file in must decide on it")]
    SameOfficer,
}

impl Import {
    pub fn started(&self, rows_total: u64) -> Self {
        Self { state: ImportState::Running, rows_total: Some(rows_total), ..self.next_version() }
    }

    pub fn done(&self, now: Timestamp) -> Self {
        Self { state: ImportState::Done, finished_at: Some(now), ..self.next_version() }
    }

    pub fn failed(&self, fault: FileFault, now: Timestamp) -> Self {
        Self { state: ImportState::Failed, fault: Some(fault), finished_at: Some(now), ..self.next_version() }
    }

    pub fn approve(&self, by: Actor, now: Timestamp) -> Result<Self, ImportMoveError> {
        self.decide(ImportState::Approving, "approved", by, None, now)
    }

    pub fn reject(&self, by: Actor, reason: String, now: Timestamp) -> Result<Self, ImportMoveError> {
        self.decide(ImportState::Rejecting, "rejected", by, Some(reason), now)
    }

    fn decide(
        &self,
        state: ImportState,
        wanted: &'static str,
        by: Actor,
        reason: Option<String>,
        now: Timestamp,
    ) -> Result<Self, ImportMoveError> {
        if self.dry_run {
            return Err(ImportMoveError::DryRun { wanted });
        }
        // What was taken before the file failed stays proposed until somebody decides.
        if self.state != ImportState::Done && !(self.state == ImportState::Failed && self.up_to_row > 0) {
            return Err(ImportMoveError::Illegal { from: self.state, wanted });
        }
        if by.client == self.received_by.client {
            return Err(ImportMoveError::SameOfficer);
        }
        let decision = Decision { by, at: now, reason, decided: 0, passed_over: 0, up_to_row: 0 };
        Ok(Self { state, decision: Some(decision), ..self.next_version() })
    }

    /// What it has in common with another import that would make the same flags, in hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        let mut same = format!("{} {}\n{}", self.sha256, self.form.as_str(), self.defaults.canonical());
        // Text is read as UTF-8 if nothing else is said.
        if let Some(charset) = self.charset.as_deref().filter(|charset| *charset != "utf-8") {
            same.push_str(&format!("charset={charset}\n"));
        }
        Sha256::digest(same).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// All its flags have been decided on.
    pub fn decided(&self) -> Self {
        let state = match self.state {
            ImportState::Approving => ImportState::Approved,
            ImportState::Rejecting => ImportState::Rejected,
            other @ (ImportState::Received
            | ImportState::Running
            | ImportState::Done
            | ImportState::Failed
            | ImportState::Approved
            | ImportState::Rejected) => other,
        };
        Self { state, ..self.next_version() }
    }

    /// The same state, further on.
    pub fn next_step(&self) -> Self {
        Self { step: self.step.saturating_add(1), ..self.clone() }
    }

    fn next_version(&self) -> Self {
        Self { version: self.version.saturating_add(1), ..self.next_step() }
    }
}
