//! Passwords: HMAC with a pepper, then Argon2id, kept as a PHC string.
//!
//! What is hashed is `HMAC-SHA-256(pepper, password)`: a stolen database without the pepper is of no use to a
//! guesser, and a password of any bytes and length costs the same. Verifying against nothing takes the path and the
//! time of verifying against a hash of today's cost, so that an unknown account answers like a known one.

use std::fmt;

use argon2::password_hash::phc;
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Params, Version};
use portal_core::entropy::random_bytes;
use portal_core::{Entropy, Sensitive};

use crate::backend;
use crate::kdf::{Label, ServiceSecret};
use crate::mac::MacKey;

const SALT: usize = 16;
const OUTPUT: usize = 32;
/// No hash that we store asks for more; a forged or damaged one must not take the process's memory.
const MAX_MEMORY_KIB: u32 = 1 << 20;
const MAX_PASSES: u32 = 64;
const MAX_LANES: u32 = 16;

/// What a hash costs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// The cost is outside of what Argon2 or this program takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("memory must be 8 KiB per lane to 1 GiB, passes 1 to 64, lanes 1 to 16")]
pub struct InvalidCost;

impl Default for Cost {
    /// OWASP's minimum: 19 MiB, two passes, one lane.
    fn default() -> Self {
        Self { memory_kib: 19 * 1_024, passes: 2, lanes: 1 }
    }
}

impl Cost {
    /// For the passphrase of a key file: 64 MiB, three passes (the second choice of RFC 9106, section 4, in one lane).
    /// A key file is opened once, when a process starts, and what guards all keys may cost more than a login.
    pub const KEY_FILE: Self = Self { memory_kib: 64 * 1_024, passes: 3, lanes: 1 };

    /// A cost of `memory_kib` KiB, `passes` over it, in `lanes`.
    ///
    /// # Errors
    /// [`InvalidCost`] outside its bounds.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, InvalidCost> {
        let bounded = memory_kib <= MAX_MEMORY_KIB && passes <= MAX_PASSES && lanes <= MAX_LANES;
        if !bounded || Params::new(memory_kib, passes, lanes, Some(OUTPUT)).is_err() {
            return Err(InvalidCost);
        }
        Ok(Self { memory_kib, passes, lanes })
    }

    /// Memory in KiB, passes, lanes.
    pub(crate) const fn parts(self) -> (u32, u32, u32) {
        (self.memory_kib, self.passes, self.lanes)
    }

    /// Argon2id, version 19, of `secret` at this cost.
    pub(crate) fn argon2id(
        self,
        secret: &[u8],
        salt: &[u8],
        out: &mut [u8; OUTPUT],
    ) -> Result<(), argon2::Error> {
        Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params()?).hash_password_into(secret, salt, out)
    }

    fn params(self) -> Result<Params, argon2::Error> {
        Params::new(self.memory_kib, self.passes, self.lanes, Some(OUTPUT))
    }
}

/// A stored hash: a PHC string of Argon2id, version 19, with a cost within bounds. `Debug` shows the cost only.
#[derive(Clone)]
pub struct PasswordHash {
    text: String,
    cost: Cost,
    salt: Vec<u8>,
    output: [u8; OUTPUT],
}

/// Why a password could not be hashed or a hash not be read. Never holds either.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Argon2 failed, for want of memory.
    #[error("Argon2 failed")]
    Argon2(#[source] argon2::Error),
    /// The stored cost is out of bounds.
    #[error("the stored hash has a cost out of bounds")]
    Cost(#[source] InvalidCost),
    /// The stored text is not a PHC string of Argon2id, version 19, with 32 bytes of output.
    #[error("the stored hash is not a PHC string of Argon2id")]
    NotPhc,
}

impl PasswordHash {
    /// Parses a stored PHC string.
    ///
    /// # Errors
    /// [`PasswordError::NotPhc`] and [`PasswordError::Cost`].
    pub fn parse(text: &str) -> Result<Self, PasswordError> {
        let phc = phc::PasswordHash::new(text).map_err(|_| PasswordError::NotPhc)?;
        if phc.algorithm != ARGON2ID_IDENT || phc.version != Some(Version::V0x13.into()) {
            return Err(PasswordError::NotPhc);
        }
        let params = Params::try_from(&phc).map_err(|_| PasswordError::NotPhc)?;
        // The library fills in what a text leaves out; ours says all three costs and nothing else.
        if phc::ParamsString::try_from(&params).ok() != Some(phc.params) {
            return Err(PasswordError::NotPhc);
        }
        let cost =
            Cost::new(params.m_cost(), params.t_cost(), params.p_cost()).map_err(PasswordError::Cost)?;
        let (Some(salt), Some(output)) = (phc.salt, phc.hash) else {
            return Err(PasswordError::NotPhc);
        };
        let output = output.as_bytes().try_into().map_err(|_| PasswordError::NotPhc)?;
        Ok(Self { text: text.to_owned(), cost, salt: salt.to_vec(), output })
    }

    /// The PHC string to store.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordHash").field("cost", &self.cost).finish_non_exhaustive()
    }
}

