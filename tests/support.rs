//! A place to work in: a data directory, a tiny model, small task files, and the binary.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A data directory of its own with a tiny model beside it.
pub struct Lab {
    pub dir: TempDir,
}

/// What a command left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The JSON objects of standard output.
    pub fn objects(&self) -> Vec<Value> {
        self.stdout.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l:?}"))).collect()
    }

    /// Fails unless the command succeeded.
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails unless the command failed as a command does (1), without a panic, and said all of `words`.
    pub fn refused(self, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(1), "{}\n{}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in:\n{}", self.stderr);
        }
        self
    }
}

impl From<Output> for Ran {
    fn from(o: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: o.status.code(), stdout: text(o.stdout), stderr: text(o.stderr) }
    }
}

impl Lab {
    pub fn new() -> Self {
        let lab = Self { dir: tempfile::tempdir().unwrap() };
        whetstone_model::tiny::write_tiny(&lab.model(), 0).unwrap();
        lab.write("train.jsonl", &problems("t", 40));
        lab.write("held-out.jsonl", &problems("h", 6));
        lab.write("tiny.toml", &lab.config());
        lab
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub fn model(&self) -> PathBuf {
        self.path("tiny-model")
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A config under which the tiny model makes a step in a fraction of a second and its groups are mixed, so that every number
    /// of a step is alive. It names every key that a recipe might change.
    pub fn config(&self) -> String {
        let (model, train, held_out) = (self.model(), self.path("train.jsonl"), self.path("held-out.jsonl"));
        format!(
            r#"model = '{}'
tasks = 'file:{}'
eval_tasks = 'file:{}'
reward = "dense"
seed = 3
steps = 4
problems_per_step = 2
num_generations = 3
max_prompt_tokens = 2000
max_completion_length = 8
temperature = 0.8
learning_rate = 1e-3
lr_schedule = "constant"
warmup_steps = 1
lora_rank = 8
lora_alpha = 16.0
beta = 0.02
dynamic_sampling = false
eval_problems = 6
eval_every = 2
checkpoint_every = 1
eval_batch = 6
threads = 2

[warm_start]
steps = 4
problems_per_step = 4
learning_rate = 1e-2
eval_every = 1
eval_problems = 4
patience = 5
"#,
            model.display(),
            train.display(),
            held_out.display()
        )
    }

    /// The binary on this lab's data directory, deaf to the environment of whoever runs the tests.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_whetstone"));
        command.args(args).arg("--data").arg(self.data()).current_dir(self.dir.path()).stdin(Stdio::null());
        for name in ["WHETSTONE_DATA", "WHETSTONE_BFCL", "HF_ENDPOINT", "RUST_LOG"] {
            command.env_remove(name);
        }
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        self.command(args).output().unwrap().into()
    }

    /// `train tiny.toml` with more arguments.
    pub fn train(&self, args: &[&str]) -> Ran {
        self.run(&[&["train", "tiny.toml"], args].concat())
    }

    /// `runs show` as JSON.
    pub fn show(&self, run: &str) -> Value {
        self.run(&["runs", "show", run, "--json"]).ok().objects().remove(0)
    }
}

/// Task rows with short requests; three of four want no call, which is what a tiny model learns in a few steps.
pub fn problems(prefix: &str, n: usize) -> String {
    (0..n).map(|i| format!("{}\n", problem(&format!("{prefix}-{i}"), i))).collect()
}

/// One task row.
pub fn problem(id: &str, i: usize) -> Value {
    let tools = json!([{ "name": "add", "description": "Adds", "parameters": {
        "type": "object", "properties": { "a": { "type": "integer" }, "b": { "type": "integer" } }, "required": ["a", "b"] } }]);
    let (request, expected) = match i % 4 {
        0 => (format!("{id}: add {i} and 7"), json!([{ "name": "add", "arguments": { "a": i, "b": 7 } }])),
        _ => (format!("Hello, {id}!"), json!([])),
    };
    json!({ "id": id, "messages": [{ "role": "user", "content": request }], "tools": tools, "expected": expected })
}

/// A stored run without what differs between two runs of one config: times, memory, names, places.
pub fn comparable(shown: &Value) -> Value {
    let mut metrics = shown["metrics"].clone();
    for series in metrics.as_object_mut().unwrap().values_mut() {
        let series = series.as_object_mut().unwrap();
        series.retain(|key, _| !["time/", "memory/", "tokens_per_second/"].iter().any(|p| key.starts_with(p)) && key != "step_time");
    }
    let evaluations: Vec<Value> = shown["evaluations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| {
            let mut e = e.clone();
            e["summary"].as_object_mut().unwrap().retain(|key, _| key != "seconds" && key != "tokens_per_second");
            e
        })
        .collect();
    json!({ "metrics": metrics, "evaluations": evaluations, "checkpoints": shown["checkpoints"], "state": shown["state"], "step": shown["step"] })
}

/// Fails at the first place where two values differ, and says only that.
pub fn assert_same(a: &Value, b: &Value) {
    fn difference(place: &str, a: &Value, b: &Value) -> Option<String> {
        match (a, b) {
            (Value::Object(x), Value::Object(y)) if x.keys().eq(y.keys()) => {
                x.keys().find_map(|k| difference(&format!("{place}.{k}"), &x[k], &y[k]))
            }
            (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
                (0..x.len()).find_map(|i| difference(&format!("{place}[{i}]"), &x[i], &y[i]))
            }
            _ => (a != b).then(|| format!("{place}: {a} is not {b}")),
        }
    }
    if let Some(difference) = difference("", a, b) {
        panic!("{difference}");
    }
}
