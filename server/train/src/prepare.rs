//! From a config to what a run needs: task sets loaded, prompts rendered, long ones dropped, everything counted.
//!
//! In: the effective config and a loaded base. Out: [`Ready`] and a [`Report`] for the owner. It fetches nothing and prints nothing.

use std::collections::HashSet;
use std::path::Path;

use serde_json::Value;
use whetstone_domain::{ExpectedAnswer, Problem, Role, RunConfig};
use whetstone_model::weights::Base;
use whetstone_tooluse::offer;
use whetstone_tooluse::tasks::{self, LoadOptions, Refusal};
use whetstone_tooluse::{format, matching};

use crate::converse;
use crate::error::{Result, TrainError};
use crate::policy::Policy;
use crate::pool::Pool;
use crate::scorer::Scorer;
use crate::warm_start;

/// More generated problems than this are met again instead of made: by then the run has seen every phrasing.
const MOST_GENERATED: usize = 20_000;

/// Base and problems of a run.
pub struct Ready {
    /// Base model, tokenizer, format.
    pub policy: Policy,
    /// Problems to learn from.
    pub train: Pool,
    /// Problems to measure on; empty = no evaluation.
    pub held_out: Pool,
}

/// What loading one task set found.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The spec.
    pub spec: String,
    /// Problems that can be used.
    pub problems: usize,
    /// Problems dropped because their prompt is longer than the limit, each with its id and length.
    pub dropped: Vec<String>,
    /// The limit, tokens.
    pub limit: usize,
    /// Rows that were not taken.
    pub refused: Vec<Refusal>,
    /// Problems that this base cannot be asked, each with its id and the reason.
    pub unfit: Vec<String>,
}

/// What preparing a run found.
#[derive(Debug, Clone)]
pub struct Report {
    /// The set that is learned from; none when nothing is learned.
    pub train: Option<Loaded>,
    /// The set that is measured on; none when nothing is measured.
    pub held_out: Option<Loaded>,
    /// Held-out problems that are also learned from, by id or by request.
    pub overlap: usize,
}

/// Loads and tokenises what `config` names. `bfcl` is the unpacked wheel, where a spec needs it.
pub fn prepare(config: &RunConfig, base: Base, bfcl: Option<&Path>) -> Result<(Ready, Report)> {
    Scorer::new(config)?; // weights of parts that the reward does not have are found before anything is loaded
    let policy = Policy::new(base, config)?;
    let learns = config.steps > 0 || config.warm_start.steps > 0;
    let (train, train_report) = if learns {
        let (mut pool, mut report) = load(&policy, &config.tasks, train_problems(config), config, bfcl)?;
        if config.warm_start.steps > 0 {
            retain_held(&policy, config, &mut pool, &mut report)?;
        }
        (pool, Some(report))
    } else {
        (Pool::default(), None)
    };
    let (held_out, held_out_report) = if config.eval_problems > 0 {
        let (pool, report) = load(&policy, &config.eval_tasks, Some(config.eval_problems), config, bfcl)?;
        (pool, Some(report))
    } else {
        (Pool::default(), None)
    };
    let overlap = overlap(&train, &held_out);
    Ok((Ready { policy, train, held_out }, Report { train: train_report, held_out: held_out_report, overlap }))
}

/// Loads and tokenises one task set.
pub fn load(policy: &Policy, spec: &str, limit: Option<usize>, config: &RunConfig, bfcl: Option<&Path>) -> Result<(Pool, Loaded)> {
    let mut set = tasks::load(spec, &LoadOptions { seed: config.seed, limit, bfcl })?;
    let refused = std::mem::take(&mut set.refused);
    let mut unfit = Vec::new();
    // what the generator makes runs; what somebody wrote is tried before the run begins
    let written = !tasks::is_generated(spec);
    set.problems.retain(|p| match fits(policy, p).and_then(|()| if written { runs(p, config) } else { Ok(()) }) {
        Err(reason) => {
            unfit.push(format!("problem {}: {reason}", p.id));
            false
        }
        Ok(()) => true,
    });
    if let (true, Some(first)) = (set.problems.is_empty(), unfit.first()) {
        return Err(TrainError::Unfit { spec: spec.to_owned(), of: unfit.len(), first: first.clone() });
    }
    let pool = Pool::new(policy, set, config.max_prompt_tokens)?;
    let (problems, dropped) = (pool.items.len(), pool.dropped.clone());
    Ok((pool, Loaded { spec: spec.to_owned(), problems, dropped, limit: config.max_prompt_tokens, refused, unfit }))
}

