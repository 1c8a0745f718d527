//! Stations *reward* and outcome of a conversation: were the expected calls made, and is the answer right.
//!
//! In: a problem with an answer, and the transcript. Out: the rung, how many calls were right, and the reward's parts. Pure.
//!
//! Calls may come in any order: one that needs an earlier result cannot be right before it. Further calls are allowed, as after
//! a mistake that a result pointed out, but they lower the reward, so that the expected calls alone earn most. A call that
//! failed is never right. An expression is right when its result is: `4.2 * 3` and `3 * 4.2` are the same question.

use whetstone_domain::{
    Exchange, Expected, ExpectedAnswer, ExpectedCall, Outcome, Prediction, Problem, Reward, RewardPart, Runnable, StopReason, ToolCall,
};

use super::Transcript;
use crate::{matching, schema};

/// Parts of the reward of a conversation with their weights, whatever the run's graded reward; strict ones have `correct` alone.
pub const WEIGHTS: [(&str, f64); 4] = [("format", 0.1), ("calls", 0.35), ("answer", 0.3), ("correct", 0.25)];

/// Two results of arithmetic are the same when they differ by less than this, relative to their size.
const SAME: f64 = 1e-9;

/// What a conversation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Its rung. A right set of calls with a wrong answer is [`Outcome::WrongValues`].
    pub outcome: Outcome,
    /// Expected calls that were made.
    pub calls_right: usize,
    /// Calls that were run.
    pub calls_made: usize,
    /// The last turn is the expected answer.
    pub answer_right: bool,
}

/// Judges a conversation. A problem without an answer is never right.
pub fn judge(problem: &Problem, transcript: &Transcript) -> Verdict {
    let made = &transcript.exchanges;
    let calls_right = right_calls(problem, made);
    let ended = transcript.stop == StopReason::Eos && !transcript.cut_short;
    let words = transcript.parse.strict.as_ref().is_ok_and(Vec::is_empty);
    let answer_right = ended && words && problem.answer.as_ref().is_some_and(|a| answers(a, &transcript.text));
    let outcome = outcome(problem, transcript, calls_right, answer_right);
    Verdict { outcome, calls_right, calls_made: made.len(), answer_right }
}

fn outcome(problem: &Problem, transcript: &Transcript, calls_right: usize, answer_right: bool) -> Outcome {
    let (expected, made) = (&problem.expected.calls, &transcript.exchanges);
    if transcript.stop == StopReason::Length || transcript.cut_short {
        return Outcome::Truncated;
    }
    if transcript.parse.strict.is_err() {
        return if transcript.parse.lenient.is_some() { Outcome::ExtraText } else { Outcome::BadJson };
    }
    match (expected.is_empty(), made.is_empty()) {
        (true, false) => return Outcome::UnwantedCall,
        (true, true) => return if answer_right { Outcome::RefusedOk } else { Outcome::WrongValues },
        (false, true) => return Outcome::NoCall,
        (false, false) => {}
    }
    if calls_right == expected.len() {
        return if answer_right { Outcome::Correct } else { Outcome::WrongValues };
    }
    let calls: Vec<&ToolCall> = made.iter().map(|e| &e.call).collect();
    let count = |name: &str| calls.iter().filter(|c| c.name == name).count();
    let tool = |name: &str| problem.tools.iter().find(|t| t.name == name);
    match () {
        () if calls.iter().any(|c| tool(&c.name).is_none()) => Outcome::UnknownTool,
        () if calls.iter().any(|c| tool(&c.name).is_some_and(|t| schema::check(t, c).is_err())) => Outcome::SchemaInvalid,
        () if calls.iter().any(|c| expected.iter().all(|e| e.name != c.name)) => Outcome::WrongTool,
        () if expected.iter().any(|e| count(&e.name) < expected.iter().filter(|o| o.name == e.name).count()) => Outcome::WrongCount,
        () => Outcome::WrongValues,
    }
}

/// Expected calls that were made, each by a call of its own.
fn right_calls(problem: &Problem, made: &[Exchange]) -> usize {
    let mut open: Vec<&Exchange> = made.iter().filter(|e| e.result.failure.is_none()).collect();
    let mut right = 0;
    for expected in &problem.expected.calls {
        let alone = alone(problem, expected);
        let fits = |e: &&Exchange| {
            e.call.name == expected.name && (same_result(problem, expected, e) || matching::matches(&alone, std::slice::from_ref(&e.call)))
        };
        if let Some(at) = open.iter().position(fits) {
            open.remove(at);
            right += 1;
        }
    }
    right
}

/// A problem of one call, for its matcher.
fn alone(problem: &Problem, expected: &ExpectedCall) -> Problem {
    Problem {
        id: String::new(),
        messages: Vec::new(),
        tools: problem.tools.iter().filter(|t| t.name == expected.name).cloned().collect(),
        expected: Expected { calls: vec![expected.clone()] },
        matcher: problem.matcher,
        domain: String::new(),
        difficulty: 0,
        environment: None,
        answer: None,
    }
}

