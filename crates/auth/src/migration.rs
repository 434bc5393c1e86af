//! Schema migrations of auth. Landed ones are never edited.

mod m0001_accounts_and_sessions;
mod m0002_sealed_columns;
mod m0003_unsealed_changes;
mod m0007_sign_in_failures;
mod m0008_factors;
mod m0009_audit_indexes;
mod m0010_mail_and_tombstones;
mod m0011_passkeys;
mod m0012_oauth;
mod m0013_signing_keys;
mod m0014_devices;
mod m0015_clients_told;

use portal_upkeep::schema::{AuditTable, LedgerTables, RowsUnchecked};
use sea_orm_migration::{MigrationTrait, MigratorTrait};

/// All of them, oldest first.
pub struct Migrations;

impl MigratorTrait for Migrations {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_accounts_and_sessions::Migration),
            Box::new(m0002_sealed_columns::Migration),
            Box::new(m0003_unsealed_changes::Migration),
            Box::new(RowsUnchecked),
            Box::new(LedgerTables),
            Box::new(AuditTable),
            Box::new(m0007_sign_in_failures::Migration),
            Box::new(m0008_factors::Migration),
            Box::new(m0009_audit_indexes::Migration),
            Box::new(m0010_mail_and_tombstones::Migration),
            Box::new(m0011_passkeys::Migration),
            Box::new(m0012_oauth::Migration),
            Box::new(m0013_signing_keys::Migration),
            Box::new(m0014_devices::Migration),
            Box::new(m0015_clients_told::Migration),
        ]
    }
}
