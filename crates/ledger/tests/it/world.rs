//! A log with its database and its memory of what was signed.

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use portal_core::{Clock, Entropy, SystemClock, SystemEntropy, Workload};
use portal_crypto::merkle::TreeHead;
use portal_crypto::pair::PairSigningKey;
use portal_crypto::suite::Suites;
use portal_ledger::{Append, Commitment, Host, Kind, Leaf, Log, Metrics, Salt, SignedHeads, append, schema};
use portal_store::{Database, Inserts, StoreError, Tx, leases, migrate};
use portal_testkit::TestDatabase;
use sea_orm::entity::prelude::Uuid;
use sea_orm::{ConnectionTrait, Statement};
use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, MigratorTrait, SchemaManager};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

pub const ORIGIN: &str = "test.local/consent";
pub const EVENT: Kind = Kind(1);

struct Tables;

impl MigrationName for Tables {
    fn name(&self) -> &str {
        "tables"
    }
}

#[async_trait]
impl MigrationTrait for Tables {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        leases::create_table(manager).await?;
        schema::create_tables(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        schema::drop_tables(manager).await?;
        leases::drop_table(manager).await
    }
}

pub struct Schema;

impl MigratorTrait for Schema {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(Tables)]
    }
}

/// What was signed, in memory: of a process, or of several that share it.
#[derive(Default)]
pub struct Memory(Mutex<Option<TreeHead>>);

#[async_trait]
impl SignedHeads for Memory {
    async fn recall(&self) -> Result<Option<TreeHead>, Box<dyn Error + Send + Sync>> {
        Ok(*self.0.lock().unwrap())
    }

    async fn note(&self, head: TreeHead) -> Result<(), Box<dyn Error + Send + Sync>> {
        *self.0.lock().unwrap() = Some(head);
        Ok(())
    }
}

/// A log in a database.
pub struct World {
    pub database: Database,
    pub memory: Arc<Memory>,
    pub log: Log,
}

/// A sequencer at work.
pub struct Running {
    stop: oneshot::Sender<()>,
    task: JoinSet<()>,
}

impl World {
    pub async fn new(database: &TestDatabase) -> Self {
        let database = database.connect().await;
        migrate::up::<Schema>(&database).await.unwrap();
        let memory = Arc::new(Memory::default());
        Self { log: log(&database, &memory), database, memory }
    }

    /// The log in another process.
    pub fn other(&self) -> Log {
        log(&self.database, &self.memory)
    }

    /// Appends an entry of its own transaction.
    pub async fn append(&self, reference: Uuid) {
        self.try_append(reference, true).await.unwrap();
    }

    /// Appends an entry, and commits or does not.
    pub async fn try_append(&self, reference: Uuid, commit: bool) -> Result<(), StoreError> {
        let entry = entry(reference);
        self.database
            .run_tx("append", |tx: Tx| async move {
                append(&tx, entry, SystemClock.now()).await?;
                if commit { Ok(()) } else { Err(StoreError::RowsAffected { expected: 1, actual: 0 }) }
            })
            .await
    }

    /// Appends so many and gives them positions.
    pub async fn fill(&self, count: usize) -> Vec<Uuid> {
        let references: Vec<_> = (0..count).map(|_| reference()).collect();
        let entries: Vec<_> = references.iter().map(|reference| entry(*reference)).collect();
        let entries = &entries;
        let all = |tx: Tx| async move {
            let mut inserts = Inserts::of(&tx);
            portal_ledger::append_many(&mut inserts, entries, SystemClock.now())?;
            inserts.run(&tx).await
        };
        self.database.run_tx::<_, StoreError, _, _>("append", all).await.unwrap();
        self.log.settle().await.unwrap();
        references
    }

    /// A statement of somebody who has got at the database.
    pub async fn sql(&self, sql: &str) -> u64 {
        let run = |tx: Tx| async move {
            let statement = Statement::from_string(tx.conn().get_database_backend(), sql);
            Ok::<_, StoreError>(tx.conn().execute_raw(statement).await?.rows_affected())
        };
        self.database.run_tx("sql", run).await.unwrap()
    }
}

impl Running {
    pub fn start(log: &Log) -> Self {
        let (stop, stopped) = oneshot::channel();
        let log = log.clone();
        let mut task = JoinSet::new();
        task.spawn(async move { log.run(async move { drop(stopped.await) }).await });
        Self { stop, task }
    }

    pub async fn stop(self) {
        let _ = self.stop.send(());
        self.task.join_all().await;
    }

    /// As if the process had died: it gives nothing back.
    pub async fn kill(mut self) {
        self.task.shutdown().await;
    }
}

fn log(database: &Database, memory: &Arc<Memory>) -> Log {
    Log::new(Host {
        service: Workload::Consent,
        origin: ORIGIN.to_owned(),
        database: database.clone(),
        key: Arc::new(PairSigningKey::from_seed(&[7; 64]).unwrap()),
        suites: Suites::ALL,
        signed_heads: Arc::clone(memory) as Arc<dyn SignedHeads>,
        interval: Duration::from_millis(20),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        metrics: Metrics::default(),
    })
}

pub fn reference() -> Uuid {
    let mut bytes = [0; 16];
    SystemEntropy.fill(&mut bytes);
    Uuid::from_bytes(bytes)
}

fn entry(reference: Uuid) -> Append {
    let commitment = commitment(reference);
    Append { kind: EVENT, reference, commitment }
}

/// What the entry of `reference` commits to.
pub fn commitment(reference: Uuid) -> Commitment {
    Commitment::of(Leaf { kind: "test", content: reference.as_bytes() }, &Salt::new([3; 32]))
}
