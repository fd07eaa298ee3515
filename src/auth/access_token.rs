//! Access tokens as RFC 9068 has them: issued and verified by this registry alone.
//! A token is refused unless every check passes, and no error or Debug ever shows one.

use std::fmt;

use jsonwebtoken::{Algorithm, Header, encode};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::jose::{Compact, JoseError, LEEWAY_S, is_token_id, present};
use super::keys::KeyRing;
use crate::domain::party::{ClientId, Scopes};

/// The longest that a token may live, in seconds.
pub const LIFETIME_S_MAX: u32 = 600;

const MEDIA_TYPE: &str = "at+jwt";
const ALGORITHM_NAME: &str = "EdDSA";

/// Why a token is refused. It holds nothing of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    #[error(transparent)]
    Form(#[from] JoseError),
    #[error("the token is not an access token")]
    Type,
    #[error("the token's algorithm is not EdDSA")]
    Algorithm,
    #[error("the token names no key of this registry")]
    UnknownKey,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token is from another issuer")]
    Issuer,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token's subject is not its client")]
    Subject,
    #[error("the token has no usable id")]
    TokenId,
    #[error("the token has an unknown, repeated or empty scope")]
    Scope,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("the token's lifetime is out of bounds")]
    Lifetime,
}

/// Why no token can be issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IssueError {
    #[error("an issuer and an audience are needed")]
    NameMissing,
    #[error("a token's lifetime is 1 to 600 seconds")]
    Lifetime,
    #[error("a token needs a scope")]
    NoScope,
    #[error("a token id is 1 to 128 characters")]
    TokenId,
    #[error("the cryptographic library refused to sign")]
    Signing,
}

/// What is signed. Times are whole seconds since 1970.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: i64,
    iat: i64,
    jti: &'a str,
    client_id: &'a str,
    scope: Scopes,
}

/// What is read back. Every member that we write is required.
#[derive(Deserialize)]
struct ReadClaims {
    iss: String,
    sub: String,
    aud: String,
    exp: i64,
    iat: i64,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<i64>,
    jti: String,
    client_id: String,
    scope: String,
}

/// A new token, to be given to its client and kept nowhere.
pub struct IssuedToken {
    text: String,
    expires_in_s: u32,
}

impl IssuedToken {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    #[must_use]
    pub fn expires_in_s(&self) -> u32 {
        self.expires_in_s
    }
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IssuedToken")
    }
}

/// What a good token says. Only [`Issuer::verify`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedToken {
    client: ClientId,
    scopes: Scopes,
    expires_at_s: i64,
    jti: String,
}

impl VerifiedToken {
    #[must_use]
    pub fn client(&self) -> &ClientId {
        &self.client
    }

    #[must_use]
    pub fn scopes(&self) -> Scopes {
        self.scopes
    }

    #[must_use]
    pub fn expires_at_s(&self) -> i64 {
        self.expires_at_s
    }

    #[must_use]
    pub fn jti(&self) -> &str {
        &self.jti
    }
}

/// Issues this registry's tokens and verifies them.
#[derive(Debug)]
pub struct Issuer {
    issuer: String,
    audience: String,
    ring: KeyRing,
    lifetime_s: u32,
}

impl Issuer {
    pub fn new(issuer_url: &str, audience: &str, ring: KeyRing, lifetime_s: u32) -> Result<Self, IssueError> {
        if issuer_url.is_empty() || audience.is_empty() {
            return Err(IssueError::NameMissing);
        }
        if !(1..=LIFETIME_S_MAX).contains(&lifetime_s) {
            return Err(IssueError::Lifetime);
        }
        Ok(Self { issuer: issuer_url.to_owned(), audience: audience.to_owned(), ring, lifetime_s })
    }

    #[must_use]
    pub fn ring(&self) -> &KeyRing {
        &self.ring
    }

    /// `jti` must be fresh: an id or random bytes that no other token has.
    pub fn issue(&self, client: &ClientId, scopes: Scopes, jti: &str, now_s: i64) -> Result<IssuedToken, IssueError> {
        if scopes.is_empty() {
            return Err(IssueError::NoScope);
        }
        if !is_token_id(jti) {
            return Err(IssueError::TokenId);
        }
        let claims = Claims {
            iss: &self.issuer,
            sub: client.as_str(),
            aud: &self.audience,
            exp: now_s.saturating_add(i64::from(self.lifetime_s)),
            iat: now_s,
            jti,
            client_id: client.as_str(),
            scope: scopes,
        };
        let key = self.ring.current();
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(MEDIA_TYPE.to_owned());
        header.kid = Some(key.public().kid().to_owned());
        let text = encode(&header, &claims, key.encoding()).map_err(|_| IssueError::Signing)?;
        Ok(IssuedToken { text, expires_in_s: self.lifetime_s })
    }

