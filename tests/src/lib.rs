//! portal-tests
#![forbid(unsafe_code)]
