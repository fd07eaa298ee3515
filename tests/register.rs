//! The officers' view finds what a look at every version of every flag finds, in whatever order versions came and by whichever
//! way it looks; and a file that is none, or is of another form, is told apart.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use canhbao::clock::Stopwatch;
use canhbao::domain::folding::{NumberPart, Words, folded};
use canhbao::domain::party::{ClientId, PartyId};
use canhbao::domain::{
    Actor, Category, Change, Changes, Flag, FlagConditions, FlagId, FlagState, LegalBasis, LiftCause, LogPosition,
    Made, Proposal, Replaces, Source, SourceKind, Span, Subject, SubjectKind, Timestamp, Urgency, Verdict,
};
use canhbao::register::Register;
use canhbao::store::sqlite::SqliteStore;
use canhbao::store::sqlite::register::{
    Asked, Budget, Covered, Effort, GoesOn, Moment, RegisterFile, Version, WrittenPage,
};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

const UNITS: [&str; 3] = ["city", "ward-a", "ward-b"];
const SUBJECTS: [&str; 6] = [
    "account:970436:0011001932418",
    "account:970415:1100193",
    "wallet:momo:0901234567",
    "phone:+84901234567",
    "person:001099012345",
    "organisation:0314409058-002",
];
const TEXTS: [&str; 5] =
    ["Giả danh công an, đòi chuyển tiền", "Gia đình trình báo; chuyển khoản lạ", "công ty ma", "Đòi nợ thuê", "g"];
const CASES: [&str; 3] = ["HN-2026-17", "hn 2026/17", "HCM-1"];
const WORDS: [&str; 9] = ["cong an", "chuyen", "gia d", "17", "HN 2026", "doi", "không", "g", "an cong ty"];
const PARTS: [&str; 7] = ["1001", "100 193", "0901", "+8490", "234567", "058-002", "9999"];

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn unit(number: usize) -> PartyId {
    PartyId::parse(UNITS[number % UNITS.len()]).unwrap()
}

fn officer(number: usize) -> Actor {
    Actor { party: unit(number), client: ClientId::parse(&format!("officer-{number}")).unwrap() }
}

fn subject(number: usize) -> Subject {
    Subject::from_canonical(SUBJECTS[number % SUBJECTS.len()]).unwrap()
}

#[derive(Clone, Debug)]
struct Raised {
    subject: usize,
    linked: Option<usize>,
    text: usize,
    case: usize,
    unit: usize,
    coordinating: Option<usize>,
    category: usize,
    verdict: usize,
    source: usize,
    urgent: bool,
    at: u64,
}

#[derive(Clone, Debug)]
enum Step {
    Raise(Raised),
    Approve(usize),
    Reject(usize),
    Lift(usize),
    Renew(usize),
    Amend(usize, usize, usize, Option<usize>, Option<usize>),
    Transfer(usize, usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    let small = || 0..6_usize;
    let raised = (
        (small(), prop::option::of(small()), 0..TEXTS.len(), 0..CASES.len(), 0..3_usize, prop::option::of(0..3_usize)),
        (0..3_usize, 0..2_usize, 0..2_usize, any::<bool>(), 0..500_u64),
    );
    let raised = raised.prop_map(|((subject, linked, text, case, unit, coordinating), rest)| {
        let (category, verdict, source, urgent, at) = rest;
        Raised { subject, linked, text, case, unit, coordinating, category, verdict, source, urgent, at }
    });
    let which = || 0..40_usize;
    prop_oneof![
        5 => raised.prop_map(Step::Raise),
        3 => which().prop_map(Step::Approve),
        1 => which().prop_map(Step::Reject),
        1 => which().prop_map(Step::Lift),
        1 => which().prop_map(Step::Renew),
        3 => (which(), 0..TEXTS.len(), 0..CASES.len(), prop::option::of(small()), prop::option::of(0..3_usize))
            .prop_map(|(which, text, case, linked, unit)| Step::Amend(which, text, case, linked, unit)),
        1 => (which(), 0..3_usize).prop_map(|(which, unit)| Step::Transfer(which, unit)),
    ]
}

/// All versions, in the order in which changes wrote them.
#[derive(Default)]
struct Written {
    /// In the order of raising, each with its versions.
    flags: Vec<Vec<Version>>,
    order: Vec<(usize, usize)>,
}

impl Written {
    fn all(steps: &[Step]) -> Self {
        let mut written = Self::default();
        for (number, step) in (1_u64..).zip(steps) {
            // The clocks of nodes differ a little, so that times do not only grow.
            let now = at(1_000 + number * 100 - number % 3 * 150);
            written.take(step, number, now);
        }
        written
    }

