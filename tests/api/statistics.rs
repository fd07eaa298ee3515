//! `/v1/statistics` and its report: their figures are those that counting the exported log gives.

use crate::flags::{act, active, proposal, raise};
use crate::log::{NDJSON, lines};
use crate::merging::{active_of, merge, of, raised_by};
use crate::outcomes::tell;
use crate::support::chance::Random;
use crate::support::{Answer, Server};
use crate::{about, account};
use calamine::{Data, Reader, Xlsx};
use canhbao::domain::{Day, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

async fn read(server: &Server, by: &str, query: &str) -> Answer {
    server.get(&format!("/v1/statistics?{query}")).by(by).send().await
}

async fn report(server: &Server, by: &str, query: &str, accept: &str) -> Answer {
    server.get(&format!("/v1/statistics/report?{query}")).by(by).header("accept", accept).send().await
}

fn today() -> Day {
    Day::of(crate::support::now())
}

/// All that was ever counted.
fn always() -> String {
    format!("from=2020-01-01&to={}", Day::parse("2029-12-31").unwrap())
}

async fn check(server: &Server, by: &str, number: &str) -> String {
    let answer = server.post("/v1/checks").by(by).json(&about(account(number))).send().await.is(200).json();
    answer["id"].as_str().unwrap().to_owned()
}

/// A flag of a ward with this number, approved by the city.
async fn of_ward(server: &Server, number: &str, ward: &str) -> String {
    let raised = server.post("/v1/flags").by(ward).key(number).json(&proposal(account(number), "hold"));
    let id = raised.send().await.is(201).json()["id"].as_str().unwrap().to_owned();
    act(server, &id, "supervisor", "approve", "\"1\"").await.is(200);
    id
}

/// Counts like a clerk with the exported log: by what an entry says and what the flags' own resources say.
async fn counted_by_hand(server: &Server) -> BTreeMap<String, u64> {
    let export = server.get("/v1/log/entries").by("auditor").header("accept", NDJSON).send().await.is(200);
    let mut counts = BTreeMap::new();
    for entry in lines(&export) {
        let (verdict, party) = (entry["verdict"].as_str().unwrap_or(""), entry["party"].as_str().unwrap());
        let mut add = |name: String, by: u64| *counts.entry(name).or_insert(0) += by;
        match entry["act"].as_str().unwrap() {
            "check" => {
                let hit = u64::from(verdict != "clear");
                add("checks".to_owned(), 1);
                add("hits".to_owned(), hit);
                add(format!("checks of {party}"), 1);
                add(format!("hits of {party}"), hit);
            }
            "check.outcome" if verdict != "clear" => {
                let told: Vec<&str> = entry["reference"].as_str().unwrap().split(' ').collect();
                add(told[0].to_owned(), 1);
                add("warnings_shown".to_owned(), u64::from(told[1] == "warned"));
                if ["cancelled_by_customer", "refused"].contains(&told[0]) && told.get(3) == Some(&"VND") {
                    add("kept".to_owned(), told[2].parse().unwrap());
                }
            }
            "flag.raise" => add("flags_raised".to_owned(), 1),
            "flag.approve" => add("flags_approved".to_owned(), 1),
            "flag.reject" => add("flags_rejected".to_owned(), 1),
            "flag.lift" => add("flags_lifted".to_owned(), 1),
            // A step of a file names its flags, which are proposals.
            "flag.import" if entry["resource"].is_string() => {
                add("flags_raised".to_owned(), u64::try_from(entry["flags"].as_array().unwrap().len()).unwrap());
            }
            "flag.import" => {
                let flags = entry["count"].as_u64().unwrap();
                add("flags_raised".to_owned(), flags);
                add("flags_approved".to_owned(), flags);
            }
            "objection.file" => add("objections_filed".to_owned(), 1),
            "objection.uphold" => add("objections_upheld".to_owned(), 1),
            "objection.dismiss" => add("objections_dismissed".to_owned(), 1),
            _ => {}
        }
    }
    counts
}

/// The same figures of an answer.
fn told(figures: &Value) -> BTreeMap<String, u64> {
    let counts = figures.as_object().unwrap().iter().filter_map(|(name, value)| Some((name.clone(), value.as_u64()?)));
    let kept = figures["money_kept"].as_array().unwrap().iter().find(|sum| sum["currency"] == "VND");
    counts.chain(kept.map(|sum| ("kept".to_owned(), sum["value"].as_str().unwrap().parse().unwrap()))).collect()
}

fn item<'a>(answer: &'a Value, key: &str) -> &'a Value {
    let items = answer["items"].as_array().unwrap();
    items.iter().find(|item| item["key"] == key).unwrap_or_else(|| panic!("no {key} in {answer}"))
}

