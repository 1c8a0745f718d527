//! Zip files from outside: unpacked below one folder, within limits.
//!
//! In: an archive that anybody may have made. Out: its files. Paths that lead out of the folder, links, and more than the limits
//! allow are errors; sizes are counted while unpacking, not believed.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// How much an archive may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Files and folders.
    pub entries: usize,
    /// Bytes of all files, unpacked.
    pub bytes: u64,
}

/// Unpacks `archive` into the existing folder `into`.
pub fn unpack(archive: &Path, into: &Path, limits: Limits) -> Result<()> {
    let name = archive.display();
    let file = File::open(archive).with_context(|| format!("cannot open {name}"))?;
    let mut zip = zip::ZipArchive::new(file).with_context(|| format!("{name} is no zip file, or a damaged one"))?;
    if zip.len() > limits.entries {
        bail!("{name} holds {} entries; at most {} are unpacked", zip.len(), limits.entries);
    }
    let mut left = limits.bytes;
    for i in 0..zip.len() {
        let entry = zip.by_index(i).with_context(|| format!("{name}: entry {i} cannot be read"))?;
        let Some(path) = entry.enclosed_name() else { bail!("{name}: entry {:?} would be written outside the folder", entry.name()) };
        if entry.is_symlink() {
            bail!("{name}: entry {:?} is a link; only files and folders are unpacked", entry.name());
        }
        let target = into.join(path);
        let cannot = || format!("cannot write {}", target.display());
        if entry.is_dir() {
            fs::create_dir_all(&target).with_context(cannot)?;
            continue;
        }
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).with_context(cannot)?;
        }
        let mut out = File::create(&target).with_context(cannot)?;
        let written =
            std::io::copy(&mut entry.take(left + 1), &mut out).with_context(|| format!("{name}: cannot unpack to {}", target.display()))?;
        if written > left {
            bail!("{name} unpacks to more than {} MB", limits.bytes >> 20);
        }
        left -= written;
    }
    Ok(())
}
