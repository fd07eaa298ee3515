//! Objections: a bank files one, the owning unit upholds or dismisses it. A bank sees its own and never who decided.

use super::flags::{etag, in_changes};
use super::{Answered, Call, Error, IdempotencyKey, Registry, random_bytes, render};
use crate::domain::party::Role;
use crate::domain::{
    Actor, Attachment, Change, Changes, Flag, FlagId, FlagState, LiftCause, LogPosition, MoveError, NewObjection,
    Objection, ObjectionId, ObjectionState, Remedy, Replaces, Standing, Timestamp,
};
use crate::log::{Act, Entry, Resource};
use crate::store::objections::{ObjectionPage, Told};
use crate::store::{self, Connection, StoreError};
use serde::Serialize;

/// Objections that one page looks at; a page for which that is not enough says where to go on.
const LOOKED_MAX: usize = 5_000;

/// What a list of objections shows.
#[derive(Clone, Copy, Debug)]
pub struct ObjectionFilter {
    pub state: Option<ObjectionState>,
    pub overdue: Overdue,
    pub before: Option<ObjectionId>,
    pub limit: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    All,
    Only,
}

impl Registry {
    pub async fn file_objection(
        &self,
        call: &Call,
        key: IdempotencyKey,
        flag: FlagId,
        new: NewObjection,
    ) -> Result<Answered, Error> {
        if let Some(kept) = self.kept_answer(call, &key).await? {
            return Ok(kept);
        }
        // A bank does not learn of a flag that never answered anybody.
        let flag = self.find_flag(flag).await?;
        flag.since.ok_or(Error::NotFound)?;
        if !flag.may_be_objected_to(call.at) {
            return Err(Error::InvalidTransition("that the flag was wrong has been found already".to_owned()));
        }
        let id = ObjectionId::mint(call.at, random_bytes()?);
        let within_ms = self.objections_answered_within_ms;
        let objection = Objection::file(id, flag.id, new, call.actor.clone(), call.at, within_ms);
        let body = render(&ObjectionView::new(&objection, call.at, Reader::Filer))?;
        let entry = self.objection_entry(Act::ObjectionFile, call, &objection, &flag);
        let (etag, location) = (etag(objection.version), format!("/v1/objections/{id}"));
        let change = Change::Objection { replaces: Replaces::Nothing, objection: Box::new(objection) };
        match self.create(call, key, entry, change, body, etag, location).await {
            Err(Error::StaleVersion) => Err(Error::Conflict("Your objection to this flag is still open.")),
            created => created,
        }
    }

    /// The flag is lifted as wrong, also if it has ended before, or, if changes are given, amended, in the same step.
    pub async fn uphold_objection(
        &self,
        call: &Call,
        id: ObjectionId,
        version: u32,
        answer: String,
        changes: Option<Changes>,
    ) -> Result<Answered, Error> {
        let (objection, flag) = self.objection_to_decide(call, id, version).await?;
        let (by, now) = (call.actor.clone(), call.at);
        self.must_not_go_on(&flag, now).await?;
        let (remedy, moved) = match changes {
            Some(changes) => {
                self.must_be_known(&changes)?;
                let relieved = flag.relieve(by.clone(), changes, answer.clone(), now);
                (Remedy::Amended, Some(relieved.map_err(|error| in_changes(error.into()))?))
            }
            None => {
                let was_in_force = flag.state_at(now) == FlagState::Active;
                let lifted = match flag.lift(by.clone(), answer.clone(), LiftCause::Wrong, now) {
                    // That it was wrong is told already.
                    Err(MoveError::Illegal { .. }) => None,
                    lifted => Some(lifted?),
                };
                (if was_in_force { Remedy::Lifted } else { Remedy::EndedBefore }, lifted)
            }
        };
        let flag_version = moved.as_ref().map(|moved| moved.version);
        let decided = objection.uphold(by, answer, remedy, flag_version, now)?;
        let entry_flag = moved.as_ref().unwrap_or(&flag);
        let entry = self.objection_entry(Act::ObjectionUphold, call, &decided, entry_flag);
        let mut changes = Vec::new();
        if let Some(moved) = moved {
            changes.extend(self.flag_change(flag.version, moved).await?.parts().iter().cloned());
        }
        self.decide(call, version, decided, entry, changes).await
    }

