//! Key encapsulation: a secret of 32 bytes for whoever holds the decapsulation key.
//!
//! [`x_wing`] is the default; [`ml_kem`] alone is for peers that can do no other. A bare KEM authenticates nobody and
//! encrypts nothing: [`crate::hpke`] is what seals with it.

use portal_core::Sensitive;

pub mod ml_kem;
pub mod x_wing;

/// What both sides of an encapsulation know.
pub type SharedSecret = Sensitive<[u8; 32]>;

/// The ciphertext has the wrong length, or holds a share that no honest sender makes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a ciphertext for this key")]
pub struct DecapsulationError;

/// Nothing can be encapsulated to this key, or the cryptographic library failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("could not encapsulate to this key")]
pub struct EncapsulationError;

/// The bytes are not an encapsulation key of the algorithm.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an encapsulation key of this algorithm")]
pub struct InvalidEncapsulationKey;

/// The cryptographic library could not make the key, for example for want of memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the cryptographic library could not make the key")]
pub struct KeyGenerationError;
