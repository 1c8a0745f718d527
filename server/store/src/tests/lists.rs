//! Lists: rollouts by filter and page, adapters of all runs, launches once for every key, the newest numbers.

use super::*;
use crate::{LaunchKey, Launched, RolloutFilter, RolloutPlace, RolloutSort};

/// Three GRPO steps of two groups of three rollouts each, after one warm-start step.
async fn with_rollouts() -> (TempDir, Store, RunId) {
    let (dir, store, run) = with_run().await;
    let mut events = vec![made(Phase::WarmStart, 1, None, false)];
    for number in 1..=3 {
        events.push(Event::Step { step: Some(step(Phase::Grpo, number, 2)), evaluation: None, checkpoint: None });
    }
    record_all(&store, run, &events).await;
    (dir, store, run)
}

fn place(step: usize, group: usize, index: usize) -> RolloutPlace {
    RolloutPlace { step, group, index }
}

#[tokio::test]
async fn pages_of_rollouts_show_each_once_in_every_order() {
    let (_dir, store, run) = with_rollouts().await;
    for sort in RolloutSort::ALL {
        for ascending in [false, true] {
            let filter = RolloutFilter { sort, ascending, ..RolloutFilter::default() };
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let page = store.rollouts(run, &filter, after, 4).await.unwrap().unwrap();
                assert!(page.rows.len() <= 4 && !page.unfinished);
                seen.extend(page.rows);
                match page.next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
            let mut places: Vec<RolloutPlace> = seen.iter().map(|r| r.place).collect();
            let key = |r: &crate::RolloutRow| match sort {
                RolloutSort::Step => 0.0,
                RolloutSort::Reward => r.reward,
                RolloutSort::Advantage => r.advantage,
                RolloutSort::Tokens => r.tokens as f64,
            };
            assert!(seen.windows(2).all(|w| if ascending { key(&w[0]) <= key(&w[1]) } else { key(&w[0]) >= key(&w[1]) }), "{sort:?}");
            places.sort_unstable();
            places.dedup();
            assert_eq!(places.len(), 18, "{sort:?} {ascending}");
        }
    }
    let newest = store.rollouts(run, &RolloutFilter::default(), None, 1).await.unwrap().unwrap();
    assert_eq!((newest.rows[0].place, newest.rows[0].text.as_str()), (place(3, 1, 2), hostile().as_str()));
    assert_eq!(store.rollouts(run, &RolloutFilter::default(), Some(place(9, 0, 0)), 1).await.unwrap(), None);
}

#[tokio::test]
async fn filters_keep_what_they_say_and_counts_agree() {
    let (_dir, store, run) = with_rollouts().await;
    let all = RolloutFilter::default();
    let filters = [
        (RolloutFilter { outcomes: vec![Outcome::Error], ..all.clone() }, 6),
        (RolloutFilter { outcomes: vec![Outcome::Error, Outcome::NoCall], ..all.clone() }, 12),
        (RolloutFilter { class: Some(GroupClass::AllCorrect), ..all.clone() }, 9),
        (RolloutFilter { steps: (Some(2), Some(2)), ..all.clone() }, 6),
        (RolloutFilter { steps: (Some(2), None), ..all.clone() }, 12),
        (RolloutFilter { reward: (Some(0.0), Some(0.5)), ..all.clone() }, 6),
        (RolloutFilter { advantage: Some(false), ..all.clone() }, 6),
        (RolloutFilter { advantage: Some(true), ..all.clone() }, 12),
        (RolloutFilter { problem: Some("p".into()), ..all.clone() }, 18),
        (RolloutFilter { problem: Some("q".into()), ..all.clone() }, 0),
        (RolloutFilter { text: Some("DROP table".into()), ..all.clone() }, 18),
        (RolloutFilter { text: Some("nowhere".into()), ..all.clone() }, 0),
    ];
    for (filter, wanted) in filters {
        let page = store.rollouts(run, &filter, None, 100).await.unwrap().unwrap();
        assert_eq!((page.rows.len(), page.next), (wanted, None), "{filter:?}");
        let counts = store.rollout_counts(run, &filter).await.unwrap();
        let counted: usize = counts.iter().filter(|(o, _)| filter.outcomes.is_empty() || filter.outcomes.contains(o)).map(|(_, n)| n).sum();
        assert!(filter.text.is_some() || counted == wanted, "{filter:?}: {counts:?}");
    }
    let other = new_run(&store, "other").await;
    assert!(store.rollouts(other, &all, None, 10).await.unwrap().unwrap().rows.is_empty());
}

#[tokio::test]
async fn groups_have_neighbours_over_the_borders_of_steps() {
    let (_dir, store, run) = with_rollouts().await;
    assert_eq!(store.groups_beside(run, 1, 0).await.unwrap(), (None, Some((1, 1))));
    assert_eq!(store.groups_beside(run, 2, 0).await.unwrap(), (Some((1, 1)), Some((2, 1))));
    assert_eq!(store.groups_beside(run, 3, 1).await.unwrap(), (Some((3, 0)), None));
}

