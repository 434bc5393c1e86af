//! `portal migrate data` on a new data directory, where everything is committed from the start.

use std::path::Path;
use std::sync::Arc;

use portal_core::SystemEntropy;
use portal_store::{Database, DatabaseConfig, Metrics, StoreError};
use rustix::process::Signal;
use sea_orm::ConnectionTrait as _;

use crate::harness::{Up, portal, run};

#[test]
fn a_new_installation_has_nothing_to_move() {
    let directory = tempfile::tempdir().unwrap();
    let up = Up::start(directory.path());
    for service in ["auth", "consent", "valuation"] {
        let migrate = |arguments: &[&str]| {
            run(portal()
                .args(["migrate", "data"])
                .args(arguments)
                .args(["--service", service, "--data-dir"])
                .arg(directory.path()))
        };
        let (code, status, stderr) = migrate(&["status"]);
        assert_eq!(code, 0, "{stderr}");
        let mut states = status.lines().skip(1).map(|line| line.split_ascii_whitespace().nth(1).unwrap());
        assert_eq!(states.next(), Some("committed"), "{service}: {status}");
        let name = status.lines().nth(1).unwrap().split_ascii_whitespace().next().unwrap().to_owned();
        let (code, stdout, stderr) = migrate(&["start", &name]);
        assert_eq!(code, 0, "what is done is skipped: {stderr}");
        assert!(stdout.contains("the migration is done"), "{stdout}");
        assert_eq!(migrate(&["commit", &name]).0, 0, "what is committed is skipped");
        for refused in ["pause", "rollback", "verify"] {
            let (code, _, stderr) = migrate(&[refused, &name]);
            assert_eq!(code, 1, "{refused}: {stderr}");
            assert!(stderr.contains(&name), "{stderr}");
        }
        assert_eq!(migrate(&["start", "d9999_nothing"]).0, 2);
    }
    assert_eq!(up.end(Signal::TERM).0, Some(0));
}

/// Rows in the clear are believed again if the record of a migration is set back: the keys say that it is committed.
#[test]
fn a_record_that_was_set_back_keeps_its_service_down() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(Up::start(directory.path()).end(Signal::TERM).0, Some(0));
    for service in ["auth", "consent", "valuation"] {
        let migrate = |arguments: &[&str]| {
            run(portal()
                .args(["migrate", "data"])
                .args(arguments)
                .args(["--service", service, "--data-dir"])
                .arg(directory.path()))
        };
        let status = migrate(&["status"]).1;
        let name = status.lines().nth(1).unwrap().split_ascii_whitespace().next().unwrap().to_owned();
        set_back(&directory.path().join(format!("{service}.db")), &name);
        let (code, _, stderr) = migrate(&["status"]);
        assert_eq!(code, 1, "{stderr}");
        let next_step = format!("portal migrate data reopen {name}");
        assert!(stderr.contains("was set back") && stderr.contains(&next_step), "{stderr}");
        assert_eq!(migrate(&["reopen"]).0, 2);
        assert_eq!(migrate(&["reopen", &name]).0, 0);
        assert_eq!(migrate(&["reopen", &name]).0, 2, "nothing is noted any more");
        let status = migrate(&["status"]).1;
        let state = status.lines().nth(1).unwrap().split_ascii_whitespace().nth(1).unwrap();
        assert_eq!(state, "done", "{status}");
    }
}

/// As somebody does who can write to the database.
fn set_back(database: &Path, name: &str) {
    execute(
        database,
        &format!(
            "UPDATE data_migration SET committed = FALSE, state = 'done', step = 'verify' WHERE name = '{name}'"
        ),
    );
}

/// Changes one row behind the back of a service.
pub fn execute(database: &Path, statement: &str) {
    let config = DatabaseConfig::from_url(format!("sqlite:{}", database.display()));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let database = Database::connect(&config, Arc::new(SystemEntropy), Metrics::default()).await.unwrap();
        let written = database.run_tx("execute", |tx| async move {
            Ok::<_, StoreError>(tx.conn().execute_unprepared(statement).await?.rows_affected())
        });
        assert_eq!(written.await.unwrap(), 1);
        database.close().await;
    });
}
