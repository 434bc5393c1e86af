//! The token, introspection and revocation endpoints.

use std::collections::BTreeSet;
use std::time::Duration;

use portal_core::id::{ClientId, SessionId};
use portal_core::{Scope, Sensitive, Timestamp};
use portal_keys::KeysError;
use portal_mesh::Permit;
use portal_store::{Inserts, ReadTx, Tx};
use portal_upkeep::audit::Happened;

use super::claims::{SignInTold, about};
use super::grant::{Given, LiveGrant, Refreshed};
use super::proof::{Held, Proof};
use super::{Answer, Credentials, Parameters, Refusal};
use crate::app::App;
use crate::domain::grant::{CLIENT_ACCESS_LIFE, parse_scopes, scope_text};
use crate::domain::session::RefreshUse;
use crate::domain::{AuthorizationCode, Client, GrantType, Handle, HandleHash, ProofKey};
use crate::error::Error;
use crate::service::policy::{GrantToken, IntrospectGrant, RevokeGrant};
use crate::store::accounts::StoredAccount;
use crate::store::grants::ClientToken;

/// What a person's data is told by; nothing a client has of its own.
const OF_PEOPLE: [Scope; 4] = [Scope::Email, Scope::OfflineAccess, Scope::OpenId, Scope::Profile];
const CODE_BAD: Refusal = Refusal::InvalidGrant(
    "the code is unknown, used or over, another client's, or its verifier or key is wrong",
);
const REFRESH_BAD: Refusal = Refusal::InvalidGrant(
    "the refresh token is unknown, used, expired or revoked, another client's, or its key is not proven",
);

/// What a client gets (RFC 6749, section 5.1).
#[derive(Debug)]
pub struct TokenSet {
    /// Opaque.
    pub access: Handle,
    /// How long that lives.
    pub expires_in: Duration,
    /// Opaque, good once.
    pub refresh: Option<Handle>,
    /// What was given.
    pub scopes: BTreeSet<Scope>,
    /// Signed.
    pub id_token: Option<Sensitive<String>>,
    /// The key that the access token is bound to, if it is.
    pub key: Option<ProofKey>,
}

/// What one of a client's tokens stands for.
pub enum Introspected {
    /// The client itself; by a token that is bound to this key, if it is.
    Itself(ClientToken, Option<ProofKey>),
    /// A person; by an access token, or by a refresh token.
    Person(Box<LiveGrant>, bool),
}

/// What a token is of, live or not.
enum Belongs {
    Grant(Box<LiveGrant>),
    Itself(bool),
}

