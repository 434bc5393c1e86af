//! HMAC-SHA-256 (RFC 2104): who holds the key made this.

use crate::backend;

/// A tag of [`MacKey`].
pub type Tag = [u8; 32];

/// A key of HMAC-SHA-256. It has no `Debug` and is wiped on drop.
#[derive(Clone)]
pub struct MacKey(backend::Hmac);

impl MacKey {
    /// The key with these bytes.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(backend::Hmac::new(key))
    }

    /// The tag of `message`.
    #[must_use]
    pub fn tag(&self, message: &[u8]) -> Tag {
        self.0.tag(&[message])
    }

    /// Whether `tag` is the tag of `message`, compared in constant time.
    #[must_use]
    pub fn verify(&self, message: &[u8], tag: &[u8]) -> bool {
        backend::equal(&self.tag(message), tag)
    }

    /// The tag of the parts, one after the other; the caller makes their borders unambiguous.
    pub(crate) fn tag_parts(&self, parts: &[&[u8]]) -> Tag {
        self.0.tag(parts)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::hex;

    /// RFC 4231, test cases 1, 2, 3 and 6; their keys are not 32 bytes long, so they go to the backend.
    #[test]
    fn rfc_4231() {
        let check = |key: &[u8], message: &[u8], tag: &str| {
            assert_eq!(backend::Hmac::new(key).tag(&[message]), hex::decode(tag).unwrap());
        };
        let one = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        check(&[0x0b; 20], b"Hi There", one);
        let two = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        check(b"Jefe", b"what do ya want for nothing?", two);
        let three = "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe";
        check(&[0xaa; 20], &[0xdd; 50], three);
        let six = "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54";
        check(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First", six);
    }

    #[test]
    fn verifies_its_own_tags_only() {
        let key = MacKey::new(&[7; 32]);
        let tag = key.tag(b"message");
        assert!(key.verify(b"message", &tag));
        assert!(!key.verify(b"massage", &tag));
        assert!(!MacKey::new(&[8; 32]).verify(b"message", &tag));
        assert!(!key.verify(b"message", tag.split_last().unwrap().1), "a cut tag is not a tag");
        for bit in 0..256 {
            let mut flipped = tag;
            *flipped.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
            assert!(!key.verify(b"message", &flipped), "bit {bit}");
        }
    }
}
