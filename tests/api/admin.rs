//! `/v1/parties`, `/v1/clients` and `/v1/institutions`.

use crate::support::{Answer, Server};
use crate::{about, account, with};
use serde_json::{Value, json};

async fn create(server: &Server, things: &str, body: &Value) -> Answer {
    server.post(&format!("/v1/{things}")).by("operator").json(body).send().await
}

fn party(id: &str, role: &str) -> Value {
    json!({ "id": id, "name": "Ngân hàng thử", "role": role })
}

fn new_client(id: &str, party: &str, scopes: &[&str]) -> Value {
    json!({ "client_id": id, "party": party, "name": "Core", "scopes": scopes })
}

async fn act(server: &Server, path: &str, what: &str, etag: &str) -> Answer {
    server.post(&format!("{path}/{what}")).by("operator").if_match(etag).send().await
}

#[tokio::test]
async fn only_operators_administer() {
    let server = Server::start().await;
    for name in ["bank", "wallet", "officer", "supervisor", "auditor"] {
        for path in ["/v1/parties", "/v1/clients", "/v1/parties/operator", "/v1/clients/demo-operator"] {
            server.get(path).by(name).send().await.refused(403, "insufficient_scope");
        }
        let body = party("970432", "bank");
        server.post("/v1/parties").by(name).json(&body).send().await.refused(403, "insufficient_scope");
        let body = new_client("own", "970436", &["check"]);
        server.post("/v1/clients").by(name).json(&body).send().await.refused(403, "insufficient_scope");
        for path in ["/v1/clients/demo-bank/rotate", "/v1/clients/demo-bank/disable", "/v1/parties/970436/disable"] {
            let ask = server.post(path).by(name).if_match("\"1\"").json(&json!({}));
            ask.send().await.refused(403, "insufficient_scope");
        }
    }
    server.finish().await;
}

#[tokio::test]
async fn a_malformed_party_or_client_is_refused_with_its_place() {
    let server = Server::start().await;
    let parties = [
        (party("X", "bank"), "/id"),
        (party("970-ABC", "bank"), "/id"),
        (party(&"a".repeat(33), "bank"), "/id"),
        (party("970432", "court"), "/role"),
        (with(party("970432", "bank"), "name", ""), "/name"),
        (with(party("970432", "bank"), "name", "x".repeat(201)), "/name"),
        (with(party("970432", "bank"), "state", "enabled"), "/state"),
        (json!({ "id": "970432", "name": "x" }), "/role"),
    ];
    for (body, pointer) in parties {
        let answer = create(&server, "parties", &body).await.refused(400, "invalid_request");
        assert_eq!(answer.pointers(), [pointer], "{body}");
    }
    let good = new_client("good", "970436", &["check"]);
    let set = |name: &str, value: Value| with(good.clone(), name, value);
    let clients = [
        (set("party", json!("970999")), "/party"),
        (set("party", json!("970 436")), "/party"),
        (set("client_id", json!("a:b")), "/client_id"),
        (set("client_id", Value::Null), "/client_id"),
        (set("name", json!("a\u{1b}[0m")), "/name"),
        (set("scopes", json!([])), "/scopes"),
        (set("scopes", json!("check")), "/scopes"),
        (set("scopes", json!(["check", "cheque"])), "/scopes/1"),
        (set("scopes", json!(["check", "check"])), "/scopes/1"),
        (set("scopes", json!(["check", "flag.read"])), "/scopes"),
        (set("scopes", json!(["admin"])), "/scopes"),
        (set("quotas", json!({ "check": { "quota": 1, "window_s": 1 } })), "/quotas/check"),
        (set("quotas", json!({ "checks": { "quota": 0, "window_s": 1 } })), "/quotas/checks/quota"),
        (set("quotas", json!({ "checks": { "quota": 1, "window_s": 3601 } })), "/quotas/checks/window_s"),
        (set("quotas", json!({ "checks": [1, 1] })), "/quotas/checks"),
        (set("quotas", Value::Null), "/quotas"),
        (set("public_key", json!("ssh-ed25519 AAAA")), "/public_key"),
        (set("secret", json!("of my own choice")), "/secret"),
    ];
    for (body, pointer) in clients {
        let answer = create(&server, "clients", &body).await.refused(400, "invalid_request");
        assert_eq!(answer.pointers(), [pointer], "{body} -> {}", answer.text());
    }
    create(&server, "clients", &good).await.is(201);
    server.finish().await;
}

