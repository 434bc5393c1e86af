//! The opaque tokens that clients hold: 32 bytes that nobody can guess, in base64url.
//!
//! Only keyed hashes of them are stored, one way for access and another for refresh handles, so neither passes for the
//! other. All handles of a session follow from its first, random one by the service's key: the successor of a refresh
//! handle is always the same, so a client whose reply was lost is told it again without its being stored anywhere.
//! Without the key no handle leads to another.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portal_core::entropy::random_bytes;
use portal_core::id::{AccountId, Id};
use portal_core::{Entropy, Sensitive};
use portal_crypto::kdf::{Label, ServiceSecret};
use portal_crypto::mac::MacKey;

use super::device::UserCode;
use super::factor::RecoveryCode;
use super::mail;
use super::passkey::CredentialId;

const BYTES: usize = 32;

/// An opaque token. `Debug` does not show it.
#[derive(Clone)]
pub struct Handle(Sensitive<[u8; BYTES]>);

impl Handle {
    /// A new handle.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(Sensitive::new(random_bytes(entropy)))
    }

    /// Reads what [`Handle::to_text`] wrote; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        Some(Self(Sensitive::new(bytes.try_into().ok()?)))
    }

    /// The text that the client gets.
    #[must_use]
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.expose())
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[handle]")
    }
}

/// What is stored of a handle.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HandleHash([u8; 32]);

impl HandleHash {
    /// What was stored.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes of the column.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The tokens that a client holds at a time.
#[derive(Clone, Debug)]
pub struct TokenPair {
    access: Handle,
    refresh: Handle,
}

impl TokenPair {
    /// For `authorization: Bearer`.
    #[must_use]
    pub const fn access(&self) -> &Handle {
        &self.access
    }

    /// Good for one refresh.
    #[must_use]
    pub const fn refresh(&self) -> &Handle {
        &self.refresh
    }
}

/// What a tag is of; the first byte under the key.
#[derive(Clone, Copy)]
enum Purpose {
    HashOfAccess = 1,
    HashOfRefresh = 2,
    AccessBesideRefresh = 3,
    RefreshAfterRefresh = 4,
    HashOfChallenge = 5,
    HashOfRecoveryCode = 6,
    HashOfRecoverToken = 7,
    HashOfVerifyToken = 8,
    HashOfCeremony = 9,
    HashOfCredential = 10,
    HashOfClientSecret = 20,
    HashOfAuthorizationRequest = 21,
    HashOfAuthorizationCode = 22,
    HashOfClientAccess = 23,
    HashOfGrantAccess = 24,
    HashOfGrantRefresh = 25,
    HashOfDeviceCode = 40,
    HashOfUserCode = 41,
    HashOfBoundClientAccess = 42,
    HashOfBoundGrantAccess = 43,
    HashOfBoundGrantRefresh = 44,
    RefreshOfDeviceCode = 45,
}

/// The service's key of handles.
#[derive(Clone)]
pub struct HandleKey(MacKey);

impl HandleKey {
    /// The key of a service.
    #[must_use]
    pub fn new(secret: &ServiceSecret) -> Self {
        Self(MacKey::new(secret.derive(Label::TokenHandle).expose()))
    }

    /// The first tokens of a session.
    #[must_use]
    pub fn first_pair(&self, entropy: &dyn Entropy) -> TokenPair {
        self.pair(Handle::generate(entropy))
    }

    /// The tokens that replace those of `refresh`: always the same.
    #[must_use]
    pub fn successor(&self, refresh: &Handle) -> TokenPair {
        self.pair(self.derive(Purpose::RefreshAfterRefresh, refresh))
    }

    /// The first tokens of a device with this code: always the same.
    #[must_use]
    pub fn pair_of_device(&self, code: &Handle) -> TokenPair {
        self.pair(self.derive(Purpose::RefreshOfDeviceCode, code))
    }

    /// What is stored of an access handle.
    #[must_use]
    pub fn access_hash(&self, access: &Handle) -> HandleHash {
        HandleHash(self.tag(Purpose::HashOfAccess, access))
    }

    /// What is stored of a refresh handle.
    #[must_use]
    pub fn refresh_hash(&self, refresh: &Handle) -> HandleHash {
        HandleHash(self.tag(Purpose::HashOfRefresh, refresh))
    }

    /// What is stored of the handle of a challenge.
    #[must_use]
    pub fn challenge_hash(&self, challenge: &Handle) -> HandleHash {
        HandleHash(self.tag(Purpose::HashOfChallenge, challenge))
    }

    /// What is stored of a client's secret.
    #[must_use]
    pub fn client_secret_hash(&self, secret: &Handle) -> HandleHash {
        HandleHash(self.tag(Purpose::HashOfClientSecret, secret))
    }

    /// What is stored of the reference of an authorization request.
    #[must_use]
    pub fn authorization_request_hash(&self, reference: &Handle) -> HandleHash {
        HandleHash(self.tag(Purpose::HashOfAuthorizationRequest, reference))
    }

    /// What is stored of an authorization code.
    #[must_use]
    pub fn authorization_code_hash(&self, code: &Handle) -> HandleHash {
        HandleHash(self.tag(Purpose::HashOfAuthorizationCode, code))
    }

