//! `POST /oauth2/token`, the public keys and the metadata, and what an access token is good for.

use crate::support::{Answer, Ask, Server, eventually, now};
use crate::{about, account};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde_json::{Value, json};
use std::time::Duration;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

async fn ask_with_secret(server: &Server, name: &str, form: &[(&str, &str)]) -> Answer {
    let credential = server.credential(name);
    server.post("/oauth2/token").basic(&credential.id, &credential.secret).form(form).send().await
}

const GRANT: (&str, &str) = ("grant_type", "client_credentials");

/// A refusal in the form of RFC 6749 §5.2.
#[track_caller]
fn assert_refused(answer: Answer, status: u16, error: &str) -> Answer {
    let answer = answer.is(status);
    assert_eq!((answer.json()["error"].as_str(), answer.must("cache-control")), (Some(error), "no-store"));
    if status == 401 {
        assert!(answer.must("www-authenticate").starts_with("Basic "), "{answer:?}");
    }
    answer
}

async fn check_with(server: &Server, token: &str) -> Answer {
    server.post("/v1/checks").bearer(token).json(&about(account("9000000000000"))).send().await
}

#[track_caller]
fn assert_unauthenticated(answer: Answer) {
    let answer = answer.refused(401, "unauthenticated");
    assert!(answer.must("www-authenticate").starts_with("Bearer realm="), "{answer:?}");
}

/// Changes a client as an operator does.
async fn act(server: &Server, id: &str, what: &str, body: Option<&Value>) -> Value {
    let path = format!("/v1/clients/{id}");
    let etag = server.get(&path).by("operator").send().await.is(200).must("etag").to_owned();
    let ask = server.post(&format!("{path}/{what}")).by("operator").if_match(&etag);
    let ask = match body {
        Some(body) => ask.json(body),
        None => ask,
    };
    ask.send().await.is(200).json()
}

#[tokio::test]
async fn a_wrong_secret_and_an_unknown_client_are_refused_alike() {
    let server = Server::start().await;
    let ask = |id: &str, secret: &str| server.post("/oauth2/token").basic(id, secret).form(&[GRANT]);
    let good = server.credential("bank");
    let mut bodies = Vec::new();
    let pairs = [
        (good.id.as_str(), "wrong"),
        ("nobody", good.secret.as_str()),
        ("x y", "wrong"),
        (good.id.as_str(), ""),
        (&good.id, &good.secret[1..]),
    ];
    for (id, secret) in pairs {
        bodies.push(assert_refused(ask(id, secret).send().await, 401, "invalid_client").body);
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "they can be told apart");
    let form = server.post("/oauth2/token").form(&[GRANT]);
    assert_refused(form.send().await, 401, "invalid_client");
    let bearer = server.post("/oauth2/token").bearer("x").form(&[GRANT]);
    assert_refused(bearer.send().await, 401, "invalid_client");
    let other_id = [GRANT, ("client_id", "demo-bank_b")];
    assert_refused(ask_with_secret(&server, "bank", &other_id).await, 401, "invalid_client");
    server.finish().await;
}

