//! BFCL's verdicts are ours: on 14,106 predictions drawn as `tests/golden/bfcl_parity.py` draws them, whose verdicts by BFCL's own
//! checker are stored as bits. The data come from the wheel, by pip.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use whetstone_domain::{Problem, Tool, ToolCall, config::Format};
use whetstone_tooluse::format::can_write;
use whetstone_tooluse::matching::{Verdict, explain, matches};
use whetstone_tooluse::tasks::{LoadOptions, load};
use whetstone_tooluse::{offer, schema};

/// Fetches the wheel of `bfcl-eval` and unpacks it into `folder`.
fn fetch(folder: &Path) {
    let python = |args: &[&str]| {
        let out = Command::new("python3").args(args).current_dir(folder).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    };
    let wheel = "bfcl-eval==2026.3.23";
    python(&["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", wheel]);
    python(&["-m", "zipfile", "-e", "bfcl_eval-2026.3.23-py3-none-any.whl", "."]);
}

#[derive(Deserialize)]
struct Stored {
    seed: u64,
    variants: u64,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Category {
    name: String,
    predictions: usize,
    right: usize,
    hash: String,
    bits: String,
}

#[test]
fn bfcl_verdicts_are_those_of_its_own_checker() {
    let stored: Stored = serde_json::from_str(include_str!("fixtures/bfcl_verdicts.json")).unwrap();
    assert!(stored.categories.iter().map(|c| c.predictions).sum::<usize>() >= 3000);
    let folder = tempfile::tempdir().unwrap();
    fetch(folder.path());
    let root = folder.path();
    for (c, category) in (0u64..).zip(&stored.categories) {
        let set = load(&format!("bfcl:{}", category.name), &LoadOptions { bfcl: Some(root), ..LoadOptions::default() }).unwrap();
        let theirs: Vec<bool> = category.bits.chars().flat_map(nibble).take(category.predictions).collect();
        assert_eq!(theirs.iter().filter(|b| **b).count(), category.right);
        let (mut hash, mut n, mut wrong) = (0xcbf2_9ce4_8422_2325_u64, 0, Vec::new());
        for (p, problem) in (0u64..).zip(&set.problems) {
            for v in 0..stored.variants {
                let start = stored.seed.wrapping_mul(FNV).wrapping_add(c << 40).wrapping_add(p * 64 + v);
                let calls = predicted(&mut Rng(start), problem, v > 0);
                hash = encoded(&calls).iter().fold(hash, |h, b| (h ^ u64::from(*b)).wrapping_mul(FNV));
                let ours = !calls.is_empty() && matches(problem, &calls);
                if ours != theirs[n] {
                    wrong.push(format!("{} variant {v}: ours {ours}, {calls:?}", problem.id));
                }
                check_explanation(problem, &calls, ours);
                n += 1;
            }
        }
        // a different hash means that the predictions differ, not the verdicts
        assert_eq!(format!("{hash:016x}"), category.hash, "{}", category.name);
        assert_eq!((n, wrong), (category.predictions, Vec::<String>::new()), "{}", category.name);
    }
}

/// What is right has no wrong argument in its explanation.
fn check_explanation(problem: &Problem, calls: &[ToolCall], right: bool) {
    let explanation = explain(problem, calls);
    let all = explanation.calls.iter().all(|c| {
        c.expected.is_some() && c.produced.is_some() && c.arguments.iter().all(|a| matches!(a.verdict, Verdict::Right | Verdict::LeftOut))
    });
    assert!(all || !right, "{}: {explanation:?}", problem.id);
}

/// Every tool of BFCL has a schema that compiles and may be offered, and every expected call can be written in `bare_json`.
#[test]
fn bfcl_schemas_compile_and_its_problems_can_be_asked() {
    let folder = tempfile::tempdir().unwrap();
    fetch(folder.path());
    let root = folder.path();
    for category in whetstone_tooluse::tasks::bfcl::CATEGORIES {
        let set = load(&format!("bfcl:{category}"), &LoadOptions { bfcl: Some(root), ..LoadOptions::default() }).unwrap();
        for problem in &set.problems {
            assert_eq!(can_write(Format::BareJson, problem), Ok(()), "{}", problem.id);
            assert_eq!(offer::check(&problem.tools), Ok(()), "{}", problem.id);
            for tool in &problem.tools {
                assert_eq!(schema::compiles(tool), Ok(()), "{}", problem.id);
            }
        }
    }
}

const FNV: u64 = 0x0000_0100_0000_01b3;

fn nibble(digit: char) -> [bool; 4] {
    let bits = digit.to_digit(16).unwrap();
    [8, 4, 2, 1].map(|bit| bits & bit != 0)
}

/// splitmix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % n as u64).unwrap()
    }
}

