//! The load generator: one thread, a closed loop on every connection, one seed for the whole run. It can be paced, so that it
//! leaves the processors to others.
//! It must never count a request that was not answered with 200.

use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::{JoinSet, LocalSet};
use tokio_rustls::TlsConnector;

use super::Outcome;
use super::http::Connection;
use super::process::CpuClock;

/// One request in so many names a flagged account.
const ONE_HIT_IN: u64 = 100;
/// Numbers of clear accounts are `77` and twelve digits; no generated account begins so.
const CLEAR_NUMBERS: u64 = 1_000_000_000_000;
const LATENCY_MAX: Duration = Duration::from_secs(60);
/// How long the last answers may take once the window is over.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// Where the flagged accounts come from: the function is called with numbers below `flags`.
#[derive(Clone, Copy)]
pub struct Accounts {
    pub flags: u64,
    pub flagged: fn(u64) -> (&'static str, String),
}

pub struct Target<'a> {
    pub address: SocketAddr,
    pub connector: &'a TlsConnector,
    pub tokens: &'a [String],
    pub accounts: Accounts,
    pub clock: &'a CpuClock,
    /// Of what works for the server beside it, such as its database.
    pub beside: Option<&'a CpuClock>,
}

#[derive(Clone, Copy)]
pub struct Load {
    pub connections: u32,
    /// How long it is from one request of a connection to the next; None: as soon as it is answered.
    pub pace: Option<Duration>,
    pub warm_up: Duration,
    pub measured: Duration,
    pub seed: u64,
}

/// What one window gave.
pub struct Sample {
    pub requests: u32,
    pub lasted: Duration,
    pub server_cpu: Duration,
    pub generator_cpu: Duration,
    pub beside_cpu: Duration,
    latencies: Histogram<u64>,
}

impl Sample {
    /// What two loads gave that ran at the same time on two servers with one thing beside them.
    pub fn joined(mut self, other: Self) -> Outcome<Self> {
        self.latencies.add(&other.latencies)?;
        self.requests += other.requests;
        self.server_cpu += other.server_cpu;
        Ok(self)
    }

    pub fn latency(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.latencies.value_at_quantile(quantile))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Measured,
    Over,
}

/// Shared by the connections of one run, which all live on one thread.
struct Window {
    phase: Cell<Phase>,
    latencies: RefCell<Histogram<u64>>,
}

pub async fn run(target: &Target<'_>, load: Load) -> Outcome<Sample> {
    LocalSet::new().run_until(drive(target, load)).await
}

async fn drive(target: &Target<'_>, load: Load) -> Outcome<Sample> {
    let window = Rc::new(Window { phase: Cell::new(Phase::WarmUp), latencies: RefCell::new(histogram()?) });
    let heads = request_heads(target.address, target.tokens);
    let mut opened = Vec::new();
    for number in 0..load.connections {
        let random = SplitMix64::new(load.seed, u64::from(number));
        let questions = Questions::new(Rc::clone(&heads), target.accounts, random);
        opened.push((Connection::open(target.address, target.connector).await?, questions));
    }
    let mut tasks = JoinSet::new();
    for (number, (connection, questions)) in (0..).zip(opened) {
        let pace = load.pace.map(|every| Pace::of(every, number, load.connections));
        tasks.spawn_local(ask(connection, questions, pace, Rc::clone(&window)));
    }
    hold(&mut tasks, load.warm_up).await?;
    let beside = || target.beside.map_or(Ok(Duration::ZERO), CpuClock::used);
    let (server_cpu, beside_cpu) = (target.clock.used()?, beside()?);
    let (generator_cpu, start) = (CpuClock::own().used()?, Instant::now());
    window.phase.set(Phase::Measured);
    hold(&mut tasks, load.measured).await?;
    window.phase.set(Phase::Over);
    let lasted = start.elapsed();
    let server_cpu = target.clock.used()?.saturating_sub(server_cpu);
    let generator_cpu = CpuClock::own().used()?.saturating_sub(generator_cpu);
    let beside_cpu = beside()?.saturating_sub(beside_cpu);
    tokio::time::timeout(DRAIN_MAX, drain(&mut tasks)).await.map_err(|_| "the last answers did not come")??;
    let latencies = window.latencies.replace(histogram()?);
    let requests = u32::try_from(latencies.len())?;
    if requests == 0 {
        return Err("no request was answered in the window".into());
    }
    Ok(Sample { requests, lasted, server_cpu, generator_cpu, beside_cpu, latencies })
}

/// When a connection asks next. A turn that was missed is not made up for.
struct Pace(tokio::time::Interval);

