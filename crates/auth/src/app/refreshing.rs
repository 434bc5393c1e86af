//! Refreshing: a refresh token is traded for the next pair. Those that come at the same time are committed together, as
//! [`portal_upkeep::together`] does it, but never two of one session: the later one finds what the earlier one did.

use std::sync::Arc;

use portal_core::Timestamp;
use portal_core::id::SessionId;
use portal_crypto::envelope::SubjectKey;
use portal_keys::KeysError;
use portal_mesh::Permit;
use portal_mesh::context::Context as Call;
use portal_store::{Inserts, StoreError, Tx};
use portal_upkeep::migration::Mode;
use portal_upkeep::together::{self, Failure, Outcome, Together, Work};

use super::App;
use super::sessions::about;
use super::sign_in::SignedIn;
use crate::domain::session::RefreshUse;
use crate::domain::{Account, Handle, HandleHash, NamedSession, Network, Session, Target, TokenPair};
use crate::error::Error;
use crate::metrics;
use crate::service::policy::RefreshSession;
use crate::store::live::{Live, Token};
use crate::store::sessions::StoredSession;
use crate::store::token_pairs::StoredTokens;

/// A use of a refresh token.
pub(crate) struct Refreshing {
    hash: HandleHash,
    /// What it is traded for.
    successor: TokenPair,
    session: SessionId,
    /// Of the person, at hand before the token is spent.
    key: Arc<SubjectKey>,
    /// Who made the call, as events name it, and from where.
    actor: String,
    network: Option<Network>,
    /// The call, for the event.
    call: Option<Call>,
}

/// How it ended. All but `Refused` may have changed something that must stay.
pub(crate) enum Refreshed {
    Granted(SignedIn),
    Refused,
    Repeated(SignedIn),
    Replayed(SessionId),
}

/// What a transaction is about to write.
struct Rotation<'a> {
    tx: &'a Tx,
    mode: Mode,
    now: Timestamp,
    spent: Vec<StoredTokens>,
    renewed: Vec<(StoredSession, Session)>,
    inserts: Inserts,
}

impl Work for Refreshing {
    type App = App;
    type Done = Refreshed;
    type Error = Error;
    const NAME: &'static str = "refresh_together";

    fn together(app: &App) -> &Together<Self> {
        &app.refreshes
    }

    fn joins(&self, group: &[Self]) -> bool {
        group.iter().all(|one| one.session != self.session)
    }

    async fn commit(app: &App, group: &[Self]) -> Result<Vec<Outcome<Self>>, Error> {
        let now = app.now();
        let rotate = |tx| async move { app.rotate_all(&tx, group, now).await };
        let refreshed = app.database.run_tx("refresh_session", rotate).await?;
        Ok(refreshed.into_iter().map(Ok).collect())
    }
}

impl Failure for Error {
    fn store(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }

    fn of_all(error: Arc<Self>) -> Self {
        Self::Together(error)
    }

    fn abandoned() -> Self {
        Self::Abandoned
    }
}

impl App {
    /// Trades a refresh token for the next pair of tokens.
    pub(crate) async fn refresh(
        self: &Arc<Self>,
        permit: Permit<RefreshSession>,
        refresh: &Handle,
    ) -> Result<SignedIn, Error> {
        let hash = self.handles.refresh_hash(refresh);
        // Rubbish never gets as far as the writer.
        let find = |tx| async move { self.lives.find(&tx, Token::Refresh(&hash)).await };
        let refreshed = match self.database.read("find_refresh_token", find).await? {
            Some(found) => match self.key_of(&found.account).await {
                Ok(key) => {
                    let caller = permit.caller();
                    let refreshing = Refreshing {
                        hash,
                        successor: self.handles.successor(refresh),
                        session: found.session.session().id,
                        key,
                        actor: caller.key().clone(),
                        network: caller.client_address().map(Network::of),
                        call: Call::current(),
                    };
                    together::ask(self, refreshing).await?
                }
                // What they had is as good as gone.
                Err(Error::Keys(KeysError::Erased(_))) => Refreshed::Refused,
                Err(error) => return Err(error),
            },
            None => Refreshed::Refused,
        };
        let (outcome, result) = match refreshed {
            Refreshed::Granted(signed_in) => (metrics::Outcome::Granted, Ok(signed_in)),
            Refreshed::Refused => (metrics::Outcome::Refused, Err(Error::TokenInvalid)),
            Refreshed::Repeated(signed_in) => (metrics::Outcome::Repeated, Ok(signed_in)),
            Refreshed::Replayed(session) => {
                tracing::warn!(%session, "a spent refresh token was used again: the session was ended");
                self.feed.nudge();
                (metrics::Outcome::Replayed, Err(Error::TokenInvalid))
            }
        };
        self.metrics.refresh(outcome);
        result
    }

