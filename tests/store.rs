//! One suite for both drivers: what `Store` promises and what each statement does is the same on each of them. It must never
//! ask a driver's own dialect.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "store/answered.rs"]
mod answered;
#[path = "store/archived.rs"]
mod archived;
#[path = "store/older.rs"]
mod older;
#[path = "support/postgres.rs"]
mod postgres;
#[path = "store/server.rs"]
mod server;

use canhbao::domain::party::{
    AccessState, Client, ClientId, Credential, CredentialKind, Party, PartyId, Quotas, Role, Scopes,
};
use canhbao::domain::{
    Actor, AnsweredParties, Answers, Category, Change, Changes, Correction, Findings, Flag, FlagId, FlagState,
    KeptAnswer, LogPosition, LogPositions, NewObjection, Objection, ObjectionId, ObjectionState, Proposal, Replaces,
    Source, SourceKind, Subject, Timestamp, Told, Urgency, Verdict,
};
use canhbao::store::archive::{self, Archive, tiles_begin};
use canhbao::store::lease::{self, Asked};
use canhbao::store::log::{self, LogBatch, LogNumber};
use canhbao::store::objections::{self, ObjectionPage};
use canhbao::store::postgres::{Address, PostgresStore};
use canhbao::store::search::Segment;
use canhbao::store::sqlite::SqliteStore;
use canhbao::store::tree::TileRow;
use canhbao::store::{
    self, Connection, Row, Statement, Store, StoreError, Value, access, answers, changes, corrections, flags, history,
    search, tree,
};
use postgres::Postgres;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// After 2026-11-24T03:00:00Z.
fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(1_795_489_200_000 + ms)
}

/// A new registry on one of the drivers.
enum Bench {
    Sqlite(tempfile::TempDir),
    Postgres(Address),
}

impl Bench {
    fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bench = Self::Sqlite(directory);
        SqliteStore::create(&bench.path(), "registry.example", at(0)).unwrap();
        bench
    }

    fn postgres() -> Self {
        let address = Address::parse(&Postgres::shared().create_database()).unwrap();
        PostgresStore::create(&address, "registry.example", at(0)).unwrap();
        Self::Postgres(address)
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Sqlite(directory) => directory.path().join("registry.db"),
            Self::Postgres(_) => panic!("it has no file"),
        }
    }

    fn open(&self) -> Box<dyn Store> {
        match self {
            Self::Sqlite(_) => Box::new(SqliteStore::open(&self.path(), at(0)).unwrap()),
            Self::Postgres(address) => Box::new(PostgresStore::open(address, at(0)).unwrap()),
        }
    }
}

fn on_both(test: impl Fn(&Bench)) {
    for bench in [Bench::sqlite(), Bench::postgres()] {
        test(&bench);
    }
}

fn batch(first_index: u64, size: u64, ms: u64) -> LogBatch {
    let byte = u8::try_from(first_index % 251).unwrap();
    LogBatch { first_index, size, at_min: at(ms), at_max: at(ms), entries: vec![byte; 40] }
}

/// Does `work` in a transaction of its own.
fn committed<T>(writer: &mut dyn Connection, work: impl FnOnce(&mut dyn Connection) -> T) -> T {
    writer.begin().unwrap();
    let done = work(writer);
    writer.commit().unwrap();
    done
}

fn batches(store: &dyn Store, log: LogNumber, index: u64, most: u32) -> Vec<(u64, u64, Vec<u8>)> {
    store
        .find(|connection| {
            let mut found = Vec::new();
            log::stream(connection, log, index, most, &mut |batch| {
                found.push((batch.first_index, batch.size, batch.entries));
                Ok(())
            })?;
            Ok(found)
        })
        .unwrap()
}

