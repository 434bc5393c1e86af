//! Files and exports: Cobblestone-256 (<https://c2sp.org/chunked-encryption>), a stream of sealed chunks.
//!
//! ```text
//! message = salt 24 | commitment 32 | chunks, each of 16,384 bytes and its tag 16, the last one shorter, maybe empty
//! key 32 | base nonce 12 | commitment 32 = HKDF-Expand(SHA-512, input key,
//!     "c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" | salt | context)
//! nonce of a chunk = base nonce XOR its number
//! ```
//! Promises: a change, a swap of chunks, another key and another context are refused, before anything of the chunk is
//! given out; a cut is refused at the end, so what was opened counts only after [`Opener::finish`] has passed. One input
//! key stands 2^45 messages of 1 GiB. The context says what the message is and whose; it is not stored.
//!
//! Chunks are sealed and opened where they stand: read into a frame of [`SEALED_CHUNK`] bytes, write the frame out. For
//! what is in memory as a whole there are [`seal`] and [`open`].

use portal_core::entropy::random_bytes;
use portal_core::{Entropy, Sensitive};
use zeroize::Zeroizing;

use crate::aead::{Aes256GcmKey, NONCE_LEN, TAG_LEN};
use crate::backend;
use crate::key::KeyBytes;

/// The length of what stands before the first chunk.
pub const HEADER: usize = SALT + COMMITMENT;

/// The length of every chunk but the last, before it is sealed.
pub const CHUNK: usize = 16 * 1_024;

/// The length of a full chunk with its tag.
pub const SEALED_CHUNK: usize = CHUNK + TAG_LEN;

/// The most chunks of a message.
const MAX_CHUNKS: u64 = 1 << 38;

const SALT: usize = 24;
const KEY: usize = 32;
const COMMITMENT: usize = 32;
const LABEL: &[u8] = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0";

/// The message is too long: 4 PiB or more, or its last chunk is not shorter than the others.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the message is too long for one stream, or its last chunk is")]
pub struct SealError;

/// Why a message was not opened. Never holds any of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OpenError {
    /// Sealed under another key or with another context, or the header was changed.
    #[error("the message was not sealed with this key and context")]
    Commitment,
    /// A chunk was changed, or stands in another place.
    #[error("a chunk of the message was changed or moved")]
    Refused,
    /// The message ends too early: in the header, in a tag or after a full chunk.
    #[error("the message was cut")]
    Truncated,
}

/// The key and the nonces of one message.
struct Chunks {
    key: Aes256GcmKey,
    base_nonce: [u8; NONCE_LEN],
    /// The number of the next chunk; [`MAX_CHUNKS`] when there can be none.
    next: u64,
}

impl Chunks {
    fn derive(key: &KeyBytes, salt: &[u8; SALT], context: &[u8]) -> (Self, [u8; COMMITMENT]) {
        let derived: Sensitive<[u8; KEY + NONCE_LEN + COMMITMENT]> =
            backend::hkdf_expand_sha512(key.expose(), &[LABEL, salt, context]);
        #[expect(clippy::expect_used, reason = "76 bytes are 32, 12 and 32")]
        let (key, base_nonce, commitment) = parts(derived.expose()).expect("three parts");
        (Self { key: Aes256GcmKey::new(key), base_nonce: *base_nonce, next: 0 }, *commitment)
    }

    /// The nonce of the next chunk; `None` if there can be none.
    fn next_nonce(&mut self) -> Option<[u8; NONCE_LEN]> {
        if self.next >= MAX_CHUNKS {
            return None;
        }
        let mut nonce = self.base_nonce;
        for (byte, count) in nonce.iter_mut().rev().zip(self.next.to_le_bytes()) {
            *byte ^= count;
        }
        self.next += 1;
        Some(nonce)
    }

    fn seal(&mut self, text: &mut [u8]) -> Result<[u8; TAG_LEN], SealError> {
        let nonce = self.next_nonce().ok_or(SealError)?;
        self.key.seal_in_place(&nonce, &[], text).map_err(|_| SealError)
    }

    /// After a refusal everything else is refused too.
    fn open(&mut self, text: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), OpenError> {
        let nonce = self.next_nonce().ok_or(OpenError::Refused)?;
        let opened = self.key.open_in_place(&nonce, &[], text, tag);
        opened.map_err(|_| self.refuse())
    }

    fn refuse(&mut self) -> OpenError {
        self.next = MAX_CHUNKS;
        OpenError::Refused
    }
}

type Parts<'a> = (&'a [u8; KEY], &'a [u8; NONCE_LEN], &'a [u8; COMMITMENT]);

fn parts(derived: &[u8]) -> Option<Parts<'_>> {
    let (key, rest) = derived.split_first_chunk()?;
    let (base_nonce, commitment) = rest.split_first_chunk()?;
    Some((key, base_nonce, commitment.try_into().ok()?))
}

/// Seals one message, chunk by chunk. Wiped on drop; has no `Debug` and no `Clone`.
#[must_use = "a message ends with `finish`"]
pub struct Sealer(Chunks);

impl Sealer {
    /// Begins a message, and gives its header.
    pub fn new(key: &KeyBytes, context: &[u8], entropy: &dyn Entropy) -> (Self, [u8; HEADER]) {
        let salt: [u8; SALT] = random_bytes(entropy);
        let (chunks, commitment) = Chunks::derive(key, &salt, context);
        let mut header = [0; HEADER];
        let (head, tail) = header.split_at_mut(SALT);
        head.copy_from_slice(&salt);
        tail.copy_from_slice(&commitment);
        (Self(chunks), header)
    }

