//! What the tests break a server with: seeded chance, a tracer that delays its disk, a small disk, a wrong clock. Nothing
//! here may outlive its test.

use crate::support::process::{BINARY, Ended, Process};
use crate::support::{eventually, now};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const ATTACH_TIME_MAX: Duration = Duration::from_secs(10);

/// SplitMix64. The seed is printed, and `CANHBAO_SEED` sets it, so that what failed can be run again.
pub struct Random(u64);

impl Random {
    pub fn seeded() -> Self {
        let given = std::env::var("CANHBAO_SEED").ok().map(|seed| seed.parse().expect("CANHBAO_SEED is a number"));
        let seed = given.unwrap_or_else(|| now().as_ms());
        println!("CANHBAO_SEED={seed}");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub async fn pause_ms(&mut self, min: u64, max: u64) {
        tokio::time::sleep(Duration::from_millis(min + self.below(max - min))).await;
    }
}

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

/// The same command in a shell that first limits how large a file may grow. The signal is ignored, so that a write fails.
pub fn with_file_limit(command: &Command, kib: u64) -> Command {
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("trap '' XFSZ; ulimit -f {kib}; exec \"$@\""), "bash"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

/// A directory that was moved onto a small disk of its own.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` if this user may not mount.
    pub fn under(directory: &Path, mib: u64) -> Option<Self> {
        let aside = directory.with_extension("aside");
        std::fs::rename(directory, &aside).unwrap();
        std::fs::create_dir(directory).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=0700"), "tmpfs"])
            .arg(directory)
            .status();
        if !mount.is_ok_and(|status| status.success()) {
            std::fs::remove_dir(directory).unwrap();
            std::fs::rename(&aside, directory).unwrap();
            return None;
        }
        let disk = Self(directory.to_owned());
        let copied = Command::new("cp").arg("-aT").arg(&aside).arg(directory).status().unwrap();
        assert!(copied.success());
        Some(disk)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
        std::fs::remove_dir_all(self.0.parent().unwrap()).ok();
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
