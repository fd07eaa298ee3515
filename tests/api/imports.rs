//! `/v1/imports`: files of flags, handed in, reported row by row, decided on as one.

use crate::sheets::XLSX;
use crate::support::{Answer, Server, eventually, now};
use crate::{about, account};
use serde_json::{Value, json};
use std::time::Duration;

pub const HEADER: &str = "bank,number,verdict,category,case,reason";

pub async fn hand_in(server: &Server, key: &str, query: &str, media_type: &str, body: impl Into<Vec<u8>>) -> Answer {
    server.post(&format!("/v1/imports{query}")).by("officer").key(key).raw(media_type, body).send().await
}

/// Waits until nothing more happens to an import by itself.
pub async fn ended(server: &Server, id: &str) -> Value {
    let path = format!("/v1/imports/{id}");
    let is_under_way =
        |import: &Value| ["received", "running", "approving", "rejecting"].contains(&import["state"].as_str().unwrap());
    eventually(Duration::from_secs(60), "an import ends", async || {
        !is_under_way(&server.get(&path).by("officer").send().await.is(200).json())
    })
    .await;
    server.get(&path).by("officer").send().await.is(200).json()
}

/// A file that is new; the import when it has ended.
pub async fn import(server: &Server, key: &str, media_type: &str, body: impl Into<Vec<u8>>) -> Value {
    let received = hand_in(server, key, "", media_type, body).await.is(201);
    let id = received.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(received.must("location"), format!("/v1/imports/{id}"));
    ended(server, &id).await
}

/// The report's lines without its header.
pub async fn report(server: &Server, import: &Value) -> Vec<String> {
    let path = format!("/v1/imports/{}/report", import["id"].as_str().unwrap());
    let report = server.get(&path).by("officer").send().await.is(200);
    assert_eq!(report.media_type(), "text/csv");
    let text = report.text();
    let mut lines = text.lines().map(str::to_owned);
    assert_eq!(lines.next().as_deref(), Some("row,result,flag,field,reason"));
    lines.collect()
}

pub fn account_row(number: &str) -> String {
    format!("VCB,{number},warn,mule,HN-1,Receives and moves on")
}

pub fn csv(rows: &[String]) -> String {
    format!("{HEADER}\n{}\n", rows.join("\n"))
}

pub async fn decide(server: &Server, import: &Value, by: &str, what: &str) -> Answer {
    let path = format!("/v1/imports/{}/{what}", import["id"].as_str().unwrap());
    let ask = server.post(&path).by(by).if_match(&format!("\"{}\"", import["version"]));
    let body = if what == "approve" { json!({}) } else { json!({ "reason": "Not ours" }) };
    ask.json(&body).send().await
}

async fn verdict(server: &Server, number: &str) -> Value {
    let answer = server.post("/v1/checks").by("bank").json(&about(account(number))).send().await.is(200).json();
    answer["verdict"].clone()
}

