//! What PostgreSQL alone can do to a registry, on a real server: lost and undone transactions, two who do the same at once,
//! certificates, passwords, parts of a table, and many rows in little memory.

use super::postgres::{KEYED, Postgres, query, through};
use super::{Bench, at, batch, committed};
use canhbao::clock::Stopwatch;
use canhbao::domain::Timestamp;
use canhbao::store::log::{self, LogBatch};
use canhbao::store::postgres::{Address, BulkTable, PostgresStore};
use canhbao::store::{Connection, Statement, Store, StoreError, Value, tree};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// A database with a registry: its URL and its store.
pub fn registry() -> (String, PostgresStore) {
    let url = Postgres::shared().create_database();
    let address = Address::parse(&url).unwrap();
    PostgresStore::create(&address, "registry.example", at(0)).unwrap();
    let store = PostgresStore::open(&address, at(0)).unwrap();
    (url, store)
}

fn count(url: &str, sql: &str) -> i64 {
    query(url, sql, &[])[0].get(0)
}

/// Ends the connections of one kind, as an operator may at any time.
fn terminate(url: &str, name: &str) {
    let sql = "SELECT COUNT(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity \
               WHERE datname = current_database() AND application_name = $1";
    let ended: i64 = query(url, sql, &[&name])[0].get(0);
    assert!(ended > 0, "there is no {name}");
}

fn is_lost<T>(result: Result<T, StoreError>) -> bool {
    match result {
        Err(StoreError::Lost(_)) => true,
        Err(other) => panic!("not lost: {other}"),
        Ok(_) => false,
    }
}

#[test]
fn a_connection_that_is_cut_is_lost_for_good() {
    let (url, store) = registry();
    let mut writer = store.writer().unwrap();
    let log = log::find_or_create(writer.as_mut(), "a").unwrap();
    writer.begin().unwrap();
    log::append(writer.as_mut(), log, &batch(0, 1, 1)).unwrap();
    terminate(&url, "canhbao/writer");
    assert!(is_lost(writer.commit()));
    assert!(is_lost(writer.begin()) && is_lost(writer.rollback()) && is_lost(writer.now()));
    let mut writer = store.writer().unwrap();
    assert_eq!(log::end(writer.as_mut(), log).unwrap(), (0, Timestamp::EPOCH), "it was not kept");
    let store: &dyn Store = &store;
    store.find(|connection| log::end(connection, log)).unwrap();
    let cut = store.find(|connection| {
        log::end(connection, log)?;
        terminate(&url, "canhbao/reader");
        log::end(connection, log)
    });
    assert!(is_lost(cut));
    store.find(|connection| log::end(connection, log)).unwrap();
}

#[test]
fn a_transaction_that_must_give_way_is_undone_and_can_be_done_again() {
    let (_, store) = registry();
    let mut first = store.writer().unwrap();
    for node in ["a", "b"] {
        log::find_or_create(first.as_mut(), node).unwrap();
    }
    let touch = |connection: &mut dyn Connection, node| {
        connection.execute("UPDATE log SET heard_at = heard_at + 1 WHERE node = $1", &[Value::Text(node)])
    };
    let mut second = store.writer().unwrap();
    first.begin().unwrap();
    second.begin().unwrap();
    touch(first.as_mut(), "a").unwrap();
    touch(second.as_mut(), "b").unwrap();
    let (one, two) = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| touch(first.as_mut(), "b"));
        (touch(second.as_mut(), "a"), waiting.join().unwrap())
    });
    let undone = [&one, &two].iter().filter(|done| matches!(done, Err(StoreError::Undone(_)))).count();
    assert_eq!(undone, 1, "{one:?} {two:?}");
    let (loser, winner) = if one.is_err() { (&mut second, &mut first) } else { (&mut first, &mut second) };
    assert!(matches!(loser.commit(), Err(StoreError::Engine(_))), "nothing of it can be kept");
    winner.commit().unwrap();
    loser.rollback().unwrap();
    committed(loser.as_mut(), |writer| assert_eq!(touch(writer, "a").unwrap(), 1));
}

#[test]
fn a_commit_after_a_failure_is_refused_aloud() {
    let (url, store) = registry();
    let mut writer = store.writer().unwrap();
    let log = log::find_or_create(writer.as_mut(), "a").unwrap();
    writer.begin().unwrap();
    log::append(writer.as_mut(), log, &batch(0, 1, 1)).unwrap();
    assert!(writer.execute("UPDATE log_batch SET size = 2", &[]).is_err());
    assert!(writer.commit().is_err());
    writer.rollback().unwrap();
    assert_eq!(count(&url, "SELECT COUNT(*) FROM log_batch"), 0);
}

