//! An entry as auditors get it: one JSON object, or one row of CSV. `bytes` are the entry's exact bytes, so that anybody
//! can compute `leaf` again. It never holds more than the entry does, so never a subject.

use super::{Entry, FlagVersion, Resource, leaf_hash};
use crate::domain::{SubjectHash, Verdict};
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, SerializeStruct, Serializer};
use std::fmt::{self, Write};

/// The columns of the CSV, which are the fields of the JSON object in their order.
pub const CSV_HEADER: &str = "node,index,at,act,party,client,operator,request_id,resource,subjects,verdict,flags,\
                              list_version,answer_digest,reference,leaf,problem,count,bytes\r\n";

pub struct Exported<'a> {
    pub node: &'a str,
    pub index: u64,
    pub entry: &'a Entry,
    /// What `entry` was read from, without the length.
    pub bytes: &'a [u8],
}

impl Serialize for Exported<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entry = self.entry;
        let mut object = serializer.serialize_struct("Exported", 19)?;
        object.serialize_field("node", self.node)?;
        object.serialize_field("index", &self.index)?;
        object.serialize_field("at", &entry.at)?;
        object.serialize_field("act", entry.act.as_str())?;
        object.serialize_field("party", entry.party.as_str())?;
        object.serialize_field("client", entry.client.as_str())?;
        object.serialize_field("operator", &entry.operator)?;
        object.serialize_field("request_id", &entry.request_id)?;
        object.serialize_field("resource", &entry.resource.as_ref().map(ResourceText))?;
        object
            .serialize_field("subjects", &Each(|| entry.subjects.iter().map(|subject| Hex(subject.hash.as_bytes()))))?;
        object.serialize_field("verdict", &entry.verdict)?;
        object.serialize_field("flags", &Each(|| flags(entry).map(FlagObject)))?;
        object.serialize_field("list_version", &entry.list_version)?;
        object.serialize_field("answer_digest", &entry.answer_digest.as_ref().map(Hex))?;
        object.serialize_field("reference", &entry.reference)?;
        object.serialize_field("leaf", &Hex(&leaf_hash(self.bytes)))?;
        object.serialize_field("problem", &entry.problem)?;
        object.serialize_field("count", &entry.count)?;
        object.serialize_field("bytes", &Base64(self.bytes))?;
        object.end()
    }
}

/// The flags that answered, of one subject after the other.
fn flags(entry: &Entry) -> impl Iterator<Item = &FlagVersion> {
    entry.subjects.iter().flat_map(|subject| &subject.flags)
}

impl Exported<'_> {
    /// Appends the row of RFC 4180. Lists are joined by spaces, a flag is its id, `:` and its version, nothing is an empty
    /// cell. A text that a spreadsheet would run as a formula has a `'` put before it.
    pub fn write_csv(&self, out: &mut String) {
        let entry = self.entry;
        put_text(out, self.node);
        put_shown(out, format_args!("{},{},{}", self.index, entry.at, entry.act.as_str()));
        out.push(',');
        put_text(out, entry.party.as_str());
        put_text(out, entry.client.as_str());
        put_text(out, entry.operator.as_deref().unwrap_or_default());
        put_shown(out, format_args!("{},", entry.request_id));
        match &entry.resource {
            None => out.push(','),
            Some(Resource::Party(id)) => put_text(out, id.as_str()),
            Some(Resource::Client(id)) => put_text(out, id.as_str()),
            Some(
                resource @ (Resource::Check(_)
                | Resource::Flag(_)
                | Resource::Token(_)
                | Resource::Objection(_)
                | Resource::Import(_)),
            ) => {
                put_shown(out, format_args!("{resource},"));
            }
        }
        for (place, subject) in entry.subjects.iter().enumerate() {
            put_space(out, place);
            Hex(subject.hash.as_bytes()).with_text(|text| out.push_str(text));
        }
        put_shown(out, format_args!(",{},", entry.verdict.map_or("", Verdict::as_str)));
        for (place, flag) in flags(entry).enumerate() {
            put_space(out, place);
            put_shown(out, format_args!("{}:{}", flag.id, flag.version));
        }
        put_shown(out, format_args!(",{},", entry.list_version));
        if let Some(digest) = &entry.answer_digest {
            Hex(digest).with_text(|text| out.push_str(text));
        }
        out.push(',');
        put_text(out, entry.reference.as_deref().unwrap_or_default());
        Hex(&leaf_hash(self.bytes)).with_text(|text| out.push_str(text));
        out.push(',');
        put_text(out, entry.problem.as_deref().unwrap_or_default());
        put_shown(out, format_args!("{},{}\r\n", entry.count, Base64Display::new(self.bytes, &STANDARD)));
    }
}

