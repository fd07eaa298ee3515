//! Check: the flags that answer for the subjects of one transaction, the verdict, and the entry that proves the answer.

use super::{Answered, Call, Error, Registry, digest, random_bytes, render};
use crate::domain::advice::Advice;
use crate::domain::check::{Answer, FlagShown, Question, SALT_CHARS, SubjectResult};
use crate::domain::{CheckId, SubjectHash, Verdict};
use crate::index::Hit;
use crate::log::{self, Act, Entry, EntrySubject, FlagVersion, Pending, Record, Resource};
use crate::store::archive::Archive;
use crate::store::{self, Connection, StoreError};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

/// A check that is answered, with its verdict for the metrics.
pub struct Checked {
    pub answered: Answered,
    pub verdict: Verdict,
}

/// A check whose entry is on its way to the disk.
struct Submitted {
    body: Vec<u8>,
    verdict: Verdict,
    pending: Pending,
}

impl Registry {
    pub async fn check(&self, call: &Call, question: Question) -> Result<Checked, Error> {
        self.submit_check(call, question)?.checked().await
    }

    /// Checks that go to the log together; each has its own answer, entry and error.
    pub async fn check_batch(&self, call: &Call, questions: Vec<Question>) -> Vec<Result<Checked, Error>> {
        let submitted: Vec<_> = questions.into_iter().map(|question| self.submit_check(call, question)).collect();
        let mut results = Vec::with_capacity(submitted.len());
        for check in submitted {
            results.push(match check {
                Ok(submitted) => submitted.checked().await,
                Err(error) => Err(error),
            });
        }
        results
    }

    fn submit_check(&self, call: &Call, question: Question) -> Result<Submitted, Error> {
        self.must_be_fresh()?;
        let id = CheckId::mint(call.at, random_bytes()?);
        let hashes: Vec<SubjectHash> = question.subjects.iter().map(|subject| self.index.hash(subject)).collect();
        let (hits, list_version) = self
            .index
            .at_one_version(|list| -> Vec<Vec<Hit>> { hashes.iter().map(|hash| list.lookup(hash, call.at)).collect() });
        let weightiest = hits.iter().flatten().max_by_key(|hit| hit.verdict);
        let verdict = weightiest.map_or(Verdict::Clear, |hit| hit.verdict);
        let answer = Answer {
            id,
            verdict,
            results: question.subjects.iter().zip(&hits).map(|(subject, hits)| result(subject, hits)).collect(),
            advice: weightiest.and_then(|hit| Advice::for_answer(verdict, hit.category, question.context)),
            list_version,
            checked_at: call.at,
            salt: salt()?,
        };
        let body = answer.to_json().map_err(|error| Error::Internal(error.to_string()))?;
        let entry = Entry {
            operator: question.operator,
            resource: Some(Resource::Check(id)),
            verdict: Some(verdict),
            list_version,
            subjects: hashes.iter().zip(&hits).map(|(hash, hits)| entry_subject(*hash, hits)).collect(),
            answer_digest: Some(digest(&body)),
            reference: question.reference,
            ..self.entry(Act::Check, call)
        };
        let pending = self.log.submit(Record::reading(&entry)?)?;
        Ok(Submitted { body, verdict, pending })
    }

    /// What a party was answered, as the log has it.
    pub async fn read_check(&self, call: &Call, id: CheckId) -> Result<Answered, Error> {
        let (node, index, entry) = self.find_check(call, id).await?;
        let body = render(&CheckRead::new(id, &entry, format!("{node}/{index}")))?;
        let mut read = self.entry(Act::CheckRead, call);
        read.resource = Some(Resource::Check(id));
        self.answer_reading(read, body).await
    }

    /// The entry of a check, in the log of whichever node answered it. Another party's check is not found.
    pub(super) async fn find_check(&self, call: &Call, id: CheckId) -> Result<(String, u64, Entry), Error> {
        let own = self.node;
        let (found, archived) = self.read(move |connection| find_check(connection, own, id)).await?;
        let absent = archived.map_or(Error::NotFound, |archive| Error::Archived(archive.end()));
        found.filter(|(_, _, entry)| entry.party == call.actor.party).ok_or(absent)
    }
}