fn predicted(rng: &mut Rng, problem: &Problem, mutated: bool) -> Vec<ToolCall> {
    let mut calls = Vec::new();
    for expected in &problem.expected.calls {
        let mut arguments = Map::new();
        for (key, accepted) in expected.arguments.iter().filter(|(_, a)| !a.values.is_empty()) {
            let value = &accepted.values[rng.below(accepted.values.len())];
            if !(value == "" && rng.below(2) == 0) {
                arguments.insert(key.clone(), plain(rng, value));
            }
        }
        calls.push(ToolCall { name: expected.name.clone(), arguments });
    }
    let mutations = if mutated { 1 + rng.below(3) } else { 0 };
    for _ in 0..mutations {
        mutate(rng, &mut calls, &problem.tools);
    }
    calls
}

fn plain(rng: &mut Rng, value: &Value) -> Value {
    match value {
        Value::Object(map) => unlisted(rng, map),
        Value::Array(items) => items.iter().map(|v| if let Value::Object(map) = v { unlisted(rng, map) } else { v.clone() }).collect(),
        _ => value.clone(),
    }
}

fn unlisted(rng: &mut Rng, map: &Map<String, Value>) -> Value {
    let mut out = Map::new();
    for (key, options) in map {
        match options {
            Value::Array(options) if !options.is_empty() => {
                let option = &options[rng.below(options.len())];
                if !(option == "" && rng.below(2) == 0) {
                    out.insert(key.clone(), option.clone());
                }
            }
            _ => drop(out.insert(key.clone(), options.clone())),
        }
    }
    Value::Object(out)
}

fn mutate(rng: &mut Rng, calls: &mut Vec<ToolCall>, tools: &[Tool]) {
    let junk = json!([0, 1, 7, -3, 1.0, 2.5, true, false, null, "", "x", "5", "True", [], {}, [1], [1.0], ["a"], [true], [{}],
        {"a": 1}, [[1]], [null]]);
    let junk = junk.as_array().unwrap();
    let op = rng.below(30);
    let at = rng.below(calls.len().max(1));
    let tool = &tools[rng.below(tools.len())];
    let junk = junk[rng.below(junk.len())].clone();
    match op {
        2 => calls.reverse(),
        3 => calls.push(ToolCall { name: tool.name.clone(), arguments: Map::new() }),
        _ => {}
    }
    if calls.is_empty() || matches!(op, 2 | 3) {
        return;
    }
    let keys: Vec<String> = calls[at].arguments.keys().cloned().collect();
    let (key, other) = (rng.below(keys.len().max(1)), rng.below(keys.len().max(1)));
    match op {
        0 => calls.push(calls[at].clone()),
        1 => drop(calls.remove(at)),
        4 => calls[at].name.clone_from(&tool.name),
        5 => calls[at].name.push_str("_x"),
        6 => drop(calls[at].arguments.insert("extra_argument".into(), junk)),
        7 => {
            let known: Vec<&String> =
                tool.parameters.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys).collect();
            if !known.is_empty() {
                let key = known[rng.below(known.len())].clone();
                calls[at].arguments.insert(key, junk);
            }
        }
        _ if keys.is_empty() => {}
        8 => drop(calls[at].arguments.shift_remove(&keys[key])),
        9 => calls[at].arguments[&keys[key]] = junk,
        10 => {
            let value = calls[at].arguments[&keys[other]].clone();
            calls[at].arguments[&keys[key]] = value;
        }
        _ => {
            let value = calls[at].arguments[&keys[key]].take();
            calls[at].arguments[&keys[key]] = changed(rng, op, value, junk);
        }
    }
}

