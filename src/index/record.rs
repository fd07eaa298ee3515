//! The bytes of one flag in a shard. They hold no subject in clear, only its keyed hash.

use super::Hit;
use crate::domain::{Category, FlagId, ListedFlag, SubjectHash, SubjectKind, Timestamp, Verdict};

pub(super) const KEY_BYTES: usize = 16;

/// 128 bits of the keyed hash: that two subjects share them is as likely as guessing a key.
pub(super) fn key_of(hash: &SubjectHash) -> &[u8] {
    let (key, _) = hash.as_bytes().split_at_checked(KEY_BYTES).unwrap_or_default();
    key
}

/// A record: length of the rest u16 · key 16 · flag id 16 · version u32 · verdict u8 · category u8 · linked-from kind u8
/// (0: none) · since and expires_at, 48 bits each · case (u16 and text) · document (u8 present, u16 and text).
pub(super) fn write_record(
    out: &mut Vec<u8>,
    hash: &SubjectHash,
    flag: &ListedFlag<'_>,
    linked_from: Option<SubjectKind>,
) {
    let verdict = if linked_from.is_some() { flag.verdict.by_link() } else { flag.verdict };
    out.extend([0, 0]);
    out.extend_from_slice(key_of(hash));
    out.extend_from_slice(flag.id.as_bytes());
    out.extend(flag.version.to_be_bytes());
    out.extend([verdict.code(), flag.category.code(), linked_from.map_or(0, SubjectKind::code)]);
    write_time(out, flag.since);
    write_time(out, flag.expires_at);
    write_text(out, &flag.case);
    match &flag.document {
        None => out.push(0),
        Some(document) => {
            out.push(1);
            write_text(out, document);
        }
    }
    let length = u16::try_from(out.len() - 2).unwrap_or(u16::MAX);
    if let Some(place) = out.first_chunk_mut::<2>() {
        *place = length.to_be_bytes();
    }
}

/// The last moment that RFC 3339 can write needs 48 bits.
fn write_time(out: &mut Vec<u8>, time: Timestamp) {
    let [_, _, bytes @ ..] = time.as_ms().to_be_bytes();
    out.extend(bytes);
}

fn read_time([a, b, c, d, e, f]: [u8; 6]) -> Timestamp {
    Timestamp::from_ms(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
}

/// Texts of flags are limited to a few hundred bytes where they enter, far below 16 bits.
fn write_text(out: &mut Vec<u8>, text: &str) {
    out.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

pub(super) struct RecordRef<'a> {
    /// The whole record, its length included.
    pub(super) bytes: &'a [u8],
    pub(super) key: &'a [u8],
    rest: &'a [u8],
}

pub(super) fn records_in(mut bytes: &[u8]) -> impl Iterator<Item = RecordRef<'_>> {
    std::iter::from_fn(move || {
        let (length, _) = bytes.split_first_chunk::<2>()?;
        let (record, after) = bytes.split_at_checked(2 + usize::from(u16::from_be_bytes(*length)))?;
        bytes = after;
        let (key, rest) = record.get(2..)?.split_at_checked(KEY_BYTES)?;
        Some(RecordRef { bytes: record, key, rest })
    })
}

impl RecordRef<'_> {
    pub(super) fn flag_id(&self) -> Option<FlagId> {
        self.rest.first_chunk::<16>().map(|id| FlagId::from_bytes(*id))
    }

    pub(super) fn hit(&self) -> Option<Hit> {
        let (id, rest) = self.rest.split_first_chunk::<16>()?;
        let (version, rest) = rest.split_first_chunk::<4>()?;
        let ([verdict, category, linked_from], rest) = rest.split_first_chunk::<3>()?;
        let (since, rest) = rest.split_first_chunk::<6>()?;
        let (expires_at, rest) = rest.split_first_chunk::<6>()?;
        let (case, rest) = read_text(rest)?;
        Some(Hit {
            id: FlagId::from_bytes(*id),
            version: u32::from_be_bytes(*version),
            verdict: Verdict::from_code(*verdict)?,
            category: Category::from_code(*category)?,
            linked_from: SubjectKind::from_code(*linked_from),
            since: read_time(*since),
            expires_at: read_time(*expires_at),
            case: case.to_owned(),
            document: match rest.split_first()? {
                (0, _) => None,
                (_, rest) => Some(read_text(rest)?.0.to_owned()),
            },
        })
    }
}

fn read_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}
