//! TLS to PostgreSQL: aws-lc-rs alone, the roots of one file alone, and the server's name is checked. There is no way to
//! speak TLS with a server that cannot prove its name.

use super::address::{Address, Place};
use crate::store::StoreError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use tokio_postgres_rustls::MakeRustlsConnect;

/// `None` if the server is on this machine and the address says that none is wanted.
pub(super) fn connector(address: &Address) -> Result<Option<MakeRustlsConnect>, StoreError> {
    match &address.place {
        Place::Socket(_) | Place::Loopback(_) => Ok(None),
        Place::Host { roots, .. } => {
            let failed = |error: String| StoreError::Engine(format!("{}: {error}", roots.display()));
            configured(roots).map(MakeRustlsConnect::new).map(Some).map_err(failed)
        }
    }
}

fn configured(path: &Path) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())? {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        return Err("no certificate in it".to_owned());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
