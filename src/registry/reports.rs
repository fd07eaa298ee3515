//! Reports over the logs of all nodes: who looked at a subject, and who was answered with a flag. A report is a reading, so its
//! entry is durable before its first byte leaves.

use super::audit::{REPORT_PIECE, UNREADABLE, blocking, read_piece};
use super::{Answered, Call, Error, LogPage, Registry, render};
use crate::domain::party::PartyId;
use crate::domain::{Answers, FlagId, LogPositions, SubjectHash, Timestamp, Verdict};
use crate::log::{Act, Entry, LogFilter, Merged, Resource};
use crate::store;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Registry {
    /// Each check of one subject: when, which party, who there, and what was answered.
    pub async fn report_subject(&self, call: &Call, subject: SubjectHash, asked: LogPage) -> Result<Answered, Error> {
        let filter = LogFilter { subject: Some(subject), ..asked.filter.clone() };
        let told = LogPage { filter: filter.clone(), ..asked.clone() };
        let page = self.find_page(LogPage { filter: LogFilter { act: Some(Act::Check), ..filter }, ..asked }).await?;
        let entry = self.reading_entry(Act::LogReport, call, &told, &page.nodes);
        let checks =
            page.entries.iter().map(|shown| CheckOfSubject::new(&shown.node, shown.index, &shown.entry, subject));
        let body = render(&SubjectReport {
            subject_hash: subject,
            checked_from: self.kept_from(page.nodes.clone()).await?,
            items: checks.collect(),
            next_cursor: page.next_cursor.as_ref(),
        })?;
        self.answer_reading(entry, body).await
    }

    /// Every party that was answered with a flag, so that its lifting can be told to them.
    pub async fn report_flag(&self, call: &Call, flag: FlagId) -> Result<Answered, Error> {
        self.read(move |connection| store::flags::find(connection, flag)).await?.ok_or(Error::NotFound)?;
        let (parties, nodes, checked_up_to) = self.parties_answered(flag).await?;
        let parties = parties.into_iter().map(|(party, answers)| PartyOfFlag {
            name: self.access.party(&party).map(|party| party.name.clone()),
            party,
            checks: answers.checks,
            first_at: answers.first_at,
            last_at: answers.last_at,
        });
        let checked_from = self.kept_from(nodes).await?;
        let body = render(&FlagReport { flag, parties: parties.collect(), checked_from, checked_up_to })?;
        let mut entry = self.entry(Act::LogReport, call);
        entry.resource = Some(Resource::Flag(flag));
        self.answer_reading(entry, body).await
    }

    /// The parties, the nodes whose logs were read, and the last entry of each that was.
    pub(super) async fn parties_answered(
        &self,
        flag: FlagId,
    ) -> Result<(BTreeMap<PartyId, Answers>, Vec<String>, LogPositions), Error> {
        let filter = LogFilter::answered_with(flag);
        let covered = self.search.covered();
        let opened = self
            .read(move |connection| Merged::open(connection, &filter, None, &LogPositions::default(), None))
            .await?;
        let merged = opened.ok_or(Error::NotFound)?;
        let (nodes, ends) = (merged.nodes().map(str::to_owned).collect(), merged.ends());
        let mut parties = BTreeMap::new();
        for mut reading in merged.into_readings() {
            // In pieces, so that the work ends with the request, should nobody wait for it any more.
            while !reading.is_done() {
                let (store, covered) = (Arc::clone(&self.store), covered.clone());
                let work = move || read_piece(store.as_ref(), reading, &covered, REPORT_PIECE);
                let (read, found) = blocking(work).await??;
                reading = read;
                for found in found {
                    let entry = Entry::decode(&found.bytes).ok_or(UNREADABLE)?;
                    Answers::at(entry.at, entry.count.into()).add_to(&mut parties, entry.party);
                }
            }
        }
        Ok((parties, nodes, ends))
    }
}

#[derive(Serialize)]
struct SubjectReport<'a> {
    subject_hash: SubjectHash,
    /// What stands before it is in archives, and no part of the report.
    checked_from: LogPositions,
    items: Vec<CheckOfSubject<'a>>,
    next_cursor: Option<&'a LogPositions>,
}

#[derive(Serialize)]
struct CheckOfSubject<'a> {
    check: Option<String>,
    at: Timestamp,
    party: &'a str,
    client: &'a str,
    operator: Option<&'a str>,
    reference: Option<&'a str>,
    /// Of the subject; the transaction's may be higher.
    verdict: Option<Verdict>,
    log_entry: String,
}

impl<'a> CheckOfSubject<'a> {
    fn new(node: &str, index: u64, entry: &'a Entry, subject: SubjectHash) -> Self {
        let answered = entry.subjects.iter().filter(|answered| answered.hash == subject);
        Self {
            check: entry.resource.as_ref().map(ToString::to_string),
            at: entry.at,
            party: entry.party.as_str(),
            client: entry.client.as_str(),
            operator: entry.operator.as_deref(),
            reference: entry.reference.as_deref(),
            verdict: answered.filter_map(|answered| answered.verdict).max(),
            log_entry: format!("{node}/{index}"),
        }
    }
}

#[derive(Serialize)]
struct FlagReport {
    flag: FlagId,
    parties: Vec<PartyOfFlag>,
    /// What stands before it is in archives, and no part of the report.
    checked_from: LogPositions,
    checked_up_to: LogPositions,
}

#[derive(Serialize)]
struct PartyOfFlag {
    party: PartyId,
    name: Option<String>,
    checks: u64,
    first_at: Timestamp,
    last_at: Timestamp,
}
