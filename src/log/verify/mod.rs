//! Offline verification of a log: every entry, batch, tile and checkpoint, in order and in constant memory. Nothing that a
//! source says is believed; what is trusted are the keys and the checkpoints given from outside.

mod before;
mod chain;
mod continued;
mod database;
mod export;
mod report;
mod trust;

pub use chain::Chain;
pub use continued::Continued;
pub use database::Database;
pub use export::{Export, first_of_export};
pub use report::{Fault, Finding, Report, VerifyError};

use super::merkle::{Edge, FullTile, Hash, TILE_WIDTH};
use super::note::{Checkpoint, VerifierKey, claimed_size};
use super::receipt::Receipt;
use super::{Act, Entry, SKEW_MS_MAX, UNCOVERED_MS_MAX, entries_of, leaf_hash};
use crate::domain::Timestamp;
use crate::store::log::LogBatch;
use std::collections::VecDeque;
use trust::Trust;

/// Where a log is read from.
pub trait Source {
    /// The next entries in order, as they were committed together; `None` at the end.
    fn next_batch(&mut self) -> Result<Option<LogBatch>, VerifyError>;

    /// Checkpoints at `size` and above, the smallest first, as size and signed note: some of them, none if there are no
    /// more.
    fn checkpoints(&mut self, size: u64) -> Result<Vec<(u64, String)>, VerifyError>;

    fn tile(&mut self, level: u8, index: u64) -> Result<StoredTile, VerifyError>;

    /// How many full tiles are stored; `None` if this source keeps none.
    fn tile_count(&mut self) -> Result<Option<u64>, VerifyError>;
}

/// A full tile as a source has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredTile {
    /// This source keeps no tiles.
    NoneKept,
    Missing,
    Kept {
        root: Vec<u8>,
        hashes: Vec<u8>,
    },
}

/// What the log must meet beside its own keys.
#[derive(Default)]
pub struct Kept {
    /// Signed notes that somebody kept.
    pub checkpoints: Vec<String>,
    pub receipts: Vec<Receipt>,
}

/// Where a log is taken up: at its beginning, or where an archive left off.
#[derive(Default)]
pub struct Start {
    pub edge: Edge,
    /// Latest time of an entry up to there.
    pub latest: Timestamp,
    /// `edge` is what the source itself says: it keeps the tiles of level 0 from the one that begins here, and all higher ones.
    pub tiles_begin: Option<u64>,
    /// Entries under a checkpoint must say this.
    pub seals: Vec<Seal>,
}

/// That entries are missing because they were sealed into an archive.
pub struct Seal {
    pub first_index: u64,
    pub end: u64,
    /// What the log says of the archive.
    pub reference: String,
    /// Where it says so.
    pub(super) found: Option<u64>,
}

pub struct Verifier {
    trust: Trust,
    edge: Edge,
    latest: Timestamp,
    /// Up to here a checkpoint has been met.
    covered: u64,
    /// Latest time of an entry up to there.
    vouched: Timestamp,
    /// Completed by the last entry.
    full: Vec<FullTile>,
    /// By size.
    kept: VecDeque<(u64, String)>,
    /// By index.
    receipts: VecDeque<Receipt>,
    met: Vec<Receipt>,
    tiles_begin: Option<u64>,
    seals: Vec<Seal>,
    report: Report,
}

impl Verifier {
    /// `None` unless there are keys, all of one log. Kept checkpoints and receipts must at least tell a size.
    pub fn new(start: Start, keys: &[VerifierKey], kept: Kept) -> Option<Self> {
        let trust = Trust::new(keys)?;
        let mut notes = Vec::with_capacity(kept.checkpoints.len() + kept.receipts.len());
        for note in kept.checkpoints.into_iter().chain(kept.receipts.iter().map(|receipt| receipt.checkpoint.clone())) {
            notes.push((claimed_size(&note)?, note));
        }
        notes.sort_unstable();
        let mut receipts = kept.receipts;
        receipts.sort_unstable_by_key(|receipt| receipt.index);
        let start_size = start.edge.size();
        Some(Self {
            trust,
            edge: start.edge,
            latest: start.latest,
            covered: start_size,
            vouched: start.latest,
            full: Vec::new(),
            kept: notes.into(),
            receipts: receipts.into(),
            met: Vec::new(),
            tiles_begin: start.tiles_begin,
            seals: start.seals,
            report: Report::new(start_size),
        })
    }

    /// Reads the whole source; `progress` is told the size up to which everything held.
    pub fn run<S: Source>(mut self, source: &mut S, progress: &mut dyn FnMut(u64)) -> Result<Report, VerifyError> {
        let mut stored = Stored { ahead: VecDeque::new(), next: self.edge.size() };
        self.checkpoints(source, &mut stored)?;
        if self.tiles_begin.is_some() {
            self.before(source)?;
        }
        while let Some(batch) = source.next_batch()? {
            self.batch(source, &mut stored, &batch)?;
            progress(self.edge.size());
        }
        self.end(source, &mut stored)
    }

