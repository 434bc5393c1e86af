//! Errors on the wire: the one place that decides what a caller is told.

use std::error::Error as _;
use std::fmt::Display;
use std::time::Duration;

use portal_core::Invalid;
use portal_crypto::jose::SignError;
use portal_crypto::token::IssueError;
use portal_keys::KeysError;
use portal_mesh::status::{self, Reason, reason};
use portal_upkeep::reasons::REQUEST_ID_REUSED;
use portal_upkeep::status::{keys, store};
use tonic::{Code, Status};

use crate::error::Error;

const ACCOUNT_NOT_FOUND: Reason =
    Reason::new(Code::NotFound, "ACCOUNT_NOT_FOUND", "there is no account with this id");
const AUTHORIZATION_NOT_FOUND: Reason = Reason::new(
    Code::NotFound,
    "AUTHORIZATION_NOT_FOUND",
    "the authorization request is unknown, decided or over; start again at the application",
);
const CHALLENGE_REJECTED: Reason = Reason::new(
    Code::Unauthenticated,
    "CHALLENGE_REJECTED",
    "the challenge is unknown, used or over, or the proof of the factor is wrong; try another code, or sign in again",
);
const CLIENT_NOT_FOUND: Reason =
    Reason::new(Code::NotFound, "CLIENT_NOT_FOUND", "there is no client with this id");
const CLIENT_PUBLIC: Reason = Reason::new(
    Code::FailedPrecondition,
    "CLIENT_PUBLIC",
    "a public client has no secret; register a confidential one if it can keep one",
);
const CREDENTIALS_REJECTED: Reason = Reason::new(
    Code::Unauthenticated,
    "CREDENTIALS_REJECTED",
    "e-mail address or password are wrong, or the account may not sign in at present",
);
const EMAIL_TAKEN: Reason = Reason::new(
    Code::AlreadyExists,
    "EMAIL_TAKEN",
    "an account with this e-mail address exists; sign in instead",
);
const ETAG_MISMATCH: Reason =
    Reason::new(Code::Aborted, "ETAG_MISMATCH", "the resource was changed since it was read; read it again");
const FACTOR_LOCKED: Reason = Reason::new(
    Code::ResourceExhausted,
    "FACTOR_LOCKED",
    "too many proofs of this account's factors were wrong; wait before the next one",
);
const FACTOR_NOT_FOUND: Reason =
    Reason::new(Code::NotFound, "FACTOR_NOT_FOUND", "this account has no such factor");
const FACTOR_REJECTED: Reason = Reason::new(
    Code::PermissionDenied,
    "FACTOR_REJECTED",
    "the proof of a factor is wrong, or was used before; a code of an authenticator is good once",
);
const LAST_OPERATOR: Reason = Reason::new(
    Code::FailedPrecondition,
    "LAST_OPERATOR",
    "this is the last operator who can sign in; make another account operator first",
);
const LOCKED_OUT: Reason = Reason::new(
    Code::ResourceExhausted,
    "LOCKED_OUT",
    "too many sign-ins failed with this e-mail address; wait before the next one, or recover the account",
);
const MAIL_OFF: Reason = Reason::new(
    Code::FailedPrecondition,
    "MAIL_OFF",
    "this installation sends no mail: nothing that takes one can be done; ask whoever runs it",
);
const NOT_SEALED: Reason = Reason::new(
    Code::FailedPrecondition,
    "NOT_SEALED",
    "a data migration that seals personal data is not committed: nobody can be erased before; ask whoever runs it",
);
const NOTHING_TO_CONFIRM: Reason = Reason::new(
    Code::FailedPrecondition,
    "NOTHING_TO_CONFIRM",
    "no authenticator with this id waits for its first code; enrol it again",
);
const PASSKEY_LIMIT: Reason = Reason::new(
    Code::FailedPrecondition,
    "PASSKEY_LIMIT",
    "this account has 20 passkeys, and no more are kept; delete one that is not in use",
);
const PASSKEYS_OFF: Reason = Reason::new(
    Code::FailedPrecondition,
    "PASSKEYS_OFF",
    "this installation has no passkeys; its operator has to say for which domain they are",
);
const PASSWORD_WRONG: Reason = Reason::new(
    Code::PermissionDenied,
    "PASSWORD_WRONG",
    "the current password is wrong, or was just changed; nothing was changed",
);
const RESUME_UNKNOWN: Reason = Reason::new(
    Code::OutOfRange,
    "RESUME_UNKNOWN",
    "what came after this resume token is no longer kept; trust nothing remembered and watch afresh",
);
const SESSION_NOT_FOUND: Reason =
    Reason::new(Code::NotFound, "SESSION_NOT_FOUND", "there is no session with this id");

const TOO_MANY_ATTEMPTS: Reason = Reason::new(
    Code::ResourceExhausted,
    "TOO_MANY_ATTEMPTS",
    "too many attempts lately; wait before the next one",
);

const TOTP_ON: Reason = Reason::new(
    Code::FailedPrecondition,
    "TOTP_ON",
    "this account has an authenticator; disable it before enrolling another",
);

