//! The command line as people type it: `demo` and the commands it prints, `init`, `serve`, and the commands that go
//! through a running server. Exit codes and words, not insides.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

mod support;

use canhbao::log::note::VerifierKey;
use canhbao::log::receipt::Receipt;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use support::process::{BINARY, Process};
use support::{Server, eventually, install_crypto};

/// What a command that has ended left.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn run(command: &mut Command) -> Ran {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    Ran { code: output.status.code(), stdout, stderr }
}

fn canhbao(arguments: &[&str]) -> Ran {
    canhbao_in(&[], arguments)
}

/// In an environment that has these variables of canhbao's and no others.
fn canhbao_in(variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
    let mut command = Command::new(BINARY);
    for name in ["DATA", "LISTEN", "METRICS_LISTEN", "CREDENTIAL", "SERVER", "CA", "STORE", "NODE"] {
        command.env_remove(format!("CANHBAO_{name}"));
    }
    run(command.envs(variables.iter().copied()).args(arguments))
}

impl Ran {
    #[track_caller]
    fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    #[track_caller]
    fn json(self) -> Value {
        serde_json::from_str(&self.done()).unwrap()
    }

    /// Failed in words that hold this, and printed no answer.
    #[track_caller]
    /// As `failed`, of a command that had something to tell before.
    fn failed_after_words(self, words: &str) {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert!(self.stderr.contains(words), "{self:?}");
    }

    fn failed(self, code: i32, words: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), ""), "{self:?}");
        assert!(self.stderr.contains(words), "{self:?}");
    }
}

/// A data directory that `init` has made.
struct Home {
    directory: tempfile::TempDir,
}

impl Home {
    fn init(more: &[&str]) -> Self {
        let home = Self { directory: tempfile::tempdir().unwrap() };
        let data = home.data();
        canhbao(&[&["init", data.to_str().unwrap()], more].concat()).done();
        home
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("registry")
    }

    fn text(&self) -> String {
        self.data().to_str().unwrap().to_owned()
    }

    fn serve(&self) -> Ran {
        canhbao(&["serve", "--data", &self.text(), "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"])
    }

