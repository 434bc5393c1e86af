//! The reasons that the operators' calls give, the same in every service. Each has a page in `docs/errors/`.

use portal_mesh::status::Reason;
use tonic::Code;

/// Stored data needs an algorithm that is switched off.
pub const ALGORITHM_DISABLED: Reason = Reason::new(
    Code::FailedPrecondition,
    "ALGORITHM_DISABLED",
    "stored data needs an algorithm that the configuration has switched off; switch it on until the data is migrated",
);
/// Concurrent changes.
pub const CONFLICT: Reason = Reason::new(
    Code::Aborted,
    "CONFLICT",
    "concurrent changes kept getting in the way, nothing was changed; try again",
);
/// The database is away.
pub const DATABASE_UNAVAILABLE: Reason = Reason::new(
    Code::Unavailable,
    "DATABASE_UNAVAILABLE",
    "the service's database does not answer; try again with the same request_id",
);
/// The key provider is away.
pub const KEYS_UNAVAILABLE: Reason = Reason::new(
    Code::Unavailable,
    "KEYS_UNAVAILABLE",
    "the keys of the data can't be had at the moment; try again with the same request_id",
);
/// Something still depends on the key.
pub const KEY_IN_USE: Reason = Reason::new(
    Code::FailedPrecondition,
    "KEY_IN_USE",
    "something still depends on the key: wrap or index it under another one first",
);
/// No such key.
pub const KEY_NOT_FOUND: Reason = Reason::new(
    Code::NotFound,
    "KEY_NOT_FOUND",
    "there is no key with this id; list the keys of the service",
);
/// Only retired keys are destroyed.
pub const KEY_NOT_RETIRED: Reason = Reason::new(
    Code::FailedPrecondition,
    "KEY_NOT_RETIRED",
    "only a key that another one has replaced can be destroyed; rotate first",
);
/// No such leaf.
pub const LEAF_NOT_FOUND: Reason = Reason::new(
    Code::NotFound,
    "LEAF_NOT_FOUND",
    "the ledger has no such leaf; one that was appended just now has its position within a second",
);
/// The log is not the one that was signed.
pub const LEDGER_FORKED: Reason = Reason::new(
    Code::DataLoss,
    "LEDGER_FORKED",
    "the ledger is not the one whose head was signed before, and signs nothing any more; its operators have to verify it",
);
/// The service has just begun.
pub const LEDGER_NOT_SIGNED: Reason = Reason::new(
    Code::Unavailable,
    "LEDGER_NOT_SIGNED",
    "the ledger has no checkpoint yet; the first one is signed within seconds of the service's first start",
);
/// The old form is gone, or is going.
pub const MIGRATION_COMMITTED: Reason = Reason::new(
    Code::FailedPrecondition,
    "MIGRATION_COMMITTED",
    "the migration is committed: the old form of its rows is dropped, so it can't be rolled back or verified",
);
/// Nothing to start.
pub const MIGRATION_DONE: Reason = Reason::new(
    Code::FailedPrecondition,
    "MIGRATION_DONE",
    "the migration is done; verify it again, commit it or roll it back",
);
/// What was moved is not what was there. Also the reason of a migration that failed.
pub const MIGRATION_MISMATCH: Reason = Reason::new(
    Code::DataLoss,
    "MIGRATION_MISMATCH",
    "the old and the new form of a row differ; the service's log names the row",
);
/// Only what is done can be committed or verified.
pub const MIGRATION_NOT_DONE: Reason = Reason::new(
    Code::FailedPrecondition,
    "MIGRATION_NOT_DONE",
    "the migration has not moved and verified all rows yet; start it and wait until it is done",
);
/// No such migration.
pub const MIGRATION_NOT_FOUND: Reason = Reason::new(
    Code::NotFound,
    "MIGRATION_NOT_FOUND",
    "there is no migration of this name; list the migrations of the service",
);
/// Nothing to pause.
pub const MIGRATION_NOT_RUNNING: Reason = Reason::new(
    Code::FailedPrecondition,
    "MIGRATION_NOT_RUNNING",
    "the migration does not run, so it can't be paused",
);
/// Nothing to put back.
pub const MIGRATION_NOT_STARTED: Reason = Reason::new(
    Code::FailedPrecondition,
    "MIGRATION_NOT_STARTED",
    "the migration has not moved anything, so there is nothing to roll back",
);
/// Schema migrations are applied when the service starts.
pub const MIGRATION_OF_SCHEMA: Reason = Reason::new(
    Code::FailedPrecondition,
    "MIGRATION_OF_SCHEMA",
    "this is a schema migration: it is applied when the service starts, or by the command portal migrate",
);
/// No such report.
pub const REPORT_NOT_FOUND: Reason = Reason::new(
    Code::NotFound,
    "REPORT_NOT_FOUND",
    "there is no such report of an integrity scan; the newest thirty are kept",
);
/// Another request had the same id.
pub const REQUEST_ID_REUSED: Reason = Reason::new(
    Code::InvalidArgument,
    "REQUEST_ID_REUSED",
    "this request_id was used for another request in the last 24 hours; choose a new one",
);
/// A row is not what was written. Also the reason of a migration that failed.
pub const ROW_CORRUPT: Reason = Reason::new(
    Code::DataLoss,
    "ROW_CORRUPT",
    "what is stored was changed outside of the service and is not used; an operator finds it by an integrity scan",
);
/// One scan at a time.
pub const SCAN_RUNNING: Reason =
    Reason::new(Code::Aborted, "SCAN_RUNNING", "a scan is running already; ask for its report");

/// The person's keys were destroyed.
pub const SUBJECT_ERASED: Reason = Reason::new(
    Code::NotFound,
    "SUBJECT_ERASED",
    "the person was erased: what was stored about them can't be read by anybody any more",
);

/// The log is not that long.
pub const TREE_SIZE_OUT_OF_RANGE: Reason = Reason::new(
    Code::OutOfRange,
    "TREE_SIZE_OUT_OF_RANGE",
    "the newest checkpoint is not that large, or what is to be proven is not under that size",
);
/// All of them, for documentation tests.
pub const REASONS: &[Reason] = &[
    ALGORITHM_DISABLED,
    CONFLICT,
    DATABASE_UNAVAILABLE,
    KEYS_UNAVAILABLE,
    KEY_IN_USE,
    KEY_NOT_FOUND,
    KEY_NOT_RETIRED,
    LEAF_NOT_FOUND,
    LEDGER_FORKED,
    LEDGER_NOT_SIGNED,
    MIGRATION_COMMITTED,
    MIGRATION_DONE,
    MIGRATION_MISMATCH,
    MIGRATION_NOT_DONE,
    MIGRATION_NOT_FOUND,
    MIGRATION_NOT_RUNNING,
    MIGRATION_NOT_STARTED,
    MIGRATION_OF_SCHEMA,
    REPORT_NOT_FOUND,
    REQUEST_ID_REUSED,
    ROW_CORRUPT,
    SCAN_RUNNING,
    SUBJECT_ERASED,
    TREE_SIZE_OUT_OF_RANGE,
];
