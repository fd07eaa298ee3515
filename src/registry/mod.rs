//! The use cases, one method each. Each answer that tells something of the registry is made here, whole, so that its
//! digest goes into the entry, and returns only after the entry is durable.

mod audit;
mod checks;
mod cleaning;
mod clients;
mod corrections;
mod error;
mod exports;
mod flag_reads;
mod flag_search;
mod flag_view;
mod flags;
mod follower;
mod idempotency;
mod import_decision;
mod import_files;
mod import_rows;
mod import_steps;
mod import_work;
mod imports;
mod keeping;
mod log_stream;
mod merging;
mod nodes;
mod objections;
mod outcomes;
mod parties;
mod places;
mod proofs;
mod publisher;
mod quality;
mod refusals;
mod reports;
mod seeds;
mod statistics;
mod streams;
mod tokens;
mod urgent;

pub use audit::LogPage;
pub use checks::Checked;
pub use cleaning::{CarePage, StaleAfter};
pub use clients::{NewClient, Rotation};
pub use error::Error;
pub use exports::ExportForm;
pub use flag_reads::FlagFilter;
pub use flag_search::FlagSearch;
pub use flags::Owner;
pub use idempotency::IdempotencyKey;
pub use import_files::Upload;
pub use imports::{ImportFilter, NewImport, Received};
pub use log_stream::{LogForm, LogStream};
pub use merging::VersionRead;
pub use objections::{ObjectionFilter, Overdue};
pub use parties::NewParty;
pub use proofs::TilePlace;
pub use quality::{QualityPage, QualityTerms};
pub use seeds::Seed;
pub use statistics::{By, ReportForm};
pub use streams::Pieces;
pub use tokens::{Granted, Proof, TokenError};

use crate::auth::{Access, Authority, ClientState, DefaultQuotas};
use crate::clock::Clock;
use crate::domain::party::ClientId;
use crate::domain::{Actor, Change, Directory, LogPosition, RequestId, SubjectHasher, Timestamp};
use crate::entropy;
use crate::index::Index;
use crate::log::{Act, End, Entry, Limits, Log, Opening, Record, SearchIndex, Signers, Tallies};
use crate::register::Register;
use crate::store::archive::Archive;
use crate::store::{self, Connection, Store, StoreError};
use arc_swap::ArcSwap;
use follower::{Follower, STALE_AFTER, UNREADY_AFTER};
use publisher::Publisher;
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Looks at all of the list or all of the figures at once.
const TURNS: usize = 2;
/// Such a look waits no longer for its turn.
const TURN_WAIT_MAX: Duration = Duration::from_secs(3);

/// One authenticated request: who, when (taken once, on arrival) and under which id.
#[derive(Clone)]
pub struct Call {
    pub request_id: RequestId,
    pub at: Timestamp,
    pub actor: Actor,
}

/// An answer whose entry is durable.
pub struct Answered {
    pub body: Vec<u8>,
    pub position: LogPosition,
    pub etag: Option<String>,
    pub location: Option<String>,
}

/// What a registry is opened with.
pub struct Settings {
    pub node: String,
    pub log: Limits,
    pub quotas: DefaultQuotas,
    /// Threads that load the index.
    pub threads: usize,
    /// The file of the officers' view.
    pub register: PathBuf,
    /// Where files that are handed in lie until their rows are taken.
    pub imports: PathBuf,
    /// The deadline of an objection.
    pub objections_answered_within_ms: u64,
}

pub struct Registry {
    store: Arc<dyn Store>,
    log: Log,
    search: SearchIndex,
    register: Arc<Register>,
    tallies: Tallies,
    /// Of the log.
    streams: places::Places,
    /// Of the list.
    exports: places::Places,
    /// For looks at all of the list or all of the figures.
    turns: Semaphore,
    others: nodes::OtherLogs,
    index: Arc<Index>,
    access: Arc<Access>,
    authority: Authority,
    clock: Arc<dyn Clock>,
    directory: ArcSwap<Directory>,
    refusals: refusals::Refusals,
    imports: imports::Imports,
    /// Where other nodes share the database.
    follower: Option<Follower>,
    node: &'static str,
    objections_answered_within_ms: u64,
    /// The last archive of the own log; none is made while the registry is open.
    archived: Option<Archive>,
}

