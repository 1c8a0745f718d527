//! Anybody's reward, anybody's predictions, anybody's rows: checked, scored, learned from.

use serde_json::{Value, json};

use crate::support::{Lab, problem, problems};

const CLIMB: &str = "[[part]]\nuse = \"dense\"\nweight = { from = 1.0, to = 0.0, start = 1, end = 3 }\n\n[[part]]\nuse = \"strict\"\n";

#[test]
fn a_check_passes_good_rewards_and_names_what_a_bad_one_breaks() {
    let lab = Lab::new();
    for reward in ["dense", "paper", "strict", "simrl", "toolrl", "bfcl_ast"] {
        let ran = lab.run(&["tasks", "check", "starter:wide", "--reward", reward, "--limit", "80", "--json"]).ok();
        let report = &ran.objects()[0];
        assert_eq!((&report["passed"], report["reward"]["violations"].as_array().map(Vec::len)), (&json!(true), Some(0)), "{report}");
        let policies = report["reward"]["policies"].as_array().unwrap();
        assert!(policies.len() >= 14 && policies.last().unwrap()["policy"] == "gold" && policies.last().unwrap()["accuracy"] == 1.0);
    }
    lab.write("climb.toml", CLIMB);
    let ran =
        lab.run(&["tasks", "check", "starter", "--reward", "file:climb.toml", "--held-out", "starter:held-out", "--limit", "60"]).ok();
    for words in [
        "gold, then a sentence",
        "passed: never falls",
        "duplicates: ",
        "held-out tools that are also offered here: 0",
        "letter for letter",
    ] {
        assert!(ran.stdout.contains(words), "{words:?} is not in\n{}", ran.stdout);
    }
    // half a reward: names alone pay a tool without arguments as much as the right call
    lab.write("names.toml", "[[part]]\nuse = \"dense.names\"\n[[part]]\nuse = \"abstention\"\n");
    let ran = lab.run(&["tasks", "check", "starter", "--reward", "file:names.toml", "--limit", "60"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    assert!(ran.stdout.contains("VIOLATION gold_is_not_the_maximum: right_tool_empty earns no less than gold"), "{}", ran.stdout);
}

#[test]
fn a_check_names_the_problems_whose_tools_cannot_run_and_fails() {
    let lab = Lab::new();
    let row = |id: &str, runnable: Value, now: Value| {
        let tool = json!({"name": "f", "parameters": {"type": "object", "properties": {}}});
        let environment = json!({"tools": {"f": runnable}, "now": now});
        json!({"id": id, "messages": [{"role": "user", "content": format!("What is it, {id}?")}], "tools": [tool],
            "environment": environment, "expected": [{"name": "f", "arguments": {}}], "answer": 1})
        .to_string()
            + "\n"
    };
    let table = |sql: &str| json!({"kind": "table", "sql_setup": sql, "query": "select 1"});
    let program = row("program", json!({"kind": "command", "command": ["true"]}), Value::Null);
    lab.write("good.jsonl", &row("good", table("create table t (a)"), Value::Null));
    let ran = lab.run(&["tasks", "check", "file:good.jsonl", "--reward", "strict"]).ok();
    assert!(ran.stdout.contains("nothing that is wrong earns as much as gold, guessing"), "{}", ran.stdout);
    lab.write(
        "bad.jsonl",
        &[
            row("good", table("create table t (a)"), Value::Null),
            row("table", table("drop table x"), Value::Null),
            row("clock", json!({"kind": "clock", "operation": "now"}), json!("yesterday")),
            program.clone(),
        ]
        .concat(),
    );
    let ran = lab.run(&["tasks", "check", "file:bad.jsonl"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    for words in ["3 problems that a run would leave out", "table: tool \"f\": ", "clock: tool \"f\": ", "program: tool \"f\": "] {
        assert!(ran.stdout.contains(words), "{words:?} is not in\n{}", ran.stdout);
    }
    lab.write("program.jsonl", &program);
    lab.run(&["tasks", "check", "file:program.jsonl", "--programs"]).ok();
    lab.run(&["tasks", "check", "starter", "--limit", "0"]).refused(&["must be at least 1"]);
}

#[test]
fn a_check_counts_a_models_tokens() {
    let lab = Lab::new();
    let model = lab.model();
    let ran = lab.run(&["tasks", "check", "file:train.jsonl", "--model", model.to_str().unwrap(), "--json"]).ok();
    let (tokens, characters) = (&ran.objects()[0]["prompt_tokens"], &ran.objects()[0]["data"]["prompt_characters"]);
    assert!(tokens["min"].as_u64() > Some(100) && tokens["max"].as_u64() >= tokens["median"].as_u64(), "{tokens} {characters}");
}

#[test]
fn predictions_of_any_model_are_scored_line_by_line_in_order() {
    let lab = Lab::new();
    let shown = lab.run(&["tasks", "show", "file:held-out.jsonl", "--json"]).ok().objects();
    let gold = |p: &Value| -> Value {
        let call = |c: &Value| {
            let arguments: serde_json::Map<String, Value> =
                c["arguments"].as_array().unwrap().iter().map(|a| (a[0].as_str().unwrap().to_owned(), a[1]["values"][0].clone())).collect();
            json!({"name": c["name"], "arguments": arguments})
        };
        p["expected"].as_array().unwrap().iter().map(call).collect()
    };
    let row = |p: &Value, key: &str, value: Value| json!({"id": p["id"], key: value}).to_string();
    let text = gold(&shown[4])[0].to_string();
    let lines = [
        row(&shown[0], "calls", gold(&shown[0])),
        row(&shown[4], "text", json!(text)),
        row(&shown[4], "text", json!(format!("Sure! {text}"))),
        "{\"id\": \"nobody\", \"calls\": []}".into(),
        row(&shown[0], "calls", Value::Null),
        row(&shown[4], "calls", json!([])),
    ];
    lab.write("p.jsonl", &lines.join("\n\n"));
    let ran = lab.run(&[
        "tasks",
        "score",
        "file:held-out.jsonl",
        "p.jsonl",
        "--reward",
        "dense",
        "--reward",
        "simrl",
        "--out",
        "v.jsonl",
        "--json",
    ]);
    assert_eq!(ran.code, Some(1), "a bad line");
    assert!(ran.stderr.contains("p.jsonl, line 7, field id: \"nobody\" is no problem"), "{}", ran.stderr);
    let report = &ran.objects()[0];
    assert_eq!([&report["lines"], &report["scored"], &report["bad_lines"], &report["correct"]], [6, 5, 1, 2].map(|n| json!(n)).each_ref());
    let verdicts: Vec<Value> =
        std::fs::read_to_string(lab.path("v.jsonl")).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let outcomes: Vec<&str> = verdicts.iter().map(|v| v["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["correct", "correct", "extra_text", "error", "bad_json", "no_call"]);
    assert_eq!((&verdicts[2]["id"], &verdicts[3]["id"]), (&shown[4]["id"], &json!("nobody")));
    assert!(verdicts[2]["explanation"].as_str().unwrap().contains("text before the JSON"));
    assert_eq!((&verdicts[0]["rewards"]["dense"]["total"], &verdicts[5]["rewards"]["simrl"]["total"]), (&json!(1.0), &json!(0.0)));
    assert!(verdicts[0]["rewards"]["dense"]["parts"][0]["why"].is_string());
    lab.run(&["tasks", "score", "file:held-out.jsonl", "absent.jsonl"]).refused(&["absent.jsonl"]);
    lab.run(&["tasks", "score", "file:held-out.jsonl", "p.jsonl", "--reward", "dance"]).refused(&["\"dance\" is no reward", "toolrl"]);
}

#[test]
fn predictions_that_cannot_be_read_count_and_are_never_written_over() {
    let lab = Lab::new();
    let shown = lab.run(&["tasks", "show", "file:held-out.jsonl", "--json"]).ok().objects();
    let id = shown[0]["id"].as_str().unwrap();
    let torn = [format!("{{\"id\": \"{id}\", \"text\": \"").as_bytes(), b"\xff\"}\n{\"id\": \"nobody\", \"text\": \"\0\"}\n"].concat();
    std::fs::write(lab.path("p.jsonl"), &torn).unwrap();
    let score = |more: &[&str]| lab.run(&[&["tasks", "score", "file:held-out.jsonl", "p.jsonl"], more].concat());
    let ran = score(&[]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains("0 of 1 right (0.0 %); not counted: 1 lines that answer no problem"), "{}", ran.stdout);
    std::os::unix::fs::symlink("p.jsonl", lab.path("soft.jsonl")).unwrap();
    std::fs::hard_link(lab.path("p.jsonl"), lab.path("hard.jsonl")).unwrap();
    for out in ["p.jsonl", "./p.jsonl", "soft.jsonl", "hard.jsonl"] {
        score(&["--out", out]).refused(&[out, "the file of predictions itself"]);
    }
    score(&["--out", "held-out.jsonl"]).refused(&["the task file itself"]);
    assert_eq!(std::fs::read(lab.path("p.jsonl")).unwrap(), torn);
}

#[test]
fn a_run_learns_from_a_composition_and_keeps_it() {
    let lab = Lab::new();
    lab.write("climb.toml", CLIMB);
    let ran = lab
        .train(&["--set", "reward=file:climb.toml", "--set", "warm_start.steps=0", "--set", "eval_problems=0", "--steps", "2", "--json"])
        .ok();
    std::fs::remove_file(lab.path("climb.toml")).unwrap();
    let steps: Vec<Value> = ran.objects().into_iter().filter(|o| o.to_string().contains("rewards/dense/mean")).collect();
    assert!(!steps.is_empty(), "{}", ran.stdout);
    let run = lab.run(&["runs", "list", "--json"]).ok().objects()[0]["run"].as_str().unwrap().to_owned();
    let stored = lab.run(&["runs", "show", &run, "--json"]).ok().stdout;
    assert!(stored.contains("\"composition\":{\"part\":[{\"use\":\"dense\"") && stored.contains("file:climb.toml"), "{stored}");
}

#[test]
fn a_run_learns_from_a_program_and_ends_with_the_reason_when_it_fails() {
    let lab = Lab::new();
    let script = "while read -r line; do\n  id=$(echo \"$line\" | sed 's/^{\"id\":\\([0-9]*\\).*/\\1/')\n  \
                  echo \"{\\\"id\\\": $id, \\\"reward\\\": 0.$((id % 7)), \\\"parts\\\": {\\\"luck\\\": 1.5}}\"\ndone\n";
    lab.write("mine.sh", script);
    let ran = lab
        .train(&["--set", "reward=command:sh mine.sh", "--set", "warm_start.steps=0", "--set", "eval_problems=0", "--steps", "2", "--json"])
        .ok();
    assert!(ran.stdout.contains("rewards/luck/mean"), "{}", ran.stdout);
    lab.write("dies.sh", "exit 3\n");
    lab.train(&["--set", "reward=command:sh dies.sh", "--set", "warm_start.steps=0", "--set", "eval_problems=0"]).refused(&[
        "sh dies.sh",
        "exit status: 3",
        "twice in a row",
    ]);
}

#[test]
fn rows_of_others_are_learned_from_and_mixed() {
    let lab = Lab::new();
    let openai = |i: usize| {
        let p = problem(&format!("o-{i}"), i);
        json!({"id": p["id"], "tools": p["tools"], "messages": [p["messages"][0], {"role": "assistant", "tool_calls": p["expected"]}]})
            .to_string()
    };
    lab.write("openai.jsonl", &(0..8).map(|i| openai(i) + "\n").collect::<String>());
    let spec = "mix:1*file:openai.jsonl+3*file:train.jsonl#order=difficulty";
    let ran = lab.train(&["--tasks", spec, "--steps", "1", "--set", "warm_start.steps=0", "--set", "eval_problems=0"]).ok();
    assert!(ran.stderr.contains("training problems: 32 from mix:1*file:/"), "{}", ran.stderr);
    lab.write("two.jsonl", &problems("t", 3));
    lab.run(&["tasks", "show", "mix:1*starter+x*file:two.jsonl"]).refused(&["is no task set"]);
}
