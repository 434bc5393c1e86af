//! Sessions: signing in, refreshing, ending.

use portal_core::Timestamp;
use portal_core::id::{AccountId, Id, SessionId};
use portal_mesh::Permit;
use portal_store::Tx;

use super::{App, Change, Reply, check_reach, only_account};
use crate::domain::session::RefreshUse;
use crate::domain::{Account, DeviceName, Email, Handle, OfferedPassword, Session, Target, TokenPair};
use crate::error::Error;
use crate::metrics::Outcome;
use crate::service::policy::{CreateSession, ListSessions, RefreshSession, RevokeAllSessions, RevokeSession};
use crate::store::{accounts, revocations, sessions};

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
    pub session: Session,
    /// Who is signed in.
    pub account: Account,
    /// What the client gets.
    pub tokens: TokenPair,
}

/// How a refresh ended. All but `Refused` may have changed something that must stay.
enum Refreshed {
    Granted(SignedIn),
    Refused,
    Repeated(SignedIn),
    Replayed(SessionId),
}

impl App {
    /// Starts a session. An unknown e-mail address, a wrong password and a locked account take the same path and get
    /// the same answer.
    pub(crate) async fn sign_in(&self, _: Permit<CreateSession>, asked: SignIn) -> Result<SignedIn, Error> {
        let index = &self.email_index(&asked.email);
        let find = |tx| async move { Ok::<_, Error>(accounts::find_by_email(&tx, index).await?) };
        let (account, hash) = self.database.read("find_account", find).await?.unzip();
        let verified = self.passwords.verify(asked.password, hash).await?;
        let now = self.now();
        let Some(account) = account.filter(|account| verified && account.lock_at(now).is_none()) else {
            self.metrics.sign_in(Outcome::Refused);
            return Err(Error::CredentialsRejected);
        };
        let id = SessionId::generate(now, self.entropy.as_ref());
        let session = Session::start(id, account.id(), asked.device_name, asked.remember_me, now);
        let tokens = self.handles.first_pair(self.entropy.as_ref());
        let (started, pair) = (&session, &tokens);
        self.database
            .run_tx("create_session", |tx| async move {
                // It may have been locked, and its sessions ended, while the password was verified.
                let account = accounts::find(&tx, started.account).await?;
                if account.is_none_or(|account| account.lock_at(now).is_some()) {
                    return Err(Error::CredentialsRejected);
                }
                sessions::insert(&tx, started).await?;
                self.give(&tx, started, pair).await
            })
            .await?;
        self.metrics.sign_in(Outcome::Granted);
        Ok(SignedIn { session, account, tokens })
    }

