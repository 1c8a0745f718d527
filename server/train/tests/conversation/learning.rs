//! What is learned from conversations and how they are measured: by the model's own words alone.

use candle_core::DType;
use serde_json::json;
use whetstone_domain::config::{Compute, Format};
use whetstone_domain::{
    Environment, Expected, ExpectedAnswer, ExpectedCall, GroupRecord, Matcher, Message, Outcome, Problem, Role, Rollout, RunConfig,
    Runnable, StopReason, Tool,
};
use whetstone_model::adapter::Adapter;
use whetstone_model::generate::Reading;
use whetstone_model::tiny::speaking_base;
use whetstone_tools::StepCache;
use whetstone_tooluse::tasks::starter::tools;
use whetstone_train::advantage::advantages;
use whetstone_train::batch::{Batch, Branch, Target};
use whetstone_train::converse::gold;
use whetstone_train::metrics::of_groups;
use whetstone_train::optimizer::AdamW;
use whetstone_train::pool::Prepared;
use whetstone_train::step::{Scored, TOKENS_PER_MICRO_BATCH, gradients, logprobs};
use whetstone_train::update::{Update, update};
use whetstone_train::{Policy, Scorer, evaluate, rollout, warm_start};

use crate::{long, policy, prepared, problem};

/// Most tokens of a turn; a call takes 6.
const TURN: usize = 12;

fn config() -> RunConfig {
    RunConfig {
        format: Format::Pythonic,
        num_generations: 8,
        max_prompt_tokens: 3000,
        max_completion_length: TURN,
        tools: long(),
        compute: Compute::F32,
        ..RunConfig::default()
    }
}

/// A base that calls `f` in about two turns of three, and says 42 in the others; greedily it does nothing but call.
fn speaking() -> Policy {
    Policy::new(speaking_base(&["[f()]", "42"]).unwrap(), &config()).unwrap()
}

/// `f` gives 42.
fn question() -> Problem {
    let table = Runnable::Table {
        sql_setup: "create table t (a); insert into t values (42)".into(),
        database: None,
        query: Some("select a from t".into()),
    };
    Problem {
        id: "question".into(),
        messages: vec![Message::new(Role::User, "What does f say?")],
        tools: vec![Tool { name: "f".into(), description: "Says it".into(), parameters: json!({"type": "object", "properties": {}}) }],
        expected: Expected { calls: vec![ExpectedCall { name: "f".into(), arguments: vec![] }] },
        matcher: Matcher::Bfcl,
        domain: String::new(),
        difficulty: 0,
        environment: Some(Environment { tools: [("f".to_owned(), table)].into(), now: None }),
        answer: Some(ExpectedAnswer::one(42)),
    }
}

/// The groups of a step of one problem: sampled, scored and compared as the trainer does it.
fn step(policy: &Policy, adapter: &Adapter, config: &RunConfig) -> Vec<GroupRecord> {
    step_of(policy, adapter, config, &[question()]).0
}

/// [`step`] of these problems, and what their prompts begin with as it was read.
fn step_of(policy: &Policy, adapter: &Adapter, config: &RunConfig, problems: &[Problem]) -> (Vec<GroupRecord>, Reading) {
    let items: Vec<Prepared> = problems.iter().map(|p| prepared(policy, p)).collect();
    let cache = &mut StepCache::default();
    let asked: Vec<&Prepared> = items.iter().collect();
    let (sampled, reading) = rollout::sample(policy, adapter, config, &asked, (1, 0), cache, |_| true).unwrap().unwrap();
    let mut scorer = Scorer::new(config).unwrap();
    let groups = items.iter().zip(&sampled).enumerate().map(|(i, (item, sampled))| {
        let mut group = rollout::group(policy, &mut scorer, 0, item, sampled, i).unwrap();
        let rewards: Vec<f64> = group.rollouts.iter().map(|r| r.reward.total).collect();
        for (rollout, advantage) in group.rollouts.iter_mut().zip(advantages(&[rewards], config.scale_rewards).concat()) {
            rollout.advantage = advantage;
        }
        group
    });
    (groups.collect(), reading)
}

