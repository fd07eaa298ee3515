//! The real server as a process of its own, and what every test holds it to: each answer fits openapi.yaml, and when a
//! test ends the whole log is right. It must never let a test end without that.
// Each test binary uses another part of this.
#![allow(dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod answer;
pub mod chance;
pub mod clock;
pub mod contract;
pub mod ledger;
pub mod load;
pub mod nodes;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod secrets;
pub mod stored;
pub mod verdict;

pub use answer::Answer;

use canhbao::clock::{Clock, Stopwatch, SystemClock};
use canhbao::demo::DemoFile;
use canhbao::domain::{RequestId, Timestamp};
use contract::CONTRACT;
use ledger::Sighting;
use postgres::Postgres;
use process::{Ended, Process};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrets::Secrets;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once};
use std::time::Duration;
use stored::Place;

/// Longer than anything that a server may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// Generated flags of a test's server: more than two pages of the longest list.
pub const FLAGS: u64 = 589;
/// The flags of the sandbox subjects, those whose life is shown, and those of a file.
pub const SANDBOX_FLAGS: u64 = 3 + 9 + 3;

/// A client id and its secret.
#[derive(Clone)]
pub struct Credential {
    pub id: String,
    pub secret: String,
}

/// A demo server with what a client knows of it, and everything that was seen of it.
pub struct Server {
    directory: tempfile::TempDir,
    /// The database on PostgreSQL; `None`: it is in the directory.
    store: Option<String>,
    /// The name of the node, before the slash of `Log-Entry`.
    node: String,
    process: Option<Process>,
    pub base_url: String,
    /// The operator's own listener, of the process that was started last.
    operations: Option<SocketAddr>,
    pub ca_file: PathBuf,
    http: reqwest::Client,
    credentials: Mutex<BTreeMap<String, Credential>>,
    tokens: Mutex<BTreeMap<String, String>>,
    seen: Mutex<Vec<Sighting>>,
    secrets: Mutex<Secrets>,
    finished: bool,
}

/// Installs what is process-wide, as `main` does.
pub fn install_crypto() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        canhbao::auth::install_crypto_provider();
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    });
}

pub fn now() -> Timestamp {
    SystemClock::new(Timestamp::EPOCH).now()
}