#[test]
fn what_is_committed_is_there_after_a_restart_and_what_is_not_is_seen_by_nobody() {
    on_both(|bench| {
        let store = bench.open();
        let mut writer = store.writer().unwrap();
        let a = log::find_or_create(writer.as_mut(), "a").unwrap();
        let b = log::find_or_create(writer.as_mut(), "b").unwrap();
        assert_eq!(log::find_or_create(writer.as_mut(), "a").unwrap(), a);
        assert_ne!(a, b);
        committed(writer.as_mut(), |writer| {
            log::append(writer, a, &batch(0, 3, 10)).unwrap();
            log::append(writer, a, &batch(3, 2, 20)).unwrap();
            log::append(writer, b, &batch(0, 1, 5)).unwrap();
        });
        writer.begin().unwrap();
        log::append(writer.as_mut(), a, &batch(5, 9, 30)).unwrap();
        assert_eq!(store.find(|connection| log::end(connection, a)).unwrap(), (5, at(20)));
        assert_eq!(log::end(writer.as_mut(), a).unwrap(), (14, at(30)));
        writer.rollback().unwrap();
        assert_eq!(log::end(writer.as_mut(), a).unwrap(), (5, at(20)));
        drop((writer, store));
        let store = bench.open();
        assert_eq!(batches(store.as_ref(), a, 0, 9), [(0, 3, vec![0; 40]), (3, 2, vec![3; 40])]);
        assert_eq!(batches(store.as_ref(), a, 1, 9), [(3, 2, vec![3; 40])]);
        assert_eq!(batches(store.as_ref(), a, 0, 1).len(), 1);
        for (last, firsts) in [(0, vec![0]), (2, vec![0]), (3, vec![0, 3]), (9, vec![0, 3])] {
            let mut found = Vec::new();
            let mut read = |connection: &mut dyn Connection| {
                log::stream_to(connection, a, (0, last), 9, &mut |batch| {
                    found.push(batch.first_index);
                    Ok(())
                })
            };
            store.read(&mut read).unwrap();
            assert_eq!(found, firsts, "up to {last}");
        }
        let head = store.find(|connection| log::batch_at(connection, a, 4)).unwrap().unwrap();
        assert_eq!((head.first_index, head.size, head.at_max), (3, 2, at(20)));
        assert_eq!(store.find(|connection| log::first_index(connection, b)).unwrap(), 0);
        assert_eq!(store.find(|connection| log::end(connection, b)).unwrap(), (1, at(5)));
        assert_eq!(store.find(|connection| log::find(connection, "c")).unwrap(), None);
        assert_eq!(store.find(|connection| canhbao::store::registry::name(connection)).unwrap(), "registry.example");
    });
}

#[test]
fn a_part_is_undone_alone() {
    on_both(|bench| {
        let store = bench.open();
        let mut writer = store.writer().unwrap();
        let writer = writer.as_mut();
        let insert = "INSERT INTO change (number, at, node, log_index, kind) VALUES ($1, 1, 'a', 1, 'flag')";
        let put = |writer: &mut dyn Connection, number| writer.execute(insert, &[Value::Int(number)]);
        writer.begin().unwrap();
        writer.begin_part().unwrap();
        put(writer, 1).unwrap();
        writer.undo_part().unwrap();
        writer.begin_part().unwrap();
        put(writer, 2).unwrap();
        writer.keep_part().unwrap();
        writer.begin_part().unwrap();
        writer.undo_part().unwrap();
        writer.begin_part().unwrap();
        writer.keep_part().unwrap();
        writer.begin_part().unwrap();
        assert!(matches!(put(writer, 2), Err(StoreError::Engine(_))), "it is there");
        writer.undo_part().unwrap();
        put(writer, 3).unwrap();
        writer.begin_part().unwrap();
        put(writer, 4).unwrap();
        writer.keep_part().unwrap();
        writer.commit().unwrap();
        let mut found = Vec::new();
        writer
            .query("SELECT number FROM change ORDER BY number", &[], &mut |row| {
                found.push(row.int(0)?);
                Ok(())
            })
            .unwrap();
        assert_eq!(found, [2, 3, 4]);
    });
}

#[test]
fn statements_that_are_run_together_are_run_in_order_and_each_tells_its_rows() {
    on_both(|bench| {
        let store = bench.open();
        let mut writer = store.writer().unwrap();
        let writer = writer.as_mut();
        let insert = "INSERT INTO change (number, at, node, log_index, kind) VALUES ($1, 1, 'a', 1, 'flag')";
        let put = |number| Statement { sql: insert, values: vec![Value::Int(number)] };
        let step = |from, to| {
            let sql = "UPDATE change_head SET number = $1 WHERE number = $2";
            Statement { sql, values: vec![Value::Int(to), Value::Int(from)] }
        };
        writer.begin().unwrap();
        writer.begin_part().unwrap();
        let rows = writer.execute_all(&[step(0, 7), put(1), step(0, 8), step(7, 9), put(2)]).unwrap();
        assert_eq!(rows, [1, 1, 0, 1, 1]);
        writer.keep_part().unwrap();
        writer.begin_part().unwrap();
        assert!(matches!(writer.execute_all(&[put(4), put(2), put(5)]), Err(StoreError::Engine(_))), "it is there");
        writer.undo_part().unwrap();
        assert_eq!(writer.execute_all(&[]).unwrap(), [0_u64; 0]);
        writer.commit().unwrap();
        let mut found = Vec::new();
        let read = writer.query("SELECT number FROM change ORDER BY number", &[], &mut |row| {
            found.push(row.int(0)?);
            Ok(())
        });
        read.unwrap();
        assert_eq!(found, [1, 2]);
    });
}

