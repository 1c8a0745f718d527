//! A reward that is a program of the user's: JSON lines on its standard input, JSON lines back on its standard output.
//!
//! In: a command line, and questions about rollouts. Out: what the program says they earn. It is started at the first question,
//! ended with all that it started when it is dropped, and started again, once per question, when it dies or stays silent for too
//! long; twice in a row ends the run with the reason. No shell reads the command line: words are split at spaces, quotes keep them
//! together.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use whetstone_domain::{Outcome, Problem, Reward, RewardPart, ToolCall};
use whetstone_tools::kill_group;

use crate::error::{Result, TrainError};

/// Longer answers are refused. Bytes.
const LONGEST_ANSWER: u64 = 1 << 20;

/// What the program is told, one line each.
#[derive(Debug, Serialize)]
pub struct Question<'a> {
    /// Number of the question; the answer carries it back.
    pub id: u64,
    /// 0-based GRPO step.
    pub step: usize,
    /// What was asked, which tools were offered, what is expected.
    pub problem: &'a Problem,
    /// What the model wrote.
    pub text: &'a str,
    /// Calls of the strict reading; null = unreadable, `[]` = no call.
    pub calls: Option<&'a [ToolCall]>,
    /// Rung of the ladder, e.g. `wrong_values`.
    pub outcome: Outcome,
}

/// What it answers, one line each.
#[derive(Debug, Deserialize)]
struct Answer {
    id: u64,
    reward: f64,
    #[serde(default)]
    parts: BTreeMap<String, f64>,
    #[serde(default)]
    why: String,
}

/// The program, running or not.
#[derive(Debug)]
pub struct Program {
    words: Vec<String>,
    timeout: Duration,
    running: Option<Running>,
    asked: u64,
    /// The step that it is asked about: questions are numbered within one, so that a resumed run asks the same ones.
    step: usize,
}

#[derive(Debug)]
struct Running {
    child: Child,
    questions: Sender<String>,
    answers: Receiver<std::io::Result<String>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // whatever it started is in its group, which lives on without it; an error here means that it is gone already
        kill_group(self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Why one try gave no answer.
enum Silence {
    Died(String),
    Late,
}

impl Program {
    /// The program of a command line; it is not started yet.
    pub fn new(line: &str, timeout: Duration) -> Result<Self> {
        let words = words(line).map_err(|reason| TrainError::Reward { program: line.to_owned(), reason: reason.to_owned() })?;
        Ok(Self { words, timeout, running: None, asked: 0, step: 0 })
    }

    /// What a rollout earns by the program, and why. `id` of the question is overwritten.
    pub fn ask(&mut self, mut question: Question<'_>) -> Result<(Reward, String)> {
        if question.step != self.step {
            (self.step, self.asked) = (question.step, 0);
        }
        question.id = self.asked;
        self.asked += 1;
        let line = serde_json::to_string(&question).map_err(|e| self.failed(format!("the question cannot be written: {e}")))?;
        let mut silence = String::new();
        for _ in 0..2 {
            match self.try_once(&line)? {
                Ok(text) => return self.read(question.id, &text),
                Err(why) => {
                    self.running = None;
                    silence = match why {
                        Silence::Late => format!("gave no answer within {} s", self.timeout.as_secs_f64()),
                        Silence::Died(reason) => reason,
                    };
                    tracing::warn!(program = %self.words[0], reason = %silence, "the reward program is started again");
                }
            }
        }
        Err(self.failed(format!("{silence}, twice in a row on problem {}", question.problem.id)))
    }

    fn failed(&self, reason: String) -> TrainError {
        TrainError::Reward { program: self.words.join(" "), reason }
    }

    fn try_once(&mut self, line: &str) -> Result<std::result::Result<String, Silence>> {
        let running = match &mut self.running {
            Some(running) => running,
            none => none.insert(
                start(&self.words)
                    .map_err(|e| TrainError::Reward { program: self.words.join(" "), reason: format!("cannot be started: {e}") })?,
            ),
        };
        // a closed channel shows as a missing answer below
        let _ = running.questions.send(line.to_owned());
        Ok(match running.answers.recv_timeout(self.timeout) {
            Ok(Ok(text)) => Ok(text),
            Ok(Err(e)) => Err(Silence::Died(format!("cannot be read: {e}"))),
            Err(RecvTimeoutError::Timeout) => Err(Silence::Late),
            Err(RecvTimeoutError::Disconnected) => {
                let until = std::time::Instant::now() + self.timeout;
                let how = loop {
                    match running.child.try_wait() {
                        Ok(Some(status)) => break status.to_string(),
                        Ok(None) if std::time::Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
                        Ok(None) => break "it closed its output and goes on".to_owned(),
                        Err(e) => break e.to_string(),
                    }
                };
                Err(Silence::Died(format!("ended without an answer ({how})")))
            }
        })
    }

    fn read(&self, id: u64, text: &str) -> Result<(Reward, String)> {
        let shown: String = text.trim_end().chars().take(200).collect();
        let answer: Answer = serde_json::from_str(text)
            .map_err(|e| self.failed(format!("answered {shown:?}, which is not {{\"id\": {id}, \"reward\": number}}: {e}")))?;
        if answer.id != id {
            return Err(self.failed(format!("answered question {} when asked question {id}", answer.id)));
        }
        if !answer.reward.is_finite() {
            return Err(self.failed(format!("answered {shown:?}: the reward is not a finite number")));
        }
        let mut parts = vec![RewardPart { name: "command".into(), value: Some(answer.reward), weight: 1.0 }];
        // its own parts are shown; the reward is what counts
        parts.extend(answer.parts.into_iter().map(|(name, value)| RewardPart { name, value: Some(value), weight: 0.0 }));
        Ok((Reward { total: answer.reward, parts }, answer.why))
    }
}

/// Starts the program in a process group of its own, with a thread for each direction, so that neither a full pipe nor a silent
/// program can hang a run.
fn start(words: &[String]) -> std::io::Result<Running> {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let (questions, to_write) = mpsc::channel::<String>();
    let (to_read, answers) = mpsc::channel();
    if let Some(mut stdin) = child.stdin.take() {
        std::thread::spawn(move || {
            for line in to_write {
                if stdin.write_all(line.as_bytes()).and_then(|()| stdin.write_all(b"\n")).and_then(|()| stdin.flush()).is_err() {
                    return;
                }
            }
        });
    }
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stdout);
            loop {
                let mut line = Vec::new();
                let read = lines.by_ref().take(LONGEST_ANSWER).read_until(b'\n', &mut line);
                let answer = match read {
                    Ok(_) if line.is_empty() => return,
                    Ok(_) => Ok(String::from_utf8_lossy(&line).into_owned()),
                    Err(e) => Err(e),
                };
                if to_read.send(answer).is_err() {
                    return;
                }
            }
        });
    }
    Ok(Running { child, questions, answers })
}

/// Words of a command line; single and double quotes keep spaces.
fn words(line: &str) -> std::result::Result<Vec<String>, &'static str> {
    let (mut out, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match quote {
            Some(q) if c == q => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => out.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("has a quote that does not end");
    }
    out.extend(word);
    if out.is_empty() { Err("names no program") } else { Ok(out) }
}

#[cfg(test)]
#[path = "program_tests.rs"]
mod tests;
