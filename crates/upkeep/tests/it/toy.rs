//! A small service: persons with a name that stood in a plain column and is to be sealed.
//!
//! `name` is the old form, `name_sealed` the new one. [`Repository`] follows the rules of `portal_upkeep::migration`;
//! [`write_like_before`] is an earlier version of the service, which knows nothing but `name`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use portal_core::{Entropy, SystemClock, SystemEntropy, Workload};
use portal_crypto::envelope::{Padding, SubjectKey};
use portal_crypto::hash::sha256;
use portal_crypto::row_digest::RowDigestKey;
use portal_keys::KeysError;
use portal_store::sealed::{DigestedRow, Row, RowDigests, SealedColumn, Sealing};
use portal_store::{Corruption, Database, ReadTx, Sealed, StoreError, Tx, bulk, columns, migrate};
use portal_testkit::TestDatabase;
use portal_upkeep::migration::{
    Batch, DataMigration, Finality, MigrationError, Migrations, Mode, ModeOf, Step,
};
use portal_upkeep::scan::{Checked, ScanError, ScannedTable, Scans};
use portal_upkeep::{Host, IntegrityConfig, MigrationConfig, Page, schema};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{LockBehavior, LockType};
use sea_orm::{ActiveValue::Set, IntoActiveModel, QueryOrder, QuerySelect, Value};
use sea_orm_migration::sea_query::Table;
use sea_orm_migration::{MigrationName, MigrationTrait, MigratorTrait, SchemaManager};

use crate::people::{Keys, SUBJECTS};

pub const SEAL_NAMES: &str = "d0001_seal_names";
pub const NAME: SealedColumn<String> = SealedColumn::new("person", "name_sealed", Padding::To64);
pub const NOTE: SealedColumn<String> = SealedColumn::new("person", "note", Padding::None);

pub mod person {
    use portal_store::Sealed;
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, DeriveEntityModel, PartialEq)]
    #[sea_orm(table_name = "person")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub subject: Uuid,
        pub name: Option<String>,
        pub name_sealed: Option<Sealed<String>>,
        pub note: Option<Sealed<String>>,
        pub version: i64,
        pub digest: Option<Vec<u8>>,
    }

    #[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
use person::Column;

impl DigestedRow for person::Model {
    fn row(&self) -> Row {
        Row { id: self.id.into_bytes(), version: self.version.unsigned_abs() }
    }

    fn digest(&self) -> Option<&[u8]> {
        self.digest.as_deref()
    }

    fn set_digest(&mut self, digest: [u8; 32]) {
        self.digest = Some(digest.to_vec());
    }
}

pub struct First;

impl MigrationName for First {
    fn name(&self) -> &'static str {
        "m0001_toy"
    }
}

#[async_trait]
impl MigrationTrait for First {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        schema::create_tables(manager).await?;
        portal_store::idempotency::create_table(manager).await?;
        portal_store::idempotency::add_sealed_replies(manager).await?;
        let table = Table::create()
            .table(person::Entity)
            .col(columns::id(Column::Id).primary_key())
            .col(columns::id(Column::Subject))
            .col(columns::text(Column::Name).null())
            .col(columns::bytes(Column::NameSealed).null())
            .col(columns::bytes(Column::Note).null())
            .col(columns::integer(Column::Version))
            .col(columns::bytes(Column::Digest).null())
            .take();
        manager.create_table(table).await?;
        super::in_place::create_table(manager).await
    }
}

pub struct Schema;

impl MigratorTrait for Schema {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(First), Box::new(schema::RowsUnchecked)]
    }
}

/// What the repository, the migration and the scan share.
pub struct Crypto {
    pub keys: Keys,
    pub sealing: Sealing,
    pub digests: RowDigests,
}

impl Crypto {
    pub fn new() -> Self {
        Self::with(Keys::made_up())
    }

    pub fn with(keys: Keys) -> Self {
        let metrics = portal_store::Metrics::default();
        Self {
            keys,
            sealing: Sealing::new(Arc::new(SystemEntropy), &metrics),
            digests: RowDigests::new(RowDigestKey::new(&[9; 32]), &metrics),
        }
    }

    /// Has the keys of `rows` at hand: once per batch, as a service does it.
    pub async fn warm(&self, rows: &[person::Model]) -> Result<(), KeysError> {
        // In a box: the compiler can't lay out a future that is nested so deeply.
        Box::pin(self.keys.warm(rows.iter().map(|row| row.subject))).await
    }

    fn key(&self, row: &person::Model) -> Result<Arc<SubjectKey>, StoreError> {
        self.keys.of(row.subject).ok_or_else(|| StoreError::Corrupt {
            table: "person",
            column: "subject",
            row: row.id.to_string(),
            cause: Corruption::KeyMissing,
        })
    }

