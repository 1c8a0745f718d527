//! Task sets as the web hands them out: our own by their specs, uploads by their names.
//!
//! In: a spec without paths, or the bytes of an upload. Out: problems, refused rows with line, field and reason; a file under the
//! data directory. What a row means is decided by `tooluse`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use whetstone_domain::Problem as Task;
use whetstone_tooluse::tasks::spec::Generated;
use whetstone_tooluse::tasks::{self, HELD_OUT_PROBLEMS, LoadOptions, Refusal, TaskError, TaskSet};

use crate::App;
use crate::problem::{FieldError, Problem};

/// Largest task file that is taken, bytes.
pub(crate) const LARGEST: usize = 32 << 20;
/// Refused rows that a report names.
pub(crate) const NAMED: usize = 100;
/// What a name may be.
pub(crate) const NAME_RULE: &str = "A task set's name has 1 to 64 characters out of a-z, 0-9 and -.";

/// Where an uploaded task set is kept; none for a name that is none.
pub(crate) fn task_file(app: &App, name: &str) -> Option<PathBuf> {
    let plain = (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    plain.then(|| app.data_dir.join("tasks").join(format!("{name}.jsonl")))
}

/// Names of the uploaded task sets.
pub(crate) fn uploads(app: &App) -> Vec<String> {
    let folder = std::fs::read_dir(app.data_dir.join("tasks"));
    let names = folder.into_iter().flatten().flatten().filter_map(|e| e.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter_map(|n| n.strip_suffix(".jsonl").map(str::to_owned)).collect();
    names.retain(|n| task_file(app, n).is_some());
    names.sort_unstable();
    names
}

/// Specs of the sets that a run may name.
pub(crate) fn specs(app: &App) -> Vec<String> {
    let own = Generated::ALL.map(|g| g.name().to_owned()).into_iter();
    own.chain(uploads(app).into_iter().map(|n| format!("file:{n}"))).collect()
}

/// A task set that was looked into.
pub(crate) struct Looked {
    /// Problems from the first one on; of a generated set only so many as were asked for.
    pub(crate) problems: Vec<Task>,
    /// How many there are in all.
    pub(crate) total: usize,
    /// Rows that were not taken, without the place of the file.
    pub(crate) refused: Vec<Refusal>,
}

/// Loads a set that people named; generated ones only up to problem `most`.
pub(crate) async fn look(app: &App, spec: &str, seed: u64, most: usize) -> Result<Looked, Problem> {
    let unknown = || {
        Problem::not_found(
            "There is no such task set here. Those of BFCL are shown by the command line: whetstone tasks show bfcl:CATEGORY.",
        )
    };
    let (place, total) = match Generated::named(spec) {
        Some(made) => (spec.to_owned(), Some(made.problems())),
        None => {
            let name = spec.strip_prefix("file:").ok_or_else(unknown)?;
            let path = task_file(app, name).filter(|p| p.is_file()).ok_or_else(unknown)?;
            (format!("file:{}", path.display()), None)
        }
    };
    let shown = spec.strip_prefix("file:").map(|n| format!("{n}.jsonl"));
    let work = move || {
        let limit = total.map(|t| most.clamp(1, t));
        let mut set = tasks::load(&place, &LoadOptions { seed, limit, bfcl: None }).map_err(|e| Problem::internal(&e))?;
        if let Some(name) = shown {
            set.refused.iter_mut().for_each(|r| r.file.clone_from(&name));
        }
        Ok(Looked { total: total.unwrap_or(set.problems.len()), problems: set.problems, refused: set.refused })
    };
    tokio::task::spawn_blocking(work).await.map_err(|e| Problem::internal(&e))?
}

/// The problem of a set as a run stored its spec, by id; none where the set is gone or has no such problem.
pub(crate) async fn problem(spec: String, seed: u64, most: usize, id: String) -> Result<Option<Task>, Problem> {
    let work = move || {
        let limit = spec.starts_with("starter").then_some(most.clamp(1, HELD_OUT_PROBLEMS));
        let set = tasks::load(&spec, &LoadOptions { seed, limit, bfcl: None }).ok()?;
        set.problems.into_iter().find(|p| p.id == id)
    };
    tokio::task::spawn_blocking(work).await.map_err(|e| Problem::internal(&e))
}

/// What loading an uploaded file found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Report {
    /// What a run calls it.
    pub(crate) spec: String,
    /// Rows that can be used.
    pub(crate) problems: usize,
    /// Rows that were not taken.
    pub(crate) refused: usize,
    /// The first of them, with line, field and reason.
    pub(crate) refusals: Vec<String>,
    /// Names of the tools that are offered.
    pub(crate) tools: Vec<String>,
}

/// Checks an upload and keeps it under its name.
pub(crate) async fn upload(app: &App, name: &str, bytes: impl AsRef<[u8]> + Send + 'static) -> Result<Report, Problem> {
    let path = task_file(app, name).ok_or_else(|| Problem::bad_request(NAME_RULE))?;
    // gzip, zip, zstd, xz: rows are text, and what unpacks to gigabytes should not be unpacked here
    let packed: [&[u8]; 4] = [b"\x1f\x8b", b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ"];
    if packed.iter().any(|magic| bytes.as_ref().starts_with(magic)) {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "The file is compressed; send its JSON lines as they are."));
    }
    let name = name.to_owned();
    tokio::task::spawn_blocking(move || keep(&path, &name, bytes.as_ref())).await.map_err(|e| Problem::internal(&e))?
}

