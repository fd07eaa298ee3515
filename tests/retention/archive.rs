//! `log archive`: what is sealed, what is refused, what may go and what is found when something else went.

use crate::registry::{Registry, assert_says, flip, let_go, run};
use crate::support::process::Process;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

#[tokio::test]
async fn nothing_is_archived_while_a_server_or_nothing_old_is_there() {
    let (registry, _) = Registry::with(600, 10).await;
    registry.archive("2020-01-01", "old").failed(1, "nothing to archive");
    registry.archive("yesterday", "old").failed(2, "a day such as 2026-01-31");
    let data = registry.data();
    let home = canhbao::server::Home::open(&data).unwrap();
    registry.archive("2100-01-01", "old").failed(1, "in use");
    drop(home);
    let_go();
    assert!(!registry.path("old").exists() && !registry.path("old.unfinished").exists());
    assert_says(&registry.verify("data", &[]).done(), &["entries: 0 to before"]);
}

#[tokio::test]
async fn a_file_that_is_no_archive_of_what_is_due_is_left_as_it_is() {
    let (registry, between) = Registry::with(600, 300).await;
    fs::write(registry.path("other"), "a letter").unwrap();
    registry.archive(&between, "other").failed(1, "left as it is");
    assert_eq!(fs::read(registry.path("other")).unwrap(), b"a letter");
    // An archive of another registry.
    let (other, later) = Registry::with(600, 300).await;
    other.archive(&later, "archive").done();
    fs::copy(other.path("archive"), registry.path("other")).unwrap();
    registry.archive(&between, "other").failed(1, "left as it is");
    // The own one, once it is recorded.
    registry.archive(&between, "archive").done();
    registry.grow(300).await;
    let entries = registry.count("SELECT SUM(size) FROM log_batch");
    registry.archive("2100-01-01", "archive").failed(1, "left as it is");
    assert_eq!(registry.count("SELECT SUM(size) FROM log_batch"), entries);
}

#[tokio::test]
async fn a_log_that_was_tampered_with_is_not_archived() {
    let (registry, between) = Registry::with(600, 300).await;
    flip(&registry.without_triggers(), "log_batch", "entries", "place < 300", 60);
    registry.archive(&between, "archive").failed(1, "tampered with");
    assert!(!registry.path("archive").exists());
}

#[tokio::test]
async fn what_is_not_sealed_cannot_be_deleted() {
    let (registry, between) = Registry::with(600, 300).await;
    let refused = |sql: &str| {
        let error = registry.sql().execute(sql, []).unwrap_err().to_string();
        assert!(error.contains("append-only") || error.contains("follows"), "{sql}: {error}");
    };
    let each = || {
        refused("DELETE FROM log_batch");
        refused("DELETE FROM log_tile");
        refused("DELETE FROM log_checkpoint");
        refused("DELETE FROM log_batch WHERE place = (SELECT MIN(place) FROM log_batch)");
        refused(
            "INSERT INTO log_archive SELECT 0, place + size, 0, 0, '', x'', NULL FROM log_batch WHERE place > 0 AND place + size NOT IN (SELECT place FROM log_checkpoint) UNION SELECT 0, 100000, 0, 0, '', x'', NULL",
        );
        refused("INSERT INTO log_archive SELECT 5, MAX(place) - 5, 0, 0, '', x'', NULL FROM log_checkpoint");
    };
    each();
    registry.archive(&between, "archive").done();
    each();
    refused("UPDATE log_archive SET size = size + 1");
    refused("DELETE FROM log_archive");
    refused("UPDATE archived_answer SET checks = checks + 1");
    refused("DELETE FROM archived_answer");
}

#[tokio::test]
async fn entries_that_went_without_an_archive_are_found() {
    let (registry, _) = Registry::with(70_000, 300).await;
    // As an archive would leave it, but no entry of the log says so.
    let database = registry.without_triggers();
    let checkpoint: i64 =
        database.query_row("SELECT MAX(place) FROM log_checkpoint WHERE place < 70020", [], |row| row.get(0)).unwrap();
    let at: i64 = database
        .query_row("SELECT at_max FROM log_batch WHERE place + size = ?1", [checkpoint], |row| row.get(0))
        .unwrap();
    database
        .execute("INSERT INTO log_archive VALUES (0, ?1, ?2, 0, 'nowhere', zeroblob(32), NULL)", [checkpoint, at])
        .unwrap();
    database.execute("DELETE FROM log_batch WHERE place < ?1", [checkpoint]).unwrap();
    database.execute("DELETE FROM log_tile WHERE place < 65536 AND place % 256 = 0", []).unwrap();
    drop(database);
    registry.verify("data", &[]).failed(1, "entry 0: it is missing, and no entry under a checkpoint says");
}

#[tokio::test]
async fn a_registry_that_says_it_is_an_archive_is_not_believed() {
    let (registry, between) = Registry::with(600, 300).await;
    registry.archive(&between, "registry.db").failed(2, "never of an archive");
    registry.archive(&between, "archive").done();
    assert_says(&registry.verify("archive", &[]).done(), &["this is an archive"]);
    registry.grow(300).await;
    let other = "UPDATE log_archive SET digest = zeroblob(32)";
    registry.without_triggers().execute_batch(&format!("{other}; PRAGMA user_version = 1")).unwrap();
    for path in ["data", "data/registry.db"] {
        registry.verify(path, &[]).failed(1, "entry 0: the database holds a mark that it is an archive");
    }
    registry.canhbao(&["backup", "--data", "data", "--to", "backup"]).failed(1, "a mark that it is an archive");
    registry.archive("2100-01-01", "second").failed(1, "a mark that it is an archive");
}

