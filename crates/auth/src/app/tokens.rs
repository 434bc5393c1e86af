//! Tokens: what an opaque handle stands for, and its exchange for a signed token.

use portal_core::entropy::random_bytes;
use portal_core::{Timestamp, Workload};
use portal_crypto::token::{AccessClaims, MAX_LIFE, issue};
use portal_mesh::Permit;
use portal_store::ReadTx;

use super::App;
use crate::domain::session::{RefreshUse, StoredPair};
use crate::domain::{Account, Acr, Handle, Session};
use crate::error::Error;
use crate::service::policy::{ExchangeToken, IntrospectToken};
use crate::store::contexts::StoredContext;
use crate::store::live::{Live as Found, Token};

/// What RFC 9068 calls the client of a first-party sign-in.
const FIRST_PARTY: &str = "portal";

/// A token that is live, and what it belongs to.
pub struct Live {
    /// The pair it is of.
    pub pair: StoredPair,
    /// The session.
    pub session: Session,
    /// Who is signed in.
    pub account: Account,
    /// How they proved who they are, and when.
    pub authentication: (Acr, Timestamp),
}

/// A signed token.
pub struct Exchanged {
    /// The token.
    pub token: String,
    /// When it ends.
    pub expires_at: Timestamp,
    /// What it was given for.
    pub live: Live,
}

/// What kind of token was looked up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenKind {
    /// Access.
    Access,
    /// Refresh.
    Refresh,
}

impl App {
    /// Signs a token for `audience` on behalf of whoever holds `access`, with the roles of this moment.
    pub(crate) async fn exchange(
        &self,
        _: Permit<ExchangeToken>,
        access: &Handle,
        audience: Workload,
    ) -> Result<Exchanged, Error> {
        let now = self.now();
        let live = self
            .database
            .read("exchange_token", |tx| async move { self.live_access(&tx, access, now).await })
            .await?
            .ok_or(Error::TokenInvalid)?;
        // Whole seconds, as in the token: what is told here must not be later than what is signed.
        let end = now.plus(MAX_LIFE).min(live.pair.access_expires_at);
        let expires_at = Timestamp::from_seconds(end.as_seconds());
        let issued_at = Timestamp::from_seconds(now.as_seconds());
        let token_id: [u8; 16] = random_bytes(self.entropy.as_ref());
        let claims = AccessClaims {
            issuer: self.issuer.clone(),
            audience: audience.name().to_owned(),
            subject: live.account.id(),
            subject_id: live.account.subject(),
            client_id: FIRST_PARTY.to_owned(),
            session_id: live.session.id,
            roles: live.account.roles().iter().collect(),
            scopes: Vec::new(),
            issued_at,
            not_before: issued_at,
            expires_at: expires_at.min(issued_at.plus(MAX_LIFE)),
            token_id: format!("{:032x}", u128::from_be_bytes(token_id)),
        };
        let token = issue(&claims, &self.token_key, self.keys.suites())?;
        Ok(Exchanged { token, expires_at: claims.expires_at, live })
    }

    /// What `handle` stands for, if it is live.
    pub(crate) async fn introspect(
        &self,
        _: Permit<IntrospectToken>,
        handle: &Handle,
    ) -> Result<Option<(TokenKind, Live)>, Error> {
        let now = self.now();
        self.database
            .read("introspect_token", |tx| async move {
                if let Some(live) = self.live_access(&tx, handle, now).await? {
                    return Ok(Some((TokenKind::Access, live)));
                }
                Ok(self.live_refresh(&tx, handle, now).await?.map(|live| (TokenKind::Refresh, live)))
            })
            .await
    }

    async fn live_access(&self, tx: &ReadTx, access: &Handle, now: Timestamp) -> Result<Option<Live>, Error> {
        let hash = self.handles.access_hash(access);
        let found = self.lives.find(tx, Token::Access(&hash)).await?;
        Ok(found
            .filter(|found| now < found.tokens.pair().access_expires_at)
            .and_then(|found| live(&found, now)))
    }

    async fn live_refresh(
        &self,
        tx: &ReadTx,
        refresh: &Handle,
        now: Timestamp,
    ) -> Result<Option<Live>, Error> {
        let hash = self.handles.refresh_hash(refresh);
        let found = self.lives.find(tx, Token::Refresh(&hash)).await?;
        let unspent = |found: &Found| found.tokens.pair().refresh_use(now) == RefreshUse::First;
        Ok(found.filter(unspent).and_then(|found| live(&found, now)))
    }
}

/// What a pair stands for, if its session and account are in order. Nothing personal is opened, so no key is needed.
fn live(found: &Found, now: Timestamp) -> Option<Live> {
    let session = found.session.session();
    let account = found.account.account();
    let in_order = session.is_live(now) && account.lock_at(now).is_none();
    let authentication = found.context.as_ref().map(StoredContext::authentication);
    in_order.then(|| Live {
        pair: found.tokens.pair().clone(),
        session: session.clone(),
        account: account.clone(),
        authentication: authentication.unwrap_or((Acr::Password, session.created_at)),
    })
}
