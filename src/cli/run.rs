//! `init`, `serve` and `demo`: what opens a data directory.

use super::{DemoArgs, Failure, InitArgs, ServeArgs};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, ConfigError};
use crate::demo::{self, DemoError, DemoFile};
use crate::domain::party::{
    AccessState, Client, ClientId, Credential, CredentialKind, Party, PartyId, Quotas, Role, Scope, Scopes,
};
use crate::domain::{Actor, RequestId, Timestamp};
use crate::entropy;
use crate::registry::{Call, Registry, Seed};
use crate::server::{
    self, ClockBehindLog, Home, HomeError, SelfSigned, ServeError, Server, bind, log_to_stderr, recorder,
};
use serde::{Deserialize, Serialize};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

pub const CREDENTIAL_FILE: &str = "operator.json";

/// What a command needs to reach a server: as `init` writes it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialFile {
    pub base_url: String,
    pub ca_file: Option<PathBuf>,
    pub client_id: String,
    pub client_secret: String,
}

pub async fn init(args: &InitArgs) -> Result<(), Failure> {
    let config = Config { registry: args.registry.clone(), ..Config::default() }.checked()?;
    let home = Home::create(&args.data, &config, now())?;
    let ca_file = match args.self_signed.as_slice() {
        [] => None,
        names => Some(absolute(&server::self_signed(home.path(), names)?.ca)?),
    };
    let url = url_of(&config, config.listen);
    let path = home.path().join(CREDENTIAL_FILE);
    let server = Server::open(home, config, url.clone(), ClockBehindLog::Refuse)?;
    let (client_id, client_secret) = first_operator(server.registry).await?;
    let credential = CredentialFile { base_url: url, ca_file, client_id, client_secret };
    let text = serde_json::to_string_pretty(&credential).map_err(|error| Failure::Said(error.to_string()))?;
    crate::auth::key_file::create_private(&path, &text).map_err(HomeError::from)?;
    server.registry.close().await;
    server.finish()?;
    println!("made {}", args.data.display());
    println!("the first operator's credential: {}", path.display());
    if args.self_signed.is_empty() {
        println!("put your certificate into {0}/tls/server.pem and {0}/tls/server.key, then:", args.data.display());
    }
    println!("canhbao serve --data {}", args.data.display());
    Ok(())
}

async fn first_operator(registry: &Registry) -> Result<(String, String), Failure> {
    let broken = || Failure::Said("the first operator could not be made".to_owned());
    let at = registry.now();
    let party = PartyId::parse("operator").ok_or_else(broken)?;
    let id = ClientId::parse("operator").ok_or_else(broken)?;
    let (secret, phc) = registry.authority().new_secret().await.map_err(|error| Failure::Said(error.to_string()))?;
    let random = entropy::bytes16().map_err(|error| Failure::Said(error.to_string()))?;
    let actor = Actor { party: party.clone(), client: id.clone() };
    let call = Call { request_id: RequestId::mint(at, random), at, actor };
    let seeds = [
        Seed::Party(Party {
            id: party.clone(),
            name: "Operator".to_owned(),
            role: Role::Operator,
            parent: None,
            state: AccessState::Enabled,
            version: 1,
            created_at: at,
        }),
        Seed::Client(Box::new(Client {
            id: id.clone(),
            party,
            name: "First operator".to_owned(),
            scopes: Scopes::of(&[Scope::Admin]),
            quotas: Quotas::default(),
            state: AccessState::Enabled,
            version: 1,
            created_at: at,
            tokens_void_until: None,
            credentials: vec![Credential { kind: CredentialKind::Secret { phc }, created_at: at, expires_at: None }],
        })),
    ];
    for seed in seeds {
        let pending = registry.sow(&call, seed).map_err(|error| Failure::Said(format!("{error:?}")))?;
        pending.durable().await.map_err(|error| Failure::Said(error.to_string()))?;
    }
    Ok((id.to_string(), secret.expose().to_owned()))
}