#[test]
fn errors_tell_no_values() {
    let (_, store) = registry();
    let mut writer = store.writer().unwrap();
    let insert = "INSERT INTO log (node, number) VALUES ($1, $2)";
    let node = [Value::Text("0912345678"), Value::Int(1)];
    writer.execute(insert, &node).unwrap();
    let twice = writer.execute(insert, &node).unwrap_err().to_string();
    assert!(twice.contains("log_pkey") && twice.contains("23505") && !twice.contains("0912345678"), "{twice}");
    let cast = writer.execute("SELECT $1::TEXT::BIGINT", &[Value::Text("a subject")]).unwrap_err().to_string();
    assert!(cast.contains("22P02") && !cast.contains("subject"), "{cast}");
    let wrong = writer.execute(insert, &[Value::Int(1), Value::Int(1)]);
    assert!(matches!(wrong, Err(StoreError::Corrupt(_))), "a number is no name: {wrong:?}");
}

#[test]
fn a_statement_that_takes_too_long_is_lost() {
    let (_, store) = registry();
    let mut writer = store.writer().unwrap();
    let watch = Stopwatch::start();
    assert!(is_lost(writer.execute("SELECT pg_sleep(60)", &[])));
    assert!(watch.elapsed() < Duration::from_secs(6));
}

#[test]
fn of_two_who_make_a_registry_one_is_refused() {
    let url = Postgres::shared().create_database();
    let address = Address::parse(&url).unwrap();
    assert!(PostgresStore::is_empty(&address).unwrap());
    assert!(PostgresStore::open(&address, at(0)).is_err(), "there is none yet");
    let make = || PostgresStore::create(&address, "registry.example", at(0));
    let (one, two) = std::thread::scope(|scope| {
        let other = scope.spawn(make);
        (make(), other.join().unwrap())
    });
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    assert!(one.and(two).unwrap_err().to_string().contains("has a registry already"));
    assert!(!PostgresStore::is_empty(&address).unwrap());
    let newest = count(&url, "SELECT MAX(number) FROM schema_migration");
    assert_eq!(count(&url, "SELECT COUNT(*) FROM schema_migration"), newest);
    let sqlite = Bench::sqlite();
    let embedded: i64 = rusqlite::Connection::open(sqlite.path())
        .unwrap()
        .query_row("SELECT MAX(number) FROM schema_migration", [], |row| row.get(0))
        .unwrap();
    assert_eq!(newest, embedded, "one number is the same tables on both");
}

#[test]
fn nodes_that_start_at_once_get_logs_of_their_own() {
    let (url, store) = registry();
    std::thread::scope(|scope| {
        for node in ["a", "b", "c", "d", "e", "f"] {
            let store = &store;
            scope.spawn(move || log::find_or_create(store.writer().unwrap().as_mut(), node).unwrap());
        }
    });
    assert_eq!(count(&url, "SELECT COUNT(*) * 10 + MAX(number) FROM log"), 65);
}

#[test]
fn a_month_has_its_part_of_the_log_and_parts_are_made_once() {
    let (url, store) = registry();
    let parts = || -> Vec<String> {
        let sql = "SELECT inhrelid::REGCLASS::TEXT FROM pg_inherits WHERE inhparent = 'log_batch'::REGCLASS ORDER BY 1";
        query(&url, sql, &[]).iter().map(|row| row.get(0)).collect()
    };
    assert_eq!(parts(), ["log_batch_2026_11", "log_batch_2026_12", "log_batch_2027_01", "log_batch_other"]);
    let month_ms = 31 * 86_400_000;
    let mut writer = store.writer().unwrap();
    let log = log::find_or_create(writer.as_mut(), "a").unwrap();
    committed(writer.as_mut(), |writer| {
        for (index, ms) in [(0, 1), (1, month_ms), (2, 4 * month_ms)] {
            log::append(writer, log, &batch(index, 1, ms)).unwrap();
        }
    });
    for (part, place) in [("log_batch_2026_11", 0), ("log_batch_2026_12", 1), ("log_batch_other", 2)] {
        assert_eq!(count(&url, &format!("SELECT place FROM {part}")), place, "{part}");
    }
    let again = log::append(writer.as_mut(), log, &batch(1, 1, month_ms + 1));
    assert!(again.is_err(), "another batch at the same place");
    for sql in ["DELETE FROM log_batch_2026_11", "TRUNCATE log_batch_2026_12", "TRUNCATE log_batch"] {
        assert!(super::postgres::try_query(&url, sql, &[]).is_err(), "{sql}");
    }
    let later = at(3 * month_ms);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| store.keep_up(later).unwrap());
        }
    });
    assert_eq!(parts().len(), 6, "the month that began in the last part stays there: {:?}", parts());
    assert_eq!(log::end(writer.as_mut(), log).unwrap(), (3, at(4 * month_ms)));
}

