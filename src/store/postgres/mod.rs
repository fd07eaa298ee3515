//! The driver for registries whose nodes share a PostgreSQL server. It blocks: it is called from threads of its own or from
//! those that may block, never where futures run. What an answer promises the server has on its disk, or it is refused here.

mod address;
mod archived;
mod bulk;
mod connection;
mod failure;
mod migrations;
mod partitions;
mod readers;
mod session;
mod tls;

pub use address::{Address, AddressError};
pub use bulk::{BulkRows, BulkTable};
pub use connection::PostgresConnection;

use super::{Connection, Store, StoreError};
use crate::domain::Timestamp;
use connection::Lent;
use readers::Readers;
use session::{Purpose, Route};
use std::sync::Arc;

/// The server's last connections are for those who write.
const READERS_MAX: usize = 16;
const VERSION_MIN: i64 = 150_000;
const STANDBY: &str = "this PostgreSQL is a standby; only the primary can be written to";

pub struct PostgresStore {
    route: Arc<Route>,
    readers: Readers,
    follower: Readers,
}

impl PostgresStore {
    /// Whether there is no registry in the database.
    pub fn is_empty(address: &Address) -> Result<bool, StoreError> {
        let mut connection = connect(&Arc::new(Route::to(address)?), Purpose::Set)?;
        migrations::is_empty(&mut connection)
    }

    /// Makes the registry in a database that has none. Of two that do it at once, one is refused.
    pub fn create(address: &Address, registry: &str, now: Timestamp) -> Result<(), StoreError> {
        let mut connection = connect(&Arc::new(Route::to(address)?), Purpose::Set)?;
        check_server(&mut connection)?;
        migrations::create(&mut connection, registry, now)
    }

    /// Makes a database that holds what `work` writes into it, the row that names the registry too; nobody sees it before all
    /// of it is there. `times` are those of the log's first and last batches.
    pub fn fill(
        address: &Address,
        times: Option<(Timestamp, Timestamp)>,
        now: Timestamp,
        work: &mut dyn FnMut(&mut PostgresConnection) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut connection = connect(&Arc::new(Route::to(address)?), Purpose::Set)?;
        check_server(&mut connection)?;
        migrations::fill(&mut connection, times, now, work)
    }

    /// Opens an existing registry and brings its schema up to date.
    pub fn open(address: &Address, now: Timestamp) -> Result<Self, StoreError> {
        let route = Arc::new(Route::to(address)?);
        let mut connection = connect(&route, Purpose::Set)?;
        check_server(&mut connection)?;
        migrations::migrate(&mut connection, now)?;
        drop(connection);
        let readers = Readers::new(&route, Purpose::Read, READERS_MAX)?;
        let follower = Readers::new(&route, Purpose::Follow, 1)?;
        let store = Self { route, readers, follower };
        match store.keep_up(now) {
            // Without its part of the table a batch is kept all the same.
            Err(StoreError::Undone(reason)) => tracing::warn!(%reason, "parts of the log's table will be made later"),
            done => done?,
        }
        Ok(store)
    }
}

fn connect(route: &Arc<Route>, purpose: Purpose) -> Result<PostgresConnection, StoreError> {
    let session = route.connect_blocking(purpose)?;
    Ok(PostgresConnection::new(Lent::Own(session), route.clone(), purpose))
}

impl Store for PostgresStore {
    fn writer(&self) -> Result<Box<dyn Connection + Send>, StoreError> {
        let mut connection = connect(&self.route, Purpose::Write)?;
        check_server(&mut connection)?;
        Ok(Box::new(connection))
    }

    fn search_writer(&self) -> Result<Box<dyn Connection + Send>, StoreError> {
        Ok(Box::new(connect(&self.route, Purpose::Search)?))
    }

    fn is_shared(&self) -> bool {
        true
    }

    /// Makes the parts of the log's table for this month and the two after it.
    fn keep_up(&self, now: Timestamp) -> Result<(), StoreError> {
        partitions::keep_up(&mut connect(&self.route, Purpose::KeepUp)?, now)
    }

