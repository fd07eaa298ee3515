//! The life of a flag under any sequence of acts by any officers at any times: whatever they try, what comes out never
//! answers without a decision of another officer or urgency, and never after its end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use canhbao::domain::party::{ClientId, PartyId};
use canhbao::domain::{
    Actor, Category, Changes, Flag, FlagId, FlagState, LegalBasis, LiftCause, MoveError, Proposal, Source, SourceKind,
    Subject, Timestamp, Urgency, Verdict,
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
    Amend(Option<Verdict>, Option<Vec<u8>>),
    Relieve(Option<Verdict>, Option<Vec<u8>>),
    Transfer(u8),
}

fn actor(number: u8) -> Actor {
    let unit = if number.is_multiple_of(2) { "city" } else { "ward" };
    Actor { party: PartyId::parse(unit).unwrap(), client: ClientId::parse(&format!("officer-{number}")).unwrap() }
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

fn any_act() -> impl Strategy<Value = Act> {
    let content = || (prop::option::of(any_verdict()), prop::option::of(any_links()));
    prop_oneof![
        3 => Just(Act::Approve),
        1 => Just(Act::Reject),
        1 => prop::sample::select(vec![LiftCause::Wrong, LiftCause::Ended]).prop_map(Act::Lift),
        2 => prop::option::of(1..20_000_u64).prop_map(Act::Renew),
        3 => content().prop_map(|(verdict, links)| Act::Amend(verdict, links)),
        1 => content().prop_map(|(verdict, links)| Act::Relieve(verdict, links)),
        1 => (0..4_u8).prop_map(Act::Transfer),
    ]
}

fn changes(verdict: Option<Verdict>, links: Option<Vec<u8>>) -> Changes {
    let linked = links.map(|links| links.into_iter().map(subject).collect());
    Changes { verdict, linked, legal_basis: Some(basis()), ..Changes::default() }
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
        Act::Amend(verdict, links) => flag.amend(by, changes(verdict, links), reason, now),
        Act::Relieve(verdict, links) => flag.relieve(by, changes(verdict, links), reason, now),
        Act::Transfer(to) => flag.transfer(&by, actor(to).party, actor(to).client, reason, now),
    }
}

/// What somebody other than its authors has agreed to, as the test keeps it.
struct Agreed {
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
        acts in prop::collection::vec((any_act(), 0..4_u8, 0..400_u64), 0..25),
    ) {
        let mut now = Timestamp::from_ms(1_000_000);
        let urgency = if urgent && verdict != Verdict::Block { Urgency::Urgent } else { Urgency::Normal };
        let id = FlagId::from_bytes([1; 16]);
        let mut flag = Flag::propose(id, proposal(verdict, urgency, links), actor(raiser), now).unwrap();
        let mut agreed: Option<Agreed> = None;
        for (act, by, hours) in acts {
            now = now.plus_ms(hours * HOUR_MS);
            let before = flag.clone();
            let state = before.state_at(now);
            match tried(&before, act.clone(), by, now) {
                Err(_) => prop_assert_eq!(&before, &flag, "a refusal changes nothing"),
                Ok(next) => {
                    prop_assert_eq!(next.version, before.version + 1);
                    let ended = [FlagState::Rejected, FlagState::Lifted, FlagState::Expired];
                    prop_assert!(!ended.contains(&state), "{:?} of a flag that has ended", act);
                    prop_assert_eq!(&next.raised_by, &before.raised_by);
                    prop_assert_eq!(next.step().by, actor(by));
                    let author = before.pending.as_ref().map(|pending| pending.by.client.clone());
                    if matches!(act, Act::Approve) {
                        prop_assert_ne!(by, raiser, "approved by its raiser");
                        prop_assert_ne!(Some(actor(by).client), author, "approved by who amended it");
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
                        agreed = Some(Agreed { verdict: next.verdict, links });
                    }
                    flag = next;
                }
            }
            check(&flag, agreed.as_ref(), now)?;
        }
    }
}

fn check(flag: &Flag, agreed: Option<&Agreed>, now: Timestamp) -> Result<(), TestCaseError> {
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
        let longest_days = match flag.verdict {
            Verdict::Clear | Verdict::Warn => 365,
            Verdict::Hold => 90,
            Verdict::Block => 1095,
        };
        prop_assert!(end <= now.plus_ms(longest_days * 24 * HOUR_MS), "longer than the verdict allows");
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
fn whoever_changed_a_proposal_does_not_approve_it() {
    let now = Timestamp::from_ms(5);
    let flag =
        Flag::propose(FlagId::from_bytes([1; 16]), proposal(Verdict::Warn, Urgency::Normal, vec![]), actor(0), now)
            .unwrap();
    let changed = flag.amend(actor(1), changes(Some(Verdict::Block), None), "x".to_owned(), now).unwrap();
    assert_eq!(changed.state, FlagState::Proposed);
    assert_eq!(changed.approve(actor(1), now), Err(MoveError::SameOfficer));
    assert_eq!(changed.approve(actor(0), now), Err(MoveError::SameOfficer));
    assert!(changed.approve(actor(2), now).is_ok());
}
