//! SIGKILL, and what may be on the disk after it: torn write-ahead logs, damaged pages, other databases.

use crate::load::{Held, Protocol, until_it_is_gone};
use crate::support::Server;
use crate::support::ledger::{Ledger, index_of};
use crate::tools::{Random, refused};
use crate::{FLAGS, SANDBOX, about};
use canhbao::log::Act;
use nix::sys::signal::Signal;
use std::cell::Cell;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

const ROUNDS: u64 = 5;
const TORN_COPIES: u64 = 6;
const DAMAGED_COPIES: u64 = 12;
const PAGE_BYTES: u64 = 16_384;

/// Load until a SIGKILL at a moment that nobody chose.
async fn killed_under_load(server: &mut Server, random: &mut Random, numbers: &Cell<u64>) -> Held {
    let kill = async {
        random.pause_ms(150, 700).await;
        server.process().signal(Signal::SIGKILL);
    };
    let (held, ()) = tokio::join!(until_it_is_gone(server, Protocol::Both, numbers), kill);
    server.kill().await;
    held
}

#[tokio::test]
async fn after_each_kill_every_answer_is_in_the_log_and_a_repeated_key_gets_the_first_answer() {
    let mut random = Random::seeded();
    let mut server = Server::start_with(FLAGS).await;
    let numbers = Cell::new(0);
    let mut answered = 0;
    for _ in 0..ROUNDS {
        let held = killed_under_load(&mut server, &mut random, &numbers).await;
        answered += held.answered;
        server.verify();
        server.start_again().await;
        for (number, verdict) in SANDBOX {
            let check = server.post("/v1/checks").by("bank").json(&about(number)).send().await.is(200);
            assert_eq!(check.json()["verdict"], verdict);
        }
        for raised in &held.raised {
            raised.repeat(&server).await;
        }
    }
    println!("{answered} answers, {} flags", numbers.get());
    assert!(answered > ROUNDS, "the load was none");
    server.stop().await;
    let entries = Ledger::read(&server.data()).entries;
    let flags = entries.iter().filter(|entry| entry.act == Act::FlagRaise).count();
    assert_eq!(u64::try_from(flags).unwrap(), numbers.get(), "one flag for each key");
    server.finish().await;
}

#[tokio::test]
async fn of_a_torn_write_ahead_log_whole_batches_from_the_start_are_kept() {
    let mut random = Random::seeded();
    let mut server = Server::start_with(FLAGS).await;
    // Everything so far goes from the write-ahead log into the database.
    server.stop().await;
    server.start_again().await;
    let whole = Ledger::read(&server.data()).entries;
    let safe = whole.len();
    killed_under_load(&mut server, &mut random, &Cell::new(0)).await;
    let whole = Ledger::read(&server.data()).entries;
    let length = std::fs::metadata(server.data().join("registry.db-wal")).unwrap().len();
    assert!(length > 8 * PAGE_BYTES && whole.len() > safe, "the write-ahead log is empty");
    for number in 0..TORN_COPIES {
        let mut copy = server.copied();
        let at = random.below(length);
        let wal = copy.data().join("registry.db-wal");
        // Every other copy is cut off, and the rest has one bit changed.
        if number.is_multiple_of(2) {
            OpenOptions::new().write(true).open(&wal).unwrap().set_len(at).unwrap();
        } else {
            change_byte(&wal, at, 1);
        }
        copy.start_by(copy.serve()).await.unwrap();
        let check = copy.post("/v1/checks").by("bank").json(&about("9000000000003")).send().await.is(200);
        assert_eq!(check.json()["verdict"], "block");
        copy.stop().await;
        let kept = Ledger::read(&copy.data()).entries;
        // Behind what is kept stand the token and the check of above.
        let places = usize::try_from(index_of(check.must("log-entry"))).unwrap();
        assert_eq!(kept.len(), places + 1);
        assert!(safe < places, "what was in the database is gone");
        assert_eq!(kept[..places - 1], whole[..places - 1], "{at} of {length}");
        copy.finish().await;
    }
    server.finish().await;
}

