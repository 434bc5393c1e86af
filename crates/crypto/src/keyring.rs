//! The root keys of the `file` provider: a small JSON document, sealed by a passphrase if there is one.
//!
//! Promises: exactly one root key is active; an older one goes on unwrapping until it is destroyed; what a record names
//! is unwrapped by the key of that id and of that algorithm or not at all; a file that was changed, has anything unknown
//! in it, or is sealed when it should not be or the other way round, is refused. Nothing here does IO: the provider
//! reads and writes the file, mode 0600.
//!
//! | module | holds |
//! |---|---|
//! | `file` | the format |

mod file;
#[cfg(test)]
mod tests;

use portal_core::id::{Id, RootId};
use portal_core::{Entropy, Sensitive, Timestamp};

use crate::hpke;
use crate::inventory::{KeyInfo, KeyPurpose, KeyState, TransitionError, WrongAlgorithm};
use crate::kem::KeyGenerationError;
use crate::kem::x_wing::DecapsulationKey;
use crate::key::KeyBytes;
use crate::password::Cost;
use crate::suite::{Algorithm, Disabled, Suites};
use crate::wrapped::{KeyContext, WrappedKey};

/// The longest file that is read, in bytes.
pub const MAX_FILE: usize = 64 * 1_024;

/// The most root keys that a keyring holds, destroyed ones included.
pub const MAX_ROOTS: usize = 64;

/// Why a file is not a keyring, or could not be written. Never holds any of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyringError {
    /// The cost of the passphrase is out of bounds.
    #[error("the keyring's passphrase has a cost out of bounds")]
    Cost,
    /// Two root keys have the same id.
    #[error("the keyring has two root keys of one id")]
    DuplicateId,
    /// The passphrase is empty.
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    /// The cryptographic library failed, for want of memory for example.
    #[error("the cryptographic library failed")]
    Library,
    /// Not exactly one root key is active.
    #[error("a keyring has exactly one active root key")]
    NotOneActive,
    /// The file is not sealed, but a passphrase was given: it is not the file that was sealed with it.
    #[error("a passphrase was given, but the keyring is not sealed")]
    NotSealed,
    /// The state of a root key does not agree with its times or its seed.
    #[error("a root key's state, times and seed do not agree")]
    RootState,
    /// The file is sealed, and no passphrase was given.
    #[error("the keyring is sealed: it needs a passphrase")]
    Sealed,
    /// Not JSON, or something in it is missing, unknown, repeated or of another type.
    #[error("not a keyring: see line {line}, column {column}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The column.
        column: usize,
    },
    /// The file or the keyring is too large.
    #[error("the keyring is too large")]
    TooLarge,
    /// A root key of an algorithm or use that has no place in this file.
    #[error("a root key has an algorithm or use that a keyring does not hold")]
    Unsupported,
    /// A value is not what its name promises.
    #[error("the keyring's {0} is not well-formed")]
    Value(&'static str),
    /// Of a version that is not known here.
    #[error("the keyring is of an unknown version")]
    Version,
    /// The passphrase is another one, or the file was changed.
    #[error("the keyring does not open with this passphrase")]
    WrongPassphrase,
}

