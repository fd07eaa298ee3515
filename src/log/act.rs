//! The kinds of acts that leave an entry in the log. Their codes are part of the entry's form and never change.

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    Check,
    CheckRead,
    FlagRaise,
    FlagApprove,
    FlagReject,
    FlagLift,
    FlagRead,
    FlagList,
    FlagImport,
    PartyCreate,
    PartyDisable,
    PartyEnable,
    PartyList,
    ClientCreate,
    ClientRotate,
    ClientDisable,
    ClientEnable,
    ClientList,
    TokenIssue,
    Refused,
    LogKey,
    LogRead,
    LogReport,
    LogArchive,
    FlagAmend,
    FlagRenew,
    FlagTransfer,
    FlagSearch,
    FlagCorrect,
    ObjectionFile,
    ObjectionUphold,
    ObjectionDismiss,
    ObjectionList,
    ImportReceive,
    ImportRead,
    ImportApprove,
    ImportReject,
    FlagExport,
}

impl Act {
    /// The code is the place in this list, from 1: it grows at the end and is never reordered.
    pub const ALL: [Self; 38] = [
        Self::Check,
        Self::CheckRead,
        Self::FlagRaise,
        Self::FlagApprove,
        Self::FlagReject,
        Self::FlagLift,
        Self::FlagRead,
        Self::FlagList,
        Self::FlagImport,
        Self::PartyCreate,
        Self::PartyDisable,
        Self::PartyEnable,
        Self::PartyList,
        Self::ClientCreate,
        Self::ClientRotate,
        Self::ClientDisable,
        Self::ClientEnable,
        Self::ClientList,
        Self::TokenIssue,
        Self::Refused,
        Self::LogKey,
        Self::LogRead,
        Self::LogReport,
        Self::LogArchive,
        Self::FlagAmend,
        Self::FlagRenew,
        Self::FlagTransfer,
        Self::FlagSearch,
        Self::FlagCorrect,
        Self::ObjectionFile,
        Self::ObjectionUphold,
        Self::ObjectionDismiss,
        Self::ObjectionList,
        Self::ImportReceive,
        Self::ImportRead,
        Self::ImportApprove,
        Self::ImportReject,
        Self::FlagExport,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::CheckRead => "check.read",
            Self::FlagRaise => "flag.raise",
            Self::FlagApprove => "flag.approve",
            Self::FlagReject => "flag.reject",
            Self::FlagLift => "flag.lift",
            Self::FlagRead => "flag.read",
            Self::FlagList => "flag.list",
            Self::FlagImport => "flag.import",
            Self::PartyCreate => "party.create",
            Self::PartyDisable => "party.disable",
            Self::PartyEnable => "party.enable",
            Self::PartyList => "party.list",
            Self::ClientCreate => "client.create",
            Self::ClientRotate => "client.rotate",
            Self::ClientDisable => "client.disable",
            Self::ClientEnable => "client.enable",
            Self::ClientList => "client.list",
            Self::TokenIssue => "token.issue",
            Self::Refused => "refused",
            Self::LogKey => "log.key",
            Self::LogRead => "log.read",
            Self::LogReport => "log.report",
            Self::LogArchive => "log.archive",
            Self::FlagAmend => "flag.amend",
            Self::FlagRenew => "flag.renew",
            Self::FlagTransfer => "flag.transfer",
            Self::FlagSearch => "flag.search",
            Self::FlagCorrect => "flag.correct",
            Self::ObjectionFile => "objection.file",
            Self::ObjectionUphold => "objection.uphold",
            Self::ObjectionDismiss => "objection.dismiss",
            Self::ObjectionList => "objection.list",
            Self::ImportReceive => "import.receive",
            Self::ImportRead => "import.read",
            Self::ImportApprove => "import.approve",
            Self::ImportReject => "import.reject",
            Self::FlagExport => "flag.export",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.as_str() == text)
    }

    pub fn code(self) -> Option<u8> {
        let place = Self::ALL.iter().position(|act| *act == self)?;
        u8::try_from(place).ok()?.checked_add(1)
    }

    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code.checked_sub(1)?)).copied()
    }
}
