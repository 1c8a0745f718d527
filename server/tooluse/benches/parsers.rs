//! `cargo bench -p whetstone-tooluse --bench parsers [-- INPUTS]`: ten million hostile inputs through every parser, time by size of
//! garbage, and the time that one rollout takes to read, match and reward. With 0 inputs only the last.

#![expect(clippy::print_stdout, reason = "a bench reports to whoever runs it")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use whetstone_domain::config::{ComposedPart, Composition, Format, Ramp, RewardName, Weight};
use whetstone_domain::{Accepted, Expected, ExpectedCall, Matcher, Message, Problem, Role, RunConfig, StopReason, Tool, ToolCall};
use whetstone_tooluse::tasks::starter;
use whetstone_tooluse::{Rewarder, format, matching, outcome};

const INPUTS: u64 = 10_000_000;

fn main() {
    let given = std::env::args().skip(1).find_map(|a| a.parse().ok());
    let problems = starter::load(false, 1, 400);
    if given != Some(0) {
        fuzz(given.unwrap_or(INPUTS), &problems);
        linear();
    }
    rollouts(&problems);
}

#[derive(Default, Clone, Copy)]
struct Count {
    inputs: u64,
    calls: u64,
    refusals: u64,
    failures: u64,
    found: u64,
    panics: u64,
}

/// Every input is read strictly and leniently in one format; all formats take turns.
fn fuzz(inputs: u64, problems: &[Problem]) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let start = Instant::now();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let counts = std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..threads).map(|t| scope.spawn(move || fuzz_some(t, inputs / threads + u64::from(t < inputs % threads), problems))).collect();
        workers.into_iter().filter_map(|w| w.join().ok()).collect::<Vec<_>>()
    });
    std::panic::set_hook(hook);
    println!("{:<14} {:>10} {:>10} {:>10} {:>10} {:>10} {:>7}", "format", "inputs", "calls", "no call", "failures", "lenient", "panics");
    let (mut all, mut panics) = (0, 0);
    for (i, format) in Format::ALL.into_iter().enumerate() {
        let sum = |f: fn(&Count) -> u64| counts.iter().map(|c| f(&c[i])).sum::<u64>();
        let (inputs, bad) = (sum(|c| c.inputs), sum(|c| c.panics));
        println!(
            "{:<14} {inputs:>10} {:>10} {:>10} {:>10} {:>10} {bad:>7}",
            format.name(),
            sum(|c| c.calls),
            sum(|c| c.refusals),
            sum(|c| c.failures),
            sum(|c| c.found)
        );
        all += inputs;
        panics += bad;
    }
    println!("{all} inputs, each read strictly and leniently, {panics} panics, {:.1?}\n", start.elapsed());
    assert!(all == inputs && panics == 0, "a parser panicked, or a worker died");
}

fn fuzz_some(thread: u64, inputs: u64, problems: &[Problem]) -> [Count; Format::ALL.len()] {
    let mut rng = ChaCha8Rng::seed_from_u64(thread);
    let mut counts = [Count::default(); Format::ALL.len()];
    let gold: Vec<Vec<ToolCall>> = problems.iter().map(matching::canonical).collect();
    for i in 0..inputs {
        let which = (i % Format::ALL.len() as u64) as usize;
        let format = Format::ALL[which];
        let text = input(&mut rng, format, &gold);
        let count = &mut counts[which];
        count.inputs += 1;
        match catch_unwind(AssertUnwindSafe(|| (format::strict(format, &text), format::lenient(format, &text)))) {
            Ok((strict, lenient)) => {
                match strict {
                    Ok(calls) if calls.is_empty() => count.refusals += 1,
                    Ok(_) => count.calls += 1,
                    Err(failure) if text.is_char_boundary(failure.position) => count.failures += 1,
                    Err(_) => count.panics += 1,
                }
                count.found += u64::from(lenient.is_some());
            }
            Err(_) => {
                count.panics += 1;
                println!("{}: {text:?}", format.name());
            }
        }
    }
    counts
}

