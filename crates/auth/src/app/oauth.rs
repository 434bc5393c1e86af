//! OAuth 2.1 and OpenID Connect: what clients ask people for, and what they get.
//!
//! A grant is a session of the person, with the client's name as its device: it is listed, ended and revoked like any other.
//! Its tokens and scopes are in tables of their own.

pub mod authorize;
pub mod claims;
pub mod device;
pub mod ending;
pub mod grant;
pub mod logout;
pub mod proof;
mod sign_out;
pub mod token;

use std::collections::BTreeMap;

use portal_core::id::ClientId;
use portal_core::{Sensitive, Timestamp};
use portal_store::ReadTx;

use super::App;
use crate::domain::{Client, Handle};
use crate::error::Error;

/// Why a client does not get what it asks for: an answer of the protocol, in its words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// The person, or what they approved, says no.
    AccessDenied,
    /// Nobody has decided about a device yet.
    AuthorizationPending,
    /// It would take the person's approval, and they may not be asked.
    ConsentRequired,
    /// Nobody decided about a device in time.
    ExpiredToken,
    /// The client is unknown, or not who it says.
    InvalidClient,
    /// There is no proof of possession, and there must be one.
    InvalidDpopProof(&'static str),
    /// What is traded for tokens is not good, or no longer.
    InvalidGrant(&'static str),
    /// The request is malformed.
    InvalidRequest(&'static str),
    /// The scope is unknown, or not this client's.
    InvalidScope(&'static str),
    /// It would take a sign-in, and nobody may be asked.
    LoginRequired,
    /// Request objects are not taken.
    RequestNotSupported,
    /// A device asks too often.
    SlowDown,
    /// This client may not do that.
    UnauthorizedClient,
    /// There is no such grant type.
    UnsupportedGrantType,
    /// Only codes are given.
    UnsupportedResponseType,
    /// The proof lacks the nonce that is told with this.
    UseDpopNonce,
}

impl Refusal {
    /// The code of RFC 6749, RFC 8628 and OpenID Connect Core.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::AccessDenied => "access_denied",
            Self::AuthorizationPending => "authorization_pending",
            Self::ConsentRequired => "consent_required",
            Self::ExpiredToken => "expired_token",
            Self::InvalidClient => "invalid_client",
            Self::InvalidDpopProof(_) => "invalid_dpop_proof",
            Self::InvalidGrant(_) => "invalid_grant",
            Self::InvalidRequest(_) => "invalid_request",
            Self::InvalidScope(_) => "invalid_scope",
            Self::LoginRequired => "login_required",
            Self::RequestNotSupported => "request_not_supported",
            Self::SlowDown => "slow_down",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::UseDpopNonce => "use_dpop_nonce",
        }
    }

    /// What a developer is told.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::AccessDenied => "the person refused",
            Self::AuthorizationPending => "nobody has decided yet; ask again after the interval",
            Self::ConsentRequired => "the person has to approve, and prompt=none forbids to ask",
            Self::ExpiredToken => "nobody decided in time; start again",
            Self::InvalidClient => "the client is unknown, or its secret is wrong or missing",
            Self::InvalidDpopProof(what)
            | Self::InvalidGrant(what)
            | Self::InvalidRequest(what)
            | Self::InvalidScope(what) => what,
            Self::LoginRequired => "somebody has to sign in, and prompt=none forbids to ask",
            Self::RequestNotSupported => "request objects are not taken: push the request instead (RFC 9126)",
            Self::SlowDown => "too soon; wait five seconds longer each time from now on",
            Self::UnauthorizedClient => "this client is not registered for that",
            Self::UnsupportedGrantType => {
                "grant_type must be authorization_code, client_credentials, refresh_token or that of devices (RFC 8628)"
            }
            Self::UnsupportedResponseType => "response_type must be code",
            Self::UseDpopNonce => "send the proof again, with the nonce of the DPoP-Nonce header",
        }
    }
}

/// The parameters of a request, each given once.
#[derive(Debug)]
pub struct Parameters(BTreeMap<String, Sensitive<String>>);

impl Parameters {
    /// Reads pairs; `None` if one is given twice (RFC 6749, section 3.1). A parameter without a value is as good as none.
    #[must_use]
    pub fn read(pairs: impl IntoIterator<Item = (String, String)>) -> Option<Self> {
        let mut parameters = BTreeMap::new();
        for (name, value) in pairs {
            if parameters.insert(name, Sensitive::new(value)).is_some() {
                return None;
            }
        }
        Some(Self(parameters))
    }

    /// The value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.expose().as_str()).filter(|value| !value.is_empty())
    }
}

/// Who a client says it is.
#[derive(Debug)]
pub struct Credentials {
    /// Its id; `None` for what can't be one.
    pub id: Option<ClientId>,
    /// Its secret; `None` if it gave none.
    pub secret: Option<Offered>,
}

/// A secret as it was offered.
#[derive(Debug)]
pub enum Offered {
    /// It has the shape of one.
    Handle(Handle),
    /// It can't be anybody's.
    Malformed,
}

/// An answer of the protocol: what was asked for, or a refusal.
pub type Answer<T> = Result<T, Refusal>;

impl App {
    /// The client, if it is who it says.
    async fn authenticate(
        &self,
        tx: &ReadTx,
        credentials: &Credentials,
        now: Timestamp,
    ) -> Result<Answer<Client>, Error> {
        let Some(id) = credentials.id else { return Ok(Err(Refusal::InvalidClient)) };
        let Some(client) = self.clients.find(tx, id).await? else { return Ok(Err(Refusal::InvalidClient)) };
        let secret = match &credentials.secret {
            Some(Offered::Malformed) => return Ok(Err(Refusal::InvalidClient)),
            Some(Offered::Handle(secret)) => Some(secret),
            None => None,
        };
        let proven = client.is_proven_by(secret, &self.handles, now);
        Ok(if proven { Ok(client) } else { Err(Refusal::InvalidClient) })
    }
}