    fn take(&mut self, step: &Step, number: u64, now: Timestamp) {
        let (which, next) = match step {
            Step::Raise(raised) => (self.flags.len(), Some(propose(raised, number))),
            Step::Approve(which) => self.next(*which, |flag| flag.approve(officer(90), now).ok()),
            Step::Reject(which) => self.next(*which, |flag| flag.reject(officer(90), "no".to_owned(), now).ok()),
            Step::Lift(which) => {
                self.next(*which, |flag| flag.lift(officer(1), "over".to_owned(), LiftCause::Ended, now).ok())
            }
            Step::Renew(which) => self.next(*which, |flag| flag.renew(&officer(1), None, "still".to_owned(), now).ok()),
            Step::Amend(which, text, case, linked, unit) => self.next(*which, |flag| {
                let changes = Changes {
                    reason: Some(TEXTS[*text].to_owned()),
                    case: Some(CASES[*case].to_owned()),
                    linked: linked.map(|linked| vec![subject(linked)]).filter(|linked| linked[0] != flag.subject),
                    coordinating: unit.map(|number| vec![self::unit(number)]).filter(|units| units[0] != *flag.unit()),
                    ..Changes::default()
                };
                flag.amend(officer(2), changes, "new".to_owned(), now).ok()
            }),
            Step::Transfer(which, to) => self.next(*which, |flag| {
                let to = officer(*to);
                flag.transfer(&officer(1), to.party, to.client, "there".to_owned(), now).ok()
            }),
        };
        let Some(flag) = next else { return };
        if which == self.flags.len() {
            self.flags.push(Vec::new());
        }
        self.order.push((which, self.flags[which].len()));
        self.flags[which].push(Version { flag, change: number, at: now });
    }

    fn next(&self, which: usize, make: impl Fn(&Flag) -> Option<Flag>) -> (usize, Option<Flag>) {
        if self.flags.is_empty() {
            return (0, None);
        }
        let which = which % self.flags.len();
        (which, make(&self.flags[which].last().unwrap().flag))
    }

