//! The worker: one run from claim to end, the same for `train` in a terminal and for a supervised process.
//!
//! In: a data directory and a run that is stored there. Out: its rows, its checkpoints, its ending. One process at a time works
//! on a run: it holds a lock on `runs/RUN/lock`, which the system lets go when the process dies, however it dies.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;
use candle_core::utils::cuda_is_available; // in this build, that is
use whetstone_domain::config::Compute;
use whetstone_domain::{Event, RunConfig, RunState};
use whetstone_store::{BlockingStore, EventWriter, RunId, RunRow};

use crate::error::{Result, TrainError};
use crate::metrics;
use crate::prepare::Ready;
use crate::trainer::{Ending, Job, Resume, train};

/// Stack of a compute thread. The parser of model output recurses, and rayon steals jobs on top of jobs.
const STACK_BYTES: usize = 64 << 20;

/// Replaces what `auto` leaves open by what it means on this machine: once, before the config is stored.
pub fn resolve(config: &mut RunConfig) {
    config.threads = resolve_threads(config.threads);
    config.compute = resolve_compute(config.compute);
    if config.memory_budget == 0.0 {
        // of what there is, not of what is free just now: two runs of one config are to be the same. In steps of 0.1 GB, for people
        // read it; never 0, which would be asked again
        config.memory_budget = (metrics::total_bytes() as f64 / 4e9 * 10.0).round().max(1.0) / 10.0;
    }
}

fn resolve_threads(threads: usize) -> usize {
    match threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    }
}

/// Where tensors are: the CPU, or the first CUDA device in a build with the feature `cuda`, which has no use without one. It is
/// opened once in a process: all work is one stream.
pub fn device() -> Result<Device> {
    static CUDA: OnceLock<Device> = OnceLock::new();
    if !cuda_is_available() {
        return Ok(Device::Cpu);
    }
    if let Some(device) = CUDA.get() {
        return Ok(device.clone());
    }
    let device = Device::new_cuda(0).map_err(|e| TrainError::Device(e.to_string()))?;
    Ok(CUDA.get_or_init(|| device).clone())
}

/// What `compute` means on this machine: f32 or bf16.
pub fn resolve_compute(compute: Compute) -> Compute {
    match compute {
        Compute::Auto if cuda_is_available() || whetstone_kernels::bf16::is_fast() => Compute::Bf16,
        Compute::Auto => Compute::F32,
        settled => settled,
    }
}

/// Runs `work` on `threads` compute threads of its own.
pub fn with_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> Result<R> {
    let threads = resolve_threads(threads);
    whetstone_kernels::memory::hand_back();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .stack_size(STACK_BYTES)
        .thread_name(|i| format!("compute-{i}"))
        .build()
        .map_err(|e| TrainError::Threads { threads, reason: e.to_string() })?;
    Ok(pool.install(work))
}

/// Folder of a run's files.
pub fn run_folder(data_dir: &Path, public_id: &str) -> PathBuf {
    data_dir.join("runs").join(public_id)
}

/// Works on `run` until it ends; call it on compute threads ([`with_threads`]).
///
/// `ready` loads base and problems, and settles the base of a run that has none yet; whatever fails from the claim on is recorded as the reason why the run failed. `stop` and a
/// stop wish in the store end the run: the step in progress is dropped, a checkpoint written. `watch` sees every event before it is stored.
pub fn run(
    data_dir: &Path,
    run: RunId,
    stop: &AtomicBool,
    ready: impl FnOnce(&RunConfig) -> Result<Ready>,
    watch: &mut dyn FnMut(&Event),
) -> Result<Ending> {
    let store = BlockingStore::open(data_dir)?;
    let row = store.run_by_id(run)?;
    let folder = run_folder(data_dir, &row.public_id);
    let _lock = lock(&folder, &row.public_id)?;
    let row = store.run_by_id(run)?; // as it is now that nobody else writes
    if row.state == RunState::Finished {
        return Ok(Ending::Finished);
    }
    store.claim(run, std::process::id())?;
    let outcome = work(data_dir, &store, &row, &folder, stop, ready, watch);
    let end = match &outcome {
        Ok(Ending::Finished) => Event::State { state: RunState::Finished, message: String::new() },
        Ok(Ending::Stopped) => Event::State { state: RunState::Stopped, message: "stopped on request; resumable".into() },
        Err(e) => Event::State { state: RunState::Failed, message: e.to_string() },
    };
    watch(&end);
    let told = store.record(run, &end);
    store.close();
    match (outcome, told) {
        (Ok(ending), told) => told.map(|()| ending).map_err(TrainError::from),
        (Err(e), told) => {
            if let Err(second) = told {
                tracing::error!(error = %second, "the reason of the failure could not be stored");
            }
            Err(e)
        }
    }
}

fn work(
    data_dir: &Path,
    store: &BlockingStore,
    row: &RunRow,
    folder: &Path,
    stop: &AtomicBool,
    ready: impl FnOnce(&RunConfig) -> Result<Ready>,
    watch: &mut dyn FnMut(&Event),
) -> Result<Ending> {
    let broken = |reason: String| TrainError::Run { run: row.public_id.clone(), reason };
    let config = row.config().map_err(|e| broken(format!("its stored config cannot be read: {e}")))?;
    let writer = EventWriter::start(data_dir, row.id)?; // signs of life from now on: fetching a base may take minutes
    let Ready { policy, train: learn, held_out } = ready(&config)?;
    // a run from the queue has no base yet: the first one it is worked on with becomes its own
    if !row.base_sha256.is_empty() && policy.base.sha256 != row.base_sha256 {
        let reason = format!(
            "was begun on a base with sha256 {}..., but {} has {}...; give it the base it was begun on",
            start(&row.base_sha256),
            policy.base.name,
            start(&policy.base.sha256)
        );
        return Err(broken(reason));
    }
    let point = store.resume_point(row.id)?;
    store.rewind(row.id, point.as_ref().map(|p| &p.checkpoint))?;
    let resume = match point {
        Some(point) => Some(Resume {
            checkpoint: point.checkpoint,
            evaluated: point.evaluated,
            baseline: store.baseline_predictions(row.id)?.unwrap_or_default(),
        }),
        None => None,
    };
    let mut emit = |event: Event| -> Result<()> {
        watch(&event);
        Ok(writer.send(event)?)
    };
    // a wish that cannot be read now is read half a second later
    let mut wished = || stop.load(Ordering::Relaxed) || store.stop_wished(row.id).unwrap_or(false);
    let job = Job { config: &config, policy: &policy, folder, train: learn, held_out, resume };
    let ending = train(job, &mut emit, &mut wished)?;
    writer.finish()?;
    Ok(ending)
}

/// Takes the run for this process, or says that another one has it.
fn lock(folder: &Path, run: &str) -> Result<File> {
    let path = folder.join("lock");
    let fail = |doing| {
        let path = path.clone();
        move |e: std::io::Error| TrainError::File { path, doing, reason: e.to_string() }
    };
    fs::create_dir_all(folder).map_err(fail("create the run's folder for it"))?;
    let file = File::options().create(true).append(true).open(&path).map_err(fail("open"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(TrainError::Locked { run: run.to_owned(), lock: path }),
        Err(TryLockError::Error(e)) => Err(fail("lock")(e)),
    }
}

fn start(sha256: &str) -> String {
    sha256.chars().take(12).collect()
}
