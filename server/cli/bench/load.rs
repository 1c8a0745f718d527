//! `whetstone bench load`: a server under readers and requests while a run trains beside it.
//!
//! It starts a server of its own on the data directory, launches a run there, opens streams of events, asks for pages and answers at a
//! fixed rate, and tells how long they took, how late events came, what failed, and how the server's memory moved.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::{Value, json};
use whetstone_train::metrics;

use super::http::{Answer, ask, send};
use crate::cli::Ui;

/// What is wished for: ms of a page at the 95th percentile while a run trains on every core, ms from an event's commit to its reader.
const TARGETS: (f64, f64) = (300.0, 1000.0);
/// Threads that make the requests.
const ASKERS: usize = 8;
/// Time between looks at the server's memory.
const LOOK: Duration = Duration::from_secs(5);

/// Serve many readers while a run trains
#[derive(Args)]
pub struct LoadArgs {
    /// Streams of events that are held open
    #[arg(long, value_name = "N", default_value_t = 50)]
    clients: usize,
    /// Requests a second
    #[arg(long, value_name = "N", default_value_t = 20)]
    rate: usize,
    /// How long, minutes
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    minutes: f64,
    /// Base model of the run: a name; default: whichever is present
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    model: String,
    /// Fail where something failed or a target is missed
    #[arg(long)]
    check: bool,
}

/// What was seen, written by every thread.
#[derive(Default)]
struct Seen {
    /// ms of each request.
    requests: Mutex<Vec<f64>>,
    /// ms from commit to reader, of each event.
    events: Mutex<Vec<f64>>,
    failures: Mutex<Vec<String>>,
    /// (seconds, MB) of the server.
    memory: Mutex<Vec<(f64, f64)>>,
    asked: AtomicUsize,
    over: AtomicBool,
}

