//! The tables of this crate: part of a migration of every service.

use portal_store::leases;
use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager};

use crate::audit::table as audit;
use crate::migration::{table as migrations, undo};
use crate::scan::table as scans;

/// Creates the tables of leases, data migrations and integrity scans.
///
/// # Errors
/// [`DbErr`], as migrations return it.
pub async fn create_tables(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    leases::create_table(manager).await?;
    migrations::create(manager).await?;
    undo::create(manager).await?;
    scans::create(manager).await
}

/// Drops them: [`create_tables`] taken back.
///
/// # Errors
/// [`DbErr`], as migrations return it.
pub async fn drop_tables(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    scans::drop(manager).await?;
    undo::drop(manager).await?;
    migrations::drop(manager).await?;
    leases::drop_table(manager).await
}

/// The tables of the ledger, for a service that has had none: empty ones.
pub struct LedgerTables;

impl MigrationName for LedgerTables {
    fn name(&self) -> &'static str {
        "upkeep_m0003_ledger"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for LedgerTables {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        portal_ledger::schema::create_tables(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        portal_ledger::schema::drop_tables(manager).await
    }
}

/// The table of [`crate::audit`], for a service that has had none: an empty one. It has the tables of its ledger before.
pub struct AuditTable;

impl MigrationName for AuditTable {
    fn name(&self) -> &'static str {
        "upkeep_m0004_audit"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for AuditTable {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        audit::create(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        audit::drop(manager).await
    }
}

/// Reports of scans count the rows that could not be checked: a migration of every service after the one that calls
/// [`create_tables`].
pub struct RowsUnchecked;

impl MigrationName for RowsUnchecked {
    fn name(&self) -> &'static str {
        "upkeep_m0002_rows_unchecked"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for RowsUnchecked {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        scans::add_unchecked(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        scans::drop_unchecked(manager).await
    }
}
