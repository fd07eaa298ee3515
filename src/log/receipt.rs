//! The receipt of a check (C2SP tlog-proof): its entry, and the proof that the entry stands in the log under a signed
//! checkpoint. What a receipt says counts for nothing before `verify`.

use super::merkle::{Hash, verify_inclusion};
use super::note::{Checkpoint, NOTE_BYTES_MAX, NoteError, VerifierKey, parse_decimal, parse_hash};
use super::{Act, Entry, Resource, leaf_hash};
use crate::domain::CheckId;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::fmt;

const HEADING: &str = "c2sp.org/tlog-proof@v1";
/// An entry in base64, a proof of 64 hashes, and a checkpoint.
pub const RECEIPT_BYTES_MAX: usize = 96 * 1024 + NOTE_BYTES_MAX;
const PROOF_HASHES_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub index: u64,
    /// From the leaf's sibling up.
    pub proof: Vec<Hash>,
    /// The entry's bytes.
    pub extra: Vec<u8>,
    /// The signed note.
    pub checkpoint: String,
}

/// What a receipt proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub entry: Entry,
    pub index: u64,
    pub origin: String,
    /// Of the tree under the checkpoint.
    pub size: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptFault {
    #[error("no receipt")]
    Form,
    #[error("the receipt holds no entry that this program can read")]
    Entry,
    #[error("the receipt's entry is not that of an answered check")]
    NotACheck,
    #[error("the answer is not the one that the entry was made for")]
    Answer,
    #[error("the checkpoint: {0}")]
    Checkpoint(#[from] NoteError),
    #[error("the checkpoint is not signed by the log itself")]
    Origin,
    #[error("the proof does not lead from the entry to the checkpoint's root")]
    Proof,
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADING}")?;
        if !self.extra.is_empty() {
            writeln!(f, "extra {}", BASE64.encode(&self.extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.proof {
            writeln!(f, "{}", BASE64.encode(hash))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

#[derive(Deserialize)]
struct Answer {
    id: CheckId,
}

impl Receipt {
    /// Accepts exactly what `Display` writes. The checkpoint is not looked at.
    pub fn parse(text: &str) -> Result<Self, ReceiptFault> {
        let receipt = (text.len() <= RECEIPT_BYTES_MAX).then(|| Self::read(text)).flatten();
        receipt.ok_or(ReceiptFault::Form)
    }

    fn read(text: &str) -> Option<Self> {
        let (head, checkpoint) = text.split_once("\n\n")?;
        let mut lines = head.split('\n');
        if lines.next()? != HEADING {
            return None;
        }
        let mut line = lines.next()?;
        let mut extra = Vec::new();
        if let Some(data) = line.strip_prefix("extra ") {
            extra = BASE64.decode(data).ok().filter(|bytes| !bytes.is_empty())?;
            line = lines.next()?;
        }
        let index = parse_decimal(line.strip_prefix("index ")?)?;
        let proof: Vec<Hash> = lines.map(parse_hash).collect::<Option<_>>()?;
        let fits = proof.len() <= PROOF_HASHES_MAX;
        fits.then(|| Self { index, proof, extra, checkpoint: checkpoint.to_owned() })
    }

    /// That `answer`, to the byte, is what the log says was answered, under a checkpoint that the log signed with one of
    /// `keys`.
    pub fn verify(&self, answer: &[u8], keys: &[VerifierKey]) -> Result<Verified, ReceiptFault> {
        let (entry, checkpoint) = self.verify_entry(keys)?;
        if entry.act != Act::Check {
            return Err(ReceiptFault::NotACheck);
        }
        let (Some(digest), Some(Resource::Check(id))) = (entry.answer_digest, &entry.resource) else {
            return Err(ReceiptFault::NotACheck);
        };
        let answered: Option<Answer> = serde_json::from_slice(answer).ok();
        if <[u8; 32]>::from(Sha256::digest(answer)) != digest || answered.is_none_or(|answered| answered.id != *id) {
            return Err(ReceiptFault::Answer);
        }
        Ok(Verified { entry, index: self.index, origin: checkpoint.origin, size: checkpoint.size })
    }

    /// As far as it goes without the answer: that the entry stands in the log at this index.
    pub fn verify_entry(&self, keys: &[VerifierKey]) -> Result<(Entry, Checkpoint), ReceiptFault> {
        let (checkpoint, signed) = Checkpoint::parse_signed(&self.checkpoint, keys)?;
        let by_the_log = signed.iter().filter_map(|place| keys.get(*place)).any(|key| key.name() == checkpoint.origin);
        if !by_the_log {
            return Err(ReceiptFault::Origin);
        }
        let leaf = leaf_hash(&self.extra);
        if !verify_inclusion(&leaf, self.index, checkpoint.size, &self.proof, &checkpoint.root) {
            return Err(ReceiptFault::Proof);
        }
        Ok((Entry::decode(&self.extra).ok_or(ReceiptFault::Entry)?, checkpoint))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::domain::party::{ClientId, PartyId};
    use crate::domain::{RequestId, Timestamp, Verdict};
    use crate::log::merkle::node_hash;
    use crate::log::note::tests::SeedSigner;
    use proptest::prelude::*;

    const ORIGIN: &str = "registry.example/main";

    fn answer() -> Vec<u8> {
        let id = CheckId::from_bytes([9; 16]);
        format!("{{\"id\":\"{id}\",\"verdict\":\"clear\"}}").into_bytes()
    }

    fn entry() -> Entry {
        Entry {
            act: Act::Check,
            at: Timestamp::from_ms(1_795_000_000_000),
            request_id: RequestId::from_bytes([1; 16]),
            party: PartyId::parse("970436").unwrap(),
            client: ClientId::parse("core").unwrap(),
            operator: None,
            resource: Some(Resource::Check(CheckId::from_bytes([9; 16]))),
            verdict: Some(Verdict::Clear),
            list_version: 3,
            subjects: Vec::new(),
            answer_digest: Some(Sha256::digest(answer()).into()),
            reference: None,
            problem: None,
            count: 1,
        }
    }

    /// The receipt of an entry that stands first of two.
    fn receipt(entry: &Entry, signer: &SeedSigner, origin: &str) -> Receipt {
        let mut bundle = Vec::new();
        entry.encode(&mut bundle).unwrap();
        let extra = bundle.split_off(2);
        let root = node_hash(&leaf_hash(&extra), &[5; 32]);
        let checkpoint = Checkpoint { origin: origin.to_owned(), size: 2, root }.sign(&[signer]).unwrap();
        Receipt { index: 0, proof: vec![[5; 32]], extra, checkpoint }
    }

    #[test]
    fn a_kept_answer_is_proved() {
        let signer = SeedSigner::new(ORIGIN, 1);
        let receipt = receipt(&entry(), &signer, ORIGIN);
        let read = Receipt::parse(&receipt.to_string()).unwrap();
        assert_eq!(read, receipt);
        let verified = read.verify(&answer(), &[signer.key()]).unwrap();
        assert_eq!(verified, Verified { entry: entry(), index: 0, origin: ORIGIN.to_owned(), size: 2 });
    }

    #[test]
    fn another_answer_is_refused_though_only_a_blank_differs() {
        let signer = SeedSigner::new(ORIGIN, 1);
        let mut other = answer();
        other.push(b' ');
        let receipt = receipt(&entry(), &signer, ORIGIN);
        assert_eq!(receipt.verify(&other, &[signer.key()]), Err(ReceiptFault::Answer));
        assert_eq!(receipt.verify(b"", &[signer.key()]), Err(ReceiptFault::Answer));
    }

    #[test]
    fn an_answer_with_another_id_than_the_entry_s_is_refused() {
        let signer = SeedSigner::new(ORIGIN, 1);
        let other = Entry { resource: Some(Resource::Check(CheckId::from_bytes([8; 16]))), ..entry() };
        let refused = receipt(&other, &signer, ORIGIN).verify(&answer(), &[signer.key()]);
        assert_eq!(refused, Err(ReceiptFault::Answer));
    }

    #[test]
    fn an_entry_that_is_no_answered_check_is_refused() {
        let signer = SeedSigner::new(ORIGIN, 1);
        for other in [
            Entry { act: Act::CheckRead, ..entry() },
            Entry { answer_digest: None, ..entry() },
            Entry { resource: None, ..entry() },
        ] {
            let refused = receipt(&other, &signer, ORIGIN).verify(&answer(), &[signer.key()]);
            assert_eq!(refused, Err(ReceiptFault::NotACheck));
        }
    }

    #[test]
    fn another_key_index_hash_or_origin_is_refused() {
        let signer = SeedSigner::new(ORIGIN, 1);
        let keys = [signer.key()];
        let whole = receipt(&entry(), &signer, ORIGIN);
        let other_key = [SeedSigner::new(ORIGIN, 2).key()];
        assert_eq!(whole.verify(&answer(), &other_key), Err(ReceiptFault::Checkpoint(NoteError::NoKnownKey)));
        let wrong = |receipt: Receipt| receipt.verify(&answer(), &keys);
        assert_eq!(wrong(Receipt { index: 1, ..whole.clone() }), Err(ReceiptFault::Proof));
        assert_eq!(wrong(Receipt { proof: vec![[6; 32]], ..whole.clone() }), Err(ReceiptFault::Proof));
        assert_eq!(wrong(Receipt { proof: Vec::new(), ..whole.clone() }), Err(ReceiptFault::Proof));
        assert_eq!(wrong(Receipt { extra: Vec::new(), ..whole }), Err(ReceiptFault::Proof));
        assert_eq!(wrong(receipt(&entry(), &signer, "registry.example/b")), Err(ReceiptFault::Origin));
    }

    #[test]
    fn bytes_that_are_no_entry_are_refused_though_the_log_holds_them() {
        let signer = SeedSigner::new(ORIGIN, 1);
        let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size: 1, root: leaf_hash(&[9]) };
        let checkpoint = checkpoint.sign(&[&signer]).unwrap();
        let receipt = Receipt { index: 0, proof: Vec::new(), extra: vec![9], checkpoint };
        assert_eq!(receipt.verify(&answer(), &[signer.key()]), Err(ReceiptFault::Entry));
    }

    #[test]
    fn texts_in_another_form_are_refused() {
        let whole = receipt(&entry(), &SeedSigner::new(ORIGIN, 1), ORIGIN).to_string();
        for other in [
            whole.replace("@v1", "@v2"),
            whole.replace("index 0", "index 00"),
            whole.replace("index 0", "index -1"),
            whole.replace("index 0", "index"),
            whole.replace("extra ", "extra"),
            whole.replace("extra ", "extra \nextra "),
            whole.replace("index 0\n", ""),
            whole.replace("BQUFBQU=", "BQUFBQV="),
            whole.replace("\n\n", "\n"),
            whole.replacen('\n', "\r\n", 1),
            format!("\n{whole}"),
            "x".repeat(RECEIPT_BYTES_MAX + 1),
        ] {
            assert_eq!(Receipt::parse(&other), Err(ReceiptFault::Form), "{other}");
        }
    }

    proptest! {
        #[test]
        fn a_receipt_read_back_is_the_same(
            index: u64, proof in prop::collection::vec(any::<Hash>(), 0..=64),
            extra in prop::collection::vec(any::<u8>(), 0..300), checkpoint in "(\\PC|\n){0,100}",
        ) {
            let receipt = Receipt { index, proof, extra, checkpoint };
            prop_assert_eq!(Receipt::parse(&receipt.to_string()), Ok(receipt));
        }

        #[test]
        fn any_text_is_refused_or_given_back(
            text in "c2sp.org/tlog-proof@v1\n(extra [AQ]{0,2}=?=?\n)?index [0-9]{0,3}\n(\\PC{0,3}\n)?\n(\\PC|\n){0,20}",
        ) {
            if let Ok(receipt) = Receipt::parse(&text) {
                prop_assert_eq!(receipt.to_string(), text);
            }
        }

        #[test]
        fn a_changed_byte_never_proves_anything_else(place: prop::sample::Index, bit in 0..8_u8) {
            let signer = SeedSigner::new(ORIGIN, 1);
            let mut text = receipt(&entry(), &signer, ORIGIN).to_string().into_bytes();
            let at = place.index(text.len());
            text[at] ^= 1_u8 << bit;
            let read = std::str::from_utf8(&text).ok().and_then(|text| Receipt::parse(text).ok());
            prop_assert!(read.is_none_or(|receipt| receipt.verify(&answer(), &[signer.key()]).is_err()));
        }
    }
}