/// The server, killed with the command.
struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the command.
pub fn run(args: &LoadArgs, data: &Path, ui: &Ui) -> Result<ExitCode> {
    if args.clients > 1000 || !(1..=10_000).contains(&args.rate) || !(args.minutes > 0.0 && args.minutes <= 1440.0) {
        bail!("--clients must be at most 1000, --rate between 1 and 10000, --minutes above 0 and at most 1440");
    }
    let server = start(data)?;
    let run = launch(&server.address, &args.model)?;
    ui.note(&format!("run {run} trains; waiting for its first step ..."));
    wait(&server.address, &run)?;
    ui.note(&format!("{} streams and {} requests a second for {} minutes ...", args.clients, args.rate, args.minutes));
    let seen = Seen::default();
    let paths = paths(&run);
    let begin = Instant::now();
    let end = begin + Duration::from_secs_f64(60.0 * args.minutes);
    std::thread::scope(|scope| {
        for _ in 0..args.clients {
            scope.spawn(|| listen(&server.address, &seen));
        }
        for _ in 0..ASKERS {
            scope.spawn(|| question(&server.address, &paths, args.rate, begin, end, &seen));
        }
        while Instant::now() < end {
            let megabytes = metrics::resident_bytes_of(server.child.id()) as f64 / 1e6;
            held(&seen.memory).push((begin.elapsed().as_secs_f64(), megabytes));
            std::thread::sleep(LOOK.min(end.saturating_duration_since(Instant::now())));
        }
        seen.over.store(true, Ordering::Relaxed);
    });
    let state = json_of(ask(&server.address, &format!("/api/v1/runs/{run}"), "application/json", false)?)?;
    let stop = send(&server.address, "POST", &format!("/api/v1/runs/{run}/stop"), "{}")?;
    if stop.status != 202 {
        held(&seen.failures).push(format!("the run could not be stopped: {}", stop.status));
    }
    for _ in 0..600 {
        let now = json_of(ask(&server.address, &format!("/api/v1/runs/{run}"), "application/json", false)?)?;
        if !["running", "stopping"].contains(&now["state"].as_str().unwrap_or_default()) {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    told(&seen, &state, args, ui)
}

fn held<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn start(data: &Path) -> Result<Server> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut child = Command::new(program)
        .args(["serve", "--port", "0", "--json", "--data"])
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start a server")?;
    let stdout = child.stdout.take().context("the server has no output")?;
    let mut server = Server { child, address: String::new() };
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let said: Value = serde_json::from_str(&line).context("the server did not start; is another one running on this data directory?")?;
    let url = said["url"].as_str().unwrap_or_default();
    server.address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    Ok(server)
}

fn launch(address: &str, model: &str) -> Result<String> {
    // evaluations first and last would be all that a short measurement sees
    let config = json!({ "model": model, "eval_problems": 0, "warm_start.steps": 0, "steps": 100_000 });
    let body = json!({ "name": "under load", "config": config }).to_string();
    let made = json_of(send(address, "POST", "/api/v1/runs", &body)?)?;
    made["id"].as_str().map(str::to_owned).with_context(|| format!("no run was made: {made}"))
}

fn wait(address: &str, run: &str) -> Result<()> {
    loop {
        let now = json_of(ask(address, &format!("/api/v1/runs/{run}"), "application/json", false)?)?;
        match now["state"].as_str().unwrap_or_default() {
            "queued" | "starting" | "running" if now["step"].as_u64() < Some(1) => std::thread::sleep(Duration::from_millis(200)),
            "running" => return Ok(()),
            state => bail!("the run is {state}: {}", now["message"]),
        }
    }
}

fn json_of(answer: Answer) -> Result<Value> {
    serde_json::from_slice(&answer.body).with_context(|| format!("an answer ({}) that is no JSON", answer.status))
}

/// What is asked for in turn: every kind of page of a run that trains, and its API.
fn paths(run: &str) -> Vec<(String, &'static str)> {
    let page = |path: String| (path, "text/html");
    let api = |path: String| (path, "application/json");
    vec![
        page("/runs".into()),
        page(format!("/runs/{run}")),
        page(format!("/runs/{run}/steps/1")),
        page(format!("/runs/{run}/groups/1-0")),
        page(format!("/runs/{run}/rollouts?outcome=wrong&sort=reward")),
        page("/adapters".into()),
        page(format!("/compare?runs={run}")),
        page("/runs/new".into()),
        api(format!("/api/v1/runs/{run}")),
        api(format!("/api/v1/runs/{run}/metrics")),
        api(format!("/api/v1/runs/{run}/rollouts?limit=50")),
        api("/api/v1/runs".into()),
    ]
}

/// Makes every request whose time has come until the end; all askers together keep the rate.
fn question(address: &str, paths: &[(String, &'static str)], rate: usize, begin: Instant, end: Instant, seen: &Seen) {
    loop {
        let number = seen.asked.fetch_add(1, Ordering::Relaxed);
        let due = begin + Duration::from_secs_f64(number as f64 / rate as f64);
        if due >= end {
            return;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let (path, accept) = &paths[number % paths.len()];
        match ask(address, path, accept, true) {
            Ok(answer) if answer.status == 200 => held(&seen.requests).push(answer.time.as_secs_f64() * 1000.0),
            Ok(answer) => held(&seen.failures).push(format!("{path} answered {}", answer.status)),
            Err(e) => held(&seen.failures).push(format!("{path}: {e:#}")),
        }
    }
}

/// Reads a stream of events until all is over; its ids must rise.
fn listen(address: &str, seen: &Seen) {
    if let Err(e) = follow(address, seen) {
        held(&seen.failures).push(format!("a stream of events: {e:#}"));
    }
}

fn follow(address: &str, seen: &Seen) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n")?;
    let (mut reader, mut line, mut last) = (BufReader::new(stream), String::new(), 0);
    while !seen.over.load(Ordering::Relaxed) {
        match reader.read_line(&mut line) {
            Ok(0) => bail!("ended"),
            Ok(_) => {}
            // what was read of a line so far stays in it
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => continue,
            Err(e) => return Err(e.into()),
        }
        if let Some(id) = line.strip_prefix("id:") {
            let id: i64 = id.trim().parse().context("an id that is no number")?;
            if id <= last {
                bail!("id {id} after {last}");
            }
            last = id;
        } else if line.starts_with("event: reset") {
            bail!("it was reset");
        } else if let Some(data) = line.strip_prefix("data:") {
            let data: Value = serde_json::from_str(data).context("data that is no JSON")?;
            let late = late(data["at"].as_str().unwrap_or_default()).context("an event without its time")?;
            held(&seen.events).push(late);
        }
        line.clear();
    }
    Ok(())
}

/// ms since a moment of the last 24 hours, written as RFC 3339 in UTC.
fn late(at: &str) -> Option<f64> {
    const DAY: f64 = 86_400_000.0;
    let mut parts = at.split_once('T')?.1.strip_suffix('Z')?.split(':').map(|p| p.parse::<f64>().ok());
    let (h, m, s) = (parts.next()??, parts.next()??, parts.next()??);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64() * 1000.0;
    Some((now - 1000.0 * (3600.0 * h + 60.0 * m + s)).rem_euclid(DAY))
}

fn told(seen: &Seen, state: &Value, args: &LoadArgs, ui: &Ui) -> Result<ExitCode> {
    let sorted = |of: &Mutex<Vec<f64>>| {
        let mut all = held(of).clone();
        all.sort_by(f64::total_cmp);
        all
    };
    let at = |all: &[f64], share: f64| all.get(((all.len() as f64 * share).ceil() as usize).max(1) - 1).copied().unwrap_or(f64::NAN);
    let (requests, events) = (sorted(&seen.requests), sorted(&seen.events));
    let failures = held(&seen.failures);
    let memory = held(&seen.memory);
    let mean = |part: &[(f64, f64)]| part.iter().map(|m| m.1).sum::<f64>() / part.len().max(1) as f64;
    let tenth = (memory.len() / 10).max(1).min(memory.len());
    // the first tenth fills caches and connections
    let (early, late) = (mean(&memory[tenth.min(memory.len() - 1)..(2 * tenth).min(memory.len())]), mean(&memory[memory.len() - tenth..]));
    let most = memory.iter().map(|m| m.1).fold(0.0, f64::max);
    ui.say(&format!("run {}: {} steps made, {}", state["id"], state["step"], state["state"]));
    ui.say(&format!(
        "{} requests: p50 {:.1} ms, p95 {:.1} ms, slowest {:.0} ms",
        requests.len(),
        at(&requests, 0.5),
        at(&requests, 0.95),
        at(&requests, 1.0)
    ));
    ui.say(&format!(
        "{} events read by {} streams: p50 {:.0} ms after their commit, p95 {:.0} ms, latest {:.0} ms",
        events.len(),
        args.clients,
        at(&events, 0.5),
        at(&events, 0.95),
        at(&events, 1.0)
    ));
    ui.say(&format!("memory of the server: {early:.1} MB in the second tenth, {late:.1} MB in the last, {most:.1} MB at most"));
    ui.say(&format!("{} failures", failures.len()));
    for failure in failures.iter().take(10) {
        ui.say(&format!("  {failure}"));
    }
    ui.object(&json!({
        "minutes": args.minutes, "clients": args.clients, "rate": args.rate, "steps": state["step"], "requests": requests.len(),
        "request_p50_ms": at(&requests, 0.5), "request_p95_ms": at(&requests, 0.95), "request_max_ms": at(&requests, 1.0),
        "events": events.len(), "event_p50_ms": at(&events, 0.5), "event_p95_ms": at(&events, 0.95), "event_max_ms": at(&events, 1.0),
        "memory_early_mb": early, "memory_late_mb": late, "memory_max_mb": most, "failures": failures.len(),
    }))?;
    // what a heap keeps for itself is not a leak
    let grows = late > 1.2 * early + 16.0;
    let missed = grows || !failures.is_empty() || at(&requests, 0.95) >= TARGETS.0 || at(&events, 1.0) >= TARGETS.1;
    Ok(if args.check && missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
