//! A stream of the log, of flags or of a report as an answer's body: the next piece is read when the client has taken the last one, so that the
//! client sets the pace and nothing piles up. A stream that fails breaks off; it must never end as if it were whole.

use crate::clock::Stopwatch;
use crate::registry::Pieces;
use crate::store::StoreError;
use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::task::JoinHandle;

/// A client that took too little for this long to make room for the next piece has left; its place is another's. What it
/// takes out of the connection's buffers meanwhile is not seen, so that one that reads slowly can be cut off too.
const STALL_TIME_MAX: Duration = Duration::from_secs(20);
const STALL_LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why a body broke off. The edge closes the connection, or resets the HTTP/2 stream.
#[derive(Debug, thiserror::Error)]
pub enum BrokenOff {
    #[error("what was asked for could not be read")]
    Failed,
    #[error("the client took too little for too long")]
    Stalled,
}

pub struct StreamBody(Rc<RefCell<State>>);

type Read = (Box<dyn Pieces>, Result<Option<Vec<u8>>, StoreError>);

enum State {
    /// The connection has all there is so far; since then it had no room for more.
    Waiting(Box<dyn Pieces>, Stopwatch),
    Reading(JoinHandle<Read>),
    Ended,
    Broken,
}

impl StreamBody {
    pub fn start(stream: Box<dyn Pieces>) -> Self {
        let state = Rc::new(RefCell::new(State::Waiting(stream, Stopwatch::start())));
        actix_web::rt::spawn(drop_if_stalled(Rc::downgrade(&state)));
        Self(state)
    }
}

/// A client that does not read is not heard of either: the body is not asked for more, so something else must look.
async fn drop_if_stalled(state: Weak<RefCell<State>>) {
    loop {
        tokio::time::sleep(STALL_LOOK_EVERY).await;
        let Some(state) = state.upgrade() else { return };
        let mut state = state.borrow_mut();
        match &*state {
            State::Waiting(_, since) if since.elapsed() > STALL_TIME_MAX => {
                tracing::warn!("a client of a stream of the log took too little for too long");
                *state = State::Broken;
                return;
            }
            State::Waiting(..) | State::Reading(_) => {}
            State::Ended | State::Broken => return,
        }
    }
}

impl State {
    /// Starts reading on, if nobody does.
    fn reading(&mut self) -> Result<Option<&mut JoinHandle<Read>>, BrokenOff> {
        match std::mem::replace(self, Self::Broken) {
            Self::Waiting(mut stream, _) => {
                *self = Self::Reading(tokio::task::spawn_blocking(move || {
                    let read = stream.next_piece();
                    (stream, read)
                }));
            }
            state @ Self::Reading(_) => *self = state,
            Self::Ended => {
                *self = Self::Ended;
                return Ok(None);
            }
            Self::Broken => return Err(BrokenOff::Stalled),
        }
        match self {
            Self::Reading(reading) => Ok(Some(reading)),
            Self::Waiting(..) | Self::Ended | Self::Broken => Ok(None),
        }
    }
}

impl MessageBody for StreamBody {
    type Error = BrokenOff;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        let mut state = self.0.borrow_mut();
        let reading = match state.reading() {
            Ok(Some(reading)) => reading,
            Ok(None) => return Poll::Ready(None),
            Err(broken) => return Poll::Ready(Some(Err(broken))),
        };
        let Ok((stream, read)) = ready!(Pin::new(reading).poll(context)) else {
            tracing::error!("a reader of the log has stopped");
            *state = State::Broken;
            return Poll::Ready(Some(Err(BrokenOff::Failed)));
        };
        // Never an empty chunk: in HTTP/1 that would be the end.
        Poll::Ready(match read {
            Ok(Some(bytes)) => {
                *state = State::Waiting(stream, Stopwatch::start());
                Some(Ok(bytes.into()))
            }
            Ok(None) => {
                *state = State::Ended;
                None
            }
            Err(error) => {
                tracing::error!(%error, "a stream of the log broke off");
                *state = State::Broken;
                Some(Err(BrokenOff::Failed))
            }
        })
    }
}