/// Some of everything that is counted.
async fn act_at_random(server: &Server, random: &mut Random, times: u64) {
    let wallets = ["9000000000000", "9000000000001", "9000000000002", "9000000000003", "0011001932418"];
    for round in 0..times {
        let number = wallets[usize::try_from(random.below(5)).unwrap()];
        let by = ["bank", "bank_b"][usize::try_from(random.below(2)).unwrap()];
        let id = check(server, by, number).await;
        if random.below(2) == 0 {
            let decision =
                ["completed", "cancelled_by_customer", "held", "refused"][usize::try_from(random.below(4)).unwrap()];
            let currency = ["VND", "VND", "USD"][usize::try_from(random.below(3)).unwrap()];
            let amount = json!({ "value": (1 + random.below(1_000_000_000)).to_string(), "currency": currency });
            let body = json!({ "decision": decision, "warning_shown": random.below(2) == 0, "amount": amount });
            tell(server, &id, by, &body).await.is(200);
        }
        if random.below(4) == 0 {
            let fresh = format!("91{:011}", random.next() % 100_000_000_000);
            let key = format!("{round}-{fresh}");
            let raised = raise(server, &key, &proposal(account(&fresh), "warn")).await.is(201).json();
            let id = raised["id"].as_str().unwrap();
            match random.below(4) {
                0 => {}
                1 => drop(act(server, id, "supervisor", "reject", "\"1\"").await.is(200)),
                2 => drop(act(server, id, "supervisor", "approve", "\"1\"").await.is(200)),
                _ => {
                    act(server, id, "supervisor", "approve", "\"1\"").await.is(200);
                    act(server, id, "officer", "lift", "\"2\"").await.is(200);
                }
            }
        }
    }
}

/// The figures agree with the log, as an auditor sees both.
async fn agrees(server: &Server) {
    let by_party = read(server, "auditor", &format!("{}&by=party", always())).await.is(200).json();
    let by_hand = counted_by_hand(server).await;
    let total = told(&by_party["total"]);
    for (name, count) in by_hand.iter().filter(|(name, _)| !name.contains(" of ")) {
        assert_eq!(total.get(name).copied().unwrap_or(0), *count, "{name} in {total:?}");
    }
    for name in
        ["checks", "hits", "held", "refused", "completed", "cancelled_by_customer", "warnings_shown", "flags_lifted"]
    {
        assert_eq!(total[name], by_hand.get(name).copied().unwrap_or(0), "{name}");
    }
    for party in ["970436", "970415"] {
        for name in ["checks", "hits"] {
            let told = item(&by_party, party)[name].as_u64().unwrap();
            assert_eq!(told, by_hand[&format!("{name} of {party}")], "{name} of {party}");
        }
    }
    // However it is cut, the parts are the whole.
    for by in ["unit", "category", "verdict", "day", "month"] {
        let cut = read(server, "auditor", &format!("{}&by={by}", always())).await.is(200).json();
        for name in ["hits", "held", "flags_raised", "flags_approved"] {
            let parts = cut["items"].as_array().unwrap().iter();
            assert_eq!(
                parts.map(|item| item[name].as_u64().unwrap()).sum::<u64>(),
                cut["total"][name],
                "{name} by {by}"
            );
        }
    }
}

#[tokio::test]
async fn figures_are_those_of_the_exported_log_also_after_a_restart() {
    let mut server = Server::start_with(50).await;
    let mut random = Random::seeded();
    act_at_random(&server, &mut random, 40).await;
    agrees(&server).await;
    server.stop().await;
    server.start_again().await;
    agrees(&server).await;
    act_at_random(&server, &mut random, 10).await;
    agrees(&server).await;
    server.finish().await;
}

