//! XLSX, one sheet, row by row: only the shared texts are held, and of them a bounded number of bytes. What Excel makes of
//! digits is told apart from text, and formulas are never read for their last value.

use super::package::{Package, Unpacked};
use super::{Row, Rows, fault};
use crate::domain::import::{Cell, Column, Columns, FileFault, RowFault, RowInput, columns::COLUMNS_MAX};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Seek};

const SMALL_PART_BYTES: u64 = 1024 * 1024;
const TEXTS_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// More than fit into the bytes above, if they say anything; of empty ones there could be many more.
const TEXTS_MAX: usize = 8_000_000;
const SHEET_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// Between two marks of XML.
const RUN_BYTES_MAX: usize = 128 * 1024;

pub(super) struct XlsxRows {
    xml: Xml<Unpacked<Box<dyn Read + Send>>>,
    texts: Texts,
    calendar: Calendar,
    columns: Option<Columns>,
    /// Of the row that was read last.
    number: u64,
}

/// From which year a workbook counts days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Calendar {
    From1900,
    From1904,
}

impl XlsxRows {
    pub(super) fn open(file: impl Read + Seek + Send + 'static) -> Result<Self, FileFault> {
        let mut package = Package::open(file)?;
        let (sheet, calendar) = sheet_of(&mut package)?;
        let texts = match package.read("xl/sharedStrings.xml", TEXTS_BYTES_MAX)? {
            Some(part) => Texts::read(Xml::new(part))?,
            None => Texts::default(),
        };
        let part = package.into_part(&sheet, SHEET_BYTES_MAX)?.ok_or_else(|| fault("has no sheet"))?;
        let mut rows = Self { xml: Xml::new(part), texts, calendar, columns: None, number: 0 };
        let header = rows.next_cells()?.ok_or_else(|| fault("the sheet is empty"))?;
        let last = header.iter().map(|(place, _)| *place).max().unwrap_or_default();
        let mut names = vec![String::new(); (last + 1).min(COLUMNS_MAX + 1)];
        for (place, cell) in header {
            if let (Some(name), Cell::Text(text)) = (names.get_mut(place), cell) {
                *name = text;
            }
        }
        rows.columns = Some(Columns::of_header(names.iter().map(String::as_str))?);
        Ok(rows)
    }

    /// The cells of the next row that has any, by their places.
    fn next_cells(&mut self) -> Result<Option<Vec<(usize, Cell)>>, FileFault> {
        loop {
            match self.xml.next()? {
                Tag::Start(tag) if tag.name == "row" => {
                    let given = tag.attribute("r").and_then(|number| number.parse().ok());
                    let number: u64 = given.unwrap_or(self.number + 1);
                    if number <= self.number {
                        return Err(fault("the rows of the sheet are out of order"));
                    }
                    self.number = number;
                    if tag.is_empty {
                        continue;
                    }
                    let cells = self.cells()?;
                    if !cells.is_empty() {
                        return Ok(Some(cells));
                    }
                }
                Tag::Start(tag) if tag.name == "mergeCell" => {
                    let cells = tag.attribute("ref").unwrap_or_default().chars().take(20).collect();
                    let reason = "merged cells; undo the merge, so that each row has its own".to_owned();
                    return Err(FileFault { row: None, field: Some(cells), reason });
                }
                Tag::Start(_) | Tag::End(_) | Tag::Text(_) => {}
                Tag::Eof => return Ok(None),
            }
        }
    }

    fn cells(&mut self) -> Result<Vec<(usize, Cell)>, FileFault> {
        let mut cells = Vec::new();
        let mut next_place = 0;
        loop {
            match self.xml.next()? {
                Tag::Start(tag) if tag.name == "c" => {
                    let place = tag.attribute("r").map_or(Some(next_place), |name| place_of(&name));
                    let place = place.ok_or_else(|| fault("a cell has no place"))?;
                    next_place = place + 1;
                    let kind = tag.attribute("t").unwrap_or_default();
                    let cell = if tag.is_empty { None } else { self.cell(&kind)? };
                    if let Some(cell) = cell {
                        if cells.len() > COLUMNS_MAX {
                            return Err(fault("a row has more than 64 cells"));
                        }
                        cells.push((place, cell));
                    }
                }
                Tag::End(name) if name == "row" => return Ok(cells),
                Tag::Start(_) | Tag::End(_) | Tag::Text(_) => {}
                Tag::Eof => return Err(fault("the sheet ends in the middle of a row")),
            }
        }
    }

