//! What surrounds every request: URLs, methods, sizes, times, media types, protocols, ids; and the operator's listener.

use crate::support::contract::CONTRACT;
use crate::support::{Answer, Ask, Server, client};
use crate::{about, account};
use canhbao::clock::Stopwatch;
use canhbao::log::Act;
use reqwest::header::HeaderMap;
use reqwest::{Method, Version};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const CHECK_BYTES_MAX: usize = 16 * 1024;
const BATCH_BYTES_MAX: usize = 1024 * 1024;

#[tokio::test]
async fn an_unknown_url_is_not_found() {
    let server = Server::start().await;
    let paths =
        ["/", "/v1", "/v1/", "/v1/checks/", "/v1/check", "/v2/checks", "/V1/checks", "/metrics", "/v1/checks/a/b"];
    for path in paths {
        for method in [Method::GET, Method::POST] {
            server.ask(method, path).send().await.refused(404, "not_found");
        }
    }
    server.finish().await;
}

#[tokio::test]
async fn the_contract_and_the_server_have_the_same_urls_and_methods() {
    let server = Server::start().await;
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/mod.rs")).unwrap();
    let mut table: Vec<(String, Vec<String>)> = text
        .lines()
        .filter_map(|line| {
            let (path, rest) = line.split_once("at(\"")?.1.split_once("\")")?;
            let has = |name: &str| rest.contains(&format!(".{}(", name.to_lowercase()));
            Some((path.to_owned(), ["GET", "POST"].into_iter().filter(|m| has(m)).map(str::to_owned).collect()))
        })
        .collect();
    table.sort();
    assert!(table.len() > 20, "the table is read wrongly");
    // The contract has two templates for what is one row here.
    let tiles = table.iter().position(|(path, _)| path == "/log/{node}/tile/{place:.*}").unwrap();
    table[tiles].0 = "/log/{node}/tile/entries/{index}".to_owned();
    table.insert(tiles + 1, ("/log/{node}/tile/{level}/{index}".to_owned(), table[tiles].1.clone()));
    table.sort();
    assert_eq!(CONTRACT.operations(), table);
    // And as it behaves: witness() holds every 405 to the contract's methods.
    for (path, methods) in table {
        let path = path.replace("{id}", "x");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let answer = server.ask(method.parse().unwrap(), &path).send().await;
            let is_known = !matches!(answer.status, 404 | 405);
            assert_eq!(is_known, methods.iter().any(|known| known == method), "{method} {path}");
        }
    }
    server.finish().await;
}

#[test]
fn the_contract_names_every_act() {
    let acts: Vec<&str> = Act::ALL.into_iter().map(Act::as_str).collect();
    assert_eq!(*CONTRACT.at("/components/schemas/Act/enum"), json!(acts));
}

#[test]
fn a_path_is_found_in_the_contract_with_all_the_slashes_of_its_last_parameter() {
    let tile = Some("/log/{node}/tile/{level}/{index}");
    let bundle = Some("/log/{node}/tile/entries/{index}");
    for (path, template) in [
        ("/log/main/tile/0/000", tile),
        ("/log/main/tile/5/x001/x234/067.p/7", tile),
        ("/log/main/tile/entries/000", bundle),
        ("/log/main/tile/entries/x001/234.p/255", bundle),
        ("/log/main/tile/entries", None),
        ("/log/main/tile/0/", None),
        ("/v1/checks/x/receipt", Some("/v1/checks/{id}/receipt")),
        ("/v1/checks/x/receipt/y", None),
    ] {
        assert_eq!(CONTRACT.template(path), template, "{path}");
    }
}