#[tokio::test]
async fn figures_are_of_all_nodes_whichever_is_asked() {
    let mut server = Server::start_with(10).await;
    let mut random = Random::seeded();
    act_at_random(&server, &mut random, 12).await;
    server.stop().await;
    server.start_as("second").await;
    act_at_random(&server, &mut random, 12).await;
    agrees(&server).await;
    let told = read(&server, "auditor", &always()).await.is(200).json();
    assert_eq!(told["counted_from"], "main/0,second/0");
    server.stop().await;
    server.start_as("main").await;
    agrees(&server).await;
    server.finish().await;
}

#[tokio::test]
async fn a_parameter_that_is_none_is_refused_with_its_name() {
    let server = Server::start_with(0).await;
    for (query, pointer) in [
        ("", "/from"),
        ("from=2026-07-01", "/to"),
        ("to=2026-07-01", "/from"),
        ("from=2026-02-30&to=2026-03-01", "/from"),
        ("from=2026-7-1&to=2026-07-02", "/from"),
        ("from=2026-07-01T00:00:00Z&to=2026-07-02", "/from"),
        ("from=1999-12-31&to=2000-01-01", "/from"),
        ("from=2026-07-02&to=2026-07-01", "/to"),
        ("from=2010-01-01&to=2026-01-01", "/to"),
        ("from=2026-07-01&to=2026-07-02&by=week", "/by"),
        ("from=2026-07-01&to=2026-07-02&per=day", "/per"),
    ] {
        let refused = read(&server, "officer", query).await.refused(400, "invalid_request");
        assert_eq!(refused.pointers(), [pointer], "{query}");
    }
    for query in
        ["", "period=2026-Q5", "period=2026-q1", "period=26", "period=2026-07", "period=2026-07-02..2026-07-01"]
    {
        let refused = report(&server, "officer", query, "application/json").await.refused(400, "invalid_request");
        assert_eq!(refused.pointers(), ["/period"], "{query}");
    }
    report(&server, "officer", "period=2026", "application/pdf").await.refused(406, "not_acceptable");
    for by in ["bank", "wallet", "operator"] {
        read(&server, by, &always()).await.refused(403, "insufficient_scope");
        report(&server, by, "period=2026", "text/csv").await.refused(403, "insufficient_scope");
    }
    server.finish().await;
}

#[tokio::test]
async fn a_ward_sees_what_concerns_its_own_flags_and_the_city_sees_all() {
    let server = Server::start_with(0).await;
    of_ward(&server, "9100000000011", "ward_a").await;
    of_ward(&server, "9100000000012", "ward_b").await;
    let grown = |by: &'static str| {
        let server = &server;
        async move { read(server, by, &format!("{}&by=unit", always())).await.is(200).json() }
    };
    let (ward_before, city_before) = (grown("ward_a").await, grown("officer").await);
    for number in ["9100000000011", "9100000000012", "9100000000012", "9000000000000"] {
        let id = check(&server, "bank", number).await;
        tell(&server, &id, "bank", &json!({ "decision": "held", "warning_shown": true })).await.is(200);
    }
    let (ward, city, auditor) = (grown("ward_a").await, grown("officer").await, grown("auditor").await);
    let more =
        |answer: &Value, before: &Value, name: &str| answer[name].as_u64().unwrap() - before[name].as_u64().unwrap();
    assert_eq!(ward["total"]["checks"], Value::Null);
    for (name, expected) in [("hits", 1), ("held", 1), ("warnings_shown", 1), ("flags_raised", 0)] {
        assert_eq!(more(&ward["total"], &ward_before["total"], name), expected, "{name}");
    }
    let keys: Vec<_> = ward["items"].as_array().unwrap().iter().map(|item| &item["key"]).collect();
    assert_eq!(keys, ["hanoi-hoan-kiem"], "no other unit is named");
    for (name, expected) in [("checks", 4), ("hits", 3), ("held", 3), ("warnings_shown", 3)] {
        assert_eq!(more(&city["total"], &city_before["total"], name), expected, "{name}");
    }
    let other = |answer| item(answer, "hanoi-dong-da").clone();
    assert_eq!(more(&other(&city), &other(&city_before), "hits"), 2);
    assert_eq!(item(&city, "hanoi-hoan-kiem")["name"], "Công an phường Hoàn Kiếm (demo)");
    assert_eq!(city["total"], auditor["total"]);
    let both = |answer: &Value| answer["now"]["flags_active"].as_u64().unwrap();
    assert!(both(&ward) >= 1 && both(&ward) < both(&city), "{ward} {city}");
    server.finish().await;
}

