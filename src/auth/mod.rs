//! Tokens, client credentials and keys. Nothing here may trust a token before its key, its algorithm
//! and each of its claims are checked, and nothing here may print a token, a secret or a key.

mod access;
mod access_token;
mod assertion;
mod authority;
mod client_key;
mod jose;
pub mod key_file;
pub mod keys;
mod limits;
mod pem;
pub mod pepper;
mod replay;
mod secret;

pub use access::{Access, ClientState};
pub use access_token::{IssueError, TokenError};
pub use authority::{AccessToken, Authority, AuthorityError};
pub use client_key::ClientKey;
pub use limits::{DefaultQuotas, Taken};
pub use secret::ClientSecret;

/// Gives the token library its cryptography; call it first thing in `main` and in tests, as often as you like.
pub fn install_crypto_provider() {
    // An error says only that a provider is installed already, and aws-lc-rs is the only one in the tree.
    let _already_installed = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installing_the_provider_twice_is_harmless() {
        install_crypto_provider();
        install_crypto_provider();
    }
}
