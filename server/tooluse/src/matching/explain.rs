//! Which argument of which call is right, missing, surplus, of the wrong type or of the wrong value.
//!
//! In: a problem and calls. Out: a verdict per argument, from which the dashboard's diff, the argument score of an evaluation and the
//! graded rewards are made. It pairs calls by name so as to find most arguments right; the yes or no is `matches`, not this.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use whetstone_domain::{Accepted, ExpectedCall, Matcher, Problem, ToolCall};

use super::bfcl::{ValueCheck, check_value};
use super::{accepted, exact_value, is_required, property, right_partners, tool_of};

/// The judgement on one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Accepted.
    Right,
    /// Left out, as it may be.
    LeftOut,
    /// Left out, though it must be given.
    Missing,
    /// Given, though nothing is accepted for it.
    Unexpected,
    /// Right but for its type, or of a type that is never accepted: `"5"` for `5`.
    WrongType,
    /// Another value than those accepted.
    WrongValue,
}

/// One argument, as it should be and as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArgumentVerdict {
    /// Name of the argument.
    pub name: String,
    /// What is accepted; none where nothing is.
    pub expected: Option<Accepted>,
    /// What was written; none where it was left out.
    pub produced: Option<Value>,
    /// The judgement.
    pub verdict: Verdict,
}

/// One expected call with the call that was made for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallExplanation {
    /// Index among the expected calls; none for a surplus call.
    pub expected: Option<usize>,
    /// Index among the calls that were made; none where no call of that name is left.
    pub produced: Option<usize>,
    /// Verdicts in the order of the expectation, then what nobody expected. Empty unless both sides are there.
    pub arguments: Vec<ArgumentVerdict>,
}

impl CallExplanation {
    /// Arguments that are right.
    pub fn right(&self) -> usize {
        self.arguments.iter().filter(|a| a.verdict == Verdict::Right).count()
    }

    /// Arguments that are expected or were written: all but those rightly left out.
    pub fn total(&self) -> usize {
        self.arguments.iter().filter(|a| a.verdict != Verdict::LeftOut).count()
    }
}

/// Every call, expected first, surplus ones after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The pairs.
    pub calls: Vec<CallExplanation>,
}

impl Explanation {
    /// Share of right arguments among those expected or written, over all calls. A call whose partner is missing counts
    /// with all its arguments. Where nothing has any argument: 1 if every call has its partner, else 0.
    pub fn argument_score(&self, problem: &Problem, calls: &[ToolCall]) -> f64 {
        let (mut right, mut total) = (0, 0);
        for pair in &self.calls {
            right += pair.right();
            total += match (pair.expected, pair.produced) {
                (Some(_), Some(_)) => pair.total(),
                (Some(e), None) => problem.expected.calls[e].arguments.iter().filter(|(_, a)| !a.optional).count(),
                (None, Some(p)) => calls[p].arguments.len(),
                (None, None) => 0,
            };
        }
        match total {
            0 => f64::from(u8::from(self.calls.iter().all(|c| c.expected.is_some() && c.produced.is_some()))),
            _ => right as f64 / total as f64,
        }
    }
}

