//! The tables as sea-orm models. They do not leave [`crate::store`].

pub(super) mod consent;
pub(super) mod consent_event;
pub(super) mod evidence;
pub(super) mod notice;
pub(super) mod notice_purpose;
pub(super) mod notice_revision;
pub(super) mod purpose;
pub(super) mod purpose_revision;
