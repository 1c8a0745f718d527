//! The audit of a task set and a reward: what cheap tricks earn, whether the reward climbs, and what the data hides.
//!
//! In: problems, and a function that scores a text. Out: a report with named violations. Pure: it loads nothing and prints nothing.

pub mod conversations;
pub mod data;
pub mod policies;

pub use data::DataReport;
pub use policies::Policy;

use std::collections::BTreeMap;

use serde::Serialize;
use whetstone_domain::{Outcome, Problem, StopReason, config::Format};

use crate::{format, outcome};

/// Two earnings that differ by less are the same.
const SAME: f64 = 1e-9;
/// What holds of a reward without violations. Of what is right nothing is said: another spelling, or a detour, may earn as much.
pub const ONLY_GOLD: &str = "nothing that is wrong earns as much as gold";
/// Rungs that every reward must climb without a step down, and graded rewards without a step on the spot.
const LADDER: [Policy; 6] =
    [Policy::Garbage, Policy::WrongTool, Policy::RightToolEmpty, Policy::RightKeysJunk, Policy::OneWrongValue, Policy::Gold];

/// What one policy earns.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PolicyRow {
    /// The policy.
    pub policy: Policy,
    /// What it writes, in words.
    pub description: &'static str,
    /// Problems to which it applies.
    pub problems: usize,
    /// Mean reward over them.
    pub reward: f64,
    /// Share of them on which it is right.
    pub accuracy: f64,
    /// Mean reward over those of them that expect a call; null where there are none.
    pub reward_where_a_call_is_expected: Option<f64>,
}

/// A rule that the reward breaks on this task set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Name of the rule: `not_finite`, `gold_is_not_the_maximum`, `decreasing`, `not_strictly_increasing`, `silence_pays`,
    /// `guessing_pays`.
    pub rule: &'static str,
    /// What was found where.
    pub detail: String,
    /// Problems on which it was found.
    pub problems: usize,
    /// 0-based GRPO step at which the reward does this.
    pub step: usize,
}

/// What the audit of a reward found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RewardReport {
    /// Name of the reward.
    pub reward: String,
    /// Steps at which the rules were checked: more than the first where a weight moves.
    pub steps: Vec<usize>,
    /// One row a policy, garbage first, gold last, at the first step.
    pub policies: Vec<PolicyRow>,
    /// Problems on which the whole ladder could be tested.
    pub ladder_problems: usize,
    /// Rules broken; empty = passed.
    pub violations: Vec<Violation>,
    /// Problems whose own expected calls are not right by their own matcher, left out of the rules: a fault of the task set.
    pub gold_not_right: Vec<String>,
}

#[derive(Default)]
struct Sums {
    problems: usize,
    reward: f64,
    right: usize,
    of_calls: (usize, f64),
}

/// What one policy wrote for one problem.
struct Answer {
    text: String,
    reward: f64,
    right: bool,
}

type Earned = BTreeMap<Policy, Answer>;

/// Lets every policy answer every problem, at each of `steps` ([`crate::Rewarder::steps`]). `score` is given a step, a problem, a text
/// and its outcome; `graded` asks for a strict climb.
pub fn audit<E>(
    reward: &str,
    format: Format,
    problems: &[Problem],
    graded: bool,
    steps: &[usize],
    mut score: impl FnMut(usize, &Problem, &str, Outcome) -> Result<f64, E>,
) -> Result<RewardReport, E> {
    let (first, later) = steps.split_first().map_or((0, steps), |(first, later)| (*first, later));
    let mut report = at_step(reward, format, problems, graded, first, |p, text, outcome| score(first, p, text, outcome))?;
    for &step in later {
        let then = at_step(reward, format, problems, graded, step, |p, text, outcome| score(step, p, text, outcome))?;
        report.steps.push(step);
        report.violations.extend(then.violations);
    }
    Ok(report)
}

