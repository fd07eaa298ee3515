//! What is counted of the log against the log itself: whatever the tallies hold, lack or got wrong, the figures are those that
//! counting the whole log gives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use canhbao::clock::Stopwatch;
use canhbao::domain::party::{ClientId, PartyId};
use canhbao::domain::{
    Amount, CheckId, Counted, Currency, Day, Days, Decision, Money, Outcome, RequestId, Tally, Timestamp, Verdict,
    Warning,
};
use canhbao::log::{Act, Entry, Read, Resource, SEGMENT_ENTRIES, Tallies, reach};
use canhbao::store::log::{LogBatch, LogNumber};
use canhbao::store::sqlite::SqliteStore;
use canhbao::store::tree::TileRow;
use canhbao::store::{Store, Value};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const START_MS: u64 = 1_795_000_000_000;
/// Two hundred thousand entries are three days.
const STEP_MS: u64 = 1_300;
const BATCH: u64 = 499;

struct Home {
    _directory: tempfile::TempDir,
    store: Arc<dyn Store>,
    log: LogNumber,
}

fn random(index: u64) -> [u8; 32] {
    Sha256::digest(index.to_be_bytes()).into()
}

fn outcome(random: &[u8; 32]) -> Outcome {
    let currency = if random[8] < 200 { Currency::VND } else { Currency::parse("USD").unwrap() };
    let amount = Money::parse(&(1 + u32::from(random[9])).to_string(), currency);
    Outcome {
        decision: Decision::ALL[usize::from(random[10] % 4)],
        warning: Warning::of(random[11] < 100),
        amount: amount.filter(|_| random[12] < 200),
    }
}

/// What stands at an index.
fn entry(index: u64) -> Entry {
    let random = random(index);
    let act = match random[0] {
        0..=199 => Act::Check,
        200..=229 => Act::CheckOutcome,
        230..=239 => Act::LogRead,
        240..=249 => Act::CheckRead,
        _ => Act::Refused,
    };
    let at = Timestamp::from_ms(START_MS + index * STEP_MS);
    let party = PartyId::parse(&format!("bank-{}", random[1] % 7)).unwrap();
    let request = RequestId::from_bytes(random[..16].try_into().unwrap());
    let mut entry = Entry::new(act, at, request, party, ClientId::parse("core").unwrap());
    entry.resource = Some(Resource::Check(CheckId::mint(at, random[..16].try_into().unwrap())));
    entry.verdict = Some(Verdict::ALL[usize::from(random[2] % 4)]);
    if act == Act::CheckOutcome {
        entry.reference = Some(outcome(&random).to_string());
    }
    entry
}

impl Home {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("registry.db");
        SqliteStore::create(&path, "test", Timestamp::from_ms(START_MS)).unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, Timestamp::from_ms(START_MS)).unwrap());
        let mut connection = store.writer().unwrap();
        let log = canhbao::store::log::find_or_create(connection.as_mut(), "main").unwrap();
        drop(connection);
        Self { _directory: directory, store, log }
    }

    /// Writes the entries of a range and the tiles over whole segments, as the log's writer would.
    fn append(&self, from: u64, to: u64) {
        let mut connection = self.store.writer().unwrap();
        connection.begin().unwrap();
        let mut first = from;
        while first < to {
            let size = BATCH.min(to - first);
            let entries: Vec<Entry> = (first..first + size).map(entry).collect();
            let mut bundle = Vec::new();
            for entry in &entries {
                entry.encode(&mut bundle).unwrap();
            }
            let (at_min, at_max) = (entries[0].at, entries[entries.len() - 1].at);
            let batch = LogBatch { first_index: first, size, at_min, at_max, entries: bundle };
            canhbao::store::log::append(connection.as_mut(), self.log, &batch).unwrap();
            first += size;
        }
        for segment in from / SEGMENT_ENTRIES..to / SEGMENT_ENTRIES {
            let tile = TileRow { root: random(segment).to_vec(), hashes: vec![0; 8192] };
            let first_index = segment * SEGMENT_ENTRIES;
            canhbao::store::tree::insert_tile(connection.as_mut(), self.log, first_index, 1, &tile).unwrap();
        }
        connection.commit().unwrap();
    }

    fn start(&self) -> Tallies {
        Tallies::start(Arc::clone(&self.store), "main").unwrap()
    }

    fn figures(&self, tallies: &Tallies, days: Days) -> Tally {
        let reader = tallies.reader();
        let mut tally = Tally::default();
        self.store
            .read(&mut |connection| {
                tally = Tally::default();
                match reader.read(connection, days, &mut |key, amount| tally.add(key.clone(), amount))? {
                    Read::Whole { .. } => Ok(()),
                    Read::Behind(entries) => panic!("{entries} entries are not counted"),
                }
            })
            .unwrap();
        tally
    }

    fn stored(&self, from: u64) -> Vec<u64> {
        let heads = self.store.find(|connection| canhbao::store::tally::heads(connection, self.log, from)).unwrap();
        heads.into_iter().map(|head| head.first_index).collect()
    }

    fn wait_for(&self, segments: u64) {
        let watch = Stopwatch::start();
        let expected: Vec<u64> = (0..segments).map(|segment| segment * SEGMENT_ENTRIES).collect();
        while self.stored(0) != expected {
            assert!(watch.elapsed() < Duration::from_secs(60), "stored are {:?}", self.stored(0));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn change(&self, sql: &'static str, values: &[Value<'_>]) {
        let mut connection = self.store.search_writer().unwrap();
        assert!(connection.execute(sql, values).unwrap() > 0);
    }
}

