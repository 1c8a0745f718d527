//! Each kind of tool against a real counterpart: HTTP servers, MCP servers, programs, a database file.

#![expect(clippy::unwrap_used, reason = "tests")]

mod hostile;
mod http;
mod mcp;
mod others;
mod programs;
mod starter;

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use whetstone_domain::{Environment, ToolCall, ToolResult};
use whetstone_tools::{Settings, StepCache, Toolbox};

/// Settings under which everything is allowed and little time is lost.
fn trusting() -> Settings {
    let launcher = env!("CARGO_BIN_EXE_launcher").into();
    Settings { timeout: Duration::from_secs(3), programs: Some(launcher), ..Settings::default() }
}

fn environment(tools: Value) -> Environment {
    serde_json::from_value(serde_json::json!({ "tools": tools })).unwrap()
}

fn toolbox(tools: Value, settings: &Settings) -> Toolbox {
    Toolbox::new(&environment(tools), &[], settings).unwrap()
}

fn refused(tools: Value, settings: &Settings) -> String {
    match Toolbox::new(&environment(tools), &[], settings) {
        Ok(_) => panic!("was taken"),
        Err(error) => error.to_string(),
    }
}

fn call(name: &str, arguments: Value) -> ToolCall {
    ToolCall { name: name.into(), arguments: arguments.as_object().unwrap().clone() }
}

fn run(toolbox: &Toolbox, name: &str, arguments: Value) -> ToolResult {
    toolbox.call(&call(name, arguments), &mut StepCache::default())
}

/// The interpreter itself: what is on the path may be a script that needs variables which tools do not get.
fn python() -> String {
    let output = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
