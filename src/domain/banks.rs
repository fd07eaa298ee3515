//! The bank directory: which BIN a bank's code, SWIFT code, short or former name stands for.
//! It must never let one name stand for two banks, nor guess at an unknown one.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use super::ascii::Ascii;
use super::table::{DirectoryError, DirectoryFault, NameKey, Names, aliases, rows};

/// The directory that ships with the program. Sources of codes disagree, so each code in use is an alias.
const BUILT_IN: &str = include_str!("banks.csv");

const COLUMNS: [&str; 10] =
    ["bin", "code", "short_name", "name_vi", "swift", "vietqr_transfer", "former", "aliases", "valid_from", "valid_to"];

const SWIFT_CHARS: usize = 8;
/// A SWIFT code with the three characters of a branch.
const SWIFT_BRANCH_CHARS: usize = 11;

/// The number by which NAPAS knows a bank: 6 digits, not always beginning with 970.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bin(Ascii<6>);

impl Bin {
    /// Exactly 6 ASCII digits; whether a bank has that BIN is the directory's to say.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_digit());
        Ascii::copy_of(text).filter(|_| digits).map(Self)
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for Bin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A BIN names a bank and no customer, so it may be shown.
impl fmt::Debug for Bin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bin({self})")
    }
}

impl Serialize for Bin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One bank, as clients see it. Each of its `aliases` may be sent in its place, former names too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Institution {
    bin: Bin,
    code: String,
    short_name: String,
    name_vi: String,
    swift: Option<String>,
    vietqr_transfer: bool,
    aliases: Vec<String>,
}

impl Institution {
    pub fn bin(&self) -> Bin {
        self.bin
    }

    pub fn code(&self) -> &str {
        &self.code
    }

    pub fn short_name(&self) -> &str {
        &self.short_name
    }

    pub fn aliases(&self) -> &[String] {
        &self.aliases
    }
}

/// All banks and all their names.
#[derive(Debug, Clone)]
pub struct BankDirectory {
    institutions: BTreeMap<Bin, Institution>,
    names: Names<Bin>,
    swifts: Names<Bin>,
}

impl BankDirectory {
    /// The directory of a CSV file with exactly the columns of the built-in one.
    /// `valid_from` and `valid_to` are the operator's record of when a row's names held:
    /// they must be dates, but a name resolves whatever the day is, as flags outlive renamings.
    pub fn parse(csv: &str) -> Result<Self, DirectoryError> {
        let rows = rows::<Row>(csv, &COLUMNS)?;
        let mut directory = Self { institutions: BTreeMap::new(), names: Names::default(), swifts: Names::default() };
        // Current rows go first, wherever they stand: a former row adds names to its bank.
        let mut former = Vec::new();
        for (line, row) in rows {
            let at = |fault| DirectoryError::new(line, fault);
            let row = CheckedRow::try_from(row).map_err(at)?;
            match row.standing {
                Standing::Current => directory.add_current(row).map_err(at)?,
                Standing::Former => former.push((line, row)),
            }
        }
        for (line, row) in former {
            let added = directory.add_former(row);
            added.map_err(|fault| DirectoryError::new(line, fault))?;
        }
        Ok(directory)
    }

    /// The directory that ships with the program; a test holds that it parses.
    pub fn built_in() -> Result<Self, DirectoryError> {
        Self::parse(BUILT_IN)
    }

    /// The BIN of a bank by BIN, code, SWIFT code (8 characters, or 11 with a branch), short name,
    /// former name or alias. Case, spaces, dots and dashes do not matter.
    pub fn bin_of(&self, name: &str) -> Option<Bin> {
        let key = NameKey::of(name)?;
        let exact = self.names.get(&key).copied();
        exact.or_else(|| self.bin_of_branch(&key))
    }

    /// One for each BIN, sorted by BIN.
    pub fn institutions(&self) -> impl Iterator<Item = &Institution> {
        self.institutions.values()
    }

    fn bin_of_branch(&self, key: &NameKey) -> Option<Bin> {
        let name = key.as_str();
        let (head, _branch) = name.split_at_checked(SWIFT_CHARS)?;
        let swift = NameKey::of(head).filter(|_| name.len() == SWIFT_BRANCH_CHARS)?;
        self.swifts.get(&swift).copied()
    }