/// Loads the bytes from a file aside, and gives it its name only if it holds problems.
fn keep(path: &Path, name: &str, bytes: &[u8]) -> Result<Report, Problem> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let internal = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::StorageFull => Problem::new(StatusCode::INSUFFICIENT_STORAGE, "No space is left for the file."),
        _ => Problem::internal(&e),
    };
    let taken = || Problem::conflict("There is a task set of this name already, and runs may depend on it; take another name.");
    let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
    std::fs::create_dir_all(&folder).map_err(internal)?;
    if path.exists() {
        return Err(taken());
    }
    // a number of its own: two uploads of one name at once must not write into each other's file
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let aside = Aside(folder.join(format!(".{name}.{}-{number}.jsonl", std::process::id())));
    std::fs::write(&aside.0, bytes).map_err(internal)?;
    let set = tasks::load(&format!("file:{}", aside.0.display()), &LoadOptions::default()).map_err(|e| unusable(&e))?;
    // a hard link fails where the name is taken, which a rename would not
    std::fs::hard_link(&aside.0, path).map_err(|e| if e.kind() == std::io::ErrorKind::AlreadyExists { taken() } else { internal(e) })?;
    Ok(Report {
        spec: format!("file:{name}"),
        problems: set.problems.len(),
        refused: set.refused.len(),
        refusals: set
            .refused
            .iter()
            .take(NAMED)
            .map(|r| format!("{name}.jsonl, line {}, field {}: {}", r.line, r.field, r.reason))
            .collect(),
        tools: tools(&set),
    })
}

/// Names of the tools that a set offers.
fn tools(set: &TaskSet) -> Vec<String> {
    let names: BTreeSet<&String> = set.problems.iter().flat_map(|p| &p.tools).map(|t| &t.name).collect();
    names.into_iter().cloned().collect()
}

/// Why a file cannot be used, row by row.
fn unusable(e: &TaskError) -> Problem {
    let row = |r: &Refusal| FieldError { pointer: format!("/{}/{}", r.line, r.field), detail: r.reason.clone() };
    match e {
        TaskError::AllRefused { refused, .. } => Problem {
            detail: format!("None of its {} rows can be used.", refused.len()),
            ..Problem::fields(refused.iter().take(NAMED).map(row).collect())
        },
        TaskError::Empty { .. } => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "The file holds no rows."),
        other => Problem::internal(other),
    }
}

/// A file that goes when it is no longer needed, whatever happened.
struct Aside(PathBuf);

impl Drop for Aside {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_file(&self.0) {
            tracing::debug!(error = %e, "a file aside could not be removed");
        }
    }
}
