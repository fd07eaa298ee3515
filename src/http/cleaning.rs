//! `/v1/flags/duplicates`, `stale`, `unparsable`, `quality`: what of the list needs care.

use super::body::Query;
use super::caller::{Caller, FlagRead};
use super::problem::Problem;
use super::rendered;
use super::search_body::{CURSOR, place};
use crate::domain::party::PartyId;
use crate::registry::{CarePage, QualityPage, QualityTerms, Registry, StaleAfter};
use actix_web::HttpResponse;

const DAYS_MAX: u32 = 3650;
const NOT_REVIEWED_DAYS: u32 = 90;
const EXPIRING_DAYS: u32 = 7;
const WAITING_DAYS: u32 = 7;
const EXPIRED_DAYS: u32 = 30;

pub async fn duplicates(caller: Caller<FlagRead>, registry: &'static Registry) -> Result<HttpResponse, Problem> {
    let page = page(&caller.query)?;
    Ok(rendered(HttpResponse::Ok(), registry.list_duplicates(&caller.call, page).await?))
}

pub async fn stale(caller: Caller<FlagRead>, registry: &'static Registry) -> Result<HttpResponse, Problem> {
    let (after, page) = (stale_after(&caller.query)?, page(&caller.query)?);
    Ok(rendered(HttpResponse::Ok(), registry.list_stale(&caller.call, after, page).await?))
}

pub async fn unparsable(caller: Caller<FlagRead>, registry: &'static Registry) -> Result<HttpResponse, Problem> {
    let page = page(&caller.query)?;
    Ok(rendered(HttpResponse::Ok(), registry.list_unparsable(&caller.call, page).await?))
}

pub async fn quality(caller: Caller<FlagRead>, registry: &'static Registry) -> Result<HttpResponse, Problem> {
    let terms = QualityTerms {
        stale: stale_after(&caller.query)?,
        waiting_days: days(&caller.query, "waiting_days", WAITING_DAYS)?,
        expired_days: days(&caller.query, "expired_days", EXPIRED_DAYS)?,
    };
    let page =
        QualityPage { after: caller.query.value("cursor", CURSOR, PartyId::parse)?, limit: caller.query.limit()? };
    Ok(rendered(HttpResponse::Ok(), registry.summarise_quality(&caller.call, terms, page).await?))
}

fn page(query: &Query) -> Result<CarePage, Problem> {
    Ok(CarePage { from: query.value("cursor", CURSOR, place)?, limit: query.limit()? })
}

fn stale_after(query: &Query) -> Result<StaleAfter, Problem> {
    Ok(StaleAfter {
        not_reviewed_days: days(query, "not_reviewed_days", NOT_REVIEWED_DAYS)?,
        expiring_days: days(query, "expiring_days", EXPIRING_DAYS)?,
    })
}

fn days(query: &Query, name: &str, default: u32) -> Result<u32, Problem> {
    let read = |text: &str| text.parse().ok().filter(|days| (1..=DAYS_MAX).contains(days));
    Ok(query.value(name, "expected a number from 1 to 3650", read)?.unwrap_or(default))
}