    fn add_current(&mut self, checked: CheckedRow) -> Result<(), DirectoryFault> {
        let CheckedRow { bin, row, .. } = checked;
        if self.institutions.contains_key(&bin) {
            return Err(DirectoryFault::Duplicate);
        }
        self.claim(&row.bin, NameKey::of(&row.bin), "bin", bin)?;
        let mut other_names = Vec::new();
        for (name, column) in row.names() {
            let key = NameKey::of_column(name, column)?;
            if self.claim(name, Some(key), column, bin)?.is_some() && column == "aliases" {
                other_names.push(name.to_owned());
            }
        }
        self.claim_swift(&row.swift, bin)?;
        let institution = Institution {
            bin,
            code: row.code,
            short_name: row.short_name,
            name_vi: row.name_vi,
            swift: Some(row.swift).filter(|swift| !swift.is_empty()),
            vietqr_transfer: checked.vietqr_transfer,
            aliases: other_names,
        };
        self.institutions.insert(bin, institution);
        Ok(())
    }

    fn add_former(&mut self, checked: CheckedRow) -> Result<(), DirectoryFault> {
        let CheckedRow { bin, row, .. } = checked;
        if !self.institutions.contains_key(&bin) {
            return Err(DirectoryFault::FormerOnly);
        }
        let mut new_names = Vec::new();
        for (name, column) in row.names() {
            let key = NameKey::of_column(name, column)?;
            new_names.extend(self.claim(name, Some(key), column, bin)?.map(str::to_owned));
        }
        self.claim_swift(&row.swift, bin)?;
        if new_names.is_empty() {
            return Err(DirectoryFault::Duplicate);
        }
        if let Some(institution) = self.institutions.get_mut(&bin) {
            institution.aliases.append(&mut new_names);
        }
        Ok(())
    }

