//! What a test has sent or been given that no operational log and no metric may show: subjects, tokens, secrets.

use serde_json::Value;
use std::collections::BTreeSet;

/// Shorter texts occur in any log by chance.
const CHARS_MIN: usize = 8;
const OF_SUBJECT: [&str; 5] = ["number", "id", "id_number", "tax_code", "payload"];
const OF_CREDENTIAL: [&str; 3] = ["access_token", "client_secret", "client_assertion"];

#[derive(Default)]
pub struct Secrets(BTreeSet<String>);

impl Secrets {
    pub fn add(&mut self, secret: &str) {
        if secret.len() >= CHARS_MIN {
            self.0.insert(secret.to_owned());
        }
    }

    /// Every subject and credential in a body, whether it is JSON or a form.
    pub fn add_of_body(&mut self, body: &[u8]) {
        match serde_json::from_slice::<Value>(body) {
            Ok(json) => self.add_of_json(&json),
            Err(_) => {
                for (name, value) in form_urlencoded::parse(body) {
                    if OF_CREDENTIAL.contains(&name.as_ref()) {
                        self.add(&value);
                    }
                }
            }
        }
    }

    /// Token or Basic credentials.
    pub fn add_of_authorization(&mut self, header: Option<&str>) {
        if let Some((_, secret)) = header.and_then(|value| value.split_once(' ')) {
            self.add(secret);
        }
    }

    fn add_of_json(&mut self, json: &Value) {
        match json {
            Value::Array(items) => items.iter().for_each(|item| self.add_of_json(item)),
            Value::Object(members) => {
                let is_subject = members.contains_key("kind");
                for (name, value) in members {
                    let is_secret =
                        OF_CREDENTIAL.contains(&name.as_str()) || is_subject && OF_SUBJECT.contains(&name.as_str());
                    match value.as_str() {
                        Some(text) if is_secret => self.add(text),
                        Some(_) | None => self.add_of_json(value),
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[track_caller]
    pub fn assert_absent_from(&self, text: &str, what: &str) {
        for secret in &self.0 {
            assert!(!text.contains(secret.as_str()), "{what} shows {secret}:\n{text}");
        }
    }
}
