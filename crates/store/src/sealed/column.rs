//! [`SealedColumn`]: seals and opens the cells of one column.

use std::fmt;
use std::marker::PhantomData;

use portal_crypto::envelope::{Header, OpenError, Padding, Place, SealError, SubjectKey};

use super::metrics::{Operation, USUAL};
use super::{KeysOfSubject, Row, Sealable, Sealed, Sealing};
use crate::{Corruption, StoreError};

/// A sealed column of a table: a constant of the repository.
pub struct SealedColumn<T> {
    table: &'static str,
    column: &'static str,
    padding: Padding,
    value: PhantomData<fn() -> T>,
}

/// A cell among many: whose keys, which row, and what is to be sealed or opened.
pub struct Cell<'a, K: ?Sized, V> {
    /// The keys of the person that the row is about.
    pub keys: &'a K,
    /// The row.
    pub row: Row,
    /// The value, or the sealed value.
    pub value: &'a V,
}

impl<T> Clone for SealedColumn<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for SealedColumn<T> {}

impl<T> fmt::Debug for SealedColumn<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedColumn({}.{})", self.table, self.column)
    }
}

impl<T> SealedColumn<T> {
    /// The column `column` of `table`, with the names of the schema, whose values are padded by `padding`. All three
    /// are bound to every cell: they change by a data migration only.
    #[must_use]
    pub const fn new(table: &'static str, column: &'static str, padding: Padding) -> Self {
        Self { table, column, padding, value: PhantomData }
    }

    /// The table.
    #[must_use]
    pub const fn table(&self) -> &'static str {
        self.table
    }

    /// The column.
    #[must_use]
    pub const fn column(&self) -> &'static str {
        self.column
    }

    fn place(&self, key: &SubjectKey, row: Row) -> Place<'static> {
        Place {
            owner: *key.owner(),
            table: self.table,
            column: self.column,
            row: row.id,
            row_version: row.version,
        }
    }

    fn corrupt(&self, sealing: &Sealing, row: Row, cause: Corruption) -> StoreError {
        sealing.metrics.refused(cause);
        StoreError::Corrupt { table: self.table, column: self.column, row: row.to_string(), cause }
    }
}

impl<T: Sealable> SealedColumn<T> {
    /// Seals `value` for `row` under the newest of the person's keys.
    ///
    /// # Errors
    /// [`StoreError::Sealing`], [`StoreError::Disabled`].
    pub fn seal<K: KeysOfSubject + ?Sized>(
        &self,
        sealing: &Sealing,
        keys: &K,
        row: Row,
        value: &T,
    ) -> Result<Sealed<T>, StoreError> {
        let key = keys.sealing();
        let place = self.place(key, row);
        let sealed = sealing.metrics.count(Operation::Seal, USUAL, || {
            key.seal(&place, self.padding, value.to_plaintext().expose(), &*sealing.entropy)
        });
        sealed.map(Sealed::from_envelope).map_err(|error| match error {
            SealError::Disabled(disabled) => disabled.into(),
            source => StoreError::Sealing { table: self.table, column: self.column, source },
        })
    }

    /// Opens the cell of `row`.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it is not what was sealed for exactly this cell in this version of the row;
    /// [`StoreError::Disabled`].
    pub fn open<K: KeysOfSubject + ?Sized>(
        &self,
        sealing: &Sealing,
        keys: &K,
        row: Row,
        sealed: &Sealed<T>,
    ) -> Result<T, StoreError> {
        let corrupt = |cause| self.corrupt(sealing, row, cause);
        let envelope = sealed.envelope();
        let header = Header::read(envelope).map_err(|_| corrupt(Corruption::EnvelopeMalformed))?;
        let key = keys.opening(header.generation).ok_or_else(|| corrupt(Corruption::KeyMissing))?;
        let opened = sealing.metrics.count(Operation::Open, header.algorithm, || {
            key.open(&self.place(key, row), self.padding, envelope)
        });
        let plaintext = opened.map_err(|error| match error {
            OpenError::Disabled(disabled) => disabled.into(),
            OpenError::Generation { .. } => corrupt(Corruption::KeyMissing),
            OpenError::Malformed => corrupt(Corruption::EnvelopeMalformed),
            OpenError::Name | OpenError::Owner | OpenError::Padding | OpenError::Refused => {
                corrupt(Corruption::EnvelopeRefused)
            }
        })?;
        T::from_plaintext(plaintext.expose()).ok_or_else(|| corrupt(Corruption::ValueInvalid))
    }

    /// As [`Self::seal`], of a column that may be NULL. Whether a value is there is not hidden.
    ///
    /// # Errors
    /// As [`Self::seal`].
    pub fn seal_option<K: KeysOfSubject + ?Sized>(
        &self,
        sealing: &Sealing,
        keys: &K,
        row: Row,
        value: Option<&T>,
    ) -> Result<Option<Sealed<T>>, StoreError> {
        value.map(|value| self.seal(sealing, keys, row, value)).transpose()
    }

    /// As [`Self::open`], of a column that may be NULL. That a value was taken away, the row's digest shows.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_option<K: KeysOfSubject + ?Sized>(
        &self,
        sealing: &Sealing,
        keys: &K,
        row: Row,
        sealed: Option<&Sealed<T>>,
    ) -> Result<Option<T>, StoreError> {
        sealed.map(|sealed| self.open(sealing, keys, row, sealed)).transpose()
    }

    /// Seals many cells of this column, each for its own row and person.
    ///
    /// # Errors
    /// As [`Self::seal`], for the first that can't be sealed.
    pub fn seal_many<'a, K: KeysOfSubject + ?Sized + 'a>(
        &self,
        sealing: &Sealing,
        cells: impl IntoIterator<Item = Cell<'a, K, T>>,
    ) -> Result<Vec<Sealed<T>>, StoreError>
    where
        T: 'a,
    {
        cells.into_iter().map(|cell| self.seal(sealing, cell.keys, cell.row, cell.value)).collect()
    }

    /// Opens many cells of this column: one that is corrupt does not keep the others from being read.
    pub fn open_many<'a, K: KeysOfSubject + ?Sized + 'a>(
        &self,
        sealing: &Sealing,
        cells: impl IntoIterator<Item = Cell<'a, K, Sealed<T>>>,
    ) -> Vec<Result<T, StoreError>>
    where
        T: 'a,
    {
        cells.into_iter().map(|cell| self.open(sealing, cell.keys, cell.row, cell.value)).collect()
    }
}
