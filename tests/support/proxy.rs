//! A stretch of network between a node and its database that can fail: cut, reset, slow or silent, and all of that in the
//! middle of a COMMIT. What it lets through it must never change.
// Each test binary uses another part of this.
#![allow(dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

const CHUNK_BYTES: usize = 64 * 1024;

/// What happens to one COMMIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtCommit {
    /// The connection is reset, and the request never reaches the database.
    BeforeRequest,
    /// The request reaches the database while both ends are being reset: it may be done or not.
    WithRequest,
    /// It is done; the connection is reset when the answer comes.
    BeforeAnswer,
    /// It is done; nothing more comes through in either direction, and the connection stays.
    Silence,
    /// The node's end is reset at once; the database gets the request so much later.
    Late(Duration),
}

/// Forwards a port of its own on 127.0.0.1, on a thread of its own, until it is dropped.
pub struct Proxy {
    port: u16,
    state: Arc<State>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    server: SocketAddr,
    network: watch::Sender<Network>,
    /// What to do to the next COMMIT of a transaction that has written to a log.
    at_commit: Mutex<Option<AtCommit>>,
    /// How often something was done to one.
    hits: watch::Sender<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Network {
    is_silent: bool,
    refuses: bool,
    delay_up: Duration,
    delay_down: Duration,
    /// Counts what all open connections had to end by.
    ends: u64,
    end: End,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Closed,
    Reset,
    /// Both ends stay open, and nothing is forwarded.
    Silence,
    Late(Duration),
}

impl Proxy {
    /// In front of the server at this port.
    pub fn start(server_port: u16) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", super::postgres::free_port())).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            server: SocketAddr::from(([127, 0, 0, 1], server_port)),
            network: watch::Sender::new(Network::default()),
            at_commit: Mutex::new(None),
            hits: watch::Sender::new(0),
        });
        let (end, ended) = oneshot::channel();
        let shared = Arc::clone(&state);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            tokio::task::LocalSet::new().block_on(&runtime, async {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = accept(listener, shared) => {}
                    _ = ended => {}
                }
            });
        });
        Self { port, state, end: Some(end), thread: Some(thread) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Closes every connection; new ones are let through.
    pub fn cut(&self) {
        self.end_all(End::Closed);
    }

    /// As `cut`, without a word: both ends get a reset.
    pub fn reset(&self) {
        self.end_all(End::Reset);
    }

    fn end_all(&self, end: End) {
        self.state.network.send_modify(|network| {
            network.ends += 1;
            network.end = end;
        });
    }

    /// What is on its way waits, new connections included, until `speak`. Nobody is told.
    pub fn fall_silent(&self) {
        self.state.network.send_modify(|network| network.is_silent = true);
    }

    pub fn speak(&self) {
        self.state.network.send_modify(|network| network.is_silent = false);
    }

    /// Resets every connection, and each new one, until `admit`.
    pub fn refuse(&self) {
        self.state.network.send_modify(|network| network.refuses = true);
        self.reset();
    }

    pub fn admit(&self) {
        self.state.network.send_modify(|network| network.refuses = false);
    }

    /// How long a piece takes to the database and back; one follows the other, so that this is also a narrow road.
    pub fn delay(&self, up: Duration, down: Duration) {
        self.state.network.send_modify(|network| (network.delay_up, network.delay_down) = (up, down));
    }

    /// Does this to the next COMMIT of a transaction that has written to a log, and to no other.
    pub fn at_next_commit(&self, what: AtCommit) {
        *self.state.at_commit.lock().unwrap() = Some(what);
    }

    /// How often `at_next_commit` has come about.
    pub fn hits(&self) -> u64 {
        *self.state.hits.borrow()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.end.take());
        drop(self.thread.take().map(JoinHandle::join));
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    loop {
        // A node that has reset its connection before it was accepted is no fault of the proxy's.
        let Ok((near, _)) = listener.accept().await else { continue };
        tokio::task::spawn_local(connection(near, Arc::clone(&state)));
    }
}

