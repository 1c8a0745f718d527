//! Opening: what cannot be opened says why, and two handles see the same file.

use tempfile::TempDir;
use whetstone_domain::*;

use super::*;
use crate::open::MIGRATIONS;
use crate::{FILE_NAME, StoreError};

#[tokio::test]
async fn a_file_that_is_no_database_is_named_and_left_alone() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join(FILE_NAME);
    let text = "this is a letter to my aunt, and no database at all. ".repeat(100);
    std::fs::write(&file, &text).unwrap();
    let error = Store::open(dir.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::NotADatabase { .. }), "{error:?}");
    assert!(error.to_string().contains(FILE_NAME) && error.to_string().contains("move it away"), "{error}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), text);
}

#[tokio::test]
async fn a_damaged_database_is_an_error_and_no_panic() {
    let (dir, store, run) = with_run().await;
    record_all(&store, run, &[made(Phase::Grpo, 1, None, false)]).await;
    store.close().await;
    let file = dir.path().join(FILE_NAME);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[4096..].fill(0xa5);
    std::fs::write(&file, bytes).unwrap();
    let error = match Store::open(dir.path()).await {
        Ok(store) => store.run("latest").await.unwrap_err(),
        Err(e) => e,
    };
    assert!(matches!(error, StoreError::NotADatabase { .. }), "{error:?}");
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_named() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let error = Store::open(&dir.path().join("file/data")).await.unwrap_err();
    assert!(matches!(error, StoreError::Directory { .. }) && error.to_string().contains("--data"), "{error}");
    // there is a folder where the file should be
    std::fs::create_dir(dir.path().join(FILE_NAME)).unwrap();
    let error = Store::open(dir.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::Directory { .. }), "{error:?}");
}

#[test]
fn the_migrations_are_the_files_of_their_folder_in_order() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let named: Vec<_> =
        MIGRATIONS.iter().zip(1..).map(|((name, sql), i)| (format!("{i:04}_{}.sql", name.replace(' ', "_")), *sql)).collect();
    assert_eq!(files.len(), named.len());
    for (file, (name, sql)) in files.iter().zip(&named) {
        assert_eq!(file.file_name().unwrap().to_str().unwrap(), name);
        assert_eq!(std::fs::read_to_string(file).unwrap(), *sql);
        assert!(!sql.starts_with("-- no-transaction"), "{name} would run in one all the same");
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let (dir, store) = fresh().await;
    sqlx::query(
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (9999, 'later', 1, x'00', 0)",
    )
    .execute(&store.writer)
    .await
    .unwrap();
    store.close().await;
    let error = Store::open(dir.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::NewerSchema { version: 9999, .. }), "{error:?}");
    assert!(error.to_string().contains("update whetstone"), "{error}");
}

#[tokio::test]
async fn a_second_store_sees_what_the_first_committed() {
    let (dir, first, run) = with_run().await;
    let second = Store::open(dir.path()).await.unwrap();
    for number in 1..=3 {
        first.record(run, &made(Phase::Grpo, number, None, false)).await.unwrap();
        assert_eq!(second.steps(run).await.unwrap().len(), number);
    }
    assert!(!first.stop_wished(run).await.unwrap());
    first.claim(run, std::process::id()).await.unwrap();
    second.wish_stop(run).await.unwrap();
    assert!(first.stop_wished(run).await.unwrap());
    assert_eq!(second.groups(run, Phase::Grpo, 3).await.unwrap(), [group(0)]);
}

#[test]
fn many_may_open_a_fresh_directory_at_once() {
    let dir = TempDir::new().unwrap();
    std::thread::scope(|scope| {
        let open = || crate::BlockingStore::open(dir.path()).map(|s| s.close());
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(open)).collect();
        for thread in threads {
            thread.join().unwrap().unwrap();
        }
    });
}

#[tokio::test]
async fn pages_can_not_write() {
    let (_dir, store, _run) = with_run().await;
    let error = sqlx::query("delete from run").execute(&store.readers).await.unwrap_err();
    assert!(error.to_string().contains("readonly"), "{error}");
    let mode: String = sqlx::query_scalar("pragma journal_mode").fetch_one(&store.readers).await.unwrap();
    assert_eq!(mode, "wal");
}

#[test]
fn a_server_may_hold_its_calls_across_threads() {
    fn sendable<T: Send>(_: T) {}
    fn calls(store: &Store, run: RunId) {
        sendable(store.run("x"));
        sendable(store.groups(run, Phase::Grpo, 1));
        sendable(store.evaluation(run, Phase::Grpo, 1));
        sendable(store.delete_run(run));
        sendable(store.rename_run(run, "x"));
        sendable(store.rewind(run, None));
        sendable(store.record(run, &Event::Progress { message: String::new() }));
        sendable(Store::open(std::path::Path::new("")));
    }
    let _ = calls;
}
