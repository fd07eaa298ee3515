//! What was measured, as tables of medians, as ratios of medians, and as a JSON file of every round.
//! It must never hide a round: beside each median stand the least and the greatest value.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::disk::CommitTimes;
use crate::support::Outcome;
use crate::support::figures::{Machine, median, microseconds, spread};
use crate::support::load::Sample;
use crate::support::probe::AnswerSize;
use crate::support::process::Memory;

/// Targets: ours may use so many times the bare server's CPU, and must reach this share of its requests per second.
const CPU_RATIO_MAX_AT_256: f64 = 1.6;
const CPU_RATIO_MAX_AT_64: f64 = 1.9;
const RATE_RATIO_MIN_AT_256: f64 = 0.6;
/// With one connection the median answer may be later than the bare server's by so many commits.
const COMMITS_MAX_AT_1: f64 = 2.0;

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    Bare,
    Ours,
}

#[derive(Serialize)]
pub struct Report {
    pub machine: Machine,
    pub seed: u64,
    /// None when the bare server was measured against itself.
    pub flags: Option<u64>,
    pub seconds: u64,
    pub commit: CommitTimes,
    pub starts: Vec<Start>,
    pub rows: Vec<Row>,
}

/// One start of one server.
#[derive(Serialize)]
pub struct Start {
    pub round: u32,
    pub side: Side,
    pub ready_s: f64,
    pub memory: Memory,
    pub answer: AnswerSize,
}

/// One window: one round, one side, one number of connections.
#[derive(Serialize)]
pub struct Row {
    round: u32,
    side: Side,
    connections: u32,
    requests: u32,
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    cpu_us: f64,
    generator_cpu_us: f64,
}

type Figure = fn(&Row) -> f64;

const FIGURES: [(&str, Figure); 6] = [
    ("requests per second", |row| row.per_second),
    ("p50 µs", |row| row.p50_us),
    ("p99 µs", |row| row.p99_us),
    ("p99.9 µs", |row| row.p999_us),
    ("server CPU µs/request", |row| row.cpu_us),
    ("generator CPU µs/request", |row| row.generator_cpu_us),
];

impl Row {
    pub fn new(round: u32, side: Side, connections: u32, sample: &Sample) -> Self {
        let requests = f64::from(sample.requests);
        Self {
            round,
            side,
            connections,
            requests: sample.requests,
            per_second: requests / sample.lasted.as_secs_f64(),
            p50_us: microseconds(sample.latency(0.5)),
            p99_us: microseconds(sample.latency(0.99)),
            p999_us: microseconds(sample.latency(0.999)),
            cpu_us: microseconds(sample.server_cpu) / requests,
            generator_cpu_us: microseconds(sample.generator_cpu) / requests,
        }
    }

    /// One line while the run goes on.
    pub fn print(&self) {
        let Self { connections, per_second, p50_us, cpu_us, .. } = self;
        println!(
            "  {connections:>4} connections: {per_second:>7.0} requests/s, p50 {p50_us:>6.0} µs, CPU {cpu_us:>5.1} µs/request"
        );
    }
}

impl Start {
    /// Memory per flag is the whole process by the number of flags that it holds.
    pub fn print(&self, flags: Option<u64>) {
        let Self { round, ready_s, memory, .. } = self;
        let name = self.side.name();
        let resident = f64::from(memory.resident_kib);
        let mut line = format!("round {round}, {name}: ready in {ready_s:.2} s, {:.0} MiB resident", resident / 1024.0);
        if let Some(flags) = flags.and_then(|flags| u32::try_from(flags).ok()) {
            let per_flag = |kib: f64| kib * 1024.0 / f64::from(flags);
            let peak = per_flag(f64::from(memory.peak_kib));
            line += &format!(" = {:.1} bytes a flag (peak {peak:.1})", per_flag(resident));
        }
        println!("{line}");
    }
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Ours => "ours",
        }
    }
}

