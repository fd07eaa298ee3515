//! Reading the directories' CSV files, which an operator may edit: strict, and each error names its line.
//! It must never guess: an unknown column or an ambiguous name refuses the whole file.

use std::collections::HashMap;

use serde::de::DeserializeOwned;
use thiserror::Error;

use super::ascii::Ascii;

/// Rows a directory file may have; the real ones have some sixty.
const ROWS_MAX: usize = 5_000;

/// Letters and digits of a name; longer ones cannot be looked up.
const NAME_CHARS_MAX: usize = 40;

/// What is wrong with a directory file, and the line (from 1) on which it stands.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {fault}")]
pub struct DirectoryError {
    line: u64,
    fault: DirectoryFault,
}

impl DirectoryError {
    pub(super) fn new(line: u64, fault: DirectoryFault) -> Self {
        Self { line, fault }
    }

    pub fn line(&self) -> u64 {
        self.line
    }

    pub fn fault(&self) -> &DirectoryFault {
        &self.fault
    }
}

/// The ways in which a directory file can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DirectoryFault {
    #[error("the header must be exactly `{0}`")]
    Header(String),
    #[error("must be one line with one field for each column")]
    Row,
    #[error("is a blank line")]
    BlankLine,
    #[error("the file has no rows")]
    NoRows,
    #[error("the file has more than {ROWS_MAX} rows")]
    TooManyRows,
    #[error("`bin` must be 6 digits")]
    Bin,
    #[error(
        "`{0}` must be a name of 1 to {NAME_CHARS_MAX} ASCII letters and digits (spaces, dots and dashes between them do not count), not digits alone"
    )]
    Name(&'static str),
    #[error("`{0}` must not be empty or begin or end with a space")]
    Text(&'static str),
    #[error("`swift` must be empty or 8 characters as ISO 9362 has them, upper-case")]
    Swift,
    #[error("`{0}` must be 0 or 1")]
    Flag(&'static str),
    #[error("`{0}` must be empty or a date, YYYY-MM-DD")]
    Date(&'static str),
    #[error("`valid_from` must not be after `valid_to`")]
    DateOrder,
    #[error("`{column}` is a name that already stands for {owner}")]
    Ambiguous { column: &'static str, owner: String },
    #[error("repeats an earlier row")]
    Duplicate,
    #[error("a former name needs a current row with the same BIN")]
    FormerOnly,
    #[error("`code` must be 2 to 16 lower-case ASCII letters and digits")]
    ProviderCode,
    #[error("a further row of a provider must repeat its name, have no aliases and add a BIN")]
    ProviderRow,
    #[error("`prefix` must be empty or up to 36 upper-case ASCII letters and digits, with a BIN")]
    Prefix,
    #[error("`bin` and `prefix` overlap those of an earlier row")]
    Overlap,
}

/// The rows under a header that is exactly `columns`, each with its line.
/// A row is one line and no line is blank: only then are the lines of errors right.
pub(super) fn rows<R: DeserializeOwned>(text: &str, columns: &[&str]) -> Result<Vec<(u64, R)>, DirectoryError> {
    if let Some((_, line)) = text.lines().zip(1..).find(|(line, _)| line.is_empty()) {
        return Err(DirectoryError::new(line, DirectoryFault::BlankLine));
    }
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().cloned().unwrap_or_default();
    if header.iter().ne(columns.iter().copied()) {
        let fault = DirectoryFault::Header(columns.join(","));
        return Err(DirectoryError::new(1, fault));
    }
    let mut rows = Vec::new();
    for (record, line) in reader.records().zip(2..) {
        let at = |fault| DirectoryError::new(line, fault);
        if rows.len() == ROWS_MAX {
            return Err(at(DirectoryFault::TooManyRows));
        }
        let record = record.map_err(|_| at(DirectoryFault::Row))?;
        if record.iter().any(|field| field.contains(['\r', '\n'])) {
            return Err(at(DirectoryFault::Row));
        }
        let row = record.deserialize(Some(&header));
        rows.push((line, row.map_err(|_| at(DirectoryFault::Row))?));
    }
    if rows.is_empty() {
        return Err(DirectoryError::new(1, DirectoryFault::NoRows));
    }
    Ok(rows)
}

/// What names stand for. Only the operator's file adds names, so the quick hash has no enemy.
pub(super) type Names<T> = HashMap<NameKey, T, foldhash::quality::RandomState>;

/// A name as it is compared: upper-case ASCII letters and digits, without spaces, dots and dashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NameKey(Ascii<NAME_CHARS_MAX>);

impl NameKey {
    pub(super) fn of(name: &str) -> Option<Self> {
        let mut key = Ascii::EMPTY;
        for byte in name.bytes() {
            match byte {
                b' ' | b'.' | b'-' => {}
                byte if byte.is_ascii_alphanumeric() => key.push(byte.to_ascii_uppercase())?,
                _ => return None,
            }
        }
        (key.len() > 0).then_some(Self(key))
    }

    /// The key of a name in a directory file. Digits alone are refused, as they would read as a BIN.
    pub(super) fn of_column(name: &str, column: &'static str) -> Result<Self, DirectoryFault> {
        Self::of(name)
            .filter(|key| !key.as_str().bytes().all(|byte| byte.is_ascii_digit()))
            .filter(|_| name.trim() == name)
            .ok_or(DirectoryFault::Name(column))
    }

    pub(super) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// The aliases in one field, separated by `|`; an empty field has none.
pub(super) fn aliases(field: &str) -> impl Iterator<Item = &str> {
    field.split('|').filter(move |_| !field.is_empty())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_key_ignores_case_spaces_dots_and_dashes() {
        let key = NameKey::of("co-op. bank").unwrap();
        assert_eq!(key.as_str(), "COOPBANK");
    }

    #[test]
    fn a_name_of_nothing_or_of_other_characters_has_no_key() {
        for name in ["", " .-", "Việt", "a_b", &"x".repeat(NAME_CHARS_MAX + 1)] {
            assert_eq!(NameKey::of(name), None);
        }
    }

    #[test]
    fn an_empty_field_has_no_aliases() {
        assert_eq!(aliases("").count(), 0);
        assert!(aliases("A|B").eq(["A", "B"]));
    }

    #[test]
    fn blank_lines_are_refused_so_that_lines_are_counted_right() {
        let error = rows::<(String,)>("a\n1\n\n2\n", &["a"]).unwrap_err();
        assert_eq!(error.to_string(), "line 3: is a blank line");
    }

    #[test]
    fn a_field_of_two_lines_is_refused() {
        let error = rows::<(String,)>("a\n1\n\"2\n3\"\n", &["a"]).unwrap_err();
        assert_eq!((error.line(), error.fault()), (3, &DirectoryFault::Row));
    }

    #[test]
    fn a_byte_order_mark_and_crlf_as_spreadsheets_write_them_are_read() {
        let text = "\u{feff}a\r\n1\r\n2\r\n";
        let lines = rows::<(String,)>(text, &["a"]).unwrap().into_iter();
        assert!(lines.map(|(line, _)| line).eq([2, 3]));
    }

    #[test]
    fn a_file_of_too_many_rows_is_refused() {
        let text = format!("a\n{}", "1\n".repeat(ROWS_MAX + 1));
        let error = rows::<(String,)>(&text, &["a"]).unwrap_err();
        assert_eq!(*error.fault(), DirectoryFault::TooManyRows);
    }
}
