//! What of the list needs care: near-duplicates, stale flags, subjects that nothing leads to. The officers' view names
//! candidates, and each is read from the store and looked at once more before it is shown.

use super::flag_view::FlagView;
use super::flags::invalid;
use super::{Answered, Call, Error, Registry, render};
use crate::domain::party::PartyId;
use crate::domain::{Alike, Directory, Flag, FlagId, FlagState, Stale, Subject, Timestamp};
use crate::log::{Act, EntrySubject, FlagVersion};
use crate::register::Register;
use crate::store::sqlite::register::{Budget, Effort, Live, Moments, Reader, Seen};
use crate::store::{self, Store, StoreError};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;

/// Subjects that are looked at between two looks at the clock.
const CROWDED_AT_ONCE: u32 = 100;
/// Flags of one subject that are shown, the oldest.
const ALIKE_SHOWN_MAX: usize = 10;
pub(super) const DAY_MS: u64 = 86_400_000;

/// A page of a list that goes on from a place.
#[derive(Clone, Copy, Debug)]
pub struct CarePage {
    pub from: Option<u64>,
    pub limit: u32,
}

/// After how many days a flag is stale.
#[derive(Clone, Copy, Debug)]
pub struct StaleAfter {
    pub not_reviewed_days: u32,
    pub expiring_days: u32,
}

impl StaleAfter {
    pub(super) fn moments(self, now: Timestamp) -> Moments {
        Moments {
            reviewed: now.minus_ms(u64::from(self.not_reviewed_days) * DAY_MS),
            ends: now.plus_ms(u64::from(self.expiring_days) * DAY_MS),
        }
    }
}

impl Registry {
    /// Groups of flags of one subject that may be merged, in an order of their own.
    pub async fn list_duplicates(&self, call: &Call, page: CarePage) -> Result<Answered, Error> {
        let listed = self.care(call, move |care| care.duplicates(page)).await?;
        let body = render(&listed.shown(|group: &Group, now| GroupView::new(group, now), call.at))?;
        let mut entry = self.entry(Act::FlagList, call);
        let versions =
            |flags: &[Flag]| flags.iter().map(|flag| FlagVersion { id: flag.id, version: flag.version }).collect();
        entry.subjects = listed
            .items
            .iter()
            .map(|group| EntrySubject {
                hash: self.index.hash(&group.subject),
                verdict: None,
                flags: versions(&group.flags),
            })
            .collect();
        entry.reference = Some("duplicates".to_owned());
        self.answer_reading(entry, body).await
    }

    /// Active flags that nobody has reviewed for long or that end soon, the newest first.
    pub async fn list_stale(&self, call: &Call, after: StaleAfter, page: CarePage) -> Result<Answered, Error> {
        let listed = self.care(call, move |care| care.stale(after, page)).await?;
        let body = render(&listed.shown(|stale: &StaleFound, now| StaleView::new(stale, now), call.at))?;
        let mut entry = self.entry(Act::FlagList, call);
        entry.subjects = listed.items.iter().map(|stale| self.entry_subject(&stale.flag)).collect();
        let StaleAfter { not_reviewed_days, expiring_days } = after;
        entry.reference = Some(format!("stale not_reviewed_days={not_reviewed_days} expiring_days={expiring_days}"));
        self.answer_reading(entry, body).await
    }

    /// Proposed and active flags that name a subject to which the directories of today do not lead, the newest first.
    pub async fn list_unparsable(&self, call: &Call, page: CarePage) -> Result<Answered, Error> {
        let listed = self.care(call, move |care| care.unparsable(page)).await?;
        let body = render(&listed.shown(|found: &NotLedTo, now| NotLedToView::new(found, now), call.at))?;
        let mut entry = self.entry(Act::FlagList, call);
        entry.subjects = listed.items.iter().map(|found| self.entry_subject(&found.flag)).collect();
        entry.reference = Some("unparsable".to_owned());
        self.answer_reading(entry, body).await
    }

    /// Looks on a thread where waiting harms nobody.
    pub(super) async fn care<T: Send + 'static>(
        &self,
        call: &Call,
        look: impl FnOnce(&Care) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let care = Care {
            store: Arc::clone(&self.store),
            register: Arc::clone(&self.register),
            version: self.index.list_version(),
            directory: self.directory.load_full(),
            seen_by: self.access.units_below(&call.actor.party),
            at: call.at,
        };
        let found = tokio::task::spawn_blocking(move || look(&care)).await;
        found.map_err(|_| Error::Internal("a reader stopped".to_owned()))?
    }
}

/// What a look needs.
pub(super) struct Care {
    pub(super) store: Arc<dyn Store>,
    register: Arc<Register>,
    /// Changes up to this number must not be missed.
    version: u64,
    pub(super) directory: Arc<Directory>,
    pub(super) seen_by: Vec<PartyId>,
    pub(super) at: Timestamp,
}