impl Report {
    pub fn print(&self) {
        let Machine { cores, .. } = &self.machine;
        self.machine.print();
        println!(
            "The load generator runs on the same {cores} cores as the servers, so it takes its share from both sides."
        );
        let ours = self.flags.map_or_else(|| "the bare server again".to_owned(), |flags| format!("{flags} flags"));
        let Self { seed, seconds, .. } = self;
        println!(
            "ours: {ours}; seed {seed}; windows of {seconds} s, closed loop; medians over rounds (least–greatest)"
        );
        for side in [Side::Bare, Side::Ours] {
            self.print_start(side);
        }
        for connections in self.connection_counts() {
            self.print_table(connections);
        }
        println!("\ntargets (ratios of medians, ours ÷ bare)");
        self.print_ratio_target("CPU per check", 256, |row| row.cpu_us, Bound::AtMost(CPU_RATIO_MAX_AT_256));
        self.print_ratio_target("CPU per check", 64, |row| row.cpu_us, Bound::AtMost(CPU_RATIO_MAX_AT_64));
        self.print_ratio_target(
            "requests per second",
            256,
            |row| row.per_second,
            Bound::AtLeast(RATE_RATIO_MIN_AT_256),
        );
        self.print_latency_target();
    }

    pub fn write(&self, path: &Path) -> Outcome<()> {
        fs::write(path, serde_json::to_vec_pretty(self)?)?;
        println!("\nevery round: {}", path.display());
        Ok(())
    }

    fn print_start(&self, side: Side) {
        let starts = || self.starts.iter().filter(|start| start.side == side);
        let ready: Vec<f64> = starts().map(|start| start.ready_s).collect();
        let Some(AnswerSize { head_bytes, body_bytes }) = starts().next_back().map(|start| start.answer) else {
            return;
        };
        let name = side.name();
        println!(
            "{name}: ready in {:.2} s (median); a clear answer is {head_bytes} bytes of head and {body_bytes} of body",
            median(&ready)
        );
    }

    /// In the order in which they were measured.
    fn connection_counts(&self) -> Vec<u32> {
        let mut counts = Vec::new();
        for row in &self.rows {
            if !counts.contains(&row.connections) {
                counts.push(row.connections);
            }
        }
        counts
    }

    fn print_table(&self, connections: u32) {
        println!("\n{:<26}{:>28}{:>28}{:>9}", format!("connections: {connections}"), "bare", "ours", "ratio");
        for (name, figure) in FIGURES {
            let bare = self.values(Side::Bare, connections, figure);
            let ours = self.values(Side::Ours, connections, figure);
            let ratio = median(&ours) / median(&bare);
            println!("{name:<26}{:>28}{:>28}{ratio:>9.2}", spread(&bare), spread(&ours));
        }
    }

    fn print_ratio_target(&self, name: &str, connections: u32, figure: Figure, bound: Bound) {
        let bare = self.values(Side::Bare, connections, figure);
        let ours = self.values(Side::Ours, connections, figure);
        let ratio = median(&ours) / median(&bare);
        let judged = bound.judge(ratio);
        println!("{judged:<14}{name} at {connections} connections: {ratio:.2}×, to reach: {}", bound.words());
    }

    fn print_latency_target(&self) {
        let bare = median(&self.values(Side::Bare, 1, |row| row.p50_us));
        let ours = median(&self.values(Side::Ours, 1, |row| row.p50_us));
        let CommitTimes { append_us, sqlite_us } = self.commit;
        let limit = bare + COMMITS_MAX_AT_1 * self.commit.shorter_us();
        let judged = Bound::AtMost(limit).judge(ours);
        println!(
            "{judged:<14}p50 at 1 connection: {ours:.0} µs, to reach: at most {limit:.0} µs = {bare:.0} + 2 commits"
        );
        println!(
            "one commit: {append_us:.0} µs (4 KiB append, fdatasync), {sqlite_us:.0} µs (SQLite WAL, FULL); the shorter counts"
        );
    }

    fn values(&self, side: Side, connections: u32, figure: Figure) -> Vec<f64> {
        self.rows.iter().filter(|row| row.side == side && row.connections == connections).map(figure).collect()
    }
}

#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    /// A value that is not a number comes from a number of connections that was left out.
    fn judge(self, value: f64) -> &'static str {
        let met = match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        };
        match (value.is_nan(), met) {
            (true, _) => "not measured",
            (false, true) => "met",
            (false, false) => "NOT MET",
        }
    }

    fn words(self) -> String {
        match self {
            Self::AtMost(limit) => format!("at most {limit}×"),
            Self::AtLeast(limit) => format!("at least {limit}×"),
        }
    }
}
