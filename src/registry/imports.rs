//! Files of flags: hand in, look at, decide on as one. A file is streamed to a private file and worked on behind the answer;
//! the same file of the same unit is taken once.

use super::flags::etag;
use super::import_files::{ImportFiles, Upload};
use super::import_work::Signal;
use super::{Answered, Call, Error, IdempotencyKey, Pieces, Registry, random_bytes, render};
use crate::domain::import::{
    Decision, Defaults, FileFault, Import, ImportForm, ImportMoveError, ImportState, ImportStep, Tally,
};
use crate::domain::{Actor, Change, FlagId, ImportId, Timestamp};
use crate::log::{Act, Resource};
use crate::store::imports::ImportPage;
use crate::store::{self, Connection, Store, StoreError};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Imports that one page looks at; a page for which that is not enough says where to go on.
const LOOKED_MAX: usize = 5_000;
/// Parts of one piece of a report.
const REPORT_PARTS: u32 = 64;
pub const REPORT_HEADER: &str = "row,result,flag,field,reason\n";

/// Where files lie, and who works on them.
pub(super) struct Imports {
    pub(super) files: Arc<ImportFiles>,
    pub(super) signal: Signal,
}

/// What a client says of a file.
pub struct NewImport {
    pub dry_run: bool,
    pub form: ImportForm,
    pub charset: Option<String>,
    pub defaults: Defaults,
}

/// What a list of imports shows.
#[derive(Clone, Copy, Debug)]
pub struct ImportFilter {
    pub state: Option<ImportState>,
    pub before: Option<ImportId>,
    pub limit: u32,
}

/// Whether the file was new.
pub enum Received {
    New(Answered),
    Same(Answered),
}

impl Imports {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { files: Arc::new(ImportFiles::new(directory)), signal: Signal::default() }
    }
}

impl Registry {
    /// Opens a private file for what is coming in.
    pub async fn begin_upload(&self, call: &Call) -> Result<Upload, Error> {
        let (files, id) = (Arc::clone(&self.imports.files), ImportId::mint(self.now(), random_bytes()?));
        let client = call.actor.client.clone();
        let begun = tokio::task::spawn_blocking(move || files.begin(id, &client)).await;
        begun.map_err(|_| Error::Internal("a writer of files stopped".to_owned()))?
    }

