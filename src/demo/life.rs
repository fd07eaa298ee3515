//! The life of several flags of two wards, so that a demo shows each stage: what waits, what was refused, what is over, what
//! was given to another unit, and what a bank objects to.

use super::{DemoError, Sower, actor, known, random};
use crate::domain::party::{ClientId, PartyId};
use crate::domain::{
    Actor, Attachment, Category, Change, Changes, Flag, FlagId, LegalBasis, LiftCause, MoveError, NewObjection,
    Objection, ObjectionId, Proposal, Replaces, Source, SourceKind, Subject, Timestamp, Urgency, Verdict,
};
use crate::log::{Act, Resource};
use crate::registry::Seed;

const DAY_MS: u64 = 86_400_000;
/// As a registry that is not set up otherwise has it.
const ANSWERED_WITHIN_MS: u64 = 15 * DAY_MS;

struct People {
    ward_a: Actor,
    ward_b: Actor,
    supervisor: Actor,
    bank: Actor,
}

/// One flag on its way.
struct Life<'s, 'r> {
    sower: &'s mut Sower<'r>,
    flag: Flag,
}

pub(super) async fn live(sower: &mut Sower<'_>) -> Result<(), DemoError> {
    let people = People {
        ward_a: actor("hanoi-hoan-kiem", "demo-ward_a")?,
        ward_b: actor("hanoi-dong-da", "demo-ward_b")?,
        supervisor: actor("hanoi-police", "demo-supervisor")?,
        bank: actor("970436", "demo-bank")?,
    };
    begun(sower, &people).await?;
    amended(sower, &people).await?;
    ended(sower, &people).await?;
    objected(sower, &people).await
}

/// One that waits for the city, and an urgent one that does not.
async fn begun(sower: &mut Sower<'_>, people: &People) -> Result<(), DemoError> {
    let waiting = proposal("account:970436:9000000000101", Verdict::Warn, Urgency::Normal, &[])?;
    Life::begin(sower, waiting, &people.ward_a).await?;
    let urgent = proposal("account:970436:9000000000102", Verdict::Hold, Urgency::Urgent, &[])?;
    Life::begin(sower, urgent, &people.ward_b).await?;
    Ok(())
}

/// One whose heavier verdict waits, and one of a person with links that went to another ward.
async fn amended(sower: &mut Sower<'_>, people: &People) -> Result<(), DemoError> {
    let hold = proposal("account:970436:9000000000103", Verdict::Hold, Urgency::Normal, &[])?;
    let mut life = Life::begin(sower, hold, &people.ward_a).await?;
    life.approve(people).await?;
    let legal_basis = LegalBasis {
        document: "103/QĐ-DEMO".to_owned(),
        issued_on: "2026-01-01".to_owned(),
        authority: "Demo".to_owned(),
    };
    let heavier = Changes { verdict: Some(Verdict::Block), legal_basis: Some(legal_basis), ..Changes::default() };
    let by = people.ward_a.clone();
    life.step(Act::FlagAmend, &people.ward_a, |flag, now| flag.amend(by, heavier, "A second victim.".to_owned(), now))
        .await?;
    let linked = ["account:970436:9000000000106", "phone:+84900000106"];
    let person = proposal("person:001099000106", Verdict::Hold, Urgency::Normal, &linked)?;
    let mut life = Life::begin(sower, person, &people.ward_a).await?;
    life.approve(people).await?;
    let (unit, officer) = (people.ward_b.party.clone(), people.ward_b.client.clone());
    life.transfer(people, unit, officer).await
}

/// One that was refused, and one that was renewed and is over.
async fn ended(sower: &mut Sower<'_>, people: &People) -> Result<(), DemoError> {
    let refused = proposal("account:970436:9000000000104", Verdict::Warn, Urgency::Normal, &[])?;
    let mut life = Life::begin(sower, refused, &people.ward_b).await?;
    let by = people.supervisor.clone();
    let reason = || "One report alone.".to_owned();
    life.step(Act::FlagReject, &people.supervisor, |flag, now| flag.reject(by, reason(), now)).await?;
    let warn = proposal("account:970436:9000000000105", Verdict::Warn, Urgency::Normal, &[])?;
    let mut life = Life::begin(sower, warn, &people.ward_b).await?;
    life.approve(people).await?;
    let reason = "It is still used.".to_owned();
    let end = |now: Timestamp| Some(now.plus_ms(300 * DAY_MS));
    life.step(Act::FlagRenew, &people.ward_b, |flag, now| flag.renew(&people.ward_b, end(now), reason, now)).await?;
    let (by, reason) = (people.ward_b.clone(), "The case is closed.".to_owned());
    life.step(Act::FlagLift, &people.ward_b, |flag, now| flag.lift(by, reason, LiftCause::Ended, now)).await
}

