//! What holds for SQLite alone.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use portal_core::SeededEntropy;
use portal_store::{ConnectError, Database, DatabaseConfig, Metrics, StoreError};
use sea_orm::{ConnectionTrait, Statement};
use tempfile::TempDir;

use crate::schema::{find, insert, migrated, row, value};

async fn connect(url: &str) -> Result<Database, ConnectError> {
    Database::connect(&DatabaseConfig::from_url(url), Arc::new(SeededEntropy::new(1)), Metrics::default())
        .await
}

#[tokio::test]
async fn the_file_is_made_for_its_owner_alone() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("a b.db");
    let database = connect(&format!("sqlite:{}", file.display())).await.unwrap();
    database
        .run_tx("ddl", |tx| async move {
            Ok::<_, StoreError>(tx.conn().execute_unprepared("CREATE TABLE t (x)").await?)
        })
        .await
        .unwrap();
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
    }
    database.close().await;
    let closed = database.ping().await.unwrap_err();
    assert!(matches!(closed, StoreError::Unavailable(_)), "{closed:?}");
}

#[tokio::test]
async fn settings_are_as_promised() {
    let database = portal_testkit::TestDatabase::sqlite();
    let database = database.connect().await;
    let (write, read) = tokio::join!(
        database.run_tx("pragmas", |tx| async move { pragmas(tx.conn()).await }),
        database.read("pragmas", |tx| async move { pragmas(tx.conn()).await }),
    );
    // synchronous 2 is FULL.
    let expect =
        [("journal_mode", "wal"), ("synchronous", "2"), ("foreign_keys", "1"), ("busy_timeout", "5000")];
    for (settings, connection) in [(write.unwrap(), "writer"), (read.unwrap(), "reader")] {
        for ((name, expected), actual) in expect.into_iter().zip(settings) {
            assert_eq!(actual, expected, "{name} of the {connection}");
        }
    }
}

async fn pragmas(conn: &portal_store::Conn) -> Result<Vec<String>, StoreError> {
    let mut values = Vec::new();
    for pragma in ["journal_mode", "synchronous", "foreign_keys", "timeout"] {
        let name = if pragma == "timeout" { "busy_timeout" } else { pragma };
        let sql = format!("SELECT CAST({pragma} AS TEXT) AS value FROM pragma_{name}");
        let row = conn.query_one_raw(Statement::from_string(conn.get_database_backend(), sql)).await?;
        values.push(row.unwrap().try_get::<String>("", "value")?);
    }
    Ok(values)
}

#[tokio::test]
async fn what_was_committed_is_there_again() {
    let test_database = portal_testkit::TestDatabase::sqlite();
    let first = migrated(&test_database).await;
    first.run_tx("insert", |tx| async move { insert(&tx, row(1, "a")).await }).await.unwrap();
    // No close: as after a crash, the row is in the WAL only.
    let second = test_database.connect().await;
    assert_eq!(value(&second, "a").await, Some(0));
}

/// Two processes on one file: the second waits for the first's transaction and then writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_is_waited_for() {
    let test_database = portal_testkit::TestDatabase::sqlite();
    let one = migrated(&test_database).await;
    let other = test_database.connect().await;
    let (started, start) = tokio::sync::oneshot::channel();
    let started = std::sync::Mutex::new(Some(started));
    let started = &started;
    let slow = one.run_tx("slow", |tx| async move {
        insert(&tx, row(1, "slow")).await?;
        if let Some(started) = started.lock().unwrap().take() {
            started.send(()).unwrap();
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        Ok::<_, StoreError>(())
    });
    let attempts = &AtomicU32::new(0);
    let fast = async {
        start.await.unwrap();
        let body = |tx: portal_store::Tx| async move {
            attempts.fetch_add(1, Ordering::SeqCst);
            assert!(find(&tx, "slow").await?.is_some(), "it began before the other had ended");
            insert(&tx, row(2, "fast")).await
        };
        other.run_tx("fast", body).await
    };
    let (slow, fast) = tokio::join!(slow, fast);
    slow.unwrap();
    fast.unwrap();
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
    assert_eq!((value(&other, "slow").await, value(&one, "fast").await), (Some(0), Some(0)));
}

#[tokio::test]
async fn refuses_what_it_can_not_keep() {
    for url in ["sqlite::memory:", "sqlite:x.db?mode=memory"] {
        assert!(matches!(connect(url).await, Err(ConnectError::InMemory)), "{url}");
    }
    assert!(matches!(connect("mysql://localhost/x").await, Err(ConnectError::Url)));
    assert!(matches!(connect("sqlite:/nowhere/at/all/x.db").await, Err(ConnectError::File { .. })));

    let directory = TempDir::new().unwrap();
    let file = directory.path().join("not.db");
    std::fs::write(&file, "this is not a database, it only stands where one should be").unwrap();
    assert!(matches!(connect(&format!("sqlite:{}", file.display())).await, Err(ConnectError::Database(_))));
}

/// A deleted value is in no file any more once the database was scrubbed; without `with_secure_delete` it is.
#[tokio::test]
async fn deleted_bytes_go() {
    const MARKER: &str = "a-key-that-must-go-0123456789";
    for secure in [true, false] {
        let directory = TempDir::new().unwrap();
        let plain =
            DatabaseConfig::from_url(format!("sqlite:{}", directory.path().join("keys.db").display()));
        let config = if secure { plain.with_secure_delete() } else { plain };
        let entropy = Arc::new(SeededEntropy::new(1));
        let database = Database::connect(&config, entropy, Metrics::default()).await.unwrap();
        for sql in [
            "CREATE TABLE t (x TEXT)".to_owned(),
            format!("INSERT INTO t VALUES ('{MARKER}'), ('stays')"),
            format!("DELETE FROM t WHERE x = '{MARKER}'"),
        ] {
            let sql = sql.as_str();
            let statement = |tx: portal_store::Tx| async move {
                Ok::<_, StoreError>(tx.conn().execute_unprepared(sql).await?)
            };
            database.run_tx("sql", statement).await.unwrap();
        }
        assert!(found(directory.path(), MARKER), "the WAL still has it");
        assert!(database.scrub().await.unwrap());
        assert_eq!(found(directory.path(), MARKER), !secure);
        assert!(found(directory.path(), "stays"));
    }
}

fn found(directory: &std::path::Path, text: &str) -> bool {
    let files =
        std::fs::read_dir(directory).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
    files.into_iter().any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
}