    /// What a look at everything finds, the newest first.
    fn found(
        &self,
        conditions: &FlagConditions,
        seen_by: &[PartyId],
        moment: Timestamp,
        version: Moment,
    ) -> Vec<FlagId> {
        let mut found = Vec::new();
        for versions in self.flags.iter().rev() {
            let newest = &versions.last().unwrap().flag;
            let is_seen = [newest.unit()].into_iter().chain(&newest.coordinating).any(|unit| seen_by.contains(unit));
            let shown = match version {
                Moment::Newest => Some(newest),
                Moment::Past => versions.iter().rev().find(|version| version.at <= moment).map(|version| &version.flag),
            };
            found.extend(shown.filter(|flag| is_seen && conditions.hold(flag, moment)).map(|flag| flag.id));
        }
        found
    }
}

fn propose(raised: &Raised, number: u64) -> Flag {
    let urgent = raised.urgent;
    let proposal = Proposal {
        subject: subject(raised.subject),
        verdict: [Verdict::Warn, Verdict::Hold][raised.verdict],
        category: [Category::Mule, Category::Loan, Category::Other][raised.category],
        case: CASES[raised.case].to_owned(),
        reason: TEXTS[raised.text].to_owned(),
        legal_basis: None::<LegalBasis>,
        expires_at: Some(at(4_000 + raised.at * 10)),
        urgency: if urgent { Urgency::Urgent } else { Urgency::Normal },
        linked: raised.linked.filter(|linked| *linked != raised.subject).map(subject).into_iter().collect(),
        source: Source { kind: [SourceKind::Police, SourceKind::Citizen][raised.source], reference: None },
        unit: Some(unit(raised.unit)),
        coordinating: raised.coordinating.filter(|other| *other != raised.unit).map(unit).into_iter().collect(),
    };
    // Of a few flags raised at once the ids are in no order.
    let id = FlagId::mint(at(number), [u8::try_from(number * 37 % 256).unwrap(); 16]);
    Flag::propose(id, proposal, officer(raised.unit), at(500 + raised.at)).unwrap()
}

#[derive(Clone, Debug)]
struct Question {
    subject: Option<usize>,
    part: Option<usize>,
    kind: Option<SubjectKind>,
    institution: Option<&'static str>,
    state: Option<FlagState>,
    verdict: Option<Verdict>,
    category: Option<Category>,
    source: Option<SourceKind>,
    case: Option<usize>,
    units: Option<Vec<usize>>,
    officer: Option<usize>,
    spans: [(Option<u64>, Option<u64>); 3],
    words: Option<usize>,
    seen_by: Vec<usize>,
    moment: u64,
    past: bool,
}

fn any_question() -> impl Strategy<Value = Question> {
    fn rarely<T: Clone + std::fmt::Debug>(strategy: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
        prop::option::weighted(0.2, strategy)
    }
    let states =
        vec![FlagState::Proposed, FlagState::Active, FlagState::Rejected, FlagState::Lifted, FlagState::Expired];
    let span = || (rarely(0..6_000_u64), rarely(500..9_000_u64));
    let first = (
        (
            rarely(0..6_usize),
            rarely(0..PARTS.len()),
            rarely(Just(SubjectKind::Account)),
            rarely(prop::sample::select(vec!["970436", "momo"])),
        ),
        (
            rarely(prop::sample::select(states)),
            rarely(Just(Verdict::Hold)),
            rarely(Just(Category::Loan)),
            rarely(Just(SourceKind::Citizen)),
        ),
    );
    let second = (
        (
            rarely(0..CASES.len()),
            rarely(prop::collection::vec(0..3_usize, 1..3)),
            rarely(0..3_usize),
            [span(), span(), span()],
        ),
        (rarely(0..WORDS.len()), prop::collection::vec(0..3_usize, 1..4), 500..9_000_u64, any::<bool>()),
    );
    (first, second).prop_map(|(first, second)| {
        let ((subject, part, kind, institution), (state, verdict, category, source)) = first;
        let ((case, units, officer, spans), (words, seen_by, moment, past)) = second;
        Question {
            subject,
            part,
            kind,
            institution,
            state,
            verdict,
            category,
            source,
            case,
            units,
            officer,
            spans,
            words,
            seen_by,
            moment,
            past,
        }
    })
}

impl Question {
    fn conditions(&self) -> FlagConditions {
        let span = |place: usize| Span { from: self.spans[place].0.map(at), to: self.spans[place].1.map(at) };
        let institution = |kind: SubjectKind| {
            let of_kind = SUBJECTS.iter().filter_map(|text| Subject::from_canonical(text));
            of_kind.filter(|subject| subject.kind() == kind && subject.institution() == self.institution).find_map(Some)
        };
        FlagConditions {
            subject: self.subject.map(subject),
            number_part: self.part.map(|part| NumberPart::parse(PARTS[part]).unwrap()),
            kind: self.kind,
            bank: institution(SubjectKind::Account).and_then(|subject| match subject {
                Subject::Account(account) => Some(account.bin()),
                Subject::Wallet(_) | Subject::Person(_) | Subject::Organisation(_) | Subject::Phone(_) => None,
            }),
            provider: institution(SubjectKind::Wallet).and_then(|subject| match subject {
                Subject::Wallet(wallet) => Some(wallet.provider()),
                Subject::Account(_) | Subject::Person(_) | Subject::Organisation(_) | Subject::Phone(_) => None,
            }),
            state: self.state,
            verdict: self.verdict,
            category: self.category,
            source: self.source,
            case: self.case.map(|case| folded(CASES[case])),
            units: self.units.as_ref().map(|units| units.iter().map(|number| unit(*number)).collect()),
            officer: self.officer.map(|number| officer(number).client),
            raised: span(0),
            changed: span(1),
            expires: span(2),
            text: self.words.map(|words| Words::parse(WORDS[words]).unwrap()),
        }
    }
}

/// All pages of a search, as the registry makes them.
fn searched(file: &RegisterFile, written: &Written, question: &Question, effort: Effort, page: usize) -> Vec<FlagId> {
    let conditions = question.conditions();
    let seen_by: Vec<PartyId> = question.seen_by.iter().map(|number| unit(*number)).collect();
    let version = if question.past { Moment::Past } else { Moment::Newest };
    let moment = at(question.moment);
    let wanted = written.found(&conditions, &seen_by, moment, version);
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let asked = Asked { conditions: &conditions, seen_by: &seen_by, at: moment, version, before, found_max: page };
        let piece = file.read(|reader| reader.look(&asked, &Budget::of(effort))).unwrap();
        assert!(
            piece.found.len() <= page
                && piece.found.iter().all(|(place, _)| before.is_none_or(|before| *place < before))
        );
        found.extend(piece.found.iter().map(|(_, id)| *id).filter(|id| wanted.contains(id)));
        match piece.next {
            Some(next) => before = Some(next),
            None => return found,
        }
    }
}

