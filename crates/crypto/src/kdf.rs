//! One secret per service, one key per purpose: HKDF-SHA-256 (RFC 5869) with a closed set of labels.
//!
//! `derive(label) = HKDF(ikm = service secret, salt = "portal/service-secret/v1", info = label's text, 32 bytes)`.
//! Keys of different labels tell nothing about each other; a label's text never changes once data depends on it.

use portal_core::Sensitive;
use zeroize::Zeroizing;

use crate::key::KeyBytes;
use crate::{backend, hex};

const SALT: &[u8] = b"portal/service-secret/v1";

/// What a derived key is for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Label {
    /// Sealing of the details of audited events.
    AuditSealing,
    /// Blind indexes for equality look-ups of sealed columns.
    BlindIndex,
    /// Sealing of what a ceremony with a passkey waits for.
    CeremonySealing,
    /// Sealing of the ids of passkeys.
    CredentialSealing,
    /// Sealing of what waits to be mailed to an address that may be nobody's.
    MailSealing,
    /// Page tokens of list methods.
    PageToken,
    /// The pepper of passwords.
    PasswordPepper,
    /// Sealing of receipts of people whose own key can't be had.
    ReceiptSealing,
    /// Sealing of replies that are kept for repetitions of a request and are about no one person.
    ReplySealing,
    /// Digests of database rows.
    RowDigest,
    /// Sealing of the seeds of the keys that sign tokens.
    SigningKeySealing,
    /// The seeds of the key pair that signs statements, of erasure for example.
    StatementSigning,
    /// Keyed hashes of opaque access and refresh handles.
    TokenHandle,
    /// The seed of the first key that signs tokens; those that follow it are random.
    TokenSigning,
}

impl Label {
    /// Every label.
    pub const ALL: [Self; 14] = [
        Self::AuditSealing,
        Self::BlindIndex,
        Self::CeremonySealing,
        Self::CredentialSealing,
        Self::MailSealing,
        Self::PageToken,
        Self::PasswordPepper,
        Self::ReceiptSealing,
        Self::ReplySealing,
        Self::RowDigest,
        Self::SigningKeySealing,
        Self::StatementSigning,
        Self::TokenHandle,
        Self::TokenSigning,
    ];

    /// The `info` of HKDF.
    #[must_use]
    pub const fn info(self) -> &'static str {
        match self {
            Self::AuditSealing => "portal/audit-sealing/v1",
            Self::BlindIndex => "portal/blind-index/v1",
            Self::CeremonySealing => "portal/ceremony-sealing/v1",
            Self::CredentialSealing => "portal/credential-sealing/v1",
            Self::MailSealing => "portal/mail-sealing/v1",
            Self::PageToken => "portal/page-token/v1",
            Self::PasswordPepper => "portal/password-pepper/v1",
            Self::ReceiptSealing => "portal/receipt-sealing/v1",
            Self::ReplySealing => "portal/reply-sealing/v1",
            Self::RowDigest => "portal/row-digest/v1",
            Self::SigningKeySealing => "portal/signing-key-sealing/v1",
            Self::StatementSigning => "portal/statement-signing/v1",
            Self::TokenHandle => "portal/token-handle/v1",
            Self::TokenSigning => "portal/token-signing/v1",
        }
    }
}

/// The 32 random bytes that all keyed derivations of a service come from. Wiped on drop; has no `Debug`.
pub struct ServiceSecret(KeyBytes);

/// The text is not a service secret. Says nothing about the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be 64 hexadecimal digits")]
pub struct InvalidServiceSecret;

