//! Statistics: figures of the logs of all nodes and of the list, and the periodic report that is made of them. They tell no
//! subject, and a unit no more than it may see.

mod figures;
mod render;
mod report;
mod tables;

pub use figures::By;
pub use report::ReportForm;

use super::audit::blocking;
use super::{Answered, Call, Error, Registry, render as to_json};
use crate::domain::party::{PartyId, Role};
use crate::domain::{Category, Day, Days, LogPositions, Timestamp};
use crate::log::{Act, Read};
use crate::store;
use figures::{Figures, Sight, Standing, Summing};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Figures of some days.
struct Summed {
    summing: Summing,
    counted_from: LogPositions,
    counted_up_to: LogPositions,
}

/// How the list stands, by unit and by category.
#[derive(Default)]
struct Stand {
    total: Standing,
    by_unit: BTreeMap<String, Standing>,
    by_category: BTreeMap<Category, Standing>,
}

impl Registry {
    pub async fn read_statistics(&self, call: &Call, days: Days, by: Option<By>) -> Result<Answered, Error> {
        let sight = self.sight(call);
        let summed = self.sum(days, &sight, by.into_iter().collect()).await?;
        let stand = self.stand(call.at, sight).await?;
        let items = summed.summing.items.iter().flat_map(|(by, items)| items.iter().map(|item| (*by, item)));
        let items =
            items.map(|(by, (key, figures))| Item { key, name: self.name(by, key), figures, now: stand.of(by, key) });
        let body = to_json(&Statistics {
            from: days.from(),
            to: days.to(),
            by: by.map(By::as_str),
            items: items.collect(),
            total: &summed.summing.total,
            now: &stand.total,
            counted_from: &summed.counted_from,
            counted_up_to: &summed.counted_up_to,
            made_at: call.at,
        })?;
        let mut entry = self.entry(Act::StatisticsRead, call);
        let by = by.map_or_else(String::new, |by| format!("&by={}", by.as_str()));
        entry.reference = Some(format!("from={}&to={}{by}", days.from(), days.to()));
        self.answer_reading(entry, body).await
    }

    fn sight(&self, call: &Call) -> Sight {
        let own = &call.actor.party;
        match self.access.party(own).map(|party| (party.role, party.parent.is_some())) {
            Some((Role::Police, has_parent)) => {
                let units = self.access.units_below(own).into_iter().collect();
                if has_parent { Sight::Branch(units) } else { Sight::Root(units) }
            }
            Some((Role::Auditor | Role::Operator, _)) => Sight::Everything,
            // Neither may hold the scopes; were it otherwise, they would see nothing.
            Some((Role::Bank | Role::PaymentIntermediary, _)) | None => Sight::Branch([].into()),
        }
    }

    async fn sum(&self, days: Days, sight: &Sight, by: Vec<By>) -> Result<Summed, Error> {
        let _turn = self.turn().await?;
        let (store, reader, sight) = (Arc::clone(&self.store), self.tallies.reader(), sight.clone());
        let work = move || {
            let mut found = None;
            store.read(&mut |connection| {
                let mut summing = Summing::new(sight.clone(), &by);
                let read = reader.read(connection, days, &mut |key, amount| summing.add(key, amount))?;
                found = Some((summing, read));
                Ok(())
            })?;
            found.ok_or(store::StoreError::Corrupt("no reader ran"))
        };
        match blocking(work).await?? {
            (summing, Read::Whole { from, to }) => Ok(Summed { summing, counted_from: from, counted_up_to: to }),
            (_, Read::Behind(entries)) => {
                tracing::info!(entries, "statistics were asked for before they are counted");
                Err(Error::Unavailable("The log is not counted yet; this takes a while after an update."))
            }
        }
    }

    async fn stand(&self, now: Timestamp, sight: Sight) -> Result<Stand, Error> {
        let _turn = self.turn().await?;
        let (register, version) = (Arc::clone(&self.register), self.index.list_version());
        let flags = blocking(move || register.read(version, |reader| reader.standing(now))).await?;
        let flags = flags.map_err(|error| {
            tracing::error!(%error, "the officers' view cannot be read");
            Error::Unavailable("Flags cannot be counted for a moment.")
        })?;
        let objections = self.read(move |connection| store::tally::open_objections(connection, now.as_ms())).await?;
        let mut stand = Stand::default();
        for row in flags {
            let mut standing = Standing::default();
            match row.state.as_str() {
                "active" => {
                    standing.flags_active = row.flags.saturating_sub(row.ended);
                    standing.flags_expired = row.ended;
                }
                "proposed" => standing.flags_proposed = row.flags,
                _ => continue,
            }
            stand.add(&sight, &row.unit, row.category, &standing);
        }
        for (unit, category, objections_open, objections_overdue) in objections {
            let standing = Standing { objections_open, objections_overdue, ..Standing::default() };
            stand.add(&sight, &unit, category, &standing);
        }
        Ok(stand)
    }

    /// As people write it; nothing but parties has names.
    fn name(&self, by: By, key: &str) -> Option<String> {
        match by {
            By::Unit | By::Party => self.access.party(&PartyId::parse(key)?).map(|party| party.name.clone()),
            By::Category | By::Verdict | By::Outcome | By::Day | By::Month => None,
        }
    }
}

impl Stand {
    fn add(&mut self, sight: &Sight, unit: &str, category: Category, standing: &Standing) {
        if sight.sees_unit(PartyId::parse(unit).as_ref()) {
            self.total.add(standing);
            self.by_unit.entry(unit.to_owned()).or_default().add(standing);
            self.by_category.entry(category).or_default().add(standing);
        }
    }

    /// `None` for what the list is not kept by.
    fn of(&self, by: By, key: &str) -> Option<Standing> {
        match by {
            By::Unit => Some(self.by_unit.get(key).cloned().unwrap_or_default()),
            By::Category => {
                Some(Category::parse(key).and_then(|key| self.by_category.get(&key)).cloned().unwrap_or_default())
            }
            By::Party | By::Verdict | By::Outcome | By::Day | By::Month => None,
        }
    }
}

#[derive(Serialize)]
struct Statistics<'a> {
    from: Day,
    to: Day,
    by: Option<&'static str>,
    items: Vec<Item<'a>>,
    total: &'a Figures,
    now: &'a Standing,
    counted_from: &'a LogPositions,
    counted_up_to: &'a LogPositions,
    made_at: Timestamp,
}

#[derive(Serialize)]
struct Item<'a> {
    key: &'a str,
    name: Option<String>,
    #[serde(flatten)]
    figures: &'a Figures,
    now: Option<Standing>,
}