/// Hashes and verifies passwords. Each call takes tens of milliseconds of a core and the memory of its cost: run it
/// on a bounded pool, behind rate limits.
#[derive(Clone)]
pub struct PasswordHasher {
    pepper: MacKey,
    cost: Cost,
}

impl PasswordHasher {
    /// A hasher with the pepper of the service and the cost of new hashes.
    #[must_use]
    pub fn new(secret: &ServiceSecret, cost: Cost) -> Self {
        Self { pepper: MacKey::new(secret.derive(Label::PasswordPepper).expose()), cost }
    }

    /// A new hash of `password` with a salt of its own.
    ///
    /// # Errors
    /// [`PasswordError::Argon2`].
    pub fn hash(
        &self,
        password: &Sensitive<Vec<u8>>,
        entropy: &dyn Entropy,
    ) -> Result<PasswordHash, PasswordError> {
        let salt: [u8; SALT] = random_bytes(entropy);
        let output = self.argon2id(password, &salt, self.cost)?;
        let phc = phc::PasswordHash {
            algorithm: ARGON2ID_IDENT,
            version: Some(Version::V0x13.into()),
            params: (&self.cost.params().map_err(PasswordError::Argon2)?)
                .try_into()
                .map_err(|_| PasswordError::NotPhc)?,
            salt: Some(phc::Salt::new(&salt).map_err(|_| PasswordError::NotPhc)?),
            hash: Some(phc::Output::new(output.expose()).map_err(|_| PasswordError::NotPhc)?),
        };
        Ok(PasswordHash {
            text: phc.to_string(),
            cost: self.cost,
            salt: salt.to_vec(),
            output: *output.expose(),
        })
    }

    /// Whether `password` is the one of `stored`, at the cost that `stored` names. `None` stands for an account that
    /// does not exist or has no password: the same work is done, the answer is no.
    ///
    /// # Errors
    /// [`PasswordError::Argon2`].
    pub fn verify(
        &self,
        password: &Sensitive<Vec<u8>>,
        stored: Option<&PasswordHash>,
    ) -> Result<bool, PasswordError> {
        let (salt, cost, expected) = match stored {
            Some(hash) => (hash.salt.as_slice(), hash.cost, hash.output),
            None => ([0; SALT].as_slice(), self.cost, [0; OUTPUT]),
        };
        let output = self.argon2id(password, salt, cost)?;
        Ok(backend::equal(output.expose(), &expected) & stored.is_some())
    }

    /// Whether `stored` was made at another cost than new hashes are, so that the next login should replace it.
    #[must_use]
    pub fn needs_rehash(&self, stored: &PasswordHash) -> bool {
        stored.cost != self.cost || stored.salt.len() != SALT
    }

