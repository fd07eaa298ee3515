//! A disk that takes no more: writes fail, so commits fail, so the process ends, and nothing that was answered is lost.

use crate::disks::{SmallDisk, with_file_limit};
use crate::support::Server;
use crate::support::load::{Protocol, until_it_is_gone};
use crate::{FLAGS, goes_on, log_key, verify};
use std::cell::Cell;
use std::time::Duration;

const COMMIT_FAILED: i32 = 70;
/// What a database may still grow, so that some hundred commits succeed.
const ROOM_KIB: u64 = 2_048;
/// Smaller than a write-ahead log grows before it begins anew.
const DISK_MIB: u64 = 8;
const BALLAST_BYTES: usize = 4 * 1024 * 1024;

/// Load until the log can be written no more and the process has ended of itself, and what everybody saw of it.
async fn end_by_a_failed_commit(server: &mut Server) {
    let (key, numbers) = (log_key(server).await, Cell::new(0));
    let (held, readiness) = tokio::join!(until_it_is_gone(server, Protocol::Both, &numbers), watch_readiness(server));
    let (status, log) = server.ended().await;
    println!("{} answered, {} refused, {} lost; readyz {readiness:?}", held.answered, held.refused, held.lost);
    assert_eq!(status.code(), Some(COMMIT_FAILED), "{status}:\n{log}");
    assert!(held.answered > 50, "too few commits succeeded");
    assert_eq!(log.matches("\"message\":\"commit failed").count(), 1, "once and for all: {log}");
    assert!(matches!(readiness.as_slice(), [200] | [200, 503]), "{readiness:?}");
    verify(server, &key);
}

/// What /readyz answered until the process was gone, without repetitions.
async fn watch_readiness(server: &Server) -> Vec<u16> {
    let mut statuses = Vec::new();
    while let Ok(answer) = server.try_operations("/readyz").await {
        statuses.push(answer.status);
        statuses.dedup();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    statuses
}

#[tokio::test]
async fn a_write_that_fails_ends_the_process_and_nothing_answered_is_lost() {
    let mut server = Server::start_embedded(FLAGS).await;
    server.stop().await;
    fails_by_file_limit(&mut server).await;
    server.finish().await;
}

async fn fails_by_file_limit(server: &mut Server) {
    let database = std::fs::metadata(server.data().join("registry.db")).unwrap().len();
    server.start_by(with_file_limit(&server.serve(), database / 1024 + ROOM_KIB)).await.unwrap();
    end_by_a_failed_commit(server).await;
    goes_on(server).await;
}

#[tokio::test]
async fn a_disk_that_is_full_ends_the_process_and_with_room_again_it_goes_on() {
    let mut server = Server::start_embedded(FLAGS).await;
    server.stop().await;
    let Some(disk) = SmallDisk::under(&server.data(), DISK_MIB) else {
        println!("SKIPPED: mounting is not permitted here; a limit of the file size stands for the full disk");
        fails_by_file_limit(&mut server).await;
        return server.finish().await;
    };
    let ballast = server.data().join("ballast");
    std::fs::write(&ballast, vec![0; BALLAST_BYTES]).unwrap();
    server.start_by(server.serve()).await.unwrap();
    end_by_a_failed_commit(&mut server).await;
    std::fs::remove_file(&ballast).unwrap();
    goes_on(&mut server).await;
    server.finish().await;
    drop(disk);
}
