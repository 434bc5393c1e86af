//! Names and e-mail addresses: changing them, and confirming that somebody reads what is sent there.
//!
//! A new address takes the place of the one before when it is confirmed, and not earlier. Whether somebody else has it is told
//! to nobody but who confirms it.

use std::sync::Arc;

use portal_core::Timestamp;
use portal_core::id::AccountId;
use portal_crypto::envelope::SubjectKey;
use portal_mesh::Permit;
use portal_store::{StoreError, Tx};
use portal_upkeep::audit::Happened;

use super::accounts::AccountChange;
use super::change::Outcome;
use super::post::Addressee;
use super::recovery::{Found, Presented};
use super::{App, Change, Reply, check_reach};
use crate::domain::mail::pause;
use crate::domain::{Confirmed, Contact, DisplayName, Email, Handle, Letter, Profile, Profiled, Purpose};
use crate::error::Error;
use crate::service::policy::{UpdateAccount, VerifyEmail};
use crate::store::accounts::StoredAccount;
use crate::store::email_index::EmailIndexes;

/// What is to be changed of a profile.
pub struct ProfileChange {
    /// The name shown to people.
    pub display_name: Option<DisplayName>,
    /// The e-mail address.
    pub email: Option<Email>,
    /// Whether the address was named as what is to change: the one of now is confirmed again then, if it is not yet.
    pub again: bool,
}

/// An address that was confirmed.
#[derive(Clone, Copy, Debug)]
pub struct Verified {
    /// Whose.
    pub account: AccountId,
    /// When.
    pub at: Timestamp,
}

/// What becomes of an account's address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// Nothing.
    None,
    /// Another one waits to be confirmed, and the one of now gets a notice.
    Ask,
    /// The one that waits, or the one of now, gets another token.
    Again,
    /// The one that waits is given up.
    TakeBack,
}

impl App {
    /// Changes a name, or asks for another address.
    pub(crate) async fn update_account(
        &self,
        permit: &Permit<UpdateAccount>,
        asked: &AccountChange<ProfileChange>,
        change: &Change<Profiled>,
    ) -> Result<Reply<Profiled>, Error> {
        check_reach(permit, asked.account)?;
        let (now, id) = (change.now, asked.account);
        let (stored, key) = self.openable(id).await?;
        self.admit_address(permit, (&stored, &key), &asked.to)?;
        let (actor, key) = (&*permit.caller().key(), &*key);
        let outcome = self
            .database
            .run_tx("update_account", |tx| async move {
                let update = async {
                    let stored = self.expected(&tx, asked).await?;
                    let before = self.accounts.open(&stored, Some(key))?;
                    let (contact, step) = self.readdress(&tx, (id, &before), &asked.to, (key, now)).await?;
                    let to = &asked.to;
                    let name = to.display_name.clone().unwrap_or_else(|| before.display_name.clone());
                    let profile = Profile { email: before.email.clone(), display_name: name };
                    let account = stored.account().clone().with_profile(now);
                    let stored = stored.with_profile(profile, None);
                    let updated = self.accounts.update(&tx, stored, account, Some(key)).await?;
                    let of_now = Addressee { account: id, email: &before.email, key };
                    let verified = contact.pending.as_ref().unwrap_or(&before.email);
                    if matches!(step, Step::Ask | Step::Again) {
                        let to = Addressee { email: verified, ..of_now };
                        self.post_token(&tx, to, Purpose::Verify, now).await?;
                    }
                    if step == Step::Ask {
                        self.post(&tx, of_now, &Letter::AddressAsked, now).await?;
                    }
                    self.note(&tx, updating(actor, id, to, step), now).await?;
                    Ok(Profiled { contact, ..updated })
                };
                self.once(&tx, change, Some(key), update).await
            })
            .await?;
        self.due.notify_one();
        self.reply(change, outcome).await
    }

