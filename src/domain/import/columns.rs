//! The columns of a table of flags: their names, the names that SIMO and Vietnamese sheets have for them, and what a header
//! makes of them. A header that is not understood refuses the file: a column that is lost in silence is a flag that is wrong.

use super::FileFault;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Column {
    Kind,
    Bank,
    Number,
    Provider,
    WalletId,
    IdNumber,
    TaxCode,
    Payload,
    Verdict,
    Category,
    Case,
    Reason,
    /// SIMO's `NghiNgo`: a sign of suspicion by its number.
    Suspicion,
    Document,
    IssuedOn,
    Authority,
    ExpiresAt,
    SourceKind,
    SourceReference,
    Linked,
    /// The unit that is to own the flag.
    Unit,
    Coordinating,
}

impl Column {
    pub const ALL: [Self; 22] = [
        Self::Kind,
        Self::Bank,
        Self::Number,
        Self::Provider,
        Self::WalletId,
        Self::IdNumber,
        Self::TaxCode,
        Self::Payload,
        Self::Verdict,
        Self::Category,
        Self::Case,
        Self::Reason,
        Self::Suspicion,
        Self::Document,
        Self::IssuedOn,
        Self::Authority,
        Self::ExpiresAt,
        Self::SourceKind,
        Self::SourceReference,
        Self::Linked,
        Self::Unit,
        Self::Coordinating,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Bank => "bank",
            Self::Number => "number",
            Self::Provider => "provider",
            Self::WalletId => "wallet_id",
            Self::IdNumber => "id_number",
            Self::TaxCode => "tax_code",
            Self::Payload => "payload",
            Self::Verdict => "verdict",
            Self::Category => "category",
            Self::Case => "case",
            Self::Reason => "reason",
            Self::Suspicion => "suspicion",
            Self::Document => "document",
            Self::IssuedOn => "issued_on",
            Self::Authority => "authority",
            Self::ExpiresAt => "expires_at",
            Self::SourceKind => "source_kind",
            Self::SourceReference => "source_reference",
            Self::Linked => "linked",
            Self::Unit => "unit",
            Self::Coordinating => "coordinating",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.as_str() == text)
    }

    /// Whether a number that a spreadsheet has made of its text may have lost digits that matter.
    pub fn is_identifier(self) -> bool {
        matches!(self, Self::Number | Self::WalletId | Self::IdNumber | Self::TaxCode | Self::Payload | Self::Linked)
    }

    /// Headers in Vietnamese, as `folded` leaves them.
    fn aliases(self) -> &'static [&'static str] {
        match self {
            Self::Kind => &["loai", "loaidoituong"],
            Self::Bank => &["nganhang", "manganhang", "bin"],
            Self::Number => &["sotaikhoan", "stk", "sodienthoai"],
            Self::Provider => &["nhacungcap", "nhacungcapvi"],
            Self::WalletId => &["sovi", "mavi", "sovidientu"],
            Self::IdNumber => &["sodinhdanh", "sodinhdanhcanhan", "cccd", "socccd"],
            Self::TaxCode => &["masothue", "mst"],
            Self::Payload => &["qr", "maqr"],
            Self::Verdict => &["mucdo", "mucdocanhbao"],
            Self::Category => &["phanloai", "thudoan"],
            Self::Case => &["vuviec", "mavuviec", "sovuviec", "vuan"],
            Self::Reason => &["lydo", "ghichu", "noidung"],
            Self::Suspicion => &["nghingo", "dauhieu"],
            Self::Document => &["sovanban", "soquyetdinh"],
            Self::IssuedOn => &["ngaybanhanh", "ngayvanban"],
            Self::Authority => &["coquanbanhanh"],
            Self::ExpiresAt => &["hethan", "ngayhethan"],
            Self::SourceKind => &["nguon", "loainguon"],
            Self::SourceReference => &["sothamchieu", "thamchieu"],
            Self::Linked => &["lienquan", "doituonglienquan"],
            Self::Unit => &["donvi", "donvithuly"],
            Self::Coordinating => &["donviphoihop"],
        }
    }
}

