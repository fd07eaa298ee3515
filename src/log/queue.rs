//! The writer's end of the queue: what waits there, in its order, and what it may take out of its turn.

use super::desk::Ticket;
use super::door::{Message, Waiting};
use super::record::Record;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

pub(super) struct Queue {
    messages: Receiver<Message>,
    /// It was taken out, and it was not its turn.
    first: Option<Message>,
}

impl From<Receiver<Message>> for Queue {
    fn from(messages: Receiver<Message>) -> Self {
        Self { messages, first: None }
    }
}

impl Queue {
    /// What waits already.
    pub(super) fn next_waiting(&mut self) -> Result<Message, TryRecvError> {
        match self.first.take() {
            Some(message) => Ok(message),
            None => self.messages.try_recv(),
        }
    }

    /// What waits already, or what comes within this time.
    pub(super) fn next(&mut self, within: Option<Duration>) -> Result<Message, RecvTimeoutError> {
        match (self.first.take(), within) {
            (Some(message), _) => Ok(message),
            (None, None) => Ok(self.messages.recv()?),
            (None, Some(time)) => self.messages.recv_timeout(time),
        }
    }

    /// Adds what waits already and changes nothing to a batch of up to `records_max`, as far as no change is in between.
    pub(super) fn join(&mut self, records: &mut Vec<Record>, tickets: &mut Vec<Ticket>, records_max: usize) {
        while records.len() < records_max {
            match self.next_waiting() {
                Ok(Message::Append(Waiting { record, ticket })) if !record.changes() => {
                    records.push(record);
                    tickets.push(ticket);
                }
                other => {
                    self.first = other.ok();
                    return;
                }
            }
        }
    }

    /// Fills a batch with `next` and with what waits, up to `records_max`; true if nothing will follow.
    pub(super) fn fill(&mut self, batch: &mut Vec<Waiting>, mut next: Option<Message>, records_max: usize) -> bool {
        loop {
            match next {
                None => return true,
                Some(Message::Append(waiting)) => batch.push(waiting),
                Some(Message::Close) => {
                    batch.extend(self.messages.try_iter().filter_map(|message| match message {
                        Message::Append(waiting) => Some(waiting),
                        Message::Close => None,
                    }));
                    return true;
                }
            }
            if batch.len() >= records_max {
                return false;
            }
            next = match self.next_waiting() {
                Ok(message) => Some(message),
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => None,
            };
        }
    }
}
