//! Who may call what. Every method of the package has a row; a test compares with the protos.

use portal_core::{Role, Scope, Workload};
use portal_mesh::policy::{Audit, FRESH, RateClass, Row};

portal_mesh::actions! {
    "portal.auth.v1.AccountService" =>
        CreateAccount, GetAccount, UpdateAccount, ChangePassword, DeleteAccount, ExportAccount, ListAccounts,
        LockAccount, UnlockAccount, SetRoles, StartRecovery, CompleteRecovery, VerifyEmail;
    "portal.auth.v1.AuditService" => ListAuditEvents, WatchAuditEvents;
    "portal.auth.v1.ClientService" => CreateClient, GetClient, ListClients, RotateClientSecret, DeleteClient;
    "portal.auth.v1.IntegrityService" => RunScan, GetReport;
    "portal.auth.v1.KeyService" => ListKeys, RotateKeys, DestroyKey, GetCryptoInventory;
    "portal.auth.v1.LedgerService" =>
        GetCheckpoint, GetInclusionProof, GetConsistencyProof, ListEntries, GetLedgerKeys;
    "portal.auth.v1.MfaService" =>
        EnrollTotp, ConfirmTotp, DisableTotp, RegenerateRecoveryCodes, BeginPasskeyRegistration,
        FinishPasskeyRegistration, BeginPasskeyAuthentication, FinishPasskeyAuthentication, ListFactors,
        DeleteFactor;
    "portal.auth.v1.MigrationService" =>
        ListMigrations, GetMigration, StartMigration, PauseMigration, RollbackMigration, VerifyMigration, CommitMigration;
    "portal.auth.v1.OAuthService" =>
        StartAuthorization, GetAuthorization, DecideAuthorization, StartDeviceAuthorization,
        FindDeviceAuthorization, DecideDeviceAuthorization, GrantToken, IntrospectGrant, RevokeGrant,
        ResolveLogout, GetUserInfo;
    "portal.auth.v1.SessionService" =>
        CreateSession, CompleteMfa, RefreshSession, ListSessions, RevokeSession, RevokeAllSessions;
    "portal.auth.v1.TokenService" =>
        GetKeySet, IntrospectToken, RevokeToken, ExchangeToken, WatchRevocations;
}

const OPERATOR: &[Role] = &[Role::Operator];
const AUDITORS: &[Role] = &[Role::Auditor, Role::Operator];
const GATEWAY: &[Workload] = &[Workload::Gateway];
const WATCHERS: &[Workload] = &[Workload::Consent, Workload::Gateway, Workload::Valuation];

