//! E-wallet providers, wallet ids, and the rules by which a wallet is reached through a bank account.
//! A wallet must never have two normal forms: an account that leads to one is that wallet.

use serde::{Deserialize, Serialize, Serializer};

use super::ascii::Ascii;
use super::banks::Bin;
use super::identifiers::{AccountNumber, IdentifierError, NUMBER_CHARS_MAX, letters_and_digits};
use super::phone::PhoneNumber;
use super::table::{DirectoryError, DirectoryFault, NameKey, Names, aliases, rows};

const BUILT_IN: &str = include_str!("wallets.csv");

const COLUMNS: [&str; 5] = ["code", "name", "aliases", "bin", "prefix"];

const CODE_CHARS_MIN: usize = 2;
const CODE_CHARS_MAX: usize = 16;

/// The code of a wallet provider: 2 to 16 lower-case ASCII letters and digits, such as `momo`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProviderCode(Ascii<CODE_CHARS_MAX>);

impl ProviderCode {
    /// Exactly a code; whether there is such a provider is the directory's to say.
    pub fn parse(text: &str) -> Option<Self> {
        let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let well_formed = text.len() >= CODE_CHARS_MIN && text.bytes().all(lower);
        Ascii::copy_of(text).filter(|_| well_formed).map(Self)
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// A code names a company and no customer, so it may be shown.
impl std::fmt::Debug for ProviderCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ProviderCode({})", self.as_str())
    }
}

impl Serialize for ProviderCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Of a mobile number without its leading 0.
const MOBILE_DIGITS: usize = 9;

/// The name of a wallet at its provider: a phone number in domestic form (`0901234567`),
/// or 4 to 36 upper-case ASCII letters and digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalletId(Ascii<NUMBER_CHARS_MAX>);

