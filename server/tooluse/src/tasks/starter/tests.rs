//! What the starter set promises, checked over the embedded content and over thousands of problems.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;
use whetstone_domain::problem::{Accepted, ExpectedCall, Problem};

use super::content::{Content, Domain, Kind, ToolSpec, as_text, content};
use super::template::Piece;
use super::*;

fn all_tools() -> Vec<(&'static Domain, &'static ToolSpec)> {
    content().domains.iter().flat_map(|d| d.tools.iter().map(move |t| (d, t))).collect()
}

fn request(p: &Problem) -> &str {
    &p.messages[0].content
}

/// The first problems of a split under the names of the content files.
fn unrenamed(held_out: bool, seed: u64, n: u64) -> Vec<Problem> {
    let split = Split::of(content(), held_out);
    (0..n).map(|i| plain(&split, held_out, seed, i, &mut Draw::at(held_out, seed, i))).collect()
}

/// The words, lower case, with every slot masked.
fn masked(pieces: &[Piece]) -> String {
    let text: String = pieces
        .iter()
        .map(|p| match p {
            Piece::Text(t) => t.to_lowercase(),
            Piece::Slot(_) => "_".into(),
        })
        .collect();
    text.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn every_content_file_loads() {
    let (_, errors) = parse::parse(&content::DOMAIN_FILES, content::POOLS, content::CHAT);
    let list: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert!(errors.is_empty(), "{} mistakes:\n{}", list.len(), list.join("\n"));
}

#[test]
fn a_mistake_in_a_file_is_named_with_file_tool_and_phrasing() {
    let text = "domain = 'x'\n[[tool]]\nname = 'do_it'\ndescription = 'Does it.'\nphrasings = ['Do {it}.', 'Do {that}.', 'Do.']\n\
                [[tool.params]]\nname = 'it'\ntype = 'string'\ndescription = 'What'\nvalues = ['work']\n";
    let (Content { .. }, errors) = parse::parse(&[("x.toml", text)], ("p", ""), ("c", "train = []\nheld_out = []"));
    let list: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(list.len(), 2, "{list:?}");
    assert_eq!(list[0], "x.toml: do_it phrasing 2 (\"Do {that}.\"): unknown placeholder {that}");
    assert_eq!(list[1], "x.toml: do_it \"Do.\": does not mention the required {it}");
    let (_, errors) = parse::parse(&[("y.toml", "domain = 3")], ("p", ""), ("c", "train = []\nheld_out = []"));
    assert!(errors[0].to_string().starts_with("y.toml: TOML:"), "{errors:?}");
}

#[test]
fn there_is_enough_content() {
    let tools = all_tools();
    assert!(tools.len() >= 48, "{} tools", tools.len());
    assert!(content().domains.len() >= 8);
    for (file, domain) in content::DOMAIN_FILES.iter().zip(&content().domains) {
        assert_eq!(file.0, format!("{}.toml", domain.name));
        assert!(domain.tools.len() >= 5, "{}: {} tools", domain.name, domain.tools.len());
        assert!(domain.no_call.len() >= 10, "{}: {} lines without a call", domain.name, domain.no_call.len());
    }
    for (_, tool) in &tools {
        assert!(tool.phrasings.len() >= 12, "{}: {} phrasings", tool.name, tool.phrasings.len());
    }
    assert!(content().chat.iter().map(Vec::len).sum::<usize>() >= 60);
    for kind in [Kind::String, Kind::Integer, Kind::Number, Kind::Boolean, Kind::Enum, Kind::Array] {
        assert!(tools.iter().any(|(_, t)| t.params.iter().any(|p| p.kind == kind)), "no {kind:?}");
    }
}

#[test]
fn phrasings_differ_when_their_values_are_masked() {
    let mut seen: HashMap<String, String> = HashMap::new();
    let (mut total, mut repeated) = (0, Vec::new());
    for (_, tool) in all_tools() {
        for phrasing in &tool.phrasings {
            total += 1;
            if let Some(first) = seen.insert(masked(&phrasing.pieces), format!("{}: {}", tool.name, phrasing.source)) {
                repeated.push(format!("{first} | {}: {}", tool.name, phrasing.source));
            }
        }
    }
    assert!(repeated.len() * 20 <= total, "{} of {total}:\n{}", repeated.len(), repeated.join("\n"));
}

#[test]
fn held_out_tools_never_appear_in_training_and_the_other_way_round() {
    let names = |domains: Vec<&str>| -> BTreeSet<String> { domains.iter().flat_map(|d| tools_of(d)).map(|t| t.name).collect() };
    assert_eq!(held_out_domains(), ["travel", "health"]);
    let (train, held_out) = (names(train_domains()), names(held_out_domains()));
    assert!(train.is_disjoint(&held_out));
    for (split, own) in [(false, &train), (true, &held_out)] {
        let mut seen = BTreeSet::new();
        for p in unrenamed(split, 1, 3000) {
            seen.extend(p.tools.iter().map(|t| t.name.clone()));
            seen.extend(p.expected.calls.iter().map(|c| c.name.clone()));
            assert_eq!(held_out_domains().contains(&p.domain.as_str()), split, "{}", p.id);
        }
        assert_eq!(&seen, own, "every tool of a split is shown, and no other");
    }
    for p in load(false, 1, 6000) {
        assert!(p.tools.iter().all(|t| !held_out.contains(&t.name)), "{}: a held-out name", p.id);
    }
    let lines = |i: usize| content().chat[i].iter().map(|l| masked(&l.template.pieces)).collect::<BTreeSet<_>>();
    assert!(lines(0).is_disjoint(&lines(1)));
}

#[test]
fn one_problem_in_eight_wants_no_call() {
    for held_out in [false, true] {
        let problems = load(held_out, 0, 4000);
        let none = problems.iter().filter(|p| p.expected.is_no_call()).count();
        assert!((400..=560).contains(&none), "{none} of 4000");
        let mut by_difficulty = BTreeMap::new();
        let mut by_tools = BTreeMap::new();
        for p in &problems {
            *by_difficulty.entry(p.difficulty).or_insert(0) += 1;
            *by_tools.entry(p.tools.len()).or_insert(0) += 1;
        }
        assert_eq!(by_difficulty.keys().copied().collect::<Vec<u8>>(), [1, 2, 3]);
        assert_eq!(by_tools.keys().copied().collect::<Vec<usize>>(), [1, 2, 3]);
        assert!(by_difficulty.values().all(|n| *n >= 400), "{by_difficulty:?}");
        assert!(by_tools.values().all(|n| *n >= 900), "{by_tools:?}");
    }
}

#[test]
fn a_problem_depends_on_seed_split_and_index_only() {
    let many = load(false, 7, 50);
    assert_eq!(load(false, 7, 10)[..], many[..10]);
    assert_eq!(problem(false, 7, 33), many[33]);
    assert_ne!(request(&load(false, 8, 1)[0]), request(&many[0]));
    assert_eq!(many[3].id, "starter-7-000003");
    assert_eq!(problem(true, 7, 3).id, "starter-held-out-7-000003");
}

#[test]
fn every_gold_call_satisfies_the_schema_it_is_offered_with() {
    for p in load(false, 2, 4000).into_iter().chain(load(true, 2, 2000)) {
        let names: BTreeSet<&str> = p.tools.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names.len(), p.tools.len(), "{}: a tool twice", p.id);
        for call in &p.expected.calls {
            let tool = p.tools.iter().find(|t| t.name == call.name).expect("the tool is offered");
            let schema = jsonschema::validator_for(&tool.parameters).expect("a valid schema");
            let gold = Value::Object(call.canonical().arguments);
            assert!(schema.is_valid(&gold), "{}: {gold} against {}", p.id, tool.parameters);
            let full = call.arguments.iter().map(|(k, a)| (k.clone(), a.values[0].clone())).collect();
            assert!(schema.is_valid(&Value::Object(full)), "{}: with defaults", p.id);
            for Accepted { values, .. } in call.arguments.iter().map(|(_, a)| a) {
                assert!(!values.is_empty() && !values.contains(&Value::Null), "{}", p.id);
            }
        }
    }
}

