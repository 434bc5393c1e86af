//! Migrations: up, down, all or nothing, one at a time, never against a newer schema.

use async_trait::async_trait;
use portal_store::{Database, StoreError, migrate};
use portal_testkit::each_database;
use sea_orm::ConnectionTrait;
use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, MigratorTrait, SchemaManager};

use crate::schema::{First, Migrations, insert, row, value};

struct Second;

impl MigrationName for Second {
    fn name(&self) -> &'static str {
        "m0002_second"
    }
}

#[async_trait]
impl MigrationTrait for Second {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared("CREATE TABLE second (id bigint)").await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared("DROP TABLE second").await.map(drop)
    }
}

struct Broken;

impl MigrationName for Broken {
    fn name(&self) -> &'static str {
        "m0003_broken"
    }
}

#[async_trait]
impl MigrationTrait for Broken {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared("CREATE TABLE third (id bigint)").await?;
        manager.get_connection().execute_unprepared("CREATE TABLE second (id bigint)").await.map(drop)
    }
}

struct Newer;

#[async_trait]
impl MigratorTrait for Newer {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(First), Box::new(Second)]
    }
}

struct NewestBroken;

#[async_trait]
impl MigratorTrait for NewestBroken {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(First), Box::new(Second), Box::new(Broken)]
    }
}

async fn applied<M: MigratorTrait>(database: &Database) -> Vec<bool> {
    migrate::status::<M>(database).await.unwrap().iter().map(|m| m.applied).collect()
}

async fn has_table(database: &Database, table: &str) -> bool {
    let found = database.read("has_table", |tx| async move {
        Ok::<_, StoreError>(tx.conn().execute_unprepared(&format!("SELECT * FROM {table}")).await?)
    });
    found.await.is_ok()
}

each_database! {
    /// Up applies what is pending, again is nothing, down takes back the last.
    async fn up_and_down(database) {
        let database = database.connect().await;
        assert_eq!(applied::<Newer>(&database).await, [false, false]);
        migrate::up::<Migrations>(&database).await.unwrap();
        assert_eq!(applied::<Newer>(&database).await, [true, false]);
        database.run_tx("insert", |tx| async move { insert(&tx, row(1, "kept")).await }).await.unwrap();

        migrate::up::<Newer>(&database).await.unwrap();
        migrate::up::<Newer>(&database).await.unwrap();
        assert_eq!(applied::<Newer>(&database).await, [true, true]);
        assert!(has_table(&database, "second").await);

        migrate::down::<Newer>(&database, 1).await.unwrap();
        assert_eq!(applied::<Newer>(&database).await, [true, false]);
        assert!(!has_table(&database, "second").await);
        assert_eq!(value(&database, "kept").await, Some(0));

        migrate::down::<Newer>(&database, 1).await.unwrap();
        assert!(!has_table(&database, "idempotency_key").await);
        migrate::up::<Newer>(&database).await.unwrap();
    }

    /// An old binary leaves a newer schema alone.
    async fn refuses_a_newer_schema(database) {
        let database = database.connect().await;
        migrate::up::<Newer>(&database).await.unwrap();
        let refusals = [
            migrate::up::<Migrations>(&database).await.unwrap_err(),
            migrate::down::<Migrations>(&database, 1).await.unwrap_err(),
            migrate::status::<Migrations>(&database).await.unwrap_err(),
        ];
        for error in refusals {
            assert_eq!(error.to_string(), "the database schema is newer than this binary: it has m0002_second");
        }
        assert_eq!(applied::<Newer>(&database).await, [true, true]);
    }

    /// When one migration fails, none of the run is applied.
    async fn all_or_nothing(database) {
        let database = database.connect().await;
        migrate::up::<Migrations>(&database).await.unwrap();
        assert!(migrate::up::<NewestBroken>(&database).await.is_err());
        assert_eq!(applied::<NewestBroken>(&database).await, [true, false, false]);
        assert!(!has_table(&database, "second").await && !has_table(&database, "third").await);
    }

    /// Processes that start together migrate once.
    async fn one_at_a_time(database) {
        let (one, two, three) = (database.connect().await, database.connect().await, database.connect().await);
        let results = tokio::join!(migrate::up::<Newer>(&one), migrate::up::<Newer>(&two), migrate::up::<Newer>(&three));
        assert!(results.0.is_ok() && results.1.is_ok() && results.2.is_ok(), "{results:?}");
        assert_eq!(applied::<Newer>(&one).await, [true, true]);
    }
}
