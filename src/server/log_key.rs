//! The key that signs the log's checkpoints, from its file. It is another key than that of the tokens, and never leaves its
//! file but to sign.

use crate::auth::key_file::KeyError;
use crate::auth::keys::SigningKey;
use crate::log::note::{SignError, Signer, VerifierKey};
use std::path::Path;

pub struct LogKey {
    origin: String,
    key: SigningKey,
}

impl LogKey {
    /// `origin` names the log: the registry and the node.
    pub fn load(path: &Path, origin: &str) -> Result<Self, KeyError> {
        Ok(Self { origin: origin.to_owned(), key: SigningKey::load(path)? })
    }

    /// `None` if the registry's name cannot name a log.
    pub fn verifier(&self) -> Option<VerifierKey> {
        VerifierKey::new(&self.origin, self.public_key())
    }
}

impl Signer for LogKey {
    fn name(&self) -> &str {
        &self.origin
    }

    fn public_key(&self) -> [u8; 32] {
        *self.key.public().bytes()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        self.key.sign(message).map_err(|_| SignError::Library)
    }
}
