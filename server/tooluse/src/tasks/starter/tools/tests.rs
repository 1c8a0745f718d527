//! What the set with running tools promises, as far as it shows without running them; `whetstone-tools` runs them all.

use std::collections::BTreeSet;

use super::*;
use crate::conversation::judge;
use crate::{matching, schema};

#[test]
fn a_problem_depends_on_seed_split_and_index_only() {
    let many = load(false, 7, 40);
    assert_eq!(load(false, 7, 10)[..], many[..10]);
    assert_eq!(problem(false, 7, 33), many[33]);
    assert_ne!(problem(false, 8, 0).messages, many[0].messages);
    assert_eq!((many[3].id.as_str(), problem(true, 7, 3).id.as_str()), ("tools-7-000003", "tools-held-out-7-000003"));
}

#[test]
fn the_splits_share_no_tool_and_every_scene_is_met() {
    let names = |held_out| load(held_out, 1, 600).into_iter().flat_map(|p| p.tools).map(|t| t.name).collect::<BTreeSet<String>>();
    let (train, held_out) = (names(false), names(true));
    assert!(train.is_disjoint(&held_out), "{train:?} {held_out:?}");
    assert_eq!((train.len(), held_out.len()), (9, 8));
    let plain: BTreeSet<String> = super::super::load(false, 1, 2000)
        .into_iter()
        .chain(super::super::load(true, 1, 500))
        .flat_map(|p| p.tools)
        .map(|t| t.name)
        .collect();
    assert!(held_out.is_disjoint(&plain), "held-out tools are not in the plain starter set either");
}

#[test]
fn every_problem_is_whole() {
    for p in load(false, 2, 1000).into_iter().chain(load(true, 2, 1000)) {
        let environment = p.environment.as_ref().expect("an environment");
        assert!(p.is_conversation() && !p.expected.is_no_call(), "{}", p.id);
        assert!(p.tools.iter().all(|t| environment.tools.contains_key(&t.name)) && p.tools.len() == environment.tools.len(), "{}", p.id);
        let gold = matching::canonical(&p);
        assert!(matching::matches(&p, &gold), "{}", p.id);
        for call in &gold {
            let tool = p.tools.iter().find(|t| t.name == call.name).expect("offered");
            assert_eq!(schema::check(tool, call), Ok(()), "{}", p.id);
        }
        let answer = p.answer.as_ref().expect("an answer");
        let first = answer.any_of[0].as_str().map_or_else(|| answer.any_of[0].to_string(), str::to_owned);
        assert!(judge::answers(answer, &first), "{}", p.id);
        assert!(!p.messages[0].content.contains(['{', '}']), "{}", p.messages[0].content);
        assert!((2..=4).contains(&p.difficulty) && p.tools.len() <= 3, "{}", p.id);
    }
}

#[test]
fn requests_rarely_repeat() {
    for held_out in [false, true] {
        let requests: Vec<String> = load(held_out, 0, 500).into_iter().map(|p| p.messages[0].content.clone()).collect();
        let distinct: BTreeSet<&String> = requests.iter().collect();
        // a library and towns have fewer words than ways to fill their tables, and the answer changes with those
        assert!(distinct.len() * 2 > requests.len(), "{} of {}", distinct.len(), requests.len());
    }
}
