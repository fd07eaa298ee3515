//! What the writer tells the operator: how long commits take and how many records share one. Never what is in them.

use metrics::histogram;
use std::time::Duration;

pub const COMMIT_SECONDS: &str = "canhbao_log_commit_seconds";
pub const BATCH_RECORDS: &str = "canhbao_log_batch_records";

pub fn committed(records: usize, took: Duration) {
    histogram!(COMMIT_SECONDS).record(took.as_secs_f64());
    histogram!(BATCH_RECORDS).record(u32::try_from(records).map_or(f64::INFINITY, f64::from));
}
