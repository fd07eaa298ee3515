//! Vietnamese phone numbers, from any usual writing to E.164, after the renumbering of 2018.
//! A number must never have two forms: old and new writings of one number are equal.

use super::ascii::Ascii;
use super::identifiers::{IdentifierError, digits};

const SEPARATORS: &[u8] = b" .-()";
const COUNTRY: &str = "84";

/// The longest writing of a landline: 0084, a superfluous 0, ten digits.
const DIGITS_MAX: usize = 15;

/// +84 and the ten digits of a landline.
const E164_CHARS_MAX: usize = 13;

/// Prefixes of 11-digit mobile numbers and what replaced them in 2018, both without the leading 0.
const RENUMBERED: [(&str, &str); 21] = [
    ("162", "32"),
    ("163", "33"),
    ("164", "34"),
    ("165", "35"),
    ("166", "36"),
    ("167", "37"),
    ("168", "38"),
    ("169", "39"),
    ("120", "70"),
    ("121", "79"),
    ("122", "77"),
    ("126", "76"),
    ("128", "78"),
    ("123", "83"),
    ("124", "84"),
    ("125", "85"),
    ("127", "81"),
    ("129", "82"),
    ("186", "56"),
    ("188", "58"),
    ("199", "59"),
];

/// A mobile or landline number of Viet Nam.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhoneNumber(Ascii<E164_CHARS_MAX>);

impl PhoneNumber {
    /// Accepts +84, 0084, 84 or 0 before the number, also `+84 (0)`, with spaces, dots, dashes
    /// and parentheses anywhere.
    pub fn parse(text: &str) -> Result<Self, IdentifierError> {
        // A writing such as "(+84) 90" has a parenthesis before the plus.
        let text = text.trim_start_matches([' ', '.', '-', '(']);
        let all: Ascii<DIGITS_MAX> = digits(
            text.strip_prefix('+').unwrap_or(text),
            SEPARATORS,
            IdentifierError::PhoneCharacter,
            IdentifierError::PhoneNumber,
        )?;
        let all = all.as_str();
        let international = match text.starts_with('+') {
            true => Some(all),
            false => all.strip_prefix("00"),
        };
        let significant = match international {
            Some(digits) => {
                let digits = digits.strip_prefix(COUNTRY);
                without_trunk(digits.ok_or(IdentifierError::PhoneForeign)?)
            }
            // No domestic number begins with 8: they all have a 0 before it.
            None => match all.strip_prefix(COUNTRY) {
                Some(digits) => without_trunk(digits),
                None => all.strip_prefix('0').ok_or(IdentifierError::PhoneNumber)?,
            },
        };
        in_use(significant).ok_or(IdentifierError::PhoneNumber)
    }

    /// E.164: `+84901234567`.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The digits after +84, to which domestic writing adds a 0.
    pub(super) fn significant(&self) -> &str {
        let text = self.as_str();
        text.strip_prefix("+84").unwrap_or(text)
    }
}

/// Some write the domestic 0 also after the country code; no number has it there.
fn without_trunk(digits: &str) -> &str {
    digits.strip_prefix('0').unwrap_or(digits)
}

/// Mobile numbers have 9 digits now and had 10 before 2018, landlines begin with 2 and have 10.
fn in_use(significant: &str) -> Option<PhoneNumber> {
    let (prefix, rest) = match (significant.len(), significant.as_bytes().first()?) {
        (9, b'3' | b'5' | b'7' | b'8' | b'9') | (10, b'2') => ("", significant),
        (10, b'1') => {
            let (old, rest) = significant.split_at_checked(3)?;
            let (_, new) = RENUMBERED.iter().find(|(prefix, _)| *prefix == old)?;
            (*new, rest)
        }
        _ => return None,
    };
    let mut e164 = Ascii::copy_of("+84")?;
    e164.push_all(prefix)?;
    e164.push_all(rest)?;
    Some(PhoneNumber(e164))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn e164(text: &str) -> Result<String, IdentifierError> {
        PhoneNumber::parse(text).map(|phone| phone.as_str().to_owned())
    }

    #[test]
    fn all_writings_of_a_mobile_number_are_one() {
        for text in [
            "0901234567",
            "090 123 4567",
            "090.123-4567",
            "(090) 1234567",
            "+84901234567",
            "+84 (0)90 123 4567",
            "(+84) 901234567",
            "84901234567",
            "0084 901 234 567",
            "+840901234567",
        ] {
            assert_eq!(e164(text).unwrap(), "+84901234567", "{text}");
        }
    }

    #[test]
    fn landlines_have_11_digits() {
        assert_eq!(e164("(024) 3825 5555").unwrap(), "+842438255555");
        assert_eq!(e164("+84 28 3829 7154").unwrap(), "+842838297154");
        assert_eq!(e164("0243825555"), Err(IdentifierError::PhoneNumber));
    }

    #[test]
    fn numbers_of_before_2018_become_todays() {
        for (old, new) in RENUMBERED {
            let expected = format!("+84{new}1234567");
            assert_eq!(e164(&format!("0{old}1234567")).unwrap(), expected);
            assert_eq!(e164(&format!("+84{old}1234567")).unwrap(), expected);
            assert_eq!(e164(&format!("84{old}1234567")).unwrap(), expected);
            assert_eq!(e164(&format!("0{new}1234567")).unwrap(), expected);
        }
    }

    #[test]
    fn foreign_numbers_are_refused_as_such() {
        for text in ["+85512345678", "+1 202 555 0100", "0085512345678", "+00841234567", "+0901234567"] {
            assert_eq!(e164(text), Err(IdentifierError::PhoneForeign), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_in_use_is_refused() {
        for text in [
            "",
            "0",
            "84",
            "+84",
            "113",
            "19001234",
            "901234567",
            "090123456",
            "09012345678",
            "0401234567",
            "0601234567",
            "01601234567",
            "01112345678",
            "0000901234567",
        ] {
            assert!(e164(text).is_err(), "{text}");
        }
        assert_eq!(e164("901234567"), Err(IdentifierError::PhoneNumber));
    }

    #[test]
    fn other_characters_are_refused() {
        for text in ["0901234567x", "090\u{a0}1234567", "09+01234567", "++84901234567", "０901234567"] {
            assert_eq!(e164(text), Err(IdentifierError::PhoneCharacter), "{text}");
        }
        assert_eq!(e164(&format!("0901234567{}", " ".repeat(60))), Err(IdentifierError::TooLong));
    }
}
