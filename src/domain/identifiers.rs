//! Account numbers, personal ids and tax codes in their one normal form.
//! They must never accept what they cannot bring to that form: a typo must not read as another, clear, subject.

use thiserror::Error;

use super::ascii::Ascii;

/// Longest input that is looked at, in bytes: the widest identifier, fully spaced, fits.
pub const INPUT_BYTES_MAX: usize = 64;

/// Fewest and most characters of an account number or wallet id; 36 is the width of SIMO's field.
pub const NUMBER_CHARS_MIN: usize = 4;
pub const NUMBER_CHARS_MAX: usize = 36;

const SEPARATORS: &[u8] = b" .-";

/// Provinces have the codes 001 to 096 in personal ids.
const PROVINCE_MAX: u32 = 96;

const TAX_CODE_WEIGHTS: [u32; 9] = [31, 29, 23, 19, 17, 13, 7, 5, 3];

/// Why a text is no identifier. The reasons are fixed texts, so they cannot echo the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum IdentifierError {
    #[error("must not be longer than {INPUT_BYTES_MAX} characters")]
    TooLong,
    #[error("must be ASCII letters and digits; spaces, dots and dashes between them are dropped")]
    NotAlphanumeric,
    #[error("must be digits; spaces, dots and dashes between them are dropped")]
    NotDigits,
    #[error("must have {NUMBER_CHARS_MIN} to {NUMBER_CHARS_MAX} letters and digits")]
    NumberLength,
    #[error("must have 12 digits, or 9 for an old identity card")]
    PersonalIdLength,
    #[error("must begin with the code of a province, 001 to 096")]
    Province,
    #[error("must have 10 digits, or 13 with a branch")]
    TaxCodeLength,
    #[error("has 12 digits, which is a personal id: send it as a subject of kind person")]
    TaxCodeOfPerson,
    #[error("must not have only zeros as its digits 3 to 9")]
    TaxCodeSerial,
    #[error("has a wrong check digit")]
    TaxCodeCheckDigit,
    #[error("must have a branch of 001 to 999 as its last three digits")]
    TaxCodeBranch,
    #[error("must be digits after an optional +; spaces, dots, dashes and parentheses are dropped")]
    PhoneCharacter,
    #[error("is not a Vietnamese mobile or landline number in use since 2018")]
    PhoneNumber,
    #[error("is a foreign number; only Vietnamese ones can be registered")]
    PhoneForeign,
    #[error("is a phone number without its leading 0")]
    PhoneWithoutZero,
}

/// A bank account number, or the alphanumeric alias a bank issues in its place:
/// 4 to 36 upper-case ASCII letters and digits, leading zeros kept. Its length depends on
/// the bank in ways no authority publishes, so nothing more is demanded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountNumber(Ascii<NUMBER_CHARS_MAX>);

