//! Pages: which task sets there are, the way in for new ones with its report, and the problems of one.

use std::collections::BTreeMap;

use askama::Template;
use axum::Router;
use axum::extract::multipart::{Multipart, MultipartError};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use whetstone_domain::Problem as Task;
use whetstone_tooluse::format::signature::signature;
use whetstone_tooluse::tasks::spec::FileFormat;

use super::asked::Asked;
use super::{Frame, produced, show, theme};
use crate::problem::Problem;
use crate::task_sets::{self, LARGEST, NAMED};
use crate::{App, words};

/// Problems of a page.
const PAGE: usize = 50;
/// What a form adds to the file it carries, bytes at most.
const FORM: usize = 64 << 10;

pub(crate) fn routes() -> Router<App> {
    let list = get(list).post(upload).layer(DefaultBodyLimit::max(LARGEST + FORM));
    Router::new()
        .route("/tasksets", list)
        .route("/tasksets/{spec}", get(show_set))
        .route("/problems", get(|| async { Redirect::to("/tasksets") }))
}

#[derive(Template)]
#[template(path = "task_sets.html")]
struct List<'a> {
    frame: Frame<'a>,
    /// (spec, address, what it is)
    sets: Vec<(String, String, &'static str)>,
    name: String,
    /// (name, whose it is, chosen)
    formats: Vec<(&'static str, &'static str, bool)>,
    error: Option<Problem>,
}

async fn list(State(app): State<App>, asked: Asked, headers: HeaderMap) -> Result<Response, Problem> {
    // a spec that was typed has a page of its own
    if let Some(spec) = asked.get("spec") {
        return Ok(Redirect::to(&format!("/tasksets/{}", words::in_url(spec))).into_response());
    }
    show(&listed(&app, &headers, asked.unknown(&["spec"]), &Sent::default(), None))
}

fn listed<'a>(app: &App, headers: &HeaderMap, notes: Vec<String>, sent: &Sent, error: Option<Problem>) -> List<'a> {
    let what = |spec: &str| match spec {
        "starter" => "generated: typed tools of everyday domains, half of them under other names; learned from by default",
        "starter:held-out" => "generated: two domains that are never trained on; measured on by default",
        "starter:wide" => "generated, harder: several calls, look-alike tools, values said in other words",
        "starter:wide-held-out" => "the same for domains that are never trained on",
        "starter:tools" => "generated: tools that run: look up, then compute; the answer is given in words",
        "starter:tools-held-out" => "generated: the same with other tools, never trained on",
        _ => "uploaded",
    };
    let sets = task_sets::specs(app).into_iter().map(|s| (s.clone(), format!("/tasksets/{}", words::in_url(&s)), what(&s))).collect();
    let whose = |format: FileFormat| match format {
        FileFormat::Own => "our own rows",
        FileFormat::OpenAi => "OpenAI chat",
        FileFormat::Xlam => "xLAM or Hammer",
        FileFormat::Seal => "Seal-Tools",
        FileFormat::Bfcl => "BFCL, answers in the rows",
    };
    let formats = FileFormat::ALL.map(|f| (f.name(), whose(f), f.name() == sent.format)).to_vec();
    let frame = Frame::new(app, "Task sets", theme(headers)).noting(notes);
    List { frame, sets, name: words::short(&sent.name, 200), formats, error }
}

/// Takes the form; an accepted file's report is its own page, a refused one's is beside the form.
async fn upload(State(app): State<App>, headers: HeaderMap, form: Multipart) -> Result<Response, Problem> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Send the form as it is, not compressed."));
    }
    let mut sent = read(form).await?;
    let file = std::mem::take(&mut sent.file);
    let format = match sent.format.as_str() {
        "" => Ok(None),
        name => task_sets::format_named(name).map(Some),
    };
    let outcome = match format {
        _ if file.is_empty() => Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "Choose a file first.")),
        Err(unknown) => Err(unknown),
        Ok(format) => task_sets::upload(&app, &sent.name, format, file).await,
    };
    match outcome {
        Ok(report) => Ok(Redirect::to(&format!("/tasksets/{}?new=1", words::in_url(&report.spec))).into_response()),
        Err(problem) if problem.status < 500 => {
            let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
            let page = listed(&app, &headers, Vec::new(), &sent, Some(problem));
            Ok((status, show(&page)?).into_response())
        }
        Err(problem) => Err(problem),
    }
}

/// What the upload form holds.
#[derive(Default)]
struct Sent {
    name: String,
    /// Empty = the first row decides.
    format: String,
    file: Vec<u8>,
}

/// Reads the form; a file without a name gives it its own.
async fn read(mut form: Multipart) -> Result<Sent, Problem> {
    let bad = |e: MultipartError| Problem::new(e.status(), e.body_text());
    let (mut sent, mut own) = (Sent::default(), String::new());
    while let Some(field) = form.next_field().await.map_err(bad)? {
        match field.name() {
            Some("name") => sent.name = field.text().await.map_err(bad)?.trim().to_owned(),
            Some("format") => sent.format = field.text().await.map_err(bad)?.trim().to_owned(),
            Some("file") => {
                own = field.file_name().unwrap_or_default().to_owned();
                sent.file = field.bytes().await.map_err(bad)?.to_vec();
            }
            _ => return Err(Problem::bad_request("The form has the fields name, format and file.")),
        }
    }
    if sent.name.is_empty() {
        let stem = own.rsplit(['/', '\\']).next().unwrap_or_default().split('.').next().unwrap_or_default();
        sent.name = stem.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(64).collect();
    }
    Ok(sent)
}

