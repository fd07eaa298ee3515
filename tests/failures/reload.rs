//! SIGHUP: what can be read is in force from then on, and what cannot leaves what was.

use crate::support::{Server, client, eventually};
use crate::tools::{canhbao, configure, times_logged};
use crate::{FLAGS, about, proposal};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

const RELOAD_TIME_MAX: Duration = Duration::from_secs(5);
const BANKS: &str = include_str!("../../src/domain/banks.csv");

/// SIGHUP, and then this message once more than before.
async fn hang_up(server: &Server, message: &str) {
    let before = times_logged(server.process(), message);
    server.process().signal(Signal::SIGHUP);
    eventually(RELOAD_TIME_MAX, message, async || times_logged(server.process(), message) > before).await;
}

/// Whether a new connection that trusts this CA alone is made.
async fn is_trusted(server: &Server, ca: &Path) -> bool {
    let http = client(ca).build().unwrap();
    http.get(format!("{}/livez", server.base_url)).send().await.is_ok()
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_a_broken_one_changes_nothing() {
    let server = Server::start_with(FLAGS).await;
    let other = tempfile::tempdir().unwrap();
    let other = other.path().join("registry");
    canhbao(&["init", other.to_str().unwrap(), "--self-signed", "127.0.0.1"]);
    let (old, new) = (server.data().join("tls"), other.join("tls"));
    let old_ca = server.data().join("old-ca.pem");
    fs::copy(old.join("ca.pem"), &old_ca).unwrap();
    let kept = client(&old_ca).build().unwrap();
    let check = || server.post("/v1/checks").by("bank").json(&about("9000000000001")).through(&kept);
    check().send().await.is(200);

    let good = fs::read(old.join("server.pem")).unwrap();
    fs::write(old.join("server.pem"), "no certificate").unwrap();
    hang_up(&server, "certificate not reloaded").await;
    // A certificate that is not the key's.
    fs::copy(new.join("server.pem"), old.join("server.pem")).unwrap();
    hang_up(&server, "certificate not reloaded").await;
    fs::write(old.join("server.pem"), &good).unwrap();
    fs::set_permissions(old.join("server.key"), Permissions::from_mode(0o644)).unwrap();
    hang_up(&server, "certificate not reloaded").await;
    assert!(is_trusted(&server, &old_ca).await);
    assert!(!is_trusted(&server, &new.join("ca.pem")).await);

    fs::set_permissions(old.join("server.key"), Permissions::from_mode(0o600)).unwrap();
    for file in ["server.pem", "server.key"] {
        fs::copy(new.join(file), old.join(file)).unwrap();
    }
    hang_up(&server, "certificate reloaded").await;
    assert!(is_trusted(&server, &new.join("ca.pem")).await);
    assert!(!is_trusted(&server, &old_ca).await);
    // A connection that was made before lives on.
    check().send().await.is(200);
    server.finish().await;
}

#[tokio::test]
async fn a_new_bank_directory_resolves_new_aliases_and_a_broken_one_changes_nothing() {
    let mut server = Server::start_with(FLAGS).await;
    server.stop().await;
    configure(&server.data(), "", "bank_directory", "banks.csv");
    let file = server.data().join("banks.csv");
    fs::write(&file, BANKS).unwrap();
    server.start_by(server.serve()).await.unwrap();
    let by = |bank: &str| -> Value {
        json!({ "subjects": [{ "kind": "account", "bank": bank, "number": "9000000000003" }] })
    };
    let ask = async |bank: &str| server.post("/v1/checks").by("bank").json(&by(bank)).send().await;
    ask("VCB").await.is(200);
    ask("NEWNAME").await.refused(422, "invalid_subject");

    fs::write(&file, with_alias("NEWNAME")).unwrap();
    hang_up(&server, "bank directory reloaded").await;
    let answer = ask("NEWNAME").await.is(200).json();
    assert_eq!((&answer["verdict"], &answer["results"][0]["subject"]["bank"]), (&"block".into(), &"970436".into()));

    // The name of another bank.
    fs::write(&file, with_alias("BIDV")).unwrap();
    hang_up(&server, "bank directory not reloaded").await;
    fs::write(&file, "").unwrap();
    hang_up(&server, "bank directory not reloaded").await;
    fs::remove_file(&file).unwrap();
    hang_up(&server, "bank directory not reloaded").await;
    ask("NEWNAME").await.is(200);
    ask("VCB").await.is(200);
    server.finish().await;
}

#[tokio::test]
async fn flags_of_a_bank_that_left_the_directory_are_told_and_answer_again_when_it_is_back() {
    // None of the generated flags is of this bank.
    const GONE: &str = "970431";
    let mut server = Server::start_with(FLAGS).await;
    server.stop().await;
    configure(&server.data(), "", "bank_directory", "banks.csv");
    let file = server.data().join("banks.csv");
    fs::write(&file, BANKS).unwrap();
    server.start_by(server.serve()).await.unwrap();
    let account = |bank: &str| json!({ "kind": "account", "bank": bank, "number": "9100000000001" });
    let (mut own, mut linking) = (proposal(1), proposal(2));
    (own["subject"], linking["subject"]) = (account(GONE), account("970436"));
    linking["linked"] = json!([account("970415"), account(GONE)]);
    let mut ids = Vec::new();
    for (key, body) in [("own", &own), ("linking", &linking)] {
        let raised = server.post("/v1/flags").by("ward_a").key(key).json(body).send().await.is(201).json();
        let id = raised["id"].as_str().unwrap().to_owned();
        let ask = server.post(&format!("/v1/flags/{id}/approve")).by("supervisor").if_match("\"1\"").json(&json!({}));
        ask.send().await.is(200);
        ids.push(id);
    }
    let ask = async |bank: &str| {
        let body = json!({ "subjects": [account(bank)] });
        server.post("/v1/checks").by("bank").json(&body).send().await
    };
    let lost = async |by: &str| {
        let page = server.get("/v1/flags/unparsable").by(by).send().await.is(200).json();
        let items = page["items"].as_array().unwrap().iter();
        items.map(|item| (item["flag"]["id"].clone(), item["pointers"].clone())).collect::<Vec<_>>()
    };
    let counted = async || {
        let page = server.get("/v1/flags/quality").by("ward_a").send().await.is(200).json();
        page["items"][0]["unparsable"].clone()
    };
    assert_eq!((lost("officer").await, counted().await), (vec![], json!(0)));
    assert_eq!(ask(GONE).await.is(200).json()["verdict"], "warn");

    let without = |line: &&str| !line.starts_with(GONE);
    fs::write(&file, BANKS.lines().filter(without).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    hang_up(&server, "bank directory reloaded").await;
    // It is refused, which is no `clear`; what else a flag names answers as before.
    ask(GONE).await.refused(422, "invalid_subject");
    for bank in ["970436", "970415"] {
        assert_eq!(ask(bank).await.is(200).json()["verdict"], "warn", "{bank}");
    }
    let told = vec![(json!(ids[1]), json!(["/linked/1"])), (json!(ids[0]), json!(["/subject"]))];
    assert_eq!((lost("ward_a").await, lost("officer").await), (told.clone(), told.clone()));
    assert_eq!((lost("ward_b").await, counted().await), (vec![], json!(2)));
    let page = server.get("/v1/flags/unparsable?limit=1").by("ward_a").send().await.is(200).json();
    let next = format!("/v1/flags/unparsable?limit=1&cursor={}", page["next_cursor"].as_str().unwrap());
    let page = server.get(&next).by("ward_a").send().await.is(200).json();
    assert_eq!((&page["items"][0]["flag"]["id"], &page["next_cursor"]), (&json!(ids[0]), &Value::Null));
    // By its id it is changed as ever.
    let reason = json!({ "reason": "The bank is no more" });
    let ask_to_lift = server.post(&format!("/v1/flags/{}/lift", ids[1])).by("ward_a").if_match("\"2\"").json(&reason);
    ask_to_lift.send().await.is(200);
    assert_eq!(lost("ward_a").await, told[1..]);

    fs::write(&file, BANKS).unwrap();
    hang_up(&server, "bank directory reloaded").await;
    assert_eq!(ask(GONE).await.is(200).json()["verdict"], "warn");
    assert_eq!((lost("officer").await, counted().await), (vec![], json!(0)));
    server.finish().await;
}

/// The shipped directory with one more name for the sandbox's bank.
fn with_alias(name: &str) -> String {
    let with = |line: &str| {
        let mut fields: Vec<String> = line.split(',').map(str::to_owned).collect();
        if fields[0] == "970436" && fields[6] == "0" {
            let aliases = &mut fields[7];
            *aliases = if aliases.is_empty() { name.to_owned() } else { format!("{aliases}|{name}") };
        }
        fields.join(",") + "\n"
    };
    BANKS.lines().map(with).collect()
}
