//! SIGKILL at moments that nobody chose: under load, while the server starts, and while it ends.

use crate::support::Server;
use crate::support::chance::{Random, amount};
use crate::support::ledger::Ledger;
use crate::support::load::{Held, Protocol, fetch_tokens, until_it_is_gone};
use crate::{FLAGS, answers_rightly, goes_on, log_key, verify};
use canhbao::clock::Stopwatch;
use canhbao::log::Act;
use nix::sys::signal::Signal;
use std::cell::Cell;
use std::process::Stdio;
use std::time::Duration;

const KILLS: u64 = 5;
const KILLS_WHOLE: u64 = 200;

/// Load until a SIGKILL at some moment.
async fn under_load(server: &mut Server, random: &mut Random, numbers: &Cell<u64>) -> Held {
    fetch_tokens(server).await;
    let kill = async {
        random.pause_ms(20, 400).await;
        server.process().signal(Signal::SIGKILL);
    };
    let (held, ()) = tokio::join!(until_it_is_gone(server, Protocol::Both, numbers), kill);
    server.kill().await;
    held
}

/// Load until SIGTERM, and a SIGKILL before or just after the server has ended of itself.
async fn while_it_ends(server: &mut Server, random: &mut Random, numbers: &Cell<u64>) -> Held {
    fetch_tokens(server).await;
    let kill = async {
        random.pause_ms(20, 200).await;
        server.process().signal(Signal::SIGTERM);
        random.pause_ms(0, 60).await;
        server.process().signal(Signal::SIGKILL);
    };
    let (held, ()) = tokio::join!(until_it_is_gone(server, Protocol::Both, numbers), kill);
    server.kill().await;
    held
}

/// SIGKILL and, before the next start that is let alone, another one somewhere in a start.
async fn while_it_starts(server: &mut Server, random: &mut Random, numbers: &Cell<u64>, start: Duration) -> Held {
    let held = under_load(server, random, numbers).await;
    let mut command = server.serve();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let within = u64::try_from(start.as_millis()).unwrap().max(1);
    random.pause_ms(0, within + within / 4).await;
    child.kill().unwrap();
    child.wait().unwrap();
    held
}

#[tokio::test]
async fn after_each_kill_every_answer_is_in_the_log_and_a_repeated_key_gets_the_first_answer() {
    let mut random = Random::seeded();
    let mut server = Server::start_with(FLAGS).await;
    server.stop().await;
    let watch = Stopwatch::start();
    server.start_again().await;
    let start = watch.elapsed();
    let key = log_key(&server).await;
    let numbers = Cell::new(0);
    let mut answered = 0;
    let kills = amount(KILLS, KILLS_WHOLE);
    for number in 0..kills {
        let held = match number % 5 {
            2 => while_it_ends(&mut server, &mut random, &numbers).await,
            4 => while_it_starts(&mut server, &mut random, &numbers, start).await,
            _ => under_load(&mut server, &mut random, &numbers).await,
        };
        answered += held.answered;
        verify(&server, &key);
        goes_on(&mut server).await;
        for raised in &held.raised {
            raised.repeat(&server).await;
        }
    }
    answers_rightly(&server).await;
    println!("{kills} kills, {answered} answers, {} flags", numbers.get());
    assert!(answered > kills, "the load was none");
    server.stop().await;
    let ledger = Ledger::read(&server.data());
    let flags = ledger.since_set_up().filter(|entry| entry.act == Act::FlagRaise).count();
    assert_eq!(u64::try_from(flags).unwrap(), numbers.get(), "one flag for each key");
    server.finish().await;
}
