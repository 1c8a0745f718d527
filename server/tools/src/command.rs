//! Kind *command*: a program of the owner's, started for each call; no shell ever reads what a model wrote.
//!
//! In: the call's arguments, as JSON on stdin and, where the template names them, as words of the command line. Out: what it
//! writes to stdout, or its exit status with the end of stderr. Time, memory, processor time and output are limited; when time
//! is over, the program and all it started are ended.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use whetstone_domain::{Tool, ToolFailure};

use crate::process::{Startable, kill_group};
use crate::settings::Settings;
use crate::{Reply, refuse};

/// Of stderr so many characters are shown.
const SHOWN_OF_STDERR: usize = 400;
/// How often a running program is looked at.
const LOOK: Duration = Duration::from_millis(2);
/// How long to wait for the rest of a dead program's output.
const DRAIN: Duration = Duration::from_millis(500);

pub(crate) struct Program {
    program: Startable,
    template: Vec<String>,
}

impl Program {
    /// Finds the program; the reason where that fails.
    pub(crate) fn new(command: &[String], launcher: &Path) -> Result<Self, String> {
        let Some((program, template)) = command.split_first() else { return Err("its command is empty".into()) };
        Ok(Self { program: Startable::new(program, launcher)?, template: template.to_vec() })
    }

    /// The tool as a prompt lists it, where the problem does not describe it better: one text per placeholder.
    pub(crate) fn define(&self, name: &str) -> Tool {
        let names = self.template.iter().filter_map(|word| placeholder(word));
        let properties: Map<String, Value> = names.map(|n| (n.to_owned(), json!({"type": "string"}))).collect();
        let required: Vec<&String> = properties.keys().collect();
        let parameters = json!({"type": "object", "required": required, "properties": properties.clone()});
        Tool { name: name.to_owned(), description: String::new(), parameters }
    }

    /// Answers a call.
    pub(crate) fn call(&self, arguments: &Map<String, Value>, settings: &Settings) -> Reply {
        let words = self.template.iter().map(|word| fill(word, arguments)).collect::<Result<Vec<_>, _>>();
        let words = words.or_else(|reason| refuse(ToolFailure::BadArguments, reason))?;
        let mut command = self.program.command(&words, settings, Some(settings.timeout.as_secs().max(1) + 1));
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match piped.spawn() {
            Ok(child) => child,
            Err(e) => return refuse(ToolFailure::Failed, format!("the program cannot be started: {e}")),
        };
        let reply = self.talk(&mut child, arguments, settings);
        // whatever happened: the program, what it started, and the entry in the process table are gone
        kill_group(child.id());
        let _ = child.kill();
        let _ = child.wait();
        reply
    }

    fn talk(&self, child: &mut Child, arguments: &Map<String, Value>, settings: &Settings) -> Reply {
        let deadline = Instant::now() + settings.timeout;
        let stdout = read(child.stdout.take(), settings.most_read);
        let stderr = read(child.stderr.take(), settings.most_read);
        if let Some(mut stdin) = child.stdin.take() {
            let text = format!("{}\n", Value::Object(arguments.clone()));
            // a program need not read its arguments: a closed pipe is no fault
            std::thread::spawn(move || stdin.write_all(text.as_bytes()));
        }
        let mut output = None;
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() >= deadline => {
                    return refuse(ToolFailure::Timeout, format!("the tool took longer than {:?}", settings.timeout));
                }
                Ok(None) => {}
                Err(e) => return refuse(ToolFailure::Failed, format!("the program cannot be waited for: {e}")),
            }
            // a program that has written too much, or closed its output, may still run
            if output.is_none() {
                output = stdout.try_recv().ok();
            }
            if output.as_ref().is_some_and(|o| o.len() > settings.most_read) {
                return too_much(settings);
            }
            std::thread::sleep(LOOK);
        };
        // what the program left running holds its pipes open
        kill_group(child.id());
        let output = output.or_else(|| stdout.recv_timeout(DRAIN).ok()).unwrap_or_default();
        if output.len() > settings.most_read {
            return too_much(settings);
        }
        if status.success() {
            return Ok(String::from_utf8_lossy(&output).trim_end().to_owned());
        }
        let errors = stderr.recv_timeout(DRAIN).unwrap_or_default();
        let errors = String::from_utf8_lossy(&errors);
        let tail: Vec<char> = errors.trim().chars().rev().take(SHOWN_OF_STDERR).collect();
        let tail: String = tail.into_iter().rev().collect();
        refuse(ToolFailure::Failed, format!("the program ended with {status}{}{tail}", if tail.is_empty() { "" } else { ": " }))
    }
}

fn too_much(settings: &Settings) -> Reply {
    refuse(ToolFailure::TooLarge, format!("the program wrote more than {} bytes", settings.most_read))
}

/// Reads a pipe to its end, or one byte further than it may be long.
fn read(pipe: Option<impl Read + Send + 'static>, most: usize) -> Receiver<Vec<u8>> {
    let (send, receive) = channel();
    if let Some(pipe) = pipe {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            // what was read before a fault counts
            let _ = pipe.take(most as u64 + 1).read_to_end(&mut bytes);
            let _ = send.send(bytes);
        });
    }
    receive
}

/// The argument a word of the template stands for: `{name}`.
fn placeholder(word: &str) -> Option<&str> {
    word.strip_prefix('{')?.strip_suffix('}').filter(|name| !name.is_empty() && !name.contains(['{', '}']))
}

/// A word of the command line: one argument of the call stays one word.
fn fill(word: &str, arguments: &Map<String, Value>) -> Result<String, String> {
    let Some(name) = placeholder(word) else { return Ok(word.to_owned()) };
    match arguments.get(name) {
        None => Err(format!("argument {name:?} is missing")),
        Some(Value::String(text)) if text.contains('\0') => Err(format!("argument {name:?} holds the character U+0000")),
        Some(Value::String(text)) if text.starts_with('-') => {
            Err(format!("argument {name:?} begins with -, which could be read as an option"))
        }
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Ok(other.to_string()),
    }
}
