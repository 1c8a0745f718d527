//! A running server of a lab, and how tests ask it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Lab, problems};

/// A running `whetstone serve` on a lab's data directory; killed when dropped.
pub struct Server {
    child: Child,
    /// Host and port.
    pub address: String,
}

/// What a request gave.
pub struct Answer {
    pub status: u16,
    pub headers: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().filter_map(|l| l.split_once(':')).find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim())
    }

    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}\n{}", self.headers, self.text());
        self
    }
}

impl Server {
    pub fn start(lab: &Lab, more: &[&str]) -> Self {
        Self::spawn(lab.command(&[&["serve", "--port", "0", "--json"], more].concat()))
    }

    /// From a command that serves on a free port and says where.
    pub fn spawn(mut command: std::process::Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = serde_json::from_str::<Value>(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"))["url"].as_str().unwrap().to_owned();
        let address = url.strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned();
        Self { child, address }
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let host = if headers.iter().any(|(n, _)| *n == "Host") { String::new() } else { format!("Host: {}\r\n", self.address) };
        let more: String = headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
        write!(stream, "{method} {path} HTTP/1.1\r\n{host}{more}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            .unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        let end = all.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let headers = String::from_utf8_lossy(&all[..end]).into_owned();
        let status = headers.split(' ').nth(1).unwrap().parse().unwrap();
        let mut body = all[end + 4..].to_vec();
        if headers.to_lowercase().contains("transfer-encoding: chunked") {
            body = unchunked(&body);
        }
        Answer { status, headers, body }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("Content-Type", "application/json")], &body.to_string())
    }

    pub fn run(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/runs/{id}")).is(200).json()
    }

    /// Waits until the run is as wished.
    #[track_caller]
    pub fn wait(&self, id: &str, what: &str, wished: impl Fn(&Value) -> bool) -> Value {
        let begin = Instant::now();
        loop {
            let run = self.run(id);
            if wished(&run) {
                return run;
            }
            assert!(begin.elapsed() < Duration::from_secs(120), "waited for {what}: {run}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    #[track_caller]
    pub fn wait_for(&self, id: &str, state: &str) -> Value {
        self.wait(id, state, |r| r["state"] == state)
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = rest.windows(2).position(|w| w == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap().trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        out.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 4 + size..];
    }
    out
}

/// A lab whose tiny model and task sets can be named from a page.
pub fn lab() -> Lab {
    let lab = Lab::new();
    let models = lab.data().join("models");
    std::fs::create_dir_all(&models).unwrap();
    std::fs::rename(lab.model(), models.join("tiny")).unwrap();
    lab
}

pub fn upload(server: &Server) {
    for (name, prefix, n) in [("learn", "t", 40), ("measure", "h", 6)] {
        let report = server.send("POST", &format!("/api/v1/tasksets?name={name}"), &[], &problems(prefix, n)).is(201).json();
        assert_eq!(report["problems"], n, "{report}");
    }
}

/// The lab's config with what a page may name.
pub fn config(lab: &Lab, steps: usize) -> Value {
    let table: toml::Table = lab.config().parse().unwrap();
    let mut config = serde_json::to_value(table).unwrap();
    for (key, value) in
        [("model", json!("tiny")), ("tasks", json!("file:learn")), ("eval_tasks", json!("file:measure")), ("steps", json!(steps))]
    {
        config[key] = value;
    }
    config
}

pub fn launch(server: &Server, lab: &Lab, name: &str, steps: usize) -> String {
    let body = json!({ "name": name, "config": config(lab, steps) });
    server.post("/api/v1/runs", &body).is(201).json()["id"].as_str().unwrap().to_owned()
}

/// The same through the form's POST: every key as a field.
pub fn launch_by_form(server: &Server, lab: &Lab, name: &str, steps: usize) -> String {
    let mut pairs = vec![("name".to_owned(), name.to_owned()), ("recipe".to_owned(), "smollm2-135m-cpu".to_owned())];
    let said = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    for (key, value) in config(lab, steps).as_object().unwrap() {
        match value.as_object() {
            Some(inner) => pairs.extend(inner.iter().map(|(k, v)| (format!("{key}.{k}"), said(v)))),
            None => pairs.push((key.clone(), said(value))),
        }
    }
    let body: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let form = [("Content-Type", "application/x-www-form-urlencoded"), ("Sec-Fetch-Site", "same-origin")];
    let answer = server.send("POST", "/runs/new", &form, &body).is(303);
    answer.header("location").unwrap().strip_prefix("/runs/").unwrap().to_owned()
}

/// Events of a run from `after` until one of kind `status` says `state`: (id, kind, data).
pub fn events(server: &Server, run: &str, after: i64, state: &str) -> Vec<(i64, String, Value)> {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let path = format!("/api/v1/events?run={run}&after={after}");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\r\n", server.address).unwrap();
    let (mut found, mut id, mut kind) = (Vec::new(), 0, String::new());
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap();
        match line.split_once(": ").or_else(|| line.split_once(':')) {
            Some(("id", v)) => id = v.parse().unwrap(),
            Some(("event", v)) => v.clone_into(&mut kind),
            Some(("data", v)) => {
                let data: Value = serde_json::from_str(v).unwrap();
                let done = kind == "status" && data["state"] == state;
                found.push((id, kind.clone(), data));
                if done {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}
