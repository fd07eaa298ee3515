//! Liveness, readiness, the contract itself, and the bank directory.

use super::body::NoQuery;
use super::caller::{Anyone, Caller};
use super::problem::{Problem, Slug};
use crate::domain::banks::Institution;
use crate::registry::Registry;
use actix_web::http::header;
use actix_web::{HttpResponse, web};
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const CONTRACT: &str = include_str!("../../openapi.yaml");

/// Set when the process has been told to end: it still answers, but should get nothing new.
#[derive(Default)]
pub struct Draining(AtomicBool);

impl Draining {
    pub fn start(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn has_started(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The process runs. Nothing more is asked, so that a busy disk never gets it killed.
pub async fn livez(_: NoQuery) -> HttpResponse {
    well()
}

fn well() -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(json!({ "status": "ok" }))
}

/// Requests sent here will be answered: the log is written, and the process is not ending.
pub async fn readyz(
    _: NoQuery,
    registry: &'static Registry,
    draining: web::Data<Arc<Draining>>,
) -> Result<HttpResponse, Problem> {
    if draining.has_started() {
        return Err(Problem::new(Slug::Unavailable, "The registry is shutting down."));
    }
    match registry.unready() {
        None => Ok(well()),
        Some(reason) => Err(Problem::new(Slug::Unavailable, reason)),
    }
}

pub async fn contract(_: NoQuery) -> HttpResponse {
    HttpResponse::Ok().content_type("application/yaml").body(CONTRACT)
}

#[derive(Serialize)]
struct Institutions<'a> {
    items: Vec<&'a Institution>,
}

pub async fn institutions(_: Caller<Anyone>, registry: &'static Registry) -> HttpResponse {
    let directory = registry.directory();
    HttpResponse::Ok().json(Institutions { items: directory.banks().institutions().collect() })
}
