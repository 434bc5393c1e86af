//! Page tokens that only the query that made them can use.
//!
//! A token is `base64url(version 1 | tag 16 | position)`, with
//! `tag = HMAC-SHA-256(key, version | length of scope, 8 | scope | position)` cut to 16 bytes. It is signed, not
//! sealed: the position is opaque by convention and must not hold what the caller may not see.

use crate::kdf::{Label, ServiceSecret};
use crate::mac::MacKey;
use crate::{backend, base64url};

const VERSION: u8 = 1;
const TAG: usize = 16;
const MAX_TEXT: usize = 4_096;

/// The token was not made by this service for this query.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be a next_page_token of the same request, unchanged, with the same filters")]
pub struct InvalidPageToken;

/// The key of a service's page tokens.
#[derive(Clone)]
pub struct PageTokenKey(MacKey);

impl PageTokenKey {
    /// The page-token key of a service.
    #[must_use]
    pub fn new(secret: &ServiceSecret) -> Self {
        Self(MacKey::new(secret.derive(Label::PageToken).expose()))
    }

    /// A token for `position`, where `scope` names the method, the caller's tenant or subject, and all filters.
    #[must_use]
    pub fn seal(&self, scope: &[u8], position: &[u8]) -> String {
        let tag = self.tag(scope, position);
        base64url::encode([&[VERSION], tag.as_slice(), position].concat())
    }

    /// The position in `token`, if it was sealed for the same `scope`.
    ///
    /// # Errors
    /// [`InvalidPageToken`], whatever the reason.
    pub fn open(&self, scope: &[u8], token: &str) -> Result<Vec<u8>, InvalidPageToken> {
        if token.len() > MAX_TEXT {
            return Err(InvalidPageToken);
        }
        let bytes = base64url::decode(token).ok_or(InvalidPageToken)?;
        let (&version, rest) = bytes.split_first().ok_or(InvalidPageToken)?;
        let (tag, position) = rest.split_first_chunk::<TAG>().ok_or(InvalidPageToken)?;
        if version != VERSION || !backend::equal(&self.tag(scope, position), tag) {
            return Err(InvalidPageToken);
        }
        Ok(position.to_vec())
    }

    fn tag(&self, scope: &[u8], position: &[u8]) -> [u8; TAG] {
        let length = (scope.len() as u64).to_be_bytes();
        let full = self.0.tag_parts(&[&[VERSION], &length, scope, position]);
        let mut tag = [0; TAG];
        for (cut, byte) in tag.iter_mut().zip(full) {
            *cut = byte;
        }
        tag
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;

    fn key(byte: u8) -> PageTokenKey {
        PageTokenKey::new(&ServiceSecret::new(&[byte; 32]))
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let token = key(1).seal(b"ListConsents subject=1", b"2026-11-22 0198c3a4");
        let bytes = base64url::decode(&token).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let altered = base64url::encode(flipped);
            assert_eq!(key(1).open(b"ListConsents subject=1", &altered), Err(InvalidPageToken), "bit {bit}");
        }
        for length in 0..token.len() {
            assert!(key(1).open(b"ListConsents subject=1", &token[..length]).is_err(), "{length}");
        }
        for extended in [format!("{token}="), format!("{token}A"), format!(" {token}"), "A".repeat(5_000)] {
            assert!(key(1).open(b"ListConsents subject=1", &extended).is_err());
        }
    }

    #[test]
    fn the_border_between_scope_and_position_is_signed() {
        let token = key(1).seal(b"ab", b"c");
        let moved = base64url::decode(token).unwrap();
        let moved = base64url::encode([&moved[..=TAG], b"bc"].concat());
        assert!(key(1).open(b"a", &moved).is_err());
    }

    proptest! {
        #[test]
        fn opens_in_its_scope_under_its_key_only(
            scope in prop::collection::vec(any::<u8>(), 0..64),
            other in prop::collection::vec(any::<u8>(), 0..64),
            position in prop::collection::vec(any::<u8>(), 0..256),
        ) {
            let token = key(1).seal(&scope, &position);
            prop_assert_eq!(key(1).open(&scope, &token), Ok(position));
            prop_assert!(key(2).open(&scope, &token).is_err());
            prop_assert_eq!(key(1).open(&other, &token).is_ok(), other == scope);
        }

        #[test]
        fn any_text_is_refused(text in ".{0,80}") {
            prop_assert!(key(1).open(b"scope", &text).is_err());
        }
    }
}