#[tokio::test]
async fn what_is_done_to_the_list_counts_for_the_unit_and_the_category() {
    let server = Server::start_with(0).await;
    let by_unit = || async { read(&server, "officer", &format!("{}&by=unit", always())).await.is(200).json() };
    let before = by_unit().await;
    let wrong = active(&server, "k", &proposal(account("9100000000021"), "hold")).await;
    let filed = server.post(&format!("/v1/flags/{wrong}/objections")).by("bank").key("o");
    let filed = filed.json(&json!({ "text": "It is another one." })).send().await.is(201).json();
    let open = by_unit().await;
    let uphold = server.post(&format!("/v1/objections/{}/uphold", filed["id"].as_str().unwrap()));
    uphold.by("officer").if_match("\"1\"").json(&json!({ "answer": "Yes." })).send().await.is(200);
    let after = by_unit().await;
    let grown = |name: &str| {
        item(&after, "hanoi-police")[name].as_u64().unwrap() - item(&before, "hanoi-police")[name].as_u64().unwrap()
    };
    for name in
        ["flags_raised", "flags_approved", "flags_lifted", "flags_corrected", "objections_filed", "objections_upheld"]
    {
        assert_eq!(grown(name), 1, "{name}");
    }
    assert_eq!(grown("flags_rejected") + grown("objections_dismissed"), 0);
    let now = |answer: &Value| answer["now"]["objections_open"].as_u64().unwrap();
    assert_eq!(now(&open), now(&before) + 1);
    assert_eq!(now(&after), now(&before));
    let by_category = read(&server, "officer", &format!("{}&by=category", always())).await.is(200).json();
    assert!(item(&by_category, "mule")["flags_corrected"].as_u64().unwrap() >= 1);
    server.finish().await;
}

/// What was counted of the list since `before`, by the names of the figures, in the order of `CHANGES`.
async fn changes_since(server: &Server, before: [u64; 5]) -> [u64; 5] {
    let told = read(server, "officer", &always()).await.is(200).json();
    std::array::from_fn(|place| told["total"][CHANGES[place]].as_u64().unwrap() - before[place])
}

const CHANGES: [&str; 5] = ["flags_raised", "flags_approved", "flags_rejected", "flags_lifted", "flags_corrected"];