const USER_CODE_UNKNOWN: Reason = Reason::new(
    Code::NotFound,
    "USER_CODE_UNKNOWN",
    "no device that waits shows this code; compare it, or start again at the device",
);
const USER_CODES_LOCKED: Reason = Reason::new(
    Code::ResourceExhausted,
    "USER_CODES_LOCKED",
    "this account typed too many codes that no device shows; wait before the next one",
);

/// Every reason that auth gives beside the mesh's own and those that all services have in common.
pub const REASONS: &[Reason] = &[
    ACCOUNT_NOT_FOUND,
    AUTHORIZATION_NOT_FOUND,
    CHALLENGE_REJECTED,
    CLIENT_NOT_FOUND,
    CLIENT_PUBLIC,
    CREDENTIALS_REJECTED,
    EMAIL_TAKEN,
    ETAG_MISMATCH,
    FACTOR_LOCKED,
    FACTOR_NOT_FOUND,
    FACTOR_REJECTED,
    LAST_OPERATOR,
    LOCKED_OUT,
    MAIL_OFF,
    NOT_SEALED,
    NOTHING_TO_CONFIRM,
    PASSKEY_LIMIT,
    PASSKEYS_OFF,
    PASSWORD_WRONG,
    RESUME_UNKNOWN,
    SESSION_NOT_FOUND,
    TOO_MANY_ATTEMPTS,
    TOTP_ON,
    USER_CODE_UNKNOWN,
    USER_CODES_LOCKED,
];

/// When to come back while the service is busy.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A field of the request that does not do, and why.
fn bad(field: &str, why: impl Display) -> Status {
    status::invalid(&Invalid::field(field, why))
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

impl From<&Error> for Status {
    fn from(error: &Error) -> Self {
        match error {
            Error::AccountNotFound => ACCOUNT_NOT_FOUND.status(),
            Error::AuthorizationNotFound => AUTHORIZATION_NOT_FOUND.status(),
            Error::ClientNotFound => CLIENT_NOT_FOUND.status(),
            Error::NoSecret(_) => CLIENT_PUBLIC.status(),
            Error::ChallengeRejected => CHALLENGE_REJECTED.status(),
            Error::CodeWrong => bad("code", "is not the code of this authenticator now"),
            Error::CredentialWrong => {
                bad("credential_json", "does not answer this registration, or is registered")
            }
            Error::CredentialsRejected => CREDENTIALS_REJECTED.status(),
            Error::EmailTaken => EMAIL_TAKEN.status(),
            Error::EtagMismatch(_) => ETAG_MISMATCH.status(),
            Error::FactorLocked(left) => status::retry_after(FACTOR_LOCKED, *left),
            Error::FactorNotFound => FACTOR_NOT_FOUND.status(),
            Error::FactorRejected => FACTOR_REJECTED.status(),
            Error::Keys(error) => keys(error),
            Error::LastOperator => LAST_OPERATOR.status(),
            Error::LockedOut(left) => status::retry_after(LOCKED_OUT, *left),
            Error::MailOff => MAIL_OFF.status(),
            Error::MailTokenRejected(field) => bad(field, "is no token from a mail, or was used, or is over"),
            Error::NotSealed(_) => NOT_SEALED.status(),
            Error::NothingToConfirm => NOTHING_TO_CONFIRM.status(),
            Error::NotYourData => reason::NOT_YOUR_DATA.status(),
            Error::PasskeyLimit => PASSKEY_LIMIT.status(),
            Error::PasskeysOff => PASSKEYS_OFF.status(),
            Error::PasswordWrong => PASSWORD_WRONG.status(),
            Error::RegistrationUnknown => bad("registration_id", "is unknown, used or over"),
            Error::RequestIdReused => REQUEST_ID_REUSED.status(),
            Error::ResumeUnknown => RESUME_UNKNOWN.status(),
            Error::SessionNotFound => SESSION_NOT_FOUND.status(),
            Error::Store(error) => store(error),
            Error::ProofMissing => reason::DPOP_PROOF_NEEDED.status(),
            Error::TokenInvalid => reason::TOKEN_INVALID.status(),
            Error::TokenNotIssued(IssueError::Disabled(disabled)) => keys(&KeysError::Disabled(*disabled)),
            Error::TooManyAttempts(wait) => status::retry_after(TOO_MANY_ATTEMPTS, *wait),
            Error::TotpOn => TOTP_ON.status(),
            Error::TooManyPasswords => status::retry_after(reason::OVERLOADED, RETRY_AFTER),
            Error::UserCodeUnknown => USER_CODE_UNKNOWN.status(),
            Error::UserCodesLocked(left) => status::retry_after(USER_CODES_LOCKED, *left),
            Error::WeakPassword { field, weak } => bad(field, weak),
            Error::TokenNotSigned(SignError::Disabled(disabled)) => keys(&KeysError::Disabled(*disabled)),
            Error::Together(error) => Self::from(&**error),
            Error::Abandoned
            | Error::Ceremony(_)
            | Error::HashingStopped(_)
            | Error::NoSigningKey
            | Error::Password(_)
            | Error::ScopeUnwritable(_)
            | Error::SigningKey(_)
            | Error::TokenNotIssued(_)
            | Error::TokenNotSigned(_)
            | Error::TotpUri => {
                tracing::error!(%error, cause = error.source(), "internal error");
                reason::INTERNAL.status()
            }
        }
    }
}
