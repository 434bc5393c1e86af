//! The key of one data subject in one service: what fields are sealed under.

use std::sync::atomic::{AtomicU64, Ordering};

use portal_core::entropy::random_bytes;
use portal_core::{Entropy, Sensitive};
use zeroize::Zeroize;

use super::aad::Aad;
use super::{MAX_SEALS, OpenError, Owner, Padding, Place, SealError, Suite, VERSION, split};
use crate::aead::{Aes256GcmKey, NONCE_LEN, TAG_LEN};
use crate::key::{KeyBytes, overwrite_dead_stack};
use crate::suite::Suites;

/// Version, suite and generation.
const HEADER: usize = 1 + 1 + 4;

/// A subject key with its key schedule. Wiped on drop; has no `Debug` and no `Clone`: share it by `Arc`.
///
/// Destroying every copy of it, those in the database included, makes all that was sealed under it unreadable.
pub struct SubjectKey {
    schedule: Aes256GcmKey,
    owner: Owner,
    generation: u32,
    suites: Suites,
    seals: AtomicU64,
    /// The key of an earlier generation, which has its own older one.
    older: Option<Box<Self>>,
}

impl SubjectKey {
    /// The key with these bytes. Only the key hierarchy makes one.
    pub(crate) fn new(bytes: &KeyBytes, owner: Owner, generation: u32, suites: Suites) -> Self {
        let schedule = Aes256GcmKey::new(bytes.expose());
        overwrite_dead_stack();
        Self { schedule, owner, generation, suites, seals: AtomicU64::new(0), older: None }
    }

    /// The same key, which has sealed `seals` times before it was loaded.
    #[must_use]
    pub fn counting_from(self, seals: u64) -> Self {
        Self { seals: AtomicU64::new(seals), ..self }
    }

    /// The same key, which also opens what `older`, the owner's key of an earlier generation, has sealed.
    #[must_use]
    pub fn after(self, older: Self) -> Self {
        Self { older: Some(Box::new(older)), ..self }
    }

    /// Whose data it seals.
    #[must_use]
    pub const fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Which of the owner's keys it is that seals; the first one is generation 1.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// How often this copy of the key has sealed, and before it was loaded, as far as that was told.
    #[must_use]
    pub fn seals(&self) -> u64 {
        self.seals.load(Ordering::Relaxed)
    }

    /// The envelope of `plaintext` in `place`: 34 bytes more than the padded plaintext.
    ///
    /// # Errors
    /// [`SealError`], one variant per cause.
    pub fn seal(
        &self,
        place: &Place<'_>,
        padding: Padding,
        plaintext: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, SealError> {
        let suite = Suite::Aes256Gcm;
        self.suites.require(suite.algorithm())?;
        if place.owner != self.owner {
            return Err(SealError::Owner);
        }
        let aad = Aad::new(suite, self.generation, place).ok_or(SealError::Name)?;
        self.count_seal()?;
        let nonce: [u8; NONCE_LEN] = random_bytes(entropy);
        let padded = plaintext.len() + padding.bytes_for(plaintext.len());
        let mut out = Vec::with_capacity(HEADER + NONCE_LEN + padded + TAG_LEN);
        out.extend_from_slice(&[VERSION, suite.id()]);
        out.extend_from_slice(&self.generation.to_be_bytes());
        out.extend_from_slice(&nonce);
        // Encrypted where it will stay: no copy of the plaintext is left to wipe.
        out.extend_from_slice(plaintext);
        padding.append(plaintext.len(), &mut out);
        let text = out.get_mut(HEADER + NONCE_LEN..).unwrap_or_default();
        let Ok(tag) = self.schedule.seal_in_place(&nonce, aad.bytes(), text) else {
            out.zeroize();
            return Err(SealError::TooLong);
        };
        out.extend_from_slice(&tag);
        Ok(out)
    }

    /// The plaintext of `envelope`, if it was sealed in `place` under this key or an older one that it holds.
    ///
    /// # Errors
    /// [`OpenError`], one variant per cause.
    pub fn open(
        &self,
        place: &Place<'_>,
        padding: Padding,
        envelope: &[u8],
    ) -> Result<Sensitive<Vec<u8>>, OpenError> {
        let (suite, generation, sealed) = split(envelope)?;
        self.suites.require(suite.algorithm())?;
        let key = self
            .of(generation)
            .ok_or(OpenError::Generation { expected: self.generation, found: generation })?;
        if place.owner != key.owner {
            return Err(OpenError::Owner);
        }
        let aad = Aad::new(suite, generation, place).ok_or(OpenError::Name)?;
        let (nonce, sealed) = sealed.split_first_chunk().ok_or(OpenError::Malformed)?;
        let mut opened = key.schedule.open(nonce, aad.bytes(), sealed).map_err(|_| OpenError::Refused)?;
        let length = padding.strip(opened.expose()).ok_or(OpenError::Padding)?;
        opened.truncate(length);
        Ok(opened)
    }

    /// The key of this generation: the one that the envelope names, and no other is tried.
    fn of(&self, generation: u32) -> Option<&Self> {
        let mut key = self;
        while key.generation != generation {
            key = key.older.as_deref()?;
        }
        Some(key)
    }

    fn count_seal(&self) -> Result<(), SealError> {
        // Far more threads than exist would have to pass here at once before the count could wrap around.
        if self.seals.fetch_add(1, Ordering::Relaxed) < MAX_SEALS {
            return Ok(());
        }
        self.seals.fetch_sub(1, Ordering::Relaxed);
        Err(SealError::Exhausted)
    }

    /// Sets the count, since nobody waits for 2^28 seals.
    #[cfg(test)]
    pub(super) fn set_seals(&self, count: u64) {
        self.seals.store(count, Ordering::Relaxed);
    }
}
