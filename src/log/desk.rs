//! Where the answers of a batch are handed over: one desk for each thread that waits. The writer leaves all answers for a
//! thread at once and wakes one of its tasks, which wakes the others: a wake from thread to thread for each answer costs
//! more than the answer. No answer may be left at a desk with nobody on the way to fetch it.

use super::record::AppendError;
use crate::domain::LogPosition;
use std::cell::RefCell;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

type Answer = Result<LogPosition, AppendError>;

/// The half that the writer sees. It lives as long as the process, since a thread may end before its answers come.
pub(super) struct Desk {
    left: Mutex<Vec<(usize, Answer)>>,
    /// Something is left.
    is_left: AtomicBool,
    /// The task that is woken when something is left.
    fetcher: Mutex<Option<Waker>>,
}

/// The half that only the waiting thread sees.
struct Waiting {
    desk: &'static Desk,
    places: Vec<Place>,
    free: Vec<usize>,
    /// How many wait and can be woken.
    wakeable: usize,
    /// The place of the fetcher, while it has not been woken.
    fetcher: Option<usize>,
    /// Kept to be filled again.
    fetched: Vec<(usize, Answer)>,
}

enum Place {
    Free,
    Waits(Option<Waker>),
    Answered(Answer),
    /// Nobody wants the answer any more, but it will come.
    Abandoned,
}

thread_local! {
    static WAITING: RefCell<Waiting> = RefCell::new(Waiting::new());
}

/// Where an answer is to be left. One that is dropped leaves `Closed`, so that nobody waits for ever.
pub(super) struct Ticket {
    desk: &'static Desk,
    place: Option<usize>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.desk.leave(&mut vec![(place, Err(AppendError::Closed))]);
        }
    }
}

/// Answers on their way, by desk. There are few desks, and neighbours mostly share one.
#[derive(Default)]
pub(super) struct Round(Vec<(&'static Desk, Vec<(usize, Answer)>)>);

impl Round {
    pub(super) fn put(&mut self, mut ticket: Ticket, answer: Answer) {
        let Some(place) = ticket.place.take() else { return };
        match self.0.iter_mut().find(|(desk, _)| std::ptr::eq(*desk, ticket.desk)) {
            Some((_, answers)) => answers.push((place, answer)),
            None => self.0.push((ticket.desk, vec![(place, answer)])),
        }
    }

    pub(super) fn leave(&mut self) {
        for (desk, answers) in &mut self.0 {
            if !answers.is_empty() {
                desk.leave(answers);
            }
        }
    }
}

/// A record that the writer has accepted. Dropping it loses the answer, not the record. It stays on its thread.
pub struct Pending {
    /// None once it is answered.
    place: Option<usize>,
    on_its_thread: PhantomData<*const ()>,
}

impl Pending {
    pub(super) fn open() -> (Self, Ticket) {
        let (desk, place) = WAITING.with_borrow_mut(|waiting| (waiting.desk, waiting.take_place()));
        (Self { place: Some(place), on_its_thread: PhantomData }, Ticket { desk, place: Some(place) })
    }

    /// Nothing was submitted, and no answer will come.
    pub(super) fn cancel(mut self, mut ticket: Ticket) {
        ticket.place = None;
        if let Some(place) = self.place.take() {
            WAITING.with_borrow_mut(|waiting| waiting.leave(place));
        }
    }

    /// Where the record stands, once it is on stable storage.
    pub async fn durable(self) -> Answer {
        self.await
    }
}

impl Future for Pending {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let pending = self.get_mut();
        let Some(place) = pending.place else { return Poll::Pending };
        let polled = WAITING.with_borrow_mut(|waiting| waiting.poll(place, context));
        if polled.is_ready() {
            pending.place = None;
        }
        polled
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            // When the thread itself ends nobody is left to be woken.
            let _thread_ends = WAITING.try_with(|waiting| waiting.borrow_mut().abandon(place));
        }
    }
}

impl Desk {
    /// Leaves answers for places of this desk's thread.
    fn leave(&self, answers: &mut Vec<(usize, Answer)>) {
        locked(&self.left).append(answers);
        self.is_left.store(true, Ordering::SeqCst);
        let fetcher = locked(&self.fetcher).take();
        if let Some(fetcher) = fetcher {
            fetcher.wake();
        }
    }
}

