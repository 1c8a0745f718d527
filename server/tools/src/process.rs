//! Programs that tools start: found before any call, limited before they are told anything, ended with all they started.
//!
//! In: a program and its arguments. Out: a command that runs in a process group of its own, with few variables and in an empty folder.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, prlimit};

use crate::settings::Settings;

/// Variables of ours that a program may see; of secrets in the others it knows nothing.
const SHOWN_VARIABLES: [&str; 3] = ["PATH", "LANG", "TZ"];
/// Largest file a program may write, bytes.
const LARGEST_FILE: u64 = 16 << 20;
/// Open files of a program.
const OPEN_FILES: u64 = 256;

/// The program's file: as it is named, where that has a slash, else the first of its name on the path.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return std::path::absolute(program).ok().filter(|file| file.is_file());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// A command of its own process group in `folder`.
pub(crate) fn command(program: &Path, arguments: &[String], folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).env_clear().process_group(0);
    for name in SHOWN_VARIABLES {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// Limits memory, processor time, file size and open files of a process that has just been started.
pub(crate) fn limit(pid: u32, settings: &Settings, seconds: Option<u64>) -> std::io::Result<()> {
    let pid = Some(pid_of(pid)?);
    let set = |resource, most: u64| prlimit(pid, resource, Rlimit { current: Some(most), maximum: Some(most) }).map(drop);
    set(Resource::As, settings.program_memory)?;
    set(Resource::Fsize, LARGEST_FILE)?;
    set(Resource::Nofile, OPEN_FILES)?;
    set(Resource::Core, 0)?;
    if let Some(seconds) = seconds {
        set(Resource::Cpu, seconds)?;
    }
    Ok(())
}

/// Ends a process group; one that has ended already is no error.
pub fn kill_group(pid: u32) {
    if let Ok(pid) = pid_of(pid) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

fn pid_of(pid: u32) -> std::io::Result<Pid> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    raw.ok_or_else(|| std::io::Error::other("the process has no usable id"))
}
