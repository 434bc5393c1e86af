//! portal-auth
#![forbid(unsafe_code)]
