//! Reads the account out of a VietQR payload (EMVCo merchant-presented mode, NAPAS profile).
//! It must never name an account of which it is not certain: a wrong checksum, a repeated field
//! or another kind of QR is refused.

use std::fmt;

use thiserror::Error;

use super::banks::Bin;
use super::identifiers::AccountNumber;

/// Longest payload that is read; EMVCo allows as many characters.
pub const PAYLOAD_CHARS_MAX: usize = 512;

/// UTF-8 needs at most four bytes a character: a longer text is refused without counting.
const PAYLOAD_BYTES_MAX: usize = 4 * PAYLOAD_CHARS_MAX;

// Fields of the payload, and the value that marks each scheme.
const FORMAT: usize = 0;
const VNPAY: usize = 26;
const VIETQR: usize = 38;
const CHECKSUM: usize = 63;
const FORMAT_VALUE: &str = "01";
const VIETQR_GUID: &str = "A000000727";
const VNPAY_GUID: &str = "A000000775";

// Fields of the VietQR template, and of the beneficiary in it.
const GUID: usize = 0;
const BENEFICIARY: usize = 1;
const SERVICE: usize = 2;
const BENEFICIARY_BIN: usize = 0;
const BENEFICIARY_NUMBER: usize = 1;
const SERVICE_ACCOUNT: &str = "QRIBFTTA";
const SERVICE_CARD: &str = "QRIBFTTC";

/// Field ids are two digits.
const IDS: usize = 100;

/// Why a payload names no account. The reasons are fixed texts, so they cannot echo the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum QrError {
    #[error("must not be longer than {PAYLOAD_CHARS_MAX} characters")]
    TooLong,
    #[error("ends within a field")]
    Truncated,
    #[error("is not a VietQR payload: an id or a length is not two digits")]
    NotDigits,
    #[error("has the same field twice")]
    Repeated,
    #[error("is not a VietQR payload: field 00 must be 01")]
    Format,
    #[error("has no checksum as its last field (63)")]
    ChecksumMissing,
    #[error("has a wrong checksum")]
    Checksum,
    #[error("is a VNPAY-QR, which names a merchant and no account")]
    VnpayQr,
    #[error("has no VietQR template (field 38 with A000000727)")]
    NoVietQr,
    #[error("names a card (QRIBFTTC); only accounts can be checked")]
    Card,
    #[error("has a service code that is not a transfer to an account (QRIBFTTA)")]
    Service,
    #[error("names no bank with a BIN of 6 digits")]
    Bin,
    #[error("names no account of 4 to 36 letters and digits")]
    Number,
}

/// The account that a payload names. That its BIN is a bank's is for the directory to say.
/// It is always an account: payloads for cards and merchants are refused.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    bin: Bin,
    number: AccountNumber,
}

impl Target {
    pub fn bin(&self) -> Bin {
        self.bin
    }

    pub fn number(&self) -> &AccountNumber {
        &self.number
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Target(..)")
    }
}

/// Fields may come in any order, but for the checksum, and unknown ones are skipped.
pub fn parse(payload: &str) -> Result<Target, QrError> {
    if payload.len() > PAYLOAD_BYTES_MAX || payload.chars().count() > PAYLOAD_CHARS_MAX {
        return Err(QrError::TooLong);
    }
    let root = Template::parse(payload)?;
    if root.value(FORMAT) != Some(FORMAT_VALUE) {
        return Err(QrError::Format);
    }
    verify_checksum(payload, &root)?;
    let vietqr = vietqr_template(&root)?;
    // Without a service code the number may be an account's or a merchant's; a guess could read as "clear".
    match vietqr.value(SERVICE) {
        Some(SERVICE_ACCOUNT) => {}
        Some(SERVICE_CARD) => return Err(QrError::Card),
        Some(_) | None => return Err(QrError::Service),
    }
    let beneficiary = Template::parse(vietqr.value(BENEFICIARY).unwrap_or_default())?;
    let bin = beneficiary.value(BENEFICIARY_BIN).and_then(Bin::parse);
    let number = beneficiary.value(BENEFICIARY_NUMBER).unwrap_or_default();
    Ok(Target { bin: bin.ok_or(QrError::Bin)?, number: AccountNumber::parse(number).map_err(|_| QrError::Number)? })
}

