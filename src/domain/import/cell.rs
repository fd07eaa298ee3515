//! What stands in one place of a table, and the text that it means. What a spreadsheet has spoilt is refused, never
//! guessed.

use super::{Column, RowFault};
use icu_normalizer::ComposingNormalizerBorrowed;
use std::borrow::Cow;

/// Characters of a cell; no field of a flag has as many.
const CELL_CHARS_MAX: usize = 4096;
/// Digits that a spreadsheet keeps of a number.
const EXACT_DIGITS_MAX: usize = 15;

/// What stands in one place of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    Text(String),
    /// What a spreadsheet holds as a number, as it is written in the file.
    Number(String),
    Formula,
    /// A truth value, a date or an error of the spreadsheet, by name.
    Other(&'static str),
}

/// A cell's text in normal form; `None` if it is blank.
pub(super) fn cell_text(column: Column, cell: &Cell) -> Result<Option<Cow<'_, str>>, RowFault> {
    let fault = |reason| Err(RowFault::at(column, reason));
    let text = match cell {
        Cell::Formula => return fault("is a formula; write its value"),
        Cell::Other(what) => return Err(RowFault::new(column.as_str(), format!("is {what}, and not a text"))),
        Cell::Number(_) if column.is_identifier() => {
            return fault("is a number, which has lost leading zeros or digits; format the column as text");
        }
        Cell::Number(number) if column == Column::IssuedOn => {
            return match date_of_serial(number) {
                Some(date) => Ok(Some(Cow::Owned(date))),
                None => fault("is a number that is no date"),
            };
        }
        Cell::Number(number) => {
            let is_whole = number.bytes().all(|byte| byte.is_ascii_digit()) && number.len() <= EXACT_DIGITS_MAX;
            if !is_whole {
                return fault("is a number that is not whole; format the column as text");
            }
            number
        }
        Cell::Text(text) => text.trim(),
    };
    if text.chars().count() > CELL_CHARS_MAX {
        return fault("is longer than any field");
    }
    if column.is_identifier() && is_shortened(text) {
        return fault("is a number that a spreadsheet has shortened; format the column as text");
    }
    Ok(Some(composed(text)).filter(|text| !text.is_empty()))
}

/// `9.7E+12`, also with a decimal comma.
fn is_shortened(text: &str) -> bool {
    let Some((digits, power)) = text.split_once(['E', 'e']) else { return false };
    let power = power.trim_start_matches(['+', '-']);
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b','));
    let has_sign = text.contains('+') || digits.contains(['.', ',']);
    !digits.is_empty() && !power.is_empty() && is_number(digits) && is_number(power) && has_sign
}

/// A day that a spreadsheet counts from 1900, as ISO 8601 writes it. Before March of that year its count is wrong.
fn date_of_serial(number: &str) -> Option<String> {
    let days: i32 = number.parse().ok().filter(|days| *days > 60)?;
    let date = jiff::civil::date(1899, 12, 30).checked_add(jiff::Span::new().try_days(days).ok()?).ok()?;
    (date.year() <= 9999).then(|| date.to_string())
}

/// `20/11/2026` as ISO 8601 writes it; anything else as it is.
pub(super) fn date(text: &str) -> String {
    let parts: Vec<&str> = text.split('/').collect();
    match parts.as_slice() {
        [day, month, year] if day.len() <= 2 && month.len() <= 2 && year.len() == 4 => {
            format!("{year}-{month:0>2}-{day:0>2}")
        }
        _ => text.to_owned(),
    }
}

/// In Unicode's composed form, as keyboards write it; windows-1258 has tones apart.
pub(super) fn composed(text: &str) -> Cow<'_, str> {
    if text.is_ascii() { Cow::Borrowed(text) } else { ComposingNormalizerBorrowed::new_nfc().normalize(text) }
}
