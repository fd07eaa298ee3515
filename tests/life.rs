//! The life of a flag under any sequence of acts by any officers at any times: whatever they try, what comes out never
//! answers without a decision of another officer or urgency, and never after its end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use canhbao::domain::party::{ClientId, PartyId};
use canhbao::domain::{
    Actor, Category, Changes, ClosingCause, Flag, FlagId, FlagState, LegalBasis, LiftCause, MoveError, Proposal,
    Source, SourceKind, Subject, Timestamp, Urgency, Verdict,
};
use proptest::prelude::*;
use std::collections::HashSet;

const HOUR_MS: u64 = 3_600_000;
const URGENT_MS: u64 = 72 * HOUR_MS;

#[derive(Clone, Debug)]
enum Act {
    Approve,
    Reject,
    Lift(LiftCause),
    Renew(Option<u64>),
    Amend(Content),
    Relieve(Content),
    Transfer(u8),
}

/// What an amendment changes.
#[derive(Clone, Debug)]
struct Content {
    verdict: Option<Verdict>,
    links: Option<Vec<u8>>,
    coordinating: Option<Vec<u8>>,
}

/// Nobody who has had to do with any flag.
const STRANGER: u8 = 9;

fn unit(number: u8) -> PartyId {
    PartyId::parse(if number.is_multiple_of(2) { "city" } else { "ward" }).unwrap()
}

fn actor(number: u8) -> Actor {
    Actor { party: unit(number), client: ClientId::parse(&format!("officer-{number}")).unwrap() }
}

fn subject(number: u8) -> Subject {
    Subject::from_canonical(&format!("account:970436:1000{number:03}")).unwrap()
}

fn basis() -> LegalBasis {
    LegalBasis { document: "1/QD".to_owned(), issued_on: "2026-01-01".to_owned(), authority: "x".to_owned() }
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    prop::sample::select(vec![Verdict::Warn, Verdict::Hold, Verdict::Block])
}

fn any_links() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::btree_set(1..5_u8, 0..4).prop_map(|set| set.into_iter().collect())
}

fn any_content() -> impl Strategy<Value = Content> {
    let units = prop::option::of(prop::collection::btree_set(0..2_u8, 0..2));
    (prop::option::of(any_verdict()), prop::option::of(any_links()), units).prop_map(|(verdict, links, units)| {
        Content { verdict, links, coordinating: units.map(|units| units.into_iter().collect()) }
    })
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => Just(Act::Approve),
        1 => Just(Act::Reject),
        1 => prop::sample::select(vec![LiftCause::Wrong, LiftCause::Ended]).prop_map(Act::Lift),
        2 => prop::option::of(1..20_000_u64).prop_map(Act::Renew),
        3 => any_content().prop_map(Act::Amend),
        1 => any_content().prop_map(Act::Relieve),
        1 => (0..4_u8).prop_map(Act::Transfer),
    ]
}

/// Until the next act: mostly soon, so that several come before an urgent flag ends.
fn any_hours() -> impl Strategy<Value = u64> {
    prop_oneof![3 => 0..20_u64, 1 => 0..400_u64]
}

fn changes(content: Content) -> Changes {
    let linked = content.links.map(|links| links.into_iter().map(subject).collect());
    let coordinating = content.coordinating.map(|units| units.into_iter().map(unit).collect());
    Changes { verdict: content.verdict, linked, coordinating, legal_basis: Some(basis()), ..Changes::default() }
}

fn proposal(verdict: Verdict, urgency: Urgency, links: Vec<u8>) -> Proposal {
    Proposal {
        subject: subject(0),
        verdict,
        category: Category::Mule,
        case: "HN-1".to_owned(),
        reason: "x".to_owned(),
        legal_basis: Some(basis()),
        expires_at: None,
        urgency,
        linked: links.into_iter().map(subject).collect(),
        source: Source { kind: SourceKind::Police, reference: None },
        unit: None,
        coordinating: Vec::new(),
    }
}

