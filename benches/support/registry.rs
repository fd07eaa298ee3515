//! The registry as the bench sees it: a data directory made once, twenty clients, and a server started anew each round.
//! It must never print a secret or a token, and never touch a directory that it did not see finished.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_rustls::TlsConnector;

use super::Outcome;
use super::http::{Connection, connector};
use super::load::{Accounts, Target};
use super::process::{CpuClock, ServerProcess};

const CLIENTS: usize = 20;
/// The party whose clients ask; it is one of every demo's.
const PARTY: &str = "970436";
/// The one whose officers raise flags.
const POLICE: &str = "hanoi-police";
/// Far above what any machine sends: the limiter works, and never refuses.
const CHECKS_PER_MINUTE: u64 = 1_000_000_000;
const CLIENTS_FILE: &str = "bench-clients.json";
const FLAGS_FILE: &str = "bench-flags";
const DEMO_FILE: &str = "demo.json";

pub struct Registry {
    pub server: PathBuf,
    pub data: PathBuf,
    pub log: PathBuf,
    pub flags: u64,
    /// Where several nodes share a database.
    pub shared: Option<Shared>,
}

/// A registry's database and the name of its first node.
pub struct Shared {
    pub url: String,
    pub node: &'static str,
}

#[derive(Deserialize)]
struct Demo {
    ca_file: PathBuf,
    clients: DemoClients,
}

#[derive(Deserialize)]
struct DemoClients {
    operator: Credential,
}

#[derive(Deserialize, Serialize)]
struct Credential {
    client_id: String,
    client_secret: String,
}

#[derive(Deserialize)]
struct Token {
    access_token: String,
}

pub struct Ready {
    pub process: ServerProcess,
    pub connector: TlsConnector,
    pub tokens: Vec<String>,
}

impl Ready {
    pub fn target<'a>(&'a self, accounts: Accounts, clock: &'a CpuClock) -> Target<'a> {
        let (address, connector, tokens) = (self.process.address(), &self.connector, &self.tokens);
        Target { address, connector, tokens, accounts, clock, beside: None }
    }
}

impl Registry {
    /// Makes the data directory and the clients, unless an earlier run has; then the server has been stopped again.
    pub async fn prepare(&self) -> Outcome<()> {
        let process = if !self.data.exists() {
            self.make_data()?
        } else {
            self.require_finished_data()?;
            if self.data.join(CLIENTS_FILE).exists() {
                return Ok(());
            }
            self.start_process()?
        };
        self.make_clients(&process).await?;
        process.stop()
    }

    /// Starts the server on what is there and fetches a token for each client.
    pub async fn start(&self) -> Outcome<Ready> {
        let process = self.start_process()?;
        self.ready(process, &self.demo()?.ca_file).await
    }

