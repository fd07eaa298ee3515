//! The search index against the log itself: whatever the index holds, lacks or got wrong, a search finds exactly what
//! reading the whole log finds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use canhbao::clock::Stopwatch;
use canhbao::domain::party::{ClientId, PartyId};
use canhbao::domain::{FlagId, RequestId, SubjectHash, Timestamp, Verdict};
use canhbao::log::{Act, Entry, EntrySubject, FlagVersion, LogFilter, Piece, Reading, SEGMENT_ENTRIES, SearchIndex};
use canhbao::store::Store;
use canhbao::store::log::LogBatch;
use canhbao::store::sqlite::SqliteStore;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const START_MS: u64 = 1_795_000_000_000;
const BATCH: u64 = 509;

struct Home {
    directory: tempfile::TempDir,
    store: Arc<dyn Store>,
}

fn numbers(seed: u64, index: u64) -> [u8; 32] {
    Sha256::digest([seed.to_be_bytes(), index.to_be_bytes()].concat()).into()
}

fn subject(which: u64) -> SubjectHash {
    SubjectHash::from_bytes(numbers(1, which))
}

fn flag(which: u64) -> FlagId {
    FlagId::from_bytes(numbers(2, which)[..16].try_into().unwrap())
}

/// What stands at an index of the log that this seed makes. Party `rare` and act `flag.lift` occur in the third segment alone.
fn entry(seed: u64, index: u64) -> Entry {
    let random = numbers(seed, index);
    let pick = |place: usize, of: u8| u64::from(random[place] % of);
    let third = index >= 2 * SEGMENT_ENTRIES;
    let party = if third && random[0] == 0 { "rare".to_owned() } else { format!("bank-{}", pick(1, 5)) };
    let verdict = Verdict::ALL[usize::from(random[2] % 4)];
    let subject = |place: usize| EntrySubject {
        // Some subjects occur often, most hardly ever.
        hash: subject(if random[place] < 40 { pick(place, 4) } else { 4 + index % 50_000 }),
        verdict: Some(verdict),
        flags: (0..pick(place + 1, 3))
            .map(|k| FlagVersion { id: flag(pick(place + 2, 200) + k), version: 1 })
            .collect(),
    };
    Entry {
        act: if third && random[3] < 3 { Act::FlagLift } else { Act::Check },
        // Neighbours may stand out of order.
        at: Timestamp::from_ms(START_MS + index * 10 - pick(4, 200) * 9 * u64::from(index > 1000)),
        request_id: RequestId::from_bytes(random[..16].try_into().unwrap()),
        client: ClientId::parse(&format!("{party}-{}", pick(5, 3))).unwrap(),
        party: PartyId::parse(&party).unwrap(),
        operator: (random[6] < 128).then(|| format!("teller-{}", u64::from(random[7]) * 200 + pick(8, 200))),
        resource: None,
        verdict: Some(verdict),
        list_version: 0,
        subjects: (0..=pick(9, 2)).map(|k| subject(10 + usize::try_from(k).unwrap() * 3)).collect(),
        answer_digest: Some(random),
        reference: None,
        problem: None,
        count: 1,
    }
}

