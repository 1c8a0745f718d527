//! The promises of the store, and the records they are tried with.

mod lists;
mod open;
mod queue;
mod record;
mod resume;
mod runs;
mod writer;

use std::collections::BTreeMap;

use serde_json::json;
use tempfile::TempDir;
use whetstone_domain::stats::McNemar;
use whetstone_domain::*;

use crate::{NewRun, RunId, Store};

async fn fresh() -> (TempDir, Store) {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    (dir, store)
}

async fn new_run(store: &Store, name: &str) -> RunId {
    let config = RunConfig { steps: 7, ..RunConfig::default() };
    let new = NewRun { name, config: &config, model: "tiny", base_sha256: "00ff", code_version: "0.1.0" };
    store.create_run(&new).await.unwrap()
}

/// A fresh store with one run.
async fn with_run() -> (TempDir, Store, RunId) {
    let (dir, store) = fresh().await;
    let run = new_run(&store, "first").await;
    (dir, store, run)
}

fn call(name: &str, arguments: serde_json::Value) -> ToolCall {
    ToolCall { name: name.into(), arguments: arguments.as_object().unwrap().clone() }
}

/// Text that has broken somebody's database before.
fn hostile() -> String {
    format!("a\0b\u{202e}'; drop table run; --<script>\u{1f980}{}\n", "x".repeat(10_000))
}

fn rollout(index: usize, total: f64) -> Rollout {
    let nested = (0..120).fold(json!(1), |v, _| json!([v]));
    Rollout {
        index,
        ids: vec![0, 1, u32::MAX],
        pieces: vec!["{".into(), "\u{fffd}".into(), hostile()],
        logprobs: vec![-0.1, f32::MIN_POSITIVE / 3.0, -1.000_000_1],
        entropies: vec![0.0, -0.0, 2.345_678_9],
        mask: vec![1, 0, 1],
        turns: vec![Turn { role: Role::Assistant, start: 0, end: 3, text: hostile(), exchanges: vec![] }],
        text: hostile(),
        stop: StopReason::Length,
        parse: ParseReport {
            strict: if index == 0 {
                Ok(vec![call("b", json!({ "z": 0.1, "a": nested }))])
            } else {
                Err(ParseFailure { position: 3, reason: "no".into() })
            },
            lenient: (index == 1).then(Vec::new),
        },
        outcome: Outcome::ALL[index % 14],
        reward: Reward {
            total,
            parts: vec![
                RewardPart { name: "name".into(), value: Some(0.1 + 0.2), weight: 0.3 },
                RewardPart { name: "args".into(), value: None, weight: f64::NEG_INFINITY },
            ],
        },
        advantage: 1.0 / 3.0 - total,
        effective: index == 0,
    }
}

fn problem(id: &str) -> Problem {
    Problem {
        id: id.into(),
        messages: vec![Message::new(Role::User, hostile())],
        tools: vec![Tool { name: "b".into(), description: String::new(), parameters: json!({ "type": "object", "a": 1 }) }],
        expected: Expected::default(),
        matcher: Matcher::Bfcl,
        domain: "shop".into(),
        difficulty: 2,
        environment: None,
        answer: None,
    }
}

fn group(index: usize) -> GroupRecord {
    GroupRecord {
        index,
        problem: problem("p"),
        prompt: hostile(),
        prompt_ids: vec![7; 40],
        mean: 0.1,
        std: f64::INFINITY,
        class: GroupClass::ALL[index % 4],
        rollouts: vec![rollout(0, 0.1), rollout(1, 0.7), rollout(2, -2.5)],
    }
}

fn metrics() -> BTreeMap<String, f64> {
    [("loss", f64::NAN), ("kl", f64::NEG_INFINITY), ("reward", 0.1 + 0.2), ("num_tokens", 3.0)].map(|(k, v)| (k.to_owned(), v)).into()
}

fn step(phase: Phase, step: usize, groups: usize) -> StepRecord {
    StepRecord { phase, step, metrics: metrics(), groups: (0..groups).map(group).collect() }
}

fn evaluation(phase: Phase, step: usize, kind: EvaluationKind, accuracy: f64) -> EvaluationRecord {
    let prediction = |id: &str, calls| Prediction {
        id: id.into(),
        calls,
        text: hostile(),
        outcome: Outcome::WrongArgs,
        correct: false,
        expects_no_call: true,
        name_correct: true,
        argument_score: Some(1.0 / 3.0),
        tokens: 9,
    };
    let predictions = vec![prediction("z", Some(vec![call("b", json!({ "y": 1 }))])), prediction("a", Some(vec![])), prediction("m", None)];
    EvaluationRecord {
        phase,
        step,
        kind,
        tasks: "starter:held-out".into(),
        summary: EvaluationSummary { accuracy, ..EvaluationSummary::of(&predictions, 1.5) },
        versus_baseline: (kind != EvaluationKind::Baseline).then_some(McNemar { gained: 2, lost: 1, p: 0.1 }),
        kl: Some(0.25),
        predictions,
    }
}

fn checkpoint(phase: Phase, step: usize) -> CheckpointRecord {
    CheckpointRecord {
        phase,
        step,
        folder: format!("checkpoints/{}-{step:06}", phase.name()),
        bytes: 12,
        adapter_sha256: "ab".into(),
        state: r#"{"adam":3}"#.into(),
    }
}

/// A step with a group, and an evaluation and a checkpoint where asked for.
fn made(phase: Phase, number: usize, accuracy: Option<f64>, saved: bool) -> Event {
    Event::Step {
        step: Some(step(phase, number, 1)),
        evaluation: accuracy.map(|a| evaluation(phase, number, EvaluationKind::Periodic, a)),
        checkpoint: saved.then(|| checkpoint(phase, number)),
    }
}

async fn record_all(store: &Store, run: RunId, events: &[Event]) {
    for event in events {
        store.record(run, event).await.unwrap();
    }
}

/// How many rows each table has that hangs on a run.
async fn rows(store: &Store) -> Vec<i64> {
    let mut counts = Vec::new();
    for sql in [
        "select count(*) from step",
        "select count(*) from metric",
        "select count(*) from grp",
        "select count(*) from grp_detail",
        "select count(*) from rollout",
        "select count(*) from problem",
        "select count(*) from evaluation",
        "select count(*) from prediction",
        "select count(*) from checkpoint",
    ] {
        counts.push(sqlx::query_scalar(sql).fetch_one(&store.readers).await.unwrap());
    }
    counts
}