    /// The name as every version of the service that knows both forms reads it.
    pub fn name(&self, row: &person::Model) -> Result<String, StoreError> {
        match (&row.name, &row.name_sealed) {
            (Some(name), _) => Ok(name.clone()),
            (None, Some(sealed)) => NAME.open(&self.sealing, &self.key(row)?, row.row(), sealed),
            (None, None) => Ok(String::new()),
        }
    }

    fn seal(&self, row: &mut person::Model, name: &str) -> Result<(), StoreError> {
        row.name_sealed = Some(NAME.seal(&self.sealing, &self.key(row)?, row.row(), &name.to_owned())?);
        self.digests.stamp(row)
    }
}

/// The service as it is now.
pub struct Repository {
    pub database: Database,
    pub crypto: Arc<Crypto>,
    mode: ModeOf,
}

/// The person that a row is about.
pub fn subject_of(id: u128) -> u128 {
    id * 7 % SUBJECTS
}

impl Repository {
    pub fn new(database: &Database, crypto: &Arc<Crypto>, finality: Finality) -> Self {
        let mode = ModeOf::new(SEAL_NAMES, finality);
        Self { database: database.clone(), crypto: Arc::clone(crypto), mode }
    }

    /// Sets the name in the row `id`, new or not.
    pub async fn put(&self, id: u128, name: &str) -> Result<(), StoreError> {
        self.database
            .run_tx("put", |tx| async move {
                let mode = self.mode.get(&tx).await?;
                let id = Uuid::from_u128(id);
                let found = person::Entity::find_by_id(id).one(tx.conn()).await?;
                let is_new = found.is_none();
                let mut row = found.unwrap_or(person::Model {
                    id,
                    subject: self.crypto.keys.subject_of(id.as_u128()),
                    name: None,
                    name_sealed: None,
                    note: None,
                    version: 0,
                    digest: None,
                });
                self.crypto.warm(std::slice::from_ref(&row)).await.unwrap();
                row.version += 1;
                (row.name, row.name_sealed, row.note, row.digest) = (None, None, None, None);
                if mode != Mode::New {
                    row.name = Some(name.to_owned());
                }
                if mode != Mode::Old {
                    self.crypto.seal(&mut row, name)?;
                }
                let row = row.into_active_model().reset_all();
                if is_new {
                    person::Entity::insert(row).exec_without_returning(tx.conn()).await?;
                } else {
                    person::Entity::update(row).validate()?.exec(tx.conn()).await?;
                }
                Ok(())
            })
            .await
    }
}

/// The service as it was: it knows `id`, `subject`, `name`.
pub async fn write_like_before(database: &Database, id: u128, name: &str) -> Result<(), StoreError> {
    database
        .run_tx("write_like_before", |tx| async move {
            let update = person::Entity::update_many()
                .col_expr(Column::Name, Expr::value(name))
                .filter(Column::Id.eq(Uuid::from_u128(id)));
            if update.exec(tx.conn()).await?.rows_affected == 0 {
                let row = person::ActiveModel {
                    id: Set(Uuid::from_u128(id)),
                    subject: Set(Uuid::from_u128(subject_of(id))),
                    name: Set(Some(name.to_owned())),
                    version: Set(1),
                    ..Default::default()
                };
                person::Entity::insert(row).exec_without_returning(tx.conn()).await?;
            }
            Ok(())
        })
        .await
}

/// The migration: names are sealed beside the plain column.
pub struct SealNames {
    pub crypto: Arc<Crypto>,
}

type Rows = (Vec<person::Model>, Option<Vec<u8>>);

/// The rows of a page. Those that a filter chooses are to be changed: they are locked, and what is being written at the
/// moment is left for another pass.
async fn page(tx: &ReadTx, page: &Page, filter: Option<Expr>) -> Result<Rows, StoreError> {
    let mut query = person::Entity::find();
    if let Some(after) = &page.after {
        query = query.filter(Column::Id.gt(Uuid::from_slice(after).unwrap()));
    }
    if let Some(filter) = filter {
        query = query.filter(filter).lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
    }
    let rows = query.order_by_asc(Column::Id).limit(u64::from(page.limit)).all(tx.conn()).await?;
    let last = rows.last().map(|row| row.id.as_bytes().to_vec());
    Ok((rows, last))
}

