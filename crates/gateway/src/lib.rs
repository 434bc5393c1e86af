//! portal-gateway
#![forbid(unsafe_code)]