/// True when a calculator gave one of the numbers among the accepted expressions.
fn same_result(problem: &Problem, expected: &ExpectedCall, exchange: &Exchange) -> bool {
    let runs = problem.environment.as_ref().and_then(|e| e.tools.get(&exchange.call.name));
    let (Some(Runnable::Calculator {}), Ok(result)) = (runs, exchange.result.text.parse::<f64>()) else { return false };
    let accepted = expected.arguments.iter().flat_map(|(_, accepted)| &accepted.values);
    let mut numbers = accepted.filter_map(|v| v.as_f64().or_else(|| v.as_str()?.parse().ok()));
    numbers.any(|n: f64| (n - result).abs() <= SAME * n.abs().max(1.0))
}

/// Is this text the expected answer?
pub fn answers(expected: &ExpectedAnswer, text: &str) -> bool {
    let words = words(text);
    let says = |phrase: &str| {
        let phrase = self::words(phrase);
        !phrase.is_empty() && words.windows(phrase.len()).any(|w| w == phrase)
    };
    if expected.none_of.iter().any(|other| says(other)) {
        return false;
    }
    let last = last_number(text);
    expected.any_of.iter().any(|value| match (value.as_f64(), value.as_str()) {
        (Some(number), _) => last.is_some_and(|n| (n - number).abs() <= expected.tolerance),
        (None, Some(phrase)) => says(phrase),
        (None, None) => false,
    })
}

/// Letters and digits, lower case, word by word.
fn words(text: &str) -> Vec<String> {
    let split = text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty());
    split.map(str::to_lowercase).collect()
}

/// The last number, with commas between thousands as people write them.
fn last_number(text: &str) -> Option<f64> {
    let numeric = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',');
    let end = text.rfind(|c: char| c.is_ascii_digit())? + 1;
    let start = text[..end].rfind(|c: char| !numeric(c)).map_or(0, |at| at + text[at..].chars().next().map_or(1, char::len_utf8));
    let minus = text[..start].ends_with('-') && !text[..start - 1].ends_with(|c: char| c.is_alphanumeric());
    let digits = text[start..end].replace(',', "");
    let number: f64 = digits.parse().or_else(|_| digits.trim_start_matches('.').parse()).ok()?;
    Some(if minus { -number } else { number })
}

/// What a conversation earns: with `strict` nothing but being right counts. Making no call where one is expected earns nothing, and neither does a guess: the answer counts
/// as far as the calls that lead to it were made.
pub fn reward(strict: bool, problem: &Problem, verdict: &Verdict) -> Reward {
    let unit = |yes: bool| f64::from(u8::from(yes));
    let (expected, made) = (problem.expected.calls.len(), verdict.calls_made);
    let most = expected.max(made);
    let calls = if most == 0 { 1.0 } else { verdict.calls_right as f64 / most as f64 };
    let idle = expected > 0 && made == 0;
    let readable = !matches!(verdict.outcome, Outcome::Truncated | Outcome::ExtraText | Outcome::BadJson);
    let value = |part: &str| match part {
        "correct" => unit(verdict.outcome.is_correct()),
        _ if idle => 0.0,
        "format" => unit(readable),
        "calls" => calls,
        _ => unit(verdict.answer_right) * if expected == 0 { calls } else { verdict.calls_right as f64 / expected as f64 },
    };
    let weights: &[(&str, f64)] = if strict { &[("correct", 1.0)] } else { &WEIGHTS };
    let part = |&(name, weight): &(&str, f64)| RewardPart { name: name.to_owned(), value: Some(value(name)), weight };
    let parts: Vec<RewardPart> = weights.iter().map(part).collect();
    let total = parts.iter().filter_map(|p| p.value.map(|v| v * p.weight)).sum();
    Reward { total, parts }
}

/// The counted answer of an evaluation; `tokens` are those that the model wrote.
pub fn predict(problem: &Problem, transcript: &Transcript, tokens: usize) -> Prediction {
    let verdict = judge(problem, transcript);
    let calls: Vec<ToolCall> = transcript.exchanges.iter().map(|e| e.call.clone()).collect();
    let expected = problem.expected.calls.len();
    Prediction {
        id: problem.id.clone(),
        text: transcript.text.clone(),
        outcome: verdict.outcome,
        correct: verdict.outcome.is_correct(),
        expects_no_call: expected == 0,
        name_correct: crate::outcome::same_names(&problem.expected, &calls),
        argument_score: (!calls.is_empty() && expected > 0).then(|| verdict.calls_right as f64 / expected.max(calls.len()) as f64),
        calls: transcript.parse.strict.is_ok().then_some(calls),
        tokens,
    }
}
