//! Old proofs from an archive: receipts of its entries under checkpoints in it.

use crate::registry::{Registry, assert_says};
use std::fs;

#[tokio::test]
async fn receipts_of_archived_entries_are_made_from_the_archive() {
    let (registry, between) = Registry::with(70_000, 300).await;
    registry.archive(&between, "first").done();
    let later = registry.grow(600).await;
    registry.grow(300).await;
    registry.archive(&later, "second").done();
    let [first, second, end] = ["MIN(place)", "MAX(place)", "MAX(place + size)"]
        .map(|what| registry.count(&format!("SELECT {what} FROM log_archive")));
    assert_eq!(first, 0);
    let make = |archive: &str, index: u64| {
        registry.canhbao(&["receipt", "make", "--archive", archive, "--entry", &index.to_string()])
    };
    make("first", second).failed(1, "not in this archive");
    make("second", second - 1).failed(1, "not in this archive");
    make("second", end).failed(1, "not in this archive");
    registry.canhbao(&["receipt", "make", "--archive", "first"]).failed(2, "--entry");
    registry.canhbao(&["receipt", "make", "--archive", "first", "--check", "check_7"]).failed(2, "no id of a check");
    registry.canhbao(&["receipt", "make", "--archive", "absent", "--entry", "1"]).failed(3, "absent");
    for (archive, index) in [
        ("first", 0),
        ("first", 1),
        ("first", 255),
        ("first", 256),
        ("first", 65_535),
        ("first", 65_536),
        ("first", second - 1),
        ("second", second),
        ("second", second + 1),
        ("second", second + 300),
        ("second", end - 1),
    ] {
        let receipt = make(archive, index).done();
        assert_says(&receipt, &["c2sp.org/tlog-proof@v1", &format!("\nindex {index}\n")]);
        fs::write(registry.path("receipt"), receipt).unwrap();
        assert_says(&registry.verify(archive, &["--receipt", "receipt"]).done(), &["receipts: 1"]);
        let chain = ["--archive", "first", "--archive", "second", "--receipt", "receipt"];
        assert_says(&registry.verify("data", &chain).done(), &["receipts: 1"]);
    }
}
