//! How each method may be called; who may, the policies of `portal-authz` say. Every method of the package has a row; a test
//! compares with the protos.

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

/// The table.
pub const TABLE: &[Row] = &[
    // accounts
    Row::of::<CreateAccount>().write().rate(RateClass::Login).audit(Audit::Security),
    Row::of::<GetAccount>().read().audit(Audit::Access),
    Row::of::<UpdateAccount>().write().audit(Audit::Security).step_up(FRESH),
    Row::of::<ChangePassword>().write().rate(RateClass::Login).audit(Audit::Security),
    Row::of::<DeleteAccount>().write().audit(Audit::Security).step_up(FRESH),
    // Recorded, and safe to send again.
    Row::of::<ExportAccount>().read().audit(Audit::Security),
    Row::of::<ListAccounts>().read().audit(Audit::Access),
    Row::of::<LockAccount>().write().audit(Audit::Security).step_up(FRESH),
    Row::of::<UnlockAccount>().write().audit(Audit::Security).step_up(FRESH),
    Row::of::<SetRoles>().write().audit(Audit::Security).step_up(FRESH),
    Row::of::<StartRecovery>().write().rate(RateClass::Login).audit(Audit::Security),
    Row::of::<CompleteRecovery>().write().rate(RateClass::Login).audit(Audit::Security),
    Row::of::<VerifyEmail>().write().rate(RateClass::Login).audit(Audit::Security),
    // audit
    Row::of::<ListAuditEvents>().read().audit(Audit::Access),
    Row::of::<WatchAuditEvents>().read().open_ended().audit(Audit::Access),
    // clients
    Row::of::<CreateClient>().write().audit(Audit::Security).step_up(FRESH),
    Row::of::<GetClient>().read().audit(Audit::Access),
    Row::of::<ListClients>().read().audit(Audit::Access),
    Row::of::<RotateClientSecret>().write().audit(Audit::Security).step_up(FRESH),
    Row::of::<DeleteClient>().write().audit(Audit::Security).step_up(FRESH),
    // integrity, keys, migrations
    Row::of::<RunScan>().write().audit(Audit::Security),
    Row::of::<GetReport>().read().audit(Audit::Access),
    Row::of::<ListKeys>().read().audit(Audit::Access),
    Row::of::<RotateKeys>().write().deadline_seconds(60).audit(Audit::Security).step_up(FRESH),
    Row::of::<DestroyKey>().write().deadline_seconds(60).audit(Audit::Security).step_up(FRESH),
    Row::of::<GetCryptoInventory>().read().audit(Audit::Access),
    Row::of::<ListMigrations>().read().audit(Audit::Access),
    Row::of::<GetMigration>().read().audit(Audit::Access),
    Row::of::<StartMigration>().write().audit(Audit::Security),
    Row::of::<PauseMigration>().write().audit(Audit::Security),
    Row::of::<RollbackMigration>().write().audit(Audit::Security).step_up(FRESH),
    Row::of::<VerifyMigration>().write().audit(Audit::Security),
    Row::of::<CommitMigration>().write().audit(Audit::Security).step_up(FRESH),
    // ledger: anybody may check it
    Row::of::<GetCheckpoint>().read().audit(Audit::None),
    Row::of::<GetInclusionProof>().read().audit(Audit::None),
    Row::of::<GetConsistencyProof>().read().audit(Audit::None),
    Row::of::<ListEntries>().read().audit(Audit::None),
    Row::of::<GetLedgerKeys>().read().audit(Audit::None),
    // second factors: their owner's alone
    Row::of::<EnrollTotp>().write().audit(Audit::Security).step_up(FRESH),
    Row::of::<ConfirmTotp>().write().audit(Audit::Security),
    Row::of::<DisableTotp>().write().audit(Audit::Security),
    Row::of::<RegenerateRecoveryCodes>().write().audit(Audit::Security),
    Row::of::<BeginPasskeyRegistration>().write().audit(Audit::Security).step_up(FRESH),
    Row::of::<FinishPasskeyRegistration>().write().audit(Audit::Security),
    Row::of::<BeginPasskeyAuthentication>().rate(RateClass::Login).audit(Audit::Security),
    Row::of::<FinishPasskeyAuthentication>().rate(RateClass::Login).audit(Audit::Security),
    Row::of::<ListFactors>().read().audit(Audit::Access),
    Row::of::<DeleteFactor>().write().audit(Audit::Security),
    // OAuth: the endpoints of the gateway
    Row::of::<StartAuthorization>().write().audit(Audit::None),
    Row::of::<GetAuthorization>().read().audit(Audit::None),
    // In the name of the person, at Portal's own sign-in; the gateway alone when nobody is there.
    Row::of::<DecideAuthorization>().audit(Audit::Security),
    Row::of::<StartDeviceAuthorization>().write().audit(Audit::None),
    // By whom is known who types codes, so that what they guess counts.
    Row::of::<FindDeviceAuthorization>().rate(RateClass::Login).audit(Audit::Security),
    Row::of::<DecideDeviceAuthorization>().rate(RateClass::Login).audit(Audit::Security),
    Row::of::<GrantToken>().rate(RateClass::Login).audit(Audit::Security),
    Row::of::<IntrospectGrant>().read().audit(Audit::None),
    Row::of::<RevokeGrant>().audit(Audit::Security),
    Row::of::<ResolveLogout>().read().audit(Audit::None),
    Row::of::<GetUserInfo>().read().audit(Audit::Access),
    // sessions
    Row::of::<CreateSession>().rate(RateClass::Login).audit(Audit::Security),
    Row::of::<CompleteMfa>().rate(RateClass::Login).audit(Audit::Security),
    // Safe to send again: for ten seconds the same token gets the same successor.
    Row::of::<RefreshSession>().read().rate(RateClass::Login).audit(Audit::Security),
    Row::of::<ListSessions>().read().audit(Audit::Access),
    Row::of::<RevokeSession>().write().audit(Audit::Security),
    Row::of::<RevokeAllSessions>().write().audit(Audit::Security),
    // tokens
    Row::of::<GetKeySet>().read().audit(Audit::None),
    Row::of::<IntrospectToken>().read().audit(Audit::None),
    Row::of::<RevokeToken>().write().audit(Audit::Security),
    // The access token is in the request: no end user is known before it was looked up.
    Row::of::<ExchangeToken>().read().audit(Audit::None),
    Row::of::<WatchRevocations>().read().open_ended().audit(Audit::None),
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
