//! A migration over several tables, one of them empty: none is missed, none is done twice, all are taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use portal_core::{Clock, ManualClock, SystemEntropy, Timestamp};
use portal_keys::{Ambient, Keys, Metrics, ProviderConfig};
use portal_store::{Database, ReadTx, StoreError, Tx};
use portal_testkit::{TestDatabase, each_database};
use portal_upkeep::migration::{
    Batch, DataMigration, Finality, MigrationError, Migrations, Operation, State, Step, TableMigration,
    Tables,
};
use portal_upkeep::{MigrationConfig, Page};
use sea_orm::{ConnectionTrait, Statement};
use tokio::task::JoinSet;

use crate::in_place::{self, Reseal};
use crate::people::SCOPE;
use crate::toy::{Crypto, Process, SealNames, host};

const BOTH: &str = "d0003_persons_and_letters";
const PERSONS: u128 = 900;
const LETTERS: u64 = 700;
const START: Operation = Operation::Start { max_rows_per_second: None };

/// What a migration does to one table.
struct Part<M>(M);

#[async_trait]
impl<M: DataMigration> TableMigration for Part<M> {
    async fn count(&self, tx: &ReadTx, step: Step) -> Result<u64, MigrationError> {
        self.0.count(tx, step).await
    }

    async fn batch(&self, tx: &Tx, step: Step, page: &Page) -> Result<Batch, MigrationError> {
        match step {
            Step::Commit => self.0.commit_batch(tx, page).await,
            Step::Move => self.0.move_batch(tx, page).await,
            Step::Undo => self.0.undo_batch(tx, page).await,
            Step::Verify => self.0.verify_batch(tx, page).await,
        }
    }
}

/// A table without rows.
struct Empty;

#[async_trait]
impl TableMigration for Empty {
    async fn count(&self, _: &ReadTx, _: Step) -> Result<u64, MigrationError> {
        Ok(0)
    }

    async fn batch(&self, _: &Tx, _: Step, page: &Page) -> Result<Batch, MigrationError> {
        assert_eq!(page.after, None, "the key of another table");
        Ok(Batch::of(page, 0, None))
    }
}

/// Tables that count how often they were asked for.
struct Watched {
    tables: Tables,
    asked: AtomicUsize,
    begun: AtomicUsize,
}

#[async_trait]
impl DataMigration for Watched {
    fn name(&self) -> &'static str {
        self.tables.name()
    }

    fn description(&self) -> &'static str {
        self.tables.description()
    }

    async fn ready(&self) -> Result<(), MigrationError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.tables.ready().await
    }

    async fn count(&self, tx: &ReadTx, step: Step) -> Result<u64, MigrationError> {
        self.tables.count(tx, step).await
    }

    async fn move_batch(&self, tx: &Tx, page: &Page) -> Result<Batch, MigrationError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.tables.move_batch(tx, page).await
    }

    async fn verify_batch(&self, tx: &Tx, page: &Page) -> Result<Batch, MigrationError> {
        self.tables.verify_batch(tx, page).await
    }

    async fn undo_batch(&self, tx: &Tx, page: &Page) -> Result<Batch, MigrationError> {
        self.tables.undo_batch(tx, page).await
    }

    async fn commit_batch(&self, tx: &Tx, page: &Page) -> Result<Batch, MigrationError> {
        self.tables.commit_batch(tx, page).await
    }
}

/// A process with the migration, beside the one that only looks.
struct World {
    watcher: Process,
    letters: Database,
}

impl World {
    async fn new(database: &TestDatabase) -> Self {
        let watcher = Process::start(database).await;
        watcher.fill(PERSONS).await;
        in_place::fill(watcher.database(), LETTERS.into()).await;
        let letters = watcher.database().clone();
        Self { watcher, letters }
    }

    async fn process(database: &TestDatabase) -> Migrations {
        let connection = database.connect().await;
        let crypto = Arc::new(Crypto::new());
        let letters = Reseal { crypto: Arc::clone(&crypto) };
        let parts: Vec<Box<dyn TableMigration>> = vec![
            Box::new(Part(SealNames { crypto })),
            Box::new(Empty),
            Box::new(Part(letters)),
            Box::new(Empty),
        ];
        let both: Arc<dyn DataMigration> = Arc::new(Tables::new(BOTH, "Seals persons and letters", parts));
        Migrations::new(
            &host(&connection, Arc::new(SystemEntropy)),
            MigrationConfig::alone(),
            Finality::not_kept(),
            vec![both],
        )
    }

    async fn hashes(&self) -> ([u8; 32], [u8; 32]) {
        (self.watcher.physical_hash().await, in_place::hash(&self.letters).await)
    }

    /// In the new form: persons, letters.
    async fn moved(&self) -> (i64, i64) {
        let count = |sql: &'static str| {
            self.letters.read("count", move |tx| async move {
                let query = Statement::from_string(tx.conn().get_database_backend(), sql);
                let row = tx.conn().query_one_raw(query).await?.unwrap();
                Ok::<_, StoreError>(row.try_get_by_index::<i64>(0)?)
            })
        };
        let persons = count("SELECT COUNT(*) FROM person WHERE name_sealed IS NOT NULL").await.unwrap();
        (persons, count("SELECT COUNT(*) FROM letter WHERE form = 2").await.unwrap())
    }
}

