//! What the data hides: duplicates, overlap with a held-out set, schemas that are none, lengths, and how much can be copied.
//!
//! In: problems. Out: counts with the first few places of each finding.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;
use serde_json::Value;
use whetstone_domain::{Problem, Role, ToolCall, config::Format};

use crate::format::{self, Style};
use crate::{matching, offer, schema};

/// Places that a finding names.
const NAMED: usize = 5;

/// A count and the first few places.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Finding {
    /// How many.
    pub count: usize,
    /// The first few.
    pub first: Vec<String>,
}

impl Finding {
    fn add(&mut self, place: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(place());
        }
    }
}

/// Smallest, median, 90th percentile and largest of some lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Lengths {
    /// Smallest.
    pub min: usize,
    /// Half are shorter.
    pub median: usize,
    /// Nine in ten are shorter.
    pub p90: usize,
    /// Largest.
    pub max: usize,
}

impl Lengths {
    /// Of some lengths; none where there are none.
    pub fn of(mut lengths: Vec<usize>) -> Option<Self> {
        lengths.sort_unstable();
        let at = |share: f64| lengths[((lengths.len() - 1) as f64 * share).round() as usize];
        (!lengths.is_empty()).then(|| Self { min: at(0.0), median: at(0.5), p90: at(0.9), max: at(1.0) })
    }
}

/// Held-out problems that training could give away.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overlap {
    /// Held-out problems whose request is also asked here, letters and digits compared.
    pub requests: Finding,
    /// Tool names offered in both.
    pub tools: Finding,
}

/// What the audit of the data found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DataReport {
    /// Problems.
    pub problems: usize,
    /// Problems that expect no call.
    pub no_call: usize,
    /// Problems that expect several calls.
    pub several_calls: usize,
    /// Problems that offer one tool only: half of some rewards is free there.
    pub one_tool: usize,
    /// Distinct tool names.
    pub tools: usize,
    /// Problems by difficulty.
    pub by_difficulty: BTreeMap<u8, usize>,
    /// Problems that ask what an earlier one asks, of the same tools.
    pub duplicates: Finding,
    /// Tools whose schema is none, and expected calls that break the schema of their tool.
    pub schema_errors: Finding,
    /// Problems that runs and evaluations leave out: tools that may not be offered (names that hide or imitate, schemas too deep), calls
    /// that the format cannot write, tools that cannot run.
    pub unfit: Finding,
    /// Characters of the whole prompt, worked examples included.
    pub prompt_characters: Option<Lengths>,
    /// Characters of the right answer.
    pub answer_characters: Option<Lengths>,
    /// Values that must be given.
    pub values: usize,
    /// Share of them that stand letter for letter in the request.
    pub values_in_request: f64,
    /// Share of problems with a call all of whose values do.
    pub problems_copied: f64,
    /// Against the held-out set, where there is one.
    pub overlap: Option<Overlap>,
}