/// A page of what was found.
struct Listed<T> {
    items: Vec<T>,
    /// From which place to go on.
    next: Option<u64>,
    covered: Covering,
}

/// How far the view had come.
#[derive(Clone, Copy)]
pub(super) struct Covering {
    pub(super) list_version: u64,
    pub(super) up_to_date: bool,
}

struct Group {
    place: u64,
    subject: Subject,
    why: Vec<Alike>,
    count: usize,
    flags: Vec<Flag>,
}

struct StaleFound {
    flag: Flag,
    reviewed_at: Timestamp,
    why: Vec<Stale>,
}

struct NotLedTo {
    flag: Flag,
    /// JSON Pointers into the flag.
    pointers: Vec<String>,
}

impl Care {
    /// Reads the view, in one state of it.
    pub(super) fn view<T>(
        &self,
        look: impl FnOnce(&mut Reader, &Seen) -> Result<T, StoreError>,
    ) -> Result<(T, Covering), Error> {
        let seen = Seen::by(&self.seen_by, self.at)?;
        let found = self.register.read(self.version, |reader| Ok((look(reader, &seen)?, reader.covered()?.change)));
        let (found, list_version) = found.map_err(|error| {
            tracing::error!(%error, "the officers' view cannot be read");
            Error::Unavailable("Flags cannot be searched for a moment.")
        })?;
        Ok((found, Covering { list_version, up_to_date: list_version >= self.version }))
    }

    /// The newest versions of those that are still seen and live.
    fn flags(&self, ids: impl IntoIterator<Item = FlagId>) -> Result<Vec<Flag>, Error> {
        let ids: Vec<FlagId> = ids.into_iter().collect();
        let mut flags = self.store.find(|connection| {
            let mut found = Vec::new();
            for id in &ids {
                found.extend(store::flags::find(connection, *id)?);
            }
            Ok(found)
        })?;
        flags.retain(|flag| self.is_seen(flag) && is_live(flag, self.at));
        Ok(flags)
    }

    fn is_seen(&self, flag: &Flag) -> bool {
        std::iter::once(flag.unit()).chain(&flag.coordinating).any(|unit| self.seen_by.contains(unit))
    }

    fn duplicates(&self, page: CarePage) -> Result<Listed<Group>, Error> {
        let (mut after, budget) = (self.subject_at(page.from)?, Budget::of(Effort::default()));
        let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
        let (mut items, mut covered) = (Vec::<Group>::new(), None);
        loop {
            let (crowds, covering) = self.view(|reader, seen| crowds(reader, seen, &after))?;
            let covered = *covered.get_or_insert(covering);
            let is_last = crowds.len() < usize::try_from(CROWDED_AT_ONCE).unwrap_or(usize::MAX);
            let last = crowds.last().map(|(crowd, _)| (crowd.subject.clone(), crowd.place));
            for (crowd, live) in crowds {
                let group = self.group(&crowd.subject, crowd.place, &live)?;
                if group.is_some() && items.len() == limit {
                    // One more than is shown tells that there is more.
                    return Ok(Listed { next: items.last().map(|group| group.place), items, covered });
                }
                items.extend(group);
            }
            match last {
                Some((subject, _)) if !is_last && !budget.is_spent() => after = subject,
                last => {
                    let next = last.filter(|_| !is_last).map(|(_, place)| place);
                    return Ok(Listed { items, next, covered });
                }
            }
        }
    }

    /// The canonical text of the subject after which a page begins.
    fn subject_at(&self, place: Option<u64>) -> Result<String, Error> {
        let Some(place) = place else { return Ok(String::new()) };
        let (id, _) = self.view(|reader, _| reader.id_at(place))?;
        let id = id.ok_or_else(|| invalid("/cursor", "expected a next_cursor of this list"))?;
        let flag = self.store.find(|connection| store::flags::find(connection, id))?.ok_or(Error::NotFound)?;
        Ok(flag.subject.canonical())
    }

    fn group(&self, subject: &str, place: u64, live: &[Live]) -> Result<Option<Group>, Error> {
        let why = alike(live);
        if why.is_empty() {
            return Ok(None);
        }
        let flags = self.flags(live.iter().take(ALIKE_SHOWN_MAX).map(|live| live.id))?;
        let subject = Subject::from_canonical(subject).ok_or(StoreError::Corrupt("a subject that is none"))?;
        let group = Group { place, subject, why, count: live.len(), flags };
        // What ended meanwhile is no other's duplicate.
        Ok(Some(group).filter(|group| group.flags.len() > 1))
    }

