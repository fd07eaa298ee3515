//! The Ed25519 keys that sign access tokens, and the ring of those that are still believed.
//! A private key must never be printed or leave its file but to sign.

use std::fmt;
use std::path::Path;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::key_file::{KeyError, read_private};
use super::pem;
use crate::entropy;

pub const SIGNING_KEY_FILE: &str = "token-signing.pem";
pub const PREVIOUS_SIGNING_KEY_FILE: &str = "token-signing.previous.pem";

const EXPECTED: &str = "an Ed25519 private key in PKCS#8 PEM";
const KEY_ID_CHARS: usize = 16;
const PUBLIC_KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;

/// An Ed25519 private key, ready to sign.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    encoding: EncodingKey,
    public: PublicKey,
}

impl SigningKey {
    /// The text of a new key file: PKCS#8 version 1, which every OpenSSL reads.
    pub fn generate_pem() -> Result<Zeroizing<String>, KeyError> {
        let seed = Zeroizing::new(entropy::bytes32()?);
        Self::pem_from_seed(&seed)
    }

    pub fn pem_from_seed(seed: &[u8; 32]) -> Result<Zeroizing<String>, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Library)?;
        let der = pair.to_pkcs8v1().map_err(|_| KeyError::Library)?;
        Ok(pem::encode(der.as_ref(), pem::PRIVATE_KEY))
    }

    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let text = read_private(path)?;
        Self::parse(&text).ok_or_else(|| KeyError::garbled(path, EXPECTED))
    }

    /// The key in a PKCS#8 PEM text, or nothing if the text is anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let der = pem::decode(text, pem::PRIVATE_KEY)?;
        let pair = Ed25519KeyPair::from_pkcs8(&der).ok()?;
        let public = PublicKey::new(pair.public_key().as_ref().try_into().ok()?)?;
        Some(Self { encoding: EncodingKey::from_ed_der(&der), pair, public })
    }

    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The raw Ed25519 signature, for formats other than tokens.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], KeyError> {
        let signature = self.pair.try_sign(message).map_err(|_| KeyError::Library)?;
        signature.as_ref().try_into().map_err(|_| KeyError::Library)
    }

    pub(super) fn encoding(&self) -> &EncodingKey {
        &self.encoding
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.public.kid).finish_non_exhaustive()
    }
}

/// The public half, with the name under which tokens refer to it.
#[derive(Clone, Debug)]
pub struct PublicKey {
    kid: String,
    bytes: [u8; PUBLIC_KEY_BYTES],
    decoding: DecodingKey,
}

impl PublicKey {
    fn new(bytes: [u8; PUBLIC_KEY_BYTES]) -> Option<Self> {
        let thumbprint = ed25519_thumbprint(&bytes);
        let (kid, _rest) = thumbprint.split_at_checked(KEY_ID_CHARS)?;
        Some(Self { kid: kid.to_owned(), bytes, decoding: DecodingKey::from_ed_der(&bytes) })
    }

    /// The first 16 characters of the key's RFC 7638 thumbprint.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    #[must_use]
    pub fn bytes(&self) -> &[u8; PUBLIC_KEY_BYTES] {
        &self.bytes
    }

    #[must_use]
    pub fn jwk(&self) -> Value {
        json!({
            "kty": "OKP",
            "crv": "Ed25519",
            "x": URL_SAFE_NO_PAD.encode(self.bytes),
            "kid": self.kid,
            "use": "sig",
            "alg": "EdDSA",
        })
    }

    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }
}

/// Signs with the current key and believes the previous one too, so that a rotation cuts no token short.
#[derive(Debug)]
pub struct KeyRing {
    current: SigningKey,
    previous: Option<PublicKey>,
}

impl KeyRing {
    #[must_use]
    pub fn new(current: SigningKey, previous: Option<PublicKey>) -> Self {
        Self { current, previous }
    }

