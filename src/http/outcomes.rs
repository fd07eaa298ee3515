//! `POST /v1/checks/{id}/outcome`.

use super::body::{CHECK_BYTES_MAX, Unread};
use super::caller::{Caller, Check};
use super::problem::Problem;
use super::rendered;
use crate::domain::strict::{present_object, word};
use crate::domain::{CheckId, Currency, Decision, Money, Outcome, Warning};
use crate::registry::{Error, Registry};
use actix_web::{HttpResponse, web};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutcomeBody {
    #[serde(deserialize_with = "word")]
    decision: Decision,
    warning_shown: bool,
    #[serde(default, deserialize_with = "present_object")]
    amount: Option<AmountBody>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AmountBody {
    value: String,
    currency: String,
}

pub async fn tell(
    caller: Caller<Check>,
    id: web::Path<String>,
    body: Unread,
    registry: &'static Registry,
) -> Result<HttpResponse, Problem> {
    let id = CheckId::parse(&id).ok_or(Error::NotFound)?;
    let body = body.json(CHECK_BYTES_MAX).await?;
    let outcome = body.parse::<OutcomeBody>()?.read()?;
    Ok(rendered(HttpResponse::Ok(), registry.tell_outcome(&caller.call, id, outcome).await?))
}

impl OutcomeBody {
    fn read(self) -> Result<Outcome, Problem> {
        let amount = self.amount.map(AmountBody::read).transpose()?;
        Ok(Outcome { decision: self.decision, warning: Warning::of(self.warning_shown), amount })
    }
}

impl AmountBody {
    fn read(self) -> Result<Money, Problem> {
        let currency = Currency::parse(&self.currency);
        let currency = currency
            .ok_or_else(|| Problem::violation("/amount/currency", "expected a code of ISO 4217, such as VND"))?;
        Money::parse(&self.value, currency).ok_or_else(|| Problem::violation("/amount/value", Money::SHAPE))
    }
}