#[tokio::test]
async fn a_request_that_is_no_grant_is_refused() {
    let server = Server::start().await;
    let id = server.credential("bank").id;
    let cases: [(&[(&str, &str)], &str); 10] = [
        (&[], "invalid_request"),
        (&[("scope", "check")], "invalid_request"),
        (&[("grant_type", "password")], "unsupported_grant_type"),
        (&[GRANT, GRANT], "invalid_request"),
        (&[GRANT, ("scope", "check"), ("scope", "check")], "invalid_request"),
        (&[GRANT, ("audience", "x")], "invalid_request"),
        (&[GRANT, ("client_secret", "x-secret-x")], "invalid_request"),
        (&[GRANT, ("client_assertion", "assertion-x")], "invalid_request"),
        (&[GRANT, ("client_assertion", "assertion-x"), ("client_assertion_type", ASSERTION_TYPE)], "invalid_request"),
        (&[GRANT, ("client_assertion_type", "x")], "invalid_request"),
    ];
    for (form, error) in cases {
        assert_refused(ask_with_secret(&server, "bank", form).await, 400, error);
    }
    let secret = server.credential("bank").secret;
    let in_url = server.post("/oauth2/token?scope=check").basic(&id, &secret).form(&[GRANT]);
    assert_refused(in_url.send().await, 400, "invalid_request");
    let json = server.post("/oauth2/token").basic(&id, &secret).json(&json!({ "grant_type": "client_credentials" }));
    json.send().await.refused(415, "unsupported_media_type");
    let long = [GRANT, ("scope", &"x".repeat(17_000))];
    ask_with_secret(&server, "bank", &long).await.refused(413, "payload_too_large");
    server.finish().await;
}

#[tokio::test]
async fn a_token_has_the_scopes_that_were_asked_for_and_no_more() {
    let server = Server::start().await;
    let all = ask_with_secret(&server, "officer", &[GRANT]).await.is(200).json();
    assert_eq!(all["scope"], "flag.read flag.write report.review request.write");
    assert_eq!((&all["token_type"], &all["expires_in"]), (&json!("Bearer"), &json!(600)));
    let named = [GRANT, ("client_id", "demo-officer"), ("scope", "flag.write flag.read")];
    let some = ask_with_secret(&server, "officer", &named).await.is(200);
    assert_eq!(some.must("cache-control"), "no-store");
    assert_eq!(some.json()["scope"], "flag.read flag.write");
    for scope in ["flag.approve", "flag.read flag.approve", "", "flag.read  flag.write", "flag", "flag.read flag.read"]
    {
        assert_refused(ask_with_secret(&server, "officer", &[GRANT, ("scope", scope)]).await, 400, "invalid_scope");
    }
    let reads = server.new_token("officer", Some("flag.read")).await;
    server.get("/v1/flags?limit=1").bearer(&reads).send().await.is(200);
    let body = json!({ "subject": account("9100000000001"), "verdict": "warn", "category": "mule", "case": "A",
        "reason": "x" });
    let writes = server.post("/v1/flags").bearer(&reads).key("k").json(&body).send().await;
    assert_eq!(writes.refused(403, "insufficient_scope").json()["detail"], "This needs the scope flag.write.");
    server.finish().await;
}

/// A pair of keys that a client makes for itself.
struct Pair {
    algorithm: Algorithm,
    signing: EncodingKey,
    public_pem: String,
}

impl Pair {
    fn es256() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let signing = EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref());
        Self { algorithm: Algorithm::ES256, signing, public_pem: public_pem(pair.public_key()) }
    }

    fn ed25519() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let signing = EncodingKey::from_ed_der(pair.to_pkcs8v1().unwrap().as_ref());
        Self { algorithm: Algorithm::EdDSA, signing, public_pem: public_pem(pair.public_key()) }
    }

    fn rsa() -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let private = pem("PRIVATE KEY", AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap().as_ref());
        let signing = EncodingKey::from_rsa_pem(private.as_bytes()).unwrap();
        Self { algorithm: Algorithm::PS256, signing, public_pem: public_pem(pair.public_key()) }
    }

    fn sign(&self, claims: &Value) -> String {
        encode(&Header::new(self.algorithm), claims, &self.signing).unwrap()
    }
}

