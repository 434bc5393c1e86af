//! The service's rows: concrete functions over a transaction, domain types in and out.
//!
//! Invariants: models do not leave this module; a row that does not hold what its column promises is a typed error; an
//! update that does not hit exactly the row it was meant for is one too.

use portal_core::Timestamp;

pub(crate) mod consents;
pub(crate) mod decisions;
pub(crate) mod notices;
pub(crate) mod purposes;

mod entity;
mod rows;

/// Which revision of a purpose or notice is meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Which {
    /// The newest, a draft included.
    Newest,
    /// What can be put to a subject: the one in force, or else the draft, so that a refusal can say that it is one.
    Offered,
    /// The one in force, or that was when the resource was archived.
    Published,
    /// This one, if it was published.
    Revision(u32),
}

/// Which purposes or notices a list shows, and in which revision.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum View {
    /// All, in their newest revision.
    All,
    /// Archived ones.
    Archived,
    /// Drafts.
    Drafts,
    /// Those in force, in the revision that is.
    Published,
}

impl View {
    /// Whether the newest revision is shown, rather than the published one.
    const fn newest(self) -> bool {
        match self {
            Self::All | Self::Archived | Self::Drafts => true,
            Self::Published => false,
        }
    }
}

/// A place in a list of consents: after the one changed at this time with this id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ConsentPosition {
    pub(crate) recorded_at: Timestamp,
    pub(crate) id: portal_core::id::ConsentId,
}

/// A place in a list of events.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct EventPosition {
    pub(crate) recorded_at: Timestamp,
    pub(crate) sequence: u64,
    pub(crate) id: portal_core::id::EventId,
}

/// One page of a list, and where the next one begins if there is one.
#[derive(Clone, Debug)]
pub(crate) struct Page<T, P> {
    pub(crate) items: Vec<T>,
    pub(crate) next: Option<P>,
}

impl<T, P> Page<T, P> {
    /// Of up to one more than `size` items.
    fn cut(mut items: Vec<T>, size: u32, position: impl Fn(&T) -> P) -> Self {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let more = items.len() > size;
        items.truncate(size);
        let next = if more { items.last().map(position) } else { None };
        Self { items, next }
    }
}