/// Counted without the code under test: by day, party, what it was and its verdict.
fn by_hand(end: u64, days: Days) -> BTreeMap<String, (u64, u128)> {
    let mut counts = BTreeMap::new();
    for index in 0..end {
        let (entry, random) = (entry(index), random(index));
        let day = Day::of(entry.at);
        if !days.contains(day) {
            continue;
        }
        let mut add = |what: &str, vnd: u128| {
            let name = format!("{day} {} {what} {}", entry.party, entry.verdict.unwrap().as_str());
            let count: &mut (u64, u128) = counts.entry(name).or_default();
            *count = (count.0 + 1, count.1 + vnd);
        };
        if entry.act == Act::Check {
            add("Check", 0);
        }
        if entry.act == Act::CheckOutcome {
            let outcome = outcome(&random);
            let vnd = outcome.amount.filter(|amount| amount.currency() == Currency::VND);
            add(&format!("{:?}", outcome.decision), vnd.map_or(0, |amount| amount.units().into()));
            if outcome.warning == Warning::Shown {
                add("WarningShown", 0);
            }
        }
    }
    counts
}

fn named(tally: &Tally) -> BTreeMap<String, (u64, u128)> {
    let name = |key: &canhbao::domain::Key| {
        let verdict = key.verdict.unwrap().as_str();
        assert_eq!((&key.unit, key.category), (&None, None));
        format!("{} {} {:?} {verdict}", key.day, key.party, key.counted)
    };
    let value = |amount: &Amount| (amount.count, amount.money.get(&Currency::VND).copied().unwrap_or(0));
    tally.iter().map(|(key, amount)| (name(key), value(amount))).collect()
}

fn all() -> Days {
    Days::new(Day::parse("2026-01-01").unwrap(), Day::parse("2027-12-31").unwrap()).unwrap()
}

fn one_day(index: u64) -> Days {
    let day = Day::of(entry(index).at);
    Days::new(day, day).unwrap()
}

#[test]
fn figures_are_the_same_before_while_and_after_segments_are_stored() {
    let home = Home::new();
    let end = 2 * SEGMENT_ENTRIES + 20_000;
    home.append(0, end);
    let tallies = home.start();
    assert_eq!(named(&home.figures(&tallies, all())), by_hand(end, all()));
    home.wait_for(2);
    for days in [all(), one_day(0), one_day(SEGMENT_ENTRIES), one_day(end - 1)] {
        let expected = by_hand(end, days);
        assert!(!expected.is_empty());
        assert_eq!(named(&home.figures(&tallies, days)), expected);
    }
    let later = 3 * SEGMENT_ENTRIES + 10;
    home.append(end, later);
    assert_eq!(named(&home.figures(&tallies, all())), by_hand(later, all()));
    home.wait_for(3);
    assert_eq!(home.stored(SEGMENT_ENTRIES), [SEGMENT_ENTRIES, 2 * SEGMENT_ENTRIES]);
    tallies.close();
    let again = home.start();
    assert_eq!(named(&home.figures(&again, all())), by_hand(later, all()));
    again.close();
}

