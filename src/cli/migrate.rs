//! `migrate`: an embedded registry goes into a shared database, whole or not at all. Nothing is said to be there before it was
//! read back and found equal, and the old directory is given up last.

use super::audit::progress_bar;
use super::init::named_url;
use super::run::now;
use super::stored::verify_all;
use super::{Failure, figures};
use crate::config::Config;
use crate::log::note::VerifierKey;
use crate::log::verify::Report;
use crate::log::{Reach, reach};
use crate::server::{self, Database, Home, HomeError, PASSWORD_FILE, is_empty, open_shared, with_password};
use crate::store::moving::{Sum, TABLES, times};
use crate::store::postgres::{Address, PostgresStore};
use crate::store::{self, Connection, Store, StoreError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use indicatif::ProgressBar;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct MigrateArgs {
    /// The data directory of the embedded registry. Its server must be stopped.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// An empty PostgreSQL database, or one in which a call before this one was interrupted.
    #[arg(long, value_name = "URL")]
    to: String,
    /// The data directory to make, for the same node and with the same keys.
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
    /// A file with the database's password, mode 0600; it is copied into the new directory.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

type Reports = Vec<(String, Report)>;
type Sums = Vec<(&'static str, Sum)>;

pub fn migrate(args: &MigrateArgs) -> Result<(), Failure> {
    let old = Config::read(&args.from)?.checked()?;
    if old.address()?.is_some() {
        return Err(Failure::Usage(format!("{} has its registry in PostgreSQL already", args.from.display())));
    }
    let given = args.password_file.as_ref().map(|_| PathBuf::from(PASSWORD_FILE));
    let config = Config { store: args.to.clone(), store_password_file: given, ..old.clone() };
    let config = named_url(config).checked()?;
    let address = config.address()?.ok_or_else(|| Failure::Usage("--to names no database".to_owned()))?;
    let place = format!("{address}, with the data directory {}", args.into.display());
    if server::moved_to(&args.from)?.as_deref() == Some(place.as_str()) {
        println!("moved before: {} to {place}", args.from.display());
        return Ok(());
    }
    let home = Home::open(&args.from)?;
    let source = Database::of(home.path(), &old)?.open(now())?;
    home.check_pepper(source.as_ref())?;
    let config =
        Config { registry: source.find(|connection| store::registry::name(connection)).map_err(of_store)?, ..config };
    let settled = home.is_settled(&args.into, &config)?;
    if !settled && Home::exists(&args.into) {
        return Err(HomeError::Taken(args.into.clone()).into());
    }
    let address = with_password(address, args.password_file.as_deref())?;
    let moving = Moving { from: &args.from, source: source.as_ref(), address: &address, now: now() };
    let Moved { reports, sums, reaches } = moving.run()?;
    for damaged in figures::damaged(&reaches) {
        eprintln!("canhbao: not moved: {damaged}");
    }
    if !settled {
        let (new, elsewhere) = home.settle(&args.into, &config, args.password_file.as_deref())?;
        for path in elsewhere {
            eprintln!("canhbao: not copied, since it lies elsewhere or is not there: {}", path.display());
        }
        new.finish(&config)?;
    }
    home.mark_moved(&place)?;
    tell(args, &reports, &sums);
    figures::tell(&reaches);
    Ok(())
}

fn tell(args: &MigrateArgs, reports: &Reports, sums: &Sums) {
    println!("moved: {} to {}", args.from.display(), args.into.display());
    for (name, sum) in sums {
        println!("{name}: {} rows, the same", sum.rows);
    }
    for (origin, report) in reports {
        println!("{origin}: entries {} to before {}, root {}", report.start, report.size, BASE64.encode(report.root));
    }
    println!("{} is not served any more; keep it until the new one has a backup", args.from.display());
    println!("canhbao serve --data {}", args.into.display());
}

/// What both have: the logs, the tables and, if they were moved now, the figures.
struct Moved {
    reports: Reports,
    sums: Sums,
    reaches: Vec<Reach>,
}

struct Moving<'a> {
    from: &'a Path,
    source: &'a dyn Store,
    address: &'a Address,
    now: crate::domain::Timestamp,
}

impl Moving<'_> {
    fn run(&self) -> Result<Moved, Failure> {
        let before = self.of_source(|connection| self.verify(connection, self.from))?;
        let (sums, reaches) =
            if is_empty(self.address)? { self.fill(&before)? } else { (self.recognise(&before)?, Vec::new()) };
        Ok(Moved { reports: before, sums, reaches })
    }

    /// Fills the database and reads it back, in one transaction: until it is found equal there is nothing in it.
    fn fill(&self, before: &Reports) -> Result<(Sums, Vec<Reach>), Failure> {
        let rows = self.of_source(|connection| count(connection).map_err(of_store))?;
        let times = self.source.find(|connection| times(connection)).map_err(of_store)?;
        let bar = progress_bar(2 * rows, "{human_pos} of {human_len} rows written and read back");
        let mut done = Err(Failure::Said("nothing was moved".to_owned()));
        let mut reaches = Vec::new();
        let filled = PostgresStore::fill(self.address, times, self.now, &mut |target| {
            let mut sums = Sums::new();
            self.source.read(&mut |source| {
                for table in TABLES {
                    sums.push((table.name, table.copy(source, target, &mut || bar.inc(1))?));
                }
                let mut search = self.source.search_writer()?;
                reaches = reach(source, Some(search.as_mut()), &mut |log, head, body| {
                    store::tally::replace(target, log, head, body)
                })?;
                Ok(())
            })?;
            done = self.compare(target, &sums, before, &bar).map(|()| sums);
            // What was found is told by `done`.
            if done.is_ok() { Ok(()) } else { Err(StoreError::Corrupt("another thing than what was written")) }
        });
        bar.finish_and_clear();
        match (filled, done) {
            (Ok(()), done) => done.map(|sums| (sums, reaches)),
            (Err(_), Err(failure @ (Failure::Tampered(_) | Failure::Unreadable(_)))) => Err(failure),
            (Err(error), _) => Err(of_store(error)),
        }
    }

    /// What a call before this one has moved, if it is that.
    fn recognise(&self, before: &Reports) -> Result<Sums, Failure> {
        let rows = self.of_source(|connection| count(connection).map_err(of_store))?;
        let bar = progress_bar(2 * rows, "{human_pos} of {human_len} rows compared");
        let sums = self.of_source(|connection| sum(connection, &bar))?;
        let store = open_shared(self.address, self.now)?;
        let same = of(store.as_ref(), |connection| self.compare(connection, &sums, before, &bar));
        bar.finish_and_clear();
        same.map(|()| sums).map_err(|_| {
            Failure::Said(format!(
                "the database is not empty, and holds something else than {}: nothing is overwritten",
                self.from.display()
            ))
        })
    }

    fn compare(
        &self,
        connection: &mut dyn Connection,
        sums: &Sums,
        before: &Reports,
        bar: &ProgressBar,
    ) -> Result<(), Failure> {
        let differs = |what: &str| Failure::Tampered(format!("tampered with: {what} is not what was written"));
        for ((name, expected), (_, found)) in sums.iter().zip(sum(connection, bar)?) {
            if *expected != found {
                return Err(differs(name));
            }
        }
        let label = PathBuf::from(self.address.to_string());
        if self.verify(connection, &label)? == *before { Ok(()) } else { Err(differs("the log")) }
    }

    /// The logs of all nodes, under the keys in the old directory.
    fn verify(&self, connection: &mut dyn Connection, label: &Path) -> Result<Reports, Failure> {
        let keys = |origin: &str| -> Result<Vec<VerifierKey>, Failure> { Ok(server::log_keys_of(self.from, origin)?) };
        verify_all(connection, label, &keys)
    }

    fn of_source<T>(&self, work: impl FnMut(&mut dyn Connection) -> Result<T, Failure>) -> Result<T, Failure> {
        of(self.source, work)
    }
}

/// What `work` finds in a database.
fn of<T>(store: &dyn Store, mut work: impl FnMut(&mut dyn Connection) -> Result<T, Failure>) -> Result<T, Failure> {
    let mut found = None;
    let read = store.read(&mut |connection| {
        found = Some(work(connection));
        Ok(())
    });
    match found {
        Some(found) => read.map_err(of_store).and(found),
        None => Err(read.map_err(of_store).err().unwrap_or_else(|| Failure::Said("nothing was read".to_owned()))),
    }
}

fn count(connection: &mut dyn Connection) -> Result<u64, StoreError> {
    let mut rows = 0;
    for table in TABLES {
        rows += table.rows(connection)?;
    }
    Ok(rows)
}

fn sum(connection: &mut dyn Connection, bar: &ProgressBar) -> Result<Sums, Failure> {
    let mut sums = Sums::new();
    for table in TABLES {
        sums.push((table.name, table.sum(connection, &mut || bar.inc(1)).map_err(of_store)?));
    }
    Ok(sums)
}

fn of_store(error: StoreError) -> Failure {
    Failure::from(HomeError::from(error))
}
