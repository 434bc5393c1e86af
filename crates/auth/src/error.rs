//! Why a use case did not do what it was asked to. `service/status.rs` says it to the caller.

use std::sync::Arc;

use portal_crypto::jose::SignError;
use portal_crypto::password::PasswordError;
use portal_crypto::sign::BackendFailure;
use portal_crypto::token::{InvalidScope, IssueError};
use portal_keys::{KeysError, ReplyError};
use portal_store::StoreError;
use portal_store::idempotency::IdempotencyError;
use portal_upkeep::erasure::ErasureError;

use crate::domain::WeakPassword;
use crate::domain::account::EtagMismatch;
use crate::domain::client::NoSecret;

/// One variant per cause.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The task that was to write it ended early.
    #[error("the task that was to write it ended")]
    Abandoned,
    /// There is no such account.
    #[error("there is no such account")]
    AccountNotFound,
    /// The authorization request is unknown, decided or over.
    #[error("there is no such authorization request")]
    AuthorizationNotFound,
    /// A ceremony with a passkey could not be begun, or what was kept of one could not be read.
    #[error("a ceremony with a passkey failed")]
    Ceremony(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The challenge of a sign-in is unknown, used or over, or the proof is wrong: nobody is told which.
    #[error("the challenge or the proof was rejected")]
    ChallengeRejected,
    /// There is no such client.
    #[error("there is no such client")]
    ClientNotFound,
    /// A new authenticator was not confirmed by its code.
    #[error("the code is wrong")]
    CodeWrong,
    /// What a browser made is not the passkey that it was asked for.
    #[error("the credential does not answer the registration")]
    CredentialWrong,
    /// E-mail address or password are wrong, or the account is locked: nobody is told which.
    #[error("the credentials were rejected")]
    CredentialsRejected,
    /// Another account has the e-mail address.
    #[error("the e-mail address is taken")]
    EmailTaken,
    /// The account was changed since the caller read it.
    #[error(transparent)]
    EtagMismatch(#[from] EtagMismatch),
    /// There is no such factor.
    #[error("there is no such factor")]
    FactorNotFound,
    /// So many proofs of the account's factors were wrong that none is looked at for this long.
    #[error("too many proofs of a factor were wrong")]
    FactorLocked(std::time::Duration),
    /// The proof of a factor is wrong.
    #[error("the proof of a factor is wrong")]
    FactorRejected,
    /// The thread of a password's hash ended early.
    #[error("a password could not be hashed: its thread ended")]
    HashingStopped(#[source] tokio::task::JoinError),
    /// The key of a person could not be had.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// There is no key that signs by the algorithm that is asked for.
    #[error("no key signs by this algorithm")]
    NoSigningKey,
    /// Nobody would be left who can set roles.
    #[error("this is the last operator")]
    LastOperator,
    /// This installation sends no mail.
    #[error("no mail is sent")]
    MailOff,
    /// A token from a mail, in this field, is unknown, used or over: nobody is told which.
    #[error("the token of a mail was rejected")]
    MailTokenRejected(&'static str),
    /// A data migration that seals what is personal is not committed: what it has not sealed would outlive its person.
    #[error("the data migration {0} is not committed")]
    NotSealed(&'static str),
    /// The caller reaches its own account only.
    #[error("the account is somebody else's")]
    NotYourData,
    /// So many sign-ins failed for the address that nobody may try for this long.
    #[error("too many sign-ins failed")]
    LockedOut(std::time::Duration),
    /// A public client has no secret.
    #[error(transparent)]
    NoSecret(#[from] NoSecret),
    /// No authenticator waits for its first code under this id.
    #[error("no authenticator waits for its first code")]
    NothingToConfirm,
    /// The account has as many passkeys as it may.
    #[error("the account has as many passkeys as it may")]
    PasskeyLimit,
    /// The configuration says nothing of passkeys.
    #[error("there are no passkeys")]
    PasskeysOff,
    /// The password of now is another.
    #[error("the current password is wrong")]
    PasswordWrong,
    /// A password could not be hashed.
    #[error("a password could not be hashed")]
    Password(#[from] PasswordError),
    /// A scope could not be put into a token.
    #[error("a scope could not be put into a token")]
    ScopeUnwritable(#[from] InvalidScope),
    /// No registration of a passkey waits under this id.
    #[error("no registration waits")]
    RegistrationUnknown,
    /// Calls that were to be committed together were not.
    #[error(transparent)]
    Together(Arc<Error>),
    /// The token is bound to a key, and none was proven.
    #[error("the token is bound to a key that was not proven")]
    ProofMissing,
    /// The request id was used for another request.
    #[error("the request id was used for another request")]
    RequestIdReused,
    /// The feed no longer holds what comes after this place.
    #[error("the place in the feed is no longer known")]
    ResumeUnknown,
    /// A key that signs tokens could not be made or opened.
    #[error("a key that signs tokens could not be made or opened")]
    SigningKey(#[from] BackendFailure),
    /// There is no such session.
    #[error("there is no such session")]
    SessionNotFound,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The token is unknown, has expired or was revoked.
    #[error("the token is not valid")]
    TokenInvalid,
    /// There is an authenticator that counts.
    #[error("an authenticator is on")]
    TotpOn,
    /// An authenticator could not be put into a URI.
    #[error("an authenticator could not be put into a URI")]
    TotpUri,
    /// A token could not be signed.
    #[error("a token could not be signed")]
    TokenNotIssued(#[from] IssueError),
    /// A token for clients outside could not be signed.
    #[error("a token for a client could not be signed")]
    TokenNotSigned(#[from] SignError),
    /// From this client, with this e-mail address or in all there were so many attempts that the next one has to wait this
    /// long.
    #[error("too many attempts")]
    TooManyAttempts(std::time::Duration),
    /// Too many passwords wait to be hashed.
    #[error("too many passwords wait to be hashed")]
    TooManyPasswords,
    /// No device that waits shows this code.
    #[error("no device shows this code")]
    UserCodeUnknown,
    /// So many codes of devices were not found that none is looked for, for this long.
    #[error("too many codes of devices were not found")]
    UserCodesLocked(std::time::Duration),
    /// A password that is easy to guess can't be set.
    #[error("{weak}")]
    WeakPassword {
        /// The field that has it.
        field: &'static str,
        /// Why.
        weak: WeakPassword,
    },
}

impl Error {
    /// The same, said of a field with another name.
    #[must_use]
    pub fn of_field(self, field: &'static str) -> Self {
        match self {
            Self::WeakPassword { weak, .. } => Self::WeakPassword { field, weak },
            other => other,
        }
    }
}

impl From<WeakPassword> for Error {
    fn from(weak: WeakPassword) -> Self {
        Self::WeakPassword { field: "password", weak }
    }
}

impl From<ReplyError> for Error {
    fn from(error: ReplyError) -> Self {
        match error {
            ReplyError::Keys(error) => Self::Keys(error),
            ReplyError::Store(error) => Self::Store(error),
        }
    }
}

impl From<IdempotencyError> for Error {
    fn from(error: IdempotencyError) -> Self {
        match error {
            IdempotencyError::Mismatch => Self::RequestIdReused,
            IdempotencyError::Store(error) => Self::Store(error),
        }
    }
}

impl From<ErasureError> for Error {
    fn from(error: ErasureError) -> Self {
        match error {
            ErasureError::Keys(error) => Self::Keys(error),
            ErasureError::Store(error) => Self::Store(error),
            ErasureError::Unsealed { migration } => Self::NotSealed(migration),
        }
    }
}
