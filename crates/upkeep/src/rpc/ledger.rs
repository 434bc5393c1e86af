//! `LedgerService`: what anybody may ask of the log of a service.

use portal_core::{Invalid, PageSize};
use portal_crypto::hash::Sha256;
use portal_crypto::merkle::TreeHead;
use portal_ledger::{Consistency, Inclusion, LeafRef, LedgerError, PublicEntry, Signed};
use portal_mesh::convert::timestamp;
use portal_mesh::policy::Action;
use portal_proto::ledger::v1 as pb;
use tonic::{Request, Response, Status};

use super::{Answer, Operators, asked, count, refused};
use crate::reasons::{
    ALGORITHM_DISABLED, LEAF_NOT_FOUND, LEDGER_FORKED, LEDGER_NOT_SIGNED, ROW_CORRUPT, TREE_SIZE_OUT_OF_RANGE,
};
use crate::status;

/// What page tokens of `ListEntries` are bound to: anybody may go on with anybody's list.
const ENTRIES: &[u8] = b"ledger-entries";

impl Operators {
    /// The newest checkpoint.
    ///
    /// # Errors
    /// LEDGER_NOT_SIGNED; what the database failed with.
    pub async fn get_checkpoint<A: Action>(
        &self,
        request: Request<pb::GetCheckpointRequest>,
    ) -> Answer<pb::Checkpoint> {
        asked::<A, _>(request)?;
        let Signed { checkpoint, note } = self.0.log.checkpoint().await.map_err(failed)?;
        Ok(Response::new(pb::Checkpoint {
            origin: checkpoint.origin,
            tree_size: count(checkpoint.head.size),
            root_hash: checkpoint.head.root.to_vec(),
            sign_time: Some(timestamp(checkpoint.signed_at)),
            signed_note: note,
        }))
    }

    /// The proof that a leaf is in the log.
    ///
    /// # Errors
    /// LEAF_NOT_FOUND, TREE_SIZE_OUT_OF_RANGE, INVALID_FIELD; what the database failed with.
    pub async fn get_inclusion_proof<A: Action>(
        &self,
        request: Request<pb::GetInclusionProofRequest>,
    ) -> Answer<pb::InclusionProof> {
        let (_, request) = asked::<A, _>(request)?;
        let mut invalid = Invalid::new();
        let size = size(&mut invalid, "tree_size", request.tree_size);
        let leaf = leaf(&mut invalid, request.leaf);
        let (leaf, size) = invalid.finish(leaf.zip(size)).map_err(refused)?;
        let proof = self.0.log.inclusion(leaf, (size > 0).then_some(size)).await.map_err(failed)?;
        let Inclusion { position, leaf, head, path } = proof;
        Ok(Response::new(pb::InclusionProof {
            leaf_index: count(position),
            tree_size: count(head.size),
            leaf_hash: leaf.to_vec(),
            hashes: hashes(&path),
            root_hash: head.root.to_vec(),
        }))
    }

    /// The proof that the log only grew.
    ///
    /// # Errors
    /// TREE_SIZE_OUT_OF_RANGE, INVALID_FIELD; what the database failed with.
    pub async fn get_consistency_proof<A: Action>(
        &self,
        request: Request<pb::GetConsistencyProofRequest>,
    ) -> Answer<pb::ConsistencyProof> {
        let (_, request) = asked::<A, _>(request)?;
        let mut invalid = Invalid::new();
        let first = size(&mut invalid, "first_tree_size", request.first_tree_size);
        if first == Some(0) {
            invalid.add("first_tree_size", "must be at least 1");
        }
        let second = size(&mut invalid, "second_tree_size", request.second_tree_size);
        let (first, second) = invalid.finish(first.zip(second)).map_err(refused)?;
        let proof = self.0.log.consistency(first, (second > 0).then_some(second)).await.map_err(failed)?;
        let Consistency { old, new, path } = proof;
        let (TreeHead { size: first, root: first_root }, TreeHead { size: second, root: second_root }) =
            (old, new);
        Ok(Response::new(pb::ConsistencyProof {
            first_tree_size: count(first),
            second_tree_size: count(second),
            hashes: hashes(&path),
            first_root_hash: first_root.to_vec(),
            second_root_hash: second_root.to_vec(),
        }))
    }

