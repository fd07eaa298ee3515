//! How fast PostgreSQL takes a log by COPY, as `canhbao migrate` sends it. It must never count rows that did not arrive.

use crate::postgres::{Postgres, query};
use crate::support::Outcome;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Moves the embedded registry, which must not be running, into a new database.
pub fn measure(server: &Path, data: &Path, postgres: &Postgres, work: &Path) -> Outcome<()> {
    let url = postgres.create_database();
    let mut migrate = Command::new(server);
    migrate.arg("migrate").arg("--from").arg(data).args(["--to", &url, "--into"]).arg(work.join("moved"));
    let start = Instant::now();
    let output = migrate.output()?;
    let lasted = start.elapsed().as_secs_f64();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let count = |statement| query(&url, statement, &[]).first().map_or(0, |row| row.get::<_, i64>(0));
    let batches = count("SELECT COUNT(*) FROM log_batch");
    let (entries, versions) =
        (count("SELECT SUM(size)::bigint FROM log_batch"), count("SELECT COUNT(*) FROM flag_version"));
    println!(
        "\nmigrate: {entries} entries in {batches} batches and {versions} flags in {lasted:.1} s, proofs of equality included"
    );
    Ok(())
}
