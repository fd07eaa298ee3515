//! The process is killed at each call that makes something durable. Afterwards everything is in the database or the archive
//! is complete, the log verifies, and the same command ends what was begun.

use crate::registry::{CHECKS_A_HIT, Ran, Registry, assert_says, run};
use crate::support::process::BINARY;
use std::process::Command;

/// Kills a command at its n-th call of a kind; `false` if it has fewer of them.
fn killed(registry: &Registry, calls: &str, number: u32, arguments: &[&str]) -> bool {
    let inject = format!("inject={calls}:signal=SIGKILL:when={number}");
    let mut command = Command::new("strace");
    command.current_dir(registry.0.path()).args(["-f", "-qq", "-o", "trace"]);
    command.args(["-e", &format!("trace={calls}"), "-e", &inject, BINARY]).args(arguments);
    let ran: Ran = run(&mut command);
    assert!(ran.code == Some(0) || ran.code.is_none() || ran.code == Some(137), "{ran:?}");
    ran.code != Some(0)
}

#[tokio::test]
async fn a_kill_at_any_step_of_an_archive_loses_nothing() {
    let (whole, between) = Registry::with(600, 300).await;
    let entries = whole.count("SELECT MAX(place + size) FROM log_batch");
    let archive = ["log", "archive", "--data", "data", "--before", &between, "--to", "archive"];
    let mut kills = 0;
    for calls in ["fsync,fdatasync", "rename,renameat,renameat2", "unlink,unlinkat", "pwrite64"] {
        // Writes are many and alike; every few of them is enough.
        let step = if calls == "pwrite64" { 9 } else { 1 };
        for number in (1..).step_by(step) {
            let registry = whole.copy();
            if !killed(&registry, calls, number, &archive) {
                break;
            }
            kills += 1;
            let sealed = registry.count("SELECT COUNT(*) FROM log_archive");
            let left = registry.count("SELECT SUM(size) FROM log_batch");
            if sealed == 0 {
                assert!(left >= entries, "{calls} {number}: all is there");
                registry.verify("data", &[]).done();
                registry.archive(&between, "archive").done();
            } else {
                registry.verify("archive", &[]).done();
            }
            let answers = registry.count("SELECT SUM(checks) FROM archived_answer");
            assert_eq!(answers, 600 / CHECKS_A_HIT, "{calls} {number}: all are kept, and once");
            let verified = registry.verify("data", &["--archive", "archive"]).done();
            assert_says(&verified, &["entries: 0 to before", "not yet covered by a checkpoint: 0"]);
            assert!(registry.count("SELECT MAX(place + size) FROM log_batch") > entries);
        }
    }
    assert!(kills > 8, "{kills} kills");
}

#[tokio::test]
async fn a_finished_archive_of_an_interrupted_call_is_taken_up() {
    let (registry, between) = Registry::with(600, 300).await;
    let earlier = registry.copy();
    registry.archive(&between, "archive").done();
    std::fs::copy(registry.path("archive"), earlier.path("archive")).unwrap();
    std::fs::write(earlier.path("archive.unfinished"), "half").unwrap();
    earlier.archive(&between, "archive").done();
    earlier.verify("data", &["--archive", "archive"]).done();
    let same = [&registry, &earlier].map(|registry| std::fs::read(registry.path("archive")).unwrap());
    assert_eq!(same[0], same[1]);
    for registry in [&registry, &earlier] {
        assert_eq!(registry.count("SELECT checks FROM archived_answer"), 600 / CHECKS_A_HIT);
        assert_eq!(registry.count("SELECT answers FROM log_archive"), 1);
    }
}

#[tokio::test]
async fn a_kill_at_any_step_of_a_rotation_leaves_a_key_and_is_finished() {
    let (whole, _) = Registry::with(3, 0).await;
    let before = whole.key();
    let rotate = ["log", "rotate-key", "--data", "data"];
    let mut kills = 0;
    for calls in ["fsync,fdatasync", "rename,renameat,renameat2", "unlink,unlinkat", "write", "openat"] {
        let step = if calls == "openat" { 7 } else { 1 };
        for number in (1..).step_by(step) {
            let registry = whole.copy();
            if !killed(&registry, calls, number, &rotate) {
                break;
            }
            kills += 1;
            // There is a key, and the log goes on with it.
            let key = registry.key();
            let again = registry.copy();
            again.grow(1).await;
            again.canhbao(&["log", "verify", "data", "--key", &before]).done();
            if key == before {
                let printed = registry.canhbao(&rotate).done();
                assert_eq!(registry.key(), printed.trim());
                assert_ne!(registry.key(), before);
            } else {
                registry.canhbao(&rotate).failed(1, "not announced yet");
            }
            registry.grow(1).await;
            registry.canhbao(&["log", "verify", "data", "--key", &before]).done();
        }
    }
    assert!(kills > 8, "{kills} kills");
}
