//! `whetstone bench pages`: how long each page takes with a run of 5,000 rollouts in the database, and how large it is.
//!
//! The pages are asked for over a loopback socket, one connection a request, as a browser without a cache would: the times hold
//! everything from connecting to the last byte.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use whetstone_domain::RunConfig;
use whetstone_web::{Access, App, Options, Recipe, Store};

use super::filler;
use crate::cli::Ui;

/// What is wished for: ms at the 95th percentile, bytes of a page with gzip, bytes of our own scripts.
const TARGETS: (f64, usize, usize) = (50.0, 60_000, 20_000);

const EXAMPLES: &str = "\
Examples:
  whetstone bench pages                    a table: p50 and p95 in ms, bytes as they are and with gzip
  whetstone bench pages --check            the same, and fails where a page misses its target
  whetstone bench pages --fill DIR         keeps the filled data directory; look at it with: whetstone serve --data DIR";

/// Render every kind of page with a run of 5,000 rollouts in the database
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct PagesArgs {
    /// Requests of each page
    #[arg(long, value_name = "N", default_value_t = 40)]
    requests: usize,
    /// Fill this directory and keep it; it must not hold a database yet
    #[arg(long, value_name = "DIR")]
    fill: Option<PathBuf>,
    /// Fail where a target is missed
    #[arg(long)]
    check: bool,
}

/// What one kind of page takes.
struct Measured {
    name: &'static str,
    path: String,
    p50: f64,
    p95: f64,
    raw: usize,
    gzip: usize,
    foreign: usize,
}

impl Measured {
    fn misses(&self) -> bool {
        self.p95 >= TARGETS.0 || self.gzip > TARGETS.1 || self.foreign > 0
    }
}

/// Runs the command.
pub fn run(args: &PagesArgs, ui: &Ui) -> Result<ExitCode> {
    if args.requests == 0 {
        bail!("--requests must be at least 1");
    }
    let aside = tempfile::tempdir().context("no temporary directory")?;
    let data = args.fill.clone().unwrap_or_else(|| aside.path().to_path_buf());
    if data.join(whetstone_store::FILE_NAME).exists() {
        bail!("{} holds a database already; --fill wants a fresh directory", data.display());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(measure(args, &data, ui))
}

async fn measure(args: &PagesArgs, data: &Path, ui: &Ui) -> Result<ExitCode> {
    ui.note("filling a database with a run of 5,000 rollouts ...");
    let store = Store::open(data).await?;
    let run = filler::fill(&store, data).await?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no free port")?;
    let address = listener.local_addr()?.to_string();
    let shutdown = CancellationToken::new();
    let app = App::new(Options {
        store: store.clone(),
        data_dir: data.into(),
        recipes: vec![Recipe { name: "default", toml: "", config: RunConfig::default() }],
        models: vec!["smollm2-135m-instruct-q4_1".into()],
        access: Access::default(),
        version: env!("CARGO_PKG_VERSION"),
        shutdown: shutdown.clone(),
    });
    let server = tokio::spawn(whetstone_web::serve(listener, app));
    let mut measured = Vec::new();
    let mut scripts = BTreeSet::new();
    for (name, path) in paths(&run) {
        measured.push(page(&address, name, path, args.requests, &mut scripts).await?);
    }
    let mut own = 0;
    for script in &scripts {
        own += get(&address, script, false).await?.body.len();
    }
    shutdown.cancel();
    server.await?.context("the server ended")?;
    store.close().await;
    told(&measured, own, args, ui)
}

/// A page of every kind.
fn paths(run: &str) -> Vec<(&'static str, String)> {
    let of = |rest: &str| format!("/runs/{run}{rest}");
    vec![
        ("runs", "/runs".into()),
        ("run", of("")),
        ("step", of("/steps/60")),
        ("group", of("/groups/60-2")),
        ("group, tokens", of("/groups/60-2?view=tokens")),
        ("rollouts", of("/rollouts")),
        ("rollouts, filtered", of("/rollouts?outcome=wrong&sort=reward")),
        ("rollouts, searched", of("/rollouts?q=certainly+not+there")),
        ("evaluation", of("/evals/grpo-125")),
        ("evaluation, opened", of("/evals/grpo-125?problem=starter-held-out-0-000007")),
        ("adapters", "/adapters".into()),
        ("compare", format!("/compare?runs={run}")),
        ("new run", "/runs/new".into()),
        ("task sets", "/tasksets".into()),
        ("task set", "/tasksets/starter".into()),
        ("API", "/api/docs".into()),
        ("not found", "/nothing".into()),
    ]
}

async fn page(address: &str, name: &'static str, path: String, requests: usize, scripts: &mut BTreeSet<String>) -> Result<Measured> {
    let first = get(address, &path, false).await?;
    if !(first.status == 200 || (name == "not found" && first.status == 404)) {
        bail!("{path} answered {}", first.status);
    }
    let html = String::from_utf8_lossy(&first.body);
    let sources: Vec<&str> = ["src=\"", "<link rel=\"stylesheet\" href=\""]
        .iter()
        .flat_map(|mark| html.split(mark).skip(1).filter_map(|rest| rest.split('"').next()))
        .collect();
    scripts.extend(sources.iter().filter(|s| s.ends_with(".js")).map(|s| (*s).to_owned()));
    let foreign = sources.iter().filter(|s| !s.starts_with("/static/")).count();
    let mut times = Vec::with_capacity(requests);
    for _ in 0..requests {
        times.push(get(address, &path, false).await?.time.as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() as f64 * share).ceil() as usize).clamp(1, times.len()) - 1];
    let gzip = get(address, &path, true).await?.body.len();
    Ok(Measured { name, p50: at(0.5), p95: at(0.95), raw: first.body.len(), gzip, foreign, path })
}

