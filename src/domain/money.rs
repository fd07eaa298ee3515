//! An amount of money: a decimal of at most 18 digits and an ISO 4217 currency. It is never a float, and never rounded.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use std::fmt;

/// The active codes of ISO 4217 (without metals, funds and test codes).
const CURRENCIES: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD \
    CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG \
    HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK \
    MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD \
    SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VES VND VUV \
    WST XAF XCD XOF XPF YER ZAR ZMW ZWG";
/// Those that are not counted in hundredths: how many decimals they have.
const OTHER_DECIMALS: [(&str, usize); 2] =
    [("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF", 0), ("BHD IQD JOD KWD LYD OMR TND", 3)];
const DIGITS_MAX: usize = 18;

/// A code of ISO 4217.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency(&'static str);

impl Currency {
    pub const VND: Self = Self("VND");

    pub fn parse(text: &str) -> Option<Self> {
        CURRENCIES.split(' ').find(|known| *known == text).map(Self)
    }

    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// How many decimals its amounts have at most.
    fn decimals(self) -> usize {
        let other = OTHER_DECIMALS.iter().find(|(codes, _)| codes.split(' ').any(|code| code == self.0));
        other.map_or(2, |(_, decimals)| *decimals)
    }

    /// What a sum of smallest units is, written as an amount.
    pub fn amount(self, units: u128) -> String {
        let decimals = self.decimals();
        if decimals == 0 {
            return units.to_string();
        }
        let digits = format!("{units:0>width$}", width = decimals + 1);
        let (whole, part) = digits.split_at(digits.len() - decimals);
        format!("{whole}.{part}")
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// More than nothing of a currency, in its smallest units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Money {
    units: u64,
    currency: Currency,
}

impl Money {
    pub const SHAPE: &'static str = "expected a decimal of 1 to 18 digits over 0, without a sign or needless zeros before it, and no more decimals than \
         the currency has";

    /// `None` for what is no amount of the currency, and for zero.
    pub fn parse(value: &str, currency: Currency) -> Option<Self> {
        let (whole, part) = value.split_once('.').map_or((value, None), |(whole, part)| (whole, Some(part)));
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let decimals = currency.decimals();
        let fits = is_digits(whole)
            && (whole == "0" || !whole.starts_with('0'))
            && part.is_none_or(|part| is_digits(part) && part.len() <= decimals)
            && whole.len() + decimals <= DIGITS_MAX;
        let digits = format!("{whole}{:0<decimals$}", part.unwrap_or_default());
        let units = digits.parse().ok().filter(|units| *units > 0 && fits)?;
        Some(Self { units, currency })
    }

    pub fn units(self) -> u64 {
        self.units
    }

    pub fn currency(self) -> Currency {
        self.currency
    }

    /// The decimal, always with as many decimals as the currency has.
    pub fn value(self) -> String {
        self.currency.amount(self.units.into())
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut money = serializer.serialize_struct("Money", 2)?;
        money.serialize_field("value", &self.value())?;
        money.serialize_field("currency", self.currency.as_str())?;
        money.end()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(value: &str, currency: &str) -> Option<String> {
        Some(Money::parse(value, Currency::parse(currency)?)?.value())
    }

    #[test]
    fn an_amount_is_written_with_the_decimals_of_its_currency() {
        assert_eq!(parse("5000000", "VND").as_deref(), Some("5000000"));
        assert_eq!(parse("12.5", "USD").as_deref(), Some("12.50"));
        assert_eq!(parse("0.05", "EUR").as_deref(), Some("0.05"));
        assert_eq!(parse("1", "KWD").as_deref(), Some("1.000"));
        assert_eq!(parse("999999999999999999", "VND").as_deref(), Some("999999999999999999"));
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for value in ["", "0", "00", "01", "-1", "+1", "1e3", "1,000", "1.", ".5", "1.0", "1000000000000000000", " 1"] {
            assert_eq!(parse(value, "VND"), None, "{value}");
        }
        assert_eq!(parse("0.00", "USD"), None);
        assert_eq!(parse("1.001", "USD"), None);
        for currency in ["vnd", "VNĐ", "XXX", "", "VND USD", "VN"] {
            assert_eq!(parse("1", currency), None, "{currency}");
        }
    }

    proptest! {
        #[test]
        fn an_amount_read_back_is_the_same(units in 1..1_000_000_000_000_000_000_u64, place in 0..160_usize) {
            let currency = Currency::parse(CURRENCIES.split(' ').nth(place % CURRENCIES.split(' ').count()).unwrap()).unwrap();
            let read = Money::parse(&currency.amount(units.into()), currency).unwrap();
            prop_assert_eq!(read, Money { units, currency });
        }
    }
}
