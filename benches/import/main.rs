//! `cargo bench --bench import`: how long a file of a million flags takes, and how long checks take meanwhile. It must never compare
//! checks beside an import with idle ones of another hour: both are of one server, one after the other, and medians count.
#![allow(clippy::disallowed_methods, reason = "a bench measures by the real clock")]

#[path = "../support/mod.rs"]
mod support;

use clap::Parser;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use support::Outcome;
use support::figures::{Machine, microseconds, spread};
use support::load::{self, Accounts, Load, Sample, Target};
use support::registry::{Ready, Registry};

/// The registry's flags before the file.
const FLAGS: u64 = 10_000;
const CONNECTIONS: u32 = 4;
const WARM_UP: Duration = Duration::from_secs(2);
/// What the project wants of an import of a million rows.
const IMPORT_S_MAX: f64 = 60.0;
const P99_RATIO_MAX: f64 = 2.0;

#[derive(Parser)]
struct Options {
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    rows: u64,
    /// Each on a new registry.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    checks_per_second: u32,
    /// Seconds of checks before the import.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    idle_seconds: u64,
    /// Seconds of checks beside it.
    #[arg(long, default_value_t = 45, value_parser = clap::value_parser!(u64).range(1..))]
    beside_seconds: u64,
    #[arg(long, default_value = option_env!("CARGO_BIN_EXE_canhbao").unwrap_or("canhbao"))]
    server: PathBuf,
    /// Given by `cargo bench`. Without it nothing is measured.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What the rounds gave, in seconds and microseconds.
#[derive(Default)]
struct Figures {
    import_s: Vec<f64>,
    idle: Latencies,
    beside: Latencies,
}

#[derive(Default)]
struct Latencies {
    p50: Vec<f64>,
    p95: Vec<f64>,
    p99: Vec<f64>,
    longest: Vec<f64>,
}

impl Latencies {
    fn take(&mut self, sample: &Sample) {
        let at = |quantile| microseconds(sample.latency(quantile));
        self.p50.push(at(0.5));
        self.p95.push(at(0.95));
        self.p99.push(at(0.99));
        self.longest.push(at(1.0));
    }

    fn print(&self, name: &str) {
        let Self { p50, p95, p99, longest } = self;
        let [p50, p95, p99, longest] = [p50, p95, p99, longest].map(|values| spread(values));
        println!("checks {name}: p50 {p50} µs, p95 {p95}, p99 {p99}, longest {longest}");
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.bench {
        println!("nothing measured: run `cargo bench --bench import`, or give --bench");
        return ExitCode::SUCCESS;
    }
    match measure(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the measurement failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Outcome<()> {
    let work = tempfile::Builder::new().prefix("bench-import").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let file = work.path().join("flags.csv");
    std::fs::write(&file, rows(options.rows)?)?;
    // Else the system does it half a minute later, beside the checks.
    std::fs::File::open(&file)?.sync_all()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut figures = Figures::default();
    for round in 1..=options.rounds {
        let data = work.path().join(format!("round-{round}"));
        runtime.block_on(measure_round(options, round, &data, &file, &mut figures))?;
        std::fs::remove_dir_all(&data)?;
    }
    Machine::describe()?.print();
    println!("{} rows; medians over rounds (least–greatest)", options.rows);
    println!("import: {} s, to reach: at most {IMPORT_S_MAX}", spread(&figures.import_s));
    figures.idle.print("while nothing else happens");
    figures.beside.print("beside the import");
    let ratios: Vec<f64> =
        figures.idle.p99.iter().zip(&figures.beside.p99).map(|(idle, beside)| beside / idle).collect();
    println!("p99 beside it ÷ before it: {}, to reach: at most {P99_RATIO_MAX}", spread(&ratios));
    Ok(())
}

/// A new registry: checks, and then the import with checks beside it.
async fn measure_round(options: &Options, round: u32, data: &Path, file: &Path, figures: &mut Figures) -> Outcome<()> {
    let registry = Registry {
        server: options.server.clone(),
        data: data.to_path_buf(),
        log: data.with_extension("log"),
        flags: FLAGS,
        shared: None,
    };
    registry.prepare().await?;
    let ready: Ready = registry.start().await?;
    let clock = ready.process.cpu_clock()?;
    let accounts = Accounts { flags: FLAGS, flagged: canhbao::demo::generated_account };
    let target: Target<'_> = ready.target(accounts, &clock);
    let pace = Some(Duration::from_secs(CONNECTIONS.into()) / options.checks_per_second);
    let load = |seconds, seed| Load {
        connections: CONNECTIONS,
        pace,
        warm_up: WARM_UP,
        measured: Duration::from_secs(seconds),
        seed,
    };
    let idle = load::run(&target, load(options.idle_seconds, round.into())).await?;
    figures.idle.take(&idle);
    let started = Instant::now();
    let mut import = Command::new(&options.server);
    import.arg("import").arg(file).args(["--as", "officer", "--credential"]).arg(data.join("demo.json"));
    let mut child = import.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn()?;
    let ends = std::thread::spawn(move || child.wait().map(|status| (status, started.elapsed())));
    let beside = load::run(&target, load(options.beside_seconds, u64::from(round) << 32)).await?;
    if ends.is_finished() {
        return Err("the import was over before the checks were: ask for fewer --beside-seconds".into());
    }
    figures.beside.take(&beside);
    let (status, took) = ends.join().map_err(|_| "the import's thread has panicked")??;
    if !status.success() {
        return Err(format!("the import failed: {status}").into());
    }
    figures.import_s.push(took.as_secs_f64());
    let p99 = |sample: &Sample| microseconds(sample.latency(0.99));
    println!("round {round}: import {:.1} s, p99 {:.0} and {:.0} µs", took.as_secs_f64(), p99(&idle), p99(&beside));
    ready.process.stop()
}

/// Accounts of five banks, fifty to a case, of which the registry has none.
fn rows(count: u64) -> Outcome<String> {
    const BANKS: [&str; 5] = ["970436", "970415", "970422", "970418", "970407"];
    const CATEGORIES: [&str; 3] = ["mule", "investment", "impersonation"];
    let mut text = "bank,number,verdict,category,case,reason\n".to_owned();
    for ((row, bank), category) in (0..count).zip(BANKS.iter().cycle()).zip(CATEGORIES.iter().cycle()) {
        let (number, case) = (700_000_000_000 + row, row / 50);
        writeln!(text, "{bank},{number},warn,{category},HN-2026-{case},Chuyển tiền lừa đảo {row}")?;
    }
    Ok(text)
}
