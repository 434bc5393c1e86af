//! The keys of persons, fetched before the transaction that needs them: none waits for keys while it holds the database.

use std::collections::HashSet;
use std::sync::Arc;

use portal_core::Role;
use portal_core::id::{AccountId, SubjectId};
use portal_crypto::envelope::SubjectKey;
use portal_keys::KeysError;

use super::App;
use crate::error::Error;
use crate::store::accounts::StoredAccount;

/// What is known of an account, and around it, before it is changed.
pub(super) struct KnownOf {
    /// The key of its person, if it can be had.
    pub(super) key: Option<Arc<SubjectKey>>,
    /// Operators who were erased, and so can't sign in. Looked up if the account is an operator's.
    pub(super) erased: HashSet<SubjectId>,
}

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

    /// What a change of what decides about an account needs to know before its transaction. Nobody is kept from it by a
    /// key: without one, what is sealed stays as it is, and is not replied.
    pub(super) async fn known_of(&self, id: AccountId) -> Result<KnownOf, Error> {
        let now = self.now();
        let find = |tx| async move {
            let stored = self.accounts.find(&tx, id).await?.ok_or(Error::AccountNotFound)?;
            let is_operator = stored.account().roles().contains(Role::Operator);
            let operators = if is_operator { self.accounts.operators(&tx, now).await? } else { Vec::new() };
            Ok::<_, Error>((stored, operators))
        };
        let (stored, operators) = self.database.read("find_account_key", find).await?;
        let key = match self.key_of(&stored).await {
            Ok(key) => Some(key),
            Err(Error::Keys(KeysError::Erased(_))) => None,
            Err(error) => {
                tracing::warn!(account = %id, %error, "an account is changed without the key of its person");
                None
            }
        };
        let erased = if operators.is_empty() { HashSet::new() } else { self.keys.erased(&operators).await? };
        Ok(KnownOf { key, erased })
    }
}
