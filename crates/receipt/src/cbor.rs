//! The part of CBOR (RFC 8949) that payloads need, in the deterministic encoding of its section 4.2 and no other.
//!
//! Items are whole numbers, byte and text strings, booleans, arrays, and maps whose keys are numbers from 0 up. Numbers and
//! lengths are as short as they can be, keys ascend, nothing is open-ended, nothing follows.

use std::collections::BTreeMap;

/// Arrays and maps inside each other, at most.
const MAX_DEPTH: u8 = 8;

/// Not an item in the deterministic encoding.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not CBOR in its deterministic encoding")]
pub(crate) struct Malformed;

/// A data item.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Item {
    Array(Vec<Item>),
    Bool(bool),
    Bytes(Vec<u8>),
    Int(i64),
    Map(BTreeMap<u8, Item>),
    Text(String),
}

impl Item {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Array(items) => {
                head(out, 4, items.len() as u64);
                items.iter().for_each(|item| item.write(out));
            }
            Self::Bool(value) => out.push(0xf4 | u8::from(*value)),
            Self::Bytes(bytes) => {
                head(out, 2, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
            // −1 − n is what major type 1 holds.
            Self::Int(number) if *number < 0 => head(out, 1, number.unsigned_abs() - 1),
            Self::Int(number) => head(out, 0, number.unsigned_abs()),
            Self::Map(members) => {
                head(out, 5, members.len() as u64);
                for (key, item) in members {
                    head(out, 0, u64::from(*key));
                    item.write(out);
                }
            }
            Self::Text(text) => {
                head(out, 3, text.len() as u64);
                out.extend_from_slice(text.as_bytes());
            }
        }
    }

    /// The one item that `bytes` are.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = bytes;
        let item = read(&mut rest, 0)?;
        if rest.is_empty() { Ok(item) } else { Err(Malformed) }
    }
}

fn head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let major = major << 5;
    let bytes = argument.to_be_bytes();
    let [.., b6, b7] = bytes;
    let [.., b4, b5, _, _] = bytes;
    match argument {
        0..24 => out.push(major | b7),
        24..0x100 => out.extend([major | 24, b7]),
        0x100..0x1_0000 => out.extend([major | 25, b6, b7]),
        0x1_0000..0x1_0000_0000 => out.extend([major | 26, b4, b5, b6, b7]),
        _ => {
            out.push(major | 27);
            out.extend(bytes);
        }
    }
}

fn read(rest: &mut &[u8], depth: u8) -> Result<Item, Malformed> {
    if depth > MAX_DEPTH {
        return Err(Malformed);
    }
    let [first] = *take::<1>(rest)?;
    if let 0xf4 | 0xf5 = first {
        return Ok(Item::Bool(first == 0xf5));
    }
    let argument = argument(rest, first & 0x1f)?;
    match first >> 5 {
        0 => Ok(Item::Int(i64::try_from(argument).map_err(|_| Malformed)?)),
        1 => Ok(Item::Int(-1 - i64::try_from(argument).map_err(|_| Malformed)?)),
        2 => Ok(Item::Bytes(string(rest, argument)?.to_vec())),
        3 => {
            let text = std::str::from_utf8(string(rest, argument)?).map_err(|_| Malformed)?;
            Ok(Item::Text(text.to_owned()))
        }
        4 => {
            let mut items = Vec::new();
            for _ in 0..argument {
                items.push(read(rest, depth + 1)?);
            }
            Ok(Item::Array(items))
        }
        5 => Ok(Item::Map(members(rest, argument, depth)?)),
        _ => Err(Malformed),
    }
}

fn members(rest: &mut &[u8], count: u64, depth: u8) -> Result<BTreeMap<u8, Item>, Malformed> {
    let mut members = BTreeMap::new();
    for _ in 0..count {
        let Item::Int(key) = read(rest, depth + 1)? else { return Err(Malformed) };
        let key = u8::try_from(key).map_err(|_| Malformed)?;
        if members.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return Err(Malformed);
        }
        members.insert(key, read(rest, depth + 1)?);
    }
    Ok(members)
}