    /// The header is judged first, then the signature, then each claim; the first fault is the answer.
    pub fn verify(&self, token: &str, now_s: i64) -> Result<VerifiedToken, TokenError> {
        let compact = Compact::parse(token)?;
        if !compact.has_type(&[MEDIA_TYPE]) {
            return Err(TokenError::Type);
        }
        if compact.alg() != ALGORITHM_NAME {
            return Err(TokenError::Algorithm);
        }
        let key = compact.kid().and_then(|kid| self.ring.find(kid)).ok_or(TokenError::UnknownKey)?;
        if !compact.is_signed_by(key.decoding(), Algorithm::EdDSA) {
            return Err(TokenError::Signature);
        }
        self.judge(compact.claims()?, now_s)
    }

    fn judge(&self, claims: ReadClaims, now_s: i64) -> Result<VerifiedToken, TokenError> {
        if claims.iss != self.issuer {
            return Err(TokenError::Issuer);
        }
        if claims.aud != self.audience {
            return Err(TokenError::Audience);
        }
        judge_times(&claims, now_s)?;
        let client = ClientId::parse(&claims.client_id).ok_or(TokenError::Subject)?;
        if claims.sub != client.as_str() {
            return Err(TokenError::Subject);
        }
        if !is_token_id(&claims.jti) {
            return Err(TokenError::TokenId);
        }
        Ok(VerifiedToken {
            client,
            scopes: Scopes::parse(&claims.scope).ok_or(TokenError::Scope)?,
            expires_at_s: claims.exp,
            jti: claims.jti,
        })
    }
}

/// Sums saturate, so that absurd times end in a refusal and not in an overflow.
fn judge_times(claims: &ReadClaims, now_s: i64) -> Result<(), TokenError> {
    let latest_start_s = now_s.saturating_add(LEEWAY_S);
    if claims.exp <= now_s.saturating_sub(LEEWAY_S) {
        return Err(TokenError::Expired);
    }
    if claims.iat > latest_start_s || claims.nbf.is_some_and(|nbf| nbf > latest_start_s) {
        return Err(TokenError::NotYetValid);
    }
    if !(1..=i64::from(LIFETIME_S_MAX)).contains(&claims.exp.saturating_sub(claims.iat)) {
        return Err(TokenError::Lifetime);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::string_slice)]
mod tests {
    use aws_lc_rs::hmac;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::jose::{TOKEN_BYTES_MAX, forge};
    use super::super::keys::SigningKey;
    use super::*;
    use crate::auth::install_crypto_provider;
    use crate::domain::party::Scope;

    const NOW_S: i64 = 1_790_000_000;
    const ISSUER: &str = "https://registry.example";
    const AUDIENCE: &str = "urn:canhbao";

    fn key(seed: u8) -> SigningKey {
        SigningKey::parse(&SigningKey::pem_from_seed(&[seed; 32]).unwrap()).unwrap()
    }

    /// Signs with key 1 and believes key 2 as its predecessor.
    fn issuer() -> Issuer {
        install_crypto_provider();
        let ring = KeyRing::new(key(1), Some(key(2).public().clone()));
        Issuer::new(ISSUER, AUDIENCE, ring, 600).unwrap()
    }

    fn client() -> ClientId {
        ClientId::parse("core-1").unwrap()
    }

    fn issued() -> String {
        let scopes = Scopes::of(&[Scope::Check, Scope::FeedRead]);
        let token = issuer().issue(&client(), scopes, "id-1", NOW_S).unwrap();
        token.as_str().to_owned()
    }

    fn header(kid: &str) -> Value {
        json!({"alg": "EdDSA", "typ": "at+jwt", "kid": kid})
    }

    fn claims() -> Value {
        json!({"iss": ISSUER, "sub": "core-1", "aud": AUDIENCE, "exp": NOW_S + 600, "iat": NOW_S,
               "jti": "id-1", "client_id": "core-1", "scope": "check feed.read"})
    }

