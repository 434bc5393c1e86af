//! What is known of a key apart from the key itself: for choosing one, for rotating it, and for the list of all keys.
//!
//! A key's life goes one way: active, then retired, then destroyed. Whoever verifies or opens picks a key by its id and
//! requires its algorithm to be the one that is named; a record can't talk a key into another algorithm.

use std::fmt;

use portal_core::{LogSafe, Timestamp};

use crate::suite::Algorithm;

/// What a key is for.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum KeyPurpose {
    /// Finds sealed values by equality.
    BlindIndex,
    /// Wraps the subject keys of one service and tenant.
    Epoch,
    /// Wraps epoch keys and service secrets.
    Root,
    /// Authenticates database rows.
    RowDigest,
    /// The keyed derivations of a service come from it.
    ServiceSecret,
    /// Signs statements that have to be believed for long.
    StatementSigning,
    /// Seals the fields of one person.
    Subject,
    /// Signs access tokens.
    TokenSigning,
}

impl KeyPurpose {
    /// Every purpose.
    pub const ALL: [Self; 8] = [
        Self::BlindIndex,
        Self::Epoch,
        Self::Root,
        Self::RowDigest,
        Self::ServiceSecret,
        Self::StatementSigning,
        Self::Subject,
        Self::TokenSigning,
    ];

    /// The name in files and inventories. It never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BlindIndex => "blind-index",
            Self::Epoch => "epoch",
            Self::Root => "root",
            Self::RowDigest => "row-digest",
            Self::ServiceSecret => "service-secret",
            Self::StatementSigning => "statement-signing",
            Self::Subject => "subject",
            Self::TokenSigning => "token-signing",
        }
    }

    /// The purpose with exactly this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.name() == name)
    }
}

/// Where in its life a key is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum KeyState {
    /// Seals and opens, signs and verifies.
    Active,
    /// Opens and verifies what it has sealed and signed.
    Retired,
    /// Gone: what was sealed under it stays closed.
    Destroyed,
}

impl KeyState {
    /// Every state, in the order of a key's life.
    pub const ALL: [Self; 3] = [Self::Active, Self::Retired, Self::Destroyed];

    /// The name in files and inventories. It never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retired => "retired",
            Self::Destroyed => "destroyed",
        }
    }

    /// The state with exactly this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

impl fmt::Display for KeyPurpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl LogSafe for KeyPurpose {}
impl LogSafe for KeyState {}

/// A step that a key's life does not have.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TransitionError {
    /// Only an active key retires.
    #[error("a key that is {0} cannot retire")]
    Retire(KeyState),
    /// Only a retired key is destroyed: first nothing new may depend on it.
    #[error("a key that is {0} cannot be destroyed")]
    Destroy(KeyState),
}

/// The key is of another algorithm than the one that was named.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the key is of {key}, not of {named}")]
pub struct WrongAlgorithm {
    /// The key's.
    pub key: Algorithm,
    /// The record's.
    pub named: Algorithm,
}

/// What is known of a key. `I` is the type of its id.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyInfo<I> {
    id: I,
    algorithm: Algorithm,
    purpose: KeyPurpose,
    created: Timestamp,
    retired: Option<Timestamp>,
    destroyed: Option<Timestamp>,
}

impl<I> KeyInfo<I> {
    /// A new, active key.
    #[must_use]
    pub const fn new(id: I, algorithm: Algorithm, purpose: KeyPurpose, created: Timestamp) -> Self {
        Self { id, algorithm, purpose, created, retired: None, destroyed: None }
    }

    /// The id.
    #[must_use]
    pub const fn id(&self) -> &I {
        &self.id
    }

    /// What it is used with.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What it is for.
    #[must_use]
    pub const fn purpose(&self) -> KeyPurpose {
        self.purpose
    }

    /// Where in its life it is.
    #[must_use]
    pub const fn state(&self) -> KeyState {
        match (self.retired, self.destroyed) {
            (_, Some(_)) => KeyState::Destroyed,
            (Some(_), None) => KeyState::Retired,
            (None, None) => KeyState::Active,
        }
    }

    /// When it was made.
    #[must_use]
    pub const fn created(&self) -> Timestamp {
        self.created
    }

    /// When it retired.
    #[must_use]
    pub const fn retired(&self) -> Option<Timestamp> {
        self.retired
    }

    /// When it was destroyed.
    #[must_use]
    pub const fn destroyed(&self) -> Option<Timestamp> {
        self.destroyed
    }

    /// The key after it has retired.
    ///
    /// # Errors
    /// [`TransitionError::Retire`] unless it is active.
    pub fn retire(self, now: Timestamp) -> Result<Self, TransitionError> {
        match self.state() {
            KeyState::Active => Ok(Self { retired: Some(now), ..self }),
            state => Err(TransitionError::Retire(state)),
        }
    }

    /// The key after it has been destroyed.
    ///
    /// # Errors
    /// [`TransitionError::Destroy`] unless it has retired.
    pub fn destroy(self, now: Timestamp) -> Result<Self, TransitionError> {
        match self.state() {
            KeyState::Retired => Ok(Self { destroyed: Some(now), ..self }),
            state => Err(TransitionError::Destroy(state)),
        }
    }

    /// Passes if the key is of the algorithm that a record names.
    ///
    /// # Errors
    /// [`WrongAlgorithm`].
    pub fn require(&self, named: Algorithm) -> Result<(), WrongAlgorithm> {
        if self.algorithm == named { Ok(()) } else { Err(WrongAlgorithm { key: self.algorithm, named }) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn active() -> KeyInfo<u8> {
        KeyInfo::new(7, Algorithm::XWing, KeyPurpose::Root, at(1))
    }

    #[test]
    fn a_life_goes_one_way() {
        assert_eq!(active().state(), KeyState::Active);
        let retired = active().retire(at(2)).unwrap();
        assert_eq!((retired.state(), retired.retired()), (KeyState::Retired, Some(at(2))));
        let destroyed = retired.clone().destroy(at(3)).unwrap();
        assert_eq!((destroyed.state(), destroyed.destroyed()), (KeyState::Destroyed, Some(at(3))));
        assert_eq!((destroyed.created(), destroyed.retired()), (at(1), Some(at(2))));
        assert_eq!(active().destroy(at(2)), Err(TransitionError::Destroy(KeyState::Active)));
        assert_eq!(retired.retire(at(3)), Err(TransitionError::Retire(KeyState::Retired)));
        assert_eq!(destroyed.clone().retire(at(4)), Err(TransitionError::Retire(KeyState::Destroyed)));
        assert_eq!(destroyed.destroy(at(4)), Err(TransitionError::Destroy(KeyState::Destroyed)));
    }

    #[test]
    fn a_key_has_one_algorithm() {
        assert_eq!(active().require(Algorithm::XWing), Ok(()));
        let wrong = WrongAlgorithm { key: Algorithm::XWing, named: Algorithm::MlKem768 };
        assert_eq!(active().require(Algorithm::MlKem768), Err(wrong));
    }

    #[test]
    fn names_read_back() {
        for purpose in KeyPurpose::ALL {
            assert_eq!(KeyPurpose::from_name(purpose.name()), Some(purpose));
        }
        for state in KeyState::ALL {
            assert_eq!(KeyState::from_name(state.name()), Some(state));
        }
        assert_eq!(KeyPurpose::from_name("Root"), None);
        assert_eq!(KeyState::from_name(""), None);
    }
}