#[test]
fn what_is_torn_of_another_log_or_gone_is_counted_anew() {
    let home = Home::new();
    let end = 3 * SEGMENT_ENTRIES + 7;
    home.append(0, end);
    let expected = by_hand(end, all());
    let tallies = home.start();
    home.wait_for(3);
    let middle = Value::count(SEGMENT_ENTRIES).unwrap();
    // While it runs, and after a start.
    for damage in [
        "UPDATE tally SET body = x'5b5d' WHERE place = $1",
        "UPDATE tally SET first_day = first_day + 1 WHERE place = $1",
        "UPDATE tally SET seal = x'00' WHERE place = $1",
        "DELETE FROM tally WHERE place = $1",
    ] {
        home.change(damage, &[middle]);
        assert_eq!(named(&home.figures(&tallies, all())), expected, "{damage}");
        let again = home.start();
        home.wait_for(3);
        again.close();
        assert_eq!(named(&home.figures(&tallies, all())), expected, "{damage}");
    }
    // The figures of one segment under the place of another.
    home.change("DELETE FROM tally WHERE place = $1", &[middle]);
    home.change("UPDATE tally SET place = $1 WHERE place = 0", &[middle]);
    assert_eq!(named(&home.figures(&tallies, all())), expected);
    tallies.close();
    let again = home.start();
    home.wait_for(3);
    assert_eq!(named(&home.figures(&again, all())), expected);
    again.close();
}

#[test]
fn more_than_a_request_counts_is_told_and_not_waited_for() {
    let home = Home::new();
    home.append(0, 9 * SEGMENT_ENTRIES);
    let tallies = home.start();
    let reader = tallies.reader();
    let read = home.store.find(|connection| reader.read(connection, all(), &mut |_, _| ())).unwrap();
    assert!(matches!(read, Read::Behind(entries) if entries > 8 * SEGMENT_ENTRIES - 1));
    home.wait_for(9);
    let total: u64 = home
        .figures(&tallies, all())
        .iter()
        .filter(|(key, _)| key.counted == Counted::Check)
        .map(|(_, a)| a.count)
        .sum();
    let checks = (0..9 * SEGMENT_ENTRIES).filter(|index| random(*index)[0] < 200).count();
    assert_eq!(total, u64::try_from(checks).unwrap());
    tallies.close();
}

#[test]
fn a_copy_takes_the_tallies_that_belong_to_it_alone() {
    let (home, earlier) = (Home::new(), Home::new());
    home.append(0, 3 * SEGMENT_ENTRIES + 7);
    // What a copy holds that was made before the third segment was whole.
    earlier.append(0, 3 * SEGMENT_ENTRIES - 1);
    let tallies = home.start();
    home.wait_for(3);
    tallies.close();
    let reached = || {
        let (mut taken, mut stored) = (Vec::new(), home.store.search_writer().unwrap());
        let mut reaches = Vec::new();
        earlier
            .store
            .read(&mut |registry| {
                reaches = reach(registry, Some(stored.as_mut()), &mut |log, head, body| {
                    assert!(log == earlier.log && Tally::from_bytes(body).is_some());
                    taken.push(head.first_index);
                    Ok(())
                })?;
                Ok(())
            })
            .unwrap();
        assert_eq!(reaches.len(), 1);
        (taken, reaches.remove(0))
    };
    let (taken, reach) = reached();
    assert_eq!(taken, [0, SEGMENT_ENTRIES]);
    assert_eq!((reach.from.to_string().as_str(), reach.unsound.len()), ("main/0", 0));
    // Its entries are there to be counted, so that damage is worth no word.
    home.change("UPDATE tally SET seal = x'00' WHERE place = $1", &[Value::Int(0)]);
    let (taken, reach) = reached();
    assert_eq!(taken, [SEGMENT_ENTRIES]);
    assert_eq!((reach.from.to_string().as_str(), reach.unsound.len()), ("main/0", 0));
}
