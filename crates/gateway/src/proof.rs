//! Proofs of possession (RFC 9449): that whoever presents a token holds the key that it is bound to.
//!
//! A proof is a token that its client signs anew for each request, with the key in its header: by it a copy of the access token
//! alone is of no use. What is checked here is section 4.3, but for the nonce, which auth knows and wants at the token endpoint.
//! To which key a token is bound auth knows, too: an exchange says which key was proven, and gets nothing by another one.
//!
//! Invariants: a proof that was accepted is not accepted again by this process while it could be (others do not hear of it:
//! whoever has stolen token and proof may use the proof once more at each other gateway, for a minute); how many are
//! remembered is bounded, for each key and in all, and when there are as many, proofs are refused, not taken unseen, and before
//! auth spends anything for them; only a proof that something was given for is remembered, so strangers can't fill that memory.
//! Proofs go no further than here.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use portal_core::{Timestamp, Workload};
use portal_crypto::hash::{Sha256, sha256};
use portal_crypto::jose::{Algorithm, Claims, Expect, verify_with_own_key};
use portal_crypto::suite::Suites;
use portal_mesh::guard::bearer;
use portal_mesh::status::{Reason, reason};
use serde_json::Value;
use tonic::Status;
use url::Url;

use crate::body::EndOfAccess;
use crate::route::Gateway;
use crate::tokens::{Credential, Presented};

/// The header that has the proof.
pub(crate) const DPOP: HeaderName = HeaderName::from_static("dpop");
/// The header that tells the nonce for the next one.
pub(crate) const NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
/// How a proof may be signed.
pub(crate) const ALGORITHMS: [Algorithm; 3] = [Algorithm::MlDsa65, Algorithm::Es256, Algorithm::EdDsa];
/// The same, as challenges name them.
pub(crate) const ALGORITHM_NAMES: &str = "ML-DSA-65 ES256 EdDSA";

const TYPE: &str = "dpop+jwt";
/// How far the time in a proof may be from that here.
const LEEWAY: Duration = Duration::from_secs(60);
/// For how long a proof could be accepted: the leeway on both sides, and the second that `iat` is rounded to.
const LIFE: Duration = Duration::from_secs(121);
/// Longest id and nonce of a proof.
const MAX_TEXT: usize = 256;

/// Who asks for what: a request as it came.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a HeaderMap,
}

/// The request has no proof that can be taken. Holds nothing of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Rejected {
    #[error("there must be one DPoP proof")]
    NotOne,
    #[error(
        "the proof is no token of the type dpop+jwt, signed by the key in its header with ML-DSA-65, ES256 or EdDSA"
    )]
    NotSigned,
    #[error("the proof must have jti, htm, htu and iat")]
    Malformed,
    #[error("the proof is for another method or URL")]
    Elsewhere,
    #[error("the proof is not of now")]
    Untimely,
    #[error("the proof is for another access token")]
    OtherToken,
    #[error("the proof is by another key than dpop_jkt names")]
    OtherKey,
    #[error("the proof was used before")]
    Replayed,
}

/// A proof that was found to be right for its request.
pub(crate) struct Proof {
    /// The thumbprint of its key (RFC 7638).
    pub(crate) key: String,
    /// The nonce in it; empty for none.
    pub(crate) nonce: String,
    /// The hash of the access token that it is for.
    token_hash: Option<String>,
    /// By what it is known again.
    id: Sha256,
    /// By what its key is.
    by: Sha256,
}

impl Proof {
    /// The proof of a request to the gateway at `public_url`, if it is one of that request, made about `now`.
    pub(crate) fn read(asker: Asker<'_>, public_url: &str, now: Timestamp) -> Result<Self, Rejected> {
        let mut values = asker.headers.get_all(DPOP).into_iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Err(Rejected::NotOne) };
        let token = value.to_str().map_err(|_| Rejected::NotOne)?;
        let expect = Expect { typ: Some(TYPE), algorithms: &ALGORITHMS, suites: Suites::ALL };
        let (key, claims) = verify_with_own_key(token, &expect).map_err(|_| Rejected::NotSigned)?;
        let (id, method, url) = (text(&claims, "jti")?, text(&claims, "htm")?, text(&claims, "htu")?);
        let (id, method, url) = id
            .zip(method)
            .zip(url)
            .map(|((id, method), url)| (id, method, url))
            .ok_or(Rejected::Malformed)?;
        let nonce = text(&claims, "nonce")?.unwrap_or_default().to_owned();
        if id.is_empty() || id.len() > MAX_TEXT || nonce.len() > MAX_TEXT {
            return Err(Rejected::Malformed);
        }
        if method != asker.method.as_str() || !is_same(url, public_url, asker.path) {
            return Err(Rejected::Elsewhere);
        }
        let made = claims.get("iat").and_then(Value::as_i64).ok_or(Rejected::Malformed)?;
        if made.abs_diff(now.as_seconds()) > LEEWAY.as_secs() {
            return Err(Rejected::Untimely);
        }
        let token_hash = text(&claims, "ath")?.map(str::to_owned);
        let key = key.id().as_str().to_owned();
        let id = sha256(&[key.as_bytes(), b"\0", id.as_bytes()].concat());
        let by = sha256(key.as_bytes());
        Ok(Self { key, nonce, token_hash, id, by })
    }

    /// Refuses if it is not for `token`.
    fn check_token(&self, token: &str) -> Result<(), Rejected> {
        let hash = URL_SAFE_NO_PAD.encode(sha256(token.as_bytes()));
        if self.token_hash.as_deref() == Some(hash.as_str()) { Ok(()) } else { Err(Rejected::OtherToken) }
    }
}

