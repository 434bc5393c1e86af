//! The tables.

pub mod account;
pub mod factor;
pub mod mfa_challenge;
pub mod revocation;
pub mod revocation_head;
pub mod session;
pub mod session_context;
pub mod sign_in_failure;
pub mod token_pair;