fn changed(rng: &mut Rng, op: usize, value: Value, junk: Value) -> Value {
    let at = rng.below(1000);
    let upper = |v: &Value| v.as_str().map_or_else(|| v.clone(), |s| json!(s.to_uppercase()));
    match (op, value) {
        (11, Value::Number(n)) if !n.is_f64() => json!(n.as_f64()),
        (12, Value::Number(n)) if n.as_f64().is_some_and(|f| n.is_f64() && f.fract() == 0.0 && f.abs() < 1e15) => {
            json!(n.as_f64().unwrap() as i64)
        }
        (13, Value::Number(n)) if !n.is_f64() => json!(n.to_string()),
        (13, value @ (Value::Bool(_) | Value::Null)) => json!(value.to_string()),
        (14, value @ Value::String(_)) => upper(&value),
        (15, Value::String(s)) => json!(s.replace(' ', "")),
        (16, Value::String(s)) => json!(s + " -."),
        (17, Value::String(mut s)) => {
            s.pop();
            json!(s)
        }
        (18, Value::Array(items)) => items.into_iter().rev().collect(),
        (19, Value::Array(mut items)) => {
            items.pop();
            json!(items)
        }
        (20, Value::Array(mut items)) => {
            items.extend(items.first().cloned());
            json!(items)
        }
        (21, value) => json!([value]),
        (22, Value::Array(items)) => items.into_iter().map(|v| if v.is_i64() || v.is_u64() { json!(v.as_f64()) } else { v }).collect(),
        (23, Value::Object(mut map)) => {
            map.insert("extra_key".into(), junk);
            Value::Object(map)
        }
        (24, Value::Object(map)) if !map.is_empty() => {
            let gone = at % map.len();
            Value::Object(map.into_iter().enumerate().filter(|(i, _)| *i != gone).map(|(_, pair)| pair).collect())
        }
        (25, Value::Bool(b)) => json!(u8::from(b)),
        (25, Value::Number(n)) if !n.is_f64() && matches!(n.as_i64(), Some(0 | 1)) => json!(n.as_i64() == Some(1)),
        (26, Value::Array(mut items)) if !items.is_empty() => {
            let n = items.len();
            items[at % n] = junk;
            json!(items)
        }
        (27, Value::String(s)) => json!(s.replace('\'', "\"").to_lowercase()),
        (28, Value::Number(n)) if !n.is_f64() && n.as_i64().is_some_and(|i| i.abs() < 1 << 53) => json!(n.as_i64().unwrap() + 1),
        (29, Value::Array(items)) => items.iter().map(upper).collect(),
        (29, Value::Object(map)) if !map.is_empty() => {
            let n = at % map.len();
            Value::Object(map.into_iter().enumerate().map(|(i, (k, v))| (k, if i == n { junk.clone() } else { v })).collect())
        }
        (_, value) => value,
    }
}

fn encoded(calls: &[ToolCall]) -> Vec<u8> {
    let calls = calls.iter().map(|c| json!([c.name, c.arguments])).collect();
    let mut out = Vec::new();
    encode(&calls, &mut out);
    out
}

fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(b'n'),
        Value::Bool(b) => out.push(if *b { b't' } else { b'f' }),
        Value::Number(n) if n.is_f64() => {
            out.push(b'd');
            out.extend(n.as_f64().unwrap().to_le_bytes());
        }
        Value::Number(n) => out.extend(format!("i{n};").bytes()),
        Value::String(s) => out.extend(format!("s{s}\0").bytes()),
        Value::Array(items) => {
            out.push(b'[');
            items.iter().for_each(|v| encode(v, out));
            out.push(b']');
        }
        Value::Object(map) => {
            out.push(b'{');
            for (key, value) in map {
                encode(&json!(key), out);
                encode(value, out);
            }
            out.push(b'}');
        }
    }
}
