//! What the tests break a server with: a tracer that delays its disk, a wrong configuration. Nothing here may outlive
//! its test.

use crate::support::eventually;
use crate::support::process::{BINARY, Ended, Process};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const ATTACH_TIME_MAX: Duration = Duration::from_secs(10);

/// Makes each fsync of a process take longer, for as long as this lives.
pub struct SlowDisk(Child);

impl SlowDisk {
    pub async fn of(process: &Process, delay: Duration) -> Self {
        let inject = format!("inject=fsync,fdatasync:delay_enter={}", delay.as_micros());
        let id = process.id().to_string();
        let mut command = Command::new("strace");
        command.args(["-qq", "-f", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e", &inject, "-p", &id]);
        let child = command.stdin(Stdio::null()).spawn().expect("strace: the package strace is needed");
        let mut tracer = Self(child);
        eventually(ATTACH_TIME_MAX, "strace has attached to every thread (which root may do)", async || {
            assert_eq!(tracer.0.try_wait().unwrap(), None, "strace ended: may it trace another process?");
            is_traced(process.id())
        })
        .await;
        tracer
    }
}

fn is_traced(id: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
    threads
        .map(|thread| std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap_or_default())
        .all(|status| status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0")))
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        // SIGTERM makes strace detach, so that the process goes on unhindered.
        let id = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).ok();
        self.0.wait().ok();
    }
}

/// Runs a server that must refuse to start.
pub async fn refused(command: Command) -> Ended {
    match Process::try_start(command).await {
        Ok(process) => panic!("it serves at {}", process.url),
        Err(ended) => ended,
    }
}

/// Runs a command of canhbao's that must do its work.
pub fn canhbao(arguments: &[&str]) {
    let output = Command::new(BINARY).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Sets a number in a data directory's canhbao.toml.
pub fn configure(data: &Path, table: &str, key: &str, value: impl Into<toml::Value>) {
    let path = data.join("canhbao.toml");
    let mut config: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    let table = if table.is_empty() { &mut config } else { config[table].as_table_mut().unwrap() };
    table.insert(key.to_owned(), value.into());
    std::fs::write(&path, config.to_string()).unwrap();
}

/// How often a message stands in the operational log of a running server.
pub fn times_logged(process: &Process, message: &str) -> usize {
    process.stderr().matches(&format!("\"message\":\"{message}\"")).count()
}