#[test]
fn requests_rarely_repeat() {
    for (held_out, n) in [(false, 4000), (true, 1000)] {
        let problems = load(held_out, 0, n);
        let distinct: BTreeSet<&str> = problems.iter().map(request).collect();
        assert!((n - distinct.len()) * 20 <= n, "{} of {n} requests repeat", n - distinct.len());
    }
}

#[test]
fn every_expected_value_stands_in_the_request_or_has_words_there() {
    let said: HashMap<(&str, &str), &ToolSpec> =
        all_tools().into_iter().flat_map(|(_, t)| t.params.iter().map(move |p| ((t.name.as_str(), p.name.as_str()), t))).collect();
    for p in unrenamed(false, 3, 4000).into_iter().chain(unrenamed(true, 3, 2000)) {
        let text = request(&p).to_lowercase();
        for call in &p.expected.calls {
            for (name, accepted) in call.arguments.iter().filter(|(_, a)| !a.optional) {
                let param = said[&(call.name.as_str(), name.as_str())].params.iter().find(|q| q.name == *name).expect("known");
                let value = &accepted.values[0];
                let items = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
                for item in items {
                    let plain = as_text(&item).to_lowercase();
                    let words = param.choices.iter().filter(|c| c.value == item).flat_map(|c| &c.say);
                    let numeral = item.is_i64() && param.kind == Kind::Integer;
                    let found = text.contains(&plain) || words.map(|w| w.to_lowercase()).any(|w| text.contains(&w)) || numeral;
                    assert!(found, "{}: {name} = {item} is not in {text:?}", p.id);
                }
            }
        }
    }
}

