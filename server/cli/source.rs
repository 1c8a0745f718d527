//! From names to things: the base model of a command, and the folder of an adapter.
//!
//! In: what a user typed. Out: a path that loads, and the name under which it is stored.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use whetstone_model::fetch;
use whetstone_tooluse::tasks::Spec;

use super::{Ui, unpack};

/// Folder of the models of a data directory.
pub fn models_dir(data: &Path) -> PathBuf {
    data.join("models")
}

/// Path of a base by name or path; empty = the default, fetched if need be.
pub fn base(name: &str, data: &Path, ui: &Ui) -> Result<PathBuf> {
    let models = models_dir(data);
    if !name.is_empty() {
        return Ok(fetch::locate(name, &models)?);
    }
    let path = fetch::resolve_default(&models, &mut |p| ui.download(&p));
    ui.end_bar();
    Ok(path?)
}

/// How a base is named in a stored config: by its name among the models, else by its absolute path.
pub fn stored_name(path: &Path, data: &Path) -> String {
    let inside = path.strip_prefix(models_dir(data)).ok().and_then(|p| p.components().next());
    match inside {
        Some(name) => name.as_os_str().to_string_lossy().into_owned(),
        None => path.canonicalize().unwrap_or_else(|_| path.to_path_buf()).display().to_string(),
    }
}

/// A task-set spec whose file, if it names one, is found from any directory: a path, or the name of an uploaded set.
pub fn absolute_spec(spec: &str, data: &Path) -> String {
    let place = |path: &Path| {
        let uploaded = data.join("tasks").join(format!("{}.jsonl", path.display()));
        let by_name = path.components().count() == 1 && !path.exists() && uploaded.is_file();
        std::path::absolute(if by_name { &uploaded } else { path })
    };
    let found = Spec::parse(spec).ok().and_then(|s| s.map_paths(place).ok());
    // what is no spec stays as it was typed, for the message
    found.map_or_else(|| spec.trim().to_owned(), |s| s.to_string())
}

/// The folder of an adapter; kept alive where it was unpacked from a zip.
pub struct AdapterFolder {
    /// Holds `adapter_config.json`.
    pub path: PathBuf,
    _unpacked: Option<tempfile::TempDir>,
}

/// Most files and bytes of an adapter's zip: far more than any adapter has, far less than fills a disk.
const ZIP_LIMITS: unpack::Limits = unpack::Limits { entries: 1000, bytes: 4 << 30 };

/// The adapter in a folder, or in a zip.
pub fn adapter(path: &Path) -> Result<AdapterFolder> {
    if path.is_dir() {
        return Ok(AdapterFolder { path: path.to_path_buf(), _unpacked: None });
    }
    if !path.is_file() {
        bail!("there is no adapter at {}; name a folder that holds adapter_config.json, or a zip of one", path.display());
    }
    let folder = tempfile::tempdir().context("cannot make a folder to unpack the adapter in")?;
    unpack::unpack(path, folder.path(), ZIP_LIMITS)?;
    let Some(found) = find(folder.path(), 3) else { bail!("{}: there is no adapter_config.json in this zip", path.display()) };
    Ok(AdapterFolder { path: found, _unpacked: Some(folder) })
}

/// The outermost folder that holds an adapter, at most `depth` folders down.
fn find(folder: &Path, depth: usize) -> Option<PathBuf> {
    if folder.join("adapter_config.json").is_file() {
        return Some(folder.to_path_buf());
    }
    if depth == 0 {
        return None;
    }
    let mut inner: Vec<PathBuf> = std::fs::read_dir(folder).ok()?.flatten().map(|e| e.path()).filter(|p| p.is_dir()).collect();
    inner.sort();
    inner.iter().find_map(|f| find(f, depth - 1))
}
