//! What a request with an id is known again by.
//!
//! A request may hold personal data that could be guessed, and its hash stays in the database for a day, so the hash is
//! keyed. An earlier version kept a plain SHA-256: as long as replies are kept in its form, new ones get that, so that it
//! knows them; and what was kept under one is still found.

use portal_core::Timestamp;
use portal_crypto::hash::sha256;
use portal_crypto::kdf::{Label, ServiceSecret};
use portal_crypto::mac::MacKey;
use portal_store::Tx;
use portal_store::idempotency::{Forms, Found, IdempotencyError, KeptReply, Key, find_all};

/// Makes the hashes of requests. Cheap to clone.
#[derive(Clone)]
pub struct RequestHashes(MacKey);

/// The hashes that a request may be kept under.
pub struct RequestHash {
    keyed: [u8; 32],
    plain: [u8; 32],
}

impl RequestHashes {
    /// With a key that is derived from the service's secret.
    #[must_use]
    pub fn new(secret: &ServiceSecret) -> Self {
        Self(MacKey::new(secret.derive(Label::BlindIndex).expose()))
    }

    /// The hashes of a request whose content is `content`, in a form that is equal for equal requests.
    #[must_use]
    pub fn of(&self, content: &[u8]) -> RequestHash {
        RequestHash { keyed: self.0.tag(&[b"request\0", content].concat()), plain: sha256(content) }
    }
}

impl RequestHash {
    /// The one that is kept beside a reply of these forms.
    #[must_use]
    pub const fn kept(&self, forms: Forms) -> &[u8; 32] {
        match forms {
            Forms::Plain | Forms::Both => &self.plain,
            Forms::Sealed => &self.keyed,
        }
    }

    /// The reply that was kept for the request under either, and which it was: the reply is bound to it. `forms` are those
    /// in which replies are kept now.
    ///
    /// # Errors
    /// As [`portal_store::idempotency::recall`].
    pub async fn recall(
        &self,
        tx: &Tx,
        key: &Key,
        forms: Forms,
        now: Timestamp,
    ) -> Result<Option<(KeptReply, [u8; 32])>, IdempotencyError> {
        let found = find_all(tx, &[key], now).await?;
        found.get(key).map(|found| self.reply(found, forms)).transpose()
    }

    /// As [`Self::recall`], of what was found already.
    ///
    /// # Errors
    /// As [`Self::recall`].
    pub fn reply(&self, found: &Found, forms: Forms) -> Result<(KeptReply, [u8; 32]), IdempotencyError> {
        match found.reply_to(&self.keyed, forms) {
            Err(IdempotencyError::Mismatch) => Ok((found.reply_to(&self.plain, forms)?, self.plain)),
            kept => Ok((kept?, self.keyed)),
        }
    }
}
