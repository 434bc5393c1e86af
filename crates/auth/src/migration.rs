//! Schema migrations of auth. Landed ones are never edited.

mod m0001_accounts_and_sessions;

use sea_orm_migration::{MigrationTrait, MigratorTrait};

/// All of them, oldest first.
pub struct Migrations;

impl MigratorTrait for Migrations {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m0001_accounts_and_sessions::Migration)]
    }
}
