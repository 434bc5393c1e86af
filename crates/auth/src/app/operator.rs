//! The first operator: without one nobody could make another.

use portal_core::Role;
use portal_core::id::{AccountId, Id, SubjectId};
use portal_store::{StoreError, Tx};
use portal_upkeep::audit::SERVICE;

use super::App;
use super::accounts::created;
use super::attempts::Attempt;
use crate::domain::{Account, DisplayName, Email, NewPassword, Profile, Roles};
use crate::error::Error;

impl App {
    /// Creates an operator, unless there is an account with this e-mail address: that is left as it is. Of replicas
    /// that start at the same time one creates it.
    pub(crate) async fn ensure_operator(&self, email: Email, password: NewPassword) -> Result<(), Error> {
        let emails = &self.emails.of(&email).await?;
        let find = |tx| async move { Ok::<_, Error>(self.accounts.is_taken(&tx, emails).await?) };
        if self.database.read("find_first_operator", find).await? {
            return Ok(());
        }
        let profile = Profile { email, display_name: DisplayName::new("Operator".to_owned()) };
        let hash = &self.passwords.hash(Attempt::of_service(), password, &profile).await?;
        let (now, entropy) = (self.now(), self.entropy.as_ref());
        let ids = (AccountId::generate(now, entropy), SubjectId::generate(now, entropy));
        let key = &*self.keys.subject_or_new(ids.1).await?;
        let roles = Roles::new([Role::Operator]).unwrap_or_else(|_| Roles::subject());
        let (account, profile) = (&Account::create(ids, roles, now), &profile);
        let insert = |tx: Tx| async move {
            // Another replica may have been faster, and may index under another key.
            if self.accounts.is_taken(&tx, emails).await? {
                return Ok(false);
            }
            self.accounts.insert(&tx, (account, profile), (emails, hash), key).await?;
            self.note(&tx, created(SERVICE, account), now).await?;
            Ok(true)
        };
        match self.database.run_tx("create_first_operator", insert).await {
            Ok(true) => tracing::info!(account = %account.id(), "the first operator was created"),
            Ok(false) | Err(Error::Store(StoreError::Duplicate { .. })) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
