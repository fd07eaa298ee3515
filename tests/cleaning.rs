//! What the officers' view says needs care, against all flags looked at one by one: every figure of a summary and every
//! candidate of a list is the same, whatever has become of the flags and whoever looks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use canhbao::domain::banks::BankDirectory;
use canhbao::domain::folding::folded;
use canhbao::domain::party::{ClientId, PartyId};
use canhbao::domain::{
    Actor, Alike, Category, Changes, Directory, Flag, FlagId, FlagState, LegalBasis, LiftCause, LogPosition, Proposal,
    Source, SourceKind, Subject, Timestamp, Urgency, Verdict,
};
use canhbao::store::sqlite::register::{
    Counting, Counts, Covered, GoesOn, Moments, Reader, RegisterFile, Seen, Version, WrittenPage,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};

const DAY_MS: u64 = 86_400_000;
const NOW_DAY: u64 = 20_500;
/// One of a bank that has left, one that leads to a wallet, one of a wallet.
const SUBJECTS: [&str; 7] = [
    "account:970436:1001",
    "account:970436:1002",
    "account:970415:1001",
    "account:970415:1002",
    "account:971025:PSP001",
    "wallet:momo:0901234567",
    "phone:+84901234567",
];
const GONE: &str = "970415";
const UNITS: [&str; 3] = ["ward-a", "ward-b", "city"];
const CASES: [&str; 4] = ["HN-1", "hn 1", "HN-2", "--"];

#[derive(Clone, Debug)]
struct Made {
    subject: usize,
    linked: Option<usize>,
    unit: usize,
    coordinating: Option<usize>,
    case: usize,
    verdict: Verdict,
    has_basis: bool,
    raised_day: u64,
    steps: Vec<(u8, u64)>,
}

fn any_made() -> impl Strategy<Value = Made> {
    let subjects = (0..SUBJECTS.len(), prop::option::of(0..SUBJECTS.len()));
    let units = (0..UNITS.len(), prop::option::weighted(0.2, 0..UNITS.len()));
    let verdict = prop::sample::select(vec![Verdict::Warn, Verdict::Hold]);
    let steps = prop::collection::vec((0..6_u8, 0..120_u64), 0..5);
    (subjects, units, 0..CASES.len(), verdict, any::<bool>(), 0..200_u64, steps).prop_map(
        |((subject, linked), (unit, coordinating), case, verdict, has_basis, ago, steps)| Made {
            subject,
            linked: linked.filter(|linked| *linked != subject),
            unit,
            coordinating: coordinating.filter(|coordinating| *coordinating != unit),
            case,
            verdict,
            has_basis,
            raised_day: NOW_DAY - ago,
            steps,
        },
    )
}

fn subject(place: usize) -> Subject {
    Subject::from_canonical(SUBJECTS[place]).unwrap()
}

fn unit(place: usize) -> PartyId {
    PartyId::parse(UNITS[place]).unwrap()
}

fn actor(unit_place: usize, name: &str) -> Actor {
    Actor { party: unit(unit_place), client: ClientId::parse(name).unwrap() }
}

fn day(day: u64) -> Timestamp {
    Timestamp::from_ms(day * DAY_MS)
}

