//! The one place where errors become a status: a documented reason for each cause.

use portal_mesh::status::reason::INTERNAL;
use portal_mesh::status::{Reason, invalid};
use portal_upkeep::reasons::{
    ALGORITHM_DISABLED, CONFLICT, DATABASE_UNAVAILABLE, KEYS_UNAVAILABLE, REQUEST_ID_REUSED, ROW_CORRUPT,
    SUBJECT_ERASED,
};
use portal_upkeep::status::{keys, store};
use tonic::{Code, Status};

use crate::domain::consent::ConsentError;
use crate::domain::import::ImportError;
use crate::domain::life::LifeError;
use crate::domain::status::{Change, IllegalChange};
use crate::error::Error;
use portal_core::Invalid;

const CONSENT_CLOSED: Reason = Reason::new(
    Code::FailedPrecondition,
    "CONSENT_CLOSED",
    "this consent was revoked or invalidated and can't change any more",
);
const CONSENT_IN_FORCE: Reason = Reason::new(
    Code::FailedPrecondition,
    "CONSENT_IN_FORCE",
    "a consent is in force; it can be withdrawn, but not refused or requested",
);
const CONSENT_NOT_FOUND: Reason = Reason::new(
    Code::NotFound,
    "CONSENT_NOT_FOUND",
    "there is no such consent; check the id, or give one first",
);
const CONSENT_NOT_IN_FORCE: Reason = Reason::new(
    Code::FailedPrecondition,
    "CONSENT_NOT_IN_FORCE",
    "no consent is in force, so there is nothing to end or renew",
);
const CONSENT_NOT_REQUESTED: Reason = Reason::new(
    Code::FailedPrecondition,
    "CONSENT_NOT_REQUESTED",
    "no request is open, so there is no answer to put off",
);
const ETAG_MISMATCH: Reason = Reason::new(
    Code::Aborted,
    "ETAG_MISMATCH",
    "the resource was changed since it was read; read it again and repeat the change",
);
const EVENT_OUT_OF_ORDER: Reason = Reason::new(
    Code::FailedPrecondition,
    "EVENT_OUT_OF_ORDER",
    "a later decision about this consent is recorded already; only withdrawals are taken with an earlier event_time",
);
const EXPLICIT_STATEMENT_NEEDED: Reason = Reason::new(
    Code::FailedPrecondition,
    "EXPLICIT_STATEMENT_NEEDED",
    "the purpose concerns special categories of data: consent needs method INDICATION_METHOD_EXPLICIT_STATEMENT",
);
const GUARDIAN_NEEDED: Reason = Reason::new(
    Code::FailedPrecondition,
    "GUARDIAN_NEEDED",
    "the subject is too young to consent alone in its jurisdiction: a controller must state a verified guardian",
);
const IMPORT_GAP: Reason = Reason::new(
    Code::FailedPrecondition,
    "IMPORT_GAP",
    "records before first_record_index are missing; go on at next_record_index of the import",
);
const IMPORT_NOT_FOUND: Reason = Reason::new(
    Code::NotFound,
    "IMPORT_NOT_FOUND",
    "this caller has no such import; choose another import_id",
);
const NOTICE_NOT_FOUND: Reason = Reason::new(
    Code::NotFound,
    "NOTICE_NOT_FOUND",
    "there is no such notice or revision that this caller may see",
);
const NOTICE_NOT_PUBLISHED: Reason = Reason::new(
    Code::FailedPrecondition,
    "NOTICE_NOT_PUBLISHED",
    "the notice is not published; nobody can decide under it",
);
const NO_DRAFT: Reason = Reason::new(
    Code::FailedPrecondition,
    "NO_DRAFT",
    "the newest revision is published already; update it to open a draft of the next one",
);
const PURPOSE_ARCHIVED: Reason = Reason::new(
    Code::FailedPrecondition,
    "PURPOSE_ARCHIVED",
    "the purpose is archived: it can't be changed and takes no new decision",
);
const PURPOSE_NOT_FOUND: Reason = Reason::new(
    Code::NotFound,
    "PURPOSE_NOT_FOUND",
    "there is no such purpose or revision that this caller may see",
);
const PURPOSE_NOT_PUBLISHED: Reason = Reason::new(
    Code::FailedPrecondition,
    "PURPOSE_NOT_PUBLISHED",
    "a purpose is not published; publish it first",
);

const RECEIPT_NOT_FOUND: Reason = Reason::new(
    Code::NotFound,
    "RECEIPT_NOT_FOUND",
    "there is no such receipt; changes before receipts were issued have none",
);
const RESUME_UNKNOWN: Reason = Reason::new(
    Code::OutOfRange,
    "RESUME_UNKNOWN",
    "the change of this resume token is not there any more; trust nothing remembered and watch afresh",
);
const SUBJECT_EXISTS: Reason = Reason::new(
    Code::AlreadyExists,
    "SUBJECT_EXISTS",
    "a subject with this reference or id is registered already; look it up",
);
const SUBJECT_NOT_FOUND: Reason =
    Reason::new(Code::NotFound, "SUBJECT_NOT_FOUND", "there is no such subject; check the id or reference");

