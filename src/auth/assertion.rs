//! `private_key_jwt` (RFC 7523): a client proves who it is with a short-lived token of its own.
//! Its words count for nothing until one of its registered keys has signed them. Replays are the guard's to refuse.

use serde::Deserialize;
use thiserror::Error;

use super::client_key::ClientKey;
use super::jose::{Compact, JoseError, LEEWAY_S, is_token_id, present};
use crate::domain::party::ClientId;

/// How far ahead an assertion may expire, in seconds.
pub const ASSERTION_LIFETIME_S_MAX: i64 = 300;

/// `JWT`, or the explicit type of the draft that updates RFC 7523; a token of another kind is no assertion.
const MEDIA_TYPES: [&str; 2] = ["JWT", "client-authentication+jwt"];

/// Why an assertion is refused. It holds nothing of the assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AssertionError {
    #[error(transparent)]
    Form(#[from] JoseError),
    #[error("the token is not a client assertion")]
    Type,
    #[error("the issuer and the subject are not one client id")]
    Subject,
    #[error("the client is unknown")]
    UnknownClient,
    #[error("the client has more than one key and the header names none")]
    KeyIdMissing,
    #[error("the client has no such key")]
    UnknownKey,
    #[error("the algorithm is not the one of the client's key")]
    Algorithm,
    #[error("the signature is wrong")]
    Signature,
    #[error("the audience is not this registry alone")]
    Audience,
    #[error("the assertion has expired")]
    Expired,
    #[error("the assertion expires more than 300 seconds ahead")]
    Lifetime,
    #[error("the assertion is not valid yet")]
    NotYetValid,
    #[error("the assertion's id is not 1 to 128 characters")]
    TokenId,
}

/// What a good assertion says; only [`verify_assertion`] makes one. Give it to the replay guard before acting on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    client: ClientId,
    jti: String,
    expires_at_s: i64,
}

impl Assertion {
    #[must_use]
    pub fn client(&self) -> &ClientId {
        &self.client
    }

    #[must_use]
    pub fn jti(&self) -> &str {
        &self.jti
    }

    #[must_use]
    pub fn expires_at_s(&self) -> i64 {
        self.expires_at_s
    }
}

/// Members beyond these are allowed and ignored, as RFC 7523 §3 has it. Times are whole seconds.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: i64,
    #[serde(default, deserialize_with = "present")]
    iat: Option<i64>,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<i64>,
    jti: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    /// An assertion that names another party as well could be used there, or come from there.
    fn is_only(&self, allowed: &[&str]) -> bool {
        match self {
            Self::One(audience) => allowed.contains(&audience.as_str()),
            Self::Many(audiences) => !audiences.is_empty() && audiences.iter().all(|a| allowed.contains(&a.as_str())),
        }
    }
}

/// Verifies an assertion with the keys that `keys_of` has for the client it names.
///
/// `audiences` are the names of this registry that an assertion may be made for: the token endpoint's
/// URL and the issuer.
pub fn verify_assertion<K: AsRef<[ClientKey]>>(
    assertion: &str,
    keys_of: impl FnOnce(&ClientId) -> Option<K>,
    audiences: &[&str],
    now_s: i64,
) -> Result<Assertion, AssertionError> {
    let compact = Compact::parse(assertion)?;
    if !compact.has_no_type() && !compact.has_type(&MEDIA_TYPES) {
        return Err(AssertionError::Type);
    }
    let claims: Claims = compact.claims()?;
    let client = ClientId::parse(&claims.sub).ok_or(AssertionError::Subject)?;
    if claims.iss != claims.sub {
        return Err(AssertionError::Subject);
    }
    let keys = keys_of(&client).ok_or(AssertionError::UnknownClient)?;
    let key = choose(keys.as_ref(), compact.kid())?;
    if compact.alg() != key.algorithm().as_str() {
        return Err(AssertionError::Algorithm);
    }
    if !compact.is_signed_by(key.decoding(), key.algorithm().jose()) {
        return Err(AssertionError::Signature);
    }
    judge(client, claims, audiences, now_s)
}

fn choose<'k>(keys: &'k [ClientKey], kid: Option<&str>) -> Result<&'k ClientKey, AssertionError> {
    match (kid, keys) {
        (Some(kid), _) => keys.iter().find(|key| key.kid() == kid).ok_or(AssertionError::UnknownKey),
        (None, [only]) => Ok(only),
        (None, []) => Err(AssertionError::UnknownKey),
        (None, [_, ..]) => Err(AssertionError::KeyIdMissing),
    }
}