/// All versions of a flag, and when it was last reviewed.
fn versions(id: u8, made: &Made) -> (Vec<Flag>, Timestamp) {
    let basis = LegalBasis { document: "1".to_owned(), issued_on: "2026-01-01".to_owned(), authority: "x".to_owned() };
    let proposal = Proposal {
        subject: subject(made.subject),
        verdict: made.verdict,
        category: Category::Mule,
        case: CASES[made.case].to_owned(),
        reason: "x".to_owned(),
        legal_basis: made.has_basis.then_some(basis.clone()),
        expires_at: None,
        urgency: Urgency::Normal,
        linked: made.linked.into_iter().map(subject).collect(),
        source: Source { kind: SourceKind::Police, reference: None },
        unit: None,
        coordinating: made.coordinating.into_iter().map(unit).collect(),
    };
    let mut at = made.raised_day;
    let mut reviewed_at = day(at);
    let by = actor(made.unit, "raiser");
    let mut all = vec![Flag::propose(FlagId::from_bytes([id; 16]), proposal, by.clone(), day(at)).unwrap()];
    for (step, days) in &made.steps {
        at = (at + days / 4).min(NOW_DAY);
        let (last, now, reason) = (all.last().unwrap(), day(at), "x".to_owned());
        let unlinked = Changes { linked: Some(vec![]), legal_basis: Some(basis.clone()), ..Changes::default() };
        let next = match step {
            0 | 1 => last.approve(actor(2, "supervisor"), now),
            2 => last.renew(&by, None, reason, now),
            3 => last.amend(by.clone(), unlinked, reason, now),
            4 => last.transfer(&by, unit(2), ClientId::parse("other").unwrap(), reason, now),
            _ => last.lift(by.clone(), reason, LiftCause::Ended, now),
        };
        if let Ok(next) = next {
            reviewed_at = if *step == 4 { reviewed_at } else { now };
            all.push(next);
        }
    }
    (all, reviewed_at)
}

/// What is in the view, looked at one by one.
struct Naive {
    flags: Vec<(Flag, Timestamp)>,
    seen_by: Vec<PartyId>,
    directory: Directory,
}

impl Naive {
    fn now() -> Timestamp {
        day(NOW_DAY)
    }

    fn seen(&self) -> impl Iterator<Item = &(Flag, Timestamp)> {
        let is_seen =
            |flag: &Flag| [flag.unit()].into_iter().chain(&flag.coordinating).any(|u| self.seen_by.contains(u));
        self.flags.iter().filter(move |(flag, _)| is_seen(flag))
    }

    fn is_live(flag: &Flag) -> bool {
        [FlagState::Proposed, FlagState::Active].contains(&flag.state_at(Self::now()))
    }

    /// The seen and live flags about each subject of several, with why they are alike.
    fn crowds(&self) -> BTreeMap<String, (Vec<Alike>, BTreeSet<FlagId>)> {
        let mut found: BTreeMap<String, Vec<&Flag>> = BTreeMap::new();
        for (flag, _) in self.seen().filter(|(flag, _)| Self::is_live(flag)) {
            found.entry(flag.subject.canonical()).or_default().push(flag);
        }
        let alike = |flags: &[&Flag]| {
            let pairs = || flags.iter().flat_map(|a| flags.iter().map(move |b| (a, b))).filter(|(a, b)| a.id != b.id);
            let same_case = pairs().any(|(a, b)| folded(&a.case) == folded(&b.case));
            let several_units = pairs().any(|(a, b)| a.unit() != b.unit());
            let mut why = Vec::new();
            why.extend(same_case.then_some(Alike::SameCase));
            why.extend(several_units.then_some(Alike::SeveralUnits));
            why
        };
        let told = found.into_iter().map(|(subject, flags)| {
            (subject, (alike(&flags), flags.iter().map(|flag| flag.id).collect::<BTreeSet<_>>()))
        });
        told.filter(|(_, (why, _))| !why.is_empty()).collect()
    }

    fn is_not_reviewed(flag: &Flag, reviewed_at: Timestamp) -> bool {
        flag.state_at(Self::now()) == FlagState::Active && reviewed_at < day(NOW_DAY - 90)
    }

    fn is_expiring(flag: &Flag) -> bool {
        flag.state_at(Self::now()) == FlagState::Active && flag.expires_at.unwrap() <= day(NOW_DAY + 7)
    }

    fn is_lost(&self, flag: &Flag) -> bool {
        let leads = |subject: &Subject| {
            let json = serde_json::to_string(subject).unwrap();
            Subject::parse(&serde_json::from_str(&json).unwrap(), &self.directory).ok().as_ref() == Some(subject)
        };
        Self::is_live(flag) && [&flag.subject].into_iter().chain(&flag.linked).any(|subject| !leads(subject))
    }

