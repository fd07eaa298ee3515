//! What was measured, as a table of medians and as a JSON file of every round. It must never hide a round: beside each median
//! stand the least and the greatest value.

use crate::Side;
use crate::changes::Raised;
use crate::support::Outcome;
use crate::support::figures::{Machine, microseconds, spread};
use crate::support::load::Sample;
use serde::Serialize;
use std::fs;
use std::path::Path;

#[derive(Serialize)]
pub struct Report {
    pub machine: Machine,
    pub seed: u64,
    pub flags: u64,
    pub seconds: u64,
    pub checks: Vec<Checks>,
    pub changes: Vec<Changes>,
}

/// One window of checks.
#[derive(Serialize)]
pub struct Checks {
    side: Side,
    connections: u32,
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
    /// Of all nodes.
    node_cpu_us: f64,
    database_cpu_us: f64,
}

/// One window of flags, raised at one node, with what checks beside them got.
#[derive(Serialize)]
pub struct Changes {
    side: Side,
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
    checks_per_second: f64,
    checks_p99_us: f64,
}

impl Checks {
    pub fn new(side: Side, connections: u32, sample: &Sample) -> Self {
        let requests = f64::from(sample.requests);
        Self {
            side,
            connections,
            per_second: requests / sample.lasted.as_secs_f64(),
            p50_us: microseconds(sample.latency(0.5)),
            p99_us: microseconds(sample.latency(0.99)),
            node_cpu_us: microseconds(sample.server_cpu) / requests,
            database_cpu_us: microseconds(sample.beside_cpu) / requests,
        }
    }
}

impl Changes {
    pub fn new(side: Side, raised: &Raised, beside: Option<&Sample>) -> Self {
        let flags = u32::try_from(raised.flags).map_or(f64::NAN, f64::from);
        let rate = |sample: &Sample| f64::from(sample.requests) / sample.lasted.as_secs_f64();
        Self {
            side,
            per_second: flags / raised.lasted.as_secs_f64(),
            p50_us: microseconds(raised.latency(0.5)),
            p99_us: microseconds(raised.latency(0.99)),
            checks_per_second: beside.map_or(0.0, rate),
            checks_p99_us: beside.map_or(0.0, |sample| microseconds(sample.latency(0.99))),
        }
    }
}

type Figure<T> = (&'static str, fn(&T) -> f64);

const OF_CHECKS: [Figure<Checks>; 5] = [
    ("checks per second", |row| row.per_second),
    ("p50 µs", |row| row.p50_us),
    ("p99 µs", |row| row.p99_us),
    ("node CPU µs/check", |row| row.node_cpu_us),
    ("database CPU µs/check", |row| row.database_cpu_us),
];

const OF_CHANGES: [Figure<Changes>; 5] = [
    ("flags raised per second", |row| row.per_second),
    ("p50 µs", |row| row.p50_us),
    ("p99 µs", |row| row.p99_us),
    ("checks per second beside", |row| row.checks_per_second),
    ("p99 µs of the checks", |row| row.checks_p99_us),
];

impl Report {
    pub fn print(&self) {
        self.machine.print();
        let Self { flags, seed, seconds, .. } = self;
        println!("The load generator and the database run on the same cores as the nodes.");
        println!("{flags} flags; seed {seed}; windows of {seconds} s; medians over rounds (least–greatest)");
        let mut counts: Vec<u32> = self.checks.iter().map(|row| row.connections).collect();
        counts.sort_unstable();
        counts.dedup();
        for connections in counts {
            print_head(&format!("connections: {connections}"));
            for (name, figure) in OF_CHECKS {
                let is_of = |row: &&Checks, side| row.side == side && row.connections == connections;
                print_row(name, |side| self.checks.iter().filter(|row| is_of(row, side)).map(figure).collect());
            }
        }
        print_head("flags raised");
        for (name, figure) in OF_CHANGES {
            print_row(name, |side| self.changes.iter().filter(|row| row.side == side).map(figure).collect());
        }
    }

    pub fn write(&self, path: &Path) -> Outcome<()> {
        fs::write(path, serde_json::to_vec_pretty(self)?)?;
        println!("\nevery round: {}", path.display());
        Ok(())
    }
}

fn print_head(name: &str) {
    let [one, two, three] = Side::ALL.map(Side::name);
    println!("\n{name:<26}{one:>28}{two:>28}{three:>28}");
}

fn print_row(name: &str, values: impl Fn(Side) -> Vec<f64>) {
    let [one, two, three] = Side::ALL.map(|side| spread(&values(side)));
    println!("{name:<26}{one:>28}{two:>28}{three:>28}");
}
