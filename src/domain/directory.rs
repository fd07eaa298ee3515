//! Both directories that `Subject::parse` looks things up in.
//! It must never be changed in place: replacing the bank file makes a new one.

use super::banks::BankDirectory;
pub use super::table::{DirectoryError, DirectoryFault};
use super::wallets::WalletDirectory;

/// The banks, which an operator may replace, and the wallet providers that ship with the program.
#[derive(Debug, Clone)]
pub struct Directory {
    banks: BankDirectory,
    wallets: WalletDirectory,
}

impl Directory {
    pub fn built_in() -> Result<Self, DirectoryError> {
        Self::with_banks(BankDirectory::built_in()?)
    }

    /// An operator's banks and the built-in wallet providers.
    pub fn with_banks(banks: BankDirectory) -> Result<Self, DirectoryError> {
        let wallets = WalletDirectory::built_in()?;
        Ok(Self { banks, wallets })
    }

    pub fn banks(&self) -> &BankDirectory {
        &self.banks
    }

    pub fn wallets(&self) -> &WalletDirectory {
        &self.wallets
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_directory_parses() {
        Directory::built_in().unwrap();
    }

    #[test]
    fn the_banks_behind_which_wallets_stand_are_known() {
        let directory = Directory::built_in().unwrap();
        for bin in ["971025", "970454"] {
            assert!(directory.banks().bin_of(bin).is_some());
        }
    }
}
