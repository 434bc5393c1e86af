//! portal-ledger
#![forbid(unsafe_code)]