#[derive(Template)]
#[template(path = "task_set.html")]
struct Set<'a> {
    frame: Frame<'a>,
    spec: &'a str,
    /// As part of an address.
    address: String,
    new: bool,
    files: bool,
    made: bool,
    curriculum: bool,
    seed: u64,
    total: usize,
    refused: usize,
    /// There are more refused rows than are listed.
    cut: bool,
    /// (line, field, reason) of the first refused rows.
    refusals: Vec<(usize, String, String)>,
    /// Tools of the problems shown: name, and how many offer it.
    tools: Vec<(String, usize)>,
    no_call: usize,
    chosen: Option<Shown>,
    lines: Vec<Line>,
    shown: (usize, usize),
    previous: Option<usize>,
    next: Option<usize>,
}

struct Line {
    id: String,
    href: String,
    request: String,
    expected: String,
    domain: String,
}

/// One problem in full.
struct Shown {
    id: String,
    messages: Vec<(&'static str, String)>,
    tools: Vec<(String, bool)>,
    expected: String,
    accepted: Vec<(String, String)>,
}

async fn show_set(State(app): State<App>, Path(spec): Path<String>, asked: Asked, headers: HeaderMap) -> Result<Response, Problem> {
    let number = |key: &str| asked.get(key).and_then(|v| v.parse::<u64>().ok());
    let seed = number("seed").unwrap_or(0);
    let after = number("after").and_then(|a| usize::try_from(a).ok()).unwrap_or(0).min(1_000_000);
    let set = task_sets::look(&app, &spec, seed, after + PAGE).await?;
    let page: Vec<&Task> = set.problems.iter().skip(after).take(PAGE).collect();
    let mut tools: BTreeMap<&str, usize> = BTreeMap::new();
    for name in page.iter().flat_map(|p| &p.tools).map(|t| t.name.as_str()) {
        *tools.entry(name).or_default() += 1;
    }
    let mut tools: Vec<(String, usize)> = tools.into_iter().map(|(name, n)| (words::short(name, 60), n)).collect();
    tools.sort_by_key(|t| std::cmp::Reverse(t.1));
    let address = words::in_url(&set.spec);
    let seeded = if seed == 0 { String::new() } else { format!("&seed={seed}") };
    let line = |p: &&Task| Line {
        id: words::short(&p.id, 60),
        href: format!("/tasksets/{address}?after={after}&problem={}{seeded}", words::in_url(&p.id)),
        request: words::short(p.messages.last().map_or("", |m| &m.content), 140),
        expected: words::short(&expected(p), 160),
        domain: words::short(&p.domain, 40),
    };
    let chosen = asked.get("problem").and_then(|id| set.problems.iter().find(|p| p.id == id));
    show(&Set {
        frame: Frame::new(&app, &set.spec, theme(&headers)).noting(asked.unknown(&["after", "seed", "problem", "new"])),
        address: address.clone(),
        new: asked.get("new").is_some(),
        files: set.files,
        made: set.made,
        curriculum: set.curriculum,
        seed,
        total: set.total,
        refused: set.refused.len(),
        cut: set.refused.len() > NAMED,
        refusals: set.refused.iter().take(NAMED).map(|r| (r.line, words::short(&r.field, 80), words::short(&r.reason, 300))).collect(),
        tools,
        no_call: page.iter().filter(|p| p.expected.is_no_call()).count(),
        chosen: chosen.map(shown),
        shown: ((after + 1).min(set.total), (after + page.len()).min(set.total)),
        previous: (after > 0).then(|| after.saturating_sub(PAGE)),
        next: (after + PAGE < set.total).then_some(after + PAGE),
        lines: page.iter().map(line).collect(),
        spec: &set.spec,
    })
}

fn expected(p: &Task) -> String {
    if p.expected.is_no_call() && p.answer.is_none() { "no call".into() } else { produced::expected(p) }
}

fn shown(p: &Task) -> Shown {
    let names: Vec<&str> = p.expected.calls.iter().map(|c| c.name.as_str()).collect();
    let arguments = p.expected.calls.iter().flat_map(|c| c.arguments.iter().map(move |(k, a)| (format!("{}.{k}", c.name), a)));
    let accepted = arguments.filter(|(_, a)| a.optional || a.values.len() > 1).map(|(name, a)| {
        let values: Vec<String> = a.values.iter().map(ToString::to_string).collect();
        let may = if a.optional { ", may be left out" } else { "" };
        (words::visible(&name), words::visible(&format!("{}{may}", values.join(" or "))))
    });
    Shown {
        id: words::visible(&p.id),
        messages: p.messages.iter().map(|m| (m.role.as_str(), words::visible(&m.content))).collect(),
        tools: p.tools.iter().map(|t| (words::visible(&signature(t)), names.contains(&t.name.as_str()))).collect(),
        expected: words::visible(&expected(p)),
        accepted: accepted.collect(),
    }
}
