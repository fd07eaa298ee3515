//! The URL table. A handler extracts, parses, calls the registry once and renders.

pub mod edge;
pub mod measures;
pub mod ops;

mod accept;
mod body;
mod caller;
mod checks;
mod cleaning;
mod clients;
mod flag_bodies;
mod flags;
mod imports;
mod log;
mod merging;
mod objections;
mod outcomes;
mod parties;
mod problem;
mod search_body;
mod statistics;
mod stream;
mod tiles;
mod tokens;

pub use caller::VerifiedTokens;
pub use problem::{Problem, Slug};

use crate::domain::input::{self, InputError};
use crate::domain::{Fault, Subject, SubjectInput};
use crate::registry::{Answered, IdempotencyKey, Pieces, Registry};
use actix_web::guard::fn_guard;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, Handler, HttpRequest, HttpResponse, HttpResponseBuilder, Resource, Responder};
use stream::StreamBody;

pub fn routes(app: &mut ServiceConfig) {
    app.service(at("/v1/checks").post(checks::create).done())
        .service(at("/v1/checks/batch").post(checks::create_batch).done())
        .service(at("/v1/checks/{id}").get(checks::read).done())
        .service(at("/v1/checks/{id}/receipt").get(checks::receipt).done())
        .service(at("/v1/checks/{id}/outcome").post(outcomes::tell).done())
        .service(at("/v1/flags").post(flags::raise).get(flags::list).done())
        .service(at("/v1/flags/merge").post(merging::merge).done())
        .service(at("/v1/flags/duplicates").get(cleaning::duplicates).done())
        .service(at("/v1/flags/stale").get(cleaning::stale).done())
        .service(at("/v1/flags/unparsable").get(cleaning::unparsable).done())
        .service(at("/v1/flags/quality").get(cleaning::quality).done())
        .service(at("/v1/flags/export").get(flags::export).done())
        .service(at("/v1/flags/search").post(flags::search).done())
        .service(at("/v1/flags/{id}").get(flags::read).done())
        .service(at("/v1/flags/{id}/history").get(flags::history).done())
        .service(at("/v1/flags/{id}/approve").post(flags::approve).done())
        .service(at("/v1/flags/{id}/reject").post(flags::reject).done())
        .service(at("/v1/flags/{id}/lift").post(flags::lift).done())
        .service(at("/v1/flags/{id}/renew").post(flags::renew).done())
        .service(at("/v1/flags/{id}/amend").post(flags::amend).done())
        .service(at("/v1/flags/{id}/transfer").post(flags::transfer).done())
        .service(at("/v1/imports").post(imports::create).get(imports::list).done())
        .service(at("/v1/imports/{id}").get(imports::read).done())
        .service(at("/v1/imports/{id}/report").get(imports::report).done())
        .service(at("/v1/imports/{id}/approve").post(imports::approve).done())
        .service(at("/v1/imports/{id}/reject").post(imports::reject).done())
        .service(at("/v1/flags/{id}/objections").post(objections::file).done())
        .service(at("/v1/objections").get(objections::list).done())
        .service(at("/v1/objections/{id}").get(objections::read).done())
        .service(at("/v1/objections/{id}/uphold").post(objections::uphold).done())
        .service(at("/v1/objections/{id}/dismiss").post(objections::dismiss).done())
        .service(at("/v1/log/entries").get(log::entries).done())
        .service(at("/v1/log/entries/{node}/{index}").get(log::entry).done())
        .service(at("/v1/log/search").post(log::search).done())
        .service(at("/v1/log/reports/subject").post(log::report_subject).done())
        .service(at("/v1/log/reports/flags/{id}").get(log::report_flag).done())
        .service(at("/v1/log/{node}/consistency").get(tiles::consistency).done())
        .service(at("/log/{node}/checkpoint").get(tiles::checkpoint).done())
        .service(at("/log/{node}/tile/{place:.*}").get(tiles::tile).done())
        .service(at("/v1/statistics").get(statistics::read).done())
        .service(at("/v1/statistics/report").get(statistics::report).done())
        .service(at("/v1/institutions").get(ops::institutions).done())
        .service(at("/v1/parties").post(parties::create).get(parties::list).done())
        .service(at("/v1/parties/{id}").get(parties::read).done())
        .service(at("/v1/parties/{id}/disable").post(parties::disable).done())
        .service(at("/v1/parties/{id}/enable").post(parties::enable).done())
        .service(at("/v1/clients").post(clients::create).get(clients::list).done())
        .service(at("/v1/clients/{id}").get(clients::read).done())
        .service(at("/v1/clients/{id}/rotate").post(clients::rotate).done())
        .service(at("/v1/clients/{id}/disable").post(clients::disable).done())
        .service(at("/v1/clients/{id}/enable").post(clients::enable).done())
        .service(at("/oauth2/token").post(tokens::grant).done())
        .service(at("/.well-known/log-key").get(tiles::key).done())
        .service(at("/.well-known/jwks.json").get(tokens::keys).done())
        .service(at("/.well-known/oauth-authorization-server").get(tokens::metadata).done())
        .service(at("/livez").get(ops::livez).done())
        .service(at("/readyz").get(ops::readyz).done())
        .service(at("/openapi.yaml").get(ops::contract).done())
        .default_service(web::to(nowhere));
}

/// What a file is handed in with.
const IMPORT_PARAMETERS: &[&str] = &[
    "dry_run",
    "bank",
    "verdict",
    "category",
    "case",
    "reason",
    "document",
    "issued_on",
    "authority",
    "source_kind",
    "source_reference",
    "unit",
];

