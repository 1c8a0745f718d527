//! Runs as rows: made, listed, labelled, deleted.
//!
//! In: a [`NewRun`], a [`RunFilter`], labels. Out: [`RunRow`]s. Finding one by what a user typed is in `find`, life and death of its
//! worker in `claim`.

use std::hash::BuildHasher as _;

use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteConnection;
use whetstone_domain::{RunConfig, RunState};

use crate::column::{self, int, now_ms};
use crate::error::{Fault, StoreError};
use crate::run_row::{RunRow, run_row};
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
    /// Only with exactly this tag.
    pub tag: Option<String>,
    /// Only made before this one (for the next page).
    pub before: Option<RunId>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// Every column of [`RunRow`]; completed by a `where`.
macro_rules! select_run {
    ($rest:literal) => {
        concat!(
            "select run.*, ",
            "b.phase as b_phase, b.step as b_step, b.accuracy as b_accuracy, b.ci_low as b_ci_low, b.ci_high as b_ci_high, b.n as b_n, ",
            "t.phase as t_phase, t.step as t_step, t.accuracy as t_accuracy, t.ci_low as t_ci_low, t.ci_high as t_ci_high, t.n as t_n, ",
            "l.phase as l_phase, l.step as l_step, l.accuracy as l_accuracy, l.ci_low as l_ci_low, l.ci_high as l_ci_high, l.n as l_n, ",
            "coalesce((select max(w.step) from step w where w.run = run.id and w.phase = 'warm_start'), 0) as warm_made ",
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
             and (?6 is null or exists (select 1 from json_each(run.tags) t where t.value = ?6)) order by run.id desc limit ?5"
        ))
        .bind(filter.state.map(RunState::name))
        .bind(filter.archived)
        .bind(filter.before.map(|r| r.0))
        .bind(filter.text.as_deref())
        .bind(filter.limit.map_or(-1, int))
        .bind(filter.tag.as_deref())
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

pub(crate) async fn create(tx: &mut SqliteConnection, new: &NewRun<'_>) -> Result<RunId, Fault> {
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
