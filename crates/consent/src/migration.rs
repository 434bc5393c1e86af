//! The schema, as migrations that are only ever added to.

use portal_upkeep::schema::RowsUnchecked;
use sea_orm_migration::{MigrationTrait, MigratorTrait};

mod m0001_consents;
mod m0002_sealed_columns;

/// The migrations of the consent service's database.
pub struct Migrations;

impl MigratorTrait for Migrations {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_consents::Migration),
            Box::new(m0002_sealed_columns::Migration),
            Box::new(RowsUnchecked),
        ]
    }
}
