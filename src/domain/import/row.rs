//! One row of an import, and how it becomes a proposal: through the same parse as `POST /v1/flags`. What a spreadsheet has
//! spoilt is refused, never guessed; a fault names the field and the rule, never the value.

use super::{Column, Defaults};
use crate::domain::flag_input::{LegalBasisInput, SourceInput};
use crate::domain::strict::{Object, explain, object, word};
use crate::domain::subject_input::InputKind;
use crate::domain::{
    Category, Directory, FlagInput, InputError, Proposal, SourceKind, Subject, SubjectInput, Timestamp, Verdict,
};
use icu_normalizer::ComposingNormalizerBorrowed;
use serde::de::{Error, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
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

/// One row as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowInput {
    /// The cells that are not empty.
    Cells(Vec<(Column, Cell)>),
    /// A line of JSON.
    Line(Vec<u8>),
    /// A row that the file's form does not allow.
    Faulty(RowFault),
}

/// Why a row is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowFault {
    /// The column, or in JSON the pointer; empty for the whole row.
    pub field: String,
    pub reason: String,
}

impl RowFault {
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }

    fn at(column: Column, reason: &str) -> Self {
        Self::new(column.as_str(), reason)
    }
}

/// What two rows share that say the same of a subject: a digest of its canonical text and of the case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey(u128);

impl RowKey {
    pub fn of(subject: &str, case: &str) -> Self {
        let digest = Sha256::new().chain_update(subject).chain_update([0]).chain_update(composed(case).as_bytes());
        let digest: [u8; 32] = digest.finalize().into();
        let (first, _) = digest.split_at(16);
        Self(first.try_into().map_or(0, u128::from_be_bytes))
    }
}

impl Serialize for RowKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:032x}", self.0))
    }
}

impl<'de> Deserialize<'de> for RowKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(Self).map_err(|_| D::Error::custom("expected a key of a row"))
    }
}

impl RowInput {
    /// What the row proposes. Rules that look at the time, or at several fields, are the proposal's own.
    pub fn read(&self, defaults: &Defaults, directory: &Directory) -> Result<Proposal, RowFault> {
        match self {
            Self::Faulty(fault) => Err(fault.clone()),
            Self::Line(line) => read_line(line, defaults, directory),
            Self::Cells(cells) => {
                let cells = Cells::read(cells, defaults)?;
                let input = cells.input()?;
                input.parse(directory).map_err(|error| RowFault {
                    field: column_of(&error.violation.pointer).to_owned(),
                    reason: error.violation.reason,
                })
            }
        }
    }

    /// Where a row of this form names a field that a proposal's own rules refuse.
    pub fn field_of(&self, pointer: &str) -> String {
        match self {
            Self::Line(_) => pointer.to_owned(),
            Self::Cells(_) | Self::Faulty(_) => column_of(pointer).to_owned(),
        }
    }
}

/// Which column holds what stands at a pointer in the body of `POST /v1/flags`.
fn column_of(pointer: &str) -> &str {
    let mut parts = pointer.split('/').skip(1);
    match (parts.next().unwrap_or_default(), parts.next()) {
        ("subject", None) => Column::Kind.as_str(),
        ("subject", Some("id")) => Column::WalletId.as_str(),
        ("legal_basis", None) => Column::Document.as_str(),
        ("subject" | "legal_basis", Some(field)) => field,
        ("source", Some("reference")) => Column::SourceReference.as_str(),
        ("source", _) => Column::SourceKind.as_str(),
        (field, _) => field,
    }
}

/// A row's texts by column, with the file's defaults in the empty places.
struct Cells<'a>(Vec<(Column, Cow<'a, str>)>);

impl<'a> Cells<'a> {
    fn read(cells: &'a [(Column, Cell)], defaults: &'a Defaults) -> Result<Self, RowFault> {
        let mut read = Vec::with_capacity(cells.len() + Defaults::COLUMNS.len());
        for (column, cell) in cells {
            if let Some(text) = cell_text(*column, cell)? {
                read.push((*column, text));
            }
        }
        for column in Defaults::COLUMNS {
            if let Some(value) = defaults.value(column)
                && column != Column::Bank
                && !read.iter().any(|(given, _)| *given == column)
            {
                read.push((column, Cow::Borrowed(value)));
            }
        }
        let mut cells = Self(read);
        // Only an account has a bank.
        if let (Some(bank), None, Ok(InputKind::Account)) =
            (defaults.value(Column::Bank), cells.text(Column::Bank), cells.kind())
        {
            cells.0.push((Column::Bank, Cow::Borrowed(bank)));
        }
        Ok(cells)
    }

