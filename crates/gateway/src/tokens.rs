//! Turns the opaque access tokens of clients into the signed tokens that services verify.
//!
//! An exchange is remembered, by the token's hash and the audience, until shortly before the signed token ends; calls
//! that come while one is under way wait for it instead of starting another. What is remembered dies with the session:
//! [`Tokens::follow`] drops it when auth tells of a revocation, and an exchange that was under way meanwhile is not
//! remembered. While that feed is lost nothing is remembered and nothing remembered is used: every call exchanges.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::HeaderValue;
use portal_core::{Clock, Timestamp, Workload};
use portal_crypto::hash::{Sha256, sha256};
use portal_mesh::convert::parse_timestamp;
use portal_mesh::status::{Reason, reason, reason_of};
use portal_mesh::{Drain, Host, MeshChannel};
use portal_proto::auth::v1::token_service_client::TokenServiceClient;
use portal_proto::auth::v1::{ExchangeTokenRequest, ExchangeTokenResponse};
use tonic::{Code, Request, Status};

use crate::metrics::{Exchange, GatewayMetrics};

mod cache;
mod feed;
mod open;

use cache::{Cache, Flight, Grant};
use feed::Feed;

/// An exchange that takes longer counts as failed.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(3);
/// A signed token is not used from the cache in its last seconds, so that it does not end on its way.
const SAFETY_MARGIN: Duration = Duration::from_secs(30);

/// What a call carries to the service.
#[derive(Debug)]
pub(crate) enum Credential {
    /// The value of its `authorization` header.
    Bearer(HeaderValue),
    /// The client sent none.
    None,
    /// The client sent one that can't be used: a public method still can be called.
    Unusable(Reason),
}

/// A token as it is presented, and the key that was proven with it.
#[derive(Clone, Copy)]
pub(crate) struct Presented<'a> {
    pub(crate) token: &'a str,
    /// Its thumbprint.
    pub(crate) key: Option<&'a str>,
}

impl Presented<'_> {
    /// By what its exchange is known: what was exchanged with a key is found with that key only.
    fn key_of(self, audience: Workload) -> Key {
        let known_by = [self.token.as_bytes(), b"\0", self.key.unwrap_or_default().as_bytes()].concat();
        (sha256(&known_by), audience)
    }

    fn to_asked(self) -> Asked {
        Asked { token: self.token.to_owned(), proven: self.key.unwrap_or_default().to_owned() }
    }
}

/// Which exchange: of which token with which key, for whom.
type Key = (Sha256, Workload);
/// What an exchange gave.
type Exchanged = Result<Arc<Grant>, Refusal>;

/// Why an exchange gave nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Refusal {
    /// The token is bound to a key, and none was proven.
    Bound,
    /// Auth does not know the token, or not with the key that was proven.
    Invalid,
    /// Auth does not answer.
    Unavailable,
}

/// The exchange of tokens. Clones share the cache.
#[derive(Clone)]
pub(crate) struct Tokens(Arc<Shared>);

/// What is asked of auth.
#[derive(Clone)]
struct Asked {
    token: String,
    /// The thumbprint of the key that was proven; empty for none.
    proven: String,
}

struct Shared {
    auth: MeshChannel,
    clock: Arc<dyn Clock>,
    metrics: GatewayMetrics,
    cache: Cache,
    feed: Feed,
}

impl Tokens {
    pub(crate) fn new(auth: &MeshChannel, host: &Host, metrics: GatewayMetrics) -> Self {
        Self(Arc::new(Shared {
            auth: auth.as_workload(),
            clock: Arc::clone(&host.clock),
            metrics,
            cache: Cache::default(),
            feed: Feed::default(),
        }))
    }

    /// What a call with this token carries to `audience`.
    ///
    /// # Errors
    /// UNAVAILABLE if there is a token that can't be checked now.
    pub(crate) async fn credential(
        &self,
        presented: Presented<'_>,
        audience: Workload,
    ) -> Result<Credential, Status> {
        match self.grant(presented, audience).await {
            Ok(grant) => Ok(Credential::Bearer(grant.authorization.clone())),
            Err(Refusal::Bound) => {
                self.0.metrics.exchange(Exchange::Refused);
                Ok(Credential::Unusable(reason::DPOP_PROOF_NEEDED))
            }
            Err(Refusal::Invalid) => {
                self.0.metrics.exchange(Exchange::Refused);
                Ok(Credential::Unusable(reason::TOKEN_INVALID))
            }
            Err(Refusal::Unavailable) => {
                self.0.metrics.exchange(Exchange::Unavailable);
                Err(reason::TOKEN_UNVERIFIABLE.status())
            }
        }
    }