#[test]
fn transactions_are_opened_once_and_closed_once() {
    on_both(|bench| {
        let store = bench.open();
        let mut writer = store.writer().unwrap();
        assert!(writer.commit().is_err() && writer.rollback().is_err());
        writer.begin().unwrap();
        assert!(writer.begin().is_err());
        writer.rollback().unwrap();
        writer.begin().unwrap();
        writer.commit().unwrap();
        assert!(writer.commit().is_err());
        writer.settle().unwrap();
    });
}

#[test]
fn a_row_is_read_as_what_it_is() {
    on_both(|bench| {
        let store = bench.open();
        let mut writer = store.writer().unwrap();
        let log = log::find_or_create(writer.as_mut(), "a").unwrap();
        log::append(writer.as_mut(), log, &batch(0, 1, 1)).unwrap();
        let sql =
            "SELECT place, entries, node, pepper FROM log_batch JOIN log ON number = place JOIN registry ON id = 1";
        let mut rows = 0;
        let each = &mut |row: &dyn Row| {
            rows += 1;
            assert_eq!((row.int(0)?, row.blob(1)?.len(), row.text(2)?), (0, 40, "a"));
            assert_eq!((row.optional_int(0)?, row.optional_text(2)?), (Some(0), Some("a")));
            for wrong in [row.text(0).err(), row.text(1).err(), row.int(1).err(), row.int(2).err(), row.blob(0).err()] {
                assert!(matches!(wrong, Some(StoreError::Corrupt(_))), "{wrong:?}");
            }
            assert!(row.int(3).is_err() && row.text(3).is_err() && row.blob(3).is_err(), "NULL is no value");
            assert!(row.int(4).is_err(), "there is no such column");
            Ok(())
        };
        writer.query(sql, &[], each).unwrap();
        assert_eq!(rows, 1);
        let refused = writer.query(sql, &[], &mut |_| Err(StoreError::Corrupt("it was looked at")));
        assert!(matches!(refused, Err(StoreError::Corrupt("it was looked at"))));
        assert_eq!(log::end(writer.as_mut(), log).unwrap().0, 1, "the connection goes on");
    });
}

#[test]
fn the_tree_is_stored_by_place() {
    on_both(|bench| {
        let store = bench.open();
        let mut writer = store.writer().unwrap();
        let log = log::find_or_create(writer.as_mut(), "a").unwrap();
        let row = |byte| TileRow { root: vec![byte; 32], hashes: vec![byte; 8192] };
        committed(writer.as_mut(), |writer| {
            for (first_index, level, byte) in [(0, 0, 1), (0, 1, 2), (256, 0, 3)] {
                tree::insert_tile(writer, log, first_index, level, &row(byte)).unwrap();
            }
            for (size, note) in [(256, "first"), (512, "second\nnote")] {
                tree::insert_checkpoint(writer, log, size, at(size), note).unwrap();
            }
        });
        let find = |work: &dyn Fn(&mut dyn Connection) -> Result<(), StoreError>| store.find(work).unwrap();
        find(&|connection| {
            assert_eq!(tree::tile(connection, log, 0, 1)?.map(|tile| tile.root), Some(vec![2; 32]));
            assert_eq!(tree::tile_root(connection, log, 256, 0)?, Some([3; 32]));
            assert!(tree::tile(connection, log, 512, 0)?.is_none());
            assert_eq!(tree::last_tile(connection, log)?, Some(256));
            assert_eq!(tree::tile_count(connection, log, 0)?, 3);
            assert_eq!(tree::tile_count(connection, log, 256)?, 2, "one of level 0 is not counted");
            assert_eq!(tree::last_checkpoint(connection, log)?.as_deref(), Some("second\nnote"));
            assert_eq!(tree::checkpoints(connection, log, 257, 9)?, [(512, "second\nnote".to_owned())]);
            assert_eq!(archive::checkpoint_before(connection, log, 511)?.map(|row| row.size), Some(256));
            Ok(())
        });
        let twice = tree::insert_checkpoint(writer.as_mut(), log, 512, at(1), "a fork");
        assert!(matches!(twice, Err(StoreError::Engine(_))), "{twice:?}");
    });
}

