//! A signed token in compact form (RFC 7515), taken apart strictly and in one place.
//! A token must never choose its own key or algorithm, and nothing of it is ever printed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use thiserror::Error;

pub const TOKEN_BYTES_MAX: usize = 4096;
/// How far two clocks may disagree.
pub const LEEWAY_S: i64 = 10;
pub const TOKEN_ID_CHARS_MAX: usize = 128;

/// Why a text is no token that we would look at. It holds nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum JoseError {
    #[error("the token is longer than 4 KiB")]
    TooLong,
    #[error("the token is not three base64url parts")]
    NotCompact,
    #[error("the token's header has a missing, repeated, mistyped or unsupported member")]
    Header,
    #[error("the token's claims have a missing, repeated or mistyped member")]
    Claims,
}

/// The only members that a header may have. `crit`, `b64`, `jku`, `jwk`, `x5u`, `x5c` and every other
/// name are refused because they are not here: each of them would let the token say how to check it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    #[serde(default, deserialize_with = "present")]
    typ: Option<String>,
    #[serde(default, deserialize_with = "present")]
    kid: Option<String>,
}

/// A token whose header is sound, and about whose signature nothing is known yet.
pub(super) struct Compact<'a> {
    header: Header,
    signed: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Compact<'a> {
    pub(super) fn parse(token: &'a str) -> Result<Self, JoseError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(JoseError::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JoseError::NotCompact)?;
        let (header, payload) = signed.split_once('.').ok_or(JoseError::NotCompact)?;
        if payload.contains('.') {
            return Err(JoseError::NotCompact);
        }
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| JoseError::NotCompact)?;
        Ok(Self { header: object(&header).ok_or(JoseError::Header)?, signed, payload, signature })
    }

    pub(super) fn alg(&self) -> &str {
        &self.header.alg
    }

    pub(super) fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// Whether `typ` names one of these media types, with or without its `application/` (RFC 7515 §4.1.9).
    pub(super) fn has_type(&self, media_types: &[&str]) -> bool {
        self.header.typ.as_deref().is_some_and(|typ| {
            media_types.iter().any(|media_type| {
                typ.eq_ignore_ascii_case(media_type) || typ.eq_ignore_ascii_case(&format!("application/{media_type}"))
            })
        })
    }

    pub(super) fn has_no_type(&self) -> bool {
        self.header.typ.is_none()
    }

    /// Checks the signature with a key and an algorithm that the caller chose; the header is not asked.
    pub(super) fn is_signed_by(&self, key: &DecodingKey, algorithm: Algorithm) -> bool {
        crypto::verify(self.signature, self.signed.as_bytes(), key, algorithm).unwrap_or(false)
    }

    /// The claims as they are written. Only a checked signature makes them more than a stranger's words.
    pub(super) fn claims<T: DeserializeOwned>(&self) -> Result<T, JoseError> {
        let payload = URL_SAFE_NO_PAD.decode(self.payload).map_err(|_| JoseError::NotCompact)?;
        object(&payload).ok_or(JoseError::Claims)
    }
}

/// Reads a JSON object. Its first byte is checked because serde would fill a struct from an array as well.
fn object<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    json.starts_with(b"{").then(|| serde_json::from_slice(json).ok()).flatten()
}

/// For optional members: absent is allowed, `null` is not.
pub(super) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

pub(super) fn is_token_id(jti: &str) -> bool {
    (1..=TOKEN_ID_CHARS_MAX).contains(&jti.chars().count())
}