impl Pace {
    /// The connections of a load take turns.
    fn of(every: Duration, number: u32, connections: u32) -> Self {
        let first = tokio::time::Instant::now() + every.saturating_mul(number) / connections.max(1);
        let mut turns = tokio::time::interval_at(first, every);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        Self(turns)
    }
}

async fn ask(
    mut connection: Connection,
    mut questions: Questions,
    mut pace: Option<Pace>,
    window: Rc<Window>,
) -> Outcome<()> {
    while window.phase.get() != Phase::Over {
        if let Some(Pace(turns)) = &mut pace {
            turns.tick().await;
        }
        let request = questions.next()?;
        let start = Instant::now();
        connection.exchange(request).await?.require(200)?;
        if window.phase.get() == Phase::Measured {
            window.latencies.borrow_mut().record(u64::try_from(start.elapsed().as_nanos())?)?;
        }
    }
    Ok(())
}

/// Lets the connections work for a while. None of them ends by itself before the window is over, unless it failed.
async fn hold(tasks: &mut JoinSet<Outcome<()>>, time: Duration) -> Outcome<()> {
    tokio::select! {
        () = tokio::time::sleep(time) => Ok(()),
        Some(ended) = tasks.join_next() => ended?.and(Err("a connection ended early".into())),
    }
}

async fn drain(tasks: &mut JoinSet<Outcome<()>>) -> Outcome<()> {
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

pub fn histogram() -> Outcome<Histogram<u64>> {
    Ok(Histogram::new_with_max(u64::try_from(LATENCY_MAX.as_nanos())?, 3)?)
}

/// One head for each token, complete but for the value of Content-Length.
fn request_heads(address: SocketAddr, tokens: &[String]) -> Rc<[Vec<u8>]> {
    let head = |token: &String| {
        format!(
            "POST /v1/checks HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nAccept: application/json\r\n\
             Content-Type: application/json\r\nContent-Length: "
        )
        .into_bytes()
    };
    tokens.iter().map(head).collect()
}

/// The requests of one connection, one after another, written into the same two buffers.
pub struct Questions {
    heads: Rc<[Vec<u8>]>,
    accounts: Accounts,
    random: SplitMix64,
    body: Vec<u8>,
    request: Vec<u8>,
}

impl Questions {
    fn new(heads: Rc<[Vec<u8>]>, accounts: Accounts, random: SplitMix64) -> Self {
        Self { heads, accounts, random, body: Vec::new(), request: Vec::new() }
    }

    /// The questions that are asked before a window, to see that the server answers as it should.
    pub fn for_probe(target: &Target<'_>, seed: u64) -> Self {
        let random = SplitMix64::new(seed, u64::MAX);
        Self::new(request_heads(target.address, target.tokens), target.accounts, random)
    }

    fn next(&mut self) -> Outcome<&[u8]> {
        if self.random.below(ONE_HIT_IN) == 0 { self.flagged() } else { self.clear() }
    }

    pub fn flagged(&mut self) -> Outcome<&[u8]> {
        let (bank, number) = (self.accounts.flagged)(self.random.below(self.accounts.flags));
        self.about(bank, &number)
    }

    pub fn clear(&mut self) -> Outcome<&[u8]> {
        let number = self.random.below(CLEAR_NUMBERS);
        self.about("970436", &format!("77{number:012}"))
    }

    fn about(&mut self, bank: &str, number: &str) -> Outcome<&[u8]> {
        let reference = self.random.below(CLEAR_NUMBERS);
        self.body.clear();
        write!(
            self.body,
            r#"{{"subjects":[{{"kind":"account","bank":"{bank}","number":"{number}"}}],"context":"transfer","reference":"FT{reference:012}"}}"#
        )?;
        let client = usize::try_from(self.random.below(u64::try_from(self.heads.len())?))?;
        let head = self.heads.get(client).ok_or("there is no token to ask with")?;
        self.request.clear();
        self.request.extend_from_slice(head);
        write!(self.request, "{}\r\n\r\n", self.body.len())?;
        self.request.extend_from_slice(&self.body);
        Ok(&self.request)
    }
}

/// The SplitMix64 generator of Steele, Lea and Flood (2014): the same seed gives the same run.
struct SplitMix64(u64);

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

impl SplitMix64 {
    /// Streams of one seed start far from each other, since the stream's number is mixed first.
    fn new(seed: u64, stream: u64) -> Self {
        let mut mixer = Self(stream);
        Self(seed ^ mixer.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN_GAMMA);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The bias of the remainder is below 2⁻²⁴ for every bound used here.
    fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }
}