/// What is behind these locks is whole at every moment.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Waiting {
    fn new() -> Self {
        let desk = Desk { left: Mutex::default(), is_left: AtomicBool::new(false), fetcher: Mutex::default() };
        Self {
            desk: Box::leak(Box::new(desk)),
            places: Vec::new(),
            free: Vec::new(),
            wakeable: 0,
            fetcher: None,
            fetched: Vec::new(),
        }
    }

    fn take_place(&mut self) -> usize {
        let place = self.free.pop().unwrap_or(self.places.len());
        match self.places.get_mut(place) {
            Some(free) => *free = Place::Waits(None),
            None => self.places.push(Place::Waits(None)),
        }
        place
    }

    fn leave(&mut self, place: usize) {
        if let Some(left) = self.places.get_mut(place) {
            *left = Place::Free;
            self.free.push(place);
        }
    }

    fn poll(&mut self, place: usize, context: &Context<'_>) -> Poll<Answer> {
        self.fetch(Some(place));
        if let Some(answer) = self.take_answer(place) {
            self.find_fetcher();
            return Poll::Ready(answer);
        }
        if let Some(Place::Waits(waker)) = self.places.get_mut(place) {
            match waker {
                Some(waker) => waker.clone_from(context.waker()),
                None => {
                    *waker = Some(context.waker().clone());
                    self.wakeable += 1;
                }
            }
        }
        if self.fetcher.is_none() || self.fetcher == Some(place) {
            self.make_fetcher(place, context.waker().clone());
            // The writer may have come between the look and the fetcher's naming.
            self.fetch(Some(place));
            if let Some(answer) = self.take_answer(place) {
                self.find_fetcher();
                return Poll::Ready(answer);
            }
        }
        Poll::Pending
    }

    /// Takes what is left at the desk and wakes whom it is for, except the one that is looking.
    fn fetch(&mut self, looking: Option<usize>) {
        if !self.desk.is_left.load(Ordering::SeqCst) || !self.desk.is_left.swap(false, Ordering::SeqCst) {
            return;
        }
        self.fetcher = None;
        std::mem::swap(&mut *locked(&self.desk.left), &mut self.fetched);
        for (place, answer) in self.fetched.drain(..) {
            let Some(waiting) = self.places.get_mut(place) else { continue };
            match std::mem::replace(waiting, Place::Free) {
                Place::Waits(waker) => {
                    *waiting = Place::Answered(answer);
                    let Some(waker) = waker else { continue };
                    self.wakeable -= 1;
                    if looking != Some(place) {
                        waker.wake();
                    }
                }
                Place::Abandoned | Place::Free | Place::Answered(_) => self.free.push(place),
            }
        }
    }

    fn take_answer(&mut self, place: usize) -> Option<Answer> {
        let waiting = self.places.get_mut(place)?;
        match std::mem::replace(waiting, Place::Free) {
            Place::Answered(answer) => {
                self.free.push(place);
                Some(answer)
            }
            other @ (Place::Free | Place::Waits(_) | Place::Abandoned) => {
                *waiting = other;
                None
            }
        }
    }

    fn make_fetcher(&mut self, place: usize, waker: Waker) {
        self.fetcher = Some(place);
        *locked(&self.desk.fetcher) = Some(waker);
    }

    /// Names another fetcher among those who wait, if there is none.
    fn find_fetcher(&mut self) {
        while self.fetcher.is_none() && self.wakeable > 0 {
            let waits = self.places.iter().enumerate().find_map(|(place, waiting)| match waiting {
                Place::Waits(Some(waker)) => Some((place, waker.clone())),
                Place::Waits(None) | Place::Free | Place::Answered(_) | Place::Abandoned => None,
            });
            let Some((place, waker)) = waits else { return };
            self.make_fetcher(place, waker);
            self.fetch(None);
        }
    }

    fn abandon(&mut self, place: usize) {
        let Some(waiting) = self.places.get_mut(place) else { return };
        match std::mem::replace(waiting, Place::Abandoned) {
            Place::Waits(waker) => self.wakeable -= usize::from(waker.is_some()),
            Place::Answered(_) | Place::Free | Place::Abandoned => self.leave(place),
        }
        if self.fetcher == Some(place) {
            self.fetcher = None;
        }
        // It may have been woken to fetch for all, and will not come.
        self.fetch(None);
        self.find_fetcher();
    }
}
