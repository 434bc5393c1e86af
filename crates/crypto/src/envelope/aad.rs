//! The associated data of a field, on the stack.

use portal_core::id::Id;

use super::{MAX_NAME, Place, Suite};

const LABEL: &[u8; 16] = b"portal/field/v1\0";

/// The longest name of a service; a test holds [`portal_core::Workload`] to it.
pub(super) const MAX_SERVICE: usize = 16;

const MAX: usize = LABEL.len() + 1 + 4 + MAX_SERVICE + 16 + 16 + 2 * (1 + MAX_NAME) + 16 + 8;

/// The encoded place of a value.
pub(super) struct Aad {
    bytes: [u8; MAX],
    length: usize,
}

impl Aad {
    /// The associated data of `place`; `None` if a name is empty or too long.
    pub(super) fn new(suite: Suite, generation: u32, place: &Place<'_>) -> Option<Self> {
        let mut aad = Self { bytes: [0; MAX], length: 0 };
        aad.push(LABEL)?;
        aad.push(&[suite.id()])?;
        aad.push(&generation.to_be_bytes())?;
        aad.push(place.owner.service.name().as_bytes())?;
        aad.push(&place.owner.tenant.bytes())?;
        aad.push(&place.owner.subject.bytes())?;
        aad.push_name(place.table)?;
        aad.push_name(place.column)?;
        aad.push(&place.row)?;
        aad.push(&place.row_version.to_be_bytes())?;
        Some(aad)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn push(&mut self, part: &[u8]) -> Option<()> {
        let end = self.length.checked_add(part.len())?;
        self.bytes.get_mut(self.length..end)?.copy_from_slice(part);
        self.length = end;
        Some(())
    }

    fn push_name(&mut self, name: &str) -> Option<()> {
        let length =
            u8::try_from(name.len()).ok().filter(|length| (1..=MAX_NAME).contains(&(*length).into()))?;
        self.push(&[length])?;
        self.push(name.as_bytes())
    }
}
