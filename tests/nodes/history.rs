//! What was decided on flags and what checks saw of them, each with when it began and ended, and whether one order of
//! things explains both. It must never find a fault in what the promise allows.

use crate::FRESH_AFTER;
use std::time::Duration;

/// A subject was flagged, or was no longer.
pub struct Decision {
    pub flagged: bool,
    /// The node that has answered for it; `None`: it was done, and the answer was lost.
    pub place: Option<usize>,
    pub began: Duration,
    pub ended: Duration,
}

/// A check that was answered.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub place: usize,
    pub flagged: bool,
    pub version: u64,
    pub began: Duration,
    pub ended: Duration,
}

/// Of one subject, that nobody had flagged before.
#[derive(Default)]
pub struct History {
    /// One began after the other had ended, and said otherwise.
    pub decisions: Vec<Decision>,
    pub looks: Vec<Look>,
}

impl Decision {
    /// Whether a check that begins then on this node must know it.
    fn is_known(&self, place: usize, at: Duration) -> bool {
        let after = if self.place == Some(place) { Duration::ZERO } else { FRESH_AFTER };
        self.ended + after < at
    }
}

impl History {
    /// The checks whose answers no order of things explains.
    pub fn faults(&self) -> Vec<Look> {
        self.looks.iter().filter(|look| !self.explains(look)).copied().collect()
    }

    fn explains(&self, look: &Look) -> bool {
        let known = self.decisions.iter().filter(|decision| decision.is_known(look.place, look.began)).count();
        let begun = self.decisions.iter().filter(|decision| decision.began <= look.ended).count();
        // After so many decisions as it must know, up to as many as it can know.
        (known..=begun)
            .any(|count| count.checked_sub(1).is_some_and(|last| self.decisions[last].flagged) == look.flagged)
    }
}

/// The checks that name an older list than one before them: of the same node, or of any node a while before.
pub fn went_back(looks: &[Look]) -> Vec<(Look, Look)> {
    let mut by_end: Vec<&Look> = looks.iter().collect();
    by_end.sort_by_key(|look| look.ended);
    let mut by_beginning = by_end.clone();
    by_beginning.sort_by_key(|look| look.began);
    let places = looks.iter().map(|look| look.place + 1).max().unwrap_or_default();
    let mut found = Vec::new();
    for place in 0..places {
        for (from, after) in [(Some(place), Duration::ZERO), (None, FRESH_AFTER)] {
            let mut before = by_end.iter().filter(|look| from.is_none_or(|from| from == look.place)).peekable();
            let mut newest: Option<&Look> = None;
            for look in by_beginning.iter().filter(|look| look.place == place) {
                while let Some(earlier) = before.next_if(|earlier| earlier.ended + after < look.began) {
                    if newest.is_none_or(|newest| newest.version < earlier.version) {
                        newest = Some(earlier);
                    }
                }
                if let Some(newest) = newest.filter(|newest| newest.version > look.version) {
                    found.push((*newest, **look));
                }
            }
        }
    }
    found
}

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn look(place: usize, flagged: bool, version: u64, began: u64, ended: u64) -> Look {
    Look { place, flagged, version, began: at(began), ended: at(ended) }
}

/// Approved on node 0 from 100 to 200, lifted from 3000 to 3100 by a node of which no answer came.
fn history(look: Look) -> History {
    let decision = |flagged, place, began, ended| Decision { flagged, place, began: at(began), ended: at(ended) };
    let decisions = vec![decision(true, Some(0), 100, 200), decision(false, None, 3000, 3100)];
    History { decisions, looks: vec![look] }
}

#[test]
fn what_nobody_can_have_seen_is_a_fault() {
    for wrong in [
        look(0, true, 1, 0, 99),
        look(0, false, 1, 201, 300),
        look(1, false, 1, 1201, 1300),
        look(1, false, 1, 2000, 2999),
        look(0, true, 1, 4101, 4200),
        look(1, true, 1, 4101, 4200),
    ] {
        assert_eq!(history(wrong).faults().len(), 1, "{wrong:?}");
    }
}

#[test]
fn what_was_decided_meanwhile_or_a_moment_ago_may_be_seen_or_not() {
    for place in [0, 1] {
        for flagged in [true, false] {
            for (began, ended) in [(0, 100), (150, 180), (199, 5000), (2000, 3000), (3050, 3060), (4099, 4200)] {
                let seen = look(place, flagged, 1, began, ended);
                assert!(history(seen).faults().is_empty(), "{seen:?}");
            }
        }
    }
    assert!(history(look(1, false, 1, 1200, 1300)).faults().is_empty());
}

#[test]
fn a_list_that_goes_back_is_a_fault() {
    let first = look(0, true, 7, 0, 10);
    assert_eq!(went_back(&[first, look(0, true, 6, 11, 20)]).len(), 1);
    assert_eq!(went_back(&[first, look(1, true, 6, 1011, 1020)]).len(), 1);
    assert!(
        went_back(&[first, look(0, true, 6, 5, 20), look(1, true, 6, 1010, 1020), look(0, true, 7, 11, 12)]).is_empty()
    );
}
