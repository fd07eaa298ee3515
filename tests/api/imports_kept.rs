//! What imports must not do: lose rows, show what others have flagged, end half-way for good, or keep others out.

use crate::imports::{csv, ended, hand_in};
use crate::support::answer::Answer;
use crate::support::{Server, client};
use http_body::{Frame, SizeHint};
use reqwest::Body;
use serde_json::json;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

fn row(number: u32, reason: &str) -> String {
    format!("VCB,{},warn,mule,HN-1,{reason}", 9_200_000_000_000_u64 + u64::from(number))
}

/// A file that comes in two parts, the second one after a while.
struct SlowFile {
    parts: Vec<Vec<u8>>,
    pause: Pin<Box<tokio::time::Sleep>>,
}

impl http_body::Body for SlowFile {
    type Data = actix_web::web::Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Self::Data>>>> {
        if self.parts.len() < 2 {
            ready!(self.pause.as_mut().poll(context));
        }
        Poll::Ready(self.parts.pop().map(|part| Ok(Frame::data(part.into()))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[tokio::test]
async fn a_client_s_slow_file_keeps_no_other_client_s_out() {
    let server = Server::start().await;
    let [first, second] = [1, 2].map(|n| csv(&[row(n, "R")]));
    let (head, tail) = first.split_at(20);
    let pause = Box::pin(tokio::time::sleep(Duration::from_secs(3)));
    let body = SlowFile { parts: vec![tail.into(), head.into()], pause };
    let ask = server.post("/v1/imports").key("slow").raw("text/csv", first.clone());
    let http = client(&server.data().join("tls/ca.pem")).build().unwrap();
    let request = http.post(format!("{}/v1/imports", server.base_url)).headers(ask.headers.clone());
    let request = request.bearer_auth(server.token("officer").await).body(Body::wrap(body));
    let slow = async { Answer::read(request.send().await.unwrap()).await.unwrap() };
    let others = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let by = async |client: &str| {
            server.post("/v1/imports").by(client).key("other").raw("text/csv", second.clone()).send().await
        };
        by("officer").await.refused(503, "unavailable").must("retry-after");
        by("officer_b").await.is(201);
    };
    let (slow, ()) = tokio::join!(slow, others);
    server.witness(&ask, Some("demo-officer".to_owned()), &slow);
    ended(&server, slow.is(201).json()["id"].as_str().unwrap()).await;
    hand_in(&server, "after", "", "text/csv", csv(&[row(3, "R")])).await.is(201);
    server.finish().await;
}
