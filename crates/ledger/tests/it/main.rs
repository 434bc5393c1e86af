//! The ledger on SQLite and on PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use async_trait::async_trait;
use portal_core::{SeededEntropy, Timestamp};
use portal_crypto::merkle::{TreeHead, proof};
use portal_ledger::{
    Entry, Leaf, Salt, append, forget_salt, head, leaf::Commitment, prove_inclusion, schema,
};
use portal_store::{Database, ReadTx, StoreError, Tx, migrate};
use portal_testkit::{TestDatabase, each_database};
use sea_orm::{ConnectionTrait, Statement};
use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, MigratorTrait, SchemaManager};

struct First;

impl MigrationName for First {
    fn name(&self) -> &'static str {
        "m0001_first"
    }
}

#[async_trait]
impl MigrationTrait for First {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        schema::create_tables(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        schema::drop_tables(manager).await
    }
}

struct Migrations;

#[async_trait]
impl MigratorTrait for Migrations {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(First)]
    }
}

const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);

async fn migrated(database: &TestDatabase) -> Database {
    let database = database.connect().await;
    migrate::up::<Migrations>(&database).await.unwrap();
    database
}

async fn add(database: &Database, content: &str) -> Entry {
    let salt = &Salt::new([7; 32]);
    let leaf = Leaf { kind: "test.added", content: content.as_bytes() };
    database.run_tx("add", |tx| async move { append(&tx, leaf, salt, NOW).await }).await.unwrap()
}

async fn current(database: &Database) -> TreeHead {
    database.read("head", |tx| async move { head(&tx).await }).await.unwrap()
}

async fn prove(database: &Database, at: u64) -> Result<Option<portal_ledger::Inclusion>, StoreError> {
    database.read("prove", |tx| async move { prove_inclusion(&tx, at).await }).await
}

async fn execute(database: &Database, sql: &str) {
    let run = |tx: Tx| async move { Ok(tx.conn().execute_unprepared(sql).await?) };
    let done: Result<_, StoreError> = database.run_tx("test", run).await;
    done.unwrap();
}

async fn salts(database: &Database) -> i64 {
    let count = |tx: ReadTx| async move {
        let sql = "SELECT count(salt) AS salts FROM ledger_entry";
        let statement = Statement::from_string(tx.conn().get_database_backend(), sql);
        let row = tx.conn().query_one_raw(statement).await?.unwrap();
        Ok::<i64, StoreError>(row.try_get("", "salts")?)
    };
    database.read("salts", count).await.unwrap()
}

each_database! {
    /// Every leaf of every size up to 20 is proven, and the head is that of the leaves.
    async fn leaves_are_proven(database) {
        let database = migrated(database).await;
        assert_eq!(current(&database).await, TreeHead::of(&[]));
        let mut leaves = Vec::new();
        for size in 0..20_u64 {
            let entry = add(&database, &size.to_string()).await;
            assert_eq!(entry.position, size);
            leaves.push(entry.commitment.leaf_hash());
            assert_eq!(current(&database).await, TreeHead::of(&leaves));
        }
        for (position, leaf) in (0_u64..).zip(&leaves) {
            let inclusion = prove(&database, position).await.unwrap().unwrap();
            proof::verify_inclusion(leaf, position, &inclusion.head, &inclusion.path).unwrap();
            proof::verify_inclusion(&[1; 32], position, &inclusion.head, &inclusion.path).unwrap_err();
        }
        assert_eq!(prove(&database, 20).await.unwrap(), None);
        assert_eq!(prove(&database, u64::MAX).await.unwrap(), None);
    }

    /// Forty writers at once and a rolled-back one in between leave positions 0 to 39.
    async fn positions_have_no_gaps(database) {
        let database = migrated(database).await;
        let mut writers = tokio::task::JoinSet::new();
        for number in 0..40 {
            let database = database.clone();
            writers.spawn(async move { add(&database, &number.to_string()).await.position });
        }
        let failing = database.run_tx("failing", |tx| async move {
            append(&tx, Leaf { kind: "test.failed", content: b"" }, &Salt::new([0; 32]), NOW).await?;
            StoreError::check_rows(1, 0)
        });
        failing.await.unwrap_err();
        let mut positions = writers.join_all().await;
        positions.sort_unstable();
        assert!(positions.into_iter().eq(0..40));
        assert_eq!(current(&database).await.size, 40);
        prove(&database, 39).await.unwrap().unwrap();
    }

    /// Rows changed behind the ledger's back give an error, not a proof.
    async fn tampering_is_noticed(database) {
        let database = migrated(database).await;
        for content in ["a", "b", "c"] {
            add(&database, content).await;
        }
        for sql in [
            "UPDATE ledger_entry SET position = 10 WHERE position = 2",
            "UPDATE ledger_entry SET position = 2 WHERE position = 0",
            "DELETE FROM ledger_entry WHERE position = 2",
            "UPDATE ledger_head SET size = 7",
            "UPDATE ledger_head SET size = -1",
            "DELETE FROM ledger_head",
        ] {
            execute(&database, sql).await;
            let error = prove(&database, 1).await.unwrap_err();
            assert!(matches!(error, StoreError::Corrupt { .. }), "{sql}: {error}");
        }
    }

    /// The salt is kept until it is forgotten; the tree does not change then.
    async fn salts_are_forgotten(database) {
        let database = migrated(database).await;
        add(&database, "a").await;
        let before = prove(&database, 0).await.unwrap();
        assert_eq!(salts(&database).await, 1);
        database.run_tx("forget", |tx| async move { forget_salt(&tx, 0).await }).await.unwrap();
        assert_eq!(salts(&database).await, 0);
        assert_eq!(prove(&database, 0).await.unwrap(), before);
        let missing = database.run_tx("forget", |tx| async move { forget_salt(&tx, 1).await }).await;
        assert!(matches!(missing, Err(StoreError::RowsAffected { expected: 1, actual: 0 })));
    }

    /// Down leaves nothing, and up works again.
    async fn migrations_go_down(database) {
        let database = migrated(database).await;
        add(&database, "a").await;
        migrate::down::<Migrations>(&database, 1).await.unwrap();
        migrate::up::<Migrations>(&database).await.unwrap();
        assert_eq!(current(&database).await.size, 0);
    }
}

#[test]
fn commitments_are_as_documented() {
    let salt = Salt::new(std::array::from_fn(|index| u8::try_from(index).unwrap()));
    let commitment = Commitment::of(Leaf { kind: "consent.given", content: b"content" }, &salt);
    // Computed apart with Python's hashlib from the definition in the module's documentation.
    let expected = "524547a31edab55cc4004f22e11803e916f6c20e6d35ef5b5f4e1eea356fb85a";
    let hex: String = commitment.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, expected);
}

#[test]
fn commitments_differ_in_every_part() {
    let (one, other) = (Salt::new([1; 32]), Salt::generate(&SeededEntropy::new(1)));
    let leaf = Leaf { kind: "ab", content: b"cd" };
    let same = Commitment::of(leaf, &one);
    assert_eq!(same, Commitment::of(leaf, &one));
    assert_ne!(same, Commitment::of(leaf, &other));
    assert_ne!(same, Commitment::of(Leaf { kind: "abc", content: b"d" }, &one));
    assert_ne!(same, Commitment::of(Leaf { content: b"ce", ..leaf }, &one));
}
