//! The queue: one run at a time, wishes kept, vanished workers told from live ones.

use whetstone_domain::RunState;

use super::{fresh, new_run, with_run};
use crate::{RunFilter, StoreError};

#[tokio::test]
async fn one_run_at_a_time_the_oldest_first() {
    let (_dir, store) = fresh().await;
    let (first, second) = (new_run(&store, "a").await, new_run(&store, "b").await);
    let taken = store.take_next().await.unwrap().unwrap();
    assert_eq!((taken.id, taken.state, taken.pid), (first, RunState::Starting, None));
    assert_eq!(store.take_next().await.unwrap(), None, "the device is taken");
    assert!(store.give_up(&taken, RunState::Failed, "killed").await.unwrap());
    assert_eq!(store.take_next().await.unwrap().unwrap().id, second);
    let failed = store.run_by_id(first).await.unwrap();
    assert_eq!((failed.state, failed.message.as_str()), (RunState::Failed, "killed"));
    assert!(failed.ended_ms.is_some());
}

#[tokio::test]
async fn a_stop_wished_between_queue_and_worker_is_kept_and_an_older_one_is_not() {
    let (_dir, store, run) = with_run().await;
    store.take_next().await.unwrap().unwrap();
    assert_eq!(store.wish_stop(run).await.unwrap(), RunState::Stopping);
    store.claim(run, std::process::id()).await.unwrap();
    assert!(store.stop_wished(run).await.unwrap());
    assert_eq!(store.run_by_id(run).await.unwrap().state, RunState::Stopping);
    let row = store.run_by_id(run).await.unwrap();
    store.give_up(&row, RunState::Stopped, "").await.unwrap();
    store.queue_again(run).await.unwrap();
    store.take_next().await.unwrap().unwrap();
    store.claim(run, std::process::id()).await.unwrap();
    assert!(!store.stop_wished(run).await.unwrap());
    assert_eq!(store.run_by_id(run).await.unwrap().state, RunState::Starting);
}

#[tokio::test]
async fn only_an_ended_unfinished_run_is_queued_again() {
    let (_dir, store, run) = with_run().await;
    let refused = |e: StoreError| matches!(e, StoreError::NotResumable { .. });
    assert!(refused(store.queue_again(run).await.unwrap_err()), "it waits already");
    let row = store.take_next().await.unwrap().unwrap();
    assert!(refused(store.queue_again(run).await.unwrap_err()), "it is live");
    store.give_up(&row, RunState::Finished, "").await.unwrap();
    assert!(refused(store.queue_again(run).await.unwrap_err()), "there is nothing left to do");
}

#[tokio::test]
async fn a_run_that_another_worker_has_taken_is_not_given_up() {
    let (_dir, store, run) = with_run().await;
    let seen = store.take_next().await.unwrap().unwrap();
    store.claim(run, std::process::id()).await.unwrap();
    assert!(!store.give_up(&seen, RunState::Interrupted, "gone").await.unwrap());
    let live = store.runs(&RunFilter { state: Some(RunState::Starting), ..RunFilter::default() }).await.unwrap();
    assert_eq!(live.len(), 1);
    assert!(!live[0].is_silent(live[0].heartbeat_ms.unwrap() + 29_000));
    assert!(live[0].is_silent(live[0].heartbeat_ms.unwrap() + 31_000));
}

#[tokio::test]
async fn a_base_is_settled_once_it_is_known() {
    let (_dir, store, run) = with_run().await;
    let mut config = store.run_by_id(run).await.unwrap().config().unwrap();
    config.model = "other".into();
    store.settle(run, &config, "abcd").await.unwrap();
    let row = store.run_by_id(run).await.unwrap();
    assert_eq!((row.model.as_str(), row.base_sha256.as_str()), ("other", "abcd"));
    assert_eq!(row.config().unwrap(), config);
}
