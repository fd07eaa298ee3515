//! Attacks on the log of a stopped registry: whoever can write its database can change anything in it, and nothing of that may
//! pass the verification, with the key and the checkpoints that an auditor kept. Chance is seeded; `CANHBAO_TESTS=whole`
//! runs ten thousand attacks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

#[path = "../support/mod.rs"]
mod support;

mod content;
mod files;
mod rewriting;
mod rows;
mod specimen;
mod tree;

use content::Content;
use specimen::{Specimen, Victim};
use std::collections::BTreeMap;
use support::chance::{Random, amount};
use support::verdict::{self, Verdict};

const TAMPERINGS: u64 = 300;
const TAMPERINGS_WHOLE: u64 = 10_000;

/// What is done to a victim, and its name.
struct Tampering {
    name: &'static str,
    /// Whether the database stays one: then it must be told what is wrong in the log, and not only that it cannot be read.
    keeps_the_form: bool,
    apply: fn(&Victim<'_>, &mut Random),
}

#[derive(Default)]
struct Count {
    found: u64,
    unreadable: u64,
    harmless: u64,
}

/// Each tampering is found, or what the log tells is the same as before.
#[tokio::test]
async fn every_tampering_is_found_or_changes_nothing() {
    let mut random = Random::seeded();
    let specimen = Specimen::make().await;
    let before = Content::read(&specimen.database()).unwrap();
    println!("{} entries, {} checkpoints, {} tiles", specimen.size, before.checkpoints.len(), before.tiles.len());
    assert_eq!(verdict::of(&specimen.folder(), &specimen.key, &specimen.kept), Verdict::Sound);
    let all: Vec<&Tampering> = files::ALL.iter().chain(rows::ALL).chain(rewriting::ALL).collect();
    let mut counts: BTreeMap<&str, Count> = BTreeMap::new();
    for number in 0..amount(TAMPERINGS, TAMPERINGS_WHOLE) {
        let tampering = all[usize::try_from(number).unwrap() % all.len()];
        let victim = Victim::of(&specimen);
        (tampering.apply)(&victim, &mut random);
        let count = counts.entry(tampering.name).or_default();
        match verdict::of(victim.folder(), &specimen.key, &specimen.kept) {
            Verdict::Tampered(_) => count.found += 1,
            Verdict::Unreadable(why) => {
                assert!(!tampering.keeps_the_form, "{number}, {}: {why}", tampering.name);
                count.unreadable += 1;
            }
            Verdict::Sound => {
                let after = Content::read(&victim.database());
                let same = after.is_ok_and(|after| after.tells_nothing_else_than(&before));
                assert!(same, "{number}, {}: not found", tampering.name);
                count.harmless += 1;
            }
        }
    }
    for (name, Count { found, unreadable, harmless }) in &counts {
        println!("{name}: {found} found, {unreadable} unreadable, {harmless} change nothing that the log tells");
    }
    let found: u64 = counts.values().map(|count| count.found).sum();
    assert!(found > 0 && counts.len() == all.len());
    specimen.leave().await;
}

/// Alone it is a sound log; only what somebody kept tells that it is another one than it was.
#[tokio::test]
async fn a_restored_older_backup_that_goes_on_writing_is_found_against_a_kept_checkpoint() {
    let mut specimen = Specimen::make().await;
    let forked = specimen.go_on_from_older().await;
    assert_eq!(verdict::of(&forked, &specimen.key, &[]), Verdict::Sound);
    let found = verdict::of(&forked, &specimen.key, &specimen.kept);
    assert!(matches!(found, Verdict::Tampered(_)), "{found:?}");
    specimen.leave().await;
}
