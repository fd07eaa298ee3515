//! A client's public key for `private_key_jwt`, from PEM or JWK; one key has one algorithm.
//! A private key, a weak key or one for another algorithm must never get in.

use std::fmt;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;
use thiserror::Error;

use super::jose::present;
use super::keys::{ed25519_thumbprint, thumbprint_of};
use super::pem;

pub const CLIENT_KEY_TEXT_BYTES_MAX: usize = 8192;
pub const CLIENT_KEY_ID_CHARS_MAX: usize = 128;
pub const RSA_BITS_MIN: usize = 2048;
pub const RSA_BITS_MAX: usize = 8192;

const P256_COORDINATE_BYTES: usize = 32;
const ED25519_BYTES: usize = 32;
/// 65537 is the smallest exponent that FIPS 186-5 allows; it has three bytes.
const RSA_EXPONENT_BYTES_MIN: usize = 3;

/// What stands before the key itself in a SubjectPublicKeyInfo: fixed, since these keys have a fixed length.
const P256_SPKI_PREFIX: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
const ED25519_SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Why a text is no usable client key. The text itself is never repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ClientKeyError {
    #[error("the key is longer than 8 KiB")]
    TooLong,
    #[error("this is a private key: it must not leave the client; send its public key and replace it")]
    Private,
    #[error("not a JWK with known members and not a PEM block labelled PUBLIC KEY")]
    Malformed,
    #[error("only P-256, Ed25519 and RSA keys are supported")]
    Unsupported,
    #[error("an RSA key has 2048 to 8192 bits and an exponent of 65537 or more")]
    WeakRsa,
    #[error("the algorithm is not the one for this kind of key: ES256, EdDSA or PS256")]
    Algorithm,
    #[error("the key is not for signatures")]
    Use,
    #[error("a key id is 1 to 128 printable ASCII characters")]
    KeyId,
    #[error("the numbers do not make a valid key")]
    Invalid,
}

/// The algorithms that a client may sign with, one for each kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    Es256,
    EdDsa,
    Ps256,
}

impl KeyAlgorithm {
    pub const ALL: [Self; 3] = [Self::Es256, Self::EdDsa, Self::Ps256];

    /// The name in a token's header (RFC 7518, RFC 8037).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Ps256 => "PS256",
        }
    }

    pub(super) const fn jose(self) -> Algorithm {
        match self {
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
            Self::Ps256 => Algorithm::PS256,
        }
    }
}

/// A checked public key.
#[derive(Clone)]
pub struct ClientKey {
    kid: String,
    material: Material,
    decoding: DecodingKey,
}

#[derive(Clone, PartialEq, Eq)]
enum Material {
    P256 { x: [u8; P256_COORDINATE_BYTES], y: [u8; P256_COORDINATE_BYTES] },
    Ed25519([u8; ED25519_BYTES]),
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

impl ClientKey {
    /// Reads a JWK (RFC 7517) or a PEM block labelled `PUBLIC KEY`. A PEM key's id is its RFC 7638
    /// thumbprint; so is a JWK's that names none.
    pub fn parse(text: &str) -> Result<Self, ClientKeyError> {
        if text.len() > CLIENT_KEY_TEXT_BYTES_MAX {
            return Err(ClientKeyError::TooLong);
        }
        let text = text.trim();
        if text.starts_with('{') {
            let jwk: Jwk = serde_json::from_str(text).map_err(|_| ClientKeyError::Malformed)?;
            let material = jwk.material()?;
            return Self::new(material, jwk.kid);
        }
        if text.contains("PRIVATE KEY-----") {
            return Err(ClientKeyError::Private);
        }
        let der = pem::decode(text, pem::PUBLIC_KEY).ok_or(ClientKeyError::Malformed)?;
        Self::new(Material::from_spki(&der)?, None)
    }

