//! `serve` and `demo`: what opens a data directory and serves it. The database is waited for on this thread, and the requests
//! are answered only then.

use super::{DemoArgs, Failure, ServeArgs};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, ConfigError};
use crate::demo::{self, DemoError, DemoFile};
use crate::domain::Timestamp;
use crate::entropy;
use crate::server::{
    self, ClockBehindLog, Home, HomeError, SelfSigned, ServeError, Server, bind, log_to_stderr, recorder,
};
use actix_web::rt::SystemRunner;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

pub fn serve(args: &ServeArgs, system: &SystemRunner) -> Result<(), Failure> {
    let mut config = args.store.over(Config::read(&args.data)?);
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
    let listeners = system.block_on(Listeners::bind(&config))?;
    let url = url_of(&config, listeners.address);
    let server = Server::open(home, config, url, behind)?;
    let serving = listeners.serve(server, |address| {
        println!("listening on https://{address}");
        Ok(())
    });
    system.block_on(serving)
}

pub fn demo(args: &DemoArgs, system: &SystemRunner) -> Result<(), Failure> {
    log_to_stderr("warn,canhbao=info")?;
    let temporary = match &args.data {
        Some(_) => None,
        None => Some(TemporaryDirectory::make()?),
    };
    let data = args.data.clone().or_else(|| temporary.as_ref().map(|made| made.0.clone()));
    let data = data.ok_or_else(|| Failure::Said("no data directory".to_owned()))?;
    let is_new = !Home::exists(&data);
    let config = demo::config(args.listen, args.metrics_listen);
    let config = if is_new { config } else { with_store_of(config, &data)? };
    let config = args.database.over(config).checked()?;
    let password = args.database.password_file.as_deref();
    let home = if is_new { Home::create(&data, &config, password, now())? } else { Home::open(&data)? };
    let listeners = system.block_on(Listeners::bind(&config))?;
    let base_url = url_of(&config, listeners.address);
    let ca = if is_new {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), listeners.address.ip().to_string()];
        server::self_signed(&data, &names)?
    } else {
        SelfSigned { ca: data.join("tls/ca.pem") }
    };
    let server = Server::open(home, config, base_url.clone(), ClockBehindLog::Refuse)?;
    let clients =
        if is_new { system.block_on(demo::seed(server.registry, args.flags))? } else { DemoFile::read(&data)?.clients };
    let file = DemoFile { base_url, ca_file: absolute(&ca.ca)?, clients };
    file.write(&data)?;
    if is_new {
        server.finish()?;
    }
    let serving = listeners.serve(server, |address| {
        println!("{}", file.commands());
        println!("demo.json: {}", data.join(demo::FILE).display());
        println!("listening on https://{address}");
        Ok(())
    });
    system.block_on(serving)
}

/// What was made in a shared database goes on there.
fn with_store_of(config: Config, data: &Path) -> Result<Config, Failure> {
    let made = Config::read(data)?;
    if made.store.is_empty() {
        return Ok(config);
    }
    Ok(Config { store: made.store, node: made.node, store_password_file: made.store_password_file, ..config })
}

/// Both sockets, bound before anything is loaded, so that a taken port is told at once.
struct Listeners {
    https: TcpListener,
    operations: TcpListener,
    address: SocketAddr,
}

impl Listeners {
    /// Asynchronous, since a socket is made for the system that will serve it.
    async fn bind(config: &Config) -> Result<Self, Failure> {
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

pub fn url_of(config: &Config, address: SocketAddr) -> String {
    if config.url.is_empty() { format!("https://{address}") } else { config.url.clone() }
}

pub fn absolute(path: &Path) -> Result<PathBuf, Failure> {
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