    fn text(&self, column: Column) -> Option<&str> {
        self.0.iter().find(|(given, _)| *given == column).map(|(_, text)| text.as_ref())
    }

    fn must(&self, column: Column) -> Result<&str, RowFault> {
        self.text(column).ok_or_else(|| RowFault::at(column, "is missing"))
    }

    /// As the row says, or as the one identifier tells that it has.
    fn kind(&self) -> Result<InputKind, RowFault> {
        const NAMES: &str = "expected account, wallet, person, organisation, phone or qr";
        if let Some(name) = self.text(Column::Kind) {
            return InputKind::parse(name).ok_or_else(|| RowFault::at(Column::Kind, NAMES));
        }
        let kinds = [
            (Column::Number, InputKind::Account),
            (Column::WalletId, InputKind::Wallet),
            (Column::IdNumber, InputKind::Person),
            (Column::TaxCode, InputKind::Organisation),
            (Column::Payload, InputKind::Qr),
        ];
        let mut given = kinds.into_iter().filter(|(column, _)| self.text(*column).is_some());
        match (given.next(), given.next()) {
            (None, _) => Err(RowFault::at(Column::Number, "is missing")),
            (Some((_, kind)), None) => Ok(kind),
            (Some(_), Some(_)) => Err(RowFault::at(Column::Kind, "must say which of several identifiers is flagged")),
        }
    }

    fn input(&self) -> Result<FlagInput<'_>, RowFault> {
        let (verdict, category) = (self.must(Column::Verdict)?, self.must(Column::Category)?);
        let field = |column| self.text(column).map(Cow::Borrowed);
        Ok(FlagInput {
            subject: SubjectInput {
                kind: self.kind()?,
                bank: field(Column::Bank),
                number: field(Column::Number),
                provider: field(Column::Provider),
                id: field(Column::WalletId),
                id_number: field(Column::IdNumber),
                tax_code: field(Column::TaxCode),
                payload: field(Column::Payload),
            },
            verdict: Verdict::parse(verdict)
                .ok_or_else(|| RowFault::at(Column::Verdict, "expected warn, hold or block"))?,
            category: Category::parse(category)
                .ok_or_else(|| RowFault::at(Column::Category, "expected a category such as mule"))?,
            case: self.must(Column::Case)?.to_owned(),
            reason: self.reason()?.to_owned(),
            legal_basis: self.legal_basis()?,
            expires_at: self.expires_at()?,
            urgent: false,
            linked: self.linked()?,
            source: self.source()?,
        })
    }

    /// The row's reason, or what SIMO's sign of suspicion says.
    fn reason(&self) -> Result<&str, RowFault> {
        let given = self.text(Column::Reason);
        let Some(sign) = self.text(Column::Suspicion) else { return self.must(Column::Reason) };
        let fault = |reason| Err(RowFault::at(Column::Suspicion, reason));
        let told = match sign {
            "0" => return fault("says that there is no suspicion"),
            "1" => "SIMO 1: opening file does not match the national population database",
            "2" => "SIMO 2: on lists that are advertised, bought or sold online",
            "3" => "SIMO 3: receives from many and moves on at once",
            "4" => "SIMO 4: more than three receipts from listed accounts",
            "5" => "SIMO 5: holder is on a list of an authority",
            "6" => "SIMO 6: abnormal transactions",
            "7" => "SIMO 7: one device is used for several accounts",
            "8" => match given {
                Some(given) => given,
                None => return fault("8 needs a text of its own in the reason"),
            },
            _ => return fault("expected a sign of suspicion from 0 to 8"),
        };
        Ok(given.unwrap_or(told))
    }

    fn legal_basis(&self) -> Result<Option<LegalBasisInput>, RowFault> {
        let columns = [Column::Document, Column::IssuedOn, Column::Authority];
        if columns.iter().all(|column| self.text(*column).is_none()) {
            return Ok(None);
        }
        Ok(Some(LegalBasisInput {
            document: self.must(Column::Document)?.to_owned(),
            issued_on: date(self.must(Column::IssuedOn)?),
            authority: self.must(Column::Authority)?.to_owned(),
        }))
    }

    fn expires_at(&self) -> Result<Option<Timestamp>, RowFault> {
        let fault = || RowFault::at(Column::ExpiresAt, "expected an RFC 3339 time such as 2026-12-31T17:00:00Z");
        self.text(Column::ExpiresAt).map(|text| Timestamp::parse(text).ok_or_else(fault)).transpose()
    }

    fn source(&self) -> Result<Option<SourceInput>, RowFault> {
        let reference = self.text(Column::SourceReference);
        let kind = match (self.text(Column::SourceKind), reference) {
            (None, None) => return Ok(None),
            (None, Some(_)) => return Err(RowFault::at(Column::SourceKind, "is missing")),
            (Some(kind), _) => SourceKind::parse(kind),
        };
        let kind =
            kind.ok_or_else(|| RowFault::at(Column::SourceKind, "expected police, bank_report, ministry or citizen"))?;
        Ok(Some(SourceInput { kind, reference: reference.map(str::to_owned) }))
    }

    /// `account:BANK:NUMBER; person:ID`, in the form of canonical texts.
    fn linked(&self) -> Result<Vec<Object<SubjectInput<'_>>>, RowFault> {
        let texts = self.text(Column::Linked).unwrap_or_default();
        let texts = texts.split([';', ' ', '\n']).filter(|text| !text.is_empty());
        let fault = || RowFault::at(Column::Linked, "expected subjects such as account:970436:0011001932418");
        texts.map(|text| linked_input(text).map(Object).ok_or_else(fault)).collect()
    }
}

