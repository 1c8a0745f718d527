//! What every handler sees: the store, the recipes, and how the server may be reached.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use whetstone_domain::RunConfig;
use whetstone_store::{RunRow, Store};

use crate::live::Live;
use crate::problem::Problem;
use crate::security::Access;

/// A preset that a run can start from.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Its name on the command line, e.g. `smollm2-135m-cpu`.
    pub name: &'static str,
    /// Its TOML with comments, as shipped.
    pub toml: &'static str,
    /// The config it gives when nothing else is said.
    pub config: RunConfig,
}

/// What the program gives the web at start.
#[derive(Debug, Clone)]
pub struct Options {
    /// The database.
    pub store: Store,
    /// Where runs keep their files: `runs/{run}` below it.
    pub data_dir: PathBuf,
    /// Presets, the default first; never empty.
    pub recipes: Vec<Recipe>,
    /// Base models that are known or present, for the launch form.
    pub models: Vec<String>,
    /// Who may come in.
    pub access: Access,
    /// Version of the program.
    pub version: &'static str,
    /// Cancelled when the server ends: streams end then.
    pub shutdown: CancellationToken,
}

/// State of every handler, cheap to clone.
#[derive(Debug, Clone)]
pub struct App(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: Options,
    live: Live,
}

impl std::ops::Deref for App {
    type Target = Options;

    fn deref(&self) -> &Options {
        &self.0.options
    }
}

impl App {
    /// The state; call it inside a tokio runtime, because it follows the store's events from now on.
    pub fn new(options: Options) -> Self {
        let live = Live::follow(options.store.clone(), options.shutdown.clone());
        Self(Arc::new(Inner { options, live }))
    }

    /// The events of all runs as they are stored.
    pub fn live(&self) -> &Live {
        &self.0.live
    }

    /// The run with exactly this public id.
    pub async fn run(&self, id: &str) -> Result<RunRow, Problem> {
        if crate::words::is_run_id(id)
            && let Ok(row) = self.store.run(id).await
            && row.public_id == id
        {
            return Ok(row);
        }
        Err(Problem::not_found(format!("There is no run {}.", crate::words::short(id, 60))))
    }

    /// Folder of a run's files.
    pub fn run_folder(&self, run: &RunRow) -> PathBuf {
        self.data_dir.join("runs").join(&run.public_id)
    }
}
