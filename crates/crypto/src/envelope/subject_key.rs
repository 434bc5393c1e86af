//! The key of one data subject in one service: what fields are sealed under.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use portal_core::{Entropy, Sensitive};
use zeroize::Zeroize;

use super::aad::Aad;
use super::{MAX_SEALS, OpenError, Owner, Padding, Place, SealError, Suite, VERSION, split};
use crate::aead::{self, Aes256GcmKey, TAG_LEN, X_NONCE_LEN, XAes256GcmKey};
use crate::backend;
use crate::key::{KeyBytes, overwrite_dead_stack};
use crate::suite::{Algorithm, Disabled, Suites};

const BULK_KEY: &[u8] = b"portal/bulk-key/v1";

/// Version, suite and generation.
const HEADER: usize = 1 + 1 + 4;

/// A subject key with its key schedule. Wiped on drop; has no `Debug` and no `Clone`: share it by `Arc`.
///
/// Destroying every copy of it, those in the database included, makes all that was sealed under it unreadable.
pub struct SubjectKey {
    bytes: KeyBytes,
    schedule: Aes256GcmKey,
    /// Made when it is first needed, which in most installations is never.
    extended: OnceLock<XAes256GcmKey>,
    /// The beginning of the associated data under AES-256-GCM.
    aad: Aad,
    owner: Owner,
    generation: u32,
    suites: Suites,
    seals: AtomicU64,
    /// The key of an earlier generation, which has its own older one.
    older: Option<Box<Self>>,
}

