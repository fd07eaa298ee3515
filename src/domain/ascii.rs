//! A short ASCII text kept in place, without the heap, so that a check allocates little.
//! Its Debug must never show the text: account numbers and phone numbers live in it.

use std::fmt;

/// At most `N` (≤ 255) ASCII characters. Unused bytes stay zero, so the derived
/// equality, order and hash are those of the text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ascii<const N: usize> {
    bytes: [u8; N],
    len: u8,
}

impl<const N: usize> Ascii<N> {
    pub(super) const EMPTY: Self = {
        assert!(N <= 255, "the length is kept in one byte");
        Self { bytes: [0; N], len: 0 }
    };

    /// `None` when the text is full or the byte is not ASCII; the text is then unchanged.
    pub(super) fn push(&mut self, byte: u8) -> Option<()> {
        let slot = self.bytes.get_mut(usize::from(self.len))?;
        if !byte.is_ascii() {
            return None;
        }
        *slot = byte;
        self.len += 1;
        Some(())
    }

    /// Pushes byte by byte; on `None` a part may have been pushed.
    pub(super) fn push_all(&mut self, text: &str) -> Option<()> {
        text.bytes().try_for_each(|byte| self.push(byte))
    }

    /// A copy of `text`, if it fits and is ASCII.
    pub(super) fn copy_of(text: &str) -> Option<Self> {
        let mut copy = Self::EMPTY;
        copy.push_all(text)?;
        Some(copy)
    }

    pub(super) fn as_str(&self) -> &str {
        // Only ASCII is ever pushed, so neither default is reached.
        let bytes = self.bytes.get(..self.len()).unwrap_or_default();
        str::from_utf8(bytes).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }
}

impl<const N: usize> fmt::Debug for Ascii<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_is_read_back_up_to_the_capacity() {
        let mut text = Ascii::<3>::EMPTY;
        text.push_all("abc").unwrap();
        assert_eq!(text.push(b'd'), None);
        assert_eq!(text.as_str(), "abc");
    }

    #[test]
    fn only_ascii_goes_in() {
        assert_eq!(Ascii::<8>::copy_of("đ"), None);
    }

    #[test]
    fn debug_shows_nothing_of_the_text() {
        let text = Ascii::<8>::copy_of("secret").unwrap();
        assert_eq!(format!("{text:?}"), "..");
    }
}