    /// Starts another node of the registry, whose directory is made if it is not there.
    pub async fn start_other(&self, node: &'static str, data: &Path, log: &Path) -> Outcome<Ready> {
        if !data.exists() {
            let mut init = Command::new(&self.server);
            init.arg("init").arg(data).args(["--node", node, "--self-signed", "127.0.0.1", "--join"]).arg(&self.data);
            let output = init.output()?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
            }
        }
        let mut serve = Command::new(&self.server);
        serve.arg("serve").arg("--data").arg(data);
        serve.args(["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"]);
        let process = ServerProcess::start(serve, log)?;
        self.ready(process, &data.join("tls/ca.pem")).await
    }

    /// With a token for each client.
    async fn ready(&self, process: ServerProcess, ca_file: &Path) -> Outcome<Ready> {
        let connector = connector(ca_file)?;
        let credentials: Vec<Credential> = read_json(&self.data.join(CLIENTS_FILE))?;
        let mut connection = Connection::open(process.address(), &connector).await?;
        let mut tokens = Vec::with_capacity(credentials.len());
        for credential in &credentials {
            tokens.push(fetch_token(&mut connection, credential).await?);
        }
        Ok(Ready { process, connector, tokens })
    }

    /// A token of a new officer, who may raise as many flags as anybody can.
    pub async fn officer(&self, ready: &Ready) -> Outcome<String> {
        let mut connection = Connection::open(ready.process.address(), &ready.connector).await?;
        let operator = fetch_token(&mut connection, &self.demo()?.clients.operator).await?;
        let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let quotas = json!({"writes": {"quota": CHECKS_PER_MINUTE, "window_s": 60}});
        let officer = json!({"party": POLICE, "name": format!("bench-officer-{run}"), "scopes": ["flag.read", "flag.write"],
            "quotas": quotas});
        let credential = make_client(&mut connection, &operator, &format!("bench-officer-{run}"), &officer).await?;
        fetch_token(&mut connection, &credential).await
    }

    /// The marker is written only once all flags are there, so that a run that was broken off is not built upon.
    fn make_data(&self) -> Outcome<ServerProcess> {
        let flags = self.flags.to_string();
        println!("making {} with {flags} flags; this is done once", self.data.display());
        let mut command = self.command();
        command.args(["--flags", &flags]);
        let process = ServerProcess::start(command, &self.log)?;
        println!("  made in {:.0} s", process.started_in().as_secs_f64());
        fs::write(self.data.join(FLAGS_FILE), flags)?;
        Ok(process)
    }

    fn require_finished_data(&self) -> Outcome<()> {
        let flags = self.flags.to_string();
        if fs::read_to_string(self.data.join(FLAGS_FILE)).is_ok_and(|found| found == flags) {
            return Ok(());
        }
        let place = self.data.display();
        Err(format!("{place} holds no finished data of {flags} flags: remove it, or name another with --data").into())
    }

    async fn make_clients(&self, process: &ServerProcess) -> Outcome<()> {
        let demo = self.demo()?;
        let connector: TlsConnector = connector(&demo.ca_file)?;
        let mut connection = Connection::open(process.address(), &connector).await?;
        let operator = fetch_token(&mut connection, &demo.clients.operator).await?;
        // A file that was lost means new clients, so the keys must differ from those of an earlier run.
        let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let mut credentials: Vec<Credential> = Vec::with_capacity(CLIENTS);
        for number in 0..CLIENTS {
            let key = format!("bench-{run}-{number}");
            let quotas = json!({"checks": {"quota": CHECKS_PER_MINUTE, "window_s": 60}});
            let client =
                json!({"party": PARTY, "name": format!("bench-{number}"), "scopes": ["check"], "quotas": quotas});
            credentials.push(make_client(&mut connection, &operator, &key, &client).await?);
        }
        write_secret(&self.data.join(CLIENTS_FILE), &serde_json::to_vec(&credentials)?)
    }

    fn start_process(&self) -> Outcome<ServerProcess> {
        ServerProcess::start(self.command(), &self.log)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.server);
        command.args(["demo", "--listen", "127.0.0.1:0", "--data"]).arg(&self.data);
        // A directory that is there names its database itself.
        if let Some(Shared { url, node }) = self.shared.as_ref().filter(|_| !self.data.exists()) {
            command.args(["--store", url, "--node", node]);
        }
        command
    }

    fn demo(&self) -> Outcome<Demo> {
        read_json(&self.data.join(DEMO_FILE))
    }
}

async fn make_client(
    connection: &mut Connection,
    operator: &str,
    key: &str,
    client: &serde_json::Value,
) -> Outcome<Credential> {
    let bearer = format!("Bearer {operator}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json"), ("Idempotency-Key", key)];
    let answer = connection.call("/v1/clients", &headers, &client.to_string(), 201).await?;
    Ok(serde_json::from_slice(&answer)?)
}

async fn fetch_token(connection: &mut Connection, credential: &Credential) -> Outcome<String> {
    let Credential { client_id, client_secret } = credential;
    // RFC 6749 §2.3.1 form-encodes both before Base64, which changes nothing while they hold these characters alone.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if !client_id.bytes().chain(client_secret.bytes()).all(plain) {
        return Err("a client id or secret holds characters that need form-encoding".into());
    }
    let basic = format!("Basic {}", STANDARD.encode(format!("{client_id}:{client_secret}")));
    let headers = [("Authorization", basic.as_str()), ("Content-Type", "application/x-www-form-urlencoded")];
    let answer = connection.call("/oauth2/token", &headers, "grant_type=client_credentials", 200).await?;
    let token: Token = serde_json::from_slice(&answer)?;
    Ok(token.access_token)
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Outcome<T> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(serde_json::from_slice(&bytes)?)
}

fn write_secret(path: &Path, bytes: &[u8]) -> Outcome<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    Ok(file.sync_all()?)
}