    fn signed(header: &str, claims: &str, with: &SigningKey) -> String {
        forge::token(header, claims, |message| with.sign(message).unwrap().to_vec())
    }

    fn verify(token: &str) -> Result<VerifiedToken, TokenError> {
        issuer().verify(token, NOW_S)
    }

    fn verify_header(header: &Value) -> Result<VerifiedToken, TokenError> {
        verify(&signed(&header.to_string(), &claims().to_string(), &key(1)))
    }

    fn verify_claims(claims: &str) -> Result<VerifiedToken, TokenError> {
        let header = header(key(1).public().kid()).to_string();
        verify(&signed(&header, claims, &key(1)))
    }

    /// Good claims but for one member, or without it.
    fn verify_with(member: &str, value: Option<Value>) -> Result<VerifiedToken, TokenError> {
        let mut claims = claims();
        match value {
            Some(value) => claims[member] = value,
            None => drop(claims.as_object_mut().unwrap().remove(member)),
        }
        verify_claims(&claims.to_string())
    }

    const CLAIMS: TokenError = TokenError::Form(JoseError::Claims);
    const HEADER: TokenError = TokenError::Form(JoseError::Header);

    #[test]
    fn an_issued_token_verifies_with_all_it_says() {
        let verified = verify(&issued()).unwrap();
        assert_eq!(verified.client, client());
        assert_eq!(verified.scopes.to_string(), "check feed.read");
        assert_eq!(verified.expires_at_s, NOW_S + 600);
        assert_eq!(verified.jti, "id-1");
    }

    #[test]
    fn an_issued_token_has_the_form_of_rfc_9068() {
        let token = issued();
        let compact = Compact::parse(&token).unwrap();
        assert!(compact.has_type(&["at+jwt"]));
        assert_eq!(compact.alg(), "EdDSA");
        assert_eq!(compact.kid(), Some(key(1).public().kid()));
        assert_eq!(compact.claims::<Value>().unwrap(), claims());
    }

    #[test]
    fn a_token_of_the_previous_key_still_verifies() {
        let header = header(key(2).public().kid()).to_string();
        assert!(verify(&signed(&header, &claims().to_string(), &key(2))).is_ok());
    }

    #[test]
    fn a_token_of_a_dropped_key_is_refused() {
        let token = issued();
        let later = Issuer::new(ISSUER, AUDIENCE, KeyRing::new(key(2), None), 600).unwrap();
        assert_eq!(later.verify(&token, NOW_S), Err(TokenError::UnknownKey));
    }

