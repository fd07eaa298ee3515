//! The one thread that works on imports: it reads a file through, then takes its rows in small steps, each of which is in the
//! log with its flags and its part of the report or not at all. It never asks more of the log's writer than one step at a
//! time, so that checks go before it, and after a crash it goes on after the last step that is in the log.

use super::{Error, Registry};
use crate::domain::import::{FileFault, Import, ImportPart, ImportState, ImportStep, RowFault, RowInput, RowKey};
use crate::domain::{Actor, Change, Flag, FlagId, Proposal, RequestId, Urgency};
use crate::entropy;
use crate::log::{Act, AppendError, Entry, EntrySubject, FlagVersion, Pending, Record, Refusal, Resource};
use crate::sheet::{Row, Sheet};
use crate::store;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Flags of one step: few enough that a check does not notice the commit that it shares with them.
const STEP_FLAGS_MAX: usize = 32;
/// Rows of one step, with those that become no flag.
const STEP_ROWS_MAX: u64 = 512;
/// Rows that are read ahead of the step that is being written.
const ROWS_AHEAD_MAX: usize = 1024;
/// Flags of the list that are looked through at once.
const SCAN_ROWS: u32 = 20_000;
/// Before what failed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Before a full queue is tried again.
const QUEUE_RETRY_AFTER: Duration = Duration::from_millis(20);

/// What the thread waits for.
#[derive(Default)]
pub(super) struct Signal {
    state: Mutex<Wanted>,
    changed: Condvar,
}

#[derive(Default)]
struct Wanted {
    work: bool,
    stop: bool,
}

impl Signal {
    pub(super) fn wake(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).work = true;
        self.changed.notify_all();
    }

    pub(super) fn stop(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).stop = true;
        self.changed.notify_all();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).stop
    }

    /// False when there will be no more work.
    fn wait(&self, time_max: Duration) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(state, time_max, |state| !state.work && !state.stop);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.work = false;
        !state.stop
    }
}

/// Why work on an import stopped.
pub(super) enum Stop {
    /// The file is at fault, and stays so.
    File(FileFault),
    /// The registry is shutting down.
    Closing,
    /// It may be tried again.
    Failed(String),
}

impl From<FileFault> for Stop {
    fn from(fault: FileFault) -> Self {
        Self::File(fault)
    }
}

impl From<store::StoreError> for Stop {
    fn from(error: store::StoreError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<AppendError> for Stop {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Closed | AppendError::CommitFailed => Self::Closing,
            AppendError::QueueFull
            | AppendError::Gone
            | AppendError::TooLate
            | AppendError::TooLarge
            | AppendError::Refused(_) => Self::Failed(error.to_string()),
        }
    }
}

impl Registry {
    /// Starts the thread, which first goes on with what an earlier process left.
    pub fn start_imports(&'static self) -> std::io::Result<()> {
        let waits = tokio::runtime::Builder::new_current_thread().build()?;
        let thread = std::thread::Builder::new().name("imports".to_owned());
        thread.spawn(move || {
            let mut rest = Duration::ZERO;
            while self.imports.signal.wait(rest) {
                rest = match self.work_on_next(&waits) {
                    Ok(true) => Duration::ZERO,
                    // Whatever comes wakes it; what another process wrote is found all the same.
                    Ok(false) => Duration::from_secs(3600),
                    Err(Stop::Closing) => return,
                    Err(Stop::Failed(error)) => {
                        tracing::warn!(error, "an import stopped; it goes on soon");
                        RETRY_AFTER
                    }
                    Err(Stop::File(fault)) => {
                        tracing::error!(reason = fault.reason, "an import stopped for its file's sake");
                        RETRY_AFTER
                    }
                };
            }
        })?;
        Ok(())
    }

