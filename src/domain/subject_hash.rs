//! The keyed hash that stands for a subject wherever the subject itself must not: in the log and in the index.
//! HMAC-SHA-256 (RFC 2104) under the pepper, over the subject's canonical text.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubjectHash([u8; 32]);

impl SubjectHash {
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for SubjectHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SubjectHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Holds the key already mixed in, so that a hash costs two blocks of SHA-256.
#[derive(Clone)]
pub struct SubjectHasher(Hmac<Sha256>);

impl SubjectHasher {
    pub fn new(pepper: &[u8; 32]) -> Self {
        // RFC 2104 fills a shorter key up with zeros to the block of SHA-256.
        let mut block = [0; 64];
        for (place, byte) in block.iter_mut().zip(pepper) {
            *place = *byte;
        }
        Self(Hmac::new(&block.into()))
    }

    pub fn hash(&self, canonical: &str) -> SubjectHash {
        let mut mac = self.0.clone();
        mac.update(canonical.as_bytes());
        SubjectHash(mac.finalize().into_bytes().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_hmac_sha_256() {
        // Computed with another implementation: HMAC-SHA-256, key 32 times 0x0b, text "person:001099012345".
        let hash = SubjectHasher::new(&[0x0b; 32]).hash("person:001099012345");
        assert_eq!(hash.to_string(), "4c6d400f470173b6e532ff9aa072ad16fc428f9d49260909e220a3ad6d92b49b");
    }
}