#[tokio::test]
async fn the_contract_is_served_as_it_stands() {
    let server = Server::start().await;
    let answer = server.get("/openapi.yaml").send().await.is(200);
    assert_eq!(answer.media_type(), "application/yaml");
    assert!(answer.body == std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.yaml")).unwrap());
    server.finish().await;
}

#[tokio::test]
async fn both_protocols_answer_and_every_answer_has_an_id() {
    let server = Server::start().await;
    let one = client(&server.ca_file).http1_only().build().unwrap();
    let body = about(account("9000000000001"));
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(server.post("/v1/checks").by("bank").json(&body).send().await.is(200));
        answers.push(server.post("/v1/checks").by("bank").json(&body).through(&one).send().await.is(200));
        for path in ["/livez", "/readyz", "/openapi.yaml", "/.well-known/jwks.json", "/nowhere", "/v1/flags"] {
            answers.push(server.get(path).send().await);
            answers.push(server.get(path).through(&one).send().await);
        }
    }
    for pair in answers.chunks(2) {
        assert_eq!((pair[0].version, pair[1].version), (Version::HTTP_2, Version::HTTP_11));
        assert_eq!(pair[0].status, pair[1].status);
        // That no id comes twice is verified with the log.
        assert!(pair.iter().all(|answer| answer.must("x-request-id").starts_with("req_")));
    }
    let chosen = server.get("/livez").header("x-request-id", "req_01h2xcejqtf2nbrexx3vqjhp41").send().await.is(200);
    assert_ne!(chosen.must("x-request-id"), "req_01h2xcejqtf2nbrexx3vqjhp41", "a client does not choose it");
    server.finish().await;
}

/// A good check, filled up with white space to this many bytes.
fn check_of(bytes: usize) -> Vec<u8> {
    let mut body = about(account("9000000000001")).to_string().into_bytes();
    body.resize(bytes, b' ');
    body
}

#[tokio::test]
async fn a_body_may_have_exactly_its_limit() {
    let server = Server::start().await;
    let one = client(&server.ca_file).http1_only().build().unwrap();
    let send = async |bytes: usize| {
        let ask = || server.post("/v1/checks").by("bank").raw("application/json", check_of(bytes));
        (ask().send().await, ask().through(&one).send().await)
    };
    let (two, first) = send(CHECK_BYTES_MAX).await;
    assert_eq!((two.status, first.status), (200, 200));
    let (two, first) = send(CHECK_BYTES_MAX + 1).await;
    for answer in [two, first] {
        answer.refused(413, "payload_too_large");
    }
    for (bytes, status) in [(BATCH_BYTES_MAX, 200), (BATCH_BYTES_MAX + 1, 413)] {
        let mut body = format!(r#"{{"checks":[{}]}}"#, about(account("9000000000001"))).into_bytes();
        body.resize(bytes, b' ');
        server.post("/v1/checks/batch").by("bank").raw("application/json", body).send().await.is(status);
    }
    server.finish().await;
}

#[tokio::test]
async fn only_json_as_it_is_is_taken() {
    let server = Server::start().await;
    let body = about(account("9000000000001")).to_string();
    let ask = |media: &str| server.post("/v1/checks").by("bank").raw(media, body.clone());
    for media in
        ["text/plain", "application/x-www-form-urlencoded", "application/problem+json", "application/jsonx", "x"]
    {
        ask(media).send().await.refused(415, "unsupported_media_type");
    }
    for encoding in ["gzip", "identity", "br"] {
        let encoded = ask("application/json").header("content-encoding", encoding);
        encoded.send().await.refused(415, "unsupported_media_type");
    }
    for media in ["application/json", "application/json; charset=utf-8", "Application/JSON"] {
        ask(media).send().await.is(200);
    }
    let untyped = async |http: &reqwest::Client| {
        let mut ask = ask("application/json").through(http);
        ask.headers.remove("content-type");
        ask.send().await
    };
    let one = client(&server.ca_file).http1_only().build().unwrap();
    let two = client(&server.ca_file).build().unwrap();
    for http in [one, two] {
        untyped(&http).await.refused(415, "unsupported_media_type");
    }
    server.finish().await;
}

#[tokio::test]
async fn a_body_without_a_media_type_is_refused_even_if_its_length_is_not_told() {
    let server = Server::start().await;
    let token = server.token("bank").await;
    let file = server.data().join("check.json");
    std::fs::write(&file, about(account("9000000000001")).to_string()).unwrap();
    // From a pipe curl sends no Content-Length over HTTP/2.
    let script = r#"cat "$1" | curl -s --http2 --cacert "$2" -X POST -T - -H "$3" -H 'Content-Type:' -w '%{http_code}' \
        -o /dev/null "$4""#;
    let arguments =
        [file.to_str().unwrap(), server.ca_file.to_str().unwrap(), &format!("Authorization: Bearer {token}")];
    let url = format!("{}/v1/checks", server.base_url);
    let ran = std::process::Command::new("bash").args(["-c", script, "-"]).args(arguments).arg(url).output().unwrap();
    assert_eq!(String::from_utf8(ran.stdout).unwrap(), "415");
    server.finish().await;
}

/// One request written byte by byte over HTTP/1.1, and its whole answer.
struct Wire {
    stream: tokio_rustls::client::TlsStream<tokio::net::TcpStream>,
}

impl Wire {
    async fn open(server: &Server) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&server.ca_file).unwrap() {
            roots.add(certificate.unwrap()).unwrap();
        }
        let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let address = server.base_url.strip_prefix("https://").unwrap();
        let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        Self { stream: tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap() }
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// An answer with a Content-Length.
    async fn read(&mut self) -> Answer {
        let mut received = Vec::new();
        loop {
            let mut part = [0; 4096];
            let count = self.stream.read(&mut part).await.unwrap_or(0);
            received.extend_from_slice(&part[..count]);
            if let Some(answer) = parse(&received) {
                return answer;
            }
            assert_ne!(count, 0, "the connection ended: {}", String::from_utf8_lossy(&received));
        }
    }
}