/// A cell and the comma after it.
fn put_text(out: &mut String, text: &str) {
    let runs_as_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let guard = if runs_as_formula { "'" } else { "" };
    if text.contains(['"', ',', '\r', '\n']) {
        put_shown(out, format_args!("\"{guard}{}\",", text.replace('"', "\"\"")));
    } else {
        out.push_str(guard);
        out.push_str(text);
        out.push(',');
    }
}

fn put_space(out: &mut String, place: usize) {
    if place > 0 {
        out.push(' ');
    }
}

/// Writing into a `String` cannot fail.
fn put_shown(out: &mut String, shown: fmt::Arguments<'_>) {
    out.write_fmt(shown).unwrap_or_default();
}

/// A list that is written item by item.
struct Each<F>(F);

impl<F: Fn() -> I, I: Iterator<Item: Serialize>> Serialize for Each<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0())
    }
}

struct FlagObject<'a>(&'a FlagVersion);

impl Serialize for FlagObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Flag", 2)?;
        object.serialize_field("id", &self.0.id)?;
        object.serialize_field("version", &self.0.version)?;
        object.end()
    }
}

struct ResourceText<'a>(&'a Resource);

impl Serialize for ResourceText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Resource::Check(id) => id.serialize(serializer),
            Resource::Flag(id) => id.serialize(serializer),
            Resource::Token(id) => id.serialize(serializer),
            Resource::Party(id) => serializer.serialize_str(id.as_str()),
            Resource::Client(id) => serializer.serialize_str(id.as_str()),
            Resource::Objection(id) => id.serialize(serializer),
            Resource::Import(id) => id.serialize(serializer),
        }
    }
}

/// Lower-case hexadecimal, made on the stack: every entry has several.
struct Hex<'a>(&'a [u8; 32]);

impl Hex<'_> {
    fn with_text<T>(&self, use_it: impl FnOnce(&str) -> T) -> T {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'0'; 64];
        let (pairs, _) = text.as_chunks_mut::<2>();
        for (pair, byte) in pairs.iter_mut().zip(self.0) {
            let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
            *pair = [digit(byte >> 4), digit(byte & 15)];
        }
        // ASCII throughout, so that this never fails.
        use_it(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_text(|text| serializer.serialize_str(text))
    }
}

struct Base64<'a>(&'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0, &STANDARD))
    }
}

