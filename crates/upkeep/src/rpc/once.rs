//! Requests that take effect once per `request_id`: their replies are kept, sealed under a key of the service, since they
//! are about nobody.

use portal_core::id::{Id, OperationId};
use portal_core::{Invalid, Timestamp};
use portal_crypto::hash::sha256;
use portal_mesh::Caller;
use portal_mesh::policy::Action;
use portal_mesh::status::reason;
use portal_store::idempotency::{self, Forms, KeptReply, Key};
use portal_store::{ReadTx, Tx};
use prost::Message;
use tonic::Status;

use super::Inner;
use super::failure::Failure;

/// Earlier versions have no operators' calls: nobody has kept a reply in the clear, or asks for one.
const FORMS: Forms = Forms::Sealed;

/// A request with an id: whose it is, and the hash of its content.
pub(super) struct Once {
    key: Key,
    hash: [u8; 32],
    now: Timestamp,
}

/// How the transaction of a request ended.
pub(super) enum Outcome<M> {
    /// The same request was answered before.
    Again(KeptReply),
    /// It took effect now.
    First(M),
}

impl Once {
    /// `None` without an id.
    pub(super) fn parse<A: Action>(
        invalid: &mut Invalid,
        caller: &Caller,
        request: &impl Message,
        (request_id, now): (&str, Timestamp),
    ) -> Option<Self> {
        if request_id.is_empty() {
            return None;
        }
        let id = invalid.check("request_id", OperationId::parse(request_id))?;
        let key = Key { caller: caller.key(), method: A::METHOD, request_id: id.to_string() };
        Some(Self { key, hash: sha256(&request.encode_to_vec()), now })
    }
}

impl Inner {
    /// The reply to the same request before, if there was one.
    pub(super) async fn before(
        &self,
        tx: &ReadTx,
        once: Option<&Once>,
    ) -> Result<Option<KeptReply>, Failure> {
        let Some(Once { key, hash, now }) = once else { return Ok(None) };
        Ok(idempotency::recall(tx, key, hash, FORMS, *now).await?)
    }

    /// Keeps `reply` for repetitions.
    pub(super) async fn keep(&self, tx: &Tx, once: Option<&Once>, reply: &[u8]) -> Result<(), Failure> {
        let Some(Once { key, hash, now }) = once else { return Ok(()) };
        let kept = self.replies.seal((key, hash), None, reply, FORMS)?;
        Ok(idempotency::keep(tx, key, hash, &kept, *now).await?)
    }

    /// What was kept.
    pub(super) async fn open<M: Message + Default>(
        &self,
        once: Option<&Once>,
        kept: KeptReply,
    ) -> Result<M, Status> {
        let reply = match once {
            Some(Once { key, hash, .. }) => {
                let opened = self.replies.open((key, hash), kept).await;
                opened.map_err(|error| crate::status::reply(&error))?
            }
            // Without an id nothing is found again.
            None => kept.plain,
        };
        M::decode(reply.as_slice()).map_err(|error| {
            tracing::error!(%error, "a kept reply can't be read");
            reason::INTERNAL.status()
        })
    }
}
