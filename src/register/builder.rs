//! The thread that builds the officers' view: it takes what changes have written, as it is handed over or else from the store,
//! page after page, and writes it into the file. What the file says of another registry, or of changes that the registry has no
//! more, is made anew.

use super::{Shared, State};
use crate::domain::{FlagId, LogPosition};
use crate::store::history::Written;
use crate::store::sqlite::register::{Covered, GoesOn, Version, Writer, WrittenPage};
use crate::store::{self, Store, StoreError};
use std::sync::Arc;
use std::time::Duration;

/// How often it looks for changes that nobody told it of.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After an error, such as a full disk.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Versions that are written at once: some tens of milliseconds of work.
const PAGE_VERSIONS: u16 = 1_000;
/// Between two full pages, so that a check that arrives meanwhile finds a processor.
const PAUSE: Duration = Duration::from_millis(2);
/// What comes so soon after something else goes in together, unless a reader waits for it: one by one, much more is written.
const GATHERS: Duration = Duration::from_millis(50);

pub(super) struct Builder {
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
}

enum Ended {
    Stopped,
    /// The view cannot be read or written.
    View(StoreError),
    Store(StoreError),
}

/// What is known of the changes that are not in yet.
struct Page {
    versions: Vec<Version>,
    /// What is covered when these are in.
    covered: Covered,
    goes_on: GoesOn,
}

impl Builder {
    pub(super) fn new(store: Arc<dyn Store>, shared: Arc<Shared>) -> Self {
        Self { store, shared }
    }

    pub(super) fn run(self) {
        // What was there before is looked at as a whole, beside the work.
        self.shared.state().is_doubted = true;
        loop {
            match self.build() {
                Ended::Stopped => return,
                Ended::Store(error) => {
                    tracing::warn!(%error, "the officers' view does not follow the registry for now")
                }
                Ended::View(error) => tracing::warn!(%error, "the officers' view is not built for now"),
            }
            if self.shared.waits(RETRY_AFTER, |state| !state.is_stopping).is_stopping {
                return;
            }
        }
    }

    fn build(&self) -> Ended {
        let mut writer = match self.open() {
            Ok(writer) => writer,
            Err(ended) => return ended,
        };
        loop {
            match self.step(&mut writer) {
                Ok(()) => {}
                Err(Ended::Stopped) => return self.settled(writer),
                Err(ended) => return ended,
            }
        }
    }

    /// The file that is there, if it goes on to what the registry is; else a new one.
    fn open(&self) -> Result<Writer, Ended> {
        let nothing = self.store.find(store::registry::identity).map_err(Ended::Store)?;
        let nothing = Covered::nothing(nothing.0, nothing.1);
        if let Some(mut writer) = self.shared.file.open() {
            match writer.covered() {
                Ok(covered) if self.is_of_registry(&covered, &nothing)? => {
                    self.cover(covered.change);
                    return Ok(writer);
                }
                Ok(_) => {
                    tracing::warn!("the officers' view is of another registry or of another time; it is made anew")
                }
                Err(error) => tracing::warn!(%error, "the officers' view cannot be read; it is made anew"),
            }
        }
        self.anew(&nothing)
    }

    fn anew(&self, nothing: &Covered) -> Result<Writer, Ended> {
        self.cover(0);
        let writer = self.shared.file.create(nothing).map_err(Ended::View)?;
        self.shared.state().is_doubted = false;
        Ok(writer)
    }

    /// Whether the registry has the change up to which the view has come.
    fn is_of_registry(&self, covered: &Covered, nothing: &Covered) -> Result<bool, Ended> {
        if (&covered.registry, covered.created_at) != (&nothing.registry, nothing.created_at) {
            return Ok(false);
        }
        let number = covered.change;
        let entry = self.store.find(|connection| store::changes::entry(connection, number)).map_err(Ended::Store)?;
        Ok(entry.unwrap_or_else(|| nothing.entry.clone()) == covered.entry)
    }

