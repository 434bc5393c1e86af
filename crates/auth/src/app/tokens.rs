//! Tokens: what an opaque handle stands for, and its exchange for a signed token.

use std::collections::BTreeSet;

use portal_core::entropy::random_bytes;
use portal_core::id::{AccountId, ClientId, Id, SessionId, SubjectId};
use portal_core::{Acr, Assurance, Role, Scope, Timestamp, Workload};
use portal_crypto::jose::Algorithm;
use portal_crypto::token::{AccessClaims, FIRST_PARTY, InvalidScope, MAX_LIFE, issue};
use portal_mesh::Permit;
use portal_store::{ReadTx, StoreError};

use super::oauth::grant::LiveGrant;
use super::oauth::token::Introspected;
use super::sessions::about;
use super::{App, Change, Reply};
use crate::domain::session::RefreshUse;
use crate::domain::{Account, Handle, ProofKey, Session, Target};
use crate::error::Error;
use crate::service::policy::{ExchangeToken, IntrospectToken, RevokeToken};
use crate::store::contexts::StoredContext;
use crate::store::grants::ClientToken;
use crate::store::live::{Live as Found, Token};

/// Whom a live token stands for, and what it may do. Nothing personal was opened, so no key was needed.
#[derive(Clone, Debug)]
pub struct Bearer {
    /// The account; of a client that acts for itself, its own id.
    pub account: AccountId,
    /// The person; of a client that acts for itself, its own id.
    pub subject: SubjectId,
    /// The session that it dies with; of a client that acts for itself, its own id.
    pub session: SessionId,
    /// What the account may do.
    pub roles: Vec<Role>,
    /// The client that holds the token, and what it may do; `None` after a sign-in at Portal itself.
    pub client: Option<(ClientId, BTreeSet<Scope>)>,
    /// How the person proved who they are, and when.
    pub authentication: Option<(Acr, Timestamp)>,
    /// When the token was issued.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The key that the token is bound to, if it is.
    pub key: Option<ProofKey>,
}

/// A signed token.
pub struct Exchanged {
    /// The token.
    pub token: String,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Whom it stands for.
    pub bearer: Bearer,
}

/// What kind of token was looked up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenKind {
    /// Access.
    Access,
    /// Refresh.
    Refresh,
}

impl Bearer {
    fn person(account: &Account, session: SessionId, authentication: (Acr, Timestamp)) -> Self {
        Self {
            account: account.id(),
            subject: account.subject(),
            session,
            roles: account.roles().iter().collect(),
            client: None,
            authentication: Some(authentication),
            issued_at: Timestamp::default(),
            expires_at: Timestamp::default(),
            key: None,
        }
    }

    /// What people approve is about their own data: whatever else they may do, a client may not do it for them.
    fn delegate(found: &LiveGrant) -> Self {
        let (pair, grant) = (found.tokens.pair(), &found.grant);
        let own = found.account.account().roles().iter().filter(|role| *role == Role::Subject);
        Self {
            roles: own.collect(),
            client: Some((grant.client, grant.scopes.clone())),
            issued_at: pair.issued_at,
            expires_at: pair.access_expires_at,
            key: found.key,
            ..Self::person(found.account.account(), grant.session, found.authentication)
        }
    }

    /// RFC 9068, section 2.2: a client that acts for itself is its own subject.
    fn client(token: ClientToken, key: Option<ProofKey>) -> Self {
        let id = token.client.uuid();
        Self {
            account: AccountId::from_uuid(id),
            subject: SubjectId::from_uuid(id),
            session: SessionId::from_uuid(id),
            roles: vec![Role::Service],
            client: Some((token.client, token.scopes)),
            authentication: None,
            issued_at: token.issued_at,
            expires_at: token.expires_at,
            key,
        }
    }

    /// Whether it stands for a person: not for a client that acts for itself.
    #[must_use]
    pub fn is_person(&self) -> bool {
        self.client.as_ref().is_none_or(|(client, _)| client.uuid() != self.account.uuid())
    }
}