    fn new(material: Material, kid: Option<String>) -> Result<Self, ClientKeyError> {
        let decoding = material.decoding()?;
        let kid = kid.unwrap_or_else(|| material.thumbprint());
        let length_fits = (1..=CLIENT_KEY_ID_CHARS_MAX).contains(&kid.len());
        if !length_fits || !kid.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ClientKeyError::KeyId);
        }
        Ok(Self { kid, material, decoding })
    }

    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    #[must_use]
    pub fn algorithm(&self) -> KeyAlgorithm {
        match self.material {
            Material::P256 { .. } => KeyAlgorithm::Es256,
            Material::Ed25519(_) => KeyAlgorithm::EdDsa,
            Material::Rsa { .. } => KeyAlgorithm::Ps256,
        }
    }

    /// The form to store: a JWK that [`ClientKey::parse`] reads back to the same key.
    #[must_use]
    pub fn to_jwk(&self) -> String {
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match &self.material {
            Material::P256 { x, y } => {
                json!({"kty": "EC", "crv": "P-256", "x": b64(x), "y": b64(y)})
            }
            Material::Ed25519(x) => json!({"kty": "OKP", "crv": "Ed25519", "x": b64(x)}),
            Material::Rsa { n, e } => json!({"kty": "RSA", "n": b64(n), "e": b64(e)}),
        };
        if let Some(members) = jwk.as_object_mut() {
            members.insert("alg".to_owned(), self.algorithm().as_str().into());
            members.insert("use".to_owned(), "sig".into());
            members.insert("kid".to_owned(), self.kid.as_str().into());
        }
        jwk.to_string()
    }

    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm())
            .finish_non_exhaustive()
    }
}

impl Material {
    fn from_spki(der: &[u8]) -> Result<Self, ClientKeyError> {
        if let Some(point) = der.strip_prefix(&P256_SPKI_PREFIX) {
            let (x, y) = point.split_at_checked(P256_COORDINATE_BYTES).ok_or(ClientKeyError::Malformed)?;
            return Ok(Self::P256 { x: fixed(x)?, y: fixed(y)? });
        }
        if let Some(x) = der.strip_prefix(&ED25519_SPKI_PREFIX) {
            return Ok(Self::Ed25519(fixed(x)?));
        }
        let key = rsa::PublicKey::from_der(der).map_err(|_| ClientKeyError::Unsupported)?;
        let RsaPublicKeyComponents { n, e } = RsaPublicKeyComponents::<Vec<u8>>::from(&key);
        Ok(Self::Rsa { n, e })
    }

    /// The key for the token library, once the numbers are known to make one.
    fn decoding(&self) -> Result<DecodingKey, ClientKeyError> {
        match self {
            Self::P256 { x, y } => {
                let point = [&[0x04], x.as_slice(), y.as_slice()].concat();
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).map_err(|_| ClientKeyError::Invalid)?;
                Ok(DecodingKey::from_ec_der(&point))
            }
            Self::Ed25519(x) => Ok(DecodingKey::from_ed_der(x)),
            Self::Rsa { n, e } => {
                if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits(n)) || e.len() < RSA_EXPONENT_BYTES_MIN {
                    return Err(ClientKeyError::WeakRsa);
                }
                // Only the DER form goes through the library's check of the numbers; the components do not.
                let der = RsaPublicKeyComponents { n, e }.as_der().map_err(|_| ClientKeyError::Invalid)?;
                rsa::PublicKey::from_der(der.as_ref()).map_err(|_| ClientKeyError::Invalid)?;
                Ok(DecodingKey::from_rsa_raw_components(n, e))
            }
        }
    }

    fn thumbprint(&self) -> String {
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Ed25519(x) => ed25519_thumbprint(x),
            Self::P256 { x, y } => {
                thumbprint_of(&format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, b64(x), b64(y)))
            }
            Self::Rsa { n, e } => thumbprint_of(&format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, b64(e), b64(n))),
        }
    }
}