    #[test]
    fn both_spellings_of_the_type_are_accepted_in_any_case() {
        for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"] {
            let mut header = header(key(1).public().kid());
            header["typ"] = json!(typ);
            assert!(verify_header(&header).is_ok(), "{typ}");
        }
    }

    #[test]
    fn another_type_or_none_is_refused() {
        for typ in ["JWT", "", "at+jwt ", "text/at+jwt", "id+jwt"] {
            let mut header = header(key(1).public().kid());
            header["typ"] = json!(typ);
            assert_eq!(verify_header(&header), Err(TokenError::Type), "{typ}");
        }
        let untyped = json!({"alg": "EdDSA", "kid": key(1).public().kid()});
        assert_eq!(verify_header(&untyped), Err(TokenError::Type));
    }

    #[test]
    fn another_algorithm_is_refused() {
        for alg in ["none", "None", "", "eddsa", "Ed25519", "ES256", "RS256", "HS256"] {
            let mut header = header(key(1).public().kid());
            header["alg"] = json!(alg);
            assert_eq!(verify_header(&header), Err(TokenError::Algorithm), "{alg}");
        }
    }

    #[test]
    fn the_public_key_is_no_hmac_secret() {
        let public = key(1).public().clone();
        let spki_pem = super::super::pem::encode(public.bytes(), "PUBLIC KEY");
        for secret in [public.bytes().as_slice(), spki_pem.as_bytes()] {
            let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
            for alg in ["HS256", "EdDSA"] {
                let mut header = header(public.kid());
                header["alg"] = json!(alg);
                let token = forge::token(&header.to_string(), &claims().to_string(), |message| {
                    hmac::sign(&secret, message).as_ref().to_vec()
                });
                assert!(verify(&token).is_err());
            }
        }
    }

    #[test]
    fn an_unsigned_token_is_refused() {
        let kid = key(1).public().kid().to_owned();
        let none = json!({"alg": "none", "typ": "at+jwt", "kid": kid}).to_string();
        for header in [none, header(&kid).to_string()] {
            let token = forge::token(&header, &claims().to_string(), |_| Vec::new());
            assert!(token.ends_with('.') && verify(&token).is_err());
        }
    }

    #[test]
    fn a_missing_unknown_or_wrong_key_id_is_refused() {
        let without = json!({"alg": "EdDSA", "typ": "at+jwt"});
        assert_eq!(verify_header(&without), Err(TokenError::UnknownKey));
        for kid in ["", "unknown", key(3).public().kid()] {
            assert_eq!(verify_header(&header(kid)), Err(TokenError::UnknownKey));
        }
        let of_the_other = header(key(2).public().kid());
        assert_eq!(verify_header(&of_the_other), Err(TokenError::Signature));
    }

    #[test]
    fn forbidden_unknown_and_repeated_header_members_are_refused() {
        let kid = key(1).public().kid().to_owned();
        let start = format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"{kid}""#);
        let repeated = [r#""alg":"EdDSA""#, r#""typ":"at+jwt""#, r#""kid":"x""#];
        for member in forge::FORBIDDEN_MEMBERS.into_iter().chain(repeated) {
            let header = format!("{start},{member}}}");
            let token = signed(&header, &claims().to_string(), &key(1));
            assert_eq!(verify(&token), Err(HEADER), "{member}");
        }
    }

    #[test]
    fn an_embedded_key_does_not_verify_its_own_token() {
        let own = key(7);
        let mut header = header(own.public().kid());
        header["jwk"] = own.public().jwk();
        let token = signed(&header.to_string(), &claims().to_string(), &own);
        assert_eq!(verify(&token), Err(HEADER));
    }

    #[test]
    fn one_byte_over_four_kibibytes_is_refused_unread() {
        let token = "a".repeat(TOKEN_BYTES_MAX + 1);
        let too_long = TokenError::Form(JoseError::TooLong);
        assert_eq!(verify(&token), Err(too_long));
    }

    #[test]
    fn every_flipped_character_is_noticed() {
        let token = issued();
        for at in 0..token.len() {
            let swapped = if &token[at..=at] == "A" { "B" } else { "A" };
            let tampered = format!("{}{swapped}{}", &token[..at], &token[at + 1..]);
            assert!(verify(&tampered).is_err(), "character {at}");
        }
    }

    #[test]
    fn another_key_under_our_key_id_is_refused() {
        let header = header(key(1).public().kid()).to_string();
        let token = signed(&header, &claims().to_string(), &key(3));
        assert_eq!(verify(&token), Err(TokenError::Signature));
    }

    #[test]
    fn every_claim_is_required_and_typed() {
        let members = ["iss", "sub", "aud", "exp", "iat", "jti", "client_id", "scope"];
        for member in members {
            assert_eq!(verify_with(member, None), Err(CLAIMS), "{member}");
            for value in [json!(null), json!([]), json!({}), json!(true), json!(1.5)] {
                assert_eq!(verify_with(member, Some(value)), Err(CLAIMS), "{member}");
            }
        }
        for member in ["exp", "iat", "nbf"] {
            for value in [json!("1790000000"), json!(null), json!(u64::MAX), json!(1e300)] {
                assert_eq!(verify_with(member, Some(value)), Err(CLAIMS), "{member}");
            }
        }
        assert_eq!(verify_with("aud", Some(json!([AUDIENCE]))), Err(CLAIMS));
    }

    #[test]
    fn a_repeated_claim_is_refused() {
        let doubled = claims().to_string().replacen('{', r#"{"sub":"core-1","#, 1);
        assert_eq!(verify_claims(&doubled), Err(CLAIMS));
    }

    #[test]
    fn another_issuer_audience_or_subject_is_refused() {
        let cases = [
            ("iss", "https://registry.example/", TokenError::Issuer),
            ("iss", "", TokenError::Issuer),
            ("aud", "urn:canhbao:other", TokenError::Audience),
            ("aud", "", TokenError::Audience),
            ("sub", "core-2", TokenError::Subject),
            ("client_id", "core-2", TokenError::Subject),
            ("client_id", "not a client", TokenError::Subject),
            ("jti", "", TokenError::TokenId),
        ];
        for (member, value, refusal) in cases {
            assert_eq!(verify_with(member, Some(json!(value))), Err(refusal));
        }
    }

    #[test]
    fn unknown_empty_and_repeated_scopes_are_refused() {
        for scope in ["check root", "", "check check", "check,admin"] {
            let refused = verify_with("scope", Some(json!(scope)));
            assert_eq!(refused, Err(TokenError::Scope), "{scope}");
        }
    }

    #[test]
    fn expiry_has_ten_seconds_of_leeway_and_no_more() {
        let (token, issuer) = (issued(), issuer());
        assert!(issuer.verify(&token, NOW_S + 609).is_ok());
        let late = issuer.verify(&token, NOW_S + 610);
        assert_eq!(late, Err(TokenError::Expired));
    }

    #[test]
    fn a_token_from_the_future_is_refused_after_ten_seconds() {
        let (token, issuer) = (issued(), issuer());
        assert!(issuer.verify(&token, NOW_S - 10).is_ok());
        let early = issuer.verify(&token, NOW_S - 11);
        assert_eq!(early, Err(TokenError::NotYetValid));
    }

    #[test]
    fn not_before_is_honoured() {
        assert!(verify_with("nbf", Some(json!(NOW_S + 10))).is_ok());
        let early = verify_with("nbf", Some(json!(NOW_S + 11)));
        assert_eq!(early, Err(TokenError::NotYetValid));
    }

    #[test]
    fn a_lifetime_of_600_seconds_is_the_longest() {
        assert!(verify_with("exp", Some(json!(NOW_S + 600))).is_ok());
        for exp in [NOW_S + 601, NOW_S, NOW_S - 5, i64::MAX] {
            let refused = verify_with("exp", Some(json!(exp)));
            assert_eq!(refused, Err(TokenError::Lifetime), "{exp}");
        }
        let refused = verify_with("iat", Some(json!(i64::MIN)));
        assert_eq!(refused, Err(TokenError::Lifetime));
        let refused = verify_with("exp", Some(json!(i64::MIN)));
        assert_eq!(refused, Err(TokenError::Expired));
    }

    #[test]
    fn an_issuer_is_bounded_too() {
        let make = |issuer, lifetime_s| Issuer::new(issuer, AUDIENCE, KeyRing::new(key(1), None), lifetime_s).err();
        assert_eq!(make(ISSUER, 0), Some(IssueError::Lifetime));
        assert_eq!(make(ISSUER, 601), Some(IssueError::Lifetime));
        assert_eq!(make("", 600), Some(IssueError::NameMissing));
        let none = issuer().issue(&client(), Scopes::default(), "id", NOW_S);
        assert_eq!(none.err(), Some(IssueError::NoScope));
        let unnamed = issuer().issue(&client(), Scopes::of(&[Scope::Check]), "", NOW_S);
        assert_eq!(unnamed.err(), Some(IssueError::TokenId));
    }

    #[test]
    fn debug_and_errors_show_no_token() {
        let scopes = Scopes::of(&[Scope::Check]);
        let token = issuer().issue(&client(), scopes, "id-1", NOW_S).unwrap();
        assert!(!format!("{token:?}").contains("eyJ"));
        let error = verify(&format!("{}x", token.as_str())).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("eyJ"));
    }

    proptest! {
        #[test]
        fn no_text_makes_verify_panic_or_pass(text in "\\PC{0,200}") {
            prop_assert!(verify(&text).is_err());
        }

        #[test]
        fn no_three_parts_make_verify_panic_or_pass(
            header in "\\PC{0,80}", claims in "\\PC{0,120}", signature in any::<Vec<u8>>(),
        ) {
            let token = forge::token(&header, &claims, |_| signature.clone());
            prop_assert!(verify(&token).is_err());
        }

        #[test]
        fn no_well_signed_claims_make_verify_panic(
            exp in any::<i64>(), iat in any::<i64>(), now_s in any::<i64>(), jti in "\\PC{0,140}",
        ) {
            let mut claims = claims();
            claims["exp"] = json!(exp);
            claims["iat"] = json!(iat);
            claims["jti"] = json!(jti);
            let header = header(key(1).public().kid()).to_string();
            let token = signed(&header, &claims.to_string(), &key(1));
            if let Ok(verified) = issuer().verify(&token, now_s) {
                prop_assert!(verified.expires_at_s > now_s - 10 && exp - iat <= 600);
            }
        }
    }
}
