use serde_json::{Value, json};
use whetstone_domain::{Exchange, ExpectedAnswer, Outcome, Problem, ToolFailure};

use super::judge::{answers, judge, predict, reward};
use super::*;
use crate::tasks::starter::tools;
use crate::{format, matching};

const F: &str = "{\"name\": \"f\", \"arguments\": {\"a\": 1}}";

fn conversation() -> Conversation {
    Conversation::new(Format::BareJson, MOST_TURNS)
}

#[test]
fn calls_are_run_and_shown_until_the_answer_is_given_in_words() {
    let mut c = conversation();
    let (next, _) = c.turn(F, StopReason::Eos);
    let Next::CallTools(calls) = next else { panic!("{next:?}") };
    assert_eq!(calls[0].name, "f");
    c.results(vec![ToolResult::ok("7")]);
    let (next, _) = c.turn(&format!("[{F}, {F}]"), StopReason::Eos);
    assert!(matches!(next, Next::CallTools(ref calls) if calls.len() == 2));
    c.results(vec![ToolResult::ok("8"), ToolResult::failed(ToolFailure::Timeout, "the tool took longer than 5s")]);
    let (next, transcript) = c.turn("It is 8.", StopReason::Eos);
    assert_eq!(next, Next::Done);
    assert_eq!((transcript.exchanges.len(), transcript.text.as_str(), transcript.cut_short), (3, "It is 8.", false));
    assert_eq!(transcript.exchanges[2].result.failure, Some(ToolFailure::Timeout));
    assert_eq!(transcript.all_calls().strict.expect("words").len(), 3);
}

#[test]
fn what_cannot_be_read_was_cut_off_or_comes_too_late_ends_the_conversation() {
    for (text, stop) in [("{\"name\":", StopReason::Eos), (F, StopReason::Length), ("", StopReason::Eos), ("[]", StopReason::Eos)] {
        let (next, transcript) = conversation().turn(text, stop);
        assert_eq!((next, transcript.cut_short), (Next::Done, false), "{text}");
    }
    let mut c = conversation();
    for _ in 1..MOST_TURNS {
        assert!(matches!(c.turn(F, StopReason::Eos).0, Next::CallTools(_)));
        c.results(vec![ToolResult::ok("7")]);
    }
    let (next, transcript) = c.turn(F, StopReason::Eos);
    assert_eq!((next, transcript.cut_short, transcript.exchanges.len()), (Next::Done, true, MOST_TURNS - 1));
    let many = format!("[{}]", [F; MOST_CALLS + 1].join(", "));
    assert!(conversation().turn(&many, StopReason::Eos).1.cut_short);
}

/// A problem of the shop with its own calls and answer.
fn shop() -> Problem {
    (0..).map(|i| tools::problem(false, 0, i)).find(|p| p.domain == "shop" && p.expected.calls.len() == 3).expect("a shop")
}

fn gold(problem: &Problem) -> Vec<Exchange> {
    let result = |call: &ToolCall| match call.name.as_str() {
        "calculate" => ToolResult::ok(problem.answer.as_ref().expect("an answer").any_of[0].to_string()),
        _ => ToolResult::ok("1.5"),
    };
    matching::canonical(problem).into_iter().map(|call| Exchange { result: result(&call), call }).collect()
}

fn transcript(exchanges: Vec<Exchange>, text: &str, stop: StopReason) -> Transcript {
    Transcript { exchanges, text: text.into(), parse: format::parse(Format::BareJson, text), stop, cut_short: false }
}

