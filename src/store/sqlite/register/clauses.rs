//! What is asked for, in the words of the view: clauses that are compared with each flag, and sources that tell by an index
//! which flags there are. All of it is put together from fixed texts; what was asked for is only ever a value.

use super::Reader;
use super::find::{Asked, Moment, ROWS_OF_FLAG};
use crate::domain::folding::{NumberPart, Words};
use crate::domain::party::PartyId;
use crate::domain::{FlagConditions, FlagState, Span, Timestamp};
use crate::store::StoreError;
use rusqlite::types::Value;
use std::ops::ControlFlow;

/// Words that are looked up instead of what they begin with.
const BEGUN_WORDS_MAX: usize = 64;

/// A text with `?` for each of its values, in order.
#[derive(Clone)]
pub(super) struct Condition {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
}

/// Tells which flags meet a condition.
pub(super) struct Source {
    pub(super) places: Condition,
    /// Compares the condition if these are many, where `compared` does not have it.
    pub(super) otherwise: Option<Condition>,
    pub(super) matched: Option<Matched>,
}

/// A condition on words, which are found in the order of places.
pub(super) struct Matched {
    pub(super) table: &'static str,
    pub(super) query: String,
    /// Where it starts costs as much as going through all of it.
    pub(super) is_whole: bool,
}

pub(super) struct Clauses {
    pub(super) compared: Vec<Condition>,
    pub(super) sources: Vec<Source>,
}

impl Clauses {
    pub(super) fn of(reader: &mut Reader, asked: &Asked<'_>) -> Result<Self, StoreError> {
        let conditions = asked.conditions;
        let mut clauses = Self { compared: Vec::new(), sources: Vec::new() };
        clauses.of_ever(reader, conditions)?;
        if !sees_all(reader, asked.seen_by)? {
            clauses.seen(asked.seen_by);
        }
        let at = time(asked.at);
        match asked.version {
            Moment::Newest => {
                clauses.of_newest(conditions, asked.at);
                clauses.compared.extend(contents(conditions, asked.at));
            }
            // What has not changed since then is as it was; the others are looked at one by one.
            Moment::Past => {
                clauses.compared.push(condition("first_at <= ?", [at.clone()]));
                let contents = contents(conditions, asked.at);
                let all: Vec<&str> = contents.iter().map(|content| content.sql.as_str()).collect();
                let values = [at].into_iter().chain(contents.iter().flat_map(|content| content.values.iter().cloned()));
                if !all.is_empty() {
                    clauses.compared.push(condition(&format!("(version_at > ? OR ({}))", all.join(" AND ")), values));
                }
            }
        }
        Ok(clauses)
    }

    /// Of what never changes, or is kept of all versions.
    fn of_ever(&mut self, reader: &mut Reader, conditions: &FlagConditions) -> Result<(), StoreError> {
        if let Some(subject) = &conditions.subject {
            let value = Value::Text(subject.canonical());
            self.sources.push(Source {
                places: condition("SELECT place FROM flag_subject WHERE subject = ?", [value.clone()]),
                otherwise: Some(condition(
                    "EXISTS (SELECT 1 FROM flag_subject WHERE subject = ? AND flag_subject.place = flag.place)",
                    [value],
                )),
                matched: None,
            });
        }
        if let Some(part) = &conditions.number_part {
            self.sources.push(Source::matched(of_part(part)));
        }
        if let Some(words) = &conditions.text {
            self.sources.push(match of_words(reader, words)? {
                Some(matched) => Source::matched(matched),
                None => Source { places: condition("SELECT 1 WHERE FALSE", []), otherwise: None, matched: None },
            });
        }
        self.span("raised_at", "flag_by_raising", conditions.raised);
        self.compared.extend(span("raised_at", conditions.raised));
        for (column, word) in [
            ("kind", conditions.kind.map(|kind| kind.as_str())),
            ("institution", conditions.bank.as_ref().map(|bank| bank.as_str())),
            ("institution", conditions.provider.as_ref().map(|provider| provider.as_str())),
            ("source", conditions.source.map(|source| source.as_str())),
        ] {
            self.compared.extend(equal(column, word));
        }
        Ok(())
    }

