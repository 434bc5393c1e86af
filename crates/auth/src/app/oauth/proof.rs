//! Tokens that are bound to a key (RFC 9449). The gateway checks proofs and tells the key and the nonce in them; here it is decided
//! what they are good for.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portal_core::Timestamp;
use portal_store::ReadTx;

use super::{Answer, Refusal};
use crate::app::App;
use crate::domain::{Client, Handle, HandleHash, ProofKey};
use crate::error::Error;
use crate::store::grants::StoredGrantTokens;
use crate::store::live::Token;

/// How long one nonce is given out.
const NONCE_LIFE: Duration = Duration::from_secs(60);
/// How many are taken at a time: the one of now and those before it.
const NONCES: i64 = 3;

/// What a client proved.
#[derive(Debug)]
pub struct Proof {
    /// The key that it holds.
    pub key: ProofKey,
    /// The nonce in its proof; empty for none.
    pub nonce: String,
}

/// A token of a grant as its client holds it.
#[derive(Clone, Copy)]
pub(in crate::app) enum Held<'a> {
    /// An access token.
    Access(&'a Handle),
    /// A refresh token.
    Refresh(&'a Handle),
}

impl App {
    /// The nonce that proofs at the token endpoint take now. It follows from the time and the secret of the service: every replica
    /// knows it, and nothing is kept.
    pub(crate) fn proof_nonce(&self) -> String {
        self.nonce(window(self.now()))
    }

    fn nonce(&self, window: i64) -> String {
        let tag = self.fingerprints.tag(&[b"dpop-nonce\0".as_slice(), &window.to_be_bytes()].concat());
        URL_SAFE_NO_PAD.encode(tag)
    }

    /// The key that what `client` gets is to be bound to.
    pub(super) fn proven_key(
        &self,
        client: &Client,
        proof: Option<&Proof>,
        now: Timestamp,
    ) -> Answer<Option<ProofKey>> {
        let Some(proof) = proof else {
            let needed =
                Refusal::InvalidDpopProof("this client's tokens are bound to a key: send a DPoP proof");
            return if client.settings.options.require_dpop { Err(needed) } else { Ok(None) };
        };
        let current = window(now);
        let known = (0..NONCES).any(|before| self.nonce(current - before) == proof.nonce);
        if known { Ok(Some(proof.key)) } else { Err(Refusal::UseDpopNonce) }
    }

    /// The tokens of a grant with this one, and the key that they are bound to, if they are. Bound ones have hashes of their own
    /// kind: where the key is not known they are not found.
    pub(super) async fn held_tokens(
        &self,
        tx: &ReadTx,
        held: Held<'_>,
    ) -> Result<Option<(StoredGrantTokens, Option<ProofKey>)>, Error> {
        let find = async |bound| {
            let hash = self.held_hash(held, bound);
            let token = match held {
                Held::Access(_) => Token::Access(&hash),
                Held::Refresh(_) => Token::Refresh(&hash),
            };
            self.grants.tokens(tx, token).await
        };
        if let Some(tokens) = find(false).await? {
            return Ok(Some((tokens, None)));
        }
        let Some(tokens) = find(true).await? else { return Ok(None) };
        let key = self.bindings.find(tx, tokens.refresh_hash()).await?;
        Ok(Some((tokens, Some(key))))
    }

    fn held_hash(&self, held: Held<'_>, bound: bool) -> HandleHash {
        match held {
            Held::Access(access) => self.handles.grant_access_hash(access, bound),
            Held::Refresh(refresh) => self.handles.grant_refresh_hash(refresh, bound),
        }
    }
}

fn window(now: Timestamp) -> i64 {
    let life = i64::try_from(NONCE_LIFE.as_secs()).unwrap_or(i64::MAX);
    now.as_seconds().div_euclid(life)
}
