//! Byte strings of a known greatest length, put together on the stack: associated data is made for every field.

/// Up to `N` bytes.
#[derive(Clone, Copy)]
pub(crate) struct ShortBytes<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> ShortBytes<N> {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; N], length: 0 }
    }

    /// The parts, one after the other; see [`Self::push`].
    pub(crate) fn of(parts: &[&[u8]]) -> Self {
        let mut all = Self::new();
        for part in parts {
            all.push(part);
        }
        all
    }

    /// Appends `part`. That there is room follows from `N`, which is the sum of the longest parts.
    #[inline(always)]
    pub(crate) fn push(&mut self, part: &[u8]) {
        let end = self.length + part.len();
        debug_assert!(end <= N, "{end} bytes of {N}");
        if let Some(room) = self.bytes.get_mut(self.length..end) {
            room.copy_from_slice(part);
            self.length = end;
        }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// All `N` bytes; those that were not pushed are zero.
    pub(crate) const fn into_array(self) -> [u8; N] {
        self.bytes
    }
}