    /// Trades a refresh token for the next pair of tokens.
    pub(crate) async fn refresh(
        &self,
        _: Permit<RefreshSession>,
        refresh: &Handle,
    ) -> Result<SignedIn, Error> {
        let hash = &self.handles.refresh_hash(refresh);
        // Rubbish never gets as far as the writer.
        let find = |tx| async move { Ok::<_, Error>(sessions::find_by_refresh(&tx, hash).await?) };
        let known = self.database.read("find_refresh_token", find).await?.is_some();
        let refreshed = if known {
            let now = self.now();
            self.database
                .run_tx("refresh_session", |tx| async move { self.rotate(&tx, refresh, now).await })
                .await?
        } else {
            Refreshed::Refused
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

    async fn rotate(&self, tx: &Tx, refresh: &Handle, now: Timestamp) -> Result<Refreshed, Error> {
        let hash = self.handles.refresh_hash(refresh);
        let Some(pair) = sessions::find_by_refresh(tx, &hash).await? else { return Ok(Refreshed::Refused) };
        let session = sessions::find(tx, pair.session).await?.ok_or(Error::SessionNotFound)?;
        let account = accounts::find(tx, session.account).await?.ok_or(Error::AccountNotFound)?;
        if !session.is_live(now) || account.lock_at(now).is_some() {
            return Ok(Refreshed::Refused);
        }
        let tokens = self.handles.successor(refresh);
        match pair.refresh_use(now) {
            RefreshUse::Expired => Ok(Refreshed::Refused),
            RefreshUse::First => {
                sessions::spend(tx, &hash, now).await?;
                let session = session.renewed(now);
                sessions::update(tx, &session).await?;
                self.give(tx, &session, &tokens).await?;
                Ok(Refreshed::Granted(SignedIn { session, account, tokens }))
            }
            RefreshUse::Retry => {
                let given =
                    sessions::find_by_refresh(tx, &self.handles.refresh_hash(tokens.refresh())).await?;
                let Some(given) = given else { return Ok(Refreshed::Refused) };
                let session = Session {
                    access_expires_at: given.access_expires_at,
                    refresh_expires_at: given.refresh_expires_at,
                    ..session
                };
                Ok(Refreshed::Repeated(SignedIn { session, account, tokens }))
            }
            RefreshUse::Replay => {
                sessions::revoke(tx, &[session.id], now).await?;
                revocations::append(tx, &[Target::Session(session.id)], now).await?;
                Ok(Refreshed::Replayed(session.id))
            }
        }
    }

    async fn give(&self, tx: &Tx, session: &Session, tokens: &TokenPair) -> Result<(), Error> {
        let access = self.handles.access_hash(tokens.access());
        let refresh = self.handles.refresh_hash(tokens.refresh());
        Ok(sessions::insert_pair(tx, session, &access, &refresh).await?)
    }

    /// Up to `limit` live sessions of an account, last used first.
    pub(crate) async fn list_sessions(
        &self,
        permit: &Permit<ListSessions>,
        account: AccountId,
        after: Option<(Timestamp, SessionId)>,
        limit: u64,
    ) -> Result<Vec<Session>, Error> {
        check_reach(permit, account)?;
        let now = self.now();
        self.database
            .read("list_sessions", |tx| async move {
                accounts::find(&tx, account).await?.ok_or(Error::AccountNotFound)?;
                Ok(sessions::list(&tx, account, after, limit, now).await?)
            })
            .await
    }

    /// Ends a session, and says when it was ended.
    pub(crate) async fn revoke_session(
        &self,
        permit: &Permit<RevokeSession>,
        id: SessionId,
        change: &Change<Timestamp>,
    ) -> Result<Reply<Timestamp>, Error> {
        let (only, now) = (only_account(permit)?, change.now);
        let reply = self
            .database
            .run_tx("revoke_session", |tx| async move {
                let revoke = async {
                    let session = sessions::find(&tx, id).await?;
                    if only.is_some_and(|own| session.as_ref().is_none_or(|session| session.account != own)) {
                        return Err(Error::NotYourData);
                    }
                    let session = session.ok_or(Error::SessionNotFound)?;
                    if let Some(revoked_at) = session.revoked_at {
                        return Ok(revoked_at);
                    }
                    sessions::revoke(&tx, &[id], now).await?;
                    revocations::append(&tx, &[Target::Session(id)], now).await?;
                    Ok(now)
                };
                change.once(&tx, revoke).await
            })
            .await;
        self.feed.nudge();
        reply
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
        let reply = self
            .database
            .run_tx("revoke_all_sessions", |tx| async move {
                let revoke = async {
                    accounts::find(&tx, account).await?.ok_or(Error::AccountNotFound)?;
                    let mut ids = sessions::live_ids(&tx, account, now).await?;
                    ids.retain(|id| Some(*id) != keep);
                    sessions::revoke(&tx, &ids, now).await?;
                    let targets: Vec<_> = ids.iter().copied().map(Target::Session).collect();
                    revocations::append(&tx, &targets, now).await?;
                    Ok(ids.len())
                };
                change.once(&tx, revoke).await
            })
            .await;
        self.feed.nudge();
        reply
    }
}
