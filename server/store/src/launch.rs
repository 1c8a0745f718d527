//! Launches: a new run with its tags, once for every key, in one transaction.
//!
//! In: a [`NewRun`], tags, and the key that came with the wish. Out: the run, new or that of the same wish before. Checking the config
//! is the caller's.

use sqlx::sqlite::SqliteConnection;

use crate::column::{self, now_ms};
use crate::error::Fault;
use crate::runs::{self, NewRun};
use crate::{RunId, Store, StoreError};

/// How long a key is remembered, ms.
const REMEMBERED_MS: i64 = 86_400_000;

/// What a wish for a run led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Launched {
    /// It is queued.
    New(RunId),
    /// The same wish came with the same key within a day: this is its run.
    Again(RunId),
    /// The key came with another wish; nothing was stored.
    KeyTaken,
}

/// A key with the digest of what was asked for under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaunchKey<'a> {
    /// What the caller chose.
    pub key: &'a str,
    /// Digest of the whole request.
    pub request: &'a str,
}

impl Store {
    /// Queues a run with its tags, unless the key says that this was done before.
    pub async fn launch_run(&self, new: &NewRun<'_>, tags: &[String], key: Option<LaunchKey<'_>>) -> Result<Launched, StoreError> {
        const DOING: &str = "launch a run";
        let mut tx = self.begin(DOING).await?;
        let outcome = launch(&mut tx, new, tags, key).await;
        self.end(tx, DOING, outcome).await
    }
}

async fn launch(tx: &mut SqliteConnection, new: &NewRun<'_>, tags: &[String], key: Option<LaunchKey<'_>>) -> Result<Launched, Fault> {
    let now = now_ms();
    if let Some(LaunchKey { key, request }) = key {
        sqlx::query("delete from launch_key where at_ms < ?").bind(now - REMEMBERED_MS).execute(&mut *tx).await?;
        let seen: Option<(String, i64)> =
            sqlx::query_as("select request, run from launch_key where key = ?").bind(key).fetch_optional(&mut *tx).await?;
        match seen {
            Some((before, run)) if before == request => return Ok(Launched::Again(RunId(run))),
            Some(_) => return Ok(Launched::KeyTaken),
            None => {}
        }
    }
    let run = runs::create(tx, new).await?;
    if !tags.is_empty() {
        let tags = column::to_json(tags)?;
        sqlx::query("update run set tags = ? where id = ?").bind(tags).bind(run.0).execute(&mut *tx).await?;
    }
    if let Some(LaunchKey { key, request }) = key {
        sqlx::query("insert into launch_key (key, request, run, at_ms) values (?, ?, ?, ?)")
            .bind(key)
            .bind(request)
            .bind(run.0)
            .bind(now)
            .execute(tx)
            .await?;
    }
    Ok(Launched::New(run))
}
