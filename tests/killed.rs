//! Kill -9 at any moment loses nothing but the steps since the last checkpoint, and the rest comes out the same, bit for bit.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::{Lab, assert_same, comparable};

const KILLS: usize = 25;

#[test]
fn a_run_killed_at_random_moments_equals_one_that_was_not() {
    let lab = Lab::new();
    let more = ["--steps", "60", "--set", "checkpoint_every=3", "--set", "eval_every=7", "--set", "compute=bf16"];
    let clock = Instant::now();
    lab.train(&more).ok();
    let whole = clock.elapsed();
    let expected = comparable(&lab.show("latest"));

    std::fs::rename(lab.data(), lab.path("uninterrupted")).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(25);
    // short enough that the run is never done before the last kill: they make up little more than the run's own time
    let longest = (whole / 20).max(Duration::from_millis(100));
    let mut killed = 0;
    while killed < KILLS {
        let begun = !lab.run(&["runs", "list", "--json"]).ok().objects().is_empty();
        let resume = ["train", "--resume", "latest"];
        let begin = [&["train", "tiny.toml"][..], &more].concat();
        let mut child = lab.command(if begun { &resume } else { &begin }).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(longest.mul_f64(random.random::<f64>()));
        assert!(child.try_wait().unwrap().is_none(), "the run ended after only {killed} kills: give it more steps");
        child.kill().unwrap();
        child.wait().unwrap();
        killed += 1;
    }
    lab.run(&["train", "--resume", "latest"]).ok();
    let shown = lab.show("latest");
    assert_eq!(lab.run(&["runs", "list", "--json"]).ok().objects().len(), 1);
    assert_same(&comparable(&shown), &expected);
    assert_eq!(shown["metrics"]["grpo"]["loss"].as_array().unwrap().len(), 60);
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_with_a_checkpoint_and_resume_goes_on() {
    use std::io::{BufRead, BufReader};
    let lab = Lab::new();
    let more = ["--steps", "12", "--set", "compute=f32"];
    lab.train(&more).ok();
    let expected = comparable(&lab.show("latest"));
    std::fs::rename(lab.data(), lab.path("uninterrupted")).unwrap();

    let begin = [&["train", "tiny.toml", "--json"][..], &more].concat();
    let mut child = lab.command(&begin).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|l| l.unwrap().contains("\"phase\":\"grpo\"")));
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let last = lines.last().unwrap().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let last: serde_json::Value = serde_json::from_str(&last).unwrap();
    assert_eq!(last["state"], "stopped", "{last}");
    assert!(last["steps"].as_u64().unwrap() < 12, "{last}");

    lab.run(&["train", "--resume", "latest"]).ok();
    assert_same(&comparable(&lab.show("latest")), &expected);
}