struct Answer {
    status: u16,
    body: Vec<u8>,
    time: Duration,
}

async fn get(address: &str, path: &str, gzip: bool) -> Result<Answer> {
    let (address, path) = (address.to_owned(), path.to_owned());
    tokio::task::spawn_blocking(move || ask(&address, &path, gzip)).await.context("a request panicked")?
}

fn ask(address: &str, path: &str, gzip: bool) -> Result<Answer> {
    let begin = Instant::now();
    let mut stream = TcpStream::connect(address)?;
    let encoding = if gzip { "Accept-Encoding: gzip\r\n" } else { "" };
    // HTTP/1.0: the body ends with the connection, so nothing needs to be put together
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: text/html\r\n{encoding}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    let time = begin.elapsed();
    let end = all.windows(4).position(|w| w == b"\r\n\r\n").context("an answer without an end of its head")?;
    let status = all.get(9..12).and_then(|s| std::str::from_utf8(s).ok()).and_then(|s| s.parse().ok()).context("no status")?;
    Ok(Answer { status, body: all.split_off(end + 4), time })
}

fn told(measured: &[Measured], own: usize, args: &PagesArgs, ui: &Ui) -> Result<ExitCode> {
    ui.say(&format!("{:<22} {:>8} {:>8} {:>9} {:>9}", "page", "p50, ms", "p95, ms", "bytes", "gzip"));
    for m in measured {
        let mark = if m.misses() { "  misses its target" } else { "" };
        ui.say(&format!("{:<22} {:>8.1} {:>8.1} {:>9} {:>9}{mark}", m.name, m.p50, m.p95, m.raw, m.gzip));
        ui.object(&json!({
            "page": m.name, "path": m.path, "requests": args.requests, "p50_ms": m.p50, "p95_ms": m.p95, "bytes": m.raw,
            "gzip_bytes": m.gzip, "third_party": m.foreign, "misses": m.misses(),
        }))?;
    }
    let missed = measured.iter().filter(|m| m.misses()).count() + usize::from(own > TARGETS.2);
    ui.say(&format!(
        "own scripts {own} bytes; targets: p95 below {} ms, {} bytes with gzip, {} bytes of scripts, nothing from elsewhere: {}",
        TARGETS.0,
        TARGETS.1,
        TARGETS.2,
        if missed == 0 { "all met".into() } else { format!("{missed} missed") }
    ));
    ui.object(&json!({ "script_bytes": own, "missed": missed }))?;
    Ok(if args.check && missed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