fn change_byte(path: &Path, at: u64, bits: u8) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ bits], at).unwrap();
}

/// SQLite keeps no checksum of a page, so what is changed inside a value is read as it stands. What breaks the form of a
/// page is noticed when the page is read: at start, or by a 5xx, or by the writer.
#[tokio::test]
async fn a_broken_page_is_refused_or_told_and_never_makes_a_flagged_account_clear() {
    let mut random = Random::seeded();
    let mut server = Server::start_with(FLAGS).await;
    server.stop().await;
    let pages = std::fs::metadata(server.data().join("registry.db")).unwrap().len() / PAGE_BYTES;
    let (mut at_start, mut told, mut unnoticed) = (0, 0, 0);
    for number in 0..DAMAGED_COPIES {
        // The first page is always among them.
        let page = if number == 0 { 0 } else { random.below(pages) };
        let mut copy = server.copied();
        // The kind of a page is its first byte; the first page has the file's header before it.
        let at = if page == 0 { 100 } else { page * PAGE_BYTES };
        change_byte(&copy.data().join("registry.db"), at, 0xff);
        match copy.start_by(copy.serve()).await {
            Err(ended) => {
                assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "page {page}: {ended}");
                assert!(ended.stderr.contains("malformed"), "page {page}: {ended}");
                at_start += 1;
            }
            Ok(()) if answers_as_before(&copy).await => unnoticed += 1,
            Ok(()) => told += 1,
        }
        copy.leave().await;
    }
    println!("of {pages} pages: {at_start} refused at start, {told} told by 5xx, {unnoticed} not read");
    server.finish().await;
}

/// Whether every sandbox subject is answered as before; nothing but a 5xx or a lost connection may stand for an answer.
async fn answers_as_before(server: &Server) -> bool {
    let credential = server.credential("bank");
    let form = [("grant_type", "client_credentials")];
    let granted = server.post("/oauth2/token").basic(&credential.id, &credential.secret).form(&form).try_send().await;
    let Ok(granted) = granted else { return false };
    if granted.status != 200 {
        assert!(granted.status >= 500, "{granted:?}");
        return false;
    }
    let token = granted.json()["access_token"].as_str().unwrap().to_owned();
    for (number, verdict) in SANDBOX {
        match server.post("/v1/checks").bearer(&token).json(&about(number)).try_send().await {
            Ok(answer) if answer.status == 200 => assert_eq!(answer.json()["verdict"], verdict),
            Ok(answer) => {
                assert!(answer.status >= 500, "{answer:?}");
                return false;
            }
            Err(_) => return false,
        }
    }
    true
}

#[tokio::test]
async fn a_database_of_a_newer_program_and_what_is_no_database_are_refused() {
    let mut server = Server::start_with(FLAGS).await;
    server.stop().await;
    let damages: [(&str, fn(&Path), &str); 4] = [
        ("newer", newer, "migration 99"),
        ("text", |path| std::fs::write(path, "no database\n".repeat(4_000)).unwrap(), "not a database"),
        ("empty", |path| std::fs::write(path, "").unwrap(), "database"),
        ("missing", |path| std::fs::remove_file(path).unwrap(), "database"),
    ];
    for (name, damage, words) in damages {
        let copy = server.copied();
        damage(&copy.data().join("registry.db"));
        let ended = refused(copy.serve()).await;
        assert_eq!(ended.code, Some(1), "{name}: {ended}");
        let last = ended.stderr.lines().last().unwrap();
        assert!(last.starts_with("canhbao: the database: ") && last.contains(words), "{name}: {last}");
        copy.leave().await;
    }
    server.finish().await;
}

fn newer(path: &Path) {
    let database = rusqlite::Connection::open(path).unwrap();
    database.execute("INSERT INTO schema_migration (number, applied_at) VALUES (99, 1)", []).unwrap();
}