    /// Seals a full chunk: the first [`CHUNK`] bytes of `frame` are the plaintext, the rest gets the tag.
    ///
    /// # Errors
    /// [`SealError`] past 4 PiB.
    pub fn seal_chunk(&mut self, frame: &mut [u8; SEALED_CHUNK]) -> Result<(), SealError> {
        let (text, tag) = frame.split_at_mut(CHUNK);
        tag.copy_from_slice(&self.0.seal(text)?);
        Ok(())
    }

    /// Seals what is left, fewer than [`CHUNK`] bytes and maybe none, and appends the tag.
    ///
    /// # Errors
    /// [`SealError`] if it is too long; nothing of it is sealed then.
    pub fn finish(mut self, last: &mut Vec<u8>) -> Result<(), SealError> {
        if last.len() >= CHUNK {
            return Err(SealError);
        }
        let tag = self.0.seal(last)?;
        last.extend_from_slice(&tag);
        Ok(())
    }
}

/// Opens one message, chunk by chunk. Wiped on drop; has no `Debug` and no `Clone`.
#[must_use = "a message counts only after `finish`"]
pub struct Opener(Chunks);

impl Opener {
    /// Reads the header.
    ///
    /// # Errors
    /// [`OpenError::Commitment`].
    pub fn new(key: &KeyBytes, context: &[u8], header: &[u8; HEADER]) -> Result<Self, OpenError> {
        let (salt, commitment) = header.split_first_chunk().ok_or(OpenError::Truncated)?;
        let (chunks, expected) = Chunks::derive(key, salt, context);
        if backend::equal(&expected, commitment) { Ok(Self(chunks)) } else { Err(OpenError::Commitment) }
    }

    /// Opens a full chunk: the first [`CHUNK`] bytes of `frame` become the plaintext.
    ///
    /// # Errors
    /// [`OpenError::Refused`], now and for all that follows; `frame` then holds nothing of the plaintext.
    pub fn open_chunk(&mut self, frame: &mut [u8; SEALED_CHUNK]) -> Result<(), OpenError> {
        let (text, tag) = frame.split_last_chunk_mut().ok_or(OpenError::Truncated)?;
        self.0.open(text, tag)
    }

    /// Opens what is left after the full chunks, and takes its tag off. The message is whole if this passes.
    ///
    /// # Errors
    /// [`OpenError`]; `last` then holds nothing of the plaintext.
    pub fn finish(mut self, last: &mut Vec<u8>) -> Result<(), OpenError> {
        if last.len() >= SEALED_CHUNK {
            return Err(OpenError::Refused);
        }
        let (text, tag) = last.split_last_chunk_mut().ok_or(OpenError::Truncated)?;
        self.0.open(text, tag)?;
        last.truncate(last.len() - TAG_LEN);
        Ok(())
    }
}

/// The length of a message of `length` bytes when it is sealed; `None` for lengths that no memory holds.
#[must_use]
pub const fn sealed_len(length: usize) -> Option<usize> {
    match (length / CHUNK + 1).checked_mul(TAG_LEN) {
        Some(tags) => match tags.checked_add(HEADER) {
            Some(added) => added.checked_add(length),
            None => None,
        },
        None => None,
    }
}

/// Seals a message that is in memory as a whole.
///
/// # Errors
/// [`SealError`] past 4 PiB.
pub fn seal(
    key: &KeyBytes,
    context: &[u8],
    plaintext: &[u8],
    entropy: &dyn Entropy,
) -> Result<Vec<u8>, SealError> {
    let (Sealer(mut chunks), header) = Sealer::new(key, context, entropy);
    let mut out = Vec::with_capacity(sealed_len(plaintext.len()).ok_or(SealError)?);
    out.extend_from_slice(&header);
    let full = plaintext.chunks_exact(CHUNK);
    let last = full.remainder();
    for text in full.chain([last]) {
        let start = out.len();
        out.extend_from_slice(text);
        let tag = chunks.seal(out.get_mut(start..).unwrap_or_default())?;
        out.extend_from_slice(&tag);
    }
    Ok(out)
}

/// Opens a message that is in memory as a whole: all of it or nothing.
///
/// # Errors
/// [`OpenError`], one variant per cause.
pub fn open(key: &KeyBytes, context: &[u8], sealed: &[u8]) -> Result<Sensitive<Vec<u8>>, OpenError> {
    let (header, sealed) = sealed.split_first_chunk().ok_or(OpenError::Truncated)?;
    let Opener(mut chunks) = Opener::new(key, context, header)?;
    let full = sealed.chunks_exact(SEALED_CHUNK);
    let last = full.remainder();
    let length = sealed.len() - full.len() * TAG_LEN;
    let length = last.len().checked_sub(TAG_LEN).map(|_| length - TAG_LEN).ok_or(OpenError::Truncated)?;
    let mut out = Zeroizing::new(vec![0; length]);
    let mut room = out.as_mut_slice();
    for chunk in full.chain([last]) {
        let nonce = chunks.next_nonce().ok_or(OpenError::Refused)?;
        let (here, after) = room.split_at_mut(chunk.len() - TAG_LEN);
        chunks.key.open_into(&nonce, &[], chunk, here).map_err(|_| OpenError::Refused)?;
        room = after;
    }
    Ok(Sensitive::new(std::mem::take(&mut *out)))
}

#[cfg(test)]
mod tests;
