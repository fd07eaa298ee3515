//! Reading JSON strictly: an optional field may be absent but not `null`, and an object is never taken from an array
//! (serde's derive would read one by position).

use super::Violation;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, IntoDeserializer, MapAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// For optional fields: absent is fine, `null` is not.
pub fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// For enums: a text alone. serde would also take `{"name": null}`.
pub fn word<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    T::deserialize(text.into_deserializer())
}

/// As `present`, for an enum.
pub fn present_word<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    word(deserializer).map(Some)
}

/// As `present`, for an object.
pub fn present_object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Object::deserialize(deserializer).map(|Object(value)| Some(value))
}

/// For fields that hold an object.
pub fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Object::deserialize(deserializer).map(|Object(value)| value)
}

/// A value that stands in JSON as an object.
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

/// Reads JSON that is no `T` once more, slowly, to tell where the fault is. No value is repeated: it may be a person's.
pub fn explain<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Violation {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let error = match serde_path_to_error::deserialize::<_, T>(&mut json) {
        Err(error) => error,
        Ok(_) => {
            let reason = "expected one JSON value and nothing after it".to_owned();
            return Violation { pointer: String::new(), reason };
        }
    };
    let mut pointer = pointer_of(error.path());
    let inner = error.inner();
    // The library calls some values of the wrong type bad syntax, so the syntax is asked for itself.
    if let Err(syntax) = serde_json::from_slice::<IgnoredAny>(bytes) {
        let reason = format!("not JSON: line {}, column {}", syntax.line(), syntax.column());
        return Violation { pointer: String::new(), reason };
    }
    let text = inner.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let quoted = |prefix: &str| text.strip_prefix(prefix).and_then(|rest| rest.split('`').next());
    let (field, reason) = if let Some(field) = quoted("missing field `") {
        (Some(field), "is missing".to_owned())
    } else if let Some(field) = quoted("unknown field `") {
        (Some(field), "is not a field here".to_owned())
    } else if let Some(field) = quoted("duplicate field `") {
        (Some(field), "is given twice".to_owned())
    } else if let Some((_, expected)) = text.rsplit_once(", expected ") {
        (None, format!("expected {expected}"))
    } else if text.starts_with("invalid ") || text.starts_with("unknown ") || inner.is_syntax() {
        (None, "has the wrong type".to_owned())
    } else {
        // The project's own words, which name no value.
        (None, text.to_owned())
    };
    if let Some(field) = field {
        let last = format!("/{}", escape(field));
        if !pointer.ends_with(&last) {
            pointer.push_str(&last);
        }
    }
    Violation { pointer, reason }
}

fn pointer_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", escape(key)),
            Segment::Enum { .. } | Segment::Unknown => String::new(),
        })
        .collect()
}

/// RFC 6901.
pub fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
