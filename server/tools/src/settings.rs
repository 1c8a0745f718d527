//! What tools may do and how much of it. In: the owner's wishes. Out: limits that every kind keeps.

use std::path::PathBuf;
use std::time::Duration;

use whetstone_domain::Problem;

use crate::error::ToolError;
use crate::toolbox::Toolbox;

/// Limits and permissions of all tools of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Longest time of one call. 5 s: a rollout waits for it.
    pub timeout: Duration,
    /// Longest result that a model is shown, characters; the rest is cut off with a note. 2,000: some 500 tokens.
    pub longest_result: usize,
    /// Most bytes read from a server or a program. 1 MiB.
    pub most_read: usize,
    /// Address space of a started program, bytes. 1 GiB.
    pub program_memory: u64,
    /// Programs may be started and files outside the problem be read: `command`, `mcp` and database files. A task file from
    /// somebody else could then do whatever this account may do, so: no. What is started is this binary, a launcher: its first
    /// act must be [`limited`](crate::limited), which limits it before it becomes the program.
    pub programs: Option<PathBuf>,
    /// Hosts beside this machine that `http` may speak to, as `host` or `host:port`.
    pub hosts: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            longest_result: 2000,
            most_read: 1 << 20,
            program_memory: 1 << 30,
            programs: None,
            hosts: Vec::new(),
        }
    }
}

impl Settings {
    /// Whether the tools of a problem can run under these settings, where it brings some: they are made, and let go.
    ///
    /// # Errors
    /// What the environment lacks or may not do, and which tool it is about.
    pub fn can_run(&self, problem: &Problem) -> Result<(), ToolError> {
        let Some(environment) = &problem.environment else { return Ok(()) };
        Toolbox::new(environment, &problem.tools, self).map(drop)
    }
}
