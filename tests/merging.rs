//! Merging flags: whatever is merged into whatever, nobody is answered less or more because of it, now or later, and
//! nothing comes into force that nobody has approved.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use canhbao::domain::party::{ClientId, PartyId};
use canhbao::domain::{
    Actor, Category, Changes, ClosingCause, Flag, FlagId, FlagState, LINKED_MAX, LegalBasis, LiftCause, MergeFault,
    Merging, Place, Proposal, Source, SourceKind, Subject, Timestamp, Urgency, Verdict,
};
use proptest::prelude::*;

const HOUR_MS: u64 = 3_600_000;

/// How a flag came to be what it is when it is merged.
#[derive(Clone, Debug)]
struct Made {
    verdict: Verdict,
    urgent: bool,
    links: Vec<u8>,
    by: u8,
    approved: bool,
    renewed_hours: Option<u64>,
    amended: Option<Verdict>,
}

fn actor(number: u8) -> Actor {
    let client = ClientId::parse(&format!("officer-{number}")).unwrap();
    Actor { party: PartyId::parse(&format!("ward-{number}")).unwrap(), client }
}

fn subject(number: u8) -> Subject {
    Subject::from_canonical(&format!("account:970436:1000{number:03}")).unwrap()
}

fn proposal(verdict: Verdict, urgent: bool, links: &[u8]) -> Proposal {
    let urgency = if urgent && verdict != Verdict::Block { Urgency::Urgent } else { Urgency::Normal };
    let legal_basis =
        LegalBasis { document: "1".to_owned(), issued_on: "2026-01-01".to_owned(), authority: "x".to_owned() };
    Proposal {
        subject: subject(0),
        verdict,
        category: Category::Mule,
        case: "HN-1".to_owned(),
        reason: "x".to_owned(),
        legal_basis: Some(legal_basis),
        expires_at: None,
        urgency,
        linked: links.iter().copied().map(subject).collect(),
        source: Source { kind: SourceKind::Police, reference: None },
        unit: None,
        coordinating: Vec::new(),
    }
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    prop::sample::select(vec![Verdict::Warn, Verdict::Hold, Verdict::Block])
}

fn any_made() -> impl Strategy<Value = Made> {
    let links = prop::collection::btree_set(1..4_u8, 0..3).prop_map(|set| set.into_iter().collect());
    let renewed = prop::option::of(1..9_000_u64);
    let amended = prop_oneof![9 => Just(None), 1 => any_verdict().prop_map(Some)];
    let urgent = prop::bool::weighted(0.2);
    (any_verdict(), urgent, links, 0..3_u8, prop::bool::weighted(0.8), renewed, amended).prop_map(
        |(verdict, urgent, links, by, approved, renewed_hours, amended)| Made {
            verdict,
            urgent,
            links,
            by,
            approved,
            renewed_hours,
            amended,
        },
    )
}

fn flag(id: u8, made: &Made, now: Timestamp) -> Flag {
    let id = FlagId::from_bytes([id; 16]);
    let mut flag = Flag::propose(id, proposal(made.verdict, made.urgent, &made.links), actor(made.by), now).unwrap();
    if made.approved {
        flag = flag.approve(actor(9), now).unwrap();
    }
    if let Some(hours) = made.renewed_hours
        && let Ok(renewed) = flag.renew(&actor(made.by), Some(now.plus_ms(hours * HOUR_MS)), "x".to_owned(), now)
    {
        flag = renewed;
    }
    let changes = Changes { verdict: made.amended, ..Changes::default() };
    flag.amend(actor(made.by), changes, "x".to_owned(), now).unwrap_or(flag)
}

