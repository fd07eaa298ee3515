//! What the log's writer hands over to the builder, which then need not read from the store what has just been written there.
//! Where the builder does not keep up, or something is not told here, it reads.

use crate::domain::Made;
use std::collections::VecDeque;

/// Changes and flags in them that wait at most. Beyond that the builder is far behind, and they would only take memory.
const WAITING_MAX: usize = 8_192;

#[derive(Default)]
pub(super) struct Handed {
    changes: VecDeque<Made>,
    /// How many these are, and how many flags are in them.
    waiting: usize,
}

/// What the builder took out. It drops it when the writer no longer waits for it.
#[derive(Default)]
pub(super) struct Taken {
    /// Each follows on the one before.
    pub(super) changes: Vec<Made>,
    /// Whether the next one waits as well.
    pub(super) goes_on: bool,
    /// What had come into the view by another way.
    pub(super) covered: Vec<Made>,
}

impl Handed {
    /// Keeps those for which there is room.
    pub(super) fn put(&mut self, changes: Vec<Made>) {
        for made in changes {
            let waiting = self.waiting.saturating_add(weight(&made));
            if waiting <= WAITING_MAX {
                self.waiting = waiting;
                self.changes.push_back(made);
            }
        }
    }

    /// The changes that follow on `covered`, until `flags_min` flags are in them; none if the first of them is not here.
    pub(super) fn after(&mut self, covered: u64, flags_min: usize) -> Taken {
        let mut taken = Taken::default();
        while let Some(made) = self.take_if(|made| made.number <= covered) {
            taken.covered.push(made);
        }
        let (mut flags, mut next) = (0, covered.saturating_add(1));
        while flags < flags_min
            && let Some(made) = self.take_if(|made| follows(made, next))
        {
            next = next.saturating_add(1);
            flags += made.change.flags().count();
            taken.changes.push(made);
        }
        taken.goes_on = self.changes.front().is_some_and(|made| follows(made, next));
        taken
    }

    fn take_if(&mut self, condition: impl FnOnce(&Made) -> bool) -> Option<Made> {
        let made = self.changes.pop_front_if(|made| condition(made))?;
        self.waiting = self.waiting.saturating_sub(weight(&made));
        Some(made)
    }
}

fn follows(made: &Made, next: u64) -> bool {
    made.number == next && made.told.is_some()
}

fn weight(made: &Made) -> usize {
    1 + made.change.flags().count()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::domain::party::{ClientId, PartyId};
    use crate::domain::{
        Actor, Category, Change, Flag, FlagId, LogPosition, Proposal, Source, SourceKind, Subject, Timestamp, Urgency,
        Verdict,
    };

    fn flag() -> Flag {
        let proposal = Proposal {
            subject: Subject::from_canonical("account:970436:123456789").unwrap(),
            verdict: Verdict::Warn,
            category: Category::Mule,
            case: "C-1".to_owned(),
            reason: "test".to_owned(),
            linked: Vec::new(),
            unit: None,
            coordinating: Vec::new(),
            legal_basis: None,
            expires_at: None,
            urgency: Urgency::Normal,
            source: Source { kind: SourceKind::Police, reference: None },
        };
        let by = Actor { party: PartyId::parse("city").unwrap(), client: ClientId::parse("officer").unwrap() };
        Flag::propose(FlagId::from_bytes([1; 16]), proposal, by, Timestamp::EPOCH).unwrap()
    }

    fn made(number: u64, flags: usize) -> Made {
        let told = Some((Timestamp::EPOCH, LogPosition { node: "main".into(), index: number }));
        Made { number, change: Change::Flags(vec![flag(); flags]), told }
    }

    fn handed(changes: Vec<Made>) -> Handed {
        let mut handed = Handed::default();
        handed.put(changes);
        handed
    }

    /// The numbers of what is taken.
    fn taken(handed: &mut Handed, covered: u64, flags_min: usize) -> (Vec<u64>, bool) {
        let taken = handed.after(covered, flags_min);
        (taken.changes.iter().map(|made| made.number).collect(), taken.goes_on)
    }

    #[test]
    fn whole_changes_are_taken_in_their_order_until_there_are_enough_flags() {
        let mut handed = handed(vec![made(4, 1), made(5, 3), made(6, 0), made(7, 2), made(8, 1)]);
        assert_eq!(taken(&mut handed, 4, 3), (vec![5], true));
        assert_eq!(taken(&mut handed, 5, 3), (vec![6, 7, 8], false));
        assert_eq!(taken(&mut handed, 8, 3), (vec![], false));
        assert_eq!(handed.waiting, 0);
    }

    #[test]
    fn what_does_not_follow_is_left_to_the_store() {
        let mut handed = handed(vec![made(4, 1), made(6, 1)]);
        assert_eq!(taken(&mut handed, 2, 10), (vec![], false), "3 is missing");
        assert_eq!(taken(&mut handed, 3, 10), (vec![4], false), "5 is missing");
        assert_eq!(taken(&mut handed, 5, 10), (vec![6], false));
    }

    #[test]
    fn what_only_the_store_tells_is_left_to_it() {
        let elsewhere = Made { told: None, ..made(5, 1) };
        let mut handed = handed(vec![made(4, 1), elsewhere, made(6, 1)]);
        assert_eq!(taken(&mut handed, 3, 10), (vec![4], false));
        assert_eq!(taken(&mut handed, 4, 10), (vec![], false));
        assert_eq!(taken(&mut handed, 5, 10), (vec![6], false));
    }

    #[test]
    fn what_finds_no_room_is_left_to_the_store() {
        let mut handed = handed(vec![made(1, WAITING_MAX - 2), made(2, 1), made(3, 0)]);
        assert_eq!(handed.waiting, WAITING_MAX);
        assert_eq!(taken(&mut handed, 0, 1), (vec![1], false), "2 found no room");
        handed.put(vec![made(4, 1)]);
        assert_eq!(taken(&mut handed, 2, 10), (vec![3, 4], false));
    }

    #[test]
    fn what_is_covered_already_gives_its_room_back() {
        let mut handed = handed(vec![made(1, 10), made(2, 10), made(3, 10)]);
        let taken = handed.after(2, 1);
        let numbers = |changes: &[Made]| changes.iter().map(|made| made.number).collect::<Vec<_>>();
        assert_eq!((numbers(&taken.covered), numbers(&taken.changes), handed.waiting), (vec![1, 2], vec![3], 0));
    }
}