/// A text among the claims, if it is there.
fn text<'a>(claims: &'a Claims, name: &str) -> Result<Option<&'a str>, Rejected> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Rejected::Malformed),
    }
}

/// Whether `url` is `path` here, without its query and fragment, written in whatever way (RFC 3986, section 6.2).
fn is_same(url: &str, public_url: &str, path: &str) -> bool {
    let (Ok(said), Ok(mut here)) = (Url::parse(url), Url::parse(public_url)) else { return false };
    here.set_path(path);
    let same_place = said.scheme() == here.scheme()
        && said.host() == here.host()
        && said.port_or_known_default() == here.port_or_known_default();
    same_place && said.username().is_empty() && said.password().is_none() && said.path() == here.path()
}

/// The proofs that were accepted, as long as they could be again.
pub(crate) struct Proofs {
    /// Most that are remembered in one span of [`LIFE`].
    most: usize,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    since: Timestamp,
    now: HashSet<Sha256>,
    /// How many of those are by one key, by its hash.
    by_key: HashMap<Sha256, usize>,
    before: HashSet<Sha256>,
}

/// A proof can't be accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refused {
    /// As many are remembered as can be.
    Crowded,
    Used,
}

impl Proofs {
    /// Remembers at most so many in one span.
    pub(crate) fn new(most: NonZeroUsize) -> Self {
        Self { most: most.get(), seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `proof` was accepted before.
    pub(crate) fn know(&self, proof: &Proof) -> bool {
        self.seen().knows(proof)
    }

    /// Accepts `proof`, if the place that it gets is kept.
    ///
    /// Of the free places a key gets as large a part as is free of all: one alone takes 38 in 100, and of many that take all they
    /// can get, `n` leave about one place in `n` to others. Who has none yet gets one as long as there is any.
    pub(crate) fn accept<'a>(&'a self, proof: &'a Proof, now: Timestamp) -> Result<Place<'a>, Refused> {
        let mut seen = self.seen();
        seen.forget(now);
        if seen.knows(proof) {
            return Err(Refused::Used);
        }
        let (of_key, free) = (seen.of(proof), self.most.saturating_sub(seen.now.len()));
        if of_key.saturating_mul(self.most) >= free.saturating_mul(free) {
            return Err(Refused::Crowded);
        }
        seen.by_key.insert(proof.by, of_key + 1);
        seen.now.insert(proof.id);
        Ok(Place { proofs: self, proof, kept: false })
    }
}

impl Seen {
    fn knows(&self, proof: &Proof) -> bool {
        self.now.contains(&proof.id) || self.before.contains(&proof.id)
    }

    /// Two spans: what was accepted in the one before the last can't be again.
    fn forget(&mut self, now: Timestamp) {
        let age = now.since(self.since);
        if age < LIFE {
            return;
        }
        let last = std::mem::take(&mut self.now);
        self.before = if age < 2 * LIFE { last } else { HashSet::new() };
        self.by_key.clear();
        self.since = now;
    }

    /// How many places its key has.
    fn of(&self, proof: &Proof) -> usize {
        self.by_key.get(&proof.by).copied().unwrap_or_default()
    }

    fn release(&mut self, proof: &Proof) {
        if !self.now.remove(&proof.id) {
            self.before.remove(&proof.id);
            return;
        }
        match self.of(proof) {
            0 | 1 => self.by_key.remove(&proof.by),
            more => self.by_key.insert(proof.by, more - 1),
        };
    }
}

/// The place of a proof among those that were accepted. Given back if it is not kept: of what came to nothing, nothing is
/// remembered.
pub(crate) struct Place<'a> {
    proofs: &'a Proofs,
    proof: &'a Proof,
    kept: bool,
}

impl Place<'_> {
    /// Something was given for the proof: it is used.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.proofs.seen().release(self.proof);
        }
    }
}

