//! A few questions before each window. They must never let a server into a measurement that answers wrongly.

use super::Outcome;
use super::http::Connection;
use super::load::{Questions, Target};
use serde::Serialize;

/// How many flagged accounts are asked before each window.
const PROBED_HITS: usize = 20;
const CLEAR: &[u8] = br#""verdict":"clear""#;

/// The size of a clear answer.
#[derive(Clone, Copy, Serialize)]
pub struct AnswerSize {
    pub head_bytes: usize,
    pub body_bytes: usize,
}

/// One question about an account without a flag, whatever is answered.
pub async fn weigh(target: &Target<'_>, seed: u64) -> Outcome<AnswerSize> {
    let mut connection = Connection::open(target.address, target.connector).await?;
    let mut questions = Questions::for_probe(target, seed);
    let answer = connection.exchange(questions.clear()?).await?;
    answer.require(200)?;
    Ok(AnswerSize { head_bytes: answer.head.len(), body_bytes: answer.body.len() })
}

/// As `weigh`, of a server with a list: the answer must be clear, and flagged accounts must be found.
pub async fn probe(target: &Target<'_>, seed: u64) -> Outcome<AnswerSize> {
    let mut connection = Connection::open(target.address, target.connector).await?;
    let mut questions = Questions::for_probe(target, seed);
    let answer = connection.exchange(questions.clear()?).await?;
    answer.require(200)?;
    if !says_clear(answer.body) {
        return Err("a clear account was not answered with clear".into());
    }
    let size = AnswerSize { head_bytes: answer.head.len(), body_bytes: answer.body.len() };
    for _ in 0..PROBED_HITS {
        let answer = connection.exchange(questions.flagged()?).await?;
        answer.require(200)?;
        if says_clear(answer.body) {
            return Err("a flagged account was answered with clear".into());
        }
    }
    Ok(size)
}

/// With one subject the overall verdict is clear exactly if the word stands anywhere as a verdict.
fn says_clear(body: &[u8]) -> bool {
    body.windows(CLEAR.len()).any(|part| part == CLEAR)
}
