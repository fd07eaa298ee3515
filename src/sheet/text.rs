//! Text in the character sets that Vietnamese offices write, as UTF-8. What is not written in the set that was named is
//! refused: a guess would change names.

use super::{broken, fault};
use crate::domain::import::FileFault;
use encoding_rs::{DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1258};
use std::io::{Error, ErrorKind, Read};

const PIECE_BYTES: usize = 64 * 1024;

/// Whether text in this set is taken, by one of its usual names.
pub fn is_charset(label: &str) -> bool {
    known(label).is_some()
}

fn known(label: &str) -> Option<&'static Encoding> {
    let encoding = Encoding::for_label(label.as_bytes())?;
    [UTF_8, UTF_16LE, UTF_16BE, WINDOWS_1258].into_iter().find(|known| *known == encoding)
}

/// A reader of UTF-8 over a reader of another set.
pub(super) struct Utf8<R> {
    inner: R,
    decoder: encoding_rs::Decoder,
    name: &'static str,
    raw: Vec<u8>,
    raw_at: usize,
    out: Vec<u8>,
    out_at: usize,
    ended: bool,
}

impl<R: Read> Utf8<R> {
    pub(super) fn of(mut inner: R, charset: Option<&str>) -> Result<Self, FileFault> {
        let named = charset.map(|label| known(label).ok_or_else(|| fault("is in a character set that is not taken")));
        let mut raw = vec![0; PIECE_BYTES];
        let filled = fill(&mut inner, &mut raw).map_err(|error| broken(&error))?;
        raw.truncate(filled);
        let (encoding, mark_bytes) = match Encoding::for_bom(&raw) {
            Some((encoding, mark_bytes)) => (encoding, mark_bytes),
            None => (named.transpose()?.unwrap_or(UTF_8), 0),
        };
        let decoder = encoding.new_decoder_without_bom_handling();
        Ok(Self {
            inner,
            decoder,
            name: encoding.name(),
            raw,
            raw_at: mark_bytes,
            out: Vec::new(),
            out_at: 0,
            ended: false,
        })
    }

    /// Decodes what is there until some comes out or nothing is left.
    fn decode(&mut self) -> Result<(), Error> {
        self.out.clear();
        self.out_at = 0;
        while self.out.is_empty() && !self.ended {
            let mut is_last = false;
            if self.raw_at >= self.raw.len() {
                self.raw.resize(PIECE_BYTES, 0);
                let filled = fill(&mut self.inner, &mut self.raw)?;
                self.raw.truncate(filled);
                self.raw_at = 0;
                is_last = filled == 0;
            }
            self.out.resize(PIECE_BYTES * 3 + 16, 0);
            let raw = self.raw.get(self.raw_at..).unwrap_or_default();
            let (result, read, written) = self.decoder.decode_to_utf8_without_replacement(raw, &mut self.out, is_last);
            self.out.truncate(written);
            self.raw_at += read;
            self.ended = is_last;
            if let DecoderResult::Malformed(..) = result {
                let reason = format!("the text is not {}; name its charset in the Content-Type", self.name);
                return Err(Error::new(ErrorKind::InvalidData, reason));
            }
        }
        Ok(())
    }
}

fn fill(inner: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Error> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match inner.read(rest)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

impl<R: Read> Read for Utf8<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        if self.out_at >= self.out.len() {
            self.decode()?;
        }
        let rest = self.out.get(self.out_at..).unwrap_or_default();
        let taken = rest.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(rest) {
            *to = *from;
        }
        self.out_at += taken;
        Ok(taken)
    }
}
