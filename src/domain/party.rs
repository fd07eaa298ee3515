//! Who has access: parties (institutions), their clients (credentials), and the scopes that a party's role allows.
//! No secret in clear is ever held here: a client keeps a password hash or a public key.

use super::Timestamp;
use super::strict::present_object;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident, $min:literal, $max:literal, $allowed:expr, $shape:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            pub const SHAPE: &'static str = $shape;

            pub fn parse(text: &str) -> Option<Self> {
                let allowed: fn(u8) -> bool = $allowed;
                let fits = ($min..=$max).contains(&text.len()) && text.bytes().all(allowed);
                fits.then(|| Self(text.into()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The same text in a place of its own: counting its users together with others would cost more than it.
            pub fn copied(&self) -> Self {
                Self(self.as_str().into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::parse(&text).ok_or_else(|| serde::de::Error::custom(concat!("expected ", $shape)))
            }
        }
    };
}

name_id!(
    /// A BIN such as `970436`, or a code such as `momo` or `hanoi-police`.
    PartyId, 2, 32, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-',
    "2 to 32 of a-z, 0-9 and -"
);
name_id!(
    /// The `client_id` of RFC 6749.
    ClientId, 2, 64, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'),
    "2 to 64 of A-Z, a-z, 0-9, ., _ and -"
);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Bank,
    PaymentIntermediary,
    Police,
    Auditor,
    Operator,
}

impl Role {
    pub const ALL: [Self; 5] = [Self::Bank, Self::PaymentIntermediary, Self::Police, Self::Auditor, Self::Operator];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bank => "bank",
            Self::PaymentIntermediary => "payment_intermediary",
            Self::Police => "police",
            Self::Auditor => "auditor",
            Self::Operator => "operator",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// The most that a client of such a party may be given.
    pub fn may_hold(self) -> Scopes {
        match self {
            Self::Bank | Self::PaymentIntermediary => {
                Scopes::of(&[Scope::Check, Scope::FeedRead, Scope::ReportWrite, Scope::RequestAnswer])
            }
            Self::Police => Scopes::of(&[
                Scope::FlagRead,
                Scope::FlagWrite,
                Scope::ReportReview,
                Scope::RequestWrite,
                Scope::FlagApprove,
            ]),
            Self::Auditor => Scopes::of(&[Scope::LogRead]),
            Self::Operator => Scopes::of(&[Scope::Admin]),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    Check,
    FeedRead,
    ReportWrite,
    RequestAnswer,
    FlagRead,
    FlagWrite,
    ReportReview,
    RequestWrite,
    FlagApprove,
    LogRead,
    Admin,
}

impl Scope {
    pub const ALL: [Self; 11] = [
        Self::Check,
        Self::FeedRead,
        Self::ReportWrite,
        Self::RequestAnswer,
        Self::FlagRead,
        Self::FlagWrite,
        Self::ReportReview,
        Self::RequestWrite,
        Self::FlagApprove,
        Self::LogRead,
        Self::Admin,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::FeedRead => "feed.read",
            Self::ReportWrite => "report.write",
            Self::RequestAnswer => "request.answer",
            Self::FlagRead => "flag.read",
            Self::FlagWrite => "flag.write",
            Self::ReportReview => "report.review",
            Self::RequestWrite => "request.write",
            Self::FlagApprove => "flag.approve",
            Self::LogRead => "log.read",
            Self::Admin => "admin",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }

    fn bit(self) -> u16 {
        match self {
            Self::Check => 1,
            Self::FeedRead => 1 << 1,
            Self::ReportWrite => 1 << 2,
            Self::RequestAnswer => 1 << 3,
            Self::FlagRead => 1 << 4,
            Self::FlagWrite => 1 << 5,
            Self::ReportReview => 1 << 6,
            Self::RequestWrite => 1 << 7,
            Self::FlagApprove => 1 << 8,
            Self::LogRead => 1 << 9,
            Self::Admin => 1 << 10,
        }
    }
}

/// A set of scopes. Its text form is RFC 6749's: names separated by one space, in a fixed order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Scopes(u16);

impl Scopes {
    pub fn of(scopes: &[Scope]) -> Self {
        Self(scopes.iter().fold(0, |bits, scope| bits | scope.bit()))
    }

    /// An empty text, an unknown name or a name given twice is refused.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bits = 0;
        for name in text.split(' ') {
            let bit = Scope::parse(name)?.bit();
            if bits & bit != 0 {
                return None;
            }
            bits |= bit;
        }
        Some(Self(bits))
    }

    pub fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    pub fn is_subset(self, of: Self) -> bool {
        self.0 & !of.0 == 0
    }

    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.contains(*scope))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, scope) in self.iter().enumerate() {
            if place > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a request is counted against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    Token,
    Checks,
    Batch,
    Lists,
    Writes,
}