/// The members that a JWK may have. The private ones are named to be told apart, and are never read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Jwk {
    kty: String,
    #[serde(default, deserialize_with = "present")]
    crv: Option<String>,
    #[serde(default, deserialize_with = "present")]
    x: Option<String>,
    #[serde(default, deserialize_with = "present")]
    y: Option<String>,
    #[serde(default, deserialize_with = "present")]
    n: Option<String>,
    #[serde(default, deserialize_with = "present")]
    e: Option<String>,
    #[serde(default, deserialize_with = "present")]
    kid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    alg: Option<String>,
    #[serde(default, rename = "use", deserialize_with = "present")]
    purpose: Option<String>,
    #[serde(default, deserialize_with = "present")]
    key_ops: Option<Vec<String>>,
    #[serde(default, rename = "ext")]
    _ext: Option<IgnoredAny>,
    #[serde(default)]
    d: Option<IgnoredAny>,
    #[serde(default)]
    p: Option<IgnoredAny>,
    #[serde(default)]
    q: Option<IgnoredAny>,
    #[serde(default)]
    dp: Option<IgnoredAny>,
    #[serde(default)]
    dq: Option<IgnoredAny>,
    #[serde(default)]
    qi: Option<IgnoredAny>,
    #[serde(default)]
    oth: Option<IgnoredAny>,
    #[serde(default)]
    k: Option<IgnoredAny>,
}

impl Jwk {
    fn material(&self) -> Result<Material, ClientKeyError> {
        let private = [&self.d, &self.p, &self.q, &self.dp, &self.dq, &self.qi, &self.oth, &self.k];
        if private.into_iter().any(Option::is_some) {
            return Err(ClientKeyError::Private);
        }
        let (material, algorithm) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("EC", Some("P-256")) => (self.p256()?, KeyAlgorithm::Es256),
            ("OKP", Some("Ed25519")) => (self.ed25519()?, KeyAlgorithm::EdDsa),
            ("RSA", None) => (self.rsa()?, KeyAlgorithm::Ps256),
            (_, _) => return Err(ClientKeyError::Unsupported),
        };
        if self.alg.as_ref().is_some_and(|alg| alg != algorithm.as_str()) {
            return Err(ClientKeyError::Algorithm);
        }
        let for_signatures = self.purpose.as_ref().is_none_or(|purpose| purpose == "sig");
        let may_verify = |ops: &Vec<String>| ops.iter().any(|op| op == "verify");
        if !for_signatures || !self.key_ops.as_ref().is_none_or(may_verify) {
            return Err(ClientKeyError::Use);
        }
        Ok(material)
    }

    fn p256(&self) -> Result<Material, ClientKeyError> {
        match (&self.x, &self.y, &self.n, &self.e) {
            (Some(x), Some(y), None, None) => Ok(Material::P256 { x: fixed(&number(x)?)?, y: fixed(&number(y)?)? }),
            (_, _, _, _) => Err(ClientKeyError::Malformed),
        }
    }

    fn ed25519(&self) -> Result<Material, ClientKeyError> {
        match (&self.x, &self.y, &self.n, &self.e) {
            (Some(x), None, None, None) => Ok(Material::Ed25519(fixed(&number(x)?)?)),
            (_, _, _, _) => Err(ClientKeyError::Malformed),
        }
    }

    fn rsa(&self) -> Result<Material, ClientKeyError> {
        match (&self.x, &self.y, &self.n, &self.e) {
            (None, None, Some(n), Some(e)) => Ok(Material::Rsa { n: unsigned(number(n)?)?, e: unsigned(number(e)?)? }),
            (_, _, _, _) => Err(ClientKeyError::Malformed),
        }
    }
}

fn number(base64url: &str) -> Result<Vec<u8>, ClientKeyError> {
    URL_SAFE_NO_PAD.decode(base64url).map_err(|_| ClientKeyError::Malformed)
}

/// RFC 7518 §2: the shortest form, so that one key has one thumbprint.
fn unsigned(bytes: Vec<u8>) -> Result<Vec<u8>, ClientKeyError> {
    match bytes.first() {
        Some(0) | None => Err(ClientKeyError::Malformed),
        Some(_) => Ok(bytes),
    }
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], ClientKeyError> {
    bytes.try_into().map_err(|_| ClientKeyError::Malformed)
}

/// The length in bits of a number without leading zero bytes.
fn bits(number: &[u8]) -> usize {
    let unused = number.first().map_or(0, |first| first.leading_zeros());
    (number.len() * 8).saturating_sub(usize::try_from(unused).unwrap_or_default())
}

