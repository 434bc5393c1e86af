//! The algorithms: a closed enum with stable ids, and which of them are switched on.
//!
//! Stored records and messages name an algorithm by its id, configuration and inventories by the name of its standard;
//! code names neither. Whoever is about to use an algorithm on behalf of a record asks [`Suites::require`] first, so
//! that one line of configuration ends an algorithm at once, for reading as for writing. What is combined of two
//! algorithms has an id of its own and stays on when one of the two is switched off: that is what it is for.

use std::fmt;

use portal_core::LogSafe;

/// What an algorithm does.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// Seals data with a key that both sides hold.
    Aead,
    /// Gives a key to the holder of another one: key encapsulation or wrapping.
    Kem,
    /// Signs.
    Signature,
}

/// What may still be done with an algorithm.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Standing {
    /// Seals and opens, signs and verifies.
    Current,
    /// Opens and verifies what an earlier system left, and nothing else.
    ReadOnly,
}

/// An algorithm that a record can name. An id is never given to another algorithm.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Algorithm {
    /// X25519 with ML-KEM-768 (draft-connolly-cfrg-xwing-kem), in HPKE framing (RFC 9180).
    XWing,
    /// ML-KEM-768 (FIPS 203).
    MlKem768,
    /// ML-KEM-1024 (FIPS 203).
    MlKem1024,
    /// A symmetric wrap by a key management system, under a key that never leaves it.
    ProviderWrap,
    /// Kyber-768 as submitted to round 3 of NIST's process: not FIPS 203.
    Kyber768Round3,
    /// ML-DSA-65 (FIPS 204).
    MlDsa65,
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA on P-256 with SHA-256 (FIPS 186-5), for clients outside that know no other.
    EcdsaP256,
    /// ML-DSA-65 and Ed25519 side by side; both must verify.
    MlDsa65Ed25519,
    /// Dilithium3, version 3.1 of the submission to NIST's process: not FIPS 204.
    Dilithium3Round3,
    /// AES-256-GCM (NIST SP 800-38D), nonces of 12 bytes.
    Aes256Gcm,
    /// XAES-256-GCM (c2sp.org/XAES-256-GCM), nonces of 24 bytes.
    XAes256Gcm,
    /// Cobblestone-256 (c2sp.org/chunked-encryption): streams.
    Cobblestone256,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 13] = [
        Self::XWing,
        Self::MlKem768,
        Self::MlKem1024,
        Self::ProviderWrap,
        Self::Kyber768Round3,
        Self::MlDsa65,
        Self::Ed25519,
        Self::EcdsaP256,
        Self::MlDsa65Ed25519,
        Self::Dilithium3Round3,
        Self::Aes256Gcm,
        Self::XAes256Gcm,
        Self::Cobblestone256,
    ];

    /// The id in stored records.
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::XWing => 0x0101,
            Self::MlKem768 => 0x0102,
            Self::MlKem1024 => 0x0103,
            Self::ProviderWrap => 0x0110,
            Self::Kyber768Round3 => 0x01f1,
            Self::MlDsa65 => 0x0201,
            Self::Ed25519 => 0x0202,
            Self::MlDsa65Ed25519 => 0x0203,
            Self::EcdsaP256 => 0x0204,
            Self::Dilithium3Round3 => 0x02f1,
            Self::Aes256Gcm => 0x0301,
            Self::XAes256Gcm => 0x0302,
            Self::Cobblestone256 => 0x0303,
        }
    }

    /// The algorithm with this id.
    #[must_use]
    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.id() == id)
    }

    /// The name in its standard: in configuration, metrics and inventories.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::XWing => "X-Wing",
            Self::MlKem768 => "ML-KEM-768",
            Self::MlKem1024 => "ML-KEM-1024",
            Self::ProviderWrap => "provider-wrap",
            Self::Kyber768Round3 => "Kyber-768-r3",
            Self::MlDsa65 => "ML-DSA-65",
            Self::Ed25519 => "Ed25519",
            Self::EcdsaP256 => "ECDSA-P-256",
            Self::MlDsa65Ed25519 => "ML-DSA-65+Ed25519",
            Self::Dilithium3Round3 => "Dilithium3-r3.1",
            Self::Aes256Gcm => "AES-256-GCM",
            Self::XAes256Gcm => "XAES-256-GCM",
            Self::Cobblestone256 => "Cobblestone-256",
        }
    }

    /// The algorithm with exactly this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// What it does.
    #[must_use]
    pub const fn role(self) -> Role {
        match self {
            Self::XWing | Self::MlKem768 | Self::MlKem1024 | Self::ProviderWrap | Self::Kyber768Round3 => {
                Role::Kem
            }
            Self::MlDsa65
            | Self::Ed25519
            | Self::EcdsaP256
            | Self::MlDsa65Ed25519
            | Self::Dilithium3Round3 => Role::Signature,
            Self::Aes256Gcm | Self::XAes256Gcm | Self::Cobblestone256 => Role::Aead,
        }
    }

    /// What may be done with it.
    #[must_use]
    pub const fn standing(self) -> Standing {
        match self {
            Self::Kyber768Round3 | Self::Dilithium3Round3 => Standing::ReadOnly,
            Self::XWing
            | Self::MlKem768
            | Self::MlKem1024
            | Self::ProviderWrap
            | Self::MlDsa65
            | Self::Ed25519
            | Self::EcdsaP256
            | Self::MlDsa65Ed25519
            | Self::Aes256Gcm
            | Self::XAes256Gcm
            | Self::Cobblestone256 => Standing::Current,
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl LogSafe for Algorithm {}

/// An algorithm is needed that the configuration has switched off.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0} is switched off by the configuration")]
pub struct Disabled(pub Algorithm);

/// The name is not one of [`Algorithm::name`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no algorithm is called {0:?}")]
pub struct UnknownAlgorithm(pub String);

/// Which algorithms are switched on. All of them by default.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Suites {
    disabled: u16,
}

impl Suites {
    /// Every algorithm is on.
    pub const ALL: Self = Self { disabled: 0 };

    /// All but these.
    #[must_use]
    pub fn all_but(disabled: impl IntoIterator<Item = Algorithm>) -> Self {
        Self { disabled: disabled.into_iter().fold(0, |bits, algorithm| bits | algorithm.bit()) }
    }

    /// All but those with these names, as a configuration lists them.
    ///
    /// # Errors
    /// [`UnknownAlgorithm`]: a misspelt name would leave on what somebody wanted off.
    pub fn all_but_named<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownAlgorithm> {
        let find =
            |name: &'a str| Algorithm::from_name(name).ok_or_else(|| UnknownAlgorithm(name.to_owned()));
        Ok(Self::all_but(names.into_iter().map(find).collect::<Result<Vec<_>, _>>()?))
    }

    /// Whether `algorithm` is on.
    #[must_use]
    pub const fn has(self, algorithm: Algorithm) -> bool {
        self.disabled & algorithm.bit() == 0
    }

    /// Passes if `algorithm` is on.
    ///
    /// # Errors
    /// [`Disabled`].
    pub const fn require(self, algorithm: Algorithm) -> Result<(), Disabled> {
        if self.has(algorithm) { Ok(()) } else { Err(Disabled(algorithm)) }
    }
}

impl Default for Suites {
    fn default() -> Self {
        Self::ALL
    }
}

impl fmt::Debug for Suites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let off = Algorithm::ALL.into_iter().filter(|algorithm| !self.has(*algorithm));
        f.write_str("Suites, all but ")?;
        f.debug_list().entries(off).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    /// Stored records hold these numbers: a change would make them mean something else.
    #[test]
    fn ids_and_names_never_change() {
        let all = Algorithm::ALL.map(|algorithm| (algorithm.id(), algorithm.name()));
        assert_eq!(
            all,
            [
                (0x0101, "X-Wing"),
                (0x0102, "ML-KEM-768"),
                (0x0103, "ML-KEM-1024"),
                (0x0110, "provider-wrap"),
                (0x01f1, "Kyber-768-r3"),
                (0x0201, "ML-DSA-65"),
                (0x0202, "Ed25519"),
                (0x0204, "ECDSA-P-256"),
                (0x0203, "ML-DSA-65+Ed25519"),
                (0x02f1, "Dilithium3-r3.1"),
                (0x0301, "AES-256-GCM"),
                (0x0302, "XAES-256-GCM"),
                (0x0303, "Cobblestone-256"),
            ]
        );
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::from_id(algorithm.id()), Some(algorithm));
            assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
        }
        let known = (0..=u16::MAX).filter(|id| Algorithm::from_id(*id).is_some()).count();
        assert_eq!(known, Algorithm::ALL.len());
        let bits: BTreeSet<_> = Algorithm::ALL.map(Algorithm::bit).into_iter().collect();
        assert_eq!(bits.len(), Algorithm::ALL.len());
    }

    #[test]
    fn the_high_byte_of_an_id_is_its_role() {
        for algorithm in Algorithm::ALL {
            let role = match algorithm.role() {
                Role::Kem => 1,
                Role::Signature => 2,
                Role::Aead => 3,
            };
            assert_eq!(algorithm.id() >> 8, role, "{algorithm}");
            assert_eq!(algorithm.id() & 0xf0 == 0xf0, algorithm.standing() == Standing::ReadOnly);
        }
    }

    /// A combination stands when one of its parts is switched off: it is made to outlive that.
    #[test]
    fn exactly_what_is_named_is_switched_off() {
        for named in Algorithm::ALL {
            let suites = Suites::all_but_named([named.name()]).unwrap();
            for algorithm in Algorithm::ALL {
                let expected = if algorithm == named { Err(Disabled(named)) } else { Ok(()) };
                assert_eq!(suites.require(algorithm), expected);
            }
        }
        assert!(Algorithm::ALL.into_iter().all(|algorithm| Suites::default().has(algorithm)));
    }

    #[test]
    fn a_misspelt_name_is_refused() {
        for name in ["", "x-wing", "X-Wing ", "ML-KEM", "MLKEM768", "0x0101"] {
            assert_eq!(Suites::all_but_named([name]), Err(UnknownAlgorithm(name.to_owned())));
        }
    }

    #[test]
    fn debug_names_what_is_off() {
        assert_eq!(format!("{:?}", Suites::all_but([Algorithm::XWing])), "Suites, all but [XWing]");
    }
}
