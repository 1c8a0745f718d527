//! The writer thread stores everything it was given, or says why not.

use std::time::{Duration, Instant};

use tempfile::TempDir;
use whetstone_domain::*;

use super::*;
use crate::{BlockingStore, EventWriter, StoreError};

fn with_run() -> (TempDir, BlockingStore, RunId) {
    let dir = TempDir::new().unwrap();
    let store = BlockingStore::open(dir.path()).unwrap();
    let config = RunConfig::default();
    let run = store.create_run(&NewRun { name: "w", config: &config, model: "", base_sha256: "", code_version: "" }).unwrap();
    (dir, store, run)
}

#[test]
fn everything_sent_is_stored_in_order_when_it_finishes() {
    let (dir, store, run) = with_run();
    let writer = EventWriter::start(dir.path(), run).unwrap();
    for number in 1..=30 {
        writer.send(made(Phase::Grpo, number, None, false)).unwrap();
    }
    writer.flush().unwrap();
    assert_eq!(store.run("w").unwrap().step, 30);
    writer.send(made(Phase::Grpo, 31, None, true)).unwrap();
    writer.finish().unwrap();
    assert_eq!(store.resume_point(run).unwrap().unwrap().checkpoint.step, 31);
    // dropped on the way out of an error: still stored
    let writer = EventWriter::start(dir.path(), run).unwrap();
    writer.send(made(Phase::Grpo, 32, None, true)).unwrap();
    drop(writer);
    assert_eq!(store.checkpoints(run).unwrap().len(), 2);
}

#[test]
fn a_full_disk_reaches_the_worker_with_the_reason() {
    let (_dir, store, run) = with_run();
    store.with(record::limit_pages);
    let writer = EventWriter::over(store, run).unwrap();
    let mut number = 0;
    let error = loop {
        number += 1;
        assert!(number < 1000, "the limit is never reached");
        if let Err(e) = writer.send(made(Phase::Grpo, number, Some(0.5), false)) {
            break e;
        }
    };
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error:?}");
    let again = writer.send(made(Phase::Grpo, number, None, false)).unwrap_err().to_string();
    assert!(again.contains("disk is full"), "{again}");
    assert!(writer.flush().is_err());
    let last = writer.finish().unwrap_err().to_string();
    assert!(last.contains("disk is full"), "{last}");
}

#[test]
fn an_error_after_the_last_send_is_told_by_finish() {
    let (dir, _store, run) = with_run();
    let writer = EventWriter::start(dir.path(), run).unwrap();
    writer.send(made(Phase::Grpo, 1, None, false)).unwrap();
    writer.flush().unwrap();
    // accepted, and found to be a step that exists only when it is stored
    let sent = writer.send(made(Phase::Grpo, 1, None, false));
    assert!(sent.is_ok() && writer.finish().is_err());
}

#[test]
fn an_idle_writer_gives_signs_of_life() {
    let (dir, store, run) = with_run();
    let writer = EventWriter::start(dir.path(), run).unwrap();
    let start = Instant::now();
    while store.run_by_id(run).unwrap().heartbeat_ms.is_none() {
        assert!(start.elapsed() < Duration::from_secs(20), "no heartbeat");
        std::thread::sleep(Duration::from_millis(50));
    }
    writer.finish().unwrap();
}
