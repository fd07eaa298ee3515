//! How what people type is compared with what stands in flags: words without diacritics, numbers without separators. One
//! text has one folded form, in whichever way it was typed; what was folded is never shown.

use super::identifiers::{NUMBER_CHARS_MAX, NUMBER_CHARS_MIN};
use super::subject::Subject;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Longest text that is searched for, in bytes.
pub const WORDS_BYTES_MAX: usize = 400;
const WORDS_MAX: usize = 16;
/// The last word may be the beginning of one, if it has so many characters.
const BEGINNING_CHARS_MIN: usize = 2;
/// Of the parts of numbers that are looked up.
const GRAM_CHARS: usize = NUMBER_CHARS_MIN;

/// The words of a text, without diacritics and in lower case, each with one space before the next. Whatever is neither a
/// letter nor a digit parts words.
pub fn folded(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    let mut parted = false;
    for char in text.nfd().flat_map(char::to_lowercase).filter(|char| !is_combining_mark(*char)) {
        if !char.is_alphanumeric() {
            parted = true;
            continue;
        }
        if parted && !folded.is_empty() {
            folded.push(' ');
        }
        parted = false;
        folded.push(if char == 'đ' { 'd' } else { char });
    }
    folded
}

/// Words that must all occur. They may be a person's name, so that nothing prints them.
#[derive(Clone, PartialEq, Eq)]
pub struct Words(Vec<String>);

impl Words {
    /// `None` if there is no word, or there are more than are looked for.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > WORDS_BYTES_MAX {
            return None;
        }
        let words: Vec<String> = folded(text).split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        (1..=WORDS_MAX).contains(&words.len()).then_some(Self(words))
    }

    /// Those that must occur whole, and what one must begin with.
    pub fn parts(&self) -> (&[String], Option<&str>) {
        match self.0.split_last() {
            Some((last, whole)) if last.chars().count() >= BEGINNING_CHARS_MIN => (whole, Some(last)),
            Some(_) | None => (&self.0, None),
        }
    }

    /// Whether they occur in a folded text.
    pub fn occur_in(&self, folded: &str) -> bool {
        let (whole, beginning) = self.parts();
        whole.iter().all(|wanted| folded.split(' ').any(|word| word == wanted))
            && beginning.is_none_or(|beginning| folded.split(' ').any(|word| word.starts_with(beginning)))
    }
}

/// A part of a subject's number, which nothing prints.
#[derive(Clone, PartialEq, Eq)]
pub struct NumberPart(String);

impl NumberPart {
    /// 4 to 36 letters and digits; separators are dropped.
    pub fn parse(text: &str) -> Option<Self> {
        let part = without_separators(text);
        let is_one = part.bytes().all(|byte| byte.is_ascii_alphanumeric());
        (is_one && (NUMBER_CHARS_MIN..=NUMBER_CHARS_MAX).contains(&part.len())).then_some(Self(part))
    }

    /// Each of these occurs among the `grams` of a number that has the part.
    pub fn grams(&self) -> impl Iterator<Item = &str> {
        grams(&self.0)
    }

    pub fn occurs_in(&self, subject: &Subject) -> bool {
        numbers(subject).iter().any(|number| number.contains(&self.0))
    }
}

/// The writings of a subject's number in which a part is looked for: a phone's is also told without the country's prefix.
pub fn numbers(subject: &Subject) -> Vec<String> {
    let number = without_separators(subject.number());
    let national = match subject {
        Subject::Phone(_) => number.strip_prefix("84").map(|rest| ["0", rest].concat()),
        Subject::Account(_) | Subject::Wallet(_) | Subject::Person(_) | Subject::Organisation(_) => None,
    };
    [number].into_iter().chain(national).collect()
}

/// All parts of a number that have four characters.
pub fn grams(number: &str) -> impl Iterator<Item = &str> {
    (0..number.len()).filter_map(|start| number.get(start..start + GRAM_CHARS))
}

fn without_separators(text: &str) -> String {
    let kept = text.chars().filter(|char| !matches!(char, ' ' | '.' | '-' | '+' | '(' | ')'));
    kept.map(|char| char.to_ascii_uppercase()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_compared_without_diacritics() {
        assert_eq!(
            folded("Giả danh Công an, ĐÒI chuyển-khoản  (Đống Đa)"),
            "gia danh cong an doi chuyen khoan dong da"
        );
        assert_eq!(folded("e\u{302}\u{301} \u{1ebf}"), "e e", "composed and decomposed are the same");
        assert_eq!(folded(" 12/2026/HS "), "12 2026 hs");
        assert_eq!(folded("--"), "");
    }

    #[test]
    fn all_words_must_occur_and_the_last_may_be_a_beginning() {
        let text = folded("Giả danh Công an, 12/2026");
        for found in ["gia danh", "công AN", "an gia", "gia da", "2026", "12 20", "danh g", "đanh"] {
            let words = Words::parse(found).unwrap();
            assert_eq!(words.occur_in(&text), found != "danh g", "{found}");
        }
        assert!(!Words::parse("da gia").unwrap().occur_in(&text), "only the last may be a beginning");
        assert!(!Words::parse("gia vien").unwrap().occur_in(&text));
        for refused in ["", " .. ", "a b c d e f g h i j k l m n o p q", &"x".repeat(WORDS_BYTES_MAX + 1)] {
            assert!(Words::parse(refused).is_none(), "{refused}");
        }
    }

    #[test]
    fn a_part_of_a_number_is_found_in_any_writing() {
        let phone = Subject::from_canonical("phone:+84901234567").unwrap();
        let company = Subject::from_canonical("organisation:0314409058-002").unwrap();
        for (part, subject) in [("0901", &phone), ("+84 90", &phone), ("4567", &phone), ("058-002", &company)] {
            assert!(NumberPart::parse(part).unwrap().occurs_in(subject), "{part}");
        }
        assert!(!NumberPart::parse("4568").unwrap().occurs_in(&phone));
        for refused in ["", "123", "1-2-3", "12é4", "123_4", &"1".repeat(37)] {
            assert!(NumberPart::parse(refused).is_none(), "{refused}");
        }
    }

    proptest! {
        #[test]
        fn folding_twice_changes_nothing(text in "\\PC{0,40}") {
            let once = folded(&text);
            prop_assert_eq!(folded(&once), once);
        }

        #[test]
        fn every_gram_of_a_part_is_one_of_the_number(number in "[0-9A-Z]{4,36}", from in 0_usize..36, length in 4_usize..36) {
            let part = number.get(from..(from + length).min(number.len())).and_then(NumberPart::parse);
            if let Some(part) = part {
                let all: Vec<&str> = grams(&number).collect();
                prop_assert!(part.grams().all(|gram| all.contains(&gram)));
            }
        }
    }
}