impl SubjectKey {
    /// The key with these bytes. Only the key hierarchy makes one.
    pub(crate) fn new(bytes: KeyBytes, owner: Owner, generation: u32, suites: Suites) -> Self {
        let schedule = Aes256GcmKey::new(bytes.expose());
        overwrite_dead_stack();
        Self {
            bytes,
            schedule,
            extended: OnceLock::new(),
            aad: Aad::of_field(Suite::Aes256Gcm, generation, &owner),
            owner,
            generation,
            suites,
            seals: AtomicU64::new(0),
            older: None,
        }
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

    /// The envelope of `plaintext` in `place`: 34 bytes more than the padded plaintext under AES-256-GCM, 46 more under
    /// XAES-256-GCM, which takes over where the former is not among the suites of this key. In a service that does not happen:
    /// the records of subject keys are under AES-256-GCM alone ([`crate::epoch`]), so there are no such keys without it.
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
        let suite = self.sealing_suite()?;
        if place.owner != self.owner {
            return Err(SealError::Owner);
        }
        // Before the associated data: it waits for what was written last.
        self.count_seal()?;
        let mut aad = self.aad(suite);
        aad.push_place(place).ok_or(SealError::Name)?;
        let mut header = [0; HEADER + X_NONCE_LEN];
        let [g0, g1, g2, g3] = self.generation.to_be_bytes();
        let [version, named, f0, f1, f2, f3, nonce @ ..] = &mut header;
        (*version, *named, *f0, *f1, *f2, *f3) = (VERSION, suite.id(), g0, g1, g2, g3);
        let nonce_len = suite.nonce_len();
        let (nonce, _) = nonce.split_at_mut(nonce_len.min(X_NONCE_LEN));
        entropy.fill(nonce);
        let padded = plaintext.len() + padding.bytes_for(plaintext.len());
        let mut out = Vec::with_capacity(HEADER + nonce_len + padded + TAG_LEN);
        out.extend_from_slice(header.get(..HEADER + nonce_len).unwrap_or_default());
        // Encrypted where it will stay: no copy of the plaintext is left to wipe.
        out.extend_from_slice(plaintext);
        padding.append(plaintext.len(), &mut out);
        let (nonce, text) = out.get_mut(HEADER..).unwrap_or_default().split_at_mut(nonce_len);
        let Ok(tag) = self.seal_in_place(suite, nonce, aad.as_slice(), text) else {
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
        let (suite, generation, rest) = split(envelope)?;
        self.suites.require(suite.algorithm())?;
        let key = self
            .of_generation(generation)
            .ok_or(OpenError::Generation { expected: self.generation, found: generation })?;
        if place.owner != key.owner {
            return Err(OpenError::Owner);
        }
        let mut aad = key.aad(suite);
        aad.push_place(place).ok_or(OpenError::Name)?;
        let (nonce, sealed) = rest.split_at_checked(suite.nonce_len()).ok_or(OpenError::Malformed)?;
        let (ciphertext, tag) = sealed.split_last_chunk().ok_or(OpenError::Refused)?;
        // Holds nothing of the plaintext if it is refused.
        let mut text = ciphertext.to_vec();
        key.open_in_place(suite, nonce, aad.as_slice(), (&mut text, tag)).map_err(|_| OpenError::Refused)?;
        let mut opened = Sensitive::new(text);
        let length = padding.strip(opened.expose()).ok_or(OpenError::Padding)?;
        opened.truncate(length);
        Ok(opened)
    }

    /// The key for streams about the owner ([`crate::bulk`]), and the context that binds one to its place:
    /// `"portal/bulk/v1\0" | generation 4 | service | …`, as the associated data of a field goes on.
    ///
    /// The key is `HKDF-Expand(SHA-256, subject key, "portal/bulk-key/v1")`: it goes when the subject key goes. A stream
    /// does not tell its generation: keep [`Self::generation`] with it, and pass it here again to open.
    ///
    /// # Errors
    /// [`OpenError::Disabled`], [`OpenError::Generation`], [`OpenError::Owner`] and [`OpenError::Name`].
    pub fn bulk(&self, place: &Place<'_>, generation: u32) -> Result<(KeyBytes, Vec<u8>), OpenError> {
        self.suites.require(Algorithm::Cobblestone256)?;
        let key = self
            .of_generation(generation)
            .ok_or(OpenError::Generation { expected: self.generation, found: generation })?;
        if place.owner != key.owner {
            return Err(OpenError::Owner);
        }
        let mut context = Aad::of_bulk(generation, &key.owner);
        context.push_place(place).ok_or(OpenError::Name)?;
        let derived = KeyBytes::filled(|out| {
            out.copy_from_slice(backend::hkdf_expand::<32>(key.bytes.expose(), &[BULK_KEY]).expose());
            Ok::<_, OpenError>(())
        })?;
        Ok((derived, context.as_slice().to_vec()))
    }

    /// The key of this generation, itself or one of those that it comes [after](Self::after): the one that an envelope
    /// names, and no other is tried.
    #[must_use]
    pub fn of_generation(&self, generation: u32) -> Option<&Self> {
        let mut key = self;
        while key.generation != generation {
            key = key.older.as_deref()?;
        }
        Some(key)
    }

    fn aad(&self, suite: Suite) -> Aad {
        match suite {
            Suite::Aes256Gcm => self.aad,
            Suite::XAes256Gcm => Aad::of_field(suite, self.generation, &self.owner),
        }
    }

    fn sealing_suite(&self) -> Result<Suite, Disabled> {
        let [first, second] = [Suite::Aes256Gcm, Suite::XAes256Gcm];
        let suite = if self.suites.has(first.algorithm()) { first } else { second };
        self.suites.require(suite.algorithm()).map(|()| suite)
    }

    fn seal_in_place(
        &self,
        suite: Suite,
        nonce: &[u8],
        aad: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG_LEN], aead::SealError> {
        match suite {
            Suite::Aes256Gcm => {
                let nonce = nonce.try_into().map_err(|_| aead::SealError)?;
                self.schedule.seal_in_place(nonce, aad, text)
            }
            Suite::XAes256Gcm => {
                let nonce = nonce.try_into().map_err(|_| aead::SealError)?;
                self.extended().seal_in_place(nonce, aad, text)
            }
        }
    }

    fn open_in_place(
        &self,
        suite: Suite,
        nonce: &[u8],
        aad: &[u8],
        (text, tag): (&mut [u8], &[u8; TAG_LEN]),
    ) -> Result<(), aead::OpenError> {
        match suite {
            Suite::Aes256Gcm => {
                let nonce = nonce.try_into().map_err(|_| aead::OpenError)?;
                self.schedule.open_in_place(nonce, aad, text, tag)
            }
            Suite::XAes256Gcm => {
                let nonce = nonce.try_into().map_err(|_| aead::OpenError)?;
                self.extended().open_in_place(nonce, aad, text, tag)
            }
        }
    }

    fn extended(&self) -> &XAes256GcmKey {
        self.extended.get_or_init(|| XAes256GcmKey::new(self.bytes.expose()))
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