fn tried(flag: &Flag, act: Act, by: u8, now: Timestamp) -> Result<Flag, MoveError> {
    let (by, reason) = (actor(by), "because".to_owned());
    match act {
        Act::Approve => flag.approve(by, now),
        Act::Reject => flag.reject(by, reason, now),
        Act::Lift(cause) => flag.lift(by, reason, cause, now),
        Act::Renew(hours) => flag.renew(&by, hours.map(|hours| now.plus_ms(hours * HOUR_MS)), reason, now),
        Act::Amend(content) => flag.amend(by, changes(content), reason, now),
        Act::Relieve(content) => flag.relieve(by, changes(content), reason, now),
        Act::Transfer(to) => flag.transfer(&by, actor(to).party, actor(to).client, reason, now),
    }
}

/// What somebody other than its authors has agreed to, as the test keeps it.
struct Agreed {
    at: Timestamp,
    verdict: Verdict,
    links: HashSet<Subject>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn no_sequence_of_acts_breaks_what_must_hold(
        verdict in any_verdict(),
        urgent: bool,
        links in any_links(),
        raiser in 0..4_u8,
        wanted_percent in prop::option::of(1..=100_u64),
        acts in prop::collection::vec((any_act(), 0..4_u8, any_hours()), 0..25),
    ) {
        let mut now = Timestamp::from_ms(1_000_000);
        let urgency = if urgent && verdict != Verdict::Block { Urgency::Urgent } else { Urgency::Normal };
        let id = FlagId::from_bytes([1; 16]);
        let expires_at = wanted_percent.map(|percent| now.plus_ms(longest_ms(verdict) / 100 * percent));
        let raised = Proposal { expires_at, ..proposal(verdict, urgency, links) };
        let mut flag = Flag::propose(id, raised, actor(raiser), now).unwrap();
        let mut agreed: Option<Agreed> = None;
        let mut drafters: HashSet<u8> = HashSet::new();
        for (act, by, hours) in acts {
            now = now.plus_ms(hours * HOUR_MS);
            let before = flag.clone();
            let state = before.state_at(now);
            match tried(&before, act.clone(), by, now) {
                Err(_) => prop_assert_eq!(&before, &flag, "a refusal changes nothing"),
                Ok(next) => {
                    prop_assert_eq!(next.version, before.version + 1);
                    let ended = [FlagState::Rejected, FlagState::Lifted, FlagState::Expired];
                    let is_found_wrong = matches!(act, Act::Lift(LiftCause::Wrong))
                        && state != FlagState::Rejected
                        && before.closing_cause != Some(ClosingCause::Wrong);
                    prop_assert!(!ended.contains(&state) || is_found_wrong, "{:?} of a flag that has ended", act);
                    prop_assert_eq!(&next.raised_by, &before.raised_by);
                    prop_assert_eq!(next.step().by, actor(by));
                    let author = before.pending.as_ref().map(|pending| pending.by.client.clone());
                    if matches!(act, Act::Approve) {
                        prop_assert_ne!(by, raiser, "approved by its raiser");
                        prop_assert_ne!(Some(actor(by).client), author, "approved by who amended it");
                        prop_assert!(!drafters.contains(&by), "approved by who changed it before");
                        drafters.clear();
                    }
                    if before.approved_by.is_none() && matches!(act, Act::Amend(_) | Act::Relieve(_)) {
                        drafters.insert(by);
                    }
                    let gone: HashSet<_> = before.linked.iter().filter(|old| !next.linked.contains(old)).collect();
                    prop_assert_eq!(next.unlinked.iter().collect::<HashSet<_>>(), gone, "the index would keep a link");
                    if state == FlagState::Active && !matches!(act, Act::Approve) {
                        prop_assert!(next.verdict <= before.verdict, "{:?} makes it heavier by itself", act);
                        let is_new = |link: &&Subject| !before.linked.contains(link);
                        prop_assert_eq!(next.linked.iter().find(is_new), None, "{:?} links by itself", act);
                    }
                    if matches!(act, Act::Approve) {
                        let links = next.linked.iter().cloned().collect();
                        agreed = Some(Agreed { at: now, verdict: next.verdict, links });
                    }
                    if let (Some(agreed), Act::Renew(_)) = (&agreed, &act)
                        && next.expires_at > before.expires_at
                    {
                        let last = agreed.at.plus_ms(longest_ms(next.verdict));
                        prop_assert!(next.expires_at <= Some(last), "renewed for ever on one decision");
                    }
                    match act {
                        Act::Lift(_) => prop_assert!(next.listed().is_none(), "a lifted flag answers"),
                        Act::Reject => {
                            prop_assert_eq!(next.listed().is_some(), before.approved_by.is_some());
                            prop_assert_eq!(&next.pending, &None, "what was refused waits on");
                        }
                        Act::Amend(_) if next.verdict < before.verdict => {
                            prop_assert_eq!(&next.pending, &None, "the heavier one waits on");
                        }
                        Act::Relieve(_) => {
                            prop_assert_eq!(&next.pending, &None, "a relief waits");
                            prop_assert!(next.verdict <= before.verdict, "a relief that weighs more");
                        }
                        Act::Renew(_) => {
                            let end = next.pending.as_ref().and_then(|pending| pending.expires_at).or(next.expires_at);
                            prop_assert!(end > before.expires_at, "renewed to an earlier end");
                        }
                        Act::Approve | Act::Amend(_) | Act::Transfer(_) => {}
                    }
                    if let (Some(wanted), Act::Approve) = (expires_at, &act)
                        && before.approved_by.is_none()
                    {
                        prop_assert!(next.expires_at <= Some(wanted), "later than it was asked for");
                    }
                    let was_wrong = next.state == FlagState::Rejected || next.closing_cause == Some(ClosingCause::Wrong);
                    prop_assert_eq!(next.must_be_corrected(), was_wrong && next.since.is_some());
                    prop_assert!(before.since.is_none() || next.since == before.since, "nobody learns that it answered");
                    flag = next;
                }
            }
            check(&flag, agreed.as_ref(), now)?;
        }
    }
}

