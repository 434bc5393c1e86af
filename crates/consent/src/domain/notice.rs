//! Notices: what a subject is told before deciding.

use std::collections::BTreeMap;

use portal_core::id::{NoticeId, PurposeId};

use crate::domain::language::Language;
use crate::domain::life::{Life, State};

/// One revision of a notice.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    pub(crate) id: NoticeId,
    pub(crate) life: Life,
    pub(crate) revision: u32,
    pub(crate) text: Text,
    /// SHA-384 of the canonical form, once published.
    pub(crate) content_hash: Option<Vec<u8>>,
}

/// What a revision says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Text {
    pub(crate) title: String,
    pub(crate) bodies: BTreeMap<Language, String>,
    pub(crate) purposes: Vec<PurposeId>,
    pub(crate) material_change: bool,
}

/// The fields of [`Text`] that an update changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patch {
    pub(crate) title: Option<String>,
    pub(crate) bodies: Option<BTreeMap<Language, String>>,
    pub(crate) purposes: Option<Vec<PurposeId>>,
    pub(crate) material_change: Option<bool>,
}

impl Notice {
    pub(crate) fn state(&self) -> State {
        self.life.state(self.revision)
    }
}

impl Text {
    /// This text with the changes of `patch`.
    pub(crate) fn with(self, patch: Patch) -> Self {
        Self {
            title: patch.title.unwrap_or(self.title),
            bodies: patch.bodies.unwrap_or(self.bodies),
            purposes: patch.purposes.unwrap_or(self.purposes),
            material_change: patch.material_change.unwrap_or(self.material_change),
        }
    }
}
