//! The index against a model, through the door that live changes use, and loaded again from a store.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions)]

#[path = "support/log.rs"]
#[allow(dead_code)]
mod log_support;

use canhbao::domain::party::{ClientId, PartyId};
use canhbao::domain::{
    Actor, Category, Change, Changes, Flag, FlagId, LiftCause, Made, Proposal, Replaces, RequestId, Source, SourceKind,
    Subject, SubjectHasher, SubjectKind, Timestamp, Urgency, Verdict,
};
use canhbao::index::Index;
use canhbao::log::{Act, Entry, Limits, Log, Publish, Record};
use canhbao::store::Store;
use canhbao::store::sqlite::SqliteStore;
use proptest::prelude::*;
use std::sync::Arc;

const DAY_MS: u64 = 86_400_000;

fn actor(name: &str) -> Actor {
    Actor { party: PartyId::parse("police").unwrap(), client: ClientId::parse(name).unwrap() }
}

fn subject(number: u8) -> Subject {
    Subject::from_canonical(&format!("account:970436:1000{number:03}")).unwrap()
}

fn person() -> Subject {
    Subject::from_canonical("person:001099012345").unwrap()
}

fn proposal(subject: Subject, verdict: Verdict, linked: Vec<Subject>) -> Proposal {
    Proposal {
        subject,
        verdict,
        category: Category::Mule,
        case: "C-7".to_owned(),
        reason: "r".to_owned(),
        legal_basis: (verdict == Verdict::Block).then(|| canhbao::domain::LegalBasis {
            document: "1/QĐ".to_owned(),
            issued_on: "2026-01-01".to_owned(),
            authority: "A".to_owned(),
        }),
        expires_at: None,
        urgency: Urgency::Normal,
        linked,
        source: Source { kind: SourceKind::Police, reference: None },
        unit: None,
        coordinating: Vec::new(),
    }
}

fn active(id: u128, proposal: Proposal, now: Timestamp) -> Flag {
    let raised = Flag::propose(FlagId::from_bytes(id.to_be_bytes()), proposal, actor("a1"), now).unwrap();
    raised.approve(actor("b2"), now).unwrap()
}

fn new(flag: Flag) -> Change {
    Change::Flag { replaces: Replaces::Nothing, flag: Box::new(flag) }
}

/// In place of the version before.
fn next(flag: Flag) -> Change {
    Change::Flag { replaces: Replaces::Version(flag.version - 1), flag: Box::new(flag) }
}

struct Home {
    _directory: tempfile::TempDir,
    store: Arc<SqliteStore>,
}

fn home() -> Home {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.db");
    SqliteStore::create(&path, "test.example", Timestamp::EPOCH).unwrap();
    let store = Arc::new(SqliteStore::open(&path, Timestamp::EPOCH).unwrap());
    Home { _directory: directory, store }
}

fn index(home: &Home) -> Index {
    Index::load(home.store.as_ref(), SubjectHasher::new(&[7; 32]), 2).unwrap()
}

#[test]
fn a_flag_answers_from_its_publication_until_the_second_it_expires() {
    let index = index(&home());
    let now = Timestamp::from_ms(1_000_000);
    let flag = active(1, proposal(subject(1), Verdict::Hold, Vec::new()), now);
    let end = flag.expires_at.unwrap();
    assert_eq!(end, now.plus_ms(30 * DAY_MS));
    let hash = index.hash(&subject(1));
    assert!(index.lookup(&hash, now).is_empty());
    index.publish(&[&new(flag)], 5);
    assert_eq!(index.list_version(), 5);
    let hits = index.lookup(&hash, end.minus_ms(1));
    assert_eq!((hits.len(), hits[0].verdict, hits[0].case.as_str()), (1, Verdict::Hold, "C-7"));
    assert!(index.lookup(&hash, end).is_empty());
    assert!(index.lookup(&index.hash(&subject(2)), now).is_empty());
}

#[test]
fn a_lifted_flag_is_gone_with_everything_it_linked_to() {
    let index = index(&home());
    let now = Timestamp::from_ms(1_000_000);
    let flag = active(1, proposal(person(), Verdict::Block, vec![subject(1), subject(2)]), now);
    let lifted = flag.lift(actor("b2"), "wrong".to_owned(), LiftCause::Wrong, now).unwrap();
    index.publish(&[&new(flag)], 1);
    let linked = index.lookup(&index.hash(&subject(2)), now);
    assert_eq!((linked[0].verdict, linked[0].linked_from), (Verdict::Hold, Some(SubjectKind::Person)));
    assert_eq!(index.lookup(&index.hash(&person()), now)[0].document.as_deref(), Some("1/QĐ"));
    assert_eq!(index.len(), 3);
    index.publish(&[&Change::Flag { replaces: Replaces::Version(2), flag: Box::new(lifted) }], 2);
    assert_eq!(index.len(), 0);
    for subject in [person(), subject(1), subject(2)] {
        assert!(index.lookup(&index.hash(&subject), now).is_empty());
    }
}

