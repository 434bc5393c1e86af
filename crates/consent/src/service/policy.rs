//! How each rpc may be called; who may, the policies of `portal-authz` say. Every rpc of the package has a row, also those
//! that answer UNIMPLEMENTED for now.

use portal_mesh::policy::FRESH;
use portal_mesh::{Audit, RateClass, Row, actions};

actions! {
    "portal.consent.v1.PurposeService" =>
        CreatePurpose, GetPurpose, ListPurposes, UpdatePurpose, PublishPurpose, ArchivePurpose, ListPurposeRevisions;
    "portal.consent.v1.NoticeService" =>
        CreateNotice, GetNotice, ListNotices, UpdateNotice, PublishNotice, ListNoticeRevisions;
    "portal.consent.v1.ConsentService" =>
        GiveConsent, RefuseConsent, WithdrawConsent, WithdrawAllConsents, RenewConsent, RequestConsent, DeferConsent,
        RevokeConsent, InvalidateConsent, GetConsent, ListConsents, ListConsentEvents, BatchRecordConsents,
        ImportConsents;
    "portal.consent.v1.DecisionService" => CheckConsent, BatchCheckConsents, ExplainDecision;
    "portal.consent.v1.ConsentChangeService" =>
        WatchConsentChanges, AckConsentChanges, ListConsentChangeAcks;
    "portal.consent.v1.ReceiptService" => GetReceipt, ListReceipts, ExportReceipt, VerifyReceipt;
    "portal.consent.v1.SubjectService" => CreateSubject, GetSubject, LookupSubject, ListSubjects;
    "portal.consent.v1.LedgerService" =>
        GetCheckpoint, GetInclusionProof, GetConsistencyProof, ListEntries, GetLedgerKeys;
    "portal.consent.v1.IntegrityService" => RunScan, GetReport;
    "portal.consent.v1.KeyService" => ListKeys, RotateKeys, DestroyKey, GetCryptoInventory;
    "portal.consent.v1.MigrationService" =>
        ListMigrations, GetMigration, StartMigration, PauseMigration, RollbackMigration, VerifyMigration, CommitMigration;
}

const KIB: usize = 1_024;
/// Eight pieces of evidence of 1 MiB, and the rest.
const WITH_EVIDENCE: usize = (8 * KIB + 256) * KIB;
/// A notice in every language, and many questions at once.
pub(super) const LARGE: usize = 4 * KIB * KIB;
/// No message of any method is larger.
pub(super) const LARGEST: usize = WITH_EVIDENCE;

