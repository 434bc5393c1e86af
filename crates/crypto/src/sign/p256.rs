//! ECDSA on P-256 with SHA-256 (FIPS 186-5): for clients outside that know no other. Signatures are r and s, 32 bytes
//! each, as JOSE has them (RFC 7518, section 3.4).

use std::fmt;

use portal_core::{Entropy, Sensitive};

use super::{BackendFailure, InvalidSignature, InvalidVerifyingKey};
use crate::{backend, seed};

/// The length of the private number.
pub const SCALAR_LEN: usize = 32;
/// The length of each coordinate of a verifying key.
pub const COORDINATE_LEN: usize = 32;
/// The length of a signature.
pub const SIGNATURE_LEN: usize = 64;

/// What stands before the coordinates of a point that is not compressed (SEC 1, section 2.3.3).
const UNCOMPRESSED: u8 = 4;

/// A signing key. Wiped on drop; has no `Debug`.
pub struct SigningKey {
    secret: backend::P256Secret,
    public: VerifyingKey,
}

impl SigningKey {
    /// The key pair of the private number `scalar`, big-endian.
    ///
    /// # Errors
    /// [`BackendFailure`], also if it is not from 1 to the order of the curve less 1: one draw of 2³² is not.
    pub fn from_scalar(scalar: &[u8; SCALAR_LEN]) -> Result<Self, BackendFailure> {
        let secret = backend::P256Secret::from_scalar(scalar).ok_or(BackendFailure)?;
        let bytes = secret.public().ok_or(BackendFailure)?;
        let public = VerifyingKey::from_point(bytes).map_err(|InvalidVerifyingKey| BackendFailure)?;
        Ok(Self { secret, public })
    }

    /// A new key pair, and the number to keep it by.
    ///
    /// # Errors
    /// [`BackendFailure`].
    pub fn generate(entropy: &dyn Entropy) -> Result<(Self, Sensitive<[u8; SCALAR_LEN]>), BackendFailure> {
        // Again if the number is none of the curve's; that two draws are not happens once in 2⁶⁴.
        let scalar = seed::draw(entropy);
        if let Ok(key) = Self::from_scalar(scalar.expose()) {
            return Ok((key, scalar));
        }
        let scalar = seed::draw(entropy);
        Ok((Self::from_scalar(scalar.expose())?, scalar))
    }

    /// A signature of `message`.
    ///
    /// # Errors
    /// [`BackendFailure`].
    pub fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], BackendFailure> {
        self.secret.sign(message).ok_or(BackendFailure)
    }

    /// The other half of the pair.
    #[must_use]
    pub const fn verifying_key(&self) -> &VerifyingKey {
        &self.public
    }
}

/// A verifying key, parsed once: a point of the curve.
#[derive(Clone)]
pub struct VerifyingKey {
    key: backend::P256Public,
    x: [u8; COORDINATE_LEN],
    y: [u8; COORDINATE_LEN],
}

impl VerifyingKey {
    /// The key with these coordinates, big-endian.
    ///
    /// # Errors
    /// [`InvalidVerifyingKey`] if they are not those of a point of the curve, or not of 32 bytes.
    pub fn from_coordinates(x: &[u8], y: &[u8]) -> Result<Self, InvalidVerifyingKey> {
        let x: [u8; COORDINATE_LEN] = x.try_into().map_err(|_| InvalidVerifyingKey)?;
        let y: [u8; COORDINATE_LEN] = y.try_into().map_err(|_| InvalidVerifyingKey)?;
        let mut point = [UNCOMPRESSED; 1 + 2 * COORDINATE_LEN];
        point.iter_mut().skip(1).zip(x.iter().chain(&y)).for_each(|(to, from)| *to = *from);
        let key = backend::P256Public::from_bytes(&point).ok_or(InvalidVerifyingKey)?;
        Ok(Self { key, x, y })
    }

    fn from_point(point: [u8; 1 + 2 * COORDINATE_LEN]) -> Result<Self, InvalidVerifyingKey> {
        match point.split_first() {
            Some((&UNCOMPRESSED, coordinates)) => {
                let (x, y) = coordinates.split_at_checked(COORDINATE_LEN).ok_or(InvalidVerifyingKey)?;
                Self::from_coordinates(x, y)
            }
            _ => Err(InvalidVerifyingKey),
        }
    }

    /// The first coordinate, big-endian.
    #[must_use]
    pub const fn x(&self) -> &[u8; COORDINATE_LEN] {
        &self.x
    }

    /// The second coordinate, big-endian.
    #[must_use]
    pub const fn y(&self) -> &[u8; COORDINATE_LEN] {
        &self.y
    }

    /// Checks that `signature` is one of `message` by this key.
    ///
    /// # Errors
    /// [`InvalidSignature`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let signature = signature.try_into().map_err(|_| InvalidSignature)?;
        if self.key.verify(message, signature) { Ok(()) } else { Err(InvalidSignature) }
    }
}

impl PartialEq for VerifyingKey {
    fn eq(&self, other: &Self) -> bool {
        (self.x, self.y) == (other.x, other.y)
    }
}

impl Eq for VerifyingKey {}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifyingKey(P-256)")
    }
}
