//! Verifies the end user's token: an `at+jwt` (RFC 9068) signed ML-DSA-65 by auth, for this service and no other.
//!
//! Keys come from auth's GetKeySet. They are fetched again when five seconds old, beside the calls; when ten seconds old the call
//! waits for them, so that a key that was ended is believed no longer than that, however idle the service was. They are fetched
//! too when a token names one that is not known. Whatever the reason and the outcome, that is once a second at most: neither
//! forged key ids nor an auth that is down make every call a fetch. While auth can't be had what is known serves for five
//! minutes. A verified token is remembered by its hash until it expires or its key is gone, which turns 52 µs of signature
//! verification into a look-up.
//!
//! A token that names its holder is taken from that workload and no other
//! ([ADR 0020](../../../docs/adr/0020-a-mesh-token-names-its-holder.md)).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use portal_core::id::{ClientId, Id};
use portal_core::{Clock, Timestamp, TrustDomain, Workload};
use portal_crypto::hash::sha256;
use portal_crypto::sign::{Algorithm, VerifyingKey};
use portal_crypto::suite::Suites;
use portal_crypto::token::{
    AccessClaims, Expect, FIRST_PARTY, KeyId, KeySet, TokenError as Refused, verify_and_name,
};
use portal_proto::auth::v1::token_service_client::TokenServiceClient;
use portal_proto::auth::v1::{GetKeySetRequest, JsonWebKey};
use tonic::{Request, Status};

mod memory;

use memory::Memory;

use crate::{EndUser, Host, Identity, MeshChannel, Via, task};

/// Clocks of two hosts may differ by this much.
const LEEWAY: Duration = Duration::from_secs(5);
/// Keys are not fetched more often than this.
const FETCH_INTERVAL: Duration = Duration::from_secs(1);
/// Keys that are older are fetched again, and calls go on with them.
const KEYS_NEW: Duration = Duration::from_secs(5);
/// Calls wait for others in the place of keys that are older.
const KEYS_FRESH: Duration = Duration::from_secs(10);
/// Keys that are older are not used.
const KEYS_KEPT: Duration = Duration::from_secs(300);
/// How long auth may take to tell them.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call waits for them if it has others, and how long no other call waits if that was in vain.
const PATIENCE: Duration = Duration::from_secs(1);
const IMPATIENCE: Duration = Duration::from_secs(5);
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
    /// It is valid, and somebody else's.
    #[error("the token is bound to another workload")]
    WrongHolder,
}

/// Where the issuer itself has its keys.
pub trait KeySource: Send + Sync {
    /// The keys of now.
    ///
    /// # Errors
    /// Why they can't be had.
    fn keys(&self) -> BoxFuture<'_, Result<KeySet, Status>>;
}

/// Where keys come from.
enum Source {
    Auth(MeshChannel),
    Fixed,
    Own(Arc<dyn KeySource>),
}

/// Keys, and when they were read.
struct Known {
    keys: KeySet,
    read_at: Option<Timestamp>,
}

/// Verifies tokens for one service. Clones share keys and memory.
#[derive(Clone)]
pub struct TokenVerifier(Arc<Shared>);

struct Shared {
    issuer: String,
    trust_domain: TrustDomain,
    audience: Workload,
    clock: Arc<dyn Clock>,
    known: ArcSwap<Known>,
    suites: Suites,
    remembered: Mutex<Memory>,
    source: Source,
    last_fetch: Arc<tokio::sync::Mutex<Option<Fetched>>>,
    /// When keys were last asked for beside the calls, in microseconds.
    refreshed: AtomicI64,
    /// When a call last waited for keys in vain, in microseconds.
    gave_up: AtomicI64,
}

/// The last fetch: when it began, and why it failed if it did.
struct Fetched {
    at: Timestamp,
    failed: Option<Status>,
}

