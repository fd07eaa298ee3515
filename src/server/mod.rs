//! The running server: limits, signals, the order of starting and of ending. It exits well only when every accepted
//! record is committed, and never after a failed commit.

mod database;
mod figures;
mod files;
mod home;
mod keeping;
mod key_list;
mod log_key;
mod moving;
mod observe;
mod tls;

pub use database::{Database, is_empty, open_shared, with_password};
pub use figures::figures;
pub use files::{digest, parent, rename, sync};
pub use home::{DATABASE_FILE, Home, HomeError, LOG_KEY_FILE, PASSWORD_FILE};
pub use keeping::{Copy, OpenLog, log_keys, log_keys_of};
pub use log_key::LogKey;
pub use moving::moved_to;
pub use observe::{log_to_stderr, recorder};
pub use tls::{SelfSigned, self_signed};

use crate::clock::{Clock, Stopwatch, SystemClock};
use crate::config::Config;
use crate::domain::Timestamp;
use crate::http::edge::{self, InFlight};
use crate::http::ops::{self, Draining};
use crate::http::{VerifiedTokens, routes};
use crate::log::{End, SKEW_MS_MAX};
use crate::registry::{Registry, Settings};
use crate::store::sqlite::register::REGISTER_FILE;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use metrics_exporter_prometheus::PrometheusHandle;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tls::Certificate;
use tokio::signal::unix::{Signal, SignalKind, signal};

const BACKLOG: u32 = 2048;
const TLS_HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);
const DISCONNECT_TIME_MAX: Duration = Duration::from_secs(2);
const DRAIN_LOOK_EVERY: Duration = Duration::from_millis(10);
/// After a failed commit all that waited has been refused; only the refusals have to leave.
const FAILED_DRAIN_TIME_MAX: Duration = Duration::from_secs(2);
/// Between the last answer's making and the end of its connection.
const FLUSH_TIME: Duration = Duration::from_millis(300);
const OPERATIONS_IN_FLIGHT_MAX: usize = 64;
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error("{0}")]
    Start(String),
    #[error("a commit failed; the log takes no more, and the process ends")]
    CommitFailed,
}

/// What to do when the clock lies before the last entry of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockBehindLog {
    Refuse,
    GoOnFromLog,
}

/// Completes, behind everything else, the records of who must be told that a flag was wrong.
async fn keep_correcting(registry: &'static Registry) {
    loop {
        tokio::time::sleep(HOUSEKEEPING_EVERY).await;
        if let Err(error) = registry.complete_corrections().await {
            tracing::warn!(?error, "a correction is not complete yet");
        }
    }
}

/// A registry that is open: it can be filled, and then served.
pub struct Server {
    /// For the life of the process.
    pub registry: &'static Registry,
    pub home: Home,
    config: Config,
    clock: Arc<SystemClock>,
}

/// Binds before anything is loaded, so that a taken port is told at once.
pub fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let bound = || -> std::io::Result<TcpListener> {
        let socket = if address.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)?.into_std()
    };
    bound().map_err(|error| ServeError::Start(format!("{address}: {error}")))
}

impl Server {
    /// `url` is where clients reach the registry. It waits for the database: never to be called where others wait for this
    /// thread.
    pub fn open(home: Home, config: Config, url: String, behind: ClockBehindLog) -> Result<Self, ServeError> {
        let authority = home.authority(url, config.tokens.lifetime_s)?;
        let directory = home.directory(&config)?;
        let hasher = home.hasher()?;
        let wall = SystemClock::new(Timestamp::EPOCH).now();
        let store = Database::of(home.path(), &config)?.open(wall)?;
        home.check_pepper(store.as_ref())?;
        let latest = home.latest_entry(store.as_ref(), &config.node)?;
        if latest > wall.plus_ms(SKEW_MS_MAX) && behind == ClockBehindLog::Refuse {
            return Err(ServeError::Start(format!(
                "the clock says {wall}, but the log's last entry is from {latest}: set the clock, \
                 or start with --go-on-from-log-time"
            )));
        }
        let clock = Arc::new(SystemClock::new(latest));
        let settings = Settings {
            node: config.node.clone(),
            log: config.log_limits(),
            quotas: config.default_quotas(),
            threads: config.workers(),
            register: home.path().join(REGISTER_FILE),
            imports: home.imports(),
            objections_answered_within_ms: u64::from(config.objections.answered_within_s) * 1000,
        };
        let shared: Arc<dyn Clock> = Arc::<SystemClock>::clone(&clock);
        let signers = home.signers(store.as_ref(), &config.node)?;
        let registry = Registry::open(store, hasher, authority, signers, directory, shared, &settings)
            .map_err(|error| ServeError::Start(error.to_string()))?;
        registry.sweep_imports().map_err(|error| ServeError::Start(format!("{error:?}")))?;
        Ok(Self { registry: Box::leak(Box::new(registry)), home, config, clock })
    }