/// Sums saturate, so that absurd times end in a refusal and not in an overflow.
fn judge(client: ClientId, claims: Claims, audiences: &[&str], now_s: i64) -> Result<Assertion, AssertionError> {
    if !claims.aud.is_only(audiences) {
        return Err(AssertionError::Audience);
    }
    if claims.exp <= now_s.saturating_sub(LEEWAY_S) {
        return Err(AssertionError::Expired);
    }
    if claims.exp > now_s.saturating_add(ASSERTION_LIFETIME_S_MAX) {
        return Err(AssertionError::Lifetime);
    }
    let starts = [claims.iat, claims.nbf].into_iter().flatten();
    if starts.max() > Some(now_s.saturating_add(LEEWAY_S)) {
        return Err(AssertionError::NotYetValid);
    }
    if !is_token_id(&claims.jti) {
        return Err(AssertionError::TokenId);
    }
    Ok(Assertion { client, jti: claims.jti, expires_at_s: claims.exp })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::string_slice)]
mod tests {
    use aws_lc_rs::hmac;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::client_key::pairs::Pair;
    use super::super::jose::{TOKEN_BYTES_MAX, forge};
    use super::super::replay::{ReplayError, ReplayGuard};
    use super::*;
    use crate::auth::install_crypto_provider;

    const NOW_S: i64 = 1_790_000_000;
    const ENDPOINT: &str = "https://registry.example/oauth2/token";
    const ISSUER: &str = "https://registry.example";

    fn claims() -> Value {
        json!({"iss": "core-1", "sub": "core-1", "aud": ENDPOINT, "exp": NOW_S + 60,
               "iat": NOW_S, "jti": "id-1"})
    }

    fn header_of(pair: &Pair) -> Value {
        let key = pair.public();
        json!({"alg": key.algorithm().as_str(), "typ": "JWT", "kid": key.kid()})
    }

    fn signed(pair: &Pair, header: &Value, claims: &Value) -> String {
        forge::token(&header.to_string(), &claims.to_string(), |m| pair.sign(m))
    }

    /// Verifies for a registry that knows one client, `core-1`, with these keys.
    fn verify(assertion: &str, keys: &[ClientKey]) -> Result<Assertion, AssertionError> {
        install_crypto_provider();
        let keys_of = |client: &ClientId| (client.as_str() == "core-1").then_some(keys);
        verify_assertion(assertion, keys_of, &[ENDPOINT, ISSUER], NOW_S)
    }

    fn verify_header(pair: &Pair, header: &Value) -> Result<Assertion, AssertionError> {
        verify(&signed(pair, header, &claims()), &[pair.public()])
    }

    /// Good claims but for one member, or without it.
    fn verify_with(member: &str, value: Option<Value>) -> Result<Assertion, AssertionError> {
        let mut claims = claims();
        match value {
            Some(value) => claims[member] = value,
            None => drop(claims.as_object_mut().unwrap().remove(member)),
        }
        let pair = Pair::ed25519();
        verify(&signed(&pair, &header_of(&pair), &claims), &[pair.public()])
    }

    const CLAIMS: AssertionError = AssertionError::Form(JoseError::Claims);
    const HEADER: AssertionError = AssertionError::Form(JoseError::Header);

    #[test]
    fn an_assertion_of_each_algorithm_verifies() {
        for pair in [&Pair::es256(), &Pair::ed25519(), Pair::rsa()] {
            let good = Assertion {
                client: ClientId::parse("core-1").unwrap(),
                jti: "id-1".to_owned(),
                expires_at_s: NOW_S + 60,
            };
            assert_eq!(verify_header(pair, &header_of(pair)), Ok(good));
        }
    }

    #[test]
    fn a_signature_of_each_algorithm_is_really_checked() {
        for pair in [&Pair::es256(), &Pair::ed25519(), Pair::rsa()] {
            let token = signed(pair, &header_of(pair), &claims());
            let (message, signature) = token.rsplit_once('.').unwrap();
            let other = signed(pair, &header_of(pair), &json!({"sub": "core-1"}));
            let stray = other.rsplit_once('.').unwrap().1;
            for signature in [stray, "", "AA", &signature[..signature.len() - 4]] {
                let forged = verify(&format!("{message}.{signature}"), &[pair.public()]);
                assert_eq!(forged, Err(AssertionError::Signature));
            }
        }
    }

    #[test]
    fn the_type_may_be_absent_or_name_an_assertion() {
        let pair = Pair::ed25519();
        let mut header = header_of(&pair);
        for typ in ["jwt", "application/jwt", "client-authentication+jwt"] {
            header["typ"] = json!(typ);
            assert!(verify_header(&pair, &header).is_ok());
        }
        for typ in ["at+jwt", "", "logout+jwt"] {
            header["typ"] = json!(typ);
            assert_eq!(verify_header(&pair, &header), Err(AssertionError::Type));
        }
        header.as_object_mut().unwrap().remove("typ");
        assert!(verify_header(&pair, &header).is_ok());
    }

