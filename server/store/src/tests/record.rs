//! What was recorded comes back as it was, all of it or nothing.

use whetstone_domain::*;

use super::*;

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[tokio::test]
async fn a_step_comes_back_bit_for_bit() {
    let (_dir, store, run) = with_run().await;
    let sent = step(Phase::Grpo, 1, 2);
    store.record(run, &Event::Step { step: Some(sent.clone()), evaluation: None, checkpoint: None }).await.unwrap();

    let groups = store.groups(run, Phase::Grpo, 1).await.unwrap();
    assert_eq!(groups, sent.groups);
    let (got, expected) = (&groups[1].rollouts[2], &sent.groups[1].rollouts[2]);
    assert_eq!(bits(&got.logprobs), bits(&expected.logprobs));
    assert_eq!(bits(&got.entropies), bits(&expected.entropies));
    assert_eq!(got.advantage.to_bits(), expected.advantage.to_bits());

    let metrics = store.metrics(run, Phase::Grpo).await.unwrap();
    assert_eq!(metrics.len(), 4);
    assert!(metrics["loss"][0].1.is_nan());
    assert_eq!(metrics["kl"], [(1, f64::NEG_INFINITY)]);
    assert_eq!(metrics["reward"], [(1, 0.1 + 0.2)]);
    assert!(store.metrics(run, Phase::WarmStart).await.unwrap().is_empty());

    let row = store.run_by_id(run).await.unwrap();
    assert_eq!((row.phase, row.step, row.steps_planned), (Some(Phase::Grpo), 1, 7));
    // the same problem in two groups is one row
    assert_eq!(rows(&store).await, [1, 4, 2, 2, 6, 1, 0, 0, 0]);
}

#[tokio::test]
async fn nan_rewards_stay_nan() {
    let (_dir, store, run) = with_run().await;
    let mut sent = step(Phase::Grpo, 1, 1);
    let r = &mut sent.groups[0].rollouts[0];
    (r.logprobs[0], r.entropies[0], r.advantage, r.reward.total) = (f32::NAN, f32::NEG_INFINITY, f64::NAN, f64::INFINITY);
    r.reward.parts[0].value = Some(f64::NAN);
    store.record(run, &Event::Step { step: Some(sent), evaluation: None, checkpoint: None }).await.unwrap();
    let r = &store.groups(run, Phase::Grpo, 1).await.unwrap()[0].rollouts[0];
    assert_eq!(r.logprobs[0].to_bits(), f32::NAN.to_bits());
    assert_eq!(r.entropies[0], f32::NEG_INFINITY);
    assert!(r.advantage.is_nan() && r.reward.parts[0].value.unwrap().is_nan());
    assert_eq!(r.reward.total, f64::INFINITY);
}

#[tokio::test]
async fn an_evaluation_comes_back_with_every_answer() {
    let (_dir, store, run) = with_run().await;
    let baseline = evaluation(Phase::Grpo, 0, EvaluationKind::Baseline, 0.25);
    let mut later = evaluation(Phase::Grpo, 3, EvaluationKind::Periodic, 0.5);
    later.kl = None;
    let event = |e: &EvaluationRecord| Event::Step { step: None, evaluation: Some(e.clone()), checkpoint: None };
    assert_eq!(store.baseline_predictions(run).await.unwrap(), None);
    record_all(&store, run, &[event(&baseline), event(&later)]).await;

    assert_eq!(store.evaluation(run, Phase::Grpo, 0).await.unwrap(), Some(baseline.clone()));
    assert_eq!(store.evaluation(run, Phase::Grpo, 3).await.unwrap(), Some(later.clone()));
    assert_eq!(store.evaluation(run, Phase::WarmStart, 3).await.unwrap(), None);
    assert_eq!(store.baseline_predictions(run).await.unwrap(), Some(baseline.predictions));
    let rows = store.evaluations(run).await.unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[1].summary.clone(), rows[1].versus_baseline, rows[1].kl), (later.summary, later.versus_baseline, None));

    let mut nan = evaluation(Phase::Grpo, 4, EvaluationKind::Final, 0.5);
    (nan.kl, nan.summary.tokens_per_second) = (Some(f64::NAN), f64::NAN);
    store.record(run, &event(&nan)).await.unwrap();
    let nan = store.evaluation(run, Phase::Grpo, 4).await.unwrap().unwrap();
    assert!(nan.kl.unwrap().is_nan() && nan.summary.tokens_per_second.is_nan());
}

