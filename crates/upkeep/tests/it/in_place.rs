//! A migration that overwrites the old form and keeps it in the log: letters change their suite in one column.
//!
//! The old form is a cell that was sealed for the column `body_v1`, the new one for `body`.

use std::sync::Arc;

use async_trait::async_trait;
use portal_core::SystemEntropy;
use portal_crypto::envelope::Padding;
use portal_crypto::hash::sha256;
use portal_store::sealed::{Row, SealedColumn};
use portal_store::{Database, ReadTx, Sealed, StoreError, Tx, bulk, columns};
use portal_testkit::{TestDatabase, each_database};
use portal_upkeep::migration::undo::{self, Old};
use portal_upkeep::migration::{
    Batch, DataMigration, Finality, MigrationError, Migrations, Mode, ModeOf, Operation, State, Step,
};
use portal_upkeep::{MigrationConfig, Page};
use sea_orm::entity::prelude::*;
use sea_orm::{QueryOrder, QuerySelect, Value};
use sea_orm_migration::SchemaManager;
use sea_orm_migration::sea_query::Table;

use crate::toy::{Crypto, Process, host, subject_of};

const RESEAL: &str = "d0002_reseal_letters";
const OLD: SealedColumn<String> = SealedColumn::new("letter", "body_v1", Padding::None);
const NEW: SealedColumn<String> = SealedColumn::new("letter", "body", Padding::None);

mod letter {
    use portal_store::Sealed;
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, DeriveEntityModel, PartialEq)]
    #[sea_orm(table_name = "letter")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub body: Sealed<String>,
        pub form: i64,
    }

    #[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
use letter::{Column, Entity};

pub async fn create_table(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table(Entity)
        .col(columns::id(Column::Id).primary_key())
        .col(columns::bytes(Column::Body))
        .col(columns::integer(Column::Form))
        .take();
    manager.create_table(table).await
}

pub struct Reseal {
    pub crypto: Arc<Crypto>,
}

impl Reseal {
    fn seal(&self, column: SealedColumn<String>, id: Uuid, body: &str) -> Sealed<String> {
        let key = self.crypto.keys.of(Uuid::from_u128(subject_of(id.as_u128()))).unwrap();
        let row = Row { id: id.into_bytes(), version: 1 };
        column.seal(&self.crypto.sealing, &key, row, &body.to_owned()).unwrap()
    }

    fn open(
        &self,
        column: SealedColumn<String>,
        id: Uuid,
        body: &Sealed<String>,
    ) -> Result<String, StoreError> {
        let key = self.crypto.keys.of(Uuid::from_u128(subject_of(id.as_u128()))).unwrap();
        column.open(&self.crypto.sealing, &key, Row { id: id.into_bytes(), version: 1 }, body)
    }

    async fn write(&self, tx: &Tx, rows: Vec<(Uuid, Sealed<String>, i64)>) -> Result<(), StoreError> {
        let expected = rows.len() as u64;
        let row = |(id, body, form): (Uuid, Sealed<String>, i64)| -> Vec<Value> {
            vec![id.into(), body.into(), form.into()]
        };
        let rows = rows.into_iter().map(row).collect();
        let written = bulk::update::<Entity>(tx, &[Column::Id], &[Column::Body, Column::Form], rows).await?;
        StoreError::check_rows(expected, written)
    }

    /// What the service does while the migration runs.
    async fn put(&self, database: &Database, mode: &ModeOf, id: u128, body: &str) {
        let id = Uuid::from_u128(id);
        let put = database.run_tx("put_letter", |tx| async move {
            let mode = mode.get(&tx).await?;
            let (column, form) = if mode == Mode::Old { (OLD, 1) } else { (NEW, 2) };
            if mode == Mode::Both {
                let bytes = self.seal(OLD, id, body).into_envelope();
                undo::replace(&tx, RESEAL, vec![Old { key: id.as_bytes().to_vec(), bytes }]).await?;
            }
            self.write(&tx, vec![(id, self.seal(column, id, body), form)]).await
        });
        put.await.unwrap();
    }
}