    #[test]
    fn an_algorithm_that_is_not_the_keys_own_is_refused() {
        for pair in [&Pair::es256(), &Pair::ed25519(), Pair::rsa()] {
            let own = pair.public().algorithm().as_str();
            for alg in ["none", "HS256", "RS256", "ES384", "ES256", "EdDSA", "PS256", "PS384"] {
                let mut header = header_of(pair);
                header["alg"] = json!(alg);
                let verified = verify_header(pair, &header);
                match alg == own {
                    true => assert!(verified.is_ok()),
                    false => assert_eq!(verified, Err(AssertionError::Algorithm), "{own} {alg}"),
                }
            }
        }
    }

    #[test]
    fn an_rs256_signature_of_the_same_key_is_refused() {
        let pair = Pair::rsa();
        for (alg, refusal) in [("RS256", AssertionError::Algorithm), ("PS256", AssertionError::Signature)] {
            let mut header = header_of(pair);
            header["alg"] = json!(alg);
            let token = forge::token(&header.to_string(), &claims().to_string(), |message| pair.sign_pkcs1(message));
            assert_eq!(verify(&token, &[pair.public()]), Err(refusal));
        }
    }

    #[test]
    fn the_public_key_is_no_hmac_secret() {
        for pair in [&Pair::es256(), &Pair::ed25519(), Pair::rsa()] {
            let secret = hmac::Key::new(hmac::HMAC_SHA256, pair.public_pem.as_bytes());
            for alg in ["HS256", pair.public().algorithm().as_str()] {
                let mut header = header_of(pair);
                header["alg"] = json!(alg);
                let token = forge::token(&header.to_string(), &claims().to_string(), |message| {
                    hmac::sign(&secret, message).as_ref().to_vec()
                });
                assert!(verify(&token, &[pair.public()]).is_err());
            }
        }
    }

