//! `POST /v1/checks` and `GET /v1/checks/{id}`.

use crate::support::{Answer, Server};
use crate::{about, account, with};
use canhbao::domain::banks::Bin;
use canhbao::domain::identifiers::AccountNumber;
use canhbao::domain::vietqr;
use serde_json::{Value, json};
use std::collections::HashSet;

async fn check(server: &Server, body: &Value) -> Answer {
    server.post("/v1/checks").by("bank").json(body).send().await
}

/// The verdict about one subject, and its normal form.
async fn verdict(server: &Server, subject: Value) -> (String, Value) {
    let answer = check(server, &about(subject)).await.is(200).json();
    (answer["verdict"].as_str().unwrap().to_owned(), answer["results"][0]["subject"].clone())
}

#[tokio::test]
async fn a_fault_of_shape_is_refused_with_its_place() {
    let server = Server::start().await;
    let good = about(account("9000000000001"));
    let subject = |subject: &str| format!(r#"{{"subjects":[{subject}]}}"#);
    let cases: Vec<(String, &str)> = vec![
        (String::new(), ""),
        ("null".to_owned(), ""),
        ("{".to_owned(), ""),
        (format!("{good} {good}"), ""),
        (format!("[{}]", json!([account("9000000000001")])), ""),
        ("{}".to_owned(), "/subjects"),
        (with(good.clone(), "subject", 1).to_string(), "/subject"),
        (with(good.clone(), "Reference", "x").to_string(), "/Reference"),
        (good.to_string().replacen('{', r#"{"subjects":[],"#, 1), "/subjects"),
        (with(good.clone(), "reference", "a").to_string().replacen('{', r#"{"reference":"b","#, 1), "/reference"),
        (with(good.clone(), "reference", Value::Null).to_string(), "/reference"),
        (with(good.clone(), "operator", Value::Null).to_string(), "/operator"),
        (with(good.clone(), "context", "Transfer").to_string(), "/context"),
        (with(good.clone(), "reference", 17).to_string(), "/reference"),
        (with(good.clone(), "reference", "").to_string(), "/reference"),
        (with(good.clone(), "reference", "x".repeat(65)).to_string(), "/reference"),
        (with(good.clone(), "reference", "a\nb").to_string(), "/reference"),
        (with(good.clone(), "operator", "").to_string(), "/operator"),
        (with(good.clone(), "operator", "ố".repeat(65)).to_string(), "/operator"),
        (with(good.clone(), "operator", "a\u{0}").to_string(), "/operator"),
        (with(good.clone(), "operator", "a\u{85}").to_string(), "/operator"),
        (json!({ "subjects": [] }).to_string(), "/subjects"),
        (json!({ "subjects": vec![account("9000000000000"); 17] }).to_string(), "/subjects"),
        (json!({ "subjects": account("9000000000001") }).to_string(), "/subjects"),
        (json!({ "subjects": "970436" }).to_string(), "/subjects"),
        (subject(r#"["account","970436","90000001"]"#), "/subjects/0"),
        (subject(r#""90000001""#), "/subjects/0"),
        (subject("null"), "/subjects/0"),
        (subject(r#"{"bank":"970436","number":"90000001"}"#), "/subjects/0/kind"),
        (subject(r#"{"kind":"card","number":"90000001"}"#), "/subjects/0/kind"),
        (subject(r#"{"kind":"account","number":"90000001"}"#), "/subjects/0/bank"),
        (subject(r#"{"kind":"account","bank":"970436"}"#), "/subjects/0/number"),
        (subject(r#"{"kind":"account","bank":970436,"number":"90000001"}"#), "/subjects/0/bank"),
        (subject(r#"{"kind":"account","bank":"970436","number":90000001}"#), "/subjects/0/number"),
        (subject(r#"{"kind":"account","bank":"970436","number":null}"#), "/subjects/0/number"),
        (subject(r#"{"kind":"account","bank":"970436","number":["90000001"]}"#), "/subjects/0/number"),
        (subject(r#"{"kind":"account","bank":"970436","number":"1","number":"90000001"}"#), "/subjects/0/number"),
        (subject(r#"{"kind":"account","bank":"970436","number":"90000001","name":"x"}"#), "/subjects/0/name"),
        (subject(r#"{"kind":"account","bank":"970436","number":"90000001","a/b~c":1}"#), "/subjects/0/a~1b~0c"),
        (subject(r#"{"kind":"account","bank":"970436","number":"90000001","id":"90000001"}"#), "/subjects/0/id"),
        (subject(r#"{"kind":"phone","bank":"970436","number":"0901234567"}"#), "/subjects/0/bank"),
    ];
    for (body, pointer) in cases {
        let answer = server.post("/v1/checks").by("bank").raw("application/json", body.clone()).send().await;
        assert_eq!(answer.status, 400, "{body} -> {answer:?}");
        assert_eq!(answer.slug(), "invalid_request", "{body}");
        assert_eq!(answer.pointers(), [pointer], "{body} -> {}", answer.text());
        assert!(!answer.text().contains("90000001"), "an answer echoes a value: {}", answer.text());
    }
    server.finish().await;
}

#[tokio::test]
async fn a_context_that_is_no_text_is_refused_with_its_place() {
    let server = Server::start().await;
    for context in [Value::Null, json!(1), json!(true), json!(["transfer"]), json!({ "transfer": null })] {
        let asked = with(about(account("9000000000001")), "context", context);
        let answer = check(&server, &asked).await.refused(400, "invalid_request");
        assert_eq!(answer.pointers(), ["/context"], "{}", answer.text());
    }
    server.finish().await;
}

#[tokio::test]
async fn a_reason_tells_what_is_expected() {
    let server = Server::start().await;
    let cases = [
        (about(json!({ "kind": "account", "bank": "970436", "number": 90000001 })), "string"),
        (about(json!({ "kind": "account", "bank": "970436", "number": 9000.5 })), "string"),
        (about(json!({ "kind": "card", "number": "90000001" })), "account"),
        (about(json!({ "kind": 1, "number": "90000001" })), "string"),
        (with(about(account("9000000000001")), "context", "transfers"), "transfer"),
        (with(about(account("9000000000001")), "reference", 1), "string"),
        (json!({ "subjects": {} }), "sequence"),
    ];
    for (body, word) in cases {
        let answer = check(&server, &body).await.refused(400, "invalid_request");
        let reason = answer.json()["violations"][0]["reason"].as_str().unwrap().to_owned();
        assert!(reason.contains(word), "{body} -> {reason}");
        assert!(!reason.contains("9000") && !reason.contains("transfers"), "a reason echoes a value: {reason}");
    }
    server.finish().await;
}

#[tokio::test]
async fn what_is_no_subject_is_refused_and_never_reads_as_clear() {
    let server = Server::start().await;
    let cases = [
        (json!({ "kind": "account", "bank": "999999", "number": "90000001" }), "bank"),
        (json!({ "kind": "account", "bank": "", "number": "90000001" }), "bank"),
        (json!({ "kind": "account", "bank": "VCBX", "number": "90000001" }), "bank"),
        (account("123"), "number"),
        (account(&"90000001".repeat(5)), "number"),
        (account(""), "number"),
        (account("90000001/2"), "number"),
        (account("９００００００１"), "number"),
        (account("90000001\u{200b}"), "number"),
        (json!({ "kind": "wallet", "provider": "nobody", "id": "90000001" }), "provider"),
        (json!({ "kind": "organisation", "tax_code": "0100233480" }), "tax_code"),
        (json!({ "kind": "organisation", "tax_code": "0100233488-000" }), "tax_code"),
        (json!({ "kind": "person", "id_number": "90000001" }), "id_number"),
        (json!({ "kind": "phone", "number": "90000001" }), "number"),
        (json!({ "kind": "phone", "number": "+1 212 9000 0001" }), "number"),
        (
            json!({ "kind": "qr", "payload":
                "00020101021138530010A0000007270123000697041601092576788590208QRIBFTTA53037045802VN6304AE9E" }),
            "payload",
        ),
        (json!({ "kind": "qr", "payload": "90000001" }), "payload"),
        (json!({ "kind": "qr", "payload": "" }), "payload"),
    ];
    for (subject, field) in &cases {
        let answer = check(&server, &about(subject.clone())).await;
        assert_eq!(answer.status, 422, "{subject} -> {}", answer.text());
        assert_eq!(answer.slug(), "invalid_subject");
        assert_eq!(answer.pointers(), [format!("/subjects/0/{field}")], "{subject}");
        for value in ["90000001", "９", "257678859", "212 9000"] {
            assert!(!answer.text().contains(value), "an answer echoes a value: {}", answer.text());
        }
    }
    let both = json!({ "subjects": [account("9000000000001"), cases[0].0, account("9000000000000"), cases[3].0] });
    let answer = check(&server, &both).await.refused(422, "invalid_subject");
    assert_eq!(answer.pointers(), ["/subjects/1/bank", "/subjects/3/number"]);
    let worse = json!({ "subjects": [cases[0].0, { "kind": "account", "bank": "970436" }] });
    let answer = check(&server, &worse).await.refused(400, "invalid_request");
    assert_eq!(answer.pointers(), ["/subjects/0/bank", "/subjects/1/number"]);
    server.finish().await;
}

#[tokio::test]
async fn the_sandbox_answers_the_same_for_bin_code_and_swift() {
    let server = Server::start().await;
    let sandbox = [("0", "clear"), ("1", "warn"), ("2", "hold"), ("3", "block")];
    for (digit, expected) in sandbox {
        let number = format!("900000000000{digit}");
        for bank in ["970436", "VCB", "vcb", "BFTVVNVX", "BFTVVNVX001", "Vietcombank"] {
            let written = json!({ "kind": "account", "bank": bank, "number": number });
            assert_eq!(verdict(&server, written).await, (expected.to_owned(), account(&number)), "{bank}");
        }
        let spaced = format!(" {}-{}.{} ", &number[..4], &number[4..8], &number[8..]);
        assert_eq!(verdict(&server, account(&spaced)).await, (expected.to_owned(), account(&number)));
        let elsewhere = json!({ "kind": "account", "bank": "970415", "number": number });
        assert_eq!(verdict(&server, elsewhere).await.0, "clear", "the same number at another bank is another account");
    }
    server.finish().await;
}

#[tokio::test]
async fn the_highest_of_several_wins_and_results_keep_their_order() {
    let server = Server::start().await;
    let (clear, warn, hold) = (account("9000000000000"), account("9000000000001"), account("9000000000002"));
    let asked = json!({ "subjects": [clear, hold, warn, { "kind": "person", "id_number": "001099012345" }, hold] });
    let answer = check(&server, &asked).await.is(200);
    assert_eq!(answer.must("cache-control"), "no-store");
    let answer = answer.json();
    assert_eq!(answer["verdict"], "hold");
    let results = answer["results"].as_array().unwrap();
    let told: Vec<_> = results.iter().map(|result| result["verdict"].as_str().unwrap()).collect();
    assert_eq!(told, ["clear", "hold", "warn", "clear", "hold"]);
    for (result, subject) in results.iter().zip(asked["subjects"].as_array().unwrap()) {
        assert_eq!(result["subject"], *subject);
        let flags = result["flags"].as_array().unwrap();
        assert_eq!(flags.is_empty(), result["verdict"] == "clear");
        assert!(flags.iter().all(|flag| flag["verdict"] == result["verdict"]));
        assert!(flags.iter().all(|flag| flag["category"] == "impersonation" && flag["document"].is_null()));
    }
    let block = check(&server, &about(account("9000000000003"))).await.is(200).json();
    assert_eq!(block["results"][0]["flags"][0]["document"], "0/QĐ-DEMO");
    server.finish().await;
}

#[tokio::test]
async fn one_and_sixteen_subjects_and_texts_of_64_characters_are_taken() {
    let server = Server::start().await;
    let sixteen = json!({ "subjects": vec![account("9000000000001"); 16] });
    assert_eq!(check(&server, &sixteen).await.is(200).json()["results"].as_array().unwrap().len(), 16);
    for text in ["x".repeat(64), "ố".repeat(64), "~".to_owned()] {
        let asked = about(account("9000000000000"));
        let answer = check(&server, &with(with(asked, "reference", text.clone()), "operator", text.clone())).await;
        let id = answer.is(200).json()["id"].as_str().unwrap().to_owned();
        let read = server.get(&format!("/v1/checks/{id}")).by("bank").send().await.is(200).json();
        assert_eq!((&read["reference"], &read["operator"]), (&json!(text), &json!(text)));
    }
    server.finish().await;
}

#[tokio::test]
async fn a_vietqr_is_resolved_to_its_account_or_wallet() {
    let server = Server::start().await;
    let qr = |bin: &str, number: &str| {
        let payload = vietqr::encode(Bin::parse(bin).unwrap(), &AccountNumber::parse(number).unwrap());
        json!({ "kind": "qr", "payload": payload })
    };
    let from_the_wild = "00020101021138530010A0000007270123000697041601092576788590208QRIBFTTA53037045802VN6304AE9F";
    let (told, subject) = verdict(&server, json!({ "kind": "qr", "payload": from_the_wild })).await;
    assert_eq!(told, "clear");
    assert_eq!(subject, json!({ "kind": "account", "bank": "970416", "number": "257678859" }));
    let lower = from_the_wild.replace("AE9F", "ae9f");
    assert_eq!(verdict(&server, json!({ "kind": "qr", "payload": lower })).await.1, subject);
    let flagged = verdict(&server, qr("970436", "9000000000003")).await;
    assert_eq!(flagged, ("block".to_owned(), account("9000000000003")));
    let (_, wallet) = verdict(&server, qr("970454", "99MM24011M34875080")).await;
    assert_eq!(wallet, json!({ "kind": "wallet", "provider": "momo", "id": "99MM24011M34875080" }));
    server.finish().await;
}

#[tokio::test]
async fn an_account_that_stands_for_a_wallet_is_that_wallet() {
    let server = Server::start().await;
    let cases = [
        ("970454", "99MM24011M34875080", "momo"),
        ("BVB", "99mm 24011 m34875080", "momo"),
        ("970454", "99ZP24011M34875080", "zalopay"),
    ];
    for (bank, number, provider) in cases {
        let (_, subject) = verdict(&server, json!({ "kind": "account", "bank": bank, "number": number })).await;
        let id = number.replace(' ', "").to_uppercase();
        assert_eq!(subject, json!({ "kind": "wallet", "provider": provider, "id": id }));
    }
    let (_, plain) = verdict(&server, json!({ "kind": "account", "bank": "970454", "number": "8899MM2401" })).await;
    assert_eq!(plain["kind"], "account");
    server.finish().await;
}

#[tokio::test]
async fn a_phone_has_one_form_before_and_after_the_renumbering() {
    let server = Server::start().await;
    let writings =
        ["0321234567", "01621234567", "+84 162 123 4567", "84321234567", "0084-32.123.4567", "(+84) 032 123 4567"];
    for writing in writings {
        let (_, subject) = verdict(&server, json!({ "kind": "phone", "number": writing })).await;
        assert_eq!(subject, json!({ "kind": "phone", "number": "+84321234567" }), "{writing}");
    }
    let flag = json!({ "subject": { "kind": "phone", "number": "01621234567" }, "verdict": "warn", "category": "job",
        "case": "A-1", "reason": "test", "urgent": true });
    server.post("/v1/flags").by("officer").key("phone").json(&flag).send().await.is(201);
    for writing in writings {
        assert_eq!(verdict(&server, json!({ "kind": "phone", "number": writing })).await.0, "warn", "{writing}");
    }
    server.finish().await;
}

#[tokio::test]
async fn advice_is_null_when_clear_and_steps_up_outside_transfers() {
    let server = Server::start().await;
    let actions = [
        ("9000000000001", vec!["show_warning"], vec!["show_warning", "step_up_authentication"]),
        (
            "9000000000002",
            vec!["show_warning", "hold_transaction"],
            vec!["show_warning", "step_up_authentication", "hold_transaction"],
        ),
        (
            "9000000000003",
            vec!["refuse_transaction", "contact_police"],
            vec!["refuse_transaction", "step_up_authentication", "contact_police"],
        ),
    ];
    let contexts =
        ["transfer", "account_opening", "identity_change", "phone_change", "device_change", "cash_withdrawal"];
    for context in contexts {
        let clear = with(about(account("9000000000000")), "context", context);
        assert_eq!(check(&server, &clear).await.is(200).json()["advice"], Value::Null);
        for (number, plain, stepped_up) in &actions {
            let asked = with(about(account(number)), "context", context);
            let advice = check(&server, &asked).await.is(200).json()["advice"].clone();
            let expected = if context == "transfer" { plain } else { stepped_up };
            assert_eq!(advice["actions"], json!(expected), "{context}");
            assert!(!advice["vi"].as_str().unwrap().is_empty() && !advice["en"].as_str().unwrap().is_empty());
        }
    }
    let unsaid = check(&server, &about(account("9000000000002"))).await.json()["advice"]["actions"].clone();
    assert_eq!(unsaid, json!(["show_warning", "hold_transaction"]), "the context is a transfer if none is named");
    server.finish().await;
}

#[tokio::test]
async fn the_same_question_twice_gives_two_answers() {
    let server = Server::start().await;
    let mut seen = HashSet::new();
    for _ in 0..3 {
        let answer = check(&server, &about(account("9000000000001"))).await.is(200);
        let (body, entry) = (answer.json(), answer.must("log-entry").to_owned());
        assert_eq!(body["salt"].as_str().unwrap().len(), 22, "16 bytes in base64url without padding");
        for value in [body["salt"].to_string(), body["id"].to_string(), entry] {
            assert!(seen.insert(value), "something came twice");
        }
    }
    server.finish().await;
}

#[tokio::test]
async fn a_check_is_read_back_by_its_own_party_alone() {
    let server = Server::start().await;
    let asked = json!({ "subjects": [account("9000000000002"), account("9000000000000"), account("9000000000002")],
        "reference": "FT26328ABC", "operator": "teller-17" });
    let answer = check(&server, &asked).await.is(200);
    let body = answer.json();
    let path = format!("/v1/checks/{}", body["id"].as_str().unwrap());
    let read = server.get(&path).by("bank").send().await.is(200);
    assert_eq!(read.must("cache-control"), "no-store");
    assert!(!read.text().contains("900000000000"), "a subject in clear");
    let read = read.json();
    for member in ["id", "verdict", "list_version", "checked_at"] {
        assert_eq!(read[member], body[member], "{member}");
    }
    assert_eq!(read["log_entry"], answer.must("log-entry"));
    assert_eq!((&read["reference"], &read["operator"]), (&json!("FT26328ABC"), &json!("teller-17")));
    let hash = |place: usize| read["results"][place]["subject_hash"].as_str().unwrap();
    assert_eq!(hash(0).len(), 64);
    assert_eq!((hash(0), hash(0) == hash(1)), (hash(2), false), "a subject has one hash of its own");
    assert_eq!(read["results"][0]["verdict"], "hold");
    assert_eq!(read["results"][0]["flags"][0], json!({ "id": body["results"][0]["flags"][0]["id"], "version": 2 }));
    assert_eq!(read["results"][1]["flags"], json!([]));
    server.get(&path).by("bank_b").send().await.refused(404, "not_found");
    server.get(&path).by("wallet").send().await.refused(404, "not_found");
    server.get(&path).by("officer").send().await.refused(403, "insufficient_scope");
    server.finish().await;
}

#[tokio::test]
async fn what_is_no_check_is_not_found() {
    let server = Server::start().await;
    let id = check(&server, &about(account("9000000000000"))).await.json()["id"].as_str().unwrap().to_owned();
    let absent = id.replacen("check_0", "check_1", 1);
    let other_kind = id.replacen("check", "flag", 1);
    let shifted = format!("{}{}", &id[..id.len() - 1], if id.ends_with('z') { 'y' } else { 'z' });
    let upper = id.to_uppercase();
    for id in
        [absent, other_kind, shifted, upper, "x".to_owned(), "check_".to_owned(), "%00".to_owned(), "%FF".to_owned()]
    {
        let answer = server.get(&format!("/v1/checks/{id}")).by("bank").send().await;
        assert_eq!((answer.status, answer.slug()), (404, "not_found".to_owned()), "{id}");
    }
    server.get(&format!("/v1/checks/{id}?full=1")).by("bank").send().await.refused(400, "invalid_request");
    server.finish().await;
}

#[tokio::test]
async fn checks_outlive_a_restart_and_a_kill() {
    let mut server = Server::start().await;
    let mut ids = Vec::new();
    for round in 0..3 {
        for number in ["9000000000001", "9000000000000"] {
            let answer = check(&server, &about(account(number))).await.is(200);
            ids.push((answer.json()["id"].as_str().unwrap().to_owned(), answer.must("log-entry").to_owned()));
        }
        match round {
            0 => server.stop().await,
            1 => server.kill().await,
            _ => break,
        }
        server.start_again().await;
        for (id, entry) in &ids {
            let read = server.get(&format!("/v1/checks/{id}")).by("bank").send().await.is(200).json();
            assert_eq!(read["log_entry"], *entry);
        }
    }
    server.finish().await;
}
