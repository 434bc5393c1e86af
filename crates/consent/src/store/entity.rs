//! The tables as sea-orm models. They do not leave [`crate::store`].
//!
//! Rows have a digest over all other columns: consents, events and evidence, and what decisions rest on, purposes and
//! notices with their revisions. The version in it is the row's own where it has one; rows that are appended, and
//! drafts, which are changed in place, have one version only. `notice_purpose` repeats what revisions say, to be
//! filtered by, and has none.

/// Says which row the model of the module is a state of.
macro_rules! digested {
    (|$model:ident| $row:expr) => {
        impl portal_store::sealed::DigestedRow for Model {
            const DIGEST: &'static str = "row_digest";

            fn row(&self) -> portal_store::sealed::Row {
                let $model = self;
                $row
            }

            fn digest(&self) -> Option<&[u8]> {
                self.row_digest.as_deref()
            }

            fn set_digest(&mut self, digest: [u8; 32]) {
                self.row_digest = Some(digest.to_vec());
            }
        }
    };
}

pub(super) mod change_ack;
pub(super) mod consent;
pub(super) mod consent_event;
pub(super) mod consent_import;
pub(super) mod evidence;
pub(super) mod notice;
pub(super) mod notice_purpose;
pub(super) mod notice_revision;
pub(super) mod purpose;
pub(super) mod purpose_revision;
pub(super) mod receipt;
pub(super) mod subject;