#[tokio::test]
async fn a_failing_event_leaves_nothing() {
    let (_dir, store, run) = with_run().await;
    store.record(run, &made(Phase::Grpo, 1, Some(0.5), true)).await.unwrap();
    let before = (rows(&store).await, store.run_by_id(run).await.unwrap(), store.last_event().await.unwrap());
    // all of it is new but the checkpoint, which is written last
    let event = Event::Step {
        step: Some(step(Phase::Grpo, 2, 2)),
        evaluation: Some(evaluation(Phase::Grpo, 2, EvaluationKind::Periodic, 0.9)),
        checkpoint: Some(checkpoint(Phase::Grpo, 1)),
    };
    let error = store.record(run, &event).await.unwrap_err().to_string();
    assert!(error.contains("record a step") && error.contains("UNIQUE"), "{error}");
    let mut after = (rows(&store).await, store.run_by_id(run).await.unwrap(), store.last_event().await.unwrap());
    after.1.heartbeat_ms = before.1.heartbeat_ms;
    assert_eq!(after, before);
    // and the connection is as good as before
    store.record(run, &made(Phase::Grpo, 2, None, false)).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_says_so_and_keeps_what_was_stored() {
    let (_dir, store, run) = with_run().await;
    store.record(run, &made(Phase::Grpo, 1, None, true)).await.unwrap();
    limit_pages(&store).await;
    let mut number = 2;
    let error = loop {
        match store.record(run, &made(Phase::Grpo, number, Some(0.1), false)).await {
            Ok(()) => number += 1,
            Err(e) => break e,
        }
    };
    assert!(matches!(error, crate::StoreError::DiskFull { .. }), "{error:?}");
    let error = error.to_string();
    assert!(error.contains("database or disk is full") && error.contains("free some space"), "{error}");
    assert_eq!(store.steps(run).await.unwrap().len(), number - 1);
    assert_eq!(store.groups(run, Phase::Grpo, 1).await.unwrap(), [group(0)]);
    let intact: String = sqlx::query_scalar("pragma integrity_check").fetch_one(&store.readers).await.unwrap();
    assert_eq!(intact, "ok");
    // space again: the same handle goes on
    sqlx::query("pragma max_page_count = 1000000").execute(&store.writer).await.unwrap();
    store.record(run, &made(Phase::Grpo, number, Some(0.1), false)).await.unwrap();
}

/// Lets the file grow by a few pages more.
pub(super) async fn limit_pages(store: &Store) {
    let pages: i64 = sqlx::query_scalar("pragma page_count").fetch_one(&store.writer).await.unwrap();
    let sql = format!("pragma max_page_count = {}", pages + 30);
    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&store.writer).await.unwrap();
}

#[tokio::test]
async fn every_change_is_announced_in_order() {
    let (_dir, store, run) = with_run().await;
    let log = Event::Log { level: "warn".into(), message: hostile() };
    let progress = Event::Progress { message: "evaluating 1 of 2".into() };
    record_all(&store, run, &[progress, log, made(Phase::Grpo, 1, Some(0.5), true)]).await;
    let events = store.events_after(Some(run), 0, 100).await.unwrap();
    let kinds: Vec<_> = events.iter().map(|e| e.kind.as_str()).collect();
    assert_eq!(kinds, ["created", "progress", "log", "step", "evaluation", "checkpoint"]);
    assert!(events.windows(2).all(|w| w[0].id < w[1].id));
    assert_eq!(events[2].body["message"], serde_json::json!(hostile()));
    assert!(events[3].body["metrics"]["loss"].is_null());
    assert_eq!(store.events_after(None, events[4].id, 100).await.unwrap(), events[5..]);
    assert_eq!(store.last_event().await.unwrap(), events[5].id);
    store.prune_events(1).await.unwrap();
    let kinds: Vec<_> = store.events_after(None, 0, 9).await.unwrap().into_iter().map(|e| e.kind).collect();
    assert_eq!(kinds, ["log", "checkpoint"]);
}

#[tokio::test]
async fn an_event_of_no_run_is_refused() {
    let (_dir, store, run) = with_run().await;
    store.delete_run(run).await.unwrap();
    let event = Event::Progress { message: String::new() };
    assert!(matches!(store.record(run, &event).await, Err(crate::StoreError::NoSuchRun { .. })));
}
