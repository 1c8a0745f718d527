//! A place to work in: a data directory, a tiny model, small task files, and the binary.

use std::path::{Path, PathBuf};
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

    /// A config under which the tiny model makes a step in a fraction of a second. It names everything that a recipe may change.
    pub fn config(&self) -> String {
        format!(
            "model = {:?}\ntasks = \"file:{}\"\neval_tasks = \"file:{}\"\nseed = 3\nsteps = 4\nproblems_per_step = 2\nnum_generations = 3\n\
             max_prompt_tokens = 3000\nmax_completion_length = 8\nlora_rank = 4\nlora_alpha = 8.0\nlearning_rate = 1e-3\nlr_schedule = \"constant\"\n\
             warmup_steps = 1\neval_problems = 6\neval_every = 2\ncheckpoint_every = 1\neval_batch = 6\nthreads = 2\nreward = \"dense\"\n\
             dynamic_sampling = false\n\n[warm_start]\nsteps = 2\nproblems_per_step = 2\nlearning_rate = 1e-3\neval_every = 1\neval_problems = 4\npatience = 5\n",
            self.model().display().to_string(),
            self.path("train.jsonl").display(),
            self.path("held-out.jsonl").display(),
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

/// Task rows with short requests; every fourth wants no call.
pub fn problems(prefix: &str, n: usize) -> String {
    (0..n).map(|i| format!("{}\n", problem(&format!("{prefix}-{i}"), i))).collect()
}

/// One task row.
pub fn problem(id: &str, i: usize) -> Value {
    let tools = json!([{ "name": "add", "description": "Adds", "parameters": {
        "type": "object", "properties": { "a": { "type": "integer" }, "b": { "type": "integer" } }, "required": ["a", "b"] } }]);
    let (request, expected) = match i % 4 {
        3 => (format!("Hello, {id}!"), json!([])),
        _ => (format!("{id}: add {i} and 7"), json!([{ "name": "add", "arguments": { "a": i, "b": 7 } }])),
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

/// The file with this name below a folder.
pub fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap()
}