/// As a search names it.
impl Serialize for SubjectHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Hex(self.as_bytes()).serialize(serializer)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::super::entry::tests::any_entry;
    use super::*;
    use crate::domain::party::{ClientId, PartyId};
    use crate::domain::{CheckId, FlagId, RequestId, Timestamp};
    use crate::log::{Act, EntrySubject};
    use base64::Engine;
    use proptest::prelude::*;
    use serde_json::Value;

    fn bytes_of(entry: &Entry) -> Vec<u8> {
        let mut bundle = Vec::new();
        entry.encode(&mut bundle).unwrap();
        bundle.split_off(2)
    }

    fn csv_of(entry: &Entry) -> csv::StringRecord {
        let bytes = bytes_of(entry);
        let mut text = CSV_HEADER.to_owned();
        Exported { node: "main", index: 7, entry, bytes: &bytes }.write_csv(&mut text);
        let rows: Result<Vec<_>, _> = csv::Reader::from_reader(text.as_bytes()).records().collect();
        let mut rows = rows.unwrap();
        assert_eq!(rows.len(), 1, "{text}");
        rows.remove(0)
    }

    fn entry() -> Entry {
        Entry {
            act: Act::Check,
            at: Timestamp::from_ms(1_795_000_000_123),
            request_id: RequestId::from_bytes([1; 16]),
            party: PartyId::parse("970436").unwrap(),
            client: ClientId::parse("core").unwrap(),
            operator: Some("teller-17".to_owned()),
            resource: Some(Resource::Check(CheckId::from_bytes([2; 16]))),
            verdict: Some(Verdict::Warn),
            list_version: 5,
            subjects: vec![EntrySubject {
                hash: SubjectHash::from_bytes([0xab; 32]),
                verdict: Some(Verdict::Warn),
                flags: vec![FlagVersion { id: FlagId::from_bytes([3; 16]), version: 2 }],
            }],
            answer_digest: Some([0xcd; 32]),
            reference: None,
            problem: None,
            count: 1,
        }
    }

    #[test]
    fn a_formula_is_not_run_by_a_spreadsheet() {
        for (given, shown) in [
            ("=1+1", "'=1+1"),
            ("+84", "'+84"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\tx", "'\tx"),
            ("\rx", "'\rx"),
            ("=HYPERLINK(\"a\",\"b\")", "'=HYPERLINK(\"a\",\"b\")"),
            ("a=1", "a=1"),
        ] {
            let row = csv_of(&Entry { operator: Some(given.to_owned()), reference: Some(given.to_owned()), ..entry() });
            assert_eq!((&row[6], &row[14]), (shown, shown));
        }
    }

    #[test]
    fn the_object_has_the_fields_of_the_contract_in_their_order() {
        let (entry, columns) = (entry(), CSV_HEADER.trim_end().split(','));
        let bytes = bytes_of(&entry);
        let text = serde_json::to_string(&Exported { node: "main", index: 7, entry: &entry, bytes: &bytes }).unwrap();
        let places: Vec<_> = columns.map(|name| text.find(&format!("\"{name}\":")).unwrap()).collect();
        assert!(places.is_sorted(), "{text}");
        assert!(text.starts_with(r#"{"node":"main","index":7,"at":"2026-11-18T"#), "{text}");
        let resource = CheckId::from_bytes([2; 16]).to_string();
        let flag = FlagId::from_bytes([3; 16]).to_string();
        let object: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["resource"], resource);
        assert_eq!(object["subjects"], serde_json::json!(["ab".repeat(32)]));
        assert_eq!(object["flags"], serde_json::json!([{ "id": flag, "version": 2 }]));
        assert_eq!(object["operator"], "teller-17");
        assert_eq!((&object["reference"], &object["problem"]), (&Value::Null, &Value::Null));
        assert_eq!(object["answer_digest"], "cd".repeat(32));
        let row = csv_of(&entry);
        assert_eq!(&row[11], format!("{flag}:2"));
    }

    proptest! {
        #[test]
        fn bytes_give_the_leaf_and_the_entry_in_both_forms(entry in any_entry()) {
            let bytes = bytes_of(&entry);
            let object = serde_json::to_value(Exported { node: "main", index: 7, entry: &entry, bytes: &bytes }).unwrap();
            let row = csv_of(&entry);
            for (encoded, leaf) in [(object["bytes"].as_str().unwrap(), object["leaf"].as_str().unwrap()), (&row[18], &row[15])] {
                let decoded = STANDARD.decode(encoded).unwrap();
                let read = Entry::decode(&decoded);
                prop_assert_eq!(read.as_ref(), Some(&entry));
                let hex: String = leaf_hash(&decoded).iter().map(|byte| format!("{byte:02x}")).collect();
                prop_assert_eq!(leaf, hex);
            }
            prop_assert_eq!(object["subjects"].as_array().unwrap().len(), entry.subjects.len());
            prop_assert_eq!(row[9].split_whitespace().count(), entry.subjects.len());
        }
    }
}