fn linked_input(text: &str) -> Option<SubjectInput<'_>> {
    let (kind, rest) = text.split_once(':')?;
    let kind = InputKind::parse(kind)?;
    let whole = || Some(Cow::Borrowed(rest));
    let halves = || rest.split_once(':').map(|(first, second)| (Some(first.into()), Some(second.into())));
    let mut input = SubjectInput {
        kind,
        bank: None,
        number: None,
        provider: None,
        id: None,
        id_number: None,
        tax_code: None,
        payload: None,
    };
    match kind {
        InputKind::Account => (input.bank, input.number) = halves()?,
        InputKind::Wallet => (input.provider, input.id) = halves()?,
        InputKind::Person => input.id_number = whole(),
        InputKind::Organisation => input.tax_code = whole(),
        InputKind::Phone => input.number = whole(),
        InputKind::Qr => return None,
    }
    Some(input)
}

/// How an export writes a linked subject.
pub fn linked_text(subjects: &[Subject]) -> String {
    subjects.iter().map(Subject::canonical).collect::<Vec<_>>().join(";")
}

/// A cell's text in normal form; `None` if it is blank.
fn cell_text(column: Column, cell: &Cell) -> Result<Option<Cow<'_, str>>, RowFault> {
    let fault = |reason| Err(RowFault::at(column, reason));
    let text = match cell {
        Cell::Formula => return fault("is a formula; write its value"),
        Cell::Other(what) => return Err(RowFault::new(column.as_str(), format!("is {what}, and not a text"))),
        Cell::Number(_) if column.is_identifier() => {
            return fault("is a number, which has lost leading zeros or digits; format the column as text");
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

/// `20/11/2026` as ISO 8601 writes it; anything else as it is.
fn date(text: &str) -> String {
    let parts: Vec<&str> = text.split('/').collect();
    match parts.as_slice() {
        [day, month, year] if day.len() <= 2 && month.len() <= 2 && year.len() == 4 => {
            format!("{year}-{month:0>2}-{day:0>2}")
        }
        _ => text.to_owned(),
    }
}

/// In Unicode's composed form, as keyboards write it; windows-1258 has tones apart.
fn composed(text: &str) -> Cow<'_, str> {
    if text.is_ascii() { Cow::Borrowed(text) } else { ComposingNormalizerBorrowed::new_nfc().normalize(text) }
}

/// A line as `POST /v1/flags` takes it, or as the registry shows a flag: what the registry alone decides on is read past.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FlagLine<'a> {
    #[serde(borrow, deserialize_with = "object")]
    subject: SubjectInput<'a>,
    #[serde(default)]
    verdict: Option<String>,
    #[serde(default)]
    category: Option<String>,
    #[serde(default)]
    case: Option<String>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    legal_basis: Option<LegalBasisInput>,
    #[serde(default)]
    expires_at: Option<Timestamp>,
    #[serde(default)]
    urgent: bool,
    #[serde(default, borrow)]
    linked: Vec<Object<SubjectInput<'a>>>,
    #[serde(default)]
    source: Option<SourceLine>,
    #[serde(default, rename = "id")]
    _id: Option<IgnoredAny>,
    #[serde(default, rename = "state")]
    _state: Option<IgnoredAny>,
    #[serde(default, rename = "version")]
    _version: Option<IgnoredAny>,
    #[serde(default, rename = "raised_by")]
    _raised_by: Option<IgnoredAny>,
    #[serde(default, rename = "raised_at")]
    _raised_at: Option<IgnoredAny>,
    #[serde(default, rename = "approved_by")]
    _approved_by: Option<IgnoredAny>,
    #[serde(default, rename = "approved_at")]
    _approved_at: Option<IgnoredAny>,
    #[serde(default, rename = "since")]
    _since: Option<IgnoredAny>,
    #[serde(default, rename = "closed_by")]
    _closed_by: Option<IgnoredAny>,
    #[serde(default, rename = "closed_at")]
    _closed_at: Option<IgnoredAny>,
    #[serde(default, rename = "closing_reason")]
    _closing_reason: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceLine {
    #[serde(deserialize_with = "word")]
    kind: SourceKind,
    #[serde(default)]
    reference: Option<String>,
}

fn read_line(line: &[u8], defaults: &Defaults, directory: &Directory) -> Result<Proposal, RowFault> {
    let Ok(Object(read)) = serde_json::from_slice::<Object<FlagLine<'_>>>(line) else {
        let violation = explain::<Object<FlagLine<'_>>>(line);
        return Err(RowFault::new(violation.pointer, violation.reason));
    };
    let default = |column: Column| defaults.value(column).map(str::to_owned);
    let must = |given: Option<String>, column: Column| {
        let given = given.or_else(|| default(column)).map(|text| composed(&text).into_owned());
        given.ok_or_else(|| RowFault::new(format!("/{}", column.as_str()), "is missing"))
    };
    let (verdict, category) = (must(read.verdict, Column::Verdict)?, must(read.category, Column::Category)?);
    let mut subject = read.subject;
    if subject.kind == InputKind::Account && subject.bank.is_none() {
        subject.bank = default(Column::Bank).map(Cow::Owned);
    }
    let basis = [Column::Document, Column::IssuedOn, Column::Authority].map(default);
    let source = read.source.map(|source| SourceInput { kind: source.kind, reference: source.reference });
    let input = FlagInput {
        subject,
        verdict: Verdict::parse(&verdict).ok_or_else(|| RowFault::new("/verdict", "expected warn, hold or block"))?,
        category: Category::parse(&category)
            .ok_or_else(|| RowFault::new("/category", "expected a category such as mule"))?,
        case: must(read.case, Column::Case)?,
        reason: must(read.reason, Column::Reason)?,
        legal_basis: read.legal_basis.or(match basis {
            [Some(document), Some(issued_on), Some(authority)] => {
                Some(LegalBasisInput { document, issued_on: date(&issued_on), authority })
            }
            _ => None,
        }),
        expires_at: read.expires_at,
        urgent: read.urgent,
        linked: read.linked,
        source: source.or(default(Column::SourceKind)
            .and_then(|kind| SourceKind::parse(&kind))
            .map(|kind| SourceInput { kind, reference: default(Column::SourceReference) })),
    };
    input.parse(directory).map_err(|InputError { violation, .. }| RowFault::new(violation.pointer, violation.reason))
}
