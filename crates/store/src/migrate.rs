//! Schema migrations: what is pending is applied in one transaction, all or nothing, by one process at a time.
//!
//! Invariant: a binary never touches a schema with migrations that it does not know.

use std::collections::HashSet;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend};
use sea_orm_migration::{MigrationStatus, MigratorTrait};

use crate::{Database, StoreError};

/// The key of the advisory lock on PostgreSQL: "portalmg".
const LOCK: i64 = 0x706f_7274_616c_6d67;

/// A migration, and whether the database has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Migration {
    /// Its name.
    pub name: String,
    /// Whether it was applied.
    pub applied: bool,
}

/// The schema could not be brought to the wanted state; it is as it was.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database has migrations that this binary does not know: it was migrated by a newer one.
    #[error("the database schema is newer than this binary: it has {}", unknown.join(", "))]
    Newer {
        /// The names of those migrations.
        unknown: Vec<String>,
    },
    /// The database failed.
    #[error("the schema could not be migrated")]
    Store(#[from] StoreError),
}

/// Applies all pending migrations of `M`.
///
/// # Errors
/// [`MigrateError`]; nothing was applied then.
pub async fn up<M: MigratorTrait>(database: &Database) -> Result<(), MigrateError> {
    let tx = begin::<M>(database).await?;
    M::up(&tx, None).await.map_err(StoreError::from)?;
    commit(tx).await
}

/// Takes back the last `steps` migrations of `M`.
///
/// # Errors
/// [`MigrateError`]; nothing was taken back then.
pub async fn down<M: MigratorTrait>(database: &Database, steps: u32) -> Result<(), MigrateError> {
    let tx = begin::<M>(database).await?;
    M::down(&tx, Some(steps)).await.map_err(StoreError::from)?;
    commit(tx).await
}

/// The migrations of `M`, oldest first, and which of them the database has.
///
/// # Errors
/// [`MigrateError`].
pub async fn status<M: MigratorTrait>(database: &Database) -> Result<Vec<Migration>, MigrateError> {
    let tx = begin::<M>(database).await?;
    let known = M::get_migration_with_status_read_only(&tx).await.map_err(StoreError::from)?;
    let applied = |status| matches!(status, MigrationStatus::Applied);
    Ok(known.iter().map(|m| Migration { name: m.name().to_owned(), applied: applied(m.status()) }).collect())
}

async fn begin<M: MigratorTrait>(database: &Database) -> Result<DatabaseTransaction, MigrateError> {
    let tx = database.begin_migration().await?;
    if tx.get_database_backend() == DbBackend::Postgres {
        // Building an index, and waiting for another process that builds one, may take its time.
        let lock = format!("SET LOCAL statement_timeout = 0; SELECT pg_advisory_xact_lock({LOCK})");
        tx.execute_unprepared(&lock).await.map_err(StoreError::from)?;
    }
    refuse_newer::<M>(&tx).await?;
    Ok(tx)
}

async fn refuse_newer<M: MigratorTrait>(tx: &DatabaseTransaction) -> Result<(), MigrateError> {
    let known: HashSet<String> = M::migrations().iter().map(|m| m.name().to_owned()).collect();
    // This creates the table of migrations if there is none yet, in the same transaction as all the rest.
    let applied = M::get_migration_models(tx).await.map_err(StoreError::from)?;
    let unknown: Vec<String> =
        applied.into_iter().map(|m| m.version).filter(|v| !known.contains(v)).collect();
    if unknown.is_empty() { Ok(()) } else { Err(MigrateError::Newer { unknown }) }
}

async fn commit(tx: DatabaseTransaction) -> Result<(), MigrateError> {
    Ok(tx.commit().await.map_err(StoreError::from)?)
}
