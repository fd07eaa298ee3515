//! One row of a table, by its columns, and how it becomes a proposal: through the same parse as `POST /v1/flags`.

use super::cell::{cell_text, date};
use super::{Cell, Column, Defaults, RowFault};
use crate::domain::flag_input::{LegalBasisInput, SourceInput};
use crate::domain::party::PartyId;
use crate::domain::strict::Object;
use crate::domain::subject_input::InputKind;
use crate::domain::{Category, FlagInput, SourceKind, Subject, SubjectInput, Timestamp, Verdict};
use std::borrow::Cow;

/// A row's texts by column, with the file's defaults in the empty places.
pub(super) struct Cells<'a>(Vec<(Column, Cow<'a, str>)>);

impl<'a> Cells<'a> {
    pub(super) fn read(cells: &'a [(Column, Cell)], defaults: &'a Defaults) -> Result<Self, RowFault> {
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

    pub(super) fn input(&self) -> Result<FlagInput<'_>, RowFault> {
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
            unit: self.text(Column::Unit).map(|id| unit(id, Column::Unit)).transpose()?,
            coordinating: self.coordinating()?,
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

    fn coordinating(&self) -> Result<Vec<PartyId>, RowFault> {
        split(self.text(Column::Coordinating)).map(|id| unit(id, Column::Coordinating)).collect()
    }

    /// `account:BANK:NUMBER; person:ID`, in the form of canonical texts.
    fn linked(&self) -> Result<Vec<Object<SubjectInput<'_>>>, RowFault> {
        let texts = split(self.text(Column::Linked));
        let fault = || RowFault::at(Column::Linked, "expected subjects such as account:970436:0011001932418");
        texts.map(|text| linked_input(text).map(Object).ok_or_else(fault)).collect()
    }
}

/// What stands in one cell, separated by semicolons.
fn split(cell: Option<&str>) -> impl Iterator<Item = &str> {
    cell.unwrap_or_default().split([';', ' ', '\n']).filter(|text| !text.is_empty())
}

fn unit(id: &str, column: Column) -> Result<PartyId, RowFault> {
    PartyId::parse(id).ok_or_else(|| RowFault::at(column, "expected the id of a unit"))
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

/// How an export writes linked subjects.
pub fn linked_text(subjects: &[Subject]) -> String {
    subjects.iter().map(Subject::canonical).collect::<Vec<_>>().join(";")
}
