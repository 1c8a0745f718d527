//! Station *problem*, helper: argument values. In: a parameter and a phrasing; out: a value, the words a request has for it and
//! the other spellings that count as right. Knows nothing of domains or distractors.

use serde_json::Value;
use whetstone_domain::problem::Accepted;

use super::content::{Choice, Kind, Param, Range, as_text};
use super::draw::Draw;
use super::template::Template;

/// A value drawn for one parameter.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Drawn {
    /// What the call says.
    pub(super) value: Value,
    /// What the request says.
    pub(super) words: String,
    /// The words differ from the value, so a verbatim copy is a different string.
    pub(super) normalised: bool,
    /// Other values that count as right.
    also: Vec<Value>,
}

const NUMERALS: [&str; 11] = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];

/// Values for all parameters that the phrasing mentions, in the order of the parameters; `None` for the others.
pub(super) fn draw_all(params: &[Param], phrasing: &Template, draw: &mut Draw) -> Vec<Option<Drawn>> {
    let mut out: Vec<Option<Drawn>> = Vec::with_capacity(params.len());
    for (i, param) in params.iter().enumerate() {
        if !phrasing.mentions(i) {
            out.push(None);
            continue;
        }
        let mut drawn = one(param, draw);
        // A value mentioned should be worth mentioning, and "from Paris to Paris" is no request.
        for _ in 0..40 {
            let repeated = out.iter().zip(params).any(|(o, p)| {
                let same_source = p.choices == param.choices && p.range == param.range && param.kind != Kind::Boolean;
                o.as_ref().is_some_and(|o| same_source && o.value == drawn.value)
            });
            let single = drawn.words == "1" && phrasing.counts_something(i);
            if !repeated && !single && Some(&drawn.value) != param.default.as_ref() {
                break;
            }
            drawn = one(param, draw);
        }
        if let Some(small) = drawn.value.as_i64().filter(|n| (2..=12).contains(n))
            && param.kind == Kind::Integer
            && phrasing.may_spell_out(i)
            && draw.percent(20)
        {
            drawn.words = NUMERALS[small as usize - 2].to_owned();
            drawn.normalised = true;
        }
        out.push(Some(drawn));
    }
    for (i, param) in params.iter().enumerate() {
        if let Some(j) = param.after
            && let (Some(first), Some(second)) = (out[j].clone(), out[i].clone())
            && !is_smaller(&first.value, &second.value)
        {
            (out[j], out[i]) = (Some(second), Some(first));
        }
    }
    out
}

fn is_smaller(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a < b,
        _ => as_text(a) < as_text(b),
    }
}

fn one(param: &Param, draw: &mut Draw) -> Drawn {
    match param.kind {
        Kind::Array => array(param, draw),
        kind => single(param, kind, draw),
    }
}

fn single(param: &Param, kind: Kind, draw: &mut Draw) -> Drawn {
    if let Some(range) = &param.range {
        let (value, words) = number(range, draw);
        let also = match (kind, value.as_i64()) {
            (Kind::Number, Some(n)) => vec![Value::from(n as f64)],
            _ => Vec::new(),
        };
        return Drawn { value, words, normalised: false, also };
    }
    let (value, words) = match draw.pick(&param.choices) {
        Some(Choice { value, say }) => (value.clone(), draw.pick(say).cloned().unwrap_or_else(|| as_text(value))),
        None => (Value::Null, String::new()),
    };
    let differs = as_text(&value).to_lowercase() != words.to_lowercase();
    let also =
        if kind == Kind::String && differs && !names_a_format(&param.description) { vec![Value::from(words.as_str())] } else { Vec::new() };
    Drawn { value, words, normalised: differs && kind != Kind::Boolean, also }
}

/// A number from the range, written without trailing zeros.
fn number(range: &Range, draw: &mut Draw) -> (Value, String) {
    let places = (range.most - range.least) / range.step + 1;
    let raw = range.least + range.step * draw.below(places as usize) as i64;
    let scale = 10_i64.pow(range.decimals);
    let mut words = format!("{}{}", if raw < 0 { "-" } else { "" }, raw.abs() / scale);
    if raw % scale != 0 {
        let digits = format!("{:0width$}", raw.abs() % scale, width = range.decimals as usize);
        words = format!("{words}.{}", digits.trim_end_matches('0'));
    }
    let value = words.parse::<i64>().map_or_else(|_| Value::from(words.parse::<f64>().unwrap_or_default()), Value::from);
    (value, words)
}

fn array(param: &Param, draw: &mut Draw) -> Drawn {
    let kind = param.items.unwrap_or(Kind::String);
    let (least, most) = param.count;
    let count = least + draw.below(most - least + 1);
    let mut items: Vec<Drawn> = Vec::with_capacity(count);
    for _ in 0..count * 20 {
        if items.len() == count {
            break;
        }
        let item = single(param, kind, draw);
        // Measurements may repeat, names in a list do not.
        if !items.iter().any(|o| o.value == item.value) {
            items.push(item);
        }
    }
    let list = |f: &dyn Fn(&Drawn) -> Value| Value::Array(items.iter().map(f).collect());
    let value = list(&|d| d.value.clone());
    let verbatim = list(&|d| d.also.first().unwrap_or(&d.value).clone());
    let also = if verbatim == value { Vec::new() } else { vec![verbatim] };
    let words: Vec<&str> = items.iter().map(|d| d.words.as_str()).collect();
    let words = match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, head)) => format!("{} and {last}", head.join(", ")),
        None => String::new(),
    };
    Drawn { value, words, normalised: items.iter().any(|d| d.normalised), also }
}

/// True when the description prescribes a spelling, so that the words of the request will not do.
fn names_a_format(description: &str) -> bool {
    ["YYYY", "HH:MM", "ISO", "24-hour", "format", "code"].iter().any(|f| description.contains(f))
}

/// What counts as right for a parameter of the called tool; `None` when it must be left out.
pub(super) fn accepted(param: &Param, drawn: Option<&Drawn>) -> Option<Accepted> {
    match (drawn, &param.default) {
        (Some(d), default) => {
            let mut values = vec![d.value.clone()];
            values.extend(d.also.iter().cloned());
            Some(Accepted { values, optional: default.as_ref() == Some(&d.value) })
        }
        (None, Some(default)) => Some(Accepted { values: vec![default.clone()], optional: true }),
        (None, None) => None,
    }
}
