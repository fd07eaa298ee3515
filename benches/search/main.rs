//! `cargo bench --bench search`: how long officers wait for a search, over a list of a million flags. It must never time a
//! search that the view does not cover yet, and tells how many pages the whole answer has.
#![allow(clippy::disallowed_methods, reason = "a bench measures by the real clock")]
#![allow(clippy::indexing_slicing, reason = "what an answer of JSON lacks reads as null")]

#[path = "../support/mod.rs"]
mod support;

use clap::Parser;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use support::Outcome;
use support::process::ServerProcess;

/// Pages that are asked for until an answer is called endless.
const PAGES_MAX: u32 = 100;
const COVERED_WITHIN: Duration = Duration::from_secs(20 * 60);

#[derive(Parser)]
struct Options {
    /// Generated flags of a new directory.
    #[arg(long, default_value_t = 1_000_000)]
    flags: u64,
    /// Where the registry is made, once.
    #[arg(long, default_value = "target/bench-search")]
    data: PathBuf,
    #[arg(long, default_value = env!("CARGO_BIN_EXE_canhbao"))]
    server: PathBuf,
    /// How often each search is asked.
    #[arg(long, default_value_t = 30)]
    rounds: usize,
    /// cargo gives it to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

struct Officer {
    http: reqwest::Client,
    url: String,
    token: String,
}

/// What one search looks like, and for how many flags.
struct Measured {
    times: Vec<Duration>,
    pages: u32,
    found: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    canhbao::auth::install_crypto_provider();
    // An error says only that one is installed already.
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let options = Options::parse();
    let mut command = Command::new(&options.server);
    command.args(["demo", "--listen", "127.0.0.1:0", "--flags", &options.flags.to_string(), "--data"]);
    command.arg(&options.data);
    let process = ServerProcess::start(command, Path::new("target/bench-search.log"))?;
    let asked = Instant::now();
    let officer = Officer::of(&options.data).await?;
    officer.await_covered(asked).await?;
    println!("covered {:.0} s after the start", asked.elapsed().as_secs_f64());
    println!("resident {} MiB", process.memory()?.resident_kib / 1024);
    let size = std::fs::metadata(options.data.join("register.sqlite3"))?.len();
    println!("register.sqlite3 {} MiB\n", size >> 20);
    println!("| search | found | pages | p50 | p99 |\n|---|---|---|---|---|");
    for (name, search) in searches() {
        let measured = officer.measure(&search, options.rounds).await?;
        let at = |percent: usize| {
            measured.times.get((measured.times.len() - 1) * percent / 100).map_or(0, Duration::as_micros)
        };
        println!("| {name} | {} | {} | {} µs | {} µs |", measured.found, measured.pages, at(50), at(99));
    }
    process.stop()
}

/// Of the generated flags, with the worst for each way of looking.
fn searches() -> Vec<(&'static str, Value)> {
    let never = "2020-01-01T00:00:00Z";
    vec![
        ("the newest", json!({})),
        ("a subject", json!({ "subject": { "kind": "account", "bank": "970436", "number": "9000000000001" } })),
        ("a case", json!({ "case": "DEMO-4711" })),
        ("a state of few", json!({ "state": "proposed" })),
        ("a state of nearly all, and a time of none", json!({ "state": "active", "raised_to": never })),
        (
            "a verdict and a category that never meet a bank",
            json!({ "verdict": "block", "category": "mule", "bank": "970436" }),
        ),
        ("a unit of few, a word of all", json!({ "unit": "hanoi-dong-da", "text": "demo" })),
        ("a word of all", json!({ "text": "demo" })),
        ("two words of many", json!({ "text": "cong an dieu tra" })),
        ("words that never meet", json!({ "text": "cho vay danh bac" })),
        ("words of many, a category that never has them", json!({ "text": "cho vay", "category": "gambling" })),
        ("a beginning of many words", json!({ "text": "ng" })),
        ("a beginning of many numbers", json!({ "text": "demo 12" })),
        ("a word that is nowhere", json!({ "text": "zzz" })),
        ("four digits", json!({ "number_part": "4711" })),
        ("four digits that are the commonest", json!({ "number_part": "1000" })),
        ("four digits, and a word of many", json!({ "number_part": "4711", "text": "cong an" })),
        ("eight digits that are nowhere", json!({ "number_part": "00000000" })),
        ("an end within a span of all", json!({ "expires_from": never, "category": "romance", "verdict": "hold" })),
        ("of the past: a category", json!({ "category": "loan", "as_of": "now" })),
        ("of the past: words", json!({ "text": "cho vay", "as_of": "now" })),
    ]
}

impl Officer {
    async fn of(data: &Path) -> Outcome<Self> {
        let demo: Value = serde_json::from_slice(&std::fs::read(data.join("demo.json"))?)?;
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or("demo.json is of another form");
        let ca = std::fs::read(text(&demo["ca_file"])?)?;
        let http = reqwest::Client::builder().tls_certs_only([reqwest::Certificate::from_pem(&ca)?]).build()?;
        let url = text(&demo["base_url"])?;
        let client = &demo["clients"]["officer"];
        let ask = http.post(format!("{url}/oauth2/token")).form(&[("grant_type", "client_credentials")]);
        let ask = ask.basic_auth(text(&client["client_id"])?, client["client_secret"].as_str());
        let answer: Value = ask.send().await?.error_for_status()?.json().await?;
        Ok(Self { http, url, token: text(&answer["access_token"])? })
    }

    async fn page(&self, search: &Value) -> Outcome<Value> {
        let ask = self.http.post(format!("{}/v1/flags/search", self.url)).bearer_auth(&self.token).json(search);
        Ok(ask.send().await?.error_for_status()?.json().await?)
    }

    async fn await_covered(&self, since: Instant) -> Outcome<()> {
        while self.page(&json!({ "limit": 1 })).await?["up_to_date"] != true {
            if since.elapsed() > COVERED_WITHIN {
                return Err("the view does not cover the list".into());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// The first page is timed; the pages are those that it takes until flags are shown or there are none.
    async fn measure(&self, search: &Value, rounds: usize) -> Outcome<Measured> {
        let mut search = search.clone();
        if let Some(as_of) = search.get_mut("as_of") {
            *as_of = json!(jiff::Timestamp::now().to_string());
        }
        let mut times = Vec::new();
        for _ in 0..rounds.max(1) {
            let start = Instant::now();
            self.page(&search).await?;
            times.push(start.elapsed());
        }
        times.sort_unstable();
        let (mut pages, mut found) = (0, 0);
        while pages < PAGES_MAX && found == 0 {
            let page = self.page(&search).await?;
            pages += 1;
            found += page["items"].as_array().map_or(0, Vec::len);
            match page["next_cursor"].as_str() {
                Some(next) => search["cursor"] = json!(next),
                None => break,
            }
        }
        Ok(Measured { times, pages, found })
    }
}
