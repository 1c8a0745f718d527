//! MCP: a server process that speaks on stdin and stdout.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use whetstone_domain::ToolFailure;
use whetstone_tools::Settings;

use super::{python, refused, run, toolbox, trusting};

fn server() -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kinds/mcp_server.py");
    json!({"box": {"kind": "mcp", "command": [python(), script]}})
}

#[test]
fn tools_of_a_server_are_listed_and_called_and_its_errors_are_results() {
    let tools = toolbox(server(), &Settings { timeout: Duration::from_secs(10), ..trusting() });
    let listed = tools.tools();
    assert_eq!(listed.len(), 8);
    assert_eq!((listed[0].name.as_str(), listed[0].description.as_str()), ("box.add", "Add two numbers"));
    assert_eq!(listed[0].parameters["required"], json!(["a", "b"]));
    assert_eq!(run(&tools, "box.add", json!({"a": 2, "b": 3.5})).text, "5.5");
    let failed = run(&tools, "box.fail", json!({}));
    assert_eq!((failed.text.as_str(), failed.failure), ("error: the tool says no", Some(ToolFailure::Failed)));
    assert_eq!(run(&tools, "box.picture", json!({})).text, "(content that is no text)");
    assert!(run(&tools, "box.long", json!({})).text.ends_with("[cut: 2000 of 100000 characters are shown]"));
    assert_eq!(run(&tools, "box.add", json!({"a": "2", "b": 1})).failure, Some(ToolFailure::BadArguments));
    assert_eq!(run(&tools, "box.none", json!({})).failure, Some(ToolFailure::UnknownTool));
    let died = run(&tools, "box.die", json!({}));
    assert_eq!(died.failure, Some(ToolFailure::Failed), "{}", died.text);
    assert_eq!(run(&tools, "box.add", json!({"a": 1, "b": 1})).failure, Some(ToolFailure::Failed));
}

#[test]
fn a_call_that_takes_too_long_is_a_result_and_the_server_ends_with_its_toolbox() {
    // found by its command line, which nobody else has
    let marker = format!("whetstone-mcp-{}", std::process::id());
    let mut spec = server();
    spec["box"]["command"].as_array_mut().unwrap().push(json!(marker));
    let tools = toolbox(spec, &Settings { timeout: Duration::from_secs(2), ..trusting() });
    assert!(running(&marker));
    assert_eq!(run(&tools, "box.sleep", json!({})).failure, Some(ToolFailure::Timeout));
    drop(tools);
    assert!(!running(&marker), "the server is gone");
}

#[test]
fn a_server_that_writes_too_much_is_ended_with_a_reason_and_fills_no_memory() {
    let settings = Settings { timeout: Duration::from_secs(10), ..trusting() };
    let start = Instant::now();
    for (tool, arguments) in [("box.flood", json!({})), ("box.line", json!({"length": 2 << 20}))] {
        let tools = toolbox(server(), &settings);
        assert_eq!(run(&tools, "box.line", json!({"length": 1_000_000})).failure, None, "what is allowed is read, every time");
        assert_eq!(run(&tools, "box.line", json!({"length": 1_000_000})).failure, None);
        let result = run(&tools, tool, arguments);
        assert_eq!(result.failure, Some(ToolFailure::TooLarge), "{}", result.text);
        assert_eq!(result.text, "error: the server wrote more than 1048576 bytes and was ended");
        assert_eq!(run(&tools, "box.add", json!({"a": 1, "b": 1})).text, "error: the server has ended");
    }
    // before any call: at once, and in many small messages
    let flood = json!({"a": {"kind": "mcp", "command": ["sh", "-c", "tr '\\0' x </dev/zero"]}});
    assert!(refused(flood, &settings).contains("wrote more than 1048576 bytes"));
    let mut endless = server();
    endless["box"]["command"].as_array_mut().unwrap().push(json!("endless"));
    assert!(refused(endless, &settings).contains("wrote more than 1048576 bytes"));
    assert!(start.elapsed() < Duration::from_secs(40), "nobody waits for its end");
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<usize>().ok()).unwrap();
    assert!(peak < 128 << 10, "{peak} kB were held");
}

fn running(marker: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|p| std::fs::read(p.path().join("cmdline")).ok());
    lines.into_iter().any(|line| line.split(|b| *b == 0).any(|word| word == marker.as_bytes()))
}

#[test]
fn a_server_that_is_none_or_not_permitted_is_refused_before_any_call() {
    let settings = Settings { timeout: Duration::from_millis(300), ..trusting() };
    assert!(refused(server(), &Settings::default()).contains("permission to start programs"));
    assert!(refused(json!({"a": {"kind": "mcp", "command": []}}), &settings).contains("empty"));
    assert!(refused(json!({"a": {"kind": "mcp", "command": ["/no/such/program"]}}), &settings).contains("no program"));
    assert!(refused(json!({"a": {"kind": "mcp", "command": ["true"]}}), &settings).contains("MCP"));
    assert!(refused(json!({"a": {"kind": "mcp", "command": ["sleep", "30"]}}), &settings).contains("not ready"));
}
