//! The API keeps its own document: schemathesis reads it, asks what it allows and what it forbids, and checks every answer.

use std::path::Path;
use std::process::Command;

use crate::serving::{Server, lab, launch, upload};

/// The version whose checks are meant.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";

fn python(args: &[&str], at: &Path) -> String {
    let out = Command::new("python3").args(args).current_dir(at).env("PYTHONPATH", at.join("tools")).output().unwrap();
    let said = format!("{}\n{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{args:?}: {said}");
    said
}

#[test]
fn every_answer_is_as_documented() {
    let lab = lab();
    let at = lab.path("");
    python(&["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", "tools", SCHEMATHESIS], &at);
    let mut command = lab.command(&["serve", "--port", "0", "--json"]);
    // what is launched by the way names no model, and finds none to fetch
    command.env("HF_ENDPOINT", "http://127.0.0.1:9").env("PIP_INDEX_URL", "http://127.0.0.1:9");
    let server = Server::spawn(command);
    upload(&server);
    let run = launch(&server, &lab, "asked", 4);
    server.wait_for(&run, "finished");
    // ids that lead somewhere: without them most answers would be 404
    let values = format!(
        "[parameters]\n\"path.run\" = \"{run}\"\n\"path.group\" = \"2-0\"\n\"path.rollout\" = \"2-0-1\"\n\
         \"path.evaluation\" = \"grpo-4\"\n\"path.file\" = \"last.zip\"\n\"path.spec\" = \"file:learn\"\n"
    );
    lab.write("values.toml", &values);
    for (config, examples) in [(Some("values.toml"), "30"), (None, "15")] {
        let mut args: Vec<&str> = config.map_or_else(Vec::new, |c| vec!["--config-file", c]);
        let document = format!("http://{}/api/openapi.json", server.address);
        args.extend(["run", &document, "--phases", "examples,coverage,fuzzing", "--max-examples", examples, "--seed", "1"]);
        // a stream of events does not end; the run that the first pass asks about must not be deleted under it
        args.extend(["--exclude-path", "/api/v1/events", "--continue-on-failure", "--warnings", "off"]);
        // what is well-formed may still name nothing, or a key that is taken
        args.extend(["--exclude-checks", "positive_data_acceptance"]);
        if config.is_some() {
            args.extend(["--exclude-method", "DELETE"]);
        }
        let said = python(&[&["-m", "schemathesis.cli"][..], &args[..]].concat(), &at);
        assert!(said.contains("No issues found"), "{said}");
    }
}