    fn batch<S: Source>(&mut self, source: &mut S, stored: &mut Stored, batch: &LogBatch) -> Result<(), VerifyError> {
        let first = self.edge.size();
        if batch.first_index != first {
            return Err(Fault::Gap { found: batch.first_index }.at(first.min(batch.first_index)));
        }
        let mut at_min = None::<Timestamp>;
        for bytes in entries_of(&batch.entries) {
            let index = self.edge.size();
            let at = self.entry(bytes.ok_or_else(|| Fault::Torn.at(index))?)?;
            at_min = Some(at_min.map_or(at, |least| least.min(at)));
            if !self.full.is_empty() {
                for tile in std::mem::take(&mut self.full) {
                    self.tile(source, &tile)?;
                }
            }
            self.checkpoints(source, stored)?;
        }
        let head_holds =
            self.edge.size() - first == batch.size && at_min == Some(batch.at_min) && self.latest == batch.at_max;
        if head_holds { Ok(()) } else { Err(Fault::Head.at(first)) }
    }

    /// Takes the next entry's bytes, and returns its time.
    fn entry(&mut self, bytes: &[u8]) -> Result<Timestamp, VerifyError> {
        let index = self.edge.size();
        let entry = Entry::decode(bytes).ok_or_else(|| Fault::Entry.at(index))?;
        if entry.at.plus_ms(SKEW_MS_MAX) < self.latest {
            return Err(Fault::Time.at(index));
        }
        if entry.act == Act::LogKey {
            let key = entry.reference.as_deref().unwrap_or_default();
            self.trust.announce(key, self.covered == 0).map_err(|fault| fault.at(index))?;
        }
        if entry.act == Act::LogArchive {
            let reference = entry.reference.as_deref().unwrap_or_default();
            let seal = self.seals.iter_mut().find(|seal| seal.reference == reference);
            seal.into_iter().for_each(|seal| seal.found = Some(index));
        }
        while self.receipts.front().is_some_and(|receipt| receipt.index <= index) {
            let Some(receipt) = self.receipts.pop_front() else { break };
            if receipt.index == index && receipt.extra != bytes {
                return Err(Fault::Receipt.at(index));
            }
            self.met.push(receipt);
        }
        self.latest = self.latest.max(entry.at);
        self.report.saw(entry.at);
        self.edge.push(leaf_hash(bytes), &mut self.full);
        Ok(entry.at)
    }

    /// A stored tile must be the one that the entries give.
    fn tile<S: Source>(&mut self, source: &mut S, tile: &FullTile) -> Result<(), VerifyError> {
        self.report.tiles += 1;
        let (level, index) = (tile.level, tile.index);
        let span = u64::from(TILE_WIDTH).pow(level.into());
        let first = index * span * u64::from(TILE_WIDTH);
        match source.tile(level, index)? {
            StoredTile::NoneKept => Ok(()),
            StoredTile::Missing => Err(Fault::TileMissing { level, index }.at(first)),
            StoredTile::Kept { root, hashes } if root == tile.root && hashes == tile.hashes => Ok(()),
            StoredTile::Kept { hashes, .. } => {
                let place = first_difference(&hashes, &tile.hashes).unwrap_or_default();
                Err(Fault::Tile { level, index }.at(first + place * span))
            }
        }
    }

    /// Meets the checkpoints at the size that has been reached: the log's own, and kept ones.
    fn checkpoints<S: Source>(&mut self, source: &mut S, stored: &mut Stored) -> Result<(), VerifyError> {
        let size = self.edge.size();
        if let Some(note) = stored.at(size, source)? {
            let (checkpoint, signed) = self.checkpoint(&note)?;
            if checkpoint.size != size {
                return Err(Fault::CheckpointSize { size: checkpoint.size }.at(self.covered));
            }
            self.trust.signed_by_log(&signed, self.covered).map_err(|fault| fault.at(self.covered))?;
            self.root(source, &checkpoint)?;
            self.report.checkpoints += 1;
        }
        while let Some((_, note)) = self.kept.pop_front_if(|(kept, _)| *kept <= size) {
            let (checkpoint, signed) = self.checkpoint(&note)?;
            if checkpoint.size != size {
                let kept = checkpoint.size;
                let words = "lies before where this log begins; verify the archive with it";
                return Err(VerifyError::Unreadable(format!("a kept checkpoint of {kept} entries {words}")));
            }
            self.trust.signed(&signed, self.covered);
            self.root(source, &checkpoint)?;
            self.report.kept += 1;
        }
        Ok(())
    }

    fn checkpoint(&self, note: &str) -> Result<(Checkpoint, Vec<usize>), VerifyError> {
        let parsed = Checkpoint::parse_signed(note, self.trust.known());
        let (checkpoint, signed) = parsed.map_err(|error| Fault::Checkpoint(error).at(self.covered))?;
        if checkpoint.origin != self.trust.origin() {
            return Err(Fault::Origin(checkpoint.origin).at(self.covered));
        }
        Ok((checkpoint, signed))
    }

