//! The first answer to a creating request, kept so that its repetition gets the same one (Idempotency-Key).

use super::Timestamp;
use super::party::ClientId;

#[derive(Clone)]
pub struct KeptAnswer {
    pub client: ClientId,
    pub key: String,
    /// SHA-256 of path and body: another request with the same key is told apart by it.
    pub request: [u8; 32],
    pub at: Timestamp,
    pub status: u16,
    pub location: String,
    pub etag: String,
    pub body: Vec<u8>,
}