    /// What is stored of an access handle that a client holds for itself; of another kind if it is bound to a key.
    #[must_use]
    pub fn client_access_hash(&self, access: &Handle, bound: bool) -> HandleHash {
        let purpose = if bound { Purpose::HashOfBoundClientAccess } else { Purpose::HashOfClientAccess };
        HandleHash(self.tag(purpose, access))
    }

    /// What is stored of an access handle that a client holds for a person; of another kind if it is bound to a key.
    #[must_use]
    pub fn grant_access_hash(&self, access: &Handle, bound: bool) -> HandleHash {
        let purpose = if bound { Purpose::HashOfBoundGrantAccess } else { Purpose::HashOfGrantAccess };
        HandleHash(self.tag(purpose, access))
    }

    /// What is stored of a refresh handle that a client holds for a person; of another kind if it is bound to a key.
    #[must_use]
    pub fn grant_refresh_hash(&self, refresh: &Handle, bound: bool) -> HandleHash {
        let purpose = if bound { Purpose::HashOfBoundGrantRefresh } else { Purpose::HashOfGrantRefresh };
        HandleHash(self.tag(purpose, refresh))
    }

    /// What is stored of the code that a device holds.
    #[must_use]
    pub fn device_code_hash(&self, code: &Handle) -> HandleHash {
        HandleHash(self.tag(Purpose::HashOfDeviceCode, code))
    }

    /// What is stored of the code that a device shows, and by what it is found.
    #[must_use]
    pub fn user_code_hash(&self, code: &UserCode) -> HandleHash {
        let message = [[Purpose::HashOfUserCode as u8].as_slice(), code.expose()].concat();
        HandleHash(self.0.tag(Sensitive::new(message).expose()))
    }

    /// What is stored of a token that was mailed to somebody.
    #[must_use]
    pub fn mail_token_hash(&self, purpose: mail::Purpose, token: &Handle) -> HandleHash {
        HandleHash(self.tag(
            match purpose {
                mail::Purpose::Recover => Purpose::HashOfRecoverToken,
                mail::Purpose::Verify => Purpose::HashOfVerifyToken,
            },
            token,
        ))
    }

    /// What is stored of the handle of a ceremony with a passkey.
    #[must_use]
    pub fn ceremony_hash(&self, ceremony: &Handle) -> HandleHash {
        HandleHash(self.tag(Purpose::HashOfCeremony, ceremony))
    }

    /// By what a passkey is found.
    #[must_use]
    pub fn credential_hash(&self, id: &CredentialId) -> HandleHash {
        HandleHash(self.0.tag(&[[Purpose::HashOfCredential as u8].as_slice(), id.as_bytes()].concat()))
    }

    /// What is stored of a recovery code of `account`.
    #[must_use]
    pub fn recovery_code_hash(&self, account: AccountId, code: &RecoveryCode) -> HandleHash {
        let purpose = [Purpose::HashOfRecoveryCode as u8];
        let message = [purpose.as_slice(), &account.bytes(), code.expose()].concat();
        HandleHash(self.0.tag(Sensitive::new(message).expose()))
    }

    fn pair(&self, refresh: Handle) -> TokenPair {
        TokenPair { access: self.derive(Purpose::AccessBesideRefresh, &refresh), refresh }
    }

    fn derive(&self, purpose: Purpose, from: &Handle) -> Handle {
        Handle(Sensitive::new(self.tag(purpose, from)))
    }

    fn tag(&self, purpose: Purpose, handle: &Handle) -> [u8; 32] {
        let message = Sensitive::new([[purpose as u8].as_slice(), handle.0.expose()].concat());
        self.0.tag(message.expose())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use portal_core::SeededEntropy;

    use super::*;

    #[test]
    fn handles_of_a_session_are_all_different_and_repeatable() {
        let key = HandleKey::new(&ServiceSecret::new(&[7; 32]));
        let first = key.first_pair(&SeededEntropy::new(1));
        let second = key.successor(first.refresh());
        let third = key.successor(second.refresh());
        let texts: BTreeSet<_> = [&first, &second, &third]
            .into_iter()
            .flat_map(|pair| [pair.access().to_text(), pair.refresh().to_text()])
            .collect();
        assert_eq!(texts.len(), 6);
        assert_eq!(key.successor(first.refresh()).refresh().to_text(), second.refresh().to_text());
        let of_device = |code| key.pair_of_device(code).refresh().to_text();
        assert_eq!(of_device(first.access()), of_device(first.access()));
        assert!(!texts.contains(&of_device(first.access())) && !texts.contains(&of_device(first.refresh())));
        let other = HandleKey::new(&ServiceSecret::new(&[8; 32]));
        assert_ne!(other.successor(first.refresh()).refresh().to_text(), second.refresh().to_text());
        assert_ne!(key.access_hash(first.refresh()), key.refresh_hash(first.refresh()));
    }

    #[test]
    fn text_round_trips_and_nothing_else_is_read() {
        let handle = Handle::generate(&SeededEntropy::new(1));
        let text = handle.to_text();
        assert_eq!(Handle::parse(&text).unwrap().to_text(), text);
        for other in ["", "x", &text[1..], &format!("{text}="), &format!(" {text}")] {
            assert!(Handle::parse(other).is_none());
        }
        assert!(!format!("{handle:?}").contains(&text));
    }
}
