//! See `portal_crypto::fuzzing::envelope`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    portal_crypto::fuzzing::envelope(data);
});