#[test]
fn what_a_reader_reads_is_of_one_moment() {
    let (_, store) = registry();
    let mut writer = store.writer().unwrap();
    let log = log::find_or_create(writer.as_mut(), "a").unwrap();
    let writer = std::cell::RefCell::new(writer);
    let store: &dyn Store = &store;
    let twice = store.find(|connection| {
        let before = log::end(connection, log)?;
        log::append(writer.borrow_mut().as_mut(), log, &batch(0, 1, 1))?;
        assert!(connection.execute("DELETE FROM log", &[]).is_err() || before.0 > 9);
        Ok(before)
    });
    assert!(twice.is_err(), "a reader that wrote has failed");
    let twice = store.find(|connection| {
        let before = log::end(connection, log)?;
        log::append(writer.borrow_mut().as_mut(), log, &batch(1, 1, 2))?;
        Ok((before, log::end(connection, log)?))
    });
    let (before, after) = twice.unwrap();
    assert_eq!((before, after), ((1, at(1)), (1, at(1))));
    assert_eq!(store.find(|connection| log::end(connection, log)).unwrap(), (2, at(2)));
}

#[test]
fn passwords_are_asked_for_and_told_to_nobody() {
    let url = Postgres::shared().create_keyed_database();
    let address = Address::parse(&url).unwrap();
    let wrong = address.clone().with_password("a wrong one".to_owned().into());
    for refused in [&address, &wrong] {
        let error = PostgresStore::create(refused, "registry.example", at(0)).unwrap_err();
        assert!(matches!(error, StoreError::Engine(_)), "{error}");
        assert!(!error.to_string().contains("wrong one"));
    }
    let right = address.with_password(KEYED.1.to_owned().into());
    PostgresStore::create(&right, "registry.example", at(0)).unwrap();
    assert!(!format!("{right:?} {right}").contains(KEYED.1));
}

#[test]
fn a_server_proves_its_name_or_is_not_spoken_to() {
    let (url, _) = registry();
    let server = Postgres::shared();
    let with = |host: &str, roots: &str| {
        let (_, path) = url.rsplit_once('/').unwrap();
        let database = path.split('?').next().unwrap();
        let port = server.port();
        let url = format!("postgres://canhbao@{host}:{port}/{database}?sslmode=verify-full&sslrootcert={roots}");
        PostgresStore::open(&Address::parse(&url).unwrap(), at(0))
    };
    let roots = server.ca_file();
    for host in ["localhost", "127.0.0.1"] {
        let store = with(host, roots.to_str().unwrap()).unwrap();
        let mut writer = store.writer().unwrap();
        let sql = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl";
        let mut version = String::new();
        writer
            .query(sql, &[], &mut |row| {
                version = row.text(0)?.to_owned();
                Ok(())
            })
            .unwrap();
        assert_eq!(version, "TLSv1.3");
    }
    let directory = tempfile::tempdir().unwrap();
    let other = directory.path().join("other.pem");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&other, made.cert.pem()).unwrap();
    let refused = with("localhost", other.to_str().unwrap()).err().unwrap();
    assert!(matches!(&refused, StoreError::Engine(words) if words.contains("certificate")), "{refused}");
    std::fs::write(&other, "no certificate").unwrap();
    assert!(with("localhost", other.to_str().unwrap()).is_err());
    let refused = with("127.0.0.2", roots.to_str().unwrap()).err().unwrap();
    assert!(matches!(refused, StoreError::Engine(_) | StoreError::Lost(_)), "a name that is not in the certificate");
}

#[test]
fn a_server_that_may_forget_or_cannot_speak_tls_is_refused() {
    let server = Postgres::start_with(&["fsync=off", "ssl=off"]);
    let url = server.create_database();
    let refused = PostgresStore::create(&Address::parse(&url).unwrap(), "registry.example", at(0)).unwrap_err();
    assert!(refused.to_string().contains("fsync of PostgreSQL is off"), "{refused}");
    let roots = server.ca_file();
    let url = url.replace("sslmode=disable", &format!("sslmode=verify-full&sslrootcert={}", roots.display()));
    let refused = PostgresStore::is_empty(&Address::parse(&url).unwrap()).unwrap_err();
    assert!(refused.to_string().contains("TLS"), "{refused}");
    server.stop();
    assert!(is_lost(PostgresStore::is_empty(&Address::parse(&url).unwrap())), "nobody is there");
}

