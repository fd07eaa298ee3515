//! How a stored flag holds its subjects: as canonical text, never as the fields that a caller sends.

use super::Subject;
use serde::{Deserialize, Deserializer, Serializer, de::Error};
use std::borrow::Cow;

pub fn serialize<S: Serializer>(subject: &Subject, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&subject.canonical())
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Subject, D::Error> {
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    Subject::from_canonical(&text).ok_or_else(|| D::Error::custom("expected a canonical subject"))
}

/// For lists of subjects.
pub mod each {
    use super::Subject;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(subjects: &[Subject], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(subjects.iter().map(Subject::canonical))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Subject>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let read = |text: &String| Subject::from_canonical(text);
        let subjects: Option<Vec<Subject>> = texts.iter().map(read).collect();
        subjects.ok_or_else(|| D::Error::custom("expected canonical subjects"))
    }
}

/// For lists that may be absent.
pub mod optional_each {
    use super::{Subject, each};
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(subjects: &Option<Vec<Subject>>, serializer: S) -> Result<S::Ok, S::Error> {
        match subjects {
            Some(subjects) => each::serialize(subjects, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Subject>>, D::Error> {
        each::deserialize(deserializer).map(Some)
    }
}