    /// Of a flag that was merged the holder is rid only when the one that was kept says no more what it said.
    async fn must_not_go_on(&self, flag: &Flag, now: Timestamp) -> Result<(), Error> {
        let mut next = flag.merged_into;
        while let Some(id) = next {
            let kept = self.find_flag(id).await?;
            if kept.goes_on_for(flag, now) {
                let state = kept.state_at(now).as_str();
                let why = format!("the flag was merged into {id}, which is {state}; lift or amend that one first");
                return Err(Error::InvalidTransition(why));
            }
            // That one may have been merged as well.
            next = kept.merged_into;
        }
        Ok(())
    }

    pub async fn dismiss_objection(
        &self,
        call: &Call,
        id: ObjectionId,
        version: u32,
        answer: String,
    ) -> Result<Answered, Error> {
        let (objection, flag) = self.objection_to_decide(call, id, version).await?;
        let decided = objection.dismiss(call.actor.clone(), answer, call.at)?;
        let entry = self.objection_entry(Act::ObjectionDismiss, call, &decided, &flag);
        self.decide(call, version, decided, entry, Vec::new()).await
    }

    pub async fn read_objection(&self, call: &Call, id: ObjectionId) -> Result<Answered, Error> {
        let (objection, flag) = self.find_objection(id).await?;
        let reader = self.reader(call);
        let is_seen = match reader {
            Reader::Filer => objection.filed_by.party == call.actor.party,
            Reader::Unit => self.standing(call, &flag) != Standing::None,
        };
        if !is_seen {
            return Err(Error::NotFound);
        }
        let body = render(&ObjectionView::new(&objection, call.at, reader))?;
        let entry = self.objection_entry(Act::ObjectionList, call, &objection, &flag);
        let answered = self.answer_reading(entry, body).await?;
        Ok(Answered { etag: Some(etag(objection.version)), ..answered })
    }

    /// A page of objections, newest first: for a unit those it and the units below have to answer, for a bank its own.
    pub async fn list_objections(&self, call: &Call, filter: ObjectionFilter) -> Result<Answered, Error> {
        let (reader, party, now) = (self.reader(call), call.actor.party.clone(), call.at);
        let units = self.access.units_below(&party);
        let page = ObjectionPage {
            state: if filter.overdue == Overdue::Only { Some(ObjectionState::Open) } else { filter.state },
            overdue_at: (filter.overdue == Overdue::Only).then_some(now),
            before: filter.before,
            rows_max: filter.limit,
        };
        let read = move |connection: &mut dyn Connection| {
            let (found, next) = match reader {
                Reader::Filer => store::objections::of_party(connection, &party, &page)?,
                Reader::Unit => store::objections::of_units(connection, &units, &page, LOOKED_MAX)?,
            };
            let flags = flags_of(connection, &found)?;
            Ok((found, next, flags))
        };
        let (found, next_cursor, flags) = self.read(read).await?;
        let body = render(&ObjectionList {
            next_cursor,
            items: found.iter().map(|objection| ObjectionView::new(objection, now, reader)).collect(),
        })?;
        let mut entry = self.entry(Act::ObjectionList, call);
        entry.subjects = flags.iter().map(|flag| self.entry_subject(flag)).collect();
        self.answer_reading(entry, body).await
    }

    async fn decide(
        &self,
        call: &Call,
        version: u32,
        decided: Objection,
        entry: Entry,
        changes: Vec<Change>,
    ) -> Result<Answered, Error> {
        let body = render(&ObjectionView::new(&decided, call.at, Reader::Unit))?;
        let etag = etag(decided.version);
        let change = Change::Objection { replaces: Replaces::Version(version), objection: Box::new(decided) };
        let together = std::iter::once(change).chain(changes).collect();
        self.answer_changing(entry, Change::Together(together), body, etag).await
    }