#[tokio::test]
async fn what_changes_in_the_tree_before_the_archives_end_is_found() {
    let (registry, between) = Registry::with(70_000, 300).await;
    registry.archive(&between, "archive").done();
    for (column, place) in [("hashes", 1), ("root", 1), ("hashes", 65_536), ("root", 65_536), ("hashes", 69_888)] {
        let copy = registry.copy();
        flip(&copy.without_triggers(), "log_tile", column, &format!("place = {place}"), 31);
        copy.verify("data", &[]).failed(1, "tampered with");
    }
    for change in [
        // A checkpoint from before the end.
        "UPDATE log_checkpoint SET note = replace(note, '\n1\n', '\n3\n') WHERE place = (SELECT MIN(place) FROM log_checkpoint)",
        "UPDATE log_checkpoint SET note = replace(note, '.example/', '.sample/') WHERE place < 60000",
        "DELETE FROM log_tile WHERE place = 1",
        "DELETE FROM log_tile WHERE place = 65536",
        "DELETE FROM log_batch WHERE place = (SELECT MIN(place) FROM log_batch)",
        "DELETE FROM log_archive",
        "UPDATE log_archive SET digest = zeroblob(32)",
        "UPDATE log_archive SET at_max = at_max - 1",
        "INSERT INTO log_tile SELECT 0, root, hashes FROM log_tile WHERE place = 65536",
    ] {
        let copy = registry.copy();
        assert!(copy.without_triggers().execute(change, []).unwrap() > 0, "{change}");
        let ran = copy.verify("data", &[]);
        assert!(ran.code == Some(1) && ran.stderr.contains("tampered with"), "{change}: {ran:?}");
    }
}

#[tokio::test]
async fn the_log_goes_on_from_archive_to_archive_and_is_verified_as_one() {
    let (registry, between) = Registry::with(70_000, 500).await;
    let end = registry.count("SELECT MIN(place) FROM log_checkpoint WHERE place > 70000");
    let kept = registry.checkpoint();
    fs::write(registry.path("kept"), kept).unwrap();
    let said = registry.archive(&between, "first").done();
    assert_says(&said, &[&format!("archived: entries 0 to before {end}"), "sha256: ", &registry.key()]);
    assert!(!registry.path("first.unfinished").exists());
    assert_eq!(fs::metadata(registry.path("first")).unwrap().permissions().mode() & 0o777, 0o600);
    let all = registry.count("SELECT MAX(place + size) FROM log_batch");
    assert_says(
        &registry.verify("first", &[]).done(),
        &[&format!("entries: 0 to before {end}"), "not yet covered by a checkpoint: 0"],
    );
    let alone = registry.verify("data", &["--checkpoint", "kept"]).done();
    assert_says(&alone, &[&format!("entries: {end} to before {all}"), &format!("before {end} are in archives")]);
    let whole = registry.verify("data", &["--archive", "first", "--checkpoint", "kept"]).done();
    assert_says(&whole, &[&format!("entries: 0 to before {all}")]);
    let root = |text: &str| text.lines().find(|line| line.starts_with("root: ")).unwrap().to_owned();
    assert_eq!(root(&alone), root(&whole));

    let later = registry.grow(70_000).await;
    registry.grow(700).await;
    registry.archive(&later, "second").done();
    assert_says(&registry.verify("second", &[]).done(), &[&format!("entries: {end} to before")]);
    assert_says(&registry.verify("second", &["--archive", "first"]).done(), &["entries: 0 to before"]);
    registry.verify("data", &[]).done();
    registry.verify("data", &["--archive", "first"]).failed(2, "was not given");
    let both = ["--archive", "second", "--archive", "first"];
    let all = registry.count("SELECT MAX(place + size) FROM log_batch");
    assert_says(&registry.verify("data", &both).done(), &[&format!("entries: 0 to before {all}")]);
    // One bit of an entry in an archive: of a digest, as between the entries a file has bytes that mean nothing.
    let mut bytes = fs::read(registry.path("first")).unwrap();
    let middle = bytes.len() / 2;
    let digest = middle + bytes[middle..].windows(32).position(|part| part == [7; 32]).unwrap();
    bytes[digest] ^= 1;
    fs::write(registry.path("first"), bytes).unwrap();
    registry.verify("data", &both).failed(1, "entry 0: the archive that should begin with it");
    registry.verify("first", &[]).failed(1, "tampered with");
}

#[tokio::test]
async fn a_server_with_archives_starts_and_its_log_goes_on() {
    let (registry, between) = Registry::with(600, 300).await;
    registry.canhbao(&["log", "verify", "data", "--key", &registry.key()]).done();
    registry.archive(&between, "archive").done();
    let data = registry.data();
    // `init` without a certificate of its own.
    let mut openssl = Command::new("openssl");
    openssl.current_dir(&data).args([
        "req",
        "-x509",
        "-newkey",
        "ed25519",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]);
    openssl.args(["-addext", "subjectAltName=DNS:localhost", "-keyout", "tls.key", "-out", "tls.pem"]);
    assert_eq!(run(&mut openssl).code, Some(0));
    fs::create_dir(data.join("tls")).unwrap();
    fs::rename(data.join("tls.key"), data.join("tls/server.key")).unwrap();
    fs::rename(data.join("tls.pem"), data.join("tls/server.pem")).unwrap();
    let process = Process::start(&[
        "serve",
        "--data",
        data.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
        "--metrics-listen",
        "127.0.0.1:0",
    ])
    .await;
    let (status, told) = process.terminate().await;
    assert!(status.success(), "{status}: {told:?}");
    registry.verify("data", &["--archive", "archive"]).done();
}
