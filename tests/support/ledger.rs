//! The whole logs of stopped servers, verified against everything that a test saw: no answer without its entry, no entry
//! lost, doubled or out of order, and nothing in them that nobody asked for.

use super::contract::CONTRACT;
use super::stored::{Place, Stored, StoredBatch};
use super::{Answer, Ask};
use canhbao::domain::RequestId;
use canhbao::log::receipt::Receipt;
use canhbao::log::{Act, Entry, SKEW_MS_MAX, entries_of};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

/// What a 503 says that was given before anything was written.
pub const OVERLOADED: [&str; 2] = ["The registry is overloaded.", "Too many requests at once."];
/// As these, of a receipt that was asked for too early.
pub const NOT_COVERED: &str = "No checkpoint covers the check yet.";

const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
/// What is answered the same again for the same Idempotency-Key.
const CREATING: [&str; 2] = ["POST /v1/flags", "POST /v1/imports"];

/// One answer, as the log must know it.
pub struct Sighting {
    /// `POST /v1/flags/{}/lift`: the method and the contract's template.
    operation: String,
    status: u16,
    request_id: RequestId,
    /// The node that answered.
    node: String,
    /// `Log-Entry`.
    position: Option<Position>,
    idempotency_key: Option<String>,
    /// Who asked, if the test knows.
    client: Option<String>,
    /// Its entry was made before its bytes were known.
    is_stream: bool,
    body: Vec<u8>,
}

/// A node's name, and an index in its log.
type Position = (String, u64);

#[derive(Deserialize)]
struct BatchBody<'a> {
    #[serde(borrow)]
    results: Vec<BatchResult<'a>>,
}

#[derive(Deserialize)]
struct BatchResult<'a> {
    #[serde(borrow)]
    answer: Option<&'a RawValue>,
    log_entry: Option<String>,
    problem: Option<Value>,
}

impl Sighting {
    pub fn of(ask: &Ask<'_>, idempotency_key: Option<String>, client: Option<String>, answer: &Answer) -> Self {
        let path = ask.path.split('?').next().unwrap();
        let template = CONTRACT.template(path).unwrap_or("");
        let parts: Vec<&str> =
            template.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect();
        Self {
            operation: format!("{} {}", ask.method, parts.join("/")),
            status: answer.status,
            request_id: RequestId::parse(answer.must("x-request-id")).expect("X-Request-Id is an id"),
            node: ask.server.node.clone(),
            position: answer.header("log-entry").map(position_of),
            idempotency_key,
            client,
            is_stream: (template.starts_with("/v1/log/")
                || ["/v1/imports/{id}/report", "/v1/flags/export"].contains(&template))
                && ["application/x-ndjson", "text/csv", XLSX].contains(&answer.media_type()),
            body: answer.body.clone(),
        }
    }