/// Bit for bit the same update.
fn same(a: &Update, b: &Update) -> bool {
    let bits = |u: &Update| -> Vec<u32> { u.gradients.tensors.iter().flatten().map(|x| x.to_bits()).collect() };
    a.loss.to_bits() == b.loss.to_bits() && a.metrics == b.metrics && bits(a) == bits(b)
}

/// Largest difference, relative to the largest number.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let difference = a.iter().zip(b).map(|(a, b)| (a - b).abs()).inspect(|d| assert!(d.is_finite())).fold(0.0, f32::max);
    difference / a.iter().map(|a| a.abs()).fold(0.0, f32::max)
}

#[test]
fn an_update_below_what_sampling_read_is_the_same_update() {
    let policy = speaking();
    let adapter = Adapter::random(&policy.base.config, 4, 8.0, 11, DType::F32, 0.02).unwrap();
    let other = Problem { messages: vec![Message::new(Role::User, "Say it now")], ..question() };
    let config = RunConfig { beta: 0.1, ..config() }; // every group has a gradient
    let (groups, reading) = step_of(&policy, &adapter, &config, &[question(), other]);
    assert!(reading.tokens() > 100 && groups[0].prompt_ids != groups[1].prompt_ids, "{} words in common", reading.tokens());
    let begun = |ids: &[u32]| Some(Reading::new(&policy.model, Some(&adapter), ids).unwrap());
    let plain = update(&policy, &adapter, None, &config, &groups).unwrap();
    assert!(same(&update(&policy, &adapter, Some(reading), &config, &groups).unwrap(), &plain));
    // one group alone, below words that it had in common with another
    let alone = &groups[1..];
    let words = &alone[0].prompt_ids[..80];
    let (plain, below) = (update(&policy, &adapter, None, &config, alone), update(&policy, &adapter, begun(words), &config, alone));
    let (plain, below) = (plain.unwrap().gradients.tensors.concat(), below.unwrap().gradients.tensors.concat());
    assert!(apart(&plain, &below) < 1e-4, "{}", apart(&plain, &below));
    // words of other prompts are refused
    assert!(update(&policy, &adapter, begun(&[70, 71]), &config, alone).is_err());
}

#[test]
fn tool_result_tokens_never_receive_gradient() {
    let policy = speaking();
    let adapter = Adapter::random(&policy.base.config, 4, 8.0, 11, DType::F32, 0.02).unwrap();
    let groups = step(&policy, &adapter, &config());
    let rollouts = &groups[0].rollouts;
    assert!(groups[0].std > 0.0 && rollouts.iter().any(|r| r.mask.contains(&0)), "calls were made, and some earned more than others");
    for r in rollouts {
        let wrote = |at: usize| r.turns.iter().any(|t| t.role == Role::Assistant && (t.start..t.end).contains(&at));
        assert!((0..r.ids.len()).all(|at| r.mask[at] == u8::from(wrote(at))), "{:?}", r.turns);
    }

    // whatever is stored where tools speak, nothing comes of it
    for beta in [0.0, 0.1] {
        let config = RunConfig { beta, ..config() };
        let plain = update(&policy, &adapter, None, &config, &groups).unwrap();
        assert!(plain.gradients.tensors.iter().flatten().any(|g| *g != 0.0));
        let mut garbage = groups.clone();
        for r in &mut garbage[0].rollouts {
            for at in 0..r.ids.len() {
                if r.mask[at] == 0 {
                    (r.logprobs[at], r.entropies[at]) = (f32::NAN, f32::NAN);
                }
            }
        }
        assert!(same(&update(&policy, &adapter, None, &config, &garbage).unwrap(), &plain));
        assert_eq!(of_groups(&garbage), of_groups(&groups));
        // one word of the model's own is noticed
        garbage[0].rollouts[0].logprobs[0] -= 1.0;
        assert_ne!(update(&policy, &adapter, None, &config, &garbage).unwrap().metrics, plain.metrics);
    }

    // each word of the model's own weighs one part in as many as there are
    let plain = update(&policy, &adapter, None, &config(), &groups).unwrap();
    let written = |r: &Rollout| r.mask.iter().filter(|m| **m == 1).count() as f64;
    let all: f64 = rollouts.iter().map(written).sum();
    let loss = -rollouts.iter().map(|r| r.advantage * written(r)).sum::<f64>() / all;
    assert!((plain.loss - loss).abs() < 1e-9, "{} is not {loss}", plain.loss);

    // and the gradient is theirs: that of all words, were it not for those of tools
    let every: Vec<Vec<u8>> = rollouts.iter().map(|r| vec![1; r.ids.len()]).collect();
    let completions = rollouts.iter().zip(&every).map(|(r, mask)| Target { ids: &r.ids, mask: &mask[..] }).collect();
    let branches = [Branch { prompt: &groups[0].prompt_ids, completions }];
    let with = |share_of_tools: f64| -> Vec<f32> {
        let found = gradients(&policy.model, &adapter, &branches, 1.0, false, TOKENS_PER_MICRO_BATCH, |scored| {
            let one = |s: &Scored| {
                let r = &rollouts[s.row.completion];
                let share = if r.mask[s.row.token] == 1 { 1.0 } else { share_of_tools };
                -r.advantage * share / all
            };
            scored.iter().map(one).collect()
        });
        found.unwrap().tensors.concat()
    };
    let own = plain.gradients.tensors.concat();
    assert!(apart(&own, &with(0.0)) < 1e-3, "{}", apart(&own, &with(0.0)));
    assert!(apart(&own, &with(1.0)) > 0.1, "{}", apart(&own, &with(1.0)));
}