impl WalletId {
    pub fn parse(text: &str) -> Result<Self, IdentifierError> {
        let Ok(phone) = PhoneNumber::parse(text) else {
            let id = letters_and_digits(text)?;
            let is_mobile = |phone: PhoneNumber| phone.significant().len() == MOBILE_DIGITS;
            let lost_its_zero = PhoneNumber::parse(&format!("0{}", id.as_str())).is_ok_and(is_mobile);
            // A spreadsheet does that. Taken for a name of its own it would never be found.
            return if lost_its_zero { Err(IdentifierError::PhoneWithoutZero) } else { Ok(Self(id)) };
        };
        let mut domestic = Ascii::EMPTY;
        domestic
            .push(b'0')
            .and_then(|()| domestic.push_all(phone.significant()))
            .map(|()| Self(domestic))
            .ok_or(IdentifierError::NumberLength)
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// A company that keeps e-wallets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Provider {
    code: ProviderCode,
    name: String,
}

impl Provider {
    pub fn code(&self) -> ProviderCode {
        self.code
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

/// All wallet providers, their names and the accounts behind which their wallets stand.
#[derive(Debug, Clone)]
pub struct WalletDirectory {
    providers: Vec<Provider>,
    names: Names<ProviderCode>,
    rules: Vec<Rule>,
}

/// Accounts at `bin` whose number begins with `prefix` are wallets of `provider`.
#[derive(Debug, Clone)]
struct Rule {
    bin: Bin,
    prefix: String,
    provider: ProviderCode,
}

impl WalletDirectory {
    /// A row of the file is a provider, with a rule if it names a BIN; further rows of the same
    /// provider add rules.
    pub fn parse(csv: &str) -> Result<Self, DirectoryError> {
        let mut directory = Self { providers: Vec::new(), names: Names::default(), rules: Vec::new() };
        for (line, row) in rows::<Row>(csv, &COLUMNS)? {
            let added = directory.add(row);
            added.map_err(|fault| DirectoryError::new(line, fault))?;
        }
        Ok(directory)
    }

    /// The directory that ships with the program; a test holds that it parses.
    pub fn built_in() -> Result<Self, DirectoryError> {
        Self::parse(BUILT_IN)
    }

    /// In the order of the file.
    pub fn providers(&self) -> &[Provider] {
        &self.providers
    }

    /// The provider by code, name or alias. Case, spaces, dots and dashes do not matter.
    pub fn provider_of(&self, name: &str) -> Option<ProviderCode> {
        self.names.get(&NameKey::of(name)?).copied()
    }

    /// The provider of the wallet that an account leads to, if it leads to one.
    pub fn behind(&self, bin: Bin, number: &AccountNumber) -> Option<ProviderCode> {
        let mut rules = self.rules.iter();
        rules.find(|rule| rule.bin == bin && number.as_str().starts_with(&rule.prefix)).map(|rule| rule.provider)
    }

    fn add(&mut self, row: Row) -> Result<(), DirectoryFault> {
        let code = ProviderCode::parse(&row.code).ok_or(DirectoryFault::ProviderCode)?;
        match self.providers.iter().find(|known| known.code == code) {
            Some(known) => {
                let adds_a_rule = row.aliases.is_empty() && !row.bin.is_empty();
                if known.name != row.name || !adds_a_rule {
                    return Err(DirectoryFault::ProviderRow);
                }
            }
            None => self.add_provider(code, &row)?,
        }
        self.add_rule(code, row)
    }

    fn add_provider(&mut self, code: ProviderCode, row: &Row) -> Result<(), DirectoryFault> {
        let own = [(row.code.as_str(), "code"), (row.name.as_str(), "name")];
        let others = aliases(&row.aliases).map(|alias| (alias, "aliases"));
        for (name, column) in own.into_iter().chain(others) {
            let key = NameKey::of_column(name, column)?;
            match self.names.insert(key, code) {
                Some(owner) if owner != code => {
                    let owner = format!("provider {}", owner.as_str());
                    return Err(DirectoryFault::Ambiguous { column, owner });
                }
                Some(_) | None => {}
            }
        }
        self.providers.push(Provider { code, name: row.name.clone() });
        Ok(())
    }

    fn add_rule(&mut self, provider: ProviderCode, row: Row) -> Result<(), DirectoryFault> {
        let Row { bin, prefix, .. } = row;
        let upper = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
        if prefix.len() > NUMBER_CHARS_MAX || !prefix.bytes().all(upper) {
            return Err(DirectoryFault::Prefix);
        }
        if bin.is_empty() {
            return match prefix.is_empty() {
                true => Ok(()),
                false => Err(DirectoryFault::Prefix),
            };
        }
        let bin = Bin::parse(&bin).ok_or(DirectoryFault::Bin)?;
        let mut same_bin = self.rules.iter().filter(|rule| rule.bin == bin);
        // With overlapping rules the order of rows would decide whose wallet an account is.
        if same_bin.any(|rule| rule.prefix.starts_with(&prefix) || prefix.starts_with(&rule.prefix)) {
            return Err(DirectoryFault::Overlap);
        }
        self.rules.push(Rule { bin, prefix, provider });
        Ok(())
    }
}

#[derive(Deserialize)]
struct Row {
    code: String,
    name: String,
    aliases: String,
    bin: String,
    prefix: String,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn id(text: &str) -> Result<String, IdentifierError> {
        WalletId::parse(text).map(|id| id.as_str().to_owned())
    }

    fn behind(bin: &str, number: &str) -> Option<String> {
        let directory = WalletDirectory::built_in().unwrap();
        let number = AccountNumber::parse(number).unwrap();
        let provider = directory.behind(Bin::parse(bin).unwrap(), &number);
        provider.map(|code| code.as_str().to_owned())
    }

    fn fault_of(rows: &str) -> (u64, DirectoryFault) {
        let text = format!("code,name,aliases,bin,prefix\n{rows}");
        let error = WalletDirectory::parse(&text).unwrap_err();
        (error.line(), error.fault().clone())
    }

    #[test]
    fn the_built_in_directory_has_13_providers() {
        assert_eq!(WalletDirectory::built_in().unwrap().providers().len(), 13);
    }

    #[test]
    fn providers_resolve_by_code_name_and_alias() {
        let directory = WalletDirectory::built_in().unwrap();
        for (name, code) in [
            ("momo", "momo"),
            ("MoMo", "momo"),
            ("Zalo Pay", "zalopay"),
            ("ViettelPay", "viettelmoney"),
            ("9PAY", "9pay"),
            ("vtc-pay", "vtcpay"),
        ] {
            assert_eq!(directory.provider_of(name), ProviderCode::parse(code), "{name}");
        }
        assert_eq!(directory.provider_of("paypal"), None);
        assert_eq!(directory.provider_of(""), None);
    }

    #[test]
    fn accounts_that_lead_to_a_wallet_are_known() {
        assert_eq!(behind("971025", "PSP123456").as_deref(), Some("momo"));
        assert_eq!(behind("970454", "99MM24011M34875080").as_deref(), Some("momo"));
        assert_eq!(behind("970454", "99zp24011M34875080").as_deref(), Some("zalopay"));
        assert_eq!(behind("970454", "9999123456"), None);
        assert_eq!(behind("970436", "99MM24011M34875080"), None);
    }

    #[test]
    fn a_phone_number_as_wallet_id_has_one_form() {
        for text in ["0901234567", "+84 901 234 567", "84901234567", "0084901234567", "(090) 123-4567"] {
            assert_eq!(id(text).unwrap(), "0901234567", "{text}");
        }
        assert_eq!(id("01621234567").unwrap(), "0321234567");
    }

    #[test]
    fn a_phone_number_that_lost_its_leading_zero_is_refused() {
        for text in ["901234567", "90 123 4567", "1621234567"] {
            assert_eq!(id(text), Err(IdentifierError::PhoneWithoutZero), "{text}");
        }
        for text in ["101234567", "9012345678", "A901234567", "2412345678"] {
            assert!(id(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn other_wallet_ids_are_letters_and_digits() {
        assert_eq!(id("99mm-24011m34875080").unwrap(), "99MM24011M34875080");
        assert_eq!(id("abc"), Err(IdentifierError::NumberLength));
        assert_eq!(id("user@example"), Err(IdentifierError::NotAlphanumeric));
        assert_eq!(id("+1 202 555 0100"), Err(IdentifierError::NotAlphanumeric));
        assert_eq!(id(&"7".repeat(37)), Err(IdentifierError::NumberLength));
    }

    #[test]
    fn malformed_rows_are_refused_with_their_line() {
        let ambiguous = DirectoryFault::Ambiguous { column: "aliases", owner: "provider momo".to_owned() };
        for (row, fault) in [
            ("Momo,MoMo,,,", DirectoryFault::ProviderCode),
            ("m,MoMo,,,", DirectoryFault::ProviderCode),
            ("other,,,,", DirectoryFault::Name("name")),
            ("other,Other,mo mo,,", ambiguous),
            ("momo,Other,,970454,99MM", DirectoryFault::ProviderRow),
            ("momo,MoMo,M,970454,99MM", DirectoryFault::ProviderRow),
            ("momo,MoMo,,,", DirectoryFault::ProviderRow),
            ("other,Other,,97045,", DirectoryFault::Bin),
            ("other,Other,,,99MM", DirectoryFault::Prefix),
            ("other,Other,,970454,99mm", DirectoryFault::Prefix),
            ("other,Other,,971025,99MM", DirectoryFault::Overlap),
            ("other,Other,,971025", DirectoryFault::Row),
        ] {
            let rows = format!("momo,MoMo,,971025,\n{row}\n");
            assert_eq!(fault_of(&rows), (3, fault), "{row}");
        }
    }
}
