//! Looks for secrets in the memory of the process itself.

use std::fs::File;
use std::hint::black_box;
use std::io::BufRead;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

use portal_core::{Entropy, SystemEntropy};

/// What is searched for must not be in memory itself.
const MASK: u8 = 0x5a;

/// A secret as it is searched for.
pub type Masked = [u8; 32];

pub fn mask(secret: &[u8]) -> Masked {
    let mut masked = [0; 32];
    for (to, from) in masked.iter_mut().zip(secret) {
        *to = from ^ MASK;
    }
    masked
}

/// The machine's entropy, which remembers each key that it gave, masked.
#[derive(Default)]
pub struct Recorded(Mutex<Vec<Masked>>);

impl Entropy for Recorded {
    fn fill(&self, bytes: &mut [u8]) {
        SystemEntropy.fill(bytes);
        if bytes.len() == 32 {
            self.0.lock().unwrap().push(mask(bytes));
        }
    }
}

impl Recorded {
    /// In the order in which they were made.
    pub fn keys(&self) -> Vec<Masked> {
        self.0.lock().unwrap().clone()
    }
}

/// How often the secrets stand in the memory of this process.
pub fn found(secrets: &[Masked]) -> usize {
    let memory = File::open("/proc/self/mem").unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut count = 0;
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().unwrap(), words.next().unwrap());
        if !rights.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|digits| u64::from_str_radix(digits, 16).unwrap());
        let mut at = start;
        let mut buffer = vec![0; 1 << 16];
        while at < end {
            let len = buffer.len().min(usize::try_from(end - at).unwrap());
            // A page can go while it is looked at.
            if memory.read_exact_at(&mut buffer[..len], at).is_ok() {
                count += secrets.iter().map(|secret| occurrences(&buffer[..len], secret)).sum::<usize>();
            }
            // With an overlap, for what stands across the border.
            at += if len < buffer.len() { len as u64 } else { len as u64 - 31 };
        }
        buffer.fill(0);
        black_box(&buffer);
    }
    count
}

/// By the standard library's search for a byte, which is fast in every profile.
fn occurrences(memory: &[u8], secret: &Masked) -> usize {
    let usual = |byte: &u8| matches!(byte ^ MASK, 0 | 0xff);
    let place = secret.iter().position(|byte| !usual(byte)).unwrap();
    let (byte, mut rest, mut count) = (secret[place] ^ MASK, memory, 0);
    while rest.skip_until(byte).unwrap() > 0 {
        let start = (memory.len() - rest.len()).checked_sub(place + 1);
        let window = start.and_then(|start| memory.get(start..start + 32));
        if window.is_some_and(|window| window.iter().zip(secret).all(|(byte, masked)| *byte == masked ^ MASK))
        {
            count += 1;
        }
    }
    count
}
