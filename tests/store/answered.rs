//! What archived checks were answered with is kept with each archive, and found for a flag in the archives of all logs.

use super::{at, batch, committed, on_both};
use canhbao::domain::party::PartyId;
use canhbao::domain::{AnsweredParties, Answers, FlagId};
use canhbao::store::answered::{Archived, ArchivedLog, archived};
use canhbao::store::archive::{self, Archive};
use canhbao::store::{Connection, Store, log, tree};

/// More than one statement takes, and not a multiple of that.
const FLAGS: u16 = 600;
const SIZE: u64 = 10;

fn id(number: u16) -> FlagId {
    let [high, low] = number.to_be_bytes();
    FlagId::from_bytes(std::array::from_fn(|place| if place < 8 { high } else { low }))
}

fn party(name: &str) -> PartyId {
    PartyId::parse(name).unwrap()
}

fn answers(checks: u64, first: u64, last: u64) -> Answers {
    Answers { checks, first_at: at(first), last_at: at(last) }
}

/// Two parties were answered with one flag, one of them with all the others too.
fn answered(first: u64) -> AnsweredParties {
    let mut answered: AnsweredParties =
        (0..FLAGS).map(|number| ((id(number), party("970436")), answers(number.into(), first, first + 5))).collect();
    answered.insert((id(7), party("momo")), answers(1, first, first));
    answered
}

fn sealed(first_index: u64) -> Archive {
    let (at_max, sealed_at) = (at(1), at(2));
    Archive { first_index, size: SIZE, at_max, sealed_at, file_name: "a".to_owned(), digest: [9; 32] }
}

fn found(store: &dyn Store, number: u16) -> Archived {
    let mut found = store.find(|connection| archived(connection, id(number))).unwrap();
    found.parties.sort_by_key(|(party, answers)| (party.clone(), answers.first_at));
    found
}

fn of(node: &str, end: u64, answered_from: u64) -> ArchivedLog {
    ArchivedLog { node: node.to_owned(), end, answered_from }
}

#[test]
fn each_archive_keeps_what_its_checks_were_answered_with() {
    on_both(|bench| {
        let store = bench.open();
        let mut writer = store.writer().unwrap();
        let logs = ["a", "b", "c"].map(|node| log::find_or_create(writer.as_mut(), node).unwrap());
        let [a, b, _] = logs;
        committed(writer.as_mut(), |writer| {
            for log in [a, b] {
                for first_index in [0, SIZE, 2 * SIZE] {
                    log::append(writer, log, &batch(first_index, SIZE, 1)).unwrap();
                    tree::insert_checkpoint(writer, log, first_index + SIZE, at(1), "note").unwrap();
                }
            }
        });
        let seal = |writer: &mut dyn Connection, log, first_index, answered: &AnsweredParties| {
            committed(writer, |writer| archive::seal(writer, log, &sealed(first_index), answered).unwrap());
        };
        seal(writer.as_mut(), a, 0, &answered(100));
        seal(writer.as_mut(), a, SIZE, &answered(200));
        // As an older version recorded one, and after it one without a hit.
        committed(writer.as_mut(), |writer| archive::insert(writer, b, &sealed(0), None).unwrap());
        seal(writer.as_mut(), b, SIZE, &AnsweredParties::new());
        let of_both = found(store.as_ref(), 7);
        let logs = [of("a", 2 * SIZE, 0), of("b", 2 * SIZE, SIZE), of("c", 0, 0)];
        assert_eq!(of_both.logs, logs);
        let expected = [
            (party("970436"), answers(7, 100, 105)),
            (party("970436"), answers(7, 200, 205)),
            (party("momo"), answers(1, 100, 100)),
            (party("momo"), answers(1, 200, 200)),
        ];
        assert_eq!(of_both.parties, expected);
        for number in 0..FLAGS {
            let parties = found(store.as_ref(), number).parties;
            assert_eq!(parties[0], (party("970436"), answers(number.into(), 100, 105)));
            assert_eq!(parties.len(), if number == 7 { 4 } else { 2 });
        }
        assert!(found(store.as_ref(), FLAGS).parties.is_empty());
    });
}

#[test]
fn an_archive_that_is_not_recorded_leaves_no_answers() {
    on_both(|bench| {
        let store = bench.open();
        let mut writer = store.writer().unwrap();
        let log = log::find_or_create(writer.as_mut(), "a").unwrap();
        committed(writer.as_mut(), |writer| {
            log::append(writer, log, &batch(0, SIZE, 1)).unwrap();
            tree::insert_checkpoint(writer, log, SIZE, at(1), "note").unwrap();
        });
        writer.begin().unwrap();
        archive::seal(writer.as_mut(), log, &sealed(0), &answered(100)).unwrap();
        writer.rollback().unwrap();
        let none = found(store.as_ref(), 7);
        assert_eq!((none.logs.as_slice(), none.parties.len()), (&[of("a", 0, 0)][..], 0));
    });
}
