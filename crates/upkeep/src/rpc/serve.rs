//! A service's `KeyService`, `IntegrityService` and `MigrationService`, in one line; its `LedgerService` in another.

/// Implements the `KeyService`, `IntegrityService` and `MigrationService` of the package `$package` for `$edge`, whose
/// field `$field` is its [`Operators`](crate::rpc::Operators), with the actions of the module `$policy`.
///
/// ```text
/// portal_upkeep::serve_operators!(portal_proto::consent::v1, policy, Edge.operators);
/// ```
#[macro_export]
macro_rules! serve_operators {
    ($($package:ident)::+, $policy:ident, $edge:ident . $field:ident) => {
        $crate::serve_operators! { @service $policy, $edge.$field, $($package)::+::key_service_server::KeyService =>
            list_keys ListKeys(ListKeysRequest) -> ListKeysResponse;
            rotate_keys RotateKeys(RotateKeysRequest) -> RotateKeysResponse;
            destroy_key DestroyKey(DestroyKeyRequest) -> CryptoKey;
            get_crypto_inventory GetCryptoInventory(GetCryptoInventoryRequest) -> CryptoInventory;
        }
        $crate::serve_operators! { @service $policy, $edge.$field,
            $($package)::+::integrity_service_server::IntegrityService =>
            run_scan RunScan(RunScanRequest) -> IntegrityReport;
            get_report GetReport(GetReportRequest) -> IntegrityReport;
        }
        $crate::serve_operators! { @service $policy, $edge.$field,
            $($package)::+::migration_service_server::MigrationService =>
            list_migrations ListMigrations(ListMigrationsRequest) -> ListMigrationsResponse;
            get_migration GetMigration(GetMigrationRequest) -> Migration;
            start_migration StartMigration(StartMigrationRequest) -> Migration;
            pause_migration PauseMigration(PauseMigrationRequest) -> Migration;
            rollback_migration RollbackMigration(RollbackMigrationRequest) -> Migration;
            verify_migration VerifyMigration(VerifyMigrationRequest) -> Migration;
            commit_migration CommitMigration(CommitMigrationRequest) -> Migration;
        }
    };
    (@service $policy:ident, $edge:ident . $field:ident, $($service:ident)::+ =>
        $($method:ident $action:ident($request:ident) -> $answer:ident;)*) => {
        #[$crate::rpc::wire::async_trait]
        impl $($service)::+ for $edge {
            $(async fn $method(
                &self,
                request: $crate::rpc::wire::Request<$crate::rpc::wire::common::$request>,
            ) -> $crate::rpc::Answer<$crate::rpc::wire::common::$answer> {
                self.$field.$method::<$policy::$action>(request).await
            })*
        }
    };
}

/// The same for the `LedgerService` of the package, which is public.
///
/// ```text
/// portal_upkeep::serve_ledger!(portal_proto::consent::v1, policy, Edge.operators);
/// ```
#[macro_export]
macro_rules! serve_ledger {
    ($($package:ident)::+, $policy:ident, $edge:ident . $field:ident) => {
        $crate::serve_ledger! { @service $policy, $edge.$field, $($package)::+::ledger_service_server::LedgerService =>
            get_checkpoint GetCheckpoint(GetCheckpointRequest) -> Checkpoint;
            get_inclusion_proof GetInclusionProof(GetInclusionProofRequest) -> InclusionProof;
            get_consistency_proof GetConsistencyProof(GetConsistencyProofRequest) -> ConsistencyProof;
            list_entries ListEntries(ListEntriesRequest) -> ListEntriesResponse;
            get_ledger_keys GetLedgerKeys(GetLedgerKeysRequest) -> GetLedgerKeysResponse;
        }
    };
    (@service $policy:ident, $edge:ident . $field:ident, $($service:ident)::+ =>
        $($method:ident $action:ident($request:ident) -> $answer:ident;)*) => {
        #[$crate::rpc::wire::async_trait]
        impl $($service)::+ for $edge {
            $(async fn $method(
                &self,
                request: $crate::rpc::wire::Request<$crate::rpc::wire::ledger::$request>,
            ) -> $crate::rpc::Answer<$crate::rpc::wire::ledger::$answer> {
                self.$field.$method::<$policy::$action>(request).await
            })*
        }
    };
}