/// The shortest static VietQR payload for an account.
pub fn encode(bin: Bin, number: &AccountNumber) -> String {
    let beneficiary = [field(BENEFICIARY_BIN, bin.as_str()), field(BENEFICIARY_NUMBER, number.as_str())];
    let vietqr = [field(GUID, VIETQR_GUID), field(BENEFICIARY, &beneficiary.concat()), field(SERVICE, SERVICE_ACCOUNT)];
    let mut payload =
        [&field(FORMAT, FORMAT_VALUE), "010211", &field(VIETQR, &vietqr.concat()), "5303704", "5802VN", "6304"]
            .concat();
    let checksum = format!("{:04X}", crc16(payload.as_bytes()));
    payload.push_str(&checksum);
    payload
}

/// CRC-16/CCITT-FALSE: polynomial 0x1021, initial value 0xFFFF, nothing reflected.
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, &byte| {
        let mixed = crc ^ (u16::from(byte) << 8);
        (0..8).fold(mixed, |crc, _| match crc & 0x8000 {
            0 => crc << 1,
            _ => (crc << 1) ^ 0x1021,
        })
    })
}

/// Values are at most 99 characters by construction: a BIN and an account number are far below.
fn field(id: usize, value: &str) -> String {
    format!("{id:02}{:02}{value}", value.chars().count())
}

/// The fields of a payload or of a field that itself holds fields.
struct Template<'a> {
    values: [Option<&'a str>; IDS],
    last: Option<usize>,
}

impl<'a> Template<'a> {
    fn parse(text: &'a str) -> Result<Self, QrError> {
        let mut template = Self { values: [None; IDS], last: None };
        let mut rest = text;
        while !rest.is_empty() {
            let (id, after_id) = two_digits(rest)?;
            let (length, after_length) = two_digits(after_id)?;
            let (value, after_value) = split_at_char(after_length, length).ok_or(QrError::Truncated)?;
            let slot = template.values.get_mut(id).ok_or(QrError::NotDigits)?;
            // Two readers could take different ones of a repeated field.
            if slot.replace(value).is_some() {
                return Err(QrError::Repeated);
            }
            template.last = Some(id);
            rest = after_value;
        }
        Ok(template)
    }

    fn value(&self, id: usize) -> Option<&'a str> {
        self.values.get(id).copied().flatten()
    }
}

fn two_digits(text: &str) -> Result<(usize, &str), QrError> {
    let (head, rest) = split_at_char(text, 2).ok_or(QrError::Truncated)?;
    match head.as_bytes() {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
            let number = usize::from(tens - b'0') * 10 + usize::from(ones - b'0');
            Ok((number, rest))
        }
        _ => Err(QrError::NotDigits),
    }
}

/// Lengths count characters, not bytes: names and texts may be Vietnamese.
fn split_at_char(text: &str, count: usize) -> Option<(&str, &str)> {
    let mut ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    text.split_at_checked(ends.nth(count)?)
}

fn verify_checksum(payload: &str, root: &Template<'_>) -> Result<(), QrError> {
    let checksum = root
        .value(CHECKSUM)
        .filter(|value| root.last == Some(CHECKSUM) && value.len() == 4)
        .ok_or(QrError::ChecksumMissing)?;
    let covered = payload.strip_suffix(checksum).unwrap_or_default();
    // Some generators write lower-case hex digits.
    let expected = format!("{:04X}", crc16(covered.as_bytes()));
    if !checksum.eq_ignore_ascii_case(&expected) {
        return Err(QrError::Checksum);
    }
    Ok(())
}

