//! See `portal_crypto::fuzzing::cose`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    portal_crypto::fuzzing::cose(data);
});