impl SealNames {
    /// Writes the columns that the migration changes.
    async fn write(&self, tx: &Tx, rows: Vec<person::Model>) -> Result<(), StoreError> {
        let expected = rows.len() as u64;
        let values = rows.into_iter().map(|row| -> Vec<Value> {
            vec![row.id.into(), row.name.into(), row.name_sealed.into(), row.digest.into()]
        });
        let set = [Column::Name, Column::NameSealed, Column::Digest];
        let written = bulk::update::<person::Entity>(tx, &[Column::Id], &set, values.collect()).await?;
        StoreError::check_rows(expected, written)
    }
}

#[async_trait]
impl DataMigration for SealNames {
    fn name(&self) -> &'static str {
        SEAL_NAMES
    }

    fn description(&self) -> &'static str {
        "Seals the names of persons"
    }

    async fn count(&self, tx: &ReadTx, step: Step) -> Result<u64, MigrationError> {
        let query = match step {
            Step::Move => person::Entity::find().filter(Column::NameSealed.is_null()),
            Step::Undo => person::Entity::find().filter(Column::NameSealed.is_not_null()),
            Step::Commit => person::Entity::find().filter(Column::Name.is_not_null()),
            Step::Verify => person::Entity::find(),
        };
        Ok(query.count(tx.conn()).await.map_err(StoreError::from)?)
    }

    async fn move_batch(&self, tx: &Tx, of: &Page) -> Result<Batch, MigrationError> {
        let (mut rows, last) = page(tx, of, Some(Column::NameSealed.is_null())).await?;
        self.crypto.warm(&rows).await?;
        for row in &mut rows {
            let name = row.name.clone().unwrap_or_default();
            self.crypto.seal(row, &name)?;
        }
        let batch = Batch::of(of, rows.len(), last);
        self.write(tx, rows).await?;
        Ok(batch)
    }

    async fn verify_batch(&self, tx: &Tx, of: &Page) -> Result<Batch, MigrationError> {
        let (rows, last) = page(tx, of, None).await?;
        self.crypto.warm(&rows).await?;
        let mut batch = Batch::of(of, rows.len(), last);
        let mut again = Vec::new();
        for mut row in rows {
            let opened = match &row.name_sealed {
                Some(sealed) => {
                    Some(NAME.open(&self.crypto.sealing, &self.crypto.key(&row)?, row.row(), sealed)?)
                }
                None => None,
            };
            if row.name == opened {
                self.crypto.digests.check(&row)?;
                continue;
            }
            // By the version before, which knows neither the sealed column nor the digest.
            batch.moved += u64::from(opened.is_none());
            let name = row.name.clone().unwrap_or_default();
            self.crypto.seal(&mut row, &name)?;
            again.push(row);
        }
        self.write(tx, again).await?;
        Ok(batch)
    }

    async fn undo_batch(&self, tx: &Tx, of: &Page) -> Result<Batch, MigrationError> {
        let (mut rows, last) = page(tx, of, Some(Column::NameSealed.is_not_null())).await?;
        self.crypto.warm(&rows).await?;
        for row in &mut rows {
            row.name = Some(self.crypto.name(row)?);
            (row.name_sealed, row.digest) = (None, None);
        }
        let batch = Batch::of(of, rows.len(), last);
        self.write(tx, rows).await?;
        Ok(batch)
    }

    async fn commit_batch(&self, tx: &Tx, of: &Page) -> Result<Batch, MigrationError> {
        let (mut rows, last) = page(tx, of, Some(Column::Name.is_not_null())).await?;
        self.crypto.warm(&rows).await?;
        for row in &mut rows {
            let name = row.name.take().unwrap_or_default();
            self.crypto.seal(row, &name)?;
        }
        let batch = Batch::of(of, rows.len(), last);
        self.write(tx, rows).await?;
        Ok(batch)
    }
}

/// The scan of the table.
pub struct ScanPersons {
    pub crypto: Arc<Crypto>,
}

#[async_trait]
impl ScannedTable for ScanPersons {
    fn table(&self) -> &'static str {
        "person"
    }

    async fn count(&self, tx: &ReadTx) -> Result<u64, ScanError> {
        Ok(person::Entity::find().count(tx.conn()).await.map_err(StoreError::from)?)
    }

    async fn check_page(&self, tx: &ReadTx, of: &Page) -> Result<Checked, ScanError> {
        let (rows, last) = page(tx, of, None).await?;
        let mut checked = Checked::of(of, rows.len(), last);
        for row in &rows {
            checked.note(self.check(row))?;
        }
        Ok(checked)
    }
}

impl ScanPersons {
    fn check(&self, row: &person::Model) -> Result<(), StoreError> {
        let key = self.crypto.key(row)?;
        NAME.open_option(&self.crypto.sealing, &key, row.row(), row.name_sealed.as_ref())?;
        NOTE.open_option(&self.crypto.sealing, &key, row.row(), row.note.as_ref())?;
        self.crypto.digests.check(row)
    }
}