    async fn serving(&self) -> Process {
        let data = self.text();
        let listen = ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
        Process::start(&[&["serve", "--data", data.as_str()][..], &listen].concat()).await
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_commands_that_a_demo_prints_work_as_they_are_printed() {
    let server = Server::start().await;
    let printed = server.process().stdout();
    let script = printed.split("demo.json:").next().unwrap();
    assert_eq!(script.matches("curl -s").count(), 4, "{script}");
    let ran = run(Command::new("bash").args([
        "-euo",
        "pipefail",
        "-c",
        &script.replace("\n# a flagged", "\necho\n# a flagged"),
    ]));
    let told = ran.done();
    let [clear, warn, receipt] = told.splitn(3, '\n').collect::<Vec<_>>().try_into().unwrap();
    let verdicts = [clear, warn].map(|answer| serde_json::from_str::<Value>(answer).unwrap()["verdict"].clone());
    assert_eq!(verdicts, ["clear", "warn"]);
    let key = server.get("/.well-known/log-key").send().await.is(200).text();
    let key = VerifierKey::parse(key.trim_end()).unwrap();
    Receipt::parse(receipt).unwrap().verify(warn.as_bytes(), &[key]).unwrap();
    let file = printed.lines().find_map(|line| line.strip_prefix("demo.json: ")).unwrap();
    assert_eq!(mode(Path::new(file)), 0o600);
    server.finish().await;
}

#[tokio::test]
async fn a_demo_file_serves_the_other_commands() {
    let server = Server::start().await;
    let file = server.data().join("demo.json");
    let file = file.to_str().unwrap();
    let token = canhbao(&["token", "--credential", file, "--as", "bank", "--scope", "check"]).done();
    server.get("/v1/institutions").bearer(token.trim()).send().await.is(200);
    let clients = canhbao(&["client", "list", "--credential", file, "--as", "operator"]).done();
    assert_eq!(clients.lines().count(), 11);
    assert!(clients.lines().all(|line| serde_json::from_str::<Value>(line).unwrap()["state"] == "enabled"));
    canhbao(&["client", "list", "--credential", file, "--as", "bank"]).failed(1, "invalid_scope");
    canhbao(&["client", "list", "--credential", file, "--as", "nobody"]).failed(1, "nobody");
    canhbao(&["client", "list", "--credential", file]).failed(1, "--as");
    canhbao(&["token", "--credential", file, "--as", "bank", "--scope", "admin"]).failed(1, "invalid_scope");
    server.finish().await;
}

#[tokio::test]
async fn a_file_is_imported_from_the_command_line_and_again_finds_the_same_import() {
    let server = Server::start().await;
    let file = server.data().join("demo.json");
    let flags = server.data().join("flags.csv");
    let report = server.data().join("report.csv");
    let rows = (0..500).map(|n| format!("VCB,92{n:09},warn,mule,HN-1,Receives and moves on\n")).collect::<String>();
    let text = format!("bank,number,verdict,category,case,reason\n{rows}");
    fs::write(&flags, &text).unwrap();
    let [file, flags, report] = [&file, &flags, &report].map(|path| path.to_str().unwrap());
    let import =
        |by: &str, more: &[&str]| canhbao(&[&["import", flags, "--credential", file, "--as", by], more].concat());
    let told = import("officer", &["--dry-run"]).done();
    assert!(told.contains("500 rows: 500 accepted, 0 duplicate, 0 invalid"), "{told}");
    let first = import("officer", &["--report", report]).done();
    assert!(first.contains("500 rows: 500 accepted"), "{first}");
    assert_eq!(fs::read_to_string(report).unwrap().lines().count(), 501);
    let again = import("officer", &[]).done();
    assert_eq!(first.lines().next(), again.lines().next(), "the same file is another import");
    fs::write(flags, format!("{text}VCB,x,warn,mule,HN-1,x\nVCB,92000000000,warn,mule,HN-1,x\n")).unwrap();
    let ran = import("officer", &[]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stdout.contains("502 rows: 0 accepted, 501 duplicate, 1 invalid"), "{ran:?}");
    import("officer", &["--report", report]).failed_after_words("File exists");
    fs::write(flags, "colour\nred\n").unwrap();
    import("officer", &[]).failed_after_words("colour is no column here");
    import("bank", &[]).failed(1, "invalid_scope");
    import("officer", &["--default", "colour"]).failed(2, "COLUMN=VALUE");
    server.finish().await;
}

#[tokio::test]
async fn a_demo_without_a_directory_leaves_nothing_behind() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let listen = ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
        let process = Process::start(&[&["demo", "--flags", "10"][..], &listen].concat()).await;
        let told = process.stdout();
        let file = told.lines().find_map(|line| line.strip_prefix("demo.json: ")).unwrap();
        let directory = Path::new(file).parent().unwrap().to_owned();
        assert!(directory.join("registry.db").exists());
        assert_eq!(mode(&directory), 0o700);
        process.signal(signal);
        let (status, log) = process.ended().await;
        assert!(status.success(), "{status}:\n{log}");
        assert!(!directory.exists());
    }
}

#[tokio::test]
async fn a_demo_that_was_killed_while_it_was_made_can_be_started_again() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("demo");
    let arguments = |flags: &'static str| {
        ["demo", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0", "--flags", flags].map(str::to_owned)
    };
    let mut command = Command::new(BINARY);
    command.args(arguments("1000000")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    eventually(Duration::from_secs(30), "the seeding begins", async || data.join("tls/server.key").exists()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!data.join("demo.json").exists(), "it was killed too late");
    let again = arguments("10");
    let again: Vec<&str> = again.iter().map(String::as_str).collect();
    let (status, log) = Process::start(&again).await.terminate().await;
    assert!(status.success(), "{log}");
}