/// The table.
pub const TABLE: &[Row] = &[
    // accounts
    Row::of::<CreateAccount>().public().write().rate(RateClass::Login).audit(Audit::Security),
    Row::of::<GetAccount>().own().any(OPERATOR).read().audit(Audit::Access),
    Row::of::<UpdateAccount>().own().any(OPERATOR).write().audit(Audit::Security).step_up(FRESH),
    Row::of::<ChangePassword>().own().write().rate(RateClass::Login).audit(Audit::Security),
    Row::of::<DeleteAccount>().own().any(OPERATOR).write().audit(Audit::Security).step_up(FRESH),
    // Recorded, and safe to send again.
    Row::of::<ExportAccount>().own().read().audit(Audit::Security),
    Row::of::<ListAccounts>().any(OPERATOR).read().audit(Audit::Access),
    Row::of::<LockAccount>().any(OPERATOR).write().audit(Audit::Security).step_up(FRESH),
    Row::of::<UnlockAccount>().any(OPERATOR).write().audit(Audit::Security).step_up(FRESH),
    Row::of::<SetRoles>().any(OPERATOR).write().audit(Audit::Security).step_up(FRESH),
    Row::of::<StartRecovery>().public().write().rate(RateClass::Login).audit(Audit::Security),
    Row::of::<CompleteRecovery>().public().write().rate(RateClass::Login).audit(Audit::Security),
    Row::of::<VerifyEmail>().public().write().rate(RateClass::Login).audit(Audit::Security),
    // audit
    Row::of::<ListAuditEvents>().any(AUDITORS).read().audit(Audit::Access),
    Row::of::<WatchAuditEvents>().any(AUDITORS).read().open_ended().audit(Audit::Access),
    // clients
    Row::of::<CreateClient>().any(OPERATOR).write().audit(Audit::Security).step_up(FRESH),
    Row::of::<GetClient>().any(OPERATOR).read().audit(Audit::Access),
    Row::of::<ListClients>().any(OPERATOR).read().audit(Audit::Access),
    Row::of::<RotateClientSecret>().any(OPERATOR).write().audit(Audit::Security).step_up(FRESH),
    Row::of::<DeleteClient>().any(OPERATOR).write().audit(Audit::Security).step_up(FRESH),
    // integrity, keys, migrations
    Row::of::<RunScan>().any(OPERATOR).write().audit(Audit::Security),
    Row::of::<GetReport>().any(OPERATOR).read().audit(Audit::Access),
    Row::of::<ListKeys>().any(OPERATOR).read().audit(Audit::Access),
    Row::of::<RotateKeys>().any(OPERATOR).write().deadline_seconds(60).audit(Audit::Security).step_up(FRESH),
    Row::of::<DestroyKey>().any(OPERATOR).write().deadline_seconds(60).audit(Audit::Security).step_up(FRESH),
    Row::of::<GetCryptoInventory>().any(OPERATOR).read().audit(Audit::Access),
    Row::of::<ListMigrations>().any(OPERATOR).read().audit(Audit::Access),
    Row::of::<GetMigration>().any(OPERATOR).read().audit(Audit::Access),
    Row::of::<StartMigration>().any(OPERATOR).write().audit(Audit::Security),
    Row::of::<PauseMigration>().any(OPERATOR).write().audit(Audit::Security),
    Row::of::<RollbackMigration>().any(OPERATOR).write().audit(Audit::Security).step_up(FRESH),
    Row::of::<VerifyMigration>().any(OPERATOR).write().audit(Audit::Security),
    Row::of::<CommitMigration>().any(OPERATOR).write().audit(Audit::Security).step_up(FRESH),
    // ledger: anybody may check it
    Row::of::<GetCheckpoint>().public().read().audit(Audit::None),
    Row::of::<GetInclusionProof>().public().read().audit(Audit::None),
    Row::of::<GetConsistencyProof>().public().read().audit(Audit::None),
    Row::of::<ListEntries>().public().read().audit(Audit::None),
    Row::of::<GetLedgerKeys>().public().read().audit(Audit::None),
    // second factors: their owner's alone
    Row::of::<EnrollTotp>().own().write().audit(Audit::Security).step_up(FRESH),
    Row::of::<ConfirmTotp>().own().write().audit(Audit::Security),
    Row::of::<DisableTotp>().own().write().audit(Audit::Security),
    Row::of::<RegenerateRecoveryCodes>().own().write().audit(Audit::Security),
    Row::of::<BeginPasskeyRegistration>().own().write().audit(Audit::Security).step_up(FRESH),
    Row::of::<FinishPasskeyRegistration>().own().write().audit(Audit::Security),
    Row::of::<BeginPasskeyAuthentication>().public().rate(RateClass::Login).audit(Audit::Security),
    Row::of::<FinishPasskeyAuthentication>().public().rate(RateClass::Login).audit(Audit::Security),
    Row::of::<ListFactors>().own().read().audit(Audit::Access),
    Row::of::<DeleteFactor>().own().write().audit(Audit::Security),
    // OAuth: the endpoints of the gateway
    Row::of::<StartAuthorization>().workloads(GATEWAY).write().audit(Audit::None),
    Row::of::<GetAuthorization>().workloads(GATEWAY).read().audit(Audit::None),
    // In the name of the person, at Portal's own sign-in; the gateway alone when nobody is there.
    Row::of::<DecideAuthorization>().own().workloads(GATEWAY).audit(Audit::Security),
    Row::of::<StartDeviceAuthorization>().workloads(GATEWAY).write().audit(Audit::None),
    // By whom is known who types codes, so that what they guess counts.
    Row::of::<FindDeviceAuthorization>().own().rate(RateClass::Login).audit(Audit::Security),
    Row::of::<DecideDeviceAuthorization>().own().rate(RateClass::Login).audit(Audit::Security),
    Row::of::<GrantToken>().workloads(GATEWAY).rate(RateClass::Login).audit(Audit::Security),
    Row::of::<IntrospectGrant>().workloads(GATEWAY).read().audit(Audit::None),
    Row::of::<RevokeGrant>().workloads(GATEWAY).audit(Audit::Security),
    Row::of::<ResolveLogout>().workloads(GATEWAY).read().audit(Audit::None),
    Row::of::<GetUserInfo>().own().scopes(&[Scope::OpenId]).read().audit(Audit::Access),
    // sessions
    Row::of::<CreateSession>().public().rate(RateClass::Login).audit(Audit::Security),
    Row::of::<CompleteMfa>().public().rate(RateClass::Login).audit(Audit::Security),
    // Safe to send again: for ten seconds the same token gets the same successor.
    Row::of::<RefreshSession>().public().read().rate(RateClass::Login).audit(Audit::Security),
    Row::of::<ListSessions>().own().any(OPERATOR).read().audit(Audit::Access),
    Row::of::<RevokeSession>().own().any(OPERATOR).write().audit(Audit::Security),
    Row::of::<RevokeAllSessions>().own().any(OPERATOR).write().audit(Audit::Security),
    // tokens
    Row::of::<GetKeySet>().public().workloads(&Workload::ALL).read().audit(Audit::None),
    Row::of::<IntrospectToken>().workloads(GATEWAY).read().audit(Audit::None),
    Row::of::<RevokeToken>().own().write().audit(Audit::Security),
    // The access token is in the request: no end user is known before it was looked up.
    Row::of::<ExchangeToken>().workloads(GATEWAY).read().audit(Audit::None),
    Row::of::<WatchRevocations>().workloads(WATCHERS).read().open_ended().audit(Audit::None),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use portal_proto::DESCRIPTORS;
    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn every_method_of_the_package_has_exactly_one_row() {
        let set = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
        let files = set.file.iter().filter(|file| file.package() == "portal.auth.v1");
        let services = files.flat_map(|file| &file.service);
        let methods: BTreeSet<String> = services
            .flat_map(|service| {
                let name = service.name();
                service.method.iter().map(move |method| format!("/portal.auth.v1.{name}/{}", method.name()))
            })
            .collect();
        assert!(methods.len() > 50);
        let rows: BTreeSet<String> = TABLE.iter().map(|row| row.method().to_owned()).collect();
        assert_eq!(rows, methods);
        assert_eq!(rows.len(), TABLE.len());
    }
}