#[test]
fn a_socket_is_an_address_too() {
    let (url, _) = registry();
    let server = Postgres::shared();
    let (_, path) = url.rsplit_once('/').unwrap();
    let (database, _) = path.split_once('?').unwrap();
    let directory = server.socket_directory().to_str().unwrap().replace('/', "%2F");
    let url = format!("postgres://canhbao@{directory}:{}/{database}", server.port());
    assert!(!PostgresStore::is_empty(&Address::parse(&url).unwrap()).unwrap());
}

/// An empty database, and its address.
fn empty() -> (String, Address) {
    let url = Postgres::shared().create_database();
    let address = Address::parse(&url).unwrap();
    (url, address)
}

/// Names the registry, as whoever fills a database must.
fn name_it(connection: &mut dyn Connection) {
    let name = "INSERT INTO registry (id, name, created_at) VALUES (1, $1, $2)";
    connection.execute(name, &[Value::Text("registry.example"), Value::Int(0)]).unwrap();
}

#[test]
fn many_rows_are_copied_in_and_streamed_out_in_little_memory() {
    const ROWS: u64 = 3_000;
    let (_, address) = empty();
    let entries = vec![7; 100_000];
    let before = resident();
    let (mut peak, mut filled) = (before, None);
    let times = Some((at(0), at(200 * 86_400_000)));
    PostgresStore::fill(&address, times, at(0), &mut |bulk| {
        name_it(bulk);
        let log = log::find_or_create(bulk, "a")?;
        let copied = bulk.copy(BulkTable::LogBatch, &mut |rows| {
            for row in 0..ROWS {
                let int = |number| Value::count(number).unwrap();
                rows.put(&[int(row), int(1), int(at(row).as_ms()), int(at(row).as_ms()), Value::Blob(&entries)])?;
            }
            peak = peak.max(resident());
            Ok(())
        })?;
        filled = Some((log, copied));
        Ok(())
    })
    .unwrap();
    let (log, copied) = filled.unwrap();
    assert_eq!(copied, ROWS);
    let store = PostgresStore::open(&address, at(0)).unwrap();
    let store: &dyn Store = &store;
    let (rows, most) = store
        .find(|connection| {
            let (mut rows, mut most) = (0, 0);
            log::stream(connection, log, 0, u32::MAX, &mut |batch: LogBatch| {
                assert_eq!((batch.first_index, batch.entries.len()), (rows, 100_000));
                rows += 1;
                if rows % 50 == 0 {
                    // Who takes rows slower than the server gives them must not pile them up.
                    std::thread::sleep(Duration::from_millis(2));
                    most = most.max(resident());
                }
                Ok(())
            })?;
            Ok((rows, most))
        })
        .unwrap();
    assert_eq!(rows, ROWS);
    let grown = most.max(peak).saturating_sub(before);
    assert!(grown < 150 * MIB, "{} MiB for {} MiB of rows", grown / MIB, ROWS * 100_000 / MIB);
}

fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn rows_that_are_copied_are_kept_whole_or_not_at_all() {
    let (url, address) = empty();
    let note = [Value::Int(1), Value::Int(1), Value::Text("note")];
    let id = [5; 16];
    let (id, text, int) = (Value::Blob(&id), Value::Text("t"), Value::Int(1));
    let wrong: [&[Value<'_>]; 3] = [&note[..2], &[int, text, text], &[int, int, text]];
    for rows in wrong {
        let next = [Value::Int(9), int, text];
        let failed = PostgresStore::fill(&address, None, at(0), &mut |bulk| {
            name_it(bulk);
            bulk.copy(BulkTable::LogCheckpoint, &mut |bulk| bulk.put(&note).and_then(|()| bulk.put(&next)))?;
            bulk.copy(BulkTable::LogCheckpoint, &mut |bulk| bulk.put(rows))?;
            Ok(())
        });
        assert!(failed.is_err());
        assert!(PostgresStore::is_empty(&address).unwrap());
    }
    PostgresStore::fill(&address, None, at(0), &mut |bulk| {
        name_it(bulk);
        let log = log::find_or_create(bulk, "a")?;
        assert_eq!(bulk.copy(BulkTable::LogCheckpoint, &mut |rows| rows.put(&note))?, 1);
        let hashes = [1; 32];
        let tile = [Value::Int(0), Value::Blob(&hashes), Value::Blob(&hashes)];
        bulk.copy(BulkTable::LogTile, &mut |rows| rows.put(&tile))?;
        let change = [int, int, Value::Text("a"), Value::Int(0), Value::Text("flag")];
        bulk.copy(BulkTable::Change, &mut |rows| rows.put(&change))?;
        let flag = [id, text, text, text, text, text, int, Value::Null, Value::Null, Value::Null, Value::Null, text];
        bulk.copy(BulkTable::Flag, &mut |rows| rows.put(&flag))?;
        bulk.copy(BulkTable::FlagVersion, &mut |rows| rows.put(&[id, int, int, text]))?;
        let kept = [text, text, id, int, text, int, int, text, text, id];
        bulk.copy(BulkTable::KeptAnswer, &mut |rows| rows.put(&kept))?;
        assert_eq!(tree::last_checkpoint(bulk, log)?.as_deref(), Some("note"));
        Ok(())
    })
    .unwrap();
    assert_eq!(count(&url, "SELECT COUNT(*) FROM log_checkpoint"), 1);
}

/// Passes bytes on and counts how often the client speaks after the server has: the ways there and back.
fn counting_proxy(server: u16) -> (u16, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let turns = Arc::new(AtomicU32::new(0));
    let counted = turns.clone();
    std::thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
            let servers_turn = Arc::new(AtomicBool::new(true));
            let (turn, turns) = (servers_turn.clone(), counted.clone());
            let speaks = move || {
                if turn.swap(false, Ordering::SeqCst) {
                    turns.fetch_add(1, Ordering::SeqCst);
                }
            };
            let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || pass(from, to, speaks));
            std::thread::spawn(move || pass(server, client, move || servers_turn.store(true, Ordering::SeqCst)));
        }
    });
    (port, turns)
}

fn pass(mut from: TcpStream, mut to: TcpStream, each: impl Fn()) {
    let mut bytes = [0; 65_536];
    while let Ok(length) = from.read(&mut bytes) {
        each();
        if length == 0 || to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Both).ok();
}

#[test]
fn a_batch_costs_three_ways_to_the_server_and_back() {
    let (url, _) = registry();
    let (port, turns) = counting_proxy(Postgres::shared().port());
    let store = PostgresStore::open(&Address::parse(&through(&url, port)).unwrap(), at(0)).unwrap();
    let mut writer = store.writer().unwrap();
    let log = log::find_or_create(writer.as_mut(), "a").unwrap();
    let mut cost = 0;
    for index in 0..3 {
        let before = turns.load(Ordering::SeqCst);
        committed(writer.as_mut(), |writer| {
            writer.execute("UPDATE log SET heard_at = heard_at WHERE node = $1", &[Value::Text("a")]).unwrap();
            log::append(writer, log, &batch(index, 1, index)).unwrap();
        });
        cost = turns.load(Ordering::SeqCst) - before;
    }
    assert_eq!(cost, 3, "with the first statement, with the second, for the commit");
    let before = turns.load(Ordering::SeqCst);
    committed(writer.as_mut(), |writer| {
        writer.begin_part().unwrap();
        writer.execute("UPDATE log SET heard_at = heard_at WHERE node = $1", &[Value::Text("a")]).unwrap();
        writer.keep_part().unwrap();
    });
    assert_eq!(turns.load(Ordering::SeqCst) - before, 2, "parts cost none");
    let before = turns.load(Ordering::SeqCst);
    committed(writer.as_mut(), |writer| {
        let heard =
            || Statement { sql: "UPDATE log SET heard_at = heard_at WHERE node = $1", values: vec![Value::Text("a")] };
        writer.execute_all(&[heard(), heard(), heard()]).unwrap();
    });
    assert!(turns.load(Ordering::SeqCst) - before <= 3, "what is run together is sent together");
}

#[test]
fn who_follows_the_changes_waits_for_no_other_reader() {
    let (_, store) = registry();
    let (store, held): (&dyn Store, _) = (&store, std::sync::Barrier::new(17));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let read = store.find(|connection| {
                    connection.now()?;
                    held.wait();
                    while !done.load(Ordering::Acquire) {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    Ok(())
                });
                read.unwrap();
            });
        }
        held.wait();
        let watch = Stopwatch::start();
        store.find_at_once(|connection| canhbao::store::changes::head(connection)).unwrap();
        let waited = watch.elapsed();
        done.store(true, Ordering::Release);
        assert!(waited < Duration::from_secs(1), "it waited {waited:?}");
    });
}