    /// A new registry is filled.
    pub fn finish(&self) -> Result<(), ServeError> {
        Ok(self.home.finish(&self.config)?)
    }

    /// Serves until a signal or a failed commit ends it; `ready` is called when requests are answered.
    pub async fn serve(
        self,
        listener: TcpListener,
        operations_listener: TcpListener,
        recorder: PrometheusHandle,
        ready: impl FnOnce() -> Result<(), ServeError>,
    ) -> Result<(), ServeError> {
        let certificate = Arc::new(Certificate::load(&self.home.tls_files(&self.config))?);
        let draining = Arc::new(Draining::default());
        let in_flight = InFlight::new(self.config.limits.in_flight_max);
        self.registry.start_imports().map_err(|error| ServeError::Start(format!("imports: {error:?}")))?;
        let https = self.start_https(listener, &certificate, &draining, in_flight)?;
        let operations = self.start_operations(operations_listener, &draining, recorder.clone())?;
        let (https_handle, mut https) = (https.handle(), actix_web::rt::spawn(https));
        let operations = actix_web::rt::spawn(operations);
        // Who hears that it is ready may end it at once.
        let signals = Signals::listen()?;
        ready()?;
        let correcting = actix_web::rt::spawn(keep_correcting(self.registry));
        let ended = tokio::select! {
            ended = self.watch(signals, &certificate, in_flight, &recorder) => ended,
            _ = &mut https => return Err(ServeError::Start("the server stopped by itself".to_owned())),
        };
        tracing::info!("draining");
        draining.start();
        in_flight.close();
        // What it had begun is due again at the next start.
        correcting.abort();
        // Nobody is let in any more, and idle HTTP/1 connections end. That HTTP/2 connections end is not waited for: they
        // cannot be told to, but what comes over them is refused.
        let stopping = actix_web::rt::spawn(https_handle.stop(true));
        self.drain(in_flight, ended).await;
        let closed = self.close(ended).await;
        tokio::time::sleep(FLUSH_TIME).await;
        stopping.abort();
        operations.abort();
        closed
    }

    fn start_https(
        &self,
        listener: TcpListener,
        certificate: &Arc<Certificate>,
        draining: &Arc<Draining>,
        in_flight: &'static InFlight,
    ) -> Result<actix_web::dev::Server, ServeError> {
        let registry = self.registry;
        let draining = web::Data::new(Arc::clone(draining));
        let app = move || {
            App::new()
                .app_data(registry)
                .app_data(draining.clone())
                .app_data(in_flight)
                .app_data(VerifiedTokens::default())
                .wrap(from_fn(edge::surround))
                .configure(routes)
        };
        let limits = &self.config.limits;
        let workers = self.config.workers();
        let server = HttpServer::new(app)
            .workers(workers)
            .max_connections(limits.connections_max.div_ceil(workers))
            .keep_alive(Duration::from_secs(limits.keep_alive_s.into()))
            .client_request_timeout(Duration::from_secs(limits.head_timeout_s.into()))
            .client_disconnect_timeout(DISCONNECT_TIME_MAX)
            .tls_handshake_timeout(TLS_HANDSHAKE_TIME_MAX)
            // Else the first answer of a connection, and the end of a long one, waits 40 ms for the client's acknowledgement.
            .tcp_nodelay(true)
            .disable_signals()
            .listen_rustls_0_23(listener, tls::server_config(Arc::clone(certificate))?);
        Ok(server.map_err(|error| ServeError::Start(error.to_string()))?.run())
    }

