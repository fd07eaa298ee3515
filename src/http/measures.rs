//! What the HTTP layer counts. Labels are parties, verdicts and slugs: few, and nobody's secret. Each thread keeps the
//! handles it has used, since looking one up costs more than counting.

use crate::domain::Verdict;
use crate::domain::party::PartyId;
use metrics::{Counter, Histogram, counter, histogram};
use std::cell::{LazyCell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

pub const REQUEST_SECONDS: &str = "canhbao_http_request_seconds";
pub const PROBLEMS: &str = "canhbao_http_problems_total";
pub const CHECKS: &str = "canhbao_checks_total";

/// One for each verdict that was given.
type Counters = Vec<(Verdict, Counter)>;

thread_local! {
    static CHECKED: RefCell<HashMap<PartyId, Counters, foldhash::quality::RandomState>> = RefCell::default();
    static TOOK: LazyCell<Histogram> = LazyCell::new(|| histogram!(REQUEST_SECONDS));
}

/// A check was answered.
pub fn checked(party: &PartyId, verdict: Verdict) {
    CHECKED.with_borrow_mut(|parties| {
        let counters = parties.get(party).map(Vec::as_slice).unwrap_or_default();
        if let Some((_, counter)) = counters.iter().find(|(counted, _)| *counted == verdict) {
            return counter.increment(1);
        }
        let labels = [("party", party.to_string()), ("verdict", verdict.as_str().to_owned())];
        let counter = counter!(CHECKS, &labels);
        counter.increment(1);
        parties.entry(party.clone()).or_default().push((verdict, counter));
    });
}

/// A request was answered, however.
pub fn request_took(time: Duration) {
    TOOK.with(|histogram| histogram.record(time.as_secs_f64()));
}

/// A request was answered with a problem.
pub fn problem(slug: &'static str) {
    counter!(PROBLEMS, "problem" => slug).increment(1);
}
