//! `log verify` and `receipt verify` as an auditor runs them, on files alone. Exit codes: 0 sound, 1 tampered with (the first
//! bad index is named), 2 usage, 3 nothing to verify could be read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use canhbao::domain::party::{ClientId, PartyId};
use canhbao::domain::{CheckId, RequestId, Timestamp, Verdict};
use canhbao::log::merkle::{Edge, Hash, Tiles, inclusion};
use canhbao::log::note::{Checkpoint, SignError, Signer, VerifierKey};
use canhbao::log::receipt::Receipt;
use canhbao::log::{Act, Entry, Exported, Resource, leaf_hash};
use canhbao::store::sqlite::SqliteStore;
use canhbao::store::{Connection, Store, StoreError, Value};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const ORIGIN: &str = "registry.example/main";
const ENTRIES: u64 = 200;
const RECEIPT_OF: u64 = 77;

struct LogKey(Ed25519KeyPair);

impl LogKey {
    fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    fn text(&self) -> String {
        VerifierKey::new(ORIGIN, self.public_key()).unwrap().to_string()
    }
}

impl Signer for LogKey {
    fn name(&self) -> &str {
        ORIGIN
    }

    fn public_key(&self) -> [u8; 32] {
        self.0.public_key().as_ref().try_into().unwrap()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        self.0.sign(message).as_ref().try_into().map_err(|_| SignError::Library)
    }
}

/// The leaves of a log of less than 256 entries.
struct OneTile(Vec<Hash>);

impl Tiles for OneTile {
    type Error = StoreError;

    fn tile(&mut self, _: u8, _: u64, width: u16) -> Result<Vec<Hash>, StoreError> {
        Ok(self.0[..usize::from(width)].to_vec())
    }
}

fn answer(index: u64) -> String {
    let id = CheckId::mint(Timestamp::from_ms(1_795_000_000_000 + index), [1; 16]);
    format!("{{\"id\":\"{id}\",\"verdict\":\"clear\"}}")
}

fn entry(index: u64) -> Entry {
    let at = Timestamp::from_ms(1_795_000_000_000 + index);
    Entry {
        act: Act::Check,
        at,
        request_id: RequestId::mint(at, [2; 16]),
        party: PartyId::parse("970436").unwrap(),
        client: ClientId::parse("core").unwrap(),
        operator: Some(format!("teller-{index}")),
        resource: Some(Resource::Check(CheckId::mint(at, [1; 16]))),
        verdict: Some(Verdict::Clear),
        list_version: 1,
        subjects: Vec::new(),
        answer_digest: Some(Sha256::digest(answer(index)).into()),
        reference: None,
        problem: None,
        count: 1,
    }
}

/// As it stands in the log, whose first entry announces the key.
fn logged(index: u64) -> Entry {
    let announced = (index == 0).then(|| LogKey::new(1).text());
    let act = if announced.is_some() { Act::LogKey } else { Act::Check };
    Entry { act, reference: announced, ..entry(index) }
}