impl Home {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("registry.db");
        SqliteStore::create(&path, "test", Timestamp::from_ms(START_MS)).unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, Timestamp::from_ms(START_MS)).unwrap());
        Self { directory, store }
    }

    /// Writes the entries of a range, as the log's writer would.
    fn append(&self, seed: u64, from: u64, to: u64) {
        self.append_to("main", seed, from, to);
    }

    fn append_to(&self, node: &str, seed: u64, from: u64, to: u64) {
        let mut connection = self.store.writer().unwrap();
        let log = canhbao::store::log::find_or_create(connection.as_mut(), node).unwrap();
        let (_, mut latest) = canhbao::store::log::end(connection.as_mut(), log).unwrap();
        connection.begin().unwrap();
        let mut first = from;
        while first < to {
            let size = BATCH.min(to - first);
            let entries: Vec<Entry> = (first..first + size).map(|index| entry(seed, index)).collect();
            let mut bundle = Vec::new();
            for entry in &entries {
                entry.encode(&mut bundle).unwrap();
            }
            latest = entries.iter().map(|entry| entry.at).max().unwrap().max(latest);
            let at_min = entries.iter().map(|entry| entry.at).min().unwrap();
            let batch = LogBatch { first_index: first, size, at_min, at_max: latest, entries: bundle };
            canhbao::store::log::append(connection.as_mut(), log, &batch).unwrap();
            first += size;
        }
        connection.commit().unwrap();
    }

    fn start(&self) -> SearchIndex {
        SearchIndex::start(Arc::clone(&self.store), "main").unwrap()
    }

    /// Everything that a filter finds, a few at a time.
    fn search(&self, index: &SearchIndex, filter: &LogFilter) -> Vec<u64> {
        self.search_from(index, filter, None, Piece { found_max: 1000, looked_max: 100_000 })
    }

    fn search_from(&self, index: &SearchIndex, filter: &LogFilter, after: Option<u64>, piece: Piece) -> Vec<u64> {
        let covered = index.covered();
        let mut found = Vec::new();
        let mut reading = self
            .store
            .find(|connection| Reading::open(connection, "main", filter.clone(), after, None))
            .unwrap()
            .unwrap();
        while !reading.is_done() {
            self.store
                .read(&mut |connection| {
                    let part = reading.read(connection, &covered, piece)?;
                    assert!(part.len() <= piece.found_max);
                    found.extend(part.into_iter().map(|found| found.index));
                    Ok(())
                })
                .unwrap();
        }
        found
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

fn wait_for(index: &SearchIndex) {
    let watch = Stopwatch::start();
    while index.behind() >= SEGMENT_ENTRIES {
        assert!(watch.elapsed() < Duration::from_secs(60), "the index is still {} behind", index.behind());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What the test itself finds, without the code under test.
fn expected(entries: &[Entry], filter: &LogFilter) -> Vec<u64> {
    let is_it = |entry: &&Entry| {
        let has = |hash: &SubjectHash| entry.subjects.iter().any(|subject| subject.hash == *hash);
        let told = |id: &FlagId| entry.subjects.iter().flat_map(|subject| &subject.flags).any(|flag| flag.id == *id);
        filter.subject.iter().all(has)
            && filter.flag.iter().all(told)
            && filter.party.iter().all(|party| *party == entry.party)
            && filter.client.iter().all(|client| *client == entry.client)
            && filter.operator.iter().all(|operator| Some(operator) == entry.operator.as_ref())
            && filter.act.iter().all(|act| *act == entry.act)
            && filter.verdict.iter().all(|verdict| Some(*verdict) == entry.verdict)
            && filter.from.iter().all(|from| entry.at >= *from)
            && filter.to.iter().all(|to| entry.at < *to)
    };
    (0..).zip(entries).filter(|(_, entry)| is_it(entry)).map(|(index, _)| index).collect()
}

fn filters() -> Vec<LogFilter> {
    let none = LogFilter::default;
    let at = |index: u64| Some(Timestamp::from_ms(START_MS + index * 10));
    let party = |name: &str| PartyId::parse(name);
    let client = |name: &str| ClientId::parse(name);
    vec![
        LogFilter { subject: Some(subject(0)), ..none() },
        LogFilter { subject: Some(subject(4711)), ..none() },
        LogFilter { subject: Some(subject(999_999_999)), ..none() },
        LogFilter { flag: Some(flag(7)), ..none() },
        LogFilter { operator: Some("teller-4321".to_owned()), ..none() },
        LogFilter { operator: Some("nobody".to_owned()), ..none() },
        LogFilter { client: client("bank-2-1"), ..none() },
        LogFilter { client: client("rare-0"), ..none() },
        LogFilter { party: party("rare"), ..none() },
        LogFilter { party: party("bank-3"), verdict: Some(Verdict::Hold), ..none() },
        LogFilter { party: party("ban"), ..none() },
        LogFilter { act: Some(Act::FlagLift), ..none() },
        LogFilter { act: Some(Act::LogKey), ..none() },
        LogFilter { verdict: Some(Verdict::Block), from: at(65_000), to: at(66_000), ..none() },
        LogFilter { from: at(140_000), ..none() },
        LogFilter { to: at(1_500), ..none() },
        LogFilter { from: at(70_000), to: at(70_010), ..none() },
        LogFilter { from: at(10_000_000), ..none() },
        LogFilter { subject: Some(subject(2)), party: party("bank-1"), from: at(30_000), to: at(135_000), ..none() },
        LogFilter { subject: Some(subject(1)), flag: Some(flag(3)), ..none() },
    ]
}

#[test]
fn a_search_finds_the_same_before_and_after_the_index_is_built_and_while_it_lags() {
    let home = Home::new();
    let end = 2 * SEGMENT_ENTRIES + 20_000;
    home.append(9, 0, end);
    let entries: Vec<Entry> = (0..end).map(|index| entry(9, index)).collect();
    let index = home.start();
    let filters = filters();
    let wanted: Vec<Vec<u64>> = filters.iter().map(|filter| expected(&entries, filter)).collect();
    // Most find something, or the test tells nothing.
    assert!(wanted.iter().filter(|found| !found.is_empty()).count() >= 14);
    let check = |index: &SearchIndex, when: &str| {
        for (filter, wanted) in filters.iter().zip(&wanted) {
            let found = home.search(index, filter);
            assert!(found == *wanted, "{when}: {filter:?} found {}, not {}", found.len(), wanted.len());
        }
    };
    check(&index, "while it is built");
    wait_for(&index);
    check(&index, "with two segments");
    index.close();
    let again = home.start();
    check(&again, "right after a restart");
    again.close();
}

#[test]
fn a_search_can_go_on_anywhere_in_pieces_of_any_size() {
    let home = Home::new();
    let end = SEGMENT_ENTRIES + 5_000;
    home.append(9, 0, end);
    let index = home.start();
    wait_for(&index);
    for filter in [filters().swap_remove(0), filters().swap_remove(6), LogFilter::default()] {
        let whole = home.search(&index, &filter);
        for after in
            [0, 1, BATCH - 1, BATCH, 40_000, SEGMENT_ENTRIES - 1, SEGMENT_ENTRIES, end - 2, end - 1, end, end + 9]
        {
            let rest: Vec<u64> = whole.iter().copied().filter(|index| *index > after).collect();
            for piece in [Piece { found_max: 7, looked_max: 300 }, Piece { found_max: 5000, looked_max: 1_000_000 }] {
                assert_eq!(home.search_from(&index, &filter, Some(after), piece), rest, "{filter:?} after {after}");
            }
        }
    }
    index.close();
}

/// A copy of the database as it is, without the index.
fn copy(from: &Path, to: &Path) {
    let database = rusqlite::Connection::open(from).unwrap();
    database.execute("VACUUM INTO $1", [to.to_str().unwrap()]).unwrap();
}

/// Whether a search in the log of `second` from a segment on is over after one small piece: then its index was looked up.
fn is_looked_up(home: &Home, index: &SearchIndex, first: u64) -> bool {
    let (covered, filter) = (index.covered(), LogFilter { subject: Some(subject(4711)), ..LogFilter::default() });
    let after = first.checked_sub(1);
    let opened = home.store.find(|connection| Reading::open(connection, "second", filter.clone(), after, None));
    let mut reading = opened.unwrap().unwrap();
    let piece = Piece { found_max: 1000, looked_max: 1000 };
    home.store.read(&mut |connection| reading.read(connection, &covered, piece).map(drop)).unwrap();
    reading.is_done()
}

fn wait_for_lookup(home: &Home, index: &SearchIndex, first: u64) {
    let watch = Stopwatch::start();
    while !is_looked_up(home, index, first) {
        assert!(watch.elapsed() < Duration::from_secs(60), "the index of the other log is not looked up");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_index_of_another_node_s_log_is_looked_up_once_it_is_known_to_be_sound() {
    let home = Home::new();
    home.append(9, 0, 100);
    home.append_to("second", 10, 0, 2 * SEGMENT_ENTRIES + 100);
    let own = SearchIndex::start(Arc::clone(&home.store), "second").unwrap();
    wait_for(&own);
    assert!(is_looked_up(&home, &own, 0));
    own.close();
    let index = home.start();
    wait_for_lookup(&home, &index, 0);
    index.close();
    // Of a segment that was changed the log is read, and it is left to the node whose log it is of.
    let database = rusqlite::Connection::open(home.path("search.sqlite3")).unwrap();
    let changed = "UPDATE search_posting SET postings = x'00' WHERE place = 1 * 1099511627776 + 7";
    assert_eq!(database.execute(changed, []).unwrap(), 1);
    let index = home.start();
    // They are looked at in order.
    wait_for_lookup(&home, &index, SEGMENT_ENTRIES);
    assert!(!is_looked_up(&home, &index, 0));
    index.close();
}

#[test]
fn an_index_of_another_log_is_not_used() {
    let home = Home::new();
    home.append(9, 0, SEGMENT_ENTRIES / 2);
    copy(&home.path("registry.db"), &home.path("older.db"));
    home.append(9, SEGMENT_ENTRIES / 2, SEGMENT_ENTRIES + 10);
    let index = home.start();
    wait_for(&index);
    index.close();
    // The older database is put back, and its log goes on in another way.
    let Home { directory, store } = home;
    drop(store);
    for name in ["registry.db-wal", "registry.db-shm"] {
        drop(std::fs::remove_file(directory.path().join(name)));
    }
    std::fs::rename(directory.path().join("older.db"), directory.path().join("registry.db")).unwrap();
    let store = SqliteStore::open(&directory.path().join("registry.db"), Timestamp::from_ms(START_MS)).unwrap();
    let home = Home { directory, store: Arc::new(store) };
    home.append(10, SEGMENT_ENTRIES / 2, SEGMENT_ENTRIES + 10);
    let seed = |index: u64| if index < SEGMENT_ENTRIES / 2 { 9 } else { 10 };
    let entries: Vec<Entry> = (0..SEGMENT_ENTRIES + 10).map(|index| entry(seed(index), index)).collect();
    let index = home.start();
    for when in ["before the index is built anew", "after"] {
        for filter in filters() {
            assert_eq!(home.search(&index, &filter), expected(&entries, &filter), "{when}: {filter:?}");
        }
        wait_for(&index);
    }
    index.close();
}

#[test]
fn a_damaged_or_lost_index_is_made_anew() {
    let home = Home::new();
    home.append(9, 0, SEGMENT_ENTRIES + 10);
    let index = home.start();
    wait_for(&index);
    index.close();
    let entries: Vec<Entry> = (0..SEGMENT_ENTRIES + 10).map(|index| entry(9, index)).collect();
    let Home { directory, store } = home;
    drop(store);
    for damage in
        ["lost", "not SQLite at all, but long enough to be looked at, which is a header of a hundred bytes or more"]
    {
        for name in ["search.sqlite3", "search.sqlite3-wal", "search.sqlite3-shm"] {
            drop(std::fs::remove_file(directory.path().join(name)));
        }
        if damage != "lost" {
            std::fs::write(directory.path().join("search.sqlite3"), damage).unwrap();
        }
        let store = SqliteStore::open(&directory.path().join("registry.db"), Timestamp::from_ms(START_MS)).unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let again = Home { directory: tempfile::tempdir().unwrap(), store };
        let index = again.start();
        wait_for(&index);
        for filter in filters() {
            assert_eq!(again.search(&index, &filter), expected(&entries, &filter), "{damage}: {filter:?}");
        }
        index.close();
    }
}

#[test]
fn an_index_that_was_changed_hides_nothing_after_a_restart() {
    let home = Home::new();
    home.append(9, 0, SEGMENT_ENTRIES + 10);
    let entries: Vec<Entry> = (0..SEGMENT_ENTRIES + 10).map(|index| entry(9, index)).collect();
    let index = home.start();
    wait_for(&index);
    index.close();
    let hidden = [filters().swap_remove(0), filters().swap_remove(3), filters().swap_remove(9)];
    assert!(hidden.iter().all(|filter| !expected(&entries, filter).is_empty()));
    let last = "(SELECT MAX(place) FROM search_posting WHERE length(postings) > 0)";
    for (damage, rows) in [
        ("UPDATE search_posting SET postings = x''".to_owned(), 256),
        (format!("UPDATE search_posting SET postings = x'' WHERE place = {last}"), 1),
        (format!("UPDATE search_posting SET postings = substr(postings, 11) WHERE place = {last}"), 1),
        (format!("DELETE FROM search_posting WHERE place = {last}"), 1),
        ("UPDATE search_segment SET summary = zeroblob(33)".to_owned(), 1),
    ] {
        let database = rusqlite::Connection::open(home.path("search.sqlite3")).unwrap();
        let stored = || -> Vec<Vec<u8>> {
            let all = "SELECT postings FROM search_posting UNION ALL SELECT summary FROM search_segment";
            let mut rows = database.prepare(all).unwrap();
            rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        let sound = stored();
        assert_eq!(database.execute(&damage, []).unwrap(), rows, "{damage}");
        assert_ne!(stored(), sound, "{damage}");
        let index = home.start();
        for when in ["before it is looked at", "after"] {
            for filter in &hidden {
                assert_eq!(home.search(&index, filter), expected(&entries, filter), "{when}: {damage}: {filter:?}");
            }
            wait_for(&index);
        }
        // The summary's parties stand in no order.
        assert_eq!(stored()[..256], sound[..256], "{damage}");
        index.close();
    }
}

#[test]
fn an_index_that_is_sound_is_not_built_again() {
    let home = Home::new();
    home.append(9, 0, SEGMENT_ENTRIES + 10);
    let index = home.start();
    wait_for(&index);
    index.close();
    let database = rusqlite::Connection::open(home.path("search.sqlite3")).unwrap();
    // A trigger tells of every segment that is stored or dropped.
    let watch = "CREATE TABLE touched (place INTEGER) STRICT; \
                 CREATE TRIGGER stored AFTER INSERT ON search_segment BEGIN INSERT INTO touched VALUES (NEW.place); END; \
                 CREATE TRIGGER dropped AFTER DELETE ON search_segment BEGIN INSERT INTO touched VALUES (OLD.place); END;";
    database.execute_batch(watch).unwrap();
    let index = home.start();
    wait_for(&index);
    index.close();
    let touched: i64 = database.query_row("SELECT COUNT(*) FROM touched", [], |row| row.get(0)).unwrap();
    assert_eq!(touched, 0);
}

#[test]
fn postings_that_lie_show_nothing_false() {
    let home = Home::new();
    home.append(9, 0, SEGMENT_ENTRIES + 10);
    let index = home.start();
    wait_for(&index);
    // Every term is said to stand where another one does, since the index was looked at.
    let database = rusqlite::Connection::open(home.path("search.sqlite3")).unwrap();
    let mut rows = database.prepare("SELECT place, postings FROM search_posting").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let rows: Vec<(i64, Vec<u8>)> = rows.collect::<Result<_, _>>().unwrap();
    assert_eq!(rows.len(), 256);
    for (place, mut postings) in rows {
        for posting in postings.chunks_mut(10) {
            posting[9] ^= 1;
        }
        let changed = database.execute("UPDATE search_posting SET postings = $1 WHERE place = $2", (postings, place));
        assert_eq!(changed.unwrap(), 1);
    }
    let entries: Vec<Entry> = (0..SEGMENT_ENTRIES + 10).map(|index| entry(9, index)).collect();
    for filter in filters() {
        let wanted = expected(&entries, &filter);
        assert!(home.search(&index, &filter).iter().all(|index| wanted.contains(index)), "{filter:?}");
    }
    index.close();
}

#[test]
fn old_entries_that_are_gone_are_not_missed() {
    let home = Home::new();
    home.append(9, 0, SEGMENT_ENTRIES + 40_000);
    let database = rusqlite::Connection::open(home.path("registry.db")).unwrap();
    database.execute_batch("DROP TRIGGER log_batch_is_never_deleted").unwrap();
    let kept_from = 70_000 / BATCH * BATCH;
    database.execute("DELETE FROM log_batch WHERE place < $1", [i64::try_from(kept_from).unwrap()]).unwrap();
    home.append(9, SEGMENT_ENTRIES + 40_000, 2 * SEGMENT_ENTRIES + 1);
    let entries: Vec<Entry> = (0..2 * SEGMENT_ENTRIES + 1).map(|index| entry(9, index)).collect();
    let index = home.start();
    for when in ["before", "after"] {
        for filter in filters() {
            let wanted: Vec<u64> =
                expected(&entries, &filter).into_iter().filter(|index| *index >= kept_from).collect();
            assert_eq!(home.search(&index, &filter), wanted, "{when}: {filter:?}");
        }
        wait_for(&index);
    }
    index.close();
}