#[tokio::test]
async fn a_registry_is_made_served_and_administered() {
    install_crypto();
    let home = Home::init(&["--registry", "registry.example.vn", "--self-signed", "127.0.0.1"]);
    for file in ["operator.json", "canhbao.toml", "keys/token-signing.pem", "keys/pepper.hex", "tls/server.key"] {
        assert_eq!(mode(&home.data().join(file)), 0o600, "{file}");
    }
    assert_eq!(mode(&home.data().join("keys")), 0o700);
    let process = home.serving().await;
    let (url, credential) = (process.url.clone(), home.data().join("operator.json"));
    let as_operator = ["--credential", credential.to_str().unwrap(), "--server", &url];
    let ask = |arguments: &[&str]| canhbao(&[arguments, &as_operator].concat());
    assert_eq!(canhbao(&["health", "--metrics-listen", &process.operations.to_string()]).done(), "ready\n");

    let bank = ask(&["party", "create", "970436", "--name", "Ngân hàng thử", "--role", "bank"]).json();
    assert_eq!((&bank["id"], &bank["state"]), (&json!("970436"), &json!("enabled")));
    ask(&["party", "create", "970436", "--name", "x", "--role", "bank"]).failed(1, "409");
    ask(&["party", "create", "hanoi", "--name", "City", "--role", "police"]).json();
    let ward = ["party", "create", "ward", "--name", "Ward", "--role", "police", "--parent"];
    assert_eq!(ask(&[&ward[..], &["hanoi"]].concat()).json()["parent"], "hanoi");
    ask(&[&ward[..], &["nowhere"]].concat()).failed(1, "/parent");
    let made =
        ask(&["client", "create", "--party", "970436", "--name", "Core", "--scope", "check", "--id", "core"]).json();
    let secret = made["client_secret"].as_str().unwrap();
    ask(&["client", "create", "--party", "970436", "--name", "Core", "--scope", "admin"]).failed(1, "/scopes");

    let file = home.directory.path().join("core.json");
    let told = json!({ "base_url": url, "ca_file": home.data().join("tls/ca.pem"), "client_id": "core",
        "client_secret": secret });
    fs::write(&file, told.to_string()).unwrap();
    let token = || canhbao(&["token", "--credential", file.to_str().unwrap()]);
    assert_eq!(token().done().trim().split('.').count(), 3);
    ask(&["client", "disable", "core"]).done();
    token().failed(1, "invalid_client");
    ask(&["client", "enable", "core"]).done();
    token().done();
    ask(&["party", "disable", "970436"]).done();
    token().failed(1, "invalid_client");
    ask(&["party", "enable", "970436"]).done();
    let rotated = ask(&["client", "rotate", "core", "--grace-s", "0"]).json();
    assert_ne!(rotated["client_secret"].as_str(), Some(secret));
    token().failed(1, "invalid_client");
    ask(&["client", "rotate", "nobody"]).failed(1, "404");

    let listed = |things: &str| ask(&[things, "list"]).done().lines().count();
    assert_eq!((listed("party"), listed("client")), (4, 2));
    let (status, log) = process.terminate().await;
    assert!(status.success() && !log.contains(secret), "{log}");
    canhbao(&["health", "--metrics-listen", "127.0.0.1:1"]).failed(1, "canhbao: ");
}

#[tokio::test]
async fn a_certificate_of_ones_own_is_put_in_and_read_again_on_hangup() {
    let home = Home::init(&[]);
    home.serve().failed(1, "tls/server.pem");
    let other = Home::init(&["--self-signed", "127.0.0.1", "--self-signed", "localhost"]);
    fs::create_dir(home.data().join("tls")).unwrap();
    for file in ["tls/server.pem", "tls/server.key"] {
        fs::copy(other.data().join(file), home.data().join(file)).unwrap();
    }
    let key = home.data().join("tls/server.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    home.serve().failed(1, "server.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    install_crypto();
    let process = home.serving().await;
    // A client of its own for each request, so that each sees the certificate in force.
    let is_served = async |trusted: &Home| {
        let http = support::client(&trusted.data().join("tls/ca.pem")).build().unwrap();
        http.get(format!("{}/livez", process.url)).send().await.is_ok()
    };
    assert!(is_served(&other).await);
    // What cannot be read leaves what is in force.
    fs::write(home.data().join("tls/server.pem"), "no certificate").unwrap();
    process.signal(Signal::SIGHUP);
    let logged = async |message: &str| {
        eventually(Duration::from_secs(5), message, async || process.logged(message).is_some()).await;
    };
    logged("certificate not reloaded").await;
    assert!(is_served(&other).await);
    let third = Home::init(&["--self-signed", "127.0.0.1"]);
    for file in ["tls/server.pem", "tls/server.key"] {
        fs::copy(third.data().join(file), home.data().join(file)).unwrap();
    }
    process.signal(Signal::SIGHUP);
    logged("certificate reloaded").await;
    assert!(is_served(&third).await);
    assert!(!is_served(&other).await, "the old CA vouches for the new certificate");
    assert!(process.terminate().await.0.success());
}

#[tokio::test]
async fn one_process_at_a_time_has_a_data_directory() {
    let home = Home::init(&["--self-signed", "127.0.0.1"]);
    canhbao(&["init", &home.text()]).failed(1, "has a registry already");
    let process = home.serving().await;
    home.serve().failed_with_log("in use by another process");
    let taken = process.url.strip_prefix("https://").unwrap().to_owned();
    let other = Home::init(&["--self-signed", "127.0.0.1"]);
    canhbao(&["serve", "--data", &other.text(), "--listen", &taken]).failed_with_log(&taken);
    assert!(process.terminate().await.0.success());
    let missing = home.directory.path().join("nowhere");
    canhbao(&["serve", "--data", missing.to_str().unwrap()]).failed(1, "nowhere");
}

impl Ran {
    /// As `failed`, for a command that logs before it fails.
    #[track_caller]
    fn failed_with_log(self, words: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(1), ""), "{self:?}");
        let last = self.stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with("canhbao: ") && last.contains(words), "{self:?}");
    }
}

