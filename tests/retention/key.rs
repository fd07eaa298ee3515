//! `log rotate-key`: the log says that its key is new, the key before vouches for it, and either verifies the whole.

use crate::registry::{Registry, assert_says, let_go};
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn a_key_that_is_not_announced_yet_is_not_replaced() {
    let (registry, _) = Registry::with(3, 0).await;
    let rotate = ["log", "rotate-key", "--data", "data"];
    let home = canhbao::server::Home::open(&registry.data()).unwrap();
    registry.canhbao(&rotate).failed(1, "in use");
    drop(home);
    let_go();
    registry.canhbao(&rotate).done();
    let keys = || {
        ["log-signing.pem", "log-signing.previous.pem"]
            .map(|name| fs::read(registry.data().join("keys").join(name)).unwrap())
    };
    let rotated = keys();
    registry.canhbao(&rotate).failed(1, "start the server once");
    assert_eq!(keys(), rotated);
    registry.grow(1).await;
    registry.canhbao(&rotate).done();
    assert_eq!(keys()[1], rotated[0]);
}

#[tokio::test]
async fn after_a_rotation_the_old_and_the_new_key_verify_the_log_and_its_archives() {
    let (registry, _) = Registry::with(600, 0).await;
    let mut keys = vec![registry.key()];
    let mut between = String::new();
    for _ in 0..2 {
        let printed = registry.canhbao(&["log", "rotate-key", "--data", "data"]).done();
        keys.push(printed.trim().to_owned());
        assert_eq!(registry.key(), keys[keys.len() - 1]);
        between = registry.grow(600).await;
        registry.grow(300).await;
    }
    let names: Vec<_> = fs::read_dir(registry.data().join("keys")).unwrap().map(Result::unwrap).collect();
    assert_eq!(names.len(), 5, "{names:?}");
    for name in names {
        assert_eq!(name.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{name:?}");
    }
    for key in &keys {
        registry.canhbao(&["log", "verify", "data", "--key", key]).done();
    }
    let said = registry.archive(&between, "archive").done();
    assert_says(&said, &[&keys[0], &keys[1], &keys[2]]);
    for key in &keys {
        registry.canhbao(&["log", "verify", "archive", "--key", key]).done();
        registry.canhbao(&["log", "verify", "data", "--archive", "archive", "--key", key]).done();
    }
    registry.canhbao(&["log", "verify", "data", "--key", &keys[2]]).done();
}

#[tokio::test]
async fn a_key_that_an_archive_announces_verifies_the_rest_after_any_number_of_rotations() {
    let (registry, _) = Registry::with(600, 0).await;
    let rotate = ["log", "rotate-key", "--data", "data"];
    registry.canhbao(&rotate).done();
    let between = registry.grow(600).await;
    registry.grow(300).await;
    registry.archive(&between, "archive").done();
    let mut later = String::new();
    for _ in 0..3 {
        registry.canhbao(&rotate).done();
        later = registry.grow(600).await;
    }
    registry.grow(300).await;
    registry.canhbao(&["backup", "--data", "data", "--to", "backup"]).done();
    registry.canhbao(&["restore", "--from", "backup", "--to", "restored"]).done();
    registry.archive(&later, "second").done();
    registry.verify("data", &["--archive", "archive", "--archive", "second"]).done();
    let list = fs::read_to_string(registry.data().join("keys/log-keys.txt")).unwrap();
    assert_eq!(list.lines().count(), 5, "{list}");
    registry.canhbao(&["log", "verify", "data", "--key", "data/keys/log-keys.txt"]).done();
}
