//! Days, and the periods of which is reported. A day is one of Vietnam: it begins at 00:00 in UTC+7, which has no summer time.

use super::Timestamp;
use jiff::civil::Date;
use serde::{Serialize, Serializer};
use std::fmt;

const OFFSET_MS: u64 = 7 * 60 * 60 * 1000;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const FIRST_YEAR: i16 = 2000;
const LAST_YEAR: i16 = 2999;

/// Days since 1970-01-01; on the wire `2026-07-01`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(u32);

impl Day {
    pub const SHAPE: &'static str = "expected a day of the years 2000 to 2999, such as 2026-07-01";

    pub fn of(at: Timestamp) -> Self {
        // The latest moment is some 3 million days away.
        Self(u32::try_from((at.as_ms() + OFFSET_MS) / DAY_MS).unwrap_or(u32::MAX))
    }

    pub fn from_number(number: u32) -> Self {
        Self(number)
    }

    pub fn number(self) -> u32 {
        self.0
    }

    /// Accepts exactly what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let date: Date = text.parse().ok()?;
        let day = Self::from_date(date)?;
        (day.to_string() == text).then_some(day)
    }

    fn from_date(date: Date) -> Option<Self> {
        if !(FIRST_YEAR..=LAST_YEAR).contains(&date.year()) {
            return None;
        }
        let since = date.since((jiff::Unit::Day, Date::constant(1970, 1, 1))).ok()?;
        u32::try_from(since.get_days()).ok().map(Self)
    }

    fn new(year: i16, month: i8, day: i8) -> Option<Self> {
        Self::from_date(Date::new(year, month, day).ok()?)
    }

    fn date(self) -> Date {
        let span = jiff::Span::new().try_days(i64::from(self.0));
        span.and_then(|span| Date::constant(1970, 1, 1).checked_add(span)).unwrap_or(Date::MAX)
    }

    /// The moment at which it begins.
    pub fn begins(self) -> Timestamp {
        Timestamp::from_ms((u64::from(self.0) * DAY_MS).saturating_sub(OFFSET_MS))
    }

    fn plus(self, days: u32) -> Self {
        Self(self.0.saturating_add(days))
    }

    fn minus(self, days: u32) -> Self {
        Self(self.0.saturating_sub(days))
    }

    /// `2026-07`
    pub fn month(self) -> String {
        let date = self.date();
        format!("{:04}-{:02}", date.year(), date.month())
    }

    /// As it is written in Vietnam: `01/07/2026`.
    pub fn in_vietnamese(self) -> String {
        let date = self.date();
        format!("{:02}/{:02}/{:04}", date.day(), date.month(), date.year())
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = self.date();
        write!(f, "{:04}-{:02}-{:02}", date.year(), date.month(), date.day())
    }
}

impl fmt::Debug for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Whole days from the first to the last, both of them included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days {
    from: Day,
    to: Day,
}

/// Ten years and their leap days.
pub const DAYS_MAX: u32 = 3_653;

impl Days {
    /// `None` if the last day is before the first, or too far after it.
    pub fn new(from: Day, to: Day) -> Option<Self> {
        (from <= to && to.0 - from.0 < DAYS_MAX).then_some(Self { from, to })
    }

    pub fn from(self) -> Day {
        self.from
    }

    pub fn to(self) -> Day {
        self.to
    }

    pub fn contains(self, day: Day) -> bool {
        (self.from..=self.to).contains(&day)
    }

    fn count(self) -> u32 {
        self.to.0 - self.from.0 + 1
    }
}

/// What a report is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// Of a year, 1 to 4.
    Quarter(i16, i8),
    /// Of a year, 1 or 2.
    Half(i16, i8),
    Year(i16),
    Range(Days),
}

impl Period {
    pub const SHAPE: &'static str = "expected a quarter (2026-Q3), a half-year (2026-H1), a year (2026) or at most ten years of days \
                                     (2026-07-01..2026-09-30)";