    pub fn request_id(&self) -> RequestId {
        self.request_id
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The act that an answer with a `Log-Entry` must have left.
    fn act(&self) -> Act {
        match self.operation.as_str() {
            "POST /v1/checks" => Act::Check,
            "GET /v1/checks/{}" | "GET /v1/checks/{}/receipt" => Act::CheckRead,
            "POST /v1/checks/{}/outcome" => Act::CheckOutcome,
            "GET /v1/statistics" => Act::StatisticsRead,
            "GET /v1/statistics/report" => Act::StatisticsReport,
            "POST /v1/flags" => Act::FlagRaise,
            "GET /v1/flags"
            | "GET /v1/flags/duplicates"
            | "GET /v1/flags/stale"
            | "GET /v1/flags/unparsable"
            | "GET /v1/flags/quality" => Act::FlagList,
            "GET /v1/flags/{}" => Act::FlagRead,
            "POST /v1/flags/{}/approve" => Act::FlagApprove,
            "POST /v1/flags/{}/reject" => Act::FlagReject,
            "POST /v1/flags/{}/lift" => Act::FlagLift,
            "POST /v1/flags/{}/renew" => Act::FlagRenew,
            "POST /v1/flags/{}/amend" => Act::FlagAmend,
            "POST /v1/flags/{}/transfer" => Act::FlagTransfer,
            "POST /v1/flags/merge" => Act::FlagMerge,
            "POST /v1/flags/search" => Act::FlagSearch,
            "GET /v1/flags/{}/history" => Act::FlagRead,
            "POST /v1/flags/{}/objections" => Act::ObjectionFile,
            "GET /v1/objections" | "GET /v1/objections/{}" => Act::ObjectionList,
            "POST /v1/objections/{}/uphold" => Act::ObjectionUphold,
            "POST /v1/objections/{}/dismiss" => Act::ObjectionDismiss,
            "POST /v1/imports" if self.status == 201 => Act::ImportReceive,
            "POST /v1/imports" | "GET /v1/imports" | "GET /v1/imports/{}" | "GET /v1/imports/{}/report" => {
                Act::ImportRead
            }
            "POST /v1/imports/{}/approve" => Act::ImportApprove,
            "POST /v1/imports/{}/reject" => Act::ImportReject,
            "GET /v1/flags/export" => Act::FlagExport,
            "GET /v1/log/entries"
            | "GET /v1/log/entries/{}/{}"
            | "POST /v1/log/search"
            | "GET /log/{}/tile/entries/{}" => Act::LogRead,
            "POST /v1/log/reports/subject" | "GET /v1/log/reports/flags/{}" => Act::LogReport,
            "POST /v1/parties" => Act::PartyCreate,
            "GET /v1/parties" | "GET /v1/parties/{}" => Act::PartyList,
            "POST /v1/parties/{}/disable" => Act::PartyDisable,
            "POST /v1/parties/{}/enable" => Act::PartyEnable,
            "POST /v1/clients" => Act::ClientCreate,
            "GET /v1/clients" | "GET /v1/clients/{}" => Act::ClientList,
            "POST /v1/clients/{}/rotate" => Act::ClientRotate,
            "POST /v1/clients/{}/disable" => Act::ClientDisable,
            "POST /v1/clients/{}/enable" => Act::ClientEnable,
            other => panic!("{other} is not known to leave an entry"),
        }
    }
}

/// `main/17` is 17.
pub fn index_of(log_entry: &str) -> u64 {
    let (node, index) = position_of(log_entry);
    assert_eq!(node, "main", "another node's entry");
    index
}

pub fn position_of(log_entry: &str) -> Position {
    let (node, index) = log_entry.split_once('/').expect("Log-Entry is a node, a slash and a number");
    (node.to_owned(), index.parse().expect("Log-Entry is a node, a slash and a number"))
}

/// One log, read whole.
pub struct Ledger {
    pub entries: Vec<Entry>,
}

/// All the logs of a registry, by node.
pub struct Ledgers {
    logs: BTreeMap<String, Ledger>,
    /// Where each request has left entries.
    by_request: HashMap<RequestId, Vec<Position>>,
}

/// Verifies all logs of a registry to which no process writes.
pub fn check<'s>(place: &Place, seen: impl IntoIterator<Item = &'s Sighting>) {
    let ledgers = Ledgers::read(place);
    let mut requests = HashSet::new();
    let mut by_position: BTreeMap<&Position, Vec<&Sighting>> = BTreeMap::new();
    for sighting in seen {
        assert!(requests.insert(sighting.request_id), "{} has an X-Request-Id twice", sighting.operation);
        match &sighting.position {
            Some(position) => by_position.entry(position).or_default().push(sighting),
            None => ledgers.check_sighting(sighting),
        }
    }
    for (position, sightings) in by_position {
        // Of several at once it is not known which one came first, but the entry knows.
        let id = ledgers.entry(position).request_id;
        let first = sightings.iter().find(|sighting| sighting.request_id == id);
        match first {
            Some(first) => ledgers.check_sighting(first),
            None => ledgers.check_lost(position, sightings[0]),
        }
        let first = first.copied().unwrap_or(sightings[0]);
        for again in sightings.iter().filter(|sighting| sighting.request_id != id) {
            ledgers.check_repetition(first, again);
        }
    }
}

impl Ledger {
    /// The log of a registry that has only one, in this data directory or in the database that it names.
    pub fn read(data: &Path) -> Self {
        let mut logs = Ledgers::read(&Place::of(data)).logs;
        assert_eq!(logs.keys().collect::<Vec<_>>(), ["main"]);
        logs.remove("main").unwrap()
    }

