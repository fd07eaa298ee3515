//! What imports must not do: lose rows, show what others have flagged, end half-way for good, or keep others out.

use crate::account;
use crate::flags::proposal;
use crate::imports::{HEADER, account_row, csv, decide, ended, hand_in, import, report};
use crate::merging::raised_by;
use crate::sheets::{XLSX, workbook};
use crate::support::answer::Answer;
use crate::support::process::BINARY;
use crate::support::{Server, client, eventually};
use canhbao::entropy;
use http_body::{Frame, SizeHint};
use reqwest::Body;
use serde_json::{Value, json};
use std::path::Path;
use std::pin::Pin;
use std::process::Command;
use std::task::{Context, Poll, ready};
use std::time::Duration;

fn row(number: u32, reason: &str) -> String {
    format!("VCB,{},warn,mule,HN-1,{reason}", 9_200_000_000_000_u64 + u64::from(number))
}

#[tokio::test]
async fn a_quote_that_would_swallow_rows_refuses_the_file_and_names_its_line() {
    let server = Server::start().await;
    let among = |bad: &str| -> String {
        let rows = [row(1, "a"), row(2, "\"b\nb\""), row(3, bad), row(4, "c"), row(5, "\"d\""), row(6, "e")];
        csv(&rows)
    };
    let cases = [
        (
            "never closed",
            csv(&[row(1, "a"), row(2, "\"b"), row(3, "c")]),
            3,
            "has no end, and the file ends in line 5; the last cell in quotes begins in line 3",
        ),
        ("last", csv(&[row(1, "\"a\nb\""), row(2, "\"b")]), 3, "the last cell in quotes begins in line 4"),
        (
            "before another",
            among("\"x"),
            4,
            "goes on after its closing quote in line 7; the last cell in quotes begins in line 5",
        ),
        (
            "separator",
            csv(&[row(1, "\"a"), row(2, "\",b\"")]),
            2,
            "has a quote in line 3; the last cell in quotes begins in line 2",
        ),
        ("goes on", among("\"x\"y"), 4, "goes on after its closing quote in line 5"),
        ("bare", among("x\"y"), 4, "not in quotes has a quote in line 5; the last cell in quotes begins in line 3"),
        ("after a space", among(" \"x\""), 4, "not in quotes has a quote in line 5"),
        (
            "long",
            csv(&[row(1, "a"), row(2, &format!("\"{}\"", format!("{}\n", row(3, "b")).repeat(2000)))]),
            3,
            "64 KiB",
        ),
    ];
    for (key, body, at, reason) in cases {
        for end in ["\n", "\r\n", "\r"] {
            let failed = import(&server, &format!("{key} {end:?}"), "text/csv", body.replace('\n', end)).await;
            let fault = &failed["fault"];
            assert_eq!(
                (&failed["state"], &failed["counts"]["rows"]),
                (&json!("failed"), &json!(0)),
                "{key} {failed:#}"
            );
            assert!(fault["reason"].as_str().unwrap().contains(reason), "{key}: {fault}");
            assert_eq!(fault["row"], at, "{key}: {fault}");
        }
    }
    server.finish().await;
}

#[tokio::test]
async fn quotes_that_are_where_they_may_be_are_read() {
    let server = Server::start().await;
    let header = format!("{HEADER},TenKhachHang");
    let rows = [row(1, "\"b, \"\"c\"\"\",\"A\n\n B\""), row(2, "\"\"\"\",\"\"\"A\nB\"\"\""), row(3, "\"x\",\"\"")];
    for (key, end) in [("lf", "\n"), ("crlf", "\r\n"), ("cr", "\r")] {
        let body = [&header, &rows[0], &rows[1], &rows[2]].map(|line| line.replace("HN-1", key)).join("\n");
        let done = import(&server, key, "text/csv", body.replace('\n', end)).await;
        assert_eq!(done["counts"]["accepted"], 3, "{done:#}");
        let mut reasons = Vec::new();
        for line in report(&server, &done).await {
            let id = line.split(',').nth(2).unwrap().to_owned();
            let flag = server.get(&format!("/v1/flags/{id}")).by("officer").send().await.is(200).json();
            reasons.push(flag["reason"].as_str().unwrap().to_owned());
        }
        assert_eq!(reasons, ["b, \"c\"", "\"", "x"], "{key}");
    }
    // Too many cells are the row's own fault.
    let wide = format!("{}{}", row(4, "a"), ",x".repeat(300));
    let done = import(&server, "wide", "text/csv", csv(&[wide, row(5, "b")])).await;
    assert_eq!((&done["counts"]["invalid"], &done["counts"]["accepted"]), (&json!(1), &json!(1)), "{done:#}");
    server.finish().await;
}

