//! What proves the log, as it is served: the key, checkpoints, tiles, bundles, consistency and receipts. What was kept of
//! them over restarts and offline is in `proofs_kept`.

use crate::support::contract::CONTRACT;
use crate::support::{Answer, Server, eventually};
use crate::{about, account};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use canhbao::clock::Stopwatch;
use canhbao::log::merkle::{self, Edge, Hash, NoProof, TILE_WIDTH, Tiles};
use canhbao::log::note::{Checkpoint, NoteError, VerifierKey};
use canhbao::log::receipt::{Receipt, ReceiptFault};
use canhbao::log::{Act, entries_of, leaf_hash};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const COVERED_WITHIN: Duration = Duration::from_secs(2);
const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";

pub async fn key(server: &Server) -> VerifierKey {
    let answer = server.get("/.well-known/log-key").send().await.is(200);
    assert_eq!(answer.must("content-type"), TEXT);
    VerifierKey::parse(answer.text().strip_suffix('\n').unwrap()).unwrap()
}

/// The last checkpoint, as text and verified.
pub async fn checkpoint(server: &Server, by: &str) -> (String, Checkpoint) {
    let answer = server.get("/log/main/checkpoint").by(by).send().await.is(200);
    assert_eq!((answer.must("content-type"), answer.must("cache-control")), (TEXT, "no-store"));
    let (checkpoint, _) = Checkpoint::parse_signed(&answer.text(), &[key(server).await]).unwrap();
    (answer.text(), checkpoint)
}

/// A checkpoint that covers an entry, which must come in time.
pub async fn checkpoint_over(server: &Server, index: u64) -> (String, Checkpoint) {
    let mut last = None;
    eventually(COVERED_WITHIN, "a checkpoint covers the entry", async || {
        last = Some(checkpoint(server, "auditor").await);
        last.as_ref().is_some_and(|(_, checkpoint)| checkpoint.size > index)
    })
    .await;
    last.unwrap()
}

pub async fn check(server: &Server, number: &str) -> Answer {
    server.post("/v1/checks").by("bank").json(&about(account(number))).send().await.is(200)
}

pub fn index(answer: &Answer) -> u64 {
    answer.must("log-entry").strip_prefix("main/").unwrap().parse().unwrap()
}

