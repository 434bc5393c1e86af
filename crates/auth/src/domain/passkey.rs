//! Passkeys (WebAuthn), and the ceremonies in which they are made and used.
//!
//! Invariant: a ceremony is good once, for five minutes, and for what it was begun for alone.

use std::fmt;
use std::time::Duration;

use portal_core::id::AccountId;
use portal_core::{Sensitive, Timestamp};

use super::Handle;

/// Passkeys of an account at most: nobody has as many devices, and all of them are told to whoever asks to sign in.
pub const MOST: usize = 20;
/// How long a ceremony may take.
const LIFE: Duration = Duration::from_secs(5 * 60);

/// What an authenticator calls a passkey. `Debug` does not show it.
#[derive(Clone, Eq, PartialEq)]
pub struct CredentialId(Vec<u8>);

impl CredentialId {
    /// The id of these bytes.
    #[must_use]
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[credential]")
    }
}

/// What is known of a passkey. It proves nothing by itself: the private key never leaves the authenticator.
#[derive(Clone, Debug)]
pub struct Passkey {
    /// What the authenticator calls it.
    pub id: CredentialId,
    /// Its public key, signature counter and whether it is backed up, as the library of ceremonies writes them.
    pub credential: Sensitive<Vec<u8>>,
}

/// Whose answer a ceremony awaits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Awaited {
    /// Of whoever has a passkey.
    Anybody,
    /// Of nobody: the person it was begun for does not exist, and nobody is told.
    Nobody,
    /// Of this account.
    Owner(AccountId),
    /// A new passkey for this account.
    Registration(AccountId),
}

impl Awaited {
    /// Whether a passkey of `account` may answer.
    #[must_use]
    pub fn admits(self, account: AccountId) -> bool {
        match self {
            Self::Anybody => true,
            Self::Owner(owner) => owner == account,
            Self::Nobody | Self::Registration(_) => false,
        }
    }
}

/// A ceremony that has begun.
#[derive(Clone, Debug)]
pub struct Ceremony {
    /// Whose answer it awaits.
    pub awaited: Awaited,
    /// The challenge and what goes with it, as the library of ceremonies writes it.
    pub state: Sensitive<Vec<u8>>,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl Ceremony {
    /// One that begins.
    #[must_use]
    pub fn start(awaited: Awaited, state: Sensitive<Vec<u8>>, now: Timestamp) -> Self {
        Self { awaited, state, expires_at: now.plus(LIFE) }
    }
}

/// What a passkey answered, and in which ceremony. `Debug` shows neither.
pub struct Assertion {
    /// The ceremony; `None` if it can't be one.
    pub ceremony: Option<Handle>,
    /// The answer, as the browser gives it.
    pub credential_json: Sensitive<String>,
}

impl fmt::Debug for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[assertion]")
    }
}

#[cfg(test)]
mod tests {
    use portal_core::SeededEntropy;
    use portal_core::id::Id;

    use super::*;

    #[test]
    fn a_ceremony_is_for_what_it_was_begun_for() {
        let now = Timestamp::from_seconds(1);
        let [anna, bert] = [1, 2].map(|seed| AccountId::generate(now, &SeededEntropy::new(seed)));
        for (awaited, annas, berts) in [
            (Awaited::Anybody, true, true),
            (Awaited::Nobody, false, false),
            (Awaited::Owner(anna), true, false),
            (Awaited::Registration(anna), false, false),
        ] {
            assert_eq!((awaited.admits(anna), awaited.admits(bert)), (annas, berts), "{awaited:?}");
        }
    }

    #[test]
    fn nothing_of_a_passkey_is_shown() {
        let credential = Sensitive::new(b"public key".to_vec());
        let shown = format!("{:?}", Passkey { id: CredentialId::new(vec![7; 3]), credential });
        assert!(!shown.contains('7') && !shown.contains("112"), "{shown}");
    }
}
