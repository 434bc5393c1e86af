//! Seeds, drawn so that no second copy of them is left behind.

use portal_core::{Entropy, Sensitive};
use zeroize::Zeroizing;

/// `N` random bytes to make a key of.
pub(crate) fn draw<const N: usize>(entropy: &dyn Entropy) -> Sensitive<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    entropy.fill(bytes.as_mut_slice());
    Sensitive::new(*bytes)
}
