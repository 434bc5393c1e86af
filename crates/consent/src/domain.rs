//! The rules of consent, pure: no IO, no async, no wire types. Time and ids are arguments; a transition consumes the old
//! state and returns the new one or a typed refusal.
//!
//! | module | holds |
//! |---|---|
//! | [`life`] | draft → published → archived, shared by purposes and notices |
//! | [`purpose`], [`notice`], [`language`] | what is consented to, and what the subject was told |
//! | [`status`] | the state machine of a consent (DPV) |
//! | [`consent`] | a subject's standing towards one purpose, its events, and the rules for changing it |
//! | [`past`] | what stood at an earlier time |
//! | [`subject`], [`delegation`] | what is known of people, and who decides for them |
//! | [`record`], [`terms`] | what a complete record says, in the terms of DPV |
//! | [`decision`] | whether data may be used |
//! | [`receipt`], [`canonical`] | what receipts say of all that, and what has a hash in which form |
//! | [`import`] | how far a stream of records is |
//! | [`snapshot`] | what decisions rest on, in memory |

pub(crate) mod canonical;
pub(crate) mod consent;
pub(crate) mod decision;
pub(crate) mod delegation;
pub(crate) mod import;
pub(crate) mod language;
pub(crate) mod life;
pub(crate) mod notice;
pub(crate) mod past;
pub(crate) mod purpose;
pub(crate) mod receipt;
pub(crate) mod record;
pub(crate) mod snapshot;
pub(crate) mod status;
pub(crate) mod subject;
pub(crate) mod terms;
