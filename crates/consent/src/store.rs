//! The service's rows: concrete functions over a transaction, domain types in and out.
//!
//! Invariants: models do not leave this module; a row that does not hold what its column promises, or not what was
//! written, is a typed error; in a list it is left out and counted; an update that does not hit exactly the row it was
//! meant for is an error too.
//!
//! What is personal is sealed under the key of its subject. Functions are given the key: nothing here waits for one.

use portal_core::Timestamp;
use portal_store::{Inserts, StoreError};
use sea_orm::{EntityTrait, Iterable, ModelTrait};

pub(crate) mod changes;
pub(crate) mod consents;
pub(crate) mod decisions;
pub(crate) mod events;
pub(crate) mod following;
pub(crate) mod imports;
pub(crate) mod leaves;
pub(crate) mod moving;
pub(crate) mod notices;
pub(crate) mod past;
pub(crate) mod purposes;
pub(crate) mod receipts;
pub(crate) mod scanned;
pub(crate) mod subjects;

mod documents;
mod entity;
mod rows;
mod seals;

pub(crate) use seals::{Reading, Seals, Writing};

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
    /// How many rows of the page are left out, because they are corrupt.
    pub(crate) withheld: usize,
    pub(crate) next: Option<P>,
}

impl<T, P> Page<T, P> {
    /// Of up to one row more than `size`, each of which `read` reads. Where the next page begins, a corrupt row says as
    /// well as any other.
    fn cut<M>(
        mut rows: Vec<M>,
        size: u32,
        position: impl Fn(&M) -> P,
        read: impl FnMut(M) -> Result<T, StoreError>,
    ) -> Result<Self, StoreError> {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let more = rows.len() > size;
        rows.truncate(size);
        let next = if more { rows.last().map(position) } else { None };
        let mut page = Self { items: Vec::with_capacity(rows.len()), withheld: 0, next };
        for row in rows.into_iter().map(read) {
            let row = page.sound(row)?;
            page.items.extend(row);
        }
        Ok(page)
    }

    /// The row, unless it is corrupt.
    fn sound<U>(&mut self, row: Result<U, StoreError>) -> Result<Option<U>, StoreError> {
        let row = sound(row)?;
        self.withheld += usize::from(row.is_none());
        Ok(row)
    }

    /// The page with each item read on by `read`.
    pub(crate) fn try_map<U, E: From<StoreError>>(
        self,
        read: impl Fn(T) -> Result<Result<U, StoreError>, E>,
    ) -> Result<Page<U, P>, E> {
        let Self { items, withheld, next } = self;
        let mut page = Page { items: Vec::with_capacity(items.len()), withheld, next };
        for item in items {
            let row = page.sound(read(item)?)?;
            page.items.extend(row);
        }
        Ok(page)
    }
}

/// What was read, unless the row is corrupt, which is logged.
fn sound<T>(row: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match row {
        Ok(row) => Ok(Some(row)),
        Err(error @ StoreError::Corrupt { .. }) => {
            tracing::error!(%error, "a corrupt row is left out");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Adds rows that are not there.
fn add_all<M: ModelTrait>(inserts: &mut Inserts, rows: Vec<M>) -> Result<(), StoreError> {
    let columns: Vec<_> = <M::Entity as EntityTrait>::Column::iter().collect();
    let values = |row: M| columns.iter().map(|column| row.get(*column)).collect();
    inserts.add::<M::Entity>(&columns, rows.into_iter().map(values).collect())
}
