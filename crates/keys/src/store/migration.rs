//! The schema of the key database, as migrations that are only ever added to.

use sea_orm_migration::{MigrationTrait, MigratorTrait};

mod m0001_keys;
mod m0002_milestones;

/// The migrations of the key database.
pub struct Migrations;

impl MigratorTrait for Migrations {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m0001_keys::Migration), Box::new(m0002_milestones::Migration)]
    }
}
