//! `init`: makes a data directory, with a new registry or for one more node of one.

use super::run::{absolute, now, url_of};
use super::{Failure, InitArgs};
use crate::config::Config;
use crate::domain::party::{
    AccessState, Client, ClientId, Credential, CredentialKind, Party, PartyId, Quotas, Role, Scope, Scopes,
};
use crate::domain::{Actor, RequestId};
use crate::entropy;
use crate::registry::{Call, Registry, Seed};
use crate::server::{self, ClockBehindLog, Home, HomeError, Server};
use actix_web::rt::SystemRunner;
use serde::{Deserialize, Serialize};
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

pub fn init(args: &InitArgs, system: &SystemRunner) -> Result<(), Failure> {
    match &args.join {
        None => init_registry(args, system),
        Some(other) => init_node(args, other),
    }
}

/// A new registry, with its first node and its first operator.
fn init_registry(args: &InitArgs, system: &SystemRunner) -> Result<(), Failure> {
    let registry = args.registry.clone().unwrap_or_else(|| Config::default().registry);
    let config = named_url(args.database.over(Config { registry, ..Config::default() })).checked()?;
    let home = Home::create(&args.data, &config, args.database.password_file.as_deref(), now())?;
    let ca_file = certificate(args, &home)?;
    let url = url_of(&config, config.listen);
    let path = home.path().join(CREDENTIAL_FILE);
    let server = Server::open(home, config, url.clone(), ClockBehindLog::Refuse)?;
    let (client_id, client_secret) = system.block_on(first_operator(server.registry))?;
    let credential = CredentialFile { base_url: url, ca_file, client_id, client_secret };
    let text = serde_json::to_string_pretty(&credential).map_err(|error| Failure::Said(error.to_string()))?;
    crate::auth::key_file::create_private(&path, &text).map_err(HomeError::from)?;
    system.block_on(server.registry.close());
    server.finish()?;
    println!("made {}", args.data.display());
    println!("the first operator's credential: {}", path.display());
    tell_what_is_next(args);
    Ok(())
}

/// One more node of a registry, as the data directory of another node has it.
fn init_node(args: &InitArgs, other: &Path) -> Result<(), Failure> {
    let others = Config::read(other)?.checked()?;
    let config = named_url(args.database.over(others.clone())).checked()?;
    if config.store.is_empty() {
        let words = "has its database within itself: only a registry in PostgreSQL has several nodes";
        return Err(Failure::Usage(format!("{} {words}", other.display())));
    }
    if config.node == others.node {
        return Err(Failure::Usage(format!(
            "give the node a name of its own with --node; {} has {}",
            other.display(),
            others.node
        )));
    }
    let home = Home::join(&args.data, other, &config, args.database.password_file.as_deref(), now())?;
    certificate(args, &home)?;
    home.finish(&config)?;
    println!("made {}: node {} of {}", args.data.display(), config.node, config.registry);
    tell_what_is_next(args);
    Ok(())
}

/// Tokens name the URL: those of one node are good for the others if all have the same, wherever they listen.
pub fn named_url(config: Config) -> Config {
    if config.store.is_empty() { config } else { Config { url: url_of(&config, config.listen), ..config } }
}

/// The CA of a certificate that was asked for.
fn certificate(args: &InitArgs, home: &Home) -> Result<Option<PathBuf>, Failure> {
    match args.self_signed.as_slice() {
        [] => Ok(None),
        names => Ok(Some(absolute(&server::self_signed(home.path(), names)?.ca)?)),
    }
}

fn tell_what_is_next(args: &InitArgs) {
    if args.self_signed.is_empty() {
        println!("put your certificate into {0}/tls/server.pem and {0}/tls/server.key, then:", args.data.display());
    }
    println!("canhbao serve --data {}", args.data.display());
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
