//! Reading several logs as one: pages of any size make up one big page, and what is appended between them, also by a node
//! that was not there before, is neither skipped nor doubled.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use canhbao::domain::party::{ClientId, PartyId};
use canhbao::domain::{LogPosition, LogPositions, RequestId, Timestamp, Verdict};
use canhbao::log::{Act, Covered, Entry, FoundIn, LogFilter, Merged, Piece, SKEW_MS_MAX, SearchIndex};
use canhbao::store::log::LogBatch;
use canhbao::store::sqlite::SqliteStore;
use canhbao::store::{self, Connection, Store};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const START_MS: u64 = 1_795_000_000_000;
const NODES: [&str; 3] = ["first", "second", "third"];
const ALL: Piece = Piece { found_max: usize::MAX, looked_max: u64::MAX };

/// What happens to a database.
#[derive(Clone, Debug)]
enum Step {
    /// A batch in the log of a node. Each entry comes so much after the time of the database, or the latest of the log.
    Append { node: usize, entries: Vec<(i64, bool)> },
    /// A client reads on.
    Page { size: usize, looked_max: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Few times, so that several are one.
    let entry = (prop_oneof![4 => -3..4_i64, 1 => -9_000..9_000_i64], any::<bool>());
    let append = (0..NODES.len(), prop::collection::vec(entry, 1..5));
    let append = append.prop_map(|(node, entries)| Step::Append { node, entries });
    let page = (1..5_usize, 1..12_u64).prop_map(|(size, looked_max)| Step::Page { size, looked_max });
    prop::collection::vec(prop_oneof![3 => append, 1 => page], 1..25)
}

/// Whose entry, its index, its time, and whether the filter takes it.
type Known = (usize, u64, u64, bool);

struct World {
    _directory: tempfile::TempDir,
    store: Arc<dyn Store>,
    /// The logs in the order in which they were made.
    made: Vec<usize>,
    entries: Vec<Known>,
    now: i64,
}

fn store() -> (tempfile::TempDir, Arc<dyn Store>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.db");
    SqliteStore::create(&path, "test", Timestamp::from_ms(START_MS)).unwrap();
    let store = SqliteStore::open(&path, Timestamp::from_ms(START_MS)).unwrap();
    (directory, Arc::new(store))
}

fn entry(at: Timestamp, is_taken: bool) -> Entry {
    Entry {
        act: Act::Check,
        at,
        request_id: RequestId::from_bytes([7; 16]),
        party: PartyId::parse("970436").unwrap(),
        client: ClientId::parse("core").unwrap(),
        operator: None,
        resource: None,
        verdict: Some(if is_taken { Verdict::Warn } else { Verdict::Clear }),
        list_version: 0,
        subjects: Vec::new(),
        answer_digest: None,
        reference: None,
        problem: None,
        count: 1,
    }
}

impl World {
    fn new() -> Self {
        let (directory, store) = store();
        Self { _directory: directory, store, made: Vec::new(), entries: Vec::new(), now: 20_000 }
    }

    fn append(&mut self, connection: &mut dyn Connection, node: usize, entries: &[(i64, bool)]) {
        let log = store::log::find_or_create(connection, NODES[node]).unwrap();
        if !self.made.contains(&node) {
            self.made.push(node);
        }
        let (first_index, mut latest) = store::log::end(connection, log).unwrap();
        let mut batch = LogBatch { first_index, size: 0, at_min: latest, at_max: latest, entries: Vec::new() };
        let mut times = Vec::new();
        for (later, is_taken) in entries {
            self.now += 1;
            let at = START_MS + u64::try_from(self.now + later).unwrap();
            let at = Timestamp::from_ms(at.max(latest.as_ms().saturating_sub(SKEW_MS_MAX)));
            entry(at, *is_taken).encode(&mut batch.entries).unwrap();
            latest = latest.max(at);
            times.push(at);
            self.entries.push((node, first_index + batch.size, at.as_ms(), *is_taken));
            batch.size += 1;
        }
        (batch.at_min, batch.at_max) = (*times.iter().min().unwrap(), latest);
        connection.begin().unwrap();
        store::log::append(connection, log, &batch).unwrap();
        connection.commit().unwrap();
    }