/// The query parameters that a URL knows for a method; the others know none.
fn query_parameters(method: &Method, pattern: Option<&str>) -> &'static [&'static str] {
    if method == Method::POST {
        return if pattern == Some("/v1/imports") { IMPORT_PARAMETERS } else { &[] };
    }
    match pattern {
        Some("/v1/flags" | "/v1/imports" | "/v1/objections") => &["state", "limit", "cursor"],
        Some("/v1/flags/duplicates" | "/v1/flags/unparsable") => &["limit", "cursor"],
        Some("/v1/flags/stale") => &["not_reviewed_days", "expiring_days", "limit", "cursor"],
        Some("/v1/flags/quality") => {
            &["not_reviewed_days", "expiring_days", "waiting_days", "expired_days", "limit", "cursor"]
        }
        Some("/v1/flags/{id}") => &["at"],
        Some("/v1/flags/{id}/history") => &["limit", "cursor"],
        Some("/v1/log/entries") => &["node", "from", "to", "party", "client", "act", "verdict", "limit", "cursor"],
        Some("/v1/log/{node}/consistency") => &["from", "to"],
        Some("/v1/statistics") => &["from", "to", "by"],
        Some("/v1/statistics/report") => &["period"],
        Some("/v1/parties" | "/v1/clients") => &["limit", "cursor"],
        _ => &[],
    }
}

async fn nowhere() -> Problem {
    Problem::new(Slug::NotFound, "No resource has this URL.")
}

/// A row of the table: a URL, and what its methods do; every other method is a 405 that names them.
struct Row {
    resource: Resource,
    allow: Vec<&'static str>,
}

fn at(path: &'static str) -> Row {
    Row { resource: web::resource(path), allow: Vec::new() }
}

impl Row {
    fn get<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.method(Method::GET, "GET", handler)
    }

    fn post<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.method(Method::POST, "POST", handler)
    }

    /// The library's own guard of a method would note with every request which methods it has seen, for a 405 that is made
    /// here without it.
    fn method<F, Args>(mut self, method: Method, name: &'static str, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.allow.push(name);
        let route = web::route().guard(fn_guard(move |context| context.head().method == method)).to(handler);
        Self { resource: self.resource.route(route), allow: self.allow }
    }

    fn done(self) -> Resource {
        let allow = self.allow.join(", ");
        self.resource.default_service(web::to(move || {
            let allow = allow.clone();
            async move { Problem::new(Slug::MethodNotAllowed, "See Allow.").with(header::ALLOW, allow) }
        }))
    }
}

impl Responder for Problem {
    type Body = actix_web::body::BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        HttpResponse::from_error(self)
    }
}

const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
const LOG_ENTRY: HeaderName = HeaderName::from_static("log-entry");

/// An answer with the place of its entry.
fn rendered(response: HttpResponseBuilder, answered: Answered) -> HttpResponse {
    rendered_as(HeaderValue::from_static("application/json"), response, answered)
}

fn rendered_as(media_type: HeaderValue, mut response: HttpResponseBuilder, answered: Answered) -> HttpResponse {
    response
        .insert_header((header::CONTENT_TYPE, media_type))
        .insert_header((header::CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .insert_header((LOG_ENTRY, answered.position.text()));
    if let Some(etag) = answered.etag {
        response.insert_header((header::ETAG, etag));
    }
    if let Some(location) = answered.location {
        response.insert_header((header::LOCATION, location));
    }
    response.body(answered.body)
}

/// An answer that goes on as long as the client takes it, with the place of its entry.
fn streamed(media_type: &'static str, position: String, pieces: Box<dyn Pieces>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, media_type))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((LOG_ENTRY, position))
        .body(StreamBody::start(pieces))
}

/// The version that an If-Match header names.
fn if_match(request: &HttpRequest) -> Result<u32, Problem> {
    let missing = || Problem::new(Slug::PreconditionRequired, "Send If-Match with the ETag you have read.");
    let header = request.headers().get(header::IF_MATCH).ok_or_else(missing)?;
    let version = header.to_str().ok().and_then(|text| text.strip_prefix('"')?.strip_suffix('"')?.parse().ok());
    version.ok_or_else(|| Problem::new(Slug::StaleVersion, "If-Match takes one ETag, as it was given."))
}

fn idempotency_key(request: &HttpRequest, body: &[u8]) -> Result<IdempotencyKey, Problem> {
    keyed(request, |key| IdempotencyKey::parse(key, request.path(), body))
}

/// With what tells a request that is not held whole from any other.
fn idempotency_key_of_digest(request: &HttpRequest, digest: [u8; 32]) -> Result<IdempotencyKey, Problem> {
    keyed(request, |key| IdempotencyKey::of_digest(key, digest))
}

fn keyed(request: &HttpRequest, read: impl FnOnce(&[u8]) -> Option<IdempotencyKey>) -> Result<IdempotencyKey, Problem> {
    let header = request.headers().get("idempotency-key");
    let missing = || Problem::new(Slug::IdempotencyKeyMissing, "Send an Idempotency-Key of 1 to 64 printable ASCII.");
    header.and_then(|key| read(key.as_bytes())).ok_or_else(missing)
}

/// A text of 1 to `chars_max` characters, none of them a control character, trimmed of nothing.
fn text(given: String, pointer: impl Into<String>, chars_max: usize) -> Result<String, Problem> {
    Ok(input::text(given, pointer, chars_max)?)
}

fn read_subject(input: &SubjectInput<'_>, pointer: &str, registry: &Registry) -> Result<Subject, Problem> {
    Ok(Subject::parse(input, &registry.directory()).map_err(|error| InputError::of_subject(error, pointer))?)
}

impl From<InputError> for Problem {
    fn from(error: InputError) -> Self {
        let slug = match error.fault {
            Fault::Shape => Slug::InvalidRequest,
            Fault::Value => Slug::InvalidSubject,
        };
        Self::violations(slug, error.violations)
    }
}