    /// The entries since the first token was issued: what came before belongs to the set-up.
    pub fn since_set_up(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().skip_while(|entry| entry.act != Act::TokenIssue)
    }

    pub fn entry(&self, index: u64) -> &Entry {
        self.entries.get(usize::try_from(index).unwrap()).unwrap_or_else(|| panic!("an entry is lost: {index}"))
    }
}

impl Ledgers {
    pub fn read(place: &Place) -> Self {
        let stored = Stored::read(place);
        let logs: BTreeMap<String, Ledger> = stored
            .logs
            .iter()
            .map(|(node, batches)| (node.clone(), Ledger { entries: read_entries(node, batches) }))
            .collect();
        let mut by_request: HashMap<RequestId, Vec<Position>> = HashMap::new();
        for (node, log) in &logs {
            for (index, entry) in (0..).zip(&log.entries) {
                by_request.entry(entry.request_id).or_default().push((node.clone(), index));
            }
        }
        let ledgers = Self { logs, by_request };
        ledgers.check_changes(&stored);
        ledgers
    }

    /// The log of a node that has written.
    pub fn log(&self, node: &str) -> &Ledger {
        self.logs.get(node).unwrap_or_else(|| panic!("{node} has no log"))
    }

    fn entry(&self, (node, index): &Position) -> &Entry {
        self.log(node).entry(*index)
    }

    /// The entries that a request left, in whatever log.
    pub fn of_request(&self, id: RequestId) -> Vec<&Entry> {
        self.by_request.get(&id).into_iter().flatten().map(|position| self.entry(position)).collect()
    }

    /// The first answer never arrived, and only repetitions of its key tell of it.
    fn check_lost(&self, position: &Position, again: &Sighting) {
        assert!(again.idempotency_key.is_some(), "an answer has the entry of another request");
        assert!(self.of_request(again.request_id).is_empty(), "a repetition left an entry");
        self.check_entry(again, self.entry(position).request_id, position, "a repetition of a lost answer");
    }

    /// The same bytes again, for the same key, and no entry of its own.
    fn check_repetition(&self, first: &Sighting, again: &Sighting) {
        // An outcome is told once for a check, which is key enough.
        let is_outcome = [first, again].iter().all(|seen| seen.operation == "POST /v1/checks/{}/outcome");
        assert!(is_outcome || again.idempotency_key.is_some() && again.idempotency_key == first.idempotency_key);
        assert_eq!((first.status, &first.body), (again.status, &again.body), "a repetition with another answer");
        assert!(self.of_request(again.request_id).is_empty(), "a repetition left an entry");
    }

    fn check_sighting(&self, seen: &Sighting) {
        let left = self.of_request(seen.request_id);
        let told = format!("{} -> {}", seen.operation, seen.status);
        match (seen.operation.as_str(), seen.status) {
            ("POST /v1/checks/batch", 200) => self.check_batch(seen, left.len()),
            ("POST /oauth2/token", 200) => {
                assert_eq!(left.iter().map(|entry| entry.act).collect::<Vec<_>>(), [Act::TokenIssue], "{told}");
            }
            (_, 403) => {
                assert_eq!(left.iter().map(|entry| entry.act).collect::<Vec<_>>(), [Act::Refused], "{told}");
                assert_eq!(left[0].problem.as_deref(), Some("insufficient_scope"));
                assert_eq!(left[0].count, 1);
            }
            // Who was told to come back knows nothing; the entry may be there, once. Refused before the queue it is not.
            (_, 503) => {
                let most = usize::from(may_have_left_an_entry(&seen.json()));
                assert!(left.len() <= most, "{told} left {} entries", left.len());
            }
            // One entry tells of all that a minute refused; it has the first one's request id.
            (_, 429) => assert!(left.iter().all(|entry| entry.problem.as_deref() == Some("rate_limited")), "{told}"),
            _ => match &seen.position {
                None => assert!(left.is_empty(), "{told} left an entry that it does not name"),
                Some(position) => {
                    assert_eq!(left.len(), 1, "{told} left {} entries", left.len());
                    assert_eq!(position.0, seen.node, "{told}: an entry of another node");
                    self.check_entry(seen, seen.request_id, position, &told);
                }
            },
        }
    }

