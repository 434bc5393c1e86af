//! Throw-away databases are separate, real, and gone afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use portal_store::StoreError;
use portal_testkit::{EphemeralPostgres, TestDatabase};
use sea_orm::ConnectionTrait;

/// Set for the copy of this program that holds a server until it is killed.
const HOLD: &str = "PORTAL_TESTKIT_HOLD";

async fn create_table(database: &TestDatabase) {
    let database = database.connect().await;
    let ddl = |tx: portal_store::Tx| async move {
        Ok::<_, StoreError>(tx.conn().execute_unprepared("CREATE TABLE t (x int)").await?)
    };
    database.run_tx("ddl", ddl).await.expect("an empty database");
}

#[tokio::test]
async fn each_test_has_an_empty_database() {
    for database in [TestDatabase::sqlite(), TestDatabase::sqlite()] {
        create_table(&database).await;
    }
    let (Some(one), Some(two)) = (TestDatabase::postgres().await, TestDatabase::postgres().await) else {
        return;
    };
    create_table(&one).await;
    create_table(&two).await;
}

#[tokio::test]
async fn postgres_is_private_and_gone_when_dropped() {
    use std::os::unix::fs::PermissionsExt;
    let Some(server) = EphemeralPostgres::start() else { return };
    let directory = server.directory().to_owned();
    assert_eq!(directory.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let process = server_process(&directory);
    assert!(process.exists());
    drop(server);
    assert!(!directory.exists() && !process.exists());
}

/// Even a test that is killed leaves neither server nor files.
#[test]
fn postgres_does_not_outlive_a_killed_process() {
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "holds_a_server", "--nocapture"])
        .env(HOLD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(holder.stdout.take().unwrap());
    let directory =
        stdout.lines().map_while(Result::ok).find_map(|line| Some(line.split_once(HOLD)?.1.to_owned()));
    let process = directory.as_ref().map(|directory| server_process(Path::new(directory)));
    holder.kill().unwrap();
    holder.wait().unwrap();
    let (Some(directory), Some(process)) = (directory, process) else { return };

    let started = Instant::now();
    while Path::new(&directory).exists() || process.exists() {
        assert!(started.elapsed() < Duration::from_secs(20), "{directory} is still there");
        std::thread::yield_now();
    }
}

/// No test of its own: the process that the test above kills.
#[test]
fn holds_a_server() {
    #[expect(clippy::disallowed_methods, reason = "how the test above asks for it")]
    let asked = std::env::var(HOLD).is_ok();
    if !asked {
        return;
    }
    let Some(server) = EphemeralPostgres::start() else { return };
    println!("\n{HOLD}{}", server.directory().display());
    loop {
        std::thread::park();
    }
}

fn server_process(directory: &Path) -> PathBuf {
    let pid = std::fs::read_to_string(directory.join("data/postmaster.pid")).unwrap();
    Path::new("/proc").join(pid.lines().next().unwrap())
}
