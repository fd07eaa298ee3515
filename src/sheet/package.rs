//! The parts of a ZIP package, as far as XLSX needs them. Nothing is believed of sizes: what unpacks to more than its limit,
//! or to far more than it was packed in, is refused while it unpacks.

use super::{broken, fault};
use crate::domain::import::FileFault;
use flate2::read::DeflateDecoder;
use std::io::{Error, ErrorKind, Read, Seek, SeekFrom};

/// Bytes from the end in which the directory's end must stand: its own and the longest comment.
const TAIL_BYTES: u64 = 22 + 65_535;
const DIRECTORY_BYTES_MAX: u64 = 1024 * 1024;
const PARTS_MAX: usize = 1000;
/// Sheets of numbers and names pack ten to thirty times.
const RATIO_MAX: u64 = 200;
/// Below this a part may pack as well as it likes.
const RATIO_FREE_BYTES: u64 = 1024 * 1024;

pub(super) struct Package<R> {
    inner: R,
    parts: Vec<Part>,
}

struct Part {
    name: String,
    method: u16,
    is_encrypted: bool,
    packed_bytes: u64,
    header_at: u64,
}

impl<R: Read + Seek> Package<R> {
    pub(super) fn open(mut inner: R) -> Result<Self, FileFault> {
        let length = inner.seek(SeekFrom::End(0)).map_err(|error| broken(&error))?;
        let tail = read_at(&mut inner, length.saturating_sub(TAIL_BYTES), TAIL_BYTES)?;
        let no_package = || fault("is no XLSX file");
        let end = tail.windows(4).rposition(|mark| mark == b"PK\x05\x06").ok_or_else(no_package)?;
        let end = Fields(tail.get(end..).unwrap_or_default());
        let (count, bytes, at) = (end.u16(10), end.u32(12), end.u32(16));
        let (count, bytes, at) = count.zip(bytes).zip(at).map(|((c, b), a)| (c, b, a)).ok_or_else(no_package)?;
        if usize::from(count) > PARTS_MAX || u64::from(bytes) > DIRECTORY_BYTES_MAX {
            return Err(fault("has too many parts for an XLSX file"));
        }
        let directory = read_at(&mut inner, at.into(), bytes.into())?;
        let (mut parts, mut rest) = (Vec::new(), directory.as_slice());
        while parts.len() < usize::from(count) {
            let (part, next) = Part::read(rest).ok_or_else(no_package)?;
            parts.push(part);
            rest = next;
        }
        Ok(Self { inner, parts })
    }

    /// A part's unpacked bytes, of which there may be `bytes_max`.
    pub(super) fn read<'a>(
        &'a mut self,
        name: &str,
        bytes_max: u64,
    ) -> Result<Option<Unpacked<Box<dyn Read + 'a>>>, FileFault> {
        let Some(part) = self.find(name)? else { return Ok(None) };
        let (at, packed_bytes, method) = part;
        self.inner.seek(SeekFrom::Start(at)).map_err(|error| broken(&error))?;
        let packed = (&mut self.inner).take(packed_bytes);
        let plain: Box<dyn Read + 'a> =
            if method == 0 { Box::new(packed) } else { Box::new(DeflateDecoder::new(packed)) };
        Ok(Some(Unpacked::new(plain, packed_bytes, bytes_max)))
    }

    /// As `read`, with the file in it.
    pub(super) fn into_part(
        mut self,
        name: &str,
        bytes_max: u64,
    ) -> Result<Option<Unpacked<Box<dyn Read + Send>>>, FileFault>
    where
        R: Send + 'static,
    {
        let Some((at, packed_bytes, method)) = self.find(name)? else { return Ok(None) };
        self.inner.seek(SeekFrom::Start(at)).map_err(|error| broken(&error))?;
        let packed = self.inner.take(packed_bytes);
        let plain: Box<dyn Read + Send> =
            if method == 0 { Box::new(packed) } else { Box::new(DeflateDecoder::new(packed)) };
        Ok(Some(Unpacked::new(plain, packed_bytes, bytes_max)))
    }

    /// Where a part's bytes begin, how many they are, and how they are packed.
    fn find(&mut self, name: &str) -> Result<Option<(u64, u64, u16)>, FileFault> {
        let mut named = self.parts.iter().filter(|part| part.name == name);
        let Some(part) = named.next() else { return Ok(None) };
        if named.next().is_some() || part.is_encrypted || ![0, 8].contains(&part.method) {
            return Err(fault("is an XLSX file that is encrypted, or packed in an unknown way"));
        }
        let (method, packed_bytes, header_at) = (part.method, part.packed_bytes, part.header_at);
        let header = read_at(&mut self.inner, header_at, 30)?;
        let header = Fields(&header);
        let skipped = header.u16(26).zip(header.u16(28)).filter(|_| header.u32(0) == Some(0x0403_4b50));
        let (name_bytes, extra_bytes) = skipped.ok_or_else(|| fault("is a damaged XLSX file"))?;
        Ok(Some((header_at + 30 + u64::from(name_bytes) + u64::from(extra_bytes), packed_bytes, method)))
    }
}

impl Part {
    /// One entry of the directory, and what follows it.
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let fields = Fields(bytes);
        let name_bytes = usize::from(fields.u16(28)?);
        let rest_at = 46 + name_bytes + usize::from(fields.u16(30)?) + usize::from(fields.u16(32)?);
        let part = Self {
            name: String::from_utf8(bytes.get(46..46 + name_bytes)?.to_vec()).ok()?,
            method: fields.u16(10)?,
            is_encrypted: fields.u16(8)? & 1 == 1,
            packed_bytes: fields.u32(20)?.into(),
            header_at: fields.u32(42)?.into(),
        };
        (fields.u32(0)? == 0x0201_4b50).then_some(())?;
        Some((part, bytes.get(rest_at..)?))
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u16(&self, at: usize) -> Option<u16> {
        self.0.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes)
    }

    fn u32(&self, at: usize) -> Option<u32> {
        self.0.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
    }
}

fn read_at(inner: &mut (impl Read + Seek), at: u64, bytes_max: u64) -> Result<Vec<u8>, FileFault> {
    let mut bytes = Vec::new();
    inner.seek(SeekFrom::Start(at)).map_err(|error| broken(&error))?;
    inner.take(bytes_max).read_to_end(&mut bytes).map_err(|error| broken(&error))?;
    Ok(bytes)
}

/// Counts what comes out, and stops a bomb.
pub(super) struct Unpacked<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Unpacked<R> {
    fn new(inner: R, packed_bytes: u64, bytes_max: u64) -> Self {
        let by_ratio = packed_bytes.saturating_mul(RATIO_MAX).max(RATIO_FREE_BYTES);
        Self { inner, left: bytes_max.min(by_ratio) }
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let read = self.inner.read(buffer)?;
        let bytes = u64::try_from(read).unwrap_or(u64::MAX);
        self.left = self
            .left
            .checked_sub(bytes)
            .ok_or_else(|| Error::new(ErrorKind::InvalidData, "unpacks to far more than a table of flags needs"))?;
        Ok(read)
    }
}
