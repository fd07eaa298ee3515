//! `cargo bench --bench check`: what a check costs beside a bare TLS server that answers as many bytes.
//! It must never compare two single starts: rounds are interleaved, each with new servers, and only medians count.
#![allow(clippy::disallowed_methods, reason = "a bench measures by the real clock")]

mod bare;
mod contender;
mod disk;
mod report;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::bare::write_certificate;
use crate::contender::{Bare, Contender};
use crate::disk::CommitTimes;
use crate::report::{Report, Row, Side, Start};
use crate::support::Outcome;
use crate::support::figures::Machine;
use crate::support::load::{self, Accounts, Load, Target};
use crate::support::probe::AnswerSize;
use crate::support::registry::Registry;

// The registry's own allocator, so that both sides allocate alike.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a registry's clear answer and the tokens of its clients usually weigh, for `--against-bare`.
const USUAL_ANSWER_BYTES: usize = 300;
const USUAL_TOKEN_BYTES: usize = 480;
const USUAL_CLIENTS: usize = 20;

#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Subcommand)]
enum Command {
    /// The bare server, which the bench starts by calling itself.
    #[command(hide = true)]
    Bare(bare::Options),
}

#[derive(clap::Args)]
struct Options {
    /// Seconds measured in each window; all windows of a round must fit in the life of a token.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Seconds of load before each window.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=10))]
    warm_up: u64,
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[arg(long, default_values_t = [1, 64, 256], value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    connections: Vec<u32>,
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    flags: u64,
    #[arg(long, default_value_t = 20_261_120)]
    seed: u64,
    /// The registry's binary.
    #[arg(long, default_value = option_env!("CARGO_BIN_EXE_canhbao").unwrap_or("canhbao"))]
    server: PathBuf,
    /// The registry's data directory, kept from run to run; made if it is not there.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Measure the bare server against itself: the ratios show the noise of this machine.
    #[arg(long)]
    against_bare: bool,
    /// Given by `cargo bench`. Without it, as under `cargo test --all-targets`, nothing is measured.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Some(Command::Bare(options)) => bare::run(&options),
        None if arguments.options.bench => measure(&arguments.options),
        None => {
            println!("nothing measured: run `cargo bench --bench check`, or give --bench");
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the measurement failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Outcome<()> {
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-check");
    fs::create_dir_all(&work)?;
    // One thread is the load generator; it must not be able to take both cores.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime
        .block_on(measure_rounds(options, &work))
        .map_err(|error| format!("{error} (the servers' logs: {})", work.display()))?;
    report.print();
    report.write(&Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench-check.json"))
}

async fn measure_rounds(options: &Options, work: &Path) -> Outcome<Report> {
    let (bare, ours, measured_disk) = contenders(options, work).await?;
    let mut report = Report {
        machine: Machine::describe()?,
        seed: options.seed,
        flags: ours.flags(),
        seconds: options.seconds,
        commit: CommitTimes::measure(&measured_disk)?,
        starts: Vec::new(),
        rows: Vec::new(),
    };
    for round in 1..=options.rounds {
        measure_side(options, round, Side::Bare, &bare, &mut report).await?;
        measure_side(options, round, Side::Ours, &ours, &mut report).await?;
    }
    Ok(report)
}

/// The bare server, its rival, and the directory whose disk the rival commits to.
async fn contenders(options: &Options, work: &Path) -> Outcome<(Contender, Contender, PathBuf)> {
    let (cert, key) = (work.join("bare-cert.pem"), work.join("bare-key.pem"));
    write_certificate(&cert, &key)?;
    let bare = |answer_bytes, tokens: &[String]| {
        let (cert, key, log) = (cert.clone(), key.clone(), work.join("bare.log"));
        Contender::Bare(Bare { cert, key, log, answer_bytes, tokens: tokens.to_vec() })
    };
    if options.against_bare {
        let tokens = vec!["x".repeat(USUAL_TOKEN_BYTES); USUAL_CLIENTS];
        return Ok((bare(USUAL_ANSWER_BYTES, &tokens), bare(USUAL_ANSWER_BYTES, &tokens), work.to_owned()));
    }
    let data = options.data.clone().unwrap_or_else(|| work.join(format!("data-{}", options.flags)));
    let registry = Registry {
        server: options.server.clone(),
        data: data.clone(),
        log: work.join("registry.log"),
        flags: options.flags,
        shared: None,
    };
    registry.prepare().await?;
    let ours = Contender::Registry(registry);
    let (size, tokens) = weigh(options, &ours).await?;
    Ok((bare(size.body_bytes, &tokens), ours, data))
}

/// What the bare server has to match: the size of the registry's answer and the tokens that it is sent.
async fn weigh(options: &Options, ours: &Contender) -> Outcome<(AnswerSize, Vec<String>)> {
    let ready = ours.start().await?;
    let clock = ready.process.cpu_clock()?;
    let target = ready.target(accounts(options), &clock);
    let size = ours.probe(&target, options.seed).await?;
    ready.process.stop()?;
    Ok((size, ready.tokens))
}

/// One new server and all its windows.
async fn measure_side(
    options: &Options,
    round: u32,
    side: Side,
    contender: &Contender,
    report: &mut Report,
) -> Outcome<()> {
    let ready = contender.start().await?;
    let clock = ready.process.cpu_clock()?;
    let target: Target<'_> = ready.target(accounts(options), &clock);
    let memory = ready.process.memory()?;
    let answer = contender.probe(&target, options.seed).await?;
    let start = Start { round, side, ready_s: ready.process.started_in().as_secs_f64(), memory, answer };
    start.print(contender.flags());
    report.starts.push(start);
    for &connections in &options.connections {
        // Both sides of a round are asked the same questions; other rounds and windows ask others.
        let seed = options.seed ^ (u64::from(round) << 32) ^ u64::from(connections);
        let (warm_up, measured) = (Duration::from_secs(options.warm_up), Duration::from_secs(options.seconds));
        let sample = load::run(&target, Load { connections, pace: None, warm_up, measured, seed }).await?;
        let row = Row::new(round, side, connections, &sample);
        row.print();
        report.rows.push(row);
    }
    ready.process.stop()
}

fn accounts(options: &Options) -> Accounts {
    Accounts { flags: options.flags, flagged: canhbao::demo::generated_account }
}