/// Builders of good and bad tokens for the tests of this folder.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod forge {
    use super::*;

    pub(in super::super) fn part(json: &str) -> String {
        URL_SAFE_NO_PAD.encode(json)
    }

    pub(in super::super) fn token(header: &str, claims: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// Header members that must be refused whatever their value.
    pub(in super::super) const FORBIDDEN_MEMBERS: [&str; 12] = [
        r#""crit":["exp"]"#,
        r#""crit":[]"#,
        r#""jku":"https://example.org/jwks""#,
        r#""jwk":{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        r#""x5u":"https://example.org/cert""#,
        r#""x5c":["MIIB"]"#,
        r#""b64":false"#,
        r#""b64":true"#,
        r#""cty":"JWT""#,
        r#""zip":"DEF""#,
        r#""enc":"A128GCM""#,
        r#""unheard-of":1"#,
    ];
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::forge::part;
    use super::*;

    fn refusal(token: &str) -> Option<JoseError> {
        Compact::parse(token).err()
    }

    fn with_header(header: &str) -> String {
        format!("{}.{}.AA", part(header), part("{}"))
    }

    #[test]
    fn a_plain_header_is_read() {
        let token = with_header(r#"{"alg":"EdDSA","typ":"AT+JWT","kid":"k"}"#);
        let compact = Compact::parse(&token).unwrap();
        assert_eq!((compact.alg(), compact.kid()), ("EdDSA", Some("k")));
        assert!(compact.has_type(&["JWT", "at+jwt"]) && !compact.has_type(&["JWT"]));
        assert!(!compact.has_no_type());
    }

    #[test]
    fn the_length_limit_holds_to_the_byte() {
        let token = with_header(r#"{"alg":"EdDSA"}"#);
        let longest = format!("{token}{}", "A".repeat(TOKEN_BYTES_MAX - token.len()));
        assert_eq!(refusal(&longest), None);
        assert_eq!(refusal(&format!("{longest}A")), Some(JoseError::TooLong));
    }

    #[test]
    fn other_than_three_parts_are_refused() {
        for token in ["", ".", "a.b", "e30", "a.b.c.d", "a.b.c.d.e"] {
            assert_eq!(refusal(token), Some(JoseError::NotCompact), "{token}");
        }
        assert_eq!(refusal(".."), Some(JoseError::Header));
    }

    #[test]
    fn padded_or_standard_base64_is_refused() {
        let good = part(r#"{"alg":"EdDSA","kid":"??>"}"#);
        assert!(refusal(&format!("{good}.e30.AA")).is_none());
        for header in [format!("{good}="), good.replace(['_', '-'], "/")] {
            assert_ne!(header, good);
            let token = format!("{header}.e30.AA");
            assert_eq!(refusal(&token), Some(JoseError::NotCompact));
        }
    }

    #[test]
    fn unusual_headers_are_refused() {
        let mut headers: Vec<String> = [
            "",
            "{}",
            "null",
            r#""alg""#,
            r#"["EdDSA","at+jwt","k"]"#,
            r#" {"alg":"EdDSA"}"#,
            r#"{"alg":"EdDSA"} {}"#,
            r#"{"alg":null}"#,
            r#"{"alg":["EdDSA"]}"#,
            r#"{"alg":"EdDSA","kid":null}"#,
            r#"{"alg":"EdDSA","kid":7}"#,
            r#"{"alg":"EdDSA","typ":null}"#,
            r#"{"alg":"EdDSA","alg":"EdDSA"}"#,
            r#"{"alg":"EdDSA","kid":"a","kid":"b"}"#,
            r#"{"alg":"EdDSA","Alg":"none"}"#,
        ]
        .map(str::to_owned)
        .into();
        headers.extend(forge::FORBIDDEN_MEMBERS.map(|m| format!(r#"{{"alg":"EdDSA",{m}}}"#)));
        for header in headers {
            let token = with_header(&header);
            assert_eq!(refusal(&token), Some(JoseError::Header), "{header}");
        }
    }

    #[test]
    fn claims_that_are_no_object_are_refused() {
        #[derive(Debug, Deserialize)]
        struct One {
            #[allow(dead_code)]
            a: u8,
        }
        let header = part(r#"{"alg":"EdDSA"}"#);
        for claims in ["[1]", "1", "", r#"{"a":1,"a":1}"#, r#"{"a":1}x"#] {
            let token = format!("{header}.{}.AA", part(claims));
            let read = Compact::parse(&token).unwrap().claims::<One>();
            assert_eq!(read.unwrap_err(), JoseError::Claims, "{claims}");
        }
    }

    #[test]
    fn token_ids_are_bounded_in_characters() {
        assert!(is_token_id("a") && is_token_id(&"đ".repeat(128)));
        assert!(!is_token_id("") && !is_token_id(&"a".repeat(129)));
    }
}
