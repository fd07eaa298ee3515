//! The README as a test: its commands run as they are written, and what they print has the shape that it shows. And the
//! Dockerfile, without a container: what it copies is there, and the binary serves as a stranger on a read-only root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Seek};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_canhbao");
const README: &str = include_str!("../README.md");
const DOCKERFILE: &str = include_str!("../Dockerfile");
/// Where the README keeps a registry.
const DATA: &str = "/srv/canhbao";
/// Nobody who owns anything here; Debian's `nogroup`.
const STRANGER: &str = "65534";
/// Fields whose values differ from run to run; the others must be as shown.
const VARYING: &[&str] = &[
    "access_token",
    "id",
    "request_id",
    "since",
    "expires_at",
    "checked_at",
    "salt",
    "list_version",
    "subject_hash",
    "check",
    "at",
    "log_entry",
];

/// A fenced block of the README.
struct Block {
    /// What stands behind the fence, such as `sh check`.
    kind: &'static str,
    text: &'static str,
}

fn blocks() -> Vec<Block> {
    let mut parts = README.split("\n```");
    let mut blocks = Vec::new();
    // Between two fences lies, in turns, prose and a block.
    while let (Some(_prose), Some(block)) = (parts.next(), parts.next()) {
        let (kind, text) = block.split_once('\n').unwrap();
        blocks.push(Block { kind, text });
    }
    blocks
}

fn blocks_of(kind: &str) -> Vec<&'static str> {
    let found: Vec<_> = blocks().into_iter().filter(|block| block.kind == kind).map(|block| block.text).collect();
    assert!(!found.is_empty(), "the README has no block {kind}");
    found
}

/// A server that ends with its test.
struct Server {
    child: Child,
}

impl Server {
    /// Starts it and returns what it printed, when it has printed that it listens.
    fn start(command: &mut Command) -> (Self, String) {
        let mut log = tempfile::tempfile().unwrap();
        let log_end = Stdio::from(log.try_clone().unwrap());
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log_end).spawn().unwrap();
        let mut server = Self { child };
        let (mut told, mut lines) = (String::new(), BufReader::new(server.child.stdout.take().unwrap()).lines());
        while !told.contains("listening on https://") {
            let Some(line) = lines.next() else {
                let mut logged = String::new();
                log.rewind().unwrap();
                log.read_to_string(&mut logged).unwrap();
                panic!("it ended early, {:?}: {logged}", server.child.wait());
            };
            told.push_str(&line.unwrap());
            told.push('\n');
        }
        (server, told)
    }

    /// Ends it as an operator does.
    fn end(mut self) {
        let killed = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(killed.success());
        assert!(self.child.wait().unwrap().success(), "SIGTERM ends it well");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn bash(script: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", script]);
    command
}

fn successful(output: Output) -> String {
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    text
}

/// A folder whose first entry on the path is the binary under its own name.
fn path_with_binary(work: &Path) -> String {
    let bin = work.join("bin");
    fs::create_dir(&bin).unwrap();
    symlink(BINARY, bin.join("canhbao")).unwrap();
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())
}

/// Whether an answer has the shape of the one that is shown.
fn compare(shown: &Value, given: &Value, at: &str) {
    match (shown, given) {
        (Value::Object(shown), Value::Object(given)) => {
            let names = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(shown), names(given), "{at}");
            for (name, value) in shown {
                let at = format!("{at}/{name}");
                if VARYING.contains(&name.as_str()) {
                    compare_form(value, &given[name], &at);
                } else {
                    compare(value, &given[name], &at);
                }
            }
        }
        (Value::Array(shown), Value::Array(given)) => {
            assert_eq!(shown.len(), given.len(), "{at}");
            for (place, (shown, given)) in shown.iter().zip(given).enumerate() {
                compare(shown, given, &format!("{at}/{place}"));
            }
        }
        _ => assert_eq!(shown, given, "{at}"),
    }
}

