//! The digest of a row over all of its columns, plain and sealed: made when the row is written, checked when it is read.
//!
//! A model says which table and row it is and where its digest stands; the columns come from sea-orm, so that none can
//! be forgotten. A column that is NULL is left out, as if it were not there: a schema migration that adds a nullable
//! column leaves all digests as they are, and taking a value away still changes the digest.
//!
//! ```ignore
//! impl DigestedRow for account::Model {
//!     fn row(&self) -> Row { Row { id: self.id.into_bytes(), version: self.version.unsigned_abs() } }
//!     fn digest(&self) -> Option<&[u8]> { self.digest.as_deref() }
//!     fn set_digest(&mut self, digest: [u8; 32]) { self.digest = Some(digest.to_vec()); }
//! }
//! ```

use portal_crypto::row_digest::{RowDigest, RowDigestKey};
use sea_orm::{EntityName, EntityTrait, IdenStatic, Iterable, ModelTrait, Value};

use super::Row;
use super::metrics::CellMetrics;
use crate::{Corruption, Metrics, StoreError};

/// A sea-orm model of a table whose rows have a digest.
pub trait DigestedRow: ModelTrait {
    /// The column with the digest, the only one that is not part of it.
    const DIGEST: &'static str = "digest";

    /// The row that this is a state of.
    fn row(&self) -> Row;

    /// The digest that is stored with it; `None` in rows that were written before there were digests.
    fn digest(&self) -> Option<&[u8]>;

    /// Puts the digest into its column.
    fn set_digest(&mut self, digest: [u8; 32]);
}

/// Makes and checks digests of rows. Cheap to clone.
#[derive(Clone)]
pub struct RowDigests {
    key: RowDigestKey,
    metrics: CellMetrics,
}

impl std::fmt::Debug for RowDigests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowDigests").finish_non_exhaustive()
    }
}

impl RowDigests {
    /// With the service's integrity key; counts refusals in `metrics`.
    #[must_use]
    pub fn new(key: RowDigestKey, metrics: &Metrics) -> Self {
        Self { key, metrics: metrics.cells().clone() }
    }

    /// Gives `model` its digest: the last thing before it is written. Whatever is changed after it is found.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] with [`Corruption::ValueInvalid`] if a column is of a type that has no canonical form.
    pub fn stamp<M: DigestedRow>(&self, model: &mut M) -> Result<(), StoreError> {
        let digest = self.of(model)?.finish();
        model.set_digest(digest);
        Ok(())
    }

    /// The digest that `model` must have, for statements that write columns and not models.
    ///
    /// # Errors
    /// As [`Self::stamp`].
    pub fn digest<M: DigestedRow>(&self, model: &M) -> Result<[u8; 32], StoreError> {
        Ok(self.of(model)?.finish())
    }

    /// Checks the digest of `model` as it was read.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] with [`Corruption::DigestMismatch`] if it is another one or there is none.
    pub fn check<M: DigestedRow>(&self, model: &M) -> Result<(), StoreError> {
        let digest = model.digest().unwrap_or_default();
        if self.of(model)?.verify(digest) {
            return Ok(());
        }
        self.metrics.refused(Corruption::DigestMismatch);
        Err(corrupt(model, "", Corruption::DigestMismatch))
    }

    /// Whether `model` as it was read has the right digest. One that has none is not counted as refused.
    ///
    /// # Errors
    /// As [`Self::stamp`].
    pub fn is_stamped<M: DigestedRow>(&self, model: &M) -> Result<bool, StoreError> {
        match model.digest().map(|_| self.check(model)) {
            None | Some(Err(StoreError::Corrupt { cause: Corruption::DigestMismatch, .. })) => Ok(false),
            Some(checked) => checked.map(|()| true),
        }
    }

    fn of<M: DigestedRow>(&self, model: &M) -> Result<RowDigest<'_>, StoreError> {
        let Row { id, version } = model.row();
        let mut digest = RowDigest::new(&self.key, table::<M>(), &id, version);
        for column in <M::Entity as EntityTrait>::Column::iter() {
            let name = column.as_str();
            if name != M::DIGEST {
                digest = add(digest, name, model.get(column))
                    .ok_or_else(|| corrupt(model, name, Corruption::ValueInvalid))?;
            }
        }
        Ok(digest)
    }
}

fn table<M: DigestedRow>() -> &'static str {
    <M::Entity as Default>::default().table_name()
}

fn corrupt<M: DigestedRow>(model: &M, column: &'static str, cause: Corruption) -> StoreError {
    StoreError::Corrupt { table: table::<M>(), column, row: model.row().to_string(), cause }
}

/// `digest` with one more column; `None` if its type is not one that [`crate::columns`] makes.
fn add<'a>(digest: RowDigest<'a>, name: &'static str, value: Value) -> Option<RowDigest<'a>> {
    Some(match value {
        Value::BigInt(Some(value)) => digest.int(name, value),
        Value::Bool(Some(value)) => digest.bool(name, value),
        Value::Bytes(Some(value)) => digest.bytes(name, &value),
        Value::Double(Some(value)) => digest.float(name, value),
        Value::Int(Some(value)) => digest.int(name, value.into()),
        Value::SmallInt(Some(value)) => digest.int(name, value.into()),
        Value::String(Some(value)) => digest.text(name, &value),
        Value::Uuid(Some(value)) => digest.bytes(name, value.as_bytes()),
        Value::BigInt(None)
        | Value::Bool(None)
        | Value::Bytes(None)
        | Value::Double(None)
        | Value::Int(None)
        | Value::SmallInt(None)
        | Value::String(None)
        | Value::Uuid(None) => digest,
        _ => return None,
    })
}
