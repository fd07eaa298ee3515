//! `backup` and `restore`: a copy counts when it was verified, overwrites nothing, and is told apart from what came after it.

use crate::registry::{Registry, assert_says, flip, grow, run, without_triggers};
use crate::support::process::BINARY;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

#[tokio::test]
async fn nothing_is_overwritten() {
    let (registry, _) = Registry::with(300, 0).await;
    fs::create_dir(registry.path("taken")).unwrap();
    fs::write(registry.path("taken/file"), "mine").unwrap();
    registry.canhbao(&["backup", "--data", "data", "--to", "taken"]).failed(1, "not empty");
    registry.canhbao(&["backup", "--data", "absent", "--to", "backup"]).failed(1, "has no registry");
    registry.canhbao(&["restore", "--from", "taken", "--to", "other"]).failed(1, "no finished backup");
    registry.canhbao(&["backup", "--data", "data", "--to", "backup"]).done();
    registry.canhbao(&["backup", "--data", "data", "--to", "backup"]).failed(1, "not empty");
    registry.canhbao(&["restore", "--from", "backup", "--to", "data"]).failed(1, "not empty");
    assert_eq!(fs::read(registry.path("taken/file")).unwrap(), b"mine");
}

#[tokio::test]
async fn a_backup_that_was_tampered_with_or_is_older_than_a_kept_checkpoint_is_refused() {
    let (registry, _) = Registry::with(600, 0).await;
    registry.canhbao(&["backup", "--data", "data", "--to", "backup"]).done();
    registry.grow(5).await;
    fs::write(registry.path("kept"), registry.checkpoint()).unwrap();
    let kept = ["--checkpoint", "kept"];
    let restore = ["restore", "--from", "backup", "--to", "restored"];
    registry.canhbao(&[&restore[..], &kept].concat()).failed(1, "it is missing: the log once had");
    assert!(!registry.path("restored").exists());
    registry.canhbao(&[&["backup", "--data", "data", "--to", "newer"][..], &kept].concat()).done();
    let backed_up = without_triggers(&registry.path("backup/registry.db"));
    flip(&backed_up, "log_batch", "entries", "true", 60);
    drop(backed_up);
    registry.canhbao(&restore).failed(1, "tampered with");
    assert!(!registry.path("restored").exists());
    // What is made and turns out bad keeps its mark.
    let change = "UPDATE log_checkpoint SET note = replace(note, 'registry.example/main', 'registry.example/other')";
    registry.without_triggers().execute(change, []).unwrap();
    registry.canhbao(&["backup", "--data", "data", "--to", "bad"]).failed(1, "tampered with");
    registry.canhbao(&["restore", "--from", "bad", "--to", "restored"]).failed(1, "no finished backup");
}

#[tokio::test]
async fn a_log_that_is_being_written_is_backed_up_at_one_moment_and_restored() {
    let (registry, _) = Registry::with(20_000, 0).await;
    let before = registry.count("SELECT MAX(place + size) FROM log_batch");
    let data = registry.data();
    let mut command = Command::new(BINARY);
    command.current_dir(registry.0.path()).args(["backup", "--data", "data", "--to", "backup"]);
    let backing_up = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        tokio::task::spawn_blocking(move || run(&mut command)).await.unwrap()
    };
    let (_, ran) = tokio::join!(grow(&data, 60_000), backing_up);
    let said = ran.done();
    assert_says(&said, &["backed up: backup", "root: ", "statistics from: main/0"]);
    let end = |text: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix("entries: 0 to before ")).unwrap();
        line.parse().unwrap()
    };
    let after = registry.count("SELECT MAX(place + size) FROM log_batch");
    assert!((before..after).contains(&end(&said)), "{before} {said} {after}");
    let mode = |name: &str| fs::metadata(registry.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("backup"), 0o700);
    for name in ["keys/log-signing.pem", "keys/token-signing.pem", "keys/pepper.hex", "canhbao.toml"] {
        assert_eq!(mode(&format!("backup/{name}")), 0o600, "{name}");
        let [copy, own] = ["backup", "data"].map(|place| fs::read(registry.path(place).join(name)).unwrap());
        assert_eq!(copy, own);
    }
    for name in ["unfinished", "lock", "operator.json"] {
        assert!(!registry.path("backup").join(name).exists(), "{name}");
    }
    let restored = registry.canhbao(&["restore", "--from", "backup", "--to", "restored"]).done();
    assert_eq!(end(&restored), end(&said));
    assert_says(&restored, &[&format!("the backup ends before log entry {}, of 20", end(&said)), "is lost"]);
    // It goes on, and a checkpoint of what is lost tells.
    fs::write(registry.path("kept"), registry.checkpoint()).unwrap();
    grow(&registry.path("restored"), 70_000).await;
    registry.verify("restored", &[]).done();
    registry.verify("restored", &["--checkpoint", "kept"]).failed(1, "tampered with");
}