#[test]
fn what_has_exactly_no_gradient_is_not_read_and_still_counts() {
    let policy = speaking();
    let adapter = Adapter::random(&policy.base.config, 4, 8.0, 11, DType::F32, 0.02).unwrap();
    let mixed = step(&policy, &adapter, &config()).remove(0);
    let mut flat = mixed.clone();
    flat.std = 0.0;
    flat.rollouts.iter_mut().for_each(|r| r.advantage = 0.0);
    let groups = [flat.clone(), mixed.clone(), flat];
    // so small a KL term that all three are read, and nothing else changes
    let reading = RunConfig { beta: 1e-12, ..config() };
    let (all, some) =
        (update(&policy, &adapter, None, &reading, &groups).unwrap(), update(&policy, &adapter, None, &config(), &groups).unwrap());
    assert!(some.gradients.tokens < all.gradients.tokens && some.gradients.scored > 0);
    assert!((all.loss - some.loss).abs() < 1e-6 && some.loss != 0.0, "{} {}", all.loss, some.loss);
    let apart = apart(&all.gradients.tensors.concat(), &some.gradients.tensors.concat());
    assert!(apart < 1e-3, "{apart}");
    let alone = update(&policy, &adapter, None, &config(), std::slice::from_ref(&mixed)).unwrap();
    assert!((alone.loss - 3.0 * some.loss).abs() < 1e-6, "each group weighs a third: {} {}", alone.loss, some.loss);

    // rollouts that were cut off, where they are left out
    let masking = RunConfig { mask_truncated_completions: true, ..config() };
    let cut = |stop| {
        let mut group = mixed.clone();
        group.rollouts.iter_mut().skip(5).for_each(|r| r.stop = stop);
        group.rollouts.iter_mut().take(5).for_each(|r| r.stop = StopReason::Eos);
        update(&policy, &adapter, None, &masking, &[group]).unwrap()
    };
    let (left_out, kept) = (cut(StopReason::Length), cut(StopReason::Eos));
    assert!(left_out.gradients.tokens < kept.gradients.tokens && left_out.gradients.scored > 0);
    let mut shorter = mixed.clone();
    shorter.rollouts.truncate(5);
    let written = |r: &Rollout| r.mask.iter().filter(|m| **m == 1).count() as f64;
    let all: f64 = shorter.rollouts.iter().map(written).sum();
    let loss = -shorter.rollouts.iter().map(|r| r.advantage * written(r)).sum::<f64>() / all;
    assert!((left_out.loss - loss).abs() < 1e-9, "{} is not {loss}", left_out.loss);
    let every = cut_all(&policy, &adapter, &masking, &mixed);
    assert!(every.gradients.tensors.is_empty() && every.gradients.tokens == 0 && every.loss == 0.0);
}