    fn start_operations(
        &self,
        listener: TcpListener,
        draining: &Arc<Draining>,
        recorder: PrometheusHandle,
    ) -> Result<actix_web::dev::Server, ServeError> {
        let (registry, draining) = (self.registry, web::Data::new(Arc::clone(draining)));
        let recorder = web::Data::new(recorder);
        let in_flight = InFlight::new(OPERATIONS_IN_FLIGHT_MAX);
        let app = move || {
            App::new()
                .app_data(registry)
                .app_data(draining.clone())
                .app_data(in_flight)
                .app_data(recorder.clone())
                .wrap(from_fn(edge::surround))
                .route("/livez", web::get().to(ops::livez))
                .route("/readyz", web::get().to(ops::readyz))
                .route("/metrics", web::get().to(observe::metrics))
        };
        let server = HttpServer::new(app).workers(1).disable_signals().listen(listener);
        Ok(server.map_err(|error| ServeError::Start(error.to_string()))?.run())
    }

    /// Waits for what ends the process, and does what comes up meanwhile.
    async fn watch(
        &self,
        mut signals: Signals,
        certificate: &Certificate,
        in_flight: &InFlight,
        recorder: &PrometheusHandle,
    ) -> End {
        let mut log_end = self.registry.log().end();
        let mut every = tokio::time::interval(HOUSEKEEPING_EVERY);
        // While the database is silent this waits for it, and nothing else here may.
        let mut refusals = actix_web::rt::spawn(async {});
        let ended = loop {
            tokio::select! {
                _ = signals.terminate.recv() => break End::Clean,
                _ = signals.interrupt.recv() => break End::Clean,
                _ = signals.hangup.recv() => self.reload(certificate),
                _ = log_end.wait_for(|end| *end != End::Running) => break End::Failed,
                _ = every.tick() => {
                    observe::gauges(self.registry, &self.clock, in_flight);
                    recorder.run_upkeep();
                    if self.registry.is_over() {
                        break End::Failed;
                    }
                    if refusals.is_finished() {
                        refusals = actix_web::rt::spawn(log_refusals(self.registry, self.clock.now()));
                    }
                }
            }
        };
        if ended == End::Clean && tokio::time::timeout(FAILED_DRAIN_TIME_MAX, refusals).await.is_err() {
            tracing::warn!("refused calls could not be logged in time");
        }
        ended
    }

    /// Waits for the requests that were taken up; new ones on open connections are told to go elsewhere.
    async fn drain(&self, in_flight: &InFlight, ended: End) {
        let time_max = match ended {
            End::Failed => FAILED_DRAIN_TIME_MAX,
            End::Running | End::Clean => Duration::from_secs(self.config.limits.drain_s.into()),
        };
        let watch = Stopwatch::start();
        while in_flight.count() > 0 && watch.elapsed() < time_max {
            tokio::time::sleep(DRAIN_LOOK_EVERY).await;
        }
        if in_flight.count() > 0 {
            tracing::warn!(requests = in_flight.count(), "not all requests ended in time");
        }
    }

    /// A file that cannot be read leaves what is in force.
    fn reload(&self, certificate: &Certificate) {
        match certificate.reload(&self.home.tls_files(&self.config)) {
            Ok(()) => tracing::info!("certificate reloaded"),
            Err(error) => tracing::error!(%error, "certificate not reloaded"),
        }
        match self.home.directory(&self.config) {
            Ok(directory) => {
                self.registry.replace_directory(directory);
                tracing::info!("bank directory reloaded");
            }
            Err(error) => tracing::error!(%error, "bank directory not reloaded"),
        }
    }

    /// The last commit.
    async fn close(&self, ended: End) -> Result<(), ServeError> {
        if ended == End::Failed {
            return Err(ServeError::CommitFailed);
        }
        let refusals = self.registry.log_refusals(Timestamp::from_ms(u64::MAX)).await;
        if let Err(error) = refusals {
            tracing::error!(?error, "refused calls could not be logged");
        }
        match self.registry.close().await {
            End::Clean => {
                tracing::info!("every accepted record is committed");
                Ok(())
            }
            End::Running | End::Failed => Err(ServeError::CommitFailed),
        }
    }
}

/// What ends the process, or has it read files again.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Self, ServeError> {
        let on = |kind| signal(kind).map_err(|error| ServeError::Start(error.to_string()));
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            hangup: on(SignalKind::hangup())?,
        })
    }
}

async fn log_refusals(registry: &'static Registry, now: Timestamp) {
    if let Err(error) = registry.log_refusals(now).await {
        tracing::warn!(?error, "refused calls could not be logged");
    }
}