/// The end user that a token stands for, and until when it does.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The account behind the call.
    pub user: EndUser,
    /// From then on the token is refused.
    pub expires_at: Timestamp,
    /// The one workload that may present it.
    pub holder: Option<Workload>,
    /// The key that signed it.
    pub(crate) key: Arc<KeyId>,
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
        Self::new(identity, (KeySet::new(), Source::Auth(auth.as_workload())), suites, host)
    }

    /// For auth itself, which has the keys in `own`.
    #[must_use]
    pub fn of_issuer(identity: &Identity, own: Arc<dyn KeySource>, suites: Suites, host: &Host) -> Self {
        Self::new(identity, (KeySet::new(), Source::Own(own)), suites, host)
    }

    /// With these keys, whatever happens.
    #[must_use]
    pub fn local(identity: &Identity, keys: KeySet, suites: Suites, host: &Host) -> Self {
        Self::new(identity, (keys, Source::Fixed), suites, host)
    }

    fn new(identity: &Identity, (keys, source): (KeySet, Source), suites: Suites, host: &Host) -> Self {
        Self(Arc::new(Shared {
            issuer: issuer(identity.trust_domain()),
            trust_domain: identity.trust_domain().clone(),
            audience: identity.workload(),
            clock: Arc::clone(&host.clock),
            known: ArcSwap::from_pointee(Known { keys, read_at: None }),
            suites,
            remembered: Mutex::new(Memory::of(MAX_REMEMBERED)),
            source,
            last_fetch: Arc::default(),
            refreshed: AtomicI64::new(0),
            gave_up: AtomicI64::new(0),
        }))
    }

    /// The end user that `token` stands for when `peer` presents it.
    ///
    /// # Errors
    /// [`TokenError`]; never a guess.
    pub async fn verify(&self, token: &str, peer: Workload) -> Result<Verified, TokenError> {
        let now = self.now();
        self.0.keep_fresh(now).await?;
        let hash = sha256(token.as_bytes());
        let verified = match self.0.recall(&hash, now) {
            Some(verified) => verified,
            None => self.0.verify(token, hash, now).await?,
        };
        match verified.holder {
            Some(holder) if holder != peer => Err(TokenError::WrongHolder),
            Some(_) | None => Ok(verified),
        }
    }

    /// Whether what was verified before still counts: it does not once its key is gone.
    ///
    /// # Errors
    /// [`TokenError::KeysUnavailable`] if that can't be known.
    pub(crate) async fn still_counts(&self, verified: &Verified) -> Result<bool, TokenError> {
        self.0.keep_fresh(self.now()).await?;
        Ok(self.0.known.load().keys.get(&verified.key).is_some())
    }

    /// The time by which tokens are judged.
    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }
}

/// Nobody, if the client of the token is none.
fn end_user(claims: AccessClaims) -> Option<EndUser> {
    Some(EndUser {
        via: via(&claims)?,
        account: claims.subject,
        subject: claims.subject_id,
        session: claims.session_id,
        roles: claims.roles.into_iter().collect::<BTreeSet<_>>(),
        assurance: claims.assurance,
    })
}

/// RFC 9068, section 2.2: a client that acts for itself is its own subject.
fn via(claims: &AccessClaims) -> Option<Via> {
    if claims.client_id == FIRST_PARTY {
        return Some(Via::FirstParty);
    }
    let client = ClientId::parse(&claims.client_id).ok()?;
    // What is not known here gives nothing here.
    let scopes = claims.scopes.iter().filter_map(|scope| scope.as_str().parse().ok()).collect();
    let itself = claims.subject.uuid() == client.uuid();
    Some(if itself { Via::Itself(client, scopes) } else { Via::Client(client, scopes) })
}

impl Shared {
    fn check(&self, token: &str, now: Timestamp) -> Result<(KeyId, AccessClaims), Refused> {
        let (issuer, audience) = (self.issuer.as_str(), self.audience.name());
        let expect = Expect { issuer, audience, now, leeway: LEEWAY, suites: self.suites };
        verify_and_name(token, &self.known.load().keys, &expect)
    }

    async fn verify(
        self: &Arc<Self>,
        token: &str,
        hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Verified, TokenError> {
        let (key, claims) = match self.check(token, now) {
            Err(Refused::UnknownKey) if self.fetch_keys(now).await? => self.check(token, now)?,
            checked => checked?,
        };
        // A holder of another trust domain, or that is no workload, is nobody who could present it.
        let holder =
            claims.holder.as_deref().map(|id| self.trust_domain.workload(id).ok_or(TokenError::WrongHolder));
        let (holder, expires_at) = (holder.transpose()?, claims.expires_at);
        let user = end_user(claims).ok_or(Refused::Claim("client_id"))?;
        let verified = Verified { user, expires_at, holder, key: Arc::new(key) };
        self.remember(hash, verified.clone());
        Ok(verified)
    }

    fn recall(&self, hash: &[u8; 32], now: Timestamp) -> Option<Verified> {
        let known = self.known.load();
        let counts = |entry: &Verified| entry.expires_at > now && known.keys.get(&entry.key).is_some();
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).recall(hash, counts)
    }