    async fn rotate_all(
        &self,
        tx: &Tx,
        group: &[Refreshing],
        now: Timestamp,
    ) -> Result<Vec<Refreshed>, Error> {
        let hashes: Vec<_> = group.iter().map(|one| one.hash).collect();
        let found = self.lives.find_all(tx, &hashes).await?;
        let mut rotation = Rotation {
            tx,
            mode: self.seals.mode(tx).await?,
            now,
            spent: Vec::new(),
            renewed: Vec::new(),
            inserts: Inserts::of(tx),
        };
        let mut refreshed = Vec::with_capacity(group.len());
        for (one, found) in group.iter().zip(found) {
            let Some(found) = found else {
                refreshed.push(Refreshed::Refused);
                continue;
            };
            let rotate = self.rotate(&mut rotation, one, found);
            refreshed.push(match one.call.clone() {
                Some(call) => call.scope(rotate).await?,
                None => rotate.await?,
            });
        }
        self.pairs.spend(tx, rotation.spent, now).await?;
        self.sessions.update(tx, rotation.renewed).await?;
        rotation.inserts.run(tx).await?;
        Ok(refreshed)
    }

    async fn rotate(
        &self,
        rotation: &mut Rotation<'_>,
        one: &Refreshing,
        found: Live,
    ) -> Result<Refreshed, Error> {
        let (tx, now) = (rotation.tx, rotation.now);
        let (pair, account) = (found.tokens.pair(), found.account.account());
        if !found.session.session().is_live(now) || account.lock_at(now).is_some() {
            return Ok(Refreshed::Refused);
        }
        let named = self.named(&found.session, found.context.as_ref(), Some(&one.key))?;
        match pair.refresh_use(now) {
            RefreshUse::Expired => Ok(Refreshed::Refused),
            RefreshUse::First => self.renew(rotation, one, (found, named)).await,
            RefreshUse::Retry => {
                let successor = self.handles.refresh_hash(one.successor.refresh());
                let Some(given) = self.pairs.find_by_refresh(tx, &successor).await? else {
                    return Ok(Refreshed::Refused);
                };
                let session = Session {
                    access_expires_at: given.pair().access_expires_at,
                    refresh_expires_at: given.pair().refresh_expires_at,
                    ..named.session
                };
                Ok(Refreshed::Repeated(one.signed_in(NamedSession { session, ..named }, account)))
            }
            RefreshUse::Replay => {
                let id = pair.session;
                self.sessions.revoke(tx, &[id], now).await?;
                self.revocations.append(tx, &[Target::Session(id)], now).await?;
                self.sign_out_of_clients(tx, &[id], now).await?;
                self.note(tx, about("session.refresh_replay", &one.actor, &named.session), now).await?;
                Ok(Refreshed::Replayed(id))
            }
        }
    }

    /// Gives out the next pair.
    async fn renew(
        &self,
        rotation: &mut Rotation<'_>,
        one: &Refreshing,
        (found, named): (Live, NamedSession),
    ) -> Result<Refreshed, Error> {
        let (now, inserts) = (rotation.now, &mut rotation.inserts);
        let mut named = NamedSession { session: named.session.renewed(now), ..named };
        if let Some(context) = named.context.used_from(one.network.clone()) {
            let changed = (named.session.id, &context);
            match &found.context {
                Some(before) => self.contexts.update(rotation.tx, changed, before, &one.key).await?,
                None => self.contexts.add(inserts, changed, &one.key)?,
            }
            named.context = context;
        }
        self.give(inserts, &named.session, &one.successor, rotation.mode)?;
        self.note_with(inserts, about("session.refresh", &one.actor, &named.session), now)?;
        let signed_in = one.signed_in(named, found.account.account());
        rotation.renewed.push((found.session, signed_in.session.session.clone()));
        rotation.spent.push(found.tokens);
        Ok(Refreshed::Granted(signed_in))
    }
}

impl Refreshing {
    fn signed_in(&self, session: NamedSession, account: &Account) -> SignedIn {
        SignedIn { session, account: account.clone(), tokens: self.successor.clone(), raised: false }
    }
}