#[tokio::test]
async fn a_database_that_is_damaged_beside_the_log_is_not_backed_up() {
    let (registry, _) = Registry::with(300, 0).await;
    // An index that does not say what its table does, as after a lost write.
    for change in [
        "CREATE TABLE mislaid AS SELECT * FROM sqlite_master WHERE name = 'flag_version_by_change'; \
         PRAGMA writable_schema = ON; DELETE FROM sqlite_master WHERE name = 'flag_version_by_change'",
        "INSERT INTO flag_version (flag, version, change, body) VALUES (x'01', 1, 1, '{}')",
        "PRAGMA writable_schema = ON; INSERT INTO sqlite_master SELECT * FROM mislaid; DELETE FROM mislaid",
    ] {
        let database = registry.sql();
        database.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false).unwrap();
        database.execute_batch(change).unwrap();
    }
    registry.verify("data", &[]).done();
    registry.canhbao(&["backup", "--data", "data", "--to", "backup"]).failed(1, "the database is damaged");
    registry.canhbao(&["restore", "--from", "backup", "--to", "restored"]).failed(1, "no finished backup");
}

#[tokio::test]
async fn nothing_is_written_to_what_a_backup_is_made_or_restored_from() {
    let (registry, _) = Registry::with(300, 0).await;
    // As long as somebody has it open, what was written last is in the -wal file alone.
    let held = registry.sql();
    held.execute_batch("CREATE TABLE beside (number INTEGER)").unwrap();
    let (backed_up, restored) = (registry.copy(), registry.copy());
    drop(held);
    let files = ["data/registry.db", "data/registry.db-wal"];
    let all = |of: &Registry| files.map(|name| fs::read(of.path(name)).unwrap());
    let (before, entries) = (all(&backed_up), registry.count("SELECT MAX(place + size) FROM log_batch"));
    assert!(!before[1].is_empty());
    let said = backed_up.canhbao(&["backup", "--data", "data", "--to", "backup"]).done();
    assert_says(&said, &[&format!("entries: 0 to before {entries}")]);
    assert!(all(&backed_up) == before);
    let copied = rusqlite::Connection::open(backed_up.path("backup/registry.db")).unwrap();
    copied.query_row("SELECT COUNT(*) FROM beside", [], |_| Ok(())).unwrap();
    drop(copied);
    let said = restored.canhbao(&["restore", "--from", "data", "--to", "restored"]).done();
    assert_says(&said, &[&format!("entries: 0 to before {entries}")]);
    assert!(all(&restored) == before);
    // From a directory in which nothing can be written.
    let backup = backed_up.path("backup");
    let mode = |mode| fs::set_permissions(&backup, PermissionsExt::from_mode(mode)).unwrap();
    let names = || fs::read_dir(&backup).unwrap().map(|found| found.unwrap().file_name()).collect::<Vec<_>>();
    let before = names();
    mode(0o500);
    backed_up.canhbao(&["restore", "--from", "backup", "--to", "again"]).done();
    mode(0o700);
    assert_eq!(names(), before);
}

#[tokio::test]
async fn a_registry_with_archives_is_backed_up_and_restored() {
    let (registry, between) = Registry::with(600, 300).await;
    registry.archive(&between, "archive").done();
    registry.canhbao(&["backup", "--data", "data", "--to", "backup"]).done();
    registry.canhbao(&["restore", "--from", "backup", "--to", "restored"]).done();
    grow(&registry.path("restored"), 10).await;
    registry.verify("restored", &["--archive", "archive"]).done();
}

#[tokio::test]
async fn a_copy_during_which_the_log_s_key_was_changed_is_refused() {
    let (registry, _) = Registry::with(300, 0).await;
    let mut rotated = false;
    let copy = canhbao::server::Copy::make(&registry.data(), &registry.path("backup"), &mut |_, _| {
        if !std::mem::replace(&mut rotated, true) {
            registry.canhbao(&["log", "rotate-key", "--data", "data"]).done();
        }
    });
    let error = copy.err().unwrap().to_string();
    assert!(rotated && error.contains("changed meanwhile"), "{error}");
    registry.canhbao(&["restore", "--from", "backup", "--to", "restored"]).failed(1, "no finished backup");
    registry.grow(1).await;
    registry.canhbao(&["backup", "--data", "data", "--to", "second"]).done();
    grow(&registry.path("second"), 1).await;
}
