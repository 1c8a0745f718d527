//! What the wide set promises.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use whetstone_domain::problem::Problem;

use super::super::{content, load, load_wide, spoken};
use super::{LISTS, TWINS};
use crate::matching;

fn both(n: usize) -> Vec<Problem> {
    [load_wide(false, 1, n), load_wide(true, 1, n)].concat()
}

#[test]
fn every_content_file_of_the_wide_set_loads() {
    let list: Vec<String> = content::wide_parsed().1.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{} mistakes:\n{}", list.len(), list.join("\n"));
}

/// The wide set stands beside the narrow one: runs that were made on it must stay comparable.
#[test]
fn the_narrow_set_never_changes() {
    let hash = |problems: Vec<Problem>| {
        let text = serde_json::to_string(&problems).expect("problems are JSON");
        text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
    };
    assert_eq!(format!("{:016x}", hash(load(false, 0, 200))), "4f7a9d1ab2052056");
    assert_eq!(format!("{:016x}", hash(load(true, 0, 200))), "0b45213086d901d5");
}

#[test]
fn the_wide_set_has_several_calls_look_alikes_and_values_in_other_words() {
    for held_out in [false, true] {
        let problems = load_wide(held_out, 0, 3000);
        let count = |f: &dyn Fn(&Problem) -> bool| problems.iter().filter(|p| f(p)).count();
        let names = |p: &Problem| p.expected.calls.iter().map(|c| c.name.clone()).collect::<BTreeSet<_>>().len();
        assert!((270..=460).contains(&count(&|p| p.expected.is_no_call())));
        assert!(count(&|p| p.expected.calls.len() > 1 && names(p) == 1) > 400, "parallel");
        assert!(count(&|p| p.expected.calls.len() > 1 && names(p) == 2) > 400, "several tools");
        let twins: BTreeSet<&str> = TWINS.iter().map(|t| t.2).collect();
        assert!(count(&|p| p.tools.iter().any(|t| twins.contains(t.description.as_str()))) > 450, "look-alikes");
        let literal = |p: &Problem| {
            let text = p.messages[0].content.to_lowercase();
            let values = p.expected.calls.iter().flat_map(|c| &c.arguments).filter(|(_, a)| !a.optional);
            values
                .map(|(_, a)| &a.values[0])
                .all(|v| text.contains(&v.as_str().map_or_else(|| v.to_string(), str::to_owned).to_lowercase()))
        };
        assert!(count(&|p| !p.expected.is_no_call() && !literal(p)) > 1000, "values in other words");
        assert!(problems.iter().all(|p| p.tools.len() <= 6));
    }
}

#[test]
fn every_wide_problem_is_solvable_and_its_calls_keep_to_their_schemas() {
    for p in both(2500) {
        let gold = matching::canonical(&p);
        assert!(matching::matches(&p, &gold), "{}", p.id);
        let names: BTreeSet<&str> = p.tools.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names.len(), p.tools.len(), "{}: a tool twice", p.id);
        for call in &gold {
            let tool = matching::tool_of(&p, &call.name).expect("offered");
            assert_eq!(crate::schema::check(tool, call), Ok(()), "{}", p.id);
        }
        for (i, call) in gold.iter().enumerate() {
            assert!(!gold[..i].contains(call), "{}: a call twice", p.id);
        }
    }
}

#[test]
fn a_look_alike_is_never_the_right_tool_and_stands_beside_it() {
    let twins: BTreeMap<&str, &str> = TWINS.iter().map(|t| (t.2, t.0)).collect();
    let content = content::wide_content();
    let known: BTreeMap<&str, &str> =
        content.domains.iter().flat_map(|d| &d.tools).map(|t| (t.name.as_str(), t.description.as_str())).collect();
    for (of, name, description) in TWINS {
        assert!(known.contains_key(of) && !known.contains_key(name) && !known.values().any(|d| *d == description), "{of}: {name}");
    }
    for (tool, argument) in LISTS {
        let spec = content.domains.iter().flat_map(|d| &d.tools).find(|t| t.name == tool).expect(tool);
        assert!(spec.params.iter().any(|p| p.name == argument), "{tool}.{argument}");
    }
    for p in both(2500) {
        for tool in p.tools.iter().filter(|t| twins.contains_key(t.description.as_str())) {
            assert!(p.expected.calls.iter().all(|c| c.name != tool.name), "{}", p.id);
            let original = known[twins[tool.description.as_str()]];
            assert!(p.tools.iter().any(|t| t.description == original), "{}: a look-alike alone", p.id);
        }
    }
}

