//! The audit of a reward for conversations: what ways of leading one earn, from silence to gold. Pure: no tool runs; what a right call
//! would give does not matter to the judge, only that it did not fail.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Map;
use whetstone_domain::config::Format;
use whetstone_domain::{Exchange, ExpectedAnswer, Problem, StopReason, ToolCall, ToolFailure, ToolResult};

use super::policies::changed_values;
use super::{SAME, Violation};
use crate::conversation::Transcript;
use crate::conversation::judge::{self, Verdict};
use crate::{format, matching};

/// A way to lead a conversation, from garbage to gold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Says nothing.
    Silent,
    /// Is cut off in its first turn.
    CutOff,
    /// The first tool with no arguments, which fails, then a wrong answer.
    FailingCall,
    /// The right answer without a call: a guess.
    Guess,
    /// The right tools with wrong values, then a wrong answer.
    WrongCalls,
    /// The right calls, then a wrong answer.
    WrongAnswer,
    /// A call that fails, then all is right.
    Detour,
    /// The right calls twice, then the right answer.
    CallsTwice,
    /// The right calls, then the right answer.
    Gold,
}

impl Way {
    /// In words.
    pub fn description(self) -> &'static str {
        match self {
            Self::Silent => "says nothing",
            Self::CutOff => "is cut off in its first turn",
            Self::FailingCall => "a failing call, a wrong answer",
            Self::Guess => "the right answer, no call",
            Self::WrongCalls => "right tools, wrong values, wrong answer",
            Self::WrongAnswer => "right calls, wrong answer",
            Self::Detour => "a failing call, then gold",
            Self::CallsTwice => "right calls twice, right answer",
            Self::Gold => "right calls, right answer",
        }
    }
}

/// What holds of a graded reward without violations, beside [`super::ONLY_GOLD`].
pub const STRAIGHT_WAY: &str = "nothing but gold earns as much as gold, not even a detour that ends right";
/// Rungs that every reward must climb without a step down, and graded rewards without a step on the spot.
const LADDER: [Way; 4] = [Way::Silent, Way::WrongCalls, Way::WrongAnswer, Way::Gold];

/// What one way earns.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WayRow {
    /// The way.
    pub way: Way,
    /// In words.
    pub description: &'static str,
    /// Problems to which it applies.
    pub problems: usize,
    /// Mean reward over them.
    pub reward: f64,
    /// Share of them on which it is right.
    pub accuracy: f64,
}

/// What the audit found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConversationReport {
    /// One row a way, garbage first, gold last.
    pub ways: Vec<WayRow>,
    /// Rules broken; empty = passed.
    pub violations: Vec<Violation>,
    /// Problems whose own calls and answer are not right by their own judge: a fault of the task set.
    pub gold_not_right: Vec<String>,
}

