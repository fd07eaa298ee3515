//! Officers who raise flags as fast as they are answered, beside whatever else goes on. A flag that was not raised must never
//! count.

use crate::support::Outcome;
use crate::support::http::Connection;
use crate::support::load::histogram;
use crate::support::registry::Ready;
use hdrhistogram::Histogram;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::{JoinSet, LocalSet};

/// What one window gave.
pub struct Raised {
    pub flags: u64,
    pub lasted: Duration,
    latencies: Histogram<u64>,
}

impl Raised {
    pub fn latency(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.latencies.value_at_quantile(quantile))
    }
}

/// One window with `connections` at once.
pub async fn raise(
    ready: &Ready,
    officer: &str,
    run: &str,
    connections: u32,
    warm_up: Duration,
    measured: Duration,
) -> Outcome<Raised> {
    let latencies = Rc::new(RefCell::new(histogram()?));
    let (counts, over) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
    let mut opened = Vec::new();
    for number in 0..connections {
        let connection = Connection::open(ready.process.address(), &ready.connector).await?;
        opened.push(Officer { connection, bearer: format!("Bearer {officer}"), run: format!("{run}-{number}") });
    }
    let work = async {
        let mut tasks = JoinSet::new();
        for officer in opened {
            tasks.spawn_local(officer.work(Rc::clone(&latencies), Rc::clone(&counts), Rc::clone(&over)));
        }
        tokio::time::sleep(warm_up).await;
        let start = Instant::now();
        counts.set(true);
        tokio::time::sleep(measured).await;
        over.set(true);
        let lasted = start.elapsed();
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok::<Duration, Box<dyn std::error::Error>>(lasted)
    };
    let lasted = LocalSet::new().run_until(work).await?;
    let latencies = latencies.replace(histogram()?);
    Ok(Raised { flags: latencies.len(), lasted, latencies })
}

struct Officer {
    connection: Connection,
    bearer: String,
    run: String,
}

impl Officer {
    async fn work(
        mut self,
        latencies: Rc<RefCell<Histogram<u64>>>,
        counts: Rc<Cell<bool>>,
        over: Rc<Cell<bool>>,
    ) -> Outcome<()> {
        for number in 0_u64.. {
            let key = format!("{}-{number}", self.run);
            let headers = [
                ("Authorization", self.bearer.as_str()),
                ("Content-Type", "application/json"),
                ("Idempotency-Key", key.as_str()),
            ];
            let body = format!(
                r#"{{"subject":{{"kind":"account","bank":"970436","number":"66{number:010}"}},"verdict":"warn","category":"mule","case":"{key}","reason":"Receives from many and moves on at once.","source":{{"kind":"police"}}}}"#
            );
            let start = Instant::now();
            self.connection.call("/v1/flags", &headers, &body, 201).await?;
            if over.get() {
                break;
            }
            if counts.get() {
                latencies.borrow_mut().record(u64::try_from(start.elapsed().as_nanos())?)?;
            }
        }
        Ok(())
    }
}
