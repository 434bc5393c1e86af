//! Receipts of inclusion (RFC 9942): proof, signed with ML-DSA-65, that a leaf is in a tree of RFC 9162.
//!
//! A receipt is a tagged COSE_Sign1. Its protected header has `alg`, `kid` and the kind of tree (`vds` = RFC9162_SHA256), its
//! unprotected one the proof (`vdp`), its payload is the root of the tree and detached: who verifies computes it from leaf
//! and proof, so that one signature vouches for both, but for the size of the tree (see [`Included::head`]). As strict as the rest of [`crate::cose`]: these members and no
//! others, one proof, one encoding. The path of a tree of one leaf is empty.
//!
//! [`embed`] puts a receipt into the unprotected header of the object it is about (`receipts`), [`split`] takes it out.

use coset::cbor::Value;
use coset::{
    AsCborValue, CborSerializable, CoseSign1, CoseSign1Builder, Header, Label, RegisteredLabelWithPrivate,
    TaggedCborSerializable,
};

use super::{CoseError, Key, MAX_HEADER, MAX_OBJECT, SignError, SigningKey};
use crate::hash::Sha256;
use crate::merkle::TreeHead;
use crate::merkle::proof::{self, ProofError};
use crate::suite::Suites;

/// `receipts`: the header parameter that holds receipts of an object.
const RECEIPTS: i64 = 394;
/// `vds`: which verifiable data structure.
const STRUCTURE: i64 = 395;
/// `vdp`: proofs about it.
const PROOFS: i64 = 396;
/// RFC9162_SHA256.
const RFC_9162_SHA_256: i64 = 1;
/// The kind of proof, among those of RFC9162_SHA256.
const INCLUSION: i64 = -1;

/// The longest receipt that is read: signature, headers and the longest path.
const MAX_RECEIPT: usize = 8_192;
/// More hashes than a path in a tree of 2^63 leaves has.
const MAX_PATH: usize = 63;

/// Where a leaf is in a tree, and how to get from it to the root.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Inclusion {
    /// The number of leaves of the tree.
    pub tree_size: u64,
    /// The position of the leaf, from 0.
    pub leaf_index: u64,
    /// The siblings, from the leaf upwards.
    pub path: Vec<Sha256>,
}

/// What a receipt shows once it is verified.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Included {
    /// The position of the leaf, from 0.
    pub leaf_index: u64,
    /// The tree it is in. Its root is what was signed. Its size is what the receipt says: one of those for which the path leads
    /// to that root, which RFC 9942 does not sign; checkpoints do.
    pub head: TreeHead,
}

