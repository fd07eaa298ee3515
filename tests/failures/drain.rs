//! SIGTERM: what was begun is finished and answered, nothing new is begun, and the process ends in time.

use crate::chance::Random;
use crate::load::{Protocol, fetch_tokens, until_it_is_gone};
use crate::support::ledger::{Ledger, index_of};
use crate::support::{Server, client, eventually};
use crate::{FLAGS, about};
use canhbao::clock::Stopwatch;
use canhbao::log::Act;
use nix::sys::signal::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use sha2::{Digest, Sha256};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// `limits.drain_s`: a server that still takes requests when it is over must break some of them off.
const END_TIME_MAX: Duration = Duration::from_secs(10);
/// Nothing to wait for.
const IDLE_END_TIME_MAX: Duration = Duration::from_secs(3);

#[tokio::test]
async fn whoever_asks_over_http_1_is_answered_all_that_is_logged_when_the_server_ends() {
    ends_under_load(Protocol::Http1).await;
}

#[tokio::test]
async fn whoever_asks_over_http_2_is_answered_all_that_is_logged_when_the_server_ends() {
    ends_under_load(Protocol::Http2).await;
}

async fn ends_under_load(protocol: Protocol) {
    let mut random = Random::seeded();
    let mut server = Server::start_with(FLAGS).await;
    fetch_tokens(&server).await;
    let terminate = async {
        random.pause_ms(300, 900).await;
        server.process().signal(Signal::SIGTERM);
        Stopwatch::start()
    };
    let numbers = Cell::new(0);
    let (held, watch) = tokio::join!(until_it_is_gone(&server, protocol, &numbers), terminate);
    let (status, log) = server.ended().await;
    let took = watch.elapsed();
    println!("{} answered, {} refused, {} lost, {took:?}", held.answered, held.refused, held.lost);
    assert!(status.success(), "{status}:\n{log}");
    server.verify();
    let answered = server.answered();
    let ledger = Ledger::read(&server.data());
    let cut = ledger
        .since_set_up()
        .filter(|entry| matches!(entry.act, Act::Check | Act::FlagRaise) && !answered.contains(&entry.request_id));
    assert_eq!(cut.count(), 0, "the log has answers that their clients never got");
    assert!(took < END_TIME_MAX, "it took {took:?}:\n{log}");
    server.finish().await;
}

#[tokio::test]
async fn a_request_that_began_before_sigterm_is_answered_while_readyz_is_red() {
    let mut server = Server::start_with(FLAGS).await;
    let token = server.token("bank").await;
    let body = about("9000000000001").to_string();
    let (first, rest) = body.split_at(20);
    let mut stream = connect(&server).await;
    let head = format!(
        "POST /v1/checks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{first}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    // The request is on its way into the server when the gauge of the housekeeping shows it.
    eventually(Duration::from_secs(4), "the request is in flight", async || {
        server.operations("/metrics").await.text().contains("canhbao_http_in_flight 1")
    })
    .await;
    server.process().signal(Signal::SIGTERM);
    eventually(Duration::from_secs(1), "readyz is red", async || server.operations("/readyz").await.status == 503)
        .await;
    server.operations("/livez").await.is(200);
    let address = server.base_url.strip_prefix("https://").unwrap();
    eventually(Duration::from_secs(1), "nobody is let in", async || TcpStream::connect(address).await.is_err()).await;
    stream.write_all(rest.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && body.contains("\"verdict\":\"warn\""), "{answer}");
    let (status, log) = server.ended().await;
    assert!(status.success(), "{status}:\n{log}");
    let place = head.lines().find_map(|line| line.strip_prefix("log-entry: ")).unwrap();
    let entry = Ledger::read(&server.data()).entry(index_of(place)).clone();
    assert_eq!(entry.answer_digest, Some(Sha256::digest(body.as_bytes()).into()));
    server.finish().await;
}

async fn connect(server: &Server) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&server.ca_file).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let tcp = TcpStream::connect(server.base_url.strip_prefix("https://").unwrap()).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
}

/// Ends a server to which these clients hold idle connections.
async fn ends_at_once_beside(make: impl Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder) {
    let mut server = Server::start_with(FLAGS).await;
    let mut idle = Vec::new();
    for _ in 0..3 {
        let http = make(client(&server.ca_file)).build().unwrap();
        server.post("/v1/checks").by("bank").json(&about("9000000000000")).through(&http).send().await.is(200);
        idle.push(http);
    }
    let watch = Stopwatch::start();
    server.process().signal(Signal::SIGTERM);
    let (status, log) = server.ended().await;
    assert!(status.success() && watch.elapsed() < IDLE_END_TIME_MAX, "{status} after {:?}:\n{log}", watch.elapsed());
    drop(idle);
    server.finish().await;
}

#[tokio::test]
async fn idle_http_1_connections_do_not_delay_the_end() {
    ends_at_once_beside(reqwest::ClientBuilder::http1_only).await;
}

#[tokio::test]
async fn idle_http_2_connections_do_not_delay_the_end() {
    ends_at_once_beside(|builder| builder).await;
}
