//! The two sides of the comparison behind one door: start, ask a few questions, hand over to the load generator.
//! It must never let a side into the measurement that answers wrongly or with another size.

use std::path::PathBuf;
use std::process::Command;

use crate::support::Outcome;
use crate::support::http::connector;
use crate::support::load::Target;
use crate::support::probe::{AnswerSize, probe, weigh};
use crate::support::process::ServerProcess;
use crate::support::registry::{Ready, Registry};

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

    /// What a clear answer weighs. A registry must find flagged accounts, and a bare server answer as many bytes as was asked.
    pub async fn probe(&self, target: &Target<'_>, seed: u64) -> Outcome<AnswerSize> {
        match self {
            Self::Bare(bare) => {
                let size = weigh(target, seed).await?;
                if size.body_bytes == bare.answer_bytes {
                    Ok(size)
                } else {
                    Err("the bare server's answer has another size".into())
                }
            }
            Self::Registry(_) => probe(target, seed).await,
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