/// Every reason that this service gives beside those of the mesh, for documentation tests.
pub const REASONS: &[Reason] = &[
    ALGORITHM_DISABLED,
    CONFLICT,
    CONSENT_CLOSED,
    CONSENT_IN_FORCE,
    CONSENT_NOT_FOUND,
    CONSENT_NOT_IN_FORCE,
    CONSENT_NOT_REQUESTED,
    DATABASE_UNAVAILABLE,
    ETAG_MISMATCH,
    EVENT_OUT_OF_ORDER,
    EXPLICIT_STATEMENT_NEEDED,
    GUARDIAN_NEEDED,
    IMPORT_GAP,
    IMPORT_NOT_FOUND,
    KEYS_UNAVAILABLE,
    NOTICE_NOT_FOUND,
    NOTICE_NOT_PUBLISHED,
    NO_DRAFT,
    PURPOSE_ARCHIVED,
    PURPOSE_NOT_FOUND,
    PURPOSE_NOT_PUBLISHED,
    RECEIPT_NOT_FOUND,
    REQUEST_ID_REUSED,
    RESUME_UNKNOWN,
    ROW_CORRUPT,
    SUBJECT_ERASED,
    SUBJECT_EXISTS,
    SUBJECT_NOT_FOUND,
];

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

impl From<&Error> for Status {
    fn from(error: &Error) -> Self {
        match error {
            Error::Abandoned => INTERNAL.status(),
            Error::Consent(error) => consent(*error),
            Error::ConsentNotFound => CONSENT_NOT_FOUND.status(),
            Error::Import(ImportError::Gap) => IMPORT_GAP.status(),
            Error::Import(ImportError::OtherCaller) => IMPORT_NOT_FOUND.status(),
            Error::Invalid(error) => invalid(error),
            Error::KeyNotAtHand => KEYS_UNAVAILABLE.status(),
            Error::Keys(error) => keys(error),
            Error::Ledger(error) => {
                tracing::error!(%error, "the ledger does not prove");
                INTERNAL.status()
            }
            Error::Life(LifeError::Archived) => PURPOSE_ARCHIVED.status(),
            Error::Life(LifeError::EtagMismatch) => ETAG_MISMATCH.status(),
            Error::Life(LifeError::NoDraft) => NO_DRAFT.status(),
            Error::NoticeNotFound => NOTICE_NOT_FOUND.status(),
            Error::PurposeNotFound => PURPOSE_NOT_FOUND.status(),
            Error::ReceiptNotFound => RECEIPT_NOT_FOUND.status(),
            Error::RequestIdReused => REQUEST_ID_REUSED.status(),
            Error::ResumeUnknown => RESUME_UNKNOWN.status(),
            Error::Store(error) => store(error),
            Error::SubjectExists => SUBJECT_EXISTS.status(),
            Error::SubjectNotFound => SUBJECT_NOT_FOUND.status(),
            Error::Together(error) => Self::from(&**error),
            Error::Unreadable(error) => store(error),
            Error::UnpublishedPurpose => PURPOSE_NOT_PUBLISHED.status(),
        }
    }
}

fn consent(error: ConsentError) -> Status {
    match error {
        ConsentError::DelegationNotCovering => {
            invalid(&Invalid::field("delegation", "must be in force and cover the purpose"))
        }
        ConsentError::ExplicitStatementNeeded => EXPLICIT_STATEMENT_NEEDED.status(),
        ConsentError::GuardianNeeded => GUARDIAN_NEEDED.status(),
        ConsentError::Illegal(error) => illegal(error).status(),
        ConsentError::LanguageMissing => {
            invalid(&Invalid::field("language", "must be a language of the notice"))
        }
        ConsentError::NoticeNotPublished => NOTICE_NOT_PUBLISHED.status(),
        ConsentError::OtherPurpose => {
            invalid(&Invalid::field("notice_id", "must be a notice that explains the purpose"))
        }
        ConsentError::OutOfOrder => EVENT_OUT_OF_ORDER.status(),
        ConsentError::PurposeArchived => PURPOSE_ARCHIVED.status(),
        ConsentError::PurposeNotPublished => PURPOSE_NOT_PUBLISHED.status(),
        ConsentError::TooLong => {
            invalid(&Invalid::field("valid_for", "must be at most the validity of the purpose"))
        }
    }
}

fn illegal(error: IllegalChange) -> Reason {
    match error.change {
        Change::Refuse | Change::Request if error.from.permits() => CONSENT_IN_FORCE,
        Change::Invalidate | Change::Renew | Change::Revoke | Change::Withdraw => CONSENT_NOT_IN_FORCE,
        Change::Defer => CONSENT_NOT_REQUESTED,
        Change::Expire | Change::Give | Change::Refuse | Change::Request => CONSENT_CLOSED,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn reasons_have_unique_names_and_say_what_to_do() {
        let names: BTreeSet<_> = REASONS.iter().map(|reason| reason.name).collect();
        assert_eq!(names.len(), REASONS.len());
        assert!(REASONS.iter().all(|reason| reason.message.len() > 20));
    }
}