    async fn objection_to_decide(
        &self,
        call: &Call,
        id: ObjectionId,
        version: u32,
    ) -> Result<(Objection, Flag), Error> {
        let (objection, flag) = self.find_objection(id).await?;
        match self.standing(call, &flag) {
            Standing::None => return Err(Error::NotFound),
            Standing::Coordinating => {
                return Err(self.forbid(call, "The owning unit and those above it answer objections.").await);
            }
            Standing::Owning | Standing::Deciding => {}
        }
        if objection.version == version { Ok((objection, flag)) } else { Err(Error::StaleVersion) }
    }

    async fn find_objection(&self, id: ObjectionId) -> Result<(Objection, Flag), Error> {
        let found = self.read(move |connection| store::objections::find(connection, id)).await?;
        let objection = found.ok_or(Error::NotFound)?;
        let flag = self.find_flag(objection.flag).await?;
        Ok((objection, flag))
    }

    fn reader(&self, call: &Call) -> Reader {
        match self.access.party(&call.actor.party).map(|party| party.role) {
            Some(Role::Police) => Reader::Unit,
            Some(Role::Bank | Role::PaymentIntermediary | Role::Auditor | Role::Operator) | None => Reader::Filer,
        }
    }

    fn objection_entry(&self, act: Act, call: &Call, objection: &Objection, flag: &Flag) -> Entry {
        let mut entry = self.flag_entry(act, call, flag);
        entry.resource = Some(Resource::Objection(objection.id));
        entry
    }
}

/// The flags that objections are about, each once.
fn flags_of(connection: &mut dyn Connection, objections: &[Objection]) -> Result<Vec<Flag>, StoreError> {
    let mut flags: Vec<Flag> = Vec::new();
    for objection in objections {
        if !flags.iter().any(|flag| flag.id == objection.flag) {
            flags.extend(store::flags::find(connection, objection.flag)?);
        }
    }
    Ok(flags)
}

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    /// The party that filed it.
    Filer,
    Unit,
}

#[derive(Serialize)]
struct ObjectionList<'a> {
    items: Vec<ObjectionView<'a>>,
    next_cursor: Option<ObjectionId>,
}

#[derive(Serialize)]
struct ObjectionView<'a> {
    id: ObjectionId,
    flag: FlagId,
    filed_by: &'a Actor,
    filed_at: Timestamp,
    text: &'a str,
    reference: Option<&'a str>,
    attachments: &'a [Attachment],
    deadline: Timestamp,
    overdue: bool,
    state: ObjectionState,
    version: u32,
    decided_by: Option<&'a Actor>,
    decided_at: Option<Timestamp>,
    answer: Option<&'a str>,
    remedy: Option<Remedy>,
    flag_version: Option<u32>,
}

impl<'a> ObjectionView<'a> {
    fn new(objection: &'a Objection, now: Timestamp, reader: Reader) -> Self {
        Self {
            id: objection.id,
            flag: objection.flag,
            filed_by: &objection.filed_by,
            filed_at: objection.filed_at,
            text: &objection.text,
            reference: objection.reference.as_deref(),
            attachments: &objection.attachments,
            deadline: objection.deadline,
            overdue: objection.is_overdue(now),
            state: objection.state,
            version: objection.version,
            decided_by: objection.decided_by.as_ref().filter(|_| reader == Reader::Unit),
            decided_at: objection.decided_at,
            answer: objection.answer.as_deref(),
            remedy: objection.remedy,
            flag_version: objection.flag_version,
        }
    }
}

/// An objection in a flag's history.
#[derive(Serialize)]
pub(super) struct ToldObjection<'a> {
    #[serde(flatten)]
    objection: ObjectionView<'a>,
    filed_entry: &'a LogPosition,
    decided_entry: Option<&'a LogPosition>,
}

impl<'a> ToldObjection<'a> {
    pub(super) fn new(told: &'a Told, now: Timestamp) -> Self {
        Self {
            objection: ObjectionView::new(&told.objection, now, Reader::Unit),
            filed_entry: &told.filed,
            decided_entry: told.decided.as_ref(),
        }
    }
}
