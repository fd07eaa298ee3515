//! One thing wrong with the input of a client, and where it stands.
//! It must never hold the input value itself: violations are sent, logged and counted.

use serde::Serialize;

/// `pointer` is a JSON Pointer (RFC 6901) into the request body, `reason` a sentence for the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    pub pointer: String,
    pub reason: String,
}

impl Violation {
    /// The same violation, seen from a document that holds the inner one at `prefix`
    /// (itself a JSON Pointer, such as `/subjects/3`).
    pub fn under(self, prefix: &str) -> Self {
        Self { pointer: [prefix, &self.pointer].concat(), reason: self.reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_goes_before_the_pointer() {
        let inner = Violation { pointer: "/number".to_owned(), reason: "bad".to_owned() };
        assert_eq!(inner.under("/subjects/3").pointer, "/subjects/3/number");
    }
}