fn public_pem(key: &impl AsDer<PublicKeyX509Der<'static>>) -> String {
    pem("PUBLIC KEY", key.as_der().unwrap().as_ref())
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn now_s() -> u64 {
    now().as_s()
}

/// The claims of a good assertion, with an id of its own.
fn assertion(server: &Server, client: &str, jti: &str) -> Value {
    json!({ "iss": client, "sub": client, "aud": format!("{}/oauth2/token", server.base_url), "exp": now_s() + 60,
        "iat": now_s(), "jti": jti })
}

async fn prove(server: &Server, assertion: &str) -> Answer {
    let form = [GRANT, ("client_assertion_type", ASSERTION_TYPE), ("client_assertion", assertion)];
    server.post("/oauth2/token").form(&form).send().await
}

async fn create_with_key(server: &Server, id: &str, pair: &Pair) {
    let client = json!({ "client_id": id, "party": "970436", "name": id, "scopes": ["check"],
        "public_key": pair.public_pem });
    let made = server.post("/v1/clients").by("operator").json(&client).send().await.is(201).json();
    assert_eq!((made.get("client_secret"), &made["credentials"][0]["kind"]), (None, &json!("key")));
}

#[tokio::test]
async fn a_client_proves_itself_with_each_kind_of_key_once() {
    let server = Server::start().await;
    for (id, pair) in [("key-es256", Pair::es256()), ("key-eddsa", Pair::ed25519()), ("key-ps256", Pair::rsa())] {
        create_with_key(&server, id, &pair).await;
        let first = pair.sign(&assertion(&server, id, "1"));
        let token = prove(&server, &first).await.is(200).json()["access_token"].as_str().unwrap().to_owned();
        check_with(&server, &token).await.is(200);
        assert_refused(prove(&server, &first).await, 401, "invalid_client");
        let mut to_issuer = assertion(&server, id, "2");
        to_issuer["aud"] = json!([server.base_url]);
        prove(&server, &pair.sign(&to_issuer)).await.is(200);
    }
    server.finish().await;
}

#[tokio::test]
async fn an_assertion_with_any_fault_is_refused() {
    let server = Server::start().await;
    let (pair, stranger) = (Pair::es256(), Pair::es256());
    create_with_key(&server, "keyed", &pair).await;
    let good = assertion(&server, "keyed", "good");
    let faults = [
        ("aud", json!("https://elsewhere.example/oauth2/token")),
        ("aud", json!([server.base_url, "https://elsewhere.example"])),
        ("aud", json!([])),
        ("iss", json!("demo-bank")),
        ("exp", json!(now_s() - 30)),
        ("exp", json!(now_s() + 400)),
        ("iat", json!(now_s() + 60)),
        ("jti", json!("")),
    ];
    for (name, value) in faults {
        let mut claims = good.clone();
        claims[name] = value;
        assert_refused(prove(&server, &pair.sign(&claims)).await, 401, "invalid_client");
    }
    server.finish().await;
    // Ten failures are what a client may have in a minute, so the rest has a server of its own.
    let server = Server::start().await;
    create_with_key(&server, "keyed", &pair).await;
    let mut claims = assertion(&server, "keyed", "good");
    assert_refused(prove(&server, &stranger.sign(&claims)).await, 401, "invalid_client");
    claims["sub"] = json!("demo-bank");
    claims["iss"] = json!("demo-bank");
    assert_refused(prove(&server, &pair.sign(&claims)).await, 401, "invalid_client");
    assert_refused(prove(&server, "a.b").await, 401, "invalid_client");
    assert_refused(prove(&server, &"a".repeat(5_000)).await, 401, "invalid_client");
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let payload = URL_SAFE_NO_PAD.encode(assertion(&server, "keyed", "none").to_string());
    assert_refused(prove(&server, &format!("{header}.{payload}.")).await, 401, "invalid_client");
    prove(&server, &pair.sign(&assertion(&server, "keyed", "good"))).await.is(200);
    server.finish().await;
}

#[tokio::test]
async fn a_token_is_verified_by_the_published_keys() {
    let server = Server::start().await;
    let token = server.token("bank").await;
    let keys = server.get("/.well-known/jwks.json").send().await.is(200).json();
    let header = jsonwebtoken::decode_header(&token).unwrap();
    assert_eq!((header.typ.as_deref(), header.alg), (Some("at+jwt"), Algorithm::EdDSA));
    let named = |key: &&Value| key["kid"].as_str() == header.kid.as_deref();
    let key = keys["keys"].as_array().unwrap().iter().find(named).expect("the token's key is published");
    assert_eq!((&key["kty"], &key["crv"], key.get("d")), (&json!("OKP"), &json!("Ed25519"), None));
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&[&server.base_url]);
    validation.set_audience(&[&server.base_url]);
    validation.set_required_spec_claims(&["iss", "sub", "aud", "exp"]);
    let key = DecodingKey::from_ed_components(key["x"].as_str().unwrap()).unwrap();
    let claims = decode::<Value>(&token, &key, &validation).unwrap().claims;
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!("demo-bank"), &json!("demo-bank")));
    assert_eq!(claims["scope"], "check feed.read report.write request.answer");
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 600);
    assert!(claims["jti"].as_str().unwrap().starts_with("token_"));
    server.finish().await;
}

