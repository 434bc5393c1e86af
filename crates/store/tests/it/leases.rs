//! One holder at a time; the next one after the time; a late one changes nothing.

use std::time::Duration;

use async_trait::async_trait;
use portal_core::Timestamp;
use portal_store::{Database, Lease, StoreError, leases, migrate};
use portal_testkit::each_database;
use sea_orm::prelude::Uuid;
use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, MigratorTrait, SchemaManager};
use tokio::task::JoinSet;

const NOW: Timestamp = Timestamp::from_seconds(1_795_305_600);
const TIME: Duration = Duration::from_secs(5);
const SCAN: &str = "scan";

struct First;

impl MigrationName for First {
    fn name(&self) -> &'static str {
        "m0001_lease"
    }
}

#[async_trait]
impl MigrationTrait for First {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        leases::create_table(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        leases::drop_table(manager).await
    }
}

struct Migrations;

impl MigratorTrait for Migrations {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(First)]
    }
}

async fn migrated(database: &portal_testkit::TestDatabase) -> Database {
    let database = database.connect().await;
    migrate::up::<Migrations>(&database).await.unwrap();
    database
}

async fn acquire(database: &Database, holder: u128, now: Timestamp) -> Option<Lease> {
    let holder = Uuid::from_u128(holder);
    database
        .run_tx("acquire", |tx| async move { leases::acquire(&tx, SCAN, holder, now, TIME).await })
        .await
        .unwrap()
}

async fn renew(database: &Database, lease: &Lease, now: Timestamp) -> bool {
    database.run_tx("renew", |tx| async move { leases::renew(&tx, lease, now, TIME).await }).await.unwrap()
}

async fn release(database: &Database, lease: &Lease) {
    database.run_tx("release", |tx| async move { leases::release(&tx, lease).await }).await.unwrap();
}

async fn held_until(database: &Database, now: Timestamp) -> Option<Timestamp> {
    database.read("held", |tx| async move { leases::held_until(&tx, SCAN, now).await }).await.unwrap()
}

each_database! {
    /// Held until its time is over or it is given back; every holder has a greater term.
    async fn changes_hands(database) {
        let database = migrated(database).await;
        let first = acquire(&database, 1, NOW).await.unwrap();
        assert_eq!((first.name(), first.term()), (SCAN, 1));
        assert_eq!(held_until(&database, NOW).await, Some(NOW.plus(TIME)));
        let before_the_end = NOW.plus(TIME).minus(Duration::from_micros(1));
        assert_eq!(acquire(&database, 2, before_the_end).await, None);
        assert_eq!(acquire(&database, 1, before_the_end).await, None, "two tasks of one process don't share it");

        assert!(renew(&database, &first, before_the_end).await);
        assert_eq!(acquire(&database, 2, NOW.plus(TIME)).await, None, "it was renewed");
        let end = before_the_end.plus(TIME);
        assert_eq!(held_until(&database, end).await, None);
        let second = acquire(&database, 2, end).await.unwrap();
        assert_eq!(second.term(), 2);

        assert!(!renew(&database, &first, end).await, "lost is lost");
        release(&database, &first).await;
        assert!(renew(&database, &second, end).await, "a late release takes nothing from the next holder");
        release(&database, &second).await;
        assert_eq!(acquire(&database, 1, end).await.map(|lease| lease.term()), Some(3));
    }

    /// One that comes back under its old id after a restart has a new term: the old one is void.
    async fn terms_tell_holders_apart(database) {
        let database = migrated(database).await;
        let before = acquire(&database, 1, NOW).await.unwrap();
        let after = acquire(&database, 1, NOW.plus(TIME)).await.unwrap();
        assert!(!renew(&database, &before, NOW.plus(TIME)).await);
        assert!(renew(&database, &after, NOW.plus(TIME)).await);
    }

    /// Of many that ask at once exactly one gets it, the first time and when it is free again.
    async fn one_winner(database) {
        let database = migrated(database).await;
        for (round, now) in (0_i64..).zip([NOW, NOW.plus(TIME)]) {
            let mut tasks = JoinSet::new();
            for holder in 0..10 {
                let database = database.clone();
                tasks.spawn(async move { acquire(&database, holder, now).await });
            }
            let won: Vec<Lease> = tasks.join_all().await.into_iter().flatten().collect();
            assert_eq!(won.iter().map(Lease::term).collect::<Vec<_>>(), [round + 1]);
        }
    }

    /// A holder that was overtaken in the middle of its transaction commits nothing.
    async fn a_late_holder_is_fenced(database) {
        let database = migrated(database).await;
        let first = acquire(&database, 1, NOW).await.unwrap();
        acquire(&database, 2, NOW.plus(TIME)).await.unwrap();
        let wrote: Result<(), StoreError> = database.run_tx("late", |tx| async move {
            let held = leases::renew(&tx, &first, NOW.plus(TIME), TIME).await?;
            StoreError::check_rows(1, u64::from(held))
        }).await;
        assert!(matches!(wrote, Err(StoreError::RowsAffected { .. })));
    }
}
