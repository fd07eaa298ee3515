//! How long one commit takes on the disk that holds the data directory.
//! It must never measure another disk: every file is made inside that directory, and removed again.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use rusqlite::Connection;
use serde::Serialize;

use crate::support::Outcome;
use crate::support::figures::{median, microseconds};

const COMMITS: usize = 200;
const BLOCK: [u8; 4096] = [0x5a; 4096];

/// Medians of 200, in µs.
#[derive(Clone, Copy, Serialize)]
pub struct CommitTimes {
    /// 4 KiB appended to a file, then fdatasync.
    pub append_us: f64,
    /// One row of 4 KiB, committed by SQLite in WAL mode with synchronous=FULL.
    pub sqlite_us: f64,
}

impl CommitTimes {
    pub fn measure(directory: &Path) -> Outcome<Self> {
        Ok(Self { append_us: append(directory)?, sqlite_us: sqlite(directory)? })
    }

    /// The faster of the two: the stricter measure for whoever is given two commits of time.
    pub fn shorter_us(&self) -> f64 {
        self.append_us.min(self.sqlite_us)
    }
}

fn append(directory: &Path) -> Outcome<f64> {
    let path = directory.join("bench-commit.bin");
    let mut file = File::create(&path)?;
    let mut times = Vec::with_capacity(COMMITS);
    for _ in 0..COMMITS {
        let start = Instant::now();
        file.write_all(&BLOCK)?;
        file.sync_data()?;
        times.push(microseconds(start.elapsed()));
    }
    fs::remove_file(&path)?;
    Ok(median(&times))
}

fn sqlite(directory: &Path) -> Outcome<f64> {
    let path = directory.join("bench-commit.db");
    if path.exists() {
        fs::remove_file(&path)?;
    }
    let database = Connection::open(&path)?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    database.execute_batch("CREATE TABLE block (bytes BLOB NOT NULL)")?;
    let mut times = Vec::with_capacity(COMMITS);
    let mut insert = database.prepare("INSERT INTO block (bytes) VALUES (?1)")?;
    for _ in 0..COMMITS {
        let start = Instant::now();
        insert.execute([BLOCK.as_slice()])?;
        times.push(microseconds(start.elapsed()));
    }
    drop(insert);
    database.close().map_err(|(_, error)| error)?;
    fs::remove_file(&path)?;
    Ok(median(&times))
}
