//! Why a part has the value it has, in one sentence for people. In: the part, what it looked at, its value. Decides nothing.

use serde::Serialize;
use whetstone_domain::{Outcome, config::RewardName};

use super::{NO_CALL, Scored, Shaping, Source, shaping, simrl};
use crate::matching::{self, ArgumentVerdict, Verdict};

/// One part of a reward with its reason.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExplainedPart {
    /// Name of the part.
    pub name: String,
    /// Raw value; null where the part does not apply to the problem.
    pub value: Option<f64>,
    /// Its weight.
    pub weight: f64,
    /// The reason, one sentence.
    pub why: String,
}

/// A reward with its reasons.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExplainedReward {
    /// Sum of weight times value over the parts that apply.
    pub total: f64,
    /// The parts.
    pub parts: Vec<ExplainedPart>,
}

pub(super) fn why(source: &Source, scored: &Scored<'_>, value: Option<f64>) -> String {
    if value.is_none() {
        return match scored.problem.expected.is_no_call() {
            true => "does not apply: no call is expected".into(),
            false => "does not apply: a call is expected".into(),
        };
    }
    match source {
        Source::Shaping(kind) => of_shaping(*kind, scored),
        Source::Abstention => abstention(scored),
        Source::Total(name) => format!("the whole reward {name}: {}", of_reward(name, "", scored)),
        Source::Part(name, part) => of_reward(name, part, scored),
    }
}

fn of_shaping(kind: Shaping, scored: &Scored<'_>) -> String {
    if scored.outcome.is_correct() {
        return "a right answer costs nothing".into();
    }
    match kind {
        Shaping::Truncation if scored.outcome == Outcome::Truncated => "the text was cut off at its length limit".into(),
        Shaping::Truncation => "the text ended by itself".into(),
        Shaping::Repetition => match shaping::repetition(scored.text) {
            r if r >= 1.0 => "the text repeats a stretch of characters five times in a row".into(),
            r if r > 0.0 => "less than half of the text's triples of words are distinct".into(),
            _ => "the text does not go round in circles".into(),
        },
        Shaping::LengthCap(cap) => format!("{} characters, free up to {cap}", scored.text.chars().count()),
    }
}

fn abstention(scored: &Scored<'_>) -> String {
    match (&scored.parse.strict, scored.outcome) {
        (_, Outcome::Truncated) => "no call is expected, and the text was cut off".into(),
        (Ok(calls), _) if calls.is_empty() => "no call is expected, and none was made".into(),
        (Ok(calls), _) => format!("no call is expected, and {} made", times(calls.len(), "was", "were")),
        (Err(failure), _) => format!("no call is expected, and the text is neither a refusal nor readable: {}", at(failure)),
    }
}

fn at(failure: &whetstone_domain::ParseFailure) -> String {
    format!("{}, byte {}", failure.reason, failure.position)
}

fn times(n: usize, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}

fn of_reward(name: &RewardName, part: &str, scored: &Scored<'_>) -> String {
    if scored.problem.expected.is_no_call() {
        return abstention(scored);
    }
    if scored.outcome == Outcome::Truncated {
        return "the text was cut off at its length limit".into();
    }
    if scored.refuses() {
        return "a call is expected, and none was made".into();
    }
    match part {
        "marker" | "only_json" if scored.parse.strict.is_ok() => "the whole text is readable as calls".into(),
        "marker" => "whether the text begins as calls do".into(),
        "only_json" => "share of the text that belongs to the calls".into(),
        "parse_progress" | "format" | "json" => match &scored.parse.strict {
            Ok(_) => "the whole text is readable as calls".into(),
            Err(failure) => format!("the text is not readable as calls: {}", at(failure)),
        },
        _ if scored.outcome.is_correct() => "right by the task set's matcher".into(),
        NO_CALL => abstention(scored),
        _ => of_calls(name, part, scored),
    }
}

fn of_calls(name: &RewardName, part: &str, scored: &Scored<'_>) -> String {
    // dense reads what it can; the others want the whole text to be the calls
    let calls = match (&scored.parse.strict, &scored.parse.lenient) {
        (Ok(calls), _) => calls,
        (Err(_), Some(calls)) if *name == RewardName::Dense => calls,
        (Err(failure), _) => return format!("the text is not readable as calls: {}", at(failure)),
    };
    if let (RewardName::Simrl, Some(unknown)) = (name, simrl::unknown(scored, calls)) {
        return unknown;
    }
    let expected = &scored.problem.expected.calls;
    let explanation = matching::explain(scored.problem, calls);
    let met = explanation.calls.iter().filter(|c| c.expected.is_some() && c.produced.is_some()).count();
    let mut said = vec![format!("{met} of {} made with the right tool", times(expected.len(), "expected call", "expected calls"))];
    if calls.len() > met {
        said.push(times(calls.len() - met, "call that nobody expects", "calls that nobody expects"));
    }
    if part != "names" {
        let wrong: Vec<String> = explanation.calls.iter().flat_map(|c| &c.arguments).filter_map(of_argument).collect();
        match wrong.is_empty() {
            true if met > 0 => said.push("all their arguments right".into()),
            true => {}
            false => said.extend(wrong),
        }
    }
    said.join("; ")
}

/// What is wrong with an argument; none when nothing is.
pub(crate) fn of_argument(a: &ArgumentVerdict) -> Option<String> {
    let written = a.produced.as_ref().map(ToString::to_string).unwrap_or_default();
    let wanted = a.expected.as_ref().and_then(|e| e.values.first()).map(ToString::to_string).unwrap_or_default();
    match a.verdict {
        Verdict::Right | Verdict::LeftOut => None,
        Verdict::Missing => Some(format!("{} is missing, {wanted} is right", a.name)),
        Verdict::Unexpected => Some(format!("{} is not expected", a.name)),
        Verdict::WrongType => Some(format!("{} has the wrong type: {written}, {wanted} is right", a.name)),
        Verdict::WrongValue => Some(format!("{} is {written}, {wanted} is right", a.name)),
    }
}
