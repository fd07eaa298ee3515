//! Receipts and checkpoints that somebody kept: they hold over restarts of the registry, and offline with the two commands
//! that verify them.

use crate::proofs::{check, checkpoint, checkpoint_over, consistency, index, key, receipt};
use crate::support::Server;
use crate::support::ledger::Ledger;
use crate::support::process::BINARY;
use crate::{about, account, with};
use canhbao::log::merkle;
use canhbao::log::note::{Checkpoint, VerifierKey};
use canhbao::log::receipt::Receipt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a bank and an auditor keep of a moment.
struct Kept {
    key: VerifierKey,
    checkpoint: Checkpoint,
    answer: Vec<u8>,
    receipt: Receipt,
}

impl Kept {
    async fn of(server: &Server) -> Self {
        let answer = check(server, "9000000000003").await;
        let (_, checkpoint) = checkpoint_over(server, index(&answer)).await;
        let receipt = Receipt::parse(&receipt(server, &answer.json()).await.text()).unwrap();
        Self { key: key(server).await, checkpoint, answer: answer.body, receipt }
    }

    /// That the log which a server now has goes on from what it was.
    async fn holds(&self, server: &Server) {
        assert_eq!(key(server).await, self.key);
        self.receipt.verify(&self.answer, &[key(server).await]).unwrap();
        let newer = checkpoint_over(server, self.checkpoint.size).await.1;
        let proof = consistency(server, self.checkpoint.size, newer.size).await;
        let (from, to) = (&self.checkpoint, &newer);
        assert!(merkle::verify_consistency(from.size, to.size, &proof, &from.root, &to.root));
        let again = receipt(server, &serde_json::from_slice(&self.answer).unwrap()).await.text();
        let again = Receipt::parse(&again).unwrap();
        again.verify(&self.answer, std::slice::from_ref(&self.key)).unwrap();
        assert_eq!((again.index, &again.extra), (self.receipt.index, &self.receipt.extra));
    }
}

/// The last checkpoint in the database of a stopped server.
fn last_checkpoint(data: &Path, key: &VerifierKey) -> Checkpoint {
    let database = rusqlite::Connection::open(data.join("registry.db")).unwrap();
    let query = "SELECT note FROM log_checkpoint ORDER BY place DESC LIMIT 1";
    let note: String = database.query_row(query, [], |row| row.get(0)).unwrap();
    Checkpoint::parse_signed(&note, std::slice::from_ref(key)).unwrap().0
}

#[tokio::test]
async fn the_tree_goes_on_after_an_orderly_end_and_after_a_kill() {
    let mut server = Server::start_with(10).await;
    let mut kept = vec![Kept::of(&server).await];
    for end in 0..4 {
        // The last entry comes just before the end.
        let last = check(&server, "9000000000001").await;
        if end % 2 == 0 {
            server.stop().await
        } else {
            server.kill().await
        }
        server.start_again().await;
        kept[0].receipt.verify(&kept[0].answer, &[key(&server).await]).unwrap();
        checkpoint_over(&server, index(&last)).await;
        let proved = Receipt::parse(&receipt(&server, &last.json()).await.text()).unwrap();
        proved.verify(&last.body, &[key(&server).await]).unwrap();
        kept.push(Kept::of(&server).await);
        check(&server, "9000000000000").await;
        for earlier in &kept {
            earlier.holds(&server).await;
        }
    }
    server.finish().await;
}

#[tokio::test]
async fn the_checkpoint_of_an_orderly_end_covers_every_entry() {
    let mut server = Server::start_embedded(10).await;
    let key = key(&server).await;
    for number in ["9000000000000", "9000000000001"] {
        let last = check(&server, number).await;
        server.stop().await;
        let copy = server.copied();
        let entries = u64::try_from(Ledger::read(&copy.data()).entries.len()).unwrap();
        let checkpoint = last_checkpoint(&copy.data(), &key);
        assert_eq!((checkpoint.size, checkpoint.origin.as_str()), (entries, key.name()));
        assert_eq!(checkpoint.size, index(&last) + 1);
        copy.leave().await;
        server.start_again().await;
    }
    server.finish().await;
}