pub async fn serve(args: &ServeArgs) -> Result<(), Failure> {
    let mut config = Config::read(&args.data)?;
    config.listen = args.listen.unwrap_or(config.listen);
    config.metrics_listen = args.metrics_listen.unwrap_or(config.metrics_listen);
    let config = config.checked()?;
    if args.print_config {
        print!("{}", config.to_toml()?);
        return Ok(());
    }
    log_to_stderr(&config.log_filter)?;
    let home = Home::open(&args.data)?;
    let home = if args.sign_uncovered { home.signing_uncovered() } else { home };
    let behind = if args.go_on_from_log_time { ClockBehindLog::GoOnFromLog } else { ClockBehindLog::Refuse };
    let listeners = Listeners::bind(&config)?;
    let url = url_of(&config, listeners.address);
    let server = Server::open(home, config, url, behind)?;
    listeners
        .serve(server, |address| {
            println!("listening on https://{address}");
            Ok(())
        })
        .await
}

pub async fn demo(args: &DemoArgs) -> Result<(), Failure> {
    log_to_stderr("warn,canhbao=info")?;
    let temporary = match &args.data {
        Some(_) => None,
        None => Some(TemporaryDirectory::make()?),
    };
    let data = args.data.clone().or_else(|| temporary.as_ref().map(|made| made.0.clone()));
    let data = data.ok_or_else(|| Failure::Said("no data directory".to_owned()))?;
    let config = demo::config(args.listen, args.metrics_listen).checked()?;
    let is_new = !Home::exists(&data);
    let home = if is_new { Home::create(&data, &config, now())? } else { Home::open(&data)? };
    let listeners = Listeners::bind(&config)?;
    let base_url = url_of(&config, listeners.address);
    let ca = if is_new {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), listeners.address.ip().to_string()];
        server::self_signed(&data, &names)?
    } else {
        SelfSigned { ca: data.join("tls/ca.pem") }
    };
    let server = Server::open(home, config, base_url.clone(), ClockBehindLog::Refuse)?;
    let clients = if is_new { demo::seed(server.registry, args.flags).await? } else { DemoFile::read(&data)?.clients };
    let file = DemoFile { base_url, ca_file: absolute(&ca.ca)?, clients };
    file.write(&data)?;
    if is_new {
        server.finish()?;
    }
    listeners
        .serve(server, |address| {
            println!("{}", file.commands());
            println!("demo.json: {}", data.join(demo::FILE).display());
            println!("listening on https://{address}");
            Ok(())
        })
        .await
}

/// Both sockets, bound before anything is loaded, so that a taken port is told at once.
struct Listeners {
    https: TcpListener,
    operations: TcpListener,
    address: SocketAddr,
}

impl Listeners {
    fn bind(config: &Config) -> Result<Self, Failure> {
        let https = bind(config.listen)?;
        let address = https.local_addr().map_err(|error| Failure::Said(error.to_string()))?;
        Ok(Self { https, operations: bind(config.metrics_listen)?, address })
    }

    async fn serve(
        self,
        server: Server,
        tell: impl FnOnce(SocketAddr) -> Result<(), ServeError>,
    ) -> Result<(), Failure> {
        let recorder = recorder()?;
        let operations = self.operations.local_addr().map_err(|error| Failure::Said(error.to_string()))?;
        tracing::info!(https = %self.address, %operations, "serving");
        Ok(server.serve(self.https, self.operations, recorder, || tell(self.address)).await?)
    }
}

/// Removed with everything in it when the demo ends.
struct TemporaryDirectory(PathBuf);

impl TemporaryDirectory {
    fn make() -> Result<Self, Failure> {
        let random = entropy::bytes16().map_err(|error| Failure::Said(error.to_string()))?;
        let name: String = random.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self(std::env::temp_dir().join(format!("canhbao-demo-{name}"))))
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("canhbao: {}: {error}", self.0.display());
        }
    }
}

fn url_of(config: &Config, address: SocketAddr) -> String {
    if config.url.is_empty() { format!("https://{address}") } else { config.url.clone() }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::Said(format!("{}: {error}", path.display())))
}

pub fn now() -> Timestamp {
    SystemClock::new(Timestamp::EPOCH).now()
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::CommitFailed => Self::CommitFailed(error.to_string()),
            ServeError::Home(_) | ServeError::Start(_) => Self::Said(error.to_string()),
        }
    }
}

impl From<HomeError> for Failure {
    fn from(error: HomeError) -> Self {
        Self::Said(error.to_string())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Said(error.to_string())
    }
}

impl From<DemoError> for Failure {
    fn from(error: DemoError) -> Self {
        Self::Said(error.to_string())
    }
}