#[tokio::test]
async fn a_file_becomes_proposals_that_another_officer_approves_at_once() {
    let server = Server::start().await;
    let rows: Vec<String> = (0..100).map(|i| account_row(&format!("92000000{i:05}"))).collect();
    let done = import(&server, "file", "text/csv", csv(&rows)).await;
    assert_eq!(done["state"], "done", "{done:#}");
    let counts = json!({ "rows_total": 100, "rows": 100, "accepted": 100, "duplicate": 0, "invalid": 0 });
    assert_eq!(done["counts"], counts);
    assert_eq!(done["by_bank"], json!({ "970436": 100 }));
    assert_eq!((&done["by_verdict"], &done["by_category"]), (&json!({ "warn": 100 }), &json!({ "mule": 100 })));
    let samples = done["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 20);
    let flag = server.get(&format!("/v1/flags/{}", samples[0].as_str().unwrap())).by("officer_b").send().await;
    assert_eq!(flag.is(200).json()["state"], "proposed");
    assert_eq!(verdict(&server, "9200000000000").await, "clear");
    let lines = report(&server, &done).await;
    assert_eq!(lines.len(), 100);
    assert!(lines[0].starts_with("2,accepted,flag_"), "{}", lines[0]);

    decide(&server, &done, "officer_b", "approve").await.refused(403, "insufficient_scope");
    let begun = decide(&server, &done, "supervisor", "approve").await.is(200).json();
    assert_eq!(begun["state"], "approving");
    let approved = ended(&server, done["id"].as_str().unwrap()).await;
    assert_eq!((&approved["state"], &approved["decision"]["decided"]), (&json!("approved"), &json!(100)));
    for number in ["9200000000000", "9200000000099"] {
        assert_eq!(verdict(&server, number).await, "warn");
    }
    decide(&server, &approved, "supervisor", "approve").await.refused(422, "invalid_transition");
    server.finish().await;
}

#[tokio::test]
async fn who_handed_a_file_in_cannot_decide_on_it() {
    let server = Server::start().await;
    let body = csv(&[account_row("9200000000001")]);
    let ask = server.post("/v1/imports").by("supervisor").key("own").raw("text/csv", body);
    let id = ask.send().await.is(201).json()["id"].as_str().unwrap().to_owned();
    let done = ended(&server, &id).await;
    for what in ["approve", "reject"] {
        decide(&server, &done, "supervisor", what).await.refused(403, "insufficient_scope");
    }
    let path = format!("/v1/imports/{id}/approve");
    server.post(&path).by("supervisor").json(&json!({})).send().await.refused(428, "precondition_required");
    server.post(&path).by("supervisor").if_match("\"1\"").json(&json!({})).send().await.refused(412, "stale_version");
    server.finish().await;
}

#[tokio::test]
async fn the_same_file_again_changes_nothing() {
    let server = Server::start().await;
    let body = csv(&[account_row("9200000000001")]);
    let first = import(&server, "first", "text/csv", body.clone()).await;
    let again = hand_in(&server, "again", "", "text/csv", body.clone()).await.is(200);
    assert_eq!(again.json()["id"], first["id"]);
    let repeated = hand_in(&server, "first", "", "text/csv", body.clone()).await.is(201);
    assert_eq!(repeated.json()["id"], first["id"]);
    let other = csv(&[account_row("9200000000002")]);
    hand_in(&server, "first", "", "text/csv", other).await.refused(422, "idempotency_key_reused");
    // Under another name it is another file, and each of its rows a duplicate.
    let longer = import(&server, "longer", "text/csv", format!("{body}\n")).await;
    assert_eq!((&longer["counts"]["duplicate"], &longer["counts"]["accepted"]), (&json!(1), &json!(0)));
    server.finish().await;
}

#[tokio::test]
async fn a_rejected_import_leaves_no_flag_that_answers() {
    let server = Server::start().await;
    let done =
        import(&server, "file", "text/csv", csv(&[account_row("9200000000001"), account_row("9200000000002")])).await;
    // One of them is decided on alone before.
    let flag = done["samples"][0].as_str().unwrap();
    server.post(&format!("/v1/flags/{flag}/approve")).by("supervisor").if_match("\"1\"").send().await.is(200);
    decide(&server, &done, "supervisor", "reject").await.is(200);
    let rejected = ended(&server, done["id"].as_str().unwrap()).await;
    let decision = &rejected["decision"];
    assert_eq!(
        (&rejected["state"], &decision["decided"], &decision["passed_over"]),
        (&json!("rejected"), &json!(1), &json!(1))
    );
    server.finish().await;
}

#[tokio::test]
async fn a_dry_run_reports_and_changes_nothing() {
    let server = Server::start().await;
    let body = csv(&[account_row("9200000000001"), account_row("9200000000001"), account_row("1")]);
    let id = hand_in(&server, "dry", "?dry_run=true", "text/csv", body.clone()).await.is(201).json()["id"].clone();
    let dry = ended(&server, id.as_str().unwrap()).await;
    let counts = json!({ "rows_total": 3, "rows": 3, "accepted": 1, "duplicate": 1, "invalid": 1 });
    assert_eq!((&dry["state"], &dry["counts"], &dry["samples"]), (&json!("done"), &counts, &json!([])));
    assert_eq!(report(&server, &dry).await[0], "2,accepted,,,");
    decide(&server, &dry, "supervisor", "approve").await.refused(422, "invalid_transition");
    let real = import(&server, "real", "text/csv", body).await;
    assert_eq!(real["counts"], counts);
    server.finish().await;
}

#[tokio::test]
async fn a_bad_row_is_reported_with_its_field_and_the_others_are_taken() {
    let server = Server::start().await;
    let header = "kind,bank,number,wallet_id,provider,id_number,tax_code,verdict,category,case,reason,document,issued_on,\
                  authority,expires_at,source_kind,source_reference,linked";
    let past = now().minus_ms(1).to_string();
    let rows: Vec<(String, &str)> = vec![
        (",VCB,9200000000001,,,,,warn,mule,C,R,,,,,,,".into(), "accepted"),
        (",VCB,9200000000001,,,,,hold,mule,C,R,,,,,,,".into(), "duplicate"),
        (",NOBANK,9200000000002,,,,,warn,mule,C,R,,,,,,,".into(), "bank"),
        (",VCB,9.7E+12,,,,,warn,mule,C,R,,,,,,,".into(), "number"),
        (",VCB,=1+1,,,,,warn,mule,C,R,,,,,,,".into(), "number"),
        (",VCB,@SUM(A1),,,,,warn,mule,C,R,,,,,,,".into(), "number"),
        (",VCB,9200000000003,,,,,clear,mule,C,R,,,,,,,".into(), "verdict"),
        (",VCB,9200000000003,,,,,stop,mule,C,R,,,,,,,".into(), "verdict"),
        (",VCB,9200000000003,,,,,warn,theft,C,R,,,,,,,".into(), "category"),
        (",VCB,9200000000003,,,,,warn,mule,,R,,,,,,,".into(), "case"),
        (format!(",VCB,9200000000003,,,,,warn,mule,{},R,,,,,,,", "c".repeat(65)), "case"),
        (",VCB,9200000000003,,,,,warn,mule,C,,,,,,,,".into(), "reason"),
        (",VCB,9200000000003,,,,,warn,mule,C,a\u{0}b,,,,,,,".into(), "reason"),
        (format!(",VCB,9200000000003,,,,,warn,mule,C,{},,,,,,,", "r".repeat(5000)), "reason"),
        (",VCB,9200000000003,,,,,block,mule,C,R,,,,,,,".into(), "document"),
        (",VCB,9200000000003,,,,,block,mule,C,R,1/QĐ,,X,,,,".into(), "issued_on"),
        (",VCB,9200000000003,,,,,block,mule,C,R,1/QĐ,31/02/2026,X,,,,".into(), "issued_on"),
        (",VCB,9200000000003,,,,,block,mule,C,R,1/QĐ,20/11/2026,,,,,".into(), "authority"),
        (format!(",VCB,9200000000003,,,,,warn,mule,C,R,,,,{past},,,"), "expires_at"),
        (",VCB,9200000000003,,,,,warn,mule,C,R,,,,tomorrow,,,".into(), "expires_at"),
        (",VCB,9200000000003,,,,,warn,mule,C,R,,,,,rumour,,".into(), "source_kind"),
        (",VCB,9200000000003,,,,,warn,mule,C,R,,,,,,17,".into(), "source_kind"),
        (",VCB,9200000000003,,,,,warn,mule,C,R,,,,,,,account:VCB".into(), "linked"),
        (",VCB,9200000000003,,,,,warn,mule,C,R,,,,,,,person:12".into(), "linked"),
        ("person,,,,,123,,warn,mule,C,R,,,,,,,".into(), "id_number"),
        ("organisation,,,,,,0100233480,warn,mule,C,R,,,,,,,".into(), "tax_code"),
        ("wallet,,,0901234567,nobody,,,warn,mule,C,R,,,,,,,".into(), "provider"),
        ("phone,,12,,,,,warn,mule,C,R,,,,,,,".into(), "number"),
        ("house,,12,,,,,warn,mule,C,R,,,,,,,".into(), "kind"),
        (",VCB,9200000000003,0901234567,momo,,,warn,mule,C,R,,,,,,,".into(), "kind"),
        (",,,,,,,warn,mule,C,R,,,,,,,".into(), "number"),
        ("a,b".into(), ""),
        ("phone,,+84901234567,,,,,warn,mule,C,R,,,,,,,".into(), "accepted"),
        (
            ",VCB,9200000000003,,,,,block,mule,C,'=R,1/QĐ,20/11/2026,X,,ministry,55/BC,person:001099012345".into(),
            "accepted",
        ),
    ];
    let body = format!("{header}\n{}\n", rows.iter().map(|(row, _)| row.as_str()).collect::<Vec<_>>().join("\n"));
    let done = import(&server, "bad", "text/csv", body).await;
    assert_eq!(done["state"], "done", "{done:#}");
    let lines = report(&server, &done).await;
    assert_eq!(lines.len(), rows.len());
    for (line, (row, wanted)) in lines.iter().zip(&rows) {
        let cells: Vec<&str> = line.splitn(5, ',').collect();
        let told = if cells[1] == "invalid" { cells[3] } else { cells[1] };
        assert_eq!(told, *wanted, "{row}\n{line}");
        assert!(!line.contains("9200000000003"), "the report holds a value");
    }
    server.finish().await;
}

#[tokio::test]
async fn a_file_that_is_no_table_of_flags_is_refused_whole_and_may_come_again() {
    let server = Server::start().await;
    let good = account_row("9200000000001");
    let utf16: Vec<u8> = csv(std::slice::from_ref(&good)).encode_utf16().flat_map(u16::to_le_bytes).collect();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("unknown", format!("{HEADER},colour\n{good},red\n").into(), "colour"),
        ("twice", format!("{HEADER},bank\n{good},VCB\n").into(), "bank"),
        ("alias", format!("{HEADER},Ngân hàng\n{good},VCB\n").into(), "Ngân hàng"),
        ("empty", Vec::new(), ""),
        ("utf16", utf16, "bank"),
        ("latin", [csv(std::slice::from_ref(&good)).into_bytes(), vec![0xD0, 0x20]].concat(), ""),
        ("wide", vec!["x"; 70].join(",").into_bytes(), ""),
    ];
    for (key, body, field) in cases {
        let failed = import(&server, key, "text/csv", body.clone()).await;
        assert_eq!(failed["state"], "failed", "{key} {failed:#}");
        assert_eq!(failed["counts"]["rows"], 0);
        assert_eq!(failed["fault"]["field"].as_str().unwrap_or(""), field, "{key} {failed:#}");
        decide(&server, &failed, "supervisor", "approve").await.refused(422, "invalid_transition");
        hand_in(&server, &format!("{key} again"), "", "text/csv", body).await.is(201);
    }
    server.finish().await;
}