#[test]
fn every_rung_of_a_conversation_is_reached() {
    let p = shop();
    let right = p.answer.as_ref().expect("an answer").any_of[0].to_string();
    let with = |edit: &dyn Fn(&mut Vec<Exchange>)| {
        let mut exchanges = gold(&p);
        edit(&mut exchanges);
        exchanges
    };
    let argument = |e: &mut Exchange, key: &str, value: Value| e.call.arguments.insert(key.into(), value);
    for (exchanges, text, rung) in [
        (gold(&p), right.as_str(), Outcome::Correct),
        (gold(&p), &format!("Together they cost {right} euros."), Outcome::Correct),
        (with(&|e| e.swap(0, 1)), &right, Outcome::Correct),
        (with(&|e| drop(argument(&mut e[2], "expression", json!("another way")))), &right, Outcome::Correct),
        (gold(&p), "no idea", Outcome::WrongValues),
        (gold(&p), "[]", Outcome::WrongValues),
        (gold(&p), "{\"name\"", Outcome::BadJson),
        (gold(&p), &format!("So: {F}"), Outcome::ExtraText),
        (vec![], &right, Outcome::NoCall),
        (with(&|e| e.truncate(1)), &right, Outcome::WrongCount),
        (with(&|e| e[0].call.name = "nothing".into()), &right, Outcome::UnknownTool),
        (with(&|e| drop(argument(&mut e[0], "product", json!(7)))), &right, Outcome::SchemaInvalid),
        (with(&|e| drop(argument(&mut e[0], "product", json!("moon")))), &right, Outcome::WrongValues),
        (with(&|e| e[2].result = ToolResult::ok("1")), &right, Outcome::Correct),
        (with(&|e| e[1].result.failure = Some(ToolFailure::Timeout)), &right, Outcome::WrongValues),
    ] {
        let t = transcript(exchanges, text, StopReason::Eos);
        assert_eq!(judge(&p, &t).outcome, rung, "{text} {:?}", t.exchanges);
    }
    assert_eq!(judge(&p, &transcript(gold(&p), &right, StopReason::Length)).outcome, Outcome::Truncated);
    let prediction = predict(&p, &transcript(gold(&p), &right, StopReason::Eos), 9);
    assert!(prediction.correct && prediction.name_correct && prediction.argument_score == Some(1.0) && prediction.tokens == 9);
}

#[test]
fn the_reward_rises_from_silence_to_the_right_calls_and_answer_alone() {
    let p = shop();
    let right = p.answer.as_ref().expect("an answer").any_of[0].to_string();
    let earned = |exchanges: Vec<Exchange>, text: &str| {
        let verdict = judge(&p, &transcript(exchanges, text, StopReason::Eos));
        reward(false, &p, &verdict).total
    };
    let part = |n: usize| gold(&p).into_iter().take(n).collect::<Vec<_>>();
    let twice: Vec<Exchange> = gold(&p).into_iter().chain(gold(&p)).collect();
    let ladder = [
        earned(vec![], &right),
        earned(part(1), "no"),
        earned(part(2), "no"),
        earned(gold(&p), "no"),
        earned(twice, &right),
        earned(gold(&p), &right),
    ];
    assert!(ladder.windows(2).all(|w| w[0] < w[1]), "{ladder:?}");
    assert_eq!((ladder[0], (ladder[5] * 1e9).round() / 1e9), (0.0, 1.0), "a guess earns nothing, the right one all");
    assert!(earned(gold(&p), "{\"name\"") < earned(gold(&p), "no"));
    let strict = |text: &str| reward(true, &p, &judge(&p, &transcript(gold(&p), text, StopReason::Eos))).total;
    assert_eq!((strict("no"), strict(&right)), (0.0, 1.0));
}

#[test]
fn answers_are_read_as_people_write_them() {
    let number = ExpectedAnswer { tolerance: 0.005, ..ExpectedAnswer::one(1234.5) };
    for right in ["1234.5", "1,234.50", "It is 1234.50 euros.", "2 lamps and 3 mugs: 1234.5", "$1,234.50!"] {
        assert!(answers(&number, right), "{right}");
    }
    for wrong in ["", "1234", "1234.6", "-1234.5", "1234.5 of 2000", "twelve", "12345", "∞ 1"] {
        assert!(!answers(&number, wrong), "{wrong}");
    }
    assert!(
        answers(&ExpectedAnswer::one(-3), "at -3") && answers(&ExpectedAnswer::one(3), "day-3") && answers(&ExpectedAnswer::one(0.5), ".5")
    );
    let name = ExpectedAnswer { none_of: vec!["Elm".into()], ..ExpectedAnswer::one("Three Oaks") };
    assert!(answers(&name, "the THREE oaks, by far") && answers(&name, "Three-Oaks"));
    assert!(!answers(&name, "Three") && !answers(&name, "Three Oaks or Elm") && !answers(&name, "threeoaks") && !answers(&name, ""));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_reading_an_answer_panic(text in "[-.,0-9a ∞é\\n]{0,30}|\\PC{0,40}") {
        let number = ExpectedAnswer::one(3);
        let name = ExpectedAnswer { none_of: vec!["b".into()], ..ExpectedAnswer::one("a") };
        proptest::prop_assert!(!(answers(&number, &text) && text.chars().all(|c| !c.is_ascii_digit())));
        proptest::prop_assert!(!answers(&name, &text) || text.to_lowercase().contains('a'));
    }
}