#[tokio::test]
async fn a_warm_start_that_ended_early_counts_as_what_it_was() {
    let (_dir, store, run) = with_rollouts().await;
    let row = store.run_by_id(run).await.unwrap();
    assert_eq!((row.warm_made, row.steps_made(), row.steps_in_all()), (1, 4, 8));
}

#[tokio::test]
async fn the_newest_numbers_come_without_history_and_the_pace_ignores_a_pause() {
    let (_dir, store, run) = with_rollouts().await;
    let last = store.last_metrics(&[run], &["reward", "kl", "none"]).await.unwrap();
    assert_eq!(last[&run], BTreeMap::from([("reward".to_owned(), 0.1 + 0.2), ("kl".to_owned(), f64::NEG_INFINITY)]));
    assert!(store.pace(run, Phase::Grpo).await.unwrap().is_some_and(|s| s < 60.0));
    for (step, at) in [(1, 1_000), (2, 3_000), (3, 900_000)] {
        let sql = "update step set at_ms = ? where run = ? and phase = 'grpo' and step = ?";
        sqlx::query(sql).bind(at).bind(run.0).bind(step).execute(&store.writer).await.unwrap();
    }
    record_all(&store, run, &[Event::Step { step: Some(step(Phase::Grpo, 4, 1)), evaluation: None, checkpoint: None }]).await;
    sqlx::query("update step set at_ms = 902000 where run = ? and phase = 'grpo' and step = 4")
        .bind(run.0)
        .execute(&store.writer)
        .await
        .unwrap();
    assert_eq!(store.pace(run, Phase::Grpo).await.unwrap(), Some(2.0));
    assert_eq!(store.pace(run, Phase::WarmStart).await.unwrap(), None);
}

#[tokio::test]
async fn adapters_of_all_runs_come_by_the_page_with_their_measurement() {
    let (_dir, store, first) = with_run().await;
    let second = new_run(&store, "second").await;
    for run in [first, second] {
        record_all(
            &store,
            run,
            &[made(Phase::Grpo, 1, Some(0.25), true), made(Phase::Grpo, 2, Some(0.5), true), made(Phase::Grpo, 3, None, true)],
        )
        .await;
    }
    let all = store.adapters(None, false, None, 10).await.unwrap().unwrap();
    assert_eq!(all.len(), 6);
    let best: Vec<(usize, f64)> =
        all.iter().filter(|a| a.best).map(|a| (a.checkpoint.step, a.summary.as_ref().unwrap().accuracy)).collect();
    assert_eq!(best, [(2, 0.5), (2, 0.5)]);
    assert!(all.iter().all(|a| (a.checkpoint.step == 3) == a.summary.is_none()));
    let mut paged = Vec::new();
    let mut after = None;
    loop {
        let page = store.adapters(None, false, after, 2).await.unwrap().unwrap();
        let Some(last) = page.last() else { break };
        after = Some((store.run(&last.run).await.unwrap().id, last.checkpoint.phase, last.checkpoint.step));
        paged.extend(page);
    }
    assert_eq!(paged, all);
    assert_eq!(store.adapters(None, true, None, 10).await.unwrap().unwrap().len(), 2);
    store.archive_run(second, true).await.unwrap();
    assert_eq!(store.adapters(None, false, None, 10).await.unwrap().unwrap().len(), 3);
    assert_eq!(store.adapters(Some(second), false, None, 10).await.unwrap().unwrap().len(), 3);
    assert_eq!(store.adapters(None, false, Some((first, Phase::Grpo, 9)), 10).await.unwrap(), None);
}

#[tokio::test]
async fn a_key_launches_one_run_however_often_and_at_once() {
    let (_dir, store) = fresh().await;
    let config = RunConfig::default();
    let launch = |request: &'static str| {
        let (store, config) = (store.clone(), config.clone());
        async move {
            let new = NewRun { name: "n", config: &config, model: "tiny", base_sha256: "", code_version: "0" };
            store.launch_run(&new, &["a".into()], Some(LaunchKey { key: "k", request })).await.unwrap()
        }
    };
    let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(launch("one"))).collect();
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap());
    }
    assert_eq!(outcomes.iter().filter(|o| matches!(o, Launched::New(_))).count(), 1, "{outcomes:?}");
    assert_eq!(launch("other").await, Launched::KeyTaken);
    let runs = store.runs(&Default::default()).await.unwrap();
    assert_eq!((runs.len(), runs[0].tags.as_slice()), (1, &["a".to_owned()][..]));
    let tagged = |tag: &str| crate::RunFilter { tag: Some(tag.into()), ..Default::default() };
    assert_eq!(store.runs(&tagged("a")).await.unwrap().len(), 1);
    assert_eq!(store.runs(&tagged("A")).await.unwrap().len(), 0);
    store.delete_run(runs[0].id).await.unwrap();
    assert!(matches!(launch("other").await, Launched::New(_)), "a deleted run frees its key");
}
