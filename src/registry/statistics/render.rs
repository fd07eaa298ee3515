//! Tables as CSV and as XLSX. No cell of text is ever run by a spreadsheet.

use super::tables::{Cell, Table};
use crate::domain::Timestamp;
use crate::registry::Error;
use crate::sheet::write::harmless;
use rust_xlsxwriter::{DocProperties, ExcelDateTime, Format, Workbook, Worksheet, XlsxError};

/// Tells a spreadsheet that the text is UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Larger whole numbers are not held exactly by a cell, and are written as text.
const EXACT_MAX: u128 = 1 << 53;

/// One table under the other (RFC 4180): its title, its columns, its rows, and an empty line.
pub(super) fn csv(tables: &[Table]) -> Result<Vec<u8>, Error> {
    let failed = |error: csv::Error| Error::Internal(error.to_string());
    let mut writer = csv::WriterBuilder::new()
        .flexible(true)
        .terminator(csv::Terminator::CRLF)
        .from_writer(BYTE_ORDER_MARK.to_vec());
    for table in tables {
        writer.write_record([table.title]).map_err(failed)?;
        writer.write_record(table.columns).map_err(failed)?;
        for row in &table.rows {
            writer.write_record(row.iter().map(in_csv)).map_err(failed)?;
        }
        writer.write_record([""]).map_err(failed)?;
    }
    writer.into_inner().map_err(|error| Error::Internal(error.to_string()))
}

fn in_csv(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => harmless(text).into_owned(),
        Cell::Decimal(decimal) => decimal.clone(),
        Cell::Count(count) => count.to_string(),
        Cell::Empty => String::new(),
    }
}

/// One sheet, the tables one under the other.
pub(super) fn xlsx(title: &str, tables: &[Table], made_at: Timestamp) -> Result<Vec<u8>, Error> {
    let failed = |error: XlsxError| Error::Internal(error.to_string());
    let mut workbook = Workbook::new();
    let made_at = i64::try_from(made_at.as_s()).ok().and_then(|second| ExcelDateTime::from_timestamp(second).ok());
    let made_at = made_at.ok_or_else(|| Error::Internal("a time that a workbook cannot hold".to_owned()))?;
    workbook.set_properties(&DocProperties::new().set_title(title).set_creation_datetime(&made_at));
    fill(workbook.add_worksheet(), tables).map_err(failed)?;
    workbook.save_to_buffer().map_err(failed)
}

fn fill(sheet: &mut Worksheet, tables: &[Table]) -> Result<(), XlsxError> {
    const FIRST_COLUMN_CHARS: f64 = 44.0;
    const COLUMN_CHARS: f64 = 18.0;
    const COLUMNS: u16 = 14;
    let (bold, header) = (Format::new().set_bold(), Format::new().set_bold().set_text_wrap());
    let (number, text) = (Format::new().set_num_format("#,##0"), Format::new().set_text_wrap());
    sheet.set_name("Báo cáo")?;
    sheet.set_column_width(0, FIRST_COLUMN_CHARS)?;
    sheet.set_column_range_width(1, COLUMNS, COLUMN_CHARS)?;
    let mut place = 0;
    for table in tables {
        sheet.write_string_with_format(place, 0, table.title, &bold)?;
        place += 1;
        for (column, name) in (0..).zip(table.columns) {
            sheet.write_string_with_format(place, column, *name, &header)?;
        }
        place += 1;
        for row in &table.rows {
            for (column, cell) in (0..).zip(row) {
                match cell {
                    Cell::Text(written) => sheet.write_string_with_format(place, column, written, &text)?,
                    Cell::Count(count) if *count <= EXACT_MAX => {
                        sheet.write_number_with_format(place, column, exact(*count), &number)?
                    }
                    Cell::Count(count) => sheet.write_string(place, column, count.to_string())?,
                    Cell::Decimal(decimal) => match decimal.parse::<f64>() {
                        Ok(decimal) => sheet.write_number(place, column, decimal)?,
                        Err(_) => sheet.write_string(place, column, decimal)?,
                    },
                    Cell::Empty => sheet,
                };
            }
            place += 1;
        }
        place += 1;
    }
    Ok(())
}

/// Of a whole number up to 2^53.
fn exact(count: u128) -> f64 {
    let half = |bits: u128| f64::from(u32::try_from(bits & u128::from(u32::MAX)).unwrap_or(u32::MAX));
    half(count >> 32) * (f64::from(u32::MAX) + 1.0) + half(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_exact() {
        for (count, expected) in
            [(0, 0.0), (7, 7.0), (4_294_967_296, 4_294_967_296.0), (EXACT_MAX, 9_007_199_254_740_992.0)]
        {
            assert!((exact(count) - expected).abs() < 0.5, "{count}");
        }
    }

    #[test]
    fn a_text_that_looks_like_a_formula_is_not_run() {
        assert_eq!(in_csv(&Cell::Text("=1+1".to_owned())), "'=1+1");
        assert_eq!(in_csv(&Cell::Decimal("-12.5".to_owned())), "-12.5");
    }
}
