//! Commands that go through a running server's API: parties, clients, tokens, health. They read the ETag themselves, so
//! that a change made meanwhile is refused and not overwritten.

use super::init::CredentialFile;
use super::{ClientCommand, Connection, Failure, HealthArgs, PartyCommand, TokenArgs};
use crate::demo::DemoFile;
use reqwest::header::{ETAG, IF_MATCH};
use reqwest::{Certificate, Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const TIME_MAX: Duration = Duration::from_secs(30);

pub async fn party(command: PartyCommand) -> Result<(), Failure> {
    match command {
        PartyCommand::Create { id, name, role, parent, connection } => {
            let mut body = json!({ "id": id, "name": name, "role": role.as_str() });
            if let (Some(parent), Some(fields)) = (parent, body.as_object_mut()) {
                fields.insert("parent".to_owned(), json!(parent));
            }
            Admin::connect(&connection).await?.create("parties", &body).await
        }
        PartyCommand::List { connection } => Admin::connect(&connection).await?.list("parties").await,
        PartyCommand::Disable { id, connection } => {
            Admin::connect(&connection).await?.act("parties", &id, "disable", &json!({})).await
        }
        PartyCommand::Enable { id, connection } => {
            Admin::connect(&connection).await?.act("parties", &id, "enable", &json!({})).await
        }
    }
}

pub async fn client(command: ClientCommand) -> Result<(), Failure> {
    match command {
        ClientCommand::Create { party, name, scopes, id, public_key, connection } => {
            let mut body = json!({ "party": party, "name": name, "scopes": scopes });
            put(&mut body, "client_id", id.map(Value::from));
            put(&mut body, "public_key", read_key(public_key.as_deref())?);
            Admin::connect(&connection).await?.create("clients", &body).await
        }
        ClientCommand::List { connection } => Admin::connect(&connection).await?.list("clients").await,
        ClientCommand::Rotate { id, grace_s, public_key, connection } => {
            let mut body = json!({});
            put(&mut body, "grace_s", grace_s.map(Value::from));
            put(&mut body, "public_key", read_key(public_key.as_deref())?);
            Admin::connect(&connection).await?.act("clients", &id, "rotate", &body).await
        }
        ClientCommand::Disable { id, connection } => {
            Admin::connect(&connection).await?.act("clients", &id, "disable", &json!({})).await
        }
        ClientCommand::Enable { id, connection } => {
            Admin::connect(&connection).await?.act("clients", &id, "enable", &json!({})).await
        }
    }
}

pub async fn token(args: &TokenArgs) -> Result<(), Failure> {
    let target = Target::read(&args.connection)?;
    println!("{}", target.token(&target.client()?, &args.scopes).await?);
    Ok(())
}

pub async fn health(args: &HealthArgs) -> Result<(), Failure> {
    let url = format!("http://{}/readyz", args.metrics_listen);
    let client = Client::builder().timeout(TIME_MAX).tls_certs_only([]).build().map_err(|error| said(&error))?;
    let response = client.get(&url).send().await.map_err(|error| said(&error))?;
    if response.status() == StatusCode::OK {
        println!("ready");
        Ok(())
    } else {
        Err(Failure::Said(format!("not ready: {}", response.status())))
    }
}

/// Which server, and as whom.
struct Target {
    credential: CredentialFile,
}

impl Target {
    fn read(connection: &Connection) -> Result<Self, Failure> {
        let path = &connection.credential;
        let text = std::fs::read_to_string(path).map_err(|error| at(path, &error))?;
        let mut credential = match &connection.client {
            None => serde_json::from_str::<CredentialFile>(&text)
                .map_err(|error| Failure::Said(format!("{}: {error} (for a demo.json add --as)", path.display())))?,
            Some(name) => of_demo(serde_json::from_str(&text).map_err(|error| at(path, &error))?, name)?,
        };
        if let Some(server) = &connection.server {
            credential.base_url = server.trim_end_matches('/').to_owned();
        }
        if let Some(ca) = &connection.ca {
            credential.ca_file = Some(ca.clone());
        }
        Ok(Self { credential })
    }

    fn client(&self) -> Result<Client, Failure> {
        let mut builder = Client::builder().timeout(TIME_MAX).https_only(true);
        if let Some(path) = &self.credential.ca_file {
            let pem = std::fs::read(path).map_err(|error| at(path, &error))?;
            let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| at(path, &error))?;
            builder = builder.tls_certs_only(certificates);
        }
        builder.build().map_err(|error| said(&error))
    }

    async fn token(&self, client: &Client, scopes: &[String]) -> Result<String, Failure> {
        let mut form = vec![("grant_type", "client_credentials".to_owned())];
        if !scopes.is_empty() {
            form.push(("scope", scopes.join(" ")));
        }
        let request = client
            .post(format!("{}/oauth2/token", self.credential.base_url))
            .basic_auth(&self.credential.client_id, Some(&self.credential.client_secret))
            .form(&form);
        let (answer, _) = send(request).await?;
        let token = answer.get("access_token").and_then(Value::as_str);
        token.map(str::to_owned).ok_or_else(|| Failure::Said("the server gave no token".to_owned()))
    }
}