#[tokio::test]
async fn each_role_may_hold_its_own_scopes_alone() {
    let server = Server::start().await;
    let scopes = ["check", "flag.read", "flag.approve", "log.read", "admin"];
    let roles = [
        ("970436", [true, false, false, false, false]),
        ("momo", [true, false, false, false, false]),
        ("hanoi-police", [false, true, true, false, false]),
        ("auditor", [false, false, false, true, false]),
        ("operator", [false, false, false, false, true]),
    ];
    for (party, allowed) in roles {
        for (scope, allowed) in scopes.into_iter().zip(allowed) {
            let id = format!("{party}-{scope}");
            let answer = create(&server, "clients", &new_client(&id, party, &[scope])).await;
            if allowed {
                answer.is(201);
            } else {
                assert_eq!(answer.refused(400, "invalid_request").pointers(), ["/scopes"], "{id}");
            }
        }
    }
    server.finish().await;
}

#[tokio::test]
async fn a_new_party_and_its_client_can_check_at_once() {
    let server = Server::start().await;
    let made = create(&server, "parties", &party("970432", "bank")).await.is(201);
    assert_eq!((made.must("location"), made.must("etag")), ("/v1/parties/970432", "\"1\""));
    let read = server.get("/v1/parties/970432").by("operator").send().await.is(200);
    assert_eq!((read.must("etag"), &read.body), ("\"1\"", &made.body));
    assert_eq!((&made.json()["name"], &made.json()["state"]), (&json!("Ngân hàng thử"), &json!("enabled")));
    create(&server, "parties", &party("970432", "police")).await.refused(409, "conflict");
    let made = create(&server, "clients", &new_client("core-vpb", "970432", &["check"])).await.is(201);
    assert_eq!((made.must("location"), made.must("etag")), ("/v1/clients/core-vpb", "\"1\""));
    create(&server, "clients", &new_client("core-vpb", "970436", &["check"])).await.refused(409, "conflict");
    server.know("new", "core-vpb", made.json()["client_secret"].as_str().unwrap());
    let check = about(account("9000000000001"));
    let answer = server.post("/v1/checks").by("new").json(&check).send().await.is(200);
    assert_eq!(answer.json()["verdict"], "warn");
    // Without an id the registry chooses one that names the party.
    let mut unnamed = new_client("x", "970432", &["check"]);
    unnamed.as_object_mut().unwrap().remove("client_id");
    let ids = [0, 1].map(|_| create(&server, "clients", &unnamed));
    let mut seen = Vec::new();
    for made in ids {
        let made = made.await.is(201);
        let id = made.json()["client_id"].as_str().unwrap().to_owned();
        assert!(id.starts_with("970432-") && !seen.contains(&id), "{id}");
        assert_eq!(made.must("location"), format!("/v1/clients/{id}"));
        seen.push(id);
    }
    server.finish().await;
}

#[tokio::test]
async fn a_secret_is_shown_once_and_kept_nowhere() {
    let mut server = Server::start().await;
    let made = create(&server, "clients", &new_client("shown-once", "970436", &["check"])).await.is(201).json();
    let first = made["client_secret"].as_str().unwrap().to_owned();
    server.know("shown", "shown-once", &first);
    server.token("shown").await;
    let path = "/v1/clients/shown-once";
    let rotate =
        server.post(&format!("{path}/rotate")).by("operator").if_match("\"1\"").json(&json!({ "grace_s": 60 }));
    let second = rotate.send().await.is(200).json()["client_secret"].as_str().unwrap().to_owned();
    assert_ne!(first, second);
    let read = server.get(path).by("operator").send().await.is(200);
    let list = server.get("/v1/clients?limit=200").by("operator").send().await.is(200);
    for told in [read.text(), list.text()] {
        assert!(!told.contains("client_secret") && !told.contains(&first) && !told.contains(&second));
    }
    server.stop().await;
    for file in ["registry.db", "registry.db-wal"].map(|name| server.data().join(name)) {
        let Ok(bytes) = std::fs::read(&file) else { continue };
        for secret in [&first, &second] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{} holds a secret", file.display());
        }
    }
    server.finish().await;
}

