//! The same request again answers with the first reply and changes nothing.

use std::time::Duration;

use portal_core::Timestamp;
use portal_store::idempotency::{IdempotencyError, Key, LIFETIME, purge, remember, replay};
use portal_store::{Database, StoreError};
use portal_testkit::each_database;
use tokio::task::JoinSet;

use crate::schema::{increment, insert, migrated, row, value};

const NOW: Timestamp = Timestamp::from_seconds(1_795_305_600);

fn key(caller: &str, request_id: &str) -> Key {
    Key {
        caller: caller.to_owned(),
        method: "/portal.test.v1.Test/Increment",
        request_id: request_id.to_owned(),
    }
}

/// A use case: adds one and replies with the sum.
async fn call(database: &Database, key: &Key, body: u8, now: Timestamp) -> Result<Vec<u8>, IdempotencyError> {
    let hash = &[body; 32];
    database
        .run_tx("call", |tx| async move {
            if let Some(reply) = replay(&tx, key, hash, now).await? {
                return Ok(reply);
            }
            let reply = increment(&tx, "a").await?.to_be_bytes().to_vec();
            remember(&tx, key, hash, &reply, now).await?;
            Ok(reply)
        })
        .await
}

async fn prepared(database: &portal_testkit::TestDatabase) -> Database {
    let database = migrated(database).await;
    database.run_tx("insert", |tx| async move { insert(&tx, row(1, "a")).await }).await.unwrap();
    database
}

each_database! {
    /// Same id and body: the first reply. Other body: a mismatch. Other caller: another request.
    async fn replays(database) {
        let database = prepared(database).await;
        let first = call(&database, &key("anna", "1"), 1, NOW).await.unwrap();
        assert_eq!(call(&database, &key("anna", "1"), 1, NOW).await.unwrap(), first);
        assert!(matches!(call(&database, &key("anna", "1"), 2, NOW).await, Err(IdempotencyError::Mismatch)));
        assert_eq!(value(&database, "a").await, Some(1));
        assert_ne!(call(&database, &key("bert", "1"), 1, NOW).await.unwrap(), first);
        assert_ne!(call(&database, &key("anna", "2"), 1, NOW).await.unwrap(), first);
        assert_eq!(value(&database, "a").await, Some(3));
    }

    /// Twenty identical calls at once have one effect and one reply.
    async fn one_effect(database) {
        let database = prepared(database).await;
        let mut tasks = JoinSet::new();
        for _ in 0..20 {
            let database = database.clone();
            tasks.spawn(async move { call(&database, &key("anna", "1"), 1, NOW).await.unwrap() });
        }
        let replies = tasks.join_all().await;
        assert_eq!(replies, vec![1_i64.to_be_bytes().to_vec(); 20]);
        assert_eq!(value(&database, "a").await, Some(1));
    }

    /// A request that failed is not remembered.
    async fn a_failure_is_not_remembered(database) {
        let database = prepared(database).await;
        let (key, hash) = (&key("anna", "1"), &[1; 32]);
        let failed: Result<(), StoreError> = database.run_tx("failed", |tx| async move {
            remember(&tx, key, hash, b"reply", NOW).await?;
            StoreError::check_rows(1, 0)
        }).await;
        assert!(matches!(failed, Err(StoreError::RowsAffected { expected: 1, actual: 0 })));
        assert_eq!(call(&database, key, 1, NOW).await.unwrap(), 1_i64.to_be_bytes());
    }

    /// A key is valid for 24 hours, and can then be used for any request.
    async fn keys_expire(database) {
        let database = prepared(database).await;
        let key = &key("anna", "1");
        call(&database, key, 1, NOW).await.unwrap();
        let last_moment = NOW.plus(LIFETIME).minus(Duration::from_micros(1));
        assert_eq!(call(&database, key, 1, last_moment).await.unwrap(), 1_i64.to_be_bytes());
        assert_eq!(call(&database, key, 2, NOW.plus(LIFETIME)).await.unwrap(), 2_i64.to_be_bytes());

        let purged = |now| database.run_tx("purge", move |tx| async move { purge(&tx, now).await });
        assert_eq!(purged(NOW.plus(LIFETIME)).await.unwrap(), 0);
        assert_eq!(purged(NOW.plus(LIFETIME * 2)).await.unwrap(), 1);
    }
}