/// As `compare`, for a value that differs from run to run: its type, what a TypeID is of, how a time is written.
fn compare_form(shown: &Value, given: &Value, at: &str) {
    let form = |value: &Value| match (value.as_str(), at.rsplit('/').next()) {
        (Some(id), Some("id" | "request_id" | "check")) => id.split('_').next().unwrap_or_default().to_owned(),
        (Some(time), Some("since" | "expires_at" | "checked_at" | "at")) => {
            time.replace(|c: char| c.is_ascii_digit(), "0")
        }
        _ => String::new(),
    };
    assert_eq!(std::mem::discriminant(shown), std::mem::discriminant(given), "{at}");
    assert_eq!(form(shown), form(given), "{at}");
}

/// A verification's report without what differs from run to run: numbers, and what is no word.
fn form_of_report(text: &str) -> Vec<String> {
    let line = |line: &str| match line.split_once(": ") {
        Some((name @ ("root" | "key"), _)) => name.to_owned(),
        Some(_) | None => line.split(|c: char| c.is_ascii_digit()).filter(|part| !part.is_empty()).collect(),
    };
    text.trim().lines().map(line).collect()
}

#[test]
fn the_demo_answers_as_the_readme_shows() {
    let work = tempfile::tempdir().unwrap();
    let demo = blocks_of("sh demo").concat();
    let arguments = demo.trim().strip_prefix("cargo run --release -- ").expect("the README's first command");
    // The demo keeps itself in a temporary directory, and the README's commands look for it there.
    let mut command = Command::new(BINARY);
    command.args(arguments.split(' ')).args(["--listen", "127.0.0.1:0"]).env("TMPDIR", work.path());
    let (server, told) = Server::start(&mut command);
    for command in ["# a token\n", "# a clear check\n", "# a flagged check\n", "# its receipt"] {
        assert!(told.contains(command), "{command}");
    }

    let script: String = blocks_of("sh check").iter().map(|step| format!("{step}\nprintf '\\036'\n")).collect();
    let kept = tempfile::tempdir().unwrap();
    let mut command = bash(&script);
    command.env("TMPDIR", work.path()).env("PATH", path_with_binary(kept.path())).current_dir(kept.path());
    let printed = successful(command.output().unwrap());
    let shown: Vec<Block> = blocks().into_iter().filter(|block| ["json", "text"].contains(&block.kind)).collect();
    let answers: Vec<&str> = printed.split('\u{1e}').filter(|answer| !answer.trim().is_empty()).collect();
    assert_eq!(answers.len(), shown.len(), "one answer is shown for each step");
    for (place, (shown, given)) in shown.iter().zip(answers).enumerate() {
        if shown.kind == "text" {
            assert_eq!(form_of_report(shown.text), form_of_report(given), "answer {place}");
            continue;
        }
        let (shown, given) = (serde_json::from_str(shown.text).unwrap(), serde_json::from_str(given).unwrap());
        compare(&shown, &given, &format!("answer {place}"));
    }
    server.end();
    let left = fs::read_dir(work.path()).unwrap().count();
    assert_eq!(left, 0, "the demo removes its directory");
}

#[test]
fn what_the_demo_prints_can_be_run() {
    let work = tempfile::tempdir().unwrap();
    let mut command = Command::new(BINARY);
    command.args(["demo", "--flags", "10", "--listen", "127.0.0.1:0"]).env("TMPDIR", work.path());
    let (server, told) = Server::start(&mut command);
    let (commands, _) = told.split_once("\ndemo.json: ").unwrap();
    let told = successful(bash(commands).output().unwrap());
    let (answers, receipt) = told.split_once("c2sp.org/tlog-proof@v1\n").unwrap();
    let verdicts: Vec<Value> = serde_json::Deserializer::from_str(answers)
        .into_iter::<Value>()
        .map(|answer| answer.unwrap()["verdict"].clone())
        .collect();
    assert_eq!(verdicts, ["clear", "warn"]);
    assert!(receipt.contains("\n\ndemo.canhbao.example/main\n"), "{receipt}");
    server.end();
}

