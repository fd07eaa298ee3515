//! The command line: what there is to do, and how a failure ends. Exit codes: 0 done, 1 failed (of a verification:
//! tampered with), 2 wrong usage, 3 nothing to verify could be read, 70 a commit failed.

mod admin;
mod archive;
mod audit;
mod backup;
mod figures;
mod import;
mod init;
mod migrate;
mod run;
mod stored;
mod verify;

use crate::config::Config;
use crate::domain::party::Role;
use crate::server::PASSWORD_FILE;
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const UNREADABLE: u8 = 3;
const INCOMPLETE: u8 = 4;
const COMMIT_FAILED: u8 = 70;

/// A registry of flagged payment accounts and e-wallets.
#[derive(Parser)]
#[command(name = "canhbao", version, propagate_version = true, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a data directory: keys, database, configuration and the first operator's credential.
    Init(InitArgs),
    /// Serve the registry in a data directory.
    Serve(ServeArgs),
    /// Serve a registry with sample parties and flags, over TLS with a certificate of its own.
    Demo(DemoArgs),
    /// Create, list, disable and enable parties.
    #[command(subcommand)]
    Party(PartyCommand),
    /// Create, list, rotate, disable and enable clients.
    #[command(subcommand)]
    Client(ClientCommand),
    /// Hand in a file of flags, and wait until its rows are taken. Ends with 4 if some of them were invalid.
    Import(import::ImportArgs),
    /// Verify a log, archive its old entries, change its key.
    #[command(subcommand)]
    Log(audit::LogCommand),
    /// Verify a receipt of a check, or make one from an archive.
    #[command(subcommand)]
    Receipt(audit::ReceiptCommand),
    /// Copy a registry, also while it is served, and verify the copy.
    Backup(backup::BackupArgs),
    /// Make a data directory from a backup.
    Restore(backup::RestoreArgs),
    /// Move an embedded registry with its whole log into a PostgreSQL database, and prove that it is the same there.
    Migrate(migrate::MigrateArgs),
    /// Get an access token, for a script.
    Token(TokenArgs),
    /// Ask whether a server is ready; for a container's health check.
    Health(HealthArgs),
}

#[derive(Args)]
struct InitArgs {
    /// The directory to make.
    data: PathBuf,
    /// Name of the registry, the first part of its log's origin [default: canhbao.example].
    #[arg(long, conflicts_with = "join")]
    registry: Option<String>,
    #[command(flatten)]
    database: NewStoreArgs,
    /// Make the directory of one more node, of the registry that this data directory of another node is of. Its keys, its
    /// password file and its settings are copied; the log's key is new.
    #[arg(long, value_name = "DIR", requires = "node")]
    join: Option<PathBuf>,
    /// Also make a CA and a certificate for these names or addresses, to try it out.
    #[arg(long, value_name = "NAME")]
    self_signed: Vec<String>,
}

/// The database of a new registry, or of a new node.
#[derive(Args)]
struct NewStoreArgs {
    /// An empty PostgreSQL database instead of an embedded one: postgres://USER@HOST:PORT/DATABASE, with
    /// ?sslmode=verify-full&sslrootcert=FILE, or with ?sslmode=disable over loopback or a socket (?host=DIRECTORY).
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Name of this node, the second part of its log's origin [default: main].
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// A file with the database's password, mode 0600; it is copied into the data directory.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl NewStoreArgs {
    fn over(&self, config: Config) -> Config {
        let given = self.password_file.as_ref().map(|_| PathBuf::from(PASSWORD_FILE));
        Config {
            store: self.store.clone().unwrap_or(config.store),
            node: self.node.clone().unwrap_or(config.node),
            store_password_file: given.or(config.store_password_file),
            ..config
        }
    }
}

/// Which database and which node, instead of what the configuration says.
#[derive(Args)]
struct StoreArgs {
    /// Instead of the configured database.
    #[arg(long, env = "CANHBAO_STORE", value_name = "URL")]
    store: Option<String>,
    /// Instead of the configured name of this node.
    #[arg(long, env = "CANHBAO_NODE", value_name = "NAME")]
    node: Option<String>,
}

impl StoreArgs {
    fn over(&self, config: Config) -> Config {
        Config {
            store: self.store.clone().unwrap_or(config.store),
            node: self.node.clone().unwrap_or(config.node),
            ..config
        }
    }
}

#[derive(Args)]
struct ServeArgs {
    /// The data directory.
    #[arg(long, env = "CANHBAO_DATA")]
    data: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
    /// Instead of the configured address.
    #[arg(long, env = "CANHBAO_LISTEN")]
    listen: Option<SocketAddr>,
    /// Instead of the configured address for /metrics, /livez and /readyz.
    #[arg(long, env = "CANHBAO_METRICS_LISTEN")]
    metrics_listen: Option<SocketAddr>,
    /// Print the configuration in force and end.
    #[arg(long)]
    print_config: bool,
    /// Start although the clock lies before the log's last entry; time goes on from there.
    #[arg(long)]
    go_on_from_log_time: bool,
    /// Start and sign although the log has more entries after its last checkpoint than a server ever leaves. Whoever could
    /// write to the database can have made them: compare with a checkpoint that was kept elsewhere before.
    #[arg(long)]
    sign_uncovered: bool,
}

