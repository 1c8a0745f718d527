//! A problem in the making, and the pieces that scenes are made of.

use serde_json::{Map, Value, json};
use whetstone_domain::{Accepted, ExpectedAnswer, ExpectedCall, Runnable, Tool};

use super::super::draw::Draw;

/// Makes one problem of a kind.
pub(super) type Scene = fn(&mut Draw) -> Draft;

/// A tool and what runs it.
pub(super) type RunningTool = (Tool, Runnable);

/// A problem in the making.
pub(super) struct Draft {
    pub domain: &'static str,
    pub request: String,
    pub tools: Vec<RunningTool>,
    pub calls: Vec<ExpectedCall>,
    pub answer: ExpectedAnswer,
    pub difficulty: u8,
}

/// A tool whose arguments are all required.
pub(super) fn tool(name: &str, description: &str, parameters: &[(&str, &str, &str)]) -> Tool {
    let property = |kind: &str, about: &str| json!({"type": kind, "description": about});
    let properties: Map<String, Value> = parameters.iter().map(|(n, kind, about)| ((*n).to_owned(), property(kind, about))).collect();
    let required: Vec<&str> = parameters.iter().map(|(n, ..)| *n).collect();
    Tool {
        name: name.into(),
        description: description.into(),
        parameters: json!({"type": "object", "properties": properties, "required": required}),
    }
}

/// Finds a value by a key, in a table of the problem's own.
pub(super) fn lookup(name: &str, description: &str, (key, about): (&str, &str), rows: &[(&str, Value)]) -> RunningTool {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let rows = rows.iter().map(|(k, v)| format!("({}, {})", quoted(k), v.as_str().map_or_else(|| v.to_string(), quoted)));
    let rows: Vec<String> = rows.collect();
    let sql_setup = format!("create table facts (name text collate nocase, value); insert into facts values {};", rows.join(", "));
    let query = Some(format!("select value from facts where name = :{key}"));
    (tool(name, description, &[(key, "string", about)]), Runnable::Table { sql_setup, database: None, query })
}

/// Turns an amount of one unit into another, two decimals; `units` are sizes in a common unit.
pub(super) fn convert(tool: Tool, [amount, from, to]: [&str; 3], units: &[(&str, f64)]) -> RunningTool {
    let rows: Vec<String> = units.iter().map(|(unit, size)| format!("('{unit}', {size})")).collect();
    let sql_setup = format!("create table units (name text collate nocase, size real); insert into units values {};", rows.join(", "));
    let query = format!("select round(:{amount} * a.size / b.size, 2) from units a, units b where a.name = :{from} and b.name = :{to}");
    (tool, Runnable::Table { sql_setup, database: None, query: Some(query) })
}

/// A calculator under a name of its own.
pub(super) fn calculator(name: &str, description: &str) -> RunningTool {
    (tool(name, description, &[("expression", "string", "Arithmetic, as 3 * (4.5 + 1)")]), Runnable::Calculator {})
}

/// A call with exactly these arguments.
pub(super) fn call(name: &str, arguments: &[(&str, Value)]) -> ExpectedCall {
    let one = |value: &Value| Accepted { values: vec![value.clone()], optional: false };
    ExpectedCall { name: name.into(), arguments: arguments.iter().map(|(k, v)| ((*k).to_owned(), one(v))).collect() }
}

/// A call of a calculator: this expression, or any of the same value.
pub(super) fn compute(name: &str, expression: &str, value: f64) -> ExpectedCall {
    let values = vec![Value::from(expression), Value::from(value.to_string())];
    ExpectedCall { name: name.into(), arguments: vec![("expression".into(), Accepted { values, optional: false })] }
}

/// One of these texts and none of the others.
pub(super) fn choice<'a>(right: &str, of: impl IntoIterator<Item = &'a str>) -> ExpectedAnswer {
    let none_of = of.into_iter().filter(|o| *o != right).map(str::to_owned).collect();
    ExpectedAnswer { none_of, ..ExpectedAnswer::one(right) }
}

/// `n` different ones of these, in random order.
pub(super) fn some<T: Copy>(draw: &mut Draw, of: &[T], n: usize) -> Vec<T> {
    let mut all = of.to_vec();
    draw.shuffle(&mut all);
    all.truncate(n);
    all
}

/// A number from `least` to `most`.
pub(super) fn between(draw: &mut Draw, least: i64, most: i64) -> i64 {
    least + draw.below((most - least + 1) as usize) as i64
}

/// Hundredths as a number.
pub(super) fn hundredths(n: i64) -> f64 {
    n as f64 / 100.0
}

/// A number as people write it: without a point where nothing follows.
pub(super) fn plain(n: f64) -> Value {
    if n.fract() == 0.0 { Value::from(n as i64) } else { Value::from(n) }
}

/// A phrasing with its words put in: `{a}` is the first, `{b}` the second, and so on.
pub(super) fn phrase(draw: &mut Draw, phrasings: &[&str], words: &[&str]) -> String {
    let mut text = draw.pick(phrasings).copied().unwrap_or_default().to_owned();
    for (slot, word) in ('a'..='z').zip(words) {
        text = text.replace(&format!("{{{slot}}}"), word);
    }
    text
}