/// An address that nobody listens on now; another process could take it before it is used, but hardly does.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn the_commands_of_an_operator_work() {
    let work = tempfile::tempdir().unwrap();
    let (data, path) = (work.path().join("data"), path_with_binary(work.path()));
    let (listen, operations) = (free_address(), free_address());
    let in_place = |text: &str| {
        let mut command = bash(&text.replace(DATA, data.to_str().unwrap()));
        command.env("PATH", &path).env("CANHBAO_LISTEN", &listen).env("CANHBAO_METRICS_LISTEN", &operations);
        command.env("CANHBAO_SERVER", format!("https://{listen}")).current_dir(work.path());
        command
    };
    let operate: String = blocks_of("sh operate").join("\n");
    let printed = successful(in_place(&operate).output().unwrap());
    assert!(printed.contains("registry = \"registry.example.vn\""), "{printed}");
    let previous = fs::metadata(data.join("keys/token-signing.previous.pem")).unwrap();
    let current = fs::metadata(data.join("keys/token-signing.pem")).unwrap();
    assert_eq!((previous.mode() & 0o777, current.mode() & 0o777), (0o600, 0o600));

    // `exec`, so that the signal reaches the server and not the shell.
    let serve = format!("exec {}", blocks_of("sh serve").concat());
    let (server, _) = Server::start(&mut in_place(&serve));
    let printed = successful(in_place(&blocks_of("sh admin").concat()).output().unwrap());
    for expected in ["ready", "\"client_secret\": \"cbs_", "\"id\": \"970436\"", "\"state\":\"disabled\""] {
        assert!(printed.contains(expected), "{expected}: {printed}");
    }
    server.end();
}

#[test]
fn every_block_of_the_readme_is_known_here() {
    let known =
        ["sh demo", "sh tests", "sh check", "json", "text", "sh operate", "sh serve", "sh admin", "sh docker", "sh"];
    let unknown: Vec<&str> =
        blocks().iter().map(|block| block.kind).filter(|kind| !kind.is_empty() && !known.contains(kind)).collect();
    assert!(unknown.is_empty(), "no test runs {unknown:?}");
}

#[test]
fn what_the_dockerfile_copies_is_there_and_is_not_ignored() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ignored = fs::read_to_string(root.join(".dockerignore")).unwrap();
    let mut copied = 0;
    for line in DOCKERFILE.lines().filter_map(|line| line.strip_prefix("COPY ")) {
        let words: Vec<&str> = line.split(' ').collect();
        let Some((_place, sources)) = words.split_last().filter(|_| !line.starts_with("--from=")) else { continue };
        for source in sources {
            assert!(root.join(source).exists(), "{source} is not there");
            assert!(ignored.lines().any(|line| line == format!("!{source}")), "{source} is in .dockerignore's shadow");
            copied += 1;
        }
    }
    assert!(copied >= 6, "{copied} sources");
    assert!(
        DOCKERFILE.contains("\nUSER 10001:10001\n"),
        "a number, so that an orchestrator can see that it is not root"
    );
}

/// A home that belongs to the stranger, and a copy of the binary that he can reach.
struct Stranger {
    work: tempfile::TempDir,
    is_root: bool,
}