#[test]
fn readers_see_a_version_and_the_flags_of_that_version_while_changes_come_in() {
    let index = Arc::new(index(&home()));
    let now = Timestamp::from_ms(1_000_000);
    let hash = index.hash(&subject(1));
    let writer = Arc::clone(&index);
    // Flags are raised one by one and lifted one by one, again and again, so that each list differs from the next.
    const RAISED: u64 = 50;
    let changes = 100 * RAISED;
    let shown_at = |version: u64| RAISED.abs_diff(version % (2 * RAISED)).abs_diff(RAISED);
    let thread = std::thread::spawn(move || {
        for number in 1..=changes {
            let raises = (number - 1) % (2 * RAISED) < RAISED;
            let id = u128::from((number - 1) % RAISED);
            let flag = active(id, proposal(subject(1), Verdict::Warn, Vec::new()), now);
            let change = if raises {
                new(flag)
            } else {
                next(flag.lift(actor("b2"), "x".to_owned(), LiftCause::Ended, now).unwrap())
            };
            writer.publish(&[&change], number);
        }
    });
    let mut versions = Vec::new();
    while versions.last() != Some(&changes) {
        let (hits, version) = index.at_one_version(|list| list.lookup(&hash, now).len());
        assert_eq!(u64::try_from(hits).unwrap(), shown_at(version), "list {version}");
        versions.push(version);
    }
    assert!(versions.is_sorted());
    thread.join().unwrap();
}

struct Nobody;
impl Publish for Nobody {
    fn known(&self) -> u64 {
        0
    }

    fn publish(&mut self, _: Vec<Made>, _: u64) {}
}

/// Stores changes through the log, as the registry does.
fn store_changes(home: &Home, changes: Vec<Change>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let limits = Limits { queue_records_max: 128, batch_records_max: 128 };
        let log = Log::start(Arc::clone(&home.store) as Arc<dyn Store>, log_support::opening(limits), Box::new(Nobody))
            .unwrap();
        let mut pending = Vec::new();
        for change in changes {
            let entry = Entry::new(
                Act::FlagRaise,
                Timestamp::from_ms(1_000_000),
                RequestId::from_bytes([1; 16]),
                actor("a1").party,
                actor("a1").client,
            );
            pending.push(log.submit(Record::changing(entry, change, None)).unwrap());
        }
        for change in pending {
            change.durable().await.unwrap();
        }
        log.close().await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Any sequence of raising, lifting and linking to others gives what a plain list of active flags gives, live and after a
    /// reload.
    #[test]
    fn live_and_loaded_the_index_equals_the_model(acts in prop::collection::vec((0..6_u8, 0..3_usize, 0..3_u8), 1..40)) {
        let home = home();
        let live = index(&home);
        let now = Timestamp::from_ms(1_000_000);
        let mut model: Vec<Flag> = Vec::new();
        let mut changes: Vec<Change> = Vec::new();
        for (number, (which, verdict, act)) in (1_u64..).zip(acts) {
            let made = match model.iter().position(|flag| flag.subject == subject(which)) {
                Some(place) if act == 0 => {
                    let flag = model.remove(place);
                    vec![next(flag.lift(actor("b2"), "x".to_owned(), LiftCause::Ended, now).unwrap())]
                }
                Some(place) if act == 1 => {
                    let flag = &mut model[place];
                    let other = if flag.linked == [subject(which + 10)] { which + 20 } else { which + 10 };
                    let linked = Changes { linked: Some(vec![subject(other)]), ..Changes::default() };
                    let amended = flag.amend(actor("a1"), linked, "x".to_owned(), now).unwrap();
                    *flag = amended.approve(actor("b2"), now).unwrap();
                    vec![next(amended), next(flag.clone())]
                }
                _ => {
                    let verdict = [Verdict::Warn, Verdict::Hold, Verdict::Block][verdict];
                    let flag = active(number.into(), proposal(subject(which), verdict, vec![subject(which + 10)]), now);
                    model.push(flag.clone());
                    vec![new(flag)]
                }
            };
            for change in made {
                changes.push(change);
                live.publish(&[changes.last().unwrap()], u64::try_from(changes.len()).unwrap());
            }
        }
        store_changes(&home, changes);
        let loaded = index(&home);
        for which in 0..30 {
            let hash = live.hash(&subject(which));
            let hits = live.lookup(&hash, now);
            prop_assert_eq!(&hits, &loaded.lookup(&hash, now));
            let mut expected: Vec<(Verdict, FlagId)> = model
                .iter()
                .filter_map(|flag| {
                    if flag.subject == subject(which) { Some((flag.verdict, flag.id)) }
                    else if flag.linked.contains(&subject(which)) { Some((flag.verdict.by_link(), flag.id)) }
                    else { None }
                })
                .collect();
            expected.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
            let found: Vec<(Verdict, FlagId)> = hits.iter().map(|hit| (hit.verdict, hit.id)).collect();
            prop_assert_eq!(found, expected);
        }
        let dyn_store: &dyn Store = home.store.as_ref();
        prop_assert_eq!(loaded.list_version(), dyn_store.find(|c| canhbao::store::changes::head(c)).unwrap());
        prop_assert_eq!(live.len(), loaded.len());
    }
}
