//! Threads that work behind the writer: on indexes, figures and files that can wait. A check that arrives while they are at
//! work should find a processor. They must not fall behind for good, so they still get a share of a busy machine.

use rustix::process::setpriority_process;
use std::io;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use thread_priority::{
    DeadlineFlags, RealtimeThreadSchedulePolicy, ThreadId, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy,
};

/// A tenth of what a thread that answers gets (setpriority(2)).
const NICE: i32 = 10;
/// How long the thread would like to work at a stretch: the longest that the system knows. Who is woken and asks for less, as all
/// others do by not asking, gets the processor at once (Linux 6.12 and later); else it might wait until the next tick, 4 ms away.
const SLICE: Duration = Duration::from_millis(100);
/// For sched_setattr(2): only the slice is set. The library knows that call for deadlines alone.
const SCHED_FLAG_KEEP_POLICY: u64 = 0x08;
/// The thread that calls (gettid(2)).
const OWN: ThreadId = 0;

/// Starts such a thread. What it starts in turn gives way as it does.
pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).spawn(move || {
        if let Err(error) = ask_for_long_slices() {
            tracing::warn!(%error, "a thread does not give way at once to those that answer");
        }
        // On Linux that is the thread, not the process.
        if let Err(error) = setpriority_process(Some(rustix::thread::gettid()), NICE) {
            tracing::warn!(%error, "a thread does not give way to those that answer");
        }
        work();
    })
}

/// For this thread. It comes before the priority, which the call would take back.
fn ask_for_long_slices() -> Result<(), thread_priority::Error> {
    let slice = ThreadPriority::Deadline {
        runtime: SLICE,
        deadline: Duration::ZERO,
        period: Duration::ZERO,
        flags: DeadlineFlags::from_bits_retain(SCHED_FLAG_KEEP_POLICY),
    };
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Deadline);
    set_thread_priority_and_policy(OWN, slice, policy)
}

/// Lets whoever waits for this processor have it, if such a thread has been at work for long without waiting for anything. A
/// system that knows no slices would take it from the thread by itself, but only at its next tick.
pub fn give_way() {
    std::thread::yield_now();
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rustix::process::getpriority_process;
    use rustix::thread::gettid;

    #[test]
    fn a_thread_gives_way_with_those_that_it_starts_and_nobody_else_does() {
        let before = getpriority_process(Some(gettid())).unwrap();
        let (told, hears) = std::sync::mpsc::channel();
        let work = move || {
            let of_this = getpriority_process(Some(gettid())).unwrap();
            let of_another = std::thread::spawn(|| getpriority_process(Some(gettid())).unwrap());
            told.send((of_this, of_another.join().unwrap())).unwrap();
        };
        spawn("a-test", work).unwrap().join().unwrap();
        assert_eq!(hears.recv().unwrap(), (NICE, NICE));
        assert_eq!(getpriority_process(Some(gettid())).unwrap(), before);
    }

    /// What the system tells of this thread, if it is one that takes wishes and tells.
    fn slice() -> Option<Duration> {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
        let mut numbers = release.split('.').map_while(|number| number.parse::<u32>().ok());
        let all = std::fs::read_to_string("/proc/thread-self/sched").ok()?;
        if (numbers.next()?, numbers.next()?) < (6, 12) {
            return None;
        }
        let line = all.lines().find(|line| line.starts_with("se.slice"))?;
        line.rsplit(' ').next()?.parse().map(Duration::from_nanos).ok()
    }

    #[test]
    fn a_thread_asks_for_long_slices_and_nobody_else_does() {
        let before = slice();
        let (told, hears) = std::sync::mpsc::channel();
        spawn("a-test", move || told.send(slice()).unwrap()).unwrap().join().unwrap();
        assert_eq!(hears.recv().unwrap(), before.map(|_| SLICE));
        assert_eq!(slice(), before);
    }
}