    /// What stands between a cell's marks; `None` if it is blank.
    fn cell(&mut self, kind: &str) -> Result<Option<Cell>, FileFault> {
        let (mut text, mut is_formula, mut takes_text) = (String::new(), false, false);
        loop {
            match self.xml.next()? {
                Tag::Start(tag) => match tag.name.as_str() {
                    "f" => is_formula = true,
                    "v" | "t" => takes_text = !tag.is_empty,
                    "rPh" if !tag.is_empty => self.xml.skip("rPh")?,
                    _ => {}
                },
                Tag::Text(more) if takes_text => text.push_str(&more),
                Tag::Text(_) => {}
                Tag::End(name) if name == "c" => break,
                Tag::End(_) => takes_text = false,
                Tag::Eof => return Err(fault("the sheet ends in the middle of a cell")),
            }
            if text.len() > RUN_BYTES_MAX {
                return Err(fault("a cell is longer than any field"));
            }
        }
        if is_formula {
            return Ok(Some(Cell::Formula));
        }
        let cell = match kind {
            "s" => {
                let text = text.trim().parse().ok().and_then(|place| self.texts.at(place));
                Cell::Text(text.ok_or_else(|| fault("a cell names a text that is not there"))?.to_owned())
            }
            "inlineStr" | "str" => Cell::Text(text),
            "b" => Cell::Other("a truth value"),
            "e" => Cell::Other("an error of the spreadsheet"),
            "d" => Cell::Other("a date cell"),
            _ => Cell::Number(text),
        };
        let is_blank = matches!(&cell, Cell::Text(text) | Cell::Number(text) if text.trim().is_empty());
        Ok(Some(cell).filter(|_| !is_blank))
    }
}

impl Rows for XlsxRows {
    fn next_row(&mut self) -> Result<Option<Row>, FileFault> {
        let Some(cells) = self.next_cells()? else { return Ok(None) };
        let Some(columns) = &self.columns else { return Ok(None) };
        let is_beyond = cells.iter().any(|(place, _)| *place >= columns.len());
        let input = if is_beyond {
            RowInput::Faulty(RowFault::new("", "has a cell without a header"))
        } else {
            let cells = cells.into_iter().filter_map(|(place, cell)| {
                let column = columns.at(place)?;
                Some(match (self.calendar, column, cell) {
                    (Calendar::From1904, Column::IssuedOn, Cell::Number(_)) => {
                        (column, Cell::Other("a date that is counted from 1904"))
                    }
                    (Calendar::From1900 | Calendar::From1904, column, cell) => (column, cell),
                })
            });
            RowInput::Cells(cells.collect())
        };
        Ok(Some(Row { number: self.number, input }))
    }
}

/// `C5` stands in place 2.
fn place_of(name: &str) -> Option<usize> {
    let letters: Vec<usize> =
        name.bytes().take_while(u8::is_ascii_uppercase).map(|byte| usize::from(byte - b'A') + 1).collect();
    let is_usual = (1..=3).contains(&letters.len());
    is_usual.then(|| letters.iter().fold(0, |place, letter| place * 26 + letter) - 1)
}

/// The path of the one sheet of a workbook, and how it counts days.
fn sheet_of<R: Read + Seek>(package: &mut Package<R>) -> Result<(String, Calendar), FileFault> {
    let no_workbook = || fault("is no XLSX workbook");
    let (mut ids, mut calendar) = (Vec::new(), Calendar::From1900);
    let mut xml = Xml::new(package.read("xl/workbook.xml", SMALL_PART_BYTES)?.ok_or_else(no_workbook)?);
    loop {
        match xml.next()? {
            Tag::Start(tag) if tag.name == "workbookPr" => {
                if tag.attribute("date1904").is_some_and(|set| ["1", "true"].contains(&set.as_str())) {
                    calendar = Calendar::From1904;
                }
            }
            Tag::Start(tag) if tag.name == "sheet" => ids.push(tag.attribute("id").ok_or_else(no_workbook)?),
            Tag::Start(_) | Tag::End(_) | Tag::Text(_) => {}
            Tag::Eof => break,
        }
    }
    drop(xml);
    let [id] = ids.as_slice() else {
        return Err(fault(format!("has {} sheets; hand in a workbook with one", ids.len())));
    };
    let part = package.read("xl/_rels/workbook.xml.rels", SMALL_PART_BYTES)?;
    let mut xml = Xml::new(part.ok_or_else(no_workbook)?);
    loop {
        match xml.next()? {
            Tag::Start(tag) if tag.name == "Relationship" && tag.attribute("Id").as_ref() == Some(id) => {
                let target = tag.attribute("Target").ok_or_else(no_workbook)?;
                let path = target.strip_prefix('/').map_or_else(|| format!("xl/{target}"), str::to_owned);
                return Ok((path, calendar));
            }
            Tag::Start(_) | Tag::End(_) | Tag::Text(_) => {}
            Tag::Eof => return Err(no_workbook()),
        }
    }
}

/// The texts that cells share, one after the other.
#[derive(Default)]
struct Texts {
    all: String,
    ends: Vec<u32>,
}