/// Runs until `stop` says so of the rows that the present step has done, and then drops the process in the middle of
/// whatever it does.
async fn run_while(database: &TestDatabase, mut goes_on: impl FnMut(u64) -> bool) {
    let (running, watching) = (World::process(database).await, World::process(database).await);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { running.run(std::future::pending()).await });
    while goes_on(watching.find(BOTH).await.unwrap().progress.step_done) {
        tokio::task::yield_now().await;
    }
    tasks.shutdown().await;
}

async fn finish(database: &TestDatabase) -> portal_upkeep::migration::Migration {
    let migrations = World::process(database).await;
    loop {
        // The lease of the one that was dropped has to end first.
        migrations.run_until_idle().await.unwrap();
        let found = migrations.find(BOTH).await.unwrap();
        if found.record.state.active().is_none() {
            return found;
        }
        tokio::task::yield_now().await;
    }
}

each_database! {
    /// Dropped in the first table, in the second one on the way there and on the way back; every row counts once.
    async fn tables_one_after_the_other(database) {
        let world = World::new(database).await;
        let before = world.hashes().await;
        let total = u64::try_from(PERSONS).unwrap() + LETTERS;
        let migrations = World::process(database).await;
        let plan = migrations.plan(BOTH, None).await.unwrap();
        assert_eq!(plan.progress.rows_total, total);
        let slowly = Operation::Start { max_rows_per_second: Some(1_000) };
        migrations.apply(BOTH, slowly).await.unwrap();
        run_while(database, |done| done < 300).await;
        let (persons, letters) = world.moved().await;
        assert!(persons > 0 && letters == 0, "{persons} {letters}");
        run_while(database, |done| done < total - 600).await;
        let (persons, letters) = world.moved().await;
        assert!(persons == 900 && letters > 0 && letters < 700, "{persons} {letters}");
        let done = finish(database).await;
        assert_eq!(done.record.state, State::Done);
        let counts = (done.progress.rows_total, done.progress.rows_done, done.progress.rows_verified);
        assert_eq!(counts, (total, total, total));
        assert_eq!(world.moved().await, (900, 700));
        assert_ne!(world.hashes().await, before);

        migrations.apply(BOTH, Operation::RollBack).await.unwrap();
        run_while(database, |done| done < 1_000).await;
        let rolled_back = finish(database).await;
        assert_eq!((rolled_back.record.state, rolled_back.progress.rows_done), (State::RolledBack, 0));
        assert_eq!(world.moved().await, (0, 0));
        assert_eq!(world.hashes().await, before);
    }

    /// A batch that waited for the key provider would keep every other writer of the database waiting: none begins while
    /// the provider is away.
    async fn no_batch_waits_for_the_provider(database) {
        let world = World::new(database).await;
        let config = database.keys("consent").await;
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_795_305_600)));
        let ambient = Ambient {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            entropy: Arc::new(SystemEntropy),
            metrics: Metrics::default(),
        };
        let keys = Keys::open(&config, SCOPE, ambient).await.unwrap();
        let ProviderConfig::File { root_key_file, .. } = &config.provider else { panic!("{config:?}") };
        let hidden = root_key_file.with_extension("hidden");
        std::fs::rename(root_key_file, &hidden).unwrap();
        clock.advance(config.cache_ttl);

        let parts: Vec<Box<dyn TableMigration>> =
            vec![Box::new(Part(SealNames { crypto: Arc::new(Crypto::new()) }))];
        let tables = Tables::new(BOTH, "Seals persons", parts).sealed_with(&keys);
        let watched = Arc::new(Watched { tables, asked: AtomicUsize::new(0), begun: AtomicUsize::new(0) });
        let migrations = Migrations::new(
            &host(&world.letters, Arc::new(SystemEntropy)),
            MigrationConfig::alone(),
            Finality::not_kept(),
            vec![Arc::clone(&watched) as Arc<dyn DataMigration>],
        );
        migrations.apply(BOTH, START).await.unwrap();
        let asked_twice = async {
            while watched.asked.load(Ordering::SeqCst) < 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), migrations.run(asked_twice)).await.unwrap();
        assert_eq!(watched.begun.load(Ordering::SeqCst), 0);
        assert_eq!(migrations.find(BOTH).await.unwrap().record.state, State::Running);

        std::fs::rename(&hidden, root_key_file).unwrap();
        clock.advance(Duration::from_secs(1));
        migrations.run_until_idle().await.unwrap();
        assert!(watched.begun.load(Ordering::SeqCst) > 0);
        assert_eq!(migrations.find(BOTH).await.unwrap().record.state, State::Done);
        keys.close().await;
    }

    /// Committed, the old forms of both tables are gone.
    async fn committed_together(database) {
        let world = World::new(database).await;
        let migrations = World::process(database).await;
        migrations.apply(BOTH, START).await.unwrap();
        assert_eq!(finish(database).await.record.state, State::Done);
        migrations.apply(BOTH, Operation::Commit).await.unwrap();
        let committed = finish(database).await;
        assert!(committed.record.committed && committed.progress.step_done == 1_600, "{committed:?}");
        assert!(world.watcher.rows().await.iter().all(|row| row.name.is_none() && row.name_sealed.is_some()));
    }
}