/// Asks again and again until something is so; what it is stands in the panic if it never is.
pub async fn eventually(within: Duration, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let watch = Stopwatch::start();
    while !is_so().await {
        assert!(watch.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A new database where `CANHBAO_TEST_STORE=postgres` asks for one; otherwise servers have theirs in the data directory.
fn new_store() -> Option<String> {
    match std::env::var("CANHBAO_TEST_STORE").as_deref() {
        Ok("postgres") => Some(Postgres::shared().create_database()),
        Ok(other) => panic!("CANHBAO_TEST_STORE={other} is not known"),
        Err(_) => None,
    }
}

impl Server {
    /// A fresh demo in a temporary directory.
    pub async fn start() -> Self {
        Self::start_with(FLAGS).await
    }

    pub async fn start_with(flags: u64) -> Self {
        let mut server = Self::nowhere("main", new_store());
        server.spawn(flags).await;
        server
    }

    /// A fresh demo whose database lies in its directory, for tests of the very files.
    pub async fn start_embedded(flags: u64) -> Self {
        let mut server = Self::nowhere("main", None);
        server.spawn(flags).await;
        server
    }

    /// A fresh demo whose database is on PostgreSQL.
    pub async fn start_shared(flags: u64) -> Self {
        let mut server = Self::nowhere("main", Some(Postgres::shared().create_database()));
        server.spawn(flags).await;
        server
    }

    /// A handle without a process, on a directory that is still empty.
    fn nowhere(node: &str, store: Option<String>) -> Self {
        install_crypto();
        Self {
            directory: tempfile::tempdir().unwrap(),
            store,
            node: node.to_owned(),
            process: None,
            base_url: String::new(),
            operations: None,
            ca_file: PathBuf::new(),
            http: reqwest::Client::new(),
            credentials: Mutex::default(),
            tokens: Mutex::default(),
            seen: Mutex::default(),
            secrets: Mutex::default(),
            finished: false,
        }
    }

    /// A handle without a process, on a copy of this one's directory as it is now, and of its database. What was seen is
    /// not copied.
    pub fn copied(&self) -> Self {
        let store = self.store.as_deref().map(|url| Postgres::shared().copy_database(url));
        let copy = Self::nowhere(&self.node, store);
        let mut command = std::process::Command::new("cp");
        assert!(command.arg("-a").arg(self.data()).arg(copy.data()).status().unwrap().success());
        copy
    }

    async fn spawn(&mut self, flags: u64) {
        let mut command = self.command("demo");
        command.args(["--flags", &flags.to_string()]);
        let process = Process::try_start(command).await.unwrap_or_else(|ended| panic!("the server ended: {ended}"));
        let demo = DemoFile::read(&self.data()).unwrap();
        assert_eq!(demo.base_url, process.url, "demo.json and the line `listening on` name the same server");
        self.attach(process);
    }

    fn attach(&mut self, process: Process) {
        let demo = DemoFile::read(&self.data()).unwrap();
        (self.base_url, self.operations) = (process.url.clone(), Some(process.operations));
        self.ca_file = demo.ca_file;
        self.http = client(&self.ca_file).build().unwrap();
        for (name, client) in demo.clients {
            self.know(&name, &client.client_id, &client.client_secret);
        }
        // A token is for one URL, and a new process has another port.
        self.tokens.lock().unwrap().clear();
        self.process = Some(process);
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("demo")
    }

    pub fn process(&self) -> &Process {
        self.process.as_ref().unwrap()
    }

    /// `canhbao serve` on the directory, which heeds its canhbao.toml where `demo` does not.
    pub fn serve(&self) -> std::process::Command {
        self.command("serve")
    }

    fn command(&self, what: &str) -> std::process::Command {
        let mut command = std::process::Command::new(process::BINARY);
        command.arg(what).arg("--data").arg(self.data());
        command.args(["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"]);
        if let Some(store) = &self.store {
            command.args(["--store", store, "--node", &self.node]);
        }
        command
    }

    /// Goes on with the same directory by a command like `serve`, unless that ends before it listens.
    pub async fn start_by(&mut self, command: std::process::Command) -> Result<(), Ended> {
        assert!(self.process.is_none(), "stop it first");
        self.attach(Process::try_start(command).await?);
        Ok(())
    }

    /// Goes on with the same directory as this node, whose log is made if there is none.
    pub async fn start_as(&mut self, node: &str) {
        let path = self.data().join("canhbao.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let before = text.lines().find(|line| line.starts_with("node = ")).unwrap();
        std::fs::write(&path, text.replacen(before, &format!("node = \"{node}\""), 1)).unwrap();
        node.clone_into(&mut self.node);
        let command = self.serve();
        self.start_by(command).await.unwrap();
    }

    /// Waits for the end that something has brought about.
    pub async fn ended(&mut self) -> (std::process::ExitStatus, String) {
        self.http = reqwest::Client::new();
        let (status, log) = self.process.take().unwrap().ended().await;
        self.secrets.lock().unwrap().assert_absent_from(&log, "the operational log");
        (status, log)
    }

    /// SIGTERM; the server must end well.
    pub async fn stop(&mut self) {
        // Its idle connections go first, as a client's would that has no more to ask.
        self.http = reqwest::Client::new();
        tokio::task::yield_now().await;
        let (status, log) = self.process.take().unwrap().terminate().await;
        assert!(status.success(), "after SIGTERM the server ended with {status}:\n{log}");
        self.secrets.lock().unwrap().assert_absent_from(&log, "the operational log");
    }

    /// SIGKILL: nothing is said or written any more.
    pub async fn kill(&mut self) {
        let log = self.process.take().unwrap().kill().await;
        self.secrets.lock().unwrap().assert_absent_from(&log, "the operational log");
    }

    /// Goes on with the same directory after `stop`, `kill` or `ended`.
    pub async fn start_again(&mut self) {
        assert!(self.process.is_none(), "stop it first");
        self.spawn(0).await;
    }

    /// Stops the server and verifies its whole log against everything that was seen.
    pub async fn finish(mut self) {
        if self.process.is_some() {
            self.stop().await;
        }
        self.verify();
        self.finished = true;
    }

    /// Verifies the whole log as it is on the disk against everything that was seen so far. No process may be running.
    pub fn verify(&self) {
        assert!(self.process.is_none(), "stop it first");
        ledger::check(&self.place(), self.seen.lock().unwrap().iter());
    }

    /// Where its database is.
    pub fn place(&self) -> Place {
        self.store.clone().map_or_else(|| Place::Embedded(self.data()), Place::Shared)
    }

    /// Ends a server whose log cannot be verified, since it was damaged on purpose.
    pub async fn leave(mut self) {
        if let Some(process) = self.process.take() {
            process.kill().await;
        }
        self.finished = true;
    }

    /// The requests that were answered, however.
    pub fn answered(&self) -> HashSet<RequestId> {
        self.seen.lock().unwrap().iter().map(Sighting::request_id).collect()
    }

    /// Makes a client's credential known under a name of the test's.
    pub fn know(&self, name: &str, id: &str, secret: &str) {
        let credential = Credential { id: id.to_owned(), secret: secret.to_owned() };
        self.secrets.lock().unwrap().add(secret);
        self.credentials.lock().unwrap().insert(name.to_owned(), credential);
    }

    pub fn credential(&self, name: &str) -> Credential {
        self.credentials.lock().unwrap().get(name).unwrap_or_else(|| panic!("no client is called {name}")).clone()
    }

    /// The client's token, fetched when it is first needed.
    pub async fn token(&self, name: &str) -> String {
        if let Some(token) = self.tokens.lock().unwrap().get(name) {
            return token.clone();
        }
        let token = self.new_token(name, None).await;
        self.tokens.lock().unwrap().insert(name.to_owned(), token.clone());
        token
    }

    /// A token of its own, for the scope if one is named.
    pub async fn new_token(&self, name: &str, scope: Option<&str>) -> String {
        let Credential { id, secret } = self.credential(name);
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend(scope.map(|scope| ("scope", scope)));
        let ask = self.post("/oauth2/token").basic(&id, &secret).form(&form);
        let answer = self.exchange(ask, None).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// Forgets the token, so that the next request fetches a new one.
    pub fn forget_token(&self, name: &str) {
        self.tokens.lock().unwrap().remove(name);
    }

    pub fn get(&self, path: &str) -> Ask<'_> {
        self.ask(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> Ask<'_> {
        self.ask(Method::POST, path)
    }

    pub fn ask(&self, method: Method, path: &str) -> Ask<'_> {
        let path = path.to_owned();
        Ask { server: self, http: None, method, path, who: Who::Nobody, headers: HeaderMap::new(), body: Vec::new() }
    }

    /// A path of the operator's own listener, as it is: openapi.yaml is about the other one.
    pub async fn operations(&self, path: &str) -> Answer {
        self.try_operations(path).await.unwrap()
    }

    /// As `operations`, of a server that may end meanwhile.
    pub async fn try_operations(&self, path: &str) -> reqwest::Result<Answer> {
        let url = format!("http://{}{path}", self.operations.unwrap());
        Answer::read(self.http.get(url).send().await?).await
    }

    /// Fails if a text shows a subject, a token or a secret of this test.
    pub fn assert_nobody_in(&self, text: &str) {
        self.secrets.lock().unwrap().assert_absent_from(text, "a metric");
    }

    async fn exchange(&self, ask: Ask<'_>, client: Option<String>) -> reqwest::Result<Answer> {
        let url = format!("{}{}", self.base_url, ask.path);
        let http = ask.http.as_ref().unwrap_or(&self.http);
        let request = http.request(ask.method.clone(), url).headers(ask.headers.clone()).body(ask.body.clone());
        let answer = Answer::read(request.send().await?).await?;
        self.witness(&ask, client, &answer);
        Ok(answer)
    }

    /// Holds an answer to the contract, and remembers it until the log is verified.
    pub fn witness(&self, ask: &Ask<'_>, client: Option<String>, answer: &Answer) {
        CONTRACT.check(ask, answer);
        let mut secrets = self.secrets.lock().unwrap();
        secrets.add_of_body(&ask.body);
        secrets.add_of_body(&answer.body);
        let header = |name: &str| ask.headers.get(name).and_then(|value| value.to_str().ok());
        secrets.add_of_authorization(header("authorization"));
        let key = header("idempotency-key").map(str::to_owned);
        self.seen.lock().unwrap().push(Sighting::of(ask, key, client, answer));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        assert!(self.finished || std::thread::panicking(), "a test must end with Server::finish");
    }
}

/// A client that trusts the demo's CA and nothing else.
pub fn client(ca_file: &Path) -> reqwest::ClientBuilder {
    let pem = std::fs::read(ca_file).unwrap();
    let certificates = reqwest::Certificate::from_pem_bundle(&pem).unwrap();
    reqwest::Client::builder().tls_certs_only(certificates).timeout(ANSWER_TIME_MAX)
}

enum Who {
    Nobody,
    /// By the name of a credential that the server's handle knows.
    Client(String),
}

/// A request in the making.
pub struct Ask<'s> {
    server: &'s Server,
    http: Option<reqwest::Client>,
    pub method: Method,
    /// With its query, if it has one.
    pub path: String,
    who: Who,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Ask<'_> {
    /// With a token of this client.
    pub fn by(self, name: &str) -> Self {
        Self { who: Who::Client(name.to_owned()), ..self }
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn basic(self, id: &str, secret: &str) -> Self {
        use base64::Engine;
        let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{id}:{secret}"));
        self.header("authorization", &format!("Basic {encoded}"))
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().unwrap();
        self.headers.append(name, HeaderValue::from_str(value).unwrap());
        self
    }

    /// The version that a change is meant for.
    pub fn if_match(self, etag: &str) -> Self {
        self.header("if-match", etag)
    }

    pub fn key(self, idempotency_key: &str) -> Self {
        self.header("idempotency-key", idempotency_key)
    }

    pub fn json(self, body: &Value) -> Self {
        self.raw("application/json", body.to_string())
    }

    pub fn form(self, pairs: &[(&str, &str)]) -> Self {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        self.raw("application/x-www-form-urlencoded", body)
    }

    /// Bytes as they are.
    pub fn raw(mut self, media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_str(media_type).unwrap());
        Self { body: body.into(), ..self }
    }

    /// Over another client than the server handle's own.
    pub fn through(self, http: &reqwest::Client) -> Self {
        Self { http: Some(http.clone()), ..self }
    }

    pub async fn send(self) -> Answer {
        self.try_send().await.unwrap()
    }

    /// As `send`, to a server that may end meanwhile.
    pub async fn try_send(mut self) -> reqwest::Result<Answer> {
        let server = self.server;
        let mut client = None;
        if let Who::Client(name) = &self.who {
            let token = server.token(name).await;
            client = Some(server.credential(name).id);
            self.headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
        }
        server.exchange(self, client).await
    }
}
