//! Secrets and personal data that must not be seen by accident.

use std::fmt;

use zeroize::Zeroize;

/// Marks a type whose values may be logged, put into metrics and told in errors. Nothing that can hold personal data
/// or a secret implements it.
pub trait LogSafe: fmt::Display {}

/// A value that is wiped when dropped and that `Debug` does not show. It has no `Display`, no `Serialize`
/// and no `==`: compare secrets in constant time.
#[derive(Clone)]
pub struct Sensitive<T: Zeroize>(T);

impl<T: Zeroize> Drop for Sensitive<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> Sensitive<T> {
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

impl<T: Zeroize> fmt::Debug for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[sensitive]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_show_the_value() {
        assert_eq!(format!("{:?}", Sensitive::new("anna@example.org".to_owned())), "[sensitive]");
    }
}