impl Policy {
    pub const ALL: [Self; 5] = [Self::Token, Self::Checks, Self::Batch, Self::Lists, Self::Writes];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Checks => "checks",
            Self::Batch => "batch",
            Self::Lists => "lists",
            Self::Writes => "writes",
        }
    }
}

/// `quota` requests in each `window_s` seconds, as a rate with a burst of `quota`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    pub quota: std::num::NonZeroU32,
    pub window_s: std::num::NonZeroU32,
}

impl Quota {
    /// A longer window than an hour would be a budget, not a rate.
    pub const WINDOW_S_MAX: u32 = 3_600;

    pub fn is_within_limits(self) -> bool {
        self.window_s.get() <= Self::WINDOW_S_MAX
    }
}

/// Quotas of one client that differ from the registry's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quotas {
    #[serde(default, deserialize_with = "present_object", skip_serializing_if = "Option::is_none")]
    pub token: Option<Quota>,
    #[serde(default, deserialize_with = "present_object", skip_serializing_if = "Option::is_none")]
    pub checks: Option<Quota>,
    #[serde(default, deserialize_with = "present_object", skip_serializing_if = "Option::is_none")]
    pub batch: Option<Quota>,
    #[serde(default, deserialize_with = "present_object", skip_serializing_if = "Option::is_none")]
    pub lists: Option<Quota>,
    #[serde(default, deserialize_with = "present_object", skip_serializing_if = "Option::is_none")]
    pub writes: Option<Quota>,
}

impl Quotas {
    pub fn of(&self, policy: Policy) -> Option<Quota> {
        match policy {
            Policy::Token => self.token,
            Policy::Checks => self.checks,
            Policy::Batch => self.batch,
            Policy::Lists => self.lists,
            Policy::Writes => self.writes,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessState {
    Enabled,
    Disabled,
}

impl AccessState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Enabled, Self::Disabled].into_iter().find(|state| state.as_str() == text)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Party {
    pub id: PartyId,
    pub name: String,
    pub role: Role,
    /// Of a police unit: the one above it. It never changes, so that no circle can come about.
    pub parent: Option<PartyId>,
    pub state: AccessState,
    pub version: u32,
    pub created_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub id: ClientId,
    pub party: PartyId,
    pub name: String,
    pub scopes: Scopes,
    pub quotas: Quotas,
    pub state: AccessState,
    pub version: u32,
    pub created_at: Timestamp,
    /// Tokens issued up to this moment are refused: a credential was revoked then.
    pub tokens_void_until: Option<Timestamp>,
    pub credentials: Vec<Credential>,
}

/// One way for a client to prove who it is at the token endpoint.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    pub kind: CredentialKind,
    pub created_at: Timestamp,
    /// A rotated secret stays valid until here, so that a client can change over without a gap.
    pub expires_at: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Eq)]
pub enum CredentialKind {
    /// An argon2id hash in PHC form.
    Secret { phc: String },
    /// A public key in its stored text form.
    Key { public_key: String },
}

impl Credential {
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            CredentialKind::Secret { .. } => "Credential(secret)",
            CredentialKind::Key { .. } => "Credential(key)",
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_written_in_one_order_and_read_back() {
        let scopes = Scopes::parse("flag.write flag.read").unwrap();
        assert_eq!(scopes.to_string(), "flag.read flag.write");
        assert_eq!(Scopes::parse(&scopes.to_string()), Some(scopes));
    }

    #[test]
    fn an_unknown_repeated_or_empty_scope_is_refused() {
        for text in ["", " ", "check ", "check check", "check  admin", "CHECK", "flag"] {
            assert_eq!(Scopes::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn only_an_operator_may_hold_admin_and_only_an_auditor_reads_the_log() {
        for role in Role::ALL {
            assert_eq!(role.may_hold().contains(Scope::Admin), role == Role::Operator);
            assert_eq!(role.may_hold().contains(Scope::LogRead), role == Role::Auditor);
        }
    }

    #[test]
    fn an_id_outside_its_alphabet_or_length_is_refused() {
        assert!(PartyId::parse("hanoi-police").is_some());
        for text in ["", "a", "Hanoi", "a b", "é1", &"a".repeat(33)] {
            assert_eq!(PartyId::parse(text), None, "{text:?}");
        }
        assert!(ClientId::parse("core.VCB_1").is_some());
        assert_eq!(ClientId::parse("core:1"), None);
    }
}
