//! Each kind of tool against a real counterpart: an HTTP server, an MCP server, programs, a database file.

#![expect(clippy::unwrap_used, reason = "tests")]

mod hostile;
mod http;
mod mcp;
mod programs;
mod starter;

use std::time::Duration;

use serde_json::Value;
use whetstone_domain::{Environment, ToolCall, ToolResult};
use whetstone_tools::{Settings, StepCache, Toolbox};

/// Settings under which everything is allowed and little time is lost.
fn trusting() -> Settings {
    Settings { timeout: Duration::from_secs(3), programs: true, ..Settings::default() }
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
