//! Padding of values whose length tells something (ISO/IEC 7816-4): 0x80, then zeros up to a multiple.

/// To what multiple of bytes the values of a column are filled up before they are sealed. It belongs to the column and
/// is not stored; a column's padding changes by a data migration.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Padding {
    /// Not at all: the envelope tells the value's length.
    None,
    /// To the next multiple of 16 bytes.
    To16,
    /// To the next multiple of 64 bytes.
    To64,
    /// To the next multiple of 256 bytes.
    To256,
}

const MARK: u8 = 0x80;

impl Padding {
    const fn multiple(self) -> Option<u16> {
        match self {
            Self::None => None,
            Self::To16 => Some(16),
            Self::To64 => Some(64),
            Self::To256 => Some(256),
        }
    }

    /// How many bytes a value of `length` bytes gets, 1 or more unless it is [`Padding::None`].
    pub(super) fn bytes_for(self, length: usize) -> usize {
        self.multiple().map(usize::from).map_or(0, |multiple| multiple - length % multiple)
    }

    /// Appends them.
    pub(super) fn append(self, length: usize, out: &mut Vec<u8>) {
        let fill = self.bytes_for(length);
        if fill > 0 {
            out.push(MARK);
            out.resize(out.len() + fill - 1, 0);
        }
    }

    /// The length of the value in `padded`; `None` if it was not padded like this. The time it takes depends on the
    /// length of `padded` alone.
    pub(super) fn strip(self, padded: &[u8]) -> Option<usize> {
        let Some(multiple) = self.multiple() else { return Some(padded.len()) };
        let start = padded.len().checked_sub(multiple.into())?;
        if !padded.len().is_multiple_of(multiple.into()) {
            return None;
        }
        let last = padded.get(start..)?;
        // From the front: a mark sets the position, and anything but a zero after it takes it back. Masks, no branches.
        let (mut position, mut found) = (0_u16, 0_u16);
        for (at, byte) in (0_u16..).zip(last) {
            let (mark, zero) = (ones_if_zero(byte ^ MARK), ones_if_zero(*byte));
            position = (position & !mark) | (at & mark);
            found = (found & zero) | mark;
        }
        (found != 0).then(|| start + usize::from(position))
    }
}

/// 0xff for 0, 0 for every other byte. Positions fit eight bits, so that is mask enough.
const fn ones_if_zero(byte: u8) -> u16 {
    (byte as u16).wrapping_sub(1) >> 8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Padding; 4] = [Padding::None, Padding::To16, Padding::To64, Padding::To256];

    #[test]
    fn a_mark_and_zeros_up_to_the_multiple() {
        let check = |padding: Padding, value: &[u8], expected: &[u8]| {
            let mut padded = value.to_vec();
            padding.append(value.len(), &mut padded);
            assert_eq!(padded, expected);
            assert_eq!(padding.strip(&padded), Some(value.len()));
        };
        check(Padding::None, b"value", b"value");
        check(Padding::To16, b"", &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        check(Padding::To16, b"fifteen bytes..", b"fifteen bytes..\x80");
        check(Padding::To16, b"sixteen bytes...", &[b"sixteen bytes...\x80".as_slice(), &[0; 15]].concat());
        check(Padding::To16, b"\x80\0\0", b"\x80\0\0\x80\0\0\0\0\0\0\0\0\0\0\0\0");
    }

    #[test]
    fn what_has_no_mark_in_its_last_block_is_refused() {
        for padded in [
            &[][..],
            &[0; 16],
            &[0x81; 16],
            &[0x80; 15],
            &[0x80; 17],
            b"\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01",
        ] {
            assert_eq!(Padding::To16.strip(padded), None, "{padded:x?}");
        }
        assert_eq!(
            Padding::To16.strip(&[[0x80; 16], [0; 16]].concat()),
            None,
            "the mark is in an earlier block"
        );
    }

    proptest! {
        #[test]
        fn strips_what_it_appended(value in prop::collection::vec(prop_oneof![Just(0_u8), Just(0x80), any::<u8>()], 0..600)) {
            for padding in ALL {
                let mut padded = value.clone();
                padding.append(value.len(), &mut padded);
                prop_assert_eq!(padded.len(), value.len() + padding.bytes_for(value.len()));
                prop_assert_eq!(padding.strip(&padded), Some(value.len()));
                if let Some(multiple) = padding.multiple() {
                    prop_assert_eq!(padded.len() % usize::from(multiple), 0);
                }
            }
        }
    }
}
