//! Passkeys: making one, and signing in with one. Whoever asks to sign in learns nothing of who has one: what is asked of an
//! address that nobody has, or whose account has no passkey, looks like what is asked of others, and is the same each time.

use portal_core::entropy::random_bytes;
use portal_core::id::{AccountId, FactorId, Id};
use portal_core::{Acr, Timestamp};
use portal_crypto::envelope::SubjectKey;
use portal_keys::KeysError;
use portal_mesh::Permit;
use portal_store::{ReadTx, StoreError, Tx};
use portal_upkeep::audit::Happened;

use super::ceremonies::{Answer, Begun, Refused};
use super::factors::{Unproven, about};
use super::sign_in::{SignedIn, Wanted, failure};
use super::{App, Change, Reply};
use crate::domain::passkey::MOST;
use crate::domain::{
    Assertion, Awaited, Ceremony, CredentialId, DisplayName, Email, Factor, FactorKind, FactorSecret, Handle,
    HandleHash, Target,
};
use crate::error::Error;
use crate::metrics::Outcome;
use crate::service::policy::{
    BeginPasskeyAuthentication, BeginPasskeyRegistration, FinishPasskeyAuthentication,
    FinishPasskeyRegistration,
};
use crate::store::accounts::Candidate;
use crate::store::passkeys::StoredPasskey;

/// A ceremony that a browser is asked to take part in.
pub struct Asked {
    /// By what it is known.
    pub handle: Handle,
    /// When it ends.
    pub expires_at: Timestamp,
    /// What the browser is asked.
    pub options_json: String,
}

/// Who is said to sign in.
pub enum Hint {
    /// Nobody says: the browser offers what it has.
    Anybody,
    /// The person of this sign-in, which waits for a second factor; `None` if it can't be one.
    Challenge(Option<Handle>),
    /// Whoever has this address.
    Email(Email),
}

impl App {
    /// Begins to make a passkey for the caller's account.
    pub(crate) async fn begin_registration(
        &self,
        permit: &Permit<BeginPasskeyRegistration>,
        account: AccountId,
    ) -> Result<Asked, Error> {
        let (profiled, _) = self.owner(permit, account).await?;
        let known = |tx| async move { Ok::<_, Error>(self.factors.passkeys.ids(&tx, account).await?) };
        let known = self.database.read("list_passkeys", known).await?;
        if known.len() >= MOST {
            return Err(Error::PasskeyLimit);
        }
        let profile = profiled.profile.as_ref().ok_or(Error::AccountNotFound)?;
        let names = (profile.email.expose(), profile.display_name.expose());
        let begun = self.relying_party.begin_registration(account, names, &known)?;
        self.ask(Awaited::Registration(account), begun).await
    }

    /// Adds the passkey that the browser made. It counts at once: it has proven itself by being made.
    pub(crate) async fn finish_registration(
        &self,
        permit: &Permit<FinishPasskeyRegistration>,
        (account, name): (AccountId, DisplayName),
        answer: &Assertion,
        change: &Change<Factor>,
    ) -> Result<Reply<Factor>, Error> {
        let (_, key) = self.owner(permit, account).await?;
        let (key, name, actor) = (&*key, &name, &*permit.caller().key());
        let now = change.now;
        let outcome = self
            .database
            .run_tx("finish_passkey_registration", |tx| async move {
                let add = async {
                    let (hash, ceremony) =
                        self.begun(&tx, answer, now).await?.ok_or(Error::RegistrationUnknown)?;
                    if ceremony.awaited != Awaited::Registration(account) {
                        return Err(Error::RegistrationUnknown);
                    }
                    let made =
                        self.relying_party.finish_registration(&ceremony.state, &answer.credential_json)?;
                    let passkey = made.map_err(|_| Error::CredentialWrong)?;
                    if self.factors.passkeys.find(&tx, &passkey.id).await?.is_some() {
                        return Err(Error::CredentialWrong);
                    }
                    self.ceremonies.delete(&tx, &hash).await?;
                    if self.factors.passkeys.count(&tx, account).await? >= MOST as u64 {
                        return Err(Error::PasskeyLimit);
                    }
                    let id = FactorId::generate(now, self.entropy.as_ref());
                    let factor = Factor::passkey((id, account), name.clone(), passkey, now);
                    self.factors.insert(&tx, &factor, key).await?;
                    self.revocations.append(&tx, &[Target::Account(account)], now).await?;
                    self.note(&tx, about("factor.confirm", actor, &factor), now).await?;
                    Ok(factor)
                };
                self.once(&tx, change, Some(key), add).await
            })
            .await;
        self.feed.nudge();
        self.reply(change, outcome?).await
    }

