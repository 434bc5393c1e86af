//! What clients are told of people: ID tokens and UserInfo (OpenID Connect Core, sections 2 and 5.3).

use std::time::Duration;

use portal_core::{Acr, Scope, Timestamp};
use portal_crypto::jose::{Algorithm, Claims, sign};
use portal_mesh::Permit;
use portal_upkeep::audit::Happened;
use serde_json::Value;

use crate::app::App;
use crate::app::accounts::Shown;
use crate::domain::{Account, Grant, Handle, Profile};
use crate::error::Error;
use crate::service::policy::GetUserInfo;

/// How long an ID token may be believed: it tells of a sign-in, and opens nothing.
const ID_TOKEN_LIFE: Duration = Duration::from_secs(60 * 60);

/// The type of an ID token.
pub(super) const ID_TOKEN: &str = "JWT";

/// What the scopes of a token show of a person.
#[derive(Debug)]
pub struct UserInfo {
    /// Who.
    pub account: Account,
    /// What is personal, as far as it may be told.
    pub profile: Option<Profile>,
    /// Whether somebody reads what is sent to the e-mail address.
    pub email_verified: bool,
    /// Whether the name may be told.
    pub name: bool,
    /// Whether the e-mail address may.
    pub email: bool,
}

/// What an ID token tells.
pub(super) struct SignInTold<'a> {
    pub(super) grant: &'a Grant,
    pub(super) account: &'a Account,
    pub(super) authentication: (Acr, Timestamp),
    pub(super) nonce: Option<&'a str>,
}

impl SignInTold<'_> {
    /// The claims, beside the hash of the access token. `sub` is the account: the same for every client, since what they record
    /// about a person they record in one place.
    pub(super) fn claims(&self, now: Timestamp) -> Claims {
        let (acr, authenticated_at) = self.authentication;
        let mut claims = Claims::new();
        let mut tell = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        tell("iss", self.grant.issuer.as_str().into());
        tell("sub", self.account.id().to_string().into());
        tell("aud", self.grant.client.to_string().into());
        tell("iat", now.as_seconds().into());
        tell("exp", now.plus(ID_TOKEN_LIFE).as_seconds().into());
        tell("auth_time", authenticated_at.as_seconds().into());
        tell("acr", acr.name().into());
        tell("sid", self.grant.session.to_string().into());
        tell("subject_id", self.account.subject().to_string().into());
        if let Some(nonce) = self.nonce {
            tell("nonce", nonce.into());
        }
        claims
    }
}

impl App {
    /// An ID token with these claims, bound to `access`.
    pub(super) async fn id_token(
        &self,
        mut claims: Claims,
        access: &Handle,
        algorithm: Algorithm,
    ) -> Result<String, Error> {
        let key = self.signing_key(algorithm).await?;
        claims.insert("at_hash".to_owned(), algorithm.half_hash(&access.to_text()).into());
        Ok(sign(&claims, ID_TOKEN, &key.signing, self.keys.suites())?)
    }

    /// What the token of the call shows of its person.
    pub(crate) async fn user_info(&self, permit: &Permit<GetUserInfo>) -> Result<UserInfo, Error> {
        let user = permit.caller().user().ok_or(Error::TokenInvalid)?;
        let id = user.account;
        let Shown::Account(profiled) = self.shown(id).await? else { return Err(Error::AccountNotFound) };
        // Portal's own sign-in sees all of its person.
        let may = |scope| user.client().is_none_or(|(_, scopes)| scopes.contains(&scope));
        Ok(UserInfo {
            account: profiled.account,
            profile: profiled.profile,
            email_verified: profiled.contact.verified_at.is_some(),
            name: may(Scope::Profile),
            email: may(Scope::Email),
        })
    }
}

/// What `actor` does to a grant.
pub(super) fn about(action: &'static str, actor: &str, grant: &Grant, account: &Account) -> Happened {
    Happened::new(action, actor).on(account.id()).to(grant.session).with("client", grant.client)
}
