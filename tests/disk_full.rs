//! No room for a checkpoint: the run fails with the reason, the last good checkpoint stays, and the run goes on from it.
//!
//! A file system of a few megabytes needs rights that a test does not have, so a limit on the size of files stands in for it: the
//! write of the optimiser's moments breaks off half-way (EFBIG in place of ENOSPC; the code looks at neither number).

#![cfg(unix)]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::support::{Lab, Ran, assert_same, comparable};

/// Above the adapter's file, below the moments', far above the database. KiB.
const LIMIT: &str = "3000";

#[test]
fn a_checkpoint_without_room_fails_the_run_and_keeps_the_last_one() {
    let lab = Lab::new();
    let more = ["--steps", "8", "--set", "lora_rank=256", "--set", "lora_alpha=512", "--set", "checkpoint_every=2"];
    let begin = [&["train", "tiny.toml", "--json"][..], &more].concat();
    let mut child = lab.command(&begin).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|l| l.unwrap().contains("\"phase\":\"grpo\"")));
    child.kill().unwrap();
    child.wait().unwrap();
    let before = lab.show("latest");

    let resume = lab.command(&["train", "--resume", "latest"]);
    let limited = format!("trap '' XFSZ; ulimit -f {LIMIT}; exec \"$0\" \"$@\"");
    let mut bash = Command::new("bash");
    bash.args(["-c", &limited]).arg(resume.get_program()).args(resume.get_args()).current_dir(lab.dir.path()).stdin(Stdio::null());
    let ran: Ran = bash.output().unwrap().into();
    ran.refused(&["failed", "checkpoint", "File too large"]);

    let failed = lab.show("latest");
    assert_eq!(failed["state"], "failed");
    assert!(failed["message"].as_str().unwrap().contains("File too large"), "{failed}");
    let (old, new) = (before["checkpoints"].as_array().unwrap(), failed["checkpoints"].as_array().unwrap());
    assert_eq!(new.last(), old.last(), "the last good checkpoint is not the last one any more");
    let folder = std::path::Path::new(failed["folder"].as_str().unwrap());
    assert!(folder.join(new.last().unwrap()["folder"].as_str().unwrap()).join("optimizer.safetensors").is_file());
    let names = std::fs::read_dir(folder.join("checkpoints")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|n| n.ends_with(".partial")).count(), 0, "half a checkpoint was left on the full disk");

    lab.run(&["train", "--resume", "latest"]).ok();
    let resumed = comparable(&lab.show("latest"));
    assert_eq!(resumed["state"], "finished");
    std::fs::rename(lab.data(), lab.path("interrupted")).unwrap();
    lab.train(&more).ok();
    assert_same(&resumed, &comparable(&lab.show("latest")));
}
