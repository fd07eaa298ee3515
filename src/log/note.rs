//! Checkpoints as signed notes (C2SP signed-note and tlog-checkpoint, Ed25519). Nothing of a note may be believed before a
//! signature of a known key on it has been verified.

use super::merkle::Hash;
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};
use std::fmt;

pub const NOTE_BYTES_MAX: usize = 16 * 1024;
pub const SIGNATURES_MAX: usize = 16;

/// The signature type identifier of Ed25519.
const ED25519_TYPE: u8 = 1;
const SIGNATURE_START: &str = "\u{2014} ";

/// Who signs checkpoints. The private key stays with whoever implements this.
pub trait Signer: Send + Sync {
    fn name(&self) -> &str;
    fn public_key(&self) -> [u8; 32];
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    #[error("the cryptographic library refused to sign")]
    Library,
    #[error("a checkpoint needs an origin of one line, and 1 to 16 signers with names without spaces and plus signs")]
    Form,
}

/// A public key with its name, as text `<name>+<8 hex digits of the id>+<base64 of 0x01 and the key>`, as Go's sumdb/note
/// writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: [u8; 4],
    key: [u8; 32],
}

impl VerifierKey {
    /// `None` for a name that a signature line cannot hold.
    pub fn new(name: &str, key: [u8; 32]) -> Option<Self> {
        is_name(name).then(|| Self { name: name.to_owned(), id: key_id(name, &key), key })
    }

    /// Accepts exactly what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '+');
        let (name, id, key) = (parts.next()?, parts.next()?, parts.next()?);
        let [ED25519_TYPE, key @ ..] = BASE64.decode(key).ok()?.try_into().ok().map(|bytes: [u8; 33]| bytes)? else {
            return None;
        };
        let parsed = Self::new(name, key)?;
        (hex(parsed.id) == id).then_some(parsed)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first four bytes of SHA-256 over the name, a newline, the signature type and the key.
    pub fn id(&self) -> [u8; 4] {
        self.id
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.key).verify(message, signature).is_ok()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data = [&[ED25519_TYPE], self.key.as_slice()].concat();
        write!(f, "{}+{}+{}", self.name, hex(self.id), BASE64.encode(data))
    }
}

fn key_id(name: &str, key: &[u8; 32]) -> [u8; 4] {
    let digest = Sha256::new().chain_update(name).chain_update([b'\n', ED25519_TYPE]).chain_update(key).finalize();
    let [a, b, c, d, ..] = <[u8; 32]>::from(digest);
    [a, b, c, d]
}

fn hex(id: [u8; 4]) -> String {
    format!("{:08x}", u32::from_be_bytes(id))
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c == '+' || c.is_whitespace() || c.is_control())
}

/// The head of a log. Extension lines are never written, and refused when read: no log of ours has any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("a signed note of more than 16 KiB or 16 signatures")]
    TooLarge,
    #[error("no signed note")]
    Form,
    #[error("the note is no checkpoint")]
    Checkpoint,
    #[error("the signature of {0} does not verify")]
    BadSignature(String),
    #[error("not signed by a known key")]
    NoKnownKey,
}