/// Keeps the problems that a warm start can learn: those whose expected answers are within the limits and whose expected calls work.
fn retain_held(policy: &Policy, config: &RunConfig, pool: &mut Pool, report: &mut Loaded) -> Result<()> {
    let generated = tasks::is_generated(&config.tasks); // there calls work, and to run them all takes long
    pool.items.retain(|item| {
        let known = generated && item.problem.is_conversation();
        let held = if known { Ok(()) } else { warm_start::answer(policy, item, &config.tools).map(drop) };
        held.map_err(|e| report.unfit.push(e.to_string())).is_ok()
    });
    report.problems = pool.items.len();
    match report.unfit.first() {
        Some(first) if pool.items.is_empty() => {
            Err(TrainError::Unfit { spec: report.spec.clone(), of: report.unfit.len(), first: first.clone() })
        }
        _ => Ok(()),
    }
}

/// Whether this base can be asked a problem in this format, and offered its tools.
fn fits(policy: &Policy, problem: &Problem) -> std::result::Result<(), String> {
    offer::check(&problem.tools)?;
    if let Some(marker) = marker(policy, problem) {
        return Err(format!("it contains {marker}, which ends or begins a turn for this model; take it out"));
    }
    format::can_write(policy.format, problem)
}

/// A control token of the base spelt out in what the model is shown or should write: text that could forge a turn of the conversation.
/// Looked for in the problem's own words only: those of the format and of the template may hold such tokens.
fn marker<'a>(policy: &'a Policy, problem: &Problem) -> Option<&'a str> {
    let tokenizer = &policy.base.tokenizer;
    let says = problem.messages.iter().find_map(|m| tokenizer.marker_in(&m.content));
    let shown = || problem.tools.iter().flat_map(format::shown).find_map(|text| tokenizer.marker_in(&text));
    let texts = matching::canonical(problem).into_iter().map(|call| Value::Object(call.arguments).to_string());
    let writes = || texts.chain(problem.answer.iter().map(ExpectedAnswer::spoken)).find_map(|text| tokenizer.marker_in(&text));
    says.or_else(shown).or_else(writes)
}

/// Whether the tools of a problem can run, where it brings some.
fn runs(problem: &Problem, config: &RunConfig) -> std::result::Result<(), String> {
    converse::settings(&config.tools).can_run(problem).map_err(|e| e.to_string())
}

/// As many problems as a run meets, so that a generated set repeats none; none (= all rows) for files.
fn train_problems(c: &RunConfig) -> Option<usize> {
    let draws = if c.dynamic_sampling { crate::trainer::SAMPLING_ROUNDS } else { 1 };
    let w = &c.warm_start;
    let learned =
        w.steps.saturating_mul(w.problems_per_step).saturating_add(c.steps.saturating_mul(c.problems_per_step).saturating_mul(draws));
    let wanted = learned.saturating_add(if w.steps > 0 { w.eval_problems } else { 0 });
    tasks::is_generated(&c.tasks).then_some(wanted.clamp(1, MOST_GENERATED))
}

fn overlap(train: &Pool, held_out: &Pool) -> usize {
    fn request(p: &Problem) -> &str {
        p.messages.iter().rfind(|m| m.role == Role::User).map_or("", |m| m.content.trim())
    }
    let mut ids = HashSet::new();
    let mut requests = HashSet::new();
    for item in &train.items {
        ids.insert(item.problem.id.as_str());
        requests.insert(request(&item.problem));
    }
    held_out.items.iter().filter(|i| ids.contains(i.problem.id.as_str()) || requests.contains(request(&i.problem))).count()
}
