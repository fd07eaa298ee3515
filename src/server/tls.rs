//! TLS by rustls: 1.2 and 1.3, HTTP/2 and 1.1 by ALPN, a certificate that can be replaced while running. Also the
//! self-signed certificate with which a demo starts.

use super::{HomeError, ServeError};
use crate::auth::key_file::{create_private, read_private};
use arc_swap::ArcSwap;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The certificate in force.
pub struct Certificate(ArcSwap<CertifiedKey>);

impl Certificate {
    /// Chain and key; a key that others can read is refused.
    pub fn load(files: &(PathBuf, PathBuf)) -> Result<Self, ServeError> {
        Ok(Self(ArcSwap::from_pointee(read(files)?)))
    }

    pub fn reload(&self, files: &(PathBuf, PathBuf)) -> Result<(), ServeError> {
        self.0.store(Arc::new(read(files)?));
        Ok(())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate")
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

pub fn server_config(certificate: Arc<Certificate>) -> Result<ServerConfig, ServeError> {
    let builder = ServerConfig::builder_with_provider(provider()?)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| ServeError::Start(error.to_string()))?;
    Ok(builder.with_no_client_auth().with_cert_resolver(certificate))
}

fn provider() -> Result<Arc<CryptoProvider>, ServeError> {
    let provider = CryptoProvider::get_default();
    provider.cloned().ok_or_else(|| ServeError::Start("no cryptographic provider is installed".to_owned()))
}

fn read((chain_file, key_file): &(PathBuf, PathBuf)) -> Result<CertifiedKey, ServeError> {
    let bad = |path: &Path, reason: String| HomeError::Path { path: path.to_owned(), reason };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(chain_file)
        .map_err(|error| bad(chain_file, format!("{error} (put the certificate there, see README)")))?
        .collect();
    let chain = chain.map_err(|error| bad(chain_file, error.to_string()))?;
    if chain.is_empty() {
        return Err(bad(chain_file, "it holds no certificate".to_owned()).into());
    }
    let pem = read_private(key_file).map_err(HomeError::from)?;
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| bad(key_file, error.to_string()))?;
    let certified = CertifiedKey::from_der(chain, key, provider()?.as_ref());
    Ok(certified.map_err(|error| bad(key_file, error.to_string()))?)
}

/// Where a self-signed set of files is.
pub struct SelfSigned {
    pub ca: PathBuf,
}

/// Makes `DIR/tls` with a CA and a certificate from it for these names and addresses.
pub fn self_signed(home: &Path, names: &[String]) -> Result<SelfSigned, ServeError> {
    let failed = |error: rcgen::Error| ServeError::Start(format!("self-signed certificate: {error}"));
    let directory = home.join("tls");
    std::fs::create_dir_all(&directory).map_err(|error| ServeError::Start(error.to_string()))?;
    let ca_key = KeyPair::generate().map_err(failed)?;
    let mut ca = CertificateParams::new(Vec::new()).map_err(failed)?;
    ca.distinguished_name.push(DnType::CommonName, "canhbao demo CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca_pem = ca.self_signed(&ca_key).map_err(failed)?.pem();
    let key = KeyPair::generate().map_err(failed)?;
    let mut server = CertificateParams::new(names.to_vec()).map_err(failed)?;
    server.distinguished_name.push(DnType::CommonName, "canhbao");
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let issuer = Issuer::new(ca, ca_key);
    let certificate = server.signed_by(&key, &issuer).map_err(failed)?.pem();
    create_private(&directory.join("server.key"), &key.serialize_pem()).map_err(HomeError::from)?;
    for (name, pem) in [("ca.pem", ca_pem), ("server.pem", certificate)] {
        std::fs::write(directory.join(name), pem).map_err(|error| ServeError::Start(error.to_string()))?;
    }
    Ok(SelfSigned { ca: directory.join("ca.pem") })
}