impl Registry {
    /// Loads the index and starts the log's writer.
    pub fn open(
        store: Arc<dyn Store>,
        hasher: SubjectHasher,
        authority: Authority,
        signers: Signers,
        directory: Directory,
        clock: Arc<dyn Clock>,
        settings: &Settings,
    ) -> Result<Self, StoreError> {
        let index = Arc::new(Index::load(store.as_ref(), hasher, settings.threads)?);
        let access = Arc::new(Access::load(store.as_ref(), settings.quotas)?);
        let register = Arc::new(Register::start(Arc::clone(&store), &settings.register)?);
        let publisher = Publisher::new(Arc::clone(&index), Arc::clone(&access), Arc::clone(&register));
        let publisher = Arc::new(publisher);
        // Once in the life of the process.
        let node: &'static str = Box::leak(settings.node.clone().into_boxed_str());
        let opening = Opening { node, signers, clock: Arc::clone(&clock), limits: settings.log };
        let log = Log::start(Arc::clone(&store), opening, Box::new(Arc::clone(&publisher)))?;
        let follow = |lease| Follower::start(Arc::clone(&store), publisher, Arc::clone(&clock), lease);
        let follower = log.lease().map(follow).transpose()?;
        let number = log.number();
        let archived = store.find(|connection| store::archive::all(connection, number))?.pop();
        let search = SearchIndex::start(Arc::clone(&store), node)?;
        let tallies = Tallies::start(Arc::clone(&store), node)?;
        Ok(Self {
            store,
            log,
            search,
            register,
            tallies,
            streams: streams::places(),
            exports: streams::places(),
            turns: Semaphore::new(TURNS),
            others: nodes::OtherLogs::default(),
            index,
            access,
            authority,
            clock,
            directory: ArcSwap::from_pointee(directory),
            refusals: refusals::Refusals::default(),
            imports: imports::Imports::new(settings.imports.clone()),
            follower,
            node,
            objections_answered_within_ms: settings.objections_answered_within_ms,
            archived,
        })
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    pub fn search(&self) -> &SearchIndex {
        &self.search
    }

    pub fn register(&self) -> &Register {
        &self.register
    }

    /// Ends what works behind the log, then the log: everything that was accepted is committed.
    pub async fn close(&self) -> End {
        self.imports.signal.stop();
        self.search.close();
        self.register.close();
        self.tallies.close();
        if let Some(follower) = &self.follower {
            follower.stop();
        }
        self.log.close().await
    }

    /// Why requests sent here would not be answered.
    pub fn unready(&self) -> Option<&'static str> {
        if *self.log.end().borrow() != End::Running || self.log.is_gone() {
            return Some("The registry cannot write its log.");
        }
        (self.unheard_for() > UNREADY_AFTER).then_some("The registry does not hear from its database.")
    }

    /// Since when what other nodes change may be missing here.
    pub fn unheard_for(&self) -> Duration {
        self.follower.as_ref().map_or(Duration::ZERO, Follower::unheard_for)
    }

    /// What other nodes do cannot be followed any more: this process must end.
    pub fn is_over(&self) -> bool {
        self.follower.as_ref().is_some_and(Follower::is_over)
    }

    /// Refuses to answer, or to let anybody in, from memory that may lack what other nodes have changed.
    pub fn must_be_fresh(&self) -> Result<(), Error> {
        if self.unheard_for() > STALE_AFTER {
            return Err(Error::Unavailable("The registry does not hear from its database."));
        }
        Ok(())
    }

