//! The way through the command line: train, look, resume, export, evaluate.

use serde_json::Value;

use crate::support::{Lab, assert_same, comparable};

#[test]
fn a_trained_adapter_is_shown_exported_and_measured() {
    let lab = Lab::new();
    let objects = lab.train(&["--json", "--name", "first"]).ok().objects();
    let (last, steps) = objects.split_last().unwrap();
    let place = |o: &Value| format!("{} {}", o["phase"].as_str().unwrap(), o["step"]);
    let places: Vec<String> = steps.iter().map(place).collect();
    let expected = ["warm_start 1", "warm_start 2", "warm_start 3", "warm_start 4", "grpo 1", "grpo 2", "grpo 3", "grpo 4"];
    assert_eq!(places, expected);
    assert!(steps.iter().all(|s| s["metrics"]["loss"].is_f64() && s["metrics"]["step_time"].is_f64()));
    assert!(steps.iter().any(|s| s["metrics"]["group/mixed"].as_f64().is_some_and(|m| m > 0.0)), "no group had any spread");
    assert_eq!(last["steps"], 4);
    assert_eq!(last["state"], "finished");
    for key in ["before", "after_warm_start", "after"] {
        assert!(last[key]["accuracy"].is_f64() && last[key]["ci_low"].is_f64() && last[key]["json_valid"].is_f64(), "{key}: {last}");
        assert_eq!(last[key]["n"], 6);
    }
    for key in ["mcnemar_vs_baseline", "mcnemar_vs_warm_start", "arguments_vs_start"] {
        assert!(last[key]["gained"].is_u64() && last[key]["lost"].is_u64() && last[key]["p"].is_f64(), "{key}: {last}");
    }
    assert!(last["best"]["accuracy"].as_f64() >= last["before"]["accuracy"].as_f64());
    let id = last["run"].as_str().unwrap();

    let listed = lab.run(&["runs", "list", "--json"]).ok().objects();
    assert_eq!(
        (listed.len(), &listed[0]["run"], &listed[0]["name"], &listed[0]["state"]),
        (1, &last["run"], &"first".into(), &"finished".into())
    );
    let shown = lab.show("first");
    assert_eq!(shown["config"]["threads"], 2);
    assert_eq!(shown["evaluations"].as_array().unwrap().len(), 4); // before, after the warm start, step 2, step 4
    assert_eq!(shown["checkpoints"].as_array().unwrap().len(), 9); // one a step, and the one before the first
    let text = lab.run(&["runs", "show", id]).ok().stdout;
    assert!(text.contains("checkpoints/grpo-000004") && text.contains("num_generations = 3"), "{text}");

    let again = lab.run(&["train", "--resume", id]).ok();
    assert!(again.stderr.contains("is finished"), "{}", again.stderr);
    assert_same(&comparable(&lab.show(id)), &comparable(&shown));

    lab.run(&["export", id, "adapter", "--format", "peft", "--check", "check.json"]).ok();
    let card = std::fs::read_to_string(lab.path("adapter/README.md")).unwrap();
    for word in
        ["base_model: whetstone/tiny-0", shown["base_sha256"].as_str().unwrap(), "8 / 16", "num_generations = 3", "PeftModel", " to "]
    {
        assert!(card.contains(word), "{word:?} is not in the model card:\n{card}");
    }
    assert!(!card.contains(&lab.path("").display().to_string()), "the card names folders of this machine:\n{card}");
    let check: Value = serde_json::from_str(&std::fs::read_to_string(lab.path("check.json")).unwrap()).unwrap();
    assert_eq!(check["logits_last"].as_array().unwrap().len(), 259);
    assert!(check["ids"].as_array().unwrap().len() > 10);
    lab.run(&["export", id, "adapter"]).refused(&["exists already"]);
    lab.run(&["export", id, "other", "--checkpoint", "7"]).refused(&["no checkpoint at step 7", "warm-start:4", "1, 2, 3, 4"]);
    lab.run(&["export", id, "warm", "--checkpoint", "warm-start:4"]).ok();

    let model = lab.model();
    let eval = ["eval", "--model", model.to_str().unwrap(), "--tasks", "file:held-out.jsonl", "--max-completion-length", "8", "--json"];
    let adapted = lab.run(&[&eval[..], &["--adapter", "adapter", "--out", "answers.jsonl"]].concat()).ok().objects().remove(0);
    for key in
        ["ci_low", "ci_high", "name_accuracy", "argument_accuracy", "no_call_accuracy", "false_call_rate", "seconds", "tokens_per_second"]
    {
        assert!(adapted[key].is_f64(), "{key}: {adapted}");
    }
    // the exported adapter answers as the run's own evaluation did
    let best = lab.run(&["export", id, "best", "--json"]).ok().objects().remove(0);
    for key in ["accuracy", "json_valid", "mean_tokens"] {
        assert_eq!(adapted[key], best["evaluation"][key], "{key}");
    }
    let answers = std::fs::read_to_string(lab.path("answers.jsonl")).unwrap();
    let answers: Vec<Value> = answers.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(answers.len(), 6);
    assert!(answers.iter().all(|a| a["id"].is_string()
        && a["text"].is_string()
        && a["correct"].is_boolean()
        && (a["calls"].is_array() || a["calls"].is_null())));
    let plain = lab.run(&eval).ok().objects().remove(0);
    assert_eq!(plain["accuracy"], shown["evaluations"][0]["summary"]["accuracy"]);
}

