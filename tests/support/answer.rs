//! A whole answer, and what tests say of one. It must never be shown as good before its status was looked at.

use reqwest::header::HeaderMap;
use serde_json::Value;

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub version: reqwest::Version,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// An answer that breaks off is none.
    pub async fn read(response: reqwest::Response) -> reqwest::Result<Self> {
        let (status, version, headers) = (response.status().as_u16(), response.version(), response.headers().clone());
        Ok(Self { status, version, headers, body: response.bytes().await?.to_vec() })
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The header, which must be there.
    pub fn must(&self, name: &str) -> &str {
        self.header(name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// Media type without parameters.
    pub fn media_type(&self) -> &str {
        self.header("content-type").and_then(|value| value.split(';').next()).unwrap_or_default()
    }

    /// The slug of a problem; panics if the answer is none.
    pub fn slug(&self) -> String {
        assert_eq!(self.media_type(), "application/problem+json", "{self:?}");
        let kind = self.json()["type"].as_str().unwrap().to_owned();
        kind.strip_prefix("urn:canhbao:problem:").unwrap().to_owned()
    }

    /// The pointers of a problem's violations.
    pub fn pointers(&self) -> Vec<String> {
        let violations = self.json()["violations"].as_array().cloned().unwrap_or_default();
        violations.iter().map(|violation| violation["pointer"].as_str().unwrap().to_owned()).collect()
    }

    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{} {:?}", String::from_utf8_lossy(&self.body), self.headers);
        self
    }

    /// A problem of this slug.
    #[track_caller]
    pub fn refused(self, status: u16, slug: &str) -> Self {
        let answer = self.is(status);
        assert_eq!(answer.slug(), slug, "{}", answer.text());
        answer
    }
}