/// Why a root key was not made, retired or destroyed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RotationError {
    /// The keyring is full: it holds [`MAX_ROOTS`] keys.
    #[error("the keyring is full")]
    Full,
    /// The cryptographic library could not make the key.
    #[error(transparent)]
    Library(#[from] KeyGenerationError),
    /// No root key has this id.
    #[error("no root key has this id")]
    Missing,
    /// The key's life does not have this step.
    #[error(transparent)]
    Transition(#[from] TransitionError),
}

/// Why a key was not wrapped or unwrapped. Never holds any of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RootError {
    /// The root key is of another algorithm than the wrapped key names.
    #[error(transparent)]
    Algorithm(#[from] WrongAlgorithm),
    /// The root key has been destroyed.
    #[error("the root key has been destroyed")]
    Destroyed,
    /// The configuration has switched the algorithm off.
    #[error(transparent)]
    Disabled(#[from] Disabled),
    /// The cryptographic library failed.
    #[error("the cryptographic library failed")]
    Library,
    /// No root key has the id that the wrapped key names.
    #[error("no root key has this id")]
    Missing,
    /// Not wrapped to this root key in this context, or changed since.
    #[error("the wrapped key does not open in this context under this root key")]
    Refused,
}

/// The root keys. Wiped on drop; has no `Debug`, `Serialize` or `Clone`.
pub struct Keyring {
    roots: Vec<RootKey>,
    active: RootId,
}

/// One root key; without its seed after it has been destroyed.
struct RootKey {
    info: KeyInfo<RootId>,
    secret: Option<Secret>,
}

struct Secret {
    seed: KeyBytes,
    key: DecapsulationKey,
}

impl Secret {
    fn new(seed: KeyBytes) -> Result<Self, KeyGenerationError> {
        let key = DecapsulationKey::from_seed(seed.expose())?;
        Ok(Self { seed, key })
    }
}

impl RootKey {
    fn generate(now: Timestamp, entropy: &dyn Entropy) -> Result<Self, KeyGenerationError> {
        let info = KeyInfo::new(RootId::generate(now, entropy), Algorithm::XWing, KeyPurpose::Root, now);
        Ok(Self { info, secret: Some(Secret::new(KeyBytes::generate(entropy))?) })
    }
}

impl Keyring {
    /// A keyring with one new root key.
    ///
    /// # Errors
    /// [`KeyGenerationError`].
    pub fn generate(now: Timestamp, entropy: &dyn Entropy) -> Result<Self, KeyGenerationError> {
        let root = RootKey::generate(now, entropy)?;
        Ok(Self { active: *root.info.id(), roots: vec![root] })
    }

    /// Reads a file. With a passphrase it has to be one that is sealed, without one it must not be.
    ///
    /// A sealed one takes the time and memory that its passphrase costs: keep it off the threads that serve requests.
    ///
    /// # Errors
    /// [`KeyringError`], one variant per cause.
    pub fn parse(file: &[u8], passphrase: Option<&Sensitive<Vec<u8>>>) -> Result<Self, KeyringError> {
        file::parse(file, passphrase)
    }

    /// The file, readable by whoever can read it.
    #[must_use]
    pub fn to_file(&self) -> Sensitive<Vec<u8>> {
        file::write(self)
    }

    /// The file, sealed with `passphrase` at `cost`: [`Cost::KEY_FILE`] unless there is a reason.
    ///
    /// # Errors
    /// [`KeyringError::EmptyPassphrase`] and [`KeyringError::Library`].
    pub fn to_sealed_file(
        &self,
        passphrase: &Sensitive<Vec<u8>>,
        cost: Cost,
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, KeyringError> {
        file::write_sealed(self, passphrase, cost, entropy)
    }

    /// The id of the root key that wraps.
    #[must_use]
    pub const fn active(&self) -> RootId {
        self.active
    }

    /// What is known of the root keys, oldest first.
    pub fn inventory(&self) -> impl Iterator<Item = &KeyInfo<RootId>> {
        self.roots.iter().map(|root| &root.info)
    }

    /// Retires the active root key and makes a new one. Write the file before anything is wrapped by it.
    ///
    /// # Errors
    /// [`RotationError::Full`] and [`RotationError::Library`]; the keyring is then as it was.
    pub fn rotate(&mut self, now: Timestamp, entropy: &dyn Entropy) -> Result<RootId, RotationError> {
        if self.roots.len() >= MAX_ROOTS {
            return Err(RotationError::Full);
        }
        let new = RootKey::generate(now, entropy)?;
        let old = self.active;
        let active = self.root_mut(old)?;
        active.info = active.info.clone().retire(now)?;
        self.active = *new.info.id();
        self.roots.push(new);
        Ok(self.active)
    }

    /// Destroys a retired root key: what is still wrapped to it stays closed for good. Its entry stays in the inventory.
    ///
    /// # Errors
    /// [`RotationError::Missing`], and [`RotationError::Transition`] for the active key and one destroyed before.
    pub fn destroy(&mut self, id: RootId, now: Timestamp) -> Result<(), RotationError> {
        let root = self.root_mut(id)?;
        root.info = root.info.clone().destroy(now)?;
        root.secret = None;
        Ok(())
    }

    /// Wraps `key` to the active root key, bound to `context`.
    ///
    /// # Errors
    /// [`RootError::Disabled`] and [`RootError::Library`].
    pub fn wrap(
        &self,
        context: &KeyContext,
        key: &KeyBytes,
        suites: Suites,
    ) -> Result<WrappedKey, RootError> {
        let (info, secret) = self.usable(self.active)?;
        suites.require(info.algorithm())?;
        let bound = context.to_bytes(self.active);
        let recipient = secret.key.encapsulation_key();
        let (encapsulated, sealed) =
            hpke::seal(recipient, &bound, &[], key.expose()).map_err(|_| RootError::Library)?;
        let bytes = [encapsulated.as_slice(), &sealed].concat();
        Ok(WrappedKey { algorithm: info.algorithm(), root: self.active, bytes })
    }

    /// Unwraps `wrapped` by the root key that it names, if it was wrapped in `context`.
    ///
    /// # Errors
    /// [`RootError`], one variant per cause.
    pub fn unwrap(
        &self,
        context: &KeyContext,
        wrapped: &WrappedKey,
        suites: Suites,
    ) -> Result<KeyBytes, RootError> {
        let (info, secret) = self.usable(wrapped.root)?;
        info.require(wrapped.algorithm)?;
        suites.require(wrapped.algorithm)?;
        let (encapsulated, sealed) =
            wrapped.bytes.split_at_checked(hpke::ENCAPSULATED_KEY_LEN).ok_or(RootError::Refused)?;
        let opened = hpke::open(&secret.key, &context.to_bytes(wrapped.root), &[], encapsulated, sealed)
            .map_err(|_| RootError::Refused)?;
        KeyBytes::copy_of(opened.expose()).ok_or(RootError::Refused)
    }

    fn usable(&self, id: RootId) -> Result<(&KeyInfo<RootId>, &Secret), RootError> {
        let root = self.roots.iter().find(|root| *root.info.id() == id).ok_or(RootError::Missing)?;
        let secret = root.secret.as_ref().ok_or(RootError::Destroyed)?;
        Ok((&root.info, secret))
    }

    fn root_mut(&mut self, id: RootId) -> Result<&mut RootKey, RotationError> {
        self.roots.iter_mut().find(|root| *root.info.id() == id).ok_or(RotationError::Missing)
    }

    /// A keyring of `roots`, whose states agree with their seeds.
    fn of(roots: Vec<RootKey>) -> Result<Self, KeyringError> {
        if roots.len() > MAX_ROOTS {
            return Err(KeyringError::TooLarge);
        }
        let mut ids: Vec<_> = roots.iter().map(|root| *root.info.id()).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() != roots.len() {
            return Err(KeyringError::DuplicateId);
        }
        let mut active = roots.iter().filter(|root| root.info.state() == KeyState::Active);
        match (active.next(), active.next()) {
            (Some(root), None) => Ok(Self { active: *root.info.id(), roots }),
            _ => Err(KeyringError::NotOneActive),
        }
    }
}
