//! The tables.

pub mod account;
pub mod revocation;
pub mod revocation_head;
pub mod session;
pub mod token_pair;
