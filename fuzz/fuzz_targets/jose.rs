//! See `portal_crypto::fuzzing::jose`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    portal_crypto::fuzzing::jose(data);
});