/// Leads every conversation in every way. `score` is given a problem, a transcript and its verdict; `graded` asks for a strict climb.
pub fn audit<E>(
    format: Format,
    problems: &[Problem],
    graded: bool,
    mut score: impl FnMut(&Problem, &Transcript, &Verdict) -> Result<f64, E>,
) -> Result<ConversationReport, E> {
    let mut sums: BTreeMap<Way, (usize, f64, usize)> = BTreeMap::new();
    let mut found: BTreeMap<(&'static str, Way, Way), (String, usize)> = BTreeMap::new();
    let mut gold_not_right = Vec::new();
    for problem in problems {
        let mut earned: BTreeMap<Way, (f64, bool)> = BTreeMap::new();
        for (way, transcript) in transcripts(format, problem) {
            let verdict = judge::judge(problem, &transcript);
            let reward = score(problem, &transcript, &verdict)?;
            let right = verdict.outcome.is_correct();
            let sum = sums.entry(way).or_default();
            *sum = (sum.0 + 1, sum.1 + reward, sum.2 + usize::from(right));
            earned.insert(way, (reward, right));
        }
        let Some(&(gold, true)) = earned.get(&Way::Gold) else {
            gold_not_right.push(problem.id.clone());
            continue;
        };
        let mut note = |rule, low: Way, high: Way, a: f64, b: f64| {
            let first =
                format!("\"{}\" and \"{}\" ({a:.4} and {b:.4} on {}, the first)", low.description(), high.description(), problem.id);
            found.entry((rule, low, high)).or_insert((first, 0)).1 += 1;
        };
        for (&way, &(reward, _)) in &earned {
            if !reward.is_finite() {
                note("not_finite", way, Way::Gold, reward, gold);
            }
        }
        for (&way, &(reward, right)) in earned.iter().filter(|(w, _)| **w != Way::Gold) {
            // a detour is right in the end; a graded reward still wants the straight way
            if reward > gold + SAME || ((!right || graded) && reward > gold - SAME) {
                note("gold_is_not_the_maximum", way, Way::Gold, reward, gold);
            }
        }
        let rungs: Vec<(Way, f64)> = LADDER.iter().filter_map(|w| Some((*w, earned.get(w)?.0))).collect();
        for pair in rungs.windows(2) {
            let ((low, a), (high, b)) = (pair[0], pair[1]);
            if a > b + SAME {
                note("decreasing", low, high, a, b);
            } else if graded && a > b - SAME {
                note("not_strictly_increasing", low, high, a, b);
            }
        }
        if let (Some(&(guess, false)), Some(&(tried, _))) = (earned.get(&Way::Guess), earned.get(&Way::WrongAnswer))
            && guess > tried + SAME
        {
            note("guessing_pays", Way::Guess, Way::WrongAnswer, guess, tried);
        }
    }
    let row = |(&way, &(problems, reward, right)): (&Way, &(usize, f64, usize))| WayRow {
        way,
        description: way.description(),
        problems,
        reward: reward / problems as f64,
        accuracy: right as f64 / problems as f64,
    };
    let ways = sums.iter().map(row).collect();
    let violations = found.into_iter().map(|((rule, ..), (detail, problems))| Violation { rule, detail, problems, step: 0 }).collect();
    Ok(ConversationReport { ways, violations, gold_not_right })
}

/// The conversations to which the ways that apply would come.
fn transcripts(format: Format, problem: &Problem) -> Vec<(Way, Transcript)> {
    let calls = matching::canonical(problem);
    let answer = problem.answer.as_ref().map(ExpectedAnswer::spoken).unwrap_or_default();
    let wrong = "I do not know.";
    let ran = |calls: &[ToolCall]| -> Vec<Exchange> {
        calls.iter().map(|call| Exchange { call: call.clone(), result: ToolResult::ok("") }).collect()
    };
    let failed = |name: &str| Exchange {
        call: ToolCall { name: name.to_owned(), arguments: Map::new() },
        result: ToolResult::failed(ToolFailure::BadArguments, ""),
    };
    let ended = |exchanges: Vec<Exchange>, text: &str, stop: StopReason| Transcript {
        exchanges,
        text: text.to_owned(),
        parse: format::parse(format, text),
        stop,
        cut_short: false,
    };
    let eos = StopReason::Eos;
    let mut out = vec![
        (Way::Gold, ended(ran(&calls), &answer, eos)),
        (Way::Silent, ended(Vec::new(), "", eos)),
        (Way::CutOff, ended(Vec::new(), &answer, StopReason::Length)),
    ];
    if let Some(first) = problem.tools.first() {
        out.push((Way::FailingCall, ended(vec![failed(&first.name)], wrong, eos)));
    }
    if !calls.is_empty() {
        out.push((Way::Guess, ended(Vec::new(), &answer, eos)));
        out.push((Way::WrongAnswer, ended(ran(&calls), wrong, eos)));
        out.push((Way::Detour, ended([vec![failed(&calls[0].name)], ran(&calls)].concat(), &answer, eos)));
        out.push((Way::CallsTwice, ended([ran(&calls), ran(&calls)].concat(), &answer, eos)));
        // a call without arguments has no value that could be wrong
        if calls.iter().all(|c| !c.arguments.is_empty()) {
            out.push((Way::WrongCalls, ended(ran(&changed_values(&calls)), wrong, eos)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::starter::tools;

    fn of(reward: impl Fn(&Problem, &Verdict) -> f64, graded: bool) -> ConversationReport {
        let problems = tools::load(true, 0, 40);
        audit(Format::BareJson, &problems, graded, |p, _, v| Ok::<_, std::convert::Infallible>(reward(p, v))).unwrap_or_else(|e| match e {})
    }

    #[test]
    fn the_rewards_of_conversations_climb_and_gold_earns_most() {
        for strict in [false, true] {
            let report = of(|p, v| judge::reward(strict, p, v).total, !strict);
            assert!(report.violations.is_empty() && report.gold_not_right.is_empty(), "{report:?}");
            let last = report.ways.last().map(|r| (r.way, r.reward, r.accuracy));
            assert_eq!(last, Some((Way::Gold, 1.0, 1.0)));
        }
    }

    #[test]
    fn what_a_passed_audit_says_of_gold_is_true() {
        let problems = tools::load(true, 0, 40);
        for strict in [false, true] {
            let report = of(|p, v| judge::reward(strict, p, v).total, !strict);
            assert!(report.violations.is_empty(), "{report:?}");
            let (mut wrong, mut right) = (0, 0);
            for problem in problems.iter().filter(|p| !p.expected.is_no_call()) {
                let ways: BTreeMap<Way, Transcript> = transcripts(Format::BareJson, problem).into_iter().collect();
                for transcript in ways.iter().filter(|(way, _)| **way != Way::Gold).map(|(_, transcript)| transcript) {
                    let verdict = judge::judge(problem, transcript);
                    let ties = judge::reward(strict, problem, &verdict).total > 1.0 - SAME;
                    wrong += usize::from(ties && !verdict.outcome.is_correct());
                    right += usize::from(ties && verdict.outcome.is_correct());
                }
            }
            // ONLY_GOLD holds of both, STRAIGHT_WAY of the graded one alone
            assert_eq!((wrong, right > 0), (0, strict), "strict: {strict}");
        }
    }

    #[test]
    fn a_reward_that_pays_for_guesses_is_named() {
        let report = of(|_, v| f64::from(u8::from(v.answer_right)), true);
        let rules: Vec<&str> = report.violations.iter().map(|v| v.rule).collect();
        assert!(rules.contains(&"guessing_pays") && rules.contains(&"gold_is_not_the_maximum"), "{rules:?}");
        let backwards = of(|_, v| -(v.calls_right as f64), false);
        assert!(backwards.violations.iter().any(|v| v.rule == "decreasing"), "{backwards:?}");
    }
}