    /// Reads [`SIGNING_KEY_FILE`] and, if it is there, [`PREVIOUS_SIGNING_KEY_FILE`].
    pub fn load(directory: &Path) -> Result<Self, KeyError> {
        let current = SigningKey::load(&directory.join(SIGNING_KEY_FILE))?;
        let path = directory.join(PREVIOUS_SIGNING_KEY_FILE);
        let previous = match SigningKey::load(&path) {
            Ok(key) if key.public.bytes == current.public.bytes => {
                return Err(KeyError::SameKey { path });
            }
            Ok(key) => Some(key.public),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        Ok(Self::new(current, previous))
    }

    #[must_use]
    pub fn current(&self) -> &SigningKey {
        &self.current
    }

    #[must_use]
    pub fn find(&self, kid: &str) -> Option<&PublicKey> {
        self.believed().find(|key| key.kid == kid)
    }

    /// The JWK Set to publish (RFC 7517): the current key first.
    #[must_use]
    pub fn jwks(&self) -> Value {
        json!({ "keys": self.believed().map(PublicKey::jwk).collect::<Vec<_>>() })
    }

    fn believed(&self) -> impl Iterator<Item = &PublicKey> {
        std::iter::once(&self.current.public).chain(&self.previous)
    }
}

/// RFC 7638 with SHA-256; RFC 8037 names the members for this kind of key.
pub(super) fn ed25519_thumbprint(public: &[u8; PUBLIC_KEY_BYTES]) -> String {
    let x = URL_SAFE_NO_PAD.encode(public);
    thumbprint_of(&format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#))
}

pub(super) fn thumbprint_of(required_members: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(required_members.as_bytes()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    use tempfile::tempdir;

    use super::*;
    use crate::auth::key_file::create_private;

    fn write_key(directory: &Path, name: &str, seed: u8) {
        let text = SigningKey::pem_from_seed(&[seed; 32]).unwrap();
        create_private(&directory.join(name), &text).unwrap();
    }

    /// RFC 8037 A.2 and A.3: a known private key, its public key and its thumbprint.
    #[test]
    fn the_key_of_rfc_8037_has_its_thumbprint() {
        let seed: [u8; 32] =
            URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap().try_into().unwrap();
        let key = SigningKey::parse(&SigningKey::pem_from_seed(&seed).unwrap()).unwrap();
        assert_eq!(key.public().jwk()["x"], "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(ed25519_thumbprint(key.public().bytes()), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(key.public().kid(), "kPrK_qmxVWaYVA9w");
    }

    #[test]
    fn generated_keys_load_and_differ() {
        let dir = tempdir().unwrap();
        let mut kids = Vec::new();
        for name in ["a", "b"] {
            let path = dir.path().join(name);
            create_private(&path, &SigningKey::generate_pem().unwrap()).unwrap();
            kids.push(SigningKey::load(&path).unwrap().public().kid().to_owned());
        }
        assert_ne!(kids[0], kids[1]);
    }

    #[test]
    fn a_raw_signature_verifies_under_the_public_bytes() {
        let key = SigningKey::parse(&SigningKey::pem_from_seed(&[3; 32]).unwrap()).unwrap();
        let signature = key.sign(b"message").unwrap();
        let public = UnparsedPublicKey::new(&ED25519, key.public().bytes());
        assert!(public.verify(b"message", &signature).is_ok());
        assert!(public.verify(b"massage", &signature).is_err());
    }

    #[test]
    fn a_garbled_key_file_is_refused_without_its_content() {
        let dir = tempdir().unwrap();
        let good = SigningKey::pem_from_seed(&[9; 32]).unwrap();
        let bad = [
            "not a key at all".to_owned(),
            good.replace("PRIVATE", "PUBLIC"),
            good.replace("MC4CAQAw", "MC4CAQAx"),
            good.lines().take(2).collect(),
        ];
        for (number, text) in bad.iter().enumerate() {
            let path = dir.path().join(number.to_string());
            create_private(&path, text).unwrap();
            let error = SigningKey::load(&path).unwrap_err();
            assert!(matches!(error, KeyError::Garbled { .. }), "case {number}");
            let message = error.to_string();
            assert!(message.contains(&path.display().to_string()));
            assert!(!message.contains("not a key") && !message.contains("MC4"));
        }
    }

    #[test]
    fn a_ring_signs_with_the_current_key_and_believes_both() {
        let dir = tempdir().unwrap();
        write_key(dir.path(), SIGNING_KEY_FILE, 1);
        let alone = KeyRing::load(dir.path()).unwrap();
        assert_eq!(alone.jwks()["keys"].as_array().unwrap().len(), 1);

        write_key(dir.path(), PREVIOUS_SIGNING_KEY_FILE, 2);
        let ring = KeyRing::load(dir.path()).unwrap();
        let jwks = ring.jwks();
        let keys = jwks["keys"].as_array().unwrap();
        assert_eq!(keys.len(), 2);
        assert_eq!(keys[0]["kid"], ring.current().public().kid());
        for key in keys {
            assert!(ring.find(key["kid"].as_str().unwrap()).is_some());
            assert_eq!(key["kty"], "OKP");
            assert_eq!(key["crv"], "Ed25519");
            assert_eq!(key["alg"], "EdDSA");
            assert_eq!(key["use"], "sig");
            assert!(key.get("d").is_none());
        }
        assert!(ring.find("unknown").is_none());
    }

    #[test]
    fn a_bad_previous_key_stops_the_start() {
        let dir = tempdir().unwrap();
        write_key(dir.path(), SIGNING_KEY_FILE, 1);
        write_key(dir.path(), PREVIOUS_SIGNING_KEY_FILE, 1);
        assert!(matches!(KeyRing::load(dir.path()), Err(KeyError::SameKey { .. })));
        let previous = dir.path().join(PREVIOUS_SIGNING_KEY_FILE);
        fs::set_permissions(&previous, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(KeyRing::load(dir.path()), Err(KeyError::Mode { .. })));
    }

    #[test]
    fn a_missing_current_key_stops_the_start() {
        let dir = tempdir().unwrap();
        assert!(KeyRing::load(dir.path()).unwrap_err().is_not_found());
    }

    #[test]
    fn debug_shows_no_private_key() {
        let text = SigningKey::pem_from_seed(&[9; 32]).unwrap();
        let key = SigningKey::parse(&text).unwrap();
        let shown = format!("{key:?}");
        assert!(shown.contains(key.public().kid()));
        assert!(!shown.contains("9, 9, 9") && !shown.contains("MC4"));
    }
}
