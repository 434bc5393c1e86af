//! Changing one's password.

use portal_core::id::{AccountId, SessionId};
use portal_mesh::Permit;
use portal_store::idempotency::KeptReply;
use portal_upkeep::audit::Happened;

use super::change::Outcome;
use super::hashing::Verdict;
use super::sign_in::{failure, unless_locked_out};
use super::{App, Change, Reply};
use crate::domain::{NewPassword, OfferedPassword, Purpose, Target};
use crate::error::Error;
use crate::service::policy::ChangePassword;
use crate::store::accounts::StoredAccount;

/// Somebody who wants another password.
pub struct PasswordChange {
    /// Whose.
    pub account: AccountId,
    /// The one of now: a token alone is not enough.
    pub current: OfferedPassword,
    /// The one to be.
    pub new: NewPassword,
}

/// What is known before a password is looked at.
enum Known {
    Answered(KeptReply),
    Stored(Box<StoredAccount>),
}

impl App {
    /// Replaces a password, and ends every session but `keep`: says how many. A wrong one counts as a sign-in that failed,
    /// so that whoever holds a stolen token guesses no faster than everybody else.
    pub(crate) async fn change_password(
        &self,
        permit: &Permit<ChangePassword>,
        asked: PasswordChange,
        keep: Option<SessionId>,
        change: &Change<usize>,
    ) -> Result<Reply<usize>, Error> {
        let (account, now) = (asked.account, change.now);
        let (profiled, key) = self.owner(permit, account).await?;
        let profile = profiled.profile.ok_or(Error::AccountNotFound)?;
        let address = &self.address_hash(&profile.email);
        // Before anything is looked at: a client whose reply was lost repeats a password that is none any more.
        let stored = match self.before_change(account, change).await? {
            Known::Answered(kept) => return self.reply(change, Outcome::Again(kept)).await,
            Known::Stored(stored) => stored,
        };
        let client = permit.caller().client_address();
        let failures = |tx| async move { Ok::<_, Error>(self.failures.find(&tx, address).await?) };
        unless_locked_out(self.database.read("find_failures", failures).await?, now)?;
        let old = stored.password_hash()?;
        let attempt = self.attempts.admit(client, address)?;
        let verdict = self.passwords.verify(attempt, asked.current, Some(old.clone())).await?;
        if matches!(verdict, Verdict::Wrong) {
            let actor = permit.caller().key();
            let failed = failure("account.change_password", &actor, Some(account), "PASSWORD_WRONG");
            unless_locked_out(self.failed(address, &failed, now).await?, now)?;
            return Err(Error::PasswordWrong);
        }
        let attempt = self.attempts.admit(client, address)?;
        let new = self.passwords.hash(attempt, asked.new, &profile).await;
        let (old, new, key) = (&old, &new.map_err(|error| error.of_field("new_password"))?, &*key);
        let happened = &Happened::new("account.change_password", permit.caller().key()).on(account);
        let outcome = self
            .database
            .run_tx("change_password", |tx| async move {
                let replace = async {
                    let stored = self.accounts.find(&tx, account).await?.ok_or(Error::AccountNotFound)?;
                    // Somebody else was faster: what was verified is no password of this account any more.
                    if !stored.has_password(old) {
                        return Err(Error::PasswordWrong);
                    }
                    let changed = stored.account().clone().with_password(now);
                    self.accounts.update(&tx, stored.with_password(new.clone()), changed, Some(key)).await?;
                    self.failures.clear(&tx, address).await?;
                    // Who changes a password may have noticed that somebody else is about to.
                    self.mail_tokens.delete(&tx, account, Purpose::Recover).await?;
                    self.keep_address(&tx, account, Some(key)).await?;
                    self.forget_codes(&tx, account).await?;
                    let mut ids = self.sessions.live_ids(&tx, account, now).await?;
                    ids.retain(|id| Some(*id) != keep);
                    self.sessions.revoke(&tx, &ids, now).await?;
                    let targets: Vec<_> = ids.iter().copied().map(Target::Session).collect();
                    self.revocations.append(&tx, &targets, now).await?;
                    self.sign_account_out_of_clients(&tx, (account, keep), now).await?;
                    self.note(&tx, happened.clone().with("sessions_ended", ids.len()), now).await?;
                    Ok(ids.len())
                };
                self.once(&tx, change, None, replace).await
            })
            .await;
        self.feed.nudge();
        self.reply(change, outcome?).await
    }

    async fn before_change(&self, account: AccountId, change: &Change<usize>) -> Result<Known, Error> {
        self.database
            .read("find_change", |tx| async move {
                if let Some(kept) = change.before(&tx, &self.seals).await? {
                    return Ok(Known::Answered(kept));
                }
                let stored = self.accounts.find(&tx, account).await?;
                Ok(Known::Stored(Box::new(stored.ok_or(Error::AccountNotFound)?)))
            })
            .await
    }
}
