//! What a model wrote, against what was expected: calls argument by argument, the text, its tokens, the record.

use whetstone_domain::config::Format;
use whetstone_domain::{Exchange, GroupRecord, Problem as Task, Role, Rollout, ToolCall, ToolFailure, Turn};
use whetstone_tooluse::format;
use whetstone_tooluse::matching::{ArgumentVerdict, Verdict, canonical, explain};

use crate::problem::Problem;
use crate::words;

/// Tokens below this probability are underlined.
const UNLIKELY: f32 = 0.5;

/// The selected answer, as the chosen view has it.
pub(crate) struct Shown {
    pub(crate) diff: Vec<Call>,
    pub(crate) failure: Option<(String, String, String)>,
    pub(crate) text: String,
    /// With special tokens, as the model wrote it.
    pub(crate) whole: String,
    /// The conversation turn by turn; empty where the model speaks once.
    pub(crate) turns: Vec<Said>,
    pub(crate) tokens: Vec<Token>,
    pub(crate) raw: String,
}

/// One turn of a conversation.
pub(crate) struct Said {
    /// The model, or the tools: forced tokens, which are not learned from.
    pub(crate) by_model: bool,
    /// Tokens of the turn: from, to.
    pub(crate) tokens: (usize, usize),
    pub(crate) text: String,
    pub(crate) exchanges: Vec<Exchanged>,
}

/// A call that was run.
pub(crate) struct Exchanged {
    pub(crate) call: String,
    pub(crate) result: String,
    /// Why it failed.
    pub(crate) failure: Option<&'static str>,
}

pub(crate) struct Call {
    pub(crate) title: String,
    pub(crate) arguments: Vec<Argument>,
}

pub(crate) struct Argument {
    pub(crate) name: String,
    pub(crate) expected: String,
    pub(crate) produced: String,
    pub(crate) verdict: &'static str,
    pub(crate) right: bool,
}

pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) title: String,
    pub(crate) class: &'static str,
}

/// The selected answer in every view.
pub(crate) fn shown(g: &GroupRecord, r: &Rollout) -> Result<Shown, Problem> {
    let produced = r.parse.strict.as_ref().ok().or(r.parse.lenient.as_ref());
    let failure = r.parse.strict.as_ref().err().map(|f| {
        let at = (0..=f.position.min(r.text.len())).rev().find(|i| r.text.is_char_boundary(*i)).unwrap_or(0);
        (f.reason.clone(), words::visible(&r.text[..at]), words::visible(&r.text[at..]))
    });
    let token = |i: usize| {
        let logprob = r.logprobs.get(i).copied().unwrap_or(f32::NAN);
        let entropy = r.entropies.get(i).copied().unwrap_or(f32::NAN);
        Token {
            text: r.pieces.get(i).map(|p| words::visible(p)).unwrap_or_default(),
            title: format!("token {i}, id {}: p = {:.3}, logprob {logprob:.3}, entropy {entropy:.3} nat", r.ids[i], logprob.exp()),
            class: match r.mask.get(i) {
                Some(0) => "forced",
                _ if logprob.exp() < UNLIKELY => "unlikely",
                _ => "",
            },
        }
    };
    Ok(Shown {
        diff: produced.map(|calls| diff(&g.problem, calls)).unwrap_or_default(),
        failure,
        text: words::visible(&r.text),
        whole: words::visible(&whole(r)),
        turns: turns(g, r),
        tokens: (0..r.ids.len()).map(token).collect(),
        raw: words::visible(&serde_json::to_string_pretty(r).map_err(|e| Problem::internal(&e))?),
    })
}

/// The conversation as it went: what the model wrote, which calls were run, what they gave.
fn turns(g: &GroupRecord, r: &Rollout) -> Vec<Said> {
    if !g.problem.is_conversation() {
        return Vec::new();
    }
    let exchanged = |e: &Exchange| Exchanged {
        call: words::visible(&format::write(Format::BareJson, std::slice::from_ref(&e.call))),
        result: words::visible(&e.result.text),
        failure: e.result.failure.map(|f| match f {
            ToolFailure::UnknownTool => "no such tool",
            ToolFailure::BadArguments => "arguments it does not take",
            ToolFailure::Forbidden => "not allowed",
            ToolFailure::Timeout => "took too long",
            ToolFailure::TooLarge => "too large",
            ToolFailure::Failed => "failed",
        }),
    };
    let said = |t: &Turn| Said {
        by_model: t.role == Role::Assistant,
        tokens: (t.start, t.end),
        text: words::visible(&t.text),
        exchanges: t.exchanges.iter().map(exchanged).collect(),
    };
    r.turns.iter().map(said).collect()
}

/// All turns with their special tokens; token by token where the turns were not kept.
fn whole(r: &Rollout) -> String {
    match r.turns.is_empty() {
        true => r.pieces.concat(),
        false => r.turns.iter().map(|t| t.text.as_str()).collect(),
    }
}

/// The expected calls as one would write them, and the answer where there is one.
pub(crate) fn expected(problem: &Task) -> String {
    let calls = format::write(Format::BareJson, &canonical(problem));
    match &problem.answer {
        Some(answer) => format!("{calls}, then {}", answer.spoken()),
        None => calls,
    }
}

/// Expected against produced calls, argument by argument.
pub(crate) fn diff(problem: &Task, calls: &[ToolCall]) -> Vec<Call> {
    let name = |list: Option<&str>| words::visible(list.unwrap_or("?"));
    let pairs = explain(problem, calls).calls;
    pairs
        .iter()
        .map(|pair| {
            let expected = pair.expected.and_then(|e| problem.expected.calls.get(e)).map(|c| c.name.as_str());
            let produced = pair.produced.and_then(|p| calls.get(p)).map(|c| c.name.as_str());
            let title = match (expected, produced) {
                (Some(_), Some(p)) => format!("{}: the right tool", name(Some(p))),
                (Some(e), None) => format!("{}: expected, not called", name(Some(e))),
                (None, p) => format!("{}: called, not expected", name(p)),
            };
            Call { title, arguments: pair.arguments.iter().map(argument).collect() }
        })
        .collect()
}

fn argument(a: &ArgumentVerdict) -> Argument {
    let json = |v: &serde_json::Value| words::visible(&v.to_string());
    let expected = a.expected.as_ref().map(|e| {
        let values: Vec<String> = e.values.iter().map(json).collect();
        format!("{}{}", values.join(" or "), if e.optional { ", may be left out" } else { "" })
    });
    Argument {
        name: words::visible(&a.name),
        expected: expected.unwrap_or_else(|| "nothing".into()),
        produced: a.produced.as_ref().map_or_else(|| "left out".into(), json),
        verdict: match a.verdict {
            Verdict::Right => "right",
            Verdict::LeftOut => "rightly left out",
            Verdict::Missing => "missing",
            Verdict::Unexpected => "not expected",
            Verdict::WrongType => "wrong type",
            Verdict::WrongValue => "wrong value",
        },
        right: matches!(a.verdict, Verdict::Right | Verdict::LeftOut),
    }
}