fn party(id: &str) -> Party {
    Party {
        id: PartyId::parse(id).unwrap(),
        name: "Ngân hàng Thử nghiệm".to_owned(),
        role: Role::parse("bank").unwrap(),
        parent: PartyId::parse("hanoi-police"),
        state: AccessState::parse("enabled").unwrap(),
        version: 1,
        created_at: at(1),
    }
}

fn client(id: &str, of: &str) -> Client {
    let key = |kind, expires_at| Credential { kind, created_at: at(2), expires_at };
    Client {
        id: ClientId::parse(id).unwrap(),
        party: PartyId::parse(of).unwrap(),
        name: "core".to_owned(),
        scopes: Scopes::default(),
        quotas: Quotas::default(),
        state: AccessState::parse("enabled").unwrap(),
        version: 1,
        created_at: at(2),
        tokens_void_until: None,
        credentials: vec![
            key(CredentialKind::Secret { phc: "$argon2id$".to_owned() }, Some(at(9))),
            key(CredentialKind::Key { public_key: "PEM".to_owned() }, None),
        ],
    }
}

#[test]
fn parties_and_clients_are_replaced_by_version() {
    on_both(|bench| {
        let store = bench.open();
        let mut writer = store.writer().unwrap();
        let (first, mut core) = (party("970436"), client("core-1", "970436"));
        committed(writer.as_mut(), |writer| {
            assert!(access::insert_party(writer, &first, 1).unwrap());
            assert!(!access::insert_party(writer, &first, 1).unwrap());
            assert!(access::insert_client(writer, &core, 2).unwrap());
            assert!(!access::insert_client(writer, &core, 2).unwrap());
            let next = Party { version: 2, name: "Đổi tên".to_owned(), ..first.clone() };
            assert!(!access::update_party(writer, &next, 7, 3).unwrap());
            assert!(access::update_party(writer, &next, 1, 3).unwrap());
            core.version = 2;
            core.tokens_void_until = Some(at(5));
            core.credentials.remove(0);
            assert!(access::update_client(writer, &core, 1, 4).unwrap());
            assert!(!access::update_client(writer, &core, 1, 4).unwrap());
        });
        let parties = store.find(access::load_parties).unwrap();
        assert_eq!((parties.len(), parties[0].version, parties[0].name.as_str()), (1, 2, "Đổi tên"));
        assert!(store.find(access::load_clients).unwrap() == [core]);
        let orphan = access::insert_client(writer.as_mut(), &client("core-2", "nobody"), 5);
        assert!(matches!(orphan, Err(StoreError::Engine(_))), "a client without a party");
    });
}

fn flag(id: u128, state: FlagState) -> Flag {
    let by = |name| Actor { party: PartyId::parse("police").unwrap(), client: ClientId::parse(name).unwrap() };
    let proposal = Proposal {
        subject: Subject::from_canonical(&format!("account:970436:1000{id:03}")).unwrap(),
        verdict: Verdict::Hold,
        category: Category::Mule,
        case: "C-7".to_owned(),
        reason: "lừa đảo".to_owned(),
        legal_basis: None,
        expires_at: None,
        urgency: Urgency::Normal,
        linked: vec![Subject::from_canonical("account:970436:1000777").unwrap()],
        source: Source { kind: SourceKind::Police, reference: None },
        unit: None,
        coordinating: if id == 3 { vec![PartyId::parse("ward").unwrap()] } else { Vec::new() },
    };
    let raised = Flag::propose(FlagId::from_bytes(id.to_be_bytes()), proposal, by("a1"), at(0)).unwrap();
    if state == FlagState::Active { raised.approve(by("b2"), at(0)).unwrap() } else { raised }
}

#[test]
fn flags_are_found_and_loaded_by_id() {
    on_both(|bench| {
        let store = bench.open();
        let mut writer = store.writer().unwrap();
        assert_eq!(store.find(flags::id_range).unwrap(), None);
        committed(writer.as_mut(), |writer| {
            for id in 1..=4 {
                let state = if id == 4 { FlagState::Proposed } else { FlagState::Active };
                assert!(flags::insert(writer, &flag(id, state), 1).unwrap());
            }
            assert!(!flags::insert(writer, &flag(1, FlagState::Active), 2).unwrap());
        });
        let found = store.find(|connection| flags::find(connection, flag(2, FlagState::Active).id)).unwrap();
        assert!(found == Some(flag(2, FlagState::Active)));
        let (first, last) = store.find(flags::id_range).unwrap().unwrap();
        assert_eq!((first.as_bytes()[15], last.as_bytes()[15]), (1, 4));
        let loaded = store.find(|connection| {
            let mut found = Vec::new();
            flags::load_listed(connection, first, last, &mut |listed| {
                found.push((listed.id.as_bytes()[15], listed.subject.to_string(), listed.linked.len()));
                Ok(())
            })?;
            Ok(found)
        });
        let loaded = loaded.unwrap();
        assert_eq!((loaded.len(), loaded[0].clone()), (3, (1, "account:970436:1000001".to_owned(), 1)));
    });
}

