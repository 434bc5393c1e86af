//! Signing in: by a password, and by a second factor if there is one.

use std::collections::BTreeSet;
use std::sync::Arc;

use portal_core::id::{AccountId, Id, SessionId};
use portal_core::{Acr, Timestamp};
use portal_crypto::envelope::SubjectKey;
use portal_crypto::password::PasswordHash;
use portal_keys::KeysError;
use portal_mesh::{Caller, Permit};
use portal_store::{Inserts, StoreError, Tx};
use portal_upkeep::audit::Happened;

use super::attempts::Attempt;
use super::factors::Unproven;
use super::hashing::Verdict;
use super::sessions::about;
use super::{App, REASON};
use crate::domain::{
    Account, Challenge, Context, DeviceName, Email, FactorKind, Failures, Handle, NamedSession, Network,
    OfferedPassword, Proof, Session, TokenPair,
};
use crate::error::Error;
use crate::metrics::Outcome;
use crate::service::policy::{CompleteMfa, CreateSession};
use crate::store::accounts::{Candidate, StoredAccount};
use crate::store::failures::AddressHash;

/// Somebody who wants to sign in.
pub struct SignIn {
    /// Who they say they are.
    pub email: Email,
    /// How they prove it.
    pub password: OfferedPassword,
    /// Whether the session is to outlive seven days without use.
    pub remember_me: bool,
    /// What the device calls itself.
    pub device_name: DeviceName,
    /// The session that is raised, if none is to begin.
    pub raises: Option<SessionId>,
}

/// A session with the tokens that were just given.
#[derive(Debug)]
pub struct SignedIn {
    /// The session; its times are those of `tokens`.
    pub session: NamedSession,
    /// Who is signed in.
    pub account: Account,
    /// What the client gets.
    pub tokens: TokenPair,
    /// Whether it is a session of before: the client keeps the refresh token it has.
    pub raised: bool,
}

/// A second factor is asked for.
#[derive(Debug)]
pub struct Challenged {
    /// By what the challenge is known.
    pub handle: Handle,
    /// When it ends.
    pub expires_at: Timestamp,
    /// What will do, any one of them.
    pub kinds: BTreeSet<FactorKind>,
}

/// How a sign-in by password ended.
#[derive(Debug)]
pub enum Entry {
    /// The password was right; it takes more.
    Challenged(Challenged),
    /// There is a session.
    SignedIn(Box<SignedIn>),
}

/// Somebody whose password was right.
struct Admitted {
    account: Account,
    key: Arc<SubjectKey>,
    /// What the password was compared with.
    hash: PasswordHash,
    /// What takes its place, if that was made at another cost.
    renewed: Option<PasswordHash>,
}

/// What the session is to be that somebody asks for.
#[derive(Clone)]
pub struct Wanted {
    /// Whether it is to outlive seven days without use.
    pub remember_me: bool,
    /// What the device calls itself.
    pub device_name: DeviceName,
    /// The session that is raised, if none is to begin.
    pub raises: Option<SessionId>,
}

/// A session that is to begin, or to be raised.
pub(super) struct Beginning {
    session: NamedSession,
    pub(super) tokens: TokenPair,
    raises: Option<SessionId>,
    /// Who makes it begin, for the audit log.
    actor: String,
}

/// That something was refused: never with what was given.
pub(super) fn failure(
    action: &'static str,
    actor: &str,
    account: Option<AccountId>,
    reason: &'static str,
) -> Happened {
    let happened = Happened::new(action, actor).with(REASON, reason);
    match account {
        Some(account) => happened.on(account),
        None => happened,
    }
}

/// The same, with how long it locks.
pub(super) fn locking(happened: Happened, failures: &Failures, now: Timestamp) -> Happened {
    match failures.locked_at(now) {
        Some(lock) => happened.with("locked_seconds", lock.as_secs()),
        None => happened,
    }
}

fn by_factor(happened: Happened, factor: Option<FactorKind>) -> Happened {
    match factor {
        Some(kind) => happened.with("factor", kind.name()),
        None => happened,
    }
}

/// Refuses while so many sign-ins failed that nobody may try.
pub(super) fn unless_locked_out(failures: Option<Failures>, now: Timestamp) -> Result<(), Error> {
    failures.and_then(|failures| failures.locked_at(now)).map_or(Ok(()), |left| Err(Error::LockedOut(left)))
}

