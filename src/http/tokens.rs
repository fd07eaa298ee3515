//! `POST /oauth2/token` (RFC 6749 `client_credentials`, RFC 7523), the public keys and the metadata (RFC 8414).
//! Errors of the grant have RFC 6749's form, not a problem's.

use super::body::{NoQuery, Unread};
use super::edge::arrival;
use super::problem::Problem;
use crate::domain::party::{ClientId, Scope, Scopes};
use crate::registry::{Granted, Proof, Registry, TokenError};
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use serde_json::json;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const CHALLENGE: &str = "Basic realm=\"canhbao\", charset=\"UTF-8\"";
const JWKS_CACHE: &str = "public, max-age=300";

pub async fn grant(request: HttpRequest, form: Unread, registry: &'static Registry) -> Result<HttpResponse, Problem> {
    let request_id = arrival(&request)?.request_id;
    let form = form.form().await?;
    let (proof, wanted) = match read_grant(&request, &form) {
        Ok(read) => read,
        Err(refusal) => return Ok(refusal.respond()),
    };
    let address = request.peer_addr().map(|peer| peer.ip());
    let Some(address) = address else {
        return Ok(Refusal::Request("the connection has no address").respond());
    };
    match registry.grant_token(request_id, address, proof, wanted).await {
        Ok(granted) => Ok(respond(&granted)),
        Err(TokenError::InvalidClient) => Ok(Refusal::Client.respond()),
        Err(TokenError::InvalidScope) => Ok(Refusal::Scope.respond()),
        Err(TokenError::RateLimited(wait_s)) => Err(Problem::rate_limited(wait_s)),
        Err(TokenError::Registry(error)) => Err(error.into()),
    }
}

pub async fn keys(_: NoQuery, registry: &'static Registry) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, JWKS_CACHE)).json(registry.authority().jwks())
}

pub async fn metadata(_: NoQuery, registry: &'static Registry) -> HttpResponse {
    let issuer = registry.authority().issuer();
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, JWKS_CACHE)).json(json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/oauth2/token"),
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "scopes_supported": Scope::ALL.map(Scope::as_str),
        "response_types_supported": ["none"],
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["ES256", "EdDSA", "PS256"],
    }))
}

fn respond(granted: &Granted) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(json!({
        "access_token": granted.access_token,
        "token_type": "Bearer",
        "expires_in": granted.expires_in_s,
        "scope": granted.scopes.to_string(),
    }))
}

/// Why a grant is refused (RFC 6749 §5.2).
enum Refusal {
    Request(&'static str),
    Client,
    Scope,
    GrantType,
}

impl Refusal {
    fn respond(&self) -> HttpResponse {
        let (status, error, description) = match self {
            Self::Request(reason) => (StatusCode::BAD_REQUEST, "invalid_request", *reason),
            Self::Client => (StatusCode::UNAUTHORIZED, "invalid_client", "the client did not prove who it is"),
            Self::Scope => (StatusCode::BAD_REQUEST, "invalid_scope", "the client may not have this scope"),
            Self::GrantType => {
                (StatusCode::BAD_REQUEST, "unsupported_grant_type", "only client_credentials is supported")
            }
        };
        let mut response = HttpResponse::build(status);
        response.insert_header((header::CACHE_CONTROL, "no-store"));
        if status == StatusCode::UNAUTHORIZED {
            response.insert_header((header::WWW_AUTHENTICATE, CHALLENGE));
        }
        response.json(json!({ "error": error, "error_description": description }))
    }
}

fn read_grant(request: &HttpRequest, form: &[u8]) -> Result<(Proof, Option<Scopes>), Refusal> {
    if !request.query_string().is_empty() {
        return Err(Refusal::Request("parameters belong in the body"));
    }
    let mut given = Given::default();
    for (name, value) in form_urlencoded::parse(form) {
        let place = match name.as_ref() {
            "grant_type" => &mut given.grant_type,
            "scope" => &mut given.scope,
            "client_id" => &mut given.client_id,
            "client_assertion" => &mut given.client_assertion,
            "client_assertion_type" => &mut given.client_assertion_type,
            "client_secret" => return Err(Refusal::Request("send the secret by client_secret_basic")),
            _ => return Err(Refusal::Request("unknown parameter")),
        };
        if place.replace(value.into_owned()).is_some() {
            return Err(Refusal::Request("a parameter is given twice"));
        }
    }
    match given.grant_type.as_deref() {
        Some("client_credentials") => {}
        Some(_) => return Err(Refusal::GrantType),
        None => return Err(Refusal::Request("grant_type is missing")),
    }
    let wanted = given.scope.as_deref().map(|scope| Scopes::parse(scope).ok_or(Refusal::Scope)).transpose()?;
    Ok((given.proof(request)?, wanted))
}

#[derive(Default)]
struct Given {
    grant_type: Option<String>,
    scope: Option<String>,
    client_id: Option<String>,
    client_assertion: Option<String>,
    client_assertion_type: Option<String>,
}

impl Given {
    fn proof(self, request: &HttpRequest) -> Result<Proof, Refusal> {
        let basic = request.headers().get(header::AUTHORIZATION);
        let proof = match (basic, self.client_assertion, self.client_assertion_type.as_deref()) {
            (Some(_), Some(_), _) => return Err(Refusal::Request("prove the client in one way only")),
            (Some(value), None, None) => basic_proof(value).ok_or(Refusal::Client)?,
            (None, Some(assertion), Some(ASSERTION_TYPE)) => Proof::Assertion(assertion),
            (_, _, Some(_)) => return Err(Refusal::Request("client_assertion_type is not known, or stands alone")),
            (None, Some(_), None) => return Err(Refusal::Request("client_assertion_type is missing")),
            (None, None, None) => return Err(Refusal::Client),
        };
        match (&proof, self.client_id) {
            (Proof::Secret { client, .. }, Some(named)) if client.as_str() != named => Err(Refusal::Client),
            _ => Ok(proof),
        }
    }
}

/// RFC 6749 §2.3.1: id and secret are form-encoded before they go into the Basic credentials.
fn basic_proof(value: &header::HeaderValue) -> Option<Proof> {
    let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    let client = ClientId::parse(&form_decoded(id)?)?;
    Some(Proof::Secret { client, secret: SecretString::from(form_decoded(secret)?) })
}

fn form_decoded(text: &str) -> Option<String> {
    let (name, _) = form_urlencoded::parse(text.as_bytes()).next()?;
    Some(name.into_owned())
}
