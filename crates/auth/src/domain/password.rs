//! Passwords on their way to the hasher. Any text is one; none is altered.

use portal_core::Sensitive;

const MIN_CHARS: usize = 8;
const MAX_CHARS: usize = 128;

/// A password that may become an account's.
#[derive(Clone, Debug)]
pub struct NewPassword(Sensitive<Vec<u8>>);

/// A password that somebody says is theirs: shorter ones are wrong, not malformed.
#[derive(Clone, Debug)]
pub struct OfferedPassword(Sensitive<Vec<u8>>);

/// The text can't be a password. Says nothing about the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidPassword {
    /// Too short or too long to be set.
    #[error("must have 8 to 128 characters")]
    New,
    /// Empty, or longer than any password.
    #[error("must have 1 to 128 characters")]
    Offered,
}

impl NewPassword {
    /// Takes over `text`.
    ///
    /// # Errors
    /// [`InvalidPassword::New`] unless it has 8 to 128 characters.
    pub fn parse(text: String) -> Result<Self, InvalidPassword> {
        let text = Sensitive::new(text.into_bytes());
        if fits(&text, MIN_CHARS) { Ok(Self(text)) } else { Err(InvalidPassword::New) }
    }

    /// The bytes, to be judged.
    pub(super) fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    /// The bytes to hash.
    #[must_use]
    pub fn into_bytes(self) -> Sensitive<Vec<u8>> {
        self.0
    }
}

impl OfferedPassword {
    /// Takes over `text`.
    ///
    /// # Errors
    /// [`InvalidPassword::Offered`] unless it has 1 to 128 characters.
    pub fn parse(text: String) -> Result<Self, InvalidPassword> {
        let text = Sensitive::new(text.into_bytes());
        if fits(&text, 1) { Ok(Self(text)) } else { Err(InvalidPassword::Offered) }
    }

    /// The bytes to verify.
    #[must_use]
    pub fn into_bytes(self) -> Sensitive<Vec<u8>> {
        self.0
    }
}

fn fits(text: &Sensitive<Vec<u8>>, min: usize) -> bool {
    // Continuation bytes are 10xxxxxx: all others begin a character.
    let chars = text.expose().iter().filter(|byte| **byte & 0xc0 != 0x80).count();
    (min..=MAX_CHARS).contains(&chars)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_counted_in_characters() {
        assert!(NewPassword::parse("🔑".repeat(8)).is_ok());
        assert!(NewPassword::parse("🔑".repeat(128)).is_ok());
        assert!(NewPassword::parse("' AND 1;".to_owned()).is_ok());
        assert!(NewPassword::parse("é".repeat(7)).is_err());
        assert!(NewPassword::parse("a".repeat(129)).is_err());
        assert!(OfferedPassword::parse("short".to_owned()).is_ok());
        assert!(OfferedPassword::parse(String::new()).is_err());
    }
}