    /// Begins to sign in with a passkey.
    pub(crate) async fn begin_authentication(
        &self,
        permit: &Permit<BeginPasskeyAuthentication>,
        hint: Hint,
    ) -> Result<Asked, Error> {
        let (what, email) = match &hint {
            Hint::Anybody => (None, None),
            Hint::Challenge(handle) => {
                (handle.as_ref().map(|handle| self.handles.challenge_hash(handle)), None)
            }
            Hint::Email(email) => (None, Some(email)),
        };
        let about = match (&what, email) {
            (Some(hash), _) => hash.as_bytes().to_vec(),
            (None, Some(email)) => self.address_hash(email).to_vec(),
            (None, None) => random_bytes::<32>(self.entropy.as_ref()).to_vec(),
        };
        let limited = self.fingerprints.tag(&[b"passkey\0".as_slice(), &about].concat());
        drop(self.attempts.admit(permit.caller().client_address(), &limited)?);
        if matches!(hint, Hint::Anybody) {
            return self.ask(Awaited::Anybody, self.relying_party.begin_authentication(&[])?).await;
        }
        let (now, emails) = (self.now(), self.indexes(email).await?);
        let (what, emails) = (what.as_ref(), emails.as_ref());
        let found = self.database.read("find_passkeys", |tx| async move {
            let account = match (what, emails) {
                (Some(hash), _) => self.challenges.find(&tx, hash, now).await?.map(|found| found.account()),
                (None, Some(emails)) => {
                    self.accounts.candidate(&tx, emails).await?.as_ref().map(Candidate::account)
                }
                (None, None) => None,
            };
            // Of nobody as much is looked for as of somebody.
            let whose = account.unwrap_or_else(|| AccountId::generate(now, self.entropy.as_ref()));
            Ok::<_, Error>((whose, self.ids_of(&tx, whose).await?))
        });
        let (whose, ids) = found.await?;
        let decoys = self.relying_party.decoys(&about)?;
        let (awaited, ids) = if ids.is_empty() {
            (Awaited::Nobody, self.factors.passkeys.rehearse(&decoys)?)
        } else {
            (Awaited::Owner(whose), ids)
        };
        self.ask(awaited, self.relying_party.begin_authentication(&ids)?).await
    }

    /// Starts a session, or raises one, of whoever has the passkey that answered. Whatever is wrong, the answer is the same.
    pub(crate) async fn finish_authentication(
        &self,
        permit: &Permit<FinishPasskeyAuthentication>,
        assertion: &Assertion,
        wanted: Wanted,
    ) -> Result<SignedIn, Error> {
        let finished = self.assert_and_begin(permit, assertion, wanted).await;
        match &finished {
            Ok(_) => self.metrics.sign_in(Outcome::Granted),
            Err(Error::ChallengeRejected) => self.metrics.sign_in(Outcome::Refused),
            Err(Error::TooManyAttempts(_)) => self.metrics.sign_in(Outcome::Limited),
            Err(_) => {}
        }
        finished
    }

    async fn assert_and_begin(
        &self,
        permit: &Permit<FinishPasskeyAuthentication>,
        assertion: &Assertion,
        wanted: Wanted,
    ) -> Result<SignedIn, Error> {
        let answer = &Answer::parse(&assertion.credential_json).ok_or(Error::ChallengeRejected)?;
        let id = &answer.credential_id();
        let limited = self.fingerprints.tag(&[b"assertion\0".as_slice(), id.as_bytes()].concat());
        let caller = permit.caller();
        drop(self.attempts.admit(caller.client_address(), &limited)?);
        let find = |tx| async move { Ok::<_, Error>(self.factors.passkeys.find(&tx, id).await?) };
        let stored = self.database.read("find_passkey", find).await?.ok_or(Error::ChallengeRejected)?;
        let key = match self.keys.subject(stored.subject()).await {
            Err(KeysError::Erased(_)) => return Err(Error::ChallengeRejected),
            key => &*key?,
        };
        let now = self.now();
        let raised = wanted.raises.is_some();
        let begins = self.beginning(caller, (stored.account(), Acr::Passkey), wanted, now);
        let (beginning, owner) = (&begins, stored.account());
        let entered = self
            .database
            .run_tx("finish_passkey_authentication", |tx| async move {
                let account = self.accounts.find(&tx, owner).await?;
                let account = account.map(|stored| stored.account().clone());
                let account = account.filter(|account| account.lock_at(now).is_none());
                let account = account.ok_or(Error::ChallengeRejected)?;
                if self.use_passkey(&tx, (owner, key), assertion, now).await?.is_err() {
                    // What was noted stays.
                    return Ok(None);
                }
                let session = self.begin(&tx, beginning, (Some(FactorKind::Passkey), key), now).await?;
                Ok::<_, Error>(Some((session, account)))
            })
            .await?;
        let (session, account) = entered.ok_or(Error::ChallengeRejected)?;
        Ok(SignedIn { session, account, tokens: begins.tokens, raised })
    }

