//! `run_tx` and `read`: atomic, serialisable, retried, leaving nothing behind.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use portal_store::{Metrics, StoreError, migrate};
use portal_testkit::each_database;
use prometheus_client::registry::Registry;
use sea_orm::ConnectionTrait;
use tokio::task::JoinSet;

use crate::schema::{Migrations, find, increment, insert, migrated, row, value};

#[derive(Debug, thiserror::Error)]
enum AppError {
    #[error("no")]
    No,
    // Transparent on purpose: a retry must not depend on what a service makes of the error.
    #[error(transparent)]
    Store(#[from] StoreError),
}

each_database! {
    /// Ids, times, bytes and numbers come back as they went in.
    async fn values_survive(database) {
        let database = migrated(database).await;
        database.run_tx("insert", |tx| async move { insert(&tx, row(u128::MAX - 1, "a")).await }).await.unwrap();
        let found = database.read("find", |tx| async move { find(&tx, "a").await }).await.unwrap().unwrap();
        assert_eq!(found, row(u128::MAX - 1, "a"));
    }

    /// An error, a panic and a cancelled future each leave no row and no open transaction.
    async fn nothing_is_left_behind(database) {
        let database = migrated(database).await;

        let refused: Result<(), AppError> = database
            .run_tx("refused", |tx| async move {
                insert(&tx, row(1, "error")).await?;
                Err(AppError::No)
            })
            .await;
        assert!(matches!(refused, Err(AppError::No)));

        let mut tasks = JoinSet::new();
        let panicking = database.clone();
        tasks.spawn(async move {
            let body = |tx| async move {
                insert(&tx, row(2, "panic")).await.unwrap();
                panic!("on purpose");
            };
            let _: Result<(), StoreError> = panicking.run_tx("panic", body).await;
        });
        assert!(tasks.join_next().await.unwrap().unwrap_err().is_panic());

        let inserted = tokio::sync::Notify::new();
        let (inserted, waiting) = (&inserted, &database);
        let stuck = waiting.run_tx("cancelled", |tx| async move {
            insert(&tx, row(3, "cancelled")).await?;
            inserted.notify_one();
            std::future::pending::<Result<(), StoreError>>().await
        });
        tokio::select! {
            _ = stuck => unreachable!("its body never ends"),
            () = inserted.notified() => {}
        }

        for name in ["error", "panic", "cancelled"] {
            assert_eq!(value(&database, name).await, None, "{name}");
        }
        // The only writer of SQLite is free again, and outside any transaction.
        let write = database.run_tx("after", |tx| async move { insert(&tx, row(4, "after")).await });
        tokio::time::timeout(Duration::from_secs(4), write).await.unwrap().unwrap();
        assert_eq!(value(&database, "after").await, Some(0));
    }

    /// Cancelled at any of its await points, a transaction commits as a whole or not at all, and the next one works.
    async fn cancelled_anywhere(database) {
        let database = migrated(database).await;
        database.run_tx("insert", |tx| async move {
            insert(&tx, row(1, "a")).await?;
            insert(&tx, row(2, "b")).await
        }).await.unwrap();
        for micros in (0..4_000).step_by(100) {
            let both = database.run_tx("both", |tx| async move {
                increment(&tx, "a").await?;
                increment(&tx, "b").await
            });
            let _ = tokio::time::timeout(Duration::from_micros(micros), both).await;
            let two = database.read("two", |tx| async move {
                Ok::<_, StoreError>((find(&tx, "a").await?, find(&tx, "b").await?))
            }).await.unwrap();
            assert_eq!(two.0.unwrap().value, two.1.unwrap().value);
        }
        let after = database.run_tx("after", |tx| async move { increment(&tx, "a").await });
        assert!(after.await.unwrap() >= 1);
    }

    /// Forty tasks add to one counter by reading and writing it: none is lost, none gives up.
    async fn no_update_is_lost(database) {
        let database = migrated(database).await;
        database.run_tx("insert", |tx| async move { insert(&tx, row(1, "hot")).await }).await.unwrap();
        let mut tasks = JoinSet::new();
        for _ in 0..40 {
            let database = database.clone();
            tasks.spawn(async move {
                database.run_tx("increment", |tx| async move { Ok::<_, AppError>(increment(&tx, "hot").await?) }).await
            });
        }
        for result in tasks.join_all().await {
            result.unwrap();
        }
        assert_eq!(value(&database, "hot").await, Some(40));
    }

    /// A statement that failed can't be ignored: PostgreSQL would answer the commit with a rollback.
    async fn a_failed_statement_dooms_its_transaction(database) {
        let database = migrated(database).await;
        database.run_tx("insert", |tx| async move { insert(&tx, row(1, "a")).await }).await.unwrap();
        let ignored = database.run_tx("ignored", |tx| async move {
            insert(&tx, row(2, "b")).await?;
            let duplicate = insert(&tx, row(3, "a")).await.unwrap_err();
            assert!(matches!(duplicate, StoreError::Duplicate { ref constraint } if constraint.contains("name")));
            Ok::<_, StoreError>(())
        });
        assert!(matches!(ignored.await, Err(StoreError::Doomed)));
        assert_eq!(value(&database, "b").await, None);
    }

    /// A read sees one state, whatever is committed meanwhile, and can't write.
    async fn a_read_is_a_snapshot(database) {
        let database = migrated(database).await;
        let writer = &database;
        writer.run_tx("insert", |tx| async move { insert(&tx, row(1, "a")).await }).await.unwrap();
        let (before, after) = database.read("twice", |tx| async move {
            let before = find(&tx, "a").await?.unwrap().value;
            writer.run_tx("increment", |tx| async move { increment(&tx, "a").await }).await?;
            Ok::<_, StoreError>((before, find(&tx, "a").await?.unwrap().value))
        }).await.unwrap();
        assert_eq!((before, after), (0, 0));
        assert_eq!(value(&database, "a").await, Some(1));

        let write = database.read("write", |tx| async move {
            Ok::<_, StoreError>(tx.conn().execute_unprepared("DELETE FROM counter").await?)
        });
        assert!(matches!(write.await, Err(StoreError::Database(_))));
        assert_eq!(value(&database, "a").await, Some(1));
    }

    /// A transaction kept beyond its body is refused and rolled back.
    async fn a_transaction_can_not_escape(database) {
        let database = migrated(database).await;
        let kept = database.run_tx("kept", |tx| async move {
            insert(&tx, row(1, "a")).await?;
            Ok::<_, StoreError>(tx)
        });
        assert!(matches!(kept.await, Err(StoreError::Escaped)));
        assert_eq!(value(&database, "a").await, None);
    }

    /// No error shows a value, neither to people nor to programmers.
    async fn errors_show_no_values(database) {
        let database = migrated(database).await;
        let secret = "anna@example.org";
        database.run_tx("insert", |tx| async move { insert(&tx, row(1, secret)).await }).await.unwrap();
        let duplicate = database.run_tx("insert", |tx| async move { insert(&tx, row(2, secret)).await }).await.unwrap_err();
        let malformed = database.run_tx("malformed", |tx| async move {
            // A data exception: PostgreSQL quotes the value in its message.
            tx.conn().execute_unprepared(&format!("SELECT CAST('{secret}' AS bigint) FROM nowhere_{}", 1)).await?;
            Ok::<_, StoreError>(())
        }).await.unwrap_err();
        let cast = database.run_tx("cast", |tx| async move {
            tx.conn().execute_unprepared(&format!("INSERT INTO counter (id) SELECT CAST('{secret}' AS integer)")).await?;
            Ok::<_, StoreError>(())
        }).await.unwrap_err();
        for error in [duplicate, malformed, cast] {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            let shown = format!("{error} {error:?} {source:?}");
            assert!(!shown.contains("anna") && !shown.contains("example"), "{shown}");
        }
    }

    /// Outcomes, retries and durations are counted by name.
    async fn transactions_are_measured(database) {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let database = database.connect_with(metrics).await;
        migrate::up::<Migrations>(&database).await.unwrap();
        database.run_tx("insert", |tx| async move { insert(&tx, row(1, "a")).await }).await.unwrap();
        let _: Result<(), AppError> = database.run_tx("refused", |_| async move { Err(AppError::No) }).await;
        let attempts = AtomicU32::new(0);
        let attempts = &attempts;
        let raced: Result<(), StoreError> = database.run_tx("raced", |tx| async move {
            if attempts.fetch_add(1, Ordering::SeqCst) < 2 {
                contend(&tx).await?;
            }
            Ok(())
        }).await;
        raced.unwrap();
        assert_eq!(attempts.load(Ordering::SeqCst), 3);

        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"store_transactions_total{transaction="insert",outcome="committed"} 1"#,
            r#"store_transactions_total{transaction="refused",outcome="rolled_back"} 1"#,
            r#"store_transactions_total{transaction="raced",outcome="committed"} 1"#,
            r#"store_transaction_retries_total{transaction="raced"} 2"#,
            r#"store_transaction_duration_seconds_count{transaction="raced"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    /// Conflicts that never end are given up after a bounded number of attempts.
    async fn conflicts_end(database) {
        let database = migrated(database).await;
        let attempts = AtomicU32::new(0);
        let attempts = &attempts;
        let raced: Result<(), AppError> = database.run_tx("raced", |tx| async move {
            attempts.fetch_add(1, Ordering::SeqCst);
            Ok(contend(&tx).await?)
        }).await;
        let error = raced.unwrap_err();
        assert!(matches!(error, AppError::Store(StoreError::Conflict { attempts: 8 })), "{error:?}");
        assert_eq!(attempts.load(Ordering::SeqCst), 8);
    }
}

/// Loses the race for an idempotency key, the one conflict that can be brought about at will on both databases.
async fn contend(tx: &portal_store::Tx) -> Result<(), StoreError> {
    use portal_core::Timestamp;
    use portal_store::idempotency::{Key, remember};
    let key = Key { caller: "c".to_owned(), method: "m", request_id: "r".to_owned() };
    remember(tx, &key, &[0; 32], b"", Timestamp::default()).await?;
    remember(tx, &key, &[0; 32], b"", Timestamp::default()).await
}

/// A server that is stopped and comes back: transactions fail as unavailable meanwhile, and then work again.
#[tokio::test]
async fn a_lost_server_is_unavailable() {
    let Some(server) = portal_testkit::EphemeralPostgres::start() else { return };
    let config = server.fresh_database().await;
    let entropy = std::sync::Arc::new(portal_core::SeededEntropy::new(1));
    let database = portal_store::Database::connect(&config, entropy, Metrics::default()).await.unwrap();
    database.ping().await.unwrap();
    drop(server);
    let error = database.ping().await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)) && error.is_retryable(), "{error:?}");
}

/// After two conflicts a transaction has the process to itself, so that a stream of others can't starve it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loser_runs_alone() {
    let Some(test_database) = portal_testkit::TestDatabase::postgres().await else { return };
    let database = &migrated(&test_database).await;
    let (attempts, alone) = (&AtomicU32::new(0), &AtomicBool::new(false));
    let loser = database.run_tx("loser", |tx| async move {
        if attempts.fetch_add(1, Ordering::SeqCst) < 2 {
            contend(&tx).await?;
        }
        alone.store(true, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(50)).await;
        alone.store(false, Ordering::SeqCst);
        Ok::<_, StoreError>(())
    });
    let others = async {
        while attempts.load(Ordering::SeqCst) < 3 || alone.load(Ordering::SeqCst) {
            let other = database
                .run_tx("other", |_| async move { Ok::<_, StoreError>(alone.load(Ordering::SeqCst)) });
            assert!(!other.await.unwrap(), "another transaction ran beside it");
        }
    };
    let (loser, ()) = tokio::join!(loser, others);
    loser.unwrap();
}
