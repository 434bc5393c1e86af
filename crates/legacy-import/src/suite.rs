//! Which algorithms these are. They are not those of FIPS 203 and 204, though their names sound alike.

use std::fmt;

use portal_core::LogSafe;

/// A legacy suite, by its stable id. Nothing is ever written under one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum LegacySuite {
    /// CRYSTALS-Dilithium, parameter set 3, version 3.1 of the submission to round 3 (8 February 2021). Verify only.
    Dilithium3Round31,
    /// CRYSTALS-Kyber, parameter set 768, version 3.02 of the submission to round 3 (4 August 2021). Open only.
    Kyber768Round3,
}

impl LegacySuite {
    /// The id in the registry of suites; never given to another.
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::Dilithium3Round31 => 0x02F1,
            Self::Kyber768Round3 => 0x01F1,
        }
    }

    /// What it is called in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dilithium3Round31 => "Dilithium3 (round 3.1)",
            Self::Kyber768Round3 => "Kyber-768 (round 3)",
        }
    }
}

impl fmt::Display for LegacySuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl LogSafe for LegacySuite {}
