//! A few checks of two banks and what became of them, so that a demo's statistics show something. They are asked like any
//! others, and are about what the sandbox leaves alone.

use super::{DemoError, Sower, actor, known, random};
use crate::domain::advice::Context;
use crate::domain::check::Question;
use crate::domain::{CheckId, Currency, Decision, Money, Outcome, RequestId, Subject, Warning};
use crate::registry::Call;
use serde::Deserialize;

/// Bank, its client, the account that the customer was about to pay, and what became of it.
const TOLD: [(&str, &str, &str, Decision, Warning, &str); 4] = [
    ("970436", "demo-bank", FLAGGED, Decision::CancelledByCustomer, Warning::Shown, "45000000"),
    ("970436", "demo-bank", FLAGGED, Decision::Completed, Warning::Shown, "200000"),
    ("970415", "demo-bank_b", FLAGGED, Decision::Held, Warning::NotShown, "12500000"),
    ("970415", "demo-bank_b", URGENT, Decision::Refused, Warning::Shown, "80000000"),
];
const FLAGGED: &str = "account:970436:9000000000103";
const URGENT: &str = "account:970436:9000000000102";

#[derive(Deserialize)]
struct Answer {
    id: CheckId,
}

pub(super) async fn tell(sower: &mut Sower<'_>) -> Result<(), DemoError> {
    // They ask what is in force.
    sower.settle(0).await?;
    let registry = sower.registry;
    for (bank, client, account, decision, warning, value) in TOLD {
        let failed = |error: crate::registry::Error| DemoError::Seed(format!("{error:?}"));
        let at = registry.now();
        let call = Call { request_id: RequestId::mint(at, random()?), at, actor: actor(bank, client)? };
        let subject = known(Subject::from_canonical(account))?;
        let question =
            Question { subjects: vec![subject], context: Context::Transfer, reference: None, operator: None };
        let checked = registry.check(&call, question).await.map_err(failed)?;
        let answer: Answer =
            serde_json::from_slice(&checked.answered.body).map_err(|error| DemoError::Seed(error.to_string()))?;
        let outcome = Outcome { decision, warning, amount: Money::parse(value, Currency::VND) };
        let at = registry.now();
        let call = Call { request_id: RequestId::mint(at, random()?), at, ..call };
        registry.tell_outcome(&call, answer.id, outcome).await.map_err(failed)?;
    }
    Ok(())
}