    /// Takes a file that has come in whole.
    pub async fn receive_import(
        &self,
        call: &Call,
        key: IdempotencyKey,
        new: NewImport,
        mut upload: Upload,
    ) -> Result<Received, Error> {
        if let Some(kept) = self.kept_answer(call, &key).await? {
            return Ok(Received::New(kept));
        }
        let import = self.new_import(call, new, &upload)?;
        let (import, follows) = match self.find_same_import(&import).await? {
            None => (import, None),
            // The node that had the file has fallen silent: this one goes on.
            Some(same) if self.has_lost_its_file(same.id).await? => (same.next_step(), Some(same.step)),
            Some(same) => return Ok(Received::Same(self.show_import(call, &same).await?)),
        };
        let path = self.imports.files.of(import.id);
        let kept = tokio::task::spawn_blocking(move || upload.keep(path).map(|()| upload)).await;
        let mut upload = kept.map_err(|_| Error::Internal("a writer of files stopped".to_owned()))??;
        let mut entry = self.entry(Act::ImportReceive, call);
        entry.resource = Some(Resource::Import(import.id));
        let (body, location) = (render(&ImportView::new(&import))?, format!("/v1/imports/{}", import.id));
        let step = ImportStep::new(follows, import.clone(), self.node.to_owned());
        let step = step.map_err(|error| Error::Internal(error.to_string()))?;
        let etag = etag(import.version);
        let made = self.create(call, key, entry, Change::Import(Box::new(step)), body, etag, location.clone()).await;
        let is_for_nobody = match &made {
            // Else the same request was under way at the same time and came first.
            Ok(answered) => answered.location.as_ref() != Some(&location),
            Err(error) => matches!(error, Error::StaleVersion | Error::KeyReused),
        };
        // Whoever else goes on with an import has brought the same file to the same place.
        if is_for_nobody && follows.is_none() {
            upload.give_up();
        }
        match made {
            Ok(answered) => {
                self.imports.signal.wake();
                Ok(Received::New(answered))
            }
            // The same file was being taken at the same time.
            Err(error @ Error::StaleVersion) => match self.find_same_import(&import).await? {
                Some(same) => Ok(Received::Same(self.show_import(call, &same).await?)),
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    async fn has_lost_its_file(&self, id: ImportId) -> Result<bool, Error> {
        let node = self.node;
        self.read(move |connection| store::imports::has_lost_its_file(connection, id, node)).await
    }

    fn new_import(&self, call: &Call, new: NewImport, upload: &Upload) -> Result<Import, Error> {
        Ok(Import {
            id: ImportId::mint(call.at, random_bytes()?),
            state: ImportState::Received,
            version: 1,
            step: 1,
            dry_run: new.dry_run,
            form: new.form,
            charset: new.charset,
            sha256: upload.digest().iter().map(|byte| format!("{byte:02x}")).collect(),
            bytes: upload.bytes(),
            defaults: new.defaults,
            received_by: call.actor.clone(),
            received_at: call.at,
            rows_total: None,
            up_to_row: 0,
            tally: Tally::default(),
            fault: None,
            finished_at: None,
            decision: None,
        })
    }

    async fn find_same_import(&self, import: &Import) -> Result<Option<Import>, Error> {
        let import = import.clone();
        self.read(move |connection| store::imports::find_same(connection, &import)).await
    }

    /// An import that the caller's unit, or one below it, handed in; to the others it does not exist.
    async fn find_import(&self, call: &Call, id: ImportId) -> Result<Import, Error> {
        let found = self.read(move |connection| store::imports::find(connection, id)).await?;
        let visible = found.map(|(import, _)| import).filter(|import| {
            let chain = self.access.chain(&import.received_by.party);
            chain.lies_within(&call.actor.party)
        });
        visible.ok_or(Error::NotFound)
    }

    pub async fn read_import(&self, call: &Call, id: ImportId) -> Result<Answered, Error> {
        let import = self.find_import(call, id).await?;
        self.show_import(call, &import).await
    }

    /// A page of the imports that the caller's unit and the units below handed in, newest first.
    pub async fn list_imports(&self, call: &Call, filter: ImportFilter) -> Result<Answered, Error> {
        let units = self.access.units_below(&call.actor.party);
        let page = ImportPage { state: filter.state, before: filter.before, rows_max: filter.limit };
        let read =
            move |connection: &mut dyn Connection| store::imports::of_units(connection, &units, &page, LOOKED_MAX);
        let (found, next_cursor) = self.read(read).await?;
        let body = render(&ImportList { items: found.iter().map(ImportView::new).collect(), next_cursor })?;
        self.answer_reading(self.entry(Act::ImportRead, call), body).await
    }

    async fn show_import(&self, call: &Call, import: &Import) -> Result<Answered, Error> {
        let mut entry = self.entry(Act::ImportRead, call);
        entry.resource = Some(Resource::Import(import.id));
        let answered = self.answer_reading(entry, render(&ImportView::new(import))?).await?;
        let location = Some(format!("/v1/imports/{}", import.id));
        Ok(Answered { etag: Some(etag(import.version)), location, ..answered })
    }

    /// What has become of each row so far, to be taken piece by piece.
    pub async fn report_import(&self, call: &Call, id: ImportId) -> Result<(String, Box<dyn Pieces>), Error> {
        let import = self.find_import(call, id).await?;
        let mut entry = self.entry(Act::ImportRead, call);
        entry.resource = Some(Resource::Import(import.id));
        let position = self.log_reading(&entry).await?;
        let report = Report { store: Arc::clone(&self.store), id, after: 0, is_begun: false };
        Ok((position.text(), Box::new(report)))
    }

    pub async fn approve_import(&self, call: &Call, id: ImportId, version: u32) -> Result<Answered, Error> {
        self.decide_import(Act::ImportApprove, call, id, version, |import, by, at| import.approve(by, at)).await
    }

    pub async fn reject_import(
        &self,
        call: &Call,
        id: ImportId,
        version: u32,
        reason: String,
    ) -> Result<Answered, Error> {
        self.decide_import(Act::ImportReject, call, id, version, |import, by, at| import.reject(by, reason, at)).await
    }

    async fn decide_import(
        &self,
        act: Act,
        call: &Call,
        id: ImportId,
        version: u32,
        decide: impl FnOnce(&Import, Actor, Timestamp) -> Result<Import, ImportMoveError>,
    ) -> Result<Answered, Error> {
        let import = self.find_import(call, id).await?;
        if import.version != version {
            return Err(Error::StaleVersion);
        }
        if *self.access.chain(&import.received_by.party).root() != call.actor.party {
            return Err(self.forbid(call, "The unit at the root of the importing unit's units decides.").await);
        }
        let moved = match decide(&import, call.actor.clone(), call.at) {
            Err(ImportMoveError::SameOfficer) => {
                return Err(self
                    .forbid(call, "Another officer than the one who handed the file in must decide.")
                    .await);
            }
            moved => moved?,
        };
        let mut entry = self.entry(act, call);
        entry.resource = Some(Resource::Import(id));
        let (body, etag) = (render(&ImportView::new(&moved))?, etag(moved.version));
        let follows = Some(import.step);
        let step = ImportStep::new(follows, moved, self.node.to_owned());
        let step = step.map_err(|error| Error::Internal(error.to_string()))?;
        let answered = self.answer_changing(entry, Change::Import(Box::new(step)), body, etag).await?;
        self.imports.signal.wake();
        Ok(answered)
    }
}

struct Report {
    store: Arc<dyn Store>,
    id: ImportId,
    after: u64,
    is_begun: bool,
}

impl Pieces for Report {
    fn next_piece(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let mut out = Vec::new();
        if !std::mem::replace(&mut self.is_begun, true) {
            out.extend_from_slice(REPORT_HEADER.as_bytes());
        }
        let (id, after) = (self.id, self.after);
        let parts = self.store.find(|connection| store::imports::parts_after(connection, id, after, REPORT_PARTS))?;
        for part in parts {
            self.after = part.first_row;
            out.extend_from_slice(part.report.as_bytes());
        }
        Ok(Some(out).filter(|out| !out.is_empty()))
    }
}

#[derive(Serialize)]
struct ImportList<'a> {
    items: Vec<ImportView<'a>>,
    next_cursor: Option<ImportId>,
}

/// An import as officers see it.
#[derive(Serialize)]
struct ImportView<'a> {
    id: ImportId,
    state: ImportState,
    version: u32,
    dry_run: bool,
    form: ImportForm,
    charset: Option<&'a str>,
    sha256: &'a str,
    bytes: u64,
    defaults: &'a Defaults,
    received_by: &'a Actor,
    received_at: Timestamp,
    counts: Counts,
    by_verdict: &'a BTreeMap<String, u64>,
    by_category: &'a BTreeMap<String, u64>,
    by_bank: &'a BTreeMap<String, u64>,
    by_kind: &'a BTreeMap<String, u64>,
    samples: Vec<FlagId>,
    fault: Option<&'a FileFault>,
    finished_at: Option<Timestamp>,
    decision: Option<DecisionView<'a>>,
}

#[derive(Serialize)]
struct Counts {
    rows_total: Option<u64>,
    rows: u64,
    accepted: u64,
    duplicate: u64,
    invalid: u64,
}

#[derive(Serialize)]
struct DecisionView<'a> {
    by: &'a Actor,
    at: Timestamp,
    reason: Option<&'a str>,
    decided: u64,
    passed_over: u64,
}