    fn drop_archived(&self, now: Timestamp) -> Result<(), StoreError> {
        archived::drop_archived(&mut connect(&self.route, Purpose::KeepUp)?, now)
    }

    fn read(&self, work: &mut dyn FnMut(&mut dyn Connection) -> Result<(), StoreError>) -> Result<(), StoreError> {
        self.readers.lend(work)
    }

    fn read_at_once(
        &self,
        work: &mut dyn FnMut(&mut dyn Connection) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.follower.lend(work)
    }
}

/// What the server must say of itself before anything is written.
#[derive(Default)]
struct Server {
    version: i64,
    synchronous_commit: String,
    fsync: String,
    full_page_writes: String,
    encoding: String,
    is_in_recovery: i64,
}

impl Server {
    fn ask(connection: &mut dyn Connection) -> Result<Self, StoreError> {
        let mut server = Self::default();
        connection.query(
            "SELECT current_setting('server_version_num')::BIGINT, current_setting('synchronous_commit'), \
             current_setting('fsync'), current_setting('full_page_writes'), current_setting('server_encoding'), \
             pg_is_in_recovery()::INT::BIGINT",
            &[],
            &mut |row| {
                server = Self {
                    version: row.int(0)?,
                    synchronous_commit: row.text(1)?.to_owned(),
                    fsync: row.text(2)?.to_owned(),
                    full_page_writes: row.text(3)?.to_owned(),
                    encoding: row.text(4)?.to_owned(),
                    is_in_recovery: row.int(5)?,
                };
                Ok(())
            },
        )?;
        Ok(server)
    }

    fn fault(&self) -> Option<String> {
        let Self { version, synchronous_commit, fsync, full_page_writes, encoding, is_in_recovery } = self;
        if *version < VERSION_MIN {
            return Some(format!("PostgreSQL {} is too old; 15 is the oldest that will do", version / 10_000));
        }
        for (name, value, wanted) in [
            ("synchronous_commit", synchronous_commit, "on"),
            ("fsync", fsync, "on"),
            ("full_page_writes", full_page_writes, "on"),
            ("server_encoding", encoding, "UTF8"),
        ] {
            if value != wanted {
                return Some(format!("{name} of PostgreSQL is {value}; it must be {wanted}"));
            }
        }
        (*is_in_recovery != 0).then(|| STANDBY.to_owned())
    }
}

fn check_server(connection: &mut dyn Connection) -> Result<(), StoreError> {
    match Server::ask(connection)?.fault() {
        None => Ok(()),
        // It may be about to take over: who runs already waits for it as for one that starts.
        Some(fault) if fault == STANDBY => Err(StoreError::Lost(fault)),
        Some(fault) => Err(StoreError::Engine(fault)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Server {
        let on = || "on".to_owned();
        let (synchronous_commit, fsync, full_page_writes) = (on(), on(), on());
        let encoding = "UTF8".to_owned();
        Server { version: 150_000, synchronous_commit, fsync, full_page_writes, encoding, is_in_recovery: 0 }
    }

    #[test]
    fn a_server_that_may_lose_what_it_promised_is_refused() {
        assert_eq!(good().fault(), None);
        let off = || "off".to_owned();
        for (server, words) in [
            (Server { version: 149_999, ..good() }, "14 is too old"),
            (Server { synchronous_commit: off(), ..good() }, "synchronous_commit of PostgreSQL is off"),
            (Server { fsync: off(), ..good() }, "fsync of PostgreSQL is off"),
            (Server { full_page_writes: off(), ..good() }, "full_page_writes of PostgreSQL is off"),
            (Server { encoding: "LATIN1".to_owned(), ..good() }, "server_encoding of PostgreSQL is LATIN1"),
            (Server { is_in_recovery: 1, ..good() }, "is a standby"),
        ] {
            assert!(server.fault().is_some_and(|fault| fault.contains(words)), "{words}");
        }
    }
}
