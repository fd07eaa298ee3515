//! openapi.yaml as a test reads it: which answers a path and method may give, and what they look like. It must never let
//! an answer pass that the contract does not name.

use super::{Answer, Ask};
use jsonschema::Validator;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

pub static CONTRACT: LazyLock<Contract> = LazyLock::new(Contract::read);

/// Headers that clients act on: an answer that has one must be documented to have it.
const TOLD: [&str; 9] = [
    "x-request-id",
    "log-entry",
    "etag",
    "location",
    "retry-after",
    "www-authenticate",
    "allow",
    "ratelimit",
    "ratelimit-policy",
];
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

pub struct Contract {
    document: Value,
    /// By the JSON Pointer of their schema; compiling one takes longer than a request.
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

/// A value in the document and where it stands.
#[derive(Clone)]
struct At<'c> {
    value: &'c Value,
    pointer: String,
}

impl Contract {
    fn read() -> Self {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.yaml")).unwrap();
        let document = serde_yaml_ng::from_str(&text).expect("openapi.yaml is YAML");
        Self { document, validators: Mutex::default() }
    }

    /// Each path with its methods, both in the order of their names.
    pub fn operations(&self) -> Vec<(String, Vec<String>)> {
        let paths = self.document["paths"].as_object().unwrap();
        let mut operations: Vec<_> = paths
            .iter()
            .map(|(path, item)| {
                let methods = METHODS.iter().filter(|method| item.get(method).is_some());
                let mut methods: Vec<String> = methods.map(|method| method.to_uppercase()).collect();
                methods.sort();
                (path.clone(), methods)
            })
            .collect();
        operations.sort();
        operations
    }

    /// The template that a path (without its query) is an instance of; one without parameters is preferred.
    pub fn template(&self, path: &str) -> Option<&str> {
        let paths = self.document["paths"].as_object().unwrap();
        let fits = |template: &&String| {
            let wanted: Vec<&str> = template.split('/').collect();
            let given: Vec<&str> = if self.ends_with_slashes(template) {
                path.splitn(wanted.len(), '/').collect()
            } else {
                path.split('/').collect()
            };
            wanted.len() == given.len()
                && wanted.iter().zip(given).all(|(w, g)| *w == g || (w.starts_with('{') && !g.is_empty()))
        };
        paths.keys().filter(fits).min_by_key(|template| template.matches('{').count()).map(String::as_str)
    }

    /// Whether the last parameter of a template takes the rest of a path, which OpenAPI has no word for.
    fn ends_with_slashes(&self, template: &str) -> bool {
        let item = self.root("/paths").member(template).unwrap();
        let mut parameters = item.value["parameters"].as_array().into_iter().flatten();
        parameters.any(|value| self.resolved(At { value, pointer: String::new() }).value["x-holds-slashes"] == true)
    }

    /// What stands at a JSON Pointer.
    pub fn at(&self, pointer: &str) -> &Value {
        self.document.pointer(pointer).unwrap_or_else(|| panic!("openapi.yaml has no {pointer}"))
    }

    #[track_caller]
    pub fn check(&self, ask: &Ask<'_>, answer: &Answer) {
        let path = ask.path.split('?').next().unwrap();
        let told = format!("{} {path} -> {}", ask.method, answer.status);
        let Some(template) = self.template(path) else {
            assert_eq!(answer.status, 404, "{told}: the contract knows no such path");
            return self.check_problem(answer, &told);
        };
        let item = self.root("/paths").member(template).unwrap();
        let Some(operation) = item.member(&ask.method.as_str().to_lowercase()) else {
            assert_eq!(answer.status, 405, "{told}: the contract knows no such method");
            let (_, methods) = self.operations().into_iter().find(|(path, _)| path == template).unwrap();
            let mut allowed: Vec<&str> = answer.must("allow").split(", ").collect();
            allowed.sort_unstable();
            assert_eq!(allowed, methods, "{told}: Allow names other methods than the contract");
            return self.check_problem(answer, &told);
        };
        let response = operation.member("responses").and_then(|all| all.member(&answer.status.to_string()));
        let response = response.unwrap_or_else(|| panic!("{told}: the status is not listed: {}", answer.text()));
        let response = self.resolved(response);
        self.check_headers(&response, answer, &told);
        self.check_body(&response, answer, &told);
        if answer.status < 300 && !ask.body.is_empty() {
            self.check_request(&operation, ask, &told);
        }
    }