fn parse(received: &[u8]) -> Option<Answer> {
    let end = received.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, body) = (std::str::from_utf8(&received[..end]).unwrap(), &received[end + 4..]);
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        headers.append(name.parse::<reqwest::header::HeaderName>().unwrap(), value.parse().unwrap());
    }
    let length: usize = headers.get("content-length")?.to_str().unwrap().parse().unwrap();
    (body.len() >= length).then(|| Answer { status, version: Version::HTTP_11, headers, body: body[..length].to_vec() })
}

/// The head of a check with this framing, and what the harness remembers of it.
async fn head_of_check<'s>(server: &'s Server, framing: &str) -> (Ask<'s>, String) {
    let token = server.token("bank").await;
    let head = format!(
        "POST /v1/checks HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\n{framing}\r\n\r\n"
    );
    (server.post("/v1/checks").bearer(&token), head)
}

#[tokio::test]
async fn a_body_without_a_length_is_cut_off_at_the_limit() {
    let server = Server::start().await;
    for (bytes, status) in [(CHECK_BYTES_MAX, 200), (CHECK_BYTES_MAX + 1, 413)] {
        let (ask, head) = head_of_check(&server, "Transfer-Encoding: chunked").await;
        let mut wire = Wire::open(&server).await;
        wire.write(head.as_bytes()).await;
        for chunk in check_of(bytes).chunks(1000) {
            wire.write(format!("{:x}\r\n", chunk.len()).as_bytes()).await;
            wire.write(chunk).await;
            wire.write(b"\r\n").await;
        }
        wire.write(b"0\r\n\r\n").await;
        let answer = wire.read().await;
        server.witness(&ask, Some("demo-bank".to_owned()), &answer);
        answer.is(status);
    }
    server.finish().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_waited_for_five_seconds() {
    let server = Server::start().await;
    let (ask, head) = head_of_check(&server, "Content-Length: 100").await;
    let watch = Stopwatch::start();
    let mut wire = Wire::open(&server).await;
    wire.write(head.as_bytes()).await;
    wire.write(br#"{"subjects":"#).await;
    let answer = wire.read().await;
    server.witness(&ask, Some("demo-bank".to_owned()), &answer);
    answer.refused(408, "request_timeout");
    assert!((4..9).contains(&watch.elapsed().as_secs()), "after {:?}", watch.elapsed());
    server.finish().await;
}

#[tokio::test]
async fn a_refusal_by_the_head_does_not_wait_for_the_body() {
    let server = Server::start().await;
    let (_, head) = head_of_check(&server, "Content-Length: 100").await;
    let nobody: String = head.split_inclusive("\r\n").filter(|line| !line.starts_with("Authorization")).collect();
    let watch = Stopwatch::start();
    let mut wire = Wire::open(&server).await;
    wire.write(nobody.as_bytes()).await;
    let answer = wire.read().await;
    server.witness(&server.post("/v1/checks"), None, &answer);
    answer.refused(401, "unauthenticated");
    assert!(watch.elapsed() < Duration::from_secs(3));
    server.finish().await;
}

#[tokio::test]
async fn both_listeners_tell_that_they_live_and_are_ready() {
    let server = Server::start().await;
    for path in ["/livez", "/readyz"] {
        let answer = server.get(path).send().await.is(200);
        assert_eq!(answer.must("cache-control"), "no-store");
        let inside = server.operations(path).await.is(200);
        assert_eq!(inside.body, answer.body);
    }
    server.operations("/v1/checks").await.is(404);
    server.finish().await;
}

#[tokio::test]
async fn answers_of_the_operators_listener_have_an_id_too() {
    let server = Server::start().await;
    for path in ["/livez", "/readyz", "/metrics", "/nowhere"] {
        assert!(server.operations(path).await.must("x-request-id").starts_with("req_"), "{path}");
    }
    server.finish().await;
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let mut server = Server::start().await;
    let mut wire = Wire::open(&server).await;
    let (ask, head) = head_of_check(&server, &format!("Content-Length: {}", check_of(200).len())).await;
    wire.write(head.as_bytes()).await;
    wire.write(&check_of(200)).await;
    let answer = wire.read().await;
    server.witness(&ask, Some("demo-bank".to_owned()), &answer);
    answer.is(200);
    let watch = Stopwatch::start();
    server.stop().await;
    assert!(watch.elapsed() < Duration::from_secs(20), "it took {:?}", watch.elapsed());
    server.finish().await;
}

#[tokio::test]
async fn metrics_have_their_series_and_nobody_in_them() {
    let server = Server::start().await;
    let check = |number: &str| server.post("/v1/checks").by("bank").json(&about(account(number)));
    check("9000000000001").send().await.is(200);
    check("9000000000000").send().await.is(200);
    check("9").send().await.is(422);
    let phone = serde_json::json!({ "kind": "phone", "number": "0912345678" });
    server.post("/v1/checks").by("bank_b").json(&about(phone)).send().await.is(200);
    // Gauges are read once a second.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let metrics = server.operations("/metrics").await.is(200);
    assert_eq!(metrics.media_type(), "text/plain");
    let text = metrics.text();
    for line in [
        r#"canhbao_checks_total{party="970436",verdict="warn"} 1"#,
        r#"canhbao_checks_total{party="970436",verdict="clear"} 1"#,
        r#"canhbao_checks_total{party="970415",verdict="clear"} 1"#,
        r#"canhbao_http_problems_total{problem="invalid_subject"} 1"#,
        "canhbao_http_request_seconds_count 6",
        "canhbao_log_queue_depth 0",
        "canhbao_http_in_flight 0",
        "canhbao_index_records 600",
    ] {
        assert!(text.lines().any(|given| given == line), "no {line} in\n{text}");
    }
    for series in [
        "canhbao_log_commit_seconds_count ",
        "canhbao_log_batch_records_count ",
        "canhbao_list_version ",
        "canhbao_clock_lag_seconds 0",
    ] {
        assert!(text.lines().any(|given| given.starts_with(series)), "no {series} in\n{text}");
    }
    server.assert_nobody_in(&text);
    server.finish().await;
}
