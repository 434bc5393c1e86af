//! What callers are told when the database or the keys did not do what they were asked to: the same in every service.
//!
//! A row that is corrupt is named with its table, column and cause, so that an operator finds it; its content never is.

use std::error::Error as _;
use std::time::Duration;

use portal_keys::{KeysError, ReplyError};
use portal_mesh::context::ROWS_WITHHELD;
use portal_mesh::status::{Reason, error, reason, retry_after};
use portal_store::{StoreError, idempotency::IdempotencyError};
use tonic::metadata::MetadataValue;
use tonic::{Response, Status};

use crate::reasons::{
    ALGORITHM_DISABLED, CONFLICT, DATABASE_UNAVAILABLE, KEY_IN_USE, KEY_NOT_FOUND, KEY_NOT_RETIRED,
    KEYS_UNAVAILABLE, REQUEST_ID_REUSED, ROW_CORRUPT, SUBJECT_ERASED,
};

/// When to come back while the service is busy or cut off.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The database failed.
#[must_use]
pub fn store(failed: &StoreError) -> Status {
    match failed {
        StoreError::Conflict { .. } | StoreError::Contended(_) => CONFLICT.status(),
        StoreError::Corrupt { .. } => corrupt(failed),
        StoreError::Disabled(_) => ALGORITHM_DISABLED.status(),
        StoreError::Unavailable(_) => retry_after(DATABASE_UNAVAILABLE, RETRY_AFTER),
        failed => internal(failed),
    }
}

/// A key can't be had.
#[must_use]
pub fn keys(failed: &KeysError) -> Status {
    match failed {
        KeysError::Corrupt { .. } | KeysError::Missing(_) => corrupt(failed),
        KeysError::Disabled(_) => ALGORITHM_DISABLED.status(),
        KeysError::EpochDisabled(_) => KEYS_UNAVAILABLE.status(),
        KeysError::Erased(_) => SUBJECT_ERASED.status(),
        KeysError::InUse { .. } | KeysError::IndexInUse { .. } | KeysError::RootInUse { .. } => {
            let Reason { code, name, message } = KEY_IN_USE;
            error(code, name, format!("{failed}; {message}"))
        }
        KeysError::NoSuchKey(_) => KEY_NOT_FOUND.status(),
        KeysError::State { .. } => KEY_NOT_RETIRED.status(),
        KeysError::Store(StoreError::Unavailable(_)) | KeysError::Unavailable(_) => {
            tracing::warn!(error = %failed, cause = failed.source(), "a key could not be had");
            retry_after(KEYS_UNAVAILABLE, RETRY_AFTER)
        }
        KeysError::Rotating => CONFLICT.status(),
        KeysError::Store(failed) => store(failed),
        failed => internal(failed),
    }
}

/// A request id was used twice, or its reply can't be found.
#[must_use]
pub fn idempotency(failed: &IdempotencyError) -> Status {
    match failed {
        IdempotencyError::Mismatch => REQUEST_ID_REUSED.status(),
        IdempotencyError::Store(failed) => store(failed),
    }
}

/// A kept reply was not opened.
#[must_use]
pub fn reply(failed: &ReplyError) -> Status {
    match failed {
        ReplyError::Keys(failed) => keys(failed),
        ReplyError::Store(failed) => store(failed),
    }
}

/// `response`, which says in [`ROWS_WITHHELD`] how many rows were left out of it.
#[must_use]
pub fn withheld<T>(mut response: Response<T>, rows: usize) -> Response<T> {
    if rows > 0 {
        response.metadata_mut().insert(ROWS_WITHHELD, MetadataValue::from(rows as u64));
    }
    response
}

fn corrupt(failed: &(impl std::error::Error + 'static)) -> Status {
    tracing::error!(error = %failed, "stored data is corrupt");
    let Reason { code, name, message } = ROW_CORRUPT;
    error(code, name, format!("{failed}; {message}"))
}

fn internal(failed: &(impl std::error::Error + 'static)) -> Status {
    tracing::error!(error = %failed, cause = failed.source(), "a use case failed");
    reason::INTERNAL.status()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use portal_core::id::{Id, SubjectId};
    use portal_mesh::status::reason_of;
    use portal_store::Corruption;
    use tonic::Code;

    use super::*;

    #[test]
    fn a_corrupt_row_is_named() {
        let (table, column, cause) = ("account", "sealed_email", Corruption::EnvelopeRefused);
        let status = store(&StoreError::Corrupt { table, column, row: "7".to_owned(), cause });
        assert_eq!((status.code(), reason_of(&status).as_deref()), (Code::DataLoss, Some("ROW_CORRUPT")));
        let begin = "the row 7 of account is corrupt in sealed_email: the envelope does not open; ";
        assert!(status.message().starts_with(begin), "{status:?}");
    }

    #[test]
    fn each_cause_has_its_reason() {
        let subject = SubjectId::from_bytes([1; 16]);
        let check = |status: Status, code, reason: &str| {
            assert_eq!((status.code(), reason_of(&status).as_deref()), (code, Some(reason)));
        };
        check(keys(&KeysError::Erased(subject)), Code::NotFound, "SUBJECT_ERASED");
        check(keys(&KeysError::Missing(subject)), Code::DataLoss, "ROW_CORRUPT");
        let used = KeysError::IndexInUse { key: "blind-index/account.email/1".to_owned(), rows: 7 };
        check(keys(&used), Code::FailedPrecondition, "KEY_IN_USE");
        check(keys(&KeysError::Store(StoreError::Conflict { attempts: 8 })), Code::Aborted, "CONFLICT");
        check(store(&StoreError::Doomed), Code::Internal, "INTERNAL");
        check(idempotency(&IdempotencyError::Mismatch), Code::InvalidArgument, "REQUEST_ID_REUSED");
    }

    #[test]
    fn the_header_says_how_many_rows_were_left_out() {
        let header = |rows| withheld(Response::new(()), rows).metadata().get(ROWS_WITHHELD).cloned();
        assert_eq!(header(0), None);
        assert_eq!(header(12).unwrap(), "12");
    }
}