#[tokio::test]
async fn text_in_other_sets_and_with_marks_is_read_right() {
    let server = Server::start().await;
    let file = |number: &str| {
        format!("Ngân hàng;Số tài khoản;Mức độ;Phân loại;Vụ việc;Lý do\r\nVCB;{number};warn;mule;Vụ 1;Lừa đảo\r\n")
    };
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
    let marked = [vec![0xFE, 0xFF], utf16(&file("9200000000002"))].concat();
    // "Lý do" and "Số" are written with tones of their own in windows-1258.
    let vietnamese =
        b"bank;number;verdict;category;case;reason\nVCB;9200000000004;warn;mule;Vu\xF2 1;Ly\xEC do\n".to_vec();
    let cases = [
        ("bom", "text/csv", format!("\u{feff}{}", file("9200000000001")).into_bytes()),
        ("mark", "text/csv", marked),
        ("named", "text/csv; charset=utf-16be", utf16(&file("9200000000003"))),
        ("1258", "text/csv; charset=windows-1258", vietnamese),
    ];
    for (key, media_type, body) in cases {
        let done = import(&server, key, media_type, body).await;
        assert_eq!((&done["state"], &done["counts"]["accepted"]), (&json!("done"), &json!(1)), "{key} {done:#}");
        let flag =
            server.get(&format!("/v1/flags/{}", done["samples"][0].as_str().unwrap())).by("officer").send().await;
        let flag = flag.is(200).json();
        if key == "1258" {
            assert_eq!((&flag["case"], &flag["reason"]), (&json!("Vụ 1"), &json!("Lý do")));
        } else {
            assert_eq!(flag["reason"], "Lừa đảo");
        }
    }
    hand_in(&server, "other", "", "text/csv; charset=koi8-r", "x").await.refused(415, "unsupported_media_type");
    server.finish().await;
}