#[test]
fn a_flag_keeps_its_versions_objections_and_correction() {
    on_both(|bench| {
        let store = bench.open();
        let mut writer = store.writer().unwrap();
        let first = flag(3, FlagState::Active);
        let by = Actor { party: PartyId::parse("police").unwrap(), client: ClientId::parse("a1").unwrap() };
        let changes = Changes { coordinating: Some(Vec::new()), linked: Some(Vec::new()), ..Changes::default() };
        let second = first.amend(by.clone(), changes, "x".to_owned(), at(20)).unwrap();
        let new = NewObjection { text: "x".to_owned(), reference: None, attachments: Vec::new() };
        let id = |number: u8| ObjectionId::from_bytes([number; 16]);
        let objection = |number| Objection::file(id(number), first.id, new.clone(), by.clone(), at(30), 5);
        let position = |index| LogPosition { node: "main".into(), index };
        let places = |index| LogPositions::new(vec![position(index)]).unwrap();
        let told = |checks| Told { party: by.party.clone(), checks, first_at: at(1), last_at: at(2) };
        let findings = |checks| Findings { parties: vec![told(checks)], from: places(0), to: places(9) };
        let open =
            || Correction::Open { flag: first.id, node: "main".to_owned(), due_at: at(50), findings: findings(1) };
        // What is open stays as it was opened.
        let again =
            Correction::Open { flag: first.id, node: "other".to_owned(), due_at: at(90), findings: findings(7) };
        let complete = || Correction::Complete { flag: first.id, at: at(60), findings: findings(2) };
        let file = |number| Change::Objection { replaces: Replaces::Nothing, objection: Box::new(objection(number)) };
        let decided = objection(1).dismiss(by.clone(), "x".to_owned(), at(40)).unwrap();
        let replaces = Replaces::Version(1);
        let dismissal = Change::Objection { replaces, objection: Box::new(decided.clone()) };
        let update = Change::Flag { replaces: Replaces::Version(first.version), flag: Box::new(second.clone()) };
        let made = [
            (Change::Flag { replaces: Replaces::Nothing, flag: Box::new(first.clone()) }, at(10), true),
            (update, at(20), true),
            (file(1), at(30), true),
            (file(2), at(31), false),
            (Change::Together(vec![dismissal, Change::Correction(open())]), at(40), true),
            (Change::Correction(again), at(41), true),
            (file(3), at(42), true),
            (Change::Correction(complete()), at(60), true),
            (Change::Correction(complete()), at(61), false),
        ];
        for (number, (change, moment, expected)) in (1..).zip(made) {
            writer.begin().unwrap();
            writer.begin_part().unwrap();
            let done = changes::apply(writer.as_mut(), &change, number, moment, &position(number)).unwrap();
            assert_eq!(done, expected, "{number}");
            if done { writer.keep_part() } else { writer.undo_part() }.unwrap();
            writer.commit().unwrap();
        }
        let versions = store.find(|connection| history::versions(connection, first.id, 0, 10)).unwrap();
        let told_of: Vec<_> = versions.into_iter().map(|version| (version.flag, version.entry.index)).collect();
        assert!(told_of == [(first.clone(), 1), (second.clone(), 2)]);
        let at_moment = |moment| store.find(|connection| history::version_at(connection, first.id, moment)).unwrap();
        assert!(at_moment(at(9)).is_none());
        assert!(at_moment(at(19)) == Some(first.clone()) && at_moment(at(20)) == Some(second.clone()));
        let objected = store.find(|connection| objections::of_flag(connection, first.id, 10)).unwrap();
        let objected: Vec<_> = objected.iter().map(|told| (&told.objection, told.filed.index, &told.decided)).collect();
        assert!(objected == [(&decided, 3, &Some(position(5))), (&objection(3), 7, &None)]);
        let asked = |state, overdue_at| ObjectionPage { state, overdue_at, before: None, rows_max: 10 };
        let open_ones = asked(Some(ObjectionState::Open), Some(at(36)));
        let of_units = |units: &[PartyId], page: ObjectionPage, looked_max| {
            store.find(|connection| objections::of_units(connection, units, &page, looked_max)).unwrap()
        };
        let (own, no) = ([by.party.clone()], [PartyId::parse("ward").unwrap()]);
        assert!(of_units(&own, open_ones, 9) == (vec![objection(3)], None));
        let all = asked(None, None);
        assert!(of_units(&own, all, 2) == (vec![objection(3), decided.clone()], None));
        assert!(of_units(&no, all, 2) == (vec![], None));
        // No page looks at more than it may, and the next one goes on from there.
        for (units, found) in [(&own, vec![objection(3)]), (&no, vec![])] {
            assert!(of_units(units, all, 1) == (found, Some(id(3))));
        }
        let next = ObjectionPage { before: Some(id(3)), ..all };
        assert!(of_units(&own, next, 1) == (vec![decided.clone()], None));
        let one = ObjectionPage { rows_max: 1, ..all };
        assert!(of_units(&own, one, 9) == (vec![objection(3)], Some(id(3))));
        let of_party = |page| store.find(|connection| objections::of_party(connection, &by.party, &page)).unwrap();
        assert!(of_party(all) == (vec![objection(3), decided.clone()], None));
        assert!(of_party(one) == (vec![objection(3)], Some(id(3))));
        assert!(store.find(|connection| objections::find(connection, id(1))).unwrap() == Some(decided.clone()));
        let kept = store.find(|connection| corrections::find(connection, first.id)).unwrap().unwrap();
        assert_eq!((kept.completed_at, kept.findings), (Some(at(60)), findings(2)));
        let due = store.find(|connection| corrections::due(connection, "main", at(99), at(0), 9)).unwrap();
        assert!(due.is_empty(), "it is complete");
    });
}