/// Why a receipt is not believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReceiptError {
    /// Not a receipt, or not signed for the root that leaf and path lead to.
    #[error(transparent)]
    Object(#[from] CoseError),
    /// The path does not belong to a leaf at this index of a tree of this size.
    #[error(transparent)]
    Path(#[from] ProofError),
}

/// A receipt that was read. Its signature is not checked yet.
pub struct Receipt {
    object: CoseSign1,
    inclusion: Inclusion,
}

/// Signs that the leaf at the place of `inclusion` is in the tree with this `root`, which nobody checks here.
///
/// # Errors
/// [`SignError`].
pub fn issue(inclusion: &Inclusion, root: &Sha256, key: SigningKey<'_>) -> Result<Vec<u8>, SignError> {
    if inclusion.path.len() > MAX_PATH {
        return Err(SignError::TooLong);
    }
    let mut protected = key.header();
    protected.rest = vec![(Label::Int(STRUCTURE), Value::from(RFC_9162_SHA_256))];
    let proofs = Value::Map(vec![(
        Value::from(INCLUSION),
        Value::Array(vec![Value::Bytes(inclusion.encode().ok_or(SignError::Unbelievable)?)]),
    )]);
    let unprotected = Header { rest: vec![(Label::Int(PROOFS), proofs)], ..Header::default() };
    CoseSign1Builder::new()
        .protected(protected)
        .unprotected(unprotected)
        .try_create_detached_signature(root, &[], |bytes| key.sign(bytes))?
        .build()
        .to_tagged_vec()
        .map_err(|_| SignError::Unbelievable)
}

/// Reads a receipt without believing it.
///
/// # Errors
/// [`CoseError`] if it is not one, or not in the one encoding.
pub fn read(receipt: &[u8]) -> Result<Receipt, CoseError> {
    if receipt.len() > MAX_RECEIPT {
        return Err(CoseError::TooLong);
    }
    let parts = parts(receipt)?;
    let [Value::Bytes(protected), Value::Map(unprotected), Value::Null, Value::Bytes(_)] = parts.as_slice()
    else {
        return Err(CoseError::Malformed);
    };
    if protected.len() > MAX_HEADER {
        return Err(CoseError::UnexpectedHeader);
    }
    let inclusion = Inclusion::decode(only_proof(unprotected)?)?;
    let protected = protected.clone();
    let object = CoseSign1::from_cbor_value(Value::Array(parts)).map_err(|_| CoseError::Malformed)?;
    let header = &object.protected.header;
    let lean = Header {
        alg: header.alg.clone(),
        key_id: header.key_id.clone(),
        rest: vec![(Label::Int(STRUCTURE), Value::from(RFC_9162_SHA_256))],
        ..Header::default()
    };
    if *header != lean || header.key_id.is_empty() {
        return Err(CoseError::UnexpectedHeader);
    }
    // A parsed object writes its protected header as it was.
    let one_form = lean.to_vec().is_ok_and(|header| header == protected)
        && object.clone().to_tagged_vec().is_ok_and(|object| object == receipt);
    if !one_form {
        return Err(CoseError::NotDeterministic);
    }
    Ok(Receipt { object, inclusion })
}

impl Receipt {
    /// The place and the path.
    #[must_use]
    pub const fn inclusion(&self) -> &Inclusion {
        &self.inclusion
    }

    /// The id of the key that the receipt says it is signed by.
    #[must_use]
    pub fn key_id(&self) -> &[u8] {
        &self.object.protected.header.key_id
    }

    /// Checks that one of `keys` has signed the tree that the path leads to from `leaf`, the hash of a leaf.
    ///
    /// # Errors
    /// [`ReceiptError`], one variant per cause.
    pub fn verify(&self, leaf: &Sha256, keys: &[Key], suites: Suites) -> Result<Included, ReceiptError> {
        let Inclusion { tree_size, leaf_index, ref path } = self.inclusion;
        let root = proof::root_of(leaf, leaf_index, tree_size, path)?;
        let header = &self.object.protected.header;
        let key = keys.iter().find(|key| key.thumbprint().as_bytes() == header.key_id.as_slice());
        let key = key.ok_or(CoseError::UnknownKey)?;
        if header.alg != Some(RegisteredLabelWithPrivate::Assigned(key.cose_algorithm())) {
            return Err(CoseError::WrongAlgorithm.into());
        }
        suites.require(key.algorithm()).map_err(CoseError::from)?;
        let signed = self.object.tbs_detached_data(&root, &[]);
        key.verify(&signed, &self.object.signature).map_err(|_| CoseError::BadSignature)?;
        Ok(Included { leaf_index, head: TreeHead { size: tree_size, root } })
    }
}

/// `object`, a COSE_Sign1 with an empty unprotected header, with `receipt` in that header.
///
/// # Errors
/// [`CoseError::Malformed`] if it is not such an object.
pub fn embed(object: &[u8], receipt: &[u8]) -> Result<Vec<u8>, CoseError> {
    let mut parts = parts(object)?;
    match parts.get_mut(1) {
        Some(Value::Map(unprotected)) if unprotected.is_empty() => {
            let receipts = Value::Array(vec![Value::Bytes(receipt.to_vec())]);
            unprotected.push((Value::from(RECEIPTS), receipts));
        }
        _ => return Err(CoseError::Malformed),
    }
    tagged(parts)
}

/// The object without its receipt, and the receipt if there is one. Neither is checked.
///
/// # Errors
/// [`CoseError`] if it is not a COSE_Sign1, or its unprotected header has something else.
pub fn split(object: &[u8]) -> Result<(Vec<u8>, Option<Vec<u8>>), CoseError> {
    if object.len() > MAX_OBJECT {
        return Err(CoseError::TooLong);
    }
    let mut parts = parts(object)?;
    let Some(Value::Map(unprotected)) = parts.get_mut(1) else { return Err(CoseError::Malformed) };
    let receipt = match std::mem::take(unprotected).as_slice() {
        [] => None,
        [(Value::Integer(label), Value::Array(receipts))] if *label == RECEIPTS.into() => {
            match receipts.as_slice() {
                [Value::Bytes(receipt)] => Some(receipt.clone()),
                _ => return Err(CoseError::UnexpectedHeader),
            }
        }
        _ => return Err(CoseError::UnexpectedHeader),
    };
    let bare = tagged(parts)?;
    let again = receipt.as_deref().map_or_else(|| Ok(bare.clone()), |receipt| embed(&bare, receipt))?;
    if again == object { Ok((bare, receipt)) } else { Err(CoseError::NotDeterministic) }
}

impl Inclusion {
    fn encode(&self) -> Option<Vec<u8>> {
        let path = self.path.iter().map(|hash| Value::Bytes(hash.to_vec())).collect();
        Value::Array(vec![self.tree_size.into(), self.leaf_index.into(), Value::Array(path)]).to_vec().ok()
    }

    fn decode(bytes: &[u8]) -> Result<Self, CoseError> {
        let value = Value::from_slice(bytes).map_err(|_| CoseError::Malformed)?;
        let number = |value: &Value| value.as_integer().and_then(|number| u64::try_from(number).ok());
        let hash = |value: &Value| value.as_bytes().and_then(|bytes| Sha256::try_from(bytes.as_slice()).ok());
        let read = || match value.as_array()?.as_slice() {
            [size, index, Value::Array(path)] if path.len() <= MAX_PATH => Some(Self {
                tree_size: number(size)?,
                leaf_index: number(index)?,
                path: path.iter().map(hash).collect::<Option<_>>()?,
            }),
            _ => None,
        };
        let inclusion = read().ok_or(CoseError::Malformed)?;
        if inclusion.encode().as_deref() == Some(bytes) {
            Ok(inclusion)
        } else {
            Err(CoseError::NotDeterministic)
        }
    }
}

/// The one proof in an unprotected header that has nothing else.
fn only_proof(unprotected: &[(Value, Value)]) -> Result<&[u8], CoseError> {
    let is = |value: &Value, label: i64| value.as_integer() == Some(label.into());
    match unprotected {
        [(proofs, Value::Map(kinds))] if is(proofs, PROOFS) => match kinds.as_slice() {
            [(kind, proofs)] if is(kind, INCLUSION) => match proofs.as_array().map(Vec::as_slice) {
                Some([Value::Bytes(proof)]) => Ok(proof),
                _ => Err(CoseError::Malformed),
            },
            _ => Err(CoseError::UnexpectedHeader),
        },
        _ => Err(CoseError::UnexpectedHeader),
    }
}

/// What a tagged COSE_Sign1 consists of.
fn parts(object: &[u8]) -> Result<Vec<Value>, CoseError> {
    match Value::from_slice(object).map_err(|_| CoseError::Malformed)? {
        Value::Tag(CoseSign1::TAG, value) => match *value {
            Value::Array(parts) if parts.len() == 4 => Ok(parts),
            _ => Err(CoseError::Malformed),
        },
        _ => Err(CoseError::Malformed),
    }
}

fn tagged(parts: Vec<Value>) -> Result<Vec<u8>, CoseError> {
    Value::Tag(CoseSign1::TAG, Box::new(Value::Array(parts))).to_vec().map_err(|_| CoseError::Malformed)
}

#[cfg(test)]
mod tests;
