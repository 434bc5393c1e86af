//! What is signed: a record in CBOR, in one form only.
//!
//! ```text
//! payload = [ 1, salt: bstr .size 32, bstr .cbor record ]      ; 1 is the version
//! ```
//!
//! `record` is a map with the keys of the module `encode`; absent is what is empty. The encoding is the deterministic one of
//! RFC 8949, section 4.2. The ledger has a commitment to the record under the salt (see [`leaf_hash`]): without the salt not
//! even a guess at the record could be confirmed, so whoever gives a payload away gives the salt away with it.

mod decode;
mod encode;

use portal_core::Sensitive;
use portal_crypto::hash::{Sha256, sha256};
use portal_crypto::merkle;

use crate::cbor::{Item, Malformed};
use crate::record::Record;

/// The kind of leaf that events of consents are: see the ledger's `Leaf`.
pub const KIND: &str = "consent.event";

/// The longest payload that is read.
pub const MAX_PAYLOAD: usize = 65_536;

/// What [`content`] has at most in what a service issues: signed, it stays below 8 KiB.
pub const MAX_CONTENT: usize = 4_600;

const VERSION: i64 = 1;
const DOMAIN: &[u8] = b"portal/ledger-leaf/v1\0";

/// The bytes are not a payload, or not in its one form.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a receipt's payload in its one form")]
pub struct InvalidPayload;

/// A record with the salt that hides it in the ledger.
#[derive(Clone, Debug)]
pub struct Payload {
    /// What it says.
    pub record: Record,
    /// 32 random bytes.
    pub salt: Sensitive<[u8; 32]>,
}

/// The record as the ledger commits to it: everything but the salt.
#[must_use]
pub fn content(record: &Record) -> Vec<u8> {
    encode::record(record).encode()
}

/// The payload of `content`, which [`content`] made, under `salt`.
#[must_use]
pub fn payload(content: Vec<u8>, salt: &[u8; 32]) -> Vec<u8> {
    Item::Array(vec![Item::Int(VERSION), Item::Bytes(salt.to_vec()), Item::Bytes(content)]).encode()
}

/// Reads a payload.
///
/// # Errors
/// [`InvalidPayload`] if it is none, or in another encoding.
pub fn decode(bytes: &[u8]) -> Result<Payload, InvalidPayload> {
    let (content, salt) = parts(bytes)?;
    let record = decode::record(Item::decode(&content)?)?;
    // Items are in their one encoding; this is about members that say nothing, such as empty lists.
    if self::content(&record) != content {
        return Err(InvalidPayload);
    }
    Ok(Payload { record, salt: Sensitive::new(salt) })
}

/// The hash of the leaf that a payload belongs to.
///
/// # Errors
/// [`InvalidPayload`].
pub fn leaf_hash(bytes: &[u8]) -> Result<Sha256, InvalidPayload> {
    let (content, salt) = parts(bytes)?;
    let length = u32::try_from(KIND.len()).unwrap_or(u32::MAX).to_be_bytes();
    let commitment = sha256(&[DOMAIN, &salt, &length, KIND.as_bytes(), &content].concat());
    Ok(merkle::leaf_hash(&commitment))
}

/// The encoded record and the salt.
fn parts(bytes: &[u8]) -> Result<(Vec<u8>, [u8; 32]), InvalidPayload> {
    if bytes.len() > MAX_PAYLOAD {
        return Err(InvalidPayload);
    }
    let Item::Array(items) = Item::decode(bytes)? else { return Err(InvalidPayload) };
    match <[Item; 3]>::try_from(items) {
        Ok([Item::Int(VERSION), Item::Bytes(salt), Item::Bytes(content)]) => {
            Ok((content, salt.try_into().map_err(|_| InvalidPayload)?))
        }
        _ => Err(InvalidPayload),
    }
}

impl From<Malformed> for InvalidPayload {
    fn from(_: Malformed) -> Self {
        Self
    }
}

#[cfg(test)]
pub(crate) mod tests;