fn longest_ms(verdict: Verdict) -> u64 {
    let days = match verdict {
        Verdict::Clear | Verdict::Warn => 365,
        Verdict::Hold => 90,
        Verdict::Block => 1095,
    };
    days * 24 * HOUR_MS
}

fn check(flag: &Flag, agreed: Option<&Agreed>, now: Timestamp) -> Result<(), TestCaseError> {
    let waits = flag.approved_by.is_none() || flag.pending.is_some();
    if waits && [FlagState::Proposed, FlagState::Active].contains(&flag.state_at(now)) {
        match flag.approve(actor(STRANGER), now) {
            Ok(approved) => prop_assert!(approved.state_at(now) == FlagState::Active, "approved, and over at once"),
            Err(error) => {
                let is_late = flag.approved_by.is_none() && flag.expiry_wanted.is_some_and(|end| end <= now);
                prop_assert!(is_late && error == MoveError::ExpiryPassed, "nobody can approve it: {error:?}");
            }
        }
    }
    prop_assert!(flag.approved_by.as_ref().is_none_or(|by| by.client != flag.raised_by.client));
    if flag.state == FlagState::Active {
        let end = flag.expires_at.expect("an active flag has an end");
        prop_assert_eq!(flag.state_at(end), FlagState::Expired, "it answers in the moment of its end");
        match agreed {
            Some(agreed) => {
                prop_assert!(flag.verdict <= agreed.verdict, "heavier than what was approved");
                prop_assert!(flag.linked.iter().all(|link| agreed.links.contains(link)), "a link nobody approved");
            }
            None => {
                prop_assert_eq!(flag.urgency, Urgency::Urgent, "active without approval or urgency");
                prop_assert!(end <= flag.raised_at.plus_ms(URGENT_MS), "urgent for more than 72 hours");
                prop_assert!(flag.pending.is_none());
            }
        }
        prop_assert!(end <= now.plus_ms(longest_ms(flag.verdict)), "longer than the verdict allows");
    } else {
        prop_assert!(flag.listed().is_none(), "{:?} answers checks", flag.state);
        prop_assert!(flag.pending.is_none());
    }
    Ok(())
}