    #[test]
    fn forbidden_unknown_and_repeated_header_members_are_refused() {
        let pair = Pair::ed25519();
        for member in forge::FORBIDDEN_MEMBERS {
            let header = format!(r#"{{"alg":"EdDSA","typ":"JWT",{member}}}"#);
            let token = forge::token(&header, &claims().to_string(), |m| pair.sign(m));
            let refused = verify(&token, &[pair.public()]);
            assert_eq!(refused, Err(HEADER), "{member}");
        }
    }

    #[test]
    fn a_key_id_is_needed_among_several_keys() {
        let (first, second) = (Pair::ed25519(), Pair::es256());
        let keys = [first.public(), second.public()];
        for pair in [&first, &second] {
            let token = signed(pair, &header_of(pair), &claims());
            assert!(verify(&token, &keys).is_ok());
        }
        let unnamed = signed(&first, &json!({"alg": "EdDSA"}), &claims());
        assert!(verify(&unnamed, &[first.public()]).is_ok());
        assert_eq!(verify(&unnamed, &keys), Err(AssertionError::KeyIdMissing));
        assert_eq!(verify(&unnamed, &[]), Err(AssertionError::UnknownKey));
    }

    #[test]
    fn a_key_id_is_never_passed_over() {
        let (ours, other) = (Pair::ed25519(), Pair::ed25519());
        let unknown = signed(&ours, &json!({"alg": "EdDSA", "kid": "x"}), &claims());
        let refused = verify(&unknown, &[ours.public()]);
        assert_eq!(refused, Err(AssertionError::UnknownKey));
        let crossed = signed(&ours, &header_of(&other), &claims());
        let refused = verify(&crossed, &[ours.public(), other.public()]);
        assert_eq!(refused, Err(AssertionError::Signature));
    }

    #[test]
    fn another_clients_key_is_not_tried() {
        let (ours, theirs) = (Pair::ed25519(), Pair::ed25519());
        let (ours_keys, theirs_keys) = ([ours.public()], [theirs.public()]);
        let keys_of = |client: &ClientId| match client.as_str() {
            "core-1" => Some(ours_keys.as_slice()),
            "core-2" => Some(theirs_keys.as_slice()),
            _ => None,
        };
        let token = signed(&theirs, &header_of(&theirs), &claims());
        let refused = verify_assertion(&token, keys_of, &[ENDPOINT], NOW_S);
        assert_eq!(refused, Err(AssertionError::UnknownKey));
    }

    #[test]
    fn an_unknown_client_or_two_names_are_refused() {
        let pair = Pair::ed25519();
        let mut stranger = claims();
        stranger["iss"] = json!("core-9");
        stranger["sub"] = json!("core-9");
        let token = signed(&pair, &header_of(&pair), &stranger);
        let refused = verify(&token, &[pair.public()]);
        assert_eq!(refused, Err(AssertionError::UnknownClient));
        for member in ["iss", "sub"] {
            for value in ["core-2", "", "CORE-1"] {
                let refused = verify_with(member, Some(json!(value)));
                assert_eq!(refused, Err(AssertionError::Subject));
            }
        }
    }

    #[test]
    fn the_audience_is_this_registry_alone() {
        for aud in [json!(ISSUER), json!([ENDPOINT]), json!([ISSUER, ENDPOINT])] {
            assert!(verify_with("aud", Some(aud)).is_ok());
        }
        for aud in [
            json!(""),
            json!([]),
            json!("https://registry.example/"),
            json!("https://other.example/oauth2/token"),
            json!([ENDPOINT, "https://other.example"]),
        ] {
            assert_eq!(verify_with("aud", Some(aud)), Err(AssertionError::Audience));
        }
    }

    #[test]
    fn claims_are_required_and_typed() {
        for member in ["iss", "sub", "aud", "exp", "jti"] {
            assert_eq!(verify_with(member, None), Err(CLAIMS), "{member}");
            for value in [json!(null), json!({}), json!(true), json!(1.5), json!([1])] {
                assert_eq!(verify_with(member, Some(value)), Err(CLAIMS), "{member}");
            }
        }
        for member in ["iat", "nbf"] {
            assert!(verify_with(member, None).is_ok());
            for value in [json!(null), json!("1"), json!(1.5)] {
                assert_eq!(verify_with(member, Some(value)), Err(CLAIMS), "{member}");
            }
        }
        assert!(verify_with("x-trace", Some(json!({"a": 1}))).is_ok());
    }

    #[test]
    fn expiry_lies_within_300_seconds_and_ten_of_leeway() {
        for (exp, expected) in [
            (NOW_S - 10, Some(AssertionError::Expired)),
            (NOW_S - 9, None),
            (NOW_S + 300, None),
            (NOW_S + 301, Some(AssertionError::Lifetime)),
            (i64::MAX, Some(AssertionError::Lifetime)),
            (i64::MIN, Some(AssertionError::Expired)),
        ] {
            assert_eq!(verify_with("exp", Some(json!(exp))).err(), expected);
        }
    }

    #[test]
    fn an_assertion_from_the_future_is_refused() {
        for member in ["iat", "nbf"] {
            assert!(verify_with(member, Some(json!(NOW_S + 10))).is_ok());
            let early = verify_with(member, Some(json!(NOW_S + 11)));
            assert_eq!(early, Err(AssertionError::NotYetValid));
        }
    }

    #[test]
    fn an_id_has_1_to_128_characters() {
        assert!(verify_with("jti", Some(json!("a".repeat(128)))).is_ok());
        for jti in [String::new(), "a".repeat(129)] {
            let refused = verify_with("jti", Some(json!(jti)));
            assert_eq!(refused, Err(AssertionError::TokenId));
        }
    }

    #[test]
    fn one_byte_over_four_kibibytes_is_refused_unread() {
        let refused = verify(&"a".repeat(TOKEN_BYTES_MAX + 1), &[]);
        assert_eq!(refused, Err(AssertionError::Form(JoseError::TooLong)));
    }

    #[test]
    fn a_replayed_assertion_verifies_but_is_not_admitted() {
        let pair = Pair::es256();
        let token = signed(&pair, &header_of(&pair), &claims());
        let guard = ReplayGuard::new();
        for expected in [Ok(()), Err(ReplayError::Replayed)] {
            let good = verify(&token, &[pair.public()]).unwrap();
            let admitted = guard.admit(&good.client, &good.jti, good.expires_at_s, NOW_S);
            assert_eq!(admitted, expected);
        }
    }

    #[test]
    fn errors_show_nothing_of_the_assertion() {
        let pair = Pair::ed25519();
        let token = signed(&pair, &header_of(&pair), &claims());
        let error = verify(&token, &[]).unwrap_err();
        let shown = format!("{error:?} {error}");
        assert!(!shown.contains("core-1") && !shown.contains("eyJ"));
    }

    proptest! {
        #[test]
        fn no_text_makes_verify_panic_or_pass(text in "\\PC{0,200}") {
            prop_assert!(verify(&text, &[]).is_err());
        }

        #[test]
        fn no_signature_bytes_make_verify_panic_or_pass(signature in any::<Vec<u8>>()) {
            for pair in [&Pair::es256(), &Pair::ed25519(), Pair::rsa()] {
                let header = header_of(pair).to_string();
                let token = forge::token(&header, &claims().to_string(), |_| signature.clone());
                prop_assert_eq!(verify(&token, &[pair.public()]), Err(AssertionError::Signature));
            }
        }
    }
}
