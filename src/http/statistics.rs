//! `GET /v1/statistics`, `GET /v1/statistics/report`.

use super::accept::{Offer, accepted};
use super::caller::{Caller, StatisticsRead};
use super::problem::Problem;
use super::{rendered, rendered_as};
use crate::domain::{Day, Days, Period};
use crate::registry::{By, Registry, ReportForm};
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};

const CSV: HeaderValue = HeaderValue::from_static("text/csv; charset=utf-8");
const XLSX: HeaderValue = HeaderValue::from_static("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet");

pub async fn read(
    caller: Caller<StatisticsRead>,
    request: HttpRequest,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    accepted(&request, &[Offer::Json])?;
    let day = |name| -> Result<Day, Problem> {
        caller.query.value(name, Day::SHAPE, Day::parse)?.ok_or_else(|| missing(name, Day::SHAPE))
    };
    let (from, to) = (day("from")?, day("to")?);
    let days = Days::new(from, to);
    let days = days.ok_or_else(|| Problem::violation("/to", "expected a day of at most ten years from `from` on"))?;
    let by = caller.query.value("by", "expected unit, party, category, verdict, outcome, day or month", By::parse)?;
    Ok(rendered(HttpResponse::Ok(), registry.read_statistics(&caller.call, days, by).await?))
}

pub async fn report(
    caller: Caller<StatisticsRead>,
    request: HttpRequest,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let period = caller.query.value("period", Period::SHAPE, Period::parse)?;
    let period = period.ok_or_else(|| missing("period", Period::SHAPE))?;
    let (form, media_type, extension) = match accepted(&request, &[Offer::Json, Offer::Csv, Offer::Xlsx])? {
        Offer::Csv => (ReportForm::Csv, CSV, "csv"),
        Offer::Xlsx => (ReportForm::Xlsx, XLSX, "xlsx"),
        Offer::Json | Offer::NdJson => (ReportForm::Json, HeaderValue::from_static("application/json"), "json"),
    };
    let answered = registry.report_statistics(&caller.call, period, form).await?;
    let file = format!("attachment; filename=\"bao-cao-{}.{extension}\"", period.to_string().replace("..", "-"));
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CONTENT_DISPOSITION, file));
    Ok(rendered_as(media_type, response, answered))
}

fn missing(name: &str, shape: &'static str) -> Problem {
    Problem::violation(format!("/{name}"), shape)
}
