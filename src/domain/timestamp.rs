//! A moment in time: whole milliseconds since 1970-01-01T00:00:00Z, never before it and never past the year 9999.
//! On the wire it is RFC 3339 in UTC with exactly three decimals.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// 9999-12-30T22:00:00.999Z, the last moment that RFC 3339 can write in every offset.
const LATEST_MS: u64 = 253_402_207_200_999;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    pub const EPOCH: Self = Self(0);

    /// Later moments than RFC 3339 can write are held at the last one it can.
    pub fn from_ms(ms: u64) -> Self {
        Self(ms.min(LATEST_MS))
    }

    /// Reads RFC 3339 with any offset; finer parts than milliseconds are cut off.
    pub fn parse(text: &str) -> Option<Self> {
        // The library reads more writings than RFC 3339 has.
        let is_rfc_3339 = (20..=35).contains(&text.len())
            && text.as_bytes().get(10) == Some(&b'T')
            && text.as_bytes().get(16) == Some(&b':')
            && !text.contains('[');
        let parsed: jiff::Timestamp = text.parse().ok().filter(|_| is_rfc_3339)?;
        let ms = u64::try_from(parsed.as_millisecond()).ok()?;
        (ms <= LATEST_MS).then_some(Self(ms))
    }

    pub fn as_ms(self) -> u64 {
        self.0
    }

    pub fn as_s(self) -> u64 {
        self.0 / 1000
    }

    pub fn plus_ms(self, ms: u64) -> Self {
        Self::from_ms(self.0.saturating_add(ms))
    }

    pub fn minus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_sub(ms))
    }

    /// Milliseconds from `earlier` to here; 0 if `earlier` is not earlier.
    pub fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Timestamp {
    /// `2026-11-24T03:00:00.123Z`; every answer holds one, so it is made on the stack.
    pub fn ascii(&self) -> [u8; 24] {
        let second = i64::try_from(self.0 / 1000).unwrap_or_default();
        let moment = jiff::Timestamp::from_second(second).unwrap_or_default();
        let civil = jiff::tz::Offset::UTC.to_datetime(moment);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let fields: [(i64, usize); 7] = [
            (civil.year().into(), 3),
            (civil.month().into(), 6),
            (civil.day().into(), 9),
            (civil.hour().into(), 12),
            (civil.minute().into(), 15),
            (civil.second().into(), 18),
            (i64::try_from(self.0 % 1000).unwrap_or_default(), 22),
        ];
        for (mut value, last) in fields {
            let digits = text.get_mut(..=last).unwrap_or_default().iter_mut().rev();
            for digit in digits.take_while(|digit| digit.is_ascii_digit()) {
                *digit = b'0' + u8::try_from(value % 10).unwrap_or_default();
                value /= 10;
            }
        }
        text
    }

    fn with_text<T>(&self, use_it: impl FnOnce(&str) -> T) -> T {
        // ASCII throughout, so that this never fails.
        use_it(std::str::from_utf8(&self.ascii()).unwrap_or_default())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.write_str(text))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_text(|text| serializer.serialize_str(text))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("expected an RFC 3339 time"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_in_utc_with_three_decimals() {
        assert_eq!(Timestamp::from_ms(0).to_string(), "1970-01-01T00:00:00.000Z");
        let other_zone = Timestamp::parse("2026-11-24T10:00:00.1239+07:00").unwrap();
        assert_eq!(other_zone.to_string(), "2026-11-24T03:00:00.123Z");
        assert_eq!(Timestamp::from_ms(u64::MAX).to_string(), "9999-12-30T22:00:00.999Z");
    }

    #[test]
    fn what_is_written_is_what_the_library_writes() {
        for ms in (0..LATEST_MS).step_by(86_399_123_457) {
            let expected = jiff::Timestamp::from_millisecond(ms.try_into().unwrap()).unwrap();
            assert_eq!(Timestamp::from_ms(ms).to_string(), format!("{expected:.3}"));
            assert_eq!(Timestamp::parse(&Timestamp::from_ms(ms).to_string()), Some(Timestamp::from_ms(ms)));
        }
    }

    #[test]
    fn a_date_or_a_time_before_1970_is_refused() {
        assert_eq!(Timestamp::parse("2026-11-24"), None);
        assert_eq!(Timestamp::parse("1969-12-31T23:59:59Z"), None);
        assert_eq!(Timestamp::parse("2026-11-24 10:00:00Z"), None);
        assert_eq!(Timestamp::parse("2026-11-24T10:00Z"), None);
        assert_eq!(Timestamp::parse("2026-11-24T10:00:00+07:00[Asia/Ho_Chi_Minh]"), None);
    }
}