    fn root<S: Source>(&mut self, source: &mut S, checkpoint: &Checkpoint) -> Result<(), VerifyError> {
        let size = self.edge.size();
        if checkpoint.root == self.edge.root() {
            self.covered = size;
            self.vouched = self.latest;
            return Ok(());
        }
        // If the tile that grows here was stored later on, its leaf hashes tell where the difference begins.
        let first_of_tile = size - u64::try_from(self.edge.partial(0).len()).unwrap_or_default();
        let place = match source.tile(0, first_of_tile / u64::from(TILE_WIDTH))? {
            StoredTile::NoneKept | StoredTile::Missing => None,
            StoredTile::Kept { hashes, .. } => first_difference(&hashes, self.edge.partial(0).as_flattened()),
        };
        let index = place.map_or(self.covered, |place| first_of_tile + place);
        Err(Fault::Root { size }.at(index.max(self.covered)))
    }

    fn end<S: Source>(mut self, source: &mut S, stored: &mut Stored) -> Result<Report, VerifyError> {
        let size = self.edge.size();
        let beyond = stored.first(source)?.or(self.kept.front().map(|(beyond, _)| *beyond));
        if let Some(beyond) = beyond.or(self.receipts.front().map(|receipt| receipt.index.saturating_add(1))) {
            return Err(Fault::Rollback { size: beyond }.at(size));
        }
        if let Some(index) = self.trust.unvouched() {
            return Err(Fault::Unvouched.at(index));
        }
        if self.report.checkpoints + self.report.kept == 0 {
            return Err(Fault::NoCheckpoint.at(self.covered));
        }
        // Whoever holds checkpoints beside an export has them up to any time.
        if self.report.checkpoints > 0 && self.latest > self.vouched.plus_ms(UNCOVERED_MS_MAX) {
            return Err(Fault::Uncovered { latest: self.latest }.at(self.covered));
        }
        let due = match self.tiles_begin {
            None if self.report.start == 0 => Some(self.report.tiles),
            None => None,
            Some(first) => Some(before::tiles_due(size, first)),
        };
        if let Some(due) = due
            && let Some(stored) = source.tile_count()?
            && stored != due
        {
            return Err(Fault::TileCount { stored, due }.at(size));
        }
        let unsealed = self.seals.iter().find(|seal| seal.found.is_none_or(|index| index >= self.covered));
        if let Some(Seal { first_index, end, .. }) = unsealed {
            return Err(Fault::NotSealed { end: *end }.at(*first_index));
        }
        let trusted = self.trust.trusted();
        for receipt in &self.met {
            if let Err(fault) = receipt.verify_entry(&trusted) {
                return Err(Fault::BadReceipt(fault).at(receipt.index));
            }
        }
        self.report.receipts = self.met.len();
        self.report.size = size;
        self.report.covered = self.covered;
        self.report.root = self.edge.root();
        self.report.keys = trusted.iter().map(VerifierKey::to_string).collect();
        Ok(self.report)
    }
}

/// The source's checkpoints, read some ahead.
struct Stored {
    ahead: VecDeque<(u64, String)>,
    /// The least size of what has not been read yet.
    next: u64,
}

impl Stored {
    fn first<S: Source>(&mut self, source: &mut S) -> Result<Option<u64>, VerifyError> {
        if self.ahead.is_empty() && self.next != u64::MAX {
            self.ahead = source.checkpoints(self.next)?.into();
            self.next = self.ahead.back().map_or(u64::MAX, |(size, _)| size.saturating_add(1));
        }
        Ok(self.ahead.front().map(|(size, _)| *size))
    }

    fn at<S: Source>(&mut self, size: u64, source: &mut S) -> Result<Option<String>, VerifyError> {
        if self.first(source)? != Some(size) {
            return Ok(None);
        }
        Ok(self.ahead.pop_front().map(|(_, note)| note))
    }
}

