//! Names of what the HTTP layer counts. Labels are parties, verdicts and slugs: few, and nobody's secret.

pub const REQUEST_SECONDS: &str = "canhbao_http_request_seconds";
pub const PROBLEMS: &str = "canhbao_http_problems_total";
pub const CHECKS: &str = "canhbao_checks_total";
