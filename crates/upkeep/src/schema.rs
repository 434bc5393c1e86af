//! The tables of this crate: part of a migration of every service.

use portal_store::leases;
use sea_orm_migration::{DbErr, SchemaManager};

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
