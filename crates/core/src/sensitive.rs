//! Secrets and personal data that must not be seen by accident.

use std::fmt;

use zeroize::optimization_barrier;

/// Marks a type whose values may be logged, put into metrics and told in errors. Nothing that can hold personal data
/// or a secret implements it.
pub trait LogSafe: fmt::Display {}

/// What can be overwritten with zeros that the compiler does not leave out, all of its memory and at the speed of memory.
/// The `Zeroize` of a vector writes byte by byte, which takes four times as long as to decrypt it did.
pub trait Wipe {
    /// Overwrites the value.
    fn wipe(&mut self);
}

impl<const N: usize> Wipe for [u8; N] {
    fn wipe(&mut self) {
        self.fill(0);
        optimization_barrier(self);
    }
}

impl Wipe for Vec<u8> {
    fn wipe(&mut self) {
        // With what was cut off, which still stands behind the end.
        self.clear();
        self.resize(self.capacity(), 0);
        optimization_barrier(self.as_slice());
        self.clear();
    }
}

impl Wipe for String {
    fn wipe(&mut self) {
        std::mem::take(self).into_bytes().wipe();
    }
}

/// A value that is wiped when dropped and that `Debug` does not show. It has no `Display`, no `Serialize`
/// and no `==`: compare secrets in constant time.
#[derive(Clone)]
pub struct Sensitive<T: Wipe>(T);

impl<T: Wipe> Drop for Sensitive<T> {
    fn drop(&mut self) {
        self.0.wipe();
    }
}

impl<T: Wipe> Sensitive<T> {
    /// Wraps `value`.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself; each call is a place to review.
    #[must_use]
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl Sensitive<Vec<u8>> {
    /// Drops all but the first `length` bytes, if there are more. They are wiped with the rest.
    pub fn truncate(&mut self, length: usize) {
        self.0.truncate(length);
    }
}

impl<T: Wipe> fmt::Debug for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[sensitive]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_the_memory_is_wiped() {
        let mut array = [7; 5];
        array.wipe();
        assert_eq!(array, [0; 5]);
        let mut bytes = b"anna@example.org".to_vec();
        bytes.truncate(4);
        let (start, capacity) = (bytes.as_ptr(), bytes.capacity());
        bytes.wipe();
        assert!(bytes.is_empty());
        assert_eq!((bytes.as_ptr(), bytes.capacity()), (start, capacity), "the same memory");
        let mut text = String::from("anna");
        text.wipe();
        assert_eq!(text, "");
    }

    #[test]
    fn debug_does_not_show_the_value() {
        assert_eq!(format!("{:?}", Sensitive::new("anna@example.org".to_owned())), "[sensitive]");
    }
}
