//! Recovering an account by a mail to its address.
//!
//! Whoever asks for one leaves a request with the address, sealed, and that is all that happens until they are answered:
//! whether anybody has the address is looked up afterwards, by the process that sends mail. So nobody can tell by the answer
//! or its time.

use std::sync::Arc;

use portal_core::Timestamp;
use portal_core::id::{AccountId, Id, OperationId};
use portal_crypto::envelope::SubjectKey;
use portal_keys::KeysError;
use portal_mesh::Permit;
use portal_mesh::policy::Action;
use portal_store::idempotency::KeptReply;
use portal_store::{StoreError, Tx};
use portal_upkeep::audit::Happened;
use uuid::Uuid;

use super::change::Outcome;
use super::post::Addressee;
use super::sign_in::failure;
use super::{App, Change, Reply};
use crate::domain::{
    Contact, Email, Handle, HandleHash, Letter, MailToken, NewPassword, Profiled, Purpose, Target,
};
use crate::error::Error;
use crate::service::policy::{CompleteRecovery, StartRecovery};
use crate::store::accounts::{Candidate, StoredAccount};
use crate::store::mail_tokens::StoredToken;

/// Tokens of an account that are good at a time: nobody's mailbox is filled by others.
const MOST_TOKENS: u64 = 3;
/// Requests that are answered at a time.
const BATCH: u64 = 16;
/// Who asks for a recovery: nobody who is known.
const ANONYMOUS: &str = "anonymous";

/// Somebody with a mailed token who wants another password.
pub struct Recovery {
    /// The token; `None` if it can't be one.
    pub token: Option<Handle>,
    /// The password to be.
    pub password: NewPassword,
}

/// A token, whose it is, and how to open what is theirs.
pub(super) struct Presented {
    pub(super) token: MailToken,
    pub(super) owner: Profiled,
    pub(super) key: Arc<SubjectKey>,
}

/// What a token leads to.
pub(super) enum Found {
    Answered(KeptReply),
    Presented(Box<Presented>),
}

/// What was found by a token, before it is opened.
enum Looked {
    Answered(KeptReply),
    At(Box<(StoredToken, StoredAccount)>),
    Unknown,
}

impl App {
    /// Asks for a mail with a token to `email`, if there is an account.
    pub(crate) async fn start_recovery(
        &self,
        permit: &Permit<StartRecovery>,
        email: &Email,
        change: &Change<()>,
    ) -> Result<Reply<()>, Error> {
        if self.mailer.is_none() {
            return Err(Error::MailOff);
        }
        let _attempt = self.attempts.admit(permit.caller().client_address(), &self.address_hash(email))?;
        let now = change.now;
        let id = OperationId::generate(now, self.entropy.as_ref()).uuid();
        let outcome = self
            .database
            .run_tx("start_recovery", |tx| async move {
                let ask = async { Ok(self.requests.insert(&tx, (id, email), now).await?) };
                self.once(&tx, change, None, ask).await
            })
            .await?;
        self.due.notify_one();
        self.reply(change, outcome).await
    }