#[tokio::test]
async fn a_simo_record_needs_only_what_it_does_not_say() {
    let server = Server::start().await;
    let body = "Cif,SoID,LoaiID,TenKhachHang,SoTaiKhoan,NghiNgo,GhiChu\n1,001099012345,1,Nguyễn Văn A,9200000000001,3,\n\
                2,001099012346,1,Nguyễn Văn B,9200000000002,0,\n3,,,,9200000000003,8,Tự khai\n4,,,,9200000000004,8,\n";
    let query = "?bank=VCB&verdict=hold&category=mule&case=BC-17&source_kind=ministry&source_reference=55%2FBC&\
                 document=1%2FBCA&issued_on=2026-11-20&authority=BCA";
    let id = hand_in(&server, "simo", query, "text/csv", body).await.is(201).json()["id"].clone();
    let done = ended(&server, id.as_str().unwrap()).await;
    assert_eq!((&done["counts"]["accepted"], &done["counts"]["invalid"]), (&json!(2), &json!(2)), "{done:#}");
    let lines = report(&server, &done).await;
    assert!(lines[1].contains(",suspicion,") && lines[3].contains(",suspicion,"), "{lines:?}");
    for sample in done["samples"].as_array().unwrap() {
        let flag =
            server.get(&format!("/v1/flags/{}", sample.as_str().unwrap())).by("officer").send().await.is(200).json();
        assert_eq!(flag["source"], json!({ "kind": "ministry", "reference": "55/BC" }));
        assert!(!flag.to_string().contains("Nguyễn"), "a name was kept");
    }
    server.finish().await;
}