#[test]
fn changes_are_numbered_and_read_again() {
    on_both(|bench| {
        let store = bench.open();
        let mut writer = store.writer().unwrap();
        let entry = LogPosition { node: "a".into(), index: 7 };
        let proposed = flag(9, FlagState::Proposed);
        let mut next = proposed.clone();
        next.version = 2;
        let replaces = Replaces::Nothing;
        let all = [
            Change::Party { replaces, party: party("970436") },
            Change::Client { replaces, client: Box::new(client("core-1", "970436")) },
            Change::Flag { replaces, flag: Box::new(proposed.clone()) },
            Change::Flags(vec![flag(1, FlagState::Active), flag(2, FlagState::Active)]),
            Change::Flag { replaces: Replaces::Version(1), flag: Box::new(next) },
        ];
        committed(writer.as_mut(), |writer| {
            for change in &all {
                let number = changes::next_number(writer).unwrap();
                assert!(changes::apply(writer, change, number, at(number), &entry).unwrap());
            }
            writer.begin_part().unwrap();
            let number = changes::next_number(writer).unwrap();
            assert!(!changes::apply(writer, &all[4], number, at(9), &entry).unwrap(), "the version is another one");
            writer.undo_part().unwrap();
        });
        let found = store.find(|connection| {
            let head = changes::head(connection)?;
            Ok((head, changes::since(connection, 1, head)?))
        });
        let (head, since) = found.unwrap();
        assert_eq!(head, 5);
        let numbers: Vec<u64> = since.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [2, 3, 4, 5]);
    });
}

#[test]
fn an_answer_is_kept_once() {
    on_both(|bench| {
        let store = bench.open();
        let mut writer = store.writer().unwrap();
        let kept = KeptAnswer {
            client: ClientId::parse("core-1").unwrap(),
            key: "k".to_owned(),
            request: [7; 32],
            at: at(3),
            status: 201,
            location: "/v1/flags/f".to_owned(),
            etag: "\"1\"".to_owned(),
            body: vec![0, 255, 10],
        };
        let entry = LogPosition { node: "a".into(), index: 4 };
        assert!(answers::insert(writer.as_mut(), &kept, &entry).unwrap());
        assert!(!answers::insert(writer.as_mut(), &kept, &entry).unwrap());
        let (found, place) = store.find(|connection| answers::find(connection, &kept.client, "k")).unwrap().unwrap();
        assert_eq!((found.body, found.request, found.status, place), (kept.body, [7; 32], 201, entry));
        assert!(store.find(|connection| answers::find(connection, &kept.client, "other")).unwrap().is_none());
    });
}