fn of_demo(demo: DemoFile, name: &str) -> Result<CredentialFile, Failure> {
    let client = demo.clients.into_iter().find(|(given, _)| given == name).map(|(_, client)| client);
    let client = client.ok_or_else(|| Failure::Said(format!("demo.json has no client {name}")))?;
    Ok(CredentialFile {
        base_url: demo.base_url,
        ca_file: Some(demo.ca_file),
        client_id: client.client_id,
        client_secret: client.client_secret,
    })
}

/// A session with the admin API.
struct Admin {
    client: Client,
    base_url: String,
    token: String,
}

impl Admin {
    async fn connect(connection: &Connection) -> Result<Self, Failure> {
        let target = Target::read(connection)?;
        let client = target.client()?;
        let token = target.token(&client, &["admin".to_owned()]).await?;
        Ok(Self { client, base_url: target.credential.base_url, token })
    }

    async fn create(&self, things: &str, body: &Value) -> Result<(), Failure> {
        let request = self.client.post(format!("{}/v1/{things}", self.base_url)).json(body);
        print(&send(request.bearer_auth(&self.token)).await?.0)
    }

    /// Every page, one thing a line.
    async fn list(&self, things: &str) -> Result<(), Failure> {
        let mut cursor: Option<String> = None;
        loop {
            let mut request = self.client.get(format!("{}/v1/{things}", self.base_url)).query(&[("limit", "200")]);
            if let Some(cursor) = &cursor {
                request = request.query(&[("cursor", cursor)]);
            }
            let (page, _) = send(request.bearer_auth(&self.token)).await?;
            for item in page.get("items").and_then(Value::as_array).into_iter().flatten() {
                println!("{item}");
            }
            cursor = page.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    async fn act(&self, things: &str, id: &str, act: &str, body: &Value) -> Result<(), Failure> {
        let url = format!("{}/v1/{things}/{id}", self.base_url);
        let (_, etag) = send(self.client.get(&url).bearer_auth(&self.token)).await?;
        let request = self.client.post(format!("{url}/{act}")).header(IF_MATCH, etag.unwrap_or_default()).json(body);
        print(&send(request.bearer_auth(&self.token)).await?.0)
    }
}

/// The JSON answer and its ETag; a problem is a failure that tells the server's words.
async fn send(request: RequestBuilder) -> Result<(Value, Option<String>), Failure> {
    let response: Response = request.send().await.map_err(|error| said(&error))?;
    let status = response.status();
    let etag = response.headers().get(ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
    let body: Value = response.json().await.unwrap_or_default();
    if status.is_success() {
        return Ok((body, etag));
    }
    let word = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let details: Vec<String> = ["error", "error_description", "title", "detail"].map(word).into();
    let details: Vec<&str> = details.iter().map(String::as_str).filter(|detail| !detail.is_empty()).collect();
    let violations = body.get("violations").map(|violations| format!(" {violations}")).unwrap_or_default();
    Err(Failure::Said(format!("{status}: {}{violations}", details.join(": "))))
}

fn print(answer: &Value) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(answer).map_err(|error| said(&error))?;
    println!("{text}");
    Ok(())
}

fn put(body: &mut Value, name: &str, value: Option<Value>) {
    if let (Some(object), Some(value)) = (body.as_object_mut(), value) {
        object.insert(name.to_owned(), value);
    }
}

fn read_key(path: Option<&Path>) -> Result<Option<Value>, Failure> {
    path.map(|path| std::fs::read_to_string(path).map(Value::from).map_err(|error| at(path, &error))).transpose()
}

fn at(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::Said(format!("{}: {error}", path.display()))
}

/// With what caused it, since a client library's first words seldom say enough.
fn said(error: &dyn std::error::Error) -> Failure {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    Failure::Said(text)
}
