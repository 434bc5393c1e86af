//! What is kept, and how it is found again. Functions take the transaction they run in; none decides anything.
//!
//! E-mail addresses are found by a keyed hash only, never by their text.

pub mod accounts;
pub mod revocations;
pub mod sessions;

mod entity;
mod rows;

pub(crate) use entity::{account, revocation, revocation_head, session, token_pair};
