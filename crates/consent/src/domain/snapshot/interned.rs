//! Values that many rows share, kept once each under a number. None is ever forgotten: there are few.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::RwLock;

use super::{read, write};

pub(super) struct Interned<T>(RwLock<Values<T>>);

struct Values<T> {
    values: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self(RwLock::new(Values { values: Vec::new(), numbers: HashMap::new() }))
    }
}

impl<T: Copy + Eq + Hash> Interned<T> {
    /// The number of `value`, which it gets if it has none.
    pub(super) fn intern(&self, value: T) -> u32 {
        if let Some(number) = self.index(&value) {
            return number;
        }
        let mut all = write(&self.0);
        let next = u32::try_from(all.values.len()).unwrap_or(u32::MAX);
        let number = *all.numbers.entry(value).or_insert(next);
        if number == next {
            all.values.push(value);
        }
        number
    }

    /// The number of `value`, if it has one.
    pub(super) fn index(&self, value: &T) -> Option<u32> {
        read(&self.0).numbers.get(value).copied()
    }

    /// The value with this number.
    pub(super) fn get(&self, number: u32) -> Option<T> {
        read(&self.0).values.get(usize::try_from(number).ok()?).copied()
    }
}
