//! Adapters: the checkpoints of a run as zips that peft loads.
//!
//! In: a record of a checkpoint, whose folder comes from the store. Out: a zip, the same bytes each time, checked against the
//! recorded sha256, with ranges and digests for those who download.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path as FilePath;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;
use whetstone_domain::{CheckpointRecord, Phase};
use whetstone_store::RunRow;

use crate::problem::Problem;
use crate::{App, words};

/// One adapter.
#[derive(Serialize, ToSchema)]
pub(crate) struct AdapterView {
    /// `{phase}-{step}`, as addresses have it.
    id: String,
    phase: &'static str,
    step: usize,
    /// Size of the checkpoint with its optimiser moments, bytes.
    checkpoint_bytes: u64,
    /// sha256 of adapter_model.safetensors.
    sha256: String,
    /// The one with the highest held-out accuracy.
    best: bool,
    /// Address of its zip.
    download: String,
}

/// Adapters of a run.
#[derive(Serialize, ToSchema)]
pub(crate) struct AdapterList {
    items: Vec<AdapterView>,
}

/// List the adapters of a run, in order
#[utoipa::path(get, path = "/api/v1/runs/{run}/adapters", params(("run" = String, Path)),
    responses((status = 200, body = AdapterList), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list(State(app): State<App>, Path(run): Path<String>) -> Result<Json<AdapterList>, Problem> {
    let run = app.run(&run).await?;
    let best = app.store.best_checkpoint(run.id).await?.map(|b| b.checkpoint.folder);
    let view = |c: CheckpointRecord| {
        let id = format!("{}-{}", c.phase.name(), c.step);
        AdapterView {
            download: format!("/api/v1/runs/{}/adapters/{id}.zip", run.public_id),
            id,
            phase: c.phase.name(),
            step: c.step,
            checkpoint_bytes: c.bytes,
            best: best.as_ref() == Some(&c.folder),
            sha256: c.adapter_sha256,
        }
    };
    Ok(Json(AdapterList { items: app.store.checkpoints(run.id).await?.into_iter().map(view).collect() }))
}

/// Download an adapter
///
/// A zip of adapter_config.json, adapter_model.safetensors and a model card, as Hugging Face peft loads it once unpacked.
#[utoipa::path(get, path = "/api/v1/runs/{run}/adapters/{file}",
    params(("run" = String, Path), ("file" = String, Path, description = "{phase}-{step}.zip, best.zip or last.zip")),
    responses((status = 200, description = "the zip", content_type = "application/zip"), (status = 206, description = "a range of it"),
        (status = 304, description = "as the caller has it"), (status = 404, body = Problem, content_type = "application/problem+json"), (status = 409, body = Problem, content_type = "application/problem+json"), (status = 416, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn download(
    State(app): State<App>,
    Path((run, file)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let run = app.run(&run).await?;
    let checkpoint = choose(&app, &run, &file).await?;
    let accuracy = app.store.best_checkpoint(run.id).await?.filter(|b| b.checkpoint == checkpoint).map(|b| b.summary);
    let result = accuracy.map(|s| {
        format!(
            "{} of {} held-out problems right: {} ({:.1} to {:.1})",
            s.correct,
            s.n,
            words::percent(s.accuracy),
            100.0 * s.ci_low,
            100.0 * s.ci_high
        )
    });
    let name = format!("{}-{}-{}.zip", run.public_id, checkpoint.phase.name(), checkpoint.step);
    let folder = app.run_folder(&run).join(&checkpoint.folder);
    let zip = tokio::task::spawn_blocking(move || zip(&run, &checkpoint, &folder, result.as_deref()));
    let zip = zip.await.map_err(|e| Problem::internal(&e))??;
    answer(zip, &name, &headers)
}

async fn choose(app: &App, run: &RunRow, file: &str) -> Result<CheckpointRecord, Problem> {
    let unknown = || Problem::not_found(format!("Run {} has no such adapter; its list names those it has.", run.public_id));
    let wanted = file.strip_suffix(".zip").ok_or_else(unknown)?;
    let mut all = app.store.checkpoints(run.id).await?;
    match wanted {
        "last" => all.pop().ok_or_else(unknown),
        "best" => app.store.best_checkpoint(run.id).await?.map(|b| b.checkpoint).ok_or_else(unknown),
        id => all.into_iter().find(|c| format!("{}-{}", c.phase.name(), c.step) == id).ok_or_else(unknown),
    }
}

fn zip(run: &RunRow, c: &CheckpointRecord, folder: &FilePath, result: Option<&str>) -> Result<Vec<u8>, Problem> {
    let read = |name: &str| {
        std::fs::read(folder.join(name)).map_err(|e| {
            tracing::error!(error = %e, run = run.public_id, name, "a file of a checkpoint cannot be read");
            Problem::conflict(format!("{name} of this checkpoint cannot be read; take another one."))
        })
    };
    let (config, weights) = (read("adapter_config.json")?, read("adapter_model.safetensors")?);
    if hex(&Sha256::digest(&weights)) != c.adapter_sha256 {
        return Err(Problem::conflict("The file is not the one that was recorded: its sha256 differs. Take another checkpoint."));
    }
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    // no times of today: the same adapter is the same zip
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default())
        .unix_permissions(0o644);
    let card = card(run, c, &config, result);
    for (name, bytes) in [("adapter_config.json", &config), ("adapter_model.safetensors", &weights), ("README.md", &card.into_bytes())] {
        zip.start_file(name, options).map_err(|e| Problem::internal(&e))?;
        zip.write_all(bytes).map_err(|e| Problem::internal(&e))?;
    }
    Ok(zip.finish().map_err(|e| Problem::internal(&e))?.into_inner())
}

fn card(run: &RunRow, c: &CheckpointRecord, config: &[u8], result: Option<&str>) -> String {
    let config: serde_json::Value = serde_json::from_slice(config).unwrap_or_default();
    let base = config["base_model_name_or_path"].as_str().unwrap_or("the base");
    let phase = if c.phase == Phase::Grpo { "GRPO" } else { "warm-start" };
    format!(
        "---\nbase_model: {base}\nlibrary_name: peft\npipeline_tag: text-generation\ntags: [lora, grpo, tool-calling, whetstone]\n---\n\n\
         # {base}, taught to call tools\n\nA LoRA adapter made by whetstone {version}: {phase} step {step} of run {run}. {result}\n\n\
         It fits exactly the base weights with sha256 `{base_sha}`. The adapter's own sha256 is `{sha}`.\n\n\
         ```python\nfrom peft import PeftModel\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n\
         tokenizer = AutoTokenizer.from_pretrained(\"{base}\")\n\
         model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(\"{base}\"), \"path/to/this/folder\")\n```\n\n\
         ```\nvllm serve {base} --enable-lora --lora-modules tools=path/to/this/folder\n```\n",
        version = run.code_version,
        step = c.step,
        run = run.public_id,
        result = result.unwrap_or("This checkpoint was not measured."),
        base_sha = run.base_sha256,
        sha = c.adapter_sha256,
    )
}

fn answer(zip: Vec<u8>, name: &str, asked: &HeaderMap) -> Result<Response, Problem> {
    let digest = Sha256::digest(&zip);
    let etag = format!("\"{}\"", hex(&digest));
    let text = |h: header::HeaderName| asked.get(h).and_then(|v| v.to_str().ok());
    let mut headers = HeaderMap::new();
    let mut put = |name: header::HeaderName, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    put(header::ETAG, etag.clone());
    put(header::ACCEPT_RANGES, "bytes".into());
    put(header::CONTENT_TYPE, "application/zip".into());
    put(header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\""));
    put(header::HeaderName::from_static("repr-digest"), format!("sha-256=:{}:", base64(&digest)));
    if text(header::IF_NONE_MATCH).is_some_and(|m| m.split(',').any(|t| t.trim() == etag)) {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    let unchanged = text(header::IF_RANGE).is_none_or(|r| r == etag);
    let Some(range) = text(header::RANGE).filter(|_| unchanged) else { return Ok((headers, zip).into_response()) };
    let Some((first, last)) = span(range, zip.len()) else {
        let mut refused = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "This range is outside of the file.").into_response();
        let all = HeaderValue::try_from(format!("bytes */{}", zip.len())).map_err(|e| Problem::internal(&e))?;
        refused.headers_mut().insert(header::CONTENT_RANGE, all);
        return Ok(refused);
    };
    let range = HeaderValue::try_from(format!("bytes {first}-{last}/{}", zip.len())).map_err(|e| Problem::internal(&e))?;
    headers.insert(header::CONTENT_RANGE, range);
    Ok((StatusCode::PARTIAL_CONTENT, headers, zip[first..=last].to_vec()).into_response())
}

/// First and last byte of a single range within `length` bytes; none where it cannot be had.
fn span(range: &str, length: usize) -> Option<(usize, usize)> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let end = length.checked_sub(1)?;
    let (first, last) = match (from.trim(), to.trim()) {
        ("", suffix) => (length.saturating_sub(suffix.parse::<usize>().ok().filter(|n| *n > 0)?), end),
        (from, "") => (from.parse().ok()?, end),
        (from, to) => (from.parse().ok()?, to.parse::<usize>().ok()?.min(end)),
    };
    (first <= last).then_some((first, last))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().chain([&0, &0]).take(3).fold(0_usize, |w, b| w << 8 | usize::from(*b));
        for i in 0..4 {
            out.push(if i <= chunk.len() { char::from(LETTERS[word >> (18 - 6 * i) & 63]) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_http_has_them() {
        assert_eq!(span("bytes=0-0", 10), Some((0, 0)));
        assert_eq!(span("bytes=5-", 10), Some((5, 9)));
        assert_eq!(span("bytes=-3", 10), Some((7, 9)));
        assert_eq!(span("bytes=-30", 10), Some((0, 9)));
        assert_eq!(span("bytes=2-99", 10), Some((2, 9)));
        for bad in ["bytes=10-", "bytes=5-4", "bytes=-0", "bytes=a-b", "items=0-1", "bytes=0-1,3-4", "bytes=-"] {
            assert_eq!(span(bad, 10), None, "{bad}");
        }
        assert_eq!(span("bytes=0-", 0), None);
    }

    #[test]
    fn base64_is_the_usual_one() {
        assert_eq!([base64(b""), base64(b"f"), base64(b"fo"), base64(b"foo"), base64(b"foob")], ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }
}
