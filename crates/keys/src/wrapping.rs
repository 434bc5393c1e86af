//! Keys under the root: wrapped by the provider, kept as records with a commitment.

use std::sync::Arc;

use portal_core::id::RootId;
use portal_crypto::inventory::KeyInfo;
use portal_crypto::key::KeyBytes;
use portal_crypto::suite::{Disabled, Suites};
use portal_crypto::wrapped::{KeyContext, WrappedKeyRecord};

use crate::error::Stored;
use crate::metrics::Metrics;
use crate::provider::Cause;
use crate::{KeysError, Provider, ProviderError};

/// The provider, and what every call of it needs.
pub(crate) struct Root {
    pub(crate) provider: Provider,
    pub(crate) suites: Suites,
    pub(crate) metrics: Metrics,
}

/// A key that was not wrapped or opened, for reasons which all who waited for it are told.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The record is not what was written.
    Corrupt,
    /// Its algorithm is switched off.
    Disabled(Disabled),
    /// The provider did not do it.
    Provider(Arc<ProviderError>),
}

impl Failure {
    /// The error about the key `id`.
    pub(crate) fn of(self, what: Stored, id: impl ToString) -> KeysError {
        match self {
            Self::Corrupt => KeysError::corrupt(what, id),
            Self::Disabled(disabled) => KeysError::Disabled(disabled),
            Self::Provider(error) => KeysError::Unavailable(error),
        }
    }
}

impl From<ProviderError> for Failure {
    fn from(error: ProviderError) -> Self {
        match error {
            // The provider is well; what it was given was not made by it for this context.
            ProviderError::Refused { .. } => Self::Corrupt,
            ProviderError::KeyDisabled { cause: Some(Cause::Disabled(disabled)) } => Self::Disabled(disabled),
            other => Self::Provider(Arc::new(other)),
        }
    }
}

impl Root {
    /// The record of `key` under the active root key, and that root.
    pub(crate) async fn wrap(
        &self,
        context: &KeyContext,
        key: &KeyBytes,
    ) -> Result<(RootId, Vec<u8>), Failure> {
        let result = self.measured("wrap", self.provider.wrap(context, key)).await;
        let wrapped = result?;
        self.suites.require(wrapped.algorithm).map_err(Failure::Disabled)?;
        let root = wrapped.root;
        let record = WrappedKeyRecord::new(context, wrapped, key).map_err(|_| Failure::Corrupt)?;
        Ok((root, record.to_bytes()))
    }

    /// The key of a stored record, checked against its commitment.
    pub(crate) async fn unwrap(
        &self,
        context: &KeyContext,
        record: &WrappedKeyRecord,
    ) -> Result<KeyBytes, Failure> {
        self.suites.require(record.wrapped().algorithm).map_err(Failure::Disabled)?;
        let result = self.measured("unwrap", self.provider.unwrap(context, record.wrapped())).await;
        let key = result?;
        record.check(context, &key).map_err(|_| Failure::Corrupt)?;
        Ok(key)
    }

    /// The root key that wraps now.
    pub(crate) async fn active(&self) -> Result<RootId, KeysError> {
        self.measured("roots", self.provider.active_root()).await.map_err(unavailable)
    }

    /// All root keys of the provider.
    pub(crate) async fn all(&self) -> Result<Vec<KeyInfo<RootId>>, KeysError> {
        self.measured("roots", self.provider.roots()).await.map_err(unavailable)
    }

    /// Makes another root key the active one.
    pub(crate) async fn rotate(&self) -> Result<RootId, KeysError> {
        self.measured("rotate", self.provider.rotate_root()).await.map_err(unavailable)
    }

    /// Destroys a root key.
    pub(crate) async fn destroy(&self, id: RootId) -> Result<(), KeysError> {
        self.measured("destroy", self.provider.destroy_root(id)).await.map_err(unavailable)
    }

    async fn measured<T>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        let begun = tokio::time::Instant::now();
        let result = call.await;
        let outcome = result.as_ref().map_or_else(ProviderError::name, |_| "ok");
        self.metrics.called(name, outcome, begun.elapsed());
        result
    }
}

/// What a failure means that is about no stored key.
pub(crate) fn unavailable(error: ProviderError) -> KeysError {
    match error {
        ProviderError::KeyDisabled { cause: Some(Cause::Disabled(disabled)) } => {
            KeysError::Disabled(disabled)
        }
        other => KeysError::Unavailable(Arc::new(other)),
    }
}
