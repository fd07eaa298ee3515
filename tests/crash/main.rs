//! Crashes: kills, calls that fail, disks that are full, power cuts. After each one every answer that a client holds has its
//! one entry, the log is sound, and the service answers again. Chance is seeded; `CANHBAO_TESTS=whole` runs all of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

#[path = "../support/mod.rs"]
mod support;

mod calls;
mod disks;
mod full;
mod kills;
mod power;

use support::Server;
use support::load::{SANDBOX, about};
use support::stored::Place;
use support::verdict::{self, Verdict};

/// Generated flags of a server here: none of these tests is about the list.
const FLAGS: u64 = 20;

/// The service answers again, on the directory that it left, and rightly.
async fn goes_on(server: &mut Server) {
    server.start_again().await;
    answers_rightly(server).await;
}

async fn answers_rightly(server: &Server) {
    for (number, verdict) in SANDBOX {
        let check = server.post("/v1/checks").by("bank").json(&about(number)).send().await.is(200);
        assert_eq!(check.json()["verdict"], verdict);
    }
}

/// The log's key, as anybody may ask for it.
async fn log_key(server: &Server) -> String {
    server.get("/.well-known/log-key").send().await.is(200).text().trim_end().to_owned()
}

/// After a crash: every answer has its entry, and `canhbao log verify` finds a copy of what is on the disk sound, or what a
/// shared database holds.
fn verify(server: &Server, key: &str) {
    server.verify();
    if let Place::Shared(_) = server.place() {
        assert_eq!(verdict::of(&server.data(), key, &[]), Verdict::Sound);
        return;
    }
    let copy = tempfile::tempdir().unwrap();
    for name in ["registry.db", "registry.db-wal"] {
        let file = server.data().join(name);
        if file.exists() {
            std::fs::copy(file, copy.path().join(name)).unwrap();
        }
    }
    assert_eq!(verdict::of(copy.path(), key, &[]), Verdict::Sound);
}