    /// The account, and the key of its person.
    async fn openable(&self, id: AccountId) -> Result<(StoredAccount, Arc<SubjectKey>), Error> {
        let find = |tx| async move { self.accounts.find(&tx, id).await?.ok_or(Error::AccountNotFound) };
        let stored = self.database.read("find_updated", find).await?;
        let key = self.key_of(&stored).await?;
        Ok((stored, key))
    }

    /// Checks that something may be sent to another address, or to this one again.
    fn admit_address(
        &self,
        permit: &Permit<UpdateAccount>,
        (stored, key): (&StoredAccount, &SubjectKey),
        to: &ProfileChange,
    ) -> Result<(), Error> {
        let Some(email) = &to.email else { return Ok(()) };
        let same = self.accounts.open(stored, Some(key))?.email.expose() == email.expose();
        if same && !to.again {
            return Ok(());
        }
        let client = permit.caller().client_address();
        let _attempt = self.attempts.admit(client, &self.address_hash(email))?;
        Ok(())
    }

    /// Notes to which address an account is to change, and says what that takes.
    async fn readdress(
        &self,
        tx: &Tx,
        (account, before): (AccountId, &Profile),
        to: &ProfileChange,
        (key, now): (&SubjectKey, Timestamp),
    ) -> Result<(Contact, Step), Error> {
        let stored = self.contacts.find(tx, account).await?;
        let contact = stored.as_ref().map(|stored| self.contacts.open(stored, key)).transpose()?;
        let contact = contact.unwrap_or_default();
        let Some(email) = &to.email else { return Ok((contact, Step::None)) };
        let (step, pending) = match contact.confirms(&before.email, email) {
            Confirmed::Neither => (Step::Ask, Some(email.clone())),
            Confirmed::Pending => (Step::Again, contact.pending.clone()),
            Confirmed::Current if contact.verified_at.is_none() && to.again => (Step::Again, None),
            Confirmed::Current if contact.pending.is_some() => (Step::TakeBack, None),
            Confirmed::Current => (Step::None, None),
        };
        let changed = Contact { verified_at: contact.verified_at, pending };
        if matches!(step, Step::Ask | Step::Again) {
            if self.mailer.is_none() {
                return Err(Error::MailOff);
            }
            let end = self.mail_tokens.last_end(tx, (account, Purpose::Verify)).await?;
            if let Some(wait) = end.and_then(|end| pause(end, now)) {
                return Err(Error::TooManyAttempts(wait));
            }
        }
        if step != Step::None {
            // Tokens of before confirm nothing now. They stay until others take their place: they tell when the last mail was sent.
            self.contacts.put(tx, (account, &changed), stored.as_ref(), key).await?;
        }
        Ok((changed, step))
    }