#[tokio::test]
async fn a_decision_counts_for_the_flag_itself_an_end_once_and_a_correction_for_each_flag_that_is_told() {
    let server = Server::start_with(0).await;
    let mut before = changes_since(&server, [0; 5]).await;
    let mut grown = async |expected: [u64; 5], what: &str| {
        let since = changes_since(&server, before).await;
        assert_eq!(since, expected, "{what}");
        before = std::array::from_fn(|place| before[place] + since[place]);
    };
    let lift = async |id: &str, version: u32, cause: &str| {
        let ask = server.post(&format!("/v1/flags/{id}/lift")).by("officer").if_match(&format!("\"{version}\""));
        ask.json(&json!({ "reason": "x", "cause": cause })).send().await.is(200);
    };
    let flag = active(&server, "k", &proposal(account("9100000000031"), "warn")).await;
    grown([1, 1, 0, 0, 0], "a flag").await;
    for (version, decision) in [(2, "approve"), (4, "reject")] {
        let verdict = if decision == "approve" { "hold" } else { "block" };
        let basis = json!({ "document": "1", "issued_on": "2026-11-20", "authority": "x" });
        let body = json!({ "reason": "x", "changes": { "verdict": verdict, "legal_basis": basis } });
        let ask = server.post(&format!("/v1/flags/{flag}/amend")).by("officer").if_match(&format!("\"{version}\""));
        ask.json(&body).send().await.is(200);
        act(&server, &flag, "supervisor", decision, &format!("\"{}\"", version + 1)).await.is(200);
    }
    grown([0; 5], "decisions on amendments").await;
    lift(&flag, 6, "ended").await;
    grown([0, 0, 0, 1, 0], "an end").await;
    lift(&flag, 7, "wrong").await;
    grown([0, 0, 0, 0, 1], "found wrong after it").await;
    let urgent = crate::with(proposal(account("9100000000032"), "warn"), "urgent", true);
    for (key, decision) in [("a", "approve"), ("r", "reject")] {
        let raised = raise(&server, key, &urgent).await.is(201).json();
        act(&server, raised["id"].as_str().unwrap(), "supervisor", decision, "\"1\"").await.is(200);
    }
    grown([2, 1, 1, 0, 1], "urgent ones, of which one is refused and told").await;
    let refused = raise(&server, "p", &proposal(account("9100000000032"), "warn")).await.is(201).json();
    act(&server, refused["id"].as_str().unwrap(), "supervisor", "reject", "\"1\"").await.is(200);
    grown([1, 0, 1, 0, 0], "a proposal that is refused").await;

    // Of three that answered and a proposal each is merged into the next one.
    let merged = async |number: &str| {
        let body = proposal(account(number), "hold");
        let proposed = raised_by(&server, "ward_b", &format!("p{number}"), &body).await;
        let mut flags = Vec::new();
        for (by, place) in [("ward_a", 0), ("ward_b", 1), ("officer", 2)] {
            flags.push(active_of(&server, by, number, &body).await);
            let others = match place {
                0 => vec![of(&proposed, 1)],
                place => vec![of(&flags[place - 1], 3)],
            };
            merge(&server, "officer", of(&flags[place], 2), &others).await.is(200);
        }
        flags
    };
    for (place, order, expected) in [
        // The last one tells of all of them.
        (1, [2, 1, 0], [[0, 0, 0, 1, 3], [0; 5], [0; 5]]),
        (2, [0, 1, 2], [[0, 0, 0, 0, 1], [0, 0, 0, 0, 1], [0, 0, 0, 1, 1]]),
        (3, [1, 2, 0], [[0, 0, 0, 0, 2], [0, 0, 0, 1, 1], [0; 5]]),
    ] {
        let flags = merged(&format!("910000000004{place}")).await;
        grown([4, 3, 0, 2, 0], "what is merged, the proposal apart").await;
        for (which, expected) in order.into_iter().zip(expected) {
            lift(&flags[which], if which == 2 { 3 } else { 4 }, "wrong").await;
            grown(expected, &format!("{which} of {order:?}")).await;
        }
    }
    server.finish().await;
}

/// The demo was set up a moment ago; at midnight that may have been on another day.
#[tokio::test]
async fn only_the_days_that_were_asked_for_are_counted() {
    let server = Server::start_with(0).await;
    let day = today();
    let count = |from: String, to: String| {
        let server = &server;
        async move { read(server, "officer", &format!("from={from}&to={to}&by=day")).await.is(200).json() }
    };
    let before = Day::of(Timestamp::from_ms(day.begins().as_ms() - 1));
    let first = count(day.to_string(), day.to_string()).await;
    check(&server, "bank", "9000000000001").await;
    let then = count(day.to_string(), today().to_string()).await;
    let checks = |answer: &Value| answer["total"]["checks"].as_u64().unwrap();
    assert_eq!(checks(&then), checks(&first) + 1);
    assert_eq!(then["items"][0]["key"], day.to_string());
    let earlier = count("2026-01-01".to_owned(), before.to_string()).await;
    assert_eq!((&earlier["total"]["checks"], earlier["items"].as_array().unwrap().len()), (&json!(0), 0));
    server.finish().await;
}

fn cells(sheet: &[u8]) -> Vec<Vec<Data>> {
    let mut book: Xlsx<_> = calamine::open_workbook_from_rs(std::io::Cursor::new(sheet)).unwrap();
    book.worksheet_range("Báo cáo").unwrap().rows().map(<[Data]>::to_vec).collect()
}