impl App {
    /// Starts a session, or asks for a second factor. An unknown e-mail address, a wrong password, a locked account and one
    /// whose row is corrupt get the same answer, and count as failures. The first two also take the same path: nothing of the
    /// account is checked, opened or asked for before the password was right, and without an account it is compared with a
    /// hash that nothing fits. While too many failed for an address nothing is compared at all.
    pub(crate) async fn sign_in(&self, permit: Permit<CreateSession>, asked: SignIn) -> Result<Entry, Error> {
        let address = self.address_hash(&asked.email);
        let caller = permit.caller();
        let entry = async {
            let attempt = self.attempts.admit(caller.client_address(), &address)?;
            let password = (&asked.email, asked.password);
            let admitted = self.prove(attempt, password, (&address, &caller.key())).await?;
            let SignIn { remember_me, device_name, raises, .. } = asked;
            self.enter(caller, Wanted { remember_me, device_name, raises }, admitted, &address).await
        };
        let entry = entry.await;
        match &entry {
            Ok(Entry::SignedIn(_)) => self.metrics.sign_in(Outcome::Granted),
            Ok(Entry::Challenged(_)) => self.metrics.sign_in(Outcome::Challenged),
            Err(Error::CredentialsRejected) => self.metrics.sign_in(Outcome::Refused),
            Err(Error::TooManyAttempts(_)) => self.metrics.sign_in(Outcome::Limited),
            Err(Error::LockedOut(_)) => self.metrics.sign_in(Outcome::LockedOut),
            Err(_) => {}
        }
        entry
    }

    /// Starts the session that a second factor was asked for. A challenge that is unknown, used or over and a wrong proof get
    /// the same answer. A wrong proof counts as a failure of the account's factors; the challenge stays.
    pub(crate) async fn complete_mfa(
        &self,
        permit: &Permit<CompleteMfa>,
        (challenge, proof): (&Handle, &Proof),
        raises: Option<SessionId>,
    ) -> Result<SignedIn, Error> {
        let completed = self.complete(permit.caller(), (challenge, proof), raises).await;
        // The last factor was removed meanwhile, by its owner: the challenge is as good as over.
        let completed = completed.map_err(|error| match error {
            Error::FactorNotFound => Error::ChallengeRejected,
            other => other,
        });
        match &completed {
            Ok(_) => self.metrics.sign_in(Outcome::Granted),
            Err(Error::ChallengeRejected) => self.metrics.sign_in(Outcome::Refused),
            Err(Error::FactorLocked(_)) => self.metrics.sign_in(Outcome::LockedOut),
            Err(_) => {}
        }
        completed
    }

    /// Who has this address, if `password` is theirs and they may sign in. A failure is counted.
    async fn prove(
        &self,
        attempt: Attempt,
        (email, password): (&Email, OfferedPassword),
        (address, actor): (&AddressHash, &str),
    ) -> Result<Admitted, Error> {
        let emails = &self.emails.of(email).await?;
        let (candidate, failures) = self
            .database
            .read("find_account", |tx| async move {
                let failures = self.failures.find(&tx, address).await?;
                Ok::<_, Error>((self.accounts.candidate(&tx, emails).await?, failures))
            })
            .await?;
        unless_locked_out(failures, self.now())?;
        let hash = candidate.as_ref().and_then(Candidate::password_hash);
        let account = candidate.as_ref().map(Candidate::account);
        let verdict = self.passwords.verify(attempt, password, hash.clone()).await?;
        let now = self.now();
        if let (Some(candidate), Some(hash), Verdict::Right(renewed)) = (candidate, hash, verdict)
            && let Some((account, key)) = self.admit(candidate, now).await?
        {
            return Ok(Admitted { account, key, hash, renewed });
        }
        // What others failed meanwhile is answered as it is to a right password.
        let failed = failure("session.create", actor, account, "CREDENTIALS_REJECTED");
        unless_locked_out(self.failed(address, &failed, now).await?, now)?;
        Err(Error::CredentialsRejected)
    }

