//! The yardstick: a bare actix-web TLS server that reads the same request body and sends an answer of the same size.
//! It must never do anything else, or the ratios would flatter the registry.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use actix_web::{App, HttpResponse, HttpServer, web};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::support::Outcome;

/// A body that is still JSON cannot be shorter.
const EMPTY_BODY: &str = r#"{"padding":""}"#;

#[derive(clap::Args)]
pub struct Options {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    cert: PathBuf,
    #[arg(long)]
    key: PathBuf,
    #[arg(long)]
    answer_bytes: usize,
}

/// Serves until SIGTERM.
pub fn run(options: &Options) -> Outcome<()> {
    let padding = options.answer_bytes.saturating_sub(EMPTY_BODY.len());
    let body = web::Bytes::from(format!(r#"{{"padding":"{}"}}"#, "x".repeat(padding)));
    let config = tls(options)?;
    actix_web::rt::System::new().block_on(async {
        let server = HttpServer::new(move || {
            let body = web::Data::new(body.clone());
            App::new().app_data(body).route("/v1/checks", web::post().to(answer))
        });
        let server = server.workers(workers()?).shutdown_timeout(1).bind_rustls_0_23(options.listen, config)?;
        for address in server.addrs() {
            println!("listening on https://{address}");
        }
        server.run().await?;
        Ok(())
    })
}

/// The headers have the length of the registry's own, so that both answers weigh the same on the wire.
async fn answer(request_body: web::Bytes, body: web::Data<web::Bytes>) -> HttpResponse {
    if request_body.is_empty() {
        return HttpResponse::BadRequest().finish();
    }
    HttpResponse::Ok()
        .insert_header(("X-Request-Id", "req_01kb3v4w5x6y7z8a9b0c1d2e3f"))
        .insert_header(("RateLimit-Policy", r#""checks";q=1000000000;w=60"#))
        .insert_header(("RateLimit", r#""checks";r=999999999;t=60"#))
        .insert_header(("Cache-Control", "no-store"))
        .insert_header(("Log-Entry", "main/12345678"))
        .content_type("application/json")
        .body(web::Bytes::clone(&body))
}

/// As many workers as actix-web, and so the registry, takes unless told otherwise.
fn workers() -> Outcome<usize> {
    Ok(std::thread::available_parallelism()?.get())
}

fn tls(options: &Options) -> Outcome<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(&options.cert)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&options.key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Makes a certificate for 127.0.0.1 that is its own authority. The key guards nothing but made-up traffic.
pub fn write_certificate(cert: &Path, key: &Path) -> Outcome<()> {
    let pair = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(["127.0.0.1".to_owned()])?.self_signed(&pair)?;
    fs::write(cert, certificate.pem())?;
    fs::write(key, pair.serialize_pem())?;
    Ok(())
}