#[test]
fn a_flag_of_before_units_is_its_raisers_and_tells_who_made_it() {
    let flag = Flag::propose(
        FlagId::from_bytes([1; 16]),
        proposal(Verdict::Warn, Urgency::Normal, vec![1]),
        actor(0),
        Timestamp::from_ms(5),
    )
    .unwrap();
    let approved = flag.approve(actor(2), Timestamp::from_ms(6)).unwrap();
    let mut old = serde_json::to_value(&approved).unwrap();
    for name in ["unit", "officer", "step"] {
        assert!(old.as_object_mut().unwrap().remove(name).is_some());
    }
    let old: Flag = serde_json::from_value(old).unwrap();
    assert_eq!((old.unit().as_str(), old.officer().as_str()), ("city", "officer-0"));
    assert_eq!(old.step(), approved.step());
}

#[test]
fn a_renewal_beyond_what_was_approved_waits_for_another_officer() {
    let raised_at = Timestamp::from_ms(5);
    let day = |days: u64| raised_at.plus_ms(days * 24 * HOUR_MS);
    let hold = proposal(Verdict::Hold, Urgency::Normal, vec![]);
    let flag = Flag::propose(FlagId::from_bytes([1; 16]), hold, actor(0), raised_at).unwrap();
    let flag = flag.approve(actor(1), raised_at).unwrap();
    let renew = |flag: &Flag, at: u64, end: u64| flag.renew(&actor(0), Some(day(end)), "x".to_owned(), day(at));
    let flag = renew(&flag, 20, 90).unwrap();
    assert_eq!((flag.expires_at, &flag.pending), (Some(day(90)), &None));
    let waiting = renew(&flag, 60, 91).unwrap();
    assert_eq!(waiting.expires_at, Some(day(90)));
    assert_eq!(renew(&waiting, 61, 92), Err(MoveError::AnotherWaits));
    assert_eq!(waiting.approve(actor(0), day(61)), Err(MoveError::SameOfficer));
    assert_eq!(
        waiting.approve(actor(1), day(90)).map_err(|error| error.to_string()),
        Err("a flag that is expired cannot be approved".to_owned())
    );
    let approved = waiting.approve(actor(1), day(89)).unwrap();
    assert_eq!((approved.expires_at, &approved.pending), (Some(day(91)), &None));
    // From this decision on it may last as long again.
    assert_eq!(renew(&approved, 90, 179).unwrap().expires_at, Some(day(179)));
    let refused = waiting.reject(actor(1), "x".to_owned(), day(61)).unwrap();
    assert_eq!((refused.expires_at, refused.pending), (Some(day(90)), None));
}

#[test]
fn whoever_changed_a_proposal_does_not_approve_it() {
    let now = Timestamp::from_ms(5);
    let flag =
        Flag::propose(FlagId::from_bytes([1; 16]), proposal(Verdict::Warn, Urgency::Normal, vec![]), actor(0), now)
            .unwrap();
    let heavier = Content { verdict: Some(Verdict::Block), links: None, coordinating: None };
    let changed = flag.amend(actor(1), changes(heavier), "x".to_owned(), now).unwrap();
    assert_eq!(changed.state, FlagState::Proposed);
    assert_eq!(changed.approve(actor(1), now), Err(MoveError::SameOfficer));
    assert_eq!(changed.approve(actor(0), now), Err(MoveError::SameOfficer));
    assert!(changed.approve(actor(2), now).is_ok());
}
