//! The one place where random bytes come from. Nothing else may ask the system for randomness.

use std::cell::RefCell;
use thiserror::Error;

/// The system gave no random bytes. Whatever needed them must fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the random number generator failed")]
pub struct EntropyError;

/// Fills the buffer from a thread-local generator that is seeded by the operating system.
#[allow(clippy::disallowed_methods)]
pub fn fill(buffer: &mut [u8]) -> Result<(), EntropyError> {
    aws_lc_rs::rand::fill(buffer).map_err(|_| EntropyError)
}

/// A salt or an id: 128 bits. They come from a block that each thread fetches ahead, since every answer needs several and
/// a call of the generator costs more than its bytes. What is handed out is wiped from the block.
pub fn bytes16() -> Result<[u8; 16], EntropyError> {
    AHEAD.with_borrow_mut(|ahead| {
        if let Some(bytes) = ahead.last_mut().map(std::mem::take) {
            ahead.pop();
            return Ok(bytes);
        }
        let mut block = [0; BLOCK_BYTES];
        fill(&mut block)?;
        let (chunks, _) = block.as_chunks::<16>();
        ahead.extend_from_slice(chunks);
        block.fill(0);
        ahead.pop().ok_or(EntropyError)
    })
}

const BLOCK_BYTES: usize = 1024;

thread_local! {
    static AHEAD: RefCell<Vec<[u8; 16]>> = const { RefCell::new(Vec::new()) };
}

/// A key, a seed or a client secret: 256 bits.
pub fn bytes32() -> Result<[u8; 32], EntropyError> {
    bytes()
}

#[allow(clippy::disallowed_methods)]
fn bytes<const N: usize>() -> Result<[u8; N], EntropyError> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ten_thousand_draws_are_all_different() {
        let draws: HashSet<[u8; 16]> = (0..10_000).map(|_| bytes16().unwrap()).collect();
        assert_eq!(draws.len(), 10_000);
    }

    #[test]
    fn a_whole_buffer_is_filled() {
        let mut buffer = [0_u8; 4096];
        fill(&mut buffer).unwrap();
        assert!(buffer.chunks(64).all(|part| part.iter().any(|b| *b != 0)));
    }
}