    /// Works on the oldest import that needs it; false if there is none.
    fn work_on_next(&self, waits: &tokio::runtime::Runtime) -> Result<bool, Stop> {
        let node = self.node;
        let next = self.store.find(|connection| store::imports::next_of(connection, node))?;
        let Some(import) = next else { return Ok(false) };
        let mut steps = Steps { registry: self, waits, import, pending: None };
        match steps.import.state {
            ImportState::Approving | ImportState::Rejecting => steps.carry_out()?,
            ImportState::Received | ImportState::Running => {
                let taken = steps.take_rows();
                if let Err(Stop::File(fault)) = taken {
                    steps.settle()?;
                    let failed = steps.import.failed(fault, self.now());
                    steps.write(failed, None, Vec::new())?;
                    steps.settle()?;
                } else {
                    taken?;
                }
                let path = self.imports.file_of(steps.import.id);
                if let Err(error) = std::fs::remove_file(path) {
                    tracing::warn!(%error, "the file of an import that has ended could not be removed");
                }
            }
            ImportState::Done | ImportState::Failed | ImportState::Approved | ImportState::Rejected => {}
        }
        Ok(true)
    }

    /// Which of `keys` flags have that are proposed or in force.
    fn listed_among(&self, keys: &HashSet<RowKey>) -> Result<HashSet<RowKey>, Stop> {
        let (now, mut after, mut listed) = (self.now(), None, HashSet::new());
        loop {
            let mut found = Vec::new();
            let mut last = None;
            self.store.read(&mut |connection| {
                last = store::flags::subjects_after(connection, after, now, SCAN_ROWS, &mut |subject, case| {
                    let key = RowKey::of(subject, case);
                    if keys.contains(&key) {
                        found.push(key);
                    }
                })?;
                Ok(())
            })?;
            listed.extend(found);
            if self.imports.signal.is_stopping() {
                return Err(Stop::Closing);
            }
            match last {
                Some(last) => after = Some(last),
                None => return Ok(listed),
            }
        }
    }
}

/// An import that is being worked on, in the state that its last step will leave it in.
pub(super) struct Steps<'a> {
    pub(super) registry: &'a Registry,
    waits: &'a tokio::runtime::Runtime,
    pub(super) import: Import,
    /// The step that the writer has.
    pending: Option<Pending>,
}

/// A row with what came of its parsing.
struct Parsed {
    row: Row,
    read: Result<Proposal, RowFault>,
}

