//! A real PostgreSQL of the tests' own, in a temporary directory. It must never outlive the process that started it, and
//! must never touch another one of the machine.
// Each test binary uses another part of this.
#![allow(dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use canhbao::clock::Stopwatch;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, IsolationLevel, NoTls, Row};

const VERSION_MIN: u32 = 15;
const START_TIME_MAX: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Below what the system takes for outgoing connections, so that a server that is started again gets its port back.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// Who owns the databases: a role like any other, that is trusted over TCP and the socket.
const OWNER: &str = "canhbao";
/// A role that is asked for its password over TCP, and the password.
pub const KEYED: (&str, &str) = ("keyed", "a password of the tests");

/// Runs a server and ends it when its input ends, which the end of the tests' process brings about however it comes. A
/// line of input ends the server alone; without one the directory goes too.
const WATCH: &str = r#"
directory=$1
shift
"$@" </dev/null >>"$directory/log" 2>&1 &
server=$!
echo "$server"
if read -r _; then stay=1; else stay=; fi
kill -CONT "$server" $(cat "/proc/$server/task/$server/children") 2>/dev/null
kill -QUIT "$server" 2>/dev/null
wait "$server"
if [ -z "$stay" ]; then rm -rf "$directory"; fi
"#;

/// One server. It is crash-safe (`fsync=on`) unless its settings say otherwise.
pub struct Postgres {
    programs: PathBuf,
    directory: PathBuf,
    port: u16,
    settings: Vec<String>,
    running: Mutex<Option<Running>>,
    databases: AtomicU64,
}

struct Running {
    /// The shell that ends the server when this process ends.
    watch: Child,
    server: Pid,
}

