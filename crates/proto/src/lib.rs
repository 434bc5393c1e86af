//! portal-proto
#![forbid(unsafe_code)]
