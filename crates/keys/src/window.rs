//! A span of time in which something may be used, set by one task and asked by all.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use portal_core::Timestamp;

/// Open from a time until another one. A clock that was set back closes it as well: what it showed before is not to
/// be trusted.
#[derive(Debug, Default)]
pub(crate) struct Window {
    from: AtomicI64,
    until: AtomicI64,
}

impl Window {
    /// A window that opens at `from`, for `length`.
    pub(crate) fn new(from: Timestamp, length: Duration) -> Self {
        let window = Self::default();
        window.extend(from, length);
        window
    }

    /// Closes it at `from + length` instead.
    pub(crate) fn extend(&self, from: Timestamp, length: Duration) {
        // Whoever reads between the two sees the old end and the new beginning: closed, at worst.
        self.from.store(from.as_micros(), Ordering::Release);
        self.until.store(from.plus(length).as_micros(), Ordering::Release);
    }

    /// Closes it now.
    pub(crate) fn close(&self) {
        self.until.store(i64::MIN, Ordering::Release);
    }

    /// When it was last opened.
    pub(crate) fn from(&self) -> Timestamp {
        Timestamp::from_micros(self.from.load(Ordering::Acquire))
    }

    /// Whether it is open at `now`.
    pub(crate) fn is_open(&self, now: Timestamp) -> bool {
        let now = now.as_micros();
        now < self.until.load(Ordering::Acquire) && now >= self.from.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_open_from_its_beginning_to_before_its_end() {
        let at = Timestamp::from_seconds;
        let window = Window::new(at(100), Duration::from_secs(60));
        let check = |now, open| assert_eq!(window.is_open(at(now)), open, "{now}");
        check(99, false); // the clock was set back
        check(100, true);
        check(159, true);
        check(160, false);
        window.extend(at(150), Duration::from_secs(60));
        check(149, false);
        check(209, true);
        window.close();
        check(151, false);
        assert!(!Window::default().is_open(at(0)));
    }
}