#[tokio::test]
async fn lines_of_json_are_read_as_requests_are() {
    let server = Server::start().await;
    let flag = |number: &str| json!({ "subject": account(number), "verdict": "warn", "category": "mule", "case": "C", "reason": "R" });
    let mut urgent = flag("9200000000002");
    urgent["urgent"] = json!(true);
    let mut unknown = flag("9200000000003");
    unknown["colour"] = json!("red");
    let mut number = flag("9200000000004");
    number["subject"]["number"] = json!(9_200_000_000_004_u64);
    let lines = [flag("9200000000001"), urgent, unknown, number].map(|line| line.to_string());
    let body = format!("{}\n\nnull\n[]\n{{\n{}\n", lines.join("\n"), "x".repeat(70_000));
    let done = import(&server, "lines", "application/x-ndjson", body).await;
    let fields: Vec<String> =
        report(&server, &done).await.iter().map(|line| line.split(',').nth(3).unwrap().to_owned()).collect();
    assert_eq!(fields[..4], ["", "/urgent", "/colour", "/subject/number"]);
    assert_eq!((&done["counts"]["accepted"], &done["counts"]["invalid"]), (&json!(1), &json!(7)), "{done:#}");
    server.finish().await;
}

#[tokio::test]
async fn an_import_is_refused_for_what_its_request_lacks() {
    let server = Server::start().await;
    let body = csv(&[account_row("9200000000001")]);
    let ask = |query: &str| server.post(&format!("/v1/imports{query}")).by("officer").key("k");
    server
        .post("/v1/imports")
        .by("officer")
        .raw("text/csv", body.clone())
        .send()
        .await
        .refused(400, "idempotency_key_missing");
    ask("").raw("application/json", body.clone()).send().await.refused(415, "unsupported_media_type");
    for (query, pointer) in [
        ("?dry_run=yes", "/dry_run"),
        ("?verdict=clear", "/verdict"),
        ("?category=x", "/category"),
        ("?source_kind=x", "/source_kind"),
        ("?number=1", "/number"),
        ("?case=", "/case"),
    ] {
        let refused = ask(query).raw("text/csv", body.clone()).send().await.refused(400, "invalid_request");
        assert_eq!(refused.pointers(), [pointer], "{query}");
    }
    for client in ["bank", "auditor", "operator"] {
        server
            .post("/v1/imports")
            .by(client)
            .key("k")
            .raw("text/csv", "x")
            .send()
            .await
            .refused(403, "insufficient_scope");
    }
    server.get("/v1/imports/import_01h2xcejqtf2nbrexx3vqjhp41").by("officer").send().await.refused(404, "not_found");
    server.finish().await;
}