    /// Accepts exactly what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some((from, to)) = text.split_once("..") {
            return Days::new(Day::parse(from)?, Day::parse(to)?).map(Self::Range);
        }
        let (year, part) = text.split_once('-').map_or((text, None), |(year, part)| (year, Some(part)));
        let is_year = year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit());
        let year: i16 = year.parse().ok().filter(|year| is_year && (FIRST_YEAR..=LAST_YEAR).contains(year))?;
        Some(match part {
            None => Self::Year(year),
            Some("Q1") => Self::Quarter(year, 1),
            Some("Q2") => Self::Quarter(year, 2),
            Some("Q3") => Self::Quarter(year, 3),
            Some("Q4") => Self::Quarter(year, 4),
            Some("H1") => Self::Half(year, 1),
            Some("H2") => Self::Half(year, 2),
            Some(_) => return None,
        })
    }

    pub fn days(self) -> Days {
        let (year, first_month, last_month) = match self {
            Self::Range(days) => return days,
            Self::Quarter(year, number) => (year, number * 3 - 2, number * 3),
            Self::Half(year, number) => (year, number * 6 - 5, number * 6),
            Self::Year(year) => (year, 1, 12),
        };
        let last_day = if matches!(last_month, 6 | 9) { 30 } else { 31 };
        let begins = Day::new(year, first_month, 1).unwrap_or(Day(0));
        Days { from: begins, to: Day::new(year, last_month, last_day).unwrap_or(begins) }
    }

    /// The period of the same kind before it. Before a range that are as many days.
    pub fn before(self) -> Self {
        match self {
            Self::Quarter(year, 1) => Self::Quarter(year - 1, 4),
            Self::Quarter(year, number) => Self::Quarter(year, number - 1),
            Self::Half(year, 1) => Self::Half(year - 1, 2),
            Self::Half(year, number) => Self::Half(year, number - 1),
            Self::Year(year) => Self::Year(year - 1),
            Self::Range(days) => Self::Range(Days { from: days.from.minus(days.count()), to: days.from.minus(1) }),
        }
    }

    /// Whether it has ended at this moment.
    pub fn has_ended(self, now: Timestamp) -> bool {
        now >= self.days().to.plus(1).begins()
    }

    /// As it stands in a report's title.
    pub fn in_vietnamese(self) -> String {
        match self {
            Self::Quarter(year, number) => {
                let number = match number {
                    1 => "I",
                    2 => "II",
                    3 => "III",
                    _ => "IV",
                };
                format!("Quý {number} năm {year}")
            }
            Self::Half(year, 1) => format!("6 tháng đầu năm {year}"),
            Self::Half(year, _) => format!("6 tháng cuối năm {year}"),
            Self::Year(year) => format!("Năm {year}"),
            Self::Range(days) => {
                format!("Từ ngày {} đến ngày {}", days.from.in_vietnamese(), days.to.in_vietnamese())
            }
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quarter(year, number) => write!(f, "{year}-Q{number}"),
            Self::Half(year, number) => write!(f, "{year}-H{number}"),
            Self::Year(year) => write!(f, "{year}"),
            Self::Range(days) => write!(f, "{}..{}", days.from, days.to),
        }
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn days(text: &str) -> String {
        Period::Range(Period::parse(text).unwrap().days()).to_string()
    }

    fn before(text: &str) -> String {
        Period::parse(text).unwrap().before().to_string()
    }

    #[test]
    fn a_day_begins_at_midnight_in_vietnam() {
        let day = |text| Day::of(Timestamp::parse(text).unwrap()).to_string();
        assert_eq!(day("2026-06-30T16:59:59.999Z"), "2026-06-30");
        assert_eq!(day("2026-06-30T17:00:00.000Z"), "2026-07-01");
        assert_eq!(Day::parse("2026-07-01").unwrap().begins().to_string(), "2026-06-30T17:00:00.000Z");
        assert_eq!(Day::parse("2026-07-01").unwrap().in_vietnamese(), "01/07/2026");
    }

    #[test]
    fn periods_have_their_first_and_last_days() {
        assert_eq!(days("2026-Q1"), "2026-01-01..2026-03-31");
        assert_eq!(days("2026-Q2"), "2026-04-01..2026-06-30");
        assert_eq!(days("2026-Q3"), "2026-07-01..2026-09-30");
        assert_eq!(days("2026-Q4"), "2026-10-01..2026-12-31");
        assert_eq!(days("2026-H1"), "2026-01-01..2026-06-30");
        assert_eq!(days("2026-H2"), "2026-07-01..2026-12-31");
        assert_eq!(days("2028"), "2028-01-01..2028-12-31");
        assert_eq!(days("2028-02-29..2028-02-29"), "2028-02-29..2028-02-29");
    }

    #[test]
    fn the_period_before_is_of_the_same_kind() {
        assert_eq!(before("2026-Q1"), "2025-Q4");
        assert_eq!(before("2026-Q3"), "2026-Q2");
        assert_eq!(before("2026-H1"), "2025-H2");
        assert_eq!(before("2026-H2"), "2026-H1");
        assert_eq!(before("2026"), "2025");
        assert_eq!(before("2028-03-01..2028-03-02"), "2028-02-28..2028-02-29", "a leap year");
        assert_eq!(before("2026-03-01..2026-03-02"), "2026-02-27..2026-02-28");
    }

    #[test]
    fn what_is_no_period_is_refused() {
        for text in [
            "",
            "26",
            "2026-",
            "2026-Q0",
            "2026-Q5",
            "2026-q3",
            "2026-H3",
            "1999",
            "3000",
            "+026",
            "2026-07",
            "2026-07-01",
            "2026-07-01..",
            "2026-07-02..2026-07-01",
            "2026-02-29..2026-03-01",
            "2026-7-1..2026-7-2",
            "2010-01-01..2026-01-01",
            "20260701..20260702",
        ] {
            assert_eq!(Period::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_period_ends_with_its_last_day() {
        let ended = |text| Period::parse("2026-Q3").unwrap().has_ended(Timestamp::parse(text).unwrap());
        assert!(!ended("2026-09-30T16:59:59.999Z"));
        assert!(ended("2026-09-30T17:00:00.000Z"));
    }

    #[test]
    fn titles_are_in_vietnamese() {
        let title = |text| Period::parse(text).unwrap().in_vietnamese();
        assert_eq!(title("2026-Q3"), "Quý III năm 2026");
        assert_eq!(title("2026-H1"), "6 tháng đầu năm 2026");
        assert_eq!(title("2026-H2"), "6 tháng cuối năm 2026");
        assert_eq!(title("2026"), "Năm 2026");
        assert_eq!(title("2026-07-01..2026-07-31"), "Từ ngày 01/07/2026 đến ngày 31/07/2026");
    }

    proptest! {
        #[test]
        fn the_day_before_a_period_is_the_last_of_the_one_before(year in 2001_i16..2999, kind in 0..7_u8) {
            let period = match kind {
                0..=3 => Period::Quarter(year, i8::try_from(kind).unwrap() + 1),
                4 | 5 => Period::Half(year, i8::try_from(kind).unwrap() - 3),
                _ => Period::Year(year),
            };
            prop_assert_eq!(period.before().days().to().plus(1), period.days().from());
            prop_assert_eq!(Period::parse(&period.to_string()), Some(period));
        }

        #[test]
        fn a_day_read_back_is_the_same_and_holds_the_moments_after_its_begin(number in 10_957_u32..376_199) {
            let day = Day(number);
            prop_assert_eq!(Day::parse(&day.to_string()), Some(day));
            prop_assert_eq!(Day::of(day.begins()), day);
            prop_assert_eq!(Day::of(day.begins().minus_ms(1)), day.minus(1));
        }
    }
}