/// The place of the first hash that differs.
fn first_difference(stored: &[u8], computed: &[u8]) -> Option<u64> {
    let hash = size_of::<Hash>();
    let place = stored.chunks(hash).zip(computed.chunks(hash)).position(|(stored, computed)| stored != computed)?;
    u64::try_from(place).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use crate::domain::party::{ClientId, PartyId};
    use crate::domain::{RequestId, Verdict};
    use crate::log::Exported;
    use crate::log::note::tests::SeedSigner;
    use crate::log::note::{NoteError, Signer};
    use crate::log::receipt::ReceiptFault;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::sync::LazyLock;

    const ORIGIN: &str = "registry.example/main";
    const START_MS: u64 = 1_795_000_000_000;
    const ENTRIES: u64 = 700;
    const ROTATED_AT: u64 = 301;

    /// A log in memory. The parts of it can be changed as somebody with a copy of the database could.
    #[derive(Clone, Default)]
    pub struct Memory {
        pub batches: Vec<Batch>,
        pub checkpoints: BTreeMap<u64, String>,
        pub tiles: BTreeMap<(u8, u64), (Vec<u8>, Vec<u8>)>,
        next: usize,
    }

    #[derive(Clone, PartialEq, Eq, Debug)]
    pub struct Batch {
        pub first_index: u64,
        pub at_min: u64,
        pub at_max: u64,
        pub entries: Vec<Vec<u8>>,
    }

    impl Batch {
        pub fn bundle(&self) -> Vec<u8> {
            let length = |entry: &Vec<u8>| u16::try_from(entry.len()).unwrap().to_be_bytes();
            self.entries.iter().flat_map(|entry| length(entry).into_iter().chain(entry.clone())).collect()
        }
    }

    impl Source for Memory {
        fn next_batch(&mut self) -> Result<Option<LogBatch>, VerifyError> {
            let Some(batch) = self.batches.get(self.next) else { return Ok(None) };
            self.next += 1;
            Ok(Some(LogBatch {
                first_index: batch.first_index,
                size: batch.entries.len().try_into().unwrap(),
                at_min: Timestamp::from_ms(batch.at_min),
                at_max: Timestamp::from_ms(batch.at_max),
                entries: batch.bundle(),
            }))
        }

        fn checkpoints(&mut self, size: u64) -> Result<Vec<(u64, String)>, VerifyError> {
            Ok(self.checkpoints.range(size..).take(3).map(|(size, note)| (*size, note.clone())).collect())
        }

        fn tile(&mut self, level: u8, index: u64) -> Result<StoredTile, VerifyError> {
            let stored = self.tiles.get(&(level, index)).cloned();
            Ok(stored.map_or(StoredTile::Missing, |(root, hashes)| StoredTile::Kept { root, hashes }))
        }

        fn tile_count(&mut self) -> Result<Option<u64>, VerifyError> {
            Ok(Some(self.tiles.len().try_into().unwrap()))
        }
    }

    pub fn old() -> SeedSigner {
        SeedSigner::new(ORIGIN, 1)
    }

    fn new() -> SeedSigner {
        SeedSigner::new(ORIGIN, 2)
    }

    fn bytes_of(entry: &Entry) -> Vec<u8> {
        let mut bundle = Vec::new();
        entry.encode(&mut bundle).unwrap();
        bundle.split_off(2)
    }

    fn entry(index: u64, at: u64) -> Entry {
        Entry {
            act: Act::Check,
            at: Timestamp::from_ms(at),
            request_id: RequestId::from_bytes([index.to_be_bytes()[7]; 16]),
            party: PartyId::parse("970436").unwrap(),
            client: ClientId::parse("core").unwrap(),
            operator: Some(format!("teller-{index}")),
            resource: None,
            verdict: Some(Verdict::Clear),
            list_version: 3,
            subjects: Vec::new(),
            answer_digest: Some([7; 32]),
            reference: None,
            problem: None,
            count: 1,
        }
    }

    /// Batches of 1 to 13 entries; every third batch ends with a checkpoint; the key changes at entry 301.
    fn built() -> (Memory, Edge) {
        let (mut log, mut edge, mut full, mut latest) = (Memory::default(), Edge::new(), Vec::new(), 0);
        let mut signers = vec![old()];
        while edge.size() < ENTRIES {
            let number = u64::try_from(log.batches.len()).unwrap();
            let mut batch = Batch { first_index: edge.size(), at_min: u64::MAX, at_max: 0, entries: Vec::new() };
            for index in edge.size()..(edge.size() + 1 + number % 13).min(ENTRIES) {
                let at = START_MS + 250 * index - 900 * (index % 3);
                let key = match index {
                    0 => Some(old()),
                    ROTATED_AT => Some(new()),
                    _ => None,
                };
                let mut entry = entry(index, at);
                if let Some(key) = key {
                    (entry.act, entry.reference) = (Act::LogKey, Some(key.key().to_string()));
                    signers.push(key);
                }
                batch.at_min = batch.at_min.min(at);
                latest = latest.max(at);
                batch.entries.push(bytes_of(&entry));
                edge.push(leaf_hash(batch.entries.last().unwrap()), &mut full);
            }
            batch.at_max = latest;
            log.batches.push(batch);
            if number.is_multiple_of(3) || edge.size() == ENTRIES {
                signers.dedup_by_key(|signer| signer.key().id());
                sign(&mut log, &edge, &signers.iter().collect::<Vec<_>>());
                signers.drain(..signers.len() - 1);
            }
        }
        for tile in full {
            log.tiles.insert((tile.level, tile.index), (tile.root.to_vec(), tile.hashes));
        }
        (log, edge)
    }

    fn sign(log: &mut Memory, edge: &Edge, signers: &[&SeedSigner]) {
        let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size: edge.size(), root: edge.root() };
        let mut all: Vec<&dyn Signer> = Vec::new();
        for signer in signers {
            all.push(*signer);
        }
        log.checkpoints.insert(edge.size(), checkpoint.sign(&all).unwrap());
    }

    pub static LOG: LazyLock<(Memory, Edge)> = LazyLock::new(built);

    pub fn verify_with(log: &Memory, keys: &[VerifierKey], kept: Kept) -> Result<Report, VerifyError> {
        Verifier::new(Start::default(), keys, kept).unwrap().run(&mut log.clone(), &mut |_| {})
    }

    pub fn finding(result: Result<Report, VerifyError>) -> (u64, Fault) {
        match result {
            Err(VerifyError::Tampered(finding)) => (finding.index, finding.fault),
            Err(VerifyError::Unreadable(why)) => panic!("unreadable: {why}"),
            Ok(report) => panic!("sound: {report:?}"),
        }
    }

    fn fault_of(log: &Memory) -> (u64, Fault) {
        finding(verify_with(log, &[old().key()], Kept::default()))
    }

    /// Changes the bytes of an entry, wherever its batch is.
    fn change(log: &mut Memory, index: u64, how: impl FnOnce(&mut Vec<u8>)) {
        let batch = log.batches.iter_mut().rfind(|batch| batch.first_index <= index).unwrap();
        how(&mut batch.entries[usize::try_from(index - batch.first_index).unwrap()]);
    }

    #[test]
    fn a_sound_log_is_reported_with_its_figures() {
        let (log, edge) = &*LOG;
        let report = verify_with(log, &[old().key()], Kept::default()).unwrap();
        assert_eq!((report.size, report.covered, report.root, report.tiles), (ENTRIES, ENTRIES, edge.root(), 2));
        assert_eq!(usize::try_from(report.checkpoints).unwrap(), log.checkpoints.len());
        assert_eq!(report.keys, [old().key().to_string(), new().key().to_string()]);
        assert_eq!(report.earliest, Some(Timestamp::from_ms(START_MS - 1300)));
    }

    #[test]
    fn the_newest_key_vouches_for_the_older_one() {
        let report = verify_with(&LOG.0, &[new().key()], Kept::default()).unwrap();
        assert_eq!(report.keys, [new().key().to_string(), old().key().to_string()]);
        let other = SeedSigner::new(ORIGIN, 9).key();
        assert_eq!(finding(verify_with(&LOG.0, &[other], Kept::default())), (0, Fault::Unvouched));
    }

    #[test]
    fn a_changed_entry_is_named_to_the_index() {
        for index in [1, 255, 256, 300, 511] {
            let mut log = LOG.0.clone();
            change(&mut log, index, |bytes| *bytes.last_mut().unwrap() ^= 1);
            let (found, fault) = fault_of(&log);
            assert_eq!(found, index, "{fault}");
        }
        // No tile of the last entries is stored yet: the first after the last good checkpoint is named.
        let mut log = LOG.0.clone();
        change(&mut log, 650, |bytes| *bytes.last_mut().unwrap() ^= 1);
        let covered = *log.checkpoints.range(..=650).next_back().unwrap().0;
        let size = *log.checkpoints.range(651..).next().unwrap().0;
        assert_eq!(fault_of(&log), (covered, Fault::Root { size }));
    }

    #[test]
    fn a_missing_doubled_or_swapped_batch_is_found() {
        let mut log = LOG.0.clone();
        let gone = log.batches.remove(20);
        assert_eq!(fault_of(&log), (gone.first_index, Fault::Gap { found: log.batches[20].first_index }));
        let mut log = LOG.0.clone();
        log.batches.insert(21, gone.clone());
        assert_eq!(fault_of(&log), (gone.first_index, Fault::Gap { found: gone.first_index }));
        let mut log = LOG.0.clone();
        log.batches.swap(20, 21);
        assert_eq!(fault_of(&log).0, gone.first_index);
    }

    #[test]
    fn a_log_cut_short_is_found_against_its_checkpoints_and_a_kept_one() {
        let mut log = LOG.0.clone();
        let (last, note) = log.checkpoints.pop_last().unwrap();
        let cut = log.batches.pop().unwrap();
        let rest = verify_with(&log, &[old().key()], Kept::default()).unwrap();
        assert_eq!((rest.size, last), (cut.first_index, ENTRIES));
        let kept = Kept { checkpoints: vec![note.clone()], ..Kept::default() };
        assert_eq!(finding(verify_with(&log, &[old().key()], kept)), (rest.size, Fault::Rollback { size: ENTRIES }));
        log.checkpoints.insert(last, note);
        assert_eq!(fault_of(&log), (rest.size, Fault::Rollback { size: ENTRIES }));
    }

    #[test]
    fn another_history_signed_with_the_true_key_is_found_against_a_kept_checkpoint() {
        let kept = || Kept { checkpoints: LOG.0.checkpoints.values().take(2).cloned().collect(), ..Kept::default() };
        assert_eq!(verify_with(&LOG.0, &[old().key()], kept()).unwrap().kept, 2);
        let mut log = Memory::default();
        let (mut edge, mut full) = (Edge::new(), Vec::new());
        let bytes = bytes_of(&entry(0, START_MS));
        edge.push(leaf_hash(&bytes), &mut full);
        log.batches.push(Batch { first_index: 0, at_min: START_MS, at_max: START_MS, entries: vec![bytes] });
        sign(&mut log, &edge, &[&old()]);
        assert!(verify_with(&log, &[old().key()], Kept::default()).is_ok());
        assert_eq!(finding(verify_with(&log, &[old().key()], kept())).1, Fault::Root { size: 1 });
    }

    #[test]
    fn changed_missing_and_surplus_tiles_are_found() {
        let mut log = LOG.0.clone();
        log.tiles.get_mut(&(0, 1)).unwrap().1[32 * 9] ^= 1;
        assert_eq!(fault_of(&log), (256 + 9, Fault::Tile { level: 0, index: 1 }));
        let mut log = LOG.0.clone();
        log.tiles.get_mut(&(0, 1)).unwrap().0[0] ^= 1;
        assert_eq!(fault_of(&log), (256, Fault::Tile { level: 0, index: 1 }));
        let mut log = LOG.0.clone();
        log.tiles.get_mut(&(0, 1)).unwrap().1.pop();
        assert_eq!(fault_of(&log), (511, Fault::Tile { level: 0, index: 1 }));
        let mut log = LOG.0.clone();
        let tile = log.tiles.remove(&(0, 1)).unwrap();
        assert_eq!(fault_of(&log), (256, Fault::TileMissing { level: 0, index: 1 }));
        let mut log = LOG.0.clone();
        log.tiles.insert((0, 2), tile);
        assert_eq!(fault_of(&log), (ENTRIES, Fault::TileCount { stored: 3, due: 2 }));
    }

    #[test]
    fn checkpoints_of_another_key_size_origin_or_root_are_found() {
        let (third, note) = LOG.0.checkpoints.iter().nth(2).unwrap();
        let covered = *LOG.0.checkpoints.keys().nth(1).unwrap();
        let with = |other: String| {
            let mut log = LOG.0.clone();
            log.checkpoints.insert(*third, other);
            fault_of(&log)
        };
        let stranger = SeedSigner::new(ORIGIN, 3);
        let (whole, _) = Checkpoint::parse_signed(note, &[old().key()]).unwrap();
        let unknown = Fault::Checkpoint(NoteError::NoKnownKey);
        assert_eq!(with(whole.sign(&[&stranger]).unwrap()), (covered, unknown));
        // The new key is not yet announced here.
        assert_eq!(with(whole.sign(&[&new()]).unwrap()), (covered, Fault::Checkpoint(NoteError::NoKnownKey)));
        let other = Checkpoint { root: [0; 32], ..whole.clone() };
        assert_eq!(with(other.sign(&[&old()]).unwrap()).1, Fault::Root { size: *third });
        let other = Checkpoint { size: third + 1, ..whole.clone() };
        assert_eq!(with(other.sign(&[&old()]).unwrap()), (covered, Fault::CheckpointSize { size: third + 1 }));
        let other = Checkpoint { origin: "another/log".to_owned(), ..whole };
        assert_eq!(with(other.sign(&[&old()]).unwrap()), (covered, Fault::Origin("another/log".to_owned())));
        let mut log = LOG.0.clone();
        log.checkpoints.clear();
        assert_eq!(fault_of(&log), (0, Fault::NoCheckpoint));
    }

    #[test]
    fn a_change_of_keys_needs_both() {
        let (first, note) = LOG.0.checkpoints.range(ROTATED_AT + 1..).next().unwrap();
        let covered = *LOG.0.checkpoints.range(..=ROTATED_AT).next_back().unwrap().0;
        let (whole, signed) = Checkpoint::parse_signed(note, &[old().key(), new().key()]).unwrap();
        assert_eq!(signed.len(), 2);
        for alone in [old(), new()] {
            let mut log = LOG.0.clone();
            log.checkpoints.insert(*first, whole.sign(&[&alone]).unwrap());
            assert_eq!(fault_of(&log), (covered, Fault::Rotation));
        }
        let mut log = LOG.0.clone();
        log.checkpoints.remove(first);
        assert_eq!(fault_of(&log), (covered, Fault::Rotation));
        // From then on the new key alone is good: it signed all that follow.
        let (_, last) = LOG.0.checkpoints.last_key_value().unwrap();
        assert!(Checkpoint::parse_signed(last, &[new().key()]).is_ok());
        assert!(Checkpoint::parse_signed(last, &[old().key()]).is_err());
    }

    #[test]
    fn more_entries_without_a_checkpoint_than_a_server_leaves_are_found() {
        let mut log = LOG.0.clone();
        log.checkpoints.split_off(&600);
        let covered = *log.checkpoints.last_key_value().unwrap().0;
        let latest = Timestamp::from_ms(log.batches.last().unwrap().at_max);
        assert_eq!(fault_of(&log), (covered, Fault::Uncovered { latest }));
        let kept =
            Kept { checkpoints: LOG.0.checkpoints.values().last().cloned().into_iter().collect(), ..Kept::default() };
        assert!(verify_with(&log, &[old().key()], kept).is_ok());
    }

    #[test]
    fn a_checkpoint_by_a_key_that_was_given_up_is_found() {
        let mut later = LOG.0.checkpoints.range(ROTATED_AT + 1..).skip(1);
        let (size, note) = later.next().unwrap();
        let covered = *LOG.0.checkpoints.range(..size).next_back().unwrap().0;
        let (whole, _) = Checkpoint::parse_signed(note, &[new().key()]).unwrap();
        let mut log = LOG.0.clone();
        log.checkpoints.insert(*size, whole.sign(&[&old()]).unwrap());
        assert_eq!(fault_of(&log), (covered, Fault::RetiredKey));
        log.checkpoints.insert(*size, whole.sign(&[&old(), &new()]).unwrap());
        assert!(verify_with(&log, &[old().key()], Kept::default()).is_ok());
    }

    #[test]
    fn an_entry_that_announces_no_key_of_the_log_is_found() {
        let other = SeedSigner::new("another/log", 2).key().to_string();
        for reference in [None, Some("x".to_owned()), Some(other)] {
            let mut log = LOG.0.clone();
            change(&mut log, 5, |bytes| {
                let entry = Entry::decode(bytes).unwrap();
                *bytes = bytes_of(&Entry { act: Act::LogKey, reference, ..entry });
            });
            assert_eq!(fault_of(&log), (5, Fault::KeyEntry));
        }
    }

    #[test]
    fn heads_that_do_not_fit_the_entries_and_times_beyond_the_skew_are_found() {
        let first = LOG.0.batches[20].first_index;
        let mut log = LOG.0.clone();
        log.batches[20].at_max += 1;
        assert_eq!(fault_of(&log), (first, Fault::Head));
        let mut log = LOG.0.clone();
        log.batches[20].at_min -= 1;
        assert_eq!(fault_of(&log), (first, Fault::Head));
        let mut log = LOG.0.clone();
        change(&mut log, 200, |bytes| *bytes = bytes_of(&entry(200, START_MS)));
        assert_eq!(fault_of(&log), (200, Fault::Time));
        let mut log = LOG.0.clone();
        change(&mut log, 200, |bytes| bytes.truncate(9));
        assert_eq!(fault_of(&log), (200, Fault::Entry));
    }

    #[test]
    fn receipts_must_name_what_stands_in_the_log() {
        struct Leaves(Vec<Hash>);
        impl super::super::merkle::Tiles for Leaves {
            type Error = super::super::merkle::NoProof;
            fn tile(&mut self, _: u8, index: u64, width: u16) -> Result<Vec<Hash>, Self::Error> {
                let start = usize::try_from(index).unwrap() * 256;
                Ok(self.0[start..start + usize::from(width)].to_vec())
            }
        }
        let entries: Vec<Vec<u8>> = LOG.0.batches.iter().flat_map(|batch| batch.entries.clone()).collect();
        let (size, note) = LOG.0.checkpoints.range(120..250).next().unwrap();
        let mut leaves = Leaves(entries.iter().map(|bytes| leaf_hash(bytes)).collect());
        let proof = super::super::merkle::inclusion(100, *size, &mut leaves).unwrap();
        let receipt = Receipt { index: 100, proof, extra: entries[100].clone(), checkpoint: note.clone() };
        let check = |receipt: Receipt| {
            let kept = Kept { receipts: vec![receipt], ..Kept::default() };
            verify_with(&LOG.0, &[old().key()], kept)
        };
        assert_eq!(check(receipt.clone()).unwrap().receipts, 1);
        let other = Receipt { extra: entries[101].clone(), ..receipt.clone() };
        assert_eq!(finding(check(other)), (100, Fault::Receipt));
        let other = Receipt { proof: Vec::new(), ..receipt.clone() };
        assert_eq!(finding(check(other)), (100, Fault::BadReceipt(ReceiptFault::Proof)));
        let other = Receipt { index: ENTRIES, ..receipt };
        assert_eq!(finding(check(other)), (ENTRIES, Fault::Rollback { size: ENTRIES + 1 }));
    }

    #[test]
    fn a_log_is_taken_up_where_an_archive_left_off() {
        let (log, edge) = &*LOG;
        let stop = log.batches[50].first_index;
        let mut latest = Timestamp::EPOCH;
        let (mut earlier, mut full) = (Edge::new(), Vec::new());
        for batch in &log.batches[..50] {
            batch.entries.iter().for_each(|bytes| earlier.push(leaf_hash(bytes), &mut full));
            latest = Timestamp::from_ms(batch.at_max);
        }
        let mut rest = log.clone();
        rest.batches.drain(..50);
        let keys = [old().key(), new().key()];
        let run = |edge: Edge| Verifier::new(Start { edge, latest, ..Start::default() }, &keys, Kept::default());
        let kept = Kept { checkpoints: log.checkpoints.values().take(1).cloned().collect(), ..Kept::default() };
        let before = Verifier::new(Start { edge: earlier.clone(), latest, ..Start::default() }, &keys, kept).unwrap();
        assert!(matches!(before.run(&mut rest.clone(), &mut |_| {}), Err(VerifyError::Unreadable(_))));
        let report = run(earlier.clone()).unwrap().run(&mut rest.clone(), &mut |_| {}).unwrap();
        assert_eq!((report.start, report.size, report.root), (stop, ENTRIES, edge.root()));
        earlier.push([0; 32], &mut full);
        assert_eq!(finding(run(earlier).unwrap().run(&mut rest, &mut |_| {})).0, stop);
    }

    fn export_of(log: &Memory) -> Vec<String> {
        let entries = (0_u64..).zip(log.batches.iter().flat_map(|batch| &batch.entries));
        let line = |(index, bytes): (u64, &Vec<u8>)| {
            let entry = Entry::decode(bytes).unwrap();
            serde_json::to_string(&Exported { node: "main", index, entry: &entry, bytes }).unwrap() + "\n"
        };
        entries.map(line).collect()
    }

    fn verify_export(text: &str) -> Result<Report, VerifyError> {
        let kept = Kept { checkpoints: LOG.0.checkpoints.values().cloned().collect(), ..Kept::default() };
        let verifier = Verifier::new(Start::default(), &[old().key()], kept).unwrap();
        verifier.run(&mut Export::new(text.as_bytes(), "main", &[]), &mut |_| {})
    }

    #[test]
    fn an_export_is_verified_with_kept_checkpoints() {
        let lines = export_of(&LOG.0);
        let report = verify_export(&lines.concat()).unwrap();
        assert_eq!((report.size, report.covered, report.root), (ENTRIES, ENTRIES, LOG.1.root()));
        let alone = Verifier::new(Start::default(), &[old().key()], Kept::default()).unwrap();
        let alone = alone.run(&mut Export::new(lines.concat().as_bytes(), "main", &[]), &mut |_| {});
        assert_eq!(finding(alone), (0, Fault::NoCheckpoint));
    }

    #[test]
    fn an_export_s_line_that_does_not_say_what_its_bytes_say_is_found() {
        let with = |line: usize, how: &dyn Fn(&str) -> String| {
            let mut lines = export_of(&LOG.0);
            lines[line] = how(&lines[line]);
            finding(verify_export(&lines.concat()))
        };
        assert_eq!(with(7, &|line| line.replace("teller-7", "teller-8")), (7, Fault::Line));
        assert_eq!(with(7, &|line| line.replace("970436", "970415")), (7, Fault::Line));
        assert_eq!(with(7, &|line| line.replace("\"main\"", "\"other\"")), (7, Fault::Line));
        assert_eq!(with(7, &|line| line.replacen('{', "{ ", 1)), (7, Fault::Line));
        assert_eq!(with(7, &|line| line.replacen('{', "{\"count\":2,", 1)), (7, Fault::Line));
        assert_eq!(with(7, &|line| format!("\n{line}")), (7, Fault::Line));
        assert_eq!(with(7, &|_| String::new()), (7, Fault::Gap { found: 8 }));
        assert_eq!(with(7, &|line| line.repeat(2)), (7, Fault::Gap { found: 7 }));
        assert_eq!(with(699, &|line| line.trim_end().to_owned()), (699, Fault::Line));
        assert_eq!(with(699, &|_| String::new()), (699, Fault::Rollback { size: ENTRIES }));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn a_flipped_bit_anywhere_is_found(
            part in 0..4, place: prop::sample::Index, byte: prop::sample::Index, bit in 0..8_u8,
        ) {
            let mut log = LOG.0.clone();
            let flip = |bytes: &mut Vec<u8>| { let at = byte.index(bytes.len()); bytes[at] ^= 1_u8 << bit; };
            let mut sound = false;
            match part {
                0 => change(&mut log, place.index(700).try_into().unwrap(), flip),
                1 => flip(&mut log.tiles.get_mut(&(0, place.index(2).try_into().unwrap())).unwrap().1),
                2 => flip(&mut log.tiles.get_mut(&(0, place.index(2).try_into().unwrap())).unwrap().0),
                _ => {
                    let size = *log.checkpoints.keys().nth(place.index(log.checkpoints.len())).unwrap();
                    let mut note = log.checkpoints[&size].clone().into_bytes();
                    flip(&mut note);
                    let Ok(note) = String::from_utf8(note) else { return Ok(()) };
                    // In the one note that two keys signed, a signature can be made one of an unknown key.
                    sound = Checkpoint::parse_signed(&note, &[old().key(), new().key()]).is_ok();
                    log.checkpoints.insert(size, note);
                }
            }
            let found = verify_with(&log, &[old().key()], Kept::default());
            prop_assert!(matches!(found, Err(VerifyError::Tampered(_))) || (sound && found.is_ok()));
        }
    }
}
