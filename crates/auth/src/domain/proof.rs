//! The key that tokens may be bound to (RFC 9449): whoever presents such a token proves that they hold it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The thumbprint of a key (RFC 7638): public, since the key is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ProofKey([u8; 32]);

impl ProofKey {
    /// Reads 43 characters of base64url.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self(URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?))
    }

    /// As [`Self::parse`] reads it.
    #[must_use]
    pub fn to_text(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbprint_has_one_spelling() {
        // RFC 9449, section 6.1.
        let text = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
        assert_eq!(ProofKey::parse(text).map(ProofKey::to_text).as_deref(), Some(text));
        for other in ["", &text[1..], &format!("{text}="), &format!("{}J", &text[..42]), &format!("{text}AA")]
        {
            assert_eq!(ProofKey::parse(other), None, "{other}");
        }
    }
}