/// A token as a request presents it.
enum Token<'a> {
    Bearer(&'a str),
    Bound(&'a str),
}

/// The one token of a request; an error if it has something else.
fn token(headers: &HeaderMap) -> Option<Result<Token<'_>, ()>> {
    let mut values = headers.get_all(header::AUTHORIZATION).into_iter();
    let (first, more) = (values.next()?, values.next());
    let value = first.as_bytes();
    let token = bearer(value).map(Token::Bearer).or_else(|| bound(value).map(Token::Bound));
    Some(token.filter(|_| more.is_none()).ok_or(()))
}

/// The token of a `DPoP` header (section 7.1), as [`bearer`] reads that of the other scheme.
fn bound(value: &[u8]) -> Option<&str> {
    let (scheme, token) = value.split_at_checked(5)?;
    let good =
        scheme.eq_ignore_ascii_case(b"dpop ") && !token.is_empty() && token.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(token).ok().filter(|_| good)
}

/// What a request shows of who makes it. It is read once, at one time: what lets a call in is what it is looked after by.
pub(crate) enum Shown<'a> {
    Nothing,
    /// What can't be taken for anybody's.
    Unusable(Reason),
    Bearer(&'a str),
    Bound(&'a str, Proof),
}

impl Shown<'_> {
    fn presented(&self) -> Option<Presented<'_>> {
        match self {
            Self::Nothing | Self::Unusable(_) => None,
            Self::Bearer(token) => Some(Presented { token, key: None }),
            Self::Bound(token, proof) => Some(Presented { token, key: Some(&proof.key) }),
        }
    }
}

impl Gateway {
    /// The proof of a request.
    pub(crate) fn proof(&self, asker: Asker<'_>) -> Result<Proof, Rejected> {
        let public_url = self.public_url.as_ref().ok_or(Rejected::Elsewhere)?;
        Proof::read(asker, public_url.as_str(), self.tokens.now())
    }

    /// Accepts a proof, if the place that it gets is kept.
    pub(crate) fn accept<'a>(&'a self, proof: &'a Proof) -> Result<Place<'a>, Refused> {
        let place = self.proofs.accept(proof, self.tokens.now());
        if matches!(place, Err(Refused::Crowded)) {
            self.metrics.crowded.inc();
        }
        place
    }

    /// What a request shows.
    pub(crate) fn shown<'a>(&self, asker: Asker<'a>) -> Shown<'a> {
        let token = match token(asker.headers) {
            None => return Shown::Nothing,
            Some(Err(())) => return Shown::Unusable(reason::TOKEN_SCHEME),
            Some(Ok(Token::Bearer(token))) => return Shown::Bearer(token),
            Some(Ok(Token::Bound(token))) => token,
        };
        match self.proof(asker).and_then(|proof| proof.check_token(token).map(|()| proof)) {
            Ok(proof) if !self.proofs.know(&proof) => Shown::Bound(token, proof),
            Ok(_) | Err(_) => Shown::Unusable(reason::DPOP_PROOF_REJECTED),
        }
    }

    /// Ends when a call that was let in with what is `shown` may no longer go on; `None` for one that is let in without a token.
    pub(crate) fn end_of_access(&self, shown: &Shown<'_>, audience: Workload) -> Option<EndOfAccess> {
        Some(Box::pin(self.tokens.end_of_access(shown.presented()?, audience)))
    }

    /// What a call carries to `audience`.
    ///
    /// # Errors
    /// UNAVAILABLE if there is a token that can't be checked now.
    pub(crate) async fn credential(
        &self,
        shown: &Shown<'_>,
        audience: Workload,
    ) -> Result<Credential, Status> {
        let Some(presented) = shown.presented() else {
            let unusable = if let Shown::Unusable(why) = shown { Some(*why) } else { None };
            return Ok(unusable.map_or(Credential::None, Credential::Unusable));
        };
        let credential = self.tokens.credential(presented, audience).await?;
        let (Credential::Bearer(_), Shown::Bound(_, proof)) = (&credential, shown) else {
            return Ok(credential);
        };
        match self.accept(proof) {
            Ok(place) => {
                place.keep();
                Ok(credential)
            }
            Err(Refused::Used) => Ok(Credential::Unusable(reason::DPOP_PROOF_REJECTED)),
            Err(Refused::Crowded) => Err(reason::TOKEN_UNVERIFIABLE.status()),
        }
    }
}

/// What a client is told that was refused for want of a proof or of a better one (section 7.1).
pub(crate) fn challenge(error: Option<&str>) -> HeaderValue {
    let error = error.map(|error| format!("error=\"{error}\", ")).unwrap_or_default();
    let challenge = HeaderValue::try_from(format!("DPoP {error}algs=\"{ALGORITHM_NAMES}\""));
    challenge.unwrap_or(HeaderValue::from_static("DPoP"))
}

#[cfg(test)]
mod tests;
