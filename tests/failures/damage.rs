//! What may be on a disk that a server finds: torn write-ahead logs, damaged pages, other databases.

use crate::chance::Random;
use crate::load::{Protocol, fetch_tokens, until_it_is_gone};
use crate::support::ledger::{Ledger, index_of};
use crate::support::{Answer, Server};
use crate::tools::refused;
use crate::{FLAGS, SANDBOX, about};
use nix::sys::signal::Signal;
use std::cell::Cell;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

const TORN_COPIES: u64 = 6;
/// So many pages at most are broken, each in a copy of its own.
const PAGES_MAX: u64 = 20;
const PAGE_BYTES: u64 = 8_192;

/// Load until a SIGKILL at a moment that nobody chose.
async fn killed_under_load(server: &mut Server, random: &mut Random) {
    fetch_tokens(server).await;
    let kill = async {
        random.pause_ms(150, 700).await;
        server.process().signal(Signal::SIGKILL);
    };
    let numbers = Cell::new(0);
    tokio::join!(until_it_is_gone(server, Protocol::Both, &numbers), kill);
    server.kill().await;
}

#[tokio::test]
async fn of_a_torn_write_ahead_log_whole_batches_from_the_start_are_kept() {
    let mut random = Random::seeded();
    let mut server = Server::start_with(FLAGS).await;
    server.stop().await;
    empty_write_ahead_log(&server.data());
    let safe = Ledger::read(&server.data()).entries.len();
    server.start_again().await;
    killed_under_load(&mut server, &mut random).await;
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

/// Puts everything into the database itself; a server that ends leaves it where it is.
fn empty_write_ahead_log(data: &Path) {
    let database = rusqlite::Connection::open(data.join("registry.db")).unwrap();
    let busy: i64 = database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
    database.close().unwrap();
    assert!(busy == 0 && !data.join("registry.db-wal").exists());
}

fn change_byte(path: &Path, at: u64, bits: u8) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ bits], at).unwrap();
}

/// What breaks the form of a page is noticed when the page is read: at start, or by a 5xx. SQLite keeps no checksum of a
/// page, so that a changed letter inside a value is not noticed, and this test is not about that.
#[tokio::test]
async fn a_broken_page_is_refused_or_told_and_never_makes_a_flagged_account_clear() {
    let mut server = Server::start_with(FLAGS).await;
    server.stop().await;
    empty_write_ahead_log(&server.data());
    let pages = std::fs::metadata(server.data().join("registry.db")).unwrap().len() / PAGE_BYTES;
    let (mut at_start, mut told, mut unnoticed) = (0, 0, 0);
    for page in 0..pages.min(PAGES_MAX) {
        let mut copy = server.copied();
        // The kind of a page is its first byte; the first page has the file's header before it.
        let at = if page == 0 { 100 } else { page * PAGE_BYTES };
        change_byte(&copy.data().join("registry.db"), at, 0xff);
        match copy.start_by(copy.serve()).await {
            Err(ended) => {
                assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "page {page}: {ended}");
                assert!(ended.stderr.contains("the database holds"), "page {page}: {ended}");
                at_start += 1;
            }
            Ok(()) if answers_as_before(&copy).await => unnoticed += 1,
            Ok(()) => told += 1,
        }
        copy.leave().await;
    }
    println!("of {pages} pages: {at_start} refused at start, {told} told by 5xx, {unnoticed} not read");
    assert!(at_start > 0 && told > 0, "the damage does not reach what is read");
    server.finish().await;
}

/// Whether every sandbox subject is answered as before and the list of flags is shown; nothing but a 5xx or a lost
/// connection may stand for an answer.
async fn answers_as_before(server: &Server) -> bool {
    let (Some(bank), Some(officer)) = (token(server, "bank").await, token(server, "officer").await) else {
        return false;
    };
    for (number, verdict) in SANDBOX {
        let asked = server.post("/v1/checks").bearer(&bank).json(&about(number)).try_send().await;
        let Some(answer) = answered_or_told(asked) else { return false };
        assert_eq!(answer.json()["verdict"], verdict);
    }
    let listed = answered_or_told(server.get("/v1/flags").bearer(&officer).try_send().await);
    listed.is_some_and(|listed| listed.json()["items"].as_array().unwrap().len() > SANDBOX.len())
}

async fn token(server: &Server, name: &str) -> Option<String> {
    let credential = server.credential(name);
    let form = [("grant_type", "client_credentials")];
    let granted = server.post("/oauth2/token").basic(&credential.id, &credential.secret).form(&form).try_send().await;
    answered_or_told(granted).map(|granted| granted.json()["access_token"].as_str().unwrap().to_owned())
}

fn answered_or_told(sent: reqwest::Result<Answer>) -> Option<Answer> {
    let answer = sent.ok()?;
    assert!(answer.status == 200 || answer.status >= 500, "{answer:?}");
    (answer.status == 200).then_some(answer)
}

#[tokio::test]
async fn a_database_of_a_newer_program_and_what_is_no_database_are_refused() {
    let mut server = Server::start_with(FLAGS).await;
    server.stop().await;
    empty_write_ahead_log(&server.data());
    for (name, words) in [("newer", "migration 99"), ("text", "not a database"), ("empty", ""), ("missing", "")] {
        let copy = server.copied();
        let path = copy.data().join("registry.db");
        match name {
            "newer" => add_migration(&path, 99),
            "text" => std::fs::write(&path, "no database\n".repeat(4_000)).unwrap(),
            "empty" => std::fs::write(&path, "").unwrap(),
            _ => std::fs::remove_file(&path).unwrap(),
        }
        let ended = refused(copy.serve()).await;
        assert_eq!(ended.code, Some(1), "{name}: {ended}");
        let last = ended.stderr.lines().last().unwrap();
        assert!(last.starts_with("canhbao: the database: ") && last.contains(words), "{name}: {last}");
        copy.leave().await;
    }
    server.finish().await;
}

fn add_migration(path: &Path, number: i64) {
    let database = rusqlite::Connection::open(path).unwrap();
    database.execute("INSERT INTO schema_migration (number, applied_at) VALUES ($1, 1)", [number]).unwrap();
}