/// The number after a first byte, in no more bytes than it takes.
fn argument(rest: &mut &[u8], short: u8) -> Result<u64, Malformed> {
    let (number, least) = match short {
        0..24 => (u64::from(short), 0),
        24 => (u64::from(u8::from_be_bytes(*take(rest)?)), 24),
        25 => (u64::from(u16::from_be_bytes(*take(rest)?)), 0x100),
        26 => (u64::from(u32::from_be_bytes(*take(rest)?)), 0x1_0000),
        27 => (u64::from_be_bytes(*take(rest)?), 0x1_0000_0000),
        _ => return Err(Malformed),
    };
    if number >= least { Ok(number) } else { Err(Malformed) }
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<&'a [u8; N], Malformed> {
    let (taken, after) = rest.split_first_chunk().ok_or(Malformed)?;
    *rest = after;
    Ok(taken)
}

fn string<'a>(rest: &mut &'a [u8], length: u64) -> Result<&'a [u8], Malformed> {
    let length = usize::try_from(length).map_err(|_| Malformed)?;
    let (taken, after) = rest.split_at_checked(length).ok_or(Malformed)?;
    *rest = after;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// From appendix A of RFC 8949.
    #[test]
    fn examples_of_the_rfc() {
        let text = |text: &str| Item::Text(text.to_owned());
        let check = |item: Item, bytes: &[u8]| {
            assert_eq!(item.encode(), bytes, "{item:?}");
            assert_eq!(Item::decode(bytes), Ok(item));
        };
        check(Item::Int(23), &[0x17]);
        check(Item::Int(24), &[0x18, 0x18]);
        check(Item::Int(1000), &[0x19, 0x03, 0xe8]);
        check(Item::Int(1_000_000), &[0x1a, 0x00, 0x0f, 0x42, 0x40]);
        check(Item::Int(1_000_000_000_000), &[0x1b, 0, 0, 0, 0xe8, 0xd4, 0xa5, 0x10, 0]);
        check(Item::Int(-1), &[0x20]);
        check(Item::Int(-1000), &[0x39, 0x03, 0xe7]);
        check(Item::Bool(false), &[0xf4]);
        check(Item::Bool(true), &[0xf5]);
        check(Item::Bytes(vec![1, 2, 3, 4]), &[0x44, 1, 2, 3, 4]);
        check(text("\u{6c34}"), &[0x63, 0xe6, 0xb0, 0xb4]);
        let nested = Item::Array(vec![Item::Int(1), Item::Array(vec![Item::Int(2), Item::Int(3)])]);
        check(nested, &[0x82, 0x01, 0x82, 0x02, 0x03]);
        check(Item::Map(BTreeMap::from([(1, Item::Int(2)), (3, Item::Int(4))])), &[0xa2, 1, 2, 3, 4]);
    }

    #[test]
    fn every_other_encoding_is_refused() {
        let refused: [&[u8]; 20] = [
            &[],
            &[0x18, 0x17],
            &[0x19, 0x00, 0xff],
            &[0x1a, 0, 0, 0xff, 0xff],
            &[0x1b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
            &[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0x1c],
            &[0x41],
            &[0x5f, 0x41, 0x01, 0xff],
            &[0x61, 0xff],
            &[0x9f, 0x01, 0xff],
            &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0xa2, 0x03, 0x04, 0x01, 0x02],
            &[0xa2, 0x01, 0x02, 0x01, 0x02],
            &[0xa1, 0x20, 0x01],
            &[0xa1, 0x61, 0x61, 0x01],
            &[0xc0, 0x01],
            &[0xf6],
            &[0xf9, 0x3c, 0x00],
            &[0x01, 0x01],
        ];
        for bytes in refused {
            assert_eq!(Item::decode(bytes), Err(Malformed), "{bytes:02x?}");
        }
        assert_eq!(Item::decode(&[0x81; 100]), Err(Malformed));
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(item) = Item::decode(&bytes) {
                prop_assert_eq!(item.encode(), bytes);
            }
        }
    }
}