#[tokio::test]
async fn after_a_crash_an_import_goes_on_where_the_log_says_it_stopped() {
    let mut server = Server::start().await;
    let rows: Vec<String> = (0..3000).map(|i| account_row(&format!("92000000{i:05}"))).collect();
    let received = hand_in(&server, "long", "", "text/csv", csv(&rows)).await.is(201).json();
    let id = received["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/imports/{id}");
    eventually(Duration::from_secs(60), "some rows are taken", async || {
        server.get(&path).by("officer").send().await.is(200).json()["counts"]["rows"].as_u64().unwrap() > 0
    })
    .await;
    server.kill().await;
    server.start_again().await;
    let done = ended(&server, &id).await;
    let counts = json!({ "rows_total": 3000, "rows": 3000, "accepted": 3000, "duplicate": 0, "invalid": 0 });
    assert_eq!((&done["state"], &done["counts"]), (&json!("done"), &counts), "{done:#}");
    let lines = report(&server, &done).await;
    let rows: Vec<usize> = lines.iter().map(|line| line.split(',').next().unwrap().parse().unwrap()).collect();
    assert!(rows.iter().copied().eq(2..3002), "a row was taken twice or not at all");
    server.finish().await;
}

#[tokio::test]
async fn an_export_comes_back_as_duplicates_in_every_form() {
    let server = Server::start_with(20).await;
    let runs = "VCB,9200000000001,warn,mule,HN-1,'=1+1\nphone".replace("\nphone", "");
    import(&server, "file", "text/csv", csv(&[runs])).await;
    let mut flags = None;
    for media_type in ["text/csv", "application/x-ndjson", XLSX] {
        let export = server.get("/v1/flags/export").by("officer").header("accept", media_type).send().await.is(200);
        assert_eq!(export.media_type(), media_type);
        if media_type == "text/csv" {
            assert!(export.text().contains(",'=1+1,"), "a formula would run");
        }
        let again = import(&server, &media_type[media_type.len() - 4..], media_type, export.body.clone()).await;
        if media_type == "text/csv" {
            flags = Some(export.text().lines().count() - 1);
        }
        let counts = json!({ "rows_total": flags, "rows": flags, "accepted": 0, "duplicate": flags, "invalid": 0 });
        assert_eq!((&again["state"], &again["counts"]), (&json!("done"), &counts), "{media_type} {again:#}");
    }
    assert!(flags > Some(20));
    server.get("/v1/flags/export").by("bank").send().await.refused(403, "insufficient_scope");
    let image = server.get("/v1/flags/export").by("officer").header("accept", "image/png").send().await;
    image.refused(406, "not_acceptable");
    server.finish().await;
}