    /// Starts a session of somebody whose password was right, or asks for more.
    async fn enter(
        &self,
        caller: &Caller,
        wanted: Wanted,
        Admitted { account, key, hash, renewed }: Admitted,
        address: &AddressHash,
    ) -> Result<Entry, Error> {
        let now = self.now();
        let begins = self.beginning(caller, (account.id(), Acr::Password), wanted.clone(), now);
        let handle = Handle::generate(self.entropy.as_ref());
        let (beginning, challenge, wanted, key) =
            (&begins, &self.handles.challenge_hash(&handle), &wanted, &*key);
        let (hash, renewed) = (&hash, &renewed);
        let challenged = self
            .database
            .run_tx("create_session", |tx| async move {
                // While the password was verified the account may have been locked or got another, and others may have
                // failed so often that nobody may try.
                let failures = self.failures.find(&tx, address).await?;
                unless_locked_out(failures, now)?;
                if failures.is_some() {
                    self.failures.clear(&tx, address).await?;
                }
                let stored = self.accounts.find(&tx, beginning.session.session.account).await?;
                let same = |stored: &StoredAccount| stored.has_password(hash);
                let stored = stored.filter(same).filter(|stored| stored.account().lock_at(now).is_none());
                let stored = stored.ok_or(Error::CredentialsRejected)?;
                let mut account = stored.account().clone();
                if let Some(renewed) = renewed {
                    account = account.with_password(now);
                    let stored = stored.with_password(renewed.clone());
                    self.accounts.update(&tx, stored, account.clone(), Some(key)).await?;
                }
                let kinds = self.factors.kinds(&tx, account.id()).await?;
                if !kinds.is_empty() {
                    let wanted = (wanted.remember_me, wanted.device_name.clone());
                    let asked = Challenge::start(&account, wanted, now);
                    self.challenges.insert(&tx, (challenge, &asked), key).await?;
                    return Ok(Err((asked.expires_at, kinds)));
                }
                Ok::<_, Error>(Ok(self.begin(&tx, beginning, (None, key), now).await?))
            })
            .await?;
        Ok(match challenged {
            Err((expires_at, kinds)) => Entry::Challenged(Challenged { handle, expires_at, kinds }),
            Ok(session) => {
                let Beginning { tokens, raises, .. } = begins;
                Entry::SignedIn(Box::new(SignedIn { session, account, tokens, raised: raises.is_some() }))
            }
        })
    }

    async fn complete(
        &self,
        caller: &Caller,
        (challenge, proof): (&Handle, &Proof),
        raises: Option<SessionId>,
    ) -> Result<SignedIn, Error> {
        let (hash, now) = (&self.handles.challenge_hash(challenge), self.now());
        let find = |tx| async move { Ok::<_, Error>(self.challenges.find(&tx, hash, now).await?) };
        let found = self.database.read("find_challenge", find).await?.ok_or(Error::ChallengeRejected)?;
        let key = match self.keys.subject(found.subject()).await {
            Err(KeysError::Erased(_)) => return Err(Error::ChallengeRejected),
            key => &*key?,
        };
        let asked = &self.challenges.open(&found, key)?;
        let (remember_me, device_name) = (asked.remember_me, asked.device_name.clone());
        let wanted = Wanted { remember_me, device_name, raises };
        let begins = self.beginning(caller, (asked.account, Acr::Mfa), wanted, now);
        let beginning = &begins;
        let completed = self
            .database
            .run_tx("complete_mfa", |tx| async move {
                // Somebody else may have used it meanwhile, and whatever changed the account ends it.
                let still = self.challenges.find(&tx, hash, now).await?;
                let account = self.accounts.find(&tx, asked.account).await?;
                let account = account.map(|stored| stored.account().clone()).filter(|account| {
                    account.revision() == asked.account_revision && account.lock_at(now).is_none()
                });
                let (Some(_), Some(account)) = (still, account) else { return Ok(Err(Unproven::Wrong)) };
                let kind = match self.use_factor(&tx, (asked.account, key), proof, now).await? {
                    Ok(kind) => kind,
                    // The count of failures stays.
                    Err(unproven) => return Ok(Err(unproven)),
                };
                self.challenges.delete(&tx, hash).await?;
                let session = self.begin(&tx, beginning, (Some(kind), key), now).await?;
                Ok::<_, Error>(Ok((session, account)))
            })
            .await?;
        let (session, account) = completed.map_err(|unproven| match unproven {
            Unproven::Locked(left) => Error::FactorLocked(left),
            Unproven::Wrong => Error::ChallengeRejected,
        })?;
        Ok(SignedIn { session, account, tokens: begins.tokens, raised: raises.is_some() })
    }

    pub(super) fn beginning(
        &self,
        caller: &Caller,
        (account, acr): (AccountId, Acr),
        Wanted { remember_me, device_name, raises }: Wanted,
        now: Timestamp,
    ) -> Beginning {
        let id = SessionId::generate(now, self.entropy.as_ref());
        let session = Session::start(id, account, remember_me, now);
        let last_network = caller.client_address().map(Network::of);
        let context = Context { acr, authenticated_at: now, last_network };
        let session = NamedSession { session, device_name, context, client: None };
        let tokens = self.handles.first_pair(self.entropy.as_ref());
        Beginning { session, tokens, raises, actor: caller.key() }
    }

