//! The schema. Migrations are only ever appended.

mod m0001_initial;
mod m0002_sealed_records;

use portal_upkeep::schema::{AuditTable, LedgerTables, RowsUnchecked};
use sea_orm_migration::{MigrationTrait, MigratorTrait};

/// The schema migrations of the valuation service.
pub struct Migrations;

#[async_trait::async_trait]
impl MigratorTrait for Migrations {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_initial::Initial),
            Box::new(m0002_sealed_records::SealedRecords),
            Box::new(RowsUnchecked),
            Box::new(LedgerTables),
            Box::new(AuditTable),
        ]
    }
}
