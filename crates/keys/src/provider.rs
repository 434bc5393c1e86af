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
//! | [`error`] | why a provider did not do it |
//! | [`mod@file`] | the root keys in a file, X-Wing |
//! | `pkcs11` | the root keys in a token, AES-256-GCM |
//! | `vault` | the root keys in a Transit engine, AES-256-GCM |
//! | `blocking` | work that blocks, off the async threads |
//! | `secret_file` | reading files that hold a secret |

mod blocking;
pub mod error;
pub mod file;
#[cfg(feature = "pkcs11")]
mod pkcs11;
mod secret_file;
#[cfg(feature = "vault")]
mod vault;

use std::sync::Arc;
use std::time::Duration;

use portal_core::id::RootId;
use portal_core::{Clock, Entropy};
use portal_crypto::inventory::{KeyInfo, KeyState};
use portal_crypto::key::KeyBytes;
use portal_crypto::suite::{Algorithm, Suites};
use portal_crypto::wrapped::{KeyContext, WrappedKey};

use crate::config::{KeysConfig, ProviderConfig};

pub use error::{Cause, ProviderError};

/// A provider. Cheap to share by `Arc`; may be called from several tasks at once.
pub struct Provider {
    backend: Backend,
    suites: Suites,
    timeout: Duration,
}

enum Backend {
    File(file::Keyfile),
    #[cfg(feature = "pkcs11")]
    Pkcs11(pkcs11::Token),
    #[cfg(feature = "vault")]
    Vault(vault::Transit),
}

