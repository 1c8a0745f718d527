//! Programs that tools start: found before any call, limited before they run, ended with all they started.
//!
//! In: a program and its arguments. Out: a command that runs in a process group of its own, with few variables and in an empty
//! folder. What is started is a launcher: it limits itself and then becomes the program, so that whatever the program starts, and
//! however fast, has the limits too.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use rustix::fs::{Access, access};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process_group, setrlimit};
use tempfile::TempDir;

use crate::settings::Settings;

/// Variables of ours that a program may see; of secrets in the others it knows nothing.
const SHOWN_VARIABLES: [&str; 3] = ["PATH", "LANG", "TZ"];
/// Largest file a program may write, bytes.
const LARGEST_FILE: u64 = 16 << 20;
/// Open files of a program.
const OPEN_FILES: u64 = 256;
/// The first word by which a launcher knows that it is one.
const LIMITED: &str = "limited";
/// How a launcher ends that could not become the program; shells end so, too.
pub(crate) const NOT_STARTED: u8 = 126;

/// A program that can be started, and an empty folder for it.
pub(crate) struct Startable {
    launcher: PathBuf,
    file: PathBuf,
    folder: TempDir,
}

impl Startable {
    /// Finds the program: as it is named, where that has a slash, else the first of its name on the path.
    pub(crate) fn new(program: &str, launcher: &Path) -> Result<Self, String> {
        let usable = |file: PathBuf| std::path::absolute(file).ok().filter(|f| f.is_file() && access(f, Access::EXEC_OK).is_ok());
        let file = match program.contains('/') {
            true => usable(program.into()),
            false => {
                let path = std::env::var_os("PATH").unwrap_or_default();
                std::env::split_paths(&path).find_map(|folder| usable(folder.join(program)))
            }
        };
        let file = file.ok_or_else(|| format!("there is no program {program:?} that can be executed; give a path or put it on PATH"))?;
        let folder = TempDir::new().map_err(|e| format!("cannot make a folder to run it in: {e}"))?;
        Ok(Self { launcher: launcher.to_owned(), file, folder })
    }

    /// A command of its own process group; `seconds` is the most processor time.
    pub(crate) fn command(&self, arguments: &[String], settings: &Settings, seconds: Option<u64>) -> Command {
        let mut command = Command::new(&self.launcher);
        command.args([LIMITED, &settings.program_memory.to_string(), &seconds.unwrap_or(u64::MAX).to_string()]);
        command.arg(&self.file).args(arguments).current_dir(self.folder.path()).env_clear().process_group(0);
        for name in SHOWN_VARIABLES {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
    }
}

/// What a launcher does, called before anything else: where a tool has started this process for it, limits the process and lets it
/// become the program. It comes back where this is no launcher, or with the code to end with where the program cannot be started;
/// the reason is then on stderr.
pub fn limited() -> Option<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    words.next().filter(|word| word == LIMITED)?;
    let reason = become_program(words);
    // nobody may listen
    let _ = writeln!(std::io::stderr(), "it cannot be started: {reason}");
    Some(ExitCode::from(NOT_STARTED))
}

/// The reason why that failed: a process that becomes a program comes back to nothing.
fn become_program(mut words: impl Iterator<Item = OsString>) -> String {
    let mut number = || words.next()?.to_str()?.parse::<u64>().ok();
    let (Some(memory), Some(seconds)) = (number(), number()) else { return "its limits are no numbers".into() };
    let Some(program) = words.next() else { return "it is not named".into() };
    let mut command = Command::new(program);
    command.args(words);
    match limit(memory, seconds) {
        Ok(()) => command.exec().to_string(),
        Err(e) => format!("it cannot be limited: {e}"),
    }
}

/// Limits memory, processor time, file size and open files of this process and of all that it starts.
fn limit(memory: u64, seconds: u64) -> std::io::Result<()> {
    let set = |resource, most: u64| {
        // nobody may be given more than the account has
        let most = getrlimit(resource).maximum.map_or(most, |held| held.min(most));
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
    };
    set(Resource::Fsize, LARGEST_FILE)?;
    set(Resource::Nofile, OPEN_FILES)?;
    set(Resource::Core, 0)?;
    set(Resource::Cpu, seconds)?;
    // last: from here on this process has to do with the memory it has
    Ok(set(Resource::As, memory)?)
}

/// Ends a process group; one that has ended already is no error.
pub fn kill_group(pid: u32) {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = raw {
        let _ = kill_process_group(pid, Signal::KILL);
    }
}
