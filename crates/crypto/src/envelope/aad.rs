//! The associated data of a field, on the stack. What is the same for every field of a key is encoded once, with the key.

use portal_core::id::Id;

use super::{MAX_NAME, MAX_SERVICE, Owner, Place, Suite};
use crate::short_bytes::ShortBytes;

const FIELD: &[u8; 16] = b"portal/field/v1\0";
const BULK: &[u8; 15] = b"portal/bulk/v1\0";

const MAX: usize = FIELD.len() + 1 + 4 + MAX_SERVICE + 16 + 16 + 2 * (1 + MAX_NAME) + 16 + 8;

/// Associated data up to the owner, which comes from the key, or with the place.
#[derive(Clone, Copy)]
pub(super) struct Aad(ShortBytes<MAX>);

impl Aad {
    /// Of a field, up to the owner.
    pub(super) fn of_field(suite: Suite, generation: u32, owner: &Owner) -> Self {
        Self::start(FIELD, &[suite.id()], generation, owner)
    }

    /// Of a stream, up to the owner.
    pub(super) fn of_bulk(generation: u32, owner: &Owner) -> Self {
        Self::start(BULK, &[], generation, owner)
    }

    fn start(label: &[u8], suite: &[u8], generation: u32, owner: &Owner) -> Self {
        let (generation, service) = (generation.to_be_bytes(), owner.service.name().as_bytes());
        let (tenant, subject) = (owner.tenant.bytes(), owner.subject.bytes());
        Self(ShortBytes::of(&[label, suite, &generation, service, &tenant, &subject]))
    }

    /// Appends the rest of `place`, whose owner is the key's; `None` if a name is empty or too long.
    #[inline]
    pub(super) fn push_place(&mut self, place: &Place<'_>) -> Option<()> {
        for name in [place.table, place.column] {
            let length = u8::try_from(name.len()).ok()?;
            if !(1..=MAX_NAME).contains(&name.len()) {
                return None;
            }
            self.0.push(&[length]);
            self.0.push(name.as_bytes());
        }
        self.0.push(&place.row);
        self.0.push(&place.row_version.to_be_bytes());
        Some(())
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        self.0.as_slice()
    }
}
