//! Kind *files*: a folder of text files that a rollout may list, read and write; nothing outside it can be reached.
//!
//! In: relative paths and contents. Out: names, contents, or why not. Every part of a path is opened below the one before it
//! and never through a link, so `..`, absolute paths and symbolic links lead nowhere. Each toolbox has a folder of its own,
//! which is gone with it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, fstat, mkdirat, openat};
use rustix::io::Errno;
use serde_json::{Map, Value};
use tempfile::TempDir;
use whetstone_domain::{Tool, ToolFailure};

use crate::{Reply, definition, refuse};

/// Largest file, bytes.
const LARGEST: usize = 64 << 10;
/// Most files of a folder.
const MOST_FILES: usize = 200;
/// Deepest path.
const DEEPEST: usize = 8;
/// Longest part of a path, bytes.
const LONGEST_NAME: usize = 128;

pub(crate) struct Folder {
    root: OwnedFd,
    written: std::cell::Cell<usize>,
    _folder: TempDir,
}

type Reason = (ToolFailure, String);

impl Folder {
    /// Makes the folder and its files.
    pub(crate) fn new(files: &BTreeMap<String, String>) -> Result<Self, String> {
        let folder = TempDir::new().map_err(|e| format!("cannot make its folder: {e}"))?;
        let root = openat(CWD, folder.path(), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| format!("cannot open its folder: {e}"))?;
        let made = Self { root, written: std::cell::Cell::new(0), _folder: folder };
        for (path, content) in files {
            made.write(path, content).map_err(|(_, reason)| format!("file {path:?}: {reason}"))?;
        }
        Ok(made)
    }

    /// The tools as a prompt lists them.
    pub(crate) fn define(name: &str) -> Vec<Tool> {
        let path = || definition::text("Relative path");
        vec![
            definition::tool(&format!("{name}.list"), "Names of files in a folder", &[("path", path(), false)]),
            definition::tool(&format!("{name}.read"), "Content of a file", &[("path", path(), true)]),
            definition::tool(
                &format!("{name}.write"),
                "Write a file",
                &[("path", path(), true), ("content", definition::text("All of its text"), true)],
            ),
        ]
    }

    /// Answers a call of `list`, `read` or `write`.
    pub(crate) fn call(&self, tool: &str, arguments: &Map<String, Value>) -> Reply {
        let text = |key: &str| match arguments.get(key) {
            Some(Value::String(text)) => Ok(text.as_str()),
            Some(_) => refuse(ToolFailure::BadArguments, format!("argument {key:?} must be a text")),
            None => refuse(ToolFailure::BadArguments, format!("argument {key:?} is missing")),
        };
        match tool {
            "list" => self.list(if arguments.contains_key("path") { text("path")? } else { "." }),
            "read" => self.read(text("path")?),
            "write" => self.write(text("path")?, text("content")?),
            _ => refuse(ToolFailure::UnknownTool, format!("files can be listed, read and written, not {tool:?}")),
        }
    }

    fn list(&self, path: &str) -> Reply {
        let parts = parts(path)?;
        let folder = self.walk(&parts, false)?;
        let mut names = Vec::new();
        let entries = Dir::read_from(&folder).map_err(|e| explain(e, path))?;
        for entry in entries {
            let entry = entry.map_err(|e| explain(e, path))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            match entry.file_type() {
                _ if name == "." || name == ".." => {}
                FileType::Directory => names.push(format!("{name}/")),
                _ => names.push(name),
            }
        }
        names.sort();
        Ok(if names.is_empty() { "no files".into() } else { names.join("\n") })
    }

    fn read(&self, path: &str) -> Reply {
        let parts = parts(path)?;
        let Some((name, folders)) = parts.split_last() else { return refuse(ToolFailure::BadArguments, "the path names no file") };
        let folder = self.walk(folders, false)?;
        // NONBLOCK: a pipe must not hold us up before its kind is known
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&folder, *name, flags, Mode::empty()).map_err(|e| explain(e, path))?;
        plain(&file, path)?;
        let mut bytes = Vec::new();
        let read = File::from(file).take(LARGEST as u64 + 1).read_to_end(&mut bytes);
        match (read, String::from_utf8(bytes)) {
            (Err(e), _) => refuse(ToolFailure::Failed, format!("{path:?} cannot be read: {e}")),
            (Ok(n), _) if n > LARGEST => refuse(ToolFailure::TooLarge, format!("{path:?} is larger than {LARGEST} bytes")),
            (Ok(_), Err(_)) => refuse(ToolFailure::Failed, format!("{path:?} is no text")),
            (Ok(_), Ok(text)) => Ok(text),
        }
    }

    fn write(&self, path: &str, content: &str) -> Reply {
        let parts = parts(path)?;
        let Some((name, folders)) = parts.split_last() else { return refuse(ToolFailure::BadArguments, "the path names no file") };
        if content.len() > LARGEST {
            return refuse(ToolFailure::TooLarge, format!("the content is {} bytes long; at most {LARGEST} are written", content.len()));
        }
        if self.written.get() >= MOST_FILES {
            return refuse(ToolFailure::TooLarge, format!("{MOST_FILES} files were written; no more are"));
        }
        self.written.set(self.written.get() + 1);
        let folder = self.walk(folders, true)?;
        // not truncated before its kind is known
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&folder, *name, flags, Mode::RUSR | Mode::WUSR).map_err(|e| explain(e, path))?;
        plain(&file, path)?;
        let mut file = File::from(file);
        match file.set_len(0).and_then(|()| file.write_all(content.as_bytes())) {
            Ok(()) => Ok(format!("wrote {} bytes", content.len())),
            Err(e) => refuse(ToolFailure::Failed, format!("{path:?} cannot be written: {e}")),
        }
    }

    /// The folder below the root, part by part, made where it may be.
    fn walk(&self, parts: &[&str], make: bool) -> Result<OwnedFd, Reason> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut here = openat(&self.root, ".", flags, Mode::empty()).map_err(|e| explain(e, "."))?;
        for part in parts {
            if make {
                match mkdirat(&here, *part, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(explain(e, part)),
                }
            }
            here = openat(&here, *part, flags, Mode::empty()).map_err(|e| explain(e, part))?;
        }
        Ok(here)
    }
}

