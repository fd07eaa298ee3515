//! Threads that work behind the writer: on indexes, figures and files that can wait. A check that arrives while they are at
//! work should find a processor. They must not fall behind for good, so they still get a share of a busy machine.

use rustix::process::setpriority_process;
use std::io;
use std::thread::{Builder, JoinHandle};

/// A third of what a thread that answers gets (setpriority(2)).
const NICE: i32 = 5;

/// Starts such a thread. What it starts in turn gives way as it does.
pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).spawn(move || {
        // On Linux that is the thread, not the process.
        if let Err(error) = setpriority_process(Some(rustix::thread::gettid()), NICE) {
            tracing::warn!(%error, "a thread does not give way to those that answer");
        }
        work();
    })
}

/// Lets whoever waits for this processor have it, if such a thread has been at work for long without waiting for anything. The
/// system would take it from the thread by itself, but only at its next tick, which may be 4 ms away.
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
}
