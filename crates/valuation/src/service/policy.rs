//! How each method may be called; who may, the policies of `portal-authz` say. A method without a row is refused.
//!
//! A controller reaches the datasets and valuations it owns, which the use cases see to; a subject reaches its own value
//! and nothing else.

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

/// Largest message with records: 4 MiB.
pub const MAX_BATCH_BYTES: usize = 4 * 1_024 * 1_024;

/// One row per method.
pub const TABLE: &[Row] = &[
    Row::of::<CreateDataset>().write().audit(Audit::Change),
    Row::of::<GetDataset>().read(),
    Row::of::<ListDatasets>().read(),
    Row::of::<DeleteDataset>().write().audit(Audit::Change),
    Row::of::<AppendRecords>()
        .rate(RateClass::Bulk)
        .audit(Audit::Change)
        .deadline_seconds(600)
        .max_request_bytes(MAX_BATCH_BYTES),
    Row::of::<AppendRecordBatch>()
        .write()
        .rate(RateClass::Bulk)
        .audit(Audit::Change)
        .deadline_seconds(30)
        .max_request_bytes(MAX_BATCH_BYTES),
    Row::of::<ListRecords>().read(),
    Row::of::<DeleteRecords>().write().audit(Audit::Change),
    Row::of::<StartValuation>().write().audit(Audit::Change),
    Row::of::<GetValuation>().read(),
    Row::of::<ListValuations>().read(),
    Row::of::<CancelValuation>().write().audit(Audit::Change),
    Row::of::<WatchValuation>().read().open_ended(),
    Row::of::<ListRecordValues>().read(),
    Row::of::<ListSubjectValues>().read(),
    Row::of::<GetSubjectValue>().read(),
    Row::of::<ListSuspects>().read(),
    Row::of::<ExplainValue>().read(),
    Row::of::<GetRemovalCurve>().read(),
    Row::of::<CreatePayout>().write().audit(Audit::Change),
    Row::of::<GetPayout>().read(),
    Row::of::<ListPayoutShares>().read(),
    Row::of::<CreateAnonymisedExport>().write().audit(Audit::Change),
    Row::of::<GetAnonymisedExport>().read(),
    Row::of::<GetOperation>().read(),
    Row::of::<ListOperations>().read(),
    Row::of::<CancelOperation>().write().audit(Audit::Change),
    Row::of::<DeleteOperation>().write().audit(Audit::Change),
    Row::of::<WaitOperation>().read().rate(RateClass::Stream).deadline_seconds(60),
    Row::of::<GetCheckpoint>().read().audit(Audit::None),
    Row::of::<GetInclusionProof>().read().audit(Audit::None),
    Row::of::<GetConsistencyProof>().read().audit(Audit::None),
    Row::of::<ListEntries>().read().audit(Audit::None),
    Row::of::<GetLedgerKeys>().read().audit(Audit::None),
    Row::of::<RunScan>().write().audit(Audit::Security),
    Row::of::<GetReport>().read(),
    Row::of::<ListKeys>().read(),
    Row::of::<RotateKeys>().write().deadline_seconds(60).audit(Audit::Security).step_up(FRESH),
    Row::of::<DestroyKey>().write().deadline_seconds(60).audit(Audit::Security).step_up(FRESH),
    Row::of::<GetCryptoInventory>().read(),
    Row::of::<ListMigrations>().read(),
    Row::of::<GetMigration>().read(),
    Row::of::<StartMigration>().write().audit(Audit::Security),
    Row::of::<PauseMigration>().write().audit(Audit::Security),
    Row::of::<RollbackMigration>().write().audit(Audit::Security).step_up(FRESH),
    Row::of::<VerifyMigration>().write().audit(Audit::Security),
    Row::of::<CommitMigration>().write().audit(Audit::Security).step_up(FRESH),
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
