//! Verifies the end user's token: an `at+jwt` (RFC 9068) signed ML-DSA-65 by auth, for this service and no other.
//!
//! Keys come from auth's GetKeySet and are fetched again when a token names one that is not known, at most every ten
//! seconds, so that forged key ids can't make every call a fetch. A verified token is remembered by its hash until it
//! expires, which turns 52 µs of signature verification into a look-up.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use portal_core::{Clock, Timestamp, TrustDomain, Workload};
use portal_crypto::hash::sha256;
use portal_crypto::sign::{Algorithm, VerifyingKey};
use portal_crypto::suite::Suites;
use portal_crypto::token::{AccessClaims, Expect, KeySet, TokenError as Refused, verify};
use portal_proto::auth::v1::token_service_client::TokenServiceClient;
use portal_proto::auth::v1::{GetKeySetRequest, JsonWebKey};
use tonic::Status;

use crate::{EndUser, Host, Identity, MeshChannel};

/// Clocks of two hosts may differ by this much.
const LEEWAY: Duration = Duration::from_secs(5);
/// Keys are not fetched more often than this.
const FETCH_INTERVAL: Duration = Duration::from_secs(10);
/// Verified tokens that are remembered.
const MAX_REMEMBERED: usize = 10_000;

/// A token that gives no end user.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The keys to check it with can't be had.
    #[error("the token's keys can't be had")]
    KeysUnavailable(#[source] Status),
    /// It is not valid.
    #[error("the token is refused")]
    Refused(#[from] Refused),
}

/// Verifies tokens for one service. Clones share keys and memory.
#[derive(Clone)]
pub struct TokenVerifier(Arc<Shared>);

struct Shared {
    issuer: String,
    audience: Workload,
    clock: Arc<dyn Clock>,
    keys: ArcSwap<KeySet>,
    suites: Suites,
    remembered: Mutex<HashMap<[u8; 32], Verified>>,
    auth: Option<MeshChannel>,
    last_fetch: tokio::sync::Mutex<Option<Timestamp>>,
}

/// The end user that a token stands for, and until when it does.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The account behind the call.
    pub user: EndUser,
    /// From then on the token is refused.
    pub expires_at: Timestamp,
}

/// The issuer of every token of a trust domain.
#[must_use]
pub fn issuer(trust_domain: &TrustDomain) -> String {
    format!("https://{trust_domain}")
}

impl TokenVerifier {
    /// For a service that gets its keys from auth through `auth`, and has `suites` switched on.
    #[must_use]
    pub fn remote(identity: &Identity, auth: &MeshChannel, suites: Suites, host: &Host) -> Self {
        Self::new(identity, (KeySet::new(), suites), Some(auth.as_workload()), host)
    }

    /// For auth itself, which has the keys.
    #[must_use]
    pub fn local(identity: &Identity, keys: KeySet, suites: Suites, host: &Host) -> Self {
        Self::new(identity, (keys, suites), None, host)
    }

    fn new(
        identity: &Identity,
        (keys, suites): (KeySet, Suites),
        auth: Option<MeshChannel>,
        host: &Host,
    ) -> Self {
        Self(Arc::new(Shared {
            issuer: issuer(identity.trust_domain()),
            audience: identity.workload(),
            clock: Arc::clone(&host.clock),
            keys: ArcSwap::from_pointee(keys),
            suites,
            remembered: Mutex::default(),
            auth,
            last_fetch: tokio::sync::Mutex::default(),
        }))
    }

    /// The end user that `token` stands for.
    ///
    /// # Errors
    /// [`TokenError`]; never a guess.
    pub async fn verify(&self, token: &str) -> Result<Verified, TokenError> {
        let now = self.now();
        let hash = sha256(token.as_bytes());
        if let Some(verified) = self.0.recall(&hash, now) {
            return Ok(verified);
        }
        let claims = match self.0.check(token, now) {
            Err(Refused::UnknownKey) if self.0.fetch_keys(now).await? => self.0.check(token, now)?,
            checked => checked?,
        };
        let expires_at = claims.expires_at;
        let verified = Verified { user: end_user(claims), expires_at };
        self.0.remember(hash, verified.clone(), now);
        Ok(verified)
    }

    /// The time by which tokens are judged.
    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }
}

fn end_user(claims: AccessClaims) -> EndUser {
    EndUser {
        account: claims.subject,
        subject: claims.subject_id,
        session: claims.session_id,
        roles: claims.roles.into_iter().collect::<BTreeSet<_>>(),
    }
}

impl Shared {
    fn check(&self, token: &str, now: Timestamp) -> Result<AccessClaims, Refused> {
        let (issuer, audience) = (self.issuer.as_str(), self.audience.name());
        let expect = Expect { issuer, audience, now, leeway: LEEWAY, suites: self.suites };
        verify(token, &self.keys.load(), &expect)
    }

    fn recall(&self, hash: &[u8; 32], now: Timestamp) -> Option<Verified> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.get(hash).filter(|entry| entry.expires_at > now).cloned()
    }

    fn remember(&self, hash: [u8; 32], entry: Verified, now: Timestamp) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= MAX_REMEMBERED {
            remembered.retain(|_, entry| entry.expires_at > now);
        }
        if remembered.len() < MAX_REMEMBERED {
            remembered.insert(hash, entry);
        }
    }

    /// Fetches the keys unless that was just done; says whether there may be new ones.
    async fn fetch_keys(&self, now: Timestamp) -> Result<bool, TokenError> {
        let Some(auth) = &self.auth else { return Ok(false) };
        // Held across the fetch: whoever comes meanwhile waits for its result instead of fetching too.
        let mut last_fetch = self.last_fetch.lock().await;
        if last_fetch.is_some_and(|last| now < last.plus(FETCH_INTERVAL)) {
            return Ok(true);
        }
        let reply = TokenServiceClient::new(auth.clone()).get_key_set(GetKeySetRequest {}).await;
        let keys = reply.map_err(TokenError::KeysUnavailable)?.into_inner().keys;
        let mut set = KeySet::new();
        for key in keys.iter().filter_map(ml_dsa_65) {
            set.insert(key);
        }
        self.keys.store(Arc::new(set));
        *last_fetch = Some(now);
        Ok(true)
    }
}

/// Keys of other algorithms are for clients outside; the mesh accepts ML-DSA-65 only.
fn ml_dsa_65(key: &JsonWebKey) -> Option<VerifyingKey> {
    if key.kty != "AKP" || key.alg != "ML-DSA-65" {
        return None;
    }
    VerifyingKey::from_bytes(Algorithm::MlDsa65, &key.r#pub).ok()
}
