//! The rules of consent, pure: no IO, no async, no wire types. Time and ids are arguments; a transition consumes the old
//! state and returns the new one or a typed refusal.
//!
//! | module | holds |
//! |---|---|
//! | [`life`] | draft → published → archived, shared by purposes and notices |
//! | [`purpose`], [`notice`], [`language`] | what is consented to, and what the subject was told |
//! | [`status`] | the state machine of a consent (DPV) |
//! | [`consent`] | a subject's standing towards one purpose, its events, and the rules for changing it |
//! | [`decision`] | whether data may be used |

pub(crate) mod consent;
pub(crate) mod decision;
pub(crate) mod language;
pub(crate) mod life;
pub(crate) mod notice;
pub(crate) mod purpose;
pub(crate) mod status;
