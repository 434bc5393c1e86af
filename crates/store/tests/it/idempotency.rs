//! The same request again answers with the first reply and changes nothing.

use std::time::Duration;

use async_trait::async_trait;
use portal_core::Timestamp;
use portal_core::id::{Id, SubjectId};
use portal_store::idempotency::{
    Forms, IdempotencyError, KeptReply, Key, LIFETIME, SealedReply, add_sealed_replies, drop_sealed_replies,
    keep, purge, recall, remember, replay,
};
use portal_store::{Corruption, Database, StoreError, migrate};
use portal_testkit::{TestDatabase, each_database};
use sea_orm::{ConnectionTrait as _, Statement};
use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, MigratorTrait, SchemaManager};
use tokio::task::JoinSet;

use crate::schema::{First, increment, insert, migrated, row, value};

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

async fn prepared(database: &TestDatabase) -> Database {
    let database = migrated(database).await;
    database.run_tx("insert", |tx| async move { insert(&tx, row(1, "a")).await }).await.unwrap();
    database
}

struct SealedReplies;

impl MigrationName for SealedReplies {
    fn name(&self) -> &'static str {
        "m0002_sealed_replies"
    }
}

#[async_trait]
impl MigrationTrait for SealedReplies {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add_sealed_replies(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_sealed_replies(manager).await
    }
}

struct WithSealedReplies;

#[async_trait]
impl MigratorTrait for WithSealedReplies {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(First), Box::new(SealedReplies)]
    }
}

fn sealed(subject: Option<SubjectId>, plain: &[u8]) -> KeptReply {
    KeptReply { plain: plain.to_vec(), sealed: Some(SealedReply { subject, envelope: vec![1, 2, 3] }) }
}

