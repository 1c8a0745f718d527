//! The supervisor: a queue of runs, one worker process at a time, and the truth about workers that are gone.
//!
//! In: states in the store. Out: `whetstone worker RUN` processes and, where one ended without a word, the state that says so. A
//! worker is detached: it outlives the server, and a later server finds it by its heartbeat. Stopping goes through the store.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use tokio::process::Command;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;
use whetstone_domain::{Event, RunState};
use whetstone_store::{RunFilter, RunId, RunRow, Store, process_is_gone};
use whetstone_train::worker::run_folder;

/// How long a worker must have been seen without a sign of life before its run is given up. It counts time in which this machine was
/// awake: after a sleep every heartbeat is old for a moment.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between looks at the queue.
const LOOK: Duration = Duration::from_millis(500);
/// End of a worker's log that is kept with a failed run, bytes.
const TAIL: u64 = 4096;

/// Watches over the workers of one data directory.
pub struct Supervisor {
    store: Store,
    data: PathBuf,
    /// Queue runs again whose worker vanished.
    auto_resume: bool,
    /// Runs whose worker is a child of this process.
    children: HashSet<RunId>,
    /// Since when workers are seen to be silent.
    silent: HashMap<RunId, Instant>,
    ended: (UnboundedSender<Ended>, UnboundedReceiver<Ended>),
}

/// A child that ended, and how.
type Ended = (RunId, std::io::Result<ExitStatus>);

impl Supervisor {
    /// For the runs of `data`.
    pub fn new(store: Store, data: &Path, auto_resume: bool) -> Self {
        Self { store, data: data.into(), auto_resume, children: HashSet::new(), silent: HashMap::new(), ended: unbounded_channel() }
    }

    /// Works until `end`. Workers go on after it.
    pub async fn watch(mut self, end: CancellationToken) {
        loop {
            if let Err(e) = self.look().await {
                tracing::warn!("the queue cannot be served: {e:#}; trying again");
            }
            tokio::select! {
                () = end.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
                Some((run, status)) = self.ended.1.recv() => {
                    self.children.remove(&run);
                    if let Err(e) = self.after(run, status).await {
                        tracing::warn!("the end of a worker cannot be stored: {e:#}");
                    }
                }
            }
        }
    }

    /// Ends what is live in the store only, then starts the next run.
    async fn look(&mut self) -> Result<()> {
        for state in [RunState::Starting, RunState::Running, RunState::Stopping] {
            for run in self.store.runs(&RunFilter { state: Some(state), ..RunFilter::default() }).await? {
                self.bury(&run).await?;
            }
        }
        while let Some(run) = self.store.take_next().await? {
            match self.start(&run) {
                Ok(()) => break,
                Err(e) => {
                    let message = format!("its worker cannot be started: {e:#}");
                    self.store.give_up(&run, RunState::Failed, &message).await?;
                }
            }
        }
        Ok(())
    }

    /// Marks a run as interrupted when its worker is gone without a child's last word, or silent. A child that hangs is killed: it
    /// would hold up the queue, and could wake up later.
    async fn bury(&mut self, run: &RunRow) -> Result<()> {
        let ours = self.children.contains(&run.id);
        let gone = run.pid.filter(|pid| !ours && process_is_gone(*pid));
        let message = match gone {
            Some(pid) => format!("its worker (process {pid}) is gone; resume goes on from the last checkpoint"),
            None if !run.is_silent(now_ms()) => {
                self.silent.remove(&run.id);
                return Ok(());
            }
            None if self.silent.entry(run.id).or_insert_with(Instant::now).elapsed() < PATIENCE => return Ok(()),
            None => "its worker gave no sign of life; resume goes on from the last checkpoint".into(),
        };
        self.silent.remove(&run.id);
        if !self.give_up(run, RunState::Interrupted, &message).await? {
            return Ok(());
        }
        if ours {
            kill(run.pid);
        }
        if self.auto_resume {
            self.store.queue_again(run.id).await?;
        }
        Ok(())
    }

    /// Ends a run in the store, with the end of its worker's log; false where it ended otherwise meanwhile.
    async fn give_up(&self, run: &RunRow, state: RunState, message: &str) -> Result<bool> {
        let tail = tail(&log_path(&self.data, run)).unwrap_or_default();
        let ended = self.store.give_up(run, state, message).await?;
        if ended && !tail.is_empty() {
            self.store.record(run.id, &Event::Log { level: "error".into(), message: format!("end of the worker's log:\n{tail}") }).await?;
        }
        Ok(ended)
    }

    fn start(&mut self, run: &RunRow) -> Result<()> {
        let folder = run_folder(&self.data, &run.public_id);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let path = log_path(&self.data, run);
        let log = File::options().create(true).append(true).open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
        command.arg("--data").arg(&self.data).arg("worker").arg(&run.public_id);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(false);
        // a group of its own: Ctrl-C in the server's terminal is not meant for it
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().context("the system starts no process")?;
        tracing::info!(run = run.public_id, pid = child.id(), "a worker was started");
        self.children.insert(run.id);
        let (id, ended) = (run.id, self.ended.0.clone());
        tokio::spawn(async move {
            let status = child.wait().await;
            // nobody listens once the server ends
            let _ = ended.send((id, status));
        });
        Ok(())
    }

    /// A worker reports its own end; one that could not gets the state that its exit tells.
    async fn after(&self, run: RunId, status: std::io::Result<ExitStatus>) -> Result<()> {
        let row = self.store.run_by_id(run).await?;
        if !row.state.is_live() {
            return Ok(());
        }
        let message = match status {
            Ok(status) => format!("its worker {}; resume goes on from the last checkpoint", ended_how(status)),
            Err(e) => format!("its worker cannot be waited for: {e}"),
        };
        self.give_up(&row, RunState::Failed, &message).await.map(|_| ())
    }
}

fn ended_how(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return match signal {
            9 => "was killed by signal 9 (SIGKILL: somebody's kill -9, or the system when memory ran out)".into(),
            15 => "was ended by signal 15 (SIGTERM)".into(),
            n => format!("was ended by signal {n}"),
        };
    }
    format!("ended with {status} before it could say why")
}

fn kill(pid: Option<i64>) {
    #[cfg(unix)]
    if let Some(pid) = pid.and_then(|p| i32::try_from(p).ok()).and_then(rustix::process::Pid::from_raw) {
        // gone already is as good
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

fn log_path(data: &Path, run: &RunRow) -> PathBuf {
    run_folder(data, &run.public_id).join("worker.log")
}

fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}
