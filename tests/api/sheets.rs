//! Workbooks that officers hand in, as spreadsheets write them and as attackers would.

use crate::imports::{account_row, import, report};
use crate::support::Server;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use rust_xlsxwriter::{ExcelDateTime, Format, Formula, Workbook, Worksheet};
use serde_json::{Value, json};
use std::io::Write;

pub const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
const HEADER: [&str; 9] =
    ["Ngân hàng", "Số tài khoản", "verdict", "category", "case", "reason", "document", "issued_on", "authority"];

fn book(fill: impl FnOnce(&mut Worksheet)) -> Vec<u8> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    for (column, name) in (0..).zip(HEADER) {
        sheet.write_string(0, column, name).unwrap();
    }
    fill(sheet);
    book.save_to_buffer().unwrap()
}

fn write(sheet: &mut Worksheet, row: u32, number: &str) {
    for (column, text) in (0..).zip(["VCB", number, "warn", "mule", "Vụ 1", "Lừa & đảo"]) {
        sheet.write_string(row, column, text).unwrap();
    }
}

/// A package of parts as no spreadsheet writes it, without checksums.
fn package(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    let u16 = |length: usize| u16::try_from(length).unwrap().to_le_bytes();
    let u32 = |length: usize| u32::try_from(length).unwrap().to_le_bytes();
    for (name, bytes) in parts {
        let mut packed = DeflateEncoder::new(Vec::new(), Compression::best());
        packed.write_all(bytes).unwrap();
        let packed = packed.finish().unwrap();
        let sizes = [&[0; 4][..], &u32(packed.len()), &u32(bytes.len()), &u16(name.len())].concat();
        directory.extend([b"PK\x01\x02\x14\0\x14\0\0\0\x08\0\0\0\0\0", &sizes[..], &[0; 12], &u32(out.len())].concat());
        directory.extend(name.as_bytes());
        out.extend([b"PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0", &sizes[..], &[0; 2], name.as_bytes(), &packed].concat());
    }
    let (count, at) = (u16(parts.len()), u32(out.len()));
    let end = [b"PK\x05\x06\0\0\0\0", &count[..], &count, &u32(directory.len()), &at, &[0; 2]].concat();
    [out, directory, end].concat()
}

/// A workbook of one sheet and its shared texts, in XML.
pub fn workbook(sheet: &[u8], texts: &str) -> Vec<u8> {
    let book = br#"<workbook xmlns:r="r"><sheets><sheet name="1" sheetId="1" r:id="rId1"/></sheets></workbook>"#;
    let links = br#"<Relationships><Relationship Id="rId1" Target="worksheets/sheet1.xml"/></Relationships>"#;
    package(&[
        ("xl/workbook.xml", book),
        ("xl/_rels/workbook.xml.rels", links),
        ("xl/sharedStrings.xml", texts.as_bytes()),
        ("xl/worksheets/sheet1.xml", sheet),
    ])
}

fn cells(cells: &[&str]) -> String {
    format!("<row>{}</row>", cells.concat())
}

fn inline(text: &str) -> String {
    format!("<c t=\"inlineStr\"><is><t>{text}</t></is></c>")
}

