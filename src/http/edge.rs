//! What surrounds every request: its id, its time, the number of requests at once, the headers of every answer, the
//! shape of every problem, and what is counted. It knows nothing of what a request is about.

use super::body::BODY_TIME_MAX;
use super::measures;
use super::problem::{Problem, Slug};
use crate::auth::Taken;
use crate::clock::Stopwatch;
use crate::domain::{RequestId, Timestamp};
use crate::entropy;
use crate::registry::Registry;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, Method};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpRequest};
use std::cell::Cell;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// A request is answered after this long, whatever it waits for.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);

/// A file that is handed in may be large, and its line slow; that it comes on is looked at where it is read.
pub const UPLOAD_TIME_MAX: Duration = Duration::from_secs(600);

fn is_upload(request: &ServiceRequest) -> bool {
    request.method() == Method::POST && request.path() == "/v1/imports"
}

/// How many requests are being worked on, and how many may be.
pub struct InFlight {
    count: AtomicUsize,
    max: usize,
    /// The process has been told to end: nothing new is taken up.
    closed: AtomicBool,
}

impl InFlight {
    /// For the life of the process.
    pub fn new(max: usize) -> &'static Self {
        Box::leak(Box::new(Self { count: AtomicUsize::new(0), max, closed: AtomicBool::new(false) }))
    }

    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn enter(&'static self) -> Result<Entered, &'static str> {
        let entered = Entered(self);
        let before = self.count.fetch_add(1, Ordering::AcqRel);
        if self.is_closed() {
            return Err("The registry is shutting down.");
        }
        if before < self.max { Ok(entered) } else { Err("Too many requests at once.") }
    }
}

struct Entered(&'static InFlight);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What the edge knows of a request.
#[derive(Clone, Copy)]
pub struct Arrival {
    pub request_id: RequestId,
    pub at: Timestamp,
    pub watch: Stopwatch,
}

/// What is kept with a request: one place, since each further one costs every request.
struct Kept {
    arrival: Arrival,
    taken: Cell<Option<Taken>>,
}

pub fn arrival(request: &HttpRequest) -> Result<Arrival, Problem> {
    let arrival = request.extensions().get::<Kept>().map(|kept| kept.arrival);
    arrival.ok_or_else(|| Problem::from(crate::registry::Error::Internal("a request without an edge".to_owned())))
}

/// Leaves what a quota has left for the answer's headers.
pub fn show_quota(request: &HttpRequest, taken: Taken) {
    if let Some(kept) = request.extensions().get::<Kept>() {
        kept.taken.set(Some(taken));
    }
}

pub async fn surround(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let watch = Stopwatch::start();
    let registry = request.app_data::<&'static Registry>();
    let in_flight = request.app_data::<&'static InFlight>();
    let (Some(registry), Some(in_flight)) = (registry, in_flight) else {
        return Err(Problem::new(Slug::Internal, "The server is not set up.").into());
    };
    let at = registry.now();
    let random = entropy::bytes16().map_err(|_| Problem::new(Slug::Internal, "No randomness."))?;
    let request_id = RequestId::mint(at, random);
    let entered = match in_flight.enter() {
        Ok(entered) => entered,
        Err(reason) => {
            measures::problem(Slug::Unavailable.as_str());
            return Err(Problem::new(Slug::Unavailable, reason).closing().of_request(request_id).into());
        }
    };
    request.extensions_mut().insert(Kept { arrival: Arrival { request_id, at, watch }, taken: Cell::new(None) });
    let time_max = if is_upload(&request) { UPLOAD_TIME_MAX } else { REQUEST_TIME_MAX };
    let response = match in_time(next.call(request), time_max).await {
        Ok(answered) => answered?.map_into_boxed_body(),
        Err(_) => {
            measures::problem(Slug::Unavailable.as_str());
            return Err(Problem::new(Slug::Unavailable, "It took too long.").of_request(request_id).into());
        }
    };
    let mut response = with_problem_rendered(response, request_id);
    let taken = response.request().extensions().get::<Kept>().and_then(|kept| kept.taken.get());
    put_headers(response.headers_mut(), request_id, taken);
    measures::request_took(watch.elapsed());
    if entered.0.is_closed() {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}

/// Waits for an answer for `time_max`, and looks after it once when its body has had its time.
async fn in_time<F: Future + Unpin>(mut answering: F, time_max: Duration) -> Result<F::Output, Elapsed> {
    match timeout(BODY_TIME_MAX, &mut answering).await {
        Ok(answer) => Ok(answer),
        Err(_) => timeout(time_max.saturating_sub(BODY_TIME_MAX), answering).await,
    }
}

fn with_problem_rendered(response: ServiceResponse<BoxBody>, request_id: RequestId) -> ServiceResponse<BoxBody> {
    let Some(error) = response.response().error() else { return response };
    let other;
    let problem = match error.as_error::<Problem>() {
        Some(problem) => problem,
        None => {
            other = Problem::new(Slug::InvalidRequest, "The request could not be read.");
            &other
        }
    };
    measures::problem(problem.slug.as_str());
    if let Some(inside) = problem.inside() {
        tracing::error!(%request_id, inside, "request failed");
    }
    let rendered = problem.respond(Some(request_id));
    response.into_response(rendered)
}

fn put_headers(headers: &mut HeaderMap, request_id: RequestId, taken: Option<Taken>) {
    put(headers, REQUEST_ID, &request_id.ascii());
    if let Some(taken) = taken {
        let mut item = String::with_capacity(64);
        let (quota, window_s) = (taken.quota.quota.get(), taken.quota.window_s.get());
        write_policy_item(&mut item, taken, (";q=", quota.into()), (";w=", window_s.into()));
        put(headers, RATE_LIMIT_POLICY, item.as_bytes());
        item.clear();
        write_policy_item(&mut item, taken, (";r=", taken.remaining.into()), (";t=", taken.reset_s));
        put(headers, RATE_LIMIT, item.as_bytes());
    }
}

/// A policy's name with two parameters. Every answer has two of these, so they are put together without `format!`.
fn write_policy_item(item: &mut String, taken: Taken, first: (&str, u64), second: (&str, u64)) {
    for part in ["\"", taken.policy.as_str(), "\""] {
        item.push_str(part);
    }
    for (name, number) in [first, second] {
        item.push_str(name);
        item.push_str(itoa::Buffer::new().format(number));
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(value) {
        headers.insert(name, value);
    }
}
