//! `POST /v1/checks`, `/v1/checks/batch`, `GET /v1/checks/{id}`, `/v1/checks/{id}/receipt`.

use super::body::{BATCH_BYTES_MAX, CHECK_BYTES_MAX, Unread};
use super::caller::{Caller, Check, CheckBatch, CheckRead};
use super::problem::Problem;
use super::tiles::TEXT;
use super::{measures, rendered, rendered_as};
use crate::domain::advice::Context;
use crate::domain::check::{CHECKS_IN_BATCH_MAX, Question, SUBJECTS_MAX};
use crate::domain::input::subjects;
use crate::domain::strict::{Object, present, present_word};
use crate::domain::{CheckId, SubjectInput};
use crate::registry::{Error, Registry};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::num::NonZeroU32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckBody<'a> {
    #[serde(borrow)]
    subjects: Vec<Object<SubjectInput<'a>>>,
    #[serde(default, deserialize_with = "present_word")]
    context: Option<Context>,
    #[serde(default, deserialize_with = "present")]
    reference: Option<String>,
    #[serde(default, deserialize_with = "present")]
    operator: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchBody<'a> {
    #[serde(borrow)]
    checks: Vec<Object<CheckBody<'a>>>,
}

pub async fn create(caller: Caller<Check>, body: Unread, registry: &'static Registry) -> Result<HttpResponse, Problem> {
    let body = body.json(CHECK_BYTES_MAX).await?;
    let question = body.parse::<CheckBody<'_>>()?.read(registry)?;
    let checked = registry.check(&caller.call, question).await?;
    measures::checked(&caller.call.actor.party, checked.verdict);
    Ok(rendered(HttpResponse::Ok(), checked.answered))
}

/// Each check has its own answer or problem, in order; a fault of shape anywhere refuses the whole.
pub async fn create_batch(
    caller: Caller<CheckBatch>,
    request: HttpRequest,
    body: Unread,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let body = body.json(BATCH_BYTES_MAX).await?;
    let batch = body.parse::<BatchBody<'_>>()?;
    if batch.checks.is_empty() || batch.checks.len() > CHECKS_IN_BATCH_MAX {
        return Err(Problem::violation("/checks", "expected 1 to 1000 checks"));
    }
    // One was taken with the token; the rest is taken here.
    if let Some(rest) = u32::try_from(batch.checks.len() - 1).ok().and_then(NonZeroU32::new) {
        caller.take(&request, registry, rest)?;
    }
    let read: Vec<_> = batch.checks.into_iter().map(|Object(check)| check.read(registry)).collect();
    let results = answer_each(&caller, registry, read).await?;
    Ok(HttpResponse::Ok().content_type("application/json").insert_header(("Cache-Control", "no-store")).body(results))
}

pub async fn read(
    caller: Caller<CheckRead>,
    id: web::Path<String>,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let id = CheckId::parse(&id).ok_or(Error::NotFound)?;
    Ok(rendered(HttpResponse::Ok(), registry.read_check(&caller.call, id).await?))
}

pub async fn receipt(
    caller: Caller<CheckRead>,
    id: web::Path<String>,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let id = CheckId::parse(&id).ok_or(Error::NotFound)?;
    Ok(rendered_as(TEXT, HttpResponse::Ok(), registry.read_receipt(&caller.call, id).await?))
}

async fn answer_each(
    caller: &Caller<CheckBatch>,
    registry: &Registry,
    read: Vec<Result<Question, Problem>>,
) -> Result<String, Problem> {
    let mut problems = Vec::with_capacity(read.len());
    let mut questions = Vec::with_capacity(read.len());
    for question in read {
        match question {
            Ok(question) => {
                questions.push(question);
                problems.push(None);
            }
            Err(problem) => problems.push(Some(problem)),
        }
    }
    let mut answers = registry.check_batch(&caller.call, questions).await.into_iter();
    let mut results = Vec::with_capacity(problems.len());
    for problem in problems {
        let answered = match problem {
            Some(problem) => Err(problem),
            None => answers.next().unwrap_or(Err(Error::NotFound)).map_err(Problem::from),
        };
        results.push(match answered {
            Ok(checked) => {
                measures::checked(&caller.call.actor.party, checked.verdict);
                let answer = raw(checked.answered.body)?;
                serde_json::to_string(&BatchAnswer { answer, log_entry: checked.answered.position.text() })
            }
            Err(problem) => {
                let problem = problem.to_json(Some(caller.call.request_id));
                serde_json::to_string(&serde_json::json!({ "problem": problem }))
            }
        });
    }
    let results: Result<Vec<String>, serde_json::Error> = results.into_iter().collect();
    let results = results.map_err(|error| Error::Internal(error.to_string()))?;
    Ok(format!("{{\"results\":[{}]}}", results.join(",")))
}

/// The exact bytes whose digest the log has.
#[derive(serde::Serialize)]
struct BatchAnswer {
    answer: Box<RawValue>,
    log_entry: String,
}

fn raw(body: Vec<u8>) -> Result<Box<RawValue>, Problem> {
    let text = String::from_utf8(body).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(RawValue::from_string(text).map_err(|error| Error::Internal(error.to_string()))?)
}

impl CheckBody<'_> {
    fn read(self, registry: &Registry) -> Result<Question, Problem> {
        if self.subjects.is_empty() || self.subjects.len() > SUBJECTS_MAX {
            return Err(Problem::violation("/subjects", "expected 1 to 16 subjects"));
        }
        let subjects = subjects(&self.subjects, "/subjects", &registry.directory())?;
        Ok(Question {
            subjects,
            context: self.context.unwrap_or(Context::Transfer),
            reference: self.reference.map(|text| super::text(text, "/reference", 64)).transpose()?,
            operator: self.operator.map(|text| super::text(text, "/operator", 64)).transpose()?,
        })
    }
}
