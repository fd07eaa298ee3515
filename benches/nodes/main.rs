//! `cargo bench --bench nodes`: one node on SQLite, one on PostgreSQL, and two on it: checks, and flags raised beside checks.
//! It must never compare two single starts: rounds are interleaved, each with new servers, and only medians count.
#![allow(clippy::disallowed_methods, reason = "a bench measures by the real clock")]

mod changes;
mod moving;
#[path = "../../tests/support/postgres.rs"]
mod postgres;
mod report;
#[path = "../support/mod.rs"]
mod support;

use crate::report::{Changes, Checks, Report};
use crate::support::Outcome;
use crate::support::figures::Machine;
use crate::support::load::{self, Accounts, Load, Sample};
use crate::support::probe::probe;
use crate::support::process::CpuClock;
use crate::support::registry::{Ready, Registry, Shared};
use clap::Parser;
use postgres::Postgres;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

// The registry's own allocator, so that the generator takes as little as in the bench of checks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NODES: [&str; 2] = ["a", "b"];
const RAISING_CONNECTIONS: u32 = 16;

#[derive(Parser)]
struct Options {
    /// Seconds measured in each window; all windows of a round must fit in the life of a token.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Seconds of load before each window.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=10))]
    warm_up: u64,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[arg(long, default_values_t = [64, 256], value_delimiter = ',', value_parser = clap::value_parser!(u32).range(2..))]
    connections: Vec<u32>,
    /// Connections that check while flags are raised; 0 for none.
    #[arg(long, default_value_t = 64)]
    beside: u32,
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    flags: u64,
    #[arg(long, default_value_t = 20_261_120)]
    seed: u64,
    /// The registry's binary.
    #[arg(long, default_value = option_env!("CARGO_BIN_EXE_canhbao").unwrap_or("canhbao"))]
    server: PathBuf,
    /// Given by `cargo bench`. Without it, as under `cargo test --all-targets`, nothing is measured.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    Embedded,
    OneNode,
    TwoNodes,
}

impl Side {
    const ALL: [Self; 3] = [Self::Embedded, Self::OneNode, Self::TwoNodes];

    fn name(self) -> &'static str {
        match self {
            Self::Embedded => "SQLite",
            Self::OneNode => "PostgreSQL",
            Self::TwoNodes => "two nodes",
        }
    }
}

/// The three registries; two of the sides are the same one.
struct Place {
    postgres: Postgres,
    embedded: Registry,
    shared: Registry,
    other_data: PathBuf,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.bench {
        println!("nothing measured: run `cargo bench --bench nodes`, or give --bench");
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
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-nodes");
    // The database is new each time, and so are the directories that name it.
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    fs::create_dir_all(&work)?;
    let place = Place::new(options, &work);
    // One thread is the load generator; it must not be able to take both cores.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime
        .block_on(measure_rounds(options, &place))
        .map_err(|error| format!("{error} (the servers' logs: {})", work.display()))?;
    report.print();
    report.write(&Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench-nodes.json"))?;
    moving::measure(&options.server, &place.embedded.data, &place.postgres, &work)
}

impl Place {
    fn new(options: &Options, work: &Path) -> Self {
        let postgres = Postgres::start();
        let registry = |name: &str, shared| Registry {
            server: options.server.clone(),
            data: work.join(name),
            log: work.join(format!("{name}.log")),
            flags: options.flags,
            shared,
        };
        let shared = Shared { url: postgres.create_database(), node: NODES[0] };
        let (embedded, shared) = (registry("embedded", None), registry(NODES[0], Some(shared)));
        Self { postgres, embedded, shared, other_data: work.join(NODES[1]) }
    }

    fn registry(&self, side: Side) -> &Registry {
        match side {
            Side::Embedded => &self.embedded,
            Side::OneNode | Side::TwoNodes => &self.shared,
        }
    }

    async fn start(&self, side: Side) -> Outcome<Vec<Ready>> {
        let mut nodes = vec![self.registry(side).start().await?];
        if side == Side::TwoNodes {
            let log = self.other_data.with_extension("log");
            nodes.push(self.shared.start_other(NODES[1], &self.other_data, &log).await?);
        }
        Ok(nodes)
    }
}

async fn measure_rounds(options: &Options, place: &Place) -> Outcome<Report> {
    for registry in [&place.embedded, &place.shared] {
        registry.prepare().await?;
    }
    let Options { seconds, flags, seed, .. } = *options;
    let machine = Machine::describe()?;
    let mut report = Report { machine, seed, flags, seconds, checks: Vec::new(), changes: Vec::new() };
    for round in 1..=options.rounds {
        for side in Side::ALL {
            measure_side(options, round, side, place, &mut report).await?;
        }
    }
    Ok(report)
}

/// New servers and all their windows.
async fn measure_side(options: &Options, round: u32, side: Side, place: &Place, report: &mut Report) -> Outcome<()> {
    println!("round {round}, {}", side.name());
    let nodes = place.start(side).await?;
    let database = CpuClock::Family(place.postgres.process());
    for &connections in &options.connections {
        let seed = options.seed ^ (u64::from(round) << 32) ^ u64::from(connections);
        let sample = check(options, &nodes, &database, connections, seed).await?;
        report.checks.push(Checks::new(side, connections, &sample));
    }
    let first = nodes.first().ok_or("there is no node")?;
    let officer = place.registry(side).officer(first).await?;
    let run = format!("{round}-{}", side.name());
    let (warm_up, measured) = (Duration::from_secs(options.warm_up), Duration::from_secs(options.seconds));
    let raise = changes::raise(first, &officer, &run, RAISING_CONNECTIONS, warm_up, measured);
    let (raised, sample) = if options.beside == 0 {
        (raise.await?, None)
    } else {
        let seed = options.seed ^ (u64::from(round) << 32);
        let (raised, sample) = tokio::join!(raise, check(options, &nodes, &database, options.beside, seed));
        (raised?, Some(sample?))
    };
    report.changes.push(Changes::new(side, &raised, sample.as_ref()));
    for node in nodes {
        node.process.stop()?;
    }
    Ok(())
}

/// One window of checks, its connections shared out among the nodes.
async fn check(
    options: &Options,
    nodes: &[Ready],
    database: &CpuClock,
    connections: u32,
    seed: u64,
) -> Outcome<Sample> {
    let accounts = Accounts { flags: options.flags, flagged: canhbao::demo::generated_account };
    let (warm_up, measured) = (Duration::from_secs(options.warm_up), Duration::from_secs(options.seconds));
    let share = async |node: &Ready, connections: u32, seed: u64| {
        let clock = node.process.cpu_clock()?;
        let target = load::Target { beside: Some(database), ..node.target(accounts, &clock) };
        probe(&target, seed).await?;
        load::run(&target, Load { connections, pace: None, warm_up, measured, seed }).await
    };
    match nodes {
        [one] => share(one, connections, seed).await,
        [one, two] => {
            let (one, two) =
                tokio::join!(share(one, connections / 2, seed), share(two, connections / 2, seed.rotate_left(7)));
            one?.joined(two?)
        }
        _ => Err("one or two nodes are measured".into()),
    }
}
