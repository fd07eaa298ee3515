//! What operators see: JSON logs on stderr, Prometheus metrics. Never a subject, a token, a secret or a phone number.

use super::ServeError;
use crate::clock::SystemClock;
use crate::http::edge::InFlight;
use crate::http::measures;
use crate::log;
use crate::registry::Registry;
use actix_web::{HttpResponse, web};
use metrics::gauge;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

const SECONDS_BUCKETS: &[f64] =
    &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const RECORDS_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0];

/// One JSON object a line.
pub fn log_to_stderr(filter: &str) -> Result<(), ServeError> {
    let filter = EnvFilter::try_new(filter).map_err(|error| ServeError::Start(format!("log_filter: {error}")))?;
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter);
    subscriber.with_writer(std::io::stderr).try_init().map_err(|error| ServeError::Start(error.to_string()))
}

/// Installs the recorder of this process.
pub fn recorder() -> Result<PrometheusHandle, ServeError> {
    let start = |error: &dyn std::fmt::Display| ServeError::Start(format!("metrics: {error}"));
    let buckets = [
        (measures::REQUEST_SECONDS, SECONDS_BUCKETS),
        (log::COMMIT_SECONDS, SECONDS_BUCKETS),
        (log::BATCH_RECORDS, RECORDS_BUCKETS),
    ];
    let mut builder = PrometheusBuilder::new();
    for (name, buckets) in buckets {
        builder =
            builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets).map_err(|error| start(&error))?;
    }
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| start(&error))?;
    describe();
    Ok(handle)
}

fn describe() {
    metrics::describe_counter!(measures::CHECKS, "Checks answered, by party and verdict.");
    metrics::describe_counter!(measures::PROBLEMS, "Requests answered with a problem, by its slug.");
    metrics::describe_histogram!(measures::REQUEST_SECONDS, "Seconds from a request's head to its answer.");
    metrics::describe_histogram!(log::COMMIT_SECONDS, "Seconds that a commit of the log took.");
    metrics::describe_histogram!(log::BATCH_RECORDS, "Records that shared a commit.");
    metrics::describe_gauge!(QUEUE_DEPTH, "Records that the log's writer has taken and not yet committed.");
    metrics::describe_gauge!(SEARCH_BEHIND, "Entries of the log that the search index does not cover yet.");
    metrics::describe_gauge!(INDEX_RECORDS, "Records in the index.");
    metrics::describe_gauge!(LIST_VERSION, "Number of the last change.");
    metrics::describe_gauge!(IN_FLIGHT, "Requests being worked on.");
    metrics::describe_gauge!(
        UNHEARD,
        "Seconds for which other nodes' changes may be missing here; 0 where there are none."
    );
    metrics::describe_gauge!(CLOCK_LAG, "Seconds that the wall clock lies behind the registry's time.");
}

const QUEUE_DEPTH: &str = "canhbao_log_queue_depth";
const SEARCH_BEHIND: &str = "canhbao_log_search_behind_entries";
const INDEX_RECORDS: &str = "canhbao_index_records";
const LIST_VERSION: &str = "canhbao_list_version";
const IN_FLIGHT: &str = "canhbao_http_in_flight";
const UNHEARD: &str = "canhbao_database_unheard_seconds";
const CLOCK_LAG: &str = "canhbao_clock_lag_seconds";

/// Reads what is only worth reading when somebody looks.
pub fn gauges(registry: &Registry, clock: &SystemClock, in_flight: &InFlight) {
    gauge!(QUEUE_DEPTH).set(count(registry.log().depth()));
    gauge!(SEARCH_BEHIND).set(count(usize::try_from(registry.search().behind()).unwrap_or(usize::MAX)));
    gauge!(INDEX_RECORDS).set(count(registry.index().len()));
    gauge!(LIST_VERSION).set(count(usize::try_from(registry.index().list_version()).unwrap_or(usize::MAX)));
    gauge!(IN_FLIGHT).set(count(in_flight.count()));
    gauge!(UNHEARD).set(registry.unheard_for().as_secs_f64());
    gauge!(CLOCK_LAG).set(std::time::Duration::from_millis(clock.lag_ms()).as_secs_f64());
}

/// Exact up to 2^32, which none of the gauges reaches.
fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

pub async fn metrics(recorder: web::Data<PrometheusHandle>) -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(recorder.render())
}
