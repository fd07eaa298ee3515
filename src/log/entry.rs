//! One entry of the access log and its canonical bytes: the same entry always gives the same bytes, and bytes that this
//! code would not write are refused. An entry never holds a subject, only its keyed hash.
//!
//! Form 1, all integers big-endian, `text` = u16 length and UTF-8, `optional x` = 8-bit 0, or 1 and x:
//! form u8 = 1 · act u8 · at u64 (ms) · request id 16 bytes · party text · client text · operator optional text ·
//! resource optional (kind u8, 16 bytes or text) · verdict u8 (0 none) · list_version u64 ·
//! subjects u8, each (hash 32 bytes, verdict u8 (0 none), flags u8, each (id 16 bytes, version u32)) ·
//! answer digest optional 32 bytes (SHA-256 of the exact body) · reference optional text · problem optional text · count u32

use super::Act;
use crate::domain::party::{ClientId, PartyId};
use crate::domain::{CheckId, FlagId, ImportId, ObjectionId, RequestId, SubjectHash, Timestamp, TokenId, Verdict};
use sha2::{Digest, Sha256};

pub(super) const FORM: u8 = 1;

/// What an act was about, beside its subjects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    Check(CheckId),
    Flag(FlagId),
    Token(TokenId),
    Party(PartyId),
    Client(ClientId),
    Objection(ObjectionId),
    Import(ImportId),
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Check(id) => id.fmt(f),
            Self::Flag(id) => id.fmt(f),
            Self::Token(id) => id.fmt(f),
            Self::Party(id) => id.fmt(f),
            Self::Client(id) => id.fmt(f),
            Self::Objection(id) => id.fmt(f),
            Self::Import(id) => id.fmt(f),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagVersion {
    pub id: FlagId,
    pub version: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntrySubject {
    pub hash: SubjectHash,
    /// `None`: the act named the subject and was told nothing of it, as a search of the log by subject.
    pub verdict: Option<Verdict>,
    pub flags: Vec<FlagVersion>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub act: Act,
    pub at: Timestamp,
    pub request_id: RequestId,
    pub party: PartyId,
    pub client: ClientId,
    pub operator: Option<String>,
    pub resource: Option<Resource>,
    pub verdict: Option<Verdict>,
    /// Of the list that the act saw or, for a change, made. The writer fills it in for a change.
    pub list_version: u64,
    pub subjects: Vec<EntrySubject>,
    pub answer_digest: Option<[u8; 32]>,
    pub reference: Option<String>,
    /// The slug of the problem with which the call was refused.
    pub problem: Option<String>,
    /// How many calls the entry stands for.
    pub count: u32,
}

/// An entry that form 1 cannot hold; the limits of the wire keep real ones far below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an entry is too large for the log")]
pub struct EntryTooLarge;

/// RFC 6962: SHA-256 of 0x00 and the entry's bytes.
pub fn leaf_hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update([0]).chain_update(bytes).finalize().into()
}

impl Entry {
    /// An entry of an act with everything else empty.
    pub fn new(act: Act, at: Timestamp, request_id: RequestId, party: PartyId, client: ClientId) -> Self {
        Self {
            act,
            at,
            request_id,
            party,
            client,
            operator: None,
            resource: None,
            verdict: None,
            list_version: 0,
            subjects: Vec::new(),
            answer_digest: None,
            reference: None,
            problem: None,
            count: 1,
        }
    }

    /// Appends the canonical bytes, after their 16-bit length, to `bundle`, and returns their leaf hash; on an error `bundle` is
    /// as before.
    pub fn encode(&self, bundle: &mut Vec<u8>) -> Result<[u8; 32], EntryTooLarge> {
        let start = bundle.len();
        if self.write(bundle, start).is_none() {
            bundle.truncate(start);
            return Err(EntryTooLarge);
        }
        Ok(leaf_hash(bundle.get(start + 2..).unwrap_or_default()))
    }

    fn write(&self, out: &mut Vec<u8>, start: usize) -> Option<()> {
        out.extend([0, 0, FORM, self.act.code()?]);
        out.extend(self.at.as_ms().to_be_bytes());
        out.extend(self.request_id.as_bytes());
        put_text(out, self.party.as_str())?;
        put_text(out, self.client.as_str())?;
        put_optional_text(out, self.operator.as_deref())?;
        put_resource(out, self.resource.as_ref())?;
        put_verdict(out, self.verdict);
        out.extend(self.list_version.to_be_bytes());
        out.push(u8::try_from(self.subjects.len()).ok()?);
        for subject in &self.subjects {
            out.extend(subject.hash.as_bytes());
            put_verdict(out, subject.verdict);
            out.push(u8::try_from(subject.flags.len()).ok()?);
            for flag in &subject.flags {
                out.extend(flag.id.as_bytes());
                out.extend(flag.version.to_be_bytes());
            }
        }
        match &self.answer_digest {
            None => out.push(0),
            Some(digest) => {
                out.push(1);
                out.extend(digest);
            }
        }
        put_optional_text(out, self.reference.as_deref())?;
        put_optional_text(out, self.problem.as_deref())?;
        out.extend(self.count.to_be_bytes());
        let length = u16::try_from(out.len().checked_sub(start)?.checked_sub(2)?).ok()?;
        out.get_mut(start..)?.first_chunk_mut::<2>()?.copy_from_slice(&length.to_be_bytes());
        Some(())
    }