#[async_trait]
impl DataMigration for Reseal {
    fn name(&self) -> &'static str {
        RESEAL
    }

    fn description(&self) -> &'static str {
        "Seals letters anew"
    }

    async fn count(&self, tx: &ReadTx, step: Step) -> Result<u64, MigrationError> {
        match step {
            Step::Move => {
                let old = Entity::find().filter(Column::Form.eq(1)).count(tx.conn()).await;
                Ok(old.map_err(StoreError::from)?)
            }
            Step::Commit | Step::Undo | Step::Verify => Ok(undo::count(tx, RESEAL).await?),
        }
    }

    async fn move_batch(&self, tx: &Tx, page: &Page) -> Result<Batch, MigrationError> {
        let mut query = Entity::find().filter(Column::Form.eq(1));
        if let Some(after) = &page.after {
            query = query.filter(Column::Id.gt(Uuid::from_slice(after).unwrap()));
        }
        let query = query.order_by_asc(Column::Id).limit(u64::from(page.limit));
        let rows = query.all(tx.conn()).await.map_err(StoreError::from)?;
        let batch = Batch::of(page, rows.len(), rows.last().map(|row| row.id.as_bytes().to_vec()));
        let mut olds = Vec::new();
        let mut news = Vec::new();
        for row in rows {
            let body = self.open(OLD, row.id, &row.body)?;
            news.push((row.id, self.seal(NEW, row.id, &body), 2));
            olds.push(Old { key: row.id.as_bytes().to_vec(), bytes: row.body.into_envelope() });
        }
        undo::remember(tx, RESEAL, olds).await?;
        self.write(tx, news).await?;
        Ok(batch)
    }

    async fn verify_batch(&self, tx: &Tx, page: &Page) -> Result<Batch, MigrationError> {
        let olds = undo::recall(tx, RESEAL, page).await?;
        for old in &olds {
            let id = Uuid::from_slice(&old.key).unwrap();
            let row = Entity::find_by_id(id).one(tx.conn()).await.map_err(StoreError::from)?.unwrap();
            let before = self.open(OLD, id, &Sealed::from_envelope(old.bytes.clone()))?;
            if before != self.open(NEW, id, &row.body)? {
                return Err(MigrationError::Mismatch {
                    table: "letter",
                    column: "body",
                    row: id.to_string(),
                });
            }
        }
        Ok(Batch::of(page, olds.len(), olds.last().map(|old| old.key.clone())))
    }

    async fn undo_batch(&self, tx: &Tx, page: &Page) -> Result<Batch, MigrationError> {
        let olds = undo::recall(tx, RESEAL, page).await?;
        let batch = Batch::of(page, olds.len(), olds.last().map(|old| old.key.clone()));
        let keys = olds.iter().map(|old| old.key.clone()).collect();
        let row = |old: Old| (Uuid::from_slice(&old.key).unwrap(), Sealed::from_envelope(old.bytes), 1);
        self.write(tx, olds.into_iter().map(row).collect()).await?;
        undo::forget(tx, RESEAL, keys).await?;
        Ok(batch)
    }

    async fn commit_batch(&self, tx: &Tx, page: &Page) -> Result<Batch, MigrationError> {
        let olds = undo::recall(tx, RESEAL, page).await?;
        let batch = Batch::of(page, olds.len(), olds.last().map(|old| old.key.clone()));
        undo::forget(tx, RESEAL, olds.into_iter().map(|old| old.key).collect()).await?;
        Ok(batch)
    }
}

/// Writes letters of the old form.
pub async fn fill(database: &Database, rows: u128) {
    let reseal = &Reseal { crypto: Arc::new(Crypto::new()) };
    let fill = database.run_tx("fill_letters", |tx| async move {
        let row = |id: u128| -> Vec<Value> {
            let id = Uuid::from_u128(id);
            vec![id.into(), reseal.seal(OLD, id, &format!("letter {id}")).into(), 1_i64.into()]
        };
        let columns = [Column::Id, Column::Body, Column::Form];
        bulk::insert::<Entity>(&tx, &columns, (0..rows).map(row).collect()).await
    });
    fill.await.unwrap();
}