    fn remember(&self, hash: [u8; 32], entry: Verified) {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).insert(hash, entry);
    }

    /// Sees to it that keys are not too old to be used.
    async fn keep_fresh(self: &Arc<Self>, now: Timestamp) -> Result<(), TokenError> {
        // Whoever has none fetches them for the first token that can be read.
        let Some(read_at) = self.known.load().read_at else { return Ok(()) };
        let age = now.since(read_at);
        match &self.source {
            Source::Own(_) if age >= FETCH_INTERVAL => self.fetch_keys(now).await.map(drop),
            Source::Auth(_) if age >= KEYS_KEPT => self.fetch_keys(now).await.map(drop),
            Source::Auth(_) if age >= KEYS_FRESH => {
                self.await_keys(now).await;
                Ok(())
            }
            Source::Auth(_) if age >= KEYS_NEW => {
                self.refresh(now);
                Ok(())
            }
            Source::Auth(_) | Source::Fixed | Source::Own(_) => Ok(()),
        }
    }

    /// Fetches the keys before the call that found them old goes on; if auth is silent it goes on with them.
    async fn await_keys(self: &Arc<Self>, now: Timestamp) {
        let gave_up = Timestamp::from_micros(self.gave_up.load(Ordering::Relaxed));
        if now < gave_up.plus(IMPATIENCE) {
            return self.refresh(now);
        }
        match tokio::time::timeout(PATIENCE, self.fetch_keys(now)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => warn(&error),
            Err(_) => {
                self.gave_up.store(now.as_micros(), Ordering::Relaxed);
                tracing::warn!("auth is slow to tell the keys of tokens: those of before serve meanwhile");
            }
        }
    }

    /// Fetches the keys beside the call that found them old.
    fn refresh(self: &Arc<Self>, now: Timestamp) {
        let (this, before) = (Arc::clone(self), self.refreshed.load(Ordering::Relaxed));
        let due = Timestamp::from_micros(before).plus(FETCH_INTERVAL) <= now;
        if !due {
            return;
        }
        let first =
            self.refreshed.compare_exchange(before, now.as_micros(), Ordering::Relaxed, Ordering::Relaxed);
        if first.is_ok() {
            // Ends by itself: the call has a deadline of its own.
            drop(task::spawn("token-keys", async move {
                if let Err(error) = this.fetch_keys(now).await {
                    warn(&error);
                }
            }));
        }
    }

    /// Fetches the keys unless that was just done or tried; says whether there may be new ones.
    async fn fetch_keys(self: &Arc<Self>, now: Timestamp) -> Result<bool, TokenError> {
        if matches!(self.source, Source::Fixed) {
            return Ok(false);
        }
        // Held across the fetch: whoever comes meanwhile waits for its result instead of fetching too.
        let last_fetch = Arc::clone(&self.last_fetch).lock_owned().await;
        match &*last_fetch {
            Some(last) if now < last.at.plus(FETCH_INTERVAL) => match &last.failed {
                Some(status) => return Err(TokenError::KeysUnavailable(status.clone())),
                None => return Ok(true),
            },
            Some(_) | None => {}
        }
        // A task: a call that is given up leaves no fetch half done for others to begin anew.
        let (this, (tell, told)) = (Arc::clone(self), tokio::sync::oneshot::channel());
        drop(task::spawn("token-keys", async move {
            // Nobody listens if the call was given up.
            drop(tell.send(this.fetch(last_fetch, now).await));
        }));
        let lost = |_| Status::unavailable("the keys of tokens were not fetched");
        told.await.map_err(lost).flatten().map_err(TokenError::KeysUnavailable)?;
        Ok(true)
    }

    async fn fetch(
        &self,
        mut last_fetch: tokio::sync::OwnedMutexGuard<Option<Fetched>>,
        now: Timestamp,
    ) -> Result<(), Status> {
        let fetched = self.source.keys().await;
        *last_fetch = Some(Fetched { at: now, failed: fetched.as_ref().err().cloned() });
        self.known.store(Arc::new(Known { keys: fetched?, read_at: Some(now) }));
        Ok(())
    }
}

fn warn(error: &TokenError) {
    tracing::warn!(%error, "the keys of tokens could not be fetched again");
}

impl Source {
    async fn keys(&self) -> Result<KeySet, Status> {
        let auth = match self {
            Self::Auth(auth) => auth.clone(),
            Self::Fixed => return Ok(KeySet::new()),
            Self::Own(own) => return own.keys().await,
        };
        let mut request = Request::new(GetKeySetRequest {});
        request.set_timeout(FETCH_TIMEOUT);
        let keys = TokenServiceClient::new(auth).get_key_set(request).await?.into_inner().keys;
        let mut set = KeySet::new();
        for key in keys.iter().filter_map(ml_dsa_65) {
            set.insert(key);
        }
        Ok(set)
    }
}

/// Keys of other algorithms are for clients outside; the mesh accepts ML-DSA-65 only.
fn ml_dsa_65(key: &JsonWebKey) -> Option<VerifyingKey> {
    if key.kty != "AKP" || key.alg != "ML-DSA-65" {
        return None;
    }
    VerifyingKey::from_bytes(Algorithm::MlDsa65, &key.r#pub).ok()
}
