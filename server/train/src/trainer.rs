//! The heart: collect, score, advantage, update, record, maybe evaluate, maybe save.
//!
//! In: a config, a policy and two pools of problems. Out: events, one a step, and checkpoints on disk. A resumed run starts
//! at the checkpoint that the last committed record names and then equals the uninterrupted one bit for bit.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use whetstone_domain::event::Metrics;
use whetstone_domain::{
    CheckpointRecord, EvaluationKind, EvaluationRecord, Event, GroupRecord, Phase, Prediction, RunConfig, RunState, StepRecord, stats,
};
use whetstone_model::adapter::Adapter;
use whetstone_model::generate::Reading;
use whetstone_tools::StepCache;

use crate::advantage::advantages;
use crate::checkpoint::{self, Counters};
use crate::error::{Result, TrainError};
use crate::evaluate::evaluate;
use crate::metrics;
use crate::optimizer::{AdamW, clip};
use crate::policy::Policy;
use crate::pool::{Pool, Prepared};
use crate::scorer::Scorer;
use crate::update::{Update, is_effective, is_left_out, update};
use crate::{rollout, warm_start};

/// Share of a time budget that the warm start may take: of six minutes it makes more in three quarters than GRPO in the half that is
/// left otherwise (README, Results).
const WARM_START_SHARE: f64 = 0.75;
/// Rounds of drawing replacements for groups without spread.
pub(crate) const SAMPLING_ROUNDS: usize = 3;
/// How often the stop wish is read.
const STOP_CHECK: Duration = Duration::from_millis(500);

/// What a run needs.
pub struct Job<'a> {
    /// The effective config.
    pub config: &'a RunConfig,
    /// Base model, tokenizer, format.
    pub policy: &'a Policy,
    /// The run's folder, below which checkpoints are written.
    pub folder: &'a Path,
    /// Problems to learn from.
    pub train: Pool,
    /// Problems to measure on, already cut to `eval_problems`; empty = no evaluation.
    pub held_out: Pool,
    /// Where to go on.
    pub resume: Option<Resume>,
}

/// Where an interrupted run goes on.
pub struct Resume {
    /// The checkpoint that the last committed record names.
    pub checkpoint: CheckpointRecord,
    /// The evaluation due there was stored; false = it is made first.
    pub evaluated: bool,
    /// Step 0's answers, for McNemar.
    pub baseline: Vec<Prediction>,
}

/// How a run ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All steps were made.
    Finished,
    /// The stop wish was obeyed; a checkpoint was written.
    Stopped,
}

/// Runs `job` to its end. Every event is handed to `emit`; `stop` is asked at least twice a second while tokens are made.
pub fn train(job: Job, emit: &mut dyn FnMut(Event) -> Result<()>, stop: &mut dyn FnMut() -> bool) -> Result<Ending> {
    let config = job.config;
    let scorer = Scorer::new(config)?;
    let (learn, unseen) =
        if config.warm_start.steps > 0 { job.train.split(config.warm_start.eval_problems) } else { (job.train, Pool::default()) };
    let base = &job.policy.base;
    let fresh =
        Adapter::new(&base.config, config.lora_rank, config.lora_alpha, config.seed, job.policy.model.dtype(), job.policy.model.device())?;
    let optimizer = AdamW::new(config, &fresh);
    let phase = if config.warm_start.steps > 0 { Phase::WarmStart } else { Phase::Grpo };
    let counters = Counters { phase, step: 0, updates: 0, best_loss: None, stale: 0, num_tokens: 0, seconds: 0.0 };
    let mut trainer = Trainer {
        config,
        policy: job.policy,
        folder: job.folder,
        learn,
        unseen,
        held_out: job.held_out,
        scorer,
        adapter: fresh,
        optimizer,
        counters,
        baseline: Vec::new(),
        emit,
        stop,
        stop_checked: Instant::now(),
        stopping: false,
        saved: None,
    };
    (trainer.emit)(Event::State { state: RunState::Running, message: String::new() })?;
    match job.resume {
        Some(resume) => {
            trainer.baseline = resume.baseline;
            trainer.saved = Some((resume.checkpoint.phase, resume.checkpoint.step));
            (trainer.adapter, trainer.optimizer, trainer.counters) =
                checkpoint::load(trainer.folder, &resume.checkpoint, base, trainer.policy.model.device(), &trainer.optimizer)?;
            if !resume.evaluated {
                let evaluation = trainer.evaluate_if_due((resume.checkpoint.phase, resume.checkpoint.step))?;
                if evaluation.is_some() {
                    (trainer.emit)(Event::Step { step: None, evaluation, checkpoint: None })?;
                }
                if trainer.stopping {
                    return Ok(Ending::Stopped);
                }
            }
        }
        None => {
            if !trainer.begin()? {
                return Ok(Ending::Stopped);
            }
        }
    }
    while trainer.counters.phase == Phase::WarmStart {
        if !trainer.supervised_step()? {
            return trainer.stopped();
        }
    }
    while !trainer.is_last(trainer.counters.step) {
        if !trainer.grpo_step()? {
            return trainer.stopped();
        }
    }
    Ok(Ending::Finished)
}

