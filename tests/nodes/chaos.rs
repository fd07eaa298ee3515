//! Everything that can end, stop, be cut or be late, in an order that nobody chose, while flags are approved and lifted and
//! banks ask about them. In the end each answer has its entry, and no check has seen what it cannot have seen.

use crate::history::{Decision, History, Look, went_back};
use crate::support::chance::{Random, amount};
use crate::support::load::{proposal, together};
use crate::support::nodes::{Nodes, Processes};
use crate::support::postgres::Postgres;
use crate::support::proxy::AtCommit;
use crate::support::{Answer, Server, client};
use crate::{BACK_AFTER, FLAGS, about_nobody, about_proposed, check, decision, is_flagged, version};
use canhbao::clock::Stopwatch;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

const EVENTS: u64 = 10;
/// As many as surely end within the life of the tokens that the clients begin with.
const EVENTS_WHOLE: u64 = 150;
const SUBJECTS: u64 = 6;
const CHECKERS: usize = 6;
/// A client gives up then, and asks another node.
const PATIENCE: Duration = Duration::from_secs(3);
const AFTER_REFUSAL: Duration = Duration::from_millis(30);
const BETWEEN_CHECKS: Duration = Duration::from_millis(3);

#[derive(Clone, Copy, Debug)]
enum Event {
    /// SIGKILL of a node, and a new start.
    Kill,
    /// SIGSTOP of a node, and SIGCONT so many milliseconds later.
    Pause(u64),
    /// SIGKILL of the whole database, and a new start so many milliseconds later.
    Crash(u64),
    PauseDatabase(u64),
    Cut,
    Reset,
    Refuse(u64),
    Silence(u64),
    Delay(u64),
    Commit(AtCommit),
}

fn any_event(random: &mut Random) -> Event {
    let ms = 50 + random.below(2_950);
    match random.below(16) {
        0 | 1 => Event::Kill,
        // Longer than the list may be old, and than a process may be silent.
        2 => Event::Pause(ms * 3),
        3 => Event::Pause(ms),
        4 | 5 => Event::Crash(ms),
        6 => Event::PauseDatabase(ms),
        7 => Event::Cut,
        8 => Event::Reset,
        9 => Event::Refuse(ms),
        10 => Event::Silence(ms * 2),
        11 => Event::Delay(ms / 40),
        12 => Event::Commit(AtCommit::BeforeRequest),
        13 => Event::Commit(AtCommit::WithRequest),
        14 => Event::Commit(AtCommit::BeforeAnswer),
        _ => Event::Commit(AtCommit::Late(Duration::from_millis(ms))),
    }
}

async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// On a thread of its own, since the load must go on.
async fn apart(postgres: &Arc<Postgres>, work: impl FnOnce(&Postgres) + Send + 'static) {
    let postgres = Arc::clone(postgres);
    tokio::task::spawn_blocking(move || work(&postgres)).await.unwrap();
}

async fn bring_about(event: Event, place: usize, processes: &mut Processes, postgres: &Arc<Postgres>) {
    match event {
        Event::Kill => {
            processes.kill(place).await;
            processes.start(place).await.unwrap_or_else(|ended| panic!("after a kill: {ended}"));
        }
        Event::Pause(ms) => {
            processes.pause(place);
            pause(ms).await;
            processes.go_on(place);
        }
        Event::Crash(ms) => {
            apart(postgres, Postgres::crash).await;
            pause(ms).await;
            apart(postgres, Postgres::start_again).await;
        }
        Event::PauseDatabase(ms) => {
            postgres.pause();
            pause(ms).await;
            postgres.go_on();
        }
        Event::Cut => processes.proxy(place).cut(),
        Event::Reset => processes.proxy(place).reset(),
        Event::Refuse(ms) => {
            processes.proxy(place).refuse();
            pause(ms).await;
            processes.proxy(place).admit();
        }
        Event::Silence(ms) => {
            processes.proxy(place).fall_silent();
            pause(ms).await;
            processes.proxy(place).speak();
        }
        Event::Delay(ms) => {
            let delay = Duration::from_millis(ms);
            processes.proxy(place).delay(delay, delay);
            pause(1_500).await;
            processes.proxy(place).delay(Duration::ZERO, Duration::ZERO);
        }
        Event::Commit(what) => {
            let hits = processes.proxy(place).hits();
            processes.proxy(place).at_next_commit(what);
            crate::support::eventually(BACK_AFTER, "a commit is hit", async || processes.proxy(place).hits() > hits)
                .await;
        }
    }
}

/// What the clients of all nodes share.
struct Clients<'n> {
    handles: &'n [Server],
    http: Vec<reqwest::Client>,
    watch: Stopwatch,
    random: RefCell<Random>,
    histories: RefCell<Vec<History>>,
    is_over: Cell<bool>,
    refused: Cell<u64>,
    lost: Cell<u64>,
}

impl<'n> Clients<'n> {
    async fn of(handles: &'n [Server], random: Random) -> Self {
        for handle in handles {
            for name in ["bank", "officer", "supervisor"] {
                handle.token(name).await;
            }
        }
        let http = handles.iter().map(|handle| client(&handle.ca_file).timeout(PATIENCE).build().unwrap()).collect();
        Self {
            handles,
            http,
            watch: Stopwatch::start(),
            random: RefCell::new(random),
            histories: RefCell::new((0..SUBJECTS).map(|_| History::default()).collect()),
            is_over: Cell::new(false),
            refused: Cell::new(0),
            lost: Cell::new(0),
        }
    }