impl Checkpoint {
    /// The note's text, which is what is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root))
    }

    fn parse_text(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        if origin.is_empty() || lines.next().is_some() {
            return None;
        }
        Some(Self { origin: origin.to_owned(), size: parse_decimal(size)?, root: parse_hash(root)? })
    }

    /// What a note says of itself, whoever signed it.
    pub(super) fn claimed(note: &str) -> Option<Self> {
        let (body, _) = note.rsplit_once("\n\n")?;
        Self::parse_text(note.get(..=body.len())?)
    }

    /// The signed note, with a signature line a signer.
    pub fn sign(&self, signers: &[&dyn Signer]) -> Result<String, SignError> {
        let text = self.text();
        let in_form = Self::parse_text(&text).as_ref() == Some(self) && !has_controls(&text);
        if !in_form || signers.is_empty() || signers.len() > SIGNATURES_MAX {
            return Err(SignError::Form);
        }
        let mut note = format!("{text}\n");
        for signer in signers {
            let key = VerifierKey::new(signer.name(), signer.public_key()).ok_or(SignError::Form)?;
            let signature = [&key.id[..], &signer.sign(text.as_bytes())?].concat();
            note.push_str(&format!("{SIGNATURE_START}{} {}\n", key.name, BASE64.encode(signature)));
        }
        if note.len() > NOTE_BYTES_MAX {
            return Err(SignError::Form);
        }
        Ok(note)
    }

    /// Reads a note that at least one of `keys` signed, and tells which of them (by their places) did. Signatures of other
    /// keys are ignored; a signature in the name of one of `keys` that does not verify refuses the whole note.
    pub fn parse_signed(note: &str, keys: &[VerifierKey]) -> Result<(Self, Vec<usize>), NoteError> {
        if note.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLarge);
        }
        let (body, signatures) = note.rsplit_once("\n\n").ok_or(NoteError::Form)?;
        let signatures = signatures.strip_suffix('\n').filter(|_| !has_controls(note)).ok_or(NoteError::Form)?;
        let text = note.get(..=body.len()).ok_or(NoteError::Form)?;
        let mut signed = Vec::new();
        for (place, line) in signatures.split('\n').enumerate() {
            if place >= SIGNATURES_MAX {
                return Err(NoteError::TooLarge);
            }
            let (name, id, signature) = parse_signature(line).ok_or(NoteError::Form)?;
            let Some(known) = keys.iter().position(|key| key.name == name && key.id == id) else { continue };
            let verifies = keys.get(known).is_some_and(|key| key.verifies(text.as_bytes(), &signature));
            if !verifies {
                return Err(NoteError::BadSignature(name.to_owned()));
            }
            if signed.contains(&known) {
                return Err(NoteError::Form);
            }
            signed.push(known);
        }
        if signed.is_empty() {
            return Err(NoteError::NoKnownKey);
        }
        Ok((Self::parse_text(text).ok_or(NoteError::Checkpoint)?, signed))
    }
}

/// The size that a note claims, before anything about it is known.
pub(super) fn claimed_size(note: &str) -> Option<u64> {
    note.split('\n').nth(1).and_then(parse_decimal)
}

fn parse_signature(line: &str) -> Option<(&str, [u8; 4], Vec<u8>)> {
    let (name, data) = line.strip_prefix(SIGNATURE_START)?.split_once(' ')?;
    let data = BASE64.decode(data).ok()?;
    let (id, signature) = data.split_first_chunk::<4>()?;
    (is_name(name) && !signature.is_empty()).then(|| (name, *id, signature.to_vec()))
}

fn has_controls(text: &str) -> bool {
    text.bytes().any(|byte| byte < b' ' && byte != b'\n')
}

/// ASCII decimal without leading zeroes.
pub(super) fn parse_decimal(text: &str) -> Option<u64> {
    let in_form = text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
    text.parse().ok().filter(|_| in_form)
}

