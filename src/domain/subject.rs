//! What can be flagged, in its one normal form: the text that is hashed, stored and compared.
//! It must never take a typo for another subject, and its Debug never shows whom it names.

use std::fmt;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use thiserror::Error;

use super::banks::Bin;
use super::directory::Directory;
use super::identifiers::{AccountNumber, IdentifierError, PersonalId, TaxCode};
use super::phone::PhoneNumber;
use super::subject_input::{InputKind, SubjectInput};
use super::vietqr;
use super::violation::Violation;
use super::wallets::{ProviderCode, WalletId};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectKind {
    Account,
    Wallet,
    Person,
    Organisation,
    Phone,
}

impl SubjectKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Wallet => "wallet",
            Self::Person => "person",
            Self::Organisation => "organisation",
            Self::Phone => "phone",
        }
    }

    /// The byte in the index; 0 is none of them.
    pub fn code(self) -> u8 {
        match self {
            Self::Account => 1,
            Self::Wallet => 2,
            Self::Person => 3,
            Self::Organisation => 4,
            Self::Phone => 5,
        }
    }

    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Account, Self::Wallet, Self::Person, Self::Organisation, Self::Phone]
            .into_iter()
            .find(|kind| kind.code() == code)
    }

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "account" => Some(Self::Account),
            "wallet" => Some(Self::Wallet),
            "person" => Some(Self::Person),
            "organisation" => Some(Self::Organisation),
            "phone" => Some(Self::Phone),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Account {
    bin: Bin,
    number: AccountNumber,
}

impl Account {
    pub fn bin(&self) -> Bin {
        self.bin
    }

    pub fn number(&self) -> &AccountNumber {
        &self.number
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wallet {
    provider: ProviderCode,
    id: WalletId,
}

impl Wallet {
    pub fn provider(&self) -> ProviderCode {
        self.provider
    }

    pub fn id(&self) -> &WalletId {
        &self.id
    }
}

/// Serialized, it is the JSON form of the contract, in normal form.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    Account(Account),
    Wallet(Wallet),
    Person(PersonalId),
    Organisation(TaxCode),
    Phone(PhoneNumber),
}

/// Whether the request was malformed (400) or names no possible subject (422).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A field is missing, or does not belong to the kind.
    Shape,
    /// A field is there, but its value stands for nothing.
    Value,
}

/// Why an input is no subject.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}: {}", .violation.pointer, .violation.reason)]
pub struct SubjectError {
    pub violation: Violation,
    pub fault: Fault,
}

impl Subject {
    /// An account that leads to a wallet gives the wallet, and a QR gives what it names.
    pub fn parse(input: &SubjectInput<'_>, directory: &Directory) -> Result<Self, SubjectError> {
        let fields = Fields(input);
        match input.kind {
            InputKind::Account => {
                let [bank, number] = fields.exactly([Field::Bank, Field::Number])?;
                let bin = directory.banks().bin_of(bank);
                let bin = bin.ok_or_else(|| value_error(Field::Bank, "is no known bank"))?;
                let number = AccountNumber::parse(number).map_err(at(Field::Number))?;
                Self::of_account(bin, number, directory).map_err(at(Field::Number))
            }
            InputKind::Wallet => {
                let [provider, id] = fields.exactly([Field::Provider, Field::Id])?;
                let code = directory.wallets().provider_of(provider);
                let provider = code.ok_or_else(|| value_error(Field::Provider, "is no known provider"))?;
                let id = WalletId::parse(id).map_err(at(Field::Id))?;
                Ok(Self::Wallet(Wallet { provider, id }))
            }
            InputKind::Person => {
                let [number] = fields.exactly([Field::IdNumber])?;
                let id = PersonalId::parse(number).map_err(at(Field::IdNumber))?;
                Ok(Self::Person(id))
            }
            InputKind::Organisation => {
                let [code] = fields.exactly([Field::TaxCode])?;
                let code = TaxCode::parse(code).map_err(at(Field::TaxCode))?;
                Ok(Self::Organisation(code))
            }
            InputKind::Phone => {
                let [number] = fields.exactly([Field::Number])?;
                let phone = PhoneNumber::parse(number).map_err(at(Field::Number))?;
                Ok(Self::Phone(phone))
            }
            InputKind::Qr => {
                let [payload] = fields.exactly([Field::Payload])?;
                Self::of_qr(payload, directory)
            }
        }
    }

