//! Taking the rows of a file: read through once, so that a file which cannot be read to its end leaves nothing, then again, row
//! by row, each of which becomes a flag, a duplicate or a fault and never half of one.

use super::Error;
use super::import_steps::{Steps, Stop};
use crate::behind;
use crate::domain::import::{FileFault, Import, ImportPart, ImportState, RowFault, RowInput, RowKey};
use crate::domain::{Flag, FlagId, Proposal, Urgency};
use crate::entropy;
use crate::sheet::{Row, Sheet};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::mpsc::{Receiver, sync_channel};

/// Rows of one step, with those that become no flag.
const STEP_ROWS_MAX: u64 = 512;
/// Rows that are handed over together: to wake the other thread for each costs more than to read it.
const ROWS_TOGETHER: usize = 64;
/// So many times these are read ahead of the step that is being written.
const READ_AHEAD_MAX: usize = 16;

/// A tenth of a millisecond.
const GIVES_WAY_AFTER_ROWS: u64 = 32;

/// A row with what came of its parsing.
struct Parsed {
    row: Row,
    read: Result<Proposal, RowFault>,
}

/// Rows that follow on each other.
struct Ahead {
    rows: Vec<Parsed>,
    /// None if more follow.
    end: Option<Result<(), FileFault>>,
}

impl Steps<'_> {
    pub(super) fn take_rows(&mut self) -> Result<(), Stop> {
        let (rows, keys) = self.read_through()?;
        let listed = self.registry.listed_among(&keys, &self.import.received_by.party)?;
        drop(keys);
        if self.import.state == ImportState::Received {
            let started = self.import.started(rows);
            self.write(started, None, Vec::new())?;
        }
        let mut sheet = self.open()?;
        let (handed, rows) = sync_channel(READ_AHEAD_MAX);
        let (registry, defaults) = (self.registry, self.import.defaults.clone());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut is_last = false;
                while !is_last {
                    let ahead = read_ahead(&mut sheet, |input| input.read(&defaults, &registry.directory()));
                    is_last = ahead.end.is_some();
                    if handed.send(ahead).is_err() {
                        // Nobody listens any more: the import has stopped.
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
        let path = self.registry.imports.files.of(self.import.id);
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
            if rows % GIVES_WAY_AFTER_ROWS == 0 {
                behind::give_way();
            }
            if rows % 4096 == 0 && self.registry.imports.signal.is_stopping() {
                return Err(Stop::Closing);
            }
        }
        Ok((rows, keys))
    }

    fn take_parsed(&mut self, rows: &Receiver<Ahead>, listed: &HashSet<RowKey>) -> Result<(), Stop> {
        let mut seen: HashMap<RowKey, u64> = HashMap::new();
        let mut open = OpenPart::default();
        let mut end = None;
        while end.is_none() {
            let ahead = rows.recv().map_err(|_| Stop::Failed("the reader of a file has stopped".to_owned()))?;
            for Parsed { row, read } in ahead.rows {
                if row.number <= self.import.up_to_row {
                    continue;
                }
                let taken = self.take_row(&row.input, read, listed, &seen);
                if let Ok((key, _)) = &taken {
                    seen.insert(*key, row.number);
                }
                open.add(&mut self.import, row.number, taken);
                if open.flags.len() >= self.pace.flags() || open.rows >= STEP_ROWS_MAX {
                    self.write_part(std::mem::take(&mut open))?;
                }
            }
            end = ahead.end.transpose()?;
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
}

fn read_ahead(sheet: &mut Sheet, read: impl Fn(&RowInput) -> Result<Proposal, RowFault>) -> Ahead {
    let mut rows = Vec::with_capacity(ROWS_TOGETHER);
    while rows.len() < ROWS_TOGETHER {
        match sheet.next_row() {
            Ok(Some(row)) => {
                let read = read(&row.input);
                rows.push(Parsed { row, read });
            }
            Ok(None) => return Ahead { rows, end: Some(Ok(())) },
            Err(fault) => return Ahead { rows, end: Some(Err(fault)) },
        }
    }
    Ahead { rows, end: None }
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