fn build(file: &RegisterFile, written: &Written, page: usize) {
    let nothing = Covered::nothing("registry.example".to_owned(), at(0));
    let mut writer = file.create(&nothing).unwrap();
    for places in written.order.chunks(page) {
        let versions: Vec<Version> = places
            .iter()
            .map(|(which, version)| &written.flags[*which][*version])
            .map(|version| Version { flag: version.flag.clone(), change: version.change, at: version.at })
            .collect();
        let entry = LogPosition { node: "main".into(), index: 0 };
        let change = versions.last().unwrap().change;
        let covered = Covered { change, entry, ..nothing.clone() };
        let page = |goes_on| WrittenPage { versions: &versions, covered: &covered, goes_on };
        assert!(!writer.write(&page(GoesOn::Yes)).unwrap());
        // What is put in a second time changes nothing.
        assert!(writer.write(&page(GoesOn::No)).unwrap());
        assert_eq!(writer.covered().unwrap(), covered);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_search_finds_what_a_look_at_everything_finds(
        steps in prop::collection::vec(any_step(), 1..60),
        questions in prop::collection::vec(any_question(), 40),
        page in 1..7_usize,
        few_max in prop::sample::select(vec![0_usize, 2, 5, 1_000]),
        one_by_one_max in prop::sample::select(vec![0_usize, 256]),
        window_places in prop::sample::select(vec![1_i64, 4, 1_000]),
        time in prop::sample::select(vec![Duration::ZERO, Duration::from_secs(60)]),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let file = RegisterFile::at(&directory.path().join("register.sqlite3"));
        let written = Written::all(&steps);
        build(&file, &written, page);
        let effort = Effort { time_max: time, few_max, one_by_one_max, window_places };
        for question in &questions {
            let seen_by: Vec<PartyId> = question.seen_by.iter().map(|number| unit(*number)).collect();
            let version = if question.past { Moment::Past } else { Moment::Newest };
            let expected = written.found(&question.conditions(), &seen_by, at(question.moment), version);
            prop_assert_eq!(searched(&file, &written, question, effort, page), expected, "{:?}", question);
        }
        let from = at(750);
        for subject in (0..SUBJECTS.len()).map(subject) {
            let answered_alone = |versions: &&Vec<Version>| {
                let newest = &versions.last().unwrap().flag;
                newest.is_urgent_alone()
                    && newest.raised_at >= from
                    && versions.iter().any(|version| version.flag.names(&subject))
            };
            let expected: Vec<FlagId> =
                written.flags.iter().rev().filter(answered_alone).map(|versions| versions[0].flag.id).collect();
            let found = file.read(|reader| reader.answered_alone_for(&subject, from)).unwrap();
            prop_assert_eq!(found, expected, "{}", subject.canonical());
        }
    }
}

#[test]
fn what_is_handed_over_is_found_without_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("registry.db");
    SqliteStore::create(&database, "registry.example", at(0)).unwrap();
    let store = Arc::new(SqliteStore::open(&database, at(0)).unwrap());
    let register = Register::start(store, &directory.path().join("register.sqlite3")).unwrap();
    let raised = Raised {
        subject: 0,
        linked: None,
        text: 0,
        case: 0,
        unit: 0,
        coordinating: None,
        category: 0,
        verdict: 0,
        source: 0,
        urgent: false,
        at: 0,
    };
    let flag = Box::new(propose(&raised, 1));
    let (id, told) = (flag.id, Some((at(500), LogPosition { node: "main".into(), index: 0 })));
    register.tell(vec![Made { number: 1, change: Change::Flag { replaces: Replaces::Nothing, flag }, told }], 1);
    let watch = Stopwatch::start();
    while register.read(1, |reader| reader.id_at(1)).ok().flatten() != Some(id) {
        assert!(watch.elapsed() < Duration::from_secs(20), "the store does not have it, and neither has the view");
    }
}