/// The policy table of the package.
pub const TABLE: &[Row] = &[
    Row::of::<CreatePurpose>().write().audit(Audit::Change),
    Row::of::<GetPurpose>().read().audit(Audit::None),
    Row::of::<ListPurposes>().read().audit(Audit::None),
    Row::of::<UpdatePurpose>().write().audit(Audit::Change),
    Row::of::<PublishPurpose>().write().audit(Audit::Change),
    Row::of::<ArchivePurpose>().write().audit(Audit::Change),
    Row::of::<ListPurposeRevisions>().read().audit(Audit::None),
    Row::of::<CreateNotice>().write().audit(Audit::Change).max_request_bytes(LARGE),
    Row::of::<GetNotice>().read().audit(Audit::None),
    Row::of::<ListNotices>().read().audit(Audit::None),
    Row::of::<UpdateNotice>().write().audit(Audit::Change).max_request_bytes(LARGE),
    Row::of::<PublishNotice>().write().audit(Audit::Change),
    Row::of::<ListNoticeRevisions>().read().audit(Audit::None),
    Row::of::<GiveConsent>().write().audit(Audit::Change).max_request_bytes(WITH_EVIDENCE),
    Row::of::<RefuseConsent>().write().audit(Audit::Change).max_request_bytes(WITH_EVIDENCE),
    Row::of::<WithdrawConsent>().write().audit(Audit::Change).max_request_bytes(WITH_EVIDENCE),
    Row::of::<WithdrawAllConsents>().write().audit(Audit::Change),
    Row::of::<RenewConsent>().write().audit(Audit::Change).max_request_bytes(WITH_EVIDENCE),
    Row::of::<RequestConsent>().write().audit(Audit::Change),
    Row::of::<DeferConsent>().write().audit(Audit::Change),
    Row::of::<RevokeConsent>().write().audit(Audit::Change).max_request_bytes(WITH_EVIDENCE),
    Row::of::<InvalidateConsent>().write().audit(Audit::Change).max_request_bytes(WITH_EVIDENCE),
    Row::of::<GetConsent>().read().audit(Audit::Access),
    Row::of::<ListConsents>().read().audit(Audit::Access),
    Row::of::<ListConsentEvents>().read().audit(Audit::Access),
    Row::of::<BatchRecordConsents>()
        .write()
        .rate(RateClass::Bulk)
        .audit(Audit::Change)
        .deadline_seconds(60)
        .max_request_bytes(LARGE),
    Row::of::<ImportConsents>()
        .rate(RateClass::Bulk)
        .audit(Audit::Change)
        .deadline_seconds(3_600)
        .max_request_bytes(WITH_EVIDENCE),
    Row::of::<CheckConsent>().read().audit(Audit::Access),
    Row::of::<BatchCheckConsents>().read().audit(Audit::Access).max_request_bytes(LARGE),
    Row::of::<ExplainDecision>().read().audit(Audit::Access),
    Row::of::<WatchConsentChanges>().open_ended().audit(Audit::Access),
    Row::of::<AckConsentChanges>().write().audit(Audit::Change),
    Row::of::<ListConsentChangeAcks>().read().audit(Audit::Access),
    Row::of::<GetReceipt>().read().audit(Audit::Access),
    Row::of::<ListReceipts>().read().audit(Audit::Access),
    Row::of::<ExportReceipt>().read().audit(Audit::Access),
    Row::of::<VerifyReceipt>().read().audit(Audit::None),
    Row::of::<CreateSubject>().write().audit(Audit::Change),
    Row::of::<GetSubject>().read().audit(Audit::Access),
    Row::of::<LookupSubject>().read().audit(Audit::Access),
    Row::of::<ListSubjects>().read().audit(Audit::Access),
    Row::of::<GetCheckpoint>().read().audit(Audit::None),
    Row::of::<GetInclusionProof>().read().audit(Audit::None),
    Row::of::<GetConsistencyProof>().read().audit(Audit::None),
    Row::of::<ListEntries>().read().audit(Audit::None),
    Row::of::<GetLedgerKeys>().read().audit(Audit::None),
    Row::of::<RunScan>().write().audit(Audit::Security),
    Row::of::<GetReport>().read().audit(Audit::Security),
    Row::of::<ListKeys>().read().audit(Audit::Security),
    Row::of::<RotateKeys>().write().deadline_seconds(60).audit(Audit::Security).step_up(FRESH),
    Row::of::<DestroyKey>().write().deadline_seconds(60).audit(Audit::Security).step_up(FRESH),
    Row::of::<GetCryptoInventory>().read().audit(Audit::Security),
    Row::of::<ListMigrations>().read().audit(Audit::Security),
    Row::of::<GetMigration>().read().audit(Audit::Security),
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

    use prost::Message;

    use super::*;

    #[test]
    fn every_rpc_of_the_package_has_exactly_one_row() {
        let descriptors = prost_types::FileDescriptorSet::decode(portal_proto::DESCRIPTORS).unwrap();
        let rpcs: BTreeSet<String> = descriptors
            .file
            .iter()
            .filter(|file| file.package() == "portal.consent.v1")
            .flat_map(|file| &file.service)
            .flat_map(|service| {
                let path = |rpc: &str| format!("/portal.consent.v1.{}/{rpc}", service.name());
                service.method.iter().map(move |method| path(method.name()))
            })
            .collect();
        let rows: BTreeSet<String> = TABLE.iter().map(|row| row.method().to_owned()).collect();
        assert_eq!(rows, rpcs);
        assert_eq!(rows.len(), TABLE.len());
        assert!(rpcs.len() > 40);
    }

    #[test]
    fn no_row_lets_in_more_than_the_server_reads() {
        assert!(TABLE.iter().all(|row| row.request_limit() <= LARGEST));
    }
}