/// What an auditor and a bank have: an export, two checkpoints, the key, an answer and its receipt.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        let (mut edge, mut full, mut leaves, mut export) = (Edge::new(), Vec::new(), Vec::new(), String::new());
        let (key, mut proved) = (LogKey::new(1), Vec::new());
        for index in 0..ENTRIES {
            let entry = logged(index);
            let mut bytes = Vec::new();
            entry.encode(&mut bytes).unwrap();
            let bytes = bytes.split_off(2);
            let line = Exported { node: "main", index, entry: &entry, bytes: &bytes };
            export += &(serde_json::to_string(&line).unwrap() + "\n");
            leaves.push(leaf_hash(&bytes));
            edge.push(leaves[leaves.len() - 1], &mut full);
            if index == RECEIPT_OF {
                proved = bytes;
            }
            if edge.size() == 100 || edge.size() == ENTRIES {
                let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size: edge.size(), root: edge.root() };
                files.write(&format!("checkpoint-{}", edge.size()), &checkpoint.sign(&[&key]).unwrap());
            }
        }
        let proof = inclusion(RECEIPT_OF, 100, &mut OneTile(leaves)).unwrap();
        let receipt = Receipt { index: RECEIPT_OF, proof, extra: proved, checkpoint: files.read("checkpoint-100") };
        files.write("export.ndjson", &export);
        files.write("receipt", &receipt.to_string());
        files.write("answer", &answer(RECEIPT_OF));
        files.write("key", &format!("{}\n", key.text()));
        files
    }

    /// The same log as a database: one batch with the first 100 entries and one with the rest, each under its checkpoint.
    /// It is whole in the `-wal` file as long as the writer is there.
    fn database(&self) -> Box<dyn Connection + Send> {
        let path = self.path("registry.db");
        SqliteStore::create(&path, "registry.example", Timestamp::EPOCH).unwrap();
        let mut writer = SqliteStore::open(&path, Timestamp::EPOCH).unwrap().writer().unwrap();
        writer.execute("INSERT INTO log (node, number) VALUES ('main', 0)", &[]).unwrap();
        for first in [0, 100] {
            let mut bundle = Vec::new();
            for index in first..first + 100 {
                logged(index).encode(&mut bundle).unwrap();
            }
            let int = |number: u64| Value::count(number).unwrap();
            let time = |index: u64| int(entry(index).at.as_ms());
            let row = [int(first), int(100), time(first), time(first + 99), Value::Blob(&bundle)];
            let sql = "INSERT INTO log_batch (place, size, at_min, at_max, entries) VALUES ($1, $2, $3, $4, $5)";
            writer.execute(sql, &row).unwrap();
            let note = self.read(&format!("checkpoint-{}", first + 100));
            let row = [int(first + 100), time(first + 99), Value::Text(&note)];
            writer.execute("INSERT INTO log_checkpoint (place, at, note) VALUES ($1, $2, $3)", &row).unwrap();
        }
        writer
    }

    fn verify_database(&self, path: &str, more: &[&str]) -> (Option<i32>, String) {
        canhbao(self.0.path(), &[&["log", "verify", path, "--key", "key"], more].concat())
    }

    /// Copies files into a new folder.
    fn copy(&self, folder: &str, names: &[&str]) {
        fs::create_dir(self.path(folder)).unwrap();
        for name in names {
            fs::copy(self.path(name), self.path(folder).join(name)).unwrap();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn change(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{text}");
        self.write(name, &text.replacen(from, to, 1));
    }

    /// `log verify` with the key and both checkpoints.
    fn verify(&self, more: &[&str]) -> (Option<i32>, String) {
        let checkpoints = ["--checkpoint", "checkpoint-100", "--checkpoint", "checkpoint-200"];
        let arguments = ["log", "verify", "export.ndjson", "--key", "key"];
        canhbao(self.0.path(), &[&arguments[..], &checkpoints, more].concat())
    }

    fn verify_receipt(&self) -> (Option<i32>, String) {
        let arguments = ["receipt", "verify", "--answer", "answer", "--receipt", "receipt", "--key", "key"];
        canhbao(self.0.path(), &arguments)
    }
}

/// The exit code, and everything that was printed.
fn canhbao(directory: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_canhbao"));
    let output = command.current_dir(directory).args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[track_caller]
fn assert_ends((code, text): (Option<i32>, String), expected: i32, words: &[&str]) {
    assert_eq!(code, Some(expected), "{text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
}

#[test]
fn a_changed_export_is_named_to_the_index() {
    let files = Files::new();
    files.change("export.ndjson", "teller-150", "teller-151");
    assert_ends(files.verify(&[]), 1, &["tampered with: entry 150:"]);
}

#[test]
fn an_export_with_another_entry_in_a_place_is_named_to_the_last_good_checkpoint() {
    let files = Files::new();
    let text = files.read("export.ndjson");
    let mut other = entry(9);
    (other.at, other.operator) = (Timestamp::from_ms(1_795_000_000_000 + 150), None);
    let mut bytes = Vec::new();
    other.encode(&mut bytes).unwrap();
    let line = Exported { node: "main", index: 150, entry: &other, bytes: &bytes[2..] };
    files.change("export.ndjson", text.lines().nth(150).unwrap(), &serde_json::to_string(&line).unwrap());
    assert_ends(files.verify(&[]), 1, &["tampered with: entry 100:", "checkpoint of 200"]);
}

#[test]
fn an_export_cut_short_is_found_by_the_kept_checkpoint() {
    let files = Files::new();
    let text = files.read("export.ndjson");
    let lines: Vec<&str> = text.lines().take(180).collect();
    files.write("export.ndjson", &(lines.join("\n") + "\n"));
    assert_ends(files.verify(&[]), 1, &["tampered with: entry 180:", "200 entries"]);
    files.write("export.ndjson", "");
    assert_ends(files.verify(&[]), 3, &["neither"]);
}

#[test]
fn another_key_proves_nothing() {
    let files = Files::new();
    files.write("key", &LogKey::new(2).text());
    assert_ends(files.verify(&[]), 1, &["entry 0:", "no trusted key"]);
    assert_ends(files.verify_receipt(), 1, &["not proved", "known key"]);
}

#[test]
fn what_is_not_there_or_no_export_cannot_be_read() {
    let files = Files::new();
    let verify = |path: &str, key: &str| canhbao(files.0.path(), &["log", "verify", path, "--key", key]);
    assert_ends(verify("absent", "key"), 3, &["absent"]);
    assert_ends(verify("key", "key"), 3, &["neither a database nor an export"]);
    assert_ends(verify("export.ndjson", "absent"), 3, &["absent"]);
    assert_ends(verify("export.ndjson", "answer"), 3, &["no verifier key"]);
    assert_ends(files.verify(&["--checkpoint", "absent"]), 3, &["absent"]);
    assert_ends(files.verify(&["--receipt", "answer"]), 3, &["no receipt"]);
    fs::remove_file(files.path("answer")).unwrap();
    assert_ends(files.verify_receipt(), 3, &["answer"]);
}

#[test]
fn wrong_usage_ends_with_2() {
    let files = Files::new();
    assert_ends(canhbao(files.0.path(), &["log", "verify", "export.ndjson"]), 2, &["--key"]);
    assert_ends(canhbao(files.0.path(), &["log"]), 2, &["verify"]);
    assert_ends(canhbao(files.0.path(), &["receipt", "verify", "--key", "key"]), 2, &["--answer"]);
    assert_ends(files.verify(&["--checkpoint", "answer"]), 2, &["checkpoint"]);
    files.write("empty", "\n");
    assert_ends(canhbao(files.0.path(), &["log", "verify", "export.ndjson", "--key", "empty"]), 2, &["key"]);
}

#[test]
fn a_sound_export_ends_with_0_and_its_figures() {
    let files = Files::new();
    let receipt = ["--receipt", "receipt"];
    let words = [
        "sound: registry.example/main",
        "entries: 0 to before 200",
        "made: 2026-11-18T11:06:40.000Z to 2026-11-18T11:06:40.199Z",
        "receipts: 1",
        &format!("key: {}", LogKey::new(1).text()),
        "not yet covered by a checkpoint: 0 entries",
    ];
    assert_ends(files.verify(&receipt), 0, &words);
    let key = LogKey::new(1).text();
    let arguments = ["log", "verify", "export.ndjson", "--key", &key, "--checkpoint", "checkpoint-100"];
    assert_ends(canhbao(files.0.path(), &arguments), 0, &["not yet covered by a checkpoint: 100 entries"]);
    let arguments = ["log", "verify", "export.ndjson", "--key", &key];
    assert_ends(canhbao(files.0.path(), &arguments), 1, &["entry 0: no checkpoint"]);
}

#[test]
fn a_kept_answer_is_proved_and_a_changed_one_is_not() {
    let files = Files::new();
    assert_ends(files.verify_receipt(), 0, &["proved: registry.example/main entry 77", "clear to 970436"]);
    files.change("answer", "clear", "block");
    assert_ends(files.verify_receipt(), 1, &["not proved", "answer"]);
    files.write("answer", &answer(RECEIPT_OF));
    files.change("receipt", "index 77", "index 76");
    assert_ends(files.verify_receipt(), 1, &["not proved", "proof"]);
    assert_ends(files.verify(&["--receipt", "receipt"]), 1, &["entry 76:", "receipt"]);
}

#[test]
fn a_tampered_database_is_named_to_the_last_good_checkpoint() {
    let files = Files::new();
    let writer = files.database();
    files.copy("older", &["registry.db", "registry.db-wal"]);
    drop(writer);
    let path = files.path("registry.db");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(10).position(|window| window == b"teller-150").unwrap();
    bytes[at + 9] = b'9';
    fs::write(&path, &bytes).unwrap();
    assert_ends(files.verify_database("registry.db", &[]), 1, &["tampered with: entry 100:"]);
    // The folder from before is sound.
    assert_ends(files.verify_database("older", &[]), 0, &["entries: 0 to before 200"]);
}

#[test]
fn an_older_database_is_found_by_a_kept_checkpoint() {
    let files = Files::new();
    let mut writer = files.database();
    for trigger in ["log_batch_is_never_deleted", "log_checkpoint_is_never_deleted"] {
        writer.execute(format!("DROP TRIGGER IF EXISTS {trigger}").leak(), &[]).unwrap();
    }
    writer.execute("DELETE FROM log_batch WHERE place = 100", &[]).unwrap();
    writer.execute("DELETE FROM log_checkpoint WHERE place = 200", &[]).unwrap();
    let kept = ["--checkpoint", "checkpoint-200"];
    assert_ends(files.verify_database("registry.db", &[]), 0, &["entries: 0 to before 100"]);
    assert_ends(files.verify_database("registry.db", &kept), 1, &["entry 100: it is missing", "200 entries"]);
}

#[test]
fn what_is_no_database_of_a_registry_cannot_be_read() {
    let files = Files::new();
    drop(files.database());
    let whole = fs::read(files.path("registry.db")).unwrap();
    fs::write(files.path("other"), [&whole[..16], &[7; 4096]].concat()).unwrap();
    assert_ends(files.verify_database("other", &[]), 3, &["other"]);
    fs::create_dir(files.path("empty")).unwrap();
    assert_ends(files.verify_database("empty", &[]), 3, &["registry.db"]);
    // But one of which a part is gone was a database.
    for length in [100, 8_192, whole.len() / 8_192 / 2 * 8_192] {
        fs::write(files.path("cut"), &whole[..length]).unwrap();
        assert_ends(files.verify_database("cut", &[]), 1, &["tampered with: entry 0:"]);
    }
}

#[test]
fn a_sound_database_is_read_with_its_wal_and_from_read_only_media() {
    let files = Files::new();
    let writer = files.database();
    files.copy("with wal", &["registry.db", "registry.db-wal"]);
    let sound = ["sound: registry.example/main", "entries: 0 to before 200", "checkpoints: 2 of the log, 1 given"];
    let kept = ["--checkpoint", "checkpoint-100"];
    assert_ends(files.verify_database("with wal", &kept), 0, &sound);
    drop(writer);
    files.copy("settled", &["registry.db"]);
    let folder = files.path("settled");
    let mode = |mode| fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    mode(0o555);
    assert_ends(files.verify_database("settled", &kept), 0, &sound);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing was made beside it");
    mode(0o755);
    let before = fs::read(files.path("registry.db")).unwrap();
    assert_eq!(fs::read(folder.join("registry.db")).unwrap(), before);
}