struct Trainer<'a> {
    config: &'a RunConfig,
    policy: &'a Policy,
    folder: &'a Path,
    learn: Pool,
    unseen: Pool,
    held_out: Pool,
    scorer: Scorer,
    adapter: Adapter,
    optimizer: AdamW,
    counters: Counters,
    baseline: Vec<Prediction>,
    emit: &'a mut dyn FnMut(Event) -> Result<()>,
    stop: &'a mut dyn FnMut() -> bool,
    stop_checked: Instant,
    stopping: bool,
    /// The last checkpoint.
    saved: Option<(Phase, usize)>,
}

impl Trainer<'_> {
    /// Baseline evaluation and first checkpoint; false when stopped.
    fn begin(&mut self) -> Result<bool> {
        let at = (self.counters.phase, 0);
        let evaluation = match self.evaluate(at, EvaluationKind::Baseline)? {
            Measured::Stopped => return Ok(false),
            Measured::Nothing => None,
            Measured::Record(record) => Some(record),
        };
        let checkpoint = Some(self.save(at)?);
        (self.emit)(Event::Step { step: None, evaluation, checkpoint })?;
        Ok(true)
    }

    /// One supervised step; false when stopped.
    fn supervised_step(&mut self) -> Result<bool> {
        if self.should_stop() {
            return Ok(false);
        }
        let (start, w, step) = (Instant::now(), &self.config.warm_start, self.counters.step + 1);
        let problems: Vec<&Prepared> =
            (0..w.problems_per_step).map(|i| self.learn.at(self.config.seed, (step - 1) * w.problems_per_step + i)).collect();
        let (loss, tokens, mut gradients) = warm_start::step(self.policy, &self.adapter, &problems, &self.config.tools)?;
        let rate = w.learning_rate * self.config.lr_factor(step - 1, w.steps, self.spent(0.0, WARM_START_SHARE));
        self.counters.num_tokens += tokens as u64;
        let norm = self.update(&mut gradients, loss, step, rate)?;
        self.counters.step = step;
        let mut m = Metrics::from([
            ("loss".into(), loss),
            ("grad_norm".into(), norm),
            ("learning_rate".into(), rate),
            ("num_tokens".into(), self.counters.num_tokens as f64),
        ]);
        self.spend(start);
        let mut last = step >= w.steps || self.over_budget(WARM_START_SHARE);
        let measured = step % w.eval_every == 0 || last;
        if measured && let Some(unseen) = warm_start::measure(self.policy, &self.adapter, &self.unseen.items, &self.config.tools)? {
            m.insert("eval/loss".into(), unseen);
            if self.counters.best_loss.is_none_or(|best| unseen < best) {
                (self.counters.best_loss, self.counters.stale) = (Some(unseen), 0);
            } else {
                self.counters.stale += 1;
                last |= self.counters.stale >= w.patience;
            }
        }
        m.insert("step_time".into(), start.elapsed().as_secs_f64());
        m.insert("memory/rss".into(), metrics::resident_bytes() as f64);
        let at = (Phase::WarmStart, step);
        if last {
            (self.counters.phase, self.counters.step) = (Phase::Grpo, 0);
        }
        let evaluation = self.evaluate_if_due(at)?;
        if last {
            self.optimizer = AdamW::new(self.config, &self.adapter);
            self.counters.updates = 0;
        }
        let checkpoint = if last || step % self.config.checkpoint_every == 0 { Some(self.save(at)?) } else { None };
        let record = StepRecord { phase: Phase::WarmStart, step, metrics: m, groups: Vec::new() };
        (self.emit)(Event::Step { step: Some(record), evaluation, checkpoint })?;
        Ok(!self.stopping)
    }

    /// One GRPO step; false when stopped.
    fn grpo_step(&mut self) -> Result<bool> {
        let (start, step) = (Instant::now(), self.counters.step + 1);
        let mut times = BTreeMap::new();
        let Some((mut groups, reading)) = self.collect(step, &mut times)? else { return Ok(false) };
        self.assign_advantages(&mut groups);
        let clock = Instant::now();
        let mut m = metrics::of_groups(&groups);
        let rate = self.config.learning_rate * self.config.lr_factor(step - 1, self.config.steps, self.spent(WARM_START_SHARE, 1.0));
        let update = self.learn_from(&mut groups, reading, step, rate)?;
        m.extend(update);
        times.insert("time/update", clock.elapsed().as_secs_f64());
        self.counters.step = step;
        self.spend(start);
        let rollouts = || groups.iter().flat_map(|g| &g.rollouts);
        let tokens: usize = rollouts().map(|r| r.ids.len()).sum();
        let learned: usize = rollouts().filter(|r| r.effective).map(|r| r.ids.len()).sum();
        self.counters.num_tokens += groups.iter().map(|g| (g.prompt_ids.len() * g.rollouts.len()) as u64).sum::<u64>() + tokens as u64;
        m.insert("num_tokens".into(), self.counters.num_tokens as f64);
        for (key, phase, tokens) in
            [("tokens_per_second/rollout", "time/rollout", tokens), ("tokens_per_second/update", "time/update", learned)]
        {
            if let Some(seconds) = times.get(phase).filter(|s| tokens > 0 && **s > 0.0) {
                m.insert(key.into(), tokens as f64 / seconds);
            }
        }
        m.extend(times.into_iter().map(|(k, v)| (k.to_owned(), v)));
        m.insert("step_time".into(), start.elapsed().as_secs_f64());
        m.insert("memory/rss".into(), metrics::resident_bytes() as f64);

        let at = (Phase::Grpo, step);
        let evaluation = self.evaluate_if_due(at)?;
        let save = self.due(at).is_some() || step % self.config.checkpoint_every == 0;
        let checkpoint = if save { Some(self.save(at)?) } else { None };
        (self.emit)(Event::Step { step: Some(StepRecord { phase: Phase::Grpo, step, metrics: m, groups }), evaluation, checkpoint })?;
        Ok(!self.stopping)
    }

    /// The evaluation that belongs after `at`, by the counters that follow it.
    fn due(&self, at: (Phase, usize)) -> Option<EvaluationKind> {
        let every = self.config.eval_every;
        match at {
            (Phase::WarmStart, _) => (self.counters.phase == Phase::Grpo).then_some(EvaluationKind::AfterWarmStart),
            (Phase::Grpo, 0) => None,
            (Phase::Grpo, step) if self.is_last(step) => Some(EvaluationKind::Final),
            (Phase::Grpo, step) => (every > 0 && step % every == 0).then_some(EvaluationKind::Periodic),
        }
    }

    /// Is no GRPO step made after `step` steps?
    fn is_last(&self, step: usize) -> bool {
        step >= self.config.steps || self.over_budget(1.0)
    }

    /// Has this share of the time budget been spent?
    fn over_budget(&self, share: f64) -> bool {
        self.config.max_minutes.is_some_and(|minutes| self.counters.seconds >= 60.0 * minutes * share)
    }

    /// How much of the time budget between two shares of it is over, in [0, 1]; 0 without one.
    fn spent(&self, from: f64, to: f64) -> f64 {
        let share = self.config.max_minutes.map_or(0.0, |minutes| self.counters.seconds / (60.0 * minutes));
        ((share - from) / (to - from)).clamp(0.0, 1.0)
    }

    /// Counts a step's time, where there is a budget: without one a run has no clock in what it stores.
    fn spend(&mut self, start: Instant) {
        if self.config.max_minutes.is_some() {
            self.counters.seconds += start.elapsed().as_secs_f64();
        }
    }

    /// Makes the evaluation that is due after `at`. Stopped in the middle of it, the step is kept and its checkpoint is the last:
    /// a resumed run makes the evaluation first.
    fn evaluate_if_due(&mut self, at: (Phase, usize)) -> Result<Option<EvaluationRecord>> {
        let Some(kind) = self.due(at) else { return Ok(None) };
        Ok(match self.evaluate(at, kind)? {
            Measured::Record(record) => Some(record),
            Measured::Nothing => None,
            Measured::Stopped => {
                self.stopping = true;
                None
            }
        })
    }

    /// Samples and scores the step's groups, with replacements for groups without spread if asked for; none when stopped. With them
    /// comes what their prompts begin with, as it was read, unless some were replaced.
    fn collect(&mut self, step: usize, times: &mut BTreeMap<&'static str, f64>) -> Result<Option<(Vec<GroupRecord>, Option<Reading>)>> {
        let (c, n) = (self.config, self.config.problems_per_step);
        let rounds = if c.dynamic_sampling { SAMPLING_ROUNDS } else { 1 };
        let first = c.warm_start.steps * c.warm_start.problems_per_step + (step - 1) * n * rounds;
        let mut groups: Vec<GroupRecord> = Vec::new();
        let (mut cache, mut reading) = (StepCache::default(), None);
        for round in 0..rounds {
            let wanted: Vec<usize> = match round {
                0 => (0..n).collect(),
                _ => groups.iter().enumerate().filter(|(_, g)| g.std == 0.0).map(|(i, _)| i).collect(),
            };
            if wanted.is_empty() {
                break;
            }
            let problems: Vec<Prepared> = wanted.iter().map(|i| self.learn.at(c.seed, first + round * n + i).clone()).collect();
            let problems: Vec<&Prepared> = problems.iter().collect();
            reading = None; // those of one round have other words in common than those of two
            let clock = Instant::now();
            let (policy, adapter) = (self.policy, self.adapter.clone());
            let sampled = rollout::sample(policy, &adapter, c, &problems, (step, round * n), &mut cache, |_| !self.should_stop())?;
            let Some((completions, read)) = sampled else { return Ok(None) };
            if round == 0 {
                reading = Some(read);
            }
            *times.entry("time/rollout").or_default() += clock.elapsed().as_secs_f64();
            let clock = Instant::now();
            for ((&slot, problem), completions) in wanted.iter().zip(&problems).zip(&completions) {
                let group = rollout::group(self.policy, &mut self.scorer, step - 1, problem, completions, slot)?;
                match groups.get_mut(slot) {
                    Some(old) => *old = group,
                    None => groups.push(group),
                }
            }
            *times.entry("time/reward").or_default() += clock.elapsed().as_secs_f64();
        }
        Ok(Some((groups, reading)))
    }

    fn assign_advantages(&self, groups: &mut [GroupRecord]) {
        let rewards: Vec<Vec<f64>> = groups.iter().map(|g| g.rollouts.iter().map(|r| r.reward.total).collect()).collect();
        for (group, advantages) in groups.iter_mut().zip(advantages(&rewards, self.config.scale_rewards)) {
            for (rollout, a) in group.rollouts.iter_mut().zip(advantages) {
                rollout.advantage = a;
            }
        }
    }

    /// One update from the groups that have a gradient; their rollouts are marked as effective.
    fn learn_from(&mut self, groups: &mut [GroupRecord], reading: Option<Reading>, step: usize, rate: f64) -> Result<Metrics> {
        let c = self.config;
        let Update { gradients, loss, metrics: mut m } = update(self.policy, &self.adapter, reading, c, groups)?;
        let mut tensors = gradients.tensors;
        let norm = if tensors.is_empty() { 0.0 } else { self.update(&mut tensors, loss, step, rate)? };
        for group in groups {
            let on = is_effective(c, group);
            group.rollouts.iter_mut().for_each(|r| r.effective = on && !is_left_out(c, r));
        }
        m.insert("grad_norm".into(), norm);
        m.insert("learning_rate".into(), rate);
        if !tensors.is_empty() {
            m.insert("time/forward".into(), gradients.seconds[0]);
            m.insert("time/backward".into(), gradients.seconds[1]);
        }
        Ok(m)
    }

    /// Clips and applies gradients; the norm before clipping.
    fn update(&mut self, gradients: &mut [Vec<f32>], loss: f64, step: usize, rate: f64) -> Result<f64> {
        if !loss.is_finite() {
            return Err(TrainError::NotFinite { step, what: "the loss", learning_rate: rate });
        }
        let norm = clip(gradients, self.config.max_grad_norm, step, rate)?;
        self.optimizer.update(&mut self.adapter, gradients, rate)?;
        self.counters.updates = self.optimizer.updates;
        Ok(norm)
    }

    fn evaluate(&mut self, at: (Phase, usize), kind: EvaluationKind) -> Result<Measured> {
        if self.held_out.items.is_empty() {
            return Ok(Measured::Nothing);
        }
        let (policy, c, of) = (self.policy, self.config, self.held_out.items.len());
        let items = std::mem::take(&mut self.held_out.items);
        let adapter = (kind != EvaluationKind::Baseline).then(|| self.adapter.clone());
        let mut told = None;
        let result = evaluate(policy, adapter.as_ref(), &items, c.eval_batch, c.max_completion_length, &c.tools, |done| {
            if told != Some(done) {
                told = Some(done);
                // progress is a courtesy: a store that cannot take it will refuse the record as well, with its reason
                let _ = (self.emit)(Event::Progress { message: format!("evaluating {done} of {of}") });
            }
            !self.should_stop()
        });
        self.held_out.items = items;
        let Some(found) = result? else { return Ok(Measured::Stopped) };
        let versus_baseline = (kind != EvaluationKind::Baseline).then(|| {
            let before: BTreeMap<&str, bool> = self.baseline.iter().map(|p| (p.id.as_str(), p.correct)).collect();
            stats::mcnemar(found.predictions.iter().filter_map(|p| Some((*before.get(p.id.as_str())?, p.correct))))
        });
        if kind == EvaluationKind::Baseline {
            self.baseline = found.predictions.clone();
        }
        Ok(Measured::Record(EvaluationRecord {
            phase: at.0,
            step: at.1,
            kind,
            tasks: c.eval_tasks.clone(),
            summary: found.summary,
            versus_baseline,
            kl: adapter.is_some().then_some(found.kl),
            predictions: found.predictions,
        }))
    }

    fn save(&mut self, at: (Phase, usize)) -> Result<CheckpointRecord> {
        let record = checkpoint::save(self.folder, &self.policy.base, &self.adapter, &self.optimizer, at, &self.counters)?;
        self.saved = Some(at);
        Ok(record)
    }

    /// Obeys the stop wish: what was learned is saved, unless a step was cut short, which the last checkpoint precedes.
    fn stopped(&mut self) -> Result<Ending> {
        let at = (self.counters.phase, self.counters.step);
        // a checkpoint that is recorded is never written again: its folder would be gone for a moment
        if !self.stopping && self.saved != Some(at) {
            let checkpoint = Some(self.save(at)?);
            (self.emit)(Event::Step { step: None, evaluation: None, checkpoint })?;
        }
        Ok(Ending::Stopped)
    }

    fn should_stop(&mut self) -> bool {
        if self.stop_checked.elapsed() < STOP_CHECK {
            return false;
        }
        self.stop_checked = Instant::now();
        (self.stop)()
    }
}

#[expect(clippy::large_enum_variant, reason = "taken apart where it is made")]
enum Measured {
    Nothing,
    Stopped,
    Record(EvaluationRecord),
}
