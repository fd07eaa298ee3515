//! Ids on the wire: TypeIDs (a prefix, `_`, and a UUIDv7 in 26 characters of Crockford's base 32, lower case).
//! An id tells the millisecond it was made in and nothing else about what it names.

use super::Timestamp;
use serde::{Serialize, Serializer};
use std::fmt;
use uuid::{Builder, Uuid};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const SUFFIX_CHARS: usize = 26;

macro_rules! type_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            pub fn mint(at: Timestamp, random: [u8; 16]) -> Self {
                Self(uuid_v7(at, random))
            }

            /// Accepts exactly what `Display` writes.
            pub fn parse(text: &str) -> Option<Self> {
                let suffix = text.strip_prefix($prefix)?.strip_prefix('_')?;
                decode(suffix).map(Self)
            }

            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The millisecond the id was minted in.
            pub fn minted_at(&self) -> Timestamp {
                minted_at(self.0)
            }
        }

        impl $name {
            const TEXT_BYTES: usize = $prefix.len() + 1 + SUFFIX_CHARS;

            /// The text. Every answer holds several ids, so it is made on the stack.
            pub fn ascii(&self) -> [u8; Self::TEXT_BYTES] {
                let mut text = [b'_'; Self::TEXT_BYTES];
                let (prefix, rest) = text.split_at_mut($prefix.len());
                prefix.copy_from_slice($prefix.as_bytes());
                if let Some(suffix) = rest.last_chunk_mut() {
                    encode(self.0, suffix);
                }
                text
            }

            fn with_text<T>(&self, use_it: impl FnOnce(&str) -> T) -> T {
                // ASCII throughout, so that this never fails.
                use_it(std::str::from_utf8(&self.ascii()).unwrap_or_default())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.with_text(|text| f.write_str(text))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.with_text(|text| serializer.serialize_str(text))
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::parse(&text).ok_or_else(|| {
                    serde::de::Error::custom(concat!("expected an id that starts with ", $prefix, "_"))
                })
            }
        }
    };
}

type_id!(
    /// One question of a bank and its answer.
    CheckId, "check"
);
type_id!(
    /// One decision of the police about one subject.
    FlagId, "flag"
);
type_id!(
    /// One objection to a flag.
    ObjectionId, "objection"
);
type_id!(
    /// One file of flags that was handed in.
    ImportId, "import"
);
type_id!(
    /// One HTTP request, as in `X-Request-Id` and in the entry it left.
    RequestId, "req"
);
type_id!(
    /// One access token (its `jti`).
    TokenId, "token"
);

fn uuid_v7(at: Timestamp, random: [u8; 16]) -> Uuid {
    let [a, b, c, d, e, f, g, h, i, j, ..] = random;
    Builder::from_unix_timestamp_millis(at.as_ms(), &[a, b, c, d, e, f, g, h, i, j]).into_uuid()
}

fn minted_at(id: Uuid) -> Timestamp {
    let [a, b, c, d, e, f, ..] = *id.as_bytes();
    Timestamp::from_ms(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
}

/// 128 bits in 26 characters of 5 bits, the first of which holds only 3.
fn encode(id: Uuid, text: &mut [u8; SUFFIX_CHARS]) {
    let mut bits = id.as_u128();
    for place in text.iter_mut().rev() {
        let digit = usize::from(bits.to_le_bytes()[0] & 31);
        *place = ALPHABET.get(digit).copied().unwrap_or(b'0');
        bits >>= 5;
    }
}

fn decode(suffix: &str) -> Option<Uuid> {
    if suffix.len() != SUFFIX_CHARS || suffix.as_bytes().first()? > &b'7' {
        return None;
    }
    let mut bits = 0_u128;
    for byte in suffix.bytes() {
        let digit = ALPHABET.iter().position(|&letter| letter == byte)?;
        bits = (bits << 5) | u128::try_from(digit).ok()?;
    }
    Some(Uuid::from_u128(bits))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_type_id_specification_s_example_is_met() {
        // From the valid vectors of the TypeID specification, version 0.3.
        let id = FlagId::from_bytes(*Uuid::parse_str("0188bac7-4afa-78aa-bc3b-bd1eef28d881").unwrap().as_bytes());
        assert_eq!(id.to_string(), "flag_01h2xcejqtf2nbrexx3vqjhp41");
    }

    #[test]
    fn an_id_of_another_kind_is_refused() {
        let check = CheckId::mint(Timestamp::from_ms(1), [7; 16]).to_string();
        assert_eq!(FlagId::parse(&check), None);
        assert_eq!(CheckId::parse(&check.to_uppercase()), None);
        assert_eq!(CheckId::parse("check_8zzzzzzzzzzzzzzzzzzzzzzzzz"), None);
    }

    proptest! {
        #[test]
        fn an_id_read_back_is_the_same_and_knows_its_time(ms in 0_u64..=253_402_207_200_999, random: [u8; 16]) {
            let id = FlagId::mint(Timestamp::from_ms(ms), random);
            prop_assert_eq!(FlagId::parse(&id.to_string()), Some(id));
            prop_assert_eq!(id.minted_at().as_ms(), ms);
        }

        #[test]
        fn any_text_is_refused_or_read_back_the_same(text in "flag_[0-9a-z]{25,27}") {
            if let Some(id) = FlagId::parse(&text) {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