    /// Sources that know the newest version alone.
    fn of_newest(&mut self, conditions: &FlagConditions, at: Timestamp) {
        let mut add = |places| self.sources.push(Source { places, otherwise: None, matched: None });
        match conditions.state {
            Some(FlagState::Expired) => {
                add(condition("SELECT place FROM flag INDEXED BY flag_by_end WHERE expires_at <= ?", [time(at)]));
            }
            Some(state) => {
                let state = Value::Text(state.as_str().to_owned());
                add(condition("SELECT place FROM flag INDEXED BY flag_by_state WHERE state = ?", [state]));
            }
            None => {}
        }
        if let Some(case) = &conditions.case {
            let case = Value::Text(case.clone());
            add(condition("SELECT place FROM flag INDEXED BY flag_by_case WHERE case_key = ?", [case]));
        }
        if let Some(officer) = &conditions.officer {
            let officer = Value::Text(officer.as_str().to_owned());
            add(condition("SELECT place FROM flag INDEXED BY flag_by_officer WHERE officer = ?", [officer]));
        }
        if let Some(units) = &conditions.units {
            add(condition(&format!("SELECT place FROM flag INDEXED BY flag_by_unit WHERE {OF_UNITS}"), [list(units)]));
        }
        self.span("changed_at", "flag_by_changing", conditions.changed);
        self.span("expires_at", "flag_by_end", conditions.expires);
    }

    fn seen(&mut self, units: &[PartyId]) {
        let units = list(units);
        self.sources.push(Source {
            places: condition(
                &format!(
                    "SELECT place FROM flag INDEXED BY flag_by_unit WHERE {OF_UNITS} \
                     UNION ALL SELECT place FROM flag_coordinating WHERE {OF_UNITS}"
                ),
                [units.clone(), units.clone()],
            ),
            otherwise: Some(condition(
                &format!(
                    "({OF_UNITS} OR (coordinated = 1 AND EXISTS (SELECT 1 FROM flag_coordinating \
                     WHERE flag_coordinating.place = flag.place AND flag_coordinating.{OF_UNITS})))"
                ),
                [units.clone(), units],
            )),
            matched: None,
        });
    }

    fn span(&mut self, column: &str, index: &str, asked: Span) {
        if let Some(within) = span(column, asked) {
            let sql = format!("SELECT place FROM flag INDEXED BY {index} WHERE {}", within.sql);
            self.sources.push(Source { places: Condition { sql, ..within }, otherwise: None, matched: None });
        }
    }
}

const OF_UNITS: &str = "unit IN (SELECT value FROM json_each(?))";

impl Source {
    fn matched(matched: Matched) -> Self {
        let Matched { table, query, .. } = &matched;
        let sql = format!("SELECT rowid / ? FROM {table} WHERE {table} MATCH ?");
        let places = condition(&sql, [Value::Integer(ROWS_OF_FLAG), Value::Text(query.clone())]);
        Self { places, otherwise: None, matched: Some(matched) }
    }
}

impl Matched {
    pub(super) fn compared(&self) -> Condition {
        let table = self.table;
        condition(
            &format!(
                "EXISTS (SELECT 1 FROM {table} WHERE {table} MATCH ? AND {table}.rowid >= flag.place * ? \
                 AND {table}.rowid < (flag.place + 1) * ?)"
            ),
            [Value::Text(self.query.clone()), Value::Integer(ROWS_OF_FLAG), Value::Integer(ROWS_OF_FLAG)],
        )
    }
}

