//! Task sets as the web hands them out: our own by their specs, uploads by their names.
//!
//! In: a spec without paths, or the bytes of an upload. Out: problems, refused rows with line, field and reason; a file under the
//! data directory, and beside it the format that an upload said it has. What a spec and a row mean is decided by `tooluse`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use whetstone_domain::Problem as Task;
use whetstone_tooluse::tasks::bfcl::CATEGORIES;
use whetstone_tooluse::tasks::spec::{FileFormat, Generated, Part, Source, Spec};
use whetstone_tooluse::tasks::{self, HELD_OUT_PROBLEMS, LoadOptions, Refusal, STARTER_PROBLEMS, TaskError, TaskSet};

use crate::problem::{FieldError, Problem};
use crate::{App, places, words};

/// Largest task file that is taken, bytes.
pub(crate) const LARGEST: usize = 32 << 20;
/// Refused rows that a report names.
pub(crate) const NAMED: usize = 100;
/// Longest spec, bytes, and most parts of a mix.
const LONGEST_SPEC: (usize, usize) = (1000, 8);
/// Most problems of a mix that are made to be looked at.
const MOST_MIXED: usize = 4 * STARTER_PROBLEMS;
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
    let format = |name: &str| task_file(app, name).and_then(|file| said_format(&file));
    let upload = |name: String| match format(&name) {
        Some(format) => format!("file:{name}#format={}", format.name()),
        None => format!("file:{name}"),
    };
    own.chain(uploads(app).into_iter().map(upload)).collect()
}

/// The format of this name.
pub(crate) fn format_named(name: &str) -> Result<FileFormat, Problem> {
    let names = FileFormat::ALL.map(FileFormat::name).join(", ");
    let found = FileFormat::ALL.into_iter().find(|f| f.name() == name);
    found.ok_or_else(|| Problem::bad_request(format!("format must be one of {names}; without it the first row decides.")))
}

/// Where the format is kept that an upload said it has.
fn format_file(file: &Path) -> PathBuf {
    file.with_extension("format")
}

fn said_format(file: &Path) -> Option<FileFormat> {
    let name = std::fs::read_to_string(format_file(file)).ok()?;
    FileFormat::ALL.into_iter().find(|f| f.name() == name.trim())
}

/// What people named, with uploads where they lie; or what is wrong with it, as what is said of it. No other file can be named.
pub(crate) fn placed(app: &App, text: &str) -> Result<Spec, String> {
    let (longest, most) = LONGEST_SPEC;
    if text.len() > longest {
        return Err(format!("is longer than {longest} bytes"));
    }
    let mut spec = Spec::parse(text).map_err(|e| unparsed(&e))?;
    if spec.parts.len() > most {
        return Err(format!("has more than {most} parts"));
    }
    for Part { source, .. } in &mut spec.parts {
        match source {
            Source::Generated(_) => {}
            Source::Bfcl(category) if CATEGORIES.contains(&category.as_str()) => {}
            Source::Bfcl(_) => return Err(format!("names no category of BFCL; known are {}", CATEGORIES.join(", "))),
            Source::File(path, format) => {
                let file = path.to_str().and_then(|name| task_file(app, name)).filter(|f| f.is_file());
                let Some(file) = file else {
                    let name = words::short(&path.to_string_lossy(), 80);
                    return Err(format!("names no uploaded task set by file:{name}; upload it first"));
                };
                *format = format.or_else(|| said_format(&file));
                *path = file;
            }
        }
    }
    Ok(spec)
}

fn unparsed(e: &TaskError) -> String {
    let made = Generated::ALL.map(Generated::name).join(", ");
    match e {
        TaskError::Spec { reason, .. } => format!("is no task set: {}", words::short(reason, 300)),
        _ => format!(
            "is no task set: take {made}, bfcl:CATEGORY, file:NAME of an uploaded one, one of them with options such as \
             starter#split=tool:train:1, or a mix such as mix:0.5*starter+0.5*starter:wide"
        ),
    }
}

/// A task set that was looked into.
pub(crate) struct Looked {
    /// Its spec in full, with names.
    pub(crate) spec: String,
    /// There are uploads in it.
    pub(crate) files: bool,
    /// There are generated problems in it.
    pub(crate) made: bool,
    /// A run meets easy problems first.
    pub(crate) curriculum: bool,
    /// Problems from the first one on; where some are generated only so many as were asked for.
    pub(crate) problems: Vec<Task>,
    /// How many there are in all; of a mix at most [`MOST_MIXED`] are counted.
    pub(crate) total: usize,
    /// Rows that were not taken, without the place of the file.
    pub(crate) refused: Vec<Refusal>,
}

/// Loads a set that people named; one with generated problems only up to problem `most`.
pub(crate) async fn look(app: &App, asked: &str, seed: u64, most: usize) -> Result<Looked, Problem> {
    let spec = placed(app, asked).map_err(|why| Problem::not_found(format!("There is no such task set here: it {why}.")))?;
    if spec.needs_bfcl() {
        let detail = "Task sets of BFCL are shown by the command line: whetstone tasks show bfcl:CATEGORY.";
        return Err(Problem::not_found(detail));
    }
    let named = places::tasks(app, &spec.to_string());
    let work = move || looked(&spec, named, seed, most).map_err(|e| Problem::internal(&e));
    tokio::task::spawn_blocking(work).await.map_err(|e| Problem::internal(&e))?
}