#[tokio::test]
async fn a_ward_hands_in_for_itself_and_its_city_decides() {
    let server = Server::start().await;
    let header = format!("{HEADER},unit,coordinating");
    let rows = [",", "hanoi-hoan-kiem,hanoi-dong-da", "hanoi-dong-da,", ",nowhere"];
    let rows: Vec<String> =
        (1..).zip(rows).map(|(n, units)| format!("{},{units}", account_row(&format!("920000000000{n}")))).collect();
    let body = format!("{header}\n{}\n", rows.join("\n"));
    let ask = server.post("/v1/imports").by("ward_a").key("ward").raw("text/csv", body);
    let id = ask.send().await.is(201).json()["id"].as_str().unwrap().to_owned();
    let done = ended(&server, &id).await;
    let fields: Vec<String> =
        report(&server, &done).await.iter().map(|line| line.split(',').nth(3).unwrap().to_owned()).collect();
    assert_eq!(fields, ["", "", "unit", "coordinating"]);
    for path in ["", "/report"] {
        let path = format!("/v1/imports/{id}{path}");
        server.get(&path).by("ward_a").send().await.is(200);
        server.get(&path).by("ward_b").send().await.refused(404, "not_found");
    }
    // What each of them sees of the two flags: its own, and what it coordinates.
    for (by, seen) in [("ward_a", 2), ("ward_b", 1), ("officer", 2)] {
        let export = server.get("/v1/flags/export").by(by).header("accept", "text/csv").send().await.is(200).text();
        assert_eq!(export.lines().filter(|line| line.contains(",92000000")).count(), seen, "{by}: {export}");
    }
    decide(&server, &done, "ward_a_supervisor", "approve").await.refused(403, "insufficient_scope");
    decide(&server, &done, "supervisor", "approve").await.is(200);
    let approved = ended(&server, &id).await;
    assert_eq!((&approved["state"], &approved["decision"]["decided"]), (&json!("approved"), &json!(2)));
    assert_eq!(verdict(&server, "9200000000002").await, "warn");
    server.finish().await;
}

#[tokio::test]
async fn flags_that_were_decided_on_alone_are_passed_over() {
    let server = Server::start().await;
    let rows: Vec<String> = (1..=3).map(|n| account_row(&format!("920000000000{n}"))).collect();
    let done = import(&server, "file", "text/csv", csv(&rows)).await;
    let ids: Vec<String> =
        report(&server, &done).await.iter().map(|line| line.split(',').nth(2).unwrap().to_owned()).collect();
    let act = async |id: &str, by: &str, what: &str, version: u32, body: Value| {
        let path = format!("/v1/flags/{id}/{what}");
        server.post(&path).by(by).if_match(&format!("\"{version}\"")).json(&body).send().await.is(200);
    };
    act(&ids[0], "supervisor", "reject", 1, json!({ "reason": "Another's" })).await;
    // In force, and with an amendment that waits: the batch does not decide on that.
    act(&ids[1], "supervisor", "approve", 1, json!({})).await;
    act(&ids[1], "officer", "amend", 2, json!({ "reason": "New", "changes": { "verdict": "hold" } })).await;
    // Who changed a proposal does not decide on it, with a batch neither.
    act(&ids[2], "supervisor", "amend", 1, json!({ "reason": "New", "changes": { "verdict": "hold" } })).await;
    decide(&server, &done, "supervisor", "approve").await.is(200);
    let approved = ended(&server, done["id"].as_str().unwrap()).await;
    let decision = &approved["decision"];
    assert_eq!((&decision["decided"], &decision["passed_over"]), (&json!(0), &json!(3)), "{approved:#}");
    let verdicts = [verdict(&server, "9200000000001").await, verdict(&server, "9200000000002").await];
    assert_eq!(verdicts, ["clear", "warn"]);
    assert_eq!(verdict(&server, "9200000000003").await, "clear");
    server.finish().await;
}

#[tokio::test]
async fn what_an_earlier_process_left_of_files_is_removed() {
    let mut server = Server::start().await;
    import(&server, "file", "text/csv", csv(&[account_row("9200000000001")])).await;
    let directory = server.data().join("imports");
    let left = || std::fs::read_dir(&directory).unwrap().count();
    eventually(Duration::from_secs(10), "the file of an import that has ended goes", async || left() == 0).await;
    hand_in(&server, "broken", "?case=", "text/csv", "x").await.refused(400, "invalid_request");
    hand_in(&server, "file", "", "text/csv", "other").await.refused(422, "idempotency_key_reused");
    assert_eq!(left(), 0, "a refused file stayed");
    server.kill().await;
    for name in ["import_01h2xcejqtf2nbrexx3vqjhp41", "import_01h2xcejqtf2nbrexx3vqjhp41.new"] {
        std::fs::write(directory.join(name), "left").unwrap();
    }
    server.start_again().await;
    assert_eq!(left(), 0);
    server.finish().await;
}