impl AccountNumber {
    pub fn parse(text: &str) -> Result<Self, IdentifierError> {
        letters_and_digits(text).map(Self)
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// The number of a person's identity document: the 12-digit personal id (CCCD), or the 9-digit
/// one of the old identity card (CMND), which is another identifier and does not convert.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersonalId(Ascii<12>);

impl PersonalId {
    /// 12 digits are province (3), century and sex (1, any digit is in use), year (2), serial (6);
    /// neither form has a check digit.
    pub fn parse(text: &str) -> Result<Self, IdentifierError> {
        let digits = digits(text, SEPARATORS, IdentifierError::NotDigits, IdentifierError::PersonalIdLength)?;
        match digits.len() {
            9 => Ok(Self(digits)),
            12 if is_province(digits.as_str()) => Ok(Self(digits)),
            12 => Err(IdentifierError::Province),
            _ => Err(IdentifierError::PersonalIdLength),
        }
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// The tax code (MST) of an organisation, `0100109106`, or of its branch, `0314409058-002`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaxCode(Ascii<14>);

impl TaxCode {
    pub fn parse(text: &str) -> Result<Self, IdentifierError> {
        let digits: Ascii<13> = digits(text, SEPARATORS, IdentifierError::NotDigits, IdentifierError::TaxCodeLength)?;
        let (organisation, branch) = match digits.len() {
            10 | 13 => digits.as_str().split_at_checked(10),
            12 => return Err(IdentifierError::TaxCodeOfPerson),
            _ => None,
        }
        .ok_or(IdentifierError::TaxCodeLength)?;
        check_organisation(organisation)?;
        let dash = match branch {
            "" => "",
            "000" => return Err(IdentifierError::TaxCodeBranch),
            _ => "-",
        };
        let mut code = Ascii::EMPTY;
        [organisation, dash, branch]
            .iter()
            .try_for_each(|part| code.push_all(part))
            .ok_or(IdentifierError::TaxCodeLength)?;
        Ok(Self(code))
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// The last of the ten digits is 10 − (weighted sum of the others mod 11); a result of 10 fits no digit.
fn check_organisation(ten_digits: &str) -> Result<(), IdentifierError> {
    let values = || ten_digits.bytes().map(|byte| u32::from(byte - b'0'));
    if values().skip(2).take(7).all(|value| value == 0) {
        return Err(IdentifierError::TaxCodeSerial);
    }
    let weighted = values().zip(TAX_CODE_WEIGHTS);
    let sum: u32 = weighted.map(|(value, weight)| value * weight).sum();
    match values().next_back() {
        Some(check) if check == 10 - sum % 11 => Ok(()),
        _ => Err(IdentifierError::TaxCodeCheckDigit),
    }
}

fn is_province(twelve_digits: &str) -> bool {
    let code = twelve_digits.get(..3).and_then(|code| code.parse().ok());
    code.is_some_and(|code: u32| (1..=PROVINCE_MAX).contains(&code))
}

/// The normal form that account numbers and wallet ids share.
pub(super) fn letters_and_digits(text: &str) -> Result<Ascii<NUMBER_CHARS_MAX>, IdentifierError> {
    let kept = fold(text, SEPARATORS)?;
    let mut number = Ascii::EMPTY;
    for byte in kept {
        if !byte.is_ascii_alphanumeric() {
            return Err(IdentifierError::NotAlphanumeric);
        }
        number.push(byte.to_ascii_uppercase()).ok_or(IdentifierError::NumberLength)?;
    }
    if number.len() < NUMBER_CHARS_MIN {
        return Err(IdentifierError::NumberLength);
    }
    Ok(number)
}

/// The digits of `text`; `other` is the error for anything else in it, `more` for more than `N`.
pub(super) fn digits<const N: usize>(
    text: &str,
    separators: &[u8],
    other: IdentifierError,
    more: IdentifierError,
) -> Result<Ascii<N>, IdentifierError> {
    let mut digits = Ascii::EMPTY;
    for byte in fold(text, separators)? {
        if !byte.is_ascii_digit() {
            return Err(other);
        }
        digits.push(byte).ok_or(more)?;
    }
    Ok(digits)
}

fn fold(text: &str, separators: &[u8]) -> Result<impl Iterator<Item = u8>, IdentifierError> {
    if text.len() > INPUT_BYTES_MAX {
        return Err(IdentifierError::TooLong);
    }
    Ok(text.bytes().filter(|byte| !separators.contains(byte)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn account(text: &str) -> Result<String, IdentifierError> {
        AccountNumber::parse(text).map(|number| number.as_str().to_owned())
    }

    fn person(text: &str) -> Result<String, IdentifierError> {
        PersonalId::parse(text).map(|id| id.as_str().to_owned())
    }

    fn tax(text: &str) -> Result<String, IdentifierError> {
        TaxCode::parse(text).map(|code| code.as_str().to_owned())
    }

    #[test]
    fn account_numbers_drop_separators_and_keep_leading_zeros() {
        assert_eq!(account(" 0011-0019.32 418 ").unwrap(), "0011001932418");
        assert_eq!(account("psp12ab").unwrap(), "PSP12AB");
    }

    #[test]
    fn account_numbers_have_4_to_36_characters() {
        assert_eq!(account("123"), Err(IdentifierError::NumberLength));
        assert_eq!(account("1 2-3"), Err(IdentifierError::NumberLength));
        assert_eq!(account("1234").unwrap(), "1234");
        assert!(account(&"7".repeat(36)).is_ok());
        assert_eq!(account(&"7".repeat(37)), Err(IdentifierError::NumberLength));
    }

    #[test]
    fn other_characters_are_refused_wherever_they_stand() {
        for text in ["12345\u{a0}", "12345\t", "１２３４５", "12345đ", "1234/5", "12_345", "+12345", "(1)234"] {
            assert_eq!(account(text), Err(IdentifierError::NotAlphanumeric), "{text}");
        }
    }

    #[test]
    fn overlong_input_is_refused_even_if_most_of_it_is_spaces() {
        let text = format!("12345{}", " ".repeat(60));
        assert_eq!(account(&text), Err(IdentifierError::TooLong));
        assert_eq!(person(&text), Err(IdentifierError::TooLong));
        assert_eq!(tax(&text), Err(IdentifierError::TooLong));
    }

    #[test]
    fn personal_ids_are_of_12_or_9_digits() {
        assert_eq!(person("001 099 012 345").unwrap(), "001099012345");
        assert_eq!(person("012345678").unwrap(), "012345678");
        assert_eq!(person("0010990123456"), Err(IdentifierError::PersonalIdLength));
        assert_eq!(person("0010990123"), Err(IdentifierError::PersonalIdLength));
        assert_eq!(person(""), Err(IdentifierError::PersonalIdLength));
        assert_eq!(person("00109901234A"), Err(IdentifierError::NotDigits));
    }

    #[test]
    fn personal_ids_begin_with_a_province() {
        assert!(person("096099012345").is_ok());
        assert_eq!(person("000099012345"), Err(IdentifierError::Province));
        assert_eq!(person("097099012345"), Err(IdentifierError::Province));
    }

    #[test]
    fn known_tax_codes_are_accepted_in_normal_form() {
        for code in ["0100233488", "0314409058-002", "0312687878", "0100112437", "0100109106"] {
            assert_eq!(tax(code).unwrap(), code);
        }
        assert_eq!(tax("0314409058002").unwrap(), "0314409058-002");
        assert_eq!(tax("0314 409 058 - 002").unwrap(), "0314409058-002");
    }

    #[test]
    fn malformed_tax_codes_are_refused_each_with_its_reason() {
        for (code, error) in [
            ("0100233480", IdentifierError::TaxCodeCheckDigit),
            ("0314409058-000", IdentifierError::TaxCodeBranch),
            ("0100000000", IdentifierError::TaxCodeSerial),
            ("001099012345", IdentifierError::TaxCodeOfPerson),
            ("031440905", IdentifierError::TaxCodeLength),
            ("03144090581", IdentifierError::TaxCodeLength),
            ("03144090580021", IdentifierError::TaxCodeLength),
            ("0314409O58", IdentifierError::NotDigits),
            ("", IdentifierError::TaxCodeLength),
        ] {
            assert_eq!(tax(code), Err(error), "{code}");
        }
    }

    #[test]
    fn a_tax_code_whose_check_would_be_10_is_never_accepted() {
        let without_check = (0..=9_999).map(|serial| format!("01000{serial:04}"));
        let none_fits =
            without_check.filter(|head| (0..=9).all(|check| tax(&format!("{head}{check}")).is_err())).count();
        assert!(none_fits > 800, "about one in eleven has no check digit");
    }

    #[test]
    fn debug_shows_no_identifier() {
        let number = AccountNumber::parse("0011001932418").unwrap();
        assert_eq!(format!("{number:?}"), "AccountNumber(..)");
    }
}