/// Looks through a task set. `runs` says why the tools of a problem cannot run, where they cannot.
pub fn audit(
    format: Format,
    problems: &[Problem],
    held_out: Option<&[Problem]>,
    mut runs: impl FnMut(&Problem) -> Result<(), String>,
) -> DataReport {
    let (mut duplicates, mut schema_errors, mut unfit) = (Finding::default(), Finding::default(), Finding::default());
    let mut seen: HashMap<(String, Vec<&str>), &str> = HashMap::new();
    let (mut tools, mut checked) = (HashSet::new(), HashSet::new());
    let (mut prompts, mut answers) = (Vec::new(), Vec::new());
    let (mut values, mut literal, mut copied, mut with_calls) = (0, 0, 0, 0);
    let mut by_difficulty = BTreeMap::new();
    for p in problems {
        *by_difficulty.entry(p.difficulty).or_insert(0) += 1;
        let key = (plain(&request(p)), p.tools.iter().map(|t| t.name.as_str()).collect());
        match seen.get(&key) {
            Some(first) => duplicates.add(|| format!("{} asks what {first} asks", p.id)),
            None => drop(seen.insert(key, &p.id)),
        }
        if let Err(reason) = offer::check(&p.tools).and_then(|()| format::can_write(format, p)).and_then(|()| runs(p)) {
            unfit.add(|| format!("{}: {reason}", p.id));
        }
        for tool in &p.tools {
            tools.insert(tool.name.as_str());
            if checked.insert((tool.name.clone(), tool.parameters.to_string()))
                && let Err(reason) = schema::compiles(tool)
            {
                schema_errors.add(|| format!("{}: {reason}", p.id));
            }
        }
        let gold = matching::canonical(p);
        for call in &gold {
            if let Some(Err(reason)) = matching::tool_of(p, &call.name).map(|tool| schema::check(tool, call)) {
                schema_errors.add(|| format!("{}: expected call of {}: {reason}", p.id, call.name));
            }
        }
        prompts.push(format::render(Style::of(format), false, p).messages.iter().map(|m| m.content.chars().count()).sum());
        answers.push(format::write(format, &gold).chars().count());
        let (found, of) = in_request(p, &gold);
        values += of;
        literal += found;
        with_calls += usize::from(!gold.is_empty());
        copied += usize::from(!gold.is_empty() && found == of);
    }
    let share = |n: usize, of: usize| n as f64 / of.max(1) as f64;
    DataReport {
        problems: problems.len(),
        no_call: problems.iter().filter(|p| p.expected.is_no_call()).count(),
        several_calls: problems.iter().filter(|p| p.expected.calls.len() > 1).count(),
        one_tool: problems.iter().filter(|p| p.tools.len() == 1).count(),
        tools: tools.len(),
        by_difficulty,
        duplicates,
        schema_errors,
        unfit,
        prompt_characters: Lengths::of(prompts),
        answer_characters: Lengths::of(answers),
        values,
        values_in_request: share(literal, values),
        problems_copied: share(copied, with_calls),
        overlap: held_out.map(|held_out| overlap(problems, held_out)),
    }
}

/// What training on `problems` gives away of `held_out`.
pub fn overlap(problems: &[Problem], held_out: &[Problem]) -> Overlap {
    let (mut requests, mut tools) = (Finding::default(), Finding::default());
    let asked: HashMap<String, &str> = problems.iter().map(|p| (plain(&request(p)), p.id.as_str())).collect();
    for p in held_out {
        if let Some(id) = asked.get(&plain(&request(p))) {
            requests.add(|| format!("{} asks what {id} asks", p.id));
        }
    }
    let own: HashSet<&str> = problems.iter().flat_map(|p| &p.tools).map(|t| t.name.as_str()).collect();
    let mut shared: Vec<&str> = held_out.iter().flat_map(|p| &p.tools).map(|t| t.name.as_str()).filter(|n| own.contains(n)).collect();
    shared.sort_unstable();
    shared.dedup();
    shared.into_iter().for_each(|name| tools.add(|| name.to_owned()));
    Overlap { requests, tools }
}

/// What the user said, every turn.
fn request(p: &Problem) -> String {
    let said: Vec<&str> = p.messages.iter().filter(|m| m.role == Role::User).map(|m| m.content.as_str()).collect();
    said.join("\n")
}

/// Letters and digits, small.
fn plain(text: &str) -> String {
    text.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect()
}

/// Values of the right calls that stand in the request, and all of them. A list counts as one value: all its items stand there.
fn in_request(p: &Problem, gold: &[ToolCall]) -> (usize, usize) {
    let text = request(p).to_lowercase();
    let values: Vec<&Value> = gold.iter().flat_map(|c| c.arguments.values()).collect();
    (values.iter().filter(|v| stands_in(v, &text)).count(), values.len())
}

fn stands_in(value: &Value, text: &str) -> bool {
    match value {
        Value::String(s) => text.contains(&s.to_lowercase()),
        Value::Number(n) => number_in(&n.to_string(), text),
        Value::Array(items) => items.iter().all(|v| stands_in(v, text)),
        Value::Object(map) => map.values().all(|v| stands_in(v, text)),
        Value::Bool(_) | Value::Null => text.contains(&value.to_string()),
    }
}

/// A number that is not a piece of a longer one; `5.0` also stands as `5`.
fn number_in(number: &str, text: &str) -> bool {
    let number = number.strip_suffix(".0").unwrap_or(number);
    text.match_indices(number).any(|(at, _)| {
        let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        let mut after = text[at + number.len()..].chars();
        let next = after.next();
        let goes_on = digit(next) || (next == Some('.') && digit(after.next()));
        let mut before = text[..at].chars().rev();
        let last = before.next();
        let begins = digit(last) || (last == Some('.') && digit(before.next()));
        !goes_on && !begins
    })
}
