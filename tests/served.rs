//! The line in the browser, over plain HTTP: launch, watch, open a sample, download; killed workers and servers are survived.

use serde_json::json;

use crate::serving::{Server, events, lab, launch, launch_by_form, upload};
use crate::support::{assert_same, comparable};

#[test]
fn a_run_is_launched_watched_opened_and_downloaded() {
    let lab = lab();
    let server = Server::start(&lab, &[]);
    upload(&server);
    let id = launch_by_form(&server, &lab, "<script>alert(1)</script>", 4);

    let told = events(&server, &id, 0, "finished");
    assert!(told.windows(2).all(|w| w[0].0 < w[1].0), "ids rise");
    let steps: Vec<i64> =
        told.iter().filter(|(_, k, d)| k == "step" && d["phase"] == "grpo").map(|(_, _, d)| d["step"].as_i64().unwrap()).collect();
    assert_eq!(steps, [1, 2, 3, 4]);
    let middle = told[told.len() / 2].0;
    let rest = events(&server, &id, middle, "finished");
    assert_eq!(rest.len(), told.iter().filter(|(i, ..)| *i > middle).count(), "a stream goes on from the id it is given");

    let page = server.get(&format!("/runs/{id}")).is(200).text();
    assert!(page.contains("&#60;script&#62;alert(1)") || page.contains("&lt;script&gt;alert(1)"), "{page}");
    assert!(!page.contains("<script>alert"));
    let group = server.get(&format!("/runs/{id}/groups/2-0")).is(200).text();
    let sum =
        ["A₁ = (", "A₂ = (", "A₃ = ("].iter().find_map(|mark| group.split_once(mark)).map(|(_, rest)| rest.split('<').next().unwrap());
    let [reward, mean, std, epsilon, advantage] = numbers(sum.expect("the arithmetic is shown"))[..] else { panic!("{sum:?}") };
    assert!(((reward - mean) / (std + epsilon) - advantage).abs() < 0.01, "{sum:?}");
    for path in ["/runs", &format!("/runs/{id}/steps/2"), &format!("/runs/{id}/evals/grpo-4"), &format!("/compare?runs={id}"), "/runs/new"]
    {
        server.get(path).is(200);
    }

    let listed = server.get(&format!("/api/v1/runs/{id}/adapters")).is(200).json();
    let sha256 = listed["items"].as_array().unwrap().last().unwrap()["sha256"].as_str().unwrap().to_owned();
    let zip = server.get(&format!("/api/v1/runs/{id}/adapters/last.zip")).is(200);
    assert_eq!(zip.header("content-type"), Some("application/zip"));
    let path = lab.path("adapter.zip");
    std::fs::write(&path, &zip.body).unwrap();
    assert_eq!(lab.show(&id)["checkpoints"].as_array().unwrap().last().unwrap()["adapter_sha256"], sha256.as_str());
    let tasks = format!("file:{}", lab.path("held-out.jsonl").display());
    let model = lab.data().join("models/tiny");
    lab.run(&["eval", "--model", model.to_str().unwrap(), "--adapter", path.to_str().unwrap(), "--tasks", &tasks]).ok();
}

/// The numbers of a sum as it is written on a page.
fn numbers(sum: &str) -> Vec<f64> {
    let plain = sum.replace('−', " ").replace(['(', ')', '/', '=', '+'], " ");
    plain.split_whitespace().map(|n| n.parse().unwrap_or_else(|e| panic!("{e}: {n:?} of {sum:?}"))).collect()
}

#[test]
fn a_worker_killed_is_a_failed_run_that_resumes_to_the_same_numbers() {
    let lab = lab();
    let server = Server::start(&lab, &[]);
    upload(&server);
    let whole = launch(&server, &lab, "whole", 30);
    server.wait_for(&whole, "finished");

    let id = launch(&server, &lab, "killed", 30);
    let run = server.wait(&id, "steps", |r| r["phase"] == "grpo" && r["step"].as_i64() >= Some(3));
    let pid = run["pid"].as_i64().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    let failed = server.wait_for(&id, "failed");
    assert!(failed["message"].as_str().unwrap().contains("SIGKILL"), "{failed}");
    server.post(&format!("/api/v1/runs/{id}/resume"), &json!({})).is(202);
    server.wait_for(&id, "finished");
    assert_same(&comparable(&lab.show(&id)), &comparable(&lab.show(&whole)));
}

