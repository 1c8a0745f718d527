//! Kind *command*: a program of the owner's, started for each call; no shell ever reads what a model wrote.
//!
//! In: the call's arguments, as JSON on stdin and, where the template names them, as words of the command line. Out: what it
//! writes to stdout, or its exit status with the end of stderr. Time, memory, processor time and output are limited. When time
//! is over or the program has ended, its process group is ended; what it started in a group of its own (`setsid`) lives on, with
//! the limits of a process. Where that still holds the program's stdout, the call fails, for nobody knows whether that was all.
//!
//! The pipes are never waited for, so that nothing here is held up by who holds their other ends.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_setfl};
use serde_json::{Map, Value, json};
use whetstone_domain::{Tool, ToolFailure};

use crate::process::{Startable, kill_group};
use crate::settings::Settings;
use crate::{Reply, refuse};

/// Of stderr so many characters are shown.
const SHOWN_OF_STDERR: usize = 400;
/// Of a pipe so many bytes are read at a time.
const PART: usize = 16 << 10;
/// How often a running program is looked at.
const LOOK: Duration = Duration::from_millis(2);
/// How long to wait for the rest of a dead program's output: only where something else holds it open is this waited out.
const DRAIN: Duration = Duration::from_secs(2);

pub(crate) struct Program {
    program: Startable,
    template: Vec<String>,
}

impl Program {
    /// Finds the program; the reason where that fails.
    pub(crate) fn new(command: &[String], launcher: &Path) -> Result<Self, String> {
        let Some((program, template)) = command.split_first() else { return Err("its command is empty".into()) };
        if let Some((word, name)) = template.iter().find_map(|word| Some((word, inner(word)?))) {
            let remedy = format!("make it one, as in [\"--{name}\", \"{{{name}}}\"], or write {{ {name} }} where the braces are meant");
            return Err(format!("its command has {{{name}}} inside {word:?}, but only a word of its own stands for an argument; {remedy}"));
        }
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
        let text = format!("{}\n", Value::Object(arguments.clone()));
        let (mut stdin, mut stdout, mut stderr) = match pipes(child, &text) {
            Ok(pipes) => pipes,
            Err(e) => return refuse(ToolFailure::Failed, format!("the program cannot be spoken to: {e}")),
        };
        let status = loop {
            let ended = child.try_wait();
            stdin.write();
            stdout.read(settings.most_read);
            stderr.read(settings.most_read);
            if stdout.bytes.len() > settings.most_read {
                return too_much(settings);
            }
            match ended {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() >= deadline => {
                    return refuse(ToolFailure::Timeout, format!("the tool took longer than {:?}", settings.timeout));
                }
                Ok(None) => std::thread::sleep(LOOK),
                Err(e) => return refuse(ToolFailure::Failed, format!("the program cannot be waited for: {e}")),
            }
        };
        // what the program left running holds its pipes open
        kill_group(child.id());
        let deadline = Instant::now() + DRAIN;
        loop {
            stdout.read(settings.most_read);
            stderr.read(settings.most_read);
            let open = stdout.pipe.is_some() || (stderr.pipe.is_some() && !status.success());
            if !open || Instant::now() >= deadline {
                break;
            }
            std::thread::sleep(LOOK);
        }
        if stdout.bytes.len() > settings.most_read {
            return too_much(settings);
        }
        if status.success() && stdout.pipe.is_some() {
            let reason = "the program ended, but something that it started still holds its output open";
            return refuse(ToolFailure::Failed, reason);
        }
        if status.success() {
            return Ok(String::from_utf8_lossy(&stdout.bytes).trim_end().to_owned());
        }
        let errors = String::from_utf8_lossy(&stderr.bytes);
        let tail: Vec<char> = errors.trim().chars().rev().take(SHOWN_OF_STDERR).collect();
        let tail: String = tail.into_iter().rev().collect();
        refuse(ToolFailure::Failed, format!("the program ended with {status}{}{tail}", if tail.is_empty() { "" } else { ": " }))
    }
}

fn too_much(settings: &Settings) -> Reply {
    refuse(ToolFailure::TooLarge, format!("the program wrote more than {} bytes", settings.most_read))
}

/// What a program is told on stdin, and what it writes to stdout and stderr.
fn pipes<'a>(child: &mut Child, text: &'a str) -> std::io::Result<(Input<'a>, Output<ChildStdout>, Output<ChildStderr>)> {
    let stdin = child.stdin.take().map(unblocked).transpose()?;
    Ok((Input { pipe: stdin, rest: text.as_bytes() }, Output::new(child.stdout.take())?, Output::new(child.stderr.take())?))
}

/// What is written to a program. It need not read it: a closed pipe is no fault.
struct Input<'a> {
    pipe: Option<ChildStdin>,
    rest: &'a [u8],
}

impl Input<'_> {
    /// Writes what there is room for; closes the pipe after the last byte.
    fn write(&mut self) {
        while let Some(pipe) = &mut self.pipe {
            match pipe.write(self.rest) {
                Ok(written) if written > 0 && written < self.rest.len() => self.rest = &self.rest[written..],
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                _ => self.pipe = None,
            }
        }
    }
}

/// What a program writes.
struct Output<P> {
    /// None once it is closed, or has given more than it may.
    pipe: Option<P>,
    bytes: Vec<u8>,
}

impl<P: Read + AsFd> Output<P> {
    fn new(pipe: Option<P>) -> std::io::Result<Self> {
        Ok(Self { pipe: pipe.map(unblocked).transpose()?, bytes: Vec::new() })
    }

    /// Reads what is there; what was read before a fault counts.
    fn read(&mut self, most: usize) {
        let mut part = [0; PART];
        while let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut part) {
                Ok(0) => self.pipe = None,
                Ok(n) => {
                    self.bytes.extend_from_slice(&part[..n]);
                    if self.bytes.len() > most {
                        self.pipe = None;
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.pipe = None,
            }
        }
    }
}

/// A pipe that nobody waits for: this end alone, the program's is as ever.
fn unblocked<P: AsFd>(pipe: P) -> std::io::Result<P> {
    fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
    Ok(pipe)
}

/// The argument a word of the template stands for: `{name}`.
fn placeholder(word: &str) -> Option<&str> {
    word.strip_prefix('{')?.strip_suffix('}').filter(|name| !name.is_empty() && !name.contains(['{', '}']))
}

/// The name in a `{name}` that is only part of a word, where it would stand for nothing; a shell's `${name}` is none.
fn inner(word: &str) -> Option<&str> {
    let named = |name: &&str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    let mut opened = word.match_indices('{').filter(|(at, _)| placeholder(word).is_none() && !word[..*at].ends_with('$'));
    opened.find_map(|(at, _)| word[at + 1..].split_once('}').map(|(name, _)| name).filter(named))
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
