//! Errors on the wire: the one match from a cause to its status, and the reasons of this service.

use portal_mesh::status::{Reason, reason};
use portal_proto::google::rpc;
use portal_upkeep::reasons::{
    ALGORITHM_DISABLED, CONFLICT, DATABASE_UNAVAILABLE, KEYS_UNAVAILABLE, REQUEST_ID_REUSED, ROW_CORRUPT,
    SUBJECT_ERASED,
};
use portal_upkeep::status as upkeep;
use prost::Message;
use tonic::{Code, Status};

use crate::domain::dataset::Split;
use crate::domain::valuation::Failure;
use crate::error::Error;

/// There is no such dataset, or it is another controller's.
pub const DATASET_NOT_FOUND: Reason =
    Reason::new(Code::NotFound, "DATASET_NOT_FOUND", "you have no dataset with this id");
/// A record's id is taken.
pub const DUPLICATE_RECORD: Reason = Reason::new(
    Code::AlreadyExists,
    "DUPLICATE_RECORD",
    "the dataset has a record with this id; nothing was stored",
);
/// Consent could not be asked.
pub const CONSENT_UNAVAILABLE: Reason = Reason::new(
    Code::Unavailable,
    "CONSENT_UNAVAILABLE",
    "consent could not be asked, so nothing was valued; start the valuation again",
);
/// No record may be valued, or measured with.
pub const NOTHING_TO_VALUE: Reason = Reason::new(
    Code::FailedPrecondition,
    "NOTHING_TO_VALUE",
    "a valuation needs training and validation records of people who permit the dataset's purpose",
);
/// Too many records for one append.
pub const TOO_MANY_RECORDS: Reason = Reason::new(
    Code::ResourceExhausted,
    "TOO_MANY_RECORDS",
    "an append takes at most 1,000,000 records and 1 GiB of features; nothing was stored, send it in parts",
);
/// The valuation was cancelled.
pub const VALUATION_CANCELLED: Reason =
    Reason::new(Code::Cancelled, "VALUATION_CANCELLED", "the valuation was cancelled and has no values");
/// There is no such valuation, it is another controller's, or it has no value of the subject.
pub const VALUATION_NOT_FOUND: Reason = Reason::new(
    Code::NotFound,
    "VALUATION_NOT_FOUND",
    "you have no valuation with this id, or it has no value of this subject",
);
/// The valuation has no values.
pub const VALUATION_NOT_SUCCEEDED: Reason = Reason::new(
    Code::FailedPrecondition,
    "VALUATION_NOT_SUCCEEDED",
    "the valuation has no values: it has not ended yet, failed or was cancelled",
);

/// All reasons of this service, for documentation tests.
pub const REASONS: &[Reason] = &[
    ALGORITHM_DISABLED,
    CONFLICT,
    CONSENT_UNAVAILABLE,
    DATABASE_UNAVAILABLE,
    DATASET_NOT_FOUND,
    DUPLICATE_RECORD,
    KEYS_UNAVAILABLE,
    NOTHING_TO_VALUE,
    REQUEST_ID_REUSED,
    ROW_CORRUPT,
    SUBJECT_ERASED,
    TOO_MANY_RECORDS,
    VALUATION_CANCELLED,
    VALUATION_NOT_FOUND,
    VALUATION_NOT_SUCCEEDED,
];

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match error {
            Error::DatasetNotFound => DATASET_NOT_FOUND.status(),
            Error::DuplicateRecord { batch, row } => {
                told(DUPLICATE_RECORD, format_args!("batch {batch}, row {row}"))
            }
            Error::Invalid(invalid) => portal_mesh::status::invalid(&invalid),
            Error::Keys(error) => upkeep::keys(&error),
            Error::NoAccount => reason::ROLE_NOT_ALLOWED.status(),
            Error::NotSucceeded => VALUATION_NOT_SUCCEEDED.status(),
            Error::NothingToValue(split) => nothing_to_value(split),
            Error::RequestIdReused => REQUEST_ID_REUSED.status(),
            Error::Store(error) => upkeep::store(&error),
            Error::SubjectErased { batch, row } => {
                told(SUBJECT_ERASED, format_args!("batch {batch}, row {row}"))
            }
            Error::TooLarge => TOO_MANY_RECORDS.status(),
            Error::ValuationNotFound => VALUATION_NOT_FOUND.status(),
        }
    }
}

/// Why a valuation has no values, as its `error`.
pub fn failure(failure: Failure) -> rpc::Status {
    let status = match failure {
        Failure::AlgorithmDisabled => ALGORITHM_DISABLED.status(),
        Failure::ConsentUnavailable => CONSENT_UNAVAILABLE.status(),
        Failure::Internal => reason::INTERNAL.status(),
        Failure::KeysUnavailable => KEYS_UNAVAILABLE.status(),
        Failure::NothingToValue(split) => nothing_to_value(split),
        Failure::Unreadable => ROW_CORRUPT.status(),
    };
    message(&status)
}

/// The `error` of a cancelled valuation.
pub fn cancelled() -> rpc::Status {
    message(&VALUATION_CANCELLED.status())
}

fn message(status: &Status) -> rpc::Status {
    rpc::Status::decode(status.details()).unwrap_or_else(|_| rpc::Status {
        code: status.code() as i32,
        message: status.message().to_owned(),
        details: Vec::new(),
    })
}

fn nothing_to_value(split: Split) -> Status {
    let split = match split {
        Split::Training => "no training record may be used",
        Split::Validation => "no validation record may be used",
    };
    told(NOTHING_TO_VALUE, format_args!("{split}"))
}

fn told(reason: Reason, place: std::fmt::Arguments<'_>) -> Status {
    portal_mesh::status::error(reason.code, reason.name, format!("{place}: {}", reason.message))
}

#[cfg(test)]
mod tests {
    use portal_mesh::status::reason_of;
    use portal_store::idempotency::IdempotencyError;
    use portal_store::{Corruption, StoreError};

    use super::*;

    #[test]
    fn what_is_the_same_in_every_service_has_the_same_reason() {
        let check = |error: Error, code, reason: &str| {
            let status = Status::from(error);
            assert_eq!((status.code(), reason_of(&status).as_deref()), (code, Some(reason)));
        };
        check(IdempotencyError::Mismatch.into(), Code::InvalidArgument, "REQUEST_ID_REUSED");
        check(StoreError::Conflict { attempts: 8 }.into(), Code::Aborted, "CONFLICT");
        let (table, column, cause) = ("batch", "record", Corruption::EnvelopeRefused);
        let corrupt = StoreError::Corrupt { table, column, row: "7".to_owned(), cause };
        check(corrupt.into(), Code::DataLoss, "ROW_CORRUPT");
    }

    #[test]
    fn a_failure_tells_code_and_reason() {
        let status = failure(Failure::NothingToValue(Split::Validation));
        assert_eq!(status.code, Code::FailedPrecondition as i32);
        assert!(status.message.starts_with("no validation record"));
        assert_eq!(status.details.len(), 1);
        assert_eq!(cancelled().code, 1);
    }
}