    /// Sets a password by a mailed token, ends all sessions, and forgets sign-ins that failed. Second factors, and failures to
    /// prove them, are what they were.
    pub(crate) async fn complete_recovery(
        &self,
        permit: &Permit<CompleteRecovery>,
        asked: Recovery,
        change: &Change<AccountId>,
    ) -> Result<Reply<AccountId>, Error> {
        let (token, now) = (asked.token.ok_or(Error::MailTokenRejected("recovery_token"))?, change.now);
        let hash = &self.handles.mail_token_hash(Purpose::Recover, &token);
        let attempt = self.attempts.admit(permit.caller().client_address(), hash.as_bytes())?;
        let presented = match self.presented(permit, (hash, Purpose::Recover), change).await {
            Ok(Found::Answered(kept)) => return self.reply(change, Outcome::Again(kept)).await,
            Ok(Found::Presented(presented)) => presented,
            Err(error) => {
                return Err(self.rejected(error, "account.complete_recovery", &permit.caller().key()).await);
            }
        };
        let Presented { token, owner, key } = &*presented;
        let (Some(profile), account) = (&owner.profile, token.account) else {
            return Err(Error::AccountNotFound);
        };
        // It was sent while another address took its place.
        if token.email.expose() != profile.email.expose() {
            let error = Error::MailTokenRejected("recovery_token");
            return Err(self.rejected(error, "account.complete_recovery", &permit.caller().key()).await);
        }
        let new = self.passwords.hash(attempt, asked.password, profile).await;
        let new = &new.map_err(|error| error.of_field("new_password"))?;
        let (address, key) = (&self.address_hash(&profile.email), &**key);
        let to = Addressee { account, email: &profile.email, key };
        let happened = &Happened::new("account.complete_recovery", permit.caller().key()).on(account);
        let outcome = self
            .database
            .run_tx("complete_recovery", |tx| async move {
                let recover = async {
                    let stored = self.still(&tx, (hash, Purpose::Recover), owner, now).await?;
                    self.mail_tokens.delete(&tx, account, Purpose::Recover).await?;
                    let changed = stored.account().clone().with_password(now);
                    self.accounts.update(&tx, stored.with_password(new.clone()), changed, Some(key)).await?;
                    self.failures.clear(&tx, address).await?;
                    let live = self.sessions.live_ids(&tx, account, now).await?;
                    self.sessions.revoke(&tx, &live, now).await?;
                    self.revocations.append(&tx, &[Target::Account(account)], now).await?;
                    self.sign_account_out_of_clients(&tx, (account, None), now).await?;
                    self.keep_address(&tx, account, Some(key)).await?;
                    self.forget_clients(&tx, account).await?;
                    self.confirmed(&tx, account, key, now).await?;
                    self.post(&tx, to, &Letter::PasswordSet, now).await?;
                    self.note(&tx, happened.clone().with("sessions_ended", live.len()), now).await?;
                    Ok(account)
                };
                self.once(&tx, change, None, recover).await
            })
            .await;
        self.feed.nudge();
        self.due.notify_one();
        match outcome {
            Ok(outcome) => self.reply(change, outcome).await,
            Err(error) => {
                Err(self.rejected(error, "account.complete_recovery", &permit.caller().key()).await)
            }
        }
    }

    /// What a mailed token leads to, or the reply to the same request before: a client whose reply was lost repeats a token
    /// that is used.
    pub(super) async fn presented<A: Action, T>(
        &self,
        _: &Permit<A>,
        (hash, purpose): (&HandleHash, Purpose),
        change: &Change<T>,
    ) -> Result<Found, Error> {
        let rejected = || Error::MailTokenRejected(field(purpose));
        let looked = self
            .database
            .read("find_mail_token", |tx| async move {
                if let Some(kept) = change.before(&tx, &self.seals).await? {
                    return Ok(Looked::Answered(kept));
                }
                let Some(token) = self.mail_tokens.find(&tx, (hash, purpose), change.now).await? else {
                    return Ok(Looked::Unknown);
                };
                let account = self.accounts.find(&tx, token.account()).await?;
                Ok::<_, Error>(
                    account.map_or(Looked::Unknown, |account| Looked::At(Box::new((token, account)))),
                )
            })
            .await?;
        let (found, stored) = match looked {
            Looked::Answered(kept) => return Ok(Found::Answered(kept)),
            Looked::Unknown => return Err(rejected()),
            Looked::At(found) => *found,
        };
        let key = match self.key_of(&stored).await {
            Err(Error::Keys(KeysError::Erased(_))) => return Err(rejected()),
            key => key?,
        };
        let owner = self.accounts.profiled(&stored, Some(&key))?;
        let token = self.mail_tokens.open(&found, &key)?;
        Ok(Found::Presented(Box::new(Presented { token, owner, key })))
    }

    /// The account of somebody whose token is still good: nobody has used it meanwhile, no operator has locked the account, and
    /// what was sent to its address was sent to the one that it has.
    async fn still(
        &self,
        tx: &Tx,
        (hash, purpose): (&HandleHash, Purpose),
        owner: &Profiled,
        now: Timestamp,
    ) -> Result<StoredAccount, Error> {
        let rejected = || Error::MailTokenRejected(field(purpose));
        self.mail_tokens.find(tx, (hash, purpose), now).await?.ok_or_else(rejected)?;
        let stored = self.accounts.find(tx, owner.account.id()).await?.ok_or_else(rejected)?;
        // Whatever changes an address ends the tokens that were sent to it: what was read is the one of now.
        if stored.account().lock_at(now).is_some() { Err(rejected()) } else { Ok(stored) }
    }

