//! Who may call what. Every rpc of the package has a row, also those that answer UNIMPLEMENTED for now.

use portal_core::Role::{self, Auditor, Controller, Officer, Operator, Service};
use portal_core::Scope::{ConsentCheck, ConsentRead, ConsentRecord};
use portal_core::{Scope, Workload};
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

/// Everyone who is signed in.
const EVERYBODY: &[Role] = &Role::ALL;
/// Who asks before data is used, on its own behalf.
const ASKING: &[Workload] = &[Workload::Valuation];
/// What everybody may read, clients need with whatever they may do here.
const ANY_SCOPE: &[Scope] = &[ConsentCheck, ConsentRead, ConsentRecord];
/// Who records also sees what stands.
const READING: &[Scope] = &[ConsentRead, ConsentRecord];
const KIB: usize = 1_024;
/// Eight pieces of evidence of 1 MiB, and the rest.
const WITH_EVIDENCE: usize = (8 * KIB + 256) * KIB;
/// A notice in every language, and many questions at once.
pub(super) const LARGE: usize = 4 * KIB * KIB;
/// No message of any method is larger.
pub(super) const LARGEST: usize = WITH_EVIDENCE;

/// The policy table of the package.
pub const TABLE: &[Row] = &[
    Row::of::<CreatePurpose>().any(&[Controller]).write().audit(Audit::Change),
    Row::of::<GetPurpose>().any(EVERYBODY).scopes(ANY_SCOPE).read().audit(Audit::None),
    Row::of::<ListPurposes>().any(EVERYBODY).scopes(ANY_SCOPE).read().audit(Audit::None),
    Row::of::<UpdatePurpose>().any(&[Controller]).write().audit(Audit::Change),
    Row::of::<PublishPurpose>().any(&[Controller]).write().audit(Audit::Change),
    Row::of::<ArchivePurpose>().any(&[Controller]).write().audit(Audit::Change),
    Row::of::<ListPurposeRevisions>().any(EVERYBODY).scopes(ANY_SCOPE).read().audit(Audit::None),
    Row::of::<CreateNotice>().any(&[Controller]).write().audit(Audit::Change).max_request_bytes(LARGE),
    Row::of::<GetNotice>().any(EVERYBODY).scopes(ANY_SCOPE).read().audit(Audit::None),
    Row::of::<ListNotices>().any(EVERYBODY).scopes(ANY_SCOPE).read().audit(Audit::None),
    Row::of::<UpdateNotice>().any(&[Controller]).write().audit(Audit::Change).max_request_bytes(LARGE),
    Row::of::<PublishNotice>().any(&[Controller]).write().audit(Audit::Change),
    Row::of::<ListNoticeRevisions>().any(EVERYBODY).scopes(ANY_SCOPE).read().audit(Audit::None),
    Row::of::<GiveConsent>()
        .own()
        .any(&[Controller, Service])
        .scopes(&[ConsentRecord])
        .write()
        .audit(Audit::Change)
        .max_request_bytes(WITH_EVIDENCE),
    Row::of::<RefuseConsent>()
        .own()
        .any(&[Controller, Service])
        .scopes(&[ConsentRecord])
        .write()
        .audit(Audit::Change)
        .max_request_bytes(WITH_EVIDENCE),
    Row::of::<WithdrawConsent>()
        .own()
        .any(&[Controller, Service])
        .scopes(&[ConsentRecord])
        .write()
        .audit(Audit::Change)
        .max_request_bytes(WITH_EVIDENCE),
    Row::of::<WithdrawAllConsents>()
        .own()
        .any(&[Controller, Service])
        .scopes(&[ConsentRecord])
        .write()
        .audit(Audit::Change),
    Row::of::<RenewConsent>()
        .own()
        .any(&[Controller, Service])
        .scopes(&[ConsentRecord])
        .write()
        .audit(Audit::Change)
        .max_request_bytes(WITH_EVIDENCE),
    Row::of::<RequestConsent>()
        .any(&[Controller, Service])
        .scopes(&[ConsentRecord])
        .write()
        .audit(Audit::Change),
    Row::of::<DeferConsent>()
        .own()
        .any(&[Controller, Service])
        .scopes(&[ConsentRecord])
        .write()
        .audit(Audit::Change),
    Row::of::<RevokeConsent>()
        .any(&[Controller])
        .write()
        .audit(Audit::Change)
        .max_request_bytes(WITH_EVIDENCE),
    Row::of::<InvalidateConsent>()
        .any(&[Officer])
        .write()
        .audit(Audit::Change)
        .max_request_bytes(WITH_EVIDENCE),
    Row::of::<GetConsent>()
        .own()
        .any(&[Controller, Officer, Service])
        .scopes(READING)
        .read()
        .audit(Audit::Access),
    Row::of::<ListConsents>()
        .own()
        .any(&[Controller, Officer, Service])
        .scopes(READING)
        .read()
        .audit(Audit::Access),
    Row::of::<ListConsentEvents>()
        .own()
        .any(&[Controller, Officer, Service])
        .scopes(&[ConsentRead])
        .read()
        .audit(Audit::Access),
    Row::of::<BatchRecordConsents>()
        .any(&[Controller, Service])
        .scopes(&[ConsentRecord])
        .write()
        .rate(RateClass::Bulk)
        .audit(Audit::Change)
        .deadline_seconds(60)
        .max_request_bytes(LARGE),
    Row::of::<ImportConsents>()
        .any(&[Controller, Service])
        .scopes(&[ConsentRecord])
        .rate(RateClass::Bulk)
        .audit(Audit::Change)
        .deadline_seconds(3_600)
        .max_request_bytes(WITH_EVIDENCE),
    Row::of::<CheckConsent>()
        .own()
        .any(&[Controller, Officer, Service])
        .scopes(&[ConsentCheck])
        .workloads(ASKING)
        .read()
        .audit(Audit::Access),
    Row::of::<BatchCheckConsents>()
        .own()
        .any(&[Controller, Officer, Service])
        .scopes(&[ConsentCheck])
        .workloads(ASKING)
        .read()
        .audit(Audit::Access)
        .max_request_bytes(LARGE),
    Row::of::<ExplainDecision>()
        .own()
        .any(&[Controller, Officer, Service])
        .scopes(&[ConsentRead])
        .read()
        .audit(Audit::Access),
    Row::of::<WatchConsentChanges>()
        .any(&[Controller, Service])
        .scopes(&[ConsentRead])
        .workloads(ASKING)
        .open_ended()
        .audit(Audit::Access),
    Row::of::<AckConsentChanges>()
        .any(&[Controller, Service])
        .scopes(&[ConsentRead])
        .workloads(ASKING)
        .write()
        .audit(Audit::Change),
    Row::of::<ListConsentChangeAcks>().any(&[Officer, Auditor]).read().audit(Audit::Access),
    Row::of::<GetReceipt>()
        .own()
        .any(&[Controller, Officer, Service])
        .scopes(READING)
        .read()
        .audit(Audit::Access),
    Row::of::<ListReceipts>()
        .own()
        .any(&[Controller, Officer, Service])
        .scopes(&[ConsentRead])
        .read()
        .audit(Audit::Access),
    Row::of::<ExportReceipt>()
        .own()
        .any(&[Controller, Officer, Service])
        .scopes(&[ConsentRead])
        .read()
        .audit(Audit::Access),
    Row::of::<VerifyReceipt>().public().read().audit(Audit::None),
    Row::of::<CreateSubject>()
        .any(&[Controller, Service])
        .scopes(&[ConsentRecord])
        .write()
        .audit(Audit::Change),
    Row::of::<GetSubject>()
        .own()
        .any(&[Controller, Officer, Service])
        .scopes(READING)
        .read()
        .audit(Audit::Access),
    Row::of::<LookupSubject>()
        .any(&[Controller, Officer, Service])
        .scopes(READING)
        .read()
        .audit(Audit::Access),
    Row::of::<ListSubjects>().any(&[Controller, Officer]).read().audit(Audit::Access),
    Row::of::<GetCheckpoint>().public().read().audit(Audit::None),
    Row::of::<GetInclusionProof>().public().read().audit(Audit::None),
    Row::of::<GetConsistencyProof>().public().read().audit(Audit::None),
    Row::of::<ListEntries>().public().read().audit(Audit::None),
    Row::of::<GetLedgerKeys>().public().read().audit(Audit::None),
    Row::of::<RunScan>().any(&[Operator]).write().audit(Audit::Security),
    Row::of::<GetReport>().any(&[Operator]).read().audit(Audit::Security),
    Row::of::<ListKeys>().any(&[Operator]).read().audit(Audit::Security),
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
    Row::of::<GetCryptoInventory>().any(&[Operator]).read().audit(Audit::Security),
    Row::of::<ListMigrations>().any(&[Operator]).read().audit(Audit::Security),
    Row::of::<GetMigration>().any(&[Operator]).read().audit(Audit::Security),
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