#[test]
fn keys_that_others_can_read_are_refused() {
    for file in ["keys/token-signing.pem", "keys/pepper.hex"] {
        let home = Home::init(&["--self-signed", "127.0.0.1"]);
        fs::set_permissions(home.data().join(file), fs::Permissions::from_mode(0o640)).unwrap();
        home.serve().failed_with_log(file);
    }
}

#[test]
fn the_configuration_in_force_is_printed() {
    let home = Home::init(&["--registry", "registry.example.vn"]);
    let print = |more: &[&str]| {
        let data = home.text();
        canhbao(&[&["serve", "--data", data.as_str(), "--print-config"], more].concat())
    };
    let printed: toml::Table = print(&["--listen", "127.0.0.1:7443"]).done().parse().unwrap();
    assert_eq!(printed["registry"].as_str(), Some("registry.example.vn"));
    assert_eq!(printed["listen"].as_str(), Some("127.0.0.1:7443"), "the command line comes last");
    assert_eq!(printed["tokens"]["lifetime_s"].as_integer(), Some(600));
    // What is printed can be the configuration.
    let file = home.data().join("canhbao.toml");
    fs::write(&file, print(&[]).done()).unwrap();
    let again: toml::Table = print(&[]).done().parse().unwrap();
    assert_eq!(again["limits"], printed["limits"]);
    let data = home.text();
    let variables = [("CANHBAO_DATA", data.as_str()), ("CANHBAO_LISTEN", "127.0.0.1:6443")];
    let by_environment: toml::Table = canhbao_in(&variables, &["serve", "--print-config"]).done().parse().unwrap();
    assert_eq!(by_environment["listen"].as_str(), Some("127.0.0.1:6443"));
    let both = canhbao_in(&variables, &["serve", "--print-config", "--listen", "127.0.0.1:7443"]).done();
    assert_eq!(both.parse::<toml::Table>().unwrap()["listen"].as_str(), Some("127.0.0.1:7443"));
}

#[test]
fn a_configuration_with_a_fault_is_refused_by_name() {
    let home = Home::init(&["--self-signed", "127.0.0.1"]);
    let file = home.data().join("canhbao.toml");
    let cases = [
        ("listen_address = \"127.0.0.1:1\"", "listen_address"),
        ("[limits]\nin_flight = 1", "in_flight"),
        ("[tokens]\nlifetime_s = 601", "tokens.lifetime_s"),
        ("[tokens]\nlifetime_s = 0", "tokens.lifetime_s"),
        ("[limits]\nqueue_records_max = 0", "limits"),
        ("url = \"http://registry.example.vn\"", "url"),
        ("url = \"https://registry.example.vn/\"", "url"),
        ("node = \"a b\"", "node"),
        ("[quotas.checks]\nquota = 0\nwindow_s = 60", "quota"),
        ("[quotas.checks]\nquota = 1\nwindow_s = 3601", "quotas"),
        ("registry = ", "canhbao.toml"),
    ];
    for (text, name) in cases {
        fs::write(&file, text).unwrap();
        home.serve().failed(1, name);
        canhbao(&["serve", "--data", &home.text(), "--print-config"]).failed(1, name);
    }
    fs::write(&file, "log_filter = \"canhbao=loud\"").unwrap();
    home.serve().failed(1, "log_filter");
}

#[test]
fn wrong_usage_ends_with_2() {
    let cases: [&[&str]; 9] = [
        &[],
        &["start"],
        &["serve"],
        &["init"],
        &["demo", "--flags", "many"],
        &["demo", "--listen", "localhost"],
        &["party", "create", "970436", "--name", "x", "--role", "court", "--credential", "x"],
        &["client", "create", "--party", "970436", "--name", "x", "--credential", "x"],
        &["token"],
    ];
    for arguments in cases {
        canhbao(arguments).failed(2, "--help");
    }
}

#[test]
fn the_version_is_the_package_s() {
    assert_eq!(canhbao(&["--version"]).done(), concat!("canhbao ", env!("CARGO_PKG_VERSION"), "\n"));
    assert!(canhbao(&["--help"]).done().contains("demo"));
}
