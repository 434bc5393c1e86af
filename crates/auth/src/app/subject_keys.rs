//! The keys of persons, fetched before the transaction that needs them: none waits for keys while it holds the database.

use std::sync::Arc;

use portal_core::id::AccountId;
use portal_crypto::envelope::SubjectKey;

use super::App;
use crate::domain::Profiled;
use crate::error::Error;
use crate::store::accounts::StoredAccount;

impl App {
    /// The key of whoever an account belongs to; made if nothing of theirs is sealed yet.
    pub(super) async fn key_of(&self, stored: &StoredAccount) -> Result<Arc<SubjectKey>, Error> {
        let subject = stored.account().subject();
        let key = if stored.is_sealed() {
            self.keys.subject(subject).await
        } else {
            self.keys.subject_or_new(subject).await
        };
        Ok(key?)
    }

    /// The same, by the account's id.
    pub(super) async fn key_of_account(&self, id: AccountId) -> Result<Arc<SubjectKey>, Error> {
        let find = |tx| async move { Ok::<_, Error>(self.accounts.find(&tx, id).await?) };
        let stored = self.database.read("find_account_key", find).await?.ok_or(Error::AccountNotFound)?;
        self.key_of(&stored).await
    }

    /// What is personal about an account.
    pub(super) async fn opened(&self, stored: &StoredAccount) -> Result<Profiled, Error> {
        let key = if stored.is_sealed() { Some(self.key_of(stored).await?) } else { None };
        Ok(self.accounts.profiled(stored, key.as_deref())?)
    }
}