    fn argon2id(
        &self,
        password: &Sensitive<Vec<u8>>,
        salt: &[u8],
        cost: Cost,
    ) -> Result<Sensitive<[u8; OUTPUT]>, PasswordError> {
        let peppered = Sensitive::new(self.pepper.tag(password.expose()));
        let mut output = [0; OUTPUT];
        cost.argon2id(peppered.expose(), salt, &mut output).map_err(PasswordError::Argon2)?;
        Ok(Sensitive::new(output))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use portal_core::SeededEntropy;
    use proptest::prelude::*;

    use super::*;

    fn cheap(secret: u8) -> PasswordHasher {
        PasswordHasher::new(&ServiceSecret::new(&[secret; 32]), Cost::new(8, 1, 1).unwrap())
    }

    fn password(bytes: &[u8]) -> Sensitive<Vec<u8>> {
        Sensitive::new(bytes.to_vec())
    }

    /// The text was made by the reference implementation in C (PyPI `argon2-cffi`).
    #[test]
    fn the_phc_string_is_that_of_the_reference_implementation() {
        let stored = PasswordHash::parse(
            "$argon2id$v=19$m=64,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$cWiCgh33e8ZBQ1iwcVn7Y8ockL6uudDKDkO9iH3PLKk",
        )
        .unwrap();
        let mut bytes = [0; OUTPUT];
        stored.cost.argon2id(b"password", &stored.salt, &mut bytes).unwrap();
        assert_eq!(bytes, stored.output);
    }

    #[test]
    fn default_cost_is_that_of_the_design() {
        let hasher = PasswordHasher::new(&ServiceSecret::new(&[1; 32]), Cost::default());
        let hash = hasher.hash(&password(b"correct horse"), &SeededEntropy::new(1)).unwrap();
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.as_str());
        assert!(hasher.verify(&password(b"correct horse"), Some(&hash)).unwrap());
        assert!(!hasher.verify(&password(b"correct house"), Some(&hash)).unwrap());
        assert!(!hasher.verify(&password(b"correct horse"), None).unwrap());
        assert!(!hasher.needs_rehash(&hash));
        assert!(cheap(1).needs_rehash(&hash));
        assert!(cheap(1).verify(&password(b"correct horse"), Some(&hash)).unwrap(), "at the stored cost");
    }

    #[test]
    fn needs_the_pepper() {
        let hash = cheap(1).hash(&password(b"p"), &SeededEntropy::new(1)).unwrap();
        assert!(cheap(1).verify(&password(b"p"), Some(&hash)).unwrap());
        assert!(!cheap(2).verify(&password(b"p"), Some(&hash)).unwrap());
    }

    #[test]
    fn equal_passwords_have_different_hashes() {
        let entropy = SeededEntropy::new(1);
        let one = cheap(1).hash(&password(b"p"), &entropy).unwrap();
        let two = cheap(1).hash(&password(b"p"), &entropy).unwrap();
        assert_ne!(one.as_str(), two.as_str());
    }

    #[test]
    fn damaged_foreign_and_greedy_hashes_are_refused() {
        let good = cheap(1).hash(&password(b"p"), &SeededEntropy::new(1)).unwrap();
        let good = good.as_str();
        for (from, to) in [
            ("argon2id", "argon2i"),
            ("argon2id", "scrypt"),
            ("v=19", "v=16"),
            ("m=8", "m=1048577"),
            ("m=8", "m=0"),
            ("t=1", "t=65"),
            ("p=1", "p=17"),
            ("$m=8,t=1,p=1", ""),
            ("$v=19", ""),
        ] {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good);
            assert!(PasswordHash::parse(&text).is_err(), "{text}");
        }
        for length in 0..good.len() {
            let cut = good.split_at(length).0;
            assert!(PasswordHash::parse(cut).is_err(), "{cut}");
        }
        assert!(Cost::new(7, 1, 1).is_err());
        assert!(Cost::new(8, 0, 1).is_err());
        assert!(Cost::new(8, 1, 2).is_err());
    }

    #[test]
    fn debug_shows_neither_salt_nor_hash() {
        let hash = cheap(1).hash(&password(b"p"), &SeededEntropy::new(1)).unwrap();
        let shown = format!("{hash:?}");
        assert!(!shown.contains(hash.as_str().rsplit('$').next().unwrap()), "{shown}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_bytes_are_a_password(bytes in prop::collection::vec(any::<u8>(), 0..300), seed: u64) {
            let hash = cheap(1).hash(&password(&bytes), &SeededEntropy::new(seed)).unwrap();
            let stored = PasswordHash::parse(hash.as_str()).unwrap();
            prop_assert!(cheap(1).verify(&password(&bytes), Some(&stored)).unwrap());
            let longer = [bytes.as_slice(), b"\0"].concat();
            prop_assert!(!cheap(1).verify(&password(&longer), Some(&stored)).unwrap());
        }
    }
}
