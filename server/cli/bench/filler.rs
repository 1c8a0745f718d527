//! A data directory as after weeks of use, made without a model: starter problems, answers that fail in every way, scored by the same
//! parser, judge and reward as a real run's.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};
use whetstone_domain::config::{Format, WarmStart};
use whetstone_domain::stats::mcnemar;
use whetstone_domain::{
    CheckpointRecord, EvaluationKind, EvaluationRecord, EvaluationSummary, Event, GroupClass, GroupRecord, Outcome, Phase, Prediction,
    Problem, Role, Rollout, RunConfig, RunState, StepRecord, StopReason, Turn,
};
use whetstone_tooluse::tasks::{self, LoadOptions};
use whetstone_tooluse::{Rewarder, format, matching, outcome};
use whetstone_web::Store;

use whetstone_store::NewRun;

/// Steps of the large run, problems a step, answers to each: 5,000 rollouts.
const SIZE: (usize, usize, usize) = (125, 5, 8);
/// Problems of an evaluation, and steps between two.
const MEASURED: (usize, usize) = (200, 25);
/// Small runs beside the large one.
const OTHERS: usize = 60;

/// Fills `data`; the public id of the large run.
pub async fn fill(store: &Store, data: &Path) -> Result<String> {
    for i in 0..OTHERS {
        small(store, i).await?;
    }
    large(store, data).await
}

async fn small(store: &Store, i: usize) -> Result<()> {
    let config = RunConfig { steps: 10 + i, model: "smollm2-135m-instruct-q4_1".into(), ..RunConfig::default() };
    let name = format!("sweep {i}: learning rate {}", [1e-4, 2e-4, 3e-4][i % 3]);
    let new = NewRun { name: &name, config: &config, model: &config.model, base_sha256: "00", code_version: env!("CARGO_PKG_VERSION") };
    let run = store.create_run(&new).await?;
    store.tag_run(run, &[["sweep", "ablation", "night"][i % 3].to_owned()]).await?;
    store.claim(run, std::process::id()).await?;
    let metrics = BTreeMap::from([("reward".to_owned(), 0.01 * i as f64), ("group/mixed".to_owned(), 0.5)]);
    let step = StepRecord { phase: Phase::Grpo, step: 1, metrics, groups: Vec::new() };
    store.record(run, &Event::Step { step: Some(step), evaluation: None, checkpoint: None }).await?;
    let state = [RunState::Finished, RunState::Failed, RunState::Stopped][i % 3];
    let message = if state == RunState::Failed { "killed by SIGKILL; perhaps the machine ran out of memory" } else { "" };
    store.record(run, &Event::State { state, message: message.into() }).await?;
    Ok(())
}

async fn large(store: &Store, data: &Path) -> Result<String> {
    let (steps, problems, answers) = SIZE;
    let warm_start = WarmStart { steps: 16, ..WarmStart::default() };
    let config = RunConfig {
        steps,
        problems_per_step: problems,
        num_generations: answers,
        eval_problems: MEASURED.0,
        eval_every: MEASURED.1,
        model: "smollm2-135m-instruct-q4_1".into(),
        warm_start,
        threads: 2,
        ..RunConfig::default()
    };
    let new = NewRun {
        name: "one large run",
        config: &config,
        model: &config.model,
        base_sha256: "4f8a9b0c7d6e5f4a3b2c1d0e9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0a",
        code_version: env!("CARGO_PKG_VERSION"),
    };
    let run = store.create_run(&new).await?;
    let id = store.run_by_id(run).await?.public_id;
    store.tag_run(run, &["night".into(), "dense".into()]).await?;
    store.claim(run, std::process::id()).await?;
    store.record(run, &Event::State { state: RunState::Running, message: String::new() }).await?;
    let learned = tasks::load("starter", &LoadOptions { limit: Some(steps * problems), ..LoadOptions::default() })?.problems;
    let held_out = tasks::load("starter:held-out", &LoadOptions { limit: Some(MEASURED.0), ..LoadOptions::default() })?.problems;
    let rewarder = Rewarder::new(&config)?;
    let baseline = measure(&held_out, 0, EvaluationKind::Baseline, None);
    let before: Vec<bool> = baseline.predictions.iter().map(|p| p.correct).collect();
    store.record(run, &Event::Step { step: None, evaluation: Some(baseline), checkpoint: None }).await?;
    for step in 1..=config.warm_start.steps {
        let metrics = BTreeMap::from([("loss".to_owned(), 1.5 / step as f64), ("step_time".to_owned(), 11.0)]);
        let step = StepRecord { phase: Phase::WarmStart, step, metrics, groups: Vec::new() };
        store.record(run, &Event::Step { step: Some(step), evaluation: None, checkpoint: None }).await?;
    }
    for step in 1..=steps {
        let of = &learned[(step - 1) * problems..step * problems];
        let groups: Vec<GroupRecord> = of.iter().enumerate().map(|(i, p)| group(&rewarder, p, step, i)).collect();
        let metrics = metrics(&groups, step);
        let due = step % MEASURED.1 == 0;
        let kind = if step == steps { EvaluationKind::Final } else { EvaluationKind::Periodic };
        let evaluation = due.then(|| measure(&held_out, step, kind, Some(&before)));
        let checkpoint = if due { Some(checkpoint(&data.join("runs").join(&id), step, &config)?) } else { None };
        let record = StepRecord { phase: Phase::Grpo, step, metrics, groups };
        store.record(run, &Event::Step { step: Some(record), evaluation, checkpoint }).await?;
        if step % 10 == 0 {
            let message = format!("step {step}: half of the groups teach");
            store.record(run, &Event::Log { level: "info".into(), message }).await?;
        }
    }
    store.record(run, &Event::State { state: RunState::Finished, message: String::new() }).await?;
    Ok(id)
}