impl App {
    /// Signs a token for `audience` on behalf of whoever holds `access`, with the roles of this moment.
    pub(crate) async fn exchange(
        &self,
        permit: Permit<ExchangeToken>,
        (access, proven): (&Handle, Option<ProofKey>),
        audience: Workload,
    ) -> Result<Exchanged, Error> {
        let now = self.now();
        let (bearer, assurance) = self
            .database
            .read("exchange_token", |tx| async move {
                let bearer = self.bearer(&tx, access, now).await?.ok_or(Error::TokenInvalid)?;
                match (bearer.key, proven) {
                    (bound, proven) if bound == proven => {}
                    (Some(_), None) => return Err(Error::ProofMissing),
                    // Whoever has another key has a copy; and what is bound to none is no DPoP token (section 7.1).
                    _ => return Err(Error::TokenInvalid),
                }
                let assurance = match bearer.authentication {
                    Some((acr, authenticated_at)) => {
                        let has_second_factor = self.has_second_factor(&tx, bearer.account).await?;
                        Some(Assurance { acr, authenticated_at, has_second_factor })
                    }
                    None => None,
                };
                Ok::<_, Error>((bearer, assurance))
            })
            .await?;
        // Who asked for it is who presents it.
        let holder = self.trust_domain.spiffe_id(permit.caller().workload());
        let claims = self.claims((&bearer, assurance), (audience, holder), now)?;
        let key = self.signing_key(Algorithm::MlDsa65).await?;
        let key = key.token.as_deref().ok_or(Error::NoSigningKey)?;
        let token = issue(&claims, key, self.keys.suites())?;
        Ok(Exchanged { token, expires_at: claims.expires_at, bearer })
    }

    fn claims(
        &self,
        (bearer, assurance): (&Bearer, Option<Assurance>),
        (audience, holder): (Workload, String),
        now: Timestamp,
    ) -> Result<AccessClaims, InvalidScope> {
        // Whole seconds, as in the token: what is told here must not be later than what is signed.
        let end = now.plus(MAX_LIFE).min(bearer.expires_at);
        let expires_at = Timestamp::from_seconds(end.as_seconds());
        let issued_at = Timestamp::from_seconds(now.as_seconds());
        let token_id: [u8; 16] = random_bytes(self.entropy.as_ref());
        let (client_id, scopes) = match &bearer.client {
            None => (FIRST_PARTY.to_owned(), Vec::new()),
            Some((client, scopes)) => {
                let scopes = scopes.iter().map(|scope| scope.name().parse());
                (client.to_string(), scopes.collect::<Result<_, _>>()?)
            }
        };
        Ok(AccessClaims {
            issuer: self.issuer.clone(),
            audience: audience.name().to_owned(),
            subject: bearer.account,
            subject_id: bearer.subject,
            client_id,
            session_id: bearer.session,
            roles: bearer.roles.clone(),
            scopes,
            assurance,
            issued_at,
            not_before: issued_at,
            expires_at: expires_at.min(issued_at.plus(MAX_LIFE)),
            token_id: format!("{:032x}", u128::from_be_bytes(token_id)),
            holder: Some(holder),
        })
    }

    /// What `handle` stands for, if it is live.
    pub(crate) async fn introspect(
        &self,
        _: Permit<IntrospectToken>,
        handle: &Handle,
    ) -> Result<Option<(TokenKind, Bearer)>, Error> {
        let now = self.now();
        self.database
            .read("introspect_token", |tx| async move {
                if let Some(bearer) = self.live_access(&tx, handle, now).await? {
                    return Ok(Some((TokenKind::Access, bearer)));
                }
                if let Some(bearer) = self.live_refresh(&tx, handle, now).await? {
                    return Ok(Some((TokenKind::Refresh, bearer)));
                }
                Ok(self.held(&tx, handle, now).await?.map(|held| match held {
                    Introspected::Itself(token, key) => (TokenKind::Access, Bearer::client(token, key)),
                    Introspected::Person(found, false) => (TokenKind::Access, Bearer::delegate(&found)),
                    Introspected::Person(found, true) => {
                        let expires_at = found.tokens.pair().refresh_expires_at;
                        (TokenKind::Refresh, Bearer { expires_at, ..Bearer::delegate(&found) })
                    }
                }))
            })
            .await
    }