    fn counts(&self, unit: &PartyId) -> Counts {
        let own: Vec<&(Flag, Timestamp)> = self.flags.iter().filter(|(flag, _)| flag.unit() == unit).collect();
        let count = |is: &dyn Fn(&Flag, Timestamp) -> bool| {
            own.iter().filter(|(flag, reviewed_at)| is(flag, *reviewed_at)).count().try_into().unwrap()
        };
        let state = |flag: &Flag| flag.state_at(Self::now());
        Counts {
            proposed: count(&|flag, _| state(flag) == FlagState::Proposed),
            active: count(&|flag, _| state(flag) == FlagState::Active),
            waiting: count(&|flag, _| state(flag) == FlagState::Proposed && flag.raised_at < day(NOW_DAY - 7)),
            not_reviewed: count(&Self::is_not_reviewed),
            expiring: count(&|flag, _| Self::is_expiring(flag)),
            expired: count(&|flag, _| {
                state(flag) == FlagState::Expired && flag.expires_at.unwrap() > day(NOW_DAY - 30)
            }),
            without_legal_basis: count(&|flag, _| Self::is_live(flag) && flag.legal_basis.is_none()),
            without_case: count(&|flag, _| Self::is_live(flag) && flag.case == "--"),
        }
    }
}

/// A view of these flags, their versions in the order of their times.
fn view(all: &[Vec<Flag>]) -> (tempfile::TempDir, RegisterFile) {
    let directory = tempfile::tempdir().unwrap();
    let file = RegisterFile::at(&directory.path().join("register.sqlite3"));
    let nothing = Covered::nothing("test".to_owned(), Timestamp::from_ms(1));
    let mut writer = file.create(&nothing).unwrap();
    let mut versions: Vec<Flag> = all.iter().flatten().cloned().collect();
    versions.sort_by_key(|flag| (flag.step().at, flag.version));
    let versions: Vec<Version> =
        (1..).zip(versions).map(|(change, flag)| Version { change, at: flag.step().at, flag }).collect();
    let change = versions.len().try_into().unwrap();
    let covered = Covered { change, entry: LogPosition { node: "main".to_owned().into(), index: 0 }, ..nothing };
    let page = WrittenPage { versions: &versions, covered: &covered, goes_on: GoesOn::No };
    assert!(writer.write(&page).unwrap());
    (directory, file)
}

fn directory() -> Directory {
    let all = include_str!("../src/domain/banks.csv").lines().filter(|line| !line.starts_with(GONE));
    Directory::with_banks(BankDirectory::parse(&all.map(|line| format!("{line}\n")).collect::<String>()).unwrap())
        .unwrap()
}

fn alike<'a>(live: impl IntoIterator<Item = &'a canhbao::store::sqlite::register::Live>) -> Vec<Alike> {
    Alike::of(live.into_iter().map(|live| (&live.unit, live.case.as_str())))
}

