//! Power cuts: the server stands still at some moment, what its disk holds then is copied, and it goes on from the copy.

use crate::disks::Image;
use crate::support::chance::{Random, amount};
use crate::support::load::{Held, Protocol, fetch_tokens, until_it_is_gone};
use crate::support::{Server, eventually};
use crate::{FLAGS, answers_rightly, log_key, verify};
use nix::sys::signal::Signal;
use std::cell::Cell;
use std::time::Duration;

const CUTS: u64 = 3;
const CUTS_WHOLE: u64 = 50;
const IMAGE_MIB: u64 = 256;
const STOP_TIME_MAX: Duration = Duration::from_secs(10);

/// Load until everything stands still, then the copy; nobody is answered any more before the end.
async fn cut(server: &mut Server, image: &Image, random: &mut Random, numbers: &Cell<u64>) -> Held {
    fetch_tokens(server).await;
    let stop = async {
        random.pause_ms(20, 400).await;
        server.process().signal(Signal::SIGSTOP);
        let id = server.process().id();
        eventually(STOP_TIME_MAX, "every thread stands still", async || stands_still(id)).await;
        image.copy();
        server.process().signal(Signal::SIGKILL);
    };
    let (held, ()) = tokio::join!(until_it_is_gone(server, Protocol::Both, numbers), stop);
    server.kill().await;
    image.go_back_to_copy();
    held
}

/// A thread in the middle of a write is stopped when that has ended.
fn stands_still(id: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
    threads
        .map(|thread| std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap_or_default())
        .all(|status| status.lines().any(|line| line.starts_with("State:\tT")))
}

#[tokio::test]
async fn after_each_power_cut_every_answer_is_in_the_log() {
    let mut random = Random::seeded();
    let mut server = Server::start_embedded(FLAGS).await;
    server.stop().await;
    let Some(image) = Image::under(&server.data(), IMAGE_MIB) else {
        println!("SKIPPED: mounting an image over a loop device is not permitted here, so that no power can be cut");
        return server.finish().await;
    };
    let numbers = Cell::new(0);
    let mut answered = 0;
    let cuts = amount(CUTS, CUTS_WHOLE);
    server.start_by(server.serve()).await.unwrap();
    let key = log_key(&server).await;
    for _ in 0..cuts {
        let held = cut(&mut server, &image, &mut random, &numbers).await;
        answered += held.answered;
        verify(&server, &key);
        server.start_by(server.serve()).await.unwrap();
        answers_rightly(&server).await;
        for raised in &held.raised {
            raised.repeat(&server).await;
        }
    }
    println!("{cuts} power cuts, {answered} answers, {} flags", numbers.get());
    assert!(answered > cuts, "the load was none");
    server.finish().await;
    drop(image);
}