#[tokio::test]
async fn the_metadata_leads_to_the_endpoints() {
    let server = Server::start().await;
    let metadata = server.get("/.well-known/oauth-authorization-server").send().await.is(200).json();
    assert_eq!(metadata["issuer"], server.base_url);
    let path = |name: &str| metadata[name].as_str().unwrap().strip_prefix(&server.base_url).unwrap().to_owned();
    server.get(&path("jwks_uri")).send().await.is(200);
    let credential = server.credential("bank");
    let ask = server.post(&path("token_endpoint")).basic(&credential.id, &credential.secret).form(&[GRANT]);
    ask.send().await.is(200);
    assert_eq!(metadata["grant_types_supported"], json!(["client_credentials"]));
    let methods = json!(["client_secret_basic", "private_key_jwt"]);
    assert_eq!(metadata["token_endpoint_auth_methods_supported"], methods);
    server.finish().await;
}

/// The registry's own signing key: whatever is signed by it differs from a good token in its words alone.
fn registry_key(server: &Server) -> EncodingKey {
    let pem = std::fs::read(server.data().join("keys/token-signing.pem")).unwrap();
    EncodingKey::from_ed_pem(&pem).unwrap()
}

#[tokio::test]
async fn a_token_that_is_not_exactly_right_is_refused() {
    let server = Server::start().await;
    let good = server.token("bank").await;
    let parts: Vec<&str> = good.split('.').collect();
    let header = jsonwebtoken::decode_header(&good).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    let key = registry_key(&server);
    // What the test itself signs with the right words is taken, so each refusal below is for its one fault.
    let resigned = |claims: &Value| encode(&header, claims, &key).unwrap();
    check_with(&server, &resigned(&claims)).await.is(200);
    let mut bad = vec![
        good[..good.len() - 1].to_owned(),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{good}.{good}"),
        format!("{good}{}", "A".repeat(5 * 1024 - good.len())),
        String::new(),
        "x".to_owned(),
        flipped(&good),
    ];
    let other_payload = URL_SAFE_NO_PAD.encode(with_claim(&claims, "scope", json!("admin")).to_string());
    bad.push(format!("{}.{other_payload}.{}", parts[0], parts[2]));
    bad.push(format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"typ":"at+jwt","alg":"none"}"#), parts[1]));
    let jwks = server.get("/.well-known/jwks.json").send().await.is(200).json();
    let x = jwks["keys"][0]["x"].as_str().unwrap();
    let mut symmetric = header.clone();
    symmetric.alg = Algorithm::HS256;
    for secret in [x.as_bytes().to_vec(), URL_SAFE_NO_PAD.decode(x).unwrap(), jwks.to_string().into_bytes()] {
        bad.push(encode(&symmetric, &claims, &EncodingKey::from_secret(&secret)).unwrap());
    }
    for typ in [Some("JWT"), Some("jwt+at"), None] {
        let mut header = header.clone();
        header.typ = typ.map(str::to_owned);
        bad.push(encode(&header, &claims, &key).unwrap());
    }
    for kid in [Some("unknown"), None] {
        let mut header = header.clone();
        header.kid = kid.map(str::to_owned);
        bad.push(encode(&header, &claims, &key).unwrap());
    }
    let mut jumping = header.clone();
    jumping.jku = Some(format!("{}/.well-known/jwks.json", server.base_url));
    bad.push(encode(&jumping, &claims, &key).unwrap());
    bad.push(encode(&header, &claims, &Pair::ed25519().signing).unwrap());
    let faults = [
        ("iss", json!("https://elsewhere.example")),
        ("aud", json!("https://elsewhere.example")),
        ("aud", json!([server.base_url])),
        ("sub", json!("demo-operator")),
        ("client_id", json!("nobody")),
        ("exp", json!(now_s() - 30)),
        ("exp", json!(now_s() + 100_000)),
        ("iat", json!(now_s() + 60)),
        ("nbf", json!(now_s() + 60)),
        ("jti", json!("x")),
        ("scope", json!("check everything")),
        ("scope", json!("")),
    ];
    bad.extend(faults.map(|(name, value)| resigned(&with_claim(&claims, name, value))));
    for token in &bad {
        assert_unauthenticated(check_with(&server, token).await);
    }
    // A scope that the client may not have is no scope, whoever signed it.
    let elevated = resigned(&with_claim(&claims, "scope", json!("check admin")));
    server.get("/v1/clients").bearer(&elevated).send().await.refused(403, "insufficient_scope");
    check_with(&server, &elevated).await.is(200);
    server.finish().await;
}

