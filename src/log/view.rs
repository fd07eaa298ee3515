//! An entry's bytes, read where they lie: what a search looks at, without an allocation. It never tells another thing than
//! `Entry::decode` would; what leaves the house is decoded whole.

use super::Act;
use super::entry::{FORM, Reader};
use crate::domain::{Timestamp, Verdict};

pub struct EntryView<'a> {
    pub act: Act,
    pub at: Timestamp,
    /// UTF-8, as the two after it; that it is need not be looked at again to compare it.
    pub party: &'a [u8],
    pub client: &'a [u8],
    pub operator: Option<&'a [u8]>,
    pub verdict: Option<Verdict>,
    /// How many subjects lie in `subjects`, and their bytes with what follows them.
    subject_count: u8,
    subjects: &'a [u8],
}

/// One subject of an entry.
#[derive(Debug, PartialEq, Eq)]
pub struct SubjectView<'a> {
    pub hash: &'a [u8; 32],
    pub verdict: Option<Verdict>,
    flags: &'a [[u8; FLAG_BYTES]],
}

/// An id and a version.
const FLAG_BYTES: usize = 20;

impl<'a> EntryView<'a> {
    /// `None` for bytes that are no entry's. Some that are none's pass, since what is not looked at is not read.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = Reader(bytes);
        if rest.byte()? != FORM {
            return None;
        }
        let act = Act::from_code(rest.byte()?)?;
        let at = rest.time()?;
        rest.take(16)?;
        let (party, client) = (rest.text_bytes()?, rest.text_bytes()?);
        let operator = if rest.is_present()? { Some(rest.text_bytes()?) } else { None };
        match rest.byte()? {
            0 => {}
            1..=3 | 6 | 7 => drop(rest.take(16)?),
            4 | 5 => drop(rest.text_bytes()?),
            _ => return None,
        }
        let verdict = rest.verdict()?;
        rest.take(8)?;
        let subject_count = rest.byte()?;
        Some(Self { act, at, party, client, operator, verdict, subject_count, subjects: rest.0 })
    }

    /// The subjects; fewer than there should be where the bytes are torn.
    pub fn subjects(&self) -> impl Iterator<Item = SubjectView<'a>> {
        let mut rest = Reader(self.subjects);
        (0..self.subject_count).map_while(move |_| rest.subject())
    }
}

impl<'a> SubjectView<'a> {
    /// The ids of the flags that answered for the subject.
    pub fn flags(&self) -> impl Iterator<Item = &'a [u8]> {
        self.flags.iter().filter_map(|flag| flag.get(..16))
    }
}

impl<'a> Reader<'a> {
    fn subject(&mut self) -> Option<SubjectView<'a>> {
        let hash = self.take(32)?.as_array()?;
        let verdict = self.verdict()?;
        let count = usize::from(self.byte()?);
        let (flags, _) = self.take(count.checked_mul(FLAG_BYTES)?)?.as_chunks();
        Some(SubjectView { hash, verdict, flags })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::super::Entry;
    use super::super::entry::tests::any_entry;
    use super::*;
    use proptest::prelude::*;

    fn is_seen_as_it_is(entry: &Entry, bytes: &[u8]) -> Result<(), TestCaseError> {
        let view = EntryView::read(bytes).unwrap();
        prop_assert_eq!((view.act, view.at, view.verdict), (entry.act, entry.at, entry.verdict));
        prop_assert_eq!((view.party, view.client), (entry.party.as_str().as_bytes(), entry.client.as_str().as_bytes()));
        prop_assert_eq!(view.operator, entry.operator.as_deref().map(str::as_bytes));
        let subjects: Vec<_> = view.subjects().collect();
        prop_assert_eq!(subjects.len(), entry.subjects.len());
        for (seen, subject) in subjects.iter().zip(&entry.subjects) {
            prop_assert_eq!((seen.hash, seen.verdict), (subject.hash.as_bytes(), subject.verdict));
            let ids: Vec<&[u8]> = subject.flags.iter().map(|flag| flag.id.as_bytes().as_slice()).collect();
            prop_assert_eq!(seen.flags().collect::<Vec<_>>(), ids);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn what_is_seen_is_what_decode_reads(entry in any_entry()) {
            let mut bundle = Vec::new();
            entry.encode(&mut bundle).unwrap();
            is_seen_as_it_is(&entry, &bundle[2..])?;
        }

        #[test]
        fn bytes_that_decode_reads_are_seen_the_same(entry in any_entry(), place: prop::sample::Index, bit in 0..8_u8) {
            let mut bundle = Vec::new();
            entry.encode(&mut bundle).unwrap();
            let at = 2 + place.index(bundle.len() - 2);
            bundle[at] ^= 1_u8 << bit;
            if let Some(entry) = Entry::decode(&bundle[2..]) {
                is_seen_as_it_is(&entry, &bundle[2..])?;
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Some(first) = bytes.first_mut() { *first = 1; }
            if let Some(view) = EntryView::read(&bytes) {
                view.subjects().flat_map(|subject| subject.flags().collect::<Vec<_>>()).count();
            }
        }
    }
}