/// What the formats are made of.
const PIECES: [&str; 52] = [
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    ", ",
    ": ",
    "=",
    ";",
    "\"",
    "'",
    "\\",
    "\n",
    " ",
    "f",
    "a",
    "a=1",
    "f(",
    "f(a=",
    "1",
    "-1.5e3",
    "True",
    "None",
    "true",
    "null",
    "\"name\"",
    "\"arguments\"",
    "\"parameters\"",
    "{\"name\": \"f\", \"arguments\": {",
    "\"\"\"",
    "\\u00e9",
    "\\ud83d",
    "\\x4",
    "é",
    "\u{0}",
    "<tool_call>",
    "</tool_call>",
    "<think>",
    "</think>",
    "<|python_tag|>",
    "<|tool_call_start|>",
    "<|tool_call_end|>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "<start_function_call>",
    "<end_function_call>",
    "call:",
    "call:f{",
    "<escape>",
    "a:",
    "\u{1f600}",
];

/// Random characters, random pieces, a right answer mutated, or deep nesting.
fn input(rng: &mut ChaCha8Rng, format: Format, gold: &[Vec<ToolCall>]) -> String {
    let piece = |rng: &mut ChaCha8Rng| PIECES[rng.random_range(0..PIECES.len())];
    match rng.random_range(0..16) {
        0..3 => (0..rng.random_range(0..48)).map(|_| rng.random::<char>()).collect(),
        3..8 => (0..rng.random_range(0..32)).map(|_| piece(rng)).collect(),
        8 => {
            let (open, depth) = (piece(rng), rng.random_range(0..200));
            format!("{}{}{}", format::write(format, &[]), open.repeat(depth), piece(rng).repeat(depth))
        }
        _ => {
            let mut text = format::write(format, &gold[rng.random_range(0..gold.len())]);
            for _ in 0..rng.random_range(0..4) {
                let mut place = || {
                    let mut at = rng.random_range(0..=text.len());
                    while !text.is_char_boundary(at) {
                        at -= 1;
                    }
                    at
                };
                let (a, b) = (place(), place());
                match rng.random_range(0..4) {
                    0 => text.insert_str(a, piece(rng)),
                    1 => text.replace_range(a.min(b)..a.max(b), ""),
                    2 => text.truncate(a),
                    _ => {
                        let copied = text[a.min(b)..a.max(b)].to_owned();
                        text.insert_str(a, &copied);
                    }
                }
                text.truncate(text.char_indices().nth(4096).map_or(text.len(), |(at, _)| at));
            }
            text
        }
    }
}

/// Nanoseconds per byte at three sizes: the same at all where time is linear. The worst of many kinds of garbage counts.
fn linear() {
    let units = [
        "{\"a\":",
        "[[\"",
        "<tool_call>{\"a\":",
        "<tool_call>[\"",
        "[f(a=",
        "f(a=[",
        "f(a=1),",
        "(é=",
        "<|tool_call_start|>[f(a='",
        "[TOOL_CALLS]f[ARGS]",
        "<start_function_call>call:f{a:<escape>",
        "<start_function_call>call:f{a:[",
        "{\"name\":\"f\",\"parameters\":{}};",
        "  (",
        "a b ",
    ];
    println!("{:<14} {:>12} {:>12} {:>12}   slowest garbage, both readings, ns per byte", "format", "256 KiB", "512 KiB", "1 MiB");
    for format in Format::ALL {
        let worst = [18, 19, 20].map(|bits| {
            let time = |unit: &&str| {
                let text = unit.repeat((1 << bits) / unit.len());
                let timed = (0..3).map(|_| {
                    let start = Instant::now();
                    std::hint::black_box((format::strict(format, &text), format::lenient(format, &text)).0.is_ok());
                    start.elapsed()
                });
                timed.min().unwrap_or_default()
            };
            let slowest: Duration = units.iter().map(time).max().unwrap_or_default();
            slowest.as_nanos() as f64 / f64::from(1 << bits)
        });
        println!("{:<14} {:>12.1} {:>12.1} {:>12.1}", format.name(), worst[0], worst[1], worst[2]);
    }
    println!();
}

