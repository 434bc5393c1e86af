//! Who may: the policies of Portal and those that operators add, in Cedar, and the one function that decides by them.
//!
//! What it promises:
//! - What no policy permits is refused, and a forbid wins over every permit, whoever wrote them.
//! - A policy that can't be evaluated refuses: a forbid that is skipped would open what it closes.
//! - Policies of operators narrow and widen, but not past the guards (`policies/guards.cedar`), and they can't change ours.
//! - Every decision names the policies that made it.
//!
//! Nothing here reads a file, a clock or a token: the mesh asks, with what it has verified.
//!
//! | module | holds |
//! |---|---|
//! | [`authority`] | [`Authority`]: decides, and remembers |
//! | [`decision`] | [`Decision`], [`Answer`], [`Refusal`] |
//! | [`policies`] | reads and checks policies; [`Source`], [`Faults`] |
//! | [`question`] | [`Question`]: who asks for what, and what is known of them |
#![forbid(unsafe_code)]

pub mod authority;
pub mod decision;
pub mod policies;
pub mod question;

mod closely;

pub use authority::{Authority, InForce};
pub use decision::{Answer, Decision, PolicyName, Refusal};
pub use policies::{Fault, Faults, Source};
pub use question::{Principal, Proof, Question};
