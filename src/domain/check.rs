//! A check: what a bank asks about the subjects of one transaction, and what it is answered.

use super::advice::{Advice, Context};
use super::{Category, CheckId, FlagId, Subject, SubjectKind, Timestamp, Verdict};
use serde::Serialize;

pub const SUBJECTS_MAX: usize = 16;
pub const CHECKS_IN_BATCH_MAX: usize = 1_000;
pub const SALT_CHARS: usize = 22;

/// A question in normal form.
pub struct Question {
    pub subjects: Vec<Subject>,
    pub context: Context,
    pub reference: Option<String>,
    pub operator: Option<String>,
}

/// What a check is answered.
pub struct Answer<'a> {
    pub id: CheckId,
    pub verdict: Verdict,
    pub results: Vec<SubjectResult<'a>>,
    pub advice: Option<Advice>,
    pub list_version: u64,
    pub checked_at: Timestamp,
    /// 16 random bytes in base64url. The log has only the digest of the body, which tells nothing without them.
    pub salt: [u8; SALT_CHARS],
}

impl Answer<'_> {
    /// The body of a 200, exactly. Names and values that need no escaping are written as they stand, since a serializer
    /// looks at each of their bytes, and every check has them all.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut out = Vec::with_capacity(512);
        put(&mut out, &[br#"{"id":""#, &self.id.ascii(), br#"","verdict":""#, self.verdict.as_str().as_bytes()]);
        put(&mut out, &[br#"","results":["#]);
        for (place, result) in self.results.iter().enumerate() {
            put(&mut out, &[if place > 0 { b"," } else { b"" }, br#"{"subject":"#]);
            result.subject.write_json(&mut out);
            put(&mut out, &[br#","verdict":""#, result.verdict.as_str().as_bytes(), br#"","flags":"#]);
            serde_json::to_writer(&mut out, &result.flags)?;
            put(&mut out, &[b"}"]);
        }
        put(&mut out, &[br#"],"advice":"#]);
        serde_json::to_writer(&mut out, &self.advice)?;
        put(&mut out, &[br#","list_version":"#, itoa::Buffer::new().format(self.list_version).as_bytes()]);
        put(&mut out, &[br#","checked_at":""#, &self.checked_at.ascii(), br#"","salt":""#, &self.salt, br#""}"#]);
        Ok(out)
    }
}

fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

pub struct SubjectResult<'a> {
    pub subject: &'a Subject,
    pub verdict: Verdict,
    pub flags: Vec<FlagShown<'a>>,
}

#[derive(Serialize)]
pub struct FlagShown<'a> {
    pub id: FlagId,
    pub verdict: Verdict,
    pub category: Category,
    pub case: &'a str,
    pub since: Timestamp,
    pub expires_at: Timestamp,
    pub document: Option<&'a str>,
    /// The kind of the subject that the flag is about, if it only links to this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linked_from: Option<SubjectKind>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::domain::advice::Context;
    use serde_json::{Value, json};

    fn answered(results: Vec<SubjectResult<'_>>, advice: Option<Advice>) -> Value {
        let verdict = results.iter().map(|result| result.verdict).max().unwrap();
        let (id, checked_at) = (CheckId::from_bytes([7; 16]), Timestamp::EPOCH);
        let salt = *b"AAAAAAAAAAAAAAAAAAAAAA";
        let answer = Answer { id, verdict, results, advice, list_version: 48_211, checked_at, salt };
        let body: Value = serde_json::from_slice(&answer.to_json().unwrap()).unwrap();
        assert_eq!(body["id"], id.to_string());
        assert_eq!(body["verdict"], verdict.as_str());
        assert_eq!(body["list_version"], 48_211);
        assert_eq!(body["checked_at"], "1970-01-01T00:00:00.000Z");
        assert_eq!(body["salt"], "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(body.as_object().unwrap().len(), 7);
        body
    }

    #[test]
    fn a_clear_answer_has_every_subject_in_its_order() {
        let texts = ["account:970436:0011001932418", "wallet:momo:0901234567", "phone:+84901234567"];
        let subjects = texts.map(|text| Subject::from_canonical(text).unwrap());
        let clear = |subject| SubjectResult { subject, verdict: Verdict::Clear, flags: Vec::new() };
        let body = answered(subjects.iter().map(clear).collect(), None);
        let expected: Vec<Value> =
            subjects.iter().map(|subject| json!({"subject": subject, "verdict": "clear", "flags": []})).collect();
        assert_eq!(body["results"], Value::Array(expected));
        assert_eq!(body["advice"], Value::Null);
    }

    #[test]
    fn what_a_flag_says_is_escaped() {
        let subject = Subject::from_canonical("person:001099012345").unwrap();
        let (verdict, category) = (Verdict::Hold, Category::Mule);
        let (id, at) = (FlagId::from_bytes([9; 16]), Timestamp::EPOCH);
        let (case, document) = ("\"12\\3\"\n", Some("45/QĐ"));
        let flag = FlagShown { id, verdict, category, case, since: at, expires_at: at, document, linked_from: None };
        let result = SubjectResult { subject: &subject, verdict, flags: vec![flag] };
        let body = answered(vec![result], Advice::for_answer(verdict, category, Context::Transfer));
        assert_eq!(body["results"][0]["flags"][0]["case"], case);
        assert_eq!(body["results"][0]["flags"][0]["document"], "45/QĐ");
        assert!(body["advice"]["vi"].is_string());
    }
}
