//! Sessions: signing in, refreshing, ending.

use std::sync::Arc;

use portal_core::Timestamp;
use portal_core::id::{AccountId, Id, SessionId};
use portal_crypto::envelope::SubjectKey;
use portal_crypto::password::PasswordHash;
use portal_keys::KeysError;
use portal_mesh::Permit;
use portal_store::{ReadTx, StoreError, Tx};
use portal_upkeep::audit::Happened;

use super::attempts::Attempt;
use super::hashing::Verdict;
use super::{App, Change, Reply, check_reach, only_account};
use crate::domain::session::RefreshUse;
use crate::domain::{
    Account, DeviceName, Email, Failures, Handle, HandleHash, NamedSession, OfferedPassword, Session, Target,
    TokenPair,
};
use crate::error::Error;
use crate::metrics::Outcome;
use crate::service::policy::{CreateSession, ListSessions, RefreshSession, RevokeAllSessions, RevokeSession};
use crate::store::Listed;
use crate::store::accounts::{Candidate, StoredAccount};
use crate::store::failures::AddressHash;
use crate::store::sessions::{Place, StoredSession};

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

/// Refuses while so many sign-ins failed that nobody may try.
fn unless_locked_out(failures: Option<Failures>, now: Timestamp) -> Result<(), Error> {
    failures.and_then(|failures| failures.locked_at(now)).map_or(Ok(()), |left| Err(Error::LockedOut(left)))
}

/// How a refresh ended. All but `Refused` may have changed something that must stay.
enum Refreshed {
    Granted(SignedIn),
    Refused,
    Repeated(SignedIn),
    Replayed(SessionId),
}

impl App {
    /// Starts a session. An unknown e-mail address, a wrong password, a locked account and one whose row is corrupt get
    /// the same answer, and count as failures. The first two also take the same path: nothing of the account is checked,
    /// opened or asked for before the password was right, and without an account it is compared with a hash that
    /// nothing fits. While too many failed for an address nothing is compared at all.
    pub(crate) async fn sign_in(
        &self,
        permit: Permit<CreateSession>,
        asked: SignIn,
    ) -> Result<SignedIn, Error> {
        let address = self.address_hash(&asked.email);
        let caller = permit.caller();
        let signed_in = async {
            let attempt = self.attempts.admit(caller.client_address(), &address)?;
            let admitted = self.prove(attempt, (&asked.email, asked.password), &address).await?;
            self.start(&caller.key(), (asked.remember_me, asked.device_name), admitted, &address).await
        };
        let signed_in = signed_in.await;
        match &signed_in {
            Ok(_) => self.metrics.sign_in(Outcome::Granted),
            Err(Error::CredentialsRejected) => self.metrics.sign_in(Outcome::Refused),
            Err(Error::TooManyAttempts(_)) => self.metrics.sign_in(Outcome::Limited),
            Err(Error::LockedOut(_)) => self.metrics.sign_in(Outcome::LockedOut),
            Err(_) => {}
        }
        signed_in
    }

    /// Who has this address, if `password` is theirs and they may sign in. A failure is counted.
    async fn prove(
        &self,
        attempt: Attempt,
        (email, password): (&Email, OfferedPassword),
        address: &AddressHash,
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
        let verdict = self.passwords.verify(attempt, password, hash.clone()).await?;
        let now = self.now();
        if let (Some(candidate), Some(hash), Verdict::Right(renewed)) = (candidate, hash, verdict)
            && let Some((account, key)) = self.admit(candidate, now).await?
        {
            return Ok(Admitted { account, key, hash, renewed });
        }
        // What others failed meanwhile is answered as it is to a right password.
        unless_locked_out(self.failed(address, now).await?, now)?;
        Err(Error::CredentialsRejected)
    }

    /// Starts a session of somebody whose password was right.
    async fn start(
        &self,
        actor: &str,
        (remember_me, device_name): (bool, DeviceName),
        Admitted { account, key, hash, renewed }: Admitted,
        address: &AddressHash,
    ) -> Result<SignedIn, Error> {
        let now = self.now();
        let id = SessionId::generate(now, self.entropy.as_ref());
        let session = Session::start(id, account.id(), remember_me, now);
        let session = NamedSession { session, device_name };
        let tokens = self.handles.first_pair(self.entropy.as_ref());
        let (started, pair, key) = (&session, &tokens, &*key);
        let (hash, renewed) = (&hash, &renewed);
        let happened = &about("session.create", actor, &session.session)
            .with("remember_me", session.session.remember_me);
        self.database
            .run_tx("create_session", |tx| async move {
                // While the password was verified the account may have been locked or got another, and others may have
                // failed so often that nobody may try.
                let failures = self.failures.find(&tx, address).await?;
                unless_locked_out(failures, now)?;
                if failures.is_some() {
                    self.failures.clear(&tx, address).await?;
                }
                let stored = self.accounts.find(&tx, started.session.account).await?;
                let same = |stored: &StoredAccount| stored.has_password(hash);
                let stored = stored.filter(same).filter(|stored| stored.account().lock_at(now).is_none());
                let stored = stored.ok_or(Error::CredentialsRejected)?;
                if let Some(renewed) = renewed {
                    let account = stored.account().clone().with_password(now);
                    let stored = stored.with_password(renewed.clone());
                    self.accounts.update(&tx, stored, account, Some(key)).await?;
                }
                self.sessions.insert(&tx, started, key).await?;
                self.note(&tx, happened.clone(), now).await?;
                self.give(&tx, &started.session, pair).await
            })
            .await?;
        Ok(SignedIn { session, account, tokens })
    }