fn at_step<E>(
    reward: &str,
    format: Format,
    problems: &[Problem],
    graded: bool,
    step: usize,
    mut score: impl FnMut(&Problem, &str, Outcome) -> Result<f64, E>,
) -> Result<RewardReport, E> {
    let mut sums: BTreeMap<Policy, Sums> = BTreeMap::new();
    let mut rules = Rules { graded, found: BTreeMap::new(), ladder_problems: 0 };
    let mut gold_not_right = Vec::new();
    for problem in problems {
        let mut earned = Earned::new();
        for (policy, text) in policies::texts(format, problem) {
            let parse = format::parse(format, &text);
            let outcome = outcome::judge(problem, &text, &parse, StopReason::Eos);
            let reward = score(problem, &text, outcome)?;
            let sum = sums.entry(policy).or_default();
            sum.problems += 1;
            sum.reward += reward;
            sum.right += usize::from(outcome.is_correct());
            if !problem.expected.is_no_call() {
                sum.of_calls = (sum.of_calls.0 + 1, sum.of_calls.1 + reward);
            }
            earned.insert(policy, Answer { text, reward, right: outcome.is_correct() });
        }
        if earned.get(&Policy::Gold).is_some_and(|gold| gold.right) {
            rules.check(problem, &earned);
        } else {
            gold_not_right.push(problem.id.clone());
        }
    }
    let mean = |n: usize, sum: f64| sum / n.max(1) as f64;
    let row = |(policy, s): (&Policy, &Sums)| PolicyRow {
        policy: *policy,
        description: policy.description(),
        problems: s.problems,
        reward: mean(s.problems, s.reward),
        accuracy: mean(s.problems, s.right as f64),
        reward_where_a_call_is_expected: (s.of_calls.0 > 0).then(|| mean(s.of_calls.0, s.of_calls.1)),
    };
    let policies: Vec<PolicyRow> = sums.iter().map(row).collect();
    let of_calls = |p: Policy| policies.iter().find(|r| r.policy == p).and_then(|r| r.reward_where_a_call_is_expected);
    if let (Some(silent), Some(tries)) = (of_calls(Policy::Abstain), of_calls(Policy::RightToolEmpty))
        && silent > tries + SAME
    {
        let detail = format!("never calling earns {silent:.3} where a call is expected, the right tool with {{}} only {tries:.3}");
        rules.add("silence_pays", detail, sums.get(&Policy::Abstain).map_or(0, |s| s.of_calls.0));
    }
    let ladder_problems = rules.ladder_problems;
    let violations = rules.found.into_iter().map(|((rule, _), (detail, problems))| Violation { rule, detail, problems, step }).collect();
    Ok(RewardReport { reward: reward.to_owned(), steps: vec![step], policies, ladder_problems, violations, gold_not_right })
}

struct Rules {
    graded: bool,
    /// By rule and pair of policies: the first place, and how many.
    found: BTreeMap<(&'static str, String), (String, usize)>,
    ladder_problems: usize,
}

impl Rules {
    fn add(&mut self, rule: &'static str, detail: String, problems: usize) {
        self.found.entry((rule, detail.clone())).or_insert((detail, 0)).1 += problems;
    }

    fn note(&mut self, rule: &'static str, pair: String, id: &str, a: f64, b: f64) {
        let first = format!("{pair} ({a:.4} and {b:.4} on {id}, the first)");
        self.found.entry((rule, pair)).or_insert((first, 0)).1 += 1;
    }

    fn check(&mut self, problem: &Problem, earned: &Earned) {
        let Some(gold) = earned.get(&Policy::Gold) else { return };
        for (policy, answer) in earned {
            if !answer.reward.is_finite() {
                self.note("not_finite", format!("{} earns no number", policy.name()), &problem.id, answer.reward, gold.reward);
            } else if !answer.right && answer.reward > gold.reward - SAME {
                let pair = format!("{} earns no less than {}", policy.name(), Policy::Gold.name());
                self.note("gold_is_not_the_maximum", pair, &problem.id, answer.reward, gold.reward);
            }
        }
        // the ladder stands only where every rung but the last is wrong
        let rungs: Vec<(Policy, &Answer)> = LADDER.iter().filter_map(|p| earned.get(p).map(|answer| (*p, answer))).collect();
        if rungs.len() < LADDER.len() || rungs[..rungs.len() - 1].iter().any(|(_, answer)| answer.right) {
            return;
        }
        self.ladder_problems += 1;
        for pair in rungs.windows(2) {
            let ((low, Answer { text: below, reward: a, .. }), (high, Answer { text: above, reward: b, .. })) = (pair[0], pair[1]);
            let (a, b) = (*a, *b);
            if below == above {
                // of a single argument, junk is the one wrong value
            } else if a > b + SAME {
                self.note("decreasing", format!("{} earns more than {}", low.name(), high.name()), &problem.id, a, b);
            } else if self.graded && a > b - SAME {
                self.note("not_strictly_increasing", format!("{} earns as much as {}", low.name(), high.name()), &problem.id, a, b);
            }
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