impl App {
    /// Gives a client tokens for what it has.
    pub(crate) async fn grant_token(
        &self,
        _: &Permit<GrantToken>,
        credentials: &Credentials,
        (parameters, proof): (&Parameters, Option<&Proof>),
    ) -> Result<Answer<TokenSet>, Error> {
        let client = match self.client_of(credentials).await? {
            Ok(client) => client,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Some(name) = parameters.get("grant_type") else {
            return Ok(Err(Refusal::InvalidRequest("grant_type is missing")));
        };
        let Some(grant) = GrantType::parse(name) else { return Ok(Err(Refusal::UnsupportedGrantType)) };
        if !client.may(grant) {
            return Ok(Err(Refusal::UnauthorizedClient));
        }
        let key = match self.proven_key(&client, proof, self.now()) {
            Ok(key) => key,
            Err(refusal) => return Ok(Err(refusal)),
        };
        match grant {
            GrantType::AuthorizationCode => self.redeem(&client, parameters, key).await,
            GrantType::ClientCredentials => self.grant_itself(&client, parameters.get("scope"), key).await,
            GrantType::DeviceCode => self.redeem_device(&client, parameters, key).await,
            GrantType::RefreshToken => self.refresh_grant(&client, parameters, key).await,
        }
    }

    pub(super) async fn client_of(&self, credentials: &Credentials) -> Result<Answer<Client>, Error> {
        let now = self.now();
        let find = |tx| async move { self.authenticate(&tx, credentials, now).await };
        self.database.read("find_client", find).await
    }

    async fn redeem(
        &self,
        client: &Client,
        parameters: &Parameters,
        key: Option<ProofKey>,
    ) -> Result<Answer<TokenSet>, Error> {
        let Some(text) = parameters.get("code") else {
            return Ok(Err(Refusal::InvalidRequest("code is missing")));
        };
        let Some(handle) = Handle::parse(text) else { return Ok(Err(CODE_BAD)) };
        let (hash, now) = (&self.handles.authorization_code_hash(&handle), self.now());
        let find = |tx| async move { self.approved_by(&tx, hash).await };
        let Some((code, account)) = self.database.read("find_code", find).await? else {
            return Ok(Err(CODE_BAD));
        };
        let good = code.client == client.id
            && now < code.expires_at
            && parameters.get("redirect_uri").is_none_or(|uri| uri == code.redirect_uri)
            && parameters.get("code_verifier").is_some_and(|it| code.code_challenge.is_met_by(it))
            && code.proof_key.is_none_or(|wanted| key == Some(wanted));
        // Whoever has a used code has a copy, whether they know its verifier or not: told from one that is merely wrong only
        // by its own client.
        if !good && (code.client != client.id || code.used_for.is_none()) {
            return Ok(Err(CODE_BAD));
        }
        let persons = match self.key_of(&account).await {
            Ok(key) => key,
            Err(Error::Keys(KeysError::Erased(_))) => return Ok(Err(CODE_BAD)),
            Err(error) => return Err(error),
        };
        let given = self.beginning_grant((client, &code), (account.account(), key), now);
        let (given, key) = (&given, &*persons);
        let began = self
            .database
            .run_tx("redeem_code", |tx| async move {
                let Some((code, account)) = self.approved_by(&tx, hash).await? else { return Ok(false) };
                if let Some(session) = code.used_for {
                    self.end_replayed(&tx, (&code, session), now).await?;
                    return Ok(false);
                }
                if account.account().lock_at(now).is_some() || self.is_outlived(&tx, &code, now).await? {
                    return Ok(false);
                }
                self.authorizations.use_code(&tx, hash, &code, given.session.id).await?;
                self.begin_grant(&tx, given, (client, key), now).await?;
                Ok::<_, Error>(true)
            })
            .await?;
        if !began {
            self.feed.nudge();
            return Ok(Err(CODE_BAD));
        }
        self.token_set(client, given, (code.nonce.as_deref(), now)).await.map(Ok)
    }

    /// Ends what came of a code that was used once more.
    async fn end_replayed(
        &self,
        tx: &Tx,
        (code, session): (&AuthorizationCode, SessionId),
        now: Timestamp,
    ) -> Result<(), Error> {
        let Some(session) = self.sessions.find(tx, session).await? else { return Ok(()) };
        self.end_grant(tx, session.session(), now).await?;
        self.sign_out_of_clients(tx, &[session.session().id], now).await?;
        let happened = Happened::new("client.code_replay", format!("client/{}", code.client));
        self.note(tx, happened.on(code.account).to(session.session().id), now).await
    }

    /// Whether the session has ended in which a code was approved: whoever signed out gives nothing to anybody.
    async fn is_outlived(
        &self,
        tx: &ReadTx,
        code: &AuthorizationCode,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let Some(origin) = code.origin else { return Ok(false) };
        Ok(self.sessions.find(tx, origin).await?.is_none_or(|found| !found.session().is_live(now)))
    }

    async fn approved_by(
        &self,
        tx: &ReadTx,
        hash: &HandleHash,
    ) -> Result<Option<(AuthorizationCode, StoredAccount)>, Error> {
        let Some(code) = self.authorizations.find_code(tx, hash).await? else { return Ok(None) };
        Ok(self.accounts.find(tx, code.account).await?.map(|account| (code, account)))
    }

    async fn refresh_grant(
        &self,
        client: &Client,
        parameters: &Parameters,
        key: Option<ProofKey>,
    ) -> Result<Answer<TokenSet>, Error> {
        let Some(text) = parameters.get("refresh_token") else {
            return Ok(Err(Refusal::InvalidRequest("refresh_token is missing")));
        };
        let Some(refresh) = &Handle::parse(text) else { return Ok(Err(REFRESH_BAD)) };
        let now = self.now();
        let asked = parameters.get("scope").map(parse_scopes);
        let rotate = |tx| async move { self.rotate_grant(&tx, (client, refresh, key), now).await };
        if let Some(asked) = asked {
            let same = asked.as_ref();
            let find = |tx| async move { self.live_grant(&tx, Held::Refresh(refresh), now).await };
            let found = self.database.read("find_grant", find).await?;
            if found.is_some_and(|found| Some(&found.grant.scopes) != same) {
                return Ok(Err(Refusal::InvalidScope("leave scope out: a refresh keeps what was granted")));
            }
        }
        match self.database.run_tx("refresh_grant", rotate).await? {
            Refreshed::Given(given) => self.token_set(client, &given, (None, now)).await.map(Ok),
            Refreshed::Refused => Ok(Err(REFRESH_BAD)),
            Refreshed::Replayed(session) => {
                tracing::warn!(%session, "a spent refresh token of a client was used again: the grant was ended");
                self.feed.nudge();
                Ok(Err(REFRESH_BAD))
            }
        }
    }

    async fn grant_itself(
        &self,
        client: &Client,
        asked: Option<&str>,
        key: Option<ProofKey>,
    ) -> Result<Answer<TokenSet>, Error> {
        let mut own = client.settings.scopes.clone();
        own.retain(|scope| !OF_PEOPLE.contains(scope));
        let scopes = match asked {
            None => own,
            Some(text) => match parse_scopes(text).filter(|scopes| scopes.is_subset(&own)) {
                Some(scopes) => scopes,
                None => return Ok(Err(Refusal::InvalidScope("not a scope that this client has for itself"))),
            },
        };
        if scopes.is_empty() {
            return Ok(Err(Refusal::InvalidScope("this client has no scope for itself")));
        }
        self.attempts.admit_grant(client.id)?;
        let (now, access) = (self.now(), Handle::generate(self.entropy.as_ref()));
        let expires_at = now.plus(CLIENT_ACCESS_LIFE);
        let token = &ClientToken { client: client.id, scopes: scopes.clone(), issued_at: now, expires_at };
        let hash = &self.handles.client_access_hash(&access, key.is_some());
        let happened = Happened::new("client.token", format!("client/{}", client.id)).to(client.id);
        let happened = &happened.with("scopes", scope_text(&scopes));
        self.database
            .run_tx("grant_client_token", |tx| async move {
                self.grants.insert_client_token(&tx, hash, token).await?;
                let mut inserts = Inserts::of(&tx);
                if let Some(key) = key {
                    self.bindings.add(&mut inserts, (hash, key), expires_at)?;
                }
                self.note_with(&mut inserts, happened.clone(), now)?;
                Ok::<_, Error>(inserts.run(&tx).await?)
            })
            .await?;
        let expires_in = CLIENT_ACCESS_LIFE;
        Ok(Ok(TokenSet { access, expires_in, refresh: None, scopes, id_token: None, key }))
    }

    pub(super) async fn token_set(
        &self,
        client: &Client,
        given: &Given,
        (nonce, now): (Option<&str>, Timestamp),
    ) -> Result<TokenSet, Error> {
        let Given { grant, account, authentication, session, tokens, .. } = given;
        let told = SignInTold { grant, account, authentication: *authentication, nonce };
        let id_token = if grant.scopes.contains(&Scope::OpenId) {
            let algorithm = client.settings.id_token_algorithm;
            Some(Sensitive::new(self.id_token(told.claims(now), tokens.access(), algorithm).await?))
        } else {
            None
        };
        Ok(TokenSet {
            access: tokens.access().clone(),
            expires_in: session.access_expires_at.since(now),
            refresh: grant.is_offline().then(|| tokens.refresh().clone()),
            scopes: grant.scopes.clone(),
            id_token,
            key: given.key,
        })
    }

    /// What one of the client's own tokens stands for, if it is live.
    pub(crate) async fn introspect_grant(
        &self,
        _: &Permit<IntrospectGrant>,
        credentials: &Credentials,
        token: Option<&Handle>,
    ) -> Result<Answer<Option<Introspected>>, Error> {
        let now = self.now();
        self.database
            .read("introspect_grant", |tx| async move {
                let client = match self.authenticate(&tx, credentials, now).await? {
                    Ok(client) => client,
                    Err(refusal) => return Ok(Err(refusal)),
                };
                let Some(token) = token else { return Ok(Ok(None)) };
                let found = self.held(&tx, token, now).await?;
                Ok(Ok(found.filter(|found| found.client() == client.id)))
            })
            .await
    }

    /// What any client's token stands for, if it is live.
    pub(in crate::app) async fn held(
        &self,
        tx: &ReadTx,
        token: &Handle,
        now: Timestamp,
    ) -> Result<Option<Introspected>, Error> {
        if let Some(found) = self.live_grant(tx, Held::Access(token), now).await? {
            let live = now < found.tokens.pair().access_expires_at;
            return Ok(live.then(|| Introspected::Person(Box::new(found), false)));
        }
        if let Some(found) = self.live_grant(tx, Held::Refresh(token), now).await? {
            let unspent = found.tokens.pair().refresh_use(now) == RefreshUse::First;
            let live = unspent && found.grant.is_offline();
            return Ok(live.then(|| Introspected::Person(Box::new(found), true)));
        }
        let own = self.handles.client_access_hash(token, false);
        if let Some(found) = self.grants.client_token(tx, &own, now).await? {
            return Ok(Some(Introspected::Itself(found, None)));
        }
        let own = self.handles.client_access_hash(token, true);
        let Some(found) = self.grants.client_token(tx, &own, now).await? else { return Ok(None) };
        let key = self.bindings.find(tx, own.as_bytes()).await?;
        Ok(Some(Introspected::Itself(found, Some(key))))
    }

    /// Ends one of the client's own tokens, and what it belongs to: a spent or expired one too, whose copy may be what worries
    /// the client. One that is not, is no error.
    pub(crate) async fn revoke_grant(
        &self,
        _: &Permit<RevokeGrant>,
        credentials: &Credentials,
        token: Option<&Handle>,
    ) -> Result<Answer<()>, Error> {
        let client = match self.client_of(credentials).await? {
            Ok(client) => client.id,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let (Some(token), now) = (token, self.now()) else { return Ok(Ok(())) };
        let find = |tx| async move { self.belongs(&tx, (client, token), now).await };
        if self.database.read("find_grant", find).await?.is_none() {
            return Ok(Ok(()));
        }
        self.database
            .run_tx("revoke_grant", |tx| async move {
                let actor = format!("client/{client}");
                match self.belongs(&tx, (client, token), now).await? {
                    Some(Belongs::Grant(found)) if found.session.session().revoked_at.is_none() => {
                        self.end_grant(&tx, found.session.session(), now).await?;
                        let account = found.account.account();
                        self.note(&tx, about("session.revoke", &actor, &found.grant, account), now).await?;
                    }
                    Some(Belongs::Itself(bound)) => {
                        let hash = self.handles.client_access_hash(token, bound);
                        self.grants.delete_client_token(&tx, &hash).await?;
                        let own = portal_core::id::Id::from_uuid(portal_core::id::Id::uuid(client));
                        self.revocations.append(&tx, &[crate::domain::Target::Session(own)], now).await?;
                        self.note(&tx, Happened::new("client.revoke", actor).to(client), now).await?;
                    }
                    Some(Belongs::Grant(_)) | None => {}
                }
                Ok::<_, Error>(())
            })
            .await?;
        self.feed.nudge();
        Ok(Ok(()))
    }

    /// What a token of `client` belongs to, spent, expired or not.
    async fn belongs(
        &self,
        tx: &ReadTx,
        (client, token): (ClientId, &Handle),
        now: Timestamp,
    ) -> Result<Option<Belongs>, Error> {
        for held in [Held::Access(token), Held::Refresh(token)] {
            if let Some(found) = self.any_grant(tx, held).await? {
                let own = found.grant.client == client;
                return Ok(own.then(|| Belongs::Grant(Box::new(found))));
            }
        }
        for bound in [false, true] {
            let hash = self.handles.client_access_hash(token, bound);
            if let Some(own) = self.grants.client_token(tx, &hash, now).await? {
                return Ok((own.client == client).then_some(Belongs::Itself(bound)));
            }
        }
        Ok(None)
    }
}

impl Introspected {
    /// The client that holds the token.
    #[must_use]
    pub fn client(&self) -> ClientId {
        match self {
            Self::Itself(token, _) => token.client,
            Self::Person(found, _) => found.grant.client,
        }
    }
}

#[cfg(test)]
mod tests {
    use portal_core::SeededEntropy;

    use super::*;

    #[test]
    fn nothing_of_a_token_is_shown() {
        let access = Handle::generate(&SeededEntropy::new(1));
        let text = access.to_text();
        let tokens = TokenSet {
            access: access.clone(),
            expires_in: CLIENT_ACCESS_LIFE,
            refresh: Some(access),
            scopes: BTreeSet::new(),
            id_token: Some(Sensitive::new("eyJ0eXAi.eyJzdWIi.c2ln".to_owned())),
            key: None,
        };
        let shown = format!("{tokens:?}");
        assert!(!shown.contains(&text) && !shown.contains("eyJ"), "{shown}");
    }
}