    fn check_entry(&self, seen: &Sighting, request: RequestId, position: &Position, told: &str) {
        let entry = self.entry(position);
        assert_eq!(entry.request_id, request, "{told}: {position:?} is another request's");
        assert_eq!(entry.act, seen.act(), "{told}");
        if let Some(client) = &seen.client {
            assert_eq!(entry.client.as_str(), client, "{told}");
        }
        if seen.is_stream {
            return assert_eq!(entry.answer_digest, None, "{told}: a digest of what was not sent yet");
        }
        assert_eq!(entry.answer_digest, Some(Sha256::digest(&seen.body).into()), "{told}: of another body");
        match seen.operation.as_str() {
            "GET /log/{}/tile/entries/{}" => return self.check_bundle(entry, &seen.body),
            "GET /v1/checks/{}/receipt" => return self.check_receipt(entry, &seen.body),
            // It comes in several forms, and names no resource.
            "GET /v1/statistics/report" => return,
            _ => {}
        }
        let body = seen.json();
        if let Some(id) = body.get("id").or(body.get("client_id")) {
            let resource = entry.resource.as_ref().map(ToString::to_string);
            assert_eq!(resource.as_deref(), id.as_str(), "{told}");
        }
        if entry.act == Act::Check {
            check_answer(entry, &body);
        }
    }

    /// The entries that a reading's own entry names.
    fn check_bundle(&self, reading: &Entry, bundle: &[u8]) {
        let read = reading.reference.as_deref().and_then(|text| text.strip_prefix("entries=")?.rsplit_once('-'));
        let (first, end) = read.unwrap();
        let (node, first) = position_of(first);
        let [first, end] = [first, end.parse().unwrap()].map(|number: u64| usize::try_from(number).unwrap());
        let given: Vec<Entry> = entries_of(bundle).map(|bytes| read_entry(bytes.expect("a torn bundle"))).collect();
        assert_eq!(given, self.log(&node).entries[first..end], "a bundle of other entries than were asked for");
    }

    /// The entry of the check that the reading's own entry names, where it stands.
    fn check_receipt(&self, reading: &Entry, body: &[u8]) {
        let receipt = Receipt::parse(std::str::from_utf8(body).unwrap()).unwrap();
        let origin = receipt.checkpoint.lines().next().unwrap();
        let (_, node) = origin.rsplit_once('/').unwrap();
        let check = self.log(node).entry(receipt.index);
        assert_eq!((check.act, &check.resource), (Act::Check, &reading.resource), "a receipt of another check");
        assert_eq!(&read_entry(&receipt.extra), check, "a receipt of another entry");
    }

    fn check_batch(&self, seen: &Sighting, left: usize) {
        let body: BatchBody<'_> = serde_json::from_slice(&seen.body).unwrap();
        let (mut answered, mut unknown) = (HashSet::new(), 0);
        for result in body.results {
            let Some(answer) = result.answer else {
                unknown += usize::from(may_have_left_an_entry(&result.problem.expect("neither answer nor problem")));
                continue;
            };
            let position = position_of(&result.log_entry.expect("an answer without its entry"));
            assert_eq!(position.0, seen.node, "an answer with an entry of another node");
            let entry = self.entry(&position);
            assert!(answered.insert(position), "two answers of a batch have one entry");
            assert_eq!((entry.request_id, entry.act), (seen.request_id, Act::Check));
            assert_eq!(entry.answer_digest, Some(Sha256::digest(answer.get()).into()), "of other bytes");
            check_answer(entry, &serde_json::from_str(answer.get()).unwrap());
        }
        let named = answered.len()..=answered.len() + unknown;
        assert!(named.contains(&left), "a batch left {left} entries, and not {named:?}");
    }