fn vietqr_template<'a>(root: &Template<'a>) -> Result<Template<'a>, QrError> {
    if let Some(value) = root.value(VIETQR) {
        let template = Template::parse(value)?;
        if template.value(GUID) == Some(VIETQR_GUID) {
            return Ok(template);
        }
    }
    let vnpay = root.value(VNPAY).map(Template::parse);
    match vnpay {
        Some(Ok(template)) if template.value(GUID) == Some(VNPAY_GUID) => Err(QrError::VnpayQr),
        Some(_) | None => Err(QrError::NoVietQr),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const VALID: &str = "00020101021138530010A0000007270123000697041601092576788590208QRIBFTTA53037045802VN6304AE9F";
    const BENEFICIARY_FIELDS: &str = "00069704160109257678859";

    fn read(payload: &str) -> Result<(String, String), QrError> {
        let target = parse(payload)?;
        Ok((target.bin().to_string(), target.number().as_str().to_owned()))
    }

    fn expected() -> Result<(String, String), QrError> {
        Ok(("970416".to_owned(), "257678859".to_owned()))
    }

    /// A payload of these fields and the checksum that fits.
    fn sealed(fields: &str) -> String {
        let covered = format!("{fields}6304");
        let checksum = crc16(covered.as_bytes());
        format!("{covered}{checksum:04X}")
    }

    fn with_template(template: &str) -> String {
        sealed(&format!("000201{}5303704", field(VIETQR, template)))
    }

    #[test]
    fn the_crc_has_its_published_check_value() {
        assert_eq!(crc16(b"123456789"), 0x29B1);
    }

    #[test]
    fn a_valid_payload_names_its_account() {
        assert_eq!(read(VALID), expected());
    }

    #[test]
    fn lower_case_crc_is_accepted() {
        assert_eq!(read(&VALID.replace("AE9F", "ae9f")), expected());
    }

    #[test]
    fn what_is_encoded_is_read_back() {
        let number = AccountNumber::parse("257678859").unwrap();
        let payload = encode(Bin::parse("970416").unwrap(), &number);
        assert_eq!(payload, VALID);
        let widest = AccountNumber::parse(&"A".repeat(36)).unwrap();
        let payload = encode(Bin::parse("970416").unwrap(), &widest);
        assert_eq!(*parse(&payload).unwrap().number(), widest);
    }

    #[test]
    fn a_missing_service_code_is_refused_since_the_number_may_be_a_merchant_s() {
        let template = format!("0010A0000007270123{BENEFICIARY_FIELDS}");
        assert_eq!(parse(&with_template(&template)), Err(QrError::Service));
    }

    #[test]
    fn fields_may_come_in_any_order_with_unknown_ones_between() {
        let template = format!("0208QRIBFTTA9903abc0123{BENEFICIARY_FIELDS}0010A000000727");
        let payload = sealed(&format!("5802VN38{:02}{template}7700000201", template.len()));
        assert_eq!(read(&payload), expected());
    }

    #[test]
    fn lengths_count_characters() {
        let template = format!("0010A0000007270123{BENEFICIARY_FIELDS}0208QRIBFTTA");
        let payload = sealed(&format!("0002015908Trần Văn{}", field(VIETQR, &template)));
        assert_eq!(read(&payload), expected());
    }

    #[test]
    fn a_vnpay_template_beside_vietqr_does_not_matter() {
        let template = format!("0010A0000007270123{BENEFICIARY_FIELDS}0208QRIBFTTA");
        let fields = format!("00020126180010A0000007750100{}", field(VIETQR, &template));
        assert_eq!(read(&sealed(&fields)), expected());
    }

    #[test]
    fn every_malformed_template_has_its_reason() {
        let guid = "0010A000000727";
        for (template, error) in [
            (format!("{guid}0123{BENEFICIARY_FIELDS}0208QRIBFTTC"), QrError::Card),
            (format!("{guid}0123{BENEFICIARY_FIELDS}0206QRCASH"), QrError::Service),
            (format!("{guid}0123{BENEFICIARY_FIELDS}0200"), QrError::Service),
            (format!("{guid}0123{BENEFICIARY_FIELDS}{guid}"), QrError::Repeated),
            (format!("{guid}01460006970416{BENEFICIARY_FIELDS}"), QrError::Truncated),
            (format!("{guid}0208QRIBFTTA01330006970416{BENEFICIARY_FIELDS}"), QrError::Repeated),
            (format!("0010A0000007280123{BENEFICIARY_FIELDS}"), QrError::NoVietQr),
            (format!("{guid}0208QRIBFTTA"), QrError::Bin),
            (guid.to_owned(), QrError::Service),
            (format!("{guid}0208QRIBFTTA01130109257678859"), QrError::Bin),
            (format!("{guid}0208QRIBFTTA0121000597041"), QrError::Truncated),
            (format!("{guid}0208QRIBFTTA01220005970410109257678859"), QrError::Bin),
            (format!("{guid}0208QRIBFTTA01100006970416"), QrError::Number),
            (format!("{guid}0208QRIBFTTA011700069704160103123"), QrError::Number),
            (format!("{guid}0208QRIBFTTA012000069704160106123/56"), QrError::Number),
        ] {
            assert_eq!(read(&with_template(&template)), Err(error), "{template}");
        }
    }

    #[test]
    fn every_malformed_payload_has_its_reason() {
        for (payload, error) in [
            (String::new(), QrError::Format),
            ("https://example.vn".to_owned(), QrError::NotDigits),
            (VALID.replace("000201", "000202"), QrError::Format),
            (VALID.replace("AE9F", "AE9E"), QrError::Checksum),
            (VALID.replace("AE9F", "+E9F"), QrError::Checksum),
            (VALID.replace("6304AE9F", ""), QrError::ChecksumMissing),
            (VALID.replace("6304AE9F", "6303AE9"), QrError::ChecksumMissing),
            (format!("{VALID}5802VN"), QrError::Repeated),
            (format!("{VALID}9902VN"), QrError::ChecksumMissing),
            (format!("{VALID}\n"), QrError::Truncated),
            (VALID.replace("53037", "5A037"), QrError::NotDigits),
            (VALID.replace("53037", "530A7"), QrError::NotDigits),
            (VALID.replace("AE9F", "AE9"), QrError::Truncated),
            (sealed("0002015303704"), QrError::NoVietQr),
            (sealed("000201260404AB"), QrError::NoVietQr),
            (sealed("00020126220010A0000007750104ABCD"), QrError::VnpayQr),
            ("0".repeat(PAYLOAD_CHARS_MAX + 1), QrError::TooLong),
            ("ạ".repeat(PAYLOAD_CHARS_MAX * 2), QrError::TooLong),
        ] {
            assert_eq!(read(&payload), Err(error), "{payload}");
        }
    }

    #[test]
    fn the_longest_payload_is_read() {
        let filler = |id: usize, length: usize| field(id, &"x".repeat(length));
        let template = format!("0010A0000007270123{BENEFICIARY_FIELDS}0208QRIBFTTA");
        let mut fields = format!("000201{}", field(VIETQR, &template));
        for id in 80..84 {
            fields.push_str(&filler(id, 90));
        }
        let left = PAYLOAD_CHARS_MAX - fields.len() - 8 - 4;
        let longest = sealed(&format!("{fields}{}", filler(84, left)));
        assert_eq!(longest.len(), PAYLOAD_CHARS_MAX);
        assert_eq!(read(&longest), expected());
    }

    #[test]
    fn debug_shows_no_account() {
        assert_eq!(format!("{:?}", parse(VALID).unwrap()), "Target(..)");
    }
}