impl Postgres {
    /// The one of this test binary, started when it is first needed. No test may stop it: `start` is for those who do.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<Postgres> = LazyLock::new(Postgres::start);
        &SHARED
    }

    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With settings such as `fsync=off`.
    pub fn start_with(settings: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("canhbao-postgres-").tempdir().unwrap().keep();
        let postgres = Self {
            programs: programs(),
            directory,
            port: free_port(),
            settings: settings.iter().map(ToString::to_string).collect(),
            running: Mutex::new(None),
            databases: AtomicU64::new(0),
        };
        postgres.initialise();
        postgres.run();
        let (role, password) = KEYED;
        postgres.execute(&format!("CREATE ROLE {OWNER} LOGIN"));
        postgres.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD '{password}'"));
        postgres
    }

    fn initialise(&self) {
        if let Some((uid, gid)) = other_user() {
            chown(&self.directory, Some(uid), Some(gid)).unwrap();
        }
        let mut initdb = self.as_its_user(&self.programs.join("initdb"));
        initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]);
        initdb.arg("--no-instructions").arg(self.data());
        let output = initdb.output().unwrap();
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        self.make_certificate();
        let mut access = String::from("local all all trust\n");
        writeln!(access, "host all {} 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust", KEYED.0).unwrap();
        self.write("pg_hba.conf", &access);
    }

    /// For 127.0.0.1 and localhost, by a CA of its own.
    fn make_certificate(&self) {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::default();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        ca.distinguished_name.push(rcgen::DnType::CommonName, "The tests' CA");
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let ca = rcgen::Issuer::new(ca, ca_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &ca).unwrap();
        self.write("server.crt", &certificate.pem());
        self.write("server.key", &key.serialize_pem());
        std::fs::write(self.ca_file(), ca_pem).unwrap();
    }

    /// A file that the server alone may read.
    fn write(&self, name: &str, text: &str) {
        let path = self.data().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        if let Some((uid, gid)) = other_user() {
            chown(&path, Some(uid), Some(gid)).unwrap();
        }
    }

    /// Starts the server, and returns when it answers.
    fn run(&self) {
        let mut running = self.running.lock().unwrap();
        assert!(running.is_none(), "stop it first");
        let mut settings = vec![
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={}", self.port),
            format!("unix_socket_directories={}", self.directory.display()),
            "ssl=on".to_owned(),
            "max_connections=200".to_owned(),
            "shared_buffers=64MB".to_owned(),
        ];
        settings.extend_from_slice(&self.settings);
        let server = self.as_its_user(&self.programs.join("postgres"));
        let mut watch = Command::new("sh");
        watch.args(["-c", WATCH, "watch"]).arg(&self.directory).current_dir(&self.directory);
        watch.arg(server.get_program()).args(server.get_args()).arg("-D").arg(self.data());
        watch.args(settings.iter().flat_map(|setting| ["-c", setting]));
        // An interrupt from the keyboard is for the tests; that they end ends the server.
        std::os::unix::process::CommandExt::process_group(&mut watch, 0);
        let mut watch = watch.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(watch.stdout.take().unwrap()).read_line(&mut line).unwrap();
        *running = Some(Running { watch, server: Pid::from_raw(line.trim().parse().unwrap()) });
        drop(running);
        self.wait_until_it_answers();
    }

    fn wait_until_it_answers(&self) {
        let watch = Stopwatch::start();
        while let Err(error) = try_query(&self.administration(), "SELECT 1", &[]) {
            let log = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            assert!(watch.elapsed() < START_TIME_MAX, "PostgreSQL does not answer: {error}\n{log}");
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// The user that runs the server: PostgreSQL refuses root.
    fn as_its_user(&self, program: &Path) -> Command {
        let mut command = match other_user() {
            None => Command::new(program),
            Some((uid, gid)) => {
                let mut command = Command::new("setpriv");
                command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()]);
                command.arg(program);
                command
            }
        };
        command.current_dir(&self.directory);
        command
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// The process that all others of the server are children of.
    pub fn process(&self) -> Pid {
        self.running.lock().unwrap().as_ref().expect("it runs").server
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where its Unix socket is.
    pub fn socket_directory(&self) -> &Path {
        &self.directory
    }

    /// Whom a client with `sslmode=verify-full` trusts.
    pub fn ca_file(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap()
    }

    /// A fresh and empty database; returns its URL.
    pub fn create_database(&self) -> String {
        self.create(OWNER, "template1")
    }

    /// As `create_database`, for the role that needs its password.
    pub fn create_keyed_database(&self) -> String {
        self.create(KEYED.0, "template1")
    }

    /// A database with what another one holds at this moment, in which nobody may be working.
    pub fn copy_database(&self, url: &str) -> String {
        self.create(OWNER, database_of(url))
    }

    fn create(&self, role: &str, template: &str) -> String {
        let name = format!("registry_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.execute(&format!("CREATE DATABASE {name} OWNER {role} TEMPLATE {template}"));
        self.url(role, &name)
    }

    /// Over TCP, without TLS.
    fn url(&self, role: &str, database: &str) -> String {
        through(&format!("postgres://{role}@127.0.0.1/{database}?sslmode=disable"), self.port)
    }

    fn administration(&self) -> String {
        self.url("postgres", "postgres")
    }

    fn execute(&self, statement: &str) {
        query(&self.administration(), statement, &[]);
    }

    /// A crash: every process of the server is gone at once, and nothing was said or written any more.
    pub fn crash(&self) {
        let mut running = self.running.lock().unwrap().take().expect("it runs");
        // The postmaster is stopped first, so that it starts no other one meanwhile.
        signal(running.server, Signal::SIGSTOP);
        let all = processes(running.server);
        for process in &all {
            signal(*process, Signal::SIGKILL);
        }
        running.end();
        let watch = Stopwatch::start();
        while all.iter().any(|process| is_alive(*process)) {
            assert!(watch.elapsed() < START_TIME_MAX, "a killed process of PostgreSQL does not end");
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Ends it as an operator does who cannot wait: open connections are cut.
    pub fn stop(&self) {
        let mut running = self.running.lock().unwrap().take().expect("it runs");
        signal(running.server, Signal::SIGINT);
        let watch = Stopwatch::start();
        while is_alive(running.server) {
            assert!(watch.elapsed() < START_TIME_MAX, "PostgreSQL does not end");
            std::thread::sleep(LOOK_AGAIN);
        }
        running.end();
    }

    /// Goes on with the same data at the same port after `crash` or `stop`.
    pub fn start_again(&self) {
        self.run();
    }

    /// Changes a setting of the running server, and returns when it is in force.
    pub fn set(&self, setting: &str) {
        let (name, _) = setting.split_once(" = ").expect("a setting");
        let show = |url: &str| query(url, &format!("SELECT setting FROM pg_settings WHERE name = '{name}'"), &[]);
        self.execute(&format!("ALTER SYSTEM SET {setting}"));
        let wanted = setting.split_once(" = ").unwrap().1.trim_matches('\'').to_owned();
        self.execute("SELECT pg_reload_conf()");
        let watch = Stopwatch::start();
        while show(&self.administration())[0].get::<_, String>(0) != wanted {
            assert!(watch.elapsed() < START_TIME_MAX, "{setting} does not come into force");
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Stops all its processes where they are (SIGSTOP), until `go_on`.
    pub fn pause(&self) {
        self.signal_all(Signal::SIGSTOP);
    }

    pub fn go_on(&self) {
        self.signal_all(Signal::SIGCONT);
    }

    fn signal_all(&self, what: Signal) {
        let server = self.running.lock().unwrap().as_ref().expect("it runs").server;
        for process in processes(server) {
            signal(process, what);
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        match self.running.lock().unwrap().take() {
            Some(mut running) => {
                drop(running.watch.stdin.take());
                running.watch.wait().ok();
            }
            None => drop(std::fs::remove_dir_all(&self.directory)),
        }
    }
}

impl Running {
    /// Ends what is left of it, and keeps the directory.
    fn end(&mut self) {
        let mut input = self.watch.stdin.take().unwrap();
        input.write_all(b"stay\n").unwrap();
        drop(input);
        self.watch.wait().unwrap();
    }
}

/// A database's URL with another port on loopback, such as a proxy's.
pub fn through(url: &str, port: u16) -> String {
    let (user, rest) = url.split_once('@').expect("a URL with a user");
    let (_, path) = rest.split_once('/').expect("a URL with a database");
    format!("{user}@127.0.0.1:{port}/{path}")
}

fn database_of(url: &str) -> &str {
    let (_, path) = url.rsplit_once('/').expect("a URL with a database");
    path.split('?').next().unwrap()
}

/// Rows of a query.
pub fn query(url: &str, statement: &str, values: &[&(dyn ToSql + Sync)]) -> Vec<Row> {
    try_query(url, statement, values).unwrap_or_else(|error| panic!("{statement}: {error:?}"))
}

pub fn try_query(url: &str, statement: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
    on_a_connection(url, async |client| client.query(statement, values).await)
}

/// Rows of several queries, all at one moment.
pub fn snapshot<const N: usize>(url: &str, statements: [&str; N]) -> [Vec<Row>; N] {
    let read = async |client: &mut Client| {
        let options = client.build_transaction().read_only(true).isolation_level(IsolationLevel::RepeatableRead);
        let transaction = options.start().await?;
        let mut found = Vec::new();
        for statement in statements {
            found.push(transaction.query(statement, &[]).await?);
        }
        Ok(found)
    };
    let found = on_a_connection(url, read).unwrap_or_else(|error| panic!("{error:?}"));
    found.try_into().expect("each query has rows")
}

/// On a thread of its own, since tests may themselves run inside of a runtime.
fn on_a_connection<T: Send>(
    url: &str,
    work: impl AsyncFnOnce(&mut Client) -> Result<T, Error> + Send,
) -> Result<T, Error> {
    let whole = async || {
        let mut config: tokio_postgres::Config = url.parse()?;
        let (mut client, connection) = config.connect_timeout(START_TIME_MAX).connect(NoTls).await?;
        let connection = tokio::spawn(connection);
        let done = work(&mut client).await;
        drop(client);
        connection.await.unwrap()?;
        done
    };
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(whole());
    std::thread::scope(|scope| scope.spawn(run).join().unwrap())
}

/// Where the newest server of Debian's packages is.
fn programs() -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let versions = installed.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
    let has_server = |version: &u32| bin(*version).join("postgres").exists();
    let newest = versions.filter(has_server).max().expect("PostgreSQL is installed: Debian's package `postgresql`");
    assert!(newest >= VERSION_MIN, "PostgreSQL {newest} is too old");
    bin(newest)
}

fn bin(version: u32) -> PathBuf {
    PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"))
}

/// `postgres` and its group, if we are root.
fn other_user() -> Option<(u32, u32)> {
    static USER: LazyLock<Option<(u32, u32)>> =
        LazyLock::new(|| (id(&["-u"]) == 0).then(|| (id(&["-u", "postgres"]), id(&["-g", "postgres"]))));
    *USER
}

fn id(arguments: &[&str]) -> u32 {
    let output = Command::new("id").args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().expect("the user `postgres` is there")
}

/// A port that nobody uses now. Where the search begins differs from process to process.
pub fn free_port() -> u16 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let length = u64::from(PORTS.end - PORTS.start);
    for _ in 0..length {
        let place = u64::from(std::process::id()) * 97 + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + u16::try_from(place % length).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free")
}

/// The postmaster and its children.
fn processes(server: Pid) -> Vec<Pid> {
    let children = std::fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap();
    let children = children.split_whitespace().map(|id| Pid::from_raw(id.parse().unwrap()));
    std::iter::once(server).chain(children).collect()
}

/// One that has ended meanwhile needs no signal.
fn signal(process: Pid, signal: Signal) {
    kill(process, signal).ok();
}

/// Neither gone nor waiting for its parent to look.
fn is_alive(process: Pid) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{process}/stat"));
    state.is_ok_and(|text| !text.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}
