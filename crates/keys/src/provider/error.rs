//! Why a provider did not do what it was asked.
//!
//! Invariant: nothing here holds key material, a token, a PIN or a passphrase: causes are made of what the operating
//! system, the token or the server calls the failure, never of what was sent or of what a parser stumbled over.

use std::path::PathBuf;
use std::time::Duration;

use portal_crypto::keyring::{KeyringError, RootError};
use portal_crypto::suite::Disabled;

/// One variant per cause that is met differently.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// It is there and does not let us: permissions, a wrong token, a wrong PIN.
    #[error("the key provider denies access")]
    Denied {
        /// What it says.
        #[source]
        cause: Option<Cause>,
    },
    /// The root key exists and may not be used for this.
    #[error("the root key is disabled")]
    KeyDisabled {
        /// What the provider says.
        #[source]
        cause: Option<Cause>,
    },
    /// The provider has no such root key.
    #[error("the key provider has no such root key")]
    KeyMissing {
        /// What it says.
        #[source]
        cause: Option<Cause>,
    },
    /// The provider can't be used as it is configured.
    #[error("keys.{key}: {problem}")]
    Misconfigured {
        /// The key in `[keys]`.
        key: &'static str,
        /// What it must be.
        problem: String,
        /// What went wrong.
        #[source]
        cause: Option<Cause>,
    },
    /// The wrapped key does not open: changed, of another context, or of another root key.
    #[error("the wrapped key does not open")]
    Refused {
        /// What the provider says.
        #[source]
        cause: Option<Cause>,
    },
    /// The provider is there and locked.
    #[error("the key provider is sealed")]
    Sealed {
        /// What it says.
        #[source]
        cause: Option<Cause>,
    },
    /// No answer within the configured time.
    #[error("the key provider did not answer within {} ms", after.as_millis())]
    TimedOut {
        /// The configured time.
        after: Duration,
    },
    /// It is not there, or can't serve anybody now.
    #[error("the key provider can't be reached")]
    Unreachable {
        /// How it failed.
        #[source]
        cause: Option<Cause>,
    },
}

impl ProviderError {
    /// A short, stable name for metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Denied { .. } => "denied",
            Self::KeyDisabled { .. } => "key_disabled",
            Self::KeyMissing { .. } => "key_missing",
            Self::Misconfigured { .. } => "misconfigured",
            Self::Refused { .. } => "refused",
            Self::Sealed { .. } => "sealed",
            Self::TimedOut { .. } => "timed_out",
            Self::Unreachable { .. } => "unreachable",
        }
    }

    /// Whether the same call may succeed later without anybody changing the configuration, the keys or the data.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Sealed { .. } | Self::TimedOut { .. } | Self::Unreachable { .. } => true,
            Self::Denied { .. }
            | Self::KeyDisabled { .. }
            | Self::KeyMissing { .. }
            | Self::Misconfigured { .. }
            | Self::Refused { .. } => false,
        }
    }

    pub(crate) fn misconfigured(key: &'static str, problem: impl Into<String>) -> Self {
        Self::Misconfigured { key, problem: problem.into(), cause: None }
    }
}

/// What a provider, or the system below it, said.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// An answer of the server that is no success.
    #[error("HTTP {status}: {message}")]
    Answer {
        /// The status.
        status: u16,
        /// The server's words, at most 200 characters; empty if it said nothing that its interface describes.
        message: String,
    },
    /// The configuration has switched the algorithm off.
    #[error(transparent)]
    Disabled(Disabled),
    /// A file.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The contents of the keyring file.
    #[error(transparent)]
    Keyring(KeyringError),
    /// The way to the server.
    #[cfg(feature = "vault")]
    #[error(transparent)]
    Http(Box<reqwest::Error>),
    /// A root key of the keyring file.
    #[error(transparent)]
    Root(RootError),
    /// No slot has a token with this label.
    #[error("there is no token {0:?}")]
    NoToken(String),
    /// The token has refused the PIN that is still in the file; another try could lock the token.
    #[error("the token has refused this PIN before: write the right one into the file")]
    PinRefusedBefore,
    /// A thread could not be started.
    #[error("no thread for it")]
    Thread(#[source] std::io::Error),
    /// A function of the token.
    #[cfg(feature = "pkcs11")]
    #[error(transparent)]
    Token(Box<cryptoki::error::Error>),
}

#[cfg(feature = "vault")]
impl Cause {
    pub(crate) fn http(error: reqwest::Error) -> Self {
        Self::Http(Box::new(error.without_url()))
    }
}