async fn letters(database: &Database) -> Vec<letter::Model> {
    let all = database.read("letters", |tx| async move {
        Ok::<_, StoreError>(Entity::find().order_by_asc(Column::Id).all(tx.conn()).await?)
    });
    all.await.unwrap()
}

/// SHA-256 over the cells of all letters.
pub async fn hash(database: &Database) -> [u8; 32] {
    let letters = letters(database).await;
    sha256(&letters.iter().flat_map(|row| row.body.envelope().to_vec()).collect::<Vec<u8>>())
}

struct World {
    database: Database,
    reseal: Arc<Reseal>,
    migrations: Migrations,
}

impl World {
    async fn new(database: &TestDatabase) -> Self {
        let database = Process::start(database).await.database().clone();
        let reseal = Arc::new(Reseal { crypto: Arc::new(Crypto::new()) });
        let registered: Vec<Arc<dyn DataMigration>> = vec![Arc::clone(&reseal) as Arc<dyn DataMigration>];
        let migrations = Migrations::new(
            &host(&database, Arc::new(SystemEntropy)),
            MigrationConfig::alone(),
            Finality::not_kept(),
            registered,
        );
        fill(&database, 700).await;
        Self { database, reseal, migrations }
    }

    async fn letters(&self) -> Vec<letter::Model> {
        letters(&self.database).await
    }

    async fn hash(&self) -> [u8; 32] {
        hash(&self.database).await
    }

    async fn to(&self, operation: Operation) -> State {
        self.migrations.apply(RESEAL, operation).await.unwrap();
        self.migrations.run_until_idle().await.unwrap();
        self.migrations.find(RESEAL).await.unwrap().record.state
    }

    async fn kept(&self) -> u64 {
        self.database.read("kept", |tx| async move { undo::count(&tx, RESEAL).await }).await.unwrap()
    }
}

const START: Operation = Operation::Start { max_rows_per_second: None };

each_database! {
    /// The ciphertexts of before are there again, byte for byte; what was written meanwhile is in the old form too.
    async fn a_rollback_restores_the_ciphertext(database) {
        let world = World::new(database).await;
        let before = world.hash().await;
        assert_eq!(world.to(START).await, State::Done);
        assert_ne!(world.hash().await, before);
        assert_eq!(world.kept().await, 700);
        assert_eq!(world.to(Operation::RollBack).await, State::RolledBack);
        assert_eq!((world.hash().await, world.kept().await), (before, 0));

        assert_eq!(world.to(START).await, State::Done);
        let mode = ModeOf::new(RESEAL, Finality::not_kept());
        world.reseal.put(&world.database, &mode, 5, "written meanwhile").await;
        assert_eq!(world.to(Operation::Verify).await, State::Done);
        assert_eq!(world.to(Operation::RollBack).await, State::RolledBack);
        let letters = world.letters().await;
        assert!(letters.iter().all(|letter| letter.form == 1));
        assert_eq!(world.reseal.open(OLD, letters[5].id, &letters[5].body).unwrap(), "written meanwhile");
        assert_eq!(world.reseal.open(OLD, letters[6].id, &letters[6].body).unwrap(), format!("letter {}", letters[6].id));
    }

    /// The log is empty afterwards.
    async fn a_commit_forgets(database) {
        let world = World::new(database).await;
        assert_eq!(world.to(START).await, State::Done);
        assert_eq!(world.to(Operation::Commit).await, State::Done);
        assert_eq!(world.kept().await, 0);
        assert!(world.letters().await.iter().all(|letter| letter.form == 2));
    }

    /// Another content under the right key: the forms differ.
    async fn verifying_compares(database) {
        let world = World::new(database).await;
        assert_eq!(world.to(START).await, State::Done);
        let id = world.letters().await[44].id;
        let other = &world.reseal.seal(NEW, id, "another letter");
        let reseal = &world.reseal;
        let change = world.database.run_tx("change", |tx| async move {
            reseal.write(&tx, vec![(id, other.clone(), 2)]).await
        });
        change.await.unwrap();
        assert_eq!(world.to(Operation::Verify).await, State::Failed);
        let reason = world.migrations.find(RESEAL).await.unwrap().record.failure_reason;
        assert_eq!(reason.as_deref(), Some("MIGRATION_MISMATCH"));
    }
}