fn with_claim(claims: &Value, name: &str, value: Value) -> Value {
    crate::with(claims.clone(), name, value)
}

/// The token with one bit of its signature changed.
fn flipped(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    bytes[10] ^= 1;
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes))
}

#[tokio::test]
async fn without_one_bearer_token_nothing_is_told() {
    let server = Server::start().await;
    let token = server.token("bank").await;
    let body = about(account("9000000000001"));
    let ask = || -> Ask<'_> { server.post("/v1/checks").json(&body) };
    let bearer = format!("Bearer {token}");
    assert_unauthenticated(ask().send().await);
    for header in ["", "Bearer", &token, &format!("Basic {token}"), &format!("Bearer  {token}")] {
        assert_unauthenticated(ask().header("authorization", header).send().await);
    }
    let twice = ask().header("authorization", &bearer).header("authorization", &bearer);
    assert_unauthenticated(twice.send().await);
    ask().header("authorization", &format!("bearer {token}")).send().await.is(200);
    for path in ["/v1/flags", "/v1/parties", "/v1/clients", "/v1/institutions", "/v1/checks/x", "/v1/flags/x"] {
        assert_unauthenticated(server.get(path).send().await);
    }
    server.finish().await;
}

#[tokio::test]
async fn a_disabled_client_is_refused_at_once_and_its_old_tokens_for_ever() {
    let server = Server::start().await;
    let old = server.token("bank_b").await;
    check_with(&server, &old).await.is(200);
    let id = server.credential("bank_b").id;
    act(&server, &id, "disable", None).await;
    assert_unauthenticated(check_with(&server, &old).await);
    assert_refused(ask_with_secret(&server, "bank_b", &[GRANT]).await, 401, "invalid_client");
    act(&server, &id, "enable", None).await;
    assert_unauthenticated(check_with(&server, &old).await);
    let new = server.new_token("bank_b", None).await;
    check_with(&server, &new).await.is(200);
    server.finish().await;
}

