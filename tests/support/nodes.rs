//! Several nodes of one registry on one PostgreSQL, with what their clients saw. A test must never end without all their
//! logs verified together.

use super::postgres::{Postgres, free_port, through};
use super::process::{BINARY, Ended, Process};
use super::proxy::Proxy;
use super::stored::Place;
use super::{Server, client, ledger};
use canhbao::demo::DemoFile;
use nix::sys::signal::Signal;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// Under which clients would reach any of the nodes: issuer and audience of the tokens of all.
const URL: &str = "https://registry.canhbao.example";

/// The nodes' clients and their processes apart, so that load goes on while processes end and start.
pub struct Nodes {
    /// By place: each sees one node's answers. Its process is in `processes`.
    pub handles: Vec<Server>,
    pub processes: Processes,
    store: String,
}

/// By place, as in `Nodes::handles`.
pub struct Processes(Vec<Node>);

struct Node {
    data: PathBuf,
    name: String,
    /// Through the node's proxy, if it has one.
    store: String,
    proxy: Option<Proxy>,
    /// For the API and for the operator: the same at each start, so that clients find it again.
    ports: [u16; 2],
    process: Option<Process>,
    /// The operational logs of the processes that have ended.
    told: String,
}

impl Nodes {
    /// Nodes of these names on a new database, each directly at it.
    pub async fn start(postgres: &Postgres, names: &[&str], flags: u64) -> Self {
        Self::start_on(postgres, names, flags, || None).await
    }

    /// As `start`, each node with a proxy between itself and the database.
    pub async fn start_behind_proxies(postgres: &Postgres, names: &[&str], flags: u64) -> Self {
        Self::start_on(postgres, names, flags, || Some(Proxy::start(postgres.port()))).await
    }

    async fn start_on(postgres: &Postgres, names: &[&str], flags: u64, proxy: impl Fn() -> Option<Proxy>) -> Self {
        let store = postgres.create_database();
        let [first, others @ ..] = names else { panic!("no nodes") };
        let first = Server::first_node(first, &store, flags).await;
        let mut handles: Vec<Server> = others.iter().map(|name| first.joined_by(name, &store)).collect();
        handles.insert(0, first);
        let nodes = handles.iter().map(|handle| Node::of(handle, &store, proxy())).collect();
        let mut nodes = Self { handles, processes: Processes(nodes), store };
        for (place, name) in names.iter().enumerate() {
            nodes.processes.start(place).await.unwrap_or_else(|ended| panic!("{name} ended: {ended}"));
            nodes.attach(place);
        }
        nodes
    }

    /// The client's view of the process at a place.
    fn attach(&mut self, place: usize) {
        let demo = DemoFile::read(&self.handles[0].data()).unwrap();
        let process = self.processes.process(place);
        let handle = &mut self.handles[place];
        (handle.base_url, handle.operations) = (process.url.clone(), Some(process.operations));
        handle.ca_file = handle.data().join("tls/ca.pem");
        handle.http = client(&handle.ca_file).build().unwrap();
        for (name, client) in demo.clients {
            handle.know(&name, &client.client_id, &client.client_secret);
        }
    }

    /// Starts a second process of a node on a copy of its data directory, which no lock keeps from that; returns its place,
    /// unless it ends before it listens.
    pub async fn start_second(&mut self, place: usize) -> Result<usize, Ended> {
        let original = &self.handles[place];
        let second = Server::nowhere(&original.node, Some(self.store.clone()));
        copy(&original.data(), &second.data());
        let mut node = Node::of(&second, &self.store, None);
        let started = Process::try_start(node.command()).await;
        self.handles.push(second);
        match started {
            Ok(process) => node.process = Some(process),
            Err(ended) => {
                self.handles.pop().unwrap().finished = true;
                return Err(ended);
            }
        }
        self.processes.0.push(node);
        let place = self.handles.len() - 1;
        self.attach(place);
        Ok(place)
    }

    /// The database that all share, directly.
    pub fn store(&self) -> &str {
        &self.store
    }

    /// Verifies all logs as they are now against everything that was seen so far. No node may be writing.
    pub fn verify(&self) {
        let seen: Vec<_> = self.handles.iter().map(|handle| handle.seen.lock().unwrap()).collect();
        ledger::check(&Place::Shared(self.store.clone()), seen.iter().flat_map(|seen| seen.iter()));
    }

