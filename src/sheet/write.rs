//! Rows written as CSV or XLSX with the columns that an import reads. A cell that a spreadsheet would run gets an apostrophe
//! before it, which an import takes off.

use super::csv::RUNS;
use crate::domain::import::{Column, columns::SHOWN_ONLY, linked_text};
use crate::domain::party::PartyId;
use crate::domain::{Flag, Subject, Timestamp};
use rust_xlsxwriter::{Workbook, XlsxError};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::path::Path;

/// Rows of a sheet, with its header.
const SHEET_ROWS_MAX: u32 = 1_048_576;

/// The header of an export.
pub fn header() -> Vec<&'static str> {
    Column::ALL.into_iter().filter(|column| is_written(*column)).map(Column::as_str).chain(SHOWN_ONLY).collect()
}

/// A QR says what an account or a wallet says too, and SIMO's sign stands in the reason.
fn is_written(column: Column) -> bool {
    !matches!(column, Column::Payload | Column::Suspicion)
}

/// One flag's cells, as the header has them.
pub fn cells(flag: &Flag, now: Timestamp) -> Vec<String> {
    let columns = Column::ALL.into_iter().filter(|column| is_written(*column));
    let mut cells: Vec<String> = columns.map(|column| cell(flag, column)).collect();
    cells.extend([
        flag.id.to_string(),
        flag.state_at(now).as_str().to_owned(),
        flag.version.to_string(),
        flag.raised_at.to_string(),
        flag.since.map_or_else(String::new, |since| since.to_string()),
    ]);
    cells
}

fn cell(flag: &Flag, column: Column) -> String {
    let basis = flag.legal_basis.as_ref();
    match (column, &flag.subject) {
        (Column::Kind, subject) => subject.kind().as_str().to_owned(),
        (Column::Bank, Subject::Account(account)) => account.bin().as_str().to_owned(),
        (Column::Number, Subject::Account(account)) => account.number().as_str().to_owned(),
        (Column::Number, Subject::Phone(phone)) => phone.as_str().to_owned(),
        (Column::Provider, Subject::Wallet(wallet)) => wallet.provider().as_str().to_owned(),
        (Column::WalletId, Subject::Wallet(wallet)) => wallet.id().as_str().to_owned(),
        (Column::IdNumber, Subject::Person(id)) => id.as_str().to_owned(),
        (Column::TaxCode, Subject::Organisation(code)) => code.as_str().to_owned(),
        (Column::Verdict, _) => flag.verdict.as_str().to_owned(),
        (Column::Category, _) => flag.category.as_str().to_owned(),
        (Column::Case, _) => flag.case.clone(),
        (Column::Reason, _) => flag.reason.clone(),
        (Column::Document, _) => basis.map_or_else(String::new, |basis| basis.document.clone()),
        (Column::IssuedOn, _) => basis.map_or_else(String::new, |basis| basis.issued_on.clone()),
        (Column::Authority, _) => basis.map_or_else(String::new, |basis| basis.authority.clone()),
        (Column::ExpiresAt, _) => flag.expires_at.map_or_else(String::new, |end| end.to_string()),
        (Column::SourceKind, _) => flag.source.kind.as_str().to_owned(),
        (Column::SourceReference, _) => flag.source.reference.clone().unwrap_or_default(),
        (Column::Linked, _) => linked_text(&flag.linked),
        (Column::Unit, _) => flag.unit().as_str().to_owned(),
        (Column::Coordinating, _) => flag.coordinating.iter().map(PartyId::as_str).collect::<Vec<_>>().join(";"),
        (
            Column::Bank
            | Column::Number
            | Column::Provider
            | Column::WalletId
            | Column::IdNumber
            | Column::TaxCode
            | Column::Payload
            | Column::Suspicion,
            _,
        ) => String::new(),
    }
}

/// A text that no spreadsheet runs. An import takes one apostrophe off what would run, so that one which was there before needs
/// another.
pub fn harmless(text: &str) -> Cow<'_, str> {
    let would_run = text.trim_start_matches('\'').starts_with(RUNS);
    if would_run { format!("'{text}").into() } else { text.into() }
}

/// A line of CSV (RFC 4180).
pub fn put_csv_row<'a>(out: &mut Vec<u8>, cells: impl Iterator<Item = &'a str>) {
    for (place, cell) in cells.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        let harmless = harmless(cell);
        if harmless.contains([',', ';', '"', '\n', '\r']) {
            out.extend_from_slice(format!("\"{}\"", harmless.replace('"', "\"\"")).as_bytes());
        } else {
            out.extend_from_slice(harmless.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes a workbook, sheet after sheet, with little of it in memory. `next` gives the next rows, and none from the end on.
pub fn write_workbook<E: From<XlsxError>>(
    path: &Path,
    scratch: &Path,
    mut next: impl FnMut() -> Result<Vec<Vec<String>>, E>,
) -> Result<(), E> {
    let mut workbook = Workbook::new();
    workbook.set_tempdir(scratch)?;
    let mut rows = VecDeque::from(next()?);
    loop {
        let sheet = workbook.add_worksheet_with_constant_memory()?;
        for (column, name) in (0..).zip(header()) {
            sheet.write_string(0, column, name)?;
        }
        for place in 1..SHEET_ROWS_MAX {
            if rows.is_empty() {
                rows = next()?.into();
            }
            let Some(cells) = rows.pop_front() else { break };
            for (column, cell) in (0..).zip(&cells).filter(|(_, cell)| !cell.is_empty()) {
                sheet.write_string(place, column, cell)?;
            }
        }
        if rows.is_empty() {
            rows = next()?.into();
        }
        if rows.is_empty() {
            workbook.save(path)?;
            return Ok(());
        }
    }
}
