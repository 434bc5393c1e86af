//! What a client was given: looked up by its tokens, begun with a code, gone on with by refresh tokens.

use std::collections::BTreeSet;

use portal_core::id::{Id, SessionId};
use portal_core::{Acr, Scope, Timestamp};
use portal_crypto::envelope::SubjectKey;
use portal_store::{Inserts, ReadTx, Tx};

use super::claims::about;
use super::proof::Held;
use crate::app::App;
use crate::domain::session::RefreshUse;
use crate::domain::{
    Account, AuthorizationCode, Client, ClientSignIn, Context, DeviceName, Grant, Handle, NamedSession,
    ProofKey, Session, Target, TokenPair,
};
use crate::error::Error;
use crate::store::accounts::StoredAccount;
use crate::store::contexts::StoredContext;
use crate::store::grants::StoredGrantTokens;
use crate::store::sessions::StoredSession;

/// Tokens of a grant, and all that they belong to.
pub struct LiveGrant {
    /// The pair.
    pub tokens: StoredGrantTokens,
    /// The grant.
    pub grant: Grant,
    /// The session that it is.
    pub session: StoredSession,
    /// Whose session that is.
    pub account: StoredAccount,
    /// How they proved who they are, and when.
    pub authentication: (Acr, Timestamp),
    /// The key that the tokens are bound to, if they are.
    pub key: Option<ProofKey>,
}

/// What somebody approved, and how they had proven who they are.
pub(super) struct Approved<'a> {
    pub(super) issuer: &'a str,
    pub(super) scopes: &'a BTreeSet<Scope>,
    pub(super) authentication: (Acr, Timestamp),
    /// The session of the browser in which they did, if that goes on to the application.
    pub(super) origin: Option<SessionId>,
}

/// What a client gets.
pub(super) struct Given {
    pub(super) grant: Grant,
    pub(super) account: Account,
    pub(super) authentication: (Acr, Timestamp),
    pub(super) session: Session,
    pub(super) tokens: TokenPair,
    /// That the person is signed in by it from now on.
    pub(super) sign_in: Option<ClientSignIn>,
    /// The key that the tokens are bound to, if they are.
    pub(super) key: Option<ProofKey>,
}

/// How a refresh ended. All but `Refused` may have changed something that must stay.
pub(super) enum Refreshed {
    Given(Box<Given>),
    Refused,
    Replayed(SessionId),
}

impl App {
    /// The tokens with this one, if their session and account are in order. Nothing personal is opened.
    pub(in crate::app) async fn live_grant(
        &self,
        tx: &ReadTx,
        held: Held<'_>,
        now: Timestamp,
    ) -> Result<Option<LiveGrant>, Error> {
        let found = self.any_grant(tx, held).await?;
        let live = |found: &LiveGrant| {
            found.session.session().is_live(now) && found.account.account().lock_at(now).is_none()
        };
        Ok(found.filter(live))
    }

    /// The tokens with this one, whatever has become of their session.
    pub(super) async fn any_grant(&self, tx: &ReadTx, held: Held<'_>) -> Result<Option<LiveGrant>, Error> {
        let Some((tokens, key)) = self.held_tokens(tx, held).await? else { return Ok(None) };
        let id = tokens.pair().session;
        let (Some(grant), Some(session)) =
            (self.grants.find(tx, id).await?, self.sessions.find(tx, id).await?)
        else {
            return Ok(None);
        };
        let Some(account) = self.accounts.find(tx, session.session().account).await? else {
            return Ok(None);
        };
        let contexts = self.contexts.find_all(tx, [id].into_iter()).await?;
        let authentication = contexts.get(&id).map(StoredContext::authentication);
        let authentication = authentication.unwrap_or((Acr::Password, session.session().created_at));
        Ok(Some(LiveGrant { tokens, grant, session, account, authentication, key }))
    }

    /// A grant that begins, for whoever approved `code`.
    pub(super) fn beginning_grant(
        &self,
        (client, code): (&Client, &AuthorizationCode),
        (account, key): (&Account, Option<ProofKey>),
        now: Timestamp,
    ) -> Given {
        let authentication = (code.acr, code.authenticated_at);
        let (issuer, scopes, origin) = (&*code.issuer, &code.scopes, code.origin);
        let approved = Approved { issuer, scopes, authentication, origin };
        self.grant_of(client, &approved, (account, key), now)
    }

    /// A grant that begins, for whoever approved it.
    pub(super) fn grant_of(
        &self,
        client: &Client,
        approved: &Approved<'_>,
        (account, key): (&Account, Option<ProofKey>),
        now: Timestamp,
    ) -> Given {
        let id = SessionId::generate(now, self.entropy.as_ref());
        let grant = Grant {
            session: id,
            client: client.id,
            issuer: approved.issuer.to_owned(),
            scopes: approved.scopes.clone(),
        };
        let session = life(Session::start(id, account.id(), grant.is_offline(), now), &grant);
        let authentication = approved.authentication;
        let tokens = self.handles.first_pair(self.entropy.as_ref());
        let sign_in = ClientSignIn::is_made_by(&grant.scopes).then(|| ClientSignIn {
            session: id,
            origin: approved.origin.unwrap_or(id),
            account: account.id(),
            client: client.id,
            issuer: approved.issuer.to_owned(),
        });
        Given { grant, account: account.clone(), authentication, session, tokens, sign_in, key }
    }