fn fault(import: &Value) -> (&Value, &str) {
    (&import["state"], import["fault"]["reason"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn a_workbook_is_read_with_the_numbers_of_its_rows() {
    let server = Server::start().await;
    let rows = book(|sheet| {
        write(sheet, 1, "0011001932418");
        write(sheet, 5, "0011001932419");
    });
    let done = import(&server, "rows", XLSX, rows).await;
    let lines = report(&server, &done).await;
    assert!(lines.len() == 2 && lines[0].starts_with("2,accepted,"), "{lines:?}");
    assert!(lines[1].starts_with("6,accepted,"), "{lines:?}");
    server.finish().await;
}

#[tokio::test]
async fn a_formula_is_refused_for_its_row_alone() {
    let server = Server::start().await;
    let rows = book(|sheet| {
        write(sheet, 1, "x");
        sheet.write_formula(1, 1, Formula::new("=1+1").set_result("2")).unwrap();
        write(sheet, 2, "0011001932418");
    });
    let done = import(&server, "rows", XLSX, rows).await;
    let lines = report(&server, &done).await;
    assert!(lines[0].starts_with("2,invalid,,number,is a formula"), "{lines:?}");
    assert!(lines[1].starts_with("3,accepted,"), "{lines:?}");
    server.finish().await;
}

#[tokio::test]
async fn an_account_that_became_a_number_is_refused_and_so_is_its_text() {
    let server = Server::start().await;
    let rows = book(|sheet| {
        write(sheet, 1, "x");
        sheet.write_number(1, 1, 9_704_000_000_000.0).unwrap();
        write(sheet, 2, "9.7E+12");
        write(sheet, 3, "9,704E+12");
    });
    let done = import(&server, "rows", XLSX, rows).await;
    let lines = report(&server, &done).await;
    assert!(lines[0].starts_with("2,invalid,,number,\"is a number, which has lost"), "{lines:?}");
    for (line, row) in lines[1..].iter().zip([3, 4]) {
        assert!(
            line.starts_with(&format!("{row},invalid,,number,is a number that a spreadsheet has shortened")),
            "{line}"
        );
    }
    server.finish().await;
}

#[tokio::test]
async fn merged_cells_refuse_the_workbook() {
    let server = Server::start().await;
    let merged = book(|sheet| {
        sheet.merge_range(1, 0, 2, 0, "VCB", &Format::new()).unwrap();
    });
    let failed = import(&server, "merged", XLSX, merged).await;
    assert_eq!((&failed["state"], &failed["fault"]["field"]), (&json!("failed"), &json!("A2:A3")), "{failed:#}");
    server.finish().await;
}

#[tokio::test]
async fn a_date_cell_is_read_as_the_day_it_shows() {
    let server = Server::start().await;
    let rows = book(|sheet| {
        let day = Format::new().set_num_format("dd/mm/yyyy");
        for (row, number) in [(1, "0011001932418"), (2, "0011001932419"), (3, "0011001932420")] {
            write(sheet, row, number);
            sheet.write_string(row, 6, "12/QĐ").unwrap();
            sheet.write_string(row, 8, "Công an").unwrap();
        }
        sheet.write_datetime_with_format(1, 7, ExcelDateTime::from_ymd(2026, 11, 20).unwrap(), &day).unwrap();
        sheet.write_string(2, 7, "20/11/2026").unwrap();
        sheet.write_number(3, 7, 46_346.5).unwrap();
    });
    let done = import(&server, "rows", XLSX, rows).await;
    let lines = report(&server, &done).await;
    assert!(lines[2].starts_with("4,invalid,,issued_on,"), "{lines:?}");
    for line in &lines[..2] {
        let id = line.split(',').nth(2).unwrap();
        let flag = server.get(&format!("/v1/flags/{id}")).by("officer").send().await.is(200).json();
        assert_eq!(flag["legal_basis"]["issued_on"], "2026-11-20", "{line}");
    }
    server.finish().await;
}

#[tokio::test]
async fn texts_are_read_that_cells_share_and_that_stand_in_them() {
    let server = Server::start().await;
    let shared = "<sst><si><t>bank</t></si><si><r><t>num</t></r><r><t>ber</t></r></si><si><t>VCB</t></si>\
                  <si><t>L&#x1eeb;a &amp; \u{111}\u{1ea3}o</t><rPh sb=\"0\" eb=\"1\"><t>x</t></rPh></si></sst>";
    let at = |place: usize| format!("<c t=\"s\"><v>{place}</v></c>");
    let [verdict, category, case, reason] = ["verdict", "category", "case", "reason"].map(inline);
    let header = cells(&[&at(0), &at(1), &verdict, &category, &case, &reason]);
    let number = "<c t=\"inlineStr\"><is><r><t>001100</t></r><r><t>1932418</t></r></is></c>";
    let row = cells(&[&at(2), number, &inline("warn"), &inline("mule"), &inline("1"), &at(3)]);
    let sheet = format!("<worksheet><sheetData>{header}{row}</sheetData></worksheet>");
    let done = import(&server, "rows", XLSX, workbook(sheet.as_bytes(), shared)).await;
    let lines = report(&server, &done).await;
    let id = lines[0].split(',').nth(2).unwrap();
    let flag = server.get(&format!("/v1/flags/{id}")).by("officer").send().await.is(200).json();
    assert_eq!((&flag["subject"]["number"], &flag["reason"]), (&json!("0011001932418"), &json!("Lừa & đảo")));
    let gone = format!("<worksheet><sheetData>{header}{}</sheetData></worksheet>", cells(&[&at(4)]));
    let failed = import(&server, "gone", XLSX, workbook(gone.as_bytes(), shared)).await;
    assert_eq!(fault(&failed), (&json!("failed"), "a cell names a text that is not there"));
    server.finish().await;
}

#[tokio::test]
async fn a_workbook_that_unpacks_to_far_more_than_it_is_refused() {
    let server = Server::start().await;
    let header = cells(&[&inline("bank"), &inline("number")]);
    let mut sheet = format!("<worksheet><sheetData>{header}").into_bytes();
    sheet.extend(b"<row></row>".repeat(6_000_000));
    let bomb = workbook(&sheet, "<sst/>");
    assert!(bomb.len() < 300_000, "{}", bomb.len());
    let failed = import(&server, "bomb", XLSX, bomb).await;
    let (state, reason) = fault(&failed);
    assert!(state == "failed" && reason.contains("unpacks to far more"), "{failed:#}");
    let texts = format!("<sst><si><t>{}</t></si></sst>", " ".repeat(60_000_000));
    let failed = import(&server, "texts", XLSX, workbook(b"<worksheet/>", &texts)).await;
    assert_eq!(failed["state"], "failed", "{failed:#}");
    server.finish().await;
}

#[tokio::test]
async fn a_workbook_that_declares_entities_is_refused() {
    let server = Server::start().await;
    let sheet = b"<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b SYSTEM \"file:///etc/passwd\">]><worksheet/>";
    let failed = import(&server, "entities", XLSX, workbook(sheet, "<sst/>")).await;
    let (state, reason) = fault(&failed);
    assert!(state == "failed" && reason.contains("document type"), "{failed:#}");
    server.finish().await;
}

#[tokio::test]
async fn what_is_no_workbook_of_one_sheet_is_refused() {
    let server = Server::start().await;
    let mut two = Workbook::new();
    two.add_worksheet();
    two.add_worksheet();
    let two = two.save_to_buffer().unwrap();
    let cut = book(|sheet| write(sheet, 1, "0011001932418"));
    let files = [
        ("two", two),
        ("zip", b"PK\x05\x06".to_vec()),
        ("text", account_row("1").into_bytes()),
        ("cut", cut[..600].to_vec()),
    ];
    for (key, body) in files {
        assert_eq!(import(&server, key, XLSX, body).await["state"], "failed", "{key}");
    }
    server.finish().await;
}
