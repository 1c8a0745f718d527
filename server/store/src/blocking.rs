//! The store as the worker uses it: the same calls, each of which returns when it is done.
//!
//! In: a data directory. Out: a handle for synchronous threads. It adds nothing to [`Store`] and must not be used on a thread that
//! runs async code.

use std::collections::BTreeMap;
use std::path::Path;

use whetstone_domain::{CheckpointRecord, EvaluationRecord, Event, Phase, Prediction, RunConfig};

use crate::{BestCheckpoint, EvaluationRow, NewRun, ResumePoint, RunFilter, RunId, RunRow, Store, StoreError};

/// A [`Store`] with a runtime of its own on the calling thread.
#[derive(Debug)]
pub struct BlockingStore {
    // dropped in this order: connections end while their runtime is still there
    store: Store,
    runtime: tokio::runtime::Runtime,
}

impl BlockingStore {
    /// See [`Store::open`].
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|e| StoreError::Directory { path: data_dir.into(), reason: format!("the system gives no timer: {e}") })?;
        let store = runtime.block_on(Store::open(data_dir))?;
        Ok(Self { store, runtime })
    }

    /// See [`Store::create_run`].
    pub fn create_run(&self, new: &NewRun<'_>) -> Result<RunId, StoreError> {
        self.runtime.block_on(self.store.create_run(new))
    }

    /// See [`Store::begin_run`].
    pub fn begin_run(&self, new: &NewRun<'_>, pid: u32) -> Result<RunId, StoreError> {
        self.runtime.block_on(self.store.begin_run(new, pid))
    }

    /// See [`Store::runs`].
    pub fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRow>, StoreError> {
        self.runtime.block_on(self.store.runs(filter))
    }

    /// See [`Store::run`].
    pub fn run(&self, wanted: &str) -> Result<RunRow, StoreError> {
        self.runtime.block_on(self.store.run(wanted))
    }

    /// See [`Store::run_by_id`].
    pub fn run_by_id(&self, run: RunId) -> Result<RunRow, StoreError> {
        self.runtime.block_on(self.store.run_by_id(run))
    }

    /// See [`Store::record`].
    pub fn record(&self, run: RunId, event: &Event) -> Result<(), StoreError> {
        self.runtime.block_on(self.store.record(run, event))
    }

    /// See [`Store::heartbeat`].
    pub fn heartbeat(&self, run: RunId) -> Result<(), StoreError> {
        self.runtime.block_on(self.store.heartbeat(run))
    }

    /// See [`Store::claim`].
    pub fn claim(&self, run: RunId, pid: u32) -> Result<(), StoreError> {
        self.runtime.block_on(self.store.claim(run, pid))
    }

    /// See [`Store::stop_wished`].
    pub fn stop_wished(&self, run: RunId) -> Result<bool, StoreError> {
        self.runtime.block_on(self.store.stop_wished(run))
    }

    /// See [`Store::settle`].
    pub fn settle(&self, run: RunId, config: &RunConfig, base_sha256: &str) -> Result<(), StoreError> {
        self.runtime.block_on(self.store.settle(run, config, base_sha256))
    }

    /// See [`Store::resume_point`].
    pub fn resume_point(&self, run: RunId) -> Result<Option<ResumePoint>, StoreError> {
        self.runtime.block_on(self.store.resume_point(run))
    }

    /// See [`Store::rewind`].
    pub fn rewind(&self, run: RunId, checkpoint: Option<&CheckpointRecord>) -> Result<(), StoreError> {
        self.runtime.block_on(self.store.rewind(run, checkpoint))
    }

    /// See [`Store::baseline_predictions`].
    pub fn baseline_predictions(&self, run: RunId) -> Result<Option<Vec<Prediction>>, StoreError> {
        self.runtime.block_on(self.store.baseline_predictions(run))
    }

    /// See [`Store::evaluations`].
    pub fn evaluations(&self, run: RunId) -> Result<Vec<EvaluationRow>, StoreError> {
        self.runtime.block_on(self.store.evaluations(run))
    }

    /// See [`Store::evaluation`].
    pub fn evaluation(&self, run: RunId, phase: Phase, step: usize) -> Result<Option<EvaluationRecord>, StoreError> {
        self.runtime.block_on(self.store.evaluation(run, phase, step))
    }

    /// See [`Store::metrics`].
    pub fn metrics(&self, run: RunId, phase: Phase) -> Result<BTreeMap<String, Vec<(usize, f64)>>, StoreError> {
        self.runtime.block_on(self.store.metrics(run, phase))
    }

    /// See [`Store::checkpoints`].
    pub fn checkpoints(&self, run: RunId) -> Result<Vec<CheckpointRecord>, StoreError> {
        self.runtime.block_on(self.store.checkpoints(run))
    }

    /// See [`Store::best_checkpoint`].
    pub fn best_checkpoint(&self, run: RunId) -> Result<Option<BestCheckpoint>, StoreError> {
        self.runtime.block_on(self.store.best_checkpoint(run))
    }

    /// See [`Store::close`].
    pub fn close(&self) {
        self.runtime.block_on(self.store.close());
    }

    #[cfg(test)]
    pub(crate) fn with<T>(&self, f: impl AsyncFnOnce(&Store) -> T) -> T {
        self.runtime.block_on(f(&self.store))
    }
}