impl Steps<'_> {
    fn take_rows(&mut self) -> Result<(), Stop> {
        let (rows, keys) = self.read_through()?;
        let listed = self.registry.listed_among(&keys)?;
        drop(keys);
        if self.import.state == ImportState::Received {
            let started = self.import.started(rows);
            self.write(started, None, Vec::new())?;
        }
        let sheet = self.open()?;
        let (parsed, rows) = sync_channel(ROWS_AHEAD_MAX);
        let (registry, defaults) = (self.registry, self.import.defaults.clone());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut sheet = sheet;
                loop {
                    let next = sheet.next_row().map(|row| {
                        row.map(|row| {
                            let read = row.input.read(&defaults, &registry.directory());
                            Parsed { row, read }
                        })
                    });
                    let is_last = !matches!(next, Ok(Some(_)));
                    // Nobody listens any more when the import has stopped.
                    if parsed.send(next).is_err() || is_last {
                        return;
                    }
                }
            });
            self.take_parsed(&rows, &listed)
        })?;
        let done = self.import.done(self.registry.now());
        self.write(done, None, Vec::new())?;
        self.settle()
    }

    fn open(&self) -> Result<Sheet, Stop> {
        let path = self.registry.imports.file_of(self.import.id);
        let gone = |error: std::io::Error| {
            let reason = format!("the file is gone from the node that received it: {}", error.kind());
            Stop::File(FileFault { row: None, field: None, reason })
        };
        let file = File::open(path).map_err(gone)?;
        Ok(Sheet::open(file, self.import.form, self.import.charset.as_deref())?)
    }

    /// The number of rows, and what they would be duplicates by. A file that cannot be read to its end is refused here, before
    /// anything is taken.
    fn read_through(&self) -> Result<(u64, HashSet<RowKey>), Stop> {
        let (mut sheet, mut rows, mut keys) = (self.open()?, 0, HashSet::new());
        while let Some(row) = sheet.next_row()? {
            rows += 1;
            if let Ok(proposal) = row.input.read(&self.import.defaults, &self.registry.directory()) {
                keys.insert(RowKey::of(&proposal.subject.canonical(), &proposal.case));
            }
            if rows % 4096 == 0 && self.registry.imports.signal.is_stopping() {
                return Err(Stop::Closing);
            }
        }
        Ok((rows, keys))
    }

    fn take_parsed(
        &mut self,
        rows: &Receiver<Result<Option<Parsed>, FileFault>>,
        listed: &HashSet<RowKey>,
    ) -> Result<(), Stop> {
        let mut seen: HashMap<RowKey, u64> = HashMap::new();
        let mut open = OpenPart::default();
        loop {
            let next = rows.recv().map_err(|_| Stop::Failed("the reader of a file has stopped".to_owned()))??;
            let Some(Parsed { row, read }) = next else { break };
            if row.number <= self.import.up_to_row {
                continue;
            }
            let taken = self.take_row(&row.input, read, listed, &seen);
            if let Ok((key, _)) = &taken {
                seen.insert(*key, row.number);
            }
            open.add(&mut self.import, row.number, taken);
            if open.flags.len() >= STEP_FLAGS_MAX || open.rows >= STEP_ROWS_MAX {
                self.write_part(std::mem::take(&mut open))?;
            }
        }
        if open.rows > 0 {
            self.write_part(open)?;
        }
        Ok(())
    }

    fn take_row(
        &self,
        input: &RowInput,
        read: Result<Proposal, RowFault>,
        listed: &HashSet<RowKey>,
        seen: &HashMap<RowKey, u64>,
    ) -> Result<(RowKey, Flag), NotTaken> {
        let proposal = read.map_err(NotTaken::Invalid)?;
        let key = RowKey::of(&proposal.subject.canonical(), &proposal.case);
        if let Some(row) = seen.get(&key) {
            return Err(NotTaken::Duplicate(format!("subject and case stand in row {row} already")));
        }
        if listed.contains(&key) {
            return Err(NotTaken::Duplicate("subject and case are proposed or in force already".to_owned()));
        }
        let invalid = |pointer: &str, reason: &str| NotTaken::Invalid(RowFault::new(input.field_of(pointer), reason));
        if proposal.urgency == Urgency::Urgent {
            return Err(invalid("/urgent", "an imported flag cannot be urgent"));
        }
        if let Err(Error::Invalid(violations)) = self.registry.must_fit(&proposal, &self.import.received_by.party)
            && let Some(first) = violations.first()
        {
            return Err(invalid(&first.pointer, &first.reason));
        }
        let now = self.registry.now();
        let random = entropy::bytes16().map_err(|_| invalid("", "the registry has no randomness"))?;
        let flag = Flag::propose(FlagId::mint(now, random), proposal, self.import.received_by.clone(), now);
        flag.map(|flag| (key, flag)).map_err(|error| invalid(error.pointer(), &error.to_string()))
    }

    fn write_part(&mut self, open: OpenPart) -> Result<(), Stop> {
        let part = ImportPart {
            first_row: open.first_row,
            last_row: open.last_row,
            flags: open.flags.iter().map(|flag| flag.id).filter(|_| !self.import.dry_run).collect(),
            report: open.report,
        };
        let flags = if self.import.dry_run { Vec::new() } else { open.flags };
        self.write(Import { up_to_row: open.last_row, ..self.import.next_step() }, Some(part), flags)
    }

    /// Hands a step to the writer after the one before is durable.
    pub(super) fn write(&mut self, next: Import, part: Option<ImportPart>, flags: Vec<Flag>) -> Result<(), Stop> {
        self.settle()?;
        let follows = Some(self.import.step);
        let (actor, act) = match &next.decision {
            None => (&next.received_by, Act::FlagImport),
            Some(decision) if decision.reason.is_none() => (&decision.by, Act::FlagApprove),
            Some(decision) => (&decision.by, Act::FlagReject),
        };
        let entry = self.entry(act, actor, &next, &flags)?;
        let node = self.registry.node.to_owned();
        self.import = next.clone();
        let step = ImportStep { follows, import: next, node, part, flags };
        let change = Change::Import(Box::new(step));
        loop {
            if self.registry.imports.signal.is_stopping() {
                return Err(Stop::Closing);
            }
            match self.registry.log.submit(Record::changing(entry.clone(), change.clone(), None)) {
                Ok(pending) => {
                    self.pending = Some(pending);
                    return Ok(());
                }
                Err(AppendError::QueueFull) => std::thread::sleep(QUEUE_RETRY_AFTER),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until the last step is durable.
    pub(super) fn settle(&mut self) -> Result<(), Stop> {
        if let Some(pending) = self.pending.take() {
            self.waits.block_on(pending.durable())?;
        }
        Ok(())
    }

    /// As `settle`; false if the step was refused because something had changed under it.
    pub(super) fn settle_unless_refused(&mut self) -> Result<bool, Stop> {
        let Some(pending) = self.pending.take() else { return Ok(true) };
        match self.waits.block_on(pending.durable()) {
            Ok(_) => Ok(true),
            Err(AppendError::Refused(Refusal::Precondition)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn entry(&self, act: Act, actor: &Actor, import: &Import, flags: &[Flag]) -> Result<Entry, Stop> {
        let at = self.registry.now();
        let random = entropy::bytes16().map_err(|error| Stop::Failed(error.to_string()))?;
        let request = RequestId::mint(at, random);
        let mut entry = Entry::new(act, at, request, actor.party.clone(), actor.client.clone());
        entry.resource = Some(Resource::Import(import.id));
        entry.count = u32::try_from(flags.len()).unwrap_or(u32::MAX).max(1);
        let subjects = flags.iter().map(|flag| EntrySubject {
            hash: self.registry.index.hash(&flag.subject),
            verdict: Some(flag.verdict),
            flags: vec![FlagVersion { id: flag.id, version: flag.version }],
        });
        entry.subjects = subjects.collect();
        Ok(entry)
    }
}

enum NotTaken {
    Duplicate(String),
    Invalid(RowFault),
}

/// Rows that will be dealt with together.
#[derive(Default)]
struct OpenPart {
    first_row: u64,
    last_row: u64,
    rows: u64,
    flags: Vec<Flag>,
    report: String,
}

impl OpenPart {
    fn add(&mut self, import: &mut Import, row: u64, taken: Result<(RowKey, Flag), NotTaken>) {
        if self.rows == 0 {
            self.first_row = row;
        }
        self.last_row = row;
        self.rows += 1;
        let line = match taken {
            Ok((key, flag)) => {
                import.tally.accept(key, &flag);
                let id = if import.dry_run { String::new() } else { flag.id.to_string() };
                self.flags.push(flag);
                format!("{row},accepted,{id},,\n")
            }
            Err(NotTaken::Duplicate(reason)) => {
                import.tally.count_duplicate();
                format!("{row},duplicate,,,{}\n", quoted(&reason))
            }
            Err(NotTaken::Invalid(fault)) => {
                import.tally.count_invalid();
                format!("{row},invalid,,{},{}\n", quoted(&fault.field), quoted(&fault.reason))
            }
        };
        self.report.push_str(&line);
    }
}

/// A cell of CSV (RFC 4180).
fn quoted(text: &str) -> String {
    let is_plain = !text.contains([',', '"', '\n', '\r']);
    if is_plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(format!("{error:?}"))
    }
}