each_database! {
    /// A reply takes the place of one that has expired, and of no other: who kept that was faster.
    async fn a_reply_is_kept_over_an_expired_one_only(database) {
        let database = prepared(database).await;
        migrate::up::<WithSealedReplies>(&database).await.unwrap();
        let key = &key("anna", "again");
        let put = |hash: u8, now: Timestamp| {
            let database = database.clone();
            async move {
                let (hash, reply) = (&[hash; 32], &sealed(None, &[hash]));
                database.run_tx("keep", |tx| async move { keep(&tx, key, hash, reply, now).await }).await
            }
        };
        let found = |hash: u8, now: Timestamp| {
            let database = database.clone();
            async move {
                let hash = &[hash; 32];
                let found = |tx| async move { recall(&tx, key, hash, Forms::Both, now).await };
                database.read("recall", found).await.map(|reply| reply.map(|reply| reply.plain))
            }
        };
        put(1, NOW).await.unwrap();
        let refused = put(2, NOW.plus(LIFETIME - Duration::from_micros(1))).await;
        assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
        assert_eq!(found(1, NOW).await.unwrap(), Some(vec![1]));
        let later = NOW.plus(LIFETIME);
        put(2, later).await.unwrap();
        assert_eq!(found(2, later).await.unwrap(), Some(vec![2]));
        assert!(matches!(found(1, later).await, Err(IdempotencyError::Mismatch)));
    }

    /// Replies of before the migration and of processes that do not know it are found beside sealed ones.
    async fn sealed_and_plain_replies_stand_side_by_side(database) {
        let database = prepared(database).await;
        let hash = &[1; 32];
        let before = call(&database, &key("anna", "before"), 1, NOW).await.unwrap();
        migrate::up::<WithSealedReplies>(&database).await.unwrap();
        let besides = call(&database, &key("anna", "besides"), 1, NOW).await.unwrap();
        let subject = SubjectId::from_bytes([7; 16]);
        let kept = [
            ("of-subject", sealed(Some(subject), b"")),
            ("of-service", sealed(None, b"")),
            ("both", sealed(Some(subject), b"reply")),
            ("plain", KeptReply { plain: b"reply".to_vec(), sealed: None }),
        ];
        for (id, reply) in &kept {
            let key = &key("anna", id);
            let put = |tx| async move { keep(&tx, key, hash, reply, NOW).await };
            database.run_tx("keep", put).await.unwrap();
        }
        let find = |id: &'static str, hash: [u8; 32], now| {
            let database = database.clone();
            async move {
                let (key, hash) = (&key("anna", id), &hash);
                database.read("recall", |tx| async move { recall(&tx, key, hash, Forms::Both, now).await }).await
            }
        };
        for (id, expected) in [("before", before), ("besides", besides)] {
            let found = find(id, *hash, NOW).await.unwrap().unwrap();
            assert_eq!((found.plain, found.sealed), (expected, None));
        }
        for (id, expected) in kept {
            let found = find(id, *hash, NOW).await.unwrap().unwrap();
            assert_eq!((found.plain, found.sealed), (expected.plain, expected.sealed), "{id}");
        }
        assert!(find("other", *hash, NOW).await.unwrap().is_none());
        assert!(find("both", *hash, NOW.plus(LIFETIME)).await.unwrap().is_none());
        assert!(matches!(find("both", [2; 32], NOW).await, Err(IdempotencyError::Mismatch)));

        migrate::down::<WithSealedReplies>(&database, 1).await.unwrap();
        assert_eq!(call(&database, &key("anna", "both"), 1, NOW).await.unwrap(), b"reply");
    }

    /// Once replies are kept sealed alone, one in the clear is nobody's: somebody took the envelope away.
    async fn a_reply_without_its_envelope_is_refused(database) {
        let database = prepared(database).await;
        migrate::up::<WithSealedReplies>(&database).await.unwrap();
        let (key, hash) = (&key("anna", "1"), &[1; 32]);
        let put = |tx| async move { keep(&tx, key, hash, &sealed(None, b""), NOW).await };
        database.run_tx("keep", put).await.unwrap();
        let find = |forms| database.read("recall", move |tx| async move { recall(&tx, key, hash, forms, NOW).await });
        assert!(find(Forms::Sealed).await.unwrap().is_some());
        let forge = |tx: portal_store::Tx| async move {
            let sql = "UPDATE idempotency_key SET sealed_reply = NULL, reply = 'forged'";
            Ok::<_, StoreError>(tx.conn().execute_unprepared(sql).await?.rows_affected())
        };
        assert_eq!(database.run_tx("forge", forge).await.unwrap(), 1);
        let refused = find(Forms::Sealed).await.unwrap_err();
        let IdempotencyError::Store(StoreError::Corrupt { column, cause, .. }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!((column, cause), ("sealed_reply", Corruption::EnvelopeMalformed));
        for before_commit in [Forms::Plain, Forms::Both] {
            assert_eq!(find(before_commit).await.unwrap().unwrap().plain, b"forged");
        }
    }

    /// Twenty identical requests at once, each about to keep its reply: one is kept.
    async fn one_sealed_reply(database) {
        let database = prepared(database).await;
        migrate::up::<WithSealedReplies>(&database).await.unwrap();
        let mut tasks = JoinSet::new();
        for _ in 0..20 {
            let database = database.clone();
            tasks.spawn(async move {
                let (key, hash) = (&key("anna", "1"), &[1; 32]);
                database
                    .run_tx("call", |tx| async move {
                        if let Some(kept) = recall(&tx, key, hash, Forms::Sealed, NOW).await? {
                            return Ok(kept.sealed);
                        }
                        let sum = increment(&tx, "a").await?.to_be_bytes().to_vec();
                        let sealed = Some(SealedReply { subject: None, envelope: sum });
                        keep(&tx, key, hash, &KeptReply { plain: Vec::new(), sealed: sealed.clone() }, NOW).await?;
                        Ok::<_, IdempotencyError>(sealed)
                    })
                    .await
                    .unwrap()
            });
        }
        let one = Some(SealedReply { subject: None, envelope: 1_i64.to_be_bytes().to_vec() });
        assert_eq!(tasks.join_all().await, vec![one; 20]);
        assert_eq!(value(&database, "a").await, Some(1));
    }

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

/// PostgreSQL parses and plans a statement once for each connection if its text does not change, with the time for example.
#[tokio::test]
async fn keeping_a_reply_is_prepared_once() {
    let Some(database) = TestDatabase::postgres().await else { return };
    let database = prepared(&database).await;
    migrate::up::<WithSealedReplies>(&database).await.unwrap();
    for (day, of_days) in (0..8_u32).map(|day| (day, Duration::from_secs(86_400) * day)) {
        let key = &key("anna", &day.to_string());
        let keep = |tx: portal_store::Tx| async move {
            keep(&tx, key, &[1; 32], &sealed(None, b""), NOW.plus(of_days)).await?;
            let sql = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'WITH % INTO \"idempotency%'";
            let statement = Statement::from_string(tx.conn().get_database_backend(), sql);
            let row = tx.conn().query_one_raw(statement).await?;
            Ok::<i64, StoreError>(row.map_or(Ok(0), |row| row.try_get_by_index(0))?)
        };
        assert_eq!(database.run_tx("keep", keep).await.unwrap(), 1, "day {day}");
    }
}
