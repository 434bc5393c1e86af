//! base64url without padding (RFC 4648, section 5), canonical form only: each value has exactly one spelling.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

/// The one spelling of `bytes`.
pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes; `None` for padding, other alphabets, white space and non-zero trailing bits.
pub(crate) fn decode(text: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Decodes a secret of `N` bytes to where it will stay; `None` as for [`decode`], and for another length.
pub(crate) fn decode_into<const N: usize>(text: impl AsRef<[u8]>, out: &mut [u8; N]) -> Option<()> {
    let mut decoded = Zeroizing::new(vec![0; text.as_ref().len()]);
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut decoded).ok()?;
    out.copy_from_slice(decoded.get(..length)?.first_chunk::<N>().filter(|_| length == N)?);
    Some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_every_second_spelling() {
        assert_eq!(decode("_-8").unwrap(), [0xff, 0xef]);
        for text in ["_-8=", "_-9", "/+8", "_-8 ", " _-8", "_-\n8", "_", "_-8.", "=", "_-8\0"] {
            assert!(decode(text).is_none(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_to_itself(text in "[A-Za-z0-9_=+/-]{0,12}") {
            if let Some(bytes) = decode(&text) {
                prop_assert_eq!(encode(bytes), text);
            }
        }
    }
}