#[test]
fn what_is_sealed_goes_and_nothing_else_does() {
    on_both(|bench| {
        let store = bench.open();
        let mut writer = store.writer().unwrap();
        let writer = writer.as_mut();
        let log = log::find_or_create(writer, "a").unwrap();
        let end = 65_536 + 256;
        let row = || TileRow { root: vec![1; 32], hashes: vec![2; 64] };
        committed(writer, |writer| {
            for index in [0, 1000, end, end + 10] {
                let size = if index == 1000 { end - 1000 } else { 1000.min(end) };
                log::append(writer, log, &batch(index, if index > 1000 { 10 } else { size }, index)).unwrap();
            }
            for (first_index, level) in [(0, 0), (0, 1), (256, 0), (65_536, 0)] {
                tree::insert_tile(writer, log, first_index, level, &row()).unwrap();
            }
            tree::insert_checkpoint(writer, log, end, at(1), "note").unwrap();
        });
        let sealed = Archive {
            first_index: 0,
            size: end,
            at_max: at(1),
            sealed_at: at(2),
            file_name: "a".to_owned(),
            digest: [9; 32],
        };
        for wrong in [Archive { size: end - 1, ..sealed.clone() }, Archive { first_index: 1, ..sealed.clone() }] {
            assert!(
                archive::insert(writer, log, &wrong, None).is_err(),
                "it ends under no checkpoint, or follows on nothing"
            );
        }
        for refused in ["DELETE FROM log_batch", "DELETE FROM log_tile", "UPDATE log_batch SET size = size"] {
            let error = writer.execute(refused, &[]).unwrap_err().to_string();
            assert!(error.contains("the log is append-only"), "{refused}: {error}");
        }
        committed(writer, |writer| archive::seal(writer, log, &sealed, &AnsweredParties::new()).unwrap());
        store.drop_archived(at(9)).unwrap();
        assert_eq!(tiles_begin(end), 65_536);
        assert_eq!(log::first_index(writer, log).unwrap(), end);
        assert_eq!(archive::all(writer, log).unwrap(), [sealed]);
        let left = archive::tiles(writer, log, 0, 9).unwrap();
        let left: Vec<(u64, u8)> = left.iter().map(|tile| (tile.first_index, tile.level)).collect();
        assert_eq!(left, [(0, 1), (65_536, 0)]);
        assert_eq!(archive::checkpoints(writer, log, 0, 9).unwrap().len(), 1);
        assert!(writer.execute("DELETE FROM log_batch", &[]).is_err(), "the rest is not sealed");
    });
}

#[test]
fn history_is_neither_changed_nor_deleted() {
    on_both(|bench| {
        let store = bench.open();
        let mut writer = store.writer().unwrap();
        let writer = writer.as_mut();
        let log = log::find_or_create(writer, "a").unwrap();
        tree::insert_checkpoint(writer, log, 1, at(1), "note").unwrap();
        tree::insert_tile(writer, log, 0, 0, &TileRow { root: vec![1; 32], hashes: vec![1; 32] }).unwrap();
        log::append(writer, log, &batch(0, 1, 1)).unwrap();
        let entry = LogPosition { node: "a".into(), index: 7 };
        let change = Change::Flags(vec![flag(1, FlagState::Active)]);
        changes::apply(writer, &change, 1, at(1), &entry).unwrap();
        let sealed = Archive {
            first_index: 0,
            size: 1,
            at_max: at(1),
            sealed_at: at(1),
            file_name: "a".to_owned(),
            digest: [1; 32],
        };
        let answered = (flag(1, FlagState::Active).id, PartyId::parse("970436").unwrap());
        archive::insert(writer, log, &sealed, Some(1)).unwrap();
        store::answered::insert_all(writer, log, 0, &[(answered, Answers::at(at(1), 1))].into()).unwrap();
        for statement in [
            "UPDATE log_batch SET entries = entries",
            "UPDATE log_tile SET root = root",
            "UPDATE log_checkpoint SET note = note",
            "UPDATE log_archive SET size = size",
            "UPDATE change SET kind = kind",
            "UPDATE flag_version SET body = body",
            "DELETE FROM log_tile",
            "DELETE FROM log_checkpoint",
            "DELETE FROM log_archive",
            "UPDATE archived_answer SET checks = checks",
            "DELETE FROM archived_answer",
            "DELETE FROM change",
            "DELETE FROM flag_version",
        ] {
            let error = writer.execute(statement, &[]).unwrap_err().to_string();
            assert!(error.contains("append-only"), "{statement}: {error}");
        }
    });
}

