//! What an operator can set: defaults, then `DIR/canhbao.toml`, then the command line and the environment for addresses.
//! Unknown keys are refused. Secrets are files in `DIR/keys`, never values here.

use crate::auth::DefaultQuotas;
use crate::domain::party::Quota;
use crate::log::Limits;
use crate::store::postgres::Address;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

pub const FILE: &str = "canhbao.toml";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Name of the registry: the first part of its log's origin.
    pub registry: String,
    /// Name of this node: the second part.
    pub node: String,
    /// The PostgreSQL database that several nodes share, such as
    /// `postgres://canhbao@db.example/canhbao?sslmode=verify-full&sslrootcert=/etc/ssl/db-ca.pem`. Empty: an embedded one in
    /// the data directory. A password never stands here.
    pub store: String,
    /// A file with the database's password, which its owner alone can read. Relative to the data directory.
    pub store_password_file: Option<PathBuf>,
    /// Where banks connect, over TLS.
    pub listen: SocketAddr,
    /// Where the operator's tools read /metrics, /livez and /readyz, without TLS. Keep it on loopback.
    pub metrics_listen: SocketAddr,
    /// The URL under which clients reach this registry: issuer and audience of its tokens. Empty: https://<listen>.
    pub url: String,
    /// A CSV that replaces the compiled-in bank directory; re-read on SIGHUP. Relative to the data directory.
    pub bank_directory: Option<PathBuf>,
    /// What is logged, as in `info` or `canhbao=debug,info`.
    pub log_filter: String,
    pub tls: Tls,
    pub tokens: Tokens,
    pub limits: LimitsConfig,
    pub quotas: QuotasConfig,
    pub objections: Objections,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Objections {
    /// How long the owning unit has to answer one.
    pub answered_within_s: u32,
}

/// Files in PEM; re-read on SIGHUP. Relative to the data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tokens {
    /// At most 600.
    pub lifetime_s: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// 0: one for each processor.
    pub workers: usize,
    pub connections_max: usize,
    /// Requests that are being worked on at once; one more is answered 503.
    pub in_flight_max: usize,
    /// Records that wait for the log's writer; one more is answered 503.
    pub queue_records_max: usize,
    pub batch_records_max: usize,
    pub head_timeout_s: u32,
    pub keep_alive_s: u32,
    /// After SIGTERM, how long open requests may take.
    pub drain_s: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuotasConfig {
    pub token: Quota,
    pub checks: Quota,
    pub batch: Quota,
    pub lists: Quota,
    pub writes: Quota,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            registry: "canhbao.example".to_owned(),
            node: "main".to_owned(),
            store: String::new(),
            store_password_file: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 8443)),
            metrics_listen: SocketAddr::from(([127, 0, 0, 1], 9443)),
            url: String::new(),
            bank_directory: None,
            log_filter: "info".to_owned(),
            tls: Tls::default(),
            tokens: Tokens::default(),
            limits: LimitsConfig::default(),
            quotas: QuotasConfig::default(),
            objections: Objections::default(),
        }
    }
}

impl Default for Objections {
    fn default() -> Self {
        Self { answered_within_s: 15 * 86_400 }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self { certificate: PathBuf::from("tls/server.pem"), key: PathBuf::from("tls/server.key") }
    }
}

impl Default for Tokens {
    fn default() -> Self {
        Self { lifetime_s: 600 }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            workers: 0,
            connections_max: 4096,
            in_flight_max: 4096,
            queue_records_max: 8192,
            batch_records_max: 2048,
            head_timeout_s: 5,
            keep_alive_s: 75,
            drain_s: 10,
        }
    }
}

impl Default for QuotasConfig {
    fn default() -> Self {
        let a_minute = NonZeroU32::new(60).unwrap_or(NonZeroU32::MIN);
        let quota = |quota| Quota { quota: NonZeroU32::new(quota).unwrap_or(NonZeroU32::MIN), window_s: a_minute };
        Self { token: quota(30), checks: quota(60_000), batch: quota(120_000), lists: quota(600), writes: quota(600) }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: {reason}", path.display())]
    Read { path: PathBuf, reason: String },
    #[error("{key}: {reason}")]
    Value { key: &'static str, reason: String },
}

impl Config {
    /// Reads the file in a data directory.
    pub fn read(data: &Path) -> Result<Self, ConfigError> {
        let path = data.join(FILE);
        let failed = |reason: String| ConfigError::Read { path: path.clone(), reason };
        let text = std::fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
        toml::from_str(&text).map_err(|error| failed(error.to_string()))
    }

    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string(self).map_err(|error| ConfigError::Read { path: FILE.into(), reason: error.to_string() })
    }

    /// Refuses values that would make a server that cannot work.
    pub fn checked(self) -> Result<Self, ConfigError> {
        let bad = |key, reason: &str| Err(ConfigError::Value { key, reason: reason.to_owned() });
        let name_fits = |name: &str| {
            (1..=64).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
        };
        if !name_fits(&self.registry) {
            return bad("registry", "1 to 64 letters, digits, dots and dashes");
        }
        if !name_fits(&self.node) || !self.node.starts_with(|first: char| first.is_ascii_alphanumeric()) {
            return bad("node", "1 to 64 letters, digits, dots and dashes, the first no dot or dash");
        }
        if !(1..=600).contains(&self.tokens.lifetime_s) {
            return bad("tokens.lifetime_s", "1 to 600 seconds");
        }
        if self.objections.answered_within_s == 0 {
            return bad("objections.answered_within_s", "at least 1 second");
        }
        if self.limits.queue_records_max == 0 || self.limits.batch_records_max == 0 || self.limits.in_flight_max == 0 {
            return bad("limits", "a limit of 0 admits nothing");
        }
        if !self.url.is_empty() && (!self.url.starts_with("https://") || self.url.ends_with('/')) {
            return bad("url", "https:// and no slash at the end");
        }
        self.address()?;
        if self.store.is_empty() && self.store_password_file.is_some() {
            return bad("store_password_file", "the embedded database has no password");
        }
        for quota in [self.quotas.token, self.quotas.checks, self.quotas.batch, self.quotas.lists, self.quotas.writes] {
            if !quota.is_within_limits() {
                return bad("quotas", "a window of at most 3600 seconds");
            }
        }
        Ok(self)
    }

    /// Where the shared database is; `None` if it is the embedded one.
    pub fn address(&self) -> Result<Option<Address>, ConfigError> {
        if self.store.is_empty() {
            return Ok(None);
        }
        let address = Address::parse(&self.store);
        address.map(Some).map_err(|error| ConfigError::Value { key: "store", reason: error.to_string() })
    }

    pub fn log_limits(&self) -> Limits {
        Limits { queue_records_max: self.limits.queue_records_max, batch_records_max: self.limits.batch_records_max }
    }

    pub fn default_quotas(&self) -> DefaultQuotas {
        DefaultQuotas {
            token: self.quotas.token,
            checks: self.quotas.checks,
            batch: self.quotas.batch,
            lists: self.quotas.lists,
            writes: self.quotas.writes,
        }
    }

    /// Threads that answer requests.
    pub fn workers(&self) -> usize {
        match self.limits.workers {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
            workers => workers,
        }
    }
}
