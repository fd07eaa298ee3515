//! The steps of an import on their way into the log: each with its flags and its part of the report, or not at all. It never
//! asks more of the log's writer than one step at a time, so that checks go before it.

use super::{Error, Registry};
use crate::clock::Stopwatch;
use crate::domain::import::{FileFault, Import, ImportPart, ImportStep};
use crate::domain::{Actor, Change, Flag, RequestId};
use crate::entropy;
use crate::log::{Act, AppendError, Entry, EntrySubject, FlagVersion, Pending, Record, Refusal, Resource};
use crate::store;
use std::time::Duration;

/// Before a full queue is tried again.
const QUEUE_RETRY_AFTER: Duration = Duration::from_millis(20);

/// How many flags a step has: as few as keep the pace, since a check may have to wait while the log's writer commits them.
#[derive(Debug)]
pub(super) struct Pace {
    flags: usize,
    flags_max: usize,
    /// How far it is behind the pace.
    late: Duration,
}

/// No flag is taken in less: a million in 50 s. What the writer has to spare beyond that is the checks'.
const FLAG_TIME_MIN: Duration = Duration::from_micros(50);
/// What steps were late, such as for want of a processor, the next ones make up for, but not more.
const LATE_MAX: Duration = Duration::from_millis(5);
/// Above this a step shrinks, whatever becomes of the pace.
const STEP_TIME_LONG: Duration = Duration::from_millis(8);
/// Fewer take as long, for the disk's sake.
const STEP_FLAGS_MIN: usize = 32;
const STEP_FLAGS_MAX: usize = 64;
/// Each step goes several times to a database that nodes share, and checks are not committed with it.
const STEP_FLAGS_MAX_SHARED: usize = 128;
const STEP_FLAGS_MORE: usize = 8;

impl Pace {
    fn of(is_shared: bool) -> Self {
        let flags_max = if is_shared { STEP_FLAGS_MAX_SHARED } else { STEP_FLAGS_MAX };
        Self { flags: STEP_FLAGS_MIN, flags_max, late: Duration::ZERO }
    }

    pub(super) fn flags(&self) -> usize {
        self.flags
    }

    /// How long a step of so many flags takes, if it keeps the pace.
    fn time_of(flags: usize) -> Duration {
        FLAG_TIME_MIN.saturating_mul(u32::try_from(flags).unwrap_or(u32::MAX))
    }

    /// How long to wait after a step of so many flags before the next; `took` is all the time since the rest before it was to end.
    fn rest(&mut self, flags: usize, took: Duration) -> Duration {
        let (time, took) = (Self::time_of(flags), took.saturating_add(self.late));
        self.late = took.saturating_sub(time).min(LATE_MAX);
        time.saturating_sub(took)
    }

    fn took(&mut self, flags: usize, time: Duration) {
        self.flags = if time > Self::time_of(flags) && time <= STEP_TIME_LONG {
            self.flags_max.min(self.flags + STEP_FLAGS_MORE)
        } else {
            STEP_FLAGS_MIN.max(self.flags - STEP_FLAGS_MORE)
        };
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

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(format!("{error:?}"))
    }
}

/// A step on its way: how many flags it has, and since when.
struct Written {
    pending: Pending,
    flags: usize,
    since: Stopwatch,
}

/// An import that is being worked on, in the state that its last step will leave it in.
pub(super) struct Steps<'a> {
    pub(super) registry: &'a Registry,
    waits: &'a tokio::runtime::Runtime,
    pub(super) import: Import,
    /// The step that the writer has.
    pending: Option<Written>,
    pub(super) pace: Pace,
    /// Since the last rest began, and how long that was to be.
    turn: Stopwatch,
    rest: Duration,
}

impl<'a> Steps<'a> {
    pub(super) fn new(registry: &'a Registry, waits: &'a tokio::runtime::Runtime, import: Import) -> Self {
        let pace = Pace::of(registry.store.is_shared());
        Self { registry, waits, import, pending: None, pace, turn: Stopwatch::start(), rest: Duration::ZERO }
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
        let written = flags.len();
        let node = self.registry.node.to_owned();
        self.import = next.clone();
        let step = ImportStep::new(follows, next, node).and_then(|step| step.with_flags(part, flags));
        let step = step.map_err(|error| Stop::Failed(error.to_string()))?;
        let change = Change::Import(Box::new(step));
        loop {
            if self.registry.imports.signal.is_stopping() {
                return Err(Stop::Closing);
            }
            match self.registry.log.submit(Record::changing(entry.clone(), change.clone(), None)) {
                Ok(pending) => {
                    self.pending = Some(Written { pending, flags: written, since: Stopwatch::start() });
                    return Ok(());
                }
                Err(AppendError::QueueFull) => std::thread::sleep(QUEUE_RETRY_AFTER),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until the last step is durable, and then until the next may follow.
    pub(super) fn settle(&mut self) -> Result<(), Stop> {
        Ok(self.durable()?)
    }

    /// As `settle`; false if the step was refused because something had changed under it.
    pub(super) fn settle_unless_refused(&mut self) -> Result<bool, Stop> {
        match self.durable() {
            Ok(()) => Ok(true),
            Err(AppendError::Refused(Refusal::Precondition)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn durable(&mut self) -> Result<(), AppendError> {
        if let Some(Written { pending, flags, since }) = self.pending.take() {
            self.waits.block_on(pending.durable())?;
            self.pace.took(flags, since.elapsed());
            self.rest = self.pace.rest(flags, self.turn.elapsed().saturating_sub(self.rest));
            self.turn = Stopwatch::start();
            std::thread::sleep(self.rest);
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow_while_they_do_not_keep_the_pace_and_shrink_when_they_do_or_are_long() {
        let mut pace = Pace::of(false);
        let mut flags_after = |ms, times| {
            for _ in 0..times {
                pace.took(pace.flags(), Duration::from_millis(ms));
            }
            pace.flags()
        };
        assert_eq!(flags_after(3, 2), STEP_FLAGS_MIN + 2 * STEP_FLAGS_MORE);
        assert_eq!(flags_after(1, 1), STEP_FLAGS_MIN + STEP_FLAGS_MORE);
        assert_eq!(flags_after(7, 100), STEP_FLAGS_MAX);
        assert_eq!(flags_after(20, 100), STEP_FLAGS_MIN);
    }

    #[test]
    fn a_step_that_was_quick_leaves_the_rest_of_its_time_to_the_checks_and_one_that_was_late_is_made_up_for() {
        let mut pace = Pace::of(false);
        let mut rest = |flags, us| pace.rest(flags, Duration::from_micros(us)).as_micros();
        assert_eq!([rest(64, 1_000), rest(64, 2_000), rest(0, 0)], [2_200, 1_200, 0]);
        assert_eq!([rest(64, 4_200), rest(64, 1_000), rest(64, 1_000)], [0, 1_200, 2_200]);
        let a_second = 1_000_000;
        assert_eq!([rest(64, a_second), rest(64, 0), rest(64, 0)], [0, 0, 1_400]);
    }
}