#[derive(Args)]
struct DemoArgs {
    /// Where to keep it; without it in a temporary directory that goes when the demo ends.
    #[arg(long)]
    data: Option<PathBuf>,
    #[arg(long, default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    #[arg(long, default_value = "127.0.0.1:0")]
    metrics_listen: SocketAddr,
    /// How many flags to generate in a new demo.
    #[arg(long, default_value_t = crate::demo::FLAGS_DEFAULT)]
    flags: u64,
    #[command(flatten)]
    database: NewStoreArgs,
}

/// Which server, and as whom.
#[derive(Args)]
struct Connection {
    /// A credential file, as `init` and `demo` write it.
    #[arg(long, env = "CANHBAO_CREDENTIAL")]
    credential: PathBuf,
    /// Which client of a demo.json.
    #[arg(long = "as", value_name = "CLIENT")]
    client: Option<String>,
    /// Instead of the URL in the credential file.
    #[arg(long, env = "CANHBAO_SERVER")]
    server: Option<String>,
    /// Instead of the CA in the credential file.
    #[arg(long, env = "CANHBAO_CA")]
    ca: Option<PathBuf>,
}

#[derive(Subcommand)]
enum PartyCommand {
    /// Create a party.
    Create {
        /// BIN or code, such as 970436 or hanoi-police.
        id: String,
        #[arg(long)]
        name: String,
        #[arg(long, value_parser = parse_role)]
        role: Role,
        /// Of a police unit: the party above it, such as a ward's city.
        #[arg(long)]
        parent: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// List all parties.
    List {
        #[command(flatten)]
        connection: Connection,
    },
    /// Refuse all clients of a party from now on.
    Disable {
        id: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Admit the clients of a party again.
    Enable {
        id: String,
        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(Subcommand)]
enum ClientCommand {
    /// Create a client; its secret is printed once.
    Create {
        #[arg(long)]
        party: String,
        #[arg(long)]
        name: String,
        /// Such as check or flag.write; several times for several.
        #[arg(long = "scope", required = true)]
        scopes: Vec<String>,
        /// Instead of one that the registry chooses.
        #[arg(long)]
        id: Option<String>,
        /// A PEM or JWK file: the client proves itself by private_key_jwt, and gets no secret.
        #[arg(long)]
        public_key: Option<PathBuf>,
        #[command(flatten)]
        connection: Connection,
    },
    /// List all clients.
    List {
        #[command(flatten)]
        connection: Connection,
    },
    /// Give a client a new secret or key.
    Rotate {
        id: String,
        /// How long the old one stays valid; 0 revokes it and all tokens at once.
        #[arg(long)]
        grace_s: Option<u32>,
        /// A PEM or JWK file.
        #[arg(long)]
        public_key: Option<PathBuf>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Refuse a client from now on.
    Disable {
        id: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Admit a client again.
    Enable {
        id: String,
        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(Args)]
struct TokenArgs {
    #[command(flatten)]
    connection: Connection,
    /// Such as check; several times for several. Without it, all that the client may have.
    #[arg(long = "scope")]
    scopes: Vec<String>,
}

#[derive(Args)]
struct HealthArgs {
    /// The server's metrics address.
    #[arg(long, env = "CANHBAO_METRICS_LISTEN", default_value = "127.0.0.1:9443")]
    metrics_listen: SocketAddr,
}

fn parse_role(text: &str) -> Result<Role, String> {
    let names: Vec<&str> = Role::ALL.into_iter().map(Role::as_str).collect();
    Role::parse(text).ok_or_else(|| format!("one of {}", names.join(", ")))
}

/// Why a command failed, for a person.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Said(String),
    #[error("{0}")]
    CommitFailed(String),
    #[error("{0}")]
    Tampered(String),
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Unreadable(String),
    /// It was done for a part of what was given.
    #[error("{0}")]
    Incomplete(String),
}

/// Runs the command of this process.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let system = actix_web::rt::System::new();
    // What opens a database waits for it, which must not be done within the system.
    let done = match cli.command {
        Command::Init(args) => init::init(&args, &system),
        Command::Serve(args) => run::serve(&args, &system),
        Command::Demo(args) => run::demo(&args, &system),
        Command::Party(command) => system.block_on(admin::party(command)),
        Command::Client(command) => system.block_on(admin::client(command)),
        Command::Import(args) => system.block_on(import::import(&args)),
        Command::Log(command) => audit::log(&command, &system),
        Command::Receipt(command) => audit::receipt(&command),
        Command::Backup(args) => backup::backup(&args),
        Command::Restore(args) => backup::restore(&args),
        Command::Migrate(args) => migrate::migrate(&args),
        Command::Token(args) => system.block_on(admin::token(&args)),
        Command::Health(args) => system.block_on(admin::health(&args)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("canhbao: {failure}");
            match failure {
                Failure::Said(_) | Failure::Tampered(_) => ExitCode::from(FAILED),
                Failure::Usage(_) => ExitCode::from(USAGE),
                Failure::Incomplete(_) => ExitCode::from(INCOMPLETE),
                Failure::Unreadable(_) => ExitCode::from(UNREADABLE),
                Failure::CommitFailed(_) => ExitCode::from(COMMIT_FAILED),
            }
        }
    }
}