/// What an export shows beside, and an import reads past: the registry alone decides on it.
pub const SHOWN_ONLY: [&str; 5] = ["id", "state", "version", "raised_at", "since"];

/// Fields of a SIMO record as they are spelt there, which say nothing that a flag keeps: personal data is read past.
const SIMO_UNUSED: [&str; 20] = [
    "Cif",
    "SoID",
    "LoaiID",
    "TenKhachHang",
    "TenToChuc",
    "SoGiayPhepThanhLap",
    "NgaySinh",
    "GioiTinh",
    "MaSoThue",
    "SoDienThoaiDangKyDichVu",
    "DiaChi",
    "DiaChiKiemSoatTruyCap",
    "MaSoNhanDangThietBiDiDong",
    "LoaiTaiKhoan",
    "TrangThaiHoatDongTaiKhoan",
    "TrangThaiTaiKhoan",
    "NgayMoTaiKhoan",
    "PhuongThucMoTaiKhoan",
    "NgayXacThucTaiQuay",
    "QuocTich",
];
const SIMO_USED: [(&str, Column); 4] = [
    ("SoTaiKhoan", Column::Number),
    ("SoTaiKhoanToChuc", Column::Number),
    ("NghiNgo", Column::Suspicion),
    ("GhiChu", Column::Reason),
];
/// Why SIMO's record was changed; nothing of the flag.
const SIMO_UPDATE: &str = "LyDoCapNhat";

/// A header: for each place the column that stands there, or `None` for what is read past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns(Vec<Option<Column>>);

/// Columns of a header, with those that are read past.
pub const COLUMNS_MAX: usize = 64;
const HEADER_CHARS_MAX: usize = 64;

impl Columns {
    pub fn of_header<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, FileFault> {
        let fault = |field: &str, reason: &str| FileFault {
            row: Some(1),
            field: Some(field.chars().filter(|c| !c.is_control()).take(HEADER_CHARS_MAX).collect()),
            reason: reason.to_owned(),
        };
        let mut columns: Vec<Option<Column>> = Vec::new();
        let mut seen: Vec<String> = Vec::new();
        for name in names {
            let name = name.trim();
            if columns.len() == COLUMNS_MAX {
                return Err(fault(name, "the header has more than 64 columns"));
            }
            if name.contains('\0') {
                return Err(fault(
                    name,
                    "holds NUL characters; UTF-16 without a byte order mark needs its charset named",
                ));
            }
            let is_plain = !name.is_empty() && !name.chars().any(char::is_control);
            if !is_plain || name.chars().count() > HEADER_CHARS_MAX {
                return Err(fault(name, "a header of 1 to 64 characters must stand over each column"));
            }
            let column = read_name(name).ok_or_else(|| fault(name, "is no column here"))?;
            let again = column.is_some_and(|column| columns.contains(&Some(column))) || seen.iter().any(|s| s == name);
            if again {
                return Err(fault(name, "stands twice in the header"));
            }
            seen.push(name.to_owned());
            columns.push(column);
        }
        if columns.iter().all(Option::is_none) {
            return Err(fault("", "the header has no column of a flag"));
        }
        Ok(Self(columns))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn at(&self, place: usize) -> Option<Column> {
        self.0.get(place).copied().flatten()
    }
}

/// `None`: unknown; `Some(None)`: known, and read past.
fn read_name(name: &str) -> Option<Option<Column>> {
    if SHOWN_ONLY.contains(&name) || SIMO_UNUSED.contains(&name) || name == SIMO_UPDATE {
        return Some(None);
    }
    let simo = SIMO_USED.into_iter().find(|(simo, _)| *simo == name).map(|(_, column)| column);
    let plain = || {
        let folded = folded(name);
        let is_it =
            |column: &Column| column.as_str().replace('_', "") == folded || column.aliases().contains(&folded.as_str());
        Column::ALL.into_iter().find(is_it)
    };
    simo.or_else(plain).map(Some)
}

/// Lower-case letters and digits without diacritics: how headers are compared.
pub fn folded(text: &str) -> String {
    let letters = text.chars().flat_map(char::to_lowercase).filter_map(|c| match c {
        'à'..='ã' | 'ă' | 'ạ'..='ặ' => Some('a'),
        'è'..='ê' | 'ẹ'..='ệ' => Some('e'),
        'ì' | 'í' | 'ĩ' | 'ỉ' | 'ị' => Some('i'),
        'ò'..='õ' | 'ơ' | 'ọ'..='ợ' => Some('o'),
        'ù' | 'ú' | 'ũ' | 'ư' | 'ụ'..='ự' => Some('u'),
        'ý' | 'ỳ'..='ỹ' => Some('y'),
        'đ' => Some('d'),
        c if c.is_ascii_alphanumeric() => Some(c),
        _ => None,
    });
    letters.collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::unwrap_in_result)]