    /// One line of ASCII that names the subject in every place and version: it is hashed and
    /// stored, so it must not change. `account:970436:0011001932418`, `wallet:momo:0901234567`,
    /// `person:001099012345`, `organisation:0100109106`, `phone:+84901234567`.
    pub fn canonical(&self) -> String {
        match self {
            Self::Account(Account { bin, number }) => ["account:", bin.as_str(), ":", number.as_str()].concat(),
            Self::Wallet(Wallet { provider, id }) => ["wallet:", provider.as_str(), ":", id.as_str()].concat(),
            Self::Person(id) => ["person:", id.as_str()].concat(),
            Self::Organisation(code) => ["organisation:", code.as_str()].concat(),
            Self::Phone(phone) => ["phone:", phone.as_str()].concat(),
        }
    }

    /// Accepts only what `canonical` writes. The directory of today is not asked: what was stored
    /// must be readable after a bank or a wallet provider has left it.
    pub fn from_canonical(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let subject = match SubjectKind::parse(kind)? {
            SubjectKind::Account => {
                let (bin, number) = rest.split_once(':')?;
                let bin = Bin::parse(bin)?;
                let number = AccountNumber::parse(number).ok()?;
                Self::Account(Account { bin, number })
            }
            SubjectKind::Wallet => {
                let (provider, id) = rest.split_once(':')?;
                let provider = ProviderCode::parse(provider)?;
                let id = WalletId::parse(id).ok()?;
                Self::Wallet(Wallet { provider, id })
            }
            SubjectKind::Person => Self::Person(PersonalId::parse(rest).ok()?),
            SubjectKind::Organisation => Self::Organisation(TaxCode::parse(rest).ok()?),
            SubjectKind::Phone => Self::Phone(PhoneNumber::parse(rest).ok()?),
        };
        // The parsers also take other writings, which were never stored.
        (subject.canonical() == text).then_some(subject)
    }

    /// The kind that a canonical text names, without reading the rest.
    pub fn kind_of_canonical(text: &str) -> Option<SubjectKind> {
        SubjectKind::parse(text.split_once(':')?.0)
    }

    pub fn kind(&self) -> SubjectKind {
        match self {
            Self::Account(_) => SubjectKind::Account,
            Self::Wallet(_) => SubjectKind::Wallet,
            Self::Person(_) => SubjectKind::Person,
            Self::Organisation(_) => SubjectKind::Organisation,
            Self::Phone(_) => SubjectKind::Phone,
        }
    }

    fn of_account(bin: Bin, number: AccountNumber, directory: &Directory) -> Result<Self, IdentifierError> {
        match directory.wallets().behind(bin, &number) {
            Some(provider) => {
                let id = WalletId::parse(number.as_str())?;
                Ok(Self::Wallet(Wallet { provider, id }))
            }
            None => Ok(Self::Account(Account { bin, number })),
        }
    }

    fn of_qr(payload: &str, directory: &Directory) -> Result<Self, SubjectError> {
        let target = vietqr::parse(payload).map_err(|error| value_error(Field::Payload, &error.to_string()))?;
        let bin = directory.banks().bin_of(target.bin().as_str());
        let bin = bin.ok_or_else(|| value_error(Field::Payload, "names no known bank"))?;
        Self::of_account(bin, target.number().clone(), directory).map_err(at(Field::Payload))
    }
}

/// Shows the kind alone.
impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject({})", self.kind().as_str())
    }
}

impl Subject {
    /// Its fields beside the kind. They are letters, digits and signs that JSON does not escape.
    fn fields(&self) -> ((Field, &str), Option<(Field, &str)>) {
        match self {
            Self::Account(Account { bin, number }) => {
                ((Field::Bank, bin.as_str()), Some((Field::Number, number.as_str())))
            }
            Self::Wallet(Wallet { provider, id }) => {
                ((Field::Provider, provider.as_str()), Some((Field::Id, id.as_str())))
            }
            Self::Person(id) => ((Field::IdNumber, id.as_str()), None),
            Self::Organisation(code) => ((Field::TaxCode, code.as_str()), None),
            Self::Phone(phone) => ((Field::Number, phone.as_str()), None),
        }
    }

    /// Appends what `serialize` gives a JSON serializer, without looking for what needs escaping.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let (first, second) = self.fields();
        let mut put = |parts: [&str; 3]| parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
        put(["{\"kind\":\"", self.kind().as_str(), "\""]);
        for (field, value) in [first].into_iter().chain(second) {
            put([",\"", field.name(), "\":\""]);
            put([value, "\"", ""]);
        }
        put(["}", "", ""]);
    }
}

