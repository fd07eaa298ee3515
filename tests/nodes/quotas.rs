//! A quota is one for all nodes: each live one enforces its part and says so.

use crate::support::{Answer, Server, eventually};
use crate::{about_nobody, two_nodes};
use canhbao::clock::Stopwatch;
use std::time::Duration;

/// The demo's wallet may check so often in a minute.
const QUOTA: u64 = 60;
/// A heartbeat and what a node is given to be silent.
const HEARD_AFTER: Duration = Duration::from_secs(8);

async fn ask(node: &Server) -> Answer {
    node.post("/v1/checks").by("wallet").json(&about_nobody()).send().await
}

async fn part(node: &Server) -> u64 {
    let answer = ask(node).await;
    let policy = answer.must("ratelimit-policy");
    policy.strip_prefix("\"checks\";q=").and_then(|rest| rest.strip_suffix(";w=60")).unwrap().parse().unwrap()
}

#[tokio::test]
async fn two_nodes_share_a_quota_and_one_alone_has_all_of_it() {
    let mut nodes = two_nodes().await;
    for node in &nodes.handles {
        eventually(HEARD_AFTER, "each node knows of the other", async || part(node).await == QUOTA / 2).await;
    }
    let watch = Stopwatch::start();
    let mut answered = 0;
    for node in &nodes.handles {
        while ask(node).await.status == 200 {
            answered += 1;
        }
    }
    // Both have answered before, and some of the quota comes back each second.
    let most = QUOTA + watch.elapsed().as_secs() + 1;
    assert!(answered <= most, "{answered} were answered, and not {most} at most");
    assert!(nodes.processes.stop(1).await.success());
    eventually(HEARD_AFTER, "the one that is left has the whole quota", async || {
        part(&nodes.handles[0]).await == QUOTA
    })
    .await;
    nodes.processes.start(1).await.unwrap_or_else(|ended| panic!("{ended}"));
    eventually(HEARD_AFTER, "both share it again", async || part(&nodes.handles[0]).await == QUOTA / 2).await;
    nodes.finish().await;
}