#[test]
fn a_server_killed_finds_its_worker_again_and_a_terminal_run_shows() {
    let lab = lab();
    let server = Server::start(&lab, &[]);
    upload(&server);
    let id = launch(&server, &lab, "survivor", 60);
    let before = server.wait(&id, "steps", |r| r["phase"] == "grpo" && r["step"].as_i64() >= Some(2));
    server.kill();

    let server = Server::start(&lab, &[]);
    let after = server.run(&id);
    assert_eq!(after["pid"], before["pid"], "the worker goes on: {after}");
    let second = lab.command(&["serve", "--port", "0"]).output().unwrap();
    assert!(!second.status.success() && String::from_utf8_lossy(&second.stderr).contains("another whetstone server"));
    server.post(&format!("/api/v1/runs/{id}/stop"), &json!({})).is(202);
    server.wait_for(&id, "stopped");

    let model = lab.data().join("models/tiny");
    let model = format!("model={}", model.display());
    lab.train(&["--steps", "1", "--name", "from a terminal", "--set", &model]).ok();
    assert!(server.get("/runs").is(200).text().contains("from a terminal"));
}

#[test]
fn a_worker_that_hangs_is_interrupted_and_goes_on_by_itself_where_that_is_wished() {
    let lab = lab();
    let server = Server::start(&lab, &["--auto-resume"]);
    upload(&server);
    let id = launch(&server, &lab, "hangs", 40);
    let run = server.wait(&id, "steps", |r| r["phase"] == "grpo" && r["step"].as_i64() >= Some(2));
    let pid = run["pid"].as_i64().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-STOP", &pid]).status().unwrap().success());
    server.wait_for(&id, "finished");
    let told = events(&server, &id, 0, "finished");
    let states: Vec<&str> = told.iter().filter(|(_, k, _)| k == "status").filter_map(|(_, _, d)| d["state"].as_str()).collect();
    assert!(states.windows(2).any(|w| w == ["interrupted", "queued"]), "{states:?}");
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "the worker that hung was ended");
}

#[test]
fn what_comes_from_elsewhere_is_refused() {
    let lab = lab();
    let server = Server::start(&lab, &[]);
    let json = ("Content-Type", "application/json");
    server.send("GET", "/runs", &[("Host", "evil.example")], "").is(421);
    server.send("POST", "/api/v1/runs", &[json, ("Origin", "http://evil.example")], "{}").is(403);
    server.send("POST", "/api/v1/runs", &[json, ("Sec-Fetch-Site", "cross-site")], "{}").is(403);
    let refused = server
        .post("/api/v1/runs", &json!({ "config": { "num_generations": 1, "learning_rate": -1, "steps": 10_000_000 } }))
        .is(422)
        .json();
    let pointers: Vec<&str> = refused["errors"].as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["/config/steps", "/config/num_generations", "/config/learning_rate"], "{refused}");
    for (path, status) in [
        ("/runs/..%2f..%2fetc", 404),
        ("/runs/r-%00", 404),
        ("/api/v1/runs/r-zzzz", 404),
        ("/api/v1/runs?after=%FF", 400),
        ("/api/v1/runs?unknown=1", 400),
        ("/api/v1/events?after=x", 400),
        ("/nothing", 404),
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert!(answer.header("content-security-policy").is_some(), "{path}");
    }
    let big = "x".repeat(2 << 20);
    server.send("POST", "/api/v1/runs", &[json], &big).is(413);
    server.send("POST", "/api/v1/tasksets?name=..%2fup", &[], "{}").is(400);
    let whole_machine = lab.command(&["serve", "--port", "0", "--host", "0.0.0.0"]).output().unwrap();
    assert!(!whole_machine.status.success() && String::from_utf8_lossy(&whole_machine.stderr).contains("--token"));
}

#[test]
fn the_demo_serves_trains_in_its_time_and_says_before_and_after() {
    let lab = lab();
    let sets = [
        "max_prompt_tokens=3500",
        "max_completion_length=8",
        "eval_problems=4",
        "warm_start.steps=1",
        "warm_start.eval_problems=1",
        "threads=2",
    ];
    let small = ["problems_per_step=1", "num_generations=2", "warm_start.problems_per_step=1"];
    let mut args = vec!["demo", "--json", "--exit", "--port", "0", "--model", "tiny", "--minutes", "0.02"];
    for set in sets.iter().chain(&small) {
        args.extend(["--set", set]);
    }
    let objects = lab.run(&args).ok().objects();
    assert!(objects[0]["url"].as_str().unwrap().starts_with("http://127.0.0.1:"));
    let last = objects.last().unwrap();
    assert_eq!((&last["state"], &last["before"]["n"], &last["after"]["n"]), (&json!("finished"), &json!(4), &json!(4)), "{last}");
}