impl Serialize for Subject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (first, second) = self.fields();
        let length = 2 + second.iter().count();
        let mut object = serializer.serialize_struct("Subject", length)?;
        object.serialize_field("kind", self.kind().as_str())?;
        for (field, value) in [first].into_iter().chain(second) {
            object.serialize_field(field.name(), value)?;
        }
        object.end()
    }
}

/// A field of the input other than its kind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Bank,
    Number,
    Provider,
    Id,
    IdNumber,
    TaxCode,
    Payload,
}

impl Field {
    const ALL: [Self; 7] =
        [Self::Bank, Self::Number, Self::Provider, Self::Id, Self::IdNumber, Self::TaxCode, Self::Payload];

    fn name(self) -> &'static str {
        match self {
            Self::Bank => "bank",
            Self::Number => "number",
            Self::Provider => "provider",
            Self::Id => "id",
            Self::IdNumber => "id_number",
            Self::TaxCode => "tax_code",
            Self::Payload => "payload",
        }
    }
}

struct Fields<'i>(&'i SubjectInput<'i>);

impl<'i> Fields<'i> {
    /// The values of `wanted`, if all of these and no others are there.
    fn exactly<const N: usize>(self, wanted: [Field; N]) -> Result<[&'i str; N], SubjectError> {
        let mut present = Field::ALL.into_iter().filter(|field| self.value(*field).is_some());
        if let Some(other) = present.find(|field| !wanted.contains(field)) {
            return Err(shape_error(other, "does not belong to this kind of subject"));
        }
        let mut values = [""; N];
        for (slot, field) in values.iter_mut().zip(wanted) {
            let missing = || shape_error(field, "is missing");
            *slot = self.value(field).ok_or_else(missing)?;
        }
        Ok(values)
    }

    fn value(&self, field: Field) -> Option<&'i str> {
        let input = self.0;
        match field {
            Field::Bank => input.bank.as_deref(),
            Field::Number => input.number.as_deref(),
            Field::Provider => input.provider.as_deref(),
            Field::Id => input.id.as_deref(),
            Field::IdNumber => input.id_number.as_deref(),
            Field::TaxCode => input.tax_code.as_deref(),
            Field::Payload => input.payload.as_deref(),
        }
    }
}

fn at(field: Field) -> impl Fn(IdentifierError) -> SubjectError {
    move |error| value_error(field, &error.to_string())
}

fn value_error(field: Field, reason: &str) -> SubjectError {
    error(field, reason, Fault::Value)
}

fn shape_error(field: Field, reason: &str) -> SubjectError {
    error(field, reason, Fault::Shape)
}

fn error(field: Field, reason: &str, fault: Fault) -> SubjectError {
    let violation = Violation { pointer: format!("/{}", field.name()), reason: reason.to_owned() };
    SubjectError { violation, fault }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_as_they_are_written() {
        for kind in [
            SubjectKind::Account,
            SubjectKind::Wallet,
            SubjectKind::Person,
            SubjectKind::Organisation,
            SubjectKind::Phone,
        ] {
            assert_eq!(SubjectKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(SubjectKind::parse("qr"), None);
    }

    #[test]
    fn only_canonical_text_is_read_back() {
        for text in [
            "account:970436:0011001932418",
            "wallet:momo:0901234567",
            "wallet:zalopay:99ZP24011M34875080",
            "person:001099012345",
            "person:012345678",
            "organisation:0100109106",
            "organisation:0314409058-002",
            "phone:+84901234567",
            "phone:+842438255555",
        ] {
            assert_eq!(Subject::from_canonical(text).unwrap().canonical(), text);
        }
        for text in [
            "",
            "account",
            "account:970436",
            "account:VCB:0011001932418",
            "account:970436:0011 0019",
            "account:970436:psp1",
            "account:970436:0011001932418:",
            "Account:970436:0011001932418",
            "wallet:MOMO:0901234567",
            "wallet:momo:+84901234567",
            "organisation:0314409058002",
            "phone:0901234567",
            "qr:x",
        ] {
            assert_eq!(Subject::from_canonical(text), None, "{text}");
        }
    }

    #[test]
    fn debug_shows_only_the_kind() {
        let subject = Subject::from_canonical("account:970436:0011001932418").unwrap();
        assert_eq!(format!("{subject:?}"), "Subject(account)");
        let Subject::Account(account) = &subject else {
            panic!("it was an account");
        };
        assert!(!format!("{account:?}").contains("0011"));
    }
}