    /// Counts a failure: after which others.
    async fn failed(&self, address: &AddressHash, now: Timestamp) -> Result<Option<Failures>, Error> {
        self.database
            .run_tx("count_failure", |tx| async move {
                let before = self.failures.find(&tx, address).await?;
                let after = Failures::one_more(before, now);
                if Some(after) != before {
                    self.failures.put(&tx, address, (before.as_ref(), &after)).await?;
                }
                Ok::<_, Error>(before)
            })
            .await
    }

    /// The account and key of somebody whose password was right; `None` if they may not sign in.
    async fn admit(
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

    /// Trades a refresh token for the next pair of tokens.
    pub(crate) async fn refresh(
        &self,
        permit: Permit<RefreshSession>,
        refresh: &Handle,
    ) -> Result<SignedIn, Error> {
        let hash = &self.handles.refresh_hash(refresh);
        // Rubbish never gets as far as the writer, and the key is at hand before the token is spent.
        let find = |tx| async move { self.account_of_refresh(&tx, hash).await };
        let refreshed = match self.database.read("find_refresh_token", find).await? {
            Some(stored) => match self.key_of(&stored).await {
                Ok(key) => {
                    let (actor, now, key) = (&*permit.caller().key(), self.now(), &*key);
                    let rotate = |tx| async move { self.rotate(&tx, refresh, (actor, key), now).await };
                    self.database.run_tx("refresh_session", rotate).await?
                }
                // What they had is as good as gone.
                Err(Error::Keys(KeysError::Erased(_))) => Refreshed::Refused,
                Err(error) => return Err(error),
            },
            None => Refreshed::Refused,
        };
        let (outcome, result) = match refreshed {
            Refreshed::Granted(signed_in) => (Outcome::Granted, Ok(signed_in)),
            Refreshed::Refused => (Outcome::Refused, Err(Error::TokenInvalid)),
            Refreshed::Repeated(signed_in) => (Outcome::Repeated, Ok(signed_in)),
            Refreshed::Replayed(session) => {
                tracing::warn!(%session, "a spent refresh token was used again: the session was ended");
                self.feed.nudge();
                (Outcome::Replayed, Err(Error::TokenInvalid))
            }
        };
        self.metrics.refresh(outcome);
        result
    }

    /// Whose session a refresh token is of.
    async fn account_of_refresh(
        &self,
        tx: &ReadTx,
        hash: &HandleHash,
    ) -> Result<Option<StoredAccount>, Error> {
        let Some(tokens) = self.pairs.find_by_refresh(tx, hash).await? else { return Ok(None) };
        let Some(session) = self.sessions.find(tx, tokens.pair().session).await? else { return Ok(None) };
        Ok(self.accounts.find(tx, session.session().account).await?)
    }

    async fn rotate(
        &self,
        tx: &Tx,
        refresh: &Handle,
        (actor, key): (&str, &SubjectKey),
        now: Timestamp,
    ) -> Result<Refreshed, Error> {
        let hash = self.handles.refresh_hash(refresh);
        let Some(stored) = self.pairs.find_by_refresh(tx, &hash).await? else {
            return Ok(Refreshed::Refused);
        };
        let pair = stored.pair().clone();
        let session = self.sessions.find(tx, pair.session).await?.ok_or(Error::SessionNotFound)?;
        let account =
            self.accounts.find(tx, session.session().account).await?.ok_or(Error::AccountNotFound)?;
        let account = account.account().clone();
        if !session.session().is_live(now) || account.lock_at(now).is_some() {
            return Ok(Refreshed::Refused);
        }
        let tokens = self.handles.successor(refresh);
        let named = self.sessions.open(&session, Some(key))?;
        match pair.refresh_use(now) {
            RefreshUse::Expired => Ok(Refreshed::Refused),
            RefreshUse::First => {
                self.pairs.spend(tx, stored, now).await?;
                let named = NamedSession { session: named.session.renewed(now), ..named };
                self.sessions.update(tx, session, &named.session).await?;
                self.give(tx, &named.session, &tokens).await?;
                self.note(tx, about("session.refresh", actor, &named.session), now).await?;
                Ok(Refreshed::Granted(SignedIn { session: named, account, tokens }))
            }
            RefreshUse::Retry => {
                let successor = self.handles.refresh_hash(tokens.refresh());
                let Some(given) = self.pairs.find_by_refresh(tx, &successor).await? else {
                    return Ok(Refreshed::Refused);
                };
                let session = Session {
                    access_expires_at: given.pair().access_expires_at,
                    refresh_expires_at: given.pair().refresh_expires_at,
                    ..named.session
                };
                let named = NamedSession { session, ..named };
                Ok(Refreshed::Repeated(SignedIn { session: named, account, tokens }))
            }
            RefreshUse::Replay => {
                let id = pair.session;
                self.sessions.revoke(tx, &[id], now).await?;
                self.revocations.append(tx, &[Target::Session(id)], now).await?;
                self.note(tx, about("session.refresh_replay", actor, &named.session), now).await?;
                Ok(Refreshed::Replayed(id))
            }
        }
    }

    async fn give(&self, tx: &Tx, session: &Session, tokens: &TokenPair) -> Result<(), Error> {
        let access = self.handles.access_hash(tokens.access());
        let refresh = self.handles.refresh_hash(tokens.refresh());
        Ok(self.pairs.insert(tx, session, &access, &refresh).await?)
    }

    /// `size` live sessions of an account at most, last used first.
    pub(crate) async fn list_sessions(
        &self,
        permit: &Permit<ListSessions>,
        account: AccountId,
        after: Option<Place>,
        size: usize,
    ) -> Result<Listed<NamedSession, Place>, Error> {
        check_reach(permit, account)?;
        let now = self.now();
        let list = |tx| async move {
            let stored = self.accounts.find(&tx, account).await?.ok_or(Error::AccountNotFound)?;
            Ok::<_, Error>((stored, self.sessions.list(&tx, account, (after, size), now).await?))
        };
        let (stored, listed) = self.database.read("list_sessions", list).await?;
        let key = if listed.rows.iter().any(StoredSession::is_sealed) {
            Some(self.keys.subject(stored.account().subject()).await?)
        } else {
            None
        };
        listed.opened(|session| Ok(Some(self.sessions.open(&session, key.as_deref())?)))
    }

    /// Ends a session, and says when it was ended.
    pub(crate) async fn revoke_session(
        &self,
        permit: &Permit<RevokeSession>,
        id: SessionId,
        change: &Change<Timestamp>,
    ) -> Result<Reply<Timestamp>, Error> {
        let (only, now, actor) = (only_account(permit)?, change.now, &*permit.caller().key());
        let outcome = self
            .database
            .run_tx("revoke_session", |tx| async move {
                let revoke = async {
                    let stored = self.sessions.find(&tx, id).await?;
                    let session = stored.as_ref().map(StoredSession::session);
                    if only.is_some_and(|own| session.is_none_or(|session| session.account != own)) {
                        return Err(Error::NotYourData);
                    }
                    let session = session.ok_or(Error::SessionNotFound)?;
                    if let Some(revoked_at) = session.revoked_at {
                        return Ok(revoked_at);
                    }
                    self.sessions.revoke(&tx, &[id], now).await?;
                    self.revocations.append(&tx, &[Target::Session(id)], now).await?;
                    self.note(&tx, about("session.revoke", actor, session), now).await?;
                    Ok(now)
                };
                self.once(&tx, change, None, revoke).await
            })
            .await;
        self.feed.nudge();
        self.reply(change, outcome?).await
    }

    /// Ends the sessions of an account, all but `keep`, and says how many.
    pub(crate) async fn revoke_all_sessions(
        &self,
        permit: &Permit<RevokeAllSessions>,
        account: AccountId,
        keep: Option<SessionId>,
        change: &Change<usize>,
    ) -> Result<Reply<usize>, Error> {
        check_reach(permit, account)?;
        let now = change.now;
        let happened = &Happened::new("session.revoke_all", permit.caller().key()).on(account);
        let outcome = self
            .database
            .run_tx("revoke_all_sessions", |tx| async move {
                let revoke = async {
                    self.accounts.find(&tx, account).await?.ok_or(Error::AccountNotFound)?;
                    let mut ids = self.sessions.live_ids(&tx, account, now).await?;
                    ids.retain(|id| Some(*id) != keep);
                    self.sessions.revoke(&tx, &ids, now).await?;
                    let targets: Vec<_> = ids.iter().copied().map(Target::Session).collect();
                    self.revocations.append(&tx, &targets, now).await?;
                    // Who ends none changes nothing.
                    if !ids.is_empty() {
                        self.note(&tx, happened.clone().with("sessions_ended", ids.len()), now).await?;
                    }
                    Ok(ids.len())
                };
                self.once(&tx, change, None, revoke).await
            })
            .await;
        self.feed.nudge();
        self.reply(change, outcome?).await
    }
}

/// What `actor` does to a session.
fn about(action: &'static str, actor: &str, session: &Session) -> Happened {
    Happened::new(action, actor).on(session.account).to(session.id)
}
