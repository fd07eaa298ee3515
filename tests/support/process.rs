//! `canhbao` as a process: started, watched, ended. It must never outlive its test.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const START_TIME_MAX: Duration = Duration::from_secs(60);
const END_TIME_MAX: Duration = Duration::from_secs(30);

pub const BINARY: &str = env!("CARGO_BIN_EXE_canhbao");

pub struct Process {
    child: Child,
    pub url: String,
    /// Where /metrics, /livez and /readyz are, without TLS.
    pub operations: SocketAddr,
    stdout: Output,
    stderr: Output,
}

/// What a server that has ended before it listened left.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "with {:?}:\n{}{}", self.code, self.stdout, self.stderr)
    }
}

/// What a pipe has given so far; a thread reads it, so that the process never blocks on it.
struct Output {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Output {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&text);
        let reader = thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let mut text = shared.lock().unwrap();
                text.push_str(&line);
                text.push('\n');
            }
        });
        Self { text, reader: Some(reader) }
    }

    fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// Everything, once the process has ended.
    fn whole(&mut self) -> String {
        self.reader.take().unwrap().join().unwrap();
        self.text()
    }
}

impl Process {
    /// Starts a server and waits for its line `listening on https://…`.
    pub async fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(BINARY);
        command.args(arguments);
        Self::try_start(command).await.unwrap_or_else(|ended| panic!("the server ended: {ended}"))
    }

    /// As `start`, for a command that may rather end than listen.
    pub async fn try_start(mut command: Command) -> Result<Self, Ended> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (stdout, stderr) = (Output::of(child.stdout.take().unwrap()), Output::of(child.stderr.take().unwrap()));
        let operations = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut process = Self { child, url: String::new(), operations, stdout, stderr };
        let mut ended = None;
        super::eventually(START_TIME_MAX, "the server listens", async || {
            ended = process.child.try_wait().unwrap();
            let told = process.stdout.text();
            let address = told.lines().find_map(|line| line.strip_prefix("listening on ").map(str::to_owned));
            process.url = address.unwrap_or_default();
            ended.is_some() || !process.url.is_empty()
        })
        .await;
        if let Some(status) = ended {
            return Err(Ended { code: status.code(), stdout: process.stdout.whole(), stderr: process.stderr.whole() });
        }
        // Two pipes are read by two threads, and the operational log's may be behind.
        super::eventually(START_TIME_MAX, "the server logs where it serves", async || {
            let serving = process.logged("serving");
            let operations = serving.as_ref().and_then(|line| line["operations"].as_str()?.parse().ok());
            process.operations = operations.unwrap_or(process.operations);
            operations.is_some()
        })
        .await;
        Ok(process)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The first line of the operational log with this message.
    pub fn logged(&self, message: &str) -> Option<serde_json::Value> {
        let lines = self.stderr.text();
        let mut lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.find(|line| line["message"] == message)
    }

    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.id()).unwrap()), signal).unwrap();
    }

    /// SIGTERM, and what it led to: the status and the whole operational log.
    pub async fn terminate(self) -> (ExitStatus, String) {
        self.signal(Signal::SIGTERM);
        self.ended().await
    }

    pub async fn kill(self) -> String {
        self.signal(Signal::SIGKILL);
        self.ended().await.1
    }

    /// Waits for the end that a signal has brought about.
    pub async fn ended(mut self) -> (ExitStatus, String) {
        let mut status = None;
        super::eventually(END_TIME_MAX, "the server ends", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        (status.unwrap(), self.stderr.whole())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when the process is gone already, which is what is wanted.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
