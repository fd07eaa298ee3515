//! The pepper: the key under which the log hashes subjects. It must never be printed, and losing it
//! makes the log's subject hashes unsearchable, so its file is never overwritten.

use std::fmt;
use std::path::Path;

use secrecy::{ExposeSecret, SecretBox};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::key_file::{KeyError, read_private};
use crate::entropy;

pub const PEPPER_BYTES: usize = 32;

const EXPECTED: &str = "a pepper: its 8-digit id, a space and 64 hex digits";
const ID_LABEL: &[u8] = b"canhbao pepper id v1\0";

/// 32 secret bytes and the id that stands beside each hash made with them.
pub struct Pepper {
    id: String,
    bytes: SecretBox<[u8; PEPPER_BYTES]>,
}

impl Pepper {
    /// The text of a new pepper file.
    pub fn generate_text() -> Result<Zeroizing<String>, KeyError> {
        let bytes = Zeroizing::new(entropy::bytes32()?);
        Ok(Self::from_bytes(&bytes).to_text())
    }

    #[must_use]
    pub fn from_bytes(bytes: &[u8; PEPPER_BYTES]) -> Self {
        let id = id_of(bytes);
        let bytes = SecretBox::init_with_mut(|kept: &mut [u8; PEPPER_BYTES]| *kept = *bytes);
        Self { id, bytes }
    }

    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let text = read_private(path)?;
        parse_text(&text).ok_or_else(|| KeyError::garbled(path, EXPECTED))
    }

    /// Eight hex digits, safe to publish.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    #[must_use]
    pub fn expose(&self) -> &[u8; PEPPER_BYTES] {
        self.bytes.expose_secret()
    }

    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(self.id.len() + 2 + 2 * PEPPER_BYTES));
        text.push_str(&self.id);
        text.push(' ');
        push_hex(&mut text, self.expose());
        text.push('\n');
        text
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pepper").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The id is checked against the bytes, so that a damaged or mixed-up file is noticed at start.
fn parse_text(text: &str) -> Option<Pepper> {
    let (id, hex) = text.trim_end().split_once(' ')?;
    let mut bytes = read_hex(hex)?;
    let pepper = Pepper::from_bytes(&bytes);
    bytes.zeroize();
    (pepper.id == id).then_some(pepper)
}

/// The digest's label keeps this use of the bytes apart from every other.
fn id_of(bytes: &[u8; PEPPER_BYTES]) -> String {
    let digest = Sha256::new().chain_update(ID_LABEL).chain_update(bytes).finalize();
    let mut id = String::new();
    push_hex(&mut id, digest.first_chunk::<4>().unwrap_or(&[0; 4]));
    id
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        for nibble in [byte >> 4, byte & 0x0f] {
            text.extend(char::from_digit(u32::from(nibble), 16));
        }
    }
}

fn read_hex(text: &str) -> Option<[u8; PEPPER_BYTES]> {
    if text.len() != 2 * PEPPER_BYTES {
        return None;
    }
    let mut bytes = [0; PEPPER_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        for digit in pair {
            let value = char::from(*digit).to_digit(16)?;
            *byte = (*byte << 4) | u8::try_from(value).ok()?;
        }
    }
    Some(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tempfile::tempdir;

    use super::*;
    use crate::auth::key_file::create_private;

    #[test]
    fn a_generated_pepper_reads_back_with_its_id() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("pepper");
        let text = Pepper::generate_text().unwrap();
        create_private(&path, &text).unwrap();
        let pepper = Pepper::load(&path).unwrap();
        assert_eq!(*pepper.to_text(), *text);
        assert_eq!(pepper.id().len(), 8);
    }

    #[test]
    fn the_id_of_known_bytes_is_fixed() {
        let pepper = Pepper::from_bytes(&[0; 32]);
        assert_eq!(pepper.id(), "c3131c93");
        assert_ne!(Pepper::from_bytes(&[1; 32]).id(), pepper.id());
    }

    #[test]
    fn a_garbled_file_is_refused_without_its_content() {
        let dir = tempdir().unwrap();
        let good = Pepper::from_bytes(&[0xab; 32]).to_text().trim().to_owned();
        let hex = "ab".repeat(32);
        let bad = [
            hex.clone(),
            format!("00000000 {hex}"),
            good.replace("ab", "ac"),
            good.replace("ab", "gg"),
            format!("{good}ab"),
            good.chars().take(70).collect(),
            good.replace(' ', "  "),
        ];
        for (number, text) in bad.iter().enumerate() {
            let path = dir.path().join(number.to_string());
            create_private(&path, text).unwrap();
            let error = Pepper::load(&path).unwrap_err();
            assert!(matches!(error, KeyError::Garbled { .. }), "case {number}");
            assert!(error.to_string().contains(&path.display().to_string()));
            assert!(!error.to_string().contains("abab"));
        }
    }

    #[test]
    fn debug_shows_the_id_alone() {
        let pepper = Pepper::from_bytes(&[0xab; 32]);
        let shown = format!("{pepper:?}");
        assert!(shown.contains(pepper.id()));
        assert!(!shown.contains("abab") && !shown.contains("171"));
    }
}
