//! Client secrets: made from random bytes, shown once, kept only as an Argon2id hash.
//! A secret must never be printed, stored or compared in clear.

use std::fmt;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{Error as HashError, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use zeroize::Zeroizing;

/// Lets people and secret scanners see what a stray text is.
pub const SECRET_PREFIX: &str = "cbs_";
pub const SECRET_RANDOM_BYTES: usize = 32;
pub const SALT_BYTES: usize = 16;

const SECRET_TEXT_BYTES: usize = SECRET_PREFIX.len() + 43;

/// OWASP's first choice for Argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// A hash of zeros, so that nobody can know its secret. Verifying against it makes an unknown client cost what a
/// known one does.
pub const DUMMY_PHC: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$Y2FuaGJhbyBub2JvZHkhIQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Nothing of the secret or of the stored hash is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SecretError {
    #[error("the stored hash of a client secret is damaged")]
    StoredHash,
    #[error("a client secret could not be hashed")]
    Hashing,
}

/// A new secret, to be shown to its client once.
pub struct ClientSecret(SecretString);

impl ClientSecret {
    #[must_use]
    pub fn from_random(bytes: &[u8; SECRET_RANDOM_BYTES]) -> Self {
        // The full capacity is taken at once, so that no half-grown copy is left behind in memory.
        let mut text = String::with_capacity(SECRET_TEXT_BYTES);
        text.push_str(SECRET_PREFIX);
        URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
        Self(text.into())
    }

    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret")
    }
}

/// The PHC string to store. It takes some 20 ms and 19 MiB: never call it on an async worker.
pub fn hash(secret: &str, salt: &[u8; SALT_BYTES]) -> Result<String, SecretError> {
    hasher()?
        .hash_password_with_salt(secret.as_bytes(), salt)
        .map(|phc| phc.to_string())
        .map_err(|_| SecretError::Hashing)
}

/// Whether this is the secret behind the stored hash; as costly as [`hash`], and constant-time in the comparison.
/// For an unknown client give [`DUMMY_PHC`].
pub fn verify(presented: &str, phc: &str) -> Result<bool, SecretError> {
    let stored = PasswordHash::new(phc).map_err(|_| SecretError::StoredHash)?;
    if stored.hash.is_none() {
        return Err(SecretError::StoredHash);
    }
    // Anything of another shape cannot match, but it is hashed all the same, cut to size: how long an
    // answer takes must say nothing, and a caller must not choose how much is hashed.
    let mut sized = Zeroizing::new([0_u8; SECRET_TEXT_BYTES]);
    for (kept, byte) in sized.iter_mut().zip(presented.bytes()) {
        *kept = byte;
    }
    let matches = match hasher()?.verify_password(sized.as_slice(), &stored) {
        Ok(()) => true,
        Err(HashError::PasswordInvalid) => false,
        Err(_) => return Err(SecretError::StoredHash),
    };
    Ok(matches && presented.len() == SECRET_TEXT_BYTES)
}

fn hasher() -> Result<Argon2<'static>, SecretError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|_| SecretError::Hashing)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn secret() -> ClientSecret {
        ClientSecret::from_random(&[0xa5; 32])
    }

    #[test]
    fn a_secret_has_its_prefix_and_full_length() {
        let secret = secret();
        assert!(secret.expose().starts_with("cbs_"));
        assert_eq!(secret.expose().len(), SECRET_TEXT_BYTES);
    }

    #[test]
    fn the_right_secret_verifies_and_no_other() {
        let right = secret();
        let phc = hash(right.expose(), &[1; 16]).unwrap();
        assert_eq!(verify(right.expose(), &phc), Ok(true));
        let text = right.expose();
        let shorter = text.strip_suffix(|_| true).unwrap();
        let others = [
            String::new(),
            "cbs_".to_owned(),
            shorter.to_owned(),
            format!("{text}x"),
            format!("{text}\0"),
            text.to_uppercase(),
            ClientSecret::from_random(&[0xa4; 32]).expose().to_owned(),
        ];
        for other in others {
            assert_eq!(verify(&other, &phc), Ok(false));
        }
    }

    #[test]
    fn a_hash_states_owasps_parameters_and_depends_on_the_salt() {
        let one = hash(secret().expose(), &[1; 16]).unwrap();
        let two = hash(secret().expose(), &[2; 16]).unwrap();
        assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert_ne!(one, two);
        assert!(!one.contains("cbs_"));
    }

    #[test]
    fn the_dummy_costs_the_same_and_matches_nothing() {
        let real = hash(secret().expose(), &[1; 16]).unwrap();
        let shape = |phc: &str| {
            let parsed = PasswordHash::new(phc).unwrap();
            (
                parsed.algorithm,
                parsed.version,
                parsed.params.to_string(),
                parsed.salt.unwrap().len(),
                parsed.hash.unwrap().len(),
            )
        };
        assert_eq!(shape(DUMMY_PHC), shape(&real));
        for presented in ["", "cbs_", secret().expose()] {
            assert_eq!(verify(presented, DUMMY_PHC), Ok(false));
        }
    }

    #[test]
    fn a_damaged_stored_hash_is_an_error_and_no_refusal() {
        let phc = hash(secret().expose(), &[1; 16]).unwrap();
        let bare = phc.rsplit_once('$').unwrap().0.to_owned();
        let damaged =
            [String::new(), "plain".to_owned(), bare, phc.replace("argon2id", "scrypt"), phc.replace("m=19456", "m=1")];
        for stored in damaged {
            let refused = verify(secret().expose(), &stored);
            assert_eq!(refused, Err(SecretError::StoredHash), "{stored}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", secret()), "ClientSecret");
    }
}
