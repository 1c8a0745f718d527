//! HTTP: an OpenAPI document and the server it describes, on a port of this machine.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use whetstone_domain::ToolFailure;
use whetstone_tools::{Settings, StepCache};

use super::{call, refused, run, toolbox, trusting};

fn document(url: &str) -> Value {
    let text = json!({"type": "string"});
    json!({"openapi": "3.0.0", "servers": [{"url": url}], "paths": {
        "/echo/{word}": {"get": {"operationId": "echo", "parameters": [
            {"name": "word", "in": "path", "required": true, "schema": text}, {"name": "q", "in": "query", "schema": text}]}},
        "/notes": {"post": {"operationId": "note", "requestBody": {"required": true, "content": {"application/json": {"schema":
            {"type": "object", "properties": {"text": {"$ref": "#/components/schemas/Text"}}, "required": ["text"]}}}}}},
        "/missing": {"get": {"operationId": "missing"}},
        "/away": {"get": {"operationId": "away"}},
        "/endless": {"get": {"operationId": "endless"}},
        "/slow": {"get": {"operationId": "slow"}}},
        "components": {"schemas": {"Text": text}}})
}

/// Serves the document; answers `/echo` and `/notes` with what was asked.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    url
}

fn answer(stream: TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut out = stream;
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).ok()?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = n.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let (status, head, text) = match path.as_str() {
        "/missing" => ("404 Not Found", "", "no such thing".to_owned()),
        "/away" => ("302 Found", "location: http://192.0.2.1/\r\n", String::new()),
        "/slow" => {
            std::thread::sleep(Duration::from_secs(30));
            return None;
        }
        "/endless" => {
            out.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").ok()?;
            while out.write_all(&[b'x'; 4096]).is_ok() {}
            return None;
        }
        _ => ("200 OK", "", format!("{}{}", first.trim(), String::from_utf8_lossy(&body))),
    };
    let text = format!("HTTP/1.1 {status}\r\n{head}content-length: {}\r\nconnection: close\r\n\r\n{text}", text.len());
    out.write_all(text.as_bytes()).ok()
}

#[test]
fn operations_of_an_openapi_document_are_asked_of_its_server() {
    let api = toolbox(json!({"api": {"kind": "http", "openapi": document(&serve())}}), &trusting());
    let names: Vec<String> = api.tools().into_iter().map(|t| t.name).collect();
    assert_eq!(names, ["api.away", "api.echo", "api.endless", "api.missing", "api.note", "api.slow"]);
    let said = run(&api, "api.echo", json!({"word": "a/b c?", "q": "x&y=1"}));
    assert_eq!(said.text, "GET /echo/a%2Fb%20c%3F?q=x%26y%3D1 HTTP/1.1", "hostile values stay values");
    assert_eq!(run(&api, "api.note", json!({"text": "hi"})).text, "POST /notes HTTP/1.1{\"text\":\"hi\"}");
    let mut cache = StepCache::default();
    for _ in 0..3 {
        api.call(&call("api.echo", json!({"word": "w"})), &mut cache);
        api.call(&call("api.note", json!({"text": "hi"})), &mut cache);
    }
    assert_eq!(cache.hits, 0, "what is read may have been changed by what is written");
    let only = json!({"api": {"kind": "http", "openapi": document(&serve()), "operations": ["echo", "missing"]}});
    let (api, mut cache) = (toolbox(only, &trusting()), StepCache::default());
    for _ in 0..3 {
        api.call(&call("api.echo", json!({"word": "w"})), &mut cache);
        api.call(&call("api.missing", json!({})), &mut cache);
    }
    assert_eq!(cache.hits, 2, "what only reads is kept, and what failed is tried again");
}

#[test]
fn what_one_tool_reads_is_asked_anew_where_another_may_write_it() {
    let document = document(&serve());
    let read = || json!({"kind": "http", "openapi": document, "operations": ["echo"]});
    let hits = |tools: Value| {
        let (api, mut cache) = (toolbox(tools, &trusting()), StepCache::default());
        for _ in 0..2 {
            assert!(api.call(&call("read.echo", json!({"word": "w"})), &mut cache).failure.is_none());
        }
        cache.hits
    };
    assert_eq!(hits(json!({"read": read(), "write": {"kind": "http", "openapi": document, "operations": ["note"]}})), 0);
    assert_eq!(hits(json!({"read": read(), "run": {"kind": "command", "command": ["true"]}})), 0);
    assert_eq!(hits(json!({"read": read(), "also": read(), "sum": {"kind": "calculator"}, "box": {"kind": "files"}})), 1);
}

#[test]
fn errors_redirects_silence_and_floods_are_results() {
    let settings = Settings { timeout: Duration::from_millis(400), most_read: 50_000, ..trusting() };
    let api = toolbox(json!({"api": {"kind": "http", "openapi": document(&serve())}}), &settings);
    for (name, arguments, failure, words) in [
        ("api.missing", json!({}), ToolFailure::Failed, "404: no such thing"),
        ("api.away", json!({}), ToolFailure::Forbidden, "not followed"),
        ("api.slow", json!({}), ToolFailure::Timeout, "too long"),
        ("api.endless", json!({}), ToolFailure::TooLarge, "longer than 50000"),
        ("api.echo", json!({"word": ".."}), ToolFailure::BadArguments, "must not be"),
        ("api.echo", json!({}), ToolFailure::BadArguments, "word"),
        ("api.echo", json!({"word": 5}), ToolFailure::BadArguments, "/word"),
        ("api.echo", json!({"word": "a", "other": 1}), ToolFailure::BadArguments, "unknown"),
    ] {
        let result = run(&api, name, arguments);
        assert_eq!(result.failure, Some(failure), "{name}: {}", result.text);
        assert!(result.text.contains(words), "{name}: {}", result.text);
    }
    let closed = document("http://127.0.0.1:1");
    let api = toolbox(json!({"api": {"kind": "http", "openapi": closed}}), &settings);
    assert_eq!(run(&api, "api.missing", json!({})).failure, Some(ToolFailure::Failed));
}

#[test]
fn a_document_of_another_host_or_a_strange_operation_is_refused_before_any_call() {
    let settings = trusting();
    let abroad = document("http://192.0.2.1");
    assert!(refused(json!({"api": {"kind": "http", "openapi": abroad}}), &settings).contains("neither this machine"));
    let here = document("http://127.0.0.1:1");
    assert!(refused(json!({"api": {"kind": "http", "openapi": here, "operations": ["nope"]}}), &settings).contains("nope"));
    let one = toolbox(json!({"api": {"kind": "http", "openapi": here, "operations": ["echo"]}}), &settings);
    assert_eq!(one.tools().len(), 1);
    assert_eq!(run(&one, "api.note", json!({"text": "x"})).failure, Some(ToolFailure::UnknownTool));
}