/// A number in [0, 1) that depends on its place only (splitmix64).
fn draw(a: usize, b: usize, c: usize) -> f64 {
    let mut z = (a as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (b as u64).rotate_left(24) ^ (c as u64).rotate_left(48);
    for m in [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb] {
        z = (z ^ (z >> 30)).wrapping_mul(m);
    }
    (z >> 11) as f64 / (1_u64 << 53) as f64
}

/// An answer that is right with chance `skill`, else fails in one of the usual ways.
fn answer(problem: &Problem, skill: f64, u: f64) -> (String, StopReason) {
    let gold = format::write(Format::BareJson, &matching::canonical(problem));
    if u < skill {
        return (gold, StopReason::Eos);
    }
    let way = ((u - skill) / (1.0 - skill).max(1e-9) * 7.0) as usize;
    let text = match way {
        0 => format!("Sure, here is the call: {gold}"),
        1 => "I am not able to help with that.".into(),
        2 => gold.replace("\": ", "\": \"x"),
        3 => gold.replacen(char::is_numeric, "9", 1),
        4 => gold.replace("\"name\"", "\"tool\""),
        5 => "{\"name\": \"look_up\", \"arguments\": {\"query\": \"anything\"}}".into(),
        _ => gold.chars().take(gold.len() / 2).collect(),
    };
    (text, if way == 6 { StopReason::Length } else { StopReason::Eos })
}

fn group(rewarder: &Rewarder, problem: &Problem, step: usize, index: usize) -> GroupRecord {
    let skill = 0.15 + 0.5 * step as f64 / SIZE.0 as f64;
    let mut rollouts: Vec<Rollout> = (0..SIZE.2).map(|i| rollout(rewarder, problem, i, skill, draw(step, index, i))).collect();
    let totals: Vec<f64> = rollouts.iter().map(|r| r.reward.total).collect();
    let mean = totals.iter().sum::<f64>() / totals.len() as f64;
    let std = (totals.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / (totals.len() - 1) as f64).sqrt();
    let spread = totals.iter().any(|t| *t != totals[0]);
    let std = if spread { std } else { 0.0 };
    for r in &mut rollouts {
        r.advantage = (r.reward.total - mean) / (std + 1e-4);
        r.effective = spread;
    }
    let right = rollouts.iter().filter(|r| r.outcome.is_correct()).count();
    let class = match right {
        _ if spread => GroupClass::Mixed,
        0 => GroupClass::AllWrong,
        n if n == rollouts.len() => GroupClass::AllCorrect,
        _ => GroupClass::Tied,
    };
    let said: String = format::render(format::Style::of(Format::BareJson), false, problem)
        .messages
        .iter()
        .map(|m| format!("<|im_start|>{}\n{}<|im_end|>\n", m.role.as_str(), m.content))
        .collect();
    let prompt = format!("{said}<|im_start|>assistant\n");
    let prompt_ids = (0..prompt.len() / 4).map(|i| i as u32).collect();
    GroupRecord { index, problem: problem.clone(), prompt, prompt_ids, mean, std, class, rollouts }
}

fn rollout(rewarder: &Rewarder, problem: &Problem, index: usize, skill: f64, u: f64) -> Rollout {
    let (text, stop) = answer(problem, skill, u);
    let parse = format::parse(Format::BareJson, &text);
    let outcome = outcome::judge(problem, &text, &parse, stop);
    let reward = rewarder.score(problem, &text, &parse, outcome);
    let mut pieces: Vec<String> = text.chars().collect::<Vec<_>>().chunks(4).map(|c| c.iter().collect()).collect();
    let end = if stop == StopReason::Eos { "<|im_end|>" } else { "" };
    pieces.extend((stop == StopReason::Eos).then(|| end.to_owned()));
    let n = pieces.len();
    Rollout {
        index,
        ids: (0..n as u32).collect(),
        logprobs: (0..n).map(|i| (draw(i, index, n).max(1e-3)).ln() as f32 / 4.0).collect(),
        entropies: (0..n).map(|i| draw(i, n, index) as f32).collect(),
        mask: vec![1; n],
        turns: vec![Turn { role: Role::Assistant, start: 0, end: n, text: format!("{text}{end}"), exchanges: vec![] }],
        pieces,
        text,
        stop,
        parse,
        outcome,
        reward,
        advantage: 0.0,
        effective: false,
    }
}

fn metrics(groups: &[GroupRecord], step: usize) -> BTreeMap<String, f64> {
    let all: Vec<&Rollout> = groups.iter().flat_map(|g| &g.rollouts).collect();
    let n = all.len() as f64;
    let mean = |f: &dyn Fn(&Rollout) -> f64| all.iter().map(|r| f(r)).sum::<f64>() / n;
    let mut m = BTreeMap::from([
        ("reward".to_owned(), mean(&|r| r.reward.total)),
        ("entropy".to_owned(), 1.2 - 0.5 * step as f64 / SIZE.0 as f64 + 0.1 * draw(step, 1, 2)),
        ("grad_norm".to_owned(), 0.3 + 0.2 * draw(step, 2, 3)),
        ("step_time".to_owned(), 15.0 + 2.0 * draw(step, 3, 4)),
        ("time/rollout".to_owned(), 9.0 + draw(step, 4, 5)),
        ("time/update".to_owned(), 5.0 + draw(step, 5, 6)),
        ("completions/mean_length".to_owned(), mean(&|r| r.ids.len() as f64)),
        ("completions/min_length".to_owned(), all.iter().map(|r| r.ids.len()).min().unwrap_or(0) as f64),
        ("completions/max_length".to_owned(), all.iter().map(|r| r.ids.len()).max().unwrap_or(0) as f64),
        ("completions/clipped_ratio".to_owned(), mean(&|r| f64::from(u8::from(r.stop == StopReason::Length)))),
        ("frac_reward_zero_std".to_owned(), groups.iter().filter(|g| g.std == 0.0).count() as f64 / groups.len() as f64),
    ]);
    for o in Outcome::ALL {
        m.insert(format!("outcome/{}", o.name()), mean(&|r| f64::from(u8::from(r.outcome == o))));
    }
    for c in GroupClass::ALL {
        m.insert(format!("group/{}", c.name()), groups.iter().filter(|g| g.class == c).count() as f64 / groups.len() as f64);
    }
    let mut parts: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for p in all.iter().flat_map(|r| &r.reward.parts) {
        if let Some(v) = p.value {
            let sum = parts.entry(&p.name).or_default();
            *sum = (sum.0 + v, sum.1 + 1.0);
        }
    }
    m.extend(parts.into_iter().map(|(name, (sum, n))| (format!("rewards/{name}/mean"), sum / n)));
    m
}

fn measure(problems: &[Problem], step: usize, kind: EvaluationKind, before: Option<&[bool]>) -> EvaluationRecord {
    let skill = 0.05 + 0.4 * step as f64 / SIZE.0 as f64;
    let predict = |(i, p): (usize, &Problem)| {
        let (text, stop) = answer(p, skill, draw(i, 77, 7));
        let parse = format::parse(Format::BareJson, &text);
        let outcome = outcome::judge(p, &text, &parse, stop);
        let calls = parse.strict.ok();
        let names: Vec<&str> = p.expected.calls.iter().map(|c| c.name.as_str()).collect();
        let made: Option<Vec<&str>> = calls.as_ref().map(|c| c.iter().map(|c| c.name.as_str()).collect());
        Prediction {
            id: p.id.clone(),
            name_correct: made.is_some_and(|m| m == names),
            argument_score: calls.as_ref().filter(|c| !c.is_empty()).map(|_| f64::from(u8::from(outcome.is_correct()))),
            calls,
            tokens: text.len() / 4,
            text,
            outcome,
            correct: outcome.is_correct(),
            expects_no_call: p.expected.is_no_call(),
        }
    };
    let predictions: Vec<Prediction> = problems.iter().enumerate().map(predict).collect();
    EvaluationRecord {
        phase: Phase::Grpo,
        step,
        kind,
        tasks: "starter:held-out".into(),
        summary: EvaluationSummary::of(&predictions, 61.0),
        versus_baseline: before.map(|b| mcnemar(b.iter().copied().zip(predictions.iter().map(|p| p.correct)))),
        kl: None,
        predictions,
    }
}

fn checkpoint(run: &Path, step: usize, config: &RunConfig) -> Result<CheckpointRecord> {
    let folder = format!("checkpoints/grpo-{step:06}");
    let place = run.join(&folder);
    std::fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let weights: Vec<u8> = (0..100_000).map(|i| (draw(i, step, 9) * 256.0) as u8).collect();
    let card = serde_json::json!({
        "peft_type": "LORA", "r": config.lora_rank, "lora_alpha": config.lora_alpha, "base_model_name_or_path": "HuggingFaceTB/SmolLM2-135M-Instruct",
    });
    std::fs::write(place.join("adapter_config.json"), card.to_string())?;
    std::fs::write(place.join("adapter_model.safetensors"), &weights)?;
    let adapter_sha256 = Sha256::digest(&weights).iter().map(|b| format!("{b:02x}")).collect();
    Ok(CheckpointRecord { phase: Phase::Grpo, step, folder, bytes: 300_000, adapter_sha256, state: "{}".into() })
}