#[tokio::test]
async fn a_disabled_party_shuts_out_all_its_clients_until_it_is_enabled() {
    let server = Server::start().await;
    let officers = ["officer", "officer_b", "supervisor"];
    for name in officers {
        server.get("/v1/flags?limit=1").by(name).send().await.is(200);
    }
    let path = "/v1/parties/hanoi-police";
    server.post(&format!("{path}/disable")).by("operator").send().await.refused(428, "precondition_required");
    act(&server, path, "disable", "\"7\"").await.refused(412, "stale_version");
    let disabled = act(&server, path, "disable", "\"1\"").await.is(200);
    assert_eq!((disabled.must("etag"), &disabled.json()["state"]), ("\"2\"", &json!("disabled")));
    for name in officers {
        server.get("/v1/flags?limit=1").by(name).send().await.refused(401, "unauthenticated");
        let credential = server.credential(name);
        let form = [("grant_type", "client_credentials")];
        server.post("/oauth2/token").basic(&credential.id, &credential.secret).form(&form).send().await.is(401);
    }
    // What they did stays.
    let check = about(account("9000000000003"));
    let answer = server.post("/v1/checks").by("bank").json(&check).send().await.is(200);
    assert_eq!(answer.json()["verdict"], "block");
    act(&server, path, "enable", "\"2\"").await.is(200);
    for name in officers {
        server.forget_token(name);
        server.get("/v1/flags?limit=1").by(name).send().await.is(200);
    }
    server.finish().await;
}

#[tokio::test]
async fn operators_cannot_shut_themselves_out() {
    let server = Server::start().await;
    act(&server, "/v1/parties/operator", "disable", "\"1\"").await.refused(422, "invalid_transition");
    act(&server, "/v1/clients/demo-operator", "disable", "\"1\"").await.refused(422, "invalid_transition");
    server.get("/v1/parties").by("operator").send().await.is(200);
    for path in ["/v1/parties/nobody", "/v1/parties/NO BODY", "/v1/clients/nobody", "/v1/clients/a:b"] {
        let path = path.replace(' ', "%20");
        server.get(&path).by("operator").send().await.refused(404, "not_found");
        act(&server, &path, "disable", "\"1\"").await.refused(404, "not_found");
    }
    server.finish().await;
}

#[tokio::test]
async fn a_body_where_none_belongs_is_refused() {
    let server = Server::start().await;
    for path in ["/v1/clients/demo-bank_b", "/v1/parties/970415"] {
        let disable = format!("{path}/disable");
        let ask = || server.post(&disable).by("operator").if_match("\"1\"");
        let refused = ask().json(&json!({ "until": "2027-01-01T00:00:00Z" })).send().await;
        assert_eq!(refused.refused(400, "invalid_request").pointers(), ["/until"], "{path}");
        let read = server.get(path).by("operator").send().await.is(200).json();
        assert_eq!(read["state"], "enabled");
    }
    server.finish().await;
}

#[tokio::test]
async fn lists_are_paged_in_the_order_of_their_ids() {
    let server = Server::start().await;
    for (things, id, count) in [("parties", "id", 8), ("clients", "client_id", 11)] {
        let get = async |query: &str| server.get(&format!("/v1/{things}?{query}")).by("operator").send().await;
        for limit in [1, 2, 200] {
            let (mut ids, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = get(&format!("limit={limit}{cursor}")).await.is(200).json();
                let items = page["items"].as_array().unwrap().clone();
                assert!(items.len() <= limit && !items.is_empty());
                ids.extend(items.iter().map(|item| item[id].as_str().unwrap().to_owned()));
                match page["next_cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            assert_eq!(ids.len(), count);
            assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "out of order, or twice: {ids:?}");
        }
        for query in ["limit=0", "limit=201", "cursor=%20", "role=bank", "limit=1&limit=2"] {
            get(query).await.refused(400, "invalid_request");
        }
    }
    server.finish().await;
}

#[tokio::test]
async fn every_client_sees_the_bank_directory() {
    let server = Server::start().await;
    for name in ["bank", "officer", "auditor", "operator"] {
        let banks = server.get("/v1/institutions").by(name).send().await.is(200).json();
        let items = banks["items"].as_array().unwrap();
        let vcb = items.iter().find(|bank| bank["bin"] == "970436").unwrap();
        assert_eq!((&vcb["code"], &vcb["swift"]), (&json!("VCB"), &json!("BFTVVNVX")));
        assert!(items.len() > 50);
    }
    server.get("/v1/institutions?code=VCB").by("bank").send().await.refused(400, "invalid_request");
    server.finish().await;
}