/// The parts of a relative path; what could lead outside is refused.
fn parts(path: &str) -> Result<Vec<&str>, Reason> {
    let bad = |reason: &str| refuse(ToolFailure::Forbidden, format!("the path {reason}"));
    if path.starts_with(['/', '\\', '~']) {
        return bad("must be relative");
    }
    if path.chars().any(char::is_control) {
        return bad("holds a control character");
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    match () {
        () if parts.contains(&"..") => bad("must not go up with .."),
        () if parts.len() > DEEPEST => bad(&format!("has more than {DEEPEST} parts")),
        () if parts.iter().any(|part| part.len() > LONGEST_NAME) => bad(&format!("has a part longer than {LONGEST_NAME} bytes")),
        () => Ok(parts),
    }
}

fn plain(file: &OwnedFd, path: &str) -> Result<(), Reason> {
    let stat = fstat(file).map_err(|e| explain(e, path))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        _ => refuse(ToolFailure::Forbidden, format!("{path:?} is no plain file")),
    }
}

fn explain(error: Errno, path: &str) -> Reason {
    match error {
        Errno::NOENT => (ToolFailure::Failed, format!("there is no {path:?}")),
        Errno::LOOP => (ToolFailure::Forbidden, format!("{path:?} is a link, which is not followed")),
        Errno::NOTDIR => (ToolFailure::Failed, format!("{path:?} is no folder, or a link, which is not followed")),
        Errno::ISDIR => (ToolFailure::Failed, format!("{path:?} is a folder")),
        other => (ToolFailure::Failed, format!("{path:?}: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn folder() -> Folder {
        Folder::new(&BTreeMap::from([("a.txt".into(), "alpha".into()), ("sub/b.txt".into(), "beta".into())])).expect("made")
    }

    fn call(folder: &Folder, tool: &str, arguments: Value) -> Reply {
        folder.call(tool, arguments.as_object().expect("an object"))
    }

    #[test]
    fn files_are_listed_read_and_written() {
        let f = folder();
        assert_eq!(call(&f, "list", json!({})), Ok("a.txt\nsub/".into()));
        assert_eq!(call(&f, "list", json!({"path": "sub"})), Ok("b.txt".into()));
        assert_eq!(call(&f, "read", json!({"path": "./sub//b.txt"})), Ok("beta".into()));
        assert_eq!(call(&f, "write", json!({"path": "new/c.txt", "content": "gamma"})), Ok("wrote 5 bytes".into()));
        assert_eq!(call(&f, "write", json!({"path": "a.txt", "content": "x"})), Ok("wrote 1 bytes".into()));
        assert_eq!(call(&f, "read", json!({"path": "a.txt"})), Ok("x".into()));
        assert_eq!(call(&f, "read", json!({"path": "new/c.txt"})), Ok("gamma".into()));
        assert_eq!(call(&folder(), "read", json!({"path": "a.txt"})), Ok("alpha".into()), "each folder is its own");
    }

    #[test]
    fn no_path_leads_outside() {
        let f = folder();
        let outside = TempDir::new().expect("a folder");
        std::fs::write(outside.path().join("secret"), "s").expect("written");
        std::os::unix::fs::symlink(outside.path(), f._folder.path().join("link")).expect("linked");
        std::os::unix::fs::symlink(outside.path().join("secret"), f._folder.path().join("leaf")).expect("linked");
        for path in ["../x", "sub/../../x", "/etc/passwd", "~/x", "\\x", "link/secret", "leaf", "a\u{0}b", "a\nb", "a/a/a/a/a/a/a/a/a"] {
            let read = call(&f, "read", json!({"path": path})).expect_err(path);
            assert!(matches!(read.0, ToolFailure::Forbidden | ToolFailure::Failed), "{path}: {read:?}");
            let wrote = call(&f, "write", json!({"path": path, "content": "x"})).expect_err(path);
            assert!(matches!(wrote.0, ToolFailure::Forbidden | ToolFailure::Failed), "{path}: {wrote:?}");
        }
        assert_eq!(std::fs::read_to_string(outside.path().join("secret")).expect("there"), "s");
        assert!(call(&f, "list", json!({"path": "link"})).is_err());
        assert!(call(&f, "read", json!({"path": "x".repeat(10_000)})).is_err());
    }

    #[test]
    fn sizes_and_counts_are_limited() {
        let f = folder();
        let large = call(&f, "write", json!({"path": "l", "content": "x".repeat(LARGEST + 1)})).expect_err("large");
        assert_eq!(large.0, ToolFailure::TooLarge);
        let mut refused = None;
        for i in 0..=MOST_FILES {
            refused = call(&f, "write", json!({"path": format!("f{i}"), "content": ""})).err();
        }
        assert_eq!(refused.map(|r| r.0), Some(ToolFailure::TooLarge));
        assert!(call(&f, "read", json!({"path": "sub"})).is_err() && call(&f, "read", json!({"path": ""})).is_err());
        assert!(call(&f, "read", json!({})).is_err() && call(&f, "read", json!({"path": 3})).is_err());
    }
}
