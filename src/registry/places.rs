//! Places for what costs much: few in all, and fewer for each client, so that no client keeps the others out. It must never
//! lose a place: each is given back when its holder is dropped.

use crate::domain::party::ClientId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(super) struct Places {
    taken: Arc<Mutex<HashMap<ClientId, usize>>>,
    places_max: usize,
    of_a_client_max: usize,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    OfAll,
    OfThisClient,
}

pub(super) struct Place {
    taken: Arc<Mutex<HashMap<ClientId, usize>>>,
    client: ClientId,
}

impl Places {
    pub(super) fn new(places_max: usize, of_a_client_max: usize) -> Self {
        Self { taken: Arc::default(), places_max, of_a_client_max }
    }

    pub(super) fn take(&self, client: &ClientId) -> Result<Place, NoPlace> {
        let mut taken = locked(&self.taken);
        let of_client = taken.get(client).copied().unwrap_or(0);
        if of_client >= self.of_a_client_max {
            return Err(NoPlace::OfThisClient);
        }
        if taken.values().sum::<usize>() >= self.places_max {
            return Err(NoPlace::OfAll);
        }
        taken.insert(client.clone(), of_client + 1);
        Ok(Place { taken: Arc::clone(&self.taken), client: client.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = locked(&self.taken);
        match taken.get_mut(&self.client) {
            Some(places) if *places > 1 => *places -= 1,
            Some(_) | None => drop(taken.remove(&self.client)),
        }
    }
}

fn locked(taken: &Mutex<HashMap<ClientId, usize>>) -> MutexGuard<'_, HashMap<ClientId, usize>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: usize) -> ClientId {
        ClientId::parse(&format!("auditor-{number}")).unwrap()
    }

    #[test]
    fn a_client_has_two_places_and_all_have_eight() {
        let places = Places::new(8, 2);
        let mut held: Vec<Place> = Vec::new();
        for number in 0..4 {
            held.push(places.take(&client(number)).unwrap());
            held.push(places.take(&client(number)).unwrap());
            assert_eq!(places.take(&client(number)).err(), Some(NoPlace::OfThisClient));
        }
        assert_eq!(places.take(&client(4)).err(), Some(NoPlace::OfAll));
        drop(held.pop());
        let of_another = places.take(&client(4)).unwrap();
        assert_eq!(places.take(&client(3)).err(), Some(NoPlace::OfAll));
        drop(of_another);
        held.push(places.take(&client(3)).unwrap());
        drop(held);
        assert!(locked(&places.taken).is_empty());
    }
}
