//! Runs as rows: made, listed, labelled, deleted.
//!
//! In: a [`NewRun`], a [`RunFilter`], labels. Out: [`RunRow`]s. Finding one by what a user typed is in `find`, life and death of its
//! worker in `claim`.

use std::hash::BuildHasher as _;

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _};
use whetstone_domain::{Phase, RunConfig, RunState};

use crate::column::{self, int, now_ms};
use crate::error::{Fault, StoreError};
use crate::{Store, events};

/// Key of a run in the database; users see the public id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(pub(crate) i64);

/// What a run is made of.
#[derive(Debug, Clone, Copy)]
pub struct NewRun<'a> {
    /// For people; need not be unique. Empty = the public id.
    pub name: &'a str,
    /// The effective config.
    pub config: &'a RunConfig,
    /// Name or place of the base model.
    pub model: &'a str,
    /// sha256 of the base weights, lower-case hex.
    pub base_sha256: &'a str,
    /// Version of the program.
    pub code_version: &'a str,
}

/// Which runs to list, the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Only this state.
    pub state: Option<RunState>,
    /// Only archived ones, or only the others.
    pub archived: Option<bool>,
    /// Only with this text in id, name, tags or model, whatever its case.
    pub text: Option<String>,
    /// Only made before this one (for the next page).
    pub before: Option<RunId>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// Held-out accuracy at one point of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Accuracy {
    /// Phase of the evaluation.
    pub phase: Phase,
    /// Its step.
    pub step: usize,
    /// Share of problems answered right.
    pub accuracy: f64,
    /// Lower end of its 95 % interval.
    pub ci_low: f64,
    /// Upper end.
    pub ci_high: f64,
    /// Problems asked.
    pub n: usize,
}

/// A run as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    /// Key for further questions.
    pub id: RunId,
    /// Short stable id for people and URLs, e.g. `r-7k2m`.
    pub public_id: String,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: RunState,
    /// Why it is in this state, in words; an error's text when failed.
    pub message: String,
    /// The effective config as JSON; see [`RunRow::config`].
    pub config_json: String,
    /// Name or place of the base model.
    pub model: String,
    /// sha256 of the base weights.
    pub base_sha256: String,
    /// Version of the program that made it.
    pub code_version: String,
    /// Process id of its worker, while there should be one.
    pub pid: Option<i64>,
    /// Last sign of life, ms since 1970.
    pub heartbeat_ms: Option<i64>,
    /// Somebody wishes it to stop.
    pub stop_wished: bool,
    /// Made at, ms since 1970.
    pub created_ms: i64,
    /// First claimed by a worker at.
    pub started_ms: Option<i64>,
    /// Ended at.
    pub ended_ms: Option<i64>,
    /// Phase of the last step.
    pub phase: Option<Phase>,
    /// Last step made in that phase.
    pub step: usize,
    /// Steps planned in all phases together.
    pub steps_planned: usize,
    /// What is being done within the step; empty when nothing was said since.
    pub progress: String,
    /// Put away.
    pub archived: bool,
    /// Labels.
    pub tags: Vec<String>,
    /// A user's note.
    pub note: String,
    /// Transactions so far: changes whenever anything of the run does, except its heartbeat.
    pub rev: i64,
    /// Accuracy of the prompt alone.
    pub baseline: Option<Accuracy>,
    /// Highest accuracy that has a checkpoint.
    pub best: Option<Accuracy>,
    /// Latest accuracy.
    pub last: Option<Accuracy>,
}

impl RunRow {
    /// The effective config.
    pub fn config(&self) -> Result<RunConfig, serde_json::Error> {
        serde_json::from_str(&self.config_json)
    }
}

/// Every column of [`RunRow`]; completed by a `where`.
macro_rules! select_run {
    ($rest:literal) => {
        concat!(
            "select run.*, ",
            "b.phase as b_phase, b.step as b_step, b.accuracy as b_accuracy, b.ci_low as b_ci_low, b.ci_high as b_ci_high, b.n as b_n, ",
            "t.phase as t_phase, t.step as t_step, t.accuracy as t_accuracy, t.ci_low as t_ci_low, t.ci_high as t_ci_high, t.n as t_n, ",
            "l.phase as l_phase, l.step as l_step, l.accuracy as l_accuracy, l.ci_low as l_ci_low, l.ci_high as l_ci_high, l.n as l_n ",
            "from run left join evaluation b on b.id = run.baseline left join evaluation t on t.id = run.best ",
            "left join evaluation l on l.id = run.last ",
            $rest
        )
    };
}