/// One to which a bank objects.
async fn objected(sower: &mut Sower<'_>, people: &People) -> Result<(), DemoError> {
    let warn = proposal("account:970436:9000000000108", Verdict::Warn, Urgency::Normal, &[])?;
    let mut life = Life::begin(sower, warn, &people.ward_a).await?;
    life.approve(people).await?;
    let flag = life.flag.id;
    let now = sower.registry.now();
    let id = ObjectionId::mint(now, random()?);
    let new = NewObjection {
        text: "The holder says that the account was taken over.".to_owned(),
        reference: Some("KN-DEMO-1".to_owned()),
        attachments: vec![Attachment { name: "statement.pdf".to_owned(), sha256: "0".repeat(64) }],
    };
    let objection = Objection::file(id, flag, new, people.bank.clone(), now, ANSWERED_WITHIN_MS);
    let change = Change::Objection { replaces: Replaces::Nothing, objection: Box::new(objection) };
    let seed = Seed::Done { act: Act::ObjectionFile, resource: Resource::Objection(id), change };
    sower.sow_by(seed, people.bank.clone()).await
}

impl<'s, 'r> Life<'s, 'r> {
    async fn begin(sower: &'s mut Sower<'r>, proposal: Proposal, by: &Actor) -> Result<Self, DemoError> {
        let now = sower.registry.now();
        let flag = Flag::propose(FlagId::mint(now, random()?), proposal, by.clone(), now);
        let flag = flag.map_err(|error| DemoError::Seed(error.to_string()))?;
        let change = Change::Flag { replaces: Replaces::Nothing, flag: Box::new(flag.clone()) };
        let seed = Seed::Done { act: Act::FlagRaise, resource: Resource::Flag(flag.id), change };
        sower.sow_by(seed, by.clone()).await?;
        Ok(Self { sower, flag })
    }

    async fn approve(&mut self, people: &People) -> Result<(), DemoError> {
        let by = people.supervisor.clone();
        self.step(Act::FlagApprove, &people.supervisor, |flag, now| flag.approve(by, now)).await
    }

    async fn transfer(&mut self, people: &People, unit: PartyId, officer: ClientId) -> Result<(), DemoError> {
        let reason = "The person lives there.".to_owned();
        self.step(Act::FlagTransfer, &people.supervisor, |flag, now| {
            flag.transfer(&people.supervisor, unit, officer, reason, now)
        })
        .await
    }

    async fn step(
        &mut self,
        act: Act,
        by: &Actor,
        step: impl FnOnce(&Flag, Timestamp) -> Result<Flag, MoveError>,
    ) -> Result<(), DemoError> {
        let next = step(&self.flag, self.sower.registry.now());
        let next = next.map_err(|error| DemoError::Seed(error.to_string()))?;
        let replaces = Replaces::Version(self.flag.version);
        let change = Change::Flag { replaces, flag: Box::new(next.clone()) };
        let seed = Seed::Done { act, resource: Resource::Flag(next.id), change };
        self.sower.sow_by(seed, by.clone()).await?;
        self.flag = next;
        Ok(())
    }
}

fn proposal(subject: &str, verdict: Verdict, urgency: Urgency, linked: &[&str]) -> Result<Proposal, DemoError> {
    let linked: Option<Vec<Subject>> = linked.iter().map(|linked| Subject::from_canonical(linked)).collect();
    Ok(Proposal {
        subject: known(Subject::from_canonical(subject))?,
        verdict,
        category: Category::Mule,
        case: "DEMO-LIFE".to_owned(),
        reason: "Receives from many and moves on at once.".to_owned(),
        legal_basis: None,
        expires_at: None,
        urgency,
        linked: known(linked)?,
        source: Source { kind: SourceKind::BankReport, reference: None },
        unit: None,
        coordinating: Vec::new(),
    })
}
