//! The Berkeley function-calling leaderboard's files: where they are, fetched by pip where they are not.
//!
//! In: specs and `--bfcl`. Out: the folder that holds `bfcl_eval/`, for the loader.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use whetstone_tooluse::tasks::Spec;

use super::{Ui, unpack};

const WHEEL: &str = "bfcl-eval==2026.3.23";
const LIMITS: unpack::Limits = unpack::Limits { entries: 20_000, bytes: 1 << 30 };

/// The unpacked wheel, if one of `specs` needs it: `--bfcl`, else `DATA/bfcl`, which is fetched when absent.
pub fn root(specs: &[&str], flag: Option<&Path>, data: &Path, ui: &Ui) -> Result<Option<PathBuf>> {
    if !specs.iter().any(|s| Spec::parse(s).is_ok_and(|s| s.needs_bfcl())) {
        return Ok(None);
    }
    if let Some(folder) = flag.filter(|f| !f.as_os_str().is_empty()) {
        if !folder.join("bfcl_eval").is_dir() {
            bail!("{} holds no folder bfcl_eval; --bfcl names the folder into which the {WHEEL} wheel was unpacked", folder.display());
        }
        return Ok(Some(folder.to_path_buf()));
    }
    let folder = data.join("bfcl");
    if !folder.is_dir() {
        ui.note(&format!("fetching {WHEEL} with pip into {}", folder.display()));
        fetch(data, &folder)?;
    }
    Ok(Some(folder))
}

/// Makes `folder` appear whole or not at all; a second process waits and takes the first's.
fn fetch(data: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(data)
        .with_context(|| format!("cannot use {} as data directory; choose a writable one with --data", data.display()))?;
    let lock_path = data.join(".bfcl.lock");
    let lock = File::create(&lock_path).with_context(|| format!("cannot create {}", lock_path.display()))?;
    lock.lock().with_context(|| format!("cannot lock {}", lock_path.display()))?;
    if folder.is_dir() {
        return Ok(());
    }
    let work = tempfile::Builder::new().prefix(".bfcl-").tempdir_in(data).context("cannot make a folder to download to")?;
    let pip = Command::new("python3")
        .args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--disable-pip-version-check",
            "--no-input",
            "--dest",
        ])
        .arg(work.path())
        .arg(WHEEL)
        .stdin(Stdio::null())
        .output()
        .with_context(|| {
            format!(
                "cannot run python3 to fetch {WHEEL}; install Python with pip, or unpack the wheel yourself and name it with --bfcl DIR"
            )
        })?;
    if !pip.status.success() {
        let log = String::from_utf8_lossy(&pip.stderr);
        let said = log.lines().rfind(|l| !l.trim().is_empty()).unwrap_or("it said nothing");
        bail!("pip could not fetch {WHEEL}: {}; unpack the wheel yourself and name the folder with --bfcl DIR", said.trim());
    }
    let wheel = fs::read_dir(work.path())?.flatten().map(|e| e.path()).find(|p| p.extension().is_some_and(|e| e == "whl"));
    let wheel = wheel.with_context(|| format!("pip left no wheel of {WHEEL}"))?;
    let aside = work.path().join("unpacked");
    fs::create_dir(&aside)?;
    unpack::unpack(&wheel, &aside, LIMITS)?;
    if !aside.join("bfcl_eval").join("data").is_dir() {
        bail!("the wheel of {WHEEL} holds no bfcl_eval/data");
    }
    fs::rename(&aside, folder).with_context(|| format!("cannot move the unpacked wheel to {}", folder.display()))
}
