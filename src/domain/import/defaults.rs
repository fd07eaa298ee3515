//! What a whole file has in common and its columns need not say, such as the bank whose list it is or the Ministry's
//! document that orders it. A cell that is filled goes before it.

use super::Column;
use crate::domain::flag_input::{
    AUTHORITY_CHARS_MAX, CASE_CHARS_MAX, DOCUMENT_CHARS_MAX, REASON_CHARS_MAX, REFERENCE_CHARS_MAX,
};
use crate::domain::input::{InputError, text};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// By column; they are given as query parameters of the same names. None of them can name a subject.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defaults(BTreeMap<Column, String>);

impl Defaults {
    pub const COLUMNS: [Column; 11] = [
        Column::Bank,
        Column::Verdict,
        Column::Category,
        Column::Case,
        Column::Reason,
        Column::Document,
        Column::IssuedOn,
        Column::Authority,
        Column::SourceKind,
        Column::SourceReference,
        Column::Unit,
    ];

    pub fn put(&mut self, column: Column, value: &str) -> Result<(), InputError> {
        #[allow(clippy::wildcard_enum_match_arm)] // The longest that a short field may be.
        let chars_max = match column {
            Column::Case => CASE_CHARS_MAX,
            Column::Reason => REASON_CHARS_MAX,
            Column::Document => DOCUMENT_CHARS_MAX,
            Column::Authority => AUTHORITY_CHARS_MAX,
            _ => REFERENCE_CHARS_MAX,
        };
        let value = text(value.to_owned(), format!("/{}", column.as_str()), chars_max)?;
        self.0.insert(column, value);
        Ok(())
    }

    pub fn value(&self, column: Column) -> Option<&str> {
        self.0.get(&column).map(String::as_str)
    }

    /// One line for each, always in the same order: what tells the same file with other defaults apart.
    pub fn canonical(&self) -> String {
        self.0.iter().map(|(column, value)| format!("{}={value}\n", column.as_str())).collect()
    }
}
