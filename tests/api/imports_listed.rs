//! `GET /v1/imports`: which files of flags a unit sees, in which order, and what a list is refused for.

use crate::imports::{account_row, csv, decide, ended};
use crate::support::Server;
use serde_json::{Value, json};

/// A file of one account that a client hands in, once its row is taken.
async fn handed_in(server: &Server, by: &str, number: &str, query: &str) -> String {
    let ask = server.post(&format!("/v1/imports{query}")).by(by).key(number);
    let received = ask.raw("text/csv", csv(&[account_row(number)])).send().await.is(201).json();
    let id = received["id"].as_str().unwrap().to_owned();
    ended(server, &id).await;
    id
}

async fn page(server: &Server, by: &str, query: &str) -> Value {
    server.get(&format!("/v1/imports{query}")).by(by).send().await.is(200).json()
}

fn ids(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().unwrap().iter();
    items.map(|import| import["id"].as_str().unwrap().to_owned()).collect()
}

/// All pages of a list.
async fn all(server: &Server, by: &str, query: &str) -> Vec<String> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = page(server, by, &format!("{query}{cursor}")).await;
        found.extend(ids(&page));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

#[tokio::test]
async fn a_list_of_imports_is_refused_for_what_it_does_not_know() {
    let server = Server::start().await;
    for by in ["bank", "wallet", "auditor", "operator"] {
        server.get("/v1/imports").by(by).send().await.refused(403, "insufficient_scope");
    }
    server.get("/v1/imports").send().await.refused(401, "unauthenticated");
    let waiting = ids(&page(&server, "officer", "").await).remove(0);
    for (query, pointer) in [
        ("limit=0", "/limit"),
        ("limit=201", "/limit"),
        ("limit=1&limit=2", "/limit"),
        ("state=open", "/state"),
        ("state=Done", "/state"),
        ("state=", "/state"),
        ("cursor=", "/cursor"),
        ("cursor=17", "/cursor"),
        (waiting.replacen("import_", "cursor=flag_", 1).as_str(), "/cursor"),
        ("dry_run=true", "/dry_run"),
        ("unit=hanoi-police", "/unit"),
        ("page=2", "/page"),
    ] {
        let answer = server.get(&format!("/v1/imports?{query}")).by("officer").send().await;
        assert_eq!(answer.refused(400, "invalid_request").pointers(), [pointer], "{query}");
    }
    // Each method has parameters of its own.
    for path in ["/v1/imports?state=done", "/v1/imports?limit=1", "/v1/flags?limit=1"] {
        let ask = server.post(path).by("officer").key("k").raw("text/csv", csv(&[account_row("9200000000001")]));
        ask.send().await.refused(400, "invalid_request");
    }
    server.finish().await;
}

#[tokio::test]
async fn a_unit_lists_the_files_that_it_and_those_below_handed_in() {
    let server = Server::start().await;
    let of_demo = ids(&page(&server, "supervisor", "").await);
    assert_eq!(of_demo.len(), 1);
    assert_eq!(page(&server, "ward_a", "").await, json!({ "items": [], "next_cursor": null }));
    let (a, b) = ("ward_a", "ward_b");
    let mut handed = Vec::new();
    for (by, number) in [(a, "1"), (b, "2"), ("officer", "3"), (a, "4")] {
        handed.push(handed_in(&server, by, &format!("920000000000{number}"), "").await);
    }
    let of = |places: &[usize]| places.iter().map(|place| handed[*place].clone()).collect::<Vec<_>>();
    for (by, seen) in [(a, of(&[3, 0])), ("ward_a_supervisor", of(&[3, 0])), (b, of(&[1]))] {
        assert_eq!(all(&server, by, "?limit=1").await, seen, "{by}");
        assert_eq!(page(&server, by, "").await["next_cursor"], Value::Null, "{by}");
    }
    for by in ["officer", "officer_b", "supervisor"] {
        assert_eq!(ids(&page(&server, by, "").await), [of(&[3, 2, 1, 0]), of_demo.clone()].concat(), "{by}");
    }
    // Each is the same as when it is read alone.
    for import in page(&server, "supervisor", "").await["items"].as_array().unwrap() {
        let path = format!("/v1/imports/{}", import["id"].as_str().unwrap());
        assert_eq!(*import, server.get(&path).by("supervisor").send().await.is(200).json());
    }
    server.finish().await;
}

#[tokio::test]
async fn what_waits_for_a_decision_is_found_by_its_state_on_pages_of_any_size() {
    let server = Server::start().await;
    let mut done = ids(&page(&server, "supervisor", "").await);
    for number in 0..6 {
        // A dry run is done as well, and says what it is.
        let query = if number == 5 { "?dry_run=true" } else { "" };
        done.insert(0, handed_in(&server, "officer", &format!("920000000000{number}"), query).await);
    }
    let failed = server.post("/v1/imports").by("officer").key("bad").raw("text/csv", "bank,colour\n").send().await;
    let failed = failed.is(201).json()["id"].as_str().unwrap().to_owned();
    assert_eq!(ended(&server, &failed).await["state"], "failed");
    for limit in [1, 2, 3, 7, 200] {
        assert_eq!(all(&server, "supervisor", &format!("?state=done&limit={limit}")).await, done, "{limit}");
    }
    assert_eq!(page(&server, "supervisor", "?limit=7&state=done").await["next_cursor"], Value::Null);
    assert_eq!(page(&server, "supervisor", "?state=done").await["items"][0]["dry_run"], true);
    let (approved, rejected) = (done.remove(2), done.remove(3));
    for (id, what) in [(&approved, "approve"), (&rejected, "reject")] {
        let import = ended(&server, id).await;
        decide(&server, &import, "supervisor", what).await.is(200);
        ended(&server, id).await;
    }
    assert_eq!(all(&server, "supervisor", "?state=done&limit=2").await, done);
    for (state, found) in [("approved", vec![approved]), ("rejected", vec![rejected]), ("failed", vec![failed])] {
        assert_eq!(all(&server, "supervisor", &format!("?state={state}&limit=1")).await, found, "{state}");
    }
    for state in ["received", "running", "approving", "rejecting"] {
        let none = page(&server, "supervisor", &format!("?state={state}")).await;
        assert_eq!(none, json!({ "items": [], "next_cursor": null }), "{state}");
    }
    server.finish().await;
}