impl Store {
    /// Stores a new run, queued.
    pub async fn create_run(&self, new: &NewRun<'_>) -> Result<RunId, StoreError> {
        const DOING: &str = "create a run";
        let mut tx = self.begin(DOING).await?;
        let outcome = create(&mut tx, new).await;
        self.end(tx, DOING, outcome).await
    }

    /// The runs that pass `filter`, the newest first.
    pub async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRow>, StoreError> {
        const DOING: &str = "list runs";
        let rows = sqlx::query(select_run!(
            "where (?1 is null or run.state = ?1) and (?2 is null or run.archived = ?2) and (?3 is null or run.id < ?3) \
             and (?4 is null or instr(lower(run.public_id || char(10) || run.name || char(10) || run.tags || char(10) || run.model), lower(?4)) > 0) \
             order by run.id desc limit ?5"
        ))
        .bind(filter.state.map(RunState::name))
        .bind(filter.archived)
        .bind(filter.before.map(|r| r.0))
        .bind(filter.text.as_deref())
        .bind(filter.limit.map_or(-1, int))
        .fetch_all(&self.readers)
        .await
        .map_err(|e| self.fault(e.into(), DOING))?;
        rows.iter().map(run_row).collect::<Result<_, _>>().map_err(|f| self.fault(f, DOING))
    }

    /// The run with this key.
    pub async fn run_by_id(&self, run: RunId) -> Result<RunRow, StoreError> {
        const DOING: &str = "read a run";
        let row = sqlx::query(select_run!("where run.id = ?"))
            .bind(run.0)
            .fetch_optional(&self.readers)
            .await
            .map_err(|e| self.fault(e.into(), DOING))?;
        let row = row.ok_or_else(|| StoreError::NoSuchRun { wanted: format!("number {}", run.0), candidates: vec![] })?;
        run_row(&row).map_err(|f| self.fault(f, DOING))
    }

    /// Gives the run another name.
    pub async fn rename_run(&self, run: RunId, name: &str) -> Result<(), StoreError> {
        self.label(run, "name", name).await
    }

    /// Replaces the tags of the run.
    pub async fn tag_run(&self, run: RunId, tags: &[String]) -> Result<(), StoreError> {
        let tags = column::to_json(tags).map_err(|f| self.fault(f, "tag a run"))?;
        self.label(run, "tags", &tags).await
    }

    /// Replaces the note of the run.
    pub async fn note_run(&self, run: RunId, note: &str) -> Result<(), StoreError> {
        self.label(run, "note", note).await
    }

    /// Puts the run away, or takes it out again.
    pub async fn archive_run(&self, run: RunId, archived: bool) -> Result<(), StoreError> {
        self.label(run, "archived", if archived { "1" } else { "0" }).await
    }

    async fn label(&self, run: RunId, column: &'static str, value: &str) -> Result<(), StoreError> {
        const DOING: &str = "label a run";
        let mut tx = self.begin(DOING).await?;
        let outcome = async {
            let sql = format!("update run set {column} = ?, rev = rev + 1 where id = ?");
            sqlx::query(AssertSqlSafe(sql)).bind(value).bind(run.0).execute(&mut *tx).await?;
            events::push(&mut tx, Some(run), "edited", &serde_json::json!({ "field": column })).await
        }
        .await;
        self.end(tx, DOING, outcome).await
    }

    /// Deletes the run with everything stored of it; a live one must be stopped first. Files are the caller's.
    pub async fn delete_run(&self, run: RunId) -> Result<(), StoreError> {
        const DOING: &str = "delete a run";
        let row = self.run_by_id(run).await?;
        let mut tx = self.begin(DOING).await?;
        let outcome = delete(&mut tx, &row).await;
        self.end(tx, DOING, outcome).await
    }
}

async fn create(tx: &mut SqliteConnection, new: &NewRun<'_>) -> Result<RunId, Fault> {
    let config = column::to_json(new.config)?;
    let planned = new.config.steps.saturating_add(new.config.warm_start.steps);
    // four characters are a million ids; a taken one is answered by a longer one
    for length in 4..=12 {
        let public_id = random_id(length);
        let name = if new.name.is_empty() { &public_id } else { new.name };
        let done = sqlx::query(
            "insert into run (public_id, name, state, config, model, base_sha256, code_version, created_ms, steps_planned) \
             values (?, ?, 'queued', ?, ?, ?, ?, ?, ?) on conflict (public_id) do nothing",
        )
        .bind(&public_id)
        .bind(name)
        .bind(&config)
        .bind(new.model)
        .bind(new.base_sha256)
        .bind(new.code_version)
        .bind(now_ms())
        .bind(int(planned))
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 1 {
            let run = RunId(done.last_insert_rowid());
            let body = serde_json::json!({ "id": public_id, "name": name });
            events::push(tx, Some(run), "created", &body).await?;
            return Ok(run);
        }
    }
    Err(Fault::Unreadable("no free run id was found in nine tries".into()))
}