    /// Leaves in the order of the log.
    ///
    /// # Errors
    /// INVALID_FIELD; what the database failed with.
    pub async fn list_entries<A: Action>(
        &self,
        request: Request<pb::ListEntriesRequest>,
    ) -> Answer<pb::ListEntriesResponse> {
        let (_, request) = asked::<A, _>(request)?;
        let page = PageSize::parse(request.page_size).map_err(refused)?;
        let mut invalid = Invalid::new();
        let from = match request.page_token.as_str() {
            "" => size(&mut invalid, "start_index", request.start_index),
            token => {
                let opened = self.0.page_tokens.open(ENTRIES, token);
                let opened = invalid.check("page_token", opened);
                opened.and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes)
            }
        };
        let from = invalid.finish(from).map_err(refused)?;
        let limit = u64::from(page.get());
        let mut entries = self.0.log.entries(from, limit + 1).await.map_err(failed)?;
        let more = entries.len() as u64 > limit;
        entries.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let next = from.saturating_add(limit).to_be_bytes();
        let next_page_token = if more { self.0.page_tokens.seal(ENTRIES, &next) } else { String::new() };
        let entries = entries.iter().map(entry).collect();
        Ok(Response::new(pb::ListEntriesResponse { entries, next_page_token }))
    }

    /// The keys that verify the log.
    ///
    /// # Errors
    /// None but those of the policy.
    pub async fn get_ledger_keys<A: Action>(
        &self,
        request: Request<pb::GetLedgerKeysRequest>,
    ) -> Answer<pb::GetLedgerKeysResponse> {
        asked::<A, _>(request)?;
        let log = &self.0.log;
        let [ed25519, ml_dsa_65] = log.note_keys();
        let public = log.verifying_key();
        let key =
            |algorithm: pb::LedgerKeyAlgorithm, public: &[u8], key: &portal_crypto::checkpoint::NoteKey| {
                pb::LedgerKey {
                    key_id: key.id(),
                    algorithm: algorithm.into(),
                    public_key: public.to_vec(),
                    verifier_key: key.verifier_key(),
                    start_time: self.0.ledger_key_since.map(timestamp),
                    end_time: None,
                }
            };
        let keys = vec![
            key(pb::LedgerKeyAlgorithm::Ed25519, public.ed25519().as_bytes(), &ed25519),
            key(pb::LedgerKeyAlgorithm::MlDsa65, public.ml_dsa_65().as_bytes(), &ml_dsa_65),
        ];
        Ok(Response::new(pb::GetLedgerKeysResponse { origin: log.origin().to_owned(), keys }))
    }
}

fn leaf(invalid: &mut Invalid, leaf: Option<pb::get_inclusion_proof_request::Leaf>) -> Option<LeafRef> {
    use pb::get_inclusion_proof_request::Leaf::{LeafHash, LeafIndex};
    match leaf {
        Some(LeafIndex(index)) => size(invalid, "leaf_index", index).map(LeafRef::Position),
        Some(LeafHash(hash)) => {
            let hash = Sha256::try_from(hash.as_slice()).map_err(|_| "must have 32 bytes");
            invalid.check("leaf_hash", hash).map(LeafRef::Hash)
        }
        None => {
            invalid.add("leaf", "must be named by leaf_index or leaf_hash");
            None
        }
    }
}

fn size(invalid: &mut Invalid, field: &str, size: i64) -> Option<u64> {
    invalid.check(field, u64::try_from(size).map_err(|_| "must not be negative"))
}

fn entry(entry: &PublicEntry) -> pb::LedgerEntry {
    pb::LedgerEntry {
        index: count(entry.position),
        leaf: entry.commitment.as_bytes().to_vec(),
        leaf_hash: entry.commitment.leaf_hash().to_vec(),
        append_time: Some(timestamp(entry.recorded_at)),
    }
}

fn hashes(path: &[Sha256]) -> Vec<Vec<u8>> {
    path.iter().map(|hash| hash.to_vec()).collect()
}

#[expect(clippy::needless_pass_by_value, reason = "an argument of map_err")]
fn failed(error: LedgerError) -> Status {
    match &error {
        LedgerError::NotFound => LEAF_NOT_FOUND.status(),
        LedgerError::OutOfRange => TREE_SIZE_OUT_OF_RANGE.status(),
        LedgerError::NotSigned => LEDGER_NOT_SIGNED.status(),
        LedgerError::Forked { .. } => LEDGER_FORKED.status(),
        LedgerError::Disabled(_) => ALGORITHM_DISABLED.status(),
        LedgerError::Store(error) => status::store(error),
        LedgerError::Checkpoint(_) => {
            tracing::error!(%error, "the stored checkpoint is refused");
            ROW_CORRUPT.status()
        }
        LedgerError::Origin(_) | LedgerError::Recall(_) | LedgerError::Signing(_) => {
            tracing::error!(%error, "the ledger failed");
            portal_mesh::status::reason::INTERNAL.status()
        }
    }
}
