//! A server as a process of its own: started, timed, weighed and stopped.
//! It must never leave a server behind when a measurement fails: one that was not stopped is killed with its handle.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;
use serde::Serialize;

use super::Outcome;

const READY_LINE: &str = "listening on https://";
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
const START_MAX: Duration = Duration::from_secs(60 * 60);
const STOP_MAX: Duration = Duration::from_secs(60);
/// In which /proc counts (USER_HZ, which is 100 on every machine that the registry runs on).
const TICKS_PER_SECOND: u32 = 100;
/// How much of a failed server's own words is shown.
const LOG_TAIL_LINES: usize = 20;

pub struct ServerProcess {
    child: Child,
    address: SocketAddr,
    started_in: Duration,
}

/// The CPU time that all threads of a process have used, those that have ended included.
pub enum CpuClock {
    Process(ClockId),
    /// A process and its children, those that have ended included; in steps of the kernel's ticks.
    Family(Pid),
}

/// Resident memory in KiB, as the kernel counts it.
#[derive(Clone, Copy, Serialize)]
pub struct Memory {
    pub resident_kib: u32,
    pub peak_kib: u32,
}

impl ServerProcess {
    /// Starts the command and waits for its line `listening on https://…`; its stderr goes to the file `log`.
    pub fn start(mut command: Command, log: &Path) -> Outcome<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(log)?);
        let start = Instant::now();
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let stdout = child.stdout.take().ok_or("the server has no stdout")?;
        // From here on the handle kills the process if anything below fails.
        let mut server = Self { child, address: ([127, 0, 0, 1], 0).into(), started_in: Duration::ZERO };
        server.address = await_address(&addresses(stdout), start)
            .map_err(|error| format!("{error}; the end of {}:\n{}", log.display(), tail(log)))?;
        server.started_in = start.elapsed();
        Ok(server)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    pub fn cpu_clock(&self) -> Outcome<CpuClock> {
        Ok(CpuClock::Process(clock_getcpuclockid(self.pid()?)?))
    }

    pub fn memory(&self) -> Outcome<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        Ok(Memory { resident_kib: kib(&status, "VmRSS:")?, peak_kib: kib(&status, "VmHWM:")? })
    }

    /// Asks the server to end and waits until it has; one that ends badly fails the run.
    pub fn stop(mut self) -> Outcome<()> {
        kill(self.pid()?, Signal::SIGTERM)?;
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return if status.success() { Ok(()) } else { Err(format!("the server ended with {status}").into()) };
            }
            if start.elapsed() > STOP_MAX {
                return Err("the server did not end after SIGTERM".into());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn pid(&self) -> Outcome<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id())?))
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Both fail only when the process is gone already, which is what is wanted.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl CpuClock {
    /// The clock of the bench itself, which is the load generator.
    pub fn own() -> Self {
        Self::Process(ClockId::CLOCK_PROCESS_CPUTIME_ID)
    }

    pub fn used(&self) -> Outcome<Duration> {
        match self {
            Self::Process(clock) => Ok(Duration::from(clock.now()?)),
            Self::Family(head) => family_used(*head),
        }
    }
}

/// What children that ended before have used stands with the head, once it has heard of their end.
fn family_used(head: Pid) -> Outcome<Duration> {
    let children = fs::read_to_string(format!("/proc/{head}/task/{head}/children"))?;
    let mut ticks = ticks(&fs::read_to_string(format!("/proc/{head}/stat"))?, 4)?;
    for child in children.split_whitespace() {
        // One that has just ended has no file any more.
        if let Ok(stat) = fs::read_to_string(format!("/proc/{child}/stat")) {
            ticks += self::ticks(&stat, 2)?;
        }
    }
    Ok(Duration::from_secs(ticks) / TICKS_PER_SECOND)
}

/// The sum of the first `fields` of utime, stime, cutime and cstime (proc_pid_stat(5)).
fn ticks(stat: &str, fields: usize) -> Outcome<u64> {
    let (_, rest) = stat.rsplit_once(')').ok_or("/proc has no stat")?;
    let counts = rest.split_whitespace().skip(11).take(fields);
    Ok(counts.map(str::parse::<u64>).sum::<Result<u64, _>>()?)
}

/// Reads stdout to its end in a thread, so that the server never blocks on a full pipe.
fn addresses(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Some((_, address)) = line.split_once(READY_LINE) {
                // The receiver is gone once the first address was read; later lines only have to be drained.
                sender.send(address.trim().to_owned()).ok();
            }
        }
    });
    receiver
}

fn await_address(addresses: &Receiver<String>, start: Instant) -> Outcome<SocketAddr> {
    loop {
        match addresses.recv_timeout(PROGRESS_EVERY) {
            Ok(address) => return Ok(address.parse()?),
            Err(RecvTimeoutError::Disconnected) => {
                return Err("the server ended before it was ready".into());
            }
            Err(RecvTimeoutError::Timeout) if start.elapsed() > START_MAX => {
                return Err("the server did not become ready".into());
            }
            Err(RecvTimeoutError::Timeout) => {
                println!("  starting for {} s …", start.elapsed().as_secs())
            }
        }
    }
}

fn kib(status: &str, field: &str) -> Outcome<u32> {
    let value =
        status.lines().find_map(|line| line.strip_prefix(field)).and_then(|rest| rest.split_whitespace().next());
    Ok(value.ok_or_else(|| format!("/proc has no {field}"))?.parse()?)
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(LOG_TAIL_LINES);
    lines.into_iter().skip(skipped).collect::<Vec<_>>().join("\n")
}