    fn stale(&self, after: StaleAfter, page: CarePage) -> Result<Listed<StaleFound>, Error> {
        let moments = after.moments(self.at);
        let (mut stale, covered) =
            self.view(|reader, seen| reader.stale(seen, moments, page.from, page.limit.saturating_add(1)))?;
        let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
        let is_full = stale.len() > limit;
        stale.truncate(limit);
        let next = stale.last().filter(|_| is_full).map(|last| last.place);
        let reviewed: HashMap<FlagId, Timestamp> = stale.iter().map(|found| (found.id, found.reviewed_at)).collect();
        let flags = self.flags(stale.iter().map(|found| found.id))?.into_iter();
        let items = flags.filter(|flag| flag.state == FlagState::Active).filter_map(|flag| {
            let reviewed_at = *reviewed.get(&flag.id)?;
            let not_reviewed = (reviewed_at < moments.reviewed).then_some(Stale::NotReviewed);
            let expiring = flag.expires_at.filter(|end| *end <= moments.ends).map(|_| Stale::Expiring);
            let why: Vec<Stale> = not_reviewed.into_iter().chain(expiring).collect();
            Some(StaleFound { flag, reviewed_at, why }).filter(|found| !found.why.is_empty())
        });
        Ok(Listed { items: items.collect(), next, covered })
    }

    fn unparsable(&self, page: CarePage) -> Result<Listed<NotLedTo>, Error> {
        let (candidates, covered) = self.view(|reader, seen| reader.not_led_to(seen, &self.directory, page.from))?;
        let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
        let is_full = candidates.found.len() > limit;
        let shown = || candidates.found.iter().take(limit);
        let next = if is_full { shown().next_back().map(|(place, _)| *place) } else { candidates.cut_at };
        let items = self.flags(shown().map(|(_, id)| *id))?.into_iter().map(|flag| self.not_led_to(flag));
        let items = items.filter(|found| !found.pointers.is_empty()).collect();
        Ok(Listed { items, next, covered })
    }

    fn not_led_to(&self, flag: Flag) -> NotLedTo {
        let own = (!self.directory.leads_to(&flag.subject)).then(|| "/subject".to_owned());
        let linked = flag.linked.iter().enumerate().filter(|(_, linked)| !self.directory.leads_to(linked));
        let linked = linked.map(|(place, _)| format!("/linked/{place}"));
        NotLedTo { pointers: own.into_iter().chain(linked).collect(), flag }
    }
}

type Crowd = (store::sqlite::register::Crowded, Vec<Live>);

fn crowds(reader: &mut Reader, seen: &Seen, after: &str) -> Result<Vec<Crowd>, StoreError> {
    let mut found = Vec::new();
    for crowded in reader.crowded(after, CROWDED_AT_ONCE)? {
        let live = reader.of_subject(&crowded.subject, seen)?;
        found.push((crowded, live));
    }
    Ok(found)
}

pub(super) fn alike(live: &[Live]) -> Vec<Alike> {
    Alike::of(live.iter().map(|live| (&live.unit, live.case.as_str())))
}

fn is_live(flag: &Flag, now: Timestamp) -> bool {
    match flag.state_at(now) {
        FlagState::Proposed | FlagState::Active => true,
        FlagState::Rejected | FlagState::Lifted | FlagState::Expired => false,
    }
}

#[derive(Serialize)]
struct CareList<V> {
    items: Vec<V>,
    next_cursor: Option<String>,
    list_version: u64,
    up_to_date: bool,
}

impl<T> Listed<T> {
    fn shown<'a, V>(&'a self, show: impl Fn(&'a T, Timestamp) -> V, now: Timestamp) -> CareList<V> {
        CareList {
            items: self.items.iter().map(|item| show(item, now)).collect(),
            next_cursor: self.next.map(|place| place.to_string()),
            list_version: self.covered.list_version,
            up_to_date: self.covered.up_to_date,
        }
    }
}

#[derive(Serialize)]
struct GroupView<'a> {
    subject: &'a Subject,
    why: &'a [Alike],
    count: usize,
    flags: Vec<FlagView<'a>>,
}

impl<'a> GroupView<'a> {
    fn new(group: &'a Group, now: Timestamp) -> Self {
        let flags = group.flags.iter().map(|flag| FlagView::new(flag, now)).collect();
        Self { subject: &group.subject, why: &group.why, count: group.count, flags }
    }
}

#[derive(Serialize)]
struct StaleView<'a> {
    why: &'a [Stale],
    reviewed_at: Timestamp,
    flag: FlagView<'a>,
}

impl<'a> StaleView<'a> {
    fn new(found: &'a StaleFound, now: Timestamp) -> Self {
        Self { why: &found.why, reviewed_at: found.reviewed_at, flag: FlagView::new(&found.flag, now) }
    }
}

#[derive(Serialize)]
struct NotLedToView<'a> {
    pointers: &'a [String],
    flag: FlagView<'a>,
}

impl<'a> NotLedToView<'a> {
    fn new(found: &'a NotLedTo, now: Timestamp) -> Self {
        Self { pointers: &found.pointers, flag: FlagView::new(&found.flag, now) }
    }
}
