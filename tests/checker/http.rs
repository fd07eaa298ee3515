//! The checker over HTTP: it agrees with a sound log of a size at which tiles of every kind exist, and finds fault with each
//! kind of answer in which one bit is another.

use crate::python;
use crate::support::chance::Random;
use crate::support::load::about;
use crate::support::{Server, eventually};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const FLAGS: u64 = 20;
/// More than 256 tiles of 256 entries, so that a tile of level 1 is full.
const ENTRIES_MIN: usize = 70_000;
const CHECKS_AT_ONCE: usize = 1_000;
const FLIPS: u64 = 2;

/// An answer that a bank kept, and a folder for what the checker reads.
struct Kept {
    folder: tempfile::TempDir,
    check: String,
}

impl Kept {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    /// The exit code and what was printed.
    fn run(&self, source: &str, arguments: &[&Path]) -> (Option<i32>, String) {
        let mut command = python();
        command.arg("check_log.py").arg(source).arg("--answer").arg(self.path("answer")).args(["--check", &self.check]);
        let output = command.args(arguments).output().unwrap();
        let printed = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(printed).unwrap())
    }

    fn run_offline(&self) -> (Option<i32>, String) {
        self.run(&format!("file:{}", self.path("kept").to_str().unwrap()), &[])
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn it_agrees_with_the_log_of_another_node_than_the_one_that_answers() {
    let mut server = Server::start_with(FLAGS).await;
    let checks = json!({ "checks": vec![about("9000000000002"); 600] });
    server.stop().await;
    server.start_as("second").await;
    server.post("/v1/checks/batch").by("bank").json(&checks).send().await.is(200);
    let answer = server.post("/v1/checks").by("bank").json(&about("9000000000001")).send().await.is(200);
    assert!(answer.must("log-entry").starts_with("second/"));
    server.stop().await;
    server.start_as("main").await;
    let check = answer.json()["id"].as_str().unwrap().to_owned();
    let kept = Kept { folder: tempfile::tempdir().unwrap(), check };
    kept.write("answer", &answer.body);
    let auditor = kept.write("auditor", server.new_token("auditor", None).await.as_bytes());
    let bank = kept.write("bank", server.new_token("bank", None).await.as_bytes());
    let keys = canhbao::server::log_keys(&server.data(), "second").unwrap();
    let key = kept.write("key", keys[0].to_string().as_bytes());
    let names = ["--ca", "--auditor", "--bank", "--key", "--node"].map(Path::new);
    let values = [&server.ca_file, &auditor, &bank, &key, Path::new("second")];
    let arguments: Vec<&Path> = names.into_iter().zip(values).flat_map(|(name, value)| [name, value]).collect();
    let (code, printed) = kept.run(&server.base_url, &arguments);
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("/second") && printed.contains("on 2 levels"), "{printed}");
    server.finish().await;
}

#[tokio::test]
async fn it_agrees_with_a_log_of_seventy_thousand_entries_and_finds_a_changed_byte_in_it() {
    let server = Server::start_with(FLAGS).await;
    let answer = server.post("/v1/checks").by("bank").json(&about("9000000000001")).send().await.is(200);
    let checks = json!({ "checks": vec![about("9000000000002"); CHECKS_AT_ONCE] });
    for _ in 0..ENTRIES_MIN.div_ceil(CHECKS_AT_ONCE) {
        server.post("/v1/checks/batch").by("bank").json(&checks).send().await.is(200);
    }
    // Checkpoints are signed once a second; the tree that the checker reads first must have its third level.
    eventually(Duration::from_secs(30), "a checkpoint over all of them", async || {
        let note = server.get("/log/main/checkpoint").by("auditor").send().await.is(200).text().to_owned();
        note.lines().nth(1).unwrap().parse::<usize>().unwrap() >= ENTRIES_MIN
    })
    .await;
    let check = answer.json()["id"].as_str().unwrap().to_owned();
    let kept = Kept { folder: tempfile::tempdir().unwrap(), check };
    kept.write("answer", &answer.body);
    let auditor = kept.write("auditor", server.new_token("auditor", None).await.as_bytes());
    let bank = kept.write("bank", server.new_token("bank", None).await.as_bytes());
    let to = kept.path("kept");
    let names = ["--ca", "--auditor", "--bank", "--keep"].map(Path::new);
    let values = [&server.ca_file, &auditor, &bank, &to];
    let arguments: Vec<&Path> = names.into_iter().zip(values).flat_map(|(name, value)| [name, value]).collect();
    let (code, printed) = kept.run(&server.base_url, &arguments);
    println!("{printed}");
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("on 3 levels"), "{printed}");
    assert_eq!(kept.run_offline(), (Some(0), printed));
    let mut random = Random::seeded();
    let all = files_below(&to);
    for part in ["log-key", "checkpoint.1", "checkpoint.2", "tile/0/", "tile/1/", "tile/2/", "tile/entries/", "receipt"]
    {
        let files: Vec<&PathBuf> = all.iter().filter(|path| path.to_str().unwrap().contains(part)).collect();
        for _ in 0..FLIPS {
            let pick = |random: &mut Random, length: usize| {
                usize::try_from(random.below(u64::try_from(length).unwrap())).unwrap()
            };
            let file = files[pick(&mut random, files.len())];
            let good = fs::read(file).unwrap();
            let mut bad = good.clone();
            let place = pick(&mut random, bad.len());
            bad[place] ^= 1 << random.below(8);
            fs::write(file, bad).unwrap();
            let (code, printed) = kept.run_offline();
            assert_eq!(code, Some(1), "byte {place} of {}: {printed}", file.display());
            assert!(printed.contains("FAULT"), "{printed}");
            fs::write(file, good).unwrap();
        }
    }
    server.finish().await;
}