    /// The `authorization` header for `audience` of whoever holds this access token, which is bound to no key.
    ///
    /// # Errors
    /// UNAUTHENTICATED if nobody does; UNAVAILABLE if it can't be checked now.
    pub(crate) async fn bearer(&self, access: &str, audience: Workload) -> Result<HeaderValue, Status> {
        match self.grant(Presented { token: access, key: None }, audience).await {
            Ok(grant) => Ok(grant.authorization.clone()),
            Err(Refusal::Bound | Refusal::Invalid) => Err(reason::TOKEN_INVALID.status()),
            Err(Refusal::Unavailable) => Err(reason::TOKEN_UNVERIFIABLE.status()),
        }
    }

    /// The time by which tokens are judged.
    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    async fn grant(&self, presented: Presented<'_>, audience: Workload) -> Exchanged {
        let asked = || presented.to_asked();
        if !self.0.feed.is_live() {
            return Arc::clone(&self.0).exchange(asked(), audience).await;
        }
        let key = presented.key_of(audience);
        let start = || Arc::clone(&self.0).exchange_and_keep(key, asked());
        match self.0.cache.grant(key, self.0.clock.now(), start) {
            Flight::Landed(grant) => {
                self.0.metrics.exchange(Exchange::Cached);
                Ok(grant)
            }
            Flight::UnderWay(exchange) => exchange.await,
        }
    }

    /// Follows the feed of revocations until the drain starts.
    pub(crate) async fn follow(self, drain: Drain) {
        tokio::select! {
            () = drain.started() => {}
            () = self.0.feed.follow(&self.0.auth, &self.0.cache) => {}
        }
    }
}

impl Shared {
    fn exchange_and_keep(self: Arc<Self>, key: Key, asked: Asked) -> BoxFuture<'static, Exchanged> {
        async move {
            let epoch = self.cache.epoch();
            let exchanged = Arc::clone(&self).exchange(asked, key.1).await;
            let keep = exchanged.as_ref().ok().filter(|_| self.feed.is_live());
            self.cache.land(key, epoch, keep.cloned(), self.clock.now());
            exchanged
        }
        .boxed()
    }

    async fn exchange(self: Arc<Self>, asked: Asked, audience: Workload) -> Exchanged {
        let proven = asked.proven.clone();
        let mut request = Request::new(ExchangeTokenRequest {
            access_token: asked.token,
            audience: audience.name().to_owned(),
            dpop_jkt: asked.proven,
        });
        request.set_timeout(EXCHANGE_TIMEOUT);
        let mut auth = TokenServiceClient::new(self.auth.clone());
        match tokio::time::timeout(EXCHANGE_TIMEOUT, auth.exchange_token(request)).await {
            Ok(Ok(reply)) => {
                self.metrics.exchange(Exchange::Exchanged);
                let reply = reply.into_inner();
                // An auth of an earlier version binds nothing, and does not hear what was proven.
                if reply.dpop_jkt == proven { grant(reply) } else { Err(Refusal::Invalid) }
            }
            Ok(Err(status)) if reason_of(&status).as_deref() == Some(reason::DPOP_PROOF_NEEDED.name) => {
                Err(Refusal::Bound)
            }
            // A token that is not even of the right shape is as unknown as any other.
            Ok(Err(status)) if matches!(status.code(), Code::Unauthenticated | Code::InvalidArgument) => {
                Err(Refusal::Invalid)
            }
            Ok(Err(status)) => {
                tracing::warn!(code = ?status.code(), "a token could not be exchanged");
                Err(Refusal::Unavailable)
            }
            Err(_) => Err(Refusal::Unavailable),
        }
    }
}

fn grant(reply: ExchangeTokenResponse) -> Exchanged {
    let mut authorization =
        HeaderValue::try_from(format!("Bearer {}", reply.token)).map_err(|_| Refusal::Unavailable)?;
    authorization.set_sensitive(true);
    let expires_at = reply.expire_time.and_then(|time| parse_timestamp(time).ok());
    Ok(Arc::new(Grant {
        authorization,
        // Without an end it is good for this call and not remembered.
        usable_until: expires_at.map_or(Timestamp::default(), |time| time.minus(SAFETY_MARGIN)),
        session_id: reply.session_id,
        account_id: reply.account_id,
        token_family_id: reply.token_family_id,
        client_id: reply.client_id,
    }))
}