/// The update where every rollout was cut off.
fn cut_all(policy: &Policy, adapter: &Adapter, config: &RunConfig, group: &GroupRecord) -> Update {
    let mut group = group.clone();
    group.rollouts.iter_mut().for_each(|r| r.stop = StopReason::Length);
    update(policy, adapter, None, config, &[group]).unwrap()
}

#[test]
fn where_sampling_and_update_round_differently_each_token_is_weighed_by_its_truncated_importance() {
    let mut policy = speaking();
    let adapter = Adapter::random(&policy.base.config, 4, 8.0, 11, DType::F32, 0.02).unwrap();
    let groups = step(&policy, &adapter, &config());
    let plain = update(&policy, &adapter, None, &config(), &groups).unwrap();
    assert!(!policy.rounds && !plain.metrics.keys().any(|k| k.contains("importance")), "f32 is not corrected");
    policy.rounds = true;
    // as if the sampler had found every token half, and then a tenth, as likely
    for (ratio, weight) in [(2.0f32, 2.0), (10.0, 3.0)] {
        let mut other = groups.clone();
        for r in &mut other[0].rollouts {
            r.logprobs.iter_mut().for_each(|logprob| *logprob -= ratio.ln());
        }
        let found = update(&policy, &adapter, None, &config(), &other).unwrap();
        for key in ["min", "mean", "max"] {
            let shown = found.metrics[&format!("sampling/importance_sampling_ratio/{key}")];
            assert!((shown - weight).abs() < 1e-3, "{key} {shown}");
        }
        assert!((found.loss - weight * plain.loss).abs() < 1e-3, "{} {}", found.loss, plain.loss);
        let wanted: Vec<f32> = plain.gradients.tensors.concat().iter().map(|g| g * weight as f32).collect();
        let apart = apart(&wanted, &found.gradients.tensors.concat());
        assert!(apart < 1e-3, "{apart}");
    }
}

#[test]
fn the_rounds_of_a_step_run_a_call_once() {
    let (policy, config) = (speaking(), config());
    let base = &policy.base.config;
    let adapter = Adapter::new(base, 4, 8.0, 0, policy.model.dtype(), policy.model.device()).unwrap();
    let item = prepared(&policy, &question());
    let mut cache = StepCache::default();
    let mut calls = 0;
    for round in 0..2 {
        let sampled = rollout::sample(&policy, &adapter, &config, &[&item], (1, round), &mut cache, |_| true).unwrap().unwrap();
        calls += sampled.0[0].iter().map(|s| s.transcript.as_ref().unwrap().exchanges.len()).sum::<usize>();
        assert!(calls > 1);
        assert_eq!(cache.hits, calls - 1, "round {round}");
    }
}

#[test]
fn an_evaluation_of_conversations_counts_what_the_model_wrote() {
    let policy = speaking();
    let base = &policy.base.config;
    // a fresh adapter changes nothing, so that its KL is 0 where it is taken over the model's own words
    let adapter = Adapter::new(base, 4, 8.0, 0, policy.model.dtype(), policy.model.device()).unwrap();
    let plain = Problem { id: "plain".into(), environment: None, answer: None, ..question() };
    let mut problems = vec![question(), plain];
    problems.extend(tools::load(true, 0, 3));
    let items: Vec<_> = problems.iter().map(|p| prepared(&policy, p)).collect();
    let found = evaluate(&policy, Some(&adapter), &items, 2, TURN, &long(), |_| true).unwrap().unwrap();

    let predictions = &found.predictions;
    let ids: Vec<&str> = predictions.iter().map(|p| p.id.as_str()).collect();
    assert_eq!(ids, problems.iter().map(|p| p.id.as_str()).collect::<Vec<_>>());
    assert_eq!((predictions[1].tokens, predictions[1].outcome), (6, Outcome::Correct), "calls that are the answer are not run");
    for p in [&predictions[0], &predictions[2], &predictions[3], &predictions[4]] {
        // three calls were run, and a fourth would have been one turn too many
        assert_eq!((p.tokens, p.outcome, p.correct, p.text.as_str()), (4 * 6, Outcome::Truncated, false, "[f()]"));
        assert_eq!(p.calls.as_ref().map(Vec::len), Some(3));
    }
    assert_eq!(predictions[0].argument_score, Some(1.0 / 3.0), "the first call was the expected one");
    assert_eq!(predictions[2].argument_score, Some(0.0), "there is no tool of this name");
    let summary = &found.summary;
    assert_eq!((summary.n, summary.correct, summary.mean_tokens), (5, 1, f64::from(6 + 4 * 4 * 6) / 5.0));
    assert!(found.kl.abs() < 1e-4, "{}", found.kl);

    let mut asked = Vec::new();
    let stopped = evaluate(&policy, None, &items, 2, TURN, &long(), |done| {
        asked.push(done);
        done < 2
    });
    assert!(stopped.unwrap().is_none(), "half an evaluation is none");
    assert_eq!((asked.first(), asked.last()), (Some(&0), Some(&2)));
}

