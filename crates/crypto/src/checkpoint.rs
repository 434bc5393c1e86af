//! The signed head of a log: a C2SP tlog-checkpoint (c2sp.org/tlog-checkpoint), as a signed note with two signatures of the
//! log, Ed25519 and ML-DSA-65, both of which must verify.
//!
//! ```text
//! example.com/consent                            origin: name of the log and of its keys
//! 20852163                                       number of leaves
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=   root of the tree
//! time 2026-11-22T21:40:00.123456Z               when it was signed
//!
//! — example.com/consent base64(key id 4 | Ed25519 signature 64)
//! — example.com/consent base64(key id 4 | ML-DSA-65 signature 3,309)
//! ```
//! The time is an extension line: whoever holds a checkpoint can tell how old it is. Lines of keys that the verifier does
//! not know, such as those of witnesses, are passed over, as the specification has it; nothing else may differ by a byte
//! from the one form.
//!
//! `key id = SHA-256(name | "\n" | type | public key)[..4]`, with type 0x01 for Ed25519, and for ML-DSA-65, which
//! has no number of its own, 0xff and the identifier `portal.ml-dsa-65.v1`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portal_core::Timestamp;

use crate::merkle::TreeHead;
use crate::pair::{PairSigningKey, PairVerifyingKey};
use crate::sign::BackendFailure;
use crate::suite::{self, Algorithm, Suites};

mod note;

pub use note::{NoteKey, key_ids};

/// The longest note that is read: room for sixteen witnesses with large signatures.
pub const MAX_NOTE: usize = 128 * 1_024;

const TIME: &str = "time ";

/// What a checkpoint says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checkpoint {
    /// The name of the log.
    pub origin: String,
    /// The tree.
    pub head: TreeHead,
    /// When it was signed.
    pub signed_at: Timestamp,
}

/// The note is no checkpoint of this log, or was not signed by it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CheckpointError {
    /// It is not a signed note with a checkpoint in its one form.
    #[error("not a checkpoint: the note is malformed")]
    Malformed,
    /// It is of another log.
    #[error("a checkpoint of another log")]
    OtherOrigin,
    /// A signature of the log is missing.
    #[error("the {} signature of the log is missing", .0.name())]
    SignatureMissing(Algorithm),
    /// A signature of the log does not verify.
    #[error("the {} signature of the log is wrong", .0.name())]
    SignatureWrong(Algorithm),
    /// The combination of the two is switched off.
    #[error(transparent)]
    Disabled(#[from] suite::Disabled),
}

/// A name that can't be that of a log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the name of a log is not empty and has neither white space nor a plus")]
pub struct InvalidOrigin;

impl Checkpoint {
    /// # Errors
    /// [`InvalidOrigin`].
    pub fn new(origin: &str, head: TreeHead, signed_at: Timestamp) -> Result<Self, InvalidOrigin> {
        if !note::is_name(origin) {
            return Err(InvalidOrigin);
        }
        Ok(Self { origin: origin.to_owned(), head, signed_at })
    }

    /// The signed note.
    ///
    /// # Errors
    /// [`BackendFailure`].
    pub fn sign(&self, key: &PairSigningKey) -> Result<String, BackendFailure> {
        let text = self.text();
        let [ed25519, ml_dsa_65] = NoteKey::both(&self.origin, key.verifying_key());
        let classical = key.ed25519().sign(text.as_bytes())?;
        let quantum_safe = key.ml_dsa_65().sign(text.as_bytes())?;
        Ok(format!("{text}\n{}{}", ed25519.line(&classical), ml_dsa_65.line(&quantum_safe)))
    }

    /// What `note` says, if it is of the log `origin` and signed by both halves of `key`.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn verify(
        note: &str,
        origin: &str,
        key: &PairVerifyingKey,
        suites: Suites,
    ) -> Result<Self, CheckpointError> {
        suites.require(Algorithm::MlDsa65Ed25519)?;
        let (text, signatures) = note::split(note).ok_or(CheckpointError::Malformed)?;
        let [ed25519, ml_dsa_65] = NoteKey::both(origin, key);
        let classical = |signature: &[u8]| key.ed25519().verify(text.as_bytes(), signature).is_ok();
        let quantum_safe = |signature: &[u8]| key.ml_dsa_65().verify(text.as_bytes(), signature).is_ok();
        let checkpoint = Self::parse(text).ok_or(CheckpointError::Malformed)?;
        if checkpoint.origin != origin {
            return Err(CheckpointError::OtherOrigin);
        }
        signed(&signatures, &ed25519, Algorithm::Ed25519, classical)?;
        signed(&signatures, &ml_dsa_65, Algorithm::MlDsa65, quantum_safe)?;
        Ok(checkpoint)
    }

    /// What `note` says, whoever has signed it: to find the keys that it is to be verified with.
    #[must_use]
    pub fn unverified(note: &str) -> Option<Self> {
        note::split(note).and_then(|(text, _)| Self::parse(text))
    }

    fn text(&self) -> String {
        let Self { origin, head, signed_at } = self;
        format!("{origin}\n{}\n{}\n{TIME}{signed_at}\n", head.size, STANDARD.encode(head.root))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let origin = lines.next()?;
        let size = lines.next()?.parse().ok()?;
        let root = STANDARD.decode(lines.next()?).ok()?.try_into().ok()?;
        let signed_at = lines.next()?.strip_prefix(TIME)?.parse().ok()?;
        let checkpoint = Self::new(origin, TreeHead { size, root }, signed_at).ok()?;
        // One spelling: no leading zeros, no other form of the time, no more lines.
        (checkpoint.text() == text).then_some(checkpoint)
    }
}

/// Whether `signatures` has one by `key`, and each of those verifies.
fn signed(
    signatures: &[note::Signature<'_>],
    key: &NoteKey,
    algorithm: Algorithm,
    verify: impl Fn(&[u8]) -> bool,
) -> Result<(), CheckpointError> {
    let mut found = false;
    for signature in signatures.iter().filter(|signature| signature.is_by(key)) {
        if !verify(&signature.bytes) {
            return Err(CheckpointError::SignatureWrong(algorithm));
        }
        found = true;
    }
    if found { Ok(()) } else { Err(CheckpointError::SignatureMissing(algorithm)) }
}

#[cfg(test)]
mod tests;
