//! The two sides of the comparison behind one door: start, ask a few questions, hand over to the load generator.
//! It must never let a side into the measurement that answers wrongly or with another size.

use std::path::PathBuf;
use std::process::Command;

use serde::Serialize;
use tokio_rustls::TlsConnector;

use crate::Outcome;
use crate::http::{Connection, connector};
use crate::load::{Accounts, Questions, Target};
use crate::process::{CpuClock, ServerProcess};
use crate::registry::Registry;

/// How many flagged accounts are asked before each window.
const PROBED_HITS: usize = 20;
const CLEAR: &[u8] = br#""verdict":"clear""#;

pub enum Contender {
    Bare(Bare),
    Registry(Registry),
}

/// The bare server: this very program, called again.
pub struct Bare {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub log: PathBuf,
    pub answer_bytes: usize,
    /// Sent as to the registry, so that both parse the same headers; nobody looks at them.
    pub tokens: Vec<String>,
}

pub struct Ready {
    pub process: ServerProcess,
    pub connector: TlsConnector,
    pub tokens: Vec<String>,
}

impl Ready {
    pub fn target<'a>(&'a self, accounts: Accounts, clock: &'a CpuClock) -> Target<'a> {
        Target { address: self.process.address(), connector: &self.connector, tokens: &self.tokens, accounts, clock }
    }
}

/// The size of a clear answer.
#[derive(Clone, Copy, Serialize)]
pub struct AnswerSize {
    pub head_bytes: usize,
    pub body_bytes: usize,
}

impl Contender {
    pub async fn start(&self) -> Outcome<Ready> {
        match self {
            Self::Bare(bare) => bare.start(),
            Self::Registry(registry) => registry.start().await,
        }
    }

    /// How many flags it holds; a bare server has no list.
    pub fn flags(&self) -> Option<u64> {
        match self {
            Self::Bare(_) => None,
            Self::Registry(registry) => Some(registry.flags),
        }
    }

    /// One clear account, and, where there is a list, some flagged ones, which must be found.
    pub async fn probe(&self, target: &Target<'_>, seed: u64) -> Outcome<AnswerSize> {
        let mut connection = Connection::open(target.address, target.connector).await?;
        let mut questions = Questions::for_probe(target, seed);
        let answer = connection.exchange(questions.clear()?).await?;
        answer.require(200)?;
        let size = AnswerSize { head_bytes: answer.head.len(), body_bytes: answer.body.len() };
        match self {
            Self::Bare(bare) if size.body_bytes != bare.answer_bytes => {
                Err("the bare server's answer has another size".into())
            }
            Self::Bare(_) => Ok(size),
            Self::Registry(_) if !says_clear(answer.body) => Err("a clear account was not answered with clear".into()),
            Self::Registry(_) => find_flagged(&mut connection, &mut questions).await.map(|()| size),
        }
    }
}

impl Bare {
    fn start(&self) -> Outcome<Ready> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bare", "--listen", "127.0.0.1:0", "--answer-bytes", &self.answer_bytes.to_string()]);
        command.arg("--cert").arg(&self.cert).arg("--key").arg(&self.key);
        let process = ServerProcess::start(command, &self.log)?;
        Ok(Ready { process, connector: connector(&self.cert)?, tokens: self.tokens.clone() })
    }
}

async fn find_flagged(connection: &mut Connection, questions: &mut Questions) -> Outcome<()> {
    for _ in 0..PROBED_HITS {
        let answer = connection.exchange(questions.flagged()?).await?;
        answer.require(200)?;
        if says_clear(answer.body) {
            return Err("a flagged account was answered with clear".into());
        }
    }
    Ok(())
}

/// With one subject the overall verdict is clear exactly if the word stands anywhere as a verdict.
fn says_clear(body: &[u8]) -> bool {
    body.windows(CLEAR.len()).any(|part| part == CLEAR)
}
