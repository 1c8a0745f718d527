//! A resume goes on exactly where the last recorded checkpoint was.

use whetstone_domain::*;

use super::*;
use crate::{ResumePoint, StoreError};

#[tokio::test]
async fn a_rewind_keeps_exactly_what_precedes_the_checkpoint() {
    let (_dir, store, run) = with_run().await;
    let other = new_run(&store, "other").await;
    record_all(&store, other, &[made(Phase::Grpo, 1, Some(0.9), true), made(Phase::Grpo, 2, None, false)]).await;
    let others = rows(&store).await;
    let kept = [
        Event::Step {
            step: None,
            evaluation: Some(evaluation(Phase::WarmStart, 0, EvaluationKind::Baseline, 0.1)),
            checkpoint: Some(checkpoint(Phase::WarmStart, 0)),
        },
        made(Phase::WarmStart, 1, None, false),
        made(Phase::WarmStart, 2, Some(0.2), true),
        made(Phase::Grpo, 1, None, false),
        made(Phase::Grpo, 2, Some(0.3), true),
    ];
    record_all(&store, run, &kept).await;
    let (before, row) = (rows(&store).await, store.run_by_id(run).await.unwrap());
    let (metrics, groups) = (store.metrics(run, Phase::WarmStart).await.unwrap(), store.groups(run, Phase::Grpo, 2).await.unwrap());
    // a second evaluation of the checkpoint's step in a later transaction, and two more steps, one with a problem of its own
    let late = Event::Step { step: None, evaluation: Some(evaluation(Phase::Grpo, 2, EvaluationKind::Final, 0.99)), checkpoint: None };
    let mut lost = step(Phase::Grpo, 4, 1);
    lost.groups[0].problem = problem("only here");
    let lost =
        Event::Step { step: Some(lost), evaluation: Some(evaluation(Phase::Grpo, 4, EvaluationKind::Final, 0.99)), checkpoint: None };
    record_all(&store, run, &[late, made(Phase::Grpo, 3, None, false), lost]).await;

    let point = store.resume_point(run).await.unwrap();
    assert_eq!(point, Some(ResumePoint { checkpoint: checkpoint(Phase::Grpo, 2), evaluated: true }));
    store.rewind(run, Some(&checkpoint(Phase::Grpo, 2))).await.unwrap();

    assert_eq!(rows(&store).await, before);
    let now = store.run_by_id(run).await.unwrap();
    assert_eq!((now.phase, now.step, now.baseline, now.best, now.last), (row.phase, row.step, row.baseline, row.best, row.last));
    assert!(now.rev > row.rev);
    assert_eq!(format!("{:?}", store.metrics(run, Phase::WarmStart).await.unwrap()), format!("{metrics:?}"));
    assert_eq!(store.groups(run, Phase::Grpo, 2).await.unwrap(), groups);
    // what was undone can be made again, and undone again
    record_all(&store, run, &[made(Phase::Grpo, 3, Some(0.4), true), made(Phase::Grpo, 4, None, false)]).await;
    store.rewind(run, Some(&checkpoint(Phase::Grpo, 2))).await.unwrap();
    assert_eq!(rows(&store).await, before);
    // further back, over the border of the phases
    store.rewind(run, Some(&checkpoint(Phase::WarmStart, 2))).await.unwrap();
    assert_eq!(store.steps(run).await.unwrap().len(), 2);
    assert_eq!(store.checkpoints(run).await.unwrap(), [checkpoint(Phase::WarmStart, 0), checkpoint(Phase::WarmStart, 2)]);
    // to the very beginning; the other run has lost nothing
    store.rewind(run, None).await.unwrap();
    assert_eq!(rows(&store).await, others);
    assert_eq!(store.resume_point(run).await.unwrap(), None);
    let now = store.run_by_id(run).await.unwrap();
    assert_eq!((now.phase, now.step, now.baseline, now.best, now.last), (None, 0, None, None, None));
}

#[tokio::test]
async fn an_evaluation_before_its_checkpoint_stays_and_one_after_it_goes() {
    let (_dir, store, run) = with_run().await;
    let evaluated = |kind| Event::Step { step: None, evaluation: Some(evaluation(Phase::Grpo, 1, kind, 0.5)), checkpoint: None };
    let saved = Event::Step { step: None, evaluation: None, checkpoint: Some(checkpoint(Phase::Grpo, 1)) };
    record_all(&store, run, &[made(Phase::Grpo, 1, None, false), saved.clone(), evaluated(EvaluationKind::Periodic)]).await;
    assert!(!store.resume_point(run).await.unwrap().unwrap().evaluated);
    store.rewind(run, Some(&checkpoint(Phase::Grpo, 1))).await.unwrap();
    assert!(store.evaluations(run).await.unwrap().is_empty());

    let other = new_run(&store, "").await;
    record_all(&store, other, &[made(Phase::Grpo, 1, None, false), evaluated(EvaluationKind::Periodic), saved]).await;
    assert!(store.resume_point(other).await.unwrap().unwrap().evaluated);
    store.rewind(other, Some(&checkpoint(Phase::Grpo, 1))).await.unwrap();
    assert_eq!(store.evaluations(other).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_checkpoint_that_was_never_recorded_is_refused_and_nothing_is_lost() {
    let (_dir, store, run) = with_run().await;
    record_all(&store, run, &[made(Phase::Grpo, 1, None, true), made(Phase::Grpo, 2, None, false)]).await;
    let before = rows(&store).await;
    let error = store.rewind(run, Some(&checkpoint(Phase::Grpo, 2))).await.unwrap_err();
    assert!(matches!(error, StoreError::NoSuchCheckpoint { step: 2, .. }), "{error}");
    assert_eq!(rows(&store).await, before);
}

#[tokio::test]
async fn the_best_checkpoint_is_the_latest_of_the_most_accurate_ones() {
    let (_dir, store, run) = with_run().await;
    assert_eq!(store.best_checkpoint(run).await.unwrap(), None);
    let events = [
        made(Phase::WarmStart, 1, Some(0.4), true),
        made(Phase::Grpo, 1, Some(0.5), true),
        made(Phase::Grpo, 2, Some(0.9), false), // most accurate, but nothing was saved
        made(Phase::Grpo, 3, Some(0.5), true),
        made(Phase::Grpo, 4, None, true), // saved, but not measured
        made(Phase::Grpo, 5, Some(0.3), true),
    ];
    record_all(&store, run, &events).await;
    let best = store.best_checkpoint(run).await.unwrap().unwrap();
    assert_eq!((best.checkpoint, best.summary.accuracy), (checkpoint(Phase::Grpo, 3), 0.5));
    let row = store.run_by_id(run).await.unwrap();
    assert_eq!((row.best.unwrap().step, row.last.unwrap().step, row.baseline), (3, 5, None));
    let saved: Vec<bool> = store.evaluations(run).await.unwrap().iter().map(|e| e.has_checkpoint).collect();
    assert_eq!(saved, [true, true, false, true, true]);
    // saved after it was measured, too
    let saved = Event::Step { step: None, evaluation: None, checkpoint: Some(checkpoint(Phase::Grpo, 2)) };
    store.record(run, &saved).await.unwrap();
    assert_eq!(store.best_checkpoint(run).await.unwrap().unwrap().checkpoint.step, 2);
}
