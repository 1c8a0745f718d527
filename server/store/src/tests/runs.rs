//! Runs: found by what people type, held by one worker, deleted whole.

use whetstone_domain::*;

use super::*;
use crate::{RunFilter, StoreError};

#[tokio::test]
async fn a_run_is_found_by_id_prefix_name_and_latest() {
    let (_dir, store) = fresh().await;
    assert!(matches!(store.run("latest").await, Err(StoreError::NoSuchRun { candidates, .. }) if candidates.is_empty()));
    let (a, b) = (new_run(&store, "baseline smol").await, new_run(&store, &hostile()).await);
    for (run, id) in [(a, "r-aaaa"), (b, "r-abcd")] {
        sqlx::query("update run set public_id = ? where id = ?").bind(id).bind(run.0).execute(&store.writer).await.unwrap();
    }
    for (wanted, run) in
        [("r-aaaa", a), ("aaaa", a), ("R-AAAA", a), ("r-aa", a), ("ab", b), ("baseline smol", a), ("latest", b), (" r-abcd\n", b)]
    {
        assert_eq!(store.run(wanted).await.unwrap().id, run, "{wanted}");
    }
    let error = store.run("r-a").await.unwrap_err();
    assert!(matches!(&error, StoreError::AmbiguousRun { candidates, .. } if candidates.len() == 2), "{error}");
    for wrong in ["r-aaab", "baseline", "baselin smol"] {
        let error = store.run(wrong).await.unwrap_err().to_string();
        assert!(error.contains("did you mean r-aaaa (baseline smol)"), "{error}");
    }
    for wrong in ["", "r-", "%", &hostile()] {
        let error = store.run(wrong).await.unwrap_err();
        assert!(error.to_string().len() < 500, "{error}");
    }
}

#[tokio::test]
async fn ids_are_short_readable_and_differ() {
    let (_dir, store) = fresh().await;
    for _ in 0..20 {
        new_run(&store, "").await;
    }
    let runs = store.runs(&RunFilter::default()).await.unwrap();
    let ids: std::collections::BTreeSet<_> = runs.iter().map(|r| r.public_id.clone()).collect();
    assert_eq!(ids.len(), 20);
    assert!(ids.iter().all(|id| id.starts_with("r-") && (6..=14).contains(&id.len())), "{ids:?}");
    assert!(runs.iter().all(|r| r.name == r.public_id));
}

#[tokio::test]
async fn the_config_and_labels_come_back() {
    let (_dir, store) = fresh().await;
    let run = new_run(&store, &hostile()).await;
    store.rename_run(run, "x\0y").await.unwrap();
    store.tag_run(run, &["a,b".into(), hostile()]).await.unwrap();
    store.note_run(run, &hostile()).await.unwrap();
    let row = store.run_by_id(run).await.unwrap();
    assert_eq!((row.name.as_str(), row.tags.len(), row.note == hostile()), ("x\0y", 2, true));
    assert_eq!(row.config().unwrap(), RunConfig { steps: 7, ..RunConfig::default() });
    assert_eq!(row.state, RunState::Queued);
}

#[tokio::test]
async fn runs_are_filtered_and_paged_newest_first() {
    let (_dir, store) = fresh().await;
    let (a, b, c) = (new_run(&store, "Alpha").await, new_run(&store, "beta").await, new_run(&store, "50% off").await);
    store.archive_run(b, true).await.unwrap();
    store.claim(c, 1).await.unwrap();
    let ids = async |filter: RunFilter| store.runs(&filter).await.unwrap().iter().map(|r| r.id).collect::<Vec<_>>();
    assert_eq!(ids(RunFilter::default()).await, [c, b, a]);
    assert_eq!(ids(RunFilter { archived: Some(false), ..Default::default() }).await, [c, a]);
    assert_eq!(ids(RunFilter { state: Some(RunState::Starting), ..Default::default() }).await, [c]);
    assert_eq!(ids(RunFilter { text: Some("ALPH".into()), ..Default::default() }).await, [a]);
    assert_eq!(ids(RunFilter { text: Some("0%".into()), ..Default::default() }).await, [c]);
    assert_eq!(ids(RunFilter { before: Some(c), limit: Some(1), ..Default::default() }).await, [b]);
}

#[tokio::test]
async fn a_run_has_one_worker() {
    let (_dir, store, run) = with_run().await;
    let own = std::process::id();
    store.claim(run, own).await.unwrap();
    let error = store.claim(run, own + 1).await.unwrap_err();
    assert!(matches!(&error, StoreError::Claimed { pid, .. } if *pid == i64::from(own)), "{error}");
    // silent for too long
    sqlx::query("update run set heartbeat_ms = 1000").execute(&store.writer).await.unwrap();
    store.claim(run, own + 1).await.unwrap();
    store.heartbeat(run).await.unwrap();
    assert!(store.run_by_id(run).await.unwrap().heartbeat_ms.unwrap() > 1000);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_run_of_a_killed_worker_is_free_at_once() {
    let (_dir, store, run) = with_run().await;
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    store.claim(run, child.id()).await.unwrap();
    assert!(store.claim(run, std::process::id()).await.is_err());
    child.kill().unwrap();
    // a zombie first, until its parent asks for it
    while store.claim(run, std::process::id()).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    child.wait().unwrap();
}

#[tokio::test]
async fn a_wish_to_stop_is_kept_until_the_next_claim() {
    let (_dir, store, run) = with_run().await;
    assert_eq!(store.wish_stop(run).await.unwrap(), RunState::Stopped);
    store.claim(run, std::process::id()).await.unwrap();
    assert!(!store.stop_wished(run).await.unwrap());
    assert_eq!(store.wish_stop(run).await.unwrap(), RunState::Stopping);
    let running = Event::State { state: RunState::Running, message: String::new() };
    store.record(run, &running).await.unwrap();
    assert_eq!(store.run_by_id(run).await.unwrap().state, RunState::Stopping);
    let error = store.delete_run(run).await.unwrap_err().to_string();
    assert!(error.contains("is stopping; stop it before"), "{error}");
    let failed = Event::State { state: RunState::Failed, message: "no memory".into() };
    store.record(run, &failed).await.unwrap();
    let row = store.run_by_id(run).await.unwrap();
    assert_eq!((row.state, row.message.as_str(), row.pid), (RunState::Failed, "no memory", None));
    assert!(row.ended_ms.is_some() && row.started_ms.is_some());
    assert_eq!(store.wish_stop(run).await.unwrap(), RunState::Failed);
}

#[tokio::test]
async fn a_deleted_run_leaves_no_row_and_takes_none_of_another() {
    let (_dir, store, run) = with_run().await;
    let other = new_run(&store, "other").await;
    record_all(&store, other, &[made(Phase::Grpo, 1, Some(0.5), true)]).await;
    let before = rows(&store).await;
    record_all(&store, run, &[made(Phase::Grpo, 1, Some(0.5), true), made(Phase::Grpo, 2, Some(0.5), true)]).await;
    let last = store.last_event().await.unwrap();
    store.delete_run(run).await.unwrap();
    assert_eq!(rows(&store).await, before);
    assert!(store.run_by_id(run).await.is_err());
    let events = store.events_after(None, last, 9).await.unwrap();
    assert_eq!((events.len(), events[0].kind.as_str(), events[0].run), (1, "deleted", None));
    assert!(store.events_after(Some(run), 0, 9).await.unwrap().is_empty());
    store.delete_run(other).await.unwrap();
    assert!(rows(&store).await.iter().all(|n| *n == 0));
}
