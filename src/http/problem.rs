//! Every error a client can see (RFC 9457), and the only place that makes one of a registry's error. Texts name fields
//! and rules, never a value; what went wrong inside stays in the operational log.

use crate::domain::{RequestId, Violation};
use crate::registry::Error;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use std::borrow::Cow;
use std::fmt;

/// The closed list of openapi.yaml.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slug {
    InvalidRequest,
    IdempotencyKeyMissing,
    Unauthenticated,
    InsufficientScope,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    RequestTimeout,
    Conflict,
    StaleVersion,
    PayloadTooLarge,
    UnsupportedMediaType,
    InvalidSubject,
    InvalidTransition,
    IdempotencyKeyReused,
    PreconditionRequired,
    RateLimited,
    Internal,
    Unavailable,
}

impl Slug {
    pub fn as_str(self) -> &'static str {
        self.facts().0
    }

    fn facts(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::InvalidRequest => ("invalid_request", StatusCode::BAD_REQUEST, "The request is malformed"),
            Self::IdempotencyKeyMissing => {
                ("idempotency_key_missing", StatusCode::BAD_REQUEST, "An Idempotency-Key is needed")
            }
            Self::Unauthenticated => {
                ("unauthenticated", StatusCode::UNAUTHORIZED, "No valid access token was presented")
            }
            Self::InsufficientScope => ("insufficient_scope", StatusCode::FORBIDDEN, "The caller may not do this"),
            Self::NotFound => ("not_found", StatusCode::NOT_FOUND, "There is no such thing"),
            Self::MethodNotAllowed => {
                ("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED, "The method is not allowed here")
            }
            Self::NotAcceptable => ("not_acceptable", StatusCode::NOT_ACCEPTABLE, "No accepted media type is offered"),
            Self::RequestTimeout => ("request_timeout", StatusCode::REQUEST_TIMEOUT, "The request took too long"),
            Self::Conflict => ("conflict", StatusCode::CONFLICT, "The thing exists already"),
            Self::StaleVersion => {
                ("stale_version", StatusCode::PRECONDITION_FAILED, "The thing was changed in the meantime")
            }
            Self::PayloadTooLarge => ("payload_too_large", StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
            Self::UnsupportedMediaType => {
                ("unsupported_media_type", StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body's media type is not taken")
            }
            Self::InvalidSubject => ("invalid_subject", StatusCode::UNPROCESSABLE_ENTITY, "A subject is not valid"),
            Self::InvalidTransition => {
                ("invalid_transition", StatusCode::UNPROCESSABLE_ENTITY, "The move is not possible in this state")
            }
            Self::IdempotencyKeyReused => (
                "idempotency_key_reused",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The Idempotency-Key was used for another request",
            ),
            Self::PreconditionRequired => {
                ("precondition_required", StatusCode::PRECONDITION_REQUIRED, "An If-Match header is needed")
            }
            Self::RateLimited => ("rate_limited", StatusCode::TOO_MANY_REQUESTS, "The quota is used up"),
            Self::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong inside"),
            Self::Unavailable => ("unavailable", StatusCode::SERVICE_UNAVAILABLE, "The registry cannot answer now"),
        }
    }
}

#[derive(Debug)]
pub struct Problem {
    pub slug: Slug,
    /// Apart, so that what succeeds does not carry the room for a problem about.
    told: Box<Told>,
}

#[derive(Debug, Default)]
struct Told {
    detail: Cow<'static, str>,
    violations: Vec<Violation>,
    /// One header that the problem brings with it: WWW-Authenticate, Allow or Retry-After.
    header: Option<(header::HeaderName, String)>,
    /// For the operational log only.
    inside: Option<String>,
    /// The connection ends with the answer.
    closing: bool,
    /// Set where the problem leaves without passing the edge.
    request_id: Option<RequestId>,
}

/// Seconds after which a refused client should try again when the registry itself is in trouble.
const RETRY_AFTER_S: &str = "1";

impl Problem {
    pub fn new(slug: Slug, detail: impl Into<Cow<'static, str>>) -> Self {
        let header = (slug == Slug::Unavailable).then(|| (header::RETRY_AFTER, RETRY_AFTER_S.to_owned()));
        Self { slug, told: Box::new(Told { detail: detail.into(), header, ..Told::default() }) }
    }

    pub fn violations(slug: Slug, violations: Vec<Violation>) -> Self {
        let mut problem = Self::new(slug, "See violations.");
        problem.told.violations = violations;
        problem
    }

    pub fn violation(pointer: impl Into<String>, reason: impl Into<String>) -> Self {
        let violation = Violation { pointer: pointer.into(), reason: reason.into() };
        Self::violations(Slug::InvalidRequest, vec![violation])
    }

    pub fn unauthenticated(detail: &'static str, challenge: &'static str) -> Self {
        Self::new(Slug::Unauthenticated, detail).with(header::WWW_AUTHENTICATE, challenge)
    }

    pub fn rate_limited(retry_after_s: u64) -> Self {
        Self::new(Slug::RateLimited, "Retry after the number of seconds in Retry-After.")
            .with(header::RETRY_AFTER, retry_after_s.to_string())
    }

    pub fn with(mut self, name: header::HeaderName, value: impl Into<String>) -> Self {
        self.told.header = Some((name, value.into()));
        self
    }

    pub fn of_request(mut self, id: RequestId) -> Self {
        self.told.request_id = Some(id);
        self
    }

    pub fn closing(mut self) -> Self {
        self.told.closing = true;
        self
    }

    /// What the operator should read, once.
    pub fn inside(&self) -> Option<&str> {
        self.told.inside.as_deref()
    }

    /// The problem as part of a batch's answer, where it has no headers of its own.
    pub fn to_json(&self, request_id: Option<RequestId>) -> serde_json::Value {
        serde_json::to_value(self.body(request_id)).unwrap_or_default()
    }

    pub fn respond(&self, request_id: Option<RequestId>) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        response.content_type("application/problem+json");
        response.insert_header((header::CACHE_CONTROL, "no-store"));
        if self.told.closing {
            response.force_close();
        }
        if let Some((name, value)) = &self.told.header {
            response.insert_header((name.clone(), value.as_str()));
        }
        response.body(serde_json::to_vec(&self.body(request_id)).unwrap_or_default())
    }

    fn body(&self, request_id: Option<RequestId>) -> Body<'_> {
        let (slug, status, title) = self.slug.facts();
        Body {
            kind: format!("urn:canhbao:problem:{slug}"),
            title,
            status: status.as_u16(),
            detail: &self.told.detail,
            request_id,
            violations: &self.told.violations,
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    request_id: Option<RequestId>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    violations: &'a [Violation],
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(violations) => Self::violations(Slug::InvalidRequest, violations),
            Error::InvalidSubject(violations) => Self::violations(Slug::InvalidSubject, violations),
            Error::InvalidTransition(detail) => Self::new(Slug::InvalidTransition, detail),
            Error::Archived(first) => Self::new(
                Slug::NotFound,
                format!("The log is archived before entry {first}; what stands there is in its archives."),
            ),
            Error::NotFound => Self::new(Slug::NotFound, "It does not exist, or it is not yours."),
            Error::Forbidden(detail) => Self::new(Slug::InsufficientScope, detail),
            Error::Conflict(detail) => Self::new(Slug::Conflict, detail),
            Error::StaleVersion => Self::new(Slug::StaleVersion, "Read it again, and send the ETag it has now."),
            Error::KeyReused => Self::new(Slug::IdempotencyKeyReused, "Use a new key for a new request."),
            Error::Unavailable(detail) => Self::new(Slug::Unavailable, detail),
            Error::Internal(inside) => {
                let mut problem = Self::new(Slug::Internal, "The operator can find it by request_id.");
                problem.told.inside = Some(inside);
                problem
            }
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.slug.as_str())
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.slug.facts().1
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = self.respond(self.told.request_id);
        if let Some(value) = self.told.request_id.and_then(|id| id.to_string().parse().ok()) {
            response.headers_mut().insert(super::edge::REQUEST_ID, value);
        }
        response
    }
}
