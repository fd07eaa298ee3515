//! The smallest HTTP/1.1 client over TLS 1.3 that can drive both servers: one connection, one request at a time.
//! It must never take an answer for a good one that it did not read to its end.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Outcome;

/// The longest answer that is read, head and body together.
const ANSWER_BYTES_MAX: usize = 32 * 1024;

pub struct Connection {
    stream: TlsStream<TcpStream>,
    address: SocketAddr,
    received: Box<[u8]>,
}

/// One whole answer; it borrows the connection's buffer.
pub struct Answer<'a> {
    pub status: u16,
    pub head: &'a [u8],
    pub body: &'a [u8],
}

/// A TLS 1.3 connector that trusts the certificates of one PEM file and nothing else.
pub fn connector(trusted: &Path) -> Outcome<TlsConnector> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(trusted)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

impl Connection {
    pub async fn open(address: SocketAddr, connector: &TlsConnector) -> Outcome<Self> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::from(address.ip());
        let stream = connector.connect(name, tcp).await?;
        if stream.get_ref().1.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
            return Err("the server did not agree to TLS 1.3".into());
        }
        let received = vec![0; ANSWER_BYTES_MAX].into_boxed_slice();
        Ok(Self { stream, address, received })
    }

    /// Sends one whole request in one write and reads the answer to its last byte.
    pub async fn exchange(&mut self, request: &[u8]) -> Outcome<Answer<'_>> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        let mut filled = 0;
        let extent = loop {
            let free = self.received.get_mut(filled..).unwrap_or_default();
            if free.is_empty() {
                return Err(format!("an answer is longer than {ANSWER_BYTES_MAX} bytes").into());
            }
            let read = self.stream.read(free).await?;
            if read == 0 {
                return Err("the server closed the connection before its answer ended".into());
            }
            filled += read;
            let arrived = self.received.get(..filled).unwrap_or_default();
            if let Some(extent) = Extent::parse(arrived)?
                && filled >= extent.head_bytes + extent.body_bytes
            {
                break extent;
            }
        };
        if filled > extent.head_bytes + extent.body_bytes {
            return Err("the server sent more than one answer to one request".into());
        }
        let arrived = self.received.get(..filled).unwrap_or_default();
        let (head, body) = arrived.split_at_checked(extent.head_bytes).unwrap_or_default();
        Ok(Answer { status: extent.status, head, body })
    }

    /// One request outside the measurement; the status must be the one named, and the body is returned.
    pub async fn call(&mut self, path: &str, headers: &[(&str, &str)], body: &str, expected: u16) -> Outcome<Vec<u8>> {
        let mut request = format!("POST {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for (name, value) in headers {
            write!(request, "{name}: {value}\r\n")?;
        }
        write!(request, "Content-Length: {}\r\n\r\n{body}", body.len())?;
        let answer = self.exchange(request.as_bytes()).await?;
        answer.require(expected)?;
        Ok(answer.body.to_vec())
    }
}

impl Answer<'_> {
    /// Any other status ends the run: a refused request would be a cheap one, and the figures would lie.
    pub fn require(&self, expected: u16) -> Outcome<()> {
        if self.status == expected {
            return Ok(());
        }
        let body = String::from_utf8_lossy(self.body);
        Err(format!("the server answered {} where {expected} was expected: {body}", self.status).into())
    }
}

/// Where the head of an answer ends and how long its body is.
struct Extent {
    status: u16,
    head_bytes: usize,
    body_bytes: usize,
}

impl Extent {
    /// `None` while the head has not arrived to its end. Only bodies with a Content-Length are read.
    fn parse(arrived: &[u8]) -> Outcome<Option<Self>> {
        let mut head_bytes = 0;
        let mut status = None;
        let mut body_bytes = None;
        for line in arrived.split_inclusive(|byte| *byte == b'\n') {
            let Some(line) = line.strip_suffix(b"\r\n") else {
                return Ok(None);
            };
            head_bytes += line.len() + 2;
            if line.is_empty() {
                let status = status.ok_or("an answer has no status line")?;
                let body_bytes = body_bytes.ok_or("an answer has no Content-Length")?;
                return Ok(Some(Self { status, head_bytes, body_bytes }));
            }
            if status.is_none() {
                status = Some(parse_status(line)?);
            } else if let Some(value) = header_value(line, b"content-length") {
                body_bytes = Some(std::str::from_utf8(value)?.trim().parse()?);
            }
        }
        Ok(None)
    }
}

fn parse_status(line: &[u8]) -> Outcome<u16> {
    let digits = line.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3));
    let digits = digits.ok_or("an answer does not begin with an HTTP/1.1 status line")?;
    Ok(std::str::from_utf8(digits)?.parse()?)
}

fn header_value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    start.eq_ignore_ascii_case(name).then_some(value)
}
