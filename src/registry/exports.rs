//! The list as an officer may see it, written out as a table or as lines: piece by piece, in the order of ids, with one entry
//! in the log that says that it was taken.

use super::flag_view::FlagView;
use super::places::{NoPlace, Place};
use super::{Call, Error, Pieces, Registry, random_bytes};
use crate::domain::party::PartyId;
use crate::domain::{Flag, FlagId, FlagState, ImportId, Timestamp};
use crate::log::Act;
use crate::sheet::write;
use crate::store::{self, Store, StoreError};
use std::collections::HashSet;
use std::fs::{DirBuilder, File};
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;

/// Flags that are read at once.
const PIECE_FLAGS: u32 = 500;
const PIECE_BYTES: usize = 256 * 1024;

/// How an export is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportForm {
    Csv,
    NdJson,
    Xlsx,
}

impl Registry {
    /// Every flag that is proposed or in force, to be taken piece by piece, and the place of the entry that tells of it.
    pub async fn export_flags(&self, call: &Call, form: ExportForm) -> Result<(String, Box<dyn Pieces>), Error> {
        let place = self.exports.take(&call.actor.client).map_err(|no_place| match no_place {
            NoPlace::OfAll => Error::Unavailable("Too many exports at once."),
            NoPlace::OfThisClient => Error::Unavailable("Too many exports at once by this client."),
        })?;
        let position = self.log_reading(&self.entry(Act::FlagExport, call)).await?;
        let flags = Flags {
            store: Arc::clone(&self.store),
            units: self.access.units_below(&call.actor.party).into_iter().collect(),
            now: call.at,
            after: None,
            _place: place,
        };
        let pieces: Box<dyn Pieces> = match form {
            ExportForm::Csv => Box::new(Csv { flags, is_begun: false }),
            ExportForm::NdJson => Box::new(Lines { flags }),
            ExportForm::Xlsx => {
                let (path, directory) = self.imports.files.going_out(ImportId::mint(call.at, random_bytes()?));
                Box::new(Book { flags, path, directory, file: None })
            }
        };
        Ok((position.text(), pieces))
    }
}

/// Whether a flag is exported to an officer who sees the flags of these units: the one place that decides it.
fn is_exported(units: &HashSet<PartyId>, flag: &Flag, now: Timestamp) -> bool {
    let is_seen = units.contains(flag.unit()) || flag.coordinating.iter().any(|unit| units.contains(unit));
    is_seen && matches!(flag.state_at(now), FlagState::Proposed | FlagState::Active)
}

struct Flags {
    store: Arc<dyn Store>,
    /// Whose flags are seen, owned or coordinated.
    units: HashSet<PartyId>,
    now: Timestamp,
    after: Option<FlagId>,
    _place: Place,
}

impl Flags {
    /// Some flags that may be seen; none at the end.
    fn next(&mut self) -> Result<Vec<Flag>, StoreError> {
        loop {
            let after = self.after;
            let mut page = self.store.find(|connection| store::flags::all_after(connection, after, PIECE_FLAGS))?;
            let Some(last) = page.last() else { return Ok(page) };
            self.after = Some(last.id);
            page.retain(|flag| is_exported(&self.units, flag, self.now));
            if !page.is_empty() {
                return Ok(page);
            }
        }
    }

    fn next_cells(&mut self) -> Result<Vec<Vec<String>>, StoreError> {
        let now = self.now;
        Ok(self.next()?.iter().map(|flag| write::cells(flag, now)).collect())
    }
}

struct Csv {
    flags: Flags,
    is_begun: bool,
}

impl Pieces for Csv {
    fn next_piece(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let mut out = Vec::new();
        if !std::mem::replace(&mut self.is_begun, true) {
            write::put_csv_row(&mut out, write::header().into_iter());
        }
        for cells in self.flags.next_cells()? {
            write::put_csv_row(&mut out, cells.iter().map(String::as_str));
        }
        Ok(Some(out).filter(|out| !out.is_empty()))
    }
}

struct Lines {
    flags: Flags,
}

impl Pieces for Lines {
    fn next_piece(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let mut out = Vec::new();
        for flag in self.flags.next()? {
            serde_json::to_writer(&mut out, &FlagView::new(&flag, self.flags.now))
                .map_err(|_| StoreError::Corrupt("a flag that JSON cannot hold"))?;
            out.push(b'\n');
        }
        Ok(Some(out).filter(|out| !out.is_empty()))
    }
}

/// A workbook is packed as a whole: it is made in a private file, which then is sent and removed.
struct Book {
    flags: Flags,
    directory: PathBuf,
    path: PathBuf,
    file: Option<File>,
}

impl Book {
    fn make(&mut self) -> Result<File, StoreError> {
        let failed = |error: std::io::Error| StoreError::Engine(format!("an export: {error}"));
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).map_err(failed)?;
        let flags = &mut self.flags;
        write::write_workbook(&self.path, &self.directory, || flags.next_cells().map_err(Failed::Store)).map_err(
            |error| match error {
                Failed::Store(error) => error,
                Failed::Written(error) => StoreError::Engine(format!("an export: {error}")),
            },
        )?;
        let file = File::open(&self.path).map_err(failed)?;
        // Who has it open can still read it.
        std::fs::remove_file(&self.path).map_err(failed)?;
        Ok(file)
    }
}

enum Failed {
    Store(StoreError),
    Written(rust_xlsxwriter::XlsxError),
}

impl From<rust_xlsxwriter::XlsxError> for Failed {
    fn from(error: rust_xlsxwriter::XlsxError) -> Self {
        Self::Written(error)
    }
}

impl Pieces for Book {
    fn next_piece(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.make()?,
        };
        let mut out = vec![0; PIECE_BYTES];
        let read = file.read(&mut out).map_err(|error| StoreError::Engine(format!("an export: {error}")))?;
        out.truncate(read);
        self.file = Some(file);
        Ok(Some(out).filter(|out| !out.is_empty()))
    }
}