    /// Confirms an address by the token that was sent there, and lets it take the place of the one before.
    pub(crate) async fn verify_email(
        &self,
        permit: &Permit<VerifyEmail>,
        token: Option<Handle>,
        change: &Change<Verified>,
    ) -> Result<Reply<Verified>, Error> {
        let (token, now) = (token.ok_or(Error::MailTokenRejected("verification_token"))?, change.now);
        let hash = &self.handles.mail_token_hash(Purpose::Verify, &token);
        let _attempt = self.attempts.admit(permit.caller().client_address(), hash.as_bytes())?;
        let found = self.presented(permit, (hash, Purpose::Verify), change).await;
        let actor = &*permit.caller().key();
        let presented = match found {
            Ok(Found::Answered(kept)) => return self.reply(change, Outcome::Again(kept)).await,
            Ok(Found::Presented(presented)) => *presented,
            Err(error) => return Err(self.rejected(error, "account.verify_email", actor).await),
        };
        let emails = self.emails.of(&presented.token.email).await?;
        let (presented, emails) = (&presented, &emails);
        let outcome = self
            .database
            .run_tx("verify_email", |tx| async move {
                let verify = async {
                    let token = self.mail_tokens.find(&tx, (hash, Purpose::Verify), now).await?;
                    token.ok_or(Error::MailTokenRejected("verification_token"))?;
                    self.verify(&tx, presented, emails, (actor, now)).await
                };
                self.once(&tx, change, None, verify).await
            })
            .await;
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => return Err(self.rejected(error, "account.verify_email", actor).await),
        };
        self.due.notify_one();
        self.reply(change, outcome).await
    }

    /// Takes back whatever address was asked for: who secures an account may have noticed that somebody else asked. Without the
    /// key of its person nobody can confirm one, and none is named.
    pub(super) async fn keep_address(
        &self,
        tx: &Tx,
        account: AccountId,
        key: Option<&SubjectKey>,
    ) -> Result<(), Error> {
        let Some(key) = key else {
            self.mail_tokens.delete(tx, account, Purpose::Verify).await?;
            return Ok(());
        };
        let Some(stored) = self.contacts.find(tx, account).await? else { return Ok(()) };
        let contact = self.contacts.open(&stored, key)?;
        if contact.pending.is_some() {
            self.mail_tokens.delete(tx, account, Purpose::Verify).await?;
            let contact = Contact { pending: None, ..contact };
            self.contacts.put(tx, (account, &contact), Some(&stored), key).await?;
        }
        Ok(())
    }

    async fn verify(
        &self,
        tx: &Tx,
        Presented { token, key, .. }: &Presented,
        emails: &EmailIndexes,
        (actor, now): (&str, Timestamp),
    ) -> Result<Verified, Error> {
        let id = token.account;
        let rejected = || Error::MailTokenRejected("verification_token");
        let account = self.accounts.find(tx, id).await?.ok_or_else(rejected)?;
        if account.account().lock_at(now).is_some() {
            return Err(rejected());
        }
        let before = self.accounts.open(&account, Some(key))?;
        let stored = self.contacts.find(tx, id).await?;
        let contact = stored.as_ref().map(|stored| self.contacts.open(stored, key)).transpose()?;
        let contact = contact.unwrap_or_default();
        let next = account.account().clone().with_profile(now);
        let happened = Happened::new("account.verify_email", actor).on(id);
        let (contact, account, happened) = match contact.confirms(&before.email, &token.email) {
            Confirmed::Neither => return Err(rejected()),
            Confirmed::Current => (Contact { verified_at: Some(now), ..contact }, account, happened),
            Confirmed::Pending => {
                if self.accounts.is_taken(tx, emails).await? {
                    return Err(Error::EmailTaken);
                }
                self.mail_tokens.delete(tx, id, Purpose::Recover).await?;
                self.failures.clear(tx, &self.address_hash(&before.email)).await?;
                let profile = Profile { email: token.email.clone(), ..before.clone() };
                let account = account.with_profile(profile, Some(emails.clone()));
                let contact = Contact { verified_at: Some(now), pending: None };
                (contact, account, happened.with("changed", true))
            }
        };
        let changes = before.email.expose() != token.email.expose();
        match self.accounts.update(tx, account, next, Some(key)).await {
            Err(StoreError::Duplicate { .. }) => return Err(Error::EmailTaken),
            updated => drop(updated?),
        }
        self.mail_tokens.delete(tx, id, Purpose::Verify).await?;
        self.contacts.put(tx, (id, &contact), stored.as_ref(), key).await?;
        if changes {
            let to = Addressee { account: id, email: &before.email, key };
            self.post(tx, to, &Letter::AddressChanged, now).await?;
        }
        self.note(tx, happened, now).await?;
        Ok(Verified { account: id, at: now })
    }
}

/// That a profile is changed: which of its fields, and nothing that is in them.
fn updating(actor: &str, account: AccountId, to: &ProfileChange, step: Step) -> Happened {
    let happened = Happened::new("account.update", actor).on(account);
    let happened = match &to.display_name {
        Some(_) => happened.with("display_name", "changed"),
        None => happened,
    };
    match step {
        Step::None => happened,
        Step::Ask => happened.with("email", "asked"),
        Step::Again => happened.with("email", "asked_again"),
        Step::TakeBack => happened.with("email", "taken_back"),
    }
}