/// One process of the service: its own connections, its own engine.
pub struct Process {
    pub repository: Arc<Repository>,
    pub migrations: Migrations,
    pub scans: Scans,
}

impl Process {
    pub async fn start(database: &TestDatabase) -> Self {
        let database = database.connect().await;
        migrate::up::<Schema>(&database).await.unwrap();
        Self::on(&database, Crypto::new())
    }

    pub fn on(database: &Database, crypto: Crypto) -> Self {
        Self::heeding(Finality::not_kept(), database, crypto)
    }

    /// What has no way back is noted in `finality`, and heeded.
    pub fn heeding(finality: Finality, database: &Database, crypto: Crypto) -> Self {
        let crypto = Arc::new(crypto);
        let host = host(database, Arc::new(SystemEntropy));
        let seal: Arc<dyn DataMigration> = Arc::new(SealNames { crypto: Arc::clone(&crypto) });
        let scan: Arc<dyn ScannedTable> = Arc::new(ScanPersons { crypto: Arc::clone(&crypto) });
        Self {
            repository: Arc::new(Repository::new(database, &crypto, finality.clone())),
            migrations: Migrations::new(&host, MigrationConfig::alone(), finality, vec![seal]),
            scans: Scans::new(&host, IntegrityConfig::on_demand(), vec![scan]),
        }
    }

    pub fn database(&self) -> &Database {
        &self.repository.database
    }

    /// Writes rows of the old form, as many as asked for.
    pub async fn fill(&self, rows: u128) {
        self.fill_range(0..rows).await;
    }

    /// Writes rows of the old form.
    pub async fn fill_range(&self, ids: Range<u128>) {
        let (ids, keys) = (&ids, &self.repository.crypto.keys);
        let insert = self.database().run_tx("fill", |tx| async move {
            let row = |id: u128| -> Vec<Value> {
                let (subject, name) = (keys.subject_of(id), format!("name {id}"));
                vec![Uuid::from_u128(id).into(), subject.into(), name.into(), 1_i64.into()]
            };
            let columns = [Column::Id, Column::Subject, Column::Name, Column::Version];
            bulk::insert::<person::Entity>(&tx, &columns, ids.clone().map(row).collect()).await
        });
        insert.await.unwrap();
    }

    pub async fn rows(&self) -> Vec<person::Model> {
        let rows = self.database().read("rows", |tx| async move {
            Ok::<_, StoreError>(person::Entity::find().order_by_asc(Column::Id).all(tx.conn()).await?)
        });
        rows.await.unwrap()
    }

    /// Every name as the service reads it.
    pub async fn names(&self) -> BTreeMap<u128, String> {
        let rows = self.rows().await;
        self.repository.crypto.warm(&rows).await.unwrap();
        rows.iter().map(|row| (row.id.as_u128(), self.repository.crypto.name(row).unwrap())).collect()
    }

    /// SHA-256 over every id and name.
    pub async fn logical_hash(&self) -> [u8; 32] {
        let names = self.names().await;
        sha256(
            &names.iter().flat_map(|(id, name)| format!("{id}={name}\n").into_bytes()).collect::<Vec<u8>>(),
        )
    }

    /// SHA-256 over every byte of every row.
    pub async fn physical_hash(&self) -> [u8; 32] {
        let rows = self.rows().await;
        sha256(rows.iter().map(|row| format!("{row:?} {:?}", row.digest)).collect::<String>().as_bytes())
    }
}

pub fn host(database: &Database, entropy: Arc<dyn Entropy>) -> Host {
    Host {
        service: Workload::Consent,
        database: database.clone(),
        clock: Arc::new(SystemClock),
        entropy,
        metrics: portal_upkeep::Metrics::default(),
    }
}

/// Changes a cell as somebody would who has the database and no key.
pub async fn tamper(database: &Database, id: u128, column: Column, value: impl Into<Value>) {
    let value = &value.into();
    let tampered = database.run_tx("tamper", |tx| async move {
        let update = person::Entity::update_many().col_expr(column, Expr::value(value.clone()));
        let update = update.filter(Column::Id.eq(Uuid::from_u128(id)));
        Ok::<_, StoreError>(update.exec(tx.conn()).await?.rows_affected)
    });
    assert_eq!(tampered.await.unwrap(), 1);
}

/// What a sealed cell holds.
pub fn envelope(sealed: Option<&Sealed<String>>) -> Vec<u8> {
    sealed.map(|sealed| sealed.envelope().to_vec()).unwrap()
}
