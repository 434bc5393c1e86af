//! The first operator: without one nobody could make another.

use portal_core::Role;
use portal_core::id::{AccountId, Id, SubjectId};
use portal_store::StoreError;

use super::App;
use crate::domain::{Account, DisplayName, Email, NewPassword, Roles};
use crate::error::Error;
use crate::store::accounts;

impl App {
    /// Creates an operator, unless there is an account with this e-mail address: that is left as it is. Of replicas
    /// that start at the same time one creates it.
    pub(crate) async fn ensure_operator(&self, email: Email, password: NewPassword) -> Result<(), Error> {
        let index = &self.email_index(&email);
        let find = |tx| async move { Ok::<_, Error>(accounts::find_by_email(&tx, index).await?.is_some()) };
        if self.database.read("find_first_operator", find).await? {
            return Ok(());
        }
        let hash = &self.passwords.hash(password).await?;
        let now = self.now();
        let entropy = self.entropy.as_ref();
        let ids = (AccountId::generate(now, entropy), SubjectId::generate(now, entropy));
        let roles = Roles::new([Role::Operator]).unwrap_or_else(|_| Roles::subject());
        let account = &Account::create(ids, email, DisplayName::new("Operator".to_owned()), roles, now);
        let insert = |tx| async move { Ok(accounts::insert(&tx, account, index, hash).await?) };
        match self.database.run_tx("create_first_operator", insert).await {
            Ok(()) => tracing::info!(account = %account.id(), "the first operator was created"),
            Err(Error::Store(StoreError::Duplicate { .. })) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