    /// Reads an entry's bytes (without the length); `None` for anything that `encode` would not have written.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = Reader(bytes);
        if rest.byte()? != FORM {
            return None;
        }
        let entry = Self {
            act: Act::from_code(rest.byte()?)?,
            at: rest.time()?,
            request_id: RequestId::from_bytes(rest.array()?),
            party: PartyId::parse(rest.text()?)?,
            client: ClientId::parse(rest.text()?)?,
            operator: rest.optional_text()?,
            resource: rest.resource()?,
            verdict: rest.verdict()?,
            list_version: u64::from_be_bytes(rest.array()?),
            subjects: rest.subjects()?,
            answer_digest: if rest.is_present()? { Some(rest.array()?) } else { None },
            reference: rest.optional_text()?,
            problem: rest.optional_text()?,
            count: u32::from_be_bytes(rest.array()?),
        };
        rest.0.is_empty().then_some(entry)
    }
}

/// Splits a bundle into its entries' bytes; `None` as an item where the bundle is torn.
pub fn entries_of(bundle: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = Some(bundle);
    std::iter::from_fn(move || {
        let (length, after) = match rest? {
            [] => return None,
            [high, low, after @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), after),
            [_] => {
                rest = None;
                return Some(None);
            }
        };
        let split = after.split_at_checked(length);
        rest = split.map(|(_, next)| next);
        Some(split.map(|(entry, _)| entry))
    })
}

fn put_verdict(out: &mut Vec<u8>, verdict: Option<Verdict>) {
    out.push(verdict.map_or(0, Verdict::code));
}

fn put_text(out: &mut Vec<u8>, text: &str) -> Option<()> {
    out.extend(u16::try_from(text.len()).ok()?.to_be_bytes());
    out.extend(text.as_bytes());
    Some(())
}

fn put_optional_text(out: &mut Vec<u8>, text: Option<&str>) -> Option<()> {
    match text {
        None => out.push(0),
        Some(text) => {
            out.push(1);
            put_text(out, text)?;
        }
    }
    Some(())
}

fn put_resource(out: &mut Vec<u8>, resource: Option<&Resource>) -> Option<()> {
    match resource {
        None => out.push(0),
        Some(Resource::Check(id)) => {
            out.push(1);
            out.extend(id.as_bytes());
        }
        Some(Resource::Flag(id)) => {
            out.push(2);
            out.extend(id.as_bytes());
        }
        Some(Resource::Token(id)) => {
            out.push(3);
            out.extend(id.as_bytes());
        }
        Some(Resource::Party(id)) => {
            out.push(4);
            put_text(out, id.as_str())?;
        }
        Some(Resource::Client(id)) => {
            out.push(5);
            put_text(out, id.as_str())?;
        }
        Some(Resource::Objection(id)) => {
            out.push(6);
            out.extend(id.as_bytes());
        }
        Some(Resource::Import(id)) => {
            out.push(7);
            out.extend(id.as_bytes());
        }
    }
    Some(())
}

pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn is_present(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(super) fn time(&mut self) -> Option<Timestamp> {
        let ms = u64::from_be_bytes(self.array()?);
        let time = Timestamp::from_ms(ms);
        (time.as_ms() == ms).then_some(time)
    }

    pub(super) fn verdict(&mut self) -> Option<Option<Verdict>> {
        match self.byte()? {
            0 => Some(None),
            code => Verdict::from_code(code).map(Some),
        }
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.text_bytes()?).ok()
    }

    pub(super) fn text_bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(u16::from_be_bytes(self.array()?));
        self.take(length)
    }

    fn optional_text(&mut self) -> Option<Option<String>> {
        if self.is_present()? { Some(Some(self.text()?.to_owned())) } else { Some(None) }
    }

    fn resource(&mut self) -> Option<Option<Resource>> {
        Some(match self.byte()? {
            0 => None,
            1 => Some(Resource::Check(CheckId::from_bytes(self.array()?))),
            2 => Some(Resource::Flag(FlagId::from_bytes(self.array()?))),
            3 => Some(Resource::Token(TokenId::from_bytes(self.array()?))),
            4 => Some(Resource::Party(PartyId::parse(self.text()?)?)),
            5 => Some(Resource::Client(ClientId::parse(self.text()?)?)),
            6 => Some(Resource::Objection(ObjectionId::from_bytes(self.array()?))),
            7 => Some(Resource::Import(ImportId::from_bytes(self.array()?))),
            _ => return None,
        })
    }

    fn subjects(&mut self) -> Option<Vec<EntrySubject>> {
        let count = usize::from(self.byte()?);
        let mut subjects = Vec::with_capacity(count);
        for _ in 0..count {
            let hash = SubjectHash::from_bytes(self.array()?);
            let verdict = self.verdict()?;
            let flag_count = usize::from(self.byte()?);
            let mut flags = Vec::with_capacity(flag_count);
            for _ in 0..flag_count {
                let id = FlagId::from_bytes(self.array()?);
                flags.push(FlagVersion { id, version: u32::from_be_bytes(self.array()?) });
            }
            subjects.push(EntrySubject { hash, verdict, flags });
        }
        Some(subjects)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_resource(kind: u8, bytes: [u8; 16]) -> Resource {
        match kind {
            0 => Resource::Check(CheckId::from_bytes(bytes)),
            1 => Resource::Flag(FlagId::from_bytes(bytes)),
            2 => Resource::Token(TokenId::from_bytes(bytes)),
            3 => Resource::Objection(ObjectionId::from_bytes(bytes)),
            4 => Resource::Import(ImportId::from_bytes(bytes)),
            5 => Resource::Party(PartyId::parse("hanoi-police").unwrap()),
            _ => Resource::Client(ClientId::parse("demo-officer").unwrap()),
        }
    }

    pub fn any_entry() -> impl Strategy<Value = Entry> {
        let subject = (
            any::<[u8; 32]>(),
            prop::option::of(0..4_usize),
            prop::collection::vec((any::<[u8; 16]>(), any::<u32>()), 0..5),
        );
        let who = (
            0..Act::ALL.len(),
            0_u64..=253_402_207_200_999,
            any::<[u8; 16]>(),
            "[a-z0-9-]{2,32}",
            "[A-Za-z0-9._-]{2,64}",
        );
        let what = (
            prop::option::of("\\PC{1,64}"),
            prop::option::of((0..7_u8, any::<[u8; 16]>())),
            prop::option::of(0..4_usize),
            any::<u64>(),
            prop::collection::vec(subject, 0..17),
            prop::option::of(any::<[u8; 32]>()),
            prop::option::of("\\PC{1,64}"),
            any::<u32>(),
        );
        (who, what).prop_map(|((act, at, request, party, client), what)| {
            let (operator, resource, verdict, list_version, subjects, answer_digest, reference, count) = what;
            Entry {
                act: Act::ALL[act],
                at: Timestamp::from_ms(at),
                request_id: RequestId::from_bytes(request),
                party: PartyId::parse(&party).unwrap(),
                client: ClientId::parse(&client).unwrap(),
                operator,
                resource: resource.map(|(kind, bytes)| any_resource(kind, bytes)),
                verdict: verdict.map(|place| Verdict::ALL[place]),
                list_version,
                subjects: subjects
                    .into_iter()
                    .map(|(hash, verdict, flags)| EntrySubject {
                        hash: SubjectHash::from_bytes(hash),
                        verdict: verdict.map(|place: usize| Verdict::ALL[place]),
                        flags: flags
                            .into_iter()
                            .map(|(id, version)| FlagVersion { id: FlagId::from_bytes(id), version })
                            .collect(),
                    })
                    .collect(),
                answer_digest,
                reference,
                problem: None,
                count,
            }
        })
    }

    proptest! {
        #[test]
        fn an_entry_read_back_is_the_same(entry in any_entry()) {
            let mut bundle = Vec::new();
            entry.encode(&mut bundle).unwrap();
            let entries: Vec<_> = entries_of(&bundle).collect();
            prop_assert_eq!(entries.len(), 1);
            prop_assert_eq!(Entry::decode(entries[0].unwrap()), Some(entry));
        }

        #[test]
        fn any_bytes_are_refused_or_are_what_encode_writes(mut bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Some(first) = bytes.first_mut() { *first = 1; }
            if let Some(entry) = Entry::decode(&bytes) {
                let mut bundle = Vec::new();
                entry.encode(&mut bundle).unwrap();
                prop_assert_eq!(&bundle[2..], &bytes[..]);
            }
        }

        #[test]
        fn a_changed_byte_changes_the_entry_or_is_refused(entry in any_entry(), place: prop::sample::Index, bit in 0..8_u8) {
            let mut bundle = Vec::new();
            entry.encode(&mut bundle).unwrap();
            let at = 2 + place.index(bundle.len() - 2);
            bundle[at] ^= 1_u8 << bit;
            prop_assert_ne!(Entry::decode(&bundle[2..]), Some(entry));
        }
    }

    #[test]
    fn a_torn_bundle_ends_with_the_tear() {
        let whole = [0, 1, 7, 0, 2, 8];
        let entries: Vec<_> = entries_of(&whole).collect();
        assert_eq!(entries, [Some(&[7_u8][..]), None]);
        assert_eq!(entries_of(&[0]).collect::<Vec<_>>(), [None]);
        assert_eq!(entries_of(&[]).count(), 0);
    }

    #[test]
    fn the_leaf_hash_is_rfc_6962_s() {
        // SHA-256 of the one byte 0x00: the leaf hash of the empty entry, as in the vectors of RFC 6962 implementations.
        let hex: String = leaf_hash(b"").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
    }
}