/// Fresh key pairs of each kind for the tests of this folder.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod pairs {
    use std::sync::OnceLock;

    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
        RsaEncoding, RsaKeyPair,
    };

    use super::*;

    pub(in super::super) struct Pair {
        pub(in super::super) public_pem: String,
        signer: Signer,
    }

    enum Signer {
        Es256(EcdsaKeyPair),
        EdDsa(Ed25519KeyPair),
        Rsa(RsaKeyPair),
    }

    impl Pair {
        pub(in super::super) fn es256() -> Self {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
            let public_pem = pem_of(pair.public_key().as_der().unwrap().as_ref());
            let signer = Signer::Es256(pair);
            Self { public_pem, signer }
        }

        pub(in super::super) fn ed25519() -> Self {
            let pair = Ed25519KeyPair::generate().unwrap();
            let public_pem = pem_of(pair.public_key().as_der().unwrap().as_ref());
            let signer = Signer::EdDsa(pair);
            Self { public_pem, signer }
        }

        /// Slow to make, so all tests share one.
        pub(in super::super) fn rsa() -> &'static Self {
            static RSA: OnceLock<Pair> = OnceLock::new();
            RSA.get_or_init(|| {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
                let public_pem = pem_of(pair.public_key().as_der().unwrap().as_ref());
                let signer = Signer::Rsa(pair);
                Self { public_pem, signer }
            })
        }

        pub(in super::super) fn public(&self) -> ClientKey {
            ClientKey::parse(&self.public_pem).unwrap()
        }

        pub(in super::super) fn sign(&self, message: &[u8]) -> Vec<u8> {
            match &self.signer {
                Signer::Es256(pair) => {
                    let signature = pair.sign(&SystemRandom::new(), message).unwrap();
                    signature.as_ref().to_vec()
                }
                Signer::EdDsa(pair) => pair.sign(message).as_ref().to_vec(),
                Signer::Rsa(pair) => sign_rsa(pair, &RSA_PSS_SHA256, message),
            }
        }

        /// What RS256 would have signed; only an RSA pair can.
        pub(in super::super) fn sign_pkcs1(&self, message: &[u8]) -> Vec<u8> {
            match &self.signer {
                Signer::Rsa(pair) => sign_rsa(pair, &RSA_PKCS1_SHA256, message),
                Signer::Es256(_) | Signer::EdDsa(_) => Vec::new(),
            }
        }
    }

    fn sign_rsa(pair: &RsaKeyPair, padding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(padding, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    }

    fn pem_of(der: &[u8]) -> String {
        pem::encode(der, pem::PUBLIC_KEY).to_string()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    use proptest::prelude::*;
    use serde_json::Value;

    use super::pairs::Pair;
    use super::*;
    use crate::auth::keys::SigningKey;

    fn refusal(text: &str) -> Option<ClientKeyError> {
        ClientKey::parse(text).err()
    }

    fn jwk_with(key: &ClientKey, member: &str, value: Value) -> String {
        let mut jwk: Value = serde_json::from_str(&key.to_jwk()).unwrap();
        jwk.as_object_mut().unwrap().insert(member.to_owned(), value);
        jwk.to_string()
    }

    fn jwk_without(key: &ClientKey, member: &str) -> String {
        let mut jwk: Value = serde_json::from_str(&key.to_jwk()).unwrap();
        jwk.as_object_mut().unwrap().remove(member).unwrap();
        jwk.to_string()
    }

    fn each_kind() -> [(ClientKey, KeyAlgorithm); 3] {
        [
            (Pair::es256().public(), KeyAlgorithm::Es256),
            (Pair::ed25519().public(), KeyAlgorithm::EdDsa),
            (Pair::rsa().public(), KeyAlgorithm::Ps256),
        ]
    }

    #[test]
    fn each_kind_of_key_has_one_algorithm_and_reads_back() {
        for (key, algorithm) in each_kind() {
            assert_eq!(key.algorithm(), algorithm);
            assert_eq!(key.kid().len(), 43);
            let again = ClientKey::parse(&key.to_jwk()).unwrap();
            assert_eq!(again.to_jwk(), key.to_jwk());
            assert_eq!(again.kid(), key.kid());
        }
    }

    #[test]
    fn a_given_key_id_is_kept_and_a_missing_one_is_the_thumbprint() {
        for (key, _) in each_kind() {
            let named = ClientKey::parse(&jwk_with(&key, "kid", json!("prod-1"))).unwrap();
            assert_eq!(named.kid(), "prod-1");
            let unnamed = ClientKey::parse(&jwk_without(&named, "kid")).unwrap();
            assert_eq!(unnamed.kid(), key.kid());
        }
    }

    /// RFC 7638 §3.1.
    #[test]
    fn the_rsa_key_of_rfc_7638_has_its_thumbprint() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let jwk = json!({"kty": "RSA", "n": n, "e": "AQAB"}).to_string();
        let key = ClientKey::parse(&jwk).unwrap();
        assert_eq!(key.kid(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn private_keys_are_refused_by_name() {
        let own = SigningKey::pem_from_seed(&[1; 32]).unwrap();
        assert_eq!(refusal(&own), Some(ClientKeyError::Private));
        for label in ["RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"] {
            let text = format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
            assert_eq!(refusal(&text), Some(ClientKeyError::Private));
        }
        for (key, _) in each_kind() {
            for member in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
                let jwk = jwk_with(&key, member, json!("AA"));
                assert_eq!(refusal(&jwk), Some(ClientKeyError::Private));
            }
        }
        let shared = json!({"kty": "oct", "k": "AAAA", "alg": "HS256"}).to_string();
        assert_eq!(refusal(&shared), Some(ClientKeyError::Private));
    }

    #[test]
    fn another_algorithm_than_the_keys_own_is_refused() {
        for (key, own) in each_kind() {
            for alg in ["RS256", "HS256", "none", "ES384", "PS512", "", "ES256", "EdDSA", "PS256"] {
                let expected = (alg != own.as_str()).then_some(ClientKeyError::Algorithm);
                assert_eq!(refusal(&jwk_with(&key, "alg", json!(alg))), expected);
            }
        }
    }

    #[test]
    fn weak_rsa_keys_are_refused() {
        for (n_bytes, first, e) in [
            (128_usize, 0xff_u8, vec![1_u8, 0, 1]),
            (255, 0xff, vec![1, 0, 1]),
            (256, 0x7f, vec![1, 0, 1]),
            (1025, 0x01, vec![1, 0, 1]),
            (256, 0xff, vec![3]),
            (256, 0xff, vec![1]),
        ] {
            let mut n = vec![0xff; n_bytes];
            *n.first_mut().unwrap() = first;
            let n = URL_SAFE_NO_PAD.encode(n);
            let jwk = json!({"kty": "RSA", "n": n, "e": URL_SAFE_NO_PAD.encode(e)}).to_string();
            assert_eq!(refusal(&jwk), Some(ClientKeyError::WeakRsa));
        }
    }

    /// Made with `openssl genrsa 1024 | openssl rsa -pubout`.
    #[test]
    fn a_weak_rsa_key_in_pem_is_refused() {
        assert_eq!(refusal(WEAK_RSA_PEM), Some(ClientKeyError::WeakRsa));
    }

    #[test]
    fn numbers_with_leading_zeros_or_wrong_lengths_are_refused() {
        let rsa = Pair::rsa().public();
        let padded = jwk_with(&rsa, "e", json!("AAEAAQ"));
        assert_eq!(refusal(&padded), Some(ClientKeyError::Malformed));
        let even = jwk_with(&rsa, "e", json!("AQAA"));
        assert_eq!(refusal(&even), Some(ClientKeyError::Invalid));
        for key in [Pair::es256().public(), Pair::ed25519().public()] {
            for x in ["", "AA", "=", &"A".repeat(44)] {
                let jwk = jwk_with(&key, "x", json!(x));
                assert_eq!(refusal(&jwk), Some(ClientKeyError::Malformed));
            }
        }
    }

    #[test]
    fn a_point_off_the_curve_is_refused() {
        let key = Pair::es256().public();
        let off = jwk_with(&key, "y", json!(URL_SAFE_NO_PAD.encode([1; 32])));
        assert_eq!(refusal(&off), Some(ClientKeyError::Invalid));
    }

    #[test]
    fn other_curves_and_kinds_are_refused() {
        let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        let der = p384.public_key().as_der().unwrap();
        let text = pem::encode(der.as_ref(), pem::PUBLIC_KEY);
        assert_eq!(refusal(&text), Some(ClientKeyError::Unsupported));
        for (kty, crv) in [
            ("EC", "P-384"),
            ("EC", "secp256k1"),
            ("EC", "Ed25519"),
            ("OKP", "X25519"),
            ("OKP", "Ed448"),
            ("OKP", "P-256"),
            ("RSA", "P-256"),
            ("oct", "P-256"),
            ("AKP", "ML-DSA-44"),
        ] {
            let jwk = json!({"kty": kty, "crv": crv, "x": "AA", "y": "AA"}).to_string();
            assert_eq!(refusal(&jwk), Some(ClientKeyError::Unsupported), "{crv}");
        }
    }

    #[test]
    fn keys_for_another_use_are_refused() {
        let key = Pair::ed25519().public();
        let encryption = jwk_with(&key, "use", json!("enc"));
        assert_eq!(refusal(&encryption), Some(ClientKeyError::Use));
        for (ops, expected) in [
            (json!(["verify"]), None),
            (json!(["sign"]), Some(ClientKeyError::Use)),
            (json!([]), Some(ClientKeyError::Use)),
        ] {
            assert_eq!(refusal(&jwk_with(&key, "key_ops", ops)), expected);
        }
    }

    #[test]
    fn key_ids_are_bounded_printable_ascii() {
        let key = Pair::ed25519().public();
        for kid in ["", "a b", "khóa", "a\n", &"a".repeat(129)] {
            let jwk = jwk_with(&key, "kid", json!(kid));
            assert_eq!(refusal(&jwk), Some(ClientKeyError::KeyId));
        }
        let longest = jwk_with(&key, "kid", json!("a".repeat(128)));
        assert_eq!(refusal(&longest), None);
    }

    #[test]
    fn other_texts_are_refused() {
        let key = Pair::ed25519().public();
        let jwk = key.to_jwk();
        let texts = [
            String::new(),
            "{}".to_owned(),
            "[]".to_owned(),
            format!(r#"{{"keys":[{jwk}]}}"#),
            jwk.replacen('{', r#"{"kty":"OKP","#, 1),
            jwk_with(&key, "x5c", json!(["AA"])),
            jwk_with(&key, "n", json!("AA")),
            jwk_with(&key, "kid", Value::Null),
            jwk_without(&key, "x"),
            Pair::rsa().public_pem.replace("PUBLIC KEY", "CERTIFICATE"),
        ];
        for text in texts {
            assert_eq!(refusal(&text), Some(ClientKeyError::Malformed), "{text}");
        }
        let long = " ".repeat(CLIENT_KEY_TEXT_BYTES_MAX + 1);
        assert_eq!(refusal(&long), Some(ClientKeyError::TooLong));
    }

    proptest! {
        #[test]
        fn no_text_makes_parse_panic(text in "\\PC{0,200}", der in any::<Vec<u8>>()) {
            prop_assert!(ClientKey::parse(&text).is_err());
            let pem = pem::encode(&der, pem::PUBLIC_KEY);
            prop_assert!(ClientKey::parse(&pem).is_err());
        }
    }

    const WEAK_RSA_PEM: &str = "\
-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC/s3cjc6YfKzJFlZtQfVKPgsAG
XFyMQgAUitlFsPALI2iKhMMqP8ta/riYkjeOvlVGXJqj7JlBMeIwK9nkX2utqCVR
BMEKDRRr2/WMFChiBub8/I5yCQAZpJ3VHNKxlQJN0Zyc6wCr+AnapfHMSJuXOP3w
sC1h8FZqthwTh7FxyQIDAQAB
-----END PUBLIC KEY-----
";
}