async fn connection(mut near: TcpStream, state: Arc<State>) {
    let network = *state.network.borrow();
    if network.refuses {
        near.set_zero_linger().unwrap();
        return;
    }
    if network.is_silent {
        let mut changes = state.network.subscribe();
        drop(changes.wait_for(|now| !now.is_silent || now.ends != network.ends).await);
    }
    let Ok(mut far) = TcpStream::connect(state.server).await else { return };
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    let link = Link { state: &state, ends: network.ends, talk: RefCell::default(), stage: Cell::new(Stage::Open) };
    let (end, held) = {
        let ((from_near, to_near), (from_far, to_far)) = (near.split(), far.split());
        let held = RefCell::new(Vec::new());
        let end = tokio::select! {
            end = link.up(from_near, to_far, &held) => end,
            end = link.down(from_far, to_near) => end,
            end = link.ended() => end,
        };
        (end, held.into_inner())
    };
    match end {
        End::Closed => {}
        // An end that is gone already cannot be reset.
        End::Reset => [near, far].iter().for_each(|stream| drop(stream.set_zero_linger())),
        End::Silence => drop(link.ended().await),
        End::Late(delay) => {
            drop(near.set_zero_linger());
            drop(near);
            tokio::time::sleep(delay).await;
            // The database closes a session that it has ended meanwhile, and then there is nobody to tell.
            drop(far.write_all(&held).await);
            drop(far.read(&mut [0]).await);
        }
    }
}

/// Where a connection is with the COMMIT that something is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// The request went through; on the answer it ends like this.
    Asked(End),
}

/// One connection, as both directions of it see it.
struct Link<'s> {
    state: &'s State,
    ends: u64,
    talk: RefCell<Talk>,
    stage: Cell<Stage>,
}

impl Link<'_> {
    /// When the test ends all connections.
    async fn ended(&self) -> End {
        let mut changes = self.state.network.subscribe();
        changes.wait_for(|network| network.ends != self.ends).await.map_or(End::Closed, |network| network.end)
    }

    /// Waits as long as this direction is to take.
    async fn pass(&self, delay: impl Fn(&Network) -> Duration) {
        let network = *self.state.network.borrow();
        tokio::time::sleep(delay(&network)).await;
        drop(self.state.network.subscribe().wait_for(|network| !network.is_silent).await);
    }

    async fn up(&self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, held: &RefCell<Vec<u8>>) -> End {
        let (mut frames, mut chunk) = (Frames::of_node(), vec![0; CHUNK_BYTES]);
        loop {
            let Ok(length @ 1..) = from.read(&mut chunk).await else { return End::Closed };
            self.pass(|network| network.delay_up).await;
            frames.add(&chunk[..length]);
            while let Some(frame) = frames.next() {
                let what = self.talk.borrow_mut().is_commit_of_log(&frame).then(|| self.take_order()).flatten();
                match what {
                    None => {}
                    Some(AtCommit::BeforeRequest) => return End::Reset,
                    Some(AtCommit::BeforeAnswer) => self.stage.set(Stage::Asked(End::Reset)),
                    Some(AtCommit::Silence) => self.stage.set(Stage::Asked(End::Silence)),
                    Some(AtCommit::WithRequest) => {
                        drop(to.write_all(&[frame, frames.rest()].concat()).await);
                        return End::Reset;
                    }
                    Some(AtCommit::Late(delay)) => {
                        *held.borrow_mut() = [frame, frames.rest()].concat();
                        return End::Late(delay);
                    }
                }
                if to.write_all(&frame).await.is_err() {
                    return End::Closed;
                }
            }
        }
    }

    fn take_order(&self) -> Option<AtCommit> {
        let order = self.state.at_commit.lock().unwrap().take();
        if order.is_some() {
            self.state.hits.send_modify(|hits| *hits += 1);
        }
        order
    }

    async fn down(&self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> End {
        let (mut frames, mut chunk) = (Frames::of_database(), vec![0; CHUNK_BYTES]);
        loop {
            let Ok(length @ 1..) = from.read(&mut chunk).await else { return End::Closed };
            self.pass(|network| network.delay_down).await;
            frames.add(&chunk[..length]);
            while let Some(frame) = frames.next() {
                if let Stage::Asked(end) = self.stage.get()
                    && frame.starts_with(b"C")
                    && frame.ends_with(b"COMMIT\0")
                {
                    return end;
                }
                if to.write_all(&frame).await.is_err() {
                    return End::Closed;
                }
            }
        }
    }
}

