//! Counting what of the flags of each unit needs care, for a summary: the same as `cleaning` finds one by one.

use super::Reader;
use super::cleaning::{Live, Moments, Seen, live, read_id, read_unit, seen};
use crate::domain::party::PartyId;
use crate::domain::{Category, Directory, Timestamp};
use crate::store::{Connection, StoreError, Value};
use std::collections::{HashMap, HashSet};

/// From which moments on a summary counts.
#[derive(Clone, Copy)]
pub struct Counting {
    pub stale: Moments,
    /// What was proposed before waits for too long.
    pub proposed: Timestamp,
    /// What ended after this has ended lately.
    pub ended: Timestamp,
}

/// How many flags of a unit are, or lack, something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub proposed: u64,
    pub active: u64,
    pub waiting: u64,
    pub not_reviewed: u64,
    pub expiring: u64,
    pub expired: u64,
    pub without_legal_basis: u64,
    pub without_case: u64,
}

/// How the list stands: flags of a unit and category in one state (expiry is not told by it).
pub struct Standing {
    pub unit: String,
    pub category: Category,
    pub state: String,
    pub flags: u64,
    /// Those of them whose end has come.
    pub ended: u64,
}

impl Reader {
    /// The flags by unit, category and state at a moment.
    pub fn standing(&mut self, now: Timestamp) -> Result<Vec<Standing>, StoreError> {
        let mut found = Vec::new();
        self.0.query(
            "SELECT unit, category, state, COUNT(*), SUM(CASE WHEN expires_at <= $1 THEN 1 ELSE 0 END) \
             FROM flag INDEXED BY flag_by_unit GROUP BY unit, category, state ORDER BY unit, category, state",
            &[Value::count(now.as_ms())?],
            &mut |row| {
                let category = Category::parse(row.text(1)?).ok_or(StoreError::Corrupt("an unknown category"))?;
                let (unit, state) = (row.text(0)?.to_owned(), row.text(2)?.to_owned());
                found.push(Standing { unit, category, state, flags: row.count(3)?, ended: row.count(4)? });
                Ok(())
            },
        )?;
        Ok(found)
    }

    /// Of the flags that each unit owns; a unit without any is not there.
    pub fn counts(&mut self, seen: &Seen, from: Counting) -> Result<HashMap<PartyId, Counts>, StoreError> {
        let mut found = HashMap::new();
        self.0.query(
            concat!(
                "SELECT unit, SUM(state = 'proposed'), SUM(state = 'active' AND expires_at > $1), \
                 SUM(state = 'proposed' AND raised_at < $2), \
                 SUM(state = 'active' AND expires_at > $1 AND reviewed_at < $3), \
                 SUM(state = 'active' AND expires_at > $1 AND expires_at <= $4), \
                 SUM(state = 'active' AND expires_at <= $1 AND expires_at > $5), SUM(lacks IN (1, 3) AND ",
                live!("$1"),
                "), SUM(lacks >= 2 AND ",
                live!("$1"),
                ") FROM flag INDEXED BY flag_by_unit WHERE unit IN (SELECT value FROM json_each($6)) GROUP BY unit"
            ),
            &[
                seen.at()?,
                Value::count(from.proposed.as_ms())?,
                Value::count(from.stale.reviewed.as_ms())?,
                Value::count(from.stale.ends.as_ms())?,
                Value::count(from.ended.as_ms())?,
                Value::Text(&seen.units),
            ],
            &mut |row| {
                let counts = Counts {
                    proposed: row.count(1)?,
                    active: row.count(2)?,
                    waiting: row.count(3)?,
                    not_reviewed: row.count(4)?,
                    expiring: row.count(5)?,
                    expired: row.count(6)?,
                    without_legal_basis: row.count(7)?,
                    without_case: row.count(8)?,
                };
                found.insert(read_unit(row, 0)?, counts);
                Ok(())
            },
        )?;
        Ok(found)
    }

    /// All live and seen flags whose own subject others have too, subject by subject.
    pub fn each_crowd(&mut self, seen: &Seen, each: &mut dyn FnMut(&[Live])) -> Result<(), StoreError> {
        let (mut subject, mut crowd) = (String::new(), Vec::new());
        self.0.query(
            concat!(
                "SELECT flag_subject.subject, flag.id, flag.unit, flag.case_key FROM crowd \
                 CROSS JOIN flag_subject ON flag_subject.subject = crowd.subject AND flag_subject.role = 'own' \
                 CROSS JOIN flag ON flag.place = flag_subject.place WHERE ",
                live!("$1"),
                " AND ",
                seen!("$2"),
                " ORDER BY crowd.subject"
            ),
            &[seen.at()?, Value::Text(&seen.units)],
            &mut |row| {
                if subject != row.text(0)? {
                    each(&crowd);
                    crowd.clear();
                    subject = row.text(0)?.to_owned();
                }
                let (id, unit, case) = (read_id(row, 1)?, read_unit(row, 2)?, row.text(3)?.to_owned());
                crowd.push(Live { id, unit, case });
                Ok(())
            },
        )?;
        each(&crowd);
        Ok(())
    }

    /// How many live flags of each unit, of those that are seen, name a subject to which the directory does not lead.
    pub fn counts_not_led_to(
        &mut self,
        seen: &Seen,
        directory: &Directory,
    ) -> Result<HashMap<PartyId, u64>, StoreError> {
        let (mut places, mut found) = (HashSet::new(), HashMap::new());
        self.each_not_led_to(seen, directory, &mut |lost| {
            if places.insert(lost.place) {
                *found.entry(lost.unit).or_default() += 1;
            }
        })?;
        Ok(found)
    }
}