impl Provider {
    /// The provider that `config` names, after it has answered and has an active root key.
    ///
    /// # Errors
    /// Any [`ProviderError`]; [`ProviderError::KeyMissing`] if it has no root key yet.
    pub async fn open(
        config: &KeysConfig,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, ProviderError> {
        let provider = Self::new(config, clock, entropy)?;
        provider.active_root().await?;
        Ok(provider)
    }

    /// As [`Provider::open`], but makes the first root key if the provider has none: for `portal up`, `portal keys`
    /// and tests. A service only opens.
    ///
    /// # Errors
    /// Any [`ProviderError`].
    pub async fn create(
        config: &KeysConfig,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, ProviderError> {
        let provider = Self::new(config, clock, entropy)?;
        let created = async {
            match &provider.backend {
                Backend::File(keyfile) => keyfile.create().await,
                #[cfg(feature = "pkcs11")]
                Backend::Pkcs11(token) => token.add_root(true).await,
                #[cfg(feature = "vault")]
                Backend::Vault(transit) => transit.create().await,
            }
        };
        provider.in_time(created).await?;
        Ok(provider)
    }

    fn new(
        config: &KeysConfig,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, ProviderError> {
        let names = config.disabled_algorithms.iter().map(String::as_str);
        let suites = Suites::all_but_named(names)
            .map_err(|error| ProviderError::misconfigured("disabled_algorithms", error.to_string()))?;
        let backend = backend(config.provider.clone(), suites, clock, entropy)?;
        Ok(Self { backend, suites, timeout: config.provider_timeout })
    }

    /// The name in the configuration and in metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self.backend {
            Backend::File(_) => "file",
            #[cfg(feature = "pkcs11")]
            Backend::Pkcs11(_) => "pkcs11",
            #[cfg(feature = "vault")]
            Backend::Vault(_) => "vault",
        }
    }

    /// How long a call may take.
    pub(crate) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Wraps `key` under the active root key, bound to `context` and to that root key.
    ///
    /// # Errors
    /// Any [`ProviderError`].
    pub async fn wrap(&self, context: &KeyContext, key: &KeyBytes) -> Result<WrappedKey, ProviderError> {
        self.require(self.algorithm())?;
        let wrapped = async {
            match &self.backend {
                Backend::File(keyfile) => keyfile.wrap(*context, key).await,
                #[cfg(feature = "pkcs11")]
                Backend::Pkcs11(token) => token.wrap(*context, key).await,
                #[cfg(feature = "vault")]
                Backend::Vault(transit) => transit.wrap(context, key).await,
            }
        };
        self.in_time(wrapped).await
    }

    /// The key that was wrapped for `context`.
    ///
    /// # Errors
    /// Any [`ProviderError`]; [`ProviderError::Refused`] if it was wrapped for another context or was changed,
    /// [`ProviderError::KeyMissing`] if the provider does not have its root key.
    pub async fn unwrap(
        &self,
        context: &KeyContext,
        wrapped: &WrappedKey,
    ) -> Result<KeyBytes, ProviderError> {
        if wrapped.algorithm != self.algorithm() {
            return Err(ProviderError::Refused { cause: None });
        }
        self.require(wrapped.algorithm)?;
        let unwrapped = async {
            match &self.backend {
                Backend::File(keyfile) => keyfile.unwrap(*context, wrapped.clone()).await,
                #[cfg(feature = "pkcs11")]
                Backend::Pkcs11(token) => token.unwrap(*context, wrapped.clone()).await,
                #[cfg(feature = "vault")]
                Backend::Vault(transit) => transit.unwrap(context, wrapped).await,
            }
        };
        self.in_time(unwrapped).await
    }

    /// The id of the root key that wraps now. Another process may have rotated it since the last call.
    ///
    /// # Errors
    /// Any [`ProviderError`].
    pub async fn active_root(&self) -> Result<RootId, ProviderError> {
        let active = self.roots().await?.into_iter().find(|root| root.state() == KeyState::Active);
        active.map(|root| *root.id()).ok_or(ProviderError::KeyMissing { cause: None })
    }

    /// All root keys, newest first; the first is the active one. A keyring file lists those destroyed too.
    ///
    /// # Errors
    /// Any [`ProviderError`].
    pub async fn roots(&self) -> Result<Vec<KeyInfo<RootId>>, ProviderError> {
        let roots = async {
            match &self.backend {
                Backend::File(keyfile) => keyfile.roots().await,
                #[cfg(feature = "pkcs11")]
                Backend::Pkcs11(token) => token.roots().await,
                #[cfg(feature = "vault")]
                Backend::Vault(transit) => transit.roots().await,
            }
        };
        self.in_time(roots).await
    }

    /// Makes a new root key the active one; the others still unwrap. Returns its id. If the answer is lost, the key may
    /// have been made all the same.
    ///
    /// # Errors
    /// Any [`ProviderError`].
    pub async fn rotate_root(&self) -> Result<RootId, ProviderError> {
        let rotated = async {
            match &self.backend {
                Backend::File(keyfile) => keyfile.rotate().await,
                #[cfg(feature = "pkcs11")]
                Backend::Pkcs11(token) => token.add_root(false).await,
                #[cfg(feature = "vault")]
                Backend::Vault(transit) => transit.rotate().await,
            }
        };
        self.in_time(rotated).await
    }

    /// Destroys a retired root key: what is still wrapped under it is lost for ever. Whether anything is, the caller
    /// must know. A Transit engine can only destroy the oldest.
    ///
    /// # Errors
    /// Any [`ProviderError`]; [`ProviderError::Misconfigured`] if it is the active one.
    pub async fn destroy_root(&self, id: RootId) -> Result<(), ProviderError> {
        if self.active_root().await? == id {
            return Err(ProviderError::misconfigured("provider", "the active root key can't be destroyed"));
        }
        let destroyed = async {
            match &self.backend {
                Backend::File(keyfile) => keyfile.destroy(id).await,
                #[cfg(feature = "pkcs11")]
                Backend::Pkcs11(token) => token.destroy_root(id).await,
                #[cfg(feature = "vault")]
                Backend::Vault(transit) => transit.destroy(id).await,
            }
        };
        self.in_time(destroyed).await
    }

    /// How it wraps.
    const fn algorithm(&self) -> Algorithm {
        match self.backend {
            Backend::File(_) => Algorithm::XWing,
            #[cfg(feature = "pkcs11")]
            Backend::Pkcs11(_) => Algorithm::ProviderWrap,
            #[cfg(feature = "vault")]
            Backend::Vault(_) => Algorithm::ProviderWrap,
        }
    }

    fn require(&self, algorithm: Algorithm) -> Result<(), ProviderError> {
        let disabled = |error| ProviderError::KeyDisabled { cause: Some(Cause::Disabled(error)) };
        self.suites.require(algorithm).map_err(disabled)
    }

    async fn in_time<T>(
        &self,
        call: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        let late = |_| Err(ProviderError::TimedOut { after: self.timeout });
        tokio::time::timeout(self.timeout, call).await.unwrap_or_else(late)
    }
}

#[cfg_attr(
    not(any(feature = "pkcs11", feature = "vault")),
    allow(clippy::needless_pass_by_value, reason = "others need them")
)]
fn backend(
    config: ProviderConfig,
    suites: Suites,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Backend, ProviderError> {
    match config {
        ProviderConfig::File { root_key_file, passphrase_file } => {
            let settings = file::Settings { root_key_file, passphrase_file, suites };
            Ok(Backend::File(file::Keyfile::new(settings, clock, entropy)))
        }
        #[cfg(feature = "pkcs11")]
        ProviderConfig::Pkcs11 { module, token_label, pin_file, key_label } => {
            let settings = pkcs11::Settings { module, token_label, pin_file, key_label };
            Ok(Backend::Pkcs11(pkcs11::Token::new(settings, clock, entropy)))
        }
        #[cfg(feature = "vault")]
        ProviderConfig::Vault { address, token_file, ca_file, mount, key } => {
            let settings = vault::Settings { address, token_file, ca_file, mount, key };
            vault::Transit::new(settings).map(Backend::Vault)
        }
        #[cfg(not(all(feature = "pkcs11", feature = "vault")))]
        other => Err(ProviderError::misconfigured(
            "provider",
            format!("this binary is built without {}", other.name()),
        )),
    }
}

/// The lives of root keys that are given newest first: each but the first retired when the next one was made.
#[cfg(any(feature = "pkcs11", feature = "vault"))]
fn lives(
    newest_first: impl Iterator<Item = (RootId, portal_core::Timestamp)>,
) -> Result<Vec<KeyInfo<RootId>>, ProviderError> {
    use portal_crypto::inventory::KeyPurpose;

    let mut next = None;
    let life = |(id, created)| {
        let key = KeyInfo::new(id, Algorithm::ProviderWrap, KeyPurpose::Root, created);
        match next.replace(created) {
            None => Ok(key),
            Some(retired) => key.retire(retired),
        }
    };
    let lives: Result<Vec<_>, _> = newest_first.map(life).collect();
    lives.map_err(|error| ProviderError::misconfigured("provider", error.to_string()))
}
