//! Pages of a list (AIP-158).

use crate::Invalid;

/// How many items a list method returns at most: 1 to 1,000, 50 if the caller does not say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PageSize(u32);

impl PageSize {
    /// What the caller gets who does not say.
    pub const DEFAULT: Self = Self(50);
    /// What the caller gets who asks for more.
    pub const MAX: Self = Self(1_000);

    /// Reads the `page_size` of a request: 0 is the default, larger than the maximum is the maximum.
    ///
    /// # Errors
    /// A negative size is a violation of `page_size`.
    pub fn parse(page_size: i32) -> Result<Self, Invalid> {
        match u32::try_from(page_size) {
            Err(_) => Err(Invalid::field("page_size", "must not be negative")),
            Ok(0) => Ok(Self::DEFAULT),
            Ok(size) => Ok(Self(size.min(Self::MAX.0))),
        }
    }

    /// The number of items.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds() {
        assert_eq!(PageSize::parse(0), Ok(PageSize::DEFAULT));
        assert_eq!(PageSize::parse(7).map(PageSize::get), Ok(7));
        assert_eq!(PageSize::parse(i32::MAX), Ok(PageSize::MAX));
        assert!(PageSize::parse(-1).is_err());
    }
}
