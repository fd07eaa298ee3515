//! What a shared database needs from time to time, on a thread of its own: the list in memory must never wait for it, and what
//! could not be done now, since somebody was in the way, is no sign that the database is gone.

use crate::clock::{Clock, Stopwatch};
use crate::store::{Store, StoreError};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

const EVERY: Duration = Duration::from_secs(3600);
/// What was not done is tried again after this long. The months are made long before they come.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

pub(super) struct Keeping {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    running: Option<JoinHandle<Result<(), StoreError>>>,
    /// Since the last call ended, and how long until the next; at the start there is none to wait for.
    ended: Option<(Stopwatch, Duration)>,
    has_warned: bool,
}

impl Keeping {
    pub(super) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, running: None, ended: None, has_warned: false }
    }

    /// Starts what is due, and looks what became of it. It is called often, and never waits.
    pub(super) fn look(&mut self) {
        match self.running.take_if(|running| running.is_finished()) {
            Some(ended) => {
                let done = ended.join().unwrap_or(Err(StoreError::Corrupt("a thread that panicked")));
                self.note(done);
            }
            None if self.running.is_none() && self.is_due() => self.start(),
            None => {}
        }
    }

    fn is_due(&self) -> bool {
        self.ended.as_ref().is_none_or(|(since, wait)| since.elapsed() >= *wait)
    }

    fn start(&mut self) {
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        let work = move || store.keep_up(clock.now()).and_then(|()| store.drop_archived(clock.now()));
        match std::thread::Builder::new().name("keep-up".to_owned()).spawn(work) {
            Ok(running) => self.running = Some(running),
            Err(error) => self.note(Err(StoreError::Engine(error.to_string()))),
        }
    }

    /// Says once that it was not done.
    fn note(&mut self, done: Result<(), StoreError>) {
        let wait = if done.is_ok() { EVERY } else { AGAIN_AFTER };
        if let Err(error) = &done
            && !self.has_warned
        {
            tracing::warn!(%error, "parts of the log's table are not kept up for now; it is tried again");
        }
        self.has_warned = done.is_err();
        self.ended = Some((Stopwatch::start(), wait));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::domain::Timestamp;
    use crate::store::Connection;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Mutex, PoisonError};

    /// A database that is asked to be kept up, and answers when it is told how.
    struct Asked {
        calls: AtomicU32,
        answers: Mutex<Receiver<Result<(), StoreError>>>,
    }

    impl Store for Asked {
        fn writer(&self) -> Result<Box<dyn Connection + Send>, StoreError> {
            Err(StoreError::Corrupt("nothing"))
        }

        fn search_writer(&self) -> Result<Box<dyn Connection + Send>, StoreError> {
            self.writer()
        }

        fn is_shared(&self) -> bool {
            true
        }

        fn keep_up(&self, _: Timestamp) -> Result<(), StoreError> {
            self.calls.fetch_add(1, Ordering::SeqCst);
            self.answers.lock().unwrap_or_else(PoisonError::into_inner).recv().unwrap()
        }

        fn drop_archived(&self, _: Timestamp) -> Result<(), StoreError> {
            Ok(())
        }

        fn read(&self, _: &mut dyn FnMut(&mut dyn Connection) -> Result<(), StoreError>) -> Result<(), StoreError> {
            Err(StoreError::Corrupt("nothing"))
        }
    }

    fn asked() -> (Arc<Asked>, Sender<Result<(), StoreError>>, Keeping) {
        let (answer, answers) = channel();
        let asked = Arc::new(Asked { calls: AtomicU32::new(0), answers: Mutex::new(answers) });
        let clock = Arc::new(SystemClock::new(Timestamp::EPOCH));
        let store: Arc<dyn Store> = asked.clone();
        let keeping = Keeping::new(store, clock);
        (asked, answer, keeping)
    }

    fn wait_of(keeping: &mut Keeping) -> Duration {
        while keeping.running.is_some() {
            keeping.look();
            std::thread::yield_now();
        }
        keeping.ended.as_ref().unwrap().1
    }

    #[test]
    fn nobody_waits_for_it_and_what_was_not_done_is_tried_soon() {
        let (asked, answer, mut keeping) = asked();
        for _ in 0..3 {
            keeping.look();
        }
        answer.send(Err(StoreError::Undone("a reader".to_owned()))).unwrap();
        assert_eq!(wait_of(&mut keeping), AGAIN_AFTER);
        assert!(keeping.has_warned);
        keeping.look();
        assert!(keeping.running.is_none(), "not at once");
        keeping.ended = None;
        keeping.look();
        answer.send(Ok(())).unwrap();
        assert_eq!(wait_of(&mut keeping), EVERY);
        assert_eq!((asked.calls.load(Ordering::SeqCst), keeping.has_warned), (2, false));
    }
}