#[test]
fn training_and_held_out_share_no_tool() {
    let words = |held_out: bool| -> BTreeSet<String> {
        load_wide(held_out, 2, 3000).into_iter().flat_map(|p| p.tools).map(|t| t.description).collect()
    };
    assert!(words(false).is_disjoint(&words(true)));
    let domains = |held_out: bool| -> BTreeSet<String> { load_wide(held_out, 2, 1000).into_iter().map(|p| p.domain).collect() };
    assert!(domains(true).iter().map(String::as_str).eq(["delivery", "health", "travel"]));
    assert!(domains(false).contains("bookkeeping") && domains(false).is_disjoint(&domains(true)));
}

#[test]
fn a_wide_problem_depends_on_seed_split_and_index_only() {
    let many = load_wide(false, 7, 40);
    assert_eq!(load_wide(false, 7, 10)[..], many[..10]);
    assert_ne!(load_wide(false, 8, 1)[0].messages, many[0].messages);
    assert_eq!(many[3].id, "starter-wide-7-000003");
    assert_eq!(load_wide(true, 7, 1)[0].id, "starter-wide-held-out-7-000000");
}

#[test]
fn wide_requests_read_like_written_ones_and_rarely_repeat() {
    let problems = both(3000);
    for p in &problems {
        let text = &p.messages[0].content;
        let text = &text.replace(" ...", "");
        for bad in ["  ", " .", " ,", " ?", "..", ",,", "?.", ".?", "{", "}", " a a ", " 1 days", "the the "] {
            assert!(!text.contains(bad), "{}: {bad:?} in {text:?}", p.id);
        }
        assert!(text.matches('"').count().is_multiple_of(2) && text.trim() == text, "{text:?}");
    }
    let distinct: BTreeSet<&str> = problems.iter().map(|p| p.messages[0].content.as_str()).collect();
    assert!((problems.len() - distinct.len()) * 20 <= problems.len());
}

#[test]
fn spoken_values_mean_what_they_say() {
    let pools = spoken::pools();
    let say = |pool: &str, value: Value| pools[pool].iter().find(|c| c.value == value).map(|c| c.say.join(" | ")).unwrap_or_default();
    assert_eq!(say("spoken_time", "16:30".into()), "4:30 pm | half past four in the afternoon");
    assert_eq!(say("spoken_time", "08:45".into()), "8:45 am | a quarter to nine in the morning");
    assert_eq!(say("spoken_time", "12:00".into()), "noon");
    assert_eq!(say("spoken_time", "18:00".into()), "6 pm | six in the evening");
    assert_eq!(say("minutes", 90.into()), "90 minutes | one and a half hours | 1.5 hours");
    assert_eq!([spoken::weekday(2026, 11, 24), spoken::weekday(2025, 1, 1), spoken::weekday(2024, 2, 29)], [2, 3, 4]);
    for choice in &pools["euro_cents"] {
        let cents = choice.value.as_i64().expect("whole cents");
        for say in &choice.say {
            let digits: String = say.replace(" euros and ", ".0").chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
            let written: f64 = digits.parse().expect(say);
            let spelled = say.split_once(" euros and ").map(|(euros, c)| {
                let whole: i64 = euros.replace(',', "").parse().expect(euros);
                100 * whole + c.trim_end_matches(" cents").parse::<i64>().expect(c)
            });
            assert_eq!(spelled.unwrap_or((written * 100.0).round() as i64), cents, "{say}");
        }
    }
    for choice in &pools["written_date"] {
        let date = choice.value.as_str().expect("a date");
        let day: u32 = date[8..].parse().expect("a day");
        assert!(choice.say.iter().all(|s| s.contains(&date[..4]) && s.contains(&day.to_string())), "{choice:?}");
    }
}