/// Pairs the calls and judges every argument. Right calls are paired as the matcher pairs them, wrong ones so that as much as
/// possible is right.
pub fn explain(problem: &Problem, calls: &[ToolCall]) -> Explanation {
    if let Some(partners) = right_partners(problem, calls).filter(|p| p.len() == problem.expected.calls.len()) {
        let pair = |(e, &p): (usize, &usize)| {
            let arguments = judge(problem, &problem.expected.calls[e], &calls[p]);
            CallExplanation { expected: Some(e), produced: Some(p), arguments }
        };
        return Explanation { calls: partners.iter().enumerate().map(pair).collect() };
    }
    let mut open: Vec<usize> = (0..calls.len()).collect();
    let mut pairs = Vec::with_capacity(problem.expected.calls.len());
    for (e, expected) in problem.expected.calls.iter().enumerate() {
        let mut best: Option<(usize, CallExplanation)> = None;
        for (at, &p) in open.iter().enumerate().filter(|&(_, &p)| calls[p].name == expected.name) {
            let arguments = judge(problem, expected, &calls[p]);
            let pair = CallExplanation { expected: Some(e), produced: Some(p), arguments };
            // fewest wrong, then most right; the earlier call wins a tie
            let rank = |c: &CallExplanation| (c.total() - c.right(), usize::MAX - c.right());
            if best.as_ref().is_none_or(|(_, b)| rank(&pair) < rank(b)) {
                best = Some((at, pair));
            }
        }
        pairs.push(match best {
            Some((at, pair)) => {
                open.remove(at);
                pair
            }
            None => CallExplanation { expected: Some(e), produced: None, arguments: Vec::new() },
        });
    }
    let surplus = open.into_iter().map(|p| CallExplanation { expected: None, produced: Some(p), arguments: Vec::new() });
    pairs.extend(surplus);
    Explanation { calls: pairs }
}

/// Verdicts on the arguments of one call, in the order of the expectation, then what nobody expected.
pub(crate) fn judge(problem: &Problem, expected: &ExpectedCall, call: &ToolCall) -> Vec<ArgumentVerdict> {
    let mut verdicts = Vec::with_capacity(expected.arguments.len());
    for (name, accept) in &expected.arguments {
        let produced = call.arguments.get(name);
        let verdict = match produced {
            Some(value) => judge_value(problem, expected, name, accept, value),
            None if accept.optional && !required(problem, expected, name) => Verdict::LeftOut,
            None => Verdict::Missing,
        };
        let (expected, produced) = (Some(accept.clone()), produced.cloned());
        verdicts.push(ArgumentVerdict { name: name.clone(), expected, produced, verdict });
    }
    for (name, value) in call.arguments.iter().filter(|(k, _)| accepted(expected, k).is_none()) {
        let (produced, verdict) = (Some(value.clone()), Verdict::Unexpected);
        verdicts.push(ArgumentVerdict { name: name.clone(), expected: None, produced, verdict });
    }
    verdicts
}

/// BFCL's matcher wants what the schema requires, even where its answers say that it may be left out.
fn required(problem: &Problem, expected: &ExpectedCall, name: &str) -> bool {
    problem.matcher == Matcher::Bfcl && tool_of(problem, &expected.name).is_some_and(|tool| is_required(tool, name))
}

fn judge_value(problem: &Problem, expected: &ExpectedCall, name: &str, accept: &Accepted, value: &Value) -> Verdict {
    let check = match problem.matcher {
        Matcher::Exact if exact_value(accept, value) => Ok(ValueCheck::Right),
        Matcher::Exact => Ok(ValueCheck::WrongValue),
        Matcher::Bfcl | Matcher::BfclIrrelevance => match tool_of(problem, &expected.name).and_then(|tool| property(tool, name)) {
            Some(property) => check_value(property, &accept.values, value),
            None => return Verdict::Unexpected,
        },
    };
    match check {
        Ok(ValueCheck::Right) => Verdict::Right,
        Ok(ValueCheck::WrongType) => Verdict::WrongType,
        Ok(ValueCheck::WrongValue) if accept.values.iter().any(|v| same_text(v, value)) => Verdict::WrongType,
        Ok(ValueCheck::WrongValue) | Err(_) => Verdict::WrongValue,
    }
}

/// `"5"` and `5`, `"true"` and `true`: right but for the type.
pub(crate) fn same_text(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::String(text), other @ (Value::Number(_) | Value::Bool(_)))
        | (other @ (Value::Number(_) | Value::Bool(_)), Value::String(text)) => {
            let written = other.to_string();
            text.trim().to_lowercase() == written
        }
        _ => false,
    }
}