#[tokio::test]
async fn a_duplicate_of_what_the_unit_does_not_see_is_taken_and_offered_for_merging() {
    let server = Server::start().await;
    let number = |n: u32| 9_200_000_000_000_u64 + u64::from(n);
    let of_case = |n: u32| {
        let mut body = proposal(account(&number(n).to_string()), "warn");
        body["case"] = json!("HN-1");
        body
    };
    let mut coordinated = of_case(2);
    coordinated["coordinating"] = json!(["hanoi-hoan-kiem"]);
    let unseen = raised_by(&server, "ward_b", "unseen", &of_case(1)).await;
    raised_by(&server, "ward_b", "seen", &coordinated).await;
    raised_by(&server, "ward_a", "own", &of_case(3)).await;
    let body = csv(&[1, 2, 3, 4].map(|n| row(n, "R")));
    let counts = async |by: &str, key: &str, query: &str| {
        let ask = server.post(&format!("/v1/imports{query}")).by(by).key(key).raw("text/csv", body.clone());
        let id = ask.send().await.is(201).json()["id"].as_str().unwrap().to_owned();
        let done = ended(&server, &id).await;
        (done["counts"]["accepted"].clone(), done["counts"]["duplicate"].clone())
    };
    // The city sees all of them.
    assert_eq!(counts("officer", "city", "?dry_run=true").await, (json!(1), json!(3)));
    for (key, query) in [("dry", "?dry_run=true"), ("ward", "")] {
        assert_eq!(counts("ward_a", key, query).await, (json!(2), json!(2)), "{key}");
    }
    eventually(Duration::from_secs(10), "both flags are offered for merging", async || {
        let groups = server.get("/v1/flags/duplicates").by("officer").send().await.is(200).text();
        groups.contains(&unseen)
    })
    .await;
    server.finish().await;
}

/// Kills the server when rows of a long file are being taken; returns the import's id and the file.
async fn killed_half_way(server: &mut Server) -> (String, String) {
    let body = csv(&(0..3000).map(|n| row(n, "R")).collect::<Vec<_>>());
    let id =
        hand_in(server, "long", "", "text/csv", body.clone()).await.is(201).json()["id"].as_str().unwrap().to_owned();
    eventually(Duration::from_secs(60), "some rows are taken", async || {
        let import = server.get(&format!("/v1/imports/{id}")).by("officer").send().await.is(200).json();
        import["counts"]["rows"].as_u64().unwrap() > 0
    })
    .await;
    server.kill().await;
    (id, body)
}

#[tokio::test]
async fn what_a_failed_import_had_taken_is_decided_on_as_one() {
    let mut server = Server::start().await;
    let (id, body) = killed_half_way(&mut server).await;
    std::fs::remove_file(server.data().join("imports").join(&id)).unwrap();
    server.start_again().await;
    let failed = ended(&server, &id).await;
    let taken = failed["counts"]["accepted"].as_u64().unwrap();
    assert!(failed["state"] == "failed" && (1..3000).contains(&taken), "{failed:#}");
    // The same file may come again, before it is decided and after; only the rest of its rows is new.
    let again = import(&server, "again", "text/csv", body.clone()).await;
    assert_eq!(again["counts"]["duplicate"], taken, "{again:#}");
    decide(&server, &failed, "supervisor", "approve").await.is(200);
    let approved = ended(&server, &id).await;
    assert_eq!((&approved["state"], &approved["decision"]["decided"]), (&json!("approved"), &json!(taken)));
    decide(&server, &again, "supervisor", "reject").await.is(200);
    let rejected = ended(&server, again["id"].as_str().unwrap()).await;
    assert_eq!((&rejected["state"], &rejected["decision"]["decided"]), (&json!("rejected"), &json!(3000 - taken)));
    server.finish().await;
}

fn canhbao(arguments: &[&str], [from, to]: [(&str, &Path); 2]) {
    let mut command = Command::new(BINARY);
    let ran = command.args(arguments).arg(from.0).arg(from.1).arg(to.0).arg(to.1).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
}

#[tokio::test]
async fn a_backup_holds_the_files_whose_rows_are_not_all_taken() {
    let mut server = Server::start_embedded(20).await;
    let (id, _) = killed_half_way(&mut server).await;
    let data = server.data();
    let [backup, lost] = ["backup", "lost"].map(|name| data.with_file_name(name));
    std::fs::write(data.join("imports").join(format!("{id}.new")), "still coming in").unwrap();
    canhbao(&["backup"], [("--data", &data), ("--to", &backup)]);
    std::fs::rename(&data, &lost).unwrap();
    canhbao(&["restore"], [("--from", &backup), ("--to", &data)]);
    std::fs::copy(lost.join("demo.json"), data.join("demo.json")).unwrap();
    std::fs::copy(lost.join("tls/ca.pem"), data.join("tls/ca.pem")).unwrap();
    let names: Vec<_> =
        std::fs::read_dir(data.join("imports")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [id.as_str()]);
    server.start_again().await;
    let done = ended(&server, &id).await;
    assert_eq!((&done["state"], &done["counts"]["accepted"]), (&json!("done"), &json!(3000)), "{done:#}");
    server.finish().await;
}

