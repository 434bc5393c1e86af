//! Proofs of RFC 9162, good and bad.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portal_crypto::merkle::TreeHead;
use portal_crypto::merkle::proof::{verify_consistency, verify_inclusion};
use serde_json::Value;

use crate::json;

/// Some roots of the vectors are arbitrary text that is only compared: cut or filled up to 32 bytes. `None` for no
/// bytes at all, which our types can't hold.
fn hash(value: &Value) -> Option<[u8; 32]> {
    let mut bytes = STANDARD.decode(value.as_str()?).ok()?;
    if bytes.is_empty() {
        return None;
    }
    bytes.resize(32, 0);
    bytes.try_into().ok()
}

fn proof(value: &Value) -> Option<Vec<[u8; 32]>> {
    value.as_array().map_or(Some(Vec::new()), |hashes| hashes.iter().map(hash).collect())
}

#[test]
fn transparency_dev_inclusion_proofs() {
    for vector in json(include_str!("../vectors/merkle-inclusion.json")).as_array().unwrap() {
        let verified = (|| {
            let head = TreeHead { size: vector["treeSize"].as_u64()?, root: hash(&vector["root"])? };
            let leaf = hash(&vector["leafHash"])?;
            verify_inclusion(&leaf, vector["leafIdx"].as_u64()?, &head, &proof(&vector["proof"])?).ok()
        })();
        assert_eq!(verified.is_none(), vector["wantErr"].as_bool().unwrap(), "{}", vector["file"]);
    }
}

#[test]
fn transparency_dev_consistency_proofs() {
    for vector in json(include_str!("../vectors/merkle-consistency.json")).as_array().unwrap() {
        let verified = (|| {
            let head = |size: &str, root: &str| {
                Some(TreeHead { size: vector[size].as_u64()?, root: hash(&vector[root])? })
            };
            verify_consistency(&head("size1", "root1")?, &head("size2", "root2")?, &proof(&vector["proof"])?)
                .ok()
        })();
        assert_eq!(verified.is_none(), vector["wantErr"].as_bool().unwrap(), "{}", vector["file"]);
    }
}