/// What a check of the subject is answered at a moment, as the test thinks of it.
fn answer<'f>(flags: impl IntoIterator<Item = &'f Flag>, about: &Subject, at: Timestamp) -> Verdict {
    let in_force = flags.into_iter().filter(|flag| flag.state_at(at) == FlagState::Active);
    let says = |flag: &Flag| {
        if flag.subject == *about {
            flag.verdict
        } else if flag.linked.contains(about) {
            flag.verdict.by_link()
        } else {
            Verdict::Clear
        }
    };
    in_force.map(says).max().unwrap_or(Verdict::Clear)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]
    #[test]
    fn nobody_is_answered_otherwise_because_of_a_merging(
        made in prop::collection::vec(any_made(), 2..5),
        hours in 0..200_u64,
        by in 0..4_u8,
    ) {
        let raised_at = Timestamp::from_ms(1_000_000);
        let now = raised_at.plus_ms(hours * HOUR_MS);
        let flags: Vec<Flag> = (1_u8..).zip(&made).map(|(id, made)| flag(id, made, raised_at)).collect();
        let Ok(Merging { kept, ended }) = flags[0].merge(&flags[1..], &actor(by), "the same", now) else {
            return Ok(());
        };
        let after: Vec<&Flag> = std::iter::once(&kept).chain(&ended).collect();
        prop_assert_eq!(after.len(), flags.len());
        for about in (0..5).map(subject) {
            prop_assert_eq!(answer(after.iter().copied(), &about, now), answer(&flags, &about, now));
            for later in (0..30_000).step_by(700).map(|hours| now.plus_ms(hours * HOUR_MS)) {
                let (new, old) = (answer(after.iter().copied(), &about, later), answer(&flags, &about, later));
                prop_assert!(new >= old, "less than without the merging");
                // A link lasts as long as the flag that has it, as after a renewal.
                prop_assert!(new == old || about != subject(0), "more than without the merging");
            }
        }
        prop_assert_eq!(kept.state, flags[0].state);
        prop_assert_eq!((kept.verdict, kept.expires_at), (flags[0].verdict, flags[0].expires_at));
        prop_assert_eq!(kept.version, flags[0].version + 1);
        for (ended, before) in ended.iter().zip(&flags[1..]) {
            prop_assert_eq!((ended.id, ended.version), (before.id, before.version + 1));
            prop_assert_eq!((ended.state, ended.closing_cause), (FlagState::Lifted, Some(ClosingCause::Merged)));
            prop_assert_eq!(ended.merged_into, Some(kept.id));
            prop_assert!(kept.merged.contains(&ended.id) && !ended.must_be_corrected() && ended.listed().is_none());
            let owner = ended.unit();
            prop_assert!(kept.unit() == owner || kept.coordinating.contains(owner), "an owner that no longer sees it");
        }
        if kept.state == FlagState::Active {
            let agreed = |flag: &&Flag| flag.approved_by.is_some();
            let linked = |link: &&Subject| flags.iter().filter(agreed).any(|flag| flag.linked.contains(link));
            prop_assert_eq!(kept.linked.iter().find(|link| !flags[0].linked.contains(link) && !linked(link)), None);
        } else {
            for flag in &flags {
                prop_assert!(kept.approve(flag.raised_by.clone(), now).is_err(), "approved by one of its raisers");
            }
        }
    }
}

fn made(verdict: Verdict) -> Made {
    Made { verdict, urgent: false, links: vec![], by: 0, approved: true, renewed_hours: None, amended: None }
}

fn fault(kept: &Made, other: &Made) -> Option<(Place, MergeFault)> {
    let now = Timestamp::from_ms(1_000_000);
    let (kept, other) = (flag(1, kept, now), flag(2, other, now));
    kept.merge(&[other], &actor(3), "x", now).err().map(|error| (error.place, error.fault))
}

#[test]
fn each_reason_not_to_merge_is_told_with_its_place() {
    use MergeFault::*;
    let (warn, hold) = (made(Verdict::Warn), made(Verdict::Hold));
    let long = |made: &Made| Made { renewed_hours: Some(2_000), ..made.clone() };
    let linked = |made: &Made| Made { links: vec![1], ..made.clone() };
    let proposed = |made: &Made| Made { approved: false, ..made.clone() };
    let urgent = |made: &Made| Made { urgent: true, approved: false, ..made.clone() };
    let waiting = |made: &Made| Made { amended: Some(Verdict::Block), ..made.clone() };
    let other = |fault| Some((Place::Merged(0), fault));
    assert_eq!(fault(&warn, &warn), None);
    assert_eq!(fault(&warn, &hold), other(WeighsMore));
    assert_eq!(fault(&hold, &warn), other(LastsLonger));
    assert_eq!(fault(&hold, &long(&hold)), other(LastsLonger));
    assert_eq!(fault(&long(&hold), &hold), None);
    assert_eq!(fault(&proposed(&warn), &warn), other(KeptNotApproved));
    assert_eq!(fault(&urgent(&warn), &urgent(&warn)), other(KeptNotApproved));
    assert_eq!(fault(&warn, &urgent(&warn)), None);
    assert_eq!(fault(&warn, &waiting(&warn)), other(Waiting));
    assert_eq!(fault(&waiting(&warn), &warn), Some((Place::Kept, Waiting)));
    assert_eq!(fault(&warn, &linked(&warn)), None);
    assert_eq!(fault(&warn, &linked(&urgent(&warn))), other(NewLink), "a link that nobody has approved");
    assert_eq!(fault(&warn, &linked(&proposed(&warn))), other(NewLink), "a link that answers nobody yet");
    assert_eq!(fault(&made(Verdict::Block), &linked(&hold)), other(NewLink), "a link that would weigh more");
    assert_eq!(fault(&linked(&made(Verdict::Block)), &linked(&hold)), None);
    assert_eq!(fault(&proposed(&warn), &linked(&proposed(&hold))), None);
    let many = |first: u8, count: u8| Made { links: (first..first + count).collect(), ..warn.clone() };
    let links_max = u8::try_from(LINKED_MAX).unwrap();
    assert_eq!(fault(&many(1, links_max - 1), &many(100, 1)), None);
    assert_eq!(fault(&many(1, links_max), &many(100, 1)), Some((Place::Kept, TooManyLinks)));
}