/// Node, index and entry of a check; without one, the archive in which it may be.
type Lookup = (Option<(String, u64, Entry)>, Option<Archive>);

fn find_check(connection: &mut dyn Connection, own: &str, id: CheckId) -> Result<Lookup, StoreError> {
    let mut logs = store::log::all(connection)?;
    // Most are asked for where they were answered.
    logs.sort_by_key(|(node, _)| node != own);
    let mut archived = None;
    for (node, log) in logs {
        let found = log::find_in(connection, log, id.minted_at(), |entry| {
            entry.act == Act::Check && entry.resource == Some(Resource::Check(id))
        })?;
        if let Some((index, entry)) = found {
            return Ok((Some((node, index, entry)), None));
        }
        let archive = store::archive::last(connection, log)?.filter(|archive| id.minted_at() <= archive.at_max);
        archived = archived.or(archive);
    }
    Ok((None, archived))
}

impl Submitted {
    async fn checked(self) -> Result<Checked, Error> {
        let position = self.pending.durable().await?;
        let answered = Answered { body: self.body, position, etag: None, location: None };
        Ok(Checked { answered, verdict: self.verdict })
    }
}

fn salt() -> Result<[u8; SALT_CHARS], Error> {
    let mut salt = [0; SALT_CHARS];
    let written = URL_SAFE_NO_PAD.encode_slice(random_bytes()?, &mut salt);
    written.map_err(|error| Error::Internal(error.to_string()))?;
    Ok(salt)
}

fn result<'a>(subject: &'a crate::domain::Subject, hits: &'a [Hit]) -> SubjectResult<'a> {
    SubjectResult {
        subject,
        verdict: highest(hits),
        flags: hits
            .iter()
            .map(|hit| FlagShown {
                id: hit.id,
                verdict: hit.verdict,
                category: hit.category,
                case: &hit.case,
                since: hit.since,
                expires_at: hit.expires_at,
                document: hit.document.as_deref(),
                linked_from: hit.linked_from,
            })
            .collect(),
    }
}

fn entry_subject(hash: SubjectHash, hits: &[Hit]) -> EntrySubject {
    let flags = hits.iter().map(|hit| FlagVersion { id: hit.id, version: hit.version }).collect();
    EntrySubject { hash, verdict: Some(highest(hits)), flags }
}

fn highest(hits: &[Hit]) -> Verdict {
    hits.iter().map(|hit| hit.verdict).max().unwrap_or(Verdict::Clear)
}

#[derive(Serialize)]
struct CheckRead<'a> {
    id: CheckId,
    verdict: Option<Verdict>,
    results: Vec<ResultRead<'a>>,
    list_version: u64,
    checked_at: crate::domain::Timestamp,
    log_entry: String,
    reference: Option<&'a str>,
    operator: Option<&'a str>,
}

#[derive(Serialize)]
struct ResultRead<'a> {
    subject_hash: String,
    verdict: Option<Verdict>,
    flags: Vec<FlagRead<'a>>,
}

#[derive(Serialize)]
struct FlagRead<'a> {
    id: &'a crate::domain::FlagId,
    version: u32,
}

impl<'a> CheckRead<'a> {
    fn new(id: CheckId, entry: &'a Entry, log_entry: String) -> Self {
        Self {
            id,
            verdict: entry.verdict,
            results: entry
                .subjects
                .iter()
                .map(|subject| ResultRead {
                    subject_hash: subject.hash.to_string(),
                    verdict: subject.verdict,
                    flags: subject.flags.iter().map(|f| FlagRead { id: &f.id, version: f.version }).collect(),
                })
                .collect(),
            list_version: entry.list_version,
            checked_at: entry.at,
            log_entry,
            reference: entry.reference.as_deref(),
            operator: entry.operator.as_deref(),
        }
    }
}