    /// Puts a page in, and waits if it was the last.
    fn step(&self, writer: &mut Writer) -> Result<(), Ended> {
        let known = writer.covered().map_err(Ended::View)?;
        let page = self.handed(&known).map_or_else(|| self.read(known.clone()), Ok);
        let Page { versions, covered, goes_on } = page.map_err(Ended::Store)?;
        let page = WrittenPage { versions: &versions, covered: &covered, goes_on };
        if covered == known || writer.write(&page).map_err(Ended::View)? {
            self.cover(covered.change);
        }
        if goes_on == GoesOn::No {
            writer.rest().map_err(Ended::View)?;
        }
        let waits = |time, wakes: fn(&State, u64) -> bool| {
            self.shared.waits(time, |state| !state.is_stopping && !wakes(state, covered.change))
        };
        let mut state = match goes_on {
            GoesOn::Yes => waits(PAUSE, |_, _| false),
            GoesOn::No => {
                if !versions.is_empty() {
                    drop(waits(GATHERS, |state, covered| state.wanted > covered || state.is_doubted));
                }
                waits(LOOK_EVERY, |state, covered| state.told > covered || state.is_doubted)
            }
        };
        if state.is_stopping {
            return Err(Ended::Stopped);
        }
        let is_doubted = std::mem::take(&mut state.is_doubted);
        drop(state);
        if is_doubted && !self.shared.file.is_sound() {
            tracing::warn!("the officers' view is damaged; it is made anew");
            *writer = self.anew(&Covered::nothing(covered.registry, covered.created_at))?;
        }
        Ok(())
    }

    /// What was handed over and follows on `covered`, as much as goes in at once.
    fn handed(&self, covered: &Covered) -> Option<Page> {
        if covered.part.is_some() {
            return None;
        }
        let taken = self.shared.state().handed.after(covered.change, PAGE_VERSIONS.into());
        let last = taken.changes.last()?;
        let (_, entry) = last.told.clone()?;
        let covered = Covered { change: last.number, entry, ..covered.clone() };
        let mut versions = Vec::new();
        for made in taken.changes {
            let (change, (at, _)) = (made.number, made.told?);
            let mut flags = made.change.into_flags();
            flags.sort_by_key(|flag| flag.id);
            versions.extend(flags.into_iter().map(|flag| Version { flag, change, at }));
        }
        Some(Page { versions, covered, goes_on: if taken.goes_on { GoesOn::Yes } else { GoesOn::No } })
    }

    /// What changes wrote after `covered` by the store, as much as goes in at once.
    fn read(&self, covered: Covered) -> Result<Page, StoreError> {
        let Covered { registry, created_at, change, entry: _, part } = covered;
        let (last, written, last_entry) = self.store.find(|connection| {
            let last = store::changes::head(connection)?;
            // Ids are compared as bytes, and none is as high as this one: what is in of the change itself is all of it.
            let all_of = FlagId::from_bytes([0xff; 16]);
            let (from, after) = part.map_or((change, all_of), |(change, flag)| (change, flag));
            let written = store::history::written(connection, from, after, last, PAGE_VERSIONS.into())?;
            Ok((last, written, store::changes::entry(connection, last)?))
        })?;
        if last < change {
            return Err(StoreError::Corrupt("fewer changes than were there before"));
        }
        let is_full = written.len() >= usize::from(PAGE_VERSIONS);
        let none = LogPosition { node: String::new().into(), index: 0 };
        let covered = match written.last().filter(|_| is_full) {
            None => Covered { registry, created_at, change: last, entry: last_entry.unwrap_or(none), part: None },
            // The change before the one that is partly in has been put in whole.
            Some(version) => {
                let whole = version.change.saturating_sub(1);
                let entry = self.store.find(|connection| store::changes::entry(connection, whole))?.unwrap_or(none);
                Covered { registry, created_at, change: whole, entry, part: Some((version.change, version.flag.id)) }
            }
        };
        let versions = written.into_iter().map(|Written { flag, change, at }| Version { flag, change, at }).collect();
        Ok(Page { versions, covered, goes_on: if is_full { GoesOn::Yes } else { GoesOn::No } })
    }

    /// Leaves one whole file, if nobody reads it any more.
    fn settled(&self, mut writer: Writer) -> Ended {
        if let Err(error) = writer.settle() {
            tracing::warn!(%error, "the officers' view was not brought into its main file");
        }
        self.shared.file.rest();
        Ended::Stopped
    }

    fn cover(&self, change: u64) {
        self.shared.state().covered = change;
        self.shared.turn.notify_all();
    }
}
