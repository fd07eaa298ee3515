//! A subject as a client writes it in JSON, before it is understood.
//! Its errors and its Debug must never show a value: account and phone numbers pass through here.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// The kinds a client may send; a QR is not a kind of subject but another way to write one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputKind {
    Account,
    Wallet,
    Person,
    Organisation,
    Phone,
    Qr,
}

impl InputKind {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "account" => Some(Self::Account),
            "wallet" => Some(Self::Wallet),
            "person" => Some(Self::Person),
            "organisation" => Some(Self::Organisation),
            "phone" => Some(Self::Phone),
            "qr" => Some(Self::Qr),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for InputKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = deserializer.deserialize_any(Text)?;
        Self::parse(&text)
            .ok_or_else(|| D::Error::custom("`kind` must be one of account, wallet, person, organisation, phone, qr"))
    }
}

/// The fields of all kinds side by side, so that unknown and repeated ones are refused where they
/// stand. Which of them a kind has is for `Subject::parse` to say. A field that is there is a
/// string: null is refused, as it may be a number that the client lost.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectInput<'a> {
    pub kind: InputKind,
    #[serde(borrow, default, deserialize_with = "present")]
    pub bank: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub number: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub provider: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub id: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub id_number: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub tax_code: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub payload: Option<Cow<'a, str>>,
}

impl fmt::Debug for SubjectInput<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubjectInput({:?})", self.kind)
    }
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cow<'de, str>>, D::Error> {
    deserializer.deserialize_any(Text).map(Some)
}

/// A string and nothing else, borrowed from the input where it has no escapes.
/// Asked for with `deserialize_any`, so that the errors below, without the value, take the place
/// of the format's own, which would show a number that was meant to be a string.
struct Text;

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Err(E::custom("a number must be written as a string"))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Err(E::custom("a number must be written as a string"))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Err(E::custom("a number must be written as a string"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn error_of(json: &str) -> String {
        serde_json::from_str::<SubjectInput<'_>>(json).unwrap_err().to_string()
    }

    #[test]
    fn strings_without_escapes_are_borrowed() {
        let json = r#"{"kind":"account","bank":"VCB","number":"\u0031234"}"#;
        let input: SubjectInput<'_> = serde_json::from_str(json).unwrap();
        assert!(matches!(input.bank, Some(Cow::Borrowed("VCB"))));
        assert_eq!(input.number.as_deref(), Some("1234"));
        assert_eq!(input.payload, None);
    }

    #[test]
    fn unknown_and_repeated_fields_are_refused_by_name() {
        assert!(error_of(r#"{"kind":"phone","nmber":"1"}"#).contains("unknown field `nmber`"));
        let twice = r#"{"kind":"phone","number":"1","number":"2"}"#;
        assert!(error_of(twice).contains("duplicate field `number`"));
        assert!(error_of(r#"{"number":"1"}"#).contains("missing field `kind`"));
    }

    #[test]
    fn null_is_refused() {
        assert!(error_of(r#"{"kind":"phone","number":null}"#).contains("null"));
        assert!(error_of(r#"{"kind":null}"#).contains("null"));
    }

    #[test]
    fn errors_never_show_the_value() {
        for json in [
            r#"{"kind":"phone","number":901234567}"#,
            r#"{"kind":"phone","number":-901234567}"#,
            r#"{"kind":"phone","number":901234567.5}"#,
            r#"{"kind":"phone","number":901234567901234567901234567}"#,
            r#"{"kind":"phone","number":["901234567"]}"#,
            r#"{"kind":"phone","number":{"901234567":1}}"#,
            r#"{"kind":"901234567"}"#,
            r#"{"kind":901234567}"#,
            r#"{"kind":{"901234567":null}}"#,
        ] {
            assert!(!error_of(json).contains("9012"), "{json}");
        }
    }

    #[test]
    fn a_kind_is_a_string_and_not_an_object() {
        assert!(error_of(r#"{"kind":{"account":null}}"#).contains("invalid type: map"));
    }

    #[test]
    fn debug_shows_only_the_kind() {
        let json = r#"{"kind":"phone","number":"0901234567"}"#;
        let input: SubjectInput<'_> = serde_json::from_str(json).unwrap();
        assert_eq!(format!("{input:?}"), "SubjectInput(Phone)");
    }
}
