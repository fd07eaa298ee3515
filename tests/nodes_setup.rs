//! Making registries and nodes on PostgreSQL with the command line: what works, and what is refused in which words.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use support::postgres::{KEYED, Postgres, query};
use support::process::{BINARY, Process};
use support::{eventually, install_crypto};

/// A directory with data directories in it.
struct Place(tempfile::TempDir);

#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    #[track_caller]
    fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    #[track_caller]
    fn failed(self, words: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(1), ""), "{self:?}");
        let last = self.stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with("canhbao: ") && last.contains(words), "{self:?}");
    }
}

impl Ran {
    #[track_caller]
    fn failed_as_usage(self, words: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(2), ""), "{self:?}");
        assert!(self.stderr.contains(words), "{self:?}");
    }
}

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        for name in ["DATA", "LISTEN", "METRICS_LISTEN", "CREDENTIAL", "SERVER", "CA", "STORE", "NODE"] {
            command.env_remove(format!("CANHBAO_{name}"));
        }
        command.current_dir(self.0.path()).args(arguments);
        command
    }

    fn canhbao(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).stdin(Stdio::null()).output().unwrap();
        let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        Ran { code: output.status.code(), stdout, stderr }
    }

    fn init(&self, data: &str, url: &str, node: &str) -> Ran {
        self.canhbao(&["init", data, "--store", url, "--node", node, "--self-signed", "127.0.0.1"])
    }

    /// One more node `data` of the registry that the data directory `other` is of.
    fn join(&self, data: &str, node: &str, other: &str) -> Ran {
        self.canhbao(&["init", data, "--node", node, "--join", other, "--self-signed", "127.0.0.1"])
    }

    async fn serving(&self, data: &str) -> Process {
        let listen = ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
        let command = self.command(&[&["serve", "--data", data][..], &listen].concat());
        Process::try_start(command).await.unwrap_or_else(|ended| panic!("the server ended: {ended}"))
    }

    fn serve(&self, data: &str) -> Ran {
        self.canhbao(&["serve", "--data", data, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"])
    }
}

/// A file with a text that its owner alone can read.
fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn two_nodes_of_a_registry_are_made_and_served() {
    install_crypto();
    let (place, url) = (Place::new(), Postgres::shared().create_database());
    place.init("a", &url, "first").done();
    place.join("b", "second", "a").done();
    assert!(!place.path("b/operator.json").exists(), "a node is no new operator");
    let keys = |data: &str, file: &str| fs::read(place.path(data).join("keys").join(file)).unwrap();
    for shared in ["token-signing.pem", "pepper.hex"] {
        assert_eq!(keys("a", shared), keys("b", shared), "{shared}");
    }
    assert_ne!(keys("a", "log-signing.pem"), keys("b", "log-signing.pem"));
    let (first, second) = (place.serving("a").await, place.serving("b").await);
    let through = |process: &Process, ca: &str, more: &[&str]| {
        let server = ["--server", &process.url, "--credential", "a/operator.json", "--ca", ca];
        place.canhbao(&[more, &server].concat())
    };
    let vcb = ["party", "create", "970436", "--name", "Vietcombank", "--role", "bank"];
    through(&first, "a/tls/ca.pem", &vcb).done();
    eventually(Duration::from_secs(5), "the other node knows the party", async || {
        through(&second, "b/tls/ca.pem", &["party", "list"]).done().contains("970436")
    })
    .await;
    // A token of one node is good for the other.
    let token = through(&first, "a/tls/ca.pem", &["token"]).done();
    let http = support::client(&place.path("b/tls/ca.pem")).build().unwrap();
    let answer = http.get(format!("{}/v1/parties", second.url)).bearer_auth(token.trim()).send().await.unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap()["items"].as_array().unwrap().len(), 2);
    place.serve("a").failed("in use by another process");
    let copied = Command::new("cp").arg("-a").args([place.path("a"), place.path("copy")]).status().unwrap();
    assert!(copied.success());
    place.serve("copy").failed("another process is node first");
    for process in [first, second] {
        assert!(process.terminate().await.0.success());
    }
    let keys = ["--key", "a/keys/log-keys.txt", "--key", "b/keys/log-keys.txt"];
    for whose in [&["a"][..], &["--store", &url]] {
        let told = place.canhbao(&[&["log", "verify"], whose, &keys].concat()).done();
        assert!(told.contains("canhbao.example/first") && told.contains("canhbao.example/second"), "{told}");
    }
    let ran = place.canhbao(&["log", "verify", "a", "--key", "a/keys/log-keys.txt"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("the log of second, of which no key"), "{ran:?}");
    place.canhbao(&["backup", "--data", "a", "--to", "backup"]).failed("pg_dump");
    assert!(!place.path("backup").exists());
}

#[test]
fn a_database_that_is_not_fit_is_refused_by_what_is_wrong_with_it() {
    let (place, postgres) = (Place::new(), Postgres::shared());
    let (url, other, empty) = (postgres.create_database(), postgres.create_database(), postgres.create_database());
    place.init("a", &url, "first").done();
    place.init("second", &url, "second").failed("--join");
    place.join("b", "first", "a").failed_as_usage("a name of its own");
    place.canhbao(&["init", "b", "--node", "second", "--join", "nowhere"]).failed("nowhere");
    place.canhbao(&["serve", "--data", "a", "--store", &empty]).failed("is empty");
    let more = ["--store", &other, "--node", "first", "--registry", "other.example"];
    place.canhbao(&[&["init", "other"][..], &more].concat()).done();
    place.canhbao(&["serve", "--data", "a", "--store", &other]).failed("other.example");
    place
        .canhbao(&["serve", "--data", "a", "--store", "postgres://u@127.0.0.1:1/d?sslmode=disable"])
        .failed("127.0.0.1:1");
    place.canhbao(&["serve", "--data", "a", "--store", "postgres://u@db.example/d"]).failed("sslmode");
    place
        .canhbao(&["serve", "--data", "a", "--store", "postgres://u:secret@db.example/d"])
        .failed("passwords are files");
    // Nothing that was refused left a node behind.
    let nodes = query(&url, "SELECT node FROM log", &[]);
    assert_eq!(nodes.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>(), ["first"]);
}

#[test]
fn a_node_with_another_pepper_is_refused() {
    let (place, url) = (Place::new(), Postgres::shared().create_database());
    place.init("a", &url, "first").done();
    place.canhbao(&["init", "embedded", "--self-signed", "127.0.0.1"]).done();
    fs::copy(place.path("embedded/keys/pepper.hex"), place.path("a/keys/pepper.hex")).unwrap();
    place.serve("a").failed("another pepper");
    place.join("b", "second", "a").failed("another pepper");
    fs::remove_file(place.path("embedded/keys/pepper.hex")).unwrap();
    place.canhbao(&["init", "third", "--self-signed", "127.0.0.1"]).done();
    fs::copy(place.path("third/keys/pepper.hex"), place.path("embedded/keys/pepper.hex")).unwrap();
    place.serve("embedded").failed("another pepper");
}

#[test]
fn a_password_is_a_file_of_its_owner_alone() {
    let (place, url) = (Place::new(), Postgres::shared().create_keyed_database());
    let init = |more: &[&str]| place.canhbao(&[&["init", "a", "--store", &url, "--node", "first"], more].concat());
    init(&["--password-file", "password"]).failed("password");
    write(&place.path("password"), KEYED.1, 0o644);
    init(&["--password-file", "password"]).failed("open to group or others");
    write(&place.path("wrong"), "another one", 0o600);
    let ran = init(&["--password-file", "wrong"]);
    assert!(!ran.stderr.contains("another one"), "{ran:?}");
    ran.failed("password");
    fs::set_permissions(place.path("password"), fs::Permissions::from_mode(0o600)).unwrap();
    init(&["--password-file", "password"]).done();
    place.canhbao(&["init", "b", "--node", "second", "--join", "a"]).done();
    for data in ["a", "b"] {
        let copy = place.path(data).join("keys/postgres.password");
        assert_eq!(fs::read_to_string(&copy).unwrap(), KEYED.1);
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!fs::read_to_string(place.path(data).join("canhbao.toml")).unwrap().contains(KEYED.1));
    }
    place.canhbao(&["log", "rotate-key", "--data", "a"]).done();
}

#[tokio::test]
async fn a_demo_goes_on_in_its_database() {
    let (place, url) = (Place::new(), Postgres::shared().create_database());
    let demo = |more: &[&str]| {
        let listen = ["--listen", "127.0.0.1:0", "--flags", "20"];
        place.command(&[&["demo", "--data", "demo"], more, &listen].concat())
    };
    let started = async |more: &[&str]| Process::try_start(demo(more)).await.unwrap_or_else(|ended| panic!("{ended}"));
    let first = started(&["--store", &url, "--node", "first"]).await;
    assert!(first.terminate().await.0.success());
    let flags = || query(&url, "SELECT COUNT(*) FROM flag", &[])[0].get::<_, i64>(0);
    let seeded = flags();
    assert!(seeded >= 23, "20 made ones and those of the sandbox");
    let again = started(&[]).await;
    assert!(again.terminate().await.0.success());
    assert_eq!(flags(), seeded);
}