#[tokio::test]
async fn a_report_says_the_same_in_every_form() {
    let server = Server::start_with(20).await;
    let mut random = Random::seeded();
    act_at_random(&server, &mut random, 20).await;
    let id = check(&server, "bank", "9000000000002").await;
    let amount = json!({ "value": "7000000", "currency": "VND" });
    tell(&server, &id, "bank", &json!({ "decision": "refused", "warning_shown": true, "amount": amount }))
        .await
        .is(200);
    let year = &today().to_string()[..4];
    let query = format!("period={year}");
    let json_report = report(&server, "officer", &query, "application/json").await.is(200).json();
    let csv = report(&server, "officer", &query, "text/csv").await.is(200);
    let xlsx = report(&server, "officer", &query, XLSX).await.is(200);
    assert_eq!(xlsx.must("content-disposition"), format!("attachment; filename=\"bao-cao-{year}.xlsx\""));
    assert_eq!((&json_report["finished"], &json_report["unit"]["id"]), (&json!(false), &json!("hanoi-police")));
    assert_eq!(json_report["by_unit"].as_array().unwrap().len(), 3);
    assert!(json_report["title"].as_str().unwrap().ends_with(&format!("Năm {year}")));
    let text = csv.text();
    assert!(text.starts_with('\u{feff}'), "Excel would read it as Latin");
    let total = &json_report["total"];
    for (label, value) in [
        ("Số lượt kiểm tra", total["checks"].to_string()),
        ("Số lượt trùng với danh sách", total["hits"].to_string()),
        ("Số giao dịch bị từ chối", total["refused"].to_string()),
    ] {
        assert!(text.contains(&format!("{label},{value},")), "{label} {value} in {text}");
    }
    assert!(text.contains("Kỳ báo cáo chưa kết thúc"));
    let kept = told(total)["kept"];
    assert!(kept >= 7_000_000 && text.contains(&format!("Số tiền giữ lại được,{kept},VND")), "{text}");
    // The sheet has the very cells of the CSV.
    let rows = cells(&xlsx.body);
    let from_sheet: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(Data::to_string).collect()).collect();
    let mut reader = csv_reader(&text);
    let lines: Vec<Vec<String>> = reader.drain(..).filter(|line| line.iter().any(|cell| !cell.is_empty())).collect();
    let sheet: Vec<Vec<String>> =
        from_sheet.into_iter().filter(|row| row.iter().any(|cell| !cell.is_empty())).collect();
    assert_eq!(lines.len(), sheet.len());
    let same = |a: &str, b: &str| {
        a == b || a.parse::<f64>().ok().zip(b.parse::<f64>().ok()).is_some_and(|(a, b)| (a - b).abs() < 1e-9)
    };
    for (line, row) in lines.iter().zip(&sheet) {
        for (place, cell) in line.iter().enumerate() {
            assert!(same(cell, row.get(place).map_or("", String::as_str)), "{line:?} {row:?}");
        }
    }
    // What did not happen before has no percentage.
    let hits = json_report["comparison"].as_array().unwrap().iter().find(|line| line["figure"] == "hits").unwrap();
    assert_eq!((&hits["before"], &hits["change_percent"]), (&json!("0"), &Value::Null));
    server.finish().await;
}

/// Rows of simple CSV with quotes.
fn csv_reader(text: &str) -> Vec<Vec<String>> {
    let rows = text.trim_start_matches('\u{feff}').split("\r\n");
    let cells = |row: &str| {
        let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
        for letter in row.chars() {
            match letter {
                '"' => quoted = !quoted,
                ',' if !quoted => cells.push(std::mem::take(&mut cell)),
                other => cell.push(other),
            }
        }
        cells.push(cell);
        cells
    };
    rows.map(cells).collect()
}

#[tokio::test]
async fn a_period_that_is_to_come_or_over_is_reported_as_it_stands() {
    let server = Server::start_with(0).await;
    let past = report(&server, "officer", "period=2020-Q1", "application/json").await.is(200).json();
    assert_eq!((&past["finished"], &past["total"]["checks"]), (&json!(true), &json!(0)));
    assert_eq!((&past["from"], &past["to"]), (&json!("2020-01-01"), &json!("2020-03-31")));
    assert_eq!(past["compared_with"], "2019-Q4");
    let future = report(&server, "ward_a", "period=2099-H2", "application/json").await.is(200).json();
    assert_eq!((&future["finished"], &future["total"]["checks"]), (&json!(false), &Value::Null));
    assert_eq!(future["by_unit"].as_array().unwrap().len(), 1, "a ward reports of itself");
    let entries = server.get("/v1/log/entries?act=statistics.report").by("auditor").send().await.is(200).json();
    let references: Vec<_> = entries["items"].as_array().unwrap().iter().map(|entry| &entry["reference"]).collect();
    assert_eq!(references, ["period=2020-Q1&form=json", "period=2099-H2&form=json"]);
    server.finish().await;
}