#[test]
fn answers_are_the_same_however_many_problems_are_worked_on_at_a_time() {
    let policy = speaking();
    // prompts and answers of several lengths, some in several turns: room that was given up is taken again, in pieces of other sizes
    let mut problems = tools::load(true, 0, 4);
    problems.extend([1, 8, 300, 22, 2].map(|words| {
        let mut plain = Problem { id: format!("plain-{words}"), environment: None, answer: None, ..question() };
        plain.messages.push(Message::new(Role::User, "more ".repeat(words)));
        plain
    }));
    let items: Vec<_> = problems.iter().map(|p| prepared(&policy, p)).collect();
    let answers = |rows: usize| evaluate(&policy, None, &items, rows, TURN, &long(), |_| true).unwrap().unwrap().predictions;
    let alone = answers(1);
    assert!(alone.iter().any(|p| p.tokens != alone[0].tokens), "some end before others");
    for rows in [2, 4, 100] {
        assert_eq!(answers(rows), alone, "{rows} at a time");
    }
}

#[test]
fn a_warm_start_learns_what_the_model_should_say() {
    let (policy, problem) = (policy(), problem());
    let item = prepared(&policy, &problem);
    let mut adapter = Adapter::new(&policy.base.config, 8, 16.0, 0, policy.model.dtype(), policy.model.device()).unwrap();
    let (ids, mask) = gold(&policy, &problem, &long()).unwrap();
    let every = vec![1u8; ids.len()];
    let branches = [Branch { prompt: &item.ids, completions: vec![Target { ids: &ids, mask: &every }] }];
    // the loss of every token; those of tools are left out here
    let scored = logprobs(&policy.model, Some(&adapter), &Batch::new(&branches, 0, 0), 1.0).unwrap();
    let own: Vec<f64> = scored.iter().zip(&mask).filter(|(_, m)| **m == 1).map(|(s, _)| -f64::from(s.logprob)).collect();
    let mean = own.iter().sum::<f64>() / own.len() as f64;
    assert!(own.len() < scored.len());

    let items = [item];
    let measured = |adapter: &Adapter| warm_start::measure(&policy, adapter, &items, &long()).unwrap().unwrap();
    let before = measured(&adapter);
    assert!((before - mean).abs() < 1e-4, "{before} is not {mean}");
    let mut optimizer = AdamW::new(&RunConfig::default(), &adapter);
    let mut losses = Vec::new();
    for _ in 0..8 {
        let (loss, tokens, tensors) = warm_start::step(&policy, &adapter, &[&items[0]], &long()).unwrap();
        assert_eq!(tokens, items[0].ids.len() + ids.len());
        optimizer.update(&mut adapter, &tensors, 1e-2).unwrap();
        losses.push(loss);
    }
    assert!((losses[0] - mean).abs() < 1e-4, "{losses:?}");
    let after = measured(&adapter);
    assert!(after < 0.9 * before && after < losses[4], "{before} -> {losses:?} -> {after}");
    assert_eq!(warm_start::measure(&policy, &adapter, &[], &long()).unwrap(), None);
}
