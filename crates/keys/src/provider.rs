//! The holder of the root key: L0 of the hierarchy.
//!
//! Promise: what [`Provider::wrap`] returns opens by [`Provider::unwrap`] of a provider that has the same root key, for
//! the same [`KeyContext`], and in no other way. The root key never enters the database, and of the token and the
//! server not even this process.
//!
//! Invariants: every call ends within the configured time; a failure is a [`ProviderError`] and nothing else happens:
//! no other provider, no other key, no plaintext is tried; the context and the root's id are authenticated by each
//! provider; no error holds key material, a token, a PIN or a passphrase.
//!
//! | module | holds |
//! |---|---|
//! | [`context`] | what a wrapped key is bound to |
//! | [`error`] | why a provider did not do it |

pub mod context;
pub mod error;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use portal_core::{Clock, Entropy, LogSafe, Sensitive, Timestamp};
use uuid::Uuid;

use crate::config::{KeysConfig, ProviderConfig};

pub use context::{KeyContext, KeyUse};
pub use error::{Cause, ProviderError};

/// Which root key: 16 bytes. In a keyring file and in a token they are given to the key when it is made; of a Transit
/// key they are derived from its name and version.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RootId([u8; 16]);

impl RootId {
    /// The id with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes, as records hold them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for RootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).as_hyphenated().fmt(f)
    }
}

impl LogSafe for RootId {}

/// How a key is wrapped; the number is that of the suite in `crypto.md`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum WrapSuite {
    /// HPKE with X-Wing, HKDF-SHA256, AES-256-GCM (0x0101): 1,120 bytes encapsulation, 48 bytes ciphertext.
    HpkeXWing,
    /// Symmetric, by the provider itself (0x0110): its own form, at most 512 bytes.
    Provider,
}

impl WrapSuite {
    /// The stable number.
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::HpkeXWing => 0x0101,
            Self::Provider => 0x0110,
        }
    }
}

/// A wrapped 32-byte key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wrapped {
    /// How.
    pub suite: WrapSuite,
    /// Under which root key.
    pub root_id: RootId,
    /// What the provider made of the key. Not secret.
    pub bytes: Vec<u8>,
}

/// A root key, for the inventory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Root {
    /// Which.
    pub id: RootId,
    /// What it does.
    pub state: RootState,
    /// How it wraps.
    pub suite: WrapSuite,
    /// When it was made, if the provider knows.
    pub created: Option<Timestamp>,
}

/// What a root key does.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RootState {
    /// Wraps and unwraps; there is one.
    Active,
    /// Unwraps only.
    Retired,
}

/// A provider, connected.
pub struct Provider {
    backend: Backend,
    timeout: Duration,
}

enum Backend {}

impl Provider {
    /// Connects to the provider that `config` names and looks up its active root key.
    ///
    /// # Errors
    /// Any [`ProviderError`].
    pub async fn open(
        config: &KeysConfig,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, ProviderError> {
        let _ = (clock, entropy);
        match &config.provider {
            ProviderConfig::File { .. } | ProviderConfig::Pkcs11 { .. } | ProviderConfig::Vault { .. } => {
                Err(ProviderError::not_built(config.provider.name()))
            }
        }
    }

    /// The name in the configuration and in metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self.backend {}
    }

    /// Wraps `key` under the active root key, bound to `context`.
    ///
    /// # Errors
    /// Any [`ProviderError`].
    pub async fn wrap(
        &self,
        context: &KeyContext,
        key: &Sensitive<[u8; 32]>,
    ) -> Result<Wrapped, ProviderError> {
        let _ = (context, key, self.timeout);
        match self.backend {}
    }

    /// The key that was wrapped for `context`.
    ///
    /// # Errors
    /// Any [`ProviderError`]; [`ProviderError::Refused`] if it was wrapped for another context or was changed.
    pub async fn unwrap(
        &self,
        context: &KeyContext,
        wrapped: &Wrapped,
    ) -> Result<Sensitive<[u8; 32]>, ProviderError> {
        let _ = (context, wrapped);
        match self.backend {}
    }

    /// The id of the root key that wraps now. Another process may have rotated it since.
    ///
    /// # Errors
    /// Any [`ProviderError`].
    pub async fn active_root(&self) -> Result<RootId, ProviderError> {
        let active = self.roots().await?.into_iter().find(|root| root.state == RootState::Active);
        active.map(|root| root.id).ok_or(ProviderError::KeyMissing { cause: None })
    }

    /// All root keys, the active one first, then the newest.
    ///
    /// # Errors
    /// Any [`ProviderError`].
    pub async fn roots(&self) -> Result<Vec<Root>, ProviderError> {
        match self.backend {}
    }

    /// Makes a new root key the active one; the one before still unwraps. Returns the new one's id.
    ///
    /// # Errors
    /// Any [`ProviderError`].
    pub async fn rotate_root(&self) -> Result<RootId, ProviderError> {
        match self.backend {}
    }

    /// Destroys a retired root key: what is still wrapped under it is lost for ever.
    ///
    /// # Errors
    /// Any [`ProviderError`]; [`ProviderError::Misconfigured`] for the active one.
    pub async fn destroy_root(&self, id: RootId) -> Result<(), ProviderError> {
        let _ = id;
        match self.backend {}
    }
}