/// The messages of PostgreSQL's protocol in a stream: but for a node's first one a type, a length that counts itself, and
/// what follows. Behind a request for TLS nothing can be told apart.
struct Frames {
    bytes: Vec<u8>,
    is_first: bool,
    is_opaque: bool,
}

const REQUEST_TLS: [u8; 4] = 80_877_103_u32.to_be_bytes();

impl Frames {
    fn of_node() -> Self {
        Self { bytes: Vec::new(), is_first: true, is_opaque: false }
    }

    fn of_database() -> Self {
        Self { bytes: Vec::new(), is_first: false, is_opaque: false }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next one that is whole.
    fn next(&mut self) -> Option<Vec<u8>> {
        // One byte without a length is the database's answer to a request for TLS.
        self.is_opaque |= !self.is_first && self.bytes.len() == 1 && matches!(self.bytes[0], b'S' | b'N');
        if self.is_opaque {
            return (!self.bytes.is_empty()).then(|| std::mem::take(&mut self.bytes));
        }
        let type_bytes = usize::from(!self.is_first);
        let length = self.bytes.get(type_bytes..type_bytes + 4)?;
        let length = usize::try_from(u32::from_be_bytes(length.try_into().unwrap())).unwrap() + type_bytes;
        if self.bytes.len() < length {
            return None;
        }
        let frame: Vec<u8> = self.bytes.drain(..length).collect();
        self.is_opaque |= self.is_first && frame.ends_with(&REQUEST_TLS);
        self.is_first = false;
        Some(frame)
    }

    /// What came behind the last whole one.
    fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

/// What a node has said on one connection, as far as it matters where a transaction ends.
#[derive(Default)]
struct Talk {
    /// The names of prepared statements that write to a log, and of those that end a transaction.
    writing: HashSet<String>,
    committing: HashSet<String>,
    has_written: bool,
}

impl Talk {
    /// Takes notice of a message, and tells whether it is the COMMIT of a transaction that has written to a log.
    fn is_commit_of_log(&mut self, frame: &[u8]) -> bool {
        let body = frame.get(5..).unwrap_or_default();
        let mut texts = body.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned());
        let mut text = || texts.next().unwrap_or_default();
        let (writes, commits) = match frame.first() {
            Some(b'Q') => (writes_log(&text()), is_commit(body)),
            Some(b'P') => {
                let (name, statement) = (text(), text());
                let (writing, committing) = (writes_log(&statement), is_commit(statement.as_bytes()));
                for (known, belongs) in [(&mut self.writing, writing), (&mut self.committing, committing)] {
                    if belongs {
                        known.insert(name.clone())
                    } else {
                        known.remove(&name)
                    };
                }
                return false;
            }
            Some(b'B') => {
                let (_, name) = (text(), text());
                (self.writing.contains(&name), self.committing.contains(&name))
            }
            _ => return false,
        };
        self.has_written |= writes;
        commits && std::mem::take(&mut self.has_written)
    }
}

fn writes_log(statement: &str) -> bool {
    let upper = statement.to_uppercase();
    ["INSERT INTO LOG_BATCH", "COPY LOG_BATCH"].iter().any(|words| upper.contains(words))
}

/// Whether a text ends with it, so that one behind other statements counts.
fn is_commit(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    text.trim_end_matches([';', ' ', '\n', '\0']).to_uppercase().ends_with("COMMIT")
}