#[test]
fn requests_read_like_written_ones() {
    for p in load(false, 4, 4000).into_iter().chain(load(true, 4, 2000)) {
        let text = request(&p);
        for bad in ["  ", " .", " ,", " ?", "..", ",,", "?.", "{", "}", " a a", " 1 days", " 1 hours", " 1 people"] {
            assert!(!text.contains(bad) || (bad == ".." && text.contains("...")), "{}: {bad:?} in {text:?}", p.id);
        }
        assert_eq!(text.trim(), text, "{}", p.id);
        assert!(text.matches('"').count().is_multiple_of(2), "{}: {text:?}", p.id);
    }
}

#[test]
fn half_of_the_training_problems_have_other_names_and_nothing_else_changes() {
    let shape = |p: &Problem| {
        let kinds = |t: &Tool| -> Vec<Value> { t.parameters["properties"].as_object().expect("an object").values().cloned().collect() };
        let needed = |t: &Tool| t.parameters["required"].as_array().map_or(0, Vec::len);
        let tools: Vec<_> = p.tools.iter().map(|t| (t.description.clone(), kinds(t), needed(t))).collect();
        let calls: Vec<Vec<Accepted>> = p.expected.calls.iter().map(|c| c.arguments.iter().map(|(_, a)| a.clone()).collect()).collect();
        (p.messages.clone(), tools, calls)
    };
    let mut renamed = 0;
    for (shown, own) in load(false, 5, 4000).iter().zip(&unrenamed(false, 5, 4000)) {
        assert_eq!(shape(shown), shape(own), "{}", own.id);
        for (new, old) in shown.tools.iter().zip(&own.tools) {
            let keys = |t: &Tool| t.parameters["properties"].as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
            for required in new.parameters["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                assert!(keys(new).iter().any(|k| k == required), "{}: {required} is required but unknown", own.id);
            }
            for (name, was) in keys(new).iter().zip(keys(old)) {
                let twins = |c: &&ExpectedCall| c.name == new.name;
                let call = shown.expected.calls.iter().find(twins).map(|c| c.arguments.iter().any(|(a, _)| a == name));
                let before = own.expected.calls.iter().find(|c| c.name == old.name).map(|c| c.arguments.iter().any(|(a, _)| *a == was));
                assert_eq!(call, before, "{}: {was} became {name}", own.id);
            }
        }
        renamed += usize::from(shown.tools != own.tools);
    }
    assert!((1800..=2200).contains(&renamed), "{renamed} of 4000");
    for (shown, own) in load(true, 5, 200).iter().zip(&unrenamed(true, 5, 200)) {
        assert_eq!(shown, own, "held-out problems keep their names");
    }
}
