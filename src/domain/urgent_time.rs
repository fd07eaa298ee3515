//! How long urgent flags may answer for a subject before anybody has approved them: all of them together for 72 hours of 30
//! days. So they neither go on for ever without a decision, nor keep others off for longer than they have answered.

use super::flag::{Flag, FlagState};
use super::{Subject, Timestamp};

const DAY_MS: u64 = 86_400_000;
/// All together they answer for so long ...
pub(super) const URGENT_MS: u64 = 3 * DAY_MS;
/// ... of this time.
const WITHIN_MS: u64 = 30 * DAY_MS;
/// One that could answer for less is not taken.
const LEFT_MIN_MS: u64 = 60_000;

/// When urgent flags that nobody has approved answered for a subject.
pub struct UrgentTime {
    now: Timestamp,
    /// They may overlap: what answers twice at a moment counts once.
    spans: Vec<(Timestamp, Timestamp)>,
}

impl UrgentTime {
    pub fn before(now: Timestamp) -> Self {
        Self { now, spans: Vec::new() }
    }

    /// What was raised earlier had ended before the time that counts.
    pub fn raised_from(now: Timestamp) -> Timestamp {
        now.minus_ms(WITHIN_MS + URGENT_MS)
    }

    /// Adds what a version of such a flag answered for the subject until the next version was made, or until now.
    pub fn add(&mut self, subject: &Subject, version: &Flag, next: Option<&Flag>) {
        if version.state != FlagState::Active || !version.names(subject) {
            return;
        }
        let from = version.step().at.max(self.now.minus_ms(WITHIN_MS));
        let ends = [version.expires_at, next.map(|next| next.step().at)];
        let to = ends.into_iter().flatten().fold(self.now, Timestamp::min);
        if from < to {
            self.spans.push((from, to));
        }
    }