/// Parse, outcome and reward of one rollout: right answers, near misses, prose and refusals. Of the formats the slowest is shown.
fn rollouts(narrow: &[Problem]) {
    let (wide, long) = (starter::load_wide(false, 1, 400), long_values(40));
    println!(
        "{:<14} {:<12} {:>8} {:>8} {:>12}   parse + match + reward of one rollout, microseconds, slowest format",
        "problems", "reward", "median", "p95", "near misses"
    );
    for (name, problems) in [("starter", narrow), ("starter:wide", &wide), ("long values", &long)] {
        for reward in RewardName::BUILT_IN.into_iter().chain([RewardName::Composition]) {
            let of_formats = Format::ALL.map(|format| timed(&reward, format, problems));
            let slowest = |i: usize| of_formats.iter().map(|t| t[i]).fold(0.0, f64::max);
            println!("{name:<14} {reward:<12} {:>8.1} {:>8.1} {:>12.1}", slowest(0), slowest(1), slowest(2));
        }
    }
}

/// Median and 95th percentile of all texts, and the median of the near misses.
fn timed(reward: &RewardName, format: Format, problems: &[Problem]) -> [f64; 3] {
    let composition = matches!(reward, RewardName::Composition).then(composition);
    let config = RunConfig { reward: reward.clone(), format, composition, ..RunConfig::default() };
    let rewarder = Rewarder::new(&config).unwrap_or_else(|e| panic!("{e}")).at(150);
    let (mut all, mut misses) = (Vec::new(), Vec::new());
    for problem in problems {
        let gold = matching::canonical(problem);
        let right = format::write(format, &gold);
        let miss = format::write(format, &nearly(gold));
        for text in [&right, &miss, &format!("Sure! {right} Anything else?"), "I cannot do that."] {
            let start = Instant::now();
            let parse = format::parse(format, text);
            let outcome = outcome::judge(problem, text, &parse, StopReason::Eos);
            std::hint::black_box(rewarder.score(problem, text, &parse, outcome));
            all.push(start.elapsed());
            if *text == miss {
                misses.push(start.elapsed());
            }
        }
    }
    let at = |times: &mut Vec<Duration>, share: usize| {
        times.sort_unstable();
        times[times.len() * share / 100].as_nanos() as f64 / 1000.0
    };
    [at(&mut all, 50), at(&mut all, 95), at(&mut misses, 50)]
}

/// A schedule from one reward to another, and everything else that can be added.
fn composition() -> Composition {
    let part = |source: &str, weight| ComposedPart { source: source.into(), name: None, weight, characters: None };
    let ramp = |from, to| Weight::Linear(Ramp { from, to, start: 100, end: 200 });
    let mut parts = vec![part("dense", ramp(1.0, 0.0)), part("simrl", ramp(0.0, 1.0))];
    let others = ["toolrl.correctness", "abstention", "truncation", "repetition", "length_cap"];
    parts.extend(others.map(|source| part(source, Weight::Constant(0.1))));
    Composition { part: parts }
}

/// Every string of every call has its last word changed; a call without strings has its first value changed.
fn nearly(mut calls: Vec<ToolCall>) -> Vec<ToolCall> {
    for call in &mut calls {
        let mut strings = 0;
        for text in call.arguments.values_mut() {
            if let Value::String(text) = text {
                let kept = text.rfind(' ').map_or(0, |at| at + 1);
                text.replace_range(kept.., "otherwise");
                strings += 1;
            }
        }
        if let (0, Some(value)) = (strings, call.arguments.values_mut().next()) {
            *value = Value::from("otherwise");
        }
    }
    calls
}

/// Problems whose right call holds a text of 200 words, few of which occur twice.
fn long_values(n: u64) -> Vec<Problem> {
    let problem = |i: u64| {
        let words: Vec<String> = (0..200).map(|w| format!("word{}", (w * 37 + i) % 150)).collect();
        let parameters = json!({"type": "object", "required": ["to", "text"],
            "properties": {"to": {"type": "string"}, "text": {"type": "string"}}});
        let accepted = |value: String| Accepted { values: vec![value.into()], optional: false };
        Problem {
            id: format!("long-{i}"),
            messages: vec![Message::new(Role::User, "Send it.")],
            tools: vec![Tool { name: "send_note".into(), description: "Sends a note.".into(), parameters }],
            expected: Expected {
                calls: vec![ExpectedCall {
                    name: "send_note".into(),
                    arguments: vec![("to".into(), accepted("Ada".into())), ("text".into(), accepted(words.join(" ")))],
                }],
            },
            matcher: Matcher::Bfcl,
            domain: String::new(),
            difficulty: 0,
            environment: None,
            answer: None,
        }
    };
    (0..n).map(problem).collect()
}