fn looked(spec: &Spec, named: String, seed: u64, most: usize) -> Result<Looked, TaskError> {
    let made = has_generated(spec);
    let whole = if made { whole(spec)? } else { usize::MAX };
    // the shares of a mix are rounded, which may leave each part but one a problem short
    let short = spec.parts.len().saturating_sub(1);
    let limit = made.then(|| most.clamp(1, whole.max(1)) + short);
    let (mut problems, mut refused) = rows(spec, seed, limit)?;
    problems.truncate(whole);
    // fewer than asked for: those are all
    let all = limit.is_none_or(|limit| short == 0 && problems.len() + refused.len() < limit);
    for refusal in &mut refused {
        refusal.file = Path::new(&refusal.file).file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    }
    let files = spec.parts.iter().any(|p| matches!(p.source, Source::File(..)));
    let total = if all { problems.len() } else { whole };
    Ok(Looked { spec: named, files, made, curriculum: spec.curriculum, problems, total, refused })
}

/// The rows of a set, good and bad; a set without a good one is no error to who only looks.
fn rows(spec: &Spec, seed: u64, limit: Option<usize>) -> Result<(Vec<Task>, Vec<Refusal>), TaskError> {
    match tasks::load(&spec.to_string(), &LoadOptions { seed, limit, bfcl: None }) {
        Ok(set) => Ok((set.problems, set.refused)),
        Err(TaskError::AllRefused { refused, .. }) => Ok((Vec::new(), refused)),
        Err(TaskError::Empty { .. }) => Ok((Vec::new(), Vec::new())),
        Err(e) => Err(e),
    }
}

/// How many problems a set with generated ones has: as many as its generator says, or as the scarcest file of the mix allows.
fn whole(spec: &Spec) -> Result<usize, TaskError> {
    if let [Part { source: Source::Generated(made), .. }] = &spec.parts[..] {
        return Ok(made.problems());
    }
    let weights: f64 = spec.parts.iter().map(|p| p.weight).sum();
    let mut scarcest = None;
    for part in spec.parts.iter().filter(|p| !matches!(p.source, Source::Generated(_))) {
        let mut alone = spec.clone();
        alone.parts = vec![part.clone()];
        let allowed = (rows(&alone, 0, None)?.0.len() as f64 * weights / part.weight).floor() as usize;
        scarcest = Some(scarcest.map_or(allowed, |least: usize| least.min(allowed)));
    }
    Ok(scarcest.unwrap_or(STARTER_PROBLEMS).min(MOST_MIXED))
}

fn has_generated(spec: &Spec) -> bool {
    spec.parts.iter().any(|p| matches!(p.source, Source::Generated(_)))
}

/// The problem of a set as a run stored its spec, by id; none where the set is gone or has no such problem.
pub(crate) async fn problem(spec: String, seed: u64, most: usize, id: String) -> Result<Option<Task>, Problem> {
    let work = move || {
        let made = Spec::parse(&spec).is_ok_and(|s| has_generated(&s));
        let limit = made.then_some(most.clamp(1, HELD_OUT_PROBLEMS));
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

/// Checks an upload and keeps it under its name, with its format where it says one.
pub(crate) async fn upload(
    app: &App,
    name: &str,
    format: Option<FileFormat>,
    bytes: impl AsRef<[u8]> + Send + 'static,
) -> Result<Report, Problem> {
    let path = task_file(app, name).ok_or_else(|| Problem::bad_request(NAME_RULE))?;
    // gzip, zip, zstd, xz: rows are text, and what unpacks to gigabytes should not be unpacked here
    let packed: [&[u8]; 4] = [b"\x1f\x8b", b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ"];
    if packed.iter().any(|magic| bytes.as_ref().starts_with(magic)) {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "The file is compressed; send its JSON lines as they are."));
    }
    let name = name.to_owned();
    tokio::task::spawn_blocking(move || keep(&path, &name, format, bytes.as_ref())).await.map_err(|e| Problem::internal(&e))?
}

/// Loads the bytes from a file aside, and gives it its name only if it holds problems.
fn keep(path: &Path, name: &str, format: Option<FileFormat>, bytes: &[u8]) -> Result<Report, Problem> {
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
    let said = format.map(|f| format!("#format={}", f.name())).unwrap_or_default();
    let set = tasks::load(&format!("file:{}{said}", aside.0.display()), &LoadOptions::default()).map_err(|e| unusable(&e))?;
    // a hard link fails where the name is taken, which a rename would not
    std::fs::hard_link(&aside.0, path).map_err(|e| if e.kind() == std::io::ErrorKind::AlreadyExists { taken() } else { internal(e) })?;
    // only now: until here the name, and a format beside it, could be another upload's
    let noted = match (format, std::fs::remove_file(format_file(path))) {
        (Some(format), _) => std::fs::write(format_file(path), format.name()),
        (None, Err(e)) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        (None, _) => Ok(()),
    };
    if let Err(e) = noted {
        std::fs::remove_file(path).map_err(internal)?;
        return Err(internal(e));
    }
    Ok(Report {
        spec: format!("file:{name}{said}"),
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
