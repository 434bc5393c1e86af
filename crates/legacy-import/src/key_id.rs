//! Names of keys: the first 16 bytes of the SHA-256 of a public key.

use std::fmt;
use std::str::FromStr;

use portal_core::LogSafe;
use portal_crypto::hash::sha256;

/// The text is not 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a key id is 32 lower-case hexadecimal digits")]
pub struct InvalidKeyId;

/// Which key a record was signed by or sealed to.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId([u8; 16]);

impl KeyId {
    /// The id of a public key, as it is encoded.
    #[must_use]
    pub fn of(public: &[u8]) -> Self {
        let [first @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = sha256(public);
        Self(first)
    }

    /// From its 16 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl FromStr for KeyId {
    type Err = InvalidKeyId;

    fn from_str(text: &str) -> Result<Self, InvalidKeyId> {
        let lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() != 32 || !lower {
            return Err(InvalidKeyId);
        }
        let bits = u128::from_str_radix(text, 16).map_err(|_| InvalidKeyId)?;
        Ok(Self(bits.to_be_bytes()))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl LogSafe for KeyId {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn text_is_read_as_it_is_written() {
        let id = KeyId::of(b"a public key");
        assert_eq!(id.to_string().len(), 32);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(KeyId::from_bytes([0; 16]).to_string(), "0".repeat(32));
    }

    #[test]
    fn refuses_every_other_form() {
        let id = KeyId::of(b"a public key").to_string();
        for text in
            ["", &id[1..], &format!("{id}0"), &id.to_uppercase(), &format!("+{}", &id[1..]), &"é".repeat(16)]
        {
            assert_eq!(text.parse::<KeyId>(), Err(InvalidKeyId), "{text:?}");
        }
    }
}