    /// When another one must end, if there is any time for it.
    pub fn end_of_next(mut self) -> Option<Timestamp> {
        self.spans.sort_unstable();
        let (mut answered_ms, mut counted_to) = (0, Timestamp::EPOCH);
        for (from, to) in self.spans {
            answered_ms += to.ms_since(from.max(counted_to));
            counted_to = counted_to.max(to);
        }
        let left_ms = URGENT_MS.saturating_sub(answered_ms);
        (left_ms >= LEFT_MIN_MS).then(|| self.now.plus_ms(left_ms))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::domain::party::{ClientId, PartyId};
    use crate::domain::{Actor, Category, FlagId, LiftCause, Proposal, Source, SourceKind, Urgency, Verdict};
    use proptest::prelude::*;

    const MINUTE_MS: u64 = 60_000;

    fn minute(number: u64) -> Timestamp {
        Timestamp::from_ms(number * MINUTE_MS)
    }

    fn officer() -> Actor {
        Actor { party: PartyId::parse("city").unwrap(), client: ClientId::parse("a1").unwrap() }
    }

    fn subject(text: &str) -> Subject {
        Subject::from_canonical(text).unwrap()
    }

    /// With a link to the subject, or as its own.
    fn urgent(is_own: bool, wanted: Option<Timestamp>, now: Timestamp) -> Flag {
        let (asked, other) = (subject("phone:+84901234567"), subject("phone:+84901234568"));
        let (own, linked) = if is_own { (asked, Vec::new()) } else { (other, vec![asked]) };
        let proposal = Proposal {
            subject: own,
            verdict: Verdict::Warn,
            category: Category::Mule,
            case: "1".to_owned(),
            reason: "x".to_owned(),
            legal_basis: None,
            expires_at: wanted,
            urgency: Urgency::Urgent,
            linked,
            source: Source { kind: SourceKind::Police, reference: None },
            unit: None,
            coordinating: Vec::new(),
        };
        Flag::propose(FlagId::mint(now, [0; 16]), proposal, officer(), now).unwrap()
    }

    /// What some flags leave to the next one.
    fn end_after(flags: &[Vec<Flag>], now: Timestamp) -> Option<Timestamp> {
        let mut time = UrgentTime::before(now);
        for versions in flags {
            for (place, version) in versions.iter().enumerate() {
                time.add(&subject("phone:+84901234567"), version, versions.get(place + 1));
            }
        }
        time.end_of_next()
    }

    #[test]
    fn what_has_answered_leaves_the_rest_and_the_first_one_all() {
        let (start, day) = (minute(100_000), 24 * 60);
        assert_eq!(end_after(&[], start), Some(start.plus_ms(URGENT_MS)));
        let first = urgent(true, None, start);
        let lifted = first.lift(officer(), "x".to_owned(), LiftCause::Ended, minute(100_000 + day)).unwrap();
        // That it was wrong may be found long after it has answered.
        let wrong = lifted.lift(officer(), "x".to_owned(), LiftCause::Wrong, minute(100_000 + 20 * day)).unwrap();
        let flags = [vec![first.clone()], vec![first.clone(), lifted, wrong]];
        assert_eq!(end_after(&flags[1..], minute(100_000 + 25 * day)), Some(minute(100_000 + 27 * day)));
        assert_eq!(end_after(&flags[1..], minute(100_000 + 31 * day)), Some(minute(100_000 + 34 * day)));
        // Two at once answer no longer than one.
        assert_eq!(end_after(&flags, minute(100_000 + 2 * day)), Some(minute(100_000 + 3 * day)));
        let nearly = minute(100_000 + 3 * day - 1);
        assert_eq!(end_after(&flags, nearly), Some(minute(100_000 + 3 * day)));
        assert_eq!(end_after(&flags, nearly.plus_ms(1)), None, "less than a minute is left");
        assert_eq!(end_after(&flags, minute(100_000 + 30 * day)), None);
    }

    proptest! {
        #[test]
        fn nobody_is_answered_for_longer_than_three_days_of_thirty_without_an_approval(
            raised in prop::collection::vec(
                (0..4_000_u64, any::<bool>(), prop::option::of(1..6_000_u64), prop::option::of(0..3_000_u64)),
                1..40,
            ),
        ) {
            let (mut now, mut flags): (u64, Vec<(Vec<Flag>, u64)>) = (60 * 24 * 60, Vec::new());
            for (pause, is_own, wanted, lifted) in raised {
                now += pause;
                let known: Vec<Vec<Flag>> = flags
                    .iter()
                    .map(|(versions, _)| versions.iter().filter(|flag| flag.step().at <= minute(now)).cloned().collect())
                    .collect();
                let Some(end) = end_after(&known, minute(now)) else { continue };
                let flag = urgent(is_own, wanted.map(|minutes| minute(now + minutes)), minute(now)).ending_by(end);
                let lift = |after| {
                    flag.lift(officer(), "x".to_owned(), LiftCause::Ended, minute(now + after)).ok().map(|flag| (flag, after))
                };
                let ends = flag.expires_at.unwrap().as_ms() / MINUTE_MS;
                match lifted.and_then(lift) {
                    Some((lifted, after)) => flags.push((vec![flag.clone(), lifted], now + after)),
                    None => flags.push((vec![flag.clone()], ends)),
                }
            }
            let mut answered = vec![0_u64; usize::try_from(now + 5 * 24 * 60).unwrap()];
            for (versions, ends) in &flags {
                let from = versions.first().unwrap().raised_at.as_ms() / MINUTE_MS;
                for moment in answered.iter_mut().take(usize::try_from(*ends).unwrap()).skip(usize::try_from(from).unwrap()) {
                    *moment = 1;
                }
            }
            let window = usize::try_from(WITHIN_MS / MINUTE_MS).unwrap();
            let mut sum: u64 = answered.iter().take(window).sum();
            for (gone, new) in answered.iter().zip(answered.iter().skip(window)) {
                sum = sum + new - gone;
                prop_assert!(sum <= URGENT_MS / MINUTE_MS, "{} minutes", sum);
            }
        }
    }
}