mod tests {
    use super::*;

    fn columns(names: &[&str]) -> Result<Vec<Option<Column>>, String> {
        Columns::of_header(names.iter().copied())
            .map(|columns| columns.0)
            .map_err(|fault| format!("{}: {}", fault.field.unwrap_or_default(), fault.reason))
    }

    #[test]
    fn each_column_is_known_by_its_name_and_by_each_alias() {
        for column in Column::ALL {
            let names: Vec<&str> = [column.as_str()].into_iter().chain(column.aliases().iter().copied()).collect();
            for name in names {
                assert_eq!(columns(&[name]), Ok(vec![Some(column)]), "{name}");
            }
        }
        let mut all: Vec<String> =
            Column::ALL.iter().flat_map(|column| column.aliases()).map(|a| (*a).to_owned()).collect();
        all.extend(Column::ALL.iter().map(|column| column.as_str().replace('_', "")));
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count, "an alias stands for two columns");
    }

    #[test]
    fn vietnamese_headers_are_read_with_and_without_diacritics() {
        let of = |name| columns(&[name]).unwrap()[0];
        assert_eq!(of("Số tài khoản"), Some(Column::Number));
        assert_eq!(of("SO TAI KHOAN"), Some(Column::Number));
        assert_eq!(of("Ngân hàng"), Some(Column::Bank));
        assert_eq!(of("Mức độ cảnh báo"), Some(Column::Verdict));
        assert_eq!(of("Ngày hết hạn"), Some(Column::ExpiresAt));
        assert_eq!(of("Đối tượng liên quan"), Some(Column::Linked));
        // As windows-1258 writes it: the tone is a character of its own.
        assert_eq!(of("Sô\u{301} ta\u{300}i khoa\u{309}n"), Some(Column::Number));
    }

    #[test]
    fn a_simo_record_is_read_and_what_it_says_of_the_person_is_read_past() {
        let simo =
            ["Cif", "SoID", "LoaiID", "TenKhachHang", "MaSoThue", "SoTaiKhoan", "NghiNgo", "GhiChu", "LyDoCapNhat"];
        let read = columns(&simo).unwrap();
        assert_eq!(read[..5], [None; 5]);
        assert_eq!(read[5..8], [Some(Column::Number), Some(Column::Suspicion), Some(Column::Reason)]);
        assert_eq!(columns(&["Mã số thuế"]).unwrap(), [Some(Column::TaxCode)]);
    }

    #[test]
    fn a_header_that_is_not_understood_is_refused_by_name() {
        assert_eq!(columns(&["number", "colour"]), Err("colour: is no column here".to_owned()));
        assert_eq!(columns(&["number", "Số tài khoản"]), Err("Số tài khoản: stands twice in the header".to_owned()));
        assert_eq!(columns(&["number", "Cif", "Cif"]), Err("Cif: stands twice in the header".to_owned()));
        assert!(columns(&["number", ""]).is_err());
        assert!(columns(&["id", "state"]).is_err());
        assert!(columns(&vec!["x"; 65]).is_err());
        assert!(columns(&["num\u{0}ber"]).is_err());
    }
}
