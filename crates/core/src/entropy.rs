//! Entropy is an argument, so that a test run can be repeated bit for bit.

use std::sync::{Mutex, PoisonError};

use rand::rand_core::UnwrapErr;
use rand::rngs::{StdRng, SysRng};
use rand::{Rng, SeedableRng};

/// A source of cryptographically secure random bytes.
pub trait Entropy: Send + Sync {
    /// Fills `bytes` with random bytes.
    fn fill(&self, bytes: &mut [u8]);
}

/// Draws `N` random bytes.
pub fn random_bytes<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}

/// The machine's entropy. What is shorter than a key comes through a per-thread generator that reseeds itself from the
/// operating system: a system call for every nonce would cost four times the encryption it serves. Keys come from the
/// operating system itself, since the generator's buffer keeps what it gave until it is filled anew, and would be a copy
/// of the key that nobody wipes.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

/// The length of the shortest keys.
const KEY_LEN: usize = 32;

impl Entropy for SystemEntropy {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's entropy")]
    fn fill(&self, bytes: &mut [u8]) {
        if bytes.len() < KEY_LEN {
            rand::rng().fill_bytes(bytes);
        } else {
            // Ends the program if there is no entropy, as the generator does.
            UnwrapErr(SysRng).fill_bytes(bytes);
        }
    }
}

/// Repeatable entropy for tests: the same seed gives the same bytes.
pub struct SeededEntropy(Mutex<StdRng>);

impl SeededEntropy {
    /// Starts the sequence that belongs to `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(bytes);
    }
}
