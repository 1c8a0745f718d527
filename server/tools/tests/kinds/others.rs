//! Software of others: an MCP server made with the official package, and an HTTP server that writes its own OpenAPI document.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use whetstone_domain::ToolFailure;
use whetstone_tools::Settings;

use super::{python, run, toolbox, trusting};

/// The versions that are meant.
const MCP: &[&str] = &["mcp==2.3.0"];
const FASTAPI: &[&str] = &["fastapi==0.165.0", "uvicorn==0.54.0"];

/// A folder with these packages and what they need.
fn packages(names: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]).arg(folder.path()).args(names);
    let out = pip.output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    folder
}

fn script(name: &str) -> String {
    format!("{}/tests/kinds/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn patient() -> Settings {
    Settings { timeout: Duration::from_secs(20), ..trusting() }
}

#[test]
fn a_server_made_with_the_official_mcp_package_is_used() {
    let folder = packages(MCP);
    let command = json!([python(), script("shop_server.py"), folder.path()]);
    let tools = toolbox(json!({"shop": {"kind": "mcp", "command": command}}), &patient());
    let listed = tools.tools();
    let names: Vec<&str> = listed.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["shop.price", "shop.stock"]);
    assert_eq!(listed[0].description, "Price of so many of an item, in euros");
    assert_eq!(listed[0].parameters["required"], json!(["item"]));
    assert_eq!(listed[0].parameters["properties"]["count"]["type"], "integer");
    assert_eq!(run(&tools, "shop.price", json!({"item": "pear", "count": 3})).text, "2.25");
    assert_eq!(run(&tools, "shop.price", json!({"item": "apple"})).text, "0.5");
    assert_eq!(run(&tools, "shop.stock", json!({})).text, "apple\npear");
    let failed = run(&tools, "shop.price", json!({"item": "plum"}));
    assert_eq!((failed.failure, failed.text.as_str()), (Some(ToolFailure::Failed), "error: Error executing tool price"));
    assert_eq!(run(&tools, "shop.price", json!({"item": 5})).failure, Some(ToolFailure::BadArguments));
    assert_eq!(run(&tools, "shop.price", json!({"item": "pear"})).text, "0.75", "a fault ends no server");
}

/// A process that ends with its guard.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the server; its address.
fn serve(packages: &Path) -> (Guard, String) {
    let mut command = Command::new(python());
    let child = command.arg(script("notes_server.py")).arg(packages).stdout(Stdio::piped()).spawn().unwrap();
    let mut guard = Guard(child);
    let mut port = String::new();
    BufReader::new(guard.0.stdout.take().unwrap()).read_line(&mut port).unwrap();
    (guard, format!("http://127.0.0.1:{}", port.trim()))
}

#[test]
fn a_server_that_documents_itself_is_used_by_its_own_document() {
    let folder = packages(FASTAPI);
    let (_guard, address) = serve(folder.path());
    let document = ureq::get(format!("{address}/openapi.json")).call().unwrap().body_mut().read_to_string().unwrap();
    let document: Value = serde_json::from_str(&document).unwrap();
    let tools = toolbox(json!({"notes": {"kind": "http", "openapi": document, "server": address}}), &patient());
    let names: Vec<String> = tools.tools().into_iter().map(|t| t.name).collect();
    assert_eq!(names, ["notes.read_notes__name__get", "notes.write_notes__name__put"]);
    let read = |arguments: Value| run(&tools, "notes.read_notes__name__get", arguments);
    let write = |arguments: Value| run(&tools, "notes.write_notes__name__put", arguments);
    assert_eq!(write(json!({"name": "a b?ü", "text": "hi & \"bye\"", "stars": 5})).text, "{\"text\":\"hi & \\\"bye\\\"\",\"stars\":5}");
    assert_eq!(read(json!({"name": "a b?ü"})).text, "\"hi & \\\"bye\\\"\"");
    assert_eq!(read(json!({"name": "a b?ü", "upper": true})).text, "\"HI & \\\"BYE\\\"\"");
    let missing = read(json!({"name": "b"}));
    assert_eq!(missing.failure, Some(ToolFailure::Failed));
    assert!(missing.text.contains("404") && missing.text.contains("no such note"), "{}", missing.text);
    let shouted = write(json!({"name": "b", "text": "HI"}));
    assert_eq!(shouted.failure, Some(ToolFailure::Failed));
    assert!(shouted.text.contains("422") && shouted.text.contains("do not shout"), "{}", shouted.text);
    for bad in [json!({"name": "b"}), json!({"name": "b", "text": 1}), json!({"name": "b", "text": "hi", "stars": "many"})] {
        assert_eq!(write(bad.clone()).failure, Some(ToolFailure::BadArguments), "{bad}");
    }
}