    fn below(&self, end: u64) -> u64 {
        self.random.borrow_mut().below(end)
    }

    fn any_place(&self) -> usize {
        usize::try_from(self.below(u64::try_from(self.handles.len()).unwrap())).unwrap()
    }

    /// An answer that is neither lost nor a 503.
    async fn answer(&self, place: usize, ask: crate::support::Ask<'_>) -> Option<Answer> {
        match ask.through(&self.http[place]).try_send().await {
            Ok(answer) if answer.status != 503 => return Some(answer),
            Ok(_) => self.refused.set(self.refused.get() + 1),
            Err(_) => self.lost.set(self.lost.get() + 1),
        }
        tokio::time::sleep(AFTER_REFUSAL).await;
        None
    }

    /// Flags a subject again and again, and lifts it, on any node; each decision is repeated until it is certain.
    async fn decide(&self, subject: u64) {
        for round in 0.. {
            let flag = self.raise(subject, round).await;
            for (what, flag_version, flagged) in [("approve", 1, true), ("lift", 2, false)] {
                let decision = self.decide_once(&flag, what, flag_version, flagged).await;
                self.histories.borrow_mut()[usize::try_from(subject).unwrap()].decisions.push(decision);
                pause(self.below(1_500)).await;
            }
            if self.is_over.get() {
                return;
            }
        }
    }

    async fn raise(&self, subject: u64, round: u64) -> String {
        loop {
            let place = self.any_place();
            let ask = self.handles[place].post("/v1/flags").by("officer").key(&format!("raise-{subject}-{round}"));
            if let Some(answer) = self.answer(place, ask.json(&proposal(subject))).await {
                return answer.is(201).json()["id"].as_str().unwrap().to_owned();
            }
        }
    }

    async fn decide_once(&self, flag: &str, what: &str, flag_version: u64, flagged: bool) -> Decision {
        let began = self.watch.elapsed();
        let mut is_repeated = false;
        loop {
            let place = self.any_place();
            let ask = decision(&self.handles[place], "supervisor", flag, what, flag_version);
            let answer = self.answer(place, ask).await;
            let ended = self.watch.elapsed();
            match answer.as_ref().map(|answer| answer.status) {
                Some(200) => return Decision { flagged, place: Some(place), began, ended },
                Some(412) if is_repeated => return Decision { flagged, place: None, began, ended },
                Some(_) => panic!("{what}: {answer:?}"),
                None => is_repeated = true,
            }
        }
    }

    async fn look(&self) {
        while !self.is_over.get() {
            let (place, subject) = (self.any_place(), self.below(SUBJECTS));
            let began = self.watch.elapsed();
            if let Some(answer) = self.answer(place, check(&self.handles[place], &about_proposed(subject))).await {
                let answer = answer.is(200);
                let look = Look {
                    place,
                    flagged: is_flagged(&answer),
                    version: version(&answer),
                    began,
                    ended: self.watch.elapsed(),
                };
                self.histories.borrow_mut()[usize::try_from(subject).unwrap()].looks.push(look);
            }
            tokio::time::sleep(BETWEEN_CHECKS).await;
        }
    }

    /// Each node answers again.
    async fn all_are_back(&self, event: Event, processes: &Processes) -> Duration {
        let watch = Stopwatch::start();
        for place in 0..self.handles.len() {
            while self.answer(place, check(&self.handles[place], &about_nobody())).await.is_none() {
                let told = processes.process(place).stderr();
                assert!(watch.elapsed() < 2 * BACK_AFTER, "node {place} is not back after {event:?}:\n{told}");
            }
        }
        watch.elapsed()
    }
}

#[tokio::test]
async fn no_check_sees_what_it_cannot_have_seen_and_no_answer_lacks_its_entry() {
    let mut random = Random::seeded();
    let postgres = Arc::new(Postgres::start());
    let mut nodes = Nodes::start_behind_proxies(&postgres, &["node-a", "node-b"], FLAGS).await;
    let Nodes { handles, processes, .. } = &mut nodes;
    let clients = Clients::of(handles, random.fork()).await;
    let chaos = async {
        for _ in 0..amount(EVENTS, EVENTS_WHOLE) {
            let event = any_event(&mut random);
            let place = usize::try_from(random.below(2)).unwrap();
            bring_about(event, place, processes, &postgres).await;
            let back = clients.all_are_back(event, processes).await;
            println!("{:?}: {event:?} on {place}, back after {back:?}", clients.watch.elapsed());
            random.pause_ms(100, 1_000).await;
        }
        clients.is_over.set(true);
    };
    let decisions = together((0..SUBJECTS).map(|subject| clients.decide(subject)));
    let looks = together((0..CHECKERS).map(|_| clients.look()));
    tokio::join!(chaos, decisions, looks);
    let histories = clients.histories.take();
    let looks: Vec<Look> = histories.iter().flat_map(|history| history.looks.iter().copied()).collect();
    let decided: usize = histories.iter().map(|history| history.decisions.len()).sum();
    println!(
        "{} checks, {decided} decisions, {} refused, {} lost",
        looks.len(),
        clients.refused.get(),
        clients.lost.get()
    );
    assert!(looks.len() > 100 && decided > 10, "the load was none");
    let faults: Vec<Look> = histories.iter().flat_map(History::faults).collect();
    assert!(faults.is_empty(), "checks have seen what they cannot have seen: {faults:?}");
    let back = went_back(&looks);
    assert!(back.is_empty(), "lists went back: {back:?}");
    nodes.finish().await;
}