    /// Makes `name` stand for `bin`. Gives it back when it is new, `None` when it already did.
    fn claim<'n>(
        &mut self,
        name: &'n str,
        key: Option<NameKey>,
        column: &'static str,
        bin: Bin,
    ) -> Result<Option<&'n str>, DirectoryFault> {
        let key = key.ok_or(DirectoryFault::Name(column))?;
        match self.names.insert(key, bin) {
            None => Ok(Some(name)),
            Some(owner) if owner == bin => Ok(None),
            Some(owner) => Err(DirectoryFault::Ambiguous { column, owner: format!("BIN {owner}") }),
        }
    }

    fn claim_swift(&mut self, swift: &str, bin: Bin) -> Result<(), DirectoryFault> {
        if let Some(key) = NameKey::of(swift) {
            self.claim(swift, Some(key), "swift", bin)?;
            self.swifts.insert(key, bin);
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Row {
    bin: String,
    code: String,
    short_name: String,
    name_vi: String,
    swift: String,
    vietqr_transfer: String,
    former: String,
    aliases: String,
    valid_from: String,
    valid_to: String,
}

impl Row {
    fn names(&self) -> impl Iterator<Item = (&str, &'static str)> {
        let own = [(self.code.as_str(), "code"), (self.short_name.as_str(), "short_name")];
        own.into_iter().chain(aliases(&self.aliases).map(|alias| (alias, "aliases")))
    }
}

enum Standing {
    Current,
    Former,
}

/// A row each field of which has its form; its names are not yet compared with those of others.
struct CheckedRow {
    bin: Bin,
    standing: Standing,
    vietqr_transfer: bool,
    row: Row,
}

impl TryFrom<Row> for CheckedRow {
    type Error = DirectoryFault;

    fn try_from(row: Row) -> Result<Self, DirectoryFault> {
        let standing = match flag(&row.former, "former")? {
            true => Standing::Former,
            false => Standing::Current,
        };
        if row.name_vi.is_empty() || row.name_vi.trim() != row.name_vi {
            return Err(DirectoryFault::Text("name_vi"));
        }
        if !row.swift.is_empty() && !is_swift(&row.swift) {
            return Err(DirectoryFault::Swift);
        }
        date(&row.valid_from, "valid_from")?;
        date(&row.valid_to, "valid_to")?;
        // Dates of this form sort as text.
        if !row.valid_to.is_empty() && row.valid_from > row.valid_to {
            return Err(DirectoryFault::DateOrder);
        }
        Ok(Self {
            bin: Bin::parse(&row.bin).ok_or(DirectoryFault::Bin)?,
            standing,
            vietqr_transfer: flag(&row.vietqr_transfer, "vietqr_transfer")?,
            row,
        })
    }
}

fn flag(field: &str, column: &'static str) -> Result<bool, DirectoryFault> {
    match field {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(DirectoryFault::Flag(column)),
    }
}

/// Four letters of the bank, two of the country, two letters or digits of the place.
fn is_swift(text: &str) -> bool {
    let upper_or_digit = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    text.len() == SWIFT_CHARS
        && text.bytes().all(upper_or_digit)
        && text.bytes().take(6).all(|byte| byte.is_ascii_uppercase())
}

/// Empty, or a day of the calendar as YYYY-MM-DD.
fn date(field: &str, column: &'static str) -> Result<(), DirectoryFault> {
    if field.is_empty() || is_date(field).is_some() {
        return Ok(());
    }
    Err(DirectoryFault::Date(column))
}

fn is_date(text: &str) -> Option<()> {
    let digits_and_dashes = text.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    if text.len() != 10 || !digits_and_dashes {
        return None;
    }
    let mut parts = text.split('-').map(str::parse::<u32>);
    let (year, month, day) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    (1..=days).contains(&day).then_some(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    const HEADER: &str = "bin,code,short_name,name_vi,swift,vietqr_transfer,former,aliases,valid_from,valid_to";

    fn fault_of(rows: &str) -> (u64, DirectoryFault) {
        let error = BankDirectory::parse(&format!("{HEADER}\n{rows}")).unwrap_err();
        (error.line(), error.fault().clone())
    }

    fn bin(text: &str) -> Option<Bin> {
        Some(Bin::parse(text).unwrap())
    }

    #[test]
    fn the_built_in_directory_parses_and_has_each_bin_once_in_order() {
        let directory = BankDirectory::built_in().unwrap();
        let bins: Vec<Bin> = directory.institutions().map(Institution::bin).collect();
        assert_eq!(bins.len(), 58);
        assert!(bins.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn every_name_that_is_shown_resolves_to_its_bank() {
        let directory = BankDirectory::built_in().unwrap();
        for bank in directory.institutions() {
            let own = [bank.bin.as_str(), &bank.code, &bank.short_name];
            let names = own.into_iter().chain(bank.swift.as_deref());
            for name in names.chain(bank.aliases.iter().map(String::as_str)) {
                assert_eq!(directory.bin_of(name), Some(bank.bin), "{name}");
            }
        }
    }

    #[test]
    fn names_in_use_resolve() {
        let directory = BankDirectory::built_in().unwrap();
        for (name, expected) in [
            ("ICB", "970415"),
            ("CTG", "970415"),
            ("VIETINBANK", "970415"),
            ("vietcombank", "970436"),
            ("bftvvnvx", "970436"),
            ("BFTVVNVX001", "970436"),
            ("BFTV VN VX XXX", "970436"),
            ("BIDV", "970418"),
            ("MB", "970422"),
            ("mb-bank", "970422"),
            ("VBA", "970405"),
            ("TECHCOMBANK", "970407"),
            ("SACOMBANK", "970403"),
            ("TPBANK", "970423"),
            ("VPBANK", "970432"),
            ("EXIMBANK", "970431"),
            ("OCB", "970448"),
            ("MSB", "970426"),
            ("NCB", "970419"),
            ("coop.bank", "970446"),
            ("cake", "546034"),
            ("MOMO", "971025"),
            ("970 436", "970436"),
        ] {
            assert_eq!(directory.bin_of(name), bin(expected), "{name}");
        }
    }

    #[test]
    fn former_names_resolve_and_are_aliases_of_the_bank_of_today() {
        let directory = BankDirectory::built_in().unwrap();
        for (name, expected) in [("DONGABANK", "970406"), ("Ocean Bank", "970414"), ("LienVietPostBank", "970449")] {
            assert_eq!(directory.bin_of(name), bin(expected));
        }
        let lpb = directory.institutions().find(|bank| bank.code() == "LPB");
        assert_eq!(lpb.unwrap().aliases(), ["LienVietPostBank", "LVPB"]);
    }

    #[test]
    fn unknown_names_do_not_resolve() {
        let directory = BankDirectory::built_in().unwrap();
        for name in ["", "970499", "VCBB", "BFTVVNVX0", "BFTVVNVX01", "BFTVVNVX0001", "VIETCOMBANK001", "Việt"] {
            assert_eq!(directory.bin_of(name), None, "{name}");
        }
    }

    #[test]
    fn an_unknown_missing_or_repeated_column_is_refused() {
        for header in [
            &HEADER.replace(",aliases", ""),
            &HEADER.replace("aliases", "names"),
            &format!("{HEADER},more"),
            &HEADER.replace("swift", "code"),
            "",
        ] {
            let error = BankDirectory::parse(header).unwrap_err();
            assert_eq!(error.line(), 1);
            assert!(matches!(error.fault(), DirectoryFault::Header(_)));
        }
    }

    #[test]
    fn each_malformed_field_is_refused_with_its_line() {
        const GOOD: &str = "970436,VCB,Vietcombank,Ngân hàng,BFTVVNVX,1,0,VCBANK,2020-01-01,";
        BankDirectory::parse(&format!("{HEADER}\n{GOOD}\n")).unwrap();
        for (from, to, fault) in [
            ("970436", "97043", DirectoryFault::Bin),
            ("970436", "97043A", DirectoryFault::Bin),
            ("VCB,", ",", DirectoryFault::Name("code")),
            ("Vietcombank", "Việt", DirectoryFault::Name("short_name")),
            ("VCBANK", "A||B", DirectoryFault::Name("aliases")),
            ("VCBANK", "A | B", DirectoryFault::Name("aliases")),
            ("VCBANK", "970415", DirectoryFault::Name("aliases")),
            ("Ngân hàng", "", DirectoryFault::Text("name_vi")),
            ("BFTVVNVX", "bftvvnvx", DirectoryFault::Swift),
            ("BFTVVNVX", "BFTVVNVX001", DirectoryFault::Swift),
            (",1,0,", ",yes,0,", DirectoryFault::Flag("vietqr_transfer")),
            (",1,0,", ",1,,", DirectoryFault::Flag("former")),
            ("2020-01-01", "2023-02-29", DirectoryFault::Date("valid_from")),
            ("2020-01-01", "01/02/2020", DirectoryFault::Date("valid_from")),
            ("01-01,", "01-01,2019-12-31", DirectoryFault::DateOrder),
            (",1,0,", ",1,0,,", DirectoryFault::Row),
        ] {
            let other = "970415,CTG,VietinBank,Ngân hàng,,1,0,,,";
            let bad = GOOD.replace(from, to);
            assert_eq!(fault_of(&format!("{other}\n{bad}\n")), (3, fault), "{bad}");
        }
    }

    #[test]
    fn a_name_for_two_banks_is_refused() {
        let one = "970436,VCB,Vietcombank,A,BFTVVNVX,1,0,VB,,";
        for other in [
            "970415,VCB,Other,B,,1,0,,,",
            "970415,CTG,Viet-com-bank,B,,1,0,,,",
            "970415,CTG,Other,B,BFTVVNVX,1,0,,,",
            "970415,CTG,Other,B,,1,0,v.b,,",
            "970415,CTG,Other,B,,1,0,BFTVVNVX,,",
        ] {
            let (line, fault) = fault_of(&format!("{one}\n{other}\n"));
            assert_eq!(line, 3);
            assert!(matches!(fault, DirectoryFault::Ambiguous { .. }), "{other}");
        }
    }

    #[test]
    fn repeated_rows_and_lonely_former_names_are_refused() {
        let row = "970436,VCB,Vietcombank,A,,1,0,,,";
        let former = "970436,VCB,Vietcombank,A,,1,1,,,";
        assert_eq!(fault_of(&format!("{row}\n{row}\n")), (3, DirectoryFault::Duplicate));
        assert_eq!(fault_of(&format!("{row}\n{former}\n")), (3, DirectoryFault::Duplicate));
        assert_eq!(fault_of(&format!("{former}\n")), (2, DirectoryFault::FormerOnly));
    }

    #[test]
    fn a_file_without_rows_is_refused() {
        assert_eq!(fault_of("").1, DirectoryFault::NoRows);
    }

    #[test]
    fn leap_days_are_dates() {
        for (text, expected) in [
            ("2024-02-29", Some(())),
            ("2000-02-29", Some(())),
            ("1900-02-29", None),
            ("2024-13-01", None),
            ("2024-04-31", None),
            ("2024-04-00", None),
        ] {
            assert_eq!(is_date(text), expected, "{text}");
        }
    }
}