    /// Each change has its entry, and each entry of a changing act its change.
    fn check_changes(&self, stored: &Stored) {
        let mut changing = HashSet::new();
        for (number, change) in (1..).zip(&stored.changes) {
            assert_eq!(change.number, number, "a change is missing");
            let position = (change.node.clone(), change.log_index);
            let entry = self.entry(&position);
            assert_eq!((entry.list_version, entry.at.as_ms()), (number, change.at), "{position:?}");
            assert!(changes(entry.act), "{:?} changes nothing", entry.act);
            assert!(changing.insert(position), "two changes have one entry");
        }
        assert_eq!(stored.change_head, length(&stored.changes), "change_head is not the last change's number");
        for (node, log) in &self.logs {
            for (index, entry) in (0..).zip(&log.entries).filter(|(_, entry)| changes(entry.act)) {
                assert!(changing.contains(&(node.clone(), index)), "{:?} at {node}/{index} has no change", entry.act);
            }
        }
    }
}

/// After a commit that failed nobody knows what the disk holds; who was refused before the queue has left nothing.
fn may_have_left_an_entry(problem: &Value) -> bool {
    let detail = problem["detail"].as_str().unwrap();
    problem["status"] == 503 && !OVERLOADED.contains(&detail) && detail != NOT_COVERED
}

fn check_answer(entry: &Entry, body: &Value) {
    assert_eq!(entry.verdict.unwrap().as_str(), body["verdict"]);
    assert_eq!(entry.list_version, body["list_version"]);
    assert_eq!(entry.at.to_string(), body["checked_at"].as_str().unwrap());
    let results = body["results"].as_array().unwrap();
    assert_eq!(entry.subjects.len(), results.len());
    for (subject, result) in entry.subjects.iter().zip(results) {
        assert_eq!(subject.verdict.unwrap().as_str(), result["verdict"]);
        let ids: Vec<String> = subject.flags.iter().map(|flag| flag.id.to_string()).collect();
        let shown: Vec<&str> = result["flags"].as_array().unwrap().iter().map(|f| f["id"].as_str().unwrap()).collect();
        assert_eq!(ids, shown);
    }
}

fn read_entries(node: &str, batches: &[StoredBatch]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut latest = 0;
    for stored in batches {
        assert_eq!(stored.first_index, length(&entries), "{node}: a batch is missing or doubled");
        let bundle = entries_of(&stored.entries);
        let batch: Vec<Entry> = bundle.map(|bytes| read_entry(bytes.expect("a torn bundle"))).collect();
        assert_eq!(stored.size, length(&batch));
        assert!(!batch.is_empty(), "a batch without an entry");
        let times: Vec<u64> = batch.iter().map(|entry| entry.at.as_ms()).collect();
        for at in &times {
            latest = latest.max(*at);
            assert!(at + SKEW_MS_MAX >= latest, "an entry lies further back than the skew allows");
        }
        assert_eq!(stored.at_min, *times.iter().min().unwrap());
        assert_eq!(stored.at_max, latest);
        entries.extend(batch);
    }
    entries
}

fn length<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap()
}

fn read_entry(bytes: &[u8]) -> Entry {
    let entry = Entry::decode(bytes).expect("an entry that cannot be read");
    let mut again = Vec::new();
    entry.encode(&mut again).unwrap();
    assert_eq!(again[2..], *bytes, "an entry that is written in another way than it was read");
    entry
}

fn changes(act: Act) -> bool {
    match act {
        Act::Check
        | Act::CheckRead
        | Act::FlagRead
        | Act::FlagList
        | Act::FlagSearch
        | Act::ObjectionList
        | Act::CheckOutcome
        | Act::StatisticsRead
        | Act::StatisticsReport
        | Act::PartyList
        | Act::ClientList
        | Act::TokenIssue
        | Act::Refused
        | Act::LogKey
        | Act::LogRead
        | Act::LogReport
        | Act::LogArchive
        | Act::ImportRead
        | Act::FlagExport => false,
        Act::FlagRaise
        | Act::FlagApprove
        | Act::FlagReject
        | Act::FlagLift
        | Act::FlagRenew
        | Act::FlagAmend
        | Act::FlagTransfer
        | Act::FlagMerge
        | Act::FlagCorrect
        | Act::ObjectionFile
        | Act::ObjectionUphold
        | Act::ObjectionDismiss
        | Act::FlagImport
        | Act::ImportReceive
        | Act::ImportApprove
        | Act::ImportReject
        | Act::PartyCreate
        | Act::PartyDisable
        | Act::PartyEnable
        | Act::ClientCreate
        | Act::ClientRotate
        | Act::ClientDisable
        | Act::ClientEnable => true,
    }
}