/// `r-` and `length` characters of Crockford's base 32 (no i, l, o, u), seeded by the system's randomness.
fn random_id(length: u32) -> String {
    const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let bits = std::hash::RandomState::new().hash_one(now_ms());
    let letters = (0..length).map(|i| char::from(LETTERS[(bits >> (5 * i)) as usize & 31]));
    "r-".chars().chain(letters).collect()
}

async fn delete(tx: &mut SqliteConnection, row: &RunRow) -> Result<(), Fault> {
    let state: String = sqlx::query_scalar("select state from run where id = ?").bind(row.id.0).fetch_one(&mut *tx).await?;
    if let Some(state) = RunState::from_name(&state).filter(|s| s.is_live()) {
        return Err(StoreError::Live { run: row.public_id.clone(), state: state.name() }.into());
    }
    // the cascade would look for a step's metrics by (run, phase), which is every metric of the phase, for each step
    sqlx::query("delete from metric where run = ?").bind(row.id.0).execute(&mut *tx).await?;
    sqlx::query("delete from run where id = ?").bind(row.id.0).execute(&mut *tx).await?;
    forget_unused_problems(tx).await?;
    events::push(tx, None, "deleted", &serde_json::json!({ "id": row.public_id })).await
}

/// Deletes problems that no group refers to any more.
pub(crate) async fn forget_unused_problems(tx: &mut SqliteConnection) -> Result<(), Fault> {
    sqlx::query("delete from problem where not exists (select 1 from grp where grp.problem = problem.id)").execute(tx).await?;
    Ok(())
}

pub(crate) fn run_row(row: &SqliteRow) -> Result<RunRow, Fault> {
    let state: String = row.try_get("state")?;
    Ok(RunRow {
        id: RunId(row.try_get("id")?),
        public_id: row.try_get("public_id")?,
        name: row.try_get("name")?,
        state: RunState::from_name(&state).ok_or_else(|| Fault::Unreadable(format!("state = {state:?}")))?,
        message: row.try_get("state_message")?,
        config_json: row.try_get("config")?,
        model: row.try_get("model")?,
        base_sha256: row.try_get("base_sha256")?,
        code_version: row.try_get("code_version")?,
        pid: row.try_get("pid")?,
        heartbeat_ms: row.try_get("heartbeat_ms")?,
        stop_wished: row.try_get("stop_wish")?,
        created_ms: row.try_get("created_ms")?,
        started_ms: row.try_get("started_ms")?,
        ended_ms: row.try_get("ended_ms")?,
        phase: match row.try_get::<Option<String>, _>("phase")? {
            Some(_) => Some(column::phase(row, "phase")?),
            None => None,
        },
        step: column::count(row, "step")?,
        steps_planned: column::count(row, "steps_planned")?,
        progress: row.try_get("progress")?,
        archived: row.try_get("archived")?,
        tags: column::from_json(row.try_get("tags")?, "tags")?,
        note: row.try_get("note")?,
        rev: row.try_get("rev")?,
        baseline: accuracy(row, ["b_phase", "b_step", "b_accuracy", "b_ci_low", "b_ci_high", "b_n"])?,
        best: accuracy(row, ["t_phase", "t_step", "t_accuracy", "t_ci_low", "t_ci_high", "t_n"])?,
        last: accuracy(row, ["l_phase", "l_step", "l_accuracy", "l_ci_low", "l_ci_high", "l_n"])?,
    })
}

fn accuracy(row: &SqliteRow, columns: [&str; 6]) -> Result<Option<Accuracy>, Fault> {
    let [phase, step, accuracy, ci_low, ci_high, n] = columns;
    if row.try_get::<Option<String>, _>(phase)?.is_none() {
        return Ok(None);
    }
    Ok(Some(Accuracy {
        phase: column::phase(row, phase)?,
        step: column::count(row, step)?,
        accuracy: column::real(row, accuracy)?,
        ci_low: column::real(row, ci_low)?,
        ci_high: column::real(row, ci_high)?,
        n: column::count(row, n)?,
    }))
}
