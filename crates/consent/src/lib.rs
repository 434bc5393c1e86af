//! portal-consent
#![forbid(unsafe_code)]