#[tokio::test]
async fn a_file_may_come_again_in_its_right_character_set() {
    let server = Server::start().await;
    let body = b"bank;number;verdict;category;case;reason\nVCB;9200000000004;warn;mule;Vu\xF2 1;Ly\xEC do\n".to_vec();
    let wrong = "text/csv; charset=utf-16le";
    let failed = import(&server, "wrong", wrong, body.clone()).await;
    assert_eq!(failed["state"], "failed");
    let plain = csv(&[account_row("9200000000005")]);
    // Its letters are those of UTF-8 too: the file is read, and wrongly.
    let misread = format!("{plain}{}\n", row(6, "Lừa đảo"));
    let first = import(&server, "1258", "text/csv; charset=windows-1258", misread.clone()).await;
    assert_eq!(first["counts"]["accepted"], 2, "{first:#}");
    let second = import(&server, "utf-8", "text/csv; charset=utf-8", misread.clone()).await;
    assert_ne!(second["id"], first["id"]);
    // What is said and what holds if nothing is said are the same.
    let same = hand_in(&server, "nothing", "", "text/csv", misread).await.is(200).json();
    assert_eq!(same["id"], second["id"]);
    let right = import(&server, "right", "text/csv; charset=windows-1258", body).await;
    assert_eq!(right["counts"]["accepted"], 1, "{right:#}");
    server.finish().await;
}

/// A file that comes in two parts, the second one after a while.
struct SlowFile {
    parts: Vec<Vec<u8>>,
    pause: Pin<Box<tokio::time::Sleep>>,
}

impl http_body::Body for SlowFile {
    type Data = actix_web::web::Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Self::Data>>>> {
        if self.parts.len() < 2 {
            ready!(self.pause.as_mut().poll(context));
        }
        Poll::Ready(self.parts.pop().map(|part| Ok(Frame::data(part.into()))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[tokio::test]
async fn a_client_s_slow_file_keeps_no_other_client_s_out() {
    let server = Server::start().await;
    let [first, second] = [1, 2].map(|n| csv(&[row(n, "R")]));
    let (head, tail) = first.split_at(20);
    let pause = Box::pin(tokio::time::sleep(Duration::from_secs(3)));
    let body = SlowFile { parts: vec![tail.into(), head.into()], pause };
    let ask = server.post("/v1/imports").key("slow").raw("text/csv", first.clone());
    let http = client(&server.data().join("tls/ca.pem")).build().unwrap();
    let request = http.post(format!("{}/v1/imports", server.base_url)).headers(ask.headers.clone());
    let request = request.bearer_auth(server.token("officer").await).body(Body::wrap(body));
    let slow = async { Answer::read(request.send().await.unwrap()).await.unwrap() };
    let others = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let by = async |client: &str| {
            server.post("/v1/imports").by(client).key("other").raw("text/csv", second.clone()).send().await
        };
        by("officer").await.refused(503, "unavailable").must("retry-after");
        by("officer_b").await.is(201);
    };
    let (slow, ()) = tokio::join!(slow, others);
    server.witness(&ask, Some("demo-officer".to_owned()), &slow);
    ended(&server, slow.is(201).json()["id"].as_str().unwrap()).await;
    hand_in(&server, "after", "", "text/csv", csv(&[row(3, "R")])).await.is(201);
    server.finish().await;
}

#[tokio::test]
async fn a_workbook_of_millions_of_empty_texts_is_refused() {
    let server = Server::start().await;
    // What does not pack, so that it is no bomb by its size.
    let noise: String =
        (0..20_000).flat_map(|_| entropy::bytes16().unwrap()).map(|byte| char::from(b'a' + byte % 16)).collect();
    let noise: Vec<String> =
        noise.as_bytes().chunks(60_000).map(|part| format!("<!--{}-->", String::from_utf8_lossy(part))).collect();
    let texts = format!("<sst>{}{}</sst>", noise.concat(), "<si/>".repeat(8_000_001));
    let body = workbook(b"<worksheet><sheetData/></worksheet>", &texts);
    let failed = import(&server, "texts", XLSX, body).await;
    let told: &Value = &failed["fault"]["reason"];
    assert_eq!(
        (&failed["state"], told),
        (&json!("failed"), &json!("has more shared texts than a table of flags needs"))
    );
    server.finish().await;
}