    /// Notes that somebody reads what is sent to the address of an account.
    async fn confirmed(
        &self,
        tx: &Tx,
        account: AccountId,
        key: &SubjectKey,
        now: Timestamp,
    ) -> Result<(), Error> {
        let stored = self.contacts.find(tx, account).await?;
        let contact = stored.as_ref().map(|stored| self.contacts.open(stored, key)).transpose()?;
        let contact = contact.unwrap_or_default();
        if contact.verified_at.is_none() {
            let contact = Contact { verified_at: Some(now), ..contact };
            self.contacts.put(tx, (account, &contact), stored.as_ref(), key).await?;
        }
        Ok(())
    }

    /// Records that a token was not taken, and hands the error on.
    pub(super) async fn rejected(&self, error: Error, action: &'static str, actor: &str) -> Error {
        if !matches!(error, Error::MailTokenRejected(_)) {
            return error;
        }
        let happened = &failure_of(action, actor);
        let now = self.now();
        let note = |tx: Tx| async move { self.note(&tx, happened.clone(), now).await };
        match self.database.run_tx("note_rejected_token", note).await {
            Ok(()) => error,
            Err(failed) => failed,
        }
    }

    /// Sends tokens to those who asked for them and have an account.
    pub(super) async fn answer_recoveries(&self) -> Result<(), Error> {
        loop {
            let oldest = |tx| async move { Ok::<_, Error>(self.requests.oldest(&tx, BATCH).await?) };
            let oldest = self.database.read("read_recovery_requests", oldest).await?;
            if oldest.is_empty() {
                return Ok(());
            }
            for (id, email) in oldest {
                match email {
                    Ok(email) => match self.answer_recovery(id, &email).await {
                        Err(Error::Keys(error @ (KeysError::Missing(_) | KeysError::Corrupt { .. }))) => {
                            tracing::error!(%error, "a recovery was not answered: the account can't be opened");
                            self.drop_request(id).await?;
                        }
                        answered => answered?,
                    },
                    Err(error @ StoreError::Corrupt { .. }) => {
                        tracing::error!(%error, "a recovery was not answered: its row is corrupt");
                        self.drop_request(id).await?;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }

    async fn drop_request(&self, id: Uuid) -> Result<bool, Error> {
        let delete = |tx: Tx| async move { Ok::<_, Error>(self.requests.delete(&tx, id).await?) };
        self.database.run_tx("drop_recovery_request", delete).await
    }

    async fn answer_recovery(&self, id: Uuid, email: &Email) -> Result<(), Error> {
        let emails = &self.emails.of(email).await?;
        let find = |tx| async move { Ok::<_, Error>(self.accounts.candidate(&tx, emails).await?) };
        let candidate = self.database.read("find_recovered", find).await?;
        let (account, now) = (candidate.as_ref().map(Candidate::account), self.now());
        let known = match candidate {
            Some(candidate) => self.admit(candidate, now).await?,
            None => None,
        };
        let known = &known;
        self.database
            .run_tx("answer_recovery", |tx| async move {
                if !self.requests.delete(&tx, id).await? {
                    return Ok(());
                }
                let refused = |reason| failure("account.start_recovery", ANONYMOUS, account, reason);
                let Some((account, key)) = known else {
                    return self.note(&tx, refused("ACCOUNT_NOT_FOUND"), now).await;
                };
                let tokens = self.mail_tokens.count(&tx, (account.id(), Purpose::Recover), now).await?;
                if tokens >= MOST_TOKENS {
                    return self.note(&tx, refused("TOO_MANY_ATTEMPTS"), now).await;
                }
                let to = Addressee { account: account.id(), email, key };
                self.post_token(&tx, to, Purpose::Recover, now).await?;
                let happened = Happened::new("account.start_recovery", ANONYMOUS).on(account.id());
                self.note(&tx, happened, now).await
            })
            .await
    }
}

/// The field that a token for `purpose` is in.
const fn field(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Recover => "recovery_token",
        Purpose::Verify => "verification_token",
    }
}

fn failure_of(action: &'static str, actor: &str) -> Happened {
    failure(action, actor, None, "MAIL_TOKEN_REJECTED")
}
