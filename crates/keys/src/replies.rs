//! Kept replies, sealed and opened.
//!
//! ```text
//! about a person:  a field envelope under their key; table idempotency_key, column sealed_reply,
//!                  row id of (caller, method, request id, hash of the request), version 0, padded to 256
//! about nobody:    version 1 (0x01) | nonce 24 | XAES-256-GCM ciphertext, tag 16 (key: Label::ReplySealing)
//!                  AAD = "portal/reply/v1\0" | row id 16
//! ```
//! Either opens as the reply to the very request that it was the reply to, and to no other. With the key of a person the
//! replies about them are gone as well: a repeated request is then told so, and is not executed again.

use std::sync::Arc;

use portal_core::id::SubjectId;
use portal_core::{Entropy, Sensitive};
use portal_crypto::envelope::{Padding, SubjectKey};
use portal_crypto::kdf::Label;
use portal_store::StoreError;
use portal_store::idempotency::{Forms, KeptReply, Key, SealedReply};
use portal_store::sealed::{Row, Sealed, SealedColumn, Sealing};

use crate::service_cell::{ServiceCells, ServiceColumn};
use crate::{Keys, KeysError};

const TABLE: &str = "idempotency_key";
const COLUMN: &str = "sealed_reply";
const REPLY: SealedColumn<Sensitive<Vec<u8>>> = SealedColumn::new(TABLE, COLUMN, Padding::To256);

const OF_SERVICE: ServiceColumn =
    ServiceColumn { key: Label::ReplySealing, label: b"portal/reply/v1\0", table: TABLE, column: COLUMN };

/// A kept reply was not opened.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// The key of the person can't be had; [`KeysError::Erased`] for good.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The reply is corrupt, or its algorithm is switched off.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whose request it was with the hash of its content: what a reply is bound to.
pub type Request<'a> = (&'a Key, &'a [u8; 32]);

/// Seals and opens the kept replies of a service. Cheap to clone.
#[derive(Clone)]
pub struct Replies {
    keys: Keys,
    sealing: Sealing,
    service: ServiceCells,
}

impl Replies {
    /// With the keys of the service; `entropy` must be fit for nonces.
    #[must_use]
    pub fn new(keys: &Keys, sealing: Sealing, entropy: Arc<dyn Entropy>) -> Self {
        Self { keys: keys.clone(), sealing, service: ServiceCells::new(keys, OF_SERVICE, entropy) }
    }

    /// The reply to `request` as it is kept: under the key of the person it is `about`, or the service's own.
    ///
    /// # Errors
    /// [`StoreError::Sealing`], [`StoreError::Disabled`].
    pub fn seal(
        &self,
        request: Request<'_>,
        about: Option<&SubjectKey>,
        reply: &[u8],
        forms: Forms,
    ) -> Result<KeptReply, StoreError> {
        let (plain, sealed) = match forms {
            Forms::Plain => (true, false),
            Forms::Both => (true, true),
            Forms::Sealed => (false, true),
        };
        let sealed = if sealed { Some(self.sealed(row(request), about, reply)?) } else { None };
        Ok(KeptReply { plain: if plain { reply.to_vec() } else { Vec::new() }, sealed })
    }

    /// The reply to `request` that was kept.
    ///
    /// # Errors
    /// [`ReplyError::Keys`] with [`KeysError::Erased`] if the person it is about was erased, with
    /// [`KeysError::Unavailable`] if their key can't be had now; [`ReplyError::Store`] if it does not open.
    pub async fn open(&self, request: Request<'_>, kept: KeptReply) -> Result<Vec<u8>, ReplyError> {
        let row = row(request);
        match kept.sealed {
            None => Ok(kept.plain),
            Some(SealedReply { subject: Some(subject), envelope }) => {
                Ok(self.open_of_subject(row, subject, envelope).await?.expose().clone())
            }
            Some(SealedReply { subject: None, envelope }) => Ok(self.service.open(row, &envelope)?),
        }
    }

    fn sealed(&self, row: Row, about: Option<&SubjectKey>, reply: &[u8]) -> Result<SealedReply, StoreError> {
        let envelope = match about {
            Some(key) => {
                let reply = Sensitive::new(reply.to_vec());
                REPLY.seal(&self.sealing, key, row, &reply)?.into_envelope()
            }
            None => self.service.seal(row, reply)?,
        };
        Ok(SealedReply { subject: about.map(|key| key.owner().subject), envelope })
    }

    async fn open_of_subject(
        &self,
        row: Row,
        subject: SubjectId,
        envelope: Vec<u8>,
    ) -> Result<Sensitive<Vec<u8>>, ReplyError> {
        let key = self.keys.subject(subject).await?;
        Ok(REPLY.open(&self.sealing, &*key, row, &Sealed::from_envelope(envelope))?)
    }
}

/// The row that a reply stands in, as far as it is bound to it: the hash of the request as well, so that the reply can't
/// be given out as that to another one.
fn row((key, hash): Request<'_>) -> Row {
    Row::composite(&[key.caller.as_bytes(), key.method.as_bytes(), key.request_id.as_bytes(), hash], 0)
}

#[cfg(test)]
mod tests;