/// 32 bytes in canonical base64.
pub(super) fn parse_hash(text: &str) -> Option<Hash> {
    BASE64.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub mod tests {
    use super::*;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use proptest::prelude::*;

    /// A key from a seed.
    pub struct SeedSigner {
        name: String,
        pair: Ed25519KeyPair,
    }

    impl SeedSigner {
        pub fn new(name: &str, seed: u8) -> Self {
            Self { name: name.to_owned(), pair: Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap() }
        }

        pub fn key(&self) -> VerifierKey {
            VerifierKey::new(&self.name, self.public_key()).unwrap()
        }
    }

    impl Signer for SeedSigner {
        fn name(&self) -> &str {
            &self.name
        }

        fn public_key(&self) -> [u8; 32] {
            self.pair.public_key().as_ref().try_into().unwrap()
        }

        fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
            self.pair.sign(message).as_ref().try_into().map_err(|_| SignError::Library)
        }
    }

    const ORIGIN: &str = "registry.example/main";

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: ORIGIN.to_owned(), size: 12, root: [7; 32] }
    }

    #[test]
    fn go_s_example_key_and_note_are_read() {
        // The example of Go's package golang.org/x/mod/sumdb/note, whose text is no checkpoint.
        let text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let key = VerifierKey::parse(text).unwrap();
        assert_eq!(
            (key.name(), key.id(), key.to_string()),
            ("PeterNeumann", [0xc7, 0x4f, 0x20, 0xa3], text.to_owned())
        );
        let note = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\
            \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        assert_eq!(Checkpoint::parse_signed(note, std::slice::from_ref(&key)), Err(NoteError::Checkpoint));
        let other = note.replace("answer", "question");
        let refused = Err(NoteError::BadSignature("PeterNeumann".to_owned()));
        assert_eq!(Checkpoint::parse_signed(&other, &[key]), refused);
    }

    #[test]
    fn keys_with_another_id_type_or_name_are_refused() {
        let text = SeedSigner::new(ORIGIN, 1).key().to_string();
        assert!(VerifierKey::parse(&text).is_some());
        for other in [
            text.replace("main", "other"),
            text.replace("main", "ma in"),
            text.replace("+A", "+B"),
            text.to_uppercase(),
            format!("{text}\n"),
            format!("{text}AAAA"),
            text.replacen('+', "", 1),
            String::new(),
        ] {
            assert_eq!(VerifierKey::parse(&other), None, "{other}");
        }
        assert_eq!(VerifierKey::new("a+b", [0; 32]), None);
        assert_eq!(VerifierKey::new("a\u{3000}b", [0; 32]), None);
    }

    #[test]
    fn a_note_tells_which_known_keys_signed_and_ignores_others() {
        let (old, new, other) = (SeedSigner::new(ORIGIN, 1), SeedSigner::new(ORIGIN, 2), SeedSigner::new("witness", 3));
        let note = checkpoint().sign(&[&other, &old, &new]).unwrap();
        let known = |keys: &[VerifierKey]| Checkpoint::parse_signed(&note, keys);
        assert_eq!(known(&[new.key()]), Ok((checkpoint(), vec![0])));
        assert_eq!(known(&[new.key(), SeedSigner::new(ORIGIN, 4).key(), old.key()]), Ok((checkpoint(), vec![2, 0])));
        assert_eq!(known(&[SeedSigner::new(ORIGIN, 4).key()]), Err(NoteError::NoKnownKey));
        assert_eq!(known(&[]), Err(NoteError::NoKnownKey));
    }

    #[test]
    fn a_known_key_s_bad_signature_refuses_the_note_though_another_signed() {
        let (old, new) = (SeedSigner::new(ORIGIN, 1), SeedSigner::new(ORIGIN, 2));
        let note = checkpoint().sign(&[&old, &new]).unwrap();
        let longer = Checkpoint { size: 13, ..checkpoint() }.sign(&[&old]).unwrap();
        let last = note.lines().last().unwrap();
        let mixed = format!("{longer}{last}\n");
        let refused = Err(NoteError::BadSignature(ORIGIN.to_owned()));
        assert_eq!(Checkpoint::parse_signed(&mixed, &[old.key(), new.key()]), refused);
        assert_eq!(Checkpoint::parse_signed(&mixed, &[old.key()]).unwrap().0.size, 13);
        assert_eq!(Checkpoint::parse_signed(&format!("{note}{last}\n"), &[new.key()]), Err(NoteError::Form));
    }

    #[test]
    fn notes_in_another_form_are_refused_before_anything_is_believed() {
        let signer = SeedSigner::new(ORIGIN, 1);
        let note = checkpoint().sign(&[&signer]).unwrap();
        let parse = |note: &str| Checkpoint::parse_signed(note, &[signer.key()]);
        assert!(parse(&note).is_ok());
        let line = note.lines().last().unwrap();
        for other in [
            note.trim_end().to_owned(),
            format!("{note}\n"),
            note.replace('\n', "\r\n"),
            note.replace("\u{2014} ", "- "),
            note.replace("\n\n", "\n"),
            note.replace(line, ""),
            note.replace(line, &format!("{line} ")),
        ] {
            assert_eq!(parse(&other), Err(NoteError::Form), "{other}");
        }
        assert_eq!(
            parse(&format!("{note}{}", format!("{line}\n").replace(ORIGIN, "x").repeat(16))),
            Err(NoteError::TooLarge)
        );
        assert_eq!(parse(&"\n".repeat(NOTE_BYTES_MAX + 1)), Err(NoteError::TooLarge));
    }

    #[test]
    fn signed_texts_that_are_no_checkpoint_are_refused() {
        let signer = SeedSigner::new(ORIGIN, 1);
        let whole = checkpoint().text();
        for text in [
            whole.replace("12", "012"),
            whole.replace("12", "+12"),
            whole.replace("12", "18446744073709551616"),
            whole.replace(ORIGIN, ""),
            whole.replace("Bwc=", "Bwd="),
            whole.replace('=', ""),
            format!("{whole}extension\n"),
            format!("\n{whole}"),
            "\n".to_owned(),
        ] {
            let signature = [&signer.key().id()[..], &signer.sign(text.as_bytes()).unwrap()].concat();
            let note = format!("{text}\n\u{2014} {ORIGIN} {}\n", BASE64.encode(signature));
            assert_eq!(Checkpoint::parse_signed(&note, &[signer.key()]), Err(NoteError::Checkpoint), "{text}");
        }
    }

    #[test]
    fn what_could_not_be_read_back_is_not_signed() {
        let signer = SeedSigner::new(ORIGIN, 1);
        let with_origin = |origin: &str| Checkpoint { origin: origin.to_owned(), ..checkpoint() };
        assert_eq!(with_origin("").sign(&[&signer]), Err(SignError::Form));
        assert_eq!(with_origin("a\nb").sign(&[&signer]), Err(SignError::Form));
        assert_eq!(with_origin("a\tb").sign(&[&signer]), Err(SignError::Form));
        assert_eq!(checkpoint().sign(&[]), Err(SignError::Form));
        assert_eq!(checkpoint().sign(&[&SeedSigner::new("a b", 1)]), Err(SignError::Form));
    }

    proptest! {
        #[test]
        fn a_signed_checkpoint_is_read_back(size: u64, root: Hash, origin in "[!-~]{1,40}") {
            let signer = SeedSigner::new(ORIGIN, 1);
            let checkpoint = Checkpoint { origin, size, root };
            let note = checkpoint.sign(&[&signer]).unwrap();
            prop_assert_eq!(Checkpoint::parse_signed(&note, &[signer.key()]), Ok((checkpoint, vec![0])));
        }

        #[test]
        fn a_changed_byte_never_gives_another_checkpoint(place: prop::sample::Index, bit in 0..8_u8) {
            let signer = SeedSigner::new(ORIGIN, 1);
            let mut note = checkpoint().sign(&[&signer]).unwrap().into_bytes();
            let at = place.index(note.len());
            note[at] ^= 1_u8 << bit;
            let read = std::str::from_utf8(&note).ok().and_then(|note| Checkpoint::parse_signed(note, &[signer.key()]).ok());
            prop_assert_eq!(read, None);
        }

        #[test]
        fn hostile_text_is_refused(note in "(\\PC|\n|\u{2014} |[a+0=]){0,200}") {
            let signer = SeedSigner::new(ORIGIN, 1);
            prop_assert!(Checkpoint::parse_signed(&note, &[signer.key()]).is_err());
            if let Some(checkpoint) = Checkpoint::parse_text(&note) {
                prop_assert_eq!(checkpoint.text(), note.as_str());
            }
            if let Some(key) = VerifierKey::parse(&note) {
                prop_assert_eq!(key.to_string(), note);
            }
        }

        #[test]
        fn a_checkpoint_s_text_is_refused_or_given_back(text in "[a ]{0,2}\n[0-9]{0,3}\n[A-D]{42}[A-Q]=\n(x\n)?") {
            if let Some(checkpoint) = Checkpoint::parse_text(&text) {
                prop_assert_eq!(checkpoint.text(), text);
            }
        }
    }
}