impl ServiceSecret {
    /// A copy of these bytes. Wiping `bytes` stays with the caller.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(KeyBytes::of(bytes))
    }

    /// Parses 64 hexadecimal digits, white space around them ignored (files end with a line break).
    ///
    /// # Errors
    /// [`InvalidServiceSecret`] for any other text.
    pub fn from_hex(text: &str) -> Result<Self, InvalidServiceSecret> {
        let bytes = hex::decode(text.trim_ascii()).map(Zeroizing::new);
        bytes.map(|bytes| Self::new(&bytes)).ok_or(InvalidServiceSecret)
    }

    /// The key for `label`.
    #[must_use]
    pub fn derive(&self, label: Label) -> Sensitive<[u8; 32]> {
        backend::hkdf_sha256(self.0.expose(), SALT, label.info().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    /// RFC 5869, test cases 1 and 3, the first 32 bytes of their output.
    #[test]
    fn rfc_5869() {
        let salt: [u8; 13] = hex::decode("000102030405060708090a0b0c").unwrap();
        let info: [u8; 10] = hex::decode("f0f1f2f3f4f5f6f7f8f9").unwrap();
        let one = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf";
        assert_eq!(*backend::hkdf_sha256(&[0x0b; 22], &salt, &info).expose(), hex::decode(one).unwrap());
        let three = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d";
        assert_eq!(*backend::hkdf_sha256(&[0x0b; 22], &[], &[]).expose(), hex::decode(three).unwrap());
    }

    /// Computed with Python's `hmac`: a change of salt, label or order would lose every stored hash.
    #[test]
    fn derived_keys_never_change() {
        let secret = ServiceSecret::new(&[0x42; 32]);
        for (label, key) in [
            (Label::AuditSealing, "0966cae4366be40bf83c35c409e1cce80538f79a1bac17d47921953c0b81febd"),
            (Label::BlindIndex, "7b6b569b92fc69d07c5b90118eee4138a74d58b84c34c5955fc6e5c35c282616"),
            (Label::MailSealing, "6e0541c05dede14107cd358554e34851bcfcb6b5f7ac1a04342eba393f45be33"),
            (Label::PageToken, "36946d87b7bae426e1edff3b40ba02c34bd7b70de4f05f114dfadc8a16793b83"),
            (Label::PasswordPepper, "b4a6d3b1111bcee18d89b4d2c0ddcb5b27677b727414198fa1a0487414b968f1"),
            (Label::ReceiptSealing, "622f8bb3f7d2451d0077962d55930aa87d44cce0531c9ad91bb0f138668e30ff"),
            (Label::ReplySealing, "fc27cae86a08e36fef72e0013498f21eea600158e75b490f7d81b87ba9c45010"),
            (Label::RowDigest, "4584013be1a9fff3afc10d26c88a48042343d5106303f37bdc6deb3633112838"),
            (Label::SigningKeySealing, "4aeb816c8ad0c95650dd3519b7ca2b147945d37ee70449fcf2486e5cce0010b0"),
            (Label::StatementSigning, "47ef261d475b8d582806db8dda45218f8660a25e922ba147bf5db8854721e14d"),
            (Label::TokenHandle, "de4199784a9b864505180ef245de289748bdc25dc7041b433c1ab13fce2c241a"),
            (Label::TokenSigning, "ba02804fc7d4ca0e0e4bcdc24abee1b2e460b0c3417b716d9d17d5abbfbc8dee"),
        ] {
            assert_eq!(*secret.derive(label).expose(), hex::decode(key).unwrap(), "{label:?}");
        }
    }

    #[test]
    fn each_label_and_each_secret_has_its_own_key() {
        let secrets = [ServiceSecret::new(&[1; 32]), ServiceSecret::new(&[2; 32])];
        let keys: BTreeSet<_> =
            secrets.iter().flat_map(|s| Label::ALL.map(|label| *s.derive(label).expose())).collect();
        assert_eq!(keys.len(), secrets.len() * Label::ALL.len());
    }

    #[test]
    fn parses_a_file_with_a_line_break_and_nothing_else() {
        let digits = "00".repeat(32);
        assert!(ServiceSecret::from_hex(&format!("{digits}\n")).is_ok());
        for text in
            ["", &"00".repeat(31), &"00".repeat(33), &format!("{}0g", "00".repeat(31)), &"é".repeat(32)]
        {
            assert_eq!(ServiceSecret::from_hex(text).err(), Some(InvalidServiceSecret), "{text:?}");
        }
    }
}
