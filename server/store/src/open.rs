//! The database file: opened, brought up to date, and handed out as one writer and several readers.
//!
//! In: a data directory. Out: a [`Store`]. The queries are in the modules beside this one, one a question.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, SqlSafeStr as _, Sqlite, SqliteConnection, Transaction};

use crate::error::{Fault, StoreError};

/// Name of the database file in the data directory.
pub const FILE_NAME: &str = "whetstone.sqlite3";

/// The files of `migrations/`, in order: the first has version 1. They are named here because sqlx's macro, which would find them, builds
/// sqlx and SQLite a second time, for the compiler.
pub(crate) const MIGRATIONS: [(&str, &str); 2] = [
    ("store", include_str!("../../../migrations/0001_store.sql")),
    ("launch key", include_str!("../../../migrations/0002_launch_key.sql")),
];

static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let migration = |(version, (description, sql)): (i64, (&'static str, &'static str))| {
        Migration::new(version, description.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations((1..).zip(MIGRATIONS).map(migration).collect())
});

/// How long a transaction waits for another process's. Deleting a large run is the longest there is.
const BUSY: Duration = Duration::from_secs(30);
/// Pages and event streams read side by side; more connections than this only queue for the same disk.
const READERS: u32 = 4;

/// A handle on the database, cheap to clone.
///
/// Writes go through one connection, one `begin immediate` transaction each: a read transaction that turned into a write could
/// not wait for its turn. Reads use connections that cannot write.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) writer: SqlitePool,
    pub(crate) readers: SqlitePool,
    path: Arc<PathBuf>,
}

impl Store {
    /// Opens the database of `data_dir`, making directory, file and tables as needed.
    pub async fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let unusable = |e: std::io::Error| StoreError::Directory { path: data_dir.into(), reason: e.to_string() };
        std::fs::create_dir_all(data_dir).map_err(unusable)?;
        let path = data_dir.join(FILE_NAME);
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            .journal_mode(SqliteJournalMode::Wal)
            // in WAL mode a power cut may lose the last transactions, never the file: a resume makes them again
            .synchronous(SqliteSynchronous::Normal);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(2 * BUSY)
            .after_release(|connection, _| Box::pin(is_clean(connection)))
            .connect_lazy_with(options);
        bring_up_to_date(&writer, &path).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(BUSY)
            .connect_lazy_with(SqliteConnectOptions::new().filename(&path).read_only(true).foreign_keys(true).busy_timeout(BUSY));
        Ok(Self { writer, readers, path: Arc::new(path) })
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for queries under way and closes every connection; other clones of the handle end, too.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Begins a write.
    pub(crate) async fn begin(&self, doing: &'static str) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.writer.begin_with("begin immediate").await.map_err(|e| self.fault(e.into(), doing))
    }

    /// Begins a read of one moment.
    pub(crate) async fn snapshot(&self, doing: &'static str) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.readers.begin().await.map_err(|e| self.fault(e.into(), doing))
    }

    /// Commits when all went well, else undoes everything.
    pub(crate) async fn end<T>(
        &self,
        tx: Transaction<'static, Sqlite>,
        doing: &'static str,
        outcome: Result<T, Fault>,
    ) -> Result<T, StoreError> {
        match outcome {
            Ok(value) => tx.commit().await.map(|()| value).map_err(|e| self.fault(e.into(), doing)),
            Err(fault) => {
                // SQLite has undone it already where space ran out; the first error is the one that counts
                if let Err(e) = tx.rollback().await {
                    tracing::debug!(error = %e, doing, "rollback after a failed write");
                }
                Err(self.fault(fault, doing))
            }
        }
    }

    /// The error in its final words.
    pub(crate) fn fault(&self, fault: Fault, doing: &'static str) -> StoreError {
        fault.at(&self.path, doing)
    }
}

/// False for a connection that sqlx takes to be in a transaction still. SQLite ends one by itself when space runs out; the rollback
/// that follows then fails, and the connection would refuse every later `begin`. The pool replaces it.
async fn is_clean(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // a rollback that is only queued runs before the answer to this
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

async fn bring_up_to_date(writer: &SqlitePool, path: &Path) -> Result<(), StoreError> {
    // server and worker may open a fresh directory at the same moment; the loser finds the tables made when it looks again
    let mut attempts = 0..3;
    loop {
        let error = match MIGRATOR.run(writer).await {
            Ok(()) => return Ok(()),
            Err(e) => e,
        };
        match error {
            MigrateError::VersionMissing(version) => return Err(StoreError::NewerSchema { path: path.into(), version }),
            MigrateError::Execute(e) | MigrateError::ExecuteMigration(e, _) => {
                let error = Fault::Sql(e).at(path, "bring the tables up to date");
                let may_pass = matches!(error, StoreError::Busy { .. } | StoreError::Database { .. });
                if !may_pass || attempts.next().is_none() {
                    return Err(error);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            other => return Err(StoreError::Migration { path: path.into(), reason: other.to_string() }),
        }
    }
}