    /// Stops every node that still runs, which must end well, and verifies their logs.
    pub async fn finish(mut self) {
        for place in 0..self.handles.len() {
            if self.processes.is_running(place) {
                let status = self.processes.stop(place).await;
                let told = &self.processes.0[place].told;
                assert!(status.success(), "after SIGTERM a node ended with {status}:\n{told}");
            }
        }
        self.verify();
        for (handle, node) in self.handles.iter_mut().zip(&self.processes.0) {
            handle.secrets.lock().unwrap().assert_absent_from(&node.told, "the operational log");
            handle.finished = true;
        }
    }
}

impl Server {
    /// A directory of a registry's first node, in an empty database; nothing runs on it.
    async fn first_node(name: &str, store: &str, flags: u64) -> Self {
        let mut first = Self::nowhere(name, Some(store.to_owned()));
        first.spawn(flags).await;
        first.stop().await;
        let file = first.data().join(canhbao::config::FILE);
        let mut config: toml::Table = std::fs::read_to_string(&file).unwrap().parse().unwrap();
        config.insert("url".to_owned(), URL.into());
        std::fs::write(&file, config.to_string()).unwrap();
        first
    }

    /// The directory of another node of this one's registry; nothing runs on it.
    fn joined_by(&self, name: &str, store: &str) -> Self {
        let other = Self::nowhere(name, Some(store.to_owned()));
        let mut init = Command::new(BINARY);
        init.arg("init").arg(other.data()).args(["--store", store, "--node", name, "--join"]).arg(self.data());
        let output = init.args(["--self-signed", "127.0.0.1"]).output().unwrap();
        assert!(output.status.success(), "init --join: {}", String::from_utf8_lossy(&output.stderr));
        other
    }
}

impl Node {
    fn of(handle: &Server, store: &str, proxy: Option<Proxy>) -> Self {
        let store = proxy.as_ref().map_or_else(|| store.to_owned(), |proxy| through(store, proxy.port()));
        let ports = [free_port(), free_port()];
        let (data, name) = (handle.data(), handle.node.clone());
        Self { data, name, store, proxy, ports, process: None, told: String::new() }
    }

    fn command(&self) -> Command {
        let [listen, metrics_listen] = self.ports.map(|port| format!("127.0.0.1:{port}"));
        let mut command = Command::new(BINARY);
        command.arg("serve").arg("--data").arg(&self.data);
        command.args(["--listen", &listen, "--metrics-listen", &metrics_listen]);
        command.args(["--store", &self.store, "--node", &self.name]);
        command
    }
}

impl Processes {
    pub fn is_running(&self, place: usize) -> bool {
        self.0[place].process.is_some()
    }

    pub fn process(&self, place: usize) -> &Process {
        self.0[place].process.as_ref().expect("it runs")
    }

    /// The network between a node and the database.
    pub fn proxy(&self, place: usize) -> &Proxy {
        self.0[place].proxy.as_ref().expect("the nodes were started behind proxies")
    }

    /// Starts a node that does not run, unless it ends before it listens.
    pub async fn start(&mut self, place: usize) -> Result<(), Ended> {
        let node = &mut self.0[place];
        assert!(node.process.is_none(), "stop it first");
        node.process = Some(Process::try_start(node.command()).await?);
        Ok(())
    }

    /// SIGTERM.
    pub async fn stop(&mut self, place: usize) -> ExitStatus {
        self.process(place).signal(Signal::SIGTERM);
        self.ended(place).await
    }

    /// SIGKILL: nothing is said or written any more.
    pub async fn kill(&mut self, place: usize) {
        self.process(place).signal(Signal::SIGKILL);
        self.ended(place).await;
    }

    /// SIGSTOP: it stands still until `go_on`.
    pub fn pause(&self, place: usize) {
        self.process(place).signal(Signal::SIGSTOP);
    }

    pub fn go_on(&self, place: usize) {
        self.process(place).signal(Signal::SIGCONT);
    }

    /// The operational logs of a node's processes that have ended.
    pub fn told(&self, place: usize) -> &str {
        &self.0[place].told
    }

    /// Waits for the end that something has brought about.
    pub async fn ended(&mut self, place: usize) -> ExitStatus {
        let node = &mut self.0[place];
        let (status, told) = node.process.take().expect("it runs").ended().await;
        node.told.push_str(&told);
        status
    }
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}