#[test]
fn what_is_over_or_of_another_subject_is_not_merged() {
    let now = Timestamp::from_ms(1_000_000);
    let (kept, other) = (flag(1, &made(Verdict::Warn), now), flag(2, &made(Verdict::Warn), now));
    let merge = |kept: &Flag, other: &Flag, now| {
        kept.merge(std::slice::from_ref(other), &actor(3), "x", now).map_err(|error| (error.place, error.fault))
    };
    let lifted = other.lift(actor(0), "x".to_owned(), LiftCause::Ended, now).unwrap();
    let over = MergeFault::Over;
    assert_eq!(merge(&kept, &lifted, now), Err((Place::Merged(0), over(FlagState::Lifted))));
    assert_eq!(merge(&lifted, &kept, now), Err((Place::Kept, over(FlagState::Lifted))));
    let end = kept.expires_at.unwrap();
    assert_eq!(merge(&kept, &other, end), Err((Place::Kept, over(FlagState::Expired))));
    let mut stranger = proposal(Verdict::Warn, false, &[]);
    stranger.subject = subject(1);
    let stranger = Flag::propose(FlagId::from_bytes([3; 16]), stranger, actor(0), now).unwrap();
    assert_eq!(merge(&kept, &stranger, now), Err((Place::Merged(0), MergeFault::OtherSubject)));
}

#[test]
fn what_was_merged_can_be_found_wrong_once_if_it_had_answered_anybody() {
    let now = Timestamp::from_ms(1_000_000);
    let kept = flag(1, &made(Verdict::Warn), now);
    let merged = |made: &Made| {
        let merging = kept.merge(&[flag(2, made, now)], &actor(3), "x", now).unwrap();
        merging.ended.into_iter().next().unwrap()
    };
    let wrong = |flag: &Flag| flag.lift(actor(0), "x".to_owned(), LiftCause::Wrong, now);
    let answered = wrong(&merged(&made(Verdict::Warn))).unwrap();
    assert!(answered.must_be_corrected());
    wrong(&answered).unwrap_err();
    wrong(&merged(&Made { approved: false, ..made(Verdict::Warn) })).unwrap_err();
}

#[test]
fn a_flag_takes_in_so_many_others_and_units_and_no_more() {
    let now = Timestamp::from_ms(1_000_000);
    let others = |first: u8, count: u8, by: &dyn Fn(u8) -> u8| {
        let made = |id| Made { by: by(id), ..made(Verdict::Warn) };
        (first..first + count).map(|id| flag(id, &made(id), now)).collect::<Vec<_>>()
    };
    let mut kept = flag(1, &made(Verdict::Warn), now);
    let eight = kept.merge(&others(10, 8, &|id| id), &actor(3), "x", now).unwrap().kept;
    assert_eq!(eight.coordinating.len(), 8);
    let error = eight.merge(&others(30, 1, &|id| id), &actor(3), "x", now).unwrap_err();
    assert_eq!((error.place, error.fault), (Place::Kept, MergeFault::TooManyUnits));
    for first in [10, 30, 50, 70] {
        kept = kept.merge(&others(first, 16, &|_| 0), &actor(3), "x", now).unwrap().kept;
    }
    assert_eq!((kept.merged.len(), kept.coordinating.len()), (64, 0));
    let error = kept.merge(&others(90, 1, &|_| 0), &actor(3), "x", now).unwrap_err();
    assert_eq!((error.place, error.fault), (Place::Kept, MergeFault::TooManyMerged));
    // What was taken in goes along.
    let next = flag(2, &made(Verdict::Warn), now);
    let error = next.merge(&[kept], &actor(3), "x", now).unwrap_err();
    assert_eq!(error.fault, MergeFault::TooManyMerged);
}
