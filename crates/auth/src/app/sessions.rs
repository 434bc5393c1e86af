//! Sessions: listing, ending.

use portal_core::Timestamp;
use portal_core::id::{AccountId, SessionId};
use portal_crypto::envelope::SubjectKey;
use portal_mesh::Permit;
use portal_store::Inserts;
use portal_upkeep::audit::Happened;
use portal_upkeep::migration::Mode;

use super::{App, Change, Reply, check_reach, only_account};
use crate::domain::{Context, NamedSession, Session, Target, TokenPair};
use crate::error::Error;
use crate::service::policy::{ListSessions, RevokeAllSessions, RevokeSession};
use crate::store::Listed;
use crate::store::contexts::StoredContext;
use crate::store::sessions::{Place, StoredSession};

impl App {
    /// A session with all that is known of it.
    pub(super) fn named(
        &self,
        stored: &StoredSession,
        context: Option<&StoredContext>,
        key: Option<&SubjectKey>,
    ) -> Result<NamedSession, Error> {
        let named = self.sessions.open(stored, key)?;
        let context = match (context, key) {
            (Some(context), Some(key)) => self.contexts.open(context, key)?,
            (Some(_), None) | (None, _) => Context::by_password(named.session.created_at),
        };
        Ok(NamedSession { context, ..named })
    }

    pub(super) fn give(
        &self,
        inserts: &mut Inserts,
        session: &Session,
        tokens: &TokenPair,
        mode: Mode,
    ) -> Result<(), Error> {
        let access = self.handles.access_hash(tokens.access());
        let refresh = self.handles.refresh_hash(tokens.refresh());
        Ok(self.pairs.add(inserts, session, (&access, &refresh), mode)?)
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
            let listed = self.sessions.list(&tx, account, (after, size), now).await?;
            let ids = listed.rows.iter().map(|session| session.session().id);
            let contexts = self.contexts.find_all(&tx, ids.clone()).await?;
            let grants = self.grants.find_all(&tx, ids).await?;
            Ok::<_, Error>((stored, listed, (contexts, grants)))
        };
        let (stored, listed, (contexts, grants)) = self.database.read("list_sessions", list).await?;
        let key = if listed.rows.iter().any(StoredSession::is_sealed) || !contexts.is_empty() {
            Some(self.keys.subject(stored.account().subject()).await?)
        } else {
            None
        };
        listed.opened(|session| {
            let id = session.session().id;
            let named = self.named(&session, contexts.get(&id), key.as_deref())?;
            Ok(Some(NamedSession { client: grants.get(&id).map(|grant| grant.client), ..named }))
        })
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
                    // Whoever ends what an application has ends all of it, and is asked before it has it again.
                    let client = self.grants.client_of(&tx, id).await?;
                    let mut ids = match client {
                        Some(client) => self.forget_client(&tx, (session.account, client), now).await?,
                        None => Vec::new(),
                    };
                    if !ids.contains(&id) {
                        ids.push(id);
                    }
                    self.sessions.revoke(&tx, &ids, now).await?;
                    let targets: Vec<_> = ids.iter().copied().map(Target::Session).collect();
                    self.revocations.append(&tx, &targets, now).await?;
                    self.sign_out_of_clients(&tx, &ids, now).await?;
                    if let Some(client) = client {
                        self.sign_out_of_client(&tx, (session.account, client), now).await?;
                    }
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
                    self.forget_clients(&tx, account).await?;
                    self.sign_account_out_of_clients(&tx, (account, keep), now).await?;
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
pub(super) fn about(action: &'static str, actor: &str, session: &Session) -> Happened {
    Happened::new(action, actor).on(session.account).to(session.id)
}
