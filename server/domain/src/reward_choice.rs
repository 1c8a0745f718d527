//! Which reward a run learns from: a built-in one, a composition of parts, or a program of the user's.
//!
//! In: what a user wrote. Out: names and weights, checked for form. What the parts mean is `tooluse`'s business.

use serde::{Deserialize, Serialize};

/// Which reward a run learns from; written as its name, `file:PATH` or `command:PROGRAM ARGUMENTS`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RewardName {
    /// Additive, graded from the first token on: for models that rarely succeed.
    Dense,
    /// The paper's (arXiv 2509.04518): gate on JSON, then names and arguments.
    Paper,
    /// 1 when right by the task set's matcher, else 0 (Tool-N1, arXiv 2505.00024).
    Strict,
    /// Likeness of calls in [-1, 1] (STAR's Sim-RL): for models of 0.5 to 1 billion parameters.
    Simrl,
    /// Format 0 or 1, correctness in [-3, 3] (ToolRL, arXiv 2504.13958).
    Toolrl,
    /// 1 when right by BFCL's AST rules, whatever the task set's matcher, else 0.
    BfclAst,
    /// A composition written in the config itself, under `composition`.
    Composition,
    /// A composition read from this TOML file, and kept in the config under `composition`.
    File(String),
    /// A program that answers JSON lines.
    Command(String),
}

impl RewardName {
    /// The rewards that need nothing but their name.
    pub const BUILT_IN: [Self; 6] = [Self::Dense, Self::Paper, Self::Strict, Self::Simrl, Self::Toolrl, Self::BfclAst];

    /// True for the two that are put together from parts.
    pub fn is_composed(&self) -> bool {
        matches!(self, Self::Composition | Self::File(_))
    }
}

impl std::fmt::Display for RewardName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Dense => "dense",
            Self::Paper => "paper",
            Self::Strict => "strict",
            Self::Simrl => "simrl",
            Self::Toolrl => "toolrl",
            Self::BfclAst => "bfcl_ast",
            Self::Composition => "composition",
            Self::File(path) => return write!(f, "file:{path}"),
            Self::Command(line) => return write!(f, "command:{line}"),
        })
    }
}

impl std::str::FromStr for RewardName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(built_in) = Self::BUILT_IN.into_iter().find(|r| r.to_string() == text) {
            return Ok(built_in);
        }
        match text.split_once(':').map(|(kind, rest)| (kind, rest.trim())) {
            None if text == "composition" => Ok(Self::Composition),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.to_owned())),
            Some(("command", line)) if !line.is_empty() => Ok(Self::Command(line.to_owned())),
            _ => {
                let names: Vec<String> = Self::BUILT_IN.iter().map(ToString::to_string).collect();
                Err(format!("{text:?} is no reward; known are {}, composition, file:PATH.toml, command:PROGRAM", names.join(", ")))
            }
        }
    }
}

impl TryFrom<String> for RewardName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<RewardName> for String {
    fn from(name: RewardName) -> Self {
        name.to_string()
    }
}

/// How finely `toolrl` grades calls that are not all right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolrlGrading {
    /// Names, argument names and values count (the paper's formula, and the default).
    Refined,
    /// Names count, and calls that are right as a whole.
    Intermediate,
    /// All right, or nothing.
    Coarse,
}

/// Weights are at most so large, either way: sums of any number of parts stay finite.
pub const LARGEST_WEIGHT: f64 = 1e6;

/// A weight that stays, or moves along a straight line over the steps of a run; never abruptly (ToolRL found that to hurt).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Weight {
    /// The same at every step.
    Constant(f64),
    /// Moves.
    Linear(Ramp),
}

/// A straight line between two steps, level before and after.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ramp {
    /// Weight up to step `start`.
    pub from: f64,
    /// Weight from step `end` on.
    pub to: f64,
    /// 0-based GRPO step.
    pub start: usize,
    /// 0-based GRPO step, > `start`.
    pub end: usize,
}

impl Weight {
    /// The weight at a 0-based GRPO step.
    pub fn at(&self, step: usize) -> f64 {
        match *self {
            Self::Constant(weight) => weight,
            Self::Linear(Ramp { from, to, start, end }) => {
                let way = step.saturating_sub(start) as f64 / end.saturating_sub(start).max(1) as f64;
                from + (to - from) * way.min(1.0)
            }
        }
    }

    /// What is wrong with it; none when it can be used.
    pub fn problem(&self) -> Option<&'static str> {
        match *self {
            Self::Constant(weight) => (!is_weight(weight)).then_some("must be a finite number between -1000000 and 1000000"),
            Self::Linear(Ramp { from, to, .. }) if !is_weight(from) || !is_weight(to) => {
                Some("needs finite `from` and `to` between -1000000 and 1000000")
            }
            Self::Linear(Ramp { start, end, .. }) => (end <= start).then_some("needs `end` after `start`: a weight must not jump"),
        }
    }
}

/// NaN is none.
fn is_weight(weight: f64) -> bool {
    weight.abs() <= LARGEST_WEIGHT
}

/// One summand of a composition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComposedPart {
    /// A reward (`dense`: its total), a part of one (`dense.values`), or `abstention`, `truncation`, `repetition`, `length_cap`.
    #[serde(rename = "use")]
    pub source: String,
    /// Name in metrics and on pages; default: `use` with `_` for `.`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its weight.
    #[serde(default = "one")]
    pub weight: Weight,
    /// `length_cap` only: characters up to which a text costs nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub characters: Option<usize>,
}

fn one() -> Weight {
    Weight::Constant(1.0)
}

/// A reward put together from parts: the sum of weight times value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Composition {
    /// The summands, in order.
    pub part: Vec<ComposedPart>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reward_is_written_as_it_is_read() {
        for name in ["dense", "paper", "strict", "simrl", "toolrl", "bfcl_ast", "composition", "file:a b.toml", "command:python r.py -x"] {
            let json = serde_json::to_string(name).expect("a string");
            let read: RewardName = serde_json::from_str(&json).expect(name);
            assert_eq!(serde_json::to_string(&read).expect("written"), json);
        }
        for bad in ["", "file:", "command: ", "dens", "simrl:x"] {
            let error = bad.parse::<RewardName>().expect_err(bad);
            assert!(error.contains("toolrl") && error.contains("command:PROGRAM"), "{error}");
        }
    }

    #[test]
    fn weights_move_in_a_straight_line_and_never_jump() {
        let weight: Weight = serde_json::from_str(r#"{"from": 1, "to": 0, "start": 10, "end": 20}"#).expect("a ramp");
        let at: Vec<f64> = [0, 10, 15, 20, 99].map(|s| weight.at(s)).to_vec();
        assert_eq!(at, [1.0, 1.0, 0.5, 0.0, 0.0]);
        assert!(weight.problem().is_none());
        assert!((0..40).all(|s| (weight.at(s + 1) - weight.at(s)).abs() <= 0.1 + 1e-12));
        let jump = Weight::Linear(Ramp { from: 1.0, to: 0.0, start: 3, end: 3 });
        assert!(jump.problem().is_some_and(|p| p.contains("jump")));
        for wrong in [f64::NAN, f64::INFINITY, 1e308, -1e7] {
            let ramp = Weight::Linear(Ramp { from: wrong, to: 0.0, start: 0, end: 1 });
            assert!([Weight::Constant(wrong), ramp].iter().all(|w| w.problem().is_some_and(|p| p.contains("between"))), "{wrong}");
        }
        assert!(Weight::Constant(-LARGEST_WEIGHT).problem().is_none());
    }
}
