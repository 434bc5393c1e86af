//! The tables.

pub mod account;
pub mod revocation;
pub mod revocation_head;
pub mod session;
pub mod sign_in_failure;
pub mod token_pair;
