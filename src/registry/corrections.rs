//! Who was answered with a flag that should never have been there. What the logs say, and what is kept of their archives, is
//! collected before the flag ends and recorded in the transaction that ends it; what was answered while that went on is added
//! when nothing can follow any more.
//! Nobody who was answered with the flag may be missing in the end, and no check waits for any of this.

use super::{Call, Error, Registry, random_bytes};
use crate::domain::{Change, Correction, Findings, Flag, FlagId, LogPosition, LogPositions, RequestId, Told};
use crate::log::{Act, AppendError, Record, Refusal};
use crate::store;
use std::time::Duration;

/// Ending the flag waits no longer than this for what the logs say; the rest is added afterwards.
const COLLECT_TIME_MAX: Duration = Duration::from_secs(3);
/// After this long no answer with the flag can come into any log: other nodes do not answer from a list that is more than 1 s
/// old, a check gives its record to the writer in the moment of its look-up, and no writer takes one that is older than 10 s.
const SETTLED_MS: u64 = 15_000;
/// Another node completes what the node that began it has not completed by then.
const OTHERS_MS: u64 = 60_000;
const AT_ONCE_MAX: u32 = 16;
/// How often the logs are read if an archive is recorded meanwhile, which is a rare thing.
const READINGS_MAX: u32 = 3;

impl Registry {
    /// Of a flag that is wrong, and of those that it took in and that had answered: they said the same.
    pub(super) async fn open_corrections(&self, wrong: &Flag) -> Result<Vec<Correction>, Error> {
        let mut corrections = vec![self.open_correction(wrong.id).await];
        for id in &wrong.merged {
            if self.find_flag(*id).await?.since.is_some() {
                corrections.push(self.correction(*id, Findings::default()));
            }
        }
        Ok(corrections)
    }

    /// With what can be found now. That nothing can be found is no reason to leave the flag in force.
    async fn open_correction(&self, flag: FlagId) -> Correction {
        let findings = match tokio::time::timeout(COLLECT_TIME_MAX, self.findings(flag)).await {
            Ok(Ok(findings)) => findings,
            Ok(Err(error)) => {
                tracing::warn!(?error, "who was answered with a flag will be found after its end");
                Findings::default()
            }
            Err(_) => Findings::default(),
        };
        self.correction(flag, findings)
    }

    fn correction(&self, flag: FlagId, findings: Findings) -> Correction {
        Correction::Open { flag, node: self.node.to_owned(), due_at: self.now().plus_ms(SETTLED_MS), findings }
    }

    /// Completes the corrections that are due. What fails is due again.
    pub async fn complete_corrections(&self) -> Result<(), Error> {
        let (node, now) = (self.node, self.now());
        let of_others = now.minus_ms(OTHERS_MS);
        let due =
            self.read(move |connection| store::corrections::due(connection, node, now, of_others, AT_ONCE_MAX)).await?;
        let mut result = Ok(());
        for flag in due {
            if let Err(error) = self.complete_correction(flag).await {
                result = Err(error);
            }
        }
        result
    }

    /// In the name of who ended the flag.
    async fn complete_correction(&self, id: FlagId) -> Result<(), Error> {
        let flag = self.find_flag(id).await?;
        let findings = self.findings(id).await?;
        let at = self.now();
        let call = Call { request_id: RequestId::mint(at, random_bytes()?), at, actor: flag.step().by };
        let mut entry = self.flag_entry(Act::FlagCorrect, &call, &flag);
        entry.reference = Some(format!("parties={}", findings.parties.len()));
        let change = Change::Correction(Correction::Complete { flag: id, at, findings });
        match self.log.submit(Record::changing(entry, change, None))?.durable().await {
            // Another node was first.
            Ok(_) | Err(AppendError::Refused(Refusal::Precondition)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What the logs of all nodes say, and what is kept of what they have in archives.
    async fn findings(&self, flag: FlagId) -> Result<Findings, Error> {
        for _ in 0..READINGS_MAX {
            let archived = self.read(move |connection| store::answered::archived(connection, flag)).await?;
            let (mut parties, _, to) = self.parties_answered(flag).await?;
            // What went into an archive in between was read in the log, in what is kept of it, in both or in neither.
            let after = self.read(move |connection| store::answered::archived(connection, flag)).await?;
            if after.logs != archived.logs {
                continue;
            }
            for (party, answers) in archived.parties {
                answers.add_to(&mut parties, party);
            }
            let parties = parties.into_iter().map(|(party, answers)| Told {
                party,
                checks: answers.checks,
                first_at: answers.first_at,
                last_at: answers.last_at,
            });
            let from =
                archived.logs.into_iter().map(|log| LogPosition { node: log.node.into(), index: log.answered_from });
            let from = LogPositions::new(from.collect()).ok_or_else(|| Error::Internal("a log twice".to_owned()))?;
            return Ok(Findings { parties: parties.collect(), from, to });
        }
        Err(Error::Internal("archives were recorded while the logs were read".to_owned()))
    }
}
