use std::collections::BTreeSet;

use whetstone_domain::Problem;

use crate::tasks::{LoadOptions, TaskError, load};

fn loaded(spec: &str, limit: Option<usize>) -> Vec<Problem> {
    load(spec, &LoadOptions { limit, ..LoadOptions::default() }).expect(spec).problems
}

fn file(rows: usize) -> tempfile::NamedTempFile {
    let row = |i: usize| {
        serde_json::json!({"id": format!("own-{i}"), "messages": [{"role": "user", "content": format!("Number {i}?")}], "domain": format!("d{}", i % 5),
            "difficulty": 1 + i % 3, "tools": [{"name": format!("tool_{}", i % 40), "parameters": {}}, {"name": format!("tool_{}", (i + 1) % 40), "parameters": {}}],
            "expected": [{"name": format!("tool_{}", i % 40), "arguments": {}}]})
    };
    let file = tempfile::NamedTempFile::new().expect("temporary file");
    std::fs::write(file.path(), (0..rows).map(|i| format!("{}\n", row(i))).collect::<String>()).expect("written");
    file
}

#[test]
fn a_split_by_tool_shows_training_no_held_out_tool() {
    let file = file(400);
    let side = |side: &str, seed: u64| loaded(&format!("file:{}#split=tool:{side}:{seed}", file.path().display()), None);
    let called =
        |problems: &[Problem]| -> BTreeSet<String> { problems.iter().flat_map(|p| &p.expected.calls).map(|c| c.name.clone()).collect() };
    let offered = |problems: &[Problem]| -> BTreeSet<String> { problems.iter().flat_map(|p| &p.tools).map(|t| t.name.clone()).collect() };
    for seed in 0..3 {
        let (train, held_out) = (side("train", seed), side("held-out", seed));
        assert!(offered(&train).is_disjoint(&called(&held_out)));
        assert_eq!(train.len() + held_out.len(), 400, "every problem is on one side");
        assert!((1..=20).contains(&called(&held_out).len()), "{:?}", called(&held_out));
        assert_eq!(train, side("train", seed));
    }
    assert_ne!(side("held-out", 0), side("held-out", 1));
}

#[test]
fn a_split_by_domain_has_whole_domains_on_one_side() {
    let sides: Vec<BTreeSet<String>> = ["train", "held-out"]
        .map(|side| loaded(&format!("starter#split=domain:{side}:1"), Some(500)).into_iter().map(|p| p.domain).collect())
        .to_vec();
    assert!(sides[0].is_disjoint(&sides[1]) && !sides[1].is_empty(), "{sides:?}");
}

#[test]
fn a_filtered_generated_set_still_has_as_many_problems_as_asked_for() {
    let hard = loaded("starter#difficulty=3", Some(300));
    assert!(hard.len() == 300 && hard.iter().all(|p| p.difficulty == 3));
    assert_eq!(loaded("starter#split=tool:held-out:0", Some(100)).len(), 100);
    assert!(matches!(
        load("starter#difficulty=9", &LoadOptions { limit: Some(3), ..LoadOptions::default() }),
        Err(TaskError::Empty { .. })
    ));
}

#[test]
fn a_mix_has_its_weights_from_the_start_and_ends_with_its_scarcest_part() {
    let file = file(30);
    let spec = format!("mix:3*starter+1*file:{}", file.path().display());
    let own = |problems: &[Problem]| problems.iter().filter(|p| p.id.starts_with("own-")).count();
    let all = loaded(&spec, None);
    assert_eq!((all.len(), own(&all)), (120, 30));
    for n in [4, 20, 40, 120] {
        assert!(own(&all[..n]).abs_diff(n / 4) <= 1, "{} of the first {n}", own(&all[..n]));
    }
    let some = loaded(&spec, Some(40));
    assert_eq!((some.len(), own(&some)), (40, 10));
    let generated = loaded("mix:1*starter+1*starter:wide", Some(50));
    assert_eq!(generated.iter().filter(|p| p.id.starts_with("starter-wide")).count(), 25);
    // two parts with the same problems: the second is refused by name, as in one file
    let twice = load(&format!("mix:1*file:{0}+1*file:{0}", file.path().display()), &LoadOptions::default()).expect("half of it");
    assert!(twice.problems.len() == 30 && twice.refused[0].reason.contains("taken"));
}

#[test]
fn an_order_by_difficulty_is_carried_to_the_run() {
    assert!(load("starter#order=difficulty", &LoadOptions { limit: Some(9), ..LoadOptions::default() }).expect("loads").curriculum);
    assert!(!load("starter", &LoadOptions { limit: Some(9), ..LoadOptions::default() }).expect("loads").curriculum);
}
