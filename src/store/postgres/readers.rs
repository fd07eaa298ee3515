//! The connections that read, lent to one after the other. There are only so many, so that a rush of readers cannot take the
//! server's last connection from the writers.

use super::connection::{Lent, PostgresConnection};
use super::session::{Purpose, Route, Session};
use crate::store::{Connection, StoreError};
use deadpool::managed::{Manager, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult};
use std::sync::Arc;
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(5);

pub(super) type Pooled = Object<Reading>;

pub(super) struct Reading {
    route: Arc<Route>,
    purpose: Purpose,
}

impl Manager for Reading {
    type Type = Session;
    type Error = StoreError;

    async fn create(&self) -> Result<Session, StoreError> {
        self.route.connect(self.purpose).await
    }

    async fn recycle(&self, session: &mut Session, _: &Metrics) -> RecycleResult<StoreError> {
        if session.client.is_closed() {
            return Err(RecycleError::message("closed"));
        }
        Ok(())
    }
}

pub(super) struct Readers {
    pool: Pool<Reading>,
    route: Arc<Route>,
    purpose: Purpose,
}

impl Readers {
    pub(super) fn new(route: &Arc<Route>, purpose: Purpose, readers_max: usize) -> Result<Self, StoreError> {
        let pool = Pool::builder(Reading { route: Arc::clone(route), purpose }).max_size(readers_max).build();
        let pool = pool.map_err(|error| StoreError::Engine(error.to_string()))?;
        Ok(Self { pool, route: Arc::clone(route), purpose })
    }

    /// All that `work` reads is of one moment.
    pub(super) fn lend(
        &self,
        work: &mut dyn FnMut(&mut dyn Connection) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let session = self.route.block_on(WAIT, async { self.pool.get().await.map_err(failed) })?;
        let mut connection = PostgresConnection::new(Lent::Pooled(session), self.route.clone(), self.purpose);
        connection.begin()?;
        let done = work(&mut connection).and_then(|()| connection.commit());
        if done.is_err()
            && let Lent::Pooled(session) = connection.into_session()
        {
            // The rest of an answer may still be on its way here: nobody else should wait for that.
            drop(Object::take(session));
        }
        done
    }
}

fn failed(error: PoolError<StoreError>) -> StoreError {
    match error {
        PoolError::Backend(error) => error,
        PoolError::Timeout(_) | PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
            StoreError::Lost("no connection comes free".to_owned())
        }
    }
}
