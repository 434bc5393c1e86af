//! Keys that a service keeps in its own data, beside those of its key database: those that sign tokens, in auth.

use async_trait::async_trait;
use portal_keys::KeyEntry;
use tonic::Status;

/// Keys in the data of a service. Errors are what the service tells callers.
#[async_trait]
pub trait OwnKeys: Send + Sync {
    /// All of them.
    ///
    /// # Errors
    /// What the service failed with.
    async fn list(&self) -> Result<Vec<KeyEntry>, Status>;

    /// Lets each be replaced as soon as it may be; one whose successor is on its way stays as it is.
    ///
    /// # Errors
    /// What the service failed with.
    async fn rotate(&self, actor: &str) -> Result<(), Status>;

    /// Ends the key with this id at once, whatever depends on it.
    ///
    /// # Errors
    /// What the service failed with.
    async fn end(&self, id: &str, actor: &str) -> Result<(), Status>;
}