    /// Uses `assertion` up, if a passkey of the account gave it in a ceremony that awaited it. A refusal is noted: the
    /// transaction must be committed.
    pub(super) async fn use_passkey(
        &self,
        tx: &Tx,
        (account, key): (AccountId, &SubjectKey),
        assertion: &Assertion,
        now: Timestamp,
    ) -> Result<Result<FactorKind, Unproven>, Error> {
        let answer = Answer::parse(&assertion.credential_json);
        let (Some(answer), Some((hash, ceremony))) = (answer, self.begun(tx, assertion, now).await?) else {
            return self.refuse(tx, account, Refused::Wrong, now).await;
        };
        let stored = self.factors.passkeys.find(tx, &answer.credential_id()).await?;
        let stored = stored.filter(|stored: &StoredPasskey| stored.account() == account);
        let must_say = ceremony.awaited == Awaited::Anybody;
        let (true, true, Some(stored)) =
            (ceremony.awaited.admits(account), answer.is_of(account, must_say), stored)
        else {
            return self.refuse(tx, account, Refused::Wrong, now).await;
        };
        let factor = self.factors.passkeys.open(&stored, key)?;
        let FactorSecret::Passkey(passkey) = &factor.secret else {
            return self.refuse(tx, account, Refused::Wrong, now).await;
        };
        match self.relying_party.finish_authentication(&ceremony.state, &answer, passkey)? {
            Ok(passkey) => {
                self.ceremonies.delete(tx, &hash).await?;
                let secret = FactorSecret::Passkey(passkey);
                let used = Factor { secret, last_used_at: Some(now), ..factor };
                self.factors.update(tx, &used, key).await?;
                Ok(Ok(FactorKind::Passkey))
            }
            Err(refused) => {
                self.ceremonies.delete(tx, &hash).await?;
                self.refuse(tx, account, refused, now).await
            }
        }
    }

    async fn refuse(
        &self,
        tx: &Tx,
        account: AccountId,
        refused: Refused,
        now: Timestamp,
    ) -> Result<Result<FactorKind, Unproven>, Error> {
        let (action, reason) = match refused {
            Refused::Cloned => ("factor.cloned", "SIGNATURE_COUNTER"),
            Refused::Wrong => ("factor.prove", "FACTOR_REJECTED"),
        };
        let actor = format!("account/{account}");
        let happened: Happened = failure(action, &actor, Some(account), reason);
        self.note(tx, happened.with("kind", FactorKind::Passkey.name()), now).await?;
        Ok(Err(Unproven::Wrong))
    }

    /// The ceremony that `answer` is of, if it has not ended.
    async fn begun(
        &self,
        tx: &ReadTx,
        answer: &Assertion,
        now: Timestamp,
    ) -> Result<Option<(HandleHash, Ceremony)>, Error> {
        let Some(handle) = &answer.ceremony else { return Ok(None) };
        let hash = self.handles.ceremony_hash(handle);
        Ok(self.ceremonies.find(tx, &hash, now).await?.map(|ceremony| (hash, ceremony)))
    }

    /// What authenticators call the passkeys of an account. One that is corrupt is as good as none: nobody who asks may learn
    /// that it is there.
    async fn ids_of(&self, tx: &ReadTx, account: AccountId) -> Result<Vec<CredentialId>, Error> {
        match self.factors.passkeys.ids(tx, account).await {
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::error!(%error, "a passkey is not asked for: its row is corrupt");
                Ok(Vec::new())
            }
            ids => Ok(ids?),
        }
    }

    async fn ask(&self, awaited: Awaited, begun: Begun) -> Result<Asked, Error> {
        let Begun { state, options_json } = begun;
        let handle = Handle::generate(self.entropy.as_ref());
        let hash = &self.handles.ceremony_hash(&handle);
        let ceremony = &Ceremony::start(awaited, state, self.now());
        let insert =
            |tx: Tx| async move { Ok::<_, Error>(self.ceremonies.insert(&tx, hash, ceremony).await?) };
        self.database.run_tx("begin_passkey_ceremony", insert).await?;
        Ok(Asked { handle, expires_at: ceremony.expires_at, options_json })
    }
}