/// Files that somebody keeps, and what the commands say of them.
struct Folder(tempfile::TempDir);

impl Folder {
    fn keep(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// The exit code and all that was said.
    fn run(&self, arguments: &str) -> (Option<i32>, String) {
        let mut command = Command::new(BINARY);
        let output = command.args(arguments.split(' ')).current_dir(self.0.path()).output().unwrap();
        let told = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(told).unwrap())
    }

    #[track_caller]
    fn is(&self, arguments: &str, code: i32, words: &str) {
        let (ended, told) = self.run(arguments);
        assert!(ended == Some(code) && told.contains(words), "{arguments}: {ended:?}, {told}");
    }
}

#[tokio::test]
async fn a_kept_answer_is_verified_offline_by_its_receipt() {
    let server = Server::start_with(10).await;
    let [answer, other] = [check(&server, "9000000000003").await, check(&server, "9000000000003").await];
    let receipt = receipt(&server, &answer.json()).await;
    let folder = Folder(tempfile::tempdir().unwrap());
    folder.keep("answer", &answer.body);
    folder.keep("receipt", &receipt.body);
    folder.keep("key", format!("{}\n", key(&server).await));
    server.finish().await;

    let verify = "receipt verify --answer answer --receipt receipt --key key";
    folder.is(verify, 0, &format!("proved: demo.canhbao.example/main entry {}\n", index(&answer)));
    folder.is(verify, 0, "answered: block to 970436 at ");
    folder.keep("answer", &other.body);
    folder.is(verify, 1, "not proved");
    let mut changed = answer.body.clone();
    let place = changed.len() / 2;
    changed[place] ^= 1;
    folder.keep("answer", changed);
    folder.is(verify, 1, "not proved");
    folder.keep("answer", &answer.body);
    folder.keep("receipt", receipt.text().replacen("index ", "index 1", 1));
    folder.is(verify, 1, "not proved");
    folder.keep("receipt", &receipt.body);
    folder.keep("key", format!("{}\n", VerifierKey::new("demo.canhbao.example/main", [7; 32]).unwrap()));
    folder.is(verify, 1, "not signed by a known key");
    folder.is("receipt verify --answer nowhere --receipt receipt --key key", 3, "nowhere");
}

#[tokio::test]
async fn a_copied_log_is_verified_offline_with_what_was_kept_of_it() {
    const REFERENCE: &str = "PROOF-OF-THIS-TEST-1";
    let mut server = Server::start_embedded(300).await;
    let ask = server.post("/v1/checks").by("bank");
    let answer = ask.json(&with(about(account("9000000000001")), "reference", REFERENCE)).send().await.is(200);
    let receipt = receipt(&server, &answer.json()).await;
    let folder = Folder(tempfile::tempdir().unwrap());
    folder.keep("receipt", &receipt.body);
    folder.keep("checkpoint", checkpoint(&server, "auditor").await.0);
    folder.keep("key", format!("{}\n", key(&server).await));
    check(&server, "9000000000000").await;
    server.stop().await;
    let copy = server.copied();
    server.finish().await;

    let data = copy.data();
    let verify = format!("log verify {} --key key --checkpoint checkpoint --receipt receipt", data.display());
    folder.is(&verify, 0, "sound: demo.canhbao.example/main\n");
    folder.is(&verify, 0, "receipts: 1\n");
    folder.is(&verify, 0, "not yet covered by a checkpoint: 0 entries\n");
    let mut changed = 0;
    for name in ["registry.db", "registry.db-wal"] {
        let Ok(mut bytes) = fs::read(data.join(name)) else { continue };
        let windows = bytes.windows(REFERENCE.len());
        let places: Vec<usize> =
            windows.enumerate().filter(|(_, window)| *window == REFERENCE.as_bytes()).map(|(place, _)| place).collect();
        places.iter().for_each(|place| bytes[*place] ^= 1);
        changed += places.len();
        fs::write(data.join(name), bytes).unwrap();
    }
    assert!(changed > 0, "the entry is not where this test looks for it");
    folder.is(&verify, 1, &format!("entry {}", index(&answer)));
    copy.leave().await;
}
