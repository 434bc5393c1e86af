//! What no key can be made to do: be shown, written down or, where one owner is enough, copied.
//!
//! Checked by the compiler: whoever derives one of these traits for a key can't build this file any more.

use std::fmt::{Debug, Display};

use portal_crypto::aead::{Aes256GcmKey, XAes256GcmKey};
use portal_crypto::blind_index::BlindIndexKey;
use portal_crypto::envelope::SubjectKey;
use portal_crypto::epoch::EpochKey;
use portal_crypto::kdf::ServiceSecret;
use portal_crypto::kem::{ml_kem, x_wing};
use portal_crypto::key::KeyBytes;
use portal_crypto::keyring::Keyring;
use portal_crypto::mac::MacKey;
use portal_crypto::page_token::PageTokenKey;
use portal_crypto::pair::PairSigningKey;
use portal_crypto::password::PasswordHasher;
use portal_crypto::row_digest::RowDigestKey;
use portal_crypto::sign::{SigningKey, ed25519};
use portal_crypto::token::TokenKey;
use serde::Serialize;

/// Does not compile if one of the types implements the trait: then there are two functions that `never` may be.
macro_rules! never {
    ($bound:path: $($key:ty),+) => {$(
        const _: fn() = || {
            trait Ambiguous<A> {
                fn never() {}
            }
            struct Other;
            impl<T: ?Sized> Ambiguous<()> for T {}
            impl<T: ?Sized + $bound> Ambiguous<Other> for T {}
            let _ = <$key as Ambiguous<_>>::never;
        };
    )+};
}

macro_rules! secret {
    ($($key:ty),+) => {
        never!(Debug: $($key),+);
        never!(Display: $($key),+);
        never!(Serialize: $($key),+);
        never!(AsRef<[u8]>: $($key),+);
        never!(PartialEq: $($key),+);
    };
}

secret!(
    Aes256GcmKey,
    BlindIndexKey,
    EpochKey,
    KeyBytes,
    Keyring,
    MacKey,
    PageTokenKey,
    PairSigningKey,
    PasswordHasher,
    RowDigestKey,
    ServiceSecret,
    SigningKey,
    SubjectKey,
    TokenKey,
    XAes256GcmKey,
    ed25519::SigningKey,
    ml_kem::DecapsulationKey,
    x_wing::DecapsulationKey
);

never!(
    Clone: Aes256GcmKey, EpochKey, KeyBytes, Keyring, PairSigningKey, ServiceSecret, SubjectKey, XAes256GcmKey,
    ed25519::SigningKey, ml_kem::DecapsulationKey, x_wing::DecapsulationKey
);