#[test]
fn a_file_that_is_no_view_is_not_opened() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("register.sqlite3");
    let file = RegisterFile::at(&path);
    assert!(file.open().is_none() && !file.is_sound(), "there is none");
    std::fs::write(&path, "not SQLite at all, but long enough to be looked at as a header".repeat(4)).unwrap();
    assert!(file.open().is_none() && !file.is_sound());
    drop(file.create(&Covered::nothing("registry.example".to_owned(), at(0))).unwrap());
    assert!(file.open().is_some() && file.is_sound());
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(file.open().is_none() && !file.is_sound());
}

/// A file into which a page has gone that others were to follow.
fn hurried(file: &RegisterFile) -> canhbao::store::sqlite::register::Writer {
    let nothing = Covered::nothing("registry.example".to_owned(), at(0));
    let mut writer = file.create(&nothing).unwrap();
    let covered = Covered { change: 1, ..nothing };
    let page = |goes_on| WrittenPage { versions: &[], covered: &covered, goes_on };
    writer.write(&page(GoesOn::Yes)).unwrap();
    writer.write(&page(GoesOn::No)).unwrap();
    writer
}

#[test]
fn what_was_left_to_the_system_is_used_while_that_runs_and_made_anew_after_it_started_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = RegisterFile::at(&directory.path().join("register.sqlite3"));
    let mark = directory.path().join("register.unsynced");
    // The process ends without a word.
    drop(hurried(&file));
    let run = std::fs::read_to_string(&mark).unwrap();
    assert_eq!(run, std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap());
    let mut writer = file.open().expect("the system still has all of it");
    assert_eq!(writer.covered().unwrap().change, 1);
    // It is not on the disk for that.
    drop(writer);
    assert!(mark.exists());
    std::fs::write(&mark, "00000000-0000-0000-0000-000000000000\n").unwrap();
    assert!(file.open().is_none(), "it was in the memory of a system that is no more");
    drop(file.create(&Covered::nothing("registry.example".to_owned(), at(0))).unwrap());
    assert!(!mark.exists() && file.open().is_some());
}

#[test]
fn much_that_goes_in_at_once_is_left_to_the_system_and_little_is_not() {
    let raised = Raised {
        subject: 0,
        linked: None,
        text: 0,
        case: 0,
        unit: 0,
        coordinating: None,
        category: 0,
        verdict: 0,
        source: 0,
        urgent: false,
        at: 0,
    };
    for (count, is_left) in [(99, false), (100, true)] {
        let directory = tempfile::tempdir().unwrap();
        let file = RegisterFile::at(&directory.path().join("register.sqlite3"));
        let nothing = Covered::nothing("registry.example".to_owned(), at(0));
        let mut writer = file.create(&nothing).unwrap();
        let version = |change| Version { flag: propose(&raised, change), change, at: at(change) };
        let versions: Vec<_> = (1..=count).map(version).collect();
        let covered = Covered { change: count, ..nothing };
        writer.write(&WrittenPage { versions: &versions, covered: &covered, goes_on: GoesOn::No }).unwrap();
        assert_eq!(directory.path().join("register.unsynced").exists(), is_left, "{count} versions");
    }
}

#[test]
fn after_a_clean_end_nothing_is_left_to_the_system() {
    let directory = tempfile::tempdir().unwrap();
    let file = RegisterFile::at(&directory.path().join("register.sqlite3"));
    let mark = directory.path().join("register.unsynced");
    let mut writer = hurried(&file);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&mark).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // A moment later it is too early.
    writer.rest().unwrap();
    assert!(mark.exists());
    writer.settle().unwrap();
    assert!(!mark.exists());
    drop(writer);
    assert_eq!(file.open().unwrap().covered().unwrap().change, 1);
}