/// The receipt of a check; as long as there is none the answer says when to come again.
pub async fn receipt(server: &Server, check: &Value) -> Answer {
    let path = format!("/v1/checks/{}/receipt", check["id"].as_str().unwrap());
    let watch = Stopwatch::start();
    loop {
        let answer = server.get(&path).by("bank").send().await;
        if answer.status == 200 {
            assert_eq!((answer.must("content-type"), answer.must("cache-control")), (TEXT, "no-store"));
            return answer;
        }
        let refused = answer.refused(503, "unavailable");
        assert!((1..=2).contains(&refused.must("retry-after").parse::<u64>().unwrap()));
        assert!(watch.elapsed() < COVERED_WITHIN, "no receipt within {COVERED_WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn read(server: &Server, path: &str) -> Answer {
    server.get(path).by("auditor").send().await
}

async fn tile(server: &Server, level: u8, index: u64, width: u64) -> Vec<u8> {
    let part = if width == 256 { String::new() } else { format!(".p/{width}") };
    let answer = read(server, &format!("/log/main/tile/{level}/{index:03}{part}")).await.is(200);
    assert_eq!(answer.must("content-type"), BYTES);
    assert_eq!(answer.must("cache-control"), "private, max-age=31536000, immutable");
    assert_eq!(answer.header("log-entry"), None, "hashes leave no entry");
    assert_eq!(u64::try_from(answer.body.len()).unwrap(), width * 32);
    answer.body
}

async fn bundle(server: &Server, index: u64, width: u64) -> Answer {
    let part = if width == 256 { String::new() } else { format!(".p/{width}") };
    let answer = read(server, &format!("/log/main/tile/entries/{index:03}{part}")).await.is(200);
    assert_eq!((answer.must("content-type"), answer.must("cache-control")), (BYTES, "no-store"));
    answer.must("log-entry");
    answer
}

/// All tiles of a tree, as a client has them.
struct Fetched(BTreeMap<(u8, u64), Vec<Hash>>);

impl Fetched {
    async fn of(server: &Server, size: u64) -> Self {
        let mut tiles = BTreeMap::new();
        for level in 0..5 {
            for (index, width) in places(size >> (8 * u32::from(level))) {
                let hashes = tile(server, level, index, width).await;
                tiles.insert((level, index), hashes.as_chunks::<32>().0.to_vec());
            }
        }
        Self(tiles)
    }
}

impl Tiles for Fetched {
    type Error = NoProof;

    fn tile(&mut self, level: u8, index: u64, width: u16) -> Result<Vec<Hash>, NoProof> {
        let hashes = self.0.get(&(level, index)).and_then(|tile| tile.get(..usize::from(width)));
        hashes.map(<[Hash]>::to_vec).ok_or(NoProof::TileWidth)
    }
}

/// The tiles or bundles that hold `count` hashes or entries: index and width.
fn places(count: u64) -> Vec<(u64, u64)> {
    let width = u64::from(TILE_WIDTH);
    let mut places: Vec<(u64, u64)> = (0..count / width).map(|index| (index, width)).collect();
    if !count.is_multiple_of(width) {
        places.push((count / width, count % width));
    }
    places
}

/// Some hundred entries at once.
async fn grow(server: &Server, checks: usize) -> Vec<Box<RawValue>> {
    #[derive(Deserialize)]
    struct Body {
        results: Vec<BatchResult>,
    }
    #[derive(Deserialize)]
    struct BatchResult {
        answer: Box<RawValue>,
    }
    let batch = json!({ "checks": vec![about(account("9000000000002")); checks] });
    let answer = server.post("/v1/checks/batch").by("bank").json(&batch).send().await.is(200);
    let body: Body = serde_json::from_slice(&answer.body).unwrap();
    body.results.into_iter().map(|result| result.answer).collect()
}

#[test]
fn the_proofs_that_the_contract_shows_hold() {
    let shown = |path: &str, media: &str, name: &str| {
        let path = path.replace('/', "~1");
        let content = format!("/paths/{path}/get/responses/200/content/{media}/examples/{name}/value");
        CONTRACT.at(&content)
    };
    let text = |path: &str, name: &str| shown(path, "text~1plain", name).as_str().unwrap();
    let key = VerifierKey::parse(text("/.well-known/log-key", "key").trim_end()).unwrap();
    let note = text("/log/{node}/checkpoint", "last");
    let receipt = Receipt::parse(text("/v1/checks/{id}/receipt", "last")).unwrap();
    let (entry, checkpoint) = receipt.verify_entry(&[key]).unwrap();
    assert_eq!((entry.act, receipt.index, receipt.checkpoint.as_str()), (Act::Check, checkpoint.size - 1, note));
    let proved = shown("/v1/log/{node}/consistency", "application~1json", "one_more");
    let proof = hashes(&proved["proof"]);
    assert_eq!((&proved["to"], proof[0]), (&json!(checkpoint.size), receipt.proof[0]));
    // The last entry stands alone on the right of both trees' common part.
    assert_eq!(proof[1], leaf_hash(&receipt.extra));
    let left = merkle::node_hash(&proof[2], &proof[0]);
    let root = merkle::node_hash(&proof[3], &left);
    assert!(merkle::verify_consistency(receipt.index, checkpoint.size, &proof, &root, &checkpoint.root));
}

#[tokio::test]
async fn proofs_are_for_those_whom_they_concern() {
    let server = Server::start_with(10).await;
    let checked = check(&server, "9000000000001").await.json();
    let receipt_path = format!("/v1/checks/{}/receipt", checked["id"].as_str().unwrap());
    receipt(&server, &checked).await;
    for path in ["/log/main/tile/0/000.p/1", "/log/main/tile/entries/000.p/1", "/v1/log/main/consistency?from=1&to=1"] {
        for name in ["bank", "officer", "supervisor", "operator"] {
            server.get(path).by(name).send().await.refused(403, "insufficient_scope");
        }
        server.get(path).send().await.refused(401, "unauthenticated");
        read(&server, path).await.is(200);
    }
    for name in ["auditor", "officer", "operator"] {
        server.get(&receipt_path).by(name).send().await.refused(403, "insufficient_scope");
        checkpoint(&server, name).await;
    }
    server.get(&receipt_path).by("bank_b").send().await.refused(404, "not_found");
    server.get(&receipt_path).send().await.refused(401, "unauthenticated");
    server.get("/log/main/checkpoint").send().await.refused(401, "unauthenticated");
    server.finish().await;
}

#[tokio::test]
async fn what_is_malformed_or_not_there_is_refused() {
    let server = Server::start_with(10).await;
    let (_, last) = checkpoint(&server, "auditor").await;
    assert!(last.size < 255, "the log is longer than this test supposes");
    let malformed = [
        "",
        "0",
        "0/",
        "00/000",
        "6/000",
        "64/000",
        "-1/000",
        "0/0",
        "0/0000",
        "0/x000",
        "0/x000/001",
        "0/001/002",
        "0/+01",
        "0/000.p/0",
        "0/000.p/256",
        "0/000.p/01",
        "0/000.p/",
        "0/000/",
        "0/000.p/1/",
        "entries",
        "entries/",
        "entries/0",
        "Entries/000",
        "entries/000.p",
        "0/x999/x999/x999/x999/x999/x999/x999/999",
    ];
    let beyond = [
        "0/000",
        "0/000.p/255",
        "0/001",
        "0/x999/x999/999",
        "1/000",
        "1/000.p/1",
        "5/000",
        "entries/000",
        "entries/000.p/255",
        "entries/001",
        "entries/x001/000.p/1",
    ];
    for place in malformed.into_iter().chain(beyond) {
        read(&server, &format!("/log/main/tile/{place}")).await.refused(404, "not_found");
    }
    for path in [
        "/log/elsewhere/checkpoint",
        "/log/elsewhere/tile/0/000.p/1",
        "/log/elsewhere/tile/entries/000.p/1",
        "/log/x/y/checkpoint",
        "/v1/log/elsewhere/consistency?from=1&to=1",
        "/v1/log/main/consistency?from=1&to=999999",
        "/v1/log/main/consistency?from=1099511627777&to=18446744073709551615",
    ] {
        read(&server, path).await.refused(404, "not_found");
    }
    for id in ["check_01h2xcejqtf2nbrexx3vqjhp41", "flag_01h2xcejqtf2nbrexx3vqjhp41", "x"] {
        let ask = server.get(&format!("/v1/checks/{id}/receipt")).by("bank");
        ask.send().await.refused(404, "not_found");
    }
    for (path, pointer) in [
        ("/v1/log/main/consistency", "/from"),
        ("/v1/log/main/consistency?to=2", "/from"),
        ("/v1/log/main/consistency?from=2", "/to"),
        ("/v1/log/main/consistency?from=0&to=2", "/from"),
        ("/v1/log/main/consistency?from=01&to=2", "/from"),
        ("/v1/log/main/consistency?from=-1&to=2", "/from"),
        ("/v1/log/main/consistency?from=1&to=0", "/to"),
        ("/v1/log/main/consistency?from=1&to=two", "/to"),
        ("/v1/log/main/consistency?from=1&to=18446744073709551616", "/to"),
        ("/v1/log/main/consistency?from=3&to=2", "/to"),
        ("/v1/log/main/consistency?from=1&from=1&to=2", "/from"),
        ("/v1/log/main/consistency?from=1&to=2&size=3", "/size"),
        ("/log/main/checkpoint?size=1", "/size"),
        ("/log/main/tile/0/000.p/1?width=1", "/width"),
    ] {
        let answer = read(&server, path).await.refused(400, "invalid_request");
        assert_eq!(answer.pointers(), [pointer], "{path}");
    }
    server.finish().await;
}

#[tokio::test]
async fn the_key_has_the_log_s_name_and_verifies_checkpoints_that_grow() {
    let server = Server::start_with(10).await;
    let key = key(&server).await;
    assert_eq!(key.name(), "demo.canhbao.example/main");
    let mut size = 0;
    for _ in 0..3 {
        let checked = check(&server, "9000000000000").await;
        let (note, covering) = checkpoint_over(&server, index(&checked)).await;
        assert_eq!(covering.origin, key.name());
        assert!(covering.size > size);
        size = covering.size;
        let other = VerifierKey::new(key.name(), [7; 32]).unwrap();
        assert_eq!(Checkpoint::parse_signed(&note, &[other]), Err(NoteError::NoKnownKey));
    }
    server.finish().await;
}

#[tokio::test]
async fn a_receipt_proves_the_kept_answer_and_no_other() {
    let server = Server::start_with(10).await;
    let keys = [key(&server).await];
    let [clear, warn] = [check(&server, "9000000000000").await, check(&server, "9000000000001").await];
    let mut receipts = Vec::new();
    for answer in [&clear, &warn] {
        let told = receipt(&server, &answer.json()).await.text();
        let parsed = Receipt::parse(&told).unwrap();
        let verified = parsed.verify(&answer.body, &keys).unwrap();
        assert_eq!((verified.index, verified.origin.as_str()), (index(answer), "demo.canhbao.example/main"));
        assert_eq!(verified.entry.verdict.unwrap().as_str(), answer.json()["verdict"]);
        let entry = read(&server, &format!("/v1/log/entries/{}", answer.must("log-entry"))).await.json();
        assert_eq!(entry["bytes"], STANDARD.encode(&parsed.extra));
        receipts.push((told, parsed));
    }
    assert_eq!(receipts[0].1.verify(&warn.body, &keys), Err(ReceiptFault::Answer));
    assert_eq!(receipts[1].1.verify(&clear.body, &keys), Err(ReceiptFault::Answer));
    let (told, parsed) = &receipts[1];
    for place in 0..warn.body.len() {
        let mut answer = warn.body.clone();
        answer[place] ^= 1 << (place % 8);
        assert_eq!(parsed.verify(&answer, &keys), Err(ReceiptFault::Answer), "changed at {place}");
    }
    for place in 0..told.len() {
        let mut changed = told.clone().into_bytes();
        changed[place] ^= 1 << (place % 8);
        let Ok(changed) = String::from_utf8(changed) else { continue };
        let verified = Receipt::parse(&changed).and_then(|receipt| receipt.verify(&warn.body, &keys));
        assert!(verified.is_err(), "changed at {place}: {changed}");
    }
    server.finish().await;
}

#[tokio::test]
async fn a_receipt_proves_a_check_of_a_batch_by_the_exact_bytes_of_its_answer() {
    let server = Server::start_with(10).await;
    let keys = [key(&server).await];
    let answers = grow(&server, 20).await;
    for answer in answers.iter().step_by(6) {
        let receipt = receipt(&server, &serde_json::from_str(answer.get()).unwrap()).await.text();
        let verified = Receipt::parse(&receipt).unwrap().verify(answer.get().as_bytes(), &keys).unwrap();
        assert_eq!(verified.entry.verdict.unwrap().as_str(), "hold");
    }
    server.finish().await;
}

#[tokio::test]
async fn tiles_and_bundles_make_up_the_tree_of_a_checkpoint() {
    let server = Server::start_with(10).await;
    let (_, early) = checkpoint_over(&server, 0).await;
    let first = tile(&server, 0, 0, early.size).await;
    grow(&server, 700).await;
    let checked = check(&server, "9000000000001").await;
    let (_, late) = checkpoint_over(&server, index(&checked)).await;
    assert!(early.size < 256 && late.size > 600);

    let mut tiles = Fetched::of(&server, late.size).await;
    assert_eq!(merkle::root_of(late.size, &mut tiles), Ok(late.root));
    assert_eq!(merkle::root_of(early.size, &mut tiles), Ok(early.root));
    let (mut edge, mut full) = (Edge::new(), Vec::new());
    for (index, width) in places(late.size) {
        let bundle = bundle(&server, index, width).await;
        let leaves: Vec<Hash> = entries_of(&bundle.body).map(|bytes| leaf_hash(bytes.unwrap())).collect();
        assert_eq!(leaves, tiles.0[&(0, index)], "bundle {index}");
        leaves.into_iter().for_each(|leaf| edge.push(leaf, &mut full));
    }
    assert_eq!((edge.size(), edge.root()), (late.size, late.root));

    // What a tile once was, it still is, and begins with.
    let whole = tile(&server, 0, 0, 256).await;
    for width in [1, 2, early.size, 255] {
        assert!(whole.starts_with(&tile(&server, 0, 0, width).await), "{width}");
    }
    assert_eq!(tile(&server, 0, 0, early.size).await, first);
    assert!(tile(&server, 1, 0, 2).await.starts_with(&tile(&server, 1, 0, 1).await));
    let entries = bundle(&server, 0, 256).await.body;
    let part = bundle(&server, 0, 7).await;
    assert!(entries.starts_with(&part.body) && entries_of(&part.body).count() == 7);
    let reading = read(&server, &format!("/v1/log/entries/{}", part.must("log-entry"))).await.json();
    assert_eq!((&reading["act"], &reading["reference"]), (&json!("log.read"), &json!("entries=main/0-7")));
    server.finish().await;
}

pub async fn consistency(server: &Server, from: u64, to: u64) -> Vec<Hash> {
    let answer = read(server, &format!("/v1/log/main/consistency?from={from}&to={to}")).await.is(200);
    assert_eq!((answer.must("cache-control"), answer.header("log-entry")), ("no-store", None));
    let told = answer.json();
    assert_eq!((&told["from"], &told["to"]), (&json!(from), &json!(to)));
    hashes(&told["proof"])
}

fn hashes(list: &Value) -> Vec<Hash> {
    let hash = |hash: &Value| STANDARD.decode(hash.as_str().unwrap()).unwrap().try_into().unwrap();
    list.as_array().unwrap().iter().map(hash).collect()
}

#[tokio::test]
async fn each_checkpoint_goes_on_from_each_before_it() {
    let server = Server::start_with(10).await;
    let mut kept: Vec<Checkpoint> = Vec::new();
    for checks in [1, 2, 40, 300, 1] {
        grow(&server, checks).await;
        let checked = check(&server, "9000000000000").await;
        kept.push(checkpoint_over(&server, index(&checked)).await.1);
    }
    for (place, newer) in kept.iter().enumerate() {
        for older in &kept[..=place] {
            let proof = consistency(&server, older.size, newer.size).await;
            let holds = |from: &Hash, to: &Hash| merkle::verify_consistency(older.size, newer.size, &proof, from, to);
            assert!(holds(&older.root, &newer.root));
            assert!(!holds(&older.root, &[7; 32]) && !holds(&[7; 32], &newer.root));
        }
    }
    assert!(consistency(&server, kept[0].size, kept[0].size).await.is_empty());
    server.finish().await;
}