/// A step whose groups are all of one reward updates nothing: there is no pace to tell.
#[test]
fn a_step_that_learns_nothing_tells_no_tokens_per_second_of_its_update() {
    let lab = Lab::new();
    let set = ["--set", "num_generations=2", "--set", "problems_per_step=1", "--set", "reward=strict", "--set", "beta=0.0", "--steps", "6"];
    let objects = lab.train(&[&["--json"], &set[..]].concat()).ok().objects();
    let steps: Vec<&Value> = objects.iter().filter(|o| o["phase"] == "grpo").map(|o| &o["metrics"]).collect();
    assert!(steps.iter().all(|m| m["tokens_per_second/rollout"].is_f64()));
    assert!(steps.iter().all(|m| m["tokens_per_second/update"].is_f64() == m["time/forward"].is_f64()), "{steps:?}");
    assert!(steps.iter().any(|m| m["time/forward"].is_null()), "every step had some spread: {steps:?}");
}

#[test]
fn the_paper_recipe_prints_its_two_metrics() {
    let lab = Lab::new();
    let model = lab.model();
    let held_out = format!("eval_tasks=file:{}", lab.path("held-out.jsonl").display());
    let train = ["train", "--recipe", "paper", "--model", model.to_str().unwrap(), "--tasks", "file:train.jsonl", "--steps", "5"];
    // the tiny tokenizer has a token a byte; 512 random bytes an answer would only cost time
    let sets = ["--set", &held_out, "--set", "eval_problems=6", "--set", "max_prompt_tokens=2000", "--set", "max_completion_length=24"];
    let ran = lab.run(&[&train[..], &sets[..]].concat()).ok();
    assert!(ran.stdout.contains("step 5/5"), "{}", ran.stdout);
    assert!(ran.stdout.contains("JSON validity ") && ran.stdout.contains("overall accuracy "), "{}", ran.stdout);
    let config = &lab.show("latest")["config"];
    assert_eq!(
        (&config["reward"], &config["lora_rank"], &config["lr_schedule"]),
        (&"paper".into(), &64.into(), &"cosine_with_restarts".into())
    );
    assert_eq!(config["learning_rate"], 5e-6);
}

#[test]
fn later_layers_win() {
    let lab = Lab::new();
    lab.train(&["--steps", "1", "--set", "steps=0", "--set", "warm_start.steps=1", "--set", "reward=strict", "--set", "eval_problems=2"])
        .ok();
    let config = &lab.show("latest")["config"];
    assert_eq!((&config["steps"], &config["warm_start"]["steps"], &config["reward"]), (&0.into(), &1.into(), &"strict".into()));
    assert_eq!(config["temperature"], 0.8, "the file's value went missing");
}

#[test]
fn task_sets_can_be_looked_into() {
    let lab = Lab::new();
    let listed = lab.run(&["tasks", "list"]).ok().stdout;
    assert!(["starter:held-out", "file:PATH", "bfcl:simple_python", "travel"].iter().all(|w| listed.contains(w)), "{listed}");
    let shown = lab.run(&["tasks", "show", "starter", "--limit", "3", "--seed", "1", "--json"]).ok().objects();
    assert_eq!(shown.len(), 3);
    assert!(shown.iter().all(|p| p["tools"].is_array() && p["expected"].is_array()));
    let listed = lab.run(&["model", "list", "--json"]).ok().objects();
    assert!(listed.iter().any(|m| m["name"] == "smollm2-135m-instruct-q4_1" && m["present"] == false));
}

#[test]
fn every_command_explains_itself() {
    let lab = Lab::new();
    for (command, word) in [
        ("train", "--resume"),
        ("eval", "predictions.jsonl"),
        ("export", "--check"),
        ("model", "HF_ENDPOINT"),
        ("tasks", "any_of"),
        ("runs", "latest"),
    ] {
        let command: Vec<&str> = if command == "runs" { vec!["runs", "show", "--help"] } else { vec![command, "--help"] };
        let help = lab.run(&command).ok().stdout;
        assert!(help.contains(word), "{word} is not in:\n{help}");
    }
}

#[test]
fn a_time_budget_ends_both_phases_and_the_last_evaluation_is_made() {
    let lab = Lab::new();
    let budget = ["--steps", "1000000", "--set", "warm_start.steps=100000", "--set", "max_minutes=0.05", "--set", "eval_every=0"];
    lab.train(&budget).ok();
    let shown = lab.show("latest");
    assert_eq!(shown["state"], "finished");
    let kinds: Vec<&str> = shown["evaluations"].as_array().unwrap().iter().map(|e| e["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["baseline", "after_warm_start", "final"]);
    let steps = shown["metrics"]["grpo"]["loss"].as_array().unwrap().len();
    assert!(steps > 0 && steps < 100_000, "{steps} steps");
    let last = shown["checkpoints"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["step"], steps, "what was measured last can be had");
}