fn check(reader: &mut Reader, naive: &Naive) -> Result<(), TestCaseError> {
    let seen = Seen::by(&naive.seen_by, Naive::now()).unwrap();
    let moments = Moments { reviewed: day(NOW_DAY - 90), ends: day(NOW_DAY + 7) };
    let crowds = naive.crowds();
    let mut found = BTreeMap::new();
    for crowded in reader.crowded("", 100).unwrap() {
        let live = reader.of_subject(&crowded.subject, &seen).unwrap();
        found.insert(crowded.subject, (alike(&live), live.iter().map(|live| live.id).collect::<BTreeSet<_>>()));
    }
    found.retain(|_, (why, _)| !why.is_empty());
    prop_assert_eq!(&found, &crowds);

    let mut duplicates: HashMap<PartyId, usize> = HashMap::new();
    reader
        .each_crowd(&seen, &mut |live| {
            for live in live.iter().filter(|_| !alike(live).is_empty()) {
                *duplicates.entry(live.unit.clone()).or_default() += 1;
            }
        })
        .unwrap();
    let counts =
        reader.counts(&seen, Counting { stale: moments, proposed: day(NOW_DAY - 7), ended: day(NOW_DAY - 30) });
    let counts = counts.unwrap();
    let lost = reader.counts_not_led_to(&seen, &naive.directory).unwrap();
    for unit in &naive.seen_by {
        prop_assert_eq!(counts.get(unit).copied().unwrap_or_default(), naive.counts(unit));
        let own = |flag: &&(Flag, Timestamp)| flag.0.unit() == unit;
        let expected = naive.flags.iter().filter(own).filter(|(flag, _)| naive.is_lost(flag)).count();
        prop_assert_eq!(lost.get(unit).copied().unwrap_or_default(), u64::try_from(expected).unwrap());
        let in_crowds: BTreeSet<FlagId> = crowds.values().flat_map(|(_, ids)| ids).copied().collect();
        let expected = naive.flags.iter().filter(own).filter(|(flag, _)| in_crowds.contains(&flag.id)).count();
        prop_assert_eq!(duplicates.get(unit).copied().unwrap_or_default(), expected);
    }

    let is_stale = |(flag, reviewed_at): &&(Flag, Timestamp)| {
        Naive::is_not_reviewed(flag, *reviewed_at) || Naive::is_expiring(flag)
    };
    let expected: BTreeMap<FlagId, Timestamp> =
        naive.seen().filter(is_stale).map(|(flag, reviewed_at)| (flag.id, *reviewed_at)).collect();
    let (mut stale, mut before) = (BTreeMap::new(), None);
    loop {
        let page = reader.stale(&seen, moments, before, 2).unwrap();
        let Some(last) = page.last() else { break };
        prop_assert!(before.is_none_or(|before| page.iter().all(|found| found.place < before)));
        before = Some(last.place);
        stale.extend(page.into_iter().map(|found| (found.id, found.reviewed_at)));
    }
    prop_assert_eq!(stale, expected);

    let expected: BTreeSet<FlagId> =
        naive.seen().filter(|(flag, _)| naive.is_lost(flag)).map(|(flag, _)| flag.id).collect();
    let candidates = reader.not_led_to(&seen, &naive.directory, None).unwrap();
    prop_assert_eq!(candidates.cut_at, None);
    prop_assert!(candidates.found.windows(2).all(|pair| pair[0].0 > pair[1].0));
    prop_assert_eq!(candidates.found.iter().map(|(_, id)| *id).collect::<BTreeSet<_>>(), expected);
    if let Some((middle, _)) = candidates.found.get(candidates.found.len() / 2) {
        let rest = reader.not_led_to(&seen, &naive.directory, Some(*middle)).unwrap();
        prop_assert_eq!(&rest.found[..], &candidates.found[candidates.found.len() / 2 + 1..]);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn every_figure_and_every_candidate_is_what_one_by_one_is_found(
        made in prop::collection::vec(any_made(), 0..25),
        seen_by in prop::sample::subsequence(vec![0_usize, 1, 2], 1..=3),
    ) {
        let all: Vec<(Vec<Flag>, Timestamp)> = (1_u8..).zip(&made).map(|(id, made)| versions(id, made)).collect();
        let naive = Naive {
            flags: all.iter().map(|(versions, reviewed_at)| (versions.last().unwrap().clone(), *reviewed_at)).collect(),
            seen_by: seen_by.into_iter().map(unit).collect(),
            directory: directory(),
        };
        let (_directory, file) = view(&all.into_iter().map(|(versions, _)| versions).collect::<Vec<_>>());
        let mut result = Ok(());
        file.read(|reader| {
            result = check(reader, &naive);
            Ok(())
        })
        .unwrap();
        result?;
    }
}