impl Texts {
    fn read<R: Read>(mut xml: Xml<R>) -> Result<Self, FileFault> {
        let (mut texts, mut takes_text) = (Self::default(), false);
        loop {
            match xml.next()? {
                Tag::Start(tag) => match tag.name.as_str() {
                    "t" => takes_text = !tag.is_empty,
                    "rPh" if !tag.is_empty => xml.skip("rPh")?,
                    "si" if tag.is_empty => texts.end()?,
                    _ => {}
                },
                Tag::Text(more) if takes_text => texts.all.push_str(&more),
                Tag::Text(_) => {}
                Tag::End(name) if name == "si" => texts.end()?,
                Tag::End(_) => takes_text = false,
                Tag::Eof => return Ok(texts),
            }
        }
    }

    /// A text ends here.
    fn end(&mut self) -> Result<(), FileFault> {
        let end = u32::try_from(self.all.len()).ok().filter(|_| self.ends.len() < TEXTS_MAX);
        self.ends.push(end.ok_or_else(|| fault("has more shared texts than a table of flags needs"))?);
        Ok(())
    }

    fn at(&self, place: usize) -> Option<&str> {
        let start = match place.checked_sub(1) {
            None => 0,
            Some(before) => *self.ends.get(before)?,
        };
        let [start, end] = [start, *self.ends.get(place)?].map(usize::try_from);
        self.all.get(start.ok()?..end.ok()?)
    }
}

/// A mark of XML, or the text between two.
enum Tag {
    Start(Start),
    End(String),
    Text(String),
    Eof,
}

struct Start {
    name: String,
    is_empty: bool,
    attributes: Vec<(String, String)>,
}

impl Start {
    fn of(start: &BytesStart<'_>, is_empty: bool) -> Result<Self, FileFault> {
        let mut attributes = Vec::new();
        for attribute in start.attributes().with_checks(false) {
            let attribute = attribute.map_err(|_| fault("is not well-formed XML"))?;
            let value = quick_xml::escape::unescape(&attribute.value).map_err(|_| fault("is not well-formed XML"))?;
            attributes.push((attribute.key.local_name().as_ref().to_owned(), value.into_owned()));
        }
        Ok(Self { name: start.local_name().as_ref().to_owned(), is_empty, attributes })
    }

    fn attribute(&self, name: &str) -> Option<String> {
        self.attributes.iter().find(|(given, _)| given == name).map(|(_, value)| value.clone())
    }
}

struct Xml<R> {
    reader: Reader<Bounded<R>>,
    buffer: Vec<u8>,
}

impl<R: Read> Xml<R> {
    fn new(part: R) -> Self {
        let inner = BufReader::with_capacity(64 * 1024, part);
        Self { reader: Reader::from_reader(Bounded { inner, run: 0 }), buffer: Vec::new() }
    }

    fn next(&mut self) -> Result<Tag, FileFault> {
        loop {
            self.buffer.clear();
            let event = self.reader.read_event_into(&mut self.buffer);
            return Ok(match event.map_err(|error| fault(format!("cannot be read: {error}")))? {
                Event::Start(start) => Tag::Start(Start::of(&start, false)?),
                Event::Empty(start) => Tag::Start(Start::of(&start, true)?),
                Event::End(end) => Tag::End(end.local_name().as_ref().to_owned()),
                Event::Text(text) => Tag::Text(text.xml10_content().into_owned()),
                Event::CData(text) => Tag::Text(text.xml10_content().into_owned()),
                Event::GeneralRef(name) => {
                    let named = name.resolve_char_ref().map_err(|_| fault("is not well-formed XML"))?;
                    let text = format!("&{};", &*name);
                    let text = match named {
                        Some(c) => c.to_string(),
                        None => quick_xml::escape::unescape(&text)
                            .map_err(|_| fault("uses an entity that XLSX does not have"))?
                            .into_owned(),
                    };
                    Tag::Text(text)
                }
                Event::DocType(_) => return Err(fault("declares a document type, as no XLSX file does")),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => continue,
                Event::Eof => Tag::Eof,
            });
        }
    }

    /// Reads on past the end of an element.
    fn skip(&mut self, name: &str) -> Result<(), FileFault> {
        loop {
            match self.next()? {
                Tag::End(ended) if ended == name => return Ok(()),
                Tag::Start(_) | Tag::End(_) | Tag::Text(_) => {}
                Tag::Eof => return Err(fault("ends in the middle of a text")),
            }
        }
    }
}

/// Refuses XML in which a mark or a text has no end, before it is gathered.
struct Bounded<R> {
    inner: BufReader<R>,
    run: usize,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        self.inner.read(buffer)
    }
}

impl<R: Read> BufRead for Bounded<R> {
    fn fill_buf(&mut self) -> Result<&[u8], Error> {
        if self.run > RUN_BYTES_MAX {
            return Err(Error::new(ErrorKind::InvalidData, "a text or a mark is longer than any"));
        }
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        let taken = self.inner.buffer().get(..amount).unwrap_or_default();
        self.run = match taken.iter().rposition(|byte| *byte == b'>' || *byte == b'<') {
            Some(last) => amount - last,
            None => self.run + amount,
        };
        self.inner.consume(amount);
    }
}