    /// The order that the module promises, said in another way: by the latest time in the log up to each entry that is taken.
    fn expected(&self, filter: &LogFilter) -> Vec<(usize, u64)> {
        let taken = |known: &&Known| filter.verdict.is_none() || known.3;
        let mut latest: BTreeMap<usize, u64> = BTreeMap::new();
        let mut keyed = Vec::new();
        for (node, index, at, _) in self.entries.iter().filter(taken) {
            let up_to = latest.entry(*node).or_default();
            *up_to = (*up_to).max(*at);
            let number = self.made.iter().position(|made| made == node).unwrap();
            keyed.push((*up_to, number, *index, *node));
        }
        keyed.sort_unstable();
        keyed.into_iter().map(|(_, _, index, node)| (node, index)).collect()
    }

    fn page(
        &self,
        covered: &Covered,
        filter: &LogFilter,
        after: &LogPositions,
        piece: Piece,
    ) -> (Vec<(usize, u64)>, Option<LogPositions>) {
        let mut read = None;
        self.store
            .read(&mut |connection| {
                let mut merged = Merged::open(connection, filter, None, after, None)?.unwrap();
                let found = merged.page(connection, covered, piece)?;
                let next = Some(merged.positions()).filter(|_| !merged.is_done());
                read = Some((found.iter().map(place).collect(), next));
                Ok(())
            })
            .unwrap();
        read.unwrap()
    }

    /// All pages from the beginning.
    fn pages(&self, covered: &Covered, filter: &LogFilter, piece: Piece) -> Vec<(usize, u64)> {
        let (mut all, mut after) = (Vec::new(), LogPositions::default());
        loop {
            let (found, next) = self.page(covered, filter, &after, piece);
            assert!(found.len() <= piece.found_max);
            all.extend(found);
            let Some(next) = next else { return all };
            assert_ne!(next, after, "a page that does not go on");
            after = next;
        }
    }
}

fn place(found: &FoundIn) -> (usize, u64) {
    (NODES.iter().position(|node| **node == *found.node).unwrap(), found.found.index)
}

/// The last of each log that was received, as a client of a stream knows it.
fn received(places: &[(usize, u64)]) -> LogPositions {
    let last: BTreeMap<usize, u64> = places.iter().copied().collect();
    let place = |(node, index): (usize, u64)| LogPosition { node: NODES[node].into(), index };
    LogPositions::new(last.into_iter().map(place).collect()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn pages_of_any_size_make_up_one_and_nothing_is_skipped_or_doubled_meanwhile(steps in steps()) {
        let (_directory, other) = store();
        other.writer().and_then(|mut writer| store::log::find_or_create(writer.as_mut(), "other")).unwrap();
        let index = SearchIndex::start(other, "other").unwrap();
        let covered = index.covered();
        let mut world = World::new();
        let mut writer = world.store.writer().unwrap();
        let filters = [LogFilter::default(), LogFilter { verdict: Some(Verdict::Warn), ..LogFilter::default() }];
        // Of two clients one goes on with the cursors of the pages, and one with what it received.
        let mut clients: Vec<(Vec<(usize, u64)>, LogPositions)> = vec![Default::default(); 4];
        for step in &steps {
            match step {
                Step::Append { node, entries } => world.append(writer.as_mut(), *node, entries),
                Step::Page { size, looked_max } => {
                    for (place, (seen, cursor)) in clients.iter_mut().enumerate() {
                        let piece = Piece { found_max: *size, looked_max: *looked_max };
                        let (found, next) = world.page(&covered, &filters[place % 2], cursor, piece);
                        seen.extend(found);
                        *cursor = next.filter(|_| place < 2).unwrap_or_else(|| received(seen));
                    }
                }
            }
        }
        for filter in &filters {
            let expected = world.expected(filter);
            prop_assert_eq!(&world.page(&covered, filter, &LogPositions::default(), ALL), &(expected.clone(), None));
            for (found_max, looked_max) in [(1, u64::MAX), (2, 3), (3, 1), (200, 5)] {
                prop_assert_eq!(&world.pages(&covered, filter, Piece { found_max, looked_max }), &expected);
            }
        }
        for (place, (mut seen, cursor)) in clients.into_iter().enumerate() {
            let filter = &filters[place % 2];
            seen.extend(world.page(&covered, filter, &cursor, ALL).0);
            for node in 0..NODES.len() {
                let indices = |places: &[(usize, u64)]| -> Vec<u64> {
                    places.iter().filter(|(of, _)| *of == node).map(|(_, index)| *index).collect()
                };
                prop_assert_eq!(indices(&seen), indices(&world.expected(filter)));
            }
        }
        index.close();
    }
}