    /// Writes a grant down.
    pub(super) async fn begin_grant(
        &self,
        tx: &Tx,
        given: &Given,
        (client, key): (&Client, &SubjectKey),
        now: Timestamp,
    ) -> Result<(), Error> {
        let (mut inserts, mode) = (Inserts::of(tx), self.seals.mode(tx).await?);
        let (acr, authenticated_at) = given.authentication;
        let context = Context { acr, authenticated_at, last_network: None };
        let name: String = client.settings.display_name.chars().take(100).collect();
        let named = NamedSession {
            session: given.session.clone(),
            device_name: DeviceName::new(name),
            context,
            client: Some(client.id),
        };
        self.sessions.add(&mut inserts, &named, key, mode)?;
        self.contexts.add(&mut inserts, (given.session.id, &named.context), key)?;
        self.grants.add(&mut inserts, &given.grant)?;
        if let Some(sign_in) = &given.sign_in {
            self.make_room(tx, sign_in, now).await?;
            self.sign_ins.add(&mut inserts, sign_in)?;
        }
        self.give_grant(&mut inserts, given)?;
        let actor = format!("client/{}", client.id);
        let happened = about("session.create", &actor, &given.grant, &given.account);
        self.note_with(&mut inserts, happened, now)?;
        Ok(inserts.run(tx).await?)
    }

    fn give_grant(&self, inserts: &mut Inserts, given: &Given) -> Result<(), Error> {
        let bound = given.key.is_some();
        let access = self.handles.grant_access_hash(given.tokens.access(), bound);
        let refresh = self.handles.grant_refresh_hash(given.tokens.refresh(), bound);
        if let Some(key) = given.key {
            self.bindings.add(inserts, (&refresh, key), given.session.refresh_expires_at)?;
        }
        Ok(self.grants.add_tokens(inserts, &given.session, (&access, &refresh))?)
    }

    /// Trades a refresh token of `client` for the next pair. As for people's own: whose reply was lost gets the same for ten
    /// seconds, and a copy used later ends the grant. What is bound to a key is traded with a proof only, and by a client that keeps
    /// no secret with one by that key: a copy in other hands does not get as far as being used.
    pub(super) async fn rotate_grant(
        &self,
        tx: &Tx,
        (client, refresh, key): (&Client, &Handle, Option<ProofKey>),
        now: Timestamp,
    ) -> Result<Refreshed, Error> {
        let found = self.live_grant(tx, Held::Refresh(refresh), now).await?;
        let Some(LiveGrant { tokens: stored, grant, session, account, authentication, key: bound }) = found
        else {
            return Ok(Refreshed::Refused);
        };
        if grant.client != client.id || !grant.is_offline() || !client.may_refresh(bound, key) {
            return Ok(Refreshed::Refused);
        }
        let (tokens, account) = (self.handles.successor(refresh), account.account().clone());
        let actor = format!("client/{}", client.id);
        match stored.pair().refresh_use(now) {
            RefreshUse::Expired => Ok(Refreshed::Refused),
            RefreshUse::First => {
                self.grants.spend(tx, stored, now).await?;
                let renewed = life(session.session().clone().renewed(now), &grant);
                self.sessions.update(tx, vec![(session, renewed.clone())]).await?;
                let session = renewed;
                let given = Given { grant, account, authentication, session, tokens, sign_in: None, key };
                let mut inserts = Inserts::of(tx);
                self.give_grant(&mut inserts, &given)?;
                let happened = about("session.refresh", &actor, &given.grant, &given.account);
                self.note_with(&mut inserts, happened, now)?;
                inserts.run(tx).await?;
                Ok(Refreshed::Given(Box::new(given)))
            }
            RefreshUse::Retry => {
                let successor = self.held_tokens(tx, Held::Refresh(tokens.refresh())).await?;
                // Whoever proves another key now was not the first to ask.
                let Some((again, _)) = successor.filter(|(_, bound)| *bound == key) else {
                    return Ok(Refreshed::Refused);
                };
                let session = Session {
                    access_expires_at: again.pair().access_expires_at,
                    refresh_expires_at: again.pair().refresh_expires_at,
                    ..session.session().clone()
                };
                let given = Given { grant, account, authentication, session, tokens, sign_in: None, key };
                Ok(Refreshed::Given(Box::new(given)))
            }
            RefreshUse::Replay => {
                self.end_grant(tx, session.session(), now).await?;
                self.sign_out_of_clients(tx, &[session.session().id], now).await?;
                let happened = about("session.refresh_replay", &actor, &grant, &account);
                self.note(tx, happened, now).await?;
                Ok(Refreshed::Replayed(session.session().id))
            }
        }
    }

    /// Ends the session that a grant is, unless it has ended.
    pub(super) async fn end_grant(&self, tx: &Tx, session: &Session, now: Timestamp) -> Result<(), Error> {
        if session.revoked_at.is_some() {
            return Ok(());
        }
        self.sessions.revoke(tx, &[session.id], now).await?;
        Ok(self.revocations.append(tx, &[Target::Session(session.id)], now).await?)
    }
}

/// A grant that does not go on ends with its access token.
fn life(session: Session, grant: &Grant) -> Session {
    if grant.is_offline() {
        return session;
    }
    Session { refresh_expires_at: session.access_expires_at, ..session }
}
