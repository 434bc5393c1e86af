//! Lower-case hexadecimal.

/// The bytes, if the text has exactly `2 * N` lower- or upper-case digits.
pub(crate) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        for &digit in pair {
            *byte = (*byte << 4) | value(digit)?;
        }
    }
    Some(out)
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The bytes of a test vector.
#[cfg(test)]
pub(crate) fn bytes(digits: &str) -> Vec<u8> {
    digits.as_bytes().chunks(2).map(|pair| decode::<1>(str::from_utf8(pair).unwrap()).unwrap()[0]).collect()
}