    pub fn index(&self) -> &Index {
        &self.index
    }

    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// A client in its version in force.
    pub fn client(&self, id: &ClientId) -> Option<Arc<ClientState>> {
        self.access.client(id)
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The bank directory and the wallet providers in force.
    pub fn directory(&self) -> arc_swap::Guard<Arc<Directory>> {
        self.directory.load()
    }

    pub fn replace_directory(&self, directory: Directory) {
        self.directory.store(Arc::new(directory));
    }

    /// Reads the store on a thread where waiting harms nobody.
    async fn read<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let store = Arc::clone(&self.store);
        let found = tokio::task::spawn_blocking(move || store.find(work)).await;
        found.map_err(|_| Error::Internal("a reader stopped".to_owned()))?.map_err(Error::from)
    }

    /// A turn for a look that takes a processor for a good part of a second. Without one, those who ask for figures would take
    /// every reader from those who raise and approve flags.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, Error> {
        let turn = tokio::time::timeout(TURN_WAIT_MAX, self.turns.acquire()).await;
        let busy = Error::Unavailable("Too many ask for figures at once.");
        turn.map_err(|_| busy)?.map_err(|_| Error::Internal("no more turns".to_owned()))
    }

    /// As `read`, on a thread that may wait.
    fn store_find<T>(&self, work: impl Fn(&mut dyn Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.store.find(work)
    }

    /// Logs an act that changes nothing and returns its answer.
    async fn answer_reading(&self, mut entry: Entry, body: Vec<u8>) -> Result<Answered, Error> {
        entry.answer_digest = Some(digest(&body));
        let position = self.log_reading(&entry).await?;
        Ok(Answered { body, position, etag: None, location: None })
    }

    async fn log_reading(&self, entry: &Entry) -> Result<LogPosition, Error> {
        Ok(self.log.submit(Record::reading(entry)?)?.durable().await?)
    }

    /// Commits a change with its entry and returns its answer.
    async fn answer_changing(
        &self,
        mut entry: Entry,
        change: Change,
        body: Vec<u8>,
        etag: String,
    ) -> Result<Answered, Error> {
        entry.answer_digest = Some(digest(&body));
        let position = self.log.submit(Record::changing(entry, change, None))?.durable().await?;
        Ok(Answered { body, position, etag: Some(etag), location: None })
    }

    /// An entry of this call with everything else empty.
    fn entry(&self, act: Act, call: &Call) -> Entry {
        let mut entry = Entry::new(act, call.at, call.request_id, call.actor.party.clone(), call.actor.client.clone());
        entry.list_version = self.index.list_version();
        entry
    }

    /// Logs that a call was refused for what the caller may not do; it must precede the answer.
    pub async fn refuse(&self, call: &Call, problem: &str) -> Result<(), Error> {
        let mut entry = self.entry(Act::Refused, call);
        entry.problem = Some(problem.to_owned());
        self.log_reading(&entry).await?;
        Ok(())
    }

    /// Counts a call that its quota refused; one entry a client and minute tells of them.
    pub fn refuse_by_quota(&self, call: &Call) {
        self.refusals.count(call);
    }

    /// Logs the refused calls of the minutes that have ended; of all minutes with `Timestamp::from_ms(u64::MAX)`. What
    /// cannot be logged now stays counted.
    pub async fn log_refusals(&self, now: Timestamp) -> Result<(), Error> {
        let mut result = Ok(());
        for (call, count) in self.refusals.take_ended(now) {
            let mut entry = self.entry(Act::Refused, &Call { at: self.now(), ..call.clone() });
            entry.problem = Some("rate_limited".to_owned());
            entry.count = count;
            if let Err(error) = self.log_reading(&entry).await {
                self.refusals.put_back(call, count);
                result = Err(error);
            }
        }
        result
    }
}

/// SHA-256 of an answer's exact body.
fn digest(body: &[u8]) -> [u8; 32] {
    Sha256::digest(body).into()
}

fn random_bytes() -> Result<[u8; 16], Error> {
    entropy::bytes16().map_err(|_| Error::Internal("no randomness".to_owned()))
}

fn render(body: &impl serde::Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(body).map_err(|error| Error::Internal(error.to_string()))
}
