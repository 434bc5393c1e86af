//! Who may call what. A method without a row is refused.
//!
//! A controller reaches the datasets and valuations it owns, which the use cases see to; a subject reaches its own value
//! and nothing else.

use portal_core::Role::{Controller, Operator};
use portal_core::Scope::{self, ValuationRead};
use portal_mesh::policy::FRESH;
use portal_mesh::{Audit, RateClass, Row};

portal_mesh::actions! {
    "portal.valuation.v1.DatasetService" => CreateDataset, GetDataset, ListDatasets, DeleteDataset, AppendRecords,
        AppendRecordBatch, ListRecords, DeleteRecords;
    "portal.valuation.v1.ValuationService" => StartValuation, GetValuation, ListValuations, CancelValuation,
        WatchValuation, ListRecordValues, ListSubjectValues, GetSubjectValue, ListSuspects, ExplainValue,
        GetRemovalCurve;
    "portal.valuation.v1.PayoutService" => CreatePayout, GetPayout, ListPayoutShares;
    "portal.valuation.v1.AnonymisationService" => CreateAnonymisedExport, GetAnonymisedExport;
    "google.longrunning.Operations" => GetOperation, ListOperations, CancelOperation, DeleteOperation, WaitOperation;
    "portal.valuation.v1.LedgerService" => GetCheckpoint, GetInclusionProof, GetConsistencyProof, ListEntries,
        GetLedgerKeys;
    "portal.valuation.v1.IntegrityService" => RunScan, GetReport;
    "portal.valuation.v1.KeyService" => ListKeys, RotateKeys, DestroyKey, GetCryptoInventory;
    "portal.valuation.v1.MigrationService" => ListMigrations, GetMigration, StartMigration, PauseMigration,
        RollbackMigration, VerifyMigration, CommitMigration;
}

/// OAuth clients read, for somebody who may: nothing here belongs to a client.
const READING: &[Scope] = &[ValuationRead];
/// Largest message with records: 4 MiB.
pub const MAX_BATCH_BYTES: usize = 4 * 1_024 * 1_024;

/// One row per method.
pub const TABLE: &[Row] = &[
    Row::of::<CreateDataset>().any(&[Controller]).write().audit(Audit::Change),
    Row::of::<GetDataset>().any(&[Controller]).scopes(READING).read(),
    Row::of::<ListDatasets>().any(&[Controller]).scopes(READING).read(),
    Row::of::<DeleteDataset>().any(&[Controller]).write().audit(Audit::Change),
    Row::of::<AppendRecords>()
        .any(&[Controller])
        .rate(RateClass::Bulk)
        .audit(Audit::Change)
        .deadline_seconds(600)
        .max_request_bytes(MAX_BATCH_BYTES),
    Row::of::<AppendRecordBatch>()
        .any(&[Controller])
        .write()
        .rate(RateClass::Bulk)
        .audit(Audit::Change)
        .deadline_seconds(30)
        .max_request_bytes(MAX_BATCH_BYTES),
    Row::of::<ListRecords>().any(&[Controller]).read(),
    Row::of::<DeleteRecords>().any(&[Controller]).write().audit(Audit::Change),
    Row::of::<StartValuation>().any(&[Controller]).write().audit(Audit::Change),
    Row::of::<GetValuation>().any(&[Controller]).scopes(READING).read(),
    Row::of::<ListValuations>().any(&[Controller]).scopes(READING).read(),
    Row::of::<CancelValuation>().any(&[Controller]).write().audit(Audit::Change),
    Row::of::<WatchValuation>().any(&[Controller]).scopes(READING).read().open_ended(),
    Row::of::<ListRecordValues>().any(&[Controller]).scopes(READING).read(),
    Row::of::<ListSubjectValues>().own().any(&[Controller]).scopes(READING).read(),
    Row::of::<GetSubjectValue>().own().any(&[Controller]).scopes(READING).read(),
    Row::of::<ListSuspects>().any(&[Controller]).scopes(READING).read(),
    Row::of::<ExplainValue>().own().any(&[Controller]).scopes(READING).read(),
    Row::of::<GetRemovalCurve>().any(&[Controller]).scopes(READING).read(),
    Row::of::<CreatePayout>().any(&[Controller]).write().audit(Audit::Change),
    Row::of::<GetPayout>().any(&[Controller]).scopes(READING).read(),
    Row::of::<ListPayoutShares>().own().any(&[Controller]).scopes(READING).read(),
    Row::of::<CreateAnonymisedExport>().any(&[Controller]).write().audit(Audit::Change),
    Row::of::<GetAnonymisedExport>().any(&[Controller]).read(),
    Row::of::<GetOperation>().any(&[Controller]).read(),
    Row::of::<ListOperations>().any(&[Controller]).read(),
    Row::of::<CancelOperation>().any(&[Controller]).write().audit(Audit::Change),
    Row::of::<DeleteOperation>().any(&[Controller]).write().audit(Audit::Change),
    Row::of::<WaitOperation>().any(&[Controller]).read().rate(RateClass::Stream).deadline_seconds(60),
    Row::of::<GetCheckpoint>().public().read().audit(Audit::None),
    Row::of::<GetInclusionProof>().public().read().audit(Audit::None),
    Row::of::<GetConsistencyProof>().public().read().audit(Audit::None),
    Row::of::<ListEntries>().public().read().audit(Audit::None),
    Row::of::<GetLedgerKeys>().public().read().audit(Audit::None),
    Row::of::<RunScan>().any(&[Operator]).write().audit(Audit::Security),
    Row::of::<GetReport>().any(&[Operator]).read(),
    Row::of::<ListKeys>().any(&[Operator]).read(),
    Row::of::<RotateKeys>()
        .any(&[Operator])
        .write()
        .deadline_seconds(60)
        .audit(Audit::Security)
        .step_up(FRESH),
    Row::of::<DestroyKey>()
        .any(&[Operator])
        .write()
        .deadline_seconds(60)
        .audit(Audit::Security)
        .step_up(FRESH),
    Row::of::<GetCryptoInventory>().any(&[Operator]).read(),
    Row::of::<ListMigrations>().any(&[Operator]).read(),
    Row::of::<GetMigration>().any(&[Operator]).read(),
    Row::of::<StartMigration>().any(&[Operator]).write().audit(Audit::Security),
    Row::of::<PauseMigration>().any(&[Operator]).write().audit(Audit::Security),
    Row::of::<RollbackMigration>().any(&[Operator]).write().audit(Audit::Security).step_up(FRESH),
    Row::of::<VerifyMigration>().any(&[Operator]).write().audit(Audit::Security),
    Row::of::<CommitMigration>().any(&[Operator]).write().audit(Audit::Security).step_up(FRESH),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_rpc_has_one_row_and_every_row_an_rpc() {
        let pool = prost_reflect::DescriptorPool::decode(portal_proto::DESCRIPTORS).unwrap();
        let ours = ["portal.valuation.v1", "google.longrunning"];
        let services = pool.services().filter(|service| ours.contains(&service.package_name()));
        let rpcs: BTreeSet<String> = services
            .flat_map(|service| {
                let name = service.full_name().to_owned();
                service.methods().map(move |method| format!("/{name}/{}", method.name())).collect::<Vec<_>>()
            })
            .collect();
        let rows: BTreeSet<String> = TABLE.iter().map(|row| row.method().to_owned()).collect();
        assert!(rpcs.len() > 40);
        assert_eq!(rows, rpcs);
        assert_eq!(rows.len(), TABLE.len(), "a method has two rows");
    }
}
