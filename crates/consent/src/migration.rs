//! The schema, as migrations that are only ever added to.

use portal_upkeep::schema::RowsUnchecked;
use sea_orm_migration::{MigrationTrait, MigratorTrait};

mod m0001_consents;
mod m0002_sealed_columns;
mod m0003_ledger;
mod m0004_record;
mod m0005_imports;
mod m0006_changes;

/// The migrations of the consent service's database.
pub struct Migrations;

impl MigratorTrait for Migrations {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_consents::Migration),
            Box::new(m0002_sealed_columns::Migration),
            Box::new(RowsUnchecked),
            Box::new(m0003_ledger::Migration),
            Box::new(m0004_record::Migration),
            Box::new(m0005_imports::Migration),
            Box::new(m0006_changes::Migration),
        ]
    }
}
