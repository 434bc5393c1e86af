//! The schema migrations of a service, which are applied when it starts.

use portal_store::migrate::{MigrateError, Migration, status};
use portal_store::{Database, StoreError};
use sea_orm_migration::MigratorTrait;
use tonic::codegen::BoxFuture;

type Status<'a> = BoxFuture<Vec<Migration>, MigrateError>;

/// The schema migrations that this version knows.
pub(super) struct Schema {
    names: Vec<String>,
    status: fn(Database) -> Status<'static>,
}

impl Schema {
    /// Those of `M`.
    pub(super) fn of<M: MigratorTrait>() -> Self {
        let names = M::migrations().iter().map(|migration| migration.name().to_owned()).collect();
        Self { names, status: |database| Box::pin(async move { status::<M>(&database).await }) }
    }

    /// Whether there is one of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    /// All of them, and whether they were applied; also those of a later version, which has started already.
    pub(super) async fn list(&self, database: &Database) -> Result<Vec<Migration>, StoreError> {
        match (self.status)(database.clone()).await {
            Ok(migrations) => Ok(migrations),
            Err(MigrateError::Store(error)) => Err(error),
            Err(MigrateError::Newer { unknown }) => {
                let all = self.names.iter().cloned().chain(unknown);
                Ok(all.map(|name| Migration { name, applied: true }).collect())
            }
        }
    }
}

/// What a schema migration changes, as its name says it: `m0002_sealed_columns` is "sealed columns".
pub(super) fn description(name: &str) -> String {
    name.split_once('_').map_or(name, |(_, rest)| rest).replace('_', " ")
}