/// Conditions on what may change from version to version.
fn contents(conditions: &FlagConditions, at: Timestamp) -> Vec<Condition> {
    let active = || Value::Text(FlagState::Active.as_str().to_owned());
    let state = conditions.state.map(|state| match state {
        FlagState::Active => condition("state = ? AND (expires_at IS NULL OR expires_at > ?)", [active(), time(at)]),
        FlagState::Expired => condition("state = ? AND expires_at <= ?", [active(), time(at)]),
        FlagState::Proposed | FlagState::Rejected | FlagState::Lifted => {
            condition("state = ?", [Value::Text(state.as_str().to_owned())])
        }
    });
    let units = conditions.units.as_ref().map(|units| condition(OF_UNITS, [list(units)]));
    [
        state,
        equal("verdict", conditions.verdict.map(|verdict| verdict.as_str())),
        equal("category", conditions.category.map(|category| category.as_str())),
        equal("officer", conditions.officer.as_ref().map(|officer| officer.as_str())),
        equal("case_key", conditions.case.as_deref()),
        units,
        span("changed_at", conditions.changed),
        span("expires_at", conditions.expires),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Whether every unit that owns a flag is among `units`.
fn sees_all(reader: &mut Reader, units: &[PartyId]) -> Result<bool, StoreError> {
    let mut after = String::new();
    loop {
        let mut next: Option<String> = None;
        reader.rows("SELECT MIN(unit) FROM flag WHERE unit > ?", &[Value::Text(after)], &mut |row| {
            next = row.get(0)?;
            Ok(ControlFlow::Continue(()))
        })?;
        let Some(unit) = next else { return Ok(true) };
        if !units.iter().any(|seen| seen.as_str() == unit) {
            return Ok(false);
        }
        after = unit;
    }
}

fn of_part(part: &NumberPart) -> Matched {
    let grams: Vec<String> = part.grams().map(|gram| format!("\"{gram}\"")).collect();
    Matched { table: "flag_number", query: grams.join(" AND "), is_whole: false }
}

/// `None` if no flag has such a word. A beginning is looked up as the words that begin so, unless these are many: each of them
/// is then rare.
fn of_words(reader: &mut Reader, words: &Words) -> Result<Option<Matched>, StoreError> {
    let (whole, beginning) = words.parts();
    let mut terms: Vec<String> = whole.iter().map(|word| format!("\"{word}\"")).collect();
    let mut is_whole = false;
    if let Some(beginning) = beginning {
        let end = format!("{beginning}{}", char::MAX);
        let mut begun: Vec<String> = Vec::new();
        let sql = "SELECT text FROM word WHERE text >= ? AND text < ? ORDER BY text";
        reader.rows(sql, &[Value::Text(beginning.to_owned()), Value::Text(end)], &mut |row| {
            let word: String = row.get(0)?;
            begun.push(format!("\"{word}\""));
            Ok(if begun.len() > BEGUN_WORDS_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        is_whole = begun.len() > BEGUN_WORDS_MAX;
        if begun.is_empty() {
            return Ok(None);
        }
        terms.push(if is_whole { format!("\"{beginning}\"*") } else { format!("({})", begun.join(" OR ")) });
    }
    Ok(Some(Matched { table: "flag_text", query: terms.join(" AND "), is_whole }))
}

fn condition(sql: &str, values: impl IntoIterator<Item = Value>) -> Condition {
    Condition { sql: sql.to_owned(), values: values.into_iter().collect() }
}

fn equal(column: &str, word: Option<&str>) -> Option<Condition> {
    word.map(|word| condition(&format!("{column} = ?"), [Value::Text(word.to_owned())]))
}

fn span(column: &str, asked: Span) -> Option<Condition> {
    let ends = [(asked.from, ">="), (asked.to, "<")];
    let ends: Vec<(Timestamp, &str)> = ends.into_iter().filter_map(|(end, sign)| Some((end?, sign))).collect();
    let sql: Vec<String> = ends.iter().map(|(_, sign)| format!("{column} {sign} ?")).collect();
    (!ends.is_empty()).then(|| condition(&sql.join(" AND "), ends.iter().map(|(end, _)| time(*end))))
}

/// Times stay far below 2^63.
fn time(time: Timestamp) -> Value {
    Value::Integer(i64::try_from(time.as_ms()).unwrap_or(i64::MAX))
}

/// As a JSON list; ids of units need no escapes.
fn list(units: &[PartyId]) -> Value {
    let units: Vec<String> = units.iter().map(|unit| format!("\"{unit}\"")).collect();
    Value::Text(format!("[{}]", units.join(",")))
}
