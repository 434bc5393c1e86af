//! See `portal_crypto::fuzzing::keyring`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    portal_crypto::fuzzing::keyring(data);
});