    /// For answers to what the contract does not name.
    #[track_caller]
    fn check_problem(&self, answer: &Answer, told: &str) {
        assert_eq!(answer.media_type(), "application/problem+json", "{told}");
        self.validate("/components/schemas/Problem", &answer.json(), told);
        answer.must("x-request-id");
    }

    #[track_caller]
    fn check_headers(&self, response: &At<'_>, answer: &Answer, told: &str) {
        let none = json!({});
        let headers = response.member("headers");
        let headers = headers.unwrap_or(At { value: &none, pointer: String::new() });
        for name in headers.value.as_object().unwrap().keys() {
            let header = self.resolved(headers.member(name).unwrap());
            let Some(text) = answer.header(name) else {
                assert_ne!(header.value["required"], true, "{told}: no {name}");
                continue;
            };
            let Some(schema) = header.member("schema") else { continue };
            let schema = self.resolved(schema);
            let value = match schema.value["type"].as_str() {
                Some("integer") => text.parse::<u64>().map_or(json!(text), Value::from),
                Some(_) | None => json!(text),
            };
            self.validate(&schema.pointer, &value, &format!("{told}: {name}"));
        }
        let documented: Vec<String> = headers.value.as_object().unwrap().keys().map(|k| k.to_lowercase()).collect();
        for name in TOLD.into_iter().filter(|name| answer.header(name).is_some()) {
            assert!(documented.iter().any(|known| known == name), "{told}: {name} is not documented");
        }
    }

    #[track_caller]
    fn check_body(&self, response: &At<'_>, answer: &Answer, told: &str) {
        let Some(content) = response.member("content") else {
            assert!(answer.body.is_empty(), "{told}: the contract has no body here: {}", answer.text());
            return;
        };
        let media = answer.media_type();
        let content = content.member(media).unwrap_or_else(|| panic!("{told}: {media} is not listed"));
        let is_json = media == "application/json" || media.ends_with("+json");
        if let (true, Some(schema)) = (is_json, content.member("schema")) {
            self.validate(&schema.pointer, &answer.json(), told);
        }
    }

    /// What the registry takes, the contract must not refuse.
    #[track_caller]
    fn check_request(&self, operation: &At<'_>, ask: &Ask<'_>, told: &str) {
        let Some(body) = operation.member("requestBody") else {
            panic!("{told}: a body was taken that the contract does not have")
        };
        let schema = self.resolved(body).member("content").and_then(|content| content.member("application/json"));
        if let Some(schema) = schema.and_then(|content| content.member("schema")) {
            self.validate(
                &schema.pointer,
                &serde_json::from_slice(&ask.body).unwrap(),
                &format!("{told}: the request"),
            );
        }
    }

    #[track_caller]
    fn validate(&self, pointer: &str, value: &Value, told: &str) {
        let validator = self.validator(pointer);
        let faults: Vec<String> =
            validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(faults.is_empty(), "{told}: not as in {pointer}: {faults:#?}\n{value:#}");
    }

    fn validator(&self, pointer: &str) -> Arc<Validator> {
        if let Some(validator) = self.validators.lock().unwrap().get(pointer) {
            return Arc::clone(validator);
        }
        // `#/components/…` must lead somewhere from the schema's own root.
        let schema = self.document.pointer(pointer).unwrap();
        let schema = json!({ "allOf": [schema], "components": self.document["components"] });
        let options = jsonschema::options().with_draft(jsonschema::Draft::Draft202012).should_validate_formats(true);
        let built = options.build(&schema).unwrap_or_else(|error| panic!("{pointer} is no schema: {error}"));
        let validator = Arc::new(built);
        self.validators.lock().unwrap().insert(pointer.to_owned(), Arc::clone(&validator));
        validator
    }

    fn root(&self, pointer: &str) -> At<'_> {
        At { value: self.document.pointer(pointer).unwrap(), pointer: pointer.to_owned() }
    }

    /// Follows a `$ref` as far as it leads.
    fn resolved<'c>(&'c self, at: At<'c>) -> At<'c> {
        match at.value["$ref"].as_str() {
            Some(reference) => self.resolved(self.root(reference.strip_prefix('#').unwrap())),
            None => at,
        }
    }
}

impl<'c> At<'c> {
    fn member(&self, name: &str) -> Option<At<'c>> {
        let escaped = name.replace('~', "~0").replace('/', "~1");
        Some(At { value: self.value.get(name)?, pointer: format!("{}/{escaped}", self.pointer) })
    }
}
