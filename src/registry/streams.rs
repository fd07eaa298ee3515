//! The places for streams: few in all, and fewer for each client, so that no client keeps the others out. It must
//! never lose a place: each is given back when its holder is dropped.

use crate::domain::party::ClientId;
use crate::store::StoreError;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An answer that is made piece by piece.
pub trait Pieces: Send {
    /// The next bytes, never none; `None` at the end. It waits for the disk.
    fn next_piece(&mut self) -> Result<Option<Vec<u8>>, StoreError>;
}

/// Streams of a kind at once.
const STREAMS_MAX: usize = 8;
/// Of them, those of one client.
const STREAMS_OF_A_CLIENT_MAX: usize = 2;

#[derive(Default)]
pub(super) struct Streams(Arc<Mutex<HashMap<ClientId, usize>>>);

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    OfAll,
    OfThisClient,
}

/// The place of one stream.
pub(super) struct StreamPlace {
    running: Arc<Mutex<HashMap<ClientId, usize>>>,
    client: ClientId,
}

impl Streams {
    pub(super) fn take(&self, client: &ClientId) -> Result<StreamPlace, NoPlace> {
        let mut running = locked(&self.0);
        let of_client = running.get(client).copied().unwrap_or(0);
        if of_client >= STREAMS_OF_A_CLIENT_MAX {
            return Err(NoPlace::OfThisClient);
        }
        if running.values().sum::<usize>() >= STREAMS_MAX {
            return Err(NoPlace::OfAll);
        }
        running.insert(client.clone(), of_client + 1);
        Ok(StreamPlace { running: Arc::clone(&self.0), client: client.clone() })
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut running = locked(&self.running);
        match running.get_mut(&self.client) {
            Some(streams) if *streams > 1 => *streams -= 1,
            Some(_) | None => drop(running.remove(&self.client)),
        }
    }
}

fn locked(running: &Mutex<HashMap<ClientId, usize>>) -> MutexGuard<'_, HashMap<ClientId, usize>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: usize) -> ClientId {
        ClientId::parse(&format!("auditor-{number}")).unwrap()
    }

    #[test]
    fn a_client_has_two_places_and_all_have_eight() {
        let streams = Streams::default();
        let mut held: Vec<StreamPlace> = Vec::new();
        for number in 0..4 {
            held.push(streams.take(&client(number)).unwrap());
            held.push(streams.take(&client(number)).unwrap());
            assert_eq!(streams.take(&client(number)).err(), Some(NoPlace::OfThisClient));
        }
        assert_eq!(streams.take(&client(4)).err(), Some(NoPlace::OfAll));
        drop(held.pop());
        let of_another = streams.take(&client(4)).unwrap();
        assert_eq!(streams.take(&client(3)).err(), Some(NoPlace::OfAll));
        drop(of_another);
        held.push(streams.take(&client(3)).unwrap());
        drop(held);
        assert!(locked(&streams.0).is_empty());
    }
}