#[tokio::test]
async fn rotation_without_grace_voids_the_old_secret_and_every_token() {
    let server = Server::start().await;
    let old = server.token("bank").await;
    check_with(&server, &old).await.is(200);
    let id = server.credential("bank").id;
    let rotated = act(&server, &id, "rotate", Some(&json!({ "grace_s": 0 }))).await;
    assert_eq!(rotated["credentials"].as_array().unwrap().len(), 1);
    assert_unauthenticated(check_with(&server, &old).await);
    assert_refused(ask_with_secret(&server, "bank", &[GRANT]).await, 401, "invalid_client");
    server.know("renewed", &id, rotated["client_secret"].as_str().unwrap());
    let new = server.new_token("renewed", None).await;
    check_with(&server, &new).await.is(200);
    server.finish().await;
}

#[tokio::test]
async fn rotation_with_grace_keeps_the_old_secret_for_that_long() {
    let server = Server::start().await;
    let old = server.token("bank").await;
    let id = server.credential("bank").id;
    let rotated = act(&server, &id, "rotate", Some(&json!({ "grace_s": 3 }))).await;
    server.know("renewed", &id, rotated["client_secret"].as_str().unwrap());
    for name in ["bank", "renewed"] {
        check_with(&server, &server.new_token(name, None).await).await.is(200);
    }
    check_with(&server, &old).await.is(200);
    eventually(Duration::from_secs(10), "the grace ends", async || {
        ask_with_secret(&server, "bank", &[GRANT]).await.status == 401
    })
    .await;
    check_with(&server, &old).await.is(200);
    server.new_token("renewed", None).await;
    // Unless something else is said the grace is a day.
    let rotated = act(&server, &id, "rotate", Some(&json!({}))).await;
    let ends = rotated["credentials"][1]["expires_at"].as_str().unwrap();
    assert!(
        ends > now().plus_ms(86_000_000).to_string().as_str() && ends < now().plus_ms(87_000_000).to_string().as_str()
    );
    let too_long = server.post(&format!("/v1/clients/{id}/rotate")).by("operator").if_match("\"3\"");
    let too_long = too_long.json(&json!({ "grace_s": 604_801 })).send().await.refused(400, "invalid_request");
    assert_eq!(too_long.pointers(), ["/grace_s"]);
    server.finish().await;
}

#[tokio::test]
async fn a_client_that_keeps_failing_has_to_wait_and_others_do_not() {
    let server = Server::start().await;
    let client = json!({ "client_id": "guessed", "party": "970436", "name": "Guessed", "scopes": ["check"] });
    let made = server.post("/v1/clients").by("operator").json(&client).send().await.is(201).json();
    server.know("guessed", "guessed", made["client_secret"].as_str().unwrap());
    let guess = |id: &str| server.post("/oauth2/token").basic(id, "guess").form(&[GRANT]);
    for _ in 0..10 {
        assert_refused(guess("guessed").send().await, 401, "invalid_client");
    }
    let wait = guess("guessed").send().await.refused(429, "rate_limited");
    assert!((1..=60).contains(&wait.must("retry-after").parse::<u32>().unwrap()));
    ask_with_secret(&server, "guessed", &[GRANT]).await.refused(429, "rate_limited");
    server.new_token("bank", None).await;
    // Who was let in from here before is not locked out by what others guess.
    for _ in 0..11 {
        assert_refused(guess("demo-bank").send().await, 401, "invalid_client");
    }
    server.new_token("bank", None).await;
    server.finish().await;
}

#[tokio::test]
async fn an_address_that_keeps_failing_has_to_wait() {
    let server = Server::start().await;
    server.token("bank").await;
    for i in 0..30 {
        let guess = server.post("/oauth2/token").basic(&format!("client-{}", i % 10), "guess").form(&[GRANT]);
        assert_refused(guess.send().await, 401, "invalid_client");
    }
    let wait = ask_with_secret(&server, "bank", &[GRANT]).await.refused(429, "rate_limited");
    assert!((1..=60).contains(&wait.must("retry-after").parse::<u32>().unwrap()));
    let token = server.token("bank").await;
    check_with(&server, &token).await.is(200);
    server.finish().await;
}
