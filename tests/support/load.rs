//! Clients at work, all at once, until the server is gone; and what they hold in the end.

use super::{Answer, Server, client};
use serde_json::{Value, json};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

const CLIENTS: u64 = 16;
/// A client that is refused this often in a row gives up.
const REFUSALS_MAX: u32 = 40;
const AFTER_REFUSAL: Duration = Duration::from_millis(20);
/// Of so many requests one raises a flag.
const CHECKS_BETWEEN_FLAGS: u64 = 8;

/// What the demo's sandbox subjects answer.
pub const SANDBOX: [(&str, &str); 4] =
    [("9000000000000", "clear"), ("9000000000001", "warn"), ("9000000000002", "hold"), ("9000000000003", "block")];

/// A question about an account at the sandbox's bank.
pub fn about(number: &str) -> Value {
    json!({ "subjects": [{ "kind": "account", "bank": "970436", "number": number }] })
}

/// A flag that differs from every other with another number.
pub fn proposal(number: u64) -> Value {
    json!({ "subject": { "kind": "account", "bank": "970415", "number": format!("8{number:012}") },
        "verdict": "warn", "category": "mule", "case": "T-1", "reason": "Test" })
}

/// What the clients speak.
#[derive(Clone, Copy, Debug)]
pub enum Protocol {
    Http1,
    Http2,
    /// Half of them this, half of them that.
    Both,
}

impl Protocol {
    fn client(self, server: &Server, place: u64) -> reqwest::Client {
        let builder = client(&server.ca_file);
        let builder = match self {
            Self::Http1 => builder.http1_only(),
            Self::Both if place.is_multiple_of(2) => builder.http1_only(),
            Self::Http2 | Self::Both => builder,
        };
        builder.build().unwrap()
    }
}

/// A flag that a client raised, and the answer, if one came.
pub struct Raised {
    number: u64,
    answer: Option<Answer>,
}

impl Raised {
    fn key(&self) -> String {
        format!("key-{}", self.number)
    }

    async fn send(&self, server: &Server, http: &reqwest::Client) -> reqwest::Result<Answer> {
        let ask = server.post("/v1/flags").by("officer").key(&self.key()).json(&proposal(self.number));
        ask.through(http).try_send().await
    }

    /// Asks the same again: the first answer comes back, whether it had arrived or not.
    pub async fn repeat(&self, server: &Server) {
        let mut first = self.answer.as_ref().map(told);
        for _ in 0..2 {
            let ask = server.post("/v1/flags").by("officer").key(&self.key()).json(&proposal(self.number));
            let again = told(&ask.send().await.is(201));
            assert_eq!(*first.get_or_insert(again.clone()), again, "another answer to {}", self.key());
        }
    }
}

/// What a repetition must repeat.
fn told(answer: &Answer) -> [String; 4] {
    [answer.text(), answer.must("log-entry").into(), answer.must("etag").into(), answer.must("location").into()]
}

/// What the clients hold.
#[derive(Default)]
pub struct Held {
    /// Answers 200 and 201.
    pub answered: u64,
    /// Answers 503.
    pub refused: u64,
    /// Requests to which no whole answer came.
    pub lost: u64,
    pub raised: Vec<Raised>,
}

/// Fetches what `until_it_is_gone` needs, so that its load begins at once.
pub async fn fetch_tokens(server: &Server) {
    for name in ["bank", "officer"] {
        server.token(name).await;
    }
}

/// Keeps asking over many connections until each client has lost a request or was refused again and
/// again. Every other answer than 200, 201 and 503 is a fault.
pub async fn until_it_is_gone(server: &Server, protocol: Protocol, numbers: &Cell<u64>) -> Held {
    fetch_tokens(server).await;
    let mut held = Held::default();
    for one in together((0..CLIENTS).map(|place| one_client(server, protocol, numbers, place))).await {
        held.answered += one.answered;
        held.refused += one.refused;
        held.lost += one.lost;
        held.raised.extend(one.raised);
    }
    held
}

async fn one_client(server: &Server, protocol: Protocol, numbers: &Cell<u64>, place: u64) -> Held {
    let http = protocol.client(server, place);
    let mut held = Held::default();
    let mut refusals = 0;
    for turn in place.. {
        let sent = if turn % CHECKS_BETWEEN_FLAGS == 0 {
            let number = numbers.replace(numbers.get() + 1);
            held.raised.push(Raised { number, answer: None });
            held.raised.last().unwrap().send(server, &http).await
        } else {
            let (number, _) = SANDBOX[usize::try_from(turn % 4).unwrap()];
            server.post("/v1/checks").by("bank").json(&about(number)).through(&http).try_send().await
        };
        let Ok(answer) = sent else {
            held.lost += 1;
            break;
        };
        if matches!(answer.status, 200 | 201) {
            held.answered += 1;
            refusals = 0;
            if answer.status == 201 {
                held.raised.last_mut().unwrap().answer = Some(answer);
            }
            continue;
        }
        assert_eq!(answer.refused(503, "unavailable").must("retry-after"), "1");
        held.refused += 1;
        refusals += 1;
        if refusals == REFUSALS_MAX {
            break;
        }
        tokio::time::sleep(AFTER_REFUSAL).await;
    }
    held
}

/// Waits for all of them.
pub async fn together<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (future, output) in running.iter_mut().zip(&mut outputs).filter(|(_, output)| output.is_none()) {
            if let Poll::Ready(done) = future.as_mut().poll(context) {
                *output = Some(done);
            }
        }
        if outputs.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outputs.into_iter().flatten().collect()
}
