//! Tools that run: conversations are learned from, stopped, resumed, stored turn by turn and measured.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};
use whetstone_domain::{GroupRecord, Phase, Role};
use whetstone_model::tiny::{speaking_base, write_base};
use whetstone_model::weights::Base;
use whetstone_store::Store;

use crate::support::{Lab, assert_same, comparable};

/// What suits a model that writes a token a byte, and knows two texts which a large learning rate would make it forget.
const SETS: [&str; 15] = [
    "tasks=starter:tools",
    "eval_tasks=starter:tools-held-out",
    "format=pythonic",
    "temperature=1.0",
    "learning_rate=1e-4",
    "problems_per_step=1",
    "num_generations=4",
    "max_prompt_tokens=3000",
    "max_completion_length=12",
    "tools.max_tokens=1000",
    "eval_problems=3",
    "eval_every=0",
    "warm_start.steps=1",
    "warm_start.problems_per_step=1",
    "warm_start.learning_rate=1e-5",
];

/// A lab whose model calls `f` in two turns of three, else says 42. The starter set has no tool of this name: the model is told.
fn lab() -> Lab {
    let lab = Lab::new();
    write_base(&speaking_base(&["[f()]", "42"]).unwrap(), &lab.model()).unwrap();
    lab
}

fn train(more: &[&'static str]) -> Vec<&'static str> {
    let sets = [&SETS[..], more].concat();
    [vec!["train", "tiny.toml", "--json"], sets.into_iter().flat_map(|set| ["--set", set]).collect()].concat()
}

/// The groups of a GRPO step of the latest run, as they were stored.
fn stored(lab: &Lab, step: usize) -> Vec<GroupRecord> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(&lab.data()).await.unwrap();
        let run = store.run("latest").await.unwrap();
        let groups = store.groups(run.id, Phase::Grpo, step).await.unwrap();
        store.close().await;
        groups
    })
}

/// Fails unless the tokens of every rollout decode to its turns, model and tools by turns, with mask 0 where tools speak; what the
/// tools said.
fn said_by_tools(lab: &Lab, groups: &[GroupRecord]) -> Vec<String> {
    let base = Base::load(&lab.model()).unwrap();
    let decode = |ids: &[u32]| base.tokenizer.decode(ids, false);
    let mut said = Vec::new();
    for group in groups {
        assert_eq!(decode(&group.prompt_ids), group.prompt);
        for r in &group.rollouts {
            assert_eq!(decode(&r.ids), r.turns.iter().map(|t| t.text.as_str()).collect::<String>());
            assert_eq!(r.turns.last().unwrap().end, r.ids.len());
            let mut start = 0;
            for (i, turn) in r.turns.iter().enumerate() {
                let by_model = i % 2 == 0;
                assert_eq!((turn.start, turn.role == Role::Assistant), (start, by_model), "{:?}", r.turns);
                assert!(r.mask[turn.start..turn.end].iter().all(|m| *m == u8::from(by_model)), "{turn:?}");
                start = turn.end;
                if !by_model {
                    said.push(turn.text.clone());
                }
            }
        }
    }
    said
}

#[test]
fn conversations_are_learned_from_stopped_resumed_and_measured() {
    let lab = lab();
    let args = train(&["steps=12"]);
    lab.run(&args).ok();
    let shown = lab.show("latest");
    assert_eq!((&shown["state"], &shown["step"]), (&json!("finished"), &json!(12)));
    let calls = shown["metrics"]["grpo"]["tools/call_frequency"].as_array().unwrap();
    assert!(calls.iter().any(|point| point[1].as_f64() > Some(0.0)), "{calls:?}");
    let kinds: Vec<&str> = shown["evaluations"].as_array().unwrap().iter().map(|e| e["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["baseline", "after_warm_start", "final"]);
    let said: Vec<String> = (1..=12).flat_map(|step| said_by_tools(&lab, &stored(&lab, step))).collect();
    assert!(!said.is_empty() && said.iter().all(|text| text.contains("Result: error: there is no tool \"f\"<|im_end|>")), "{said:?}");

    std::fs::rename(lab.data(), lab.path("uninterrupted")).unwrap();
    let mut child = lab.command(&args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|l| l.unwrap().contains("\"phase\":\"grpo\"")));
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let last: Value = serde_json::from_str(&lines.last().unwrap().unwrap()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(last["state"], "stopped", "{last}");
    lab.run(&["train", "--resume", "latest"]).ok();
    assert_same(&comparable(&lab.show("latest")), &comparable(&shown));

    let model = lab.model();
    let eval = ["eval", "--model", model.to_str().unwrap(), "--format", "pythonic", "--max-completion-length", "12", "--json"];
    let measured = lab.run(&[&eval[..], &["--tasks", "starter:tools-held-out", "--limit", "2"]].concat()).ok().objects().remove(0);
    // greedily it calls in every turn: four times six tokens, whatever it is told in between
    assert_eq!((&measured["n"], &measured["mean_tokens"], &measured["correct"]), (&json!(2), &json!(24.0), &json!(0)));
}

#[test]
fn what_a_tool_of_ones_own_says_is_stored_and_a_right_answer_is_paid() {
    said_and_paid(
        &json!({ "kind": "table", "sql_setup": "create table t (a); insert into t values (42)", "query": "select a from t" }),
        "tools.programs=false",
    );
}

#[test]
fn a_program_of_ones_own_is_started_by_this_binary_within_limits() {
    // what it starts at once is limited, too
    let script = "(test $(ulimit -v) = 1048576 && echo 42) & wait";
    said_and_paid(&json!({ "kind": "command", "command": ["sh", "-c", script] }), "tools.programs=true");
}

/// Trains with a tool `f` that says 42.
fn said_and_paid(tool: &Value, programs: &'static str) {
    let lab = lab();
    let row = json!({
        "id": "q", "messages": [{ "role": "user", "content": "What does f say?" }],
        "tools": [{ "name": "f", "description": "Says it", "parameters": { "type": "object", "properties": {} } }],
        "expected": [{ "name": "f", "arguments": {} }],
        "environment": { "tools": { "f": tool } },
        "answer": 42
    });
    lab.write("f.jsonl", &format!("{row}\n"));
    lab.run(&train(&["tasks=file:f.jsonl", "eval_problems=0", "warm_start.steps=0", "steps=2", "num_generations=8", programs])).ok();
    let groups = [stored(&lab, 1), stored(&lab, 2)].concat();
    let said = said_by_tools(&lab, &groups);
    assert!(!said.is_empty() && said.iter().all(|text| text.contains("Result: 42<|im_end|>")), "{said:?}");
    for r in groups.iter().flat_map(|g| &g.rollouts) {
        let turns: Vec<&str> = r.turns.iter().map(|t| t.text.as_str()).collect();
        // a guess is no answer, and further calls cost something
        let answered = turns.len() > 1 && turns.last() == Some(&"42<|im_end|>");
        assert_eq!(r.outcome.is_correct(), answered, "{turns:?} {:?}", r.outcome);
        assert_eq!(r.reward.total > 0.999, answered && turns.len() == 3, "{turns:?} {:?}", r.reward);
    }
    assert!(groups.iter().flat_map(|g| &g.rollouts).any(|r| r.outcome.is_correct()));
}