    /// Writes a session down, or raises the one that is to be; `factor` is what it took beside the password.
    pub(super) async fn begin(
        &self,
        tx: &Tx,
        beginning: &Beginning,
        (factor, key): (Option<FactorKind>, &SubjectKey),
        now: Timestamp,
    ) -> Result<NamedSession, Error> {
        let Beginning { session: named, tokens, raises, actor } = beginning;
        if let Some(id) = raises {
            return self.raise(tx, (*id, beginning), (factor, key), now).await;
        }
        let (mut inserts, mode) = (Inserts::of(tx), self.seals.mode(tx).await?);
        self.sessions.add(&mut inserts, named, key, mode)?;
        if named.context.says_something() {
            self.contexts.add(&mut inserts, (named.session.id, &named.context), key)?;
        }
        let happened =
            about("session.create", actor, &named.session).with("remember_me", named.session.remember_me);
        self.note_with(&mut inserts, by_factor(happened, factor), now)?;
        self.give(&mut inserts, &named.session, tokens, mode)?;
        inserts.run(tx).await?;
        Ok(named.clone())
    }

    /// Notes in a session of before that its person proved anew who they are, and gives it another access token: no call with
    /// that is answered by what was remembered of the one before. Its refresh token stays what it is.
    async fn raise(
        &self,
        tx: &Tx,
        (id, Beginning { session: proven, tokens, actor, .. }): (SessionId, &Beginning),
        (factor, key): (Option<FactorKind>, &SubjectKey),
        now: Timestamp,
    ) -> Result<NamedSession, Error> {
        let stored = self.sessions.find(tx, id).await?.filter(|stored| stored.session().is_live(now));
        let stored = stored.ok_or(Error::TokenInvalid)?;
        if stored.session().account != proven.session.account {
            return Err(Error::NotYourData);
        }
        let before = self.contexts.find_all(tx, std::iter::once(id)).await?.remove(&id);
        let named = self.named(&stored, before.as_ref(), Some(key))?;
        let last_network = proven.context.last_network.clone().or(named.context.last_network);
        let context = Context { last_network, ..proven.context.clone() };
        let session = named.session.raised(now);
        let (mut inserts, mode) = (Inserts::of(tx), self.seals.mode(tx).await?);
        match &before {
            Some(before) => self.contexts.update(tx, (id, &context), before, key).await?,
            None => self.contexts.add(&mut inserts, (id, &context), key)?,
        }
        self.sessions.update(tx, vec![(stored, session.clone())]).await?;
        let happened = about("session.raise", actor, &session).with("acr", context.acr.name());
        self.note_with(&mut inserts, by_factor(happened, factor), now)?;
        self.give(&mut inserts, &session, tokens, mode)?;
        inserts.run(tx).await?;
        Ok(NamedSession { session, context, ..named })
    }

    /// Counts and records a failure: after which others.
    pub(super) async fn failed(
        &self,
        address: &AddressHash,
        happened: &Happened,
        now: Timestamp,
    ) -> Result<Option<Failures>, Error> {
        self.database
            .run_tx("count_failure", |tx| async move {
                let before = self.failures.find(&tx, address).await?;
                let after = Failures::one_more(before, now);
                if Some(after) != before {
                    self.failures.put(&tx, address, (before.as_ref(), &after)).await?;
                    self.note(&tx, locking(happened.clone(), &after, now), now).await?;
                }
                Ok::<_, Error>(before)
            })
            .await
    }

    /// The account and key of somebody whose password was right, or who says that it is forgotten; `None` if they may not
    /// sign in.
    pub(super) async fn admit(
        &self,
        candidate: Candidate,
        now: Timestamp,
    ) -> Result<Option<(Account, Arc<SubjectKey>)>, Error> {
        let stored = match self.accounts.admit(candidate) {
            Ok(stored) => stored,
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::error!(%error, "somebody was not let in: the account's row is corrupt");
                self.metrics.sign_in(Outcome::Corrupt);
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        if stored.account().lock_at(now).is_some() {
            return Ok(None);
        }
        match self.key_of(&stored).await {
            Ok(key) => Ok(Some((stored.account().clone(), key))),
            Err(Error::Keys(KeysError::Erased(_))) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