#[test]
fn the_search_index_has_a_writer_of_its_own() {
    on_both(|bench| {
        let store = bench.open();
        let log = log::find_or_create(store.writer().unwrap().as_mut(), "a").unwrap();
        let mut writer = store.search_writer().unwrap();
        let postings: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte; 10]).collect();
        let segment = Segment { first_index: 65_536, seal: [3; 32], summary: vec![1, 2], postings };
        search::replace(writer.as_mut(), log, &segment).unwrap();
        search::replace(writer.as_mut(), log, &segment).unwrap();
        assert_eq!(store.find(|connection| search::segments(connection, log)).unwrap(), [(65_536, vec![3; 32])]);
        assert_eq!(store.find(|connection| search::summary(connection, log, 65_536)).unwrap(), Some(vec![1, 2]));
        let found = store.find(|connection| {
            let mut found = Vec::new();
            search::postings(connection, log, 65_536, 9, &mut |postings| found.extend_from_slice(postings))?;
            Ok(found)
        });
        assert_eq!(found.unwrap(), [9; 10]);
        search::remove(writer.as_mut(), log, 65_536).unwrap();
        assert!(store.find(|connection| search::segments(connection, log)).unwrap().is_empty());
    });
}

#[test]
fn a_log_is_leased_to_one_process() {
    on_both(|bench| {
        let store = bench.open();
        let mut writer = store.writer().unwrap();
        let writer = writer.as_mut();
        let Asked::Granted(old) = lease::take(writer, "a").unwrap() else { panic!("nobody has it") };
        assert!(matches!(lease::take(writer, "a").unwrap(), Asked::Held { heard_ms_ago } if heard_ms_ago < 5_000));
        assert_eq!(lease::live(writer).unwrap(), 1);
        committed(writer, |writer| old.hold(writer).unwrap());
        old.release(writer).unwrap();
        let Asked::Granted(new) = lease::take(writer, "a").unwrap() else { panic!("it was given free") };
        assert!(matches!(old.beat(writer), Err(StoreError::Fenced)));
        new.beat(writer).unwrap();
        assert!(writer.now().unwrap() > at(0), "the database has a clock");
    });
}

/// Columns by table: name, type and whether NULL is refused, in order.
type Columns = BTreeMap<String, Vec<(String, String, bool)>>;

fn columns_of_sqlite(bench: &Bench) -> Columns {
    let mut found = Columns::new();
    for path in [bench.path(), bench.path().with_file_name("search.sqlite3")] {
        let connection = rusqlite::Connection::open(path).unwrap();
        let sql = "SELECT m.name, c.name, c.type, c.\"notnull\" FROM sqlite_master AS m, pragma_table_info(m.name) AS c \
                   WHERE m.type = 'table' ORDER BY m.name, c.cid";
        let mut statement = connection.prepare(sql).unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let kind: String = row.get(2).unwrap();
            let kind = match kind.as_str() {
                "INTEGER" => "bigint",
                "TEXT" => "text",
                "BLOB" => "bytea",
                other => panic!("{other}"),
            };
            let column = (row.get(1).unwrap(), kind.to_owned(), row.get(3).unwrap());
            found.entry(row.get(0).unwrap()).or_default().push(column);
        }
    }
    found
}

#[test]
fn both_schemas_have_the_same_tables_and_columns() {
    let sqlite = Bench::sqlite();
    drop(sqlite.open());
    let url = Postgres::shared().create_database();
    let address = Address::parse(&url).unwrap();
    PostgresStore::create(&address, "registry.example", at(0)).unwrap();
    let mut found = Columns::new();
    let sql = "SELECT table_name::TEXT, column_name::TEXT, data_type::TEXT, is_nullable::TEXT, collation_name::TEXT \
               FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, ordinal_position";
    for row in postgres::query(&url, sql, &[]) {
        let (table, kind): (String, String) = (row.get(0), row.get(2));
        assert_eq!(row.get::<_, Option<&str>>(4), (kind == "text").then_some("C"), "text is ordered by its bytes");
        let column = (row.get(1), kind, row.get::<_, &str>(3) == "NO");
        found.entry(table).or_default().push(column);
    }
    found.retain(|table, _| !table.starts_with("log_batch_"));
    assert_eq!(found, columns_of_sqlite(&sqlite));
    assert!(found.len() > 13, "{found:?}");
}
