//! What became of a check's transaction: told once by the party that asked, and counted by the statistics.

use super::{Answered, Call, Error, Registry, digest, render};
use crate::domain::{CheckId, Decision, Money, Outcome, Timestamp, Warning};
use crate::log::{Act, AppendError, Record, Refusal, Resource};
use crate::store;
use crate::store::outcomes::Told;
use serde::Serialize;

impl Registry {
    /// The same outcome again gives the first answer. The entry holds what the check was answered, so that it can be counted
    /// without it.
    pub async fn tell_outcome(&self, call: &Call, id: CheckId, outcome: Outcome) -> Result<Answered, Error> {
        let (_, _, check) = self.find_check(call, id).await?;
        if let Some(told) = self.told_outcome(id).await? {
            return again(id, &outcome, told);
        }
        let mut entry = self.entry(Act::CheckOutcome, call);
        entry.resource = Some(Resource::Check(id));
        entry.verdict = check.verdict;
        entry.subjects = check.subjects;
        entry.reference = Some(outcome.to_string());
        let body = render(&OutcomeView::new(id, &outcome, call.at))?;
        entry.answer_digest = Some(digest(&body));
        match self.log.submit(Record::telling(entry, id, outcome))?.durable().await {
            Ok(position) => Ok(Answered { body, position, etag: None, location: None }),
            // One was under way at the same time and came first.
            Err(AppendError::Refused(Refusal::Precondition)) => {
                let told = self.told_outcome(id).await?;
                again(id, &outcome, told.ok_or_else(|| Error::Internal("an outcome that is gone".to_owned()))?)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn told_outcome(&self, id: CheckId) -> Result<Option<Told>, Error> {
        self.read(move |connection| store::outcomes::find(connection, id)).await
    }
}

/// The answer that was given first, if this is the same.
fn again(id: CheckId, outcome: &Outcome, told: Told) -> Result<Answered, Error> {
    if told.outcome != *outcome {
        return Err(Error::Conflict("Another outcome of this check was told."));
    }
    let body = render(&OutcomeView::new(id, &told.outcome, told.at))?;
    Ok(Answered { body, position: told.entry, etag: None, location: None })
}

#[derive(Serialize)]
struct OutcomeView {
    check: CheckId,
    decision: Decision,
    warning_shown: bool,
    amount: Option<Money>,
    told_at: Timestamp,
}

impl OutcomeView {
    fn new(check: CheckId, outcome: &Outcome, told_at: Timestamp) -> Self {
        let Outcome { decision, warning, amount } = *outcome;
        Self { check, decision, warning_shown: warning == Warning::Shown, amount, told_at }
    }
}