    /// Ends the session of one of the caller's own tokens (RFC 7009). Any other is no error.
    pub(crate) async fn revoke_token(
        &self,
        permit: &Permit<RevokeToken>,
        token: Option<&Handle>,
        change: &Change<()>,
    ) -> Result<Reply<()>, Error> {
        let (now, actor) = (change.now, &*permit.caller().key());
        let own = permit.caller().user().map(|user| user.account);
        let outcome = self
            .database
            .run_tx("revoke_token", |tx| async move {
                let revoke = async {
                    let Some(token) = token else { return Ok(()) };
                    let session = self.session_of(&tx, token, now).await?;
                    let session = session.filter(|it| Some(it.account) == own && it.is_live(now));
                    if let Some(session) = session {
                        self.sessions.revoke(&tx, &[session.id], now).await?;
                        self.revocations.append(&tx, &[Target::Session(session.id)], now).await?;
                        self.sign_out_of_clients(&tx, &[session.id], now).await?;
                        self.note(&tx, about("session.revoke", actor, &session), now).await?;
                    }
                    Ok(())
                };
                self.once(&tx, change, None, revoke).await
            })
            .await;
        self.feed.nudge();
        self.reply(change, outcome?).await
    }

    /// The session that a token belongs to, whatever the token is good for.
    async fn session_of(
        &self,
        tx: &ReadTx,
        token: &Handle,
        now: Timestamp,
    ) -> Result<Option<Session>, Error> {
        let (access, refresh) = (self.handles.access_hash(token), self.handles.refresh_hash(token));
        for token in [Token::Access(&access), Token::Refresh(&refresh)] {
            if let Some(found) = self.lives.find(tx, token).await? {
                return Ok(Some(found.session.session().clone()));
            }
        }
        Ok(match self.held(tx, token, now).await? {
            Some(Introspected::Person(found, _)) => Some(found.session.session().clone()),
            Some(Introspected::Itself(..)) | None => None,
        })
    }

    /// Whom an access token stands for: of a sign-in at Portal itself, or of a client.
    async fn bearer(&self, tx: &ReadTx, access: &Handle, now: Timestamp) -> Result<Option<Bearer>, Error> {
        if let Some(bearer) = self.live_access(tx, access, now).await? {
            return Ok(Some(bearer));
        }
        Ok(match self.held(tx, access, now).await? {
            Some(Introspected::Itself(token, key)) => Some(Bearer::client(token, key)),
            Some(Introspected::Person(found, false)) => Some(Bearer::delegate(&found)),
            Some(Introspected::Person(_, true)) | None => None,
        })
    }

    /// Whether the account has a second factor. One whose factors can't be read is not treated as if it had none.
    async fn has_second_factor(&self, tx: &ReadTx, account: AccountId) -> Result<bool, Error> {
        match self.factors.kinds(tx, account).await {
            Ok(kinds) => Ok(!kinds.is_empty()),
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::error!(%error, "a second factor is asked for: the row of one is corrupt");
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn live_access(
        &self,
        tx: &ReadTx,
        access: &Handle,
        now: Timestamp,
    ) -> Result<Option<Bearer>, Error> {
        let hash = self.handles.access_hash(access);
        let found = self.lives.find(tx, Token::Access(&hash)).await?;
        Ok(found.and_then(|found| {
            let pair = found.tokens.pair();
            let bearer = live(&found, now).filter(|_| now < pair.access_expires_at)?;
            Some(Bearer { issued_at: pair.issued_at, expires_at: pair.access_expires_at, ..bearer })
        }))
    }

    async fn live_refresh(
        &self,
        tx: &ReadTx,
        refresh: &Handle,
        now: Timestamp,
    ) -> Result<Option<Bearer>, Error> {
        let hash = self.handles.refresh_hash(refresh);
        let found = self.lives.find(tx, Token::Refresh(&hash)).await?;
        Ok(found.and_then(|found| {
            let pair = found.tokens.pair();
            let bearer = live(&found, now).filter(|_| pair.refresh_use(now) == RefreshUse::First)?;
            Some(Bearer { issued_at: pair.issued_at, expires_at: pair.refresh_expires_at, ..bearer })
        }))
    }
}

/// Whom a pair stands for, if its session and account are in order.
fn live(found: &Found, now: Timestamp) -> Option<Bearer> {
    let (session, account) = (found.session.session(), found.account.account());
    let in_order = session.is_live(now) && account.lock_at(now).is_none();
    let authentication = found.context.as_ref().map(StoredContext::authentication);
    let authentication = authentication.unwrap_or((Acr::Password, session.created_at));
    in_order.then(|| Bearer::person(account, session.id, authentication))
}
