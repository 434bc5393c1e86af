//! portal-valuation
#![forbid(unsafe_code)]