impl Stranger {
    fn new() -> Self {
        let work = tempfile::tempdir().unwrap();
        fs::set_permissions(work.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(BINARY, work.path().join("canhbao")).unwrap();
        fs::create_dir(work.path().join("data")).unwrap();
        let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
        if is_root {
            let owner = format!("{STRANGER}:{STRANGER}");
            assert!(Command::new("chown").arg(owner).arg(work.path().join("data")).status().unwrap().success());
        }
        Self { work, is_root }
    }

    fn data(&self) -> PathBuf {
        self.work.path().join("data")
    }

    /// As in the image: `init`, then `serve`, both with the image's environment.
    fn script(&self) -> String {
        let (binary, data) = (self.work.path().join("canhbao"), self.data());
        let (binary, data) = (binary.display(), data.display());
        assert!(DOCKERFILE.contains("SQLITE_TMPDIR=/data"), "the image sets what is set here");
        format!(
            "export SQLITE_TMPDIR={data} CANHBAO_DATA={data} CANHBAO_LISTEN=127.0.0.1:0\n\
             {binary} init {data} --self-signed 127.0.0.1 >&2\n\
             exec {binary} serve"
        )
    }

    /// Without rights and without a name; who is not root here is a stranger already.
    fn prefix(&self) -> Vec<&str> {
        if self.is_root {
            vec!["setpriv", "--reuid", STRANGER, "--regid", STRANGER, "--clear-groups", "--no-new-privs"]
        } else {
            Vec::new()
        }
    }

    /// On a root that nobody can write to, the data directory apart.
    fn on_read_only_root(&self, script: &str) -> Command {
        let data = self.data();
        let outside = format!(
            "mount --bind {data} {data}\nmount -o remount,bind,ro /\nfor at in /tmp /var/tmp /dev/shm /run; do\n\
             if mountpoint -q $at; then mount -o remount,bind,ro $at; fi\n\
             if touch $at/canhbao-probe 2>/dev/null; then echo \"$at can be written to\" >&2; exit 9; fi\ndone\n\
             exec {prefix} bash -euc \"$1\"",
            data = data.display(),
            prefix = self.prefix().join(" "),
        );
        let mut command = Command::new("unshare");
        command.arg("--mount");
        if !self.is_root {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["bash", "-euc", &outside, "bash", script]);
        command
    }
}

fn talks_and_ends(command: &mut Command, operations: &str) {
    let (server, _) = Server::start(command.env("CANHBAO_METRICS_LISTEN", operations));
    let health = Command::new(BINARY).args(["health", "--metrics-listen", operations]).output().unwrap();
    assert_eq!(successful(health), "ready\n");
    server.end();
}

#[test]
fn the_binary_serves_as_a_stranger_on_a_read_only_root() {
    let stranger = Stranger::new();
    let operations = free_address();
    if stranger.on_read_only_root("true").status().unwrap().success() {
        talks_and_ends(&mut stranger.on_read_only_root(&stranger.script()), &operations);
        return;
    }
    // Nothing can be mounted in this place. The same is shown by what the stranger owns afterwards: whatever he makes is
    // his, and what others own he cannot change.
    eprintln!("no read-only root can be made here: looking for files outside the data directory instead");
    assert!(stranger.is_root, "this test needs root, or a user namespace in which it can mount");
    let mark = stranger.work.path().join("mark");
    fs::write(&mark, "").unwrap();
    let prefix = stranger.prefix();
    let mut command = Command::new(prefix[0]);
    command.args(&prefix[1..]).args(["bash", "-euc", &stranger.script()]);
    talks_and_ends(&mut command, &operations);
    let (data, mark) = (stranger.data().display().to_string(), mark.display().to_string());
    let his = |place: &str| {
        let found = Command::new("find").args([place, "-xdev", "-user", STRANGER, "-newer", &mark]).output().unwrap();
        let found = String::from_utf8(found.stdout).unwrap();
        found.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(his(&data).len() > 5, "he keeps a registry");
    let outside: Vec<String> = his("/").into_iter().filter(|path| !path.starts_with(&data)).collect();
    assert!(outside.is_empty(), "he writes outside the data directory: {outside:#?}");
}

#[test]
fn each_column_of_an_import_stands_in_the_readme_and_in_the_contract() {
    let contract = include_str!("../openapi.yaml");
    for column in canhbao::domain::import::Column::ALL {
        let name = format!("`{}`", column.as_str());
        assert!(README.contains(&name), "the README lacks {name}");
        assert!(contract.contains(&name), "the contract lacks {name}");
    }
}