impl<'a> ImportView<'a> {
    fn new(import: &'a Import) -> Self {
        let tally = &import.tally;
        let decision = |decision: &'a Decision| DecisionView {
            by: &decision.by,
            at: decision.at,
            reason: decision.reason.as_deref(),
            decided: decision.decided,
            passed_over: decision.passed_over,
        };
        Self {
            id: import.id,
            state: import.state,
            version: import.version,
            dry_run: import.dry_run,
            form: import.form,
            charset: import.charset.as_deref(),
            sha256: &import.sha256,
            bytes: import.bytes,
            defaults: &import.defaults,
            received_by: &import.received_by,
            received_at: import.received_at,
            counts: Counts {
                rows_total: import.rows_total,
                rows: tally.rows,
                accepted: tally.accepted,
                duplicate: tally.duplicate,
                invalid: tally.invalid,
            },
            by_verdict: &tally.by_verdict,
            by_category: &tally.by_category,
            by_bank: &tally.by_bank,
            by_kind: &tally.by_kind,
            // A dry run made no flags that could be looked at.
            samples: tally.samples().filter(|_| !import.dry_run).collect(),
            fault: import.fault.as_ref(),
            finished_at: import.finished_at,
            decision: import.decision.as_ref().map(decision),
        }
    }
}
