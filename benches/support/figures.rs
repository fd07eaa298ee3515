//! What figures are made of and how they are shown. A median must never stand without the least and the greatest value.

use super::Outcome;
use serde::Serialize;
use std::fs;
use std::time::Duration;

#[derive(Serialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub kernel: String,
}

impl Machine {
    pub fn describe() -> Outcome<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpuinfo.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
        Ok(Self {
            cpu: model.map_or("unknown", |(_, name)| name).to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        })
    }

    pub fn print(&self) {
        let Self { cpu, cores, kernel } = self;
        println!("\nmachine: {cpu}, {cores} cores, Linux {kernel}");
    }
}

pub fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The middle value, or the mean of the two in the middle; not a number if there are none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    let upper = sorted.len() / 2;
    let lower = sorted.len().saturating_sub(1) / 2;
    f64::midpoint(at(lower), at(upper))
}

pub fn spread(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::NAN, f64::min);
    let greatest = values.iter().copied().fold(f64::NAN, f64::max);
    let decimals = if greatest < 100.0 { 1 } else { 0 };
    format!("{:.decimals$} ({least:.decimals$}–{greatest:.decimals$})", median(values))
}
