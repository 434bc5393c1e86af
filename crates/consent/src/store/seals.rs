//! What rows are sealed, opened, stamped and checked with, and in which form a transaction finds and leaves them.
//!
//! While rows are given their new form (see `store::moving`) an earlier version of the service may still write rows
//! without a digest, and change rows beneath one: until that is committed, what stands in the clear is the truth and
//! digests are not looked at. From then on a row whose digest is wrong or missing is corrupt.

use std::ops::Deref;
use std::sync::Arc;

use portal_keys::ServiceCells;
use portal_store::sealed::{DigestedRow, RowDigests, Sealing};
use portal_store::{Conn, ReadTx, StoreError, Tx, bulk};
use portal_upkeep::migration::{Finality, Mode, ModeOf};
use sea_orm::prelude::Uuid;
use sea_orm::{ActiveModelTrait, EntityTrait, IntoActiveModel, ModelTrait, Value};

use crate::store::moving;

/// What rows are sealed, opened, stamped and checked with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Seals {
    pub(in crate::store) sealing: Sealing,
    pub(in crate::store) receipts: ServiceCells,
    digests: RowDigests,
    mode: Arc<ModeOf>,
}

/// A transaction, and the form in which it finds rows.
pub(crate) struct Reading<'a> {
    tx: &'a ReadTx,
    seals: &'a Seals,
    mode: Mode,
}

/// A transaction that changes rows, and the form in which it leaves them.
pub(crate) struct Writing<'a> {
    tx: &'a Tx,
    reading: Reading<'a>,
}

impl Seals {
    pub(crate) fn new(
        sealing: Sealing,
        receipts: ServiceCells,
        digests: RowDigests,
        finality: &Finality,
    ) -> Self {
        Self { sealing, receipts, digests, mode: Arc::new(ModeOf::new(moving::NAME, finality.clone())) }
    }

    /// `tx` as it finds rows.
    pub(crate) async fn reading<'a>(&'a self, tx: &'a ReadTx) -> Result<Reading<'a>, StoreError> {
        Ok(Reading { tx, seals: self, mode: self.mode.get(tx).await? })
    }

    /// `tx` as it leaves rows.
    pub(crate) async fn writing<'a>(&'a self, tx: &'a Tx) -> Result<Writing<'a>, StoreError> {
        Ok(Writing { tx, reading: self.reading(tx).await? })
    }

    /// As [`Reading::check`], whatever the form.
    pub(in crate::store) fn verify<M: DigestedRow>(&self, model: &M) -> Result<(), StoreError> {
        self.digests.check(model)
    }

    /// Whether `model` has the right digest, whatever the form.
    pub(in crate::store) fn is_stamped<M: DigestedRow>(&self, model: &M) -> Result<bool, StoreError> {
        self.digests.is_stamped(model)
    }

    /// As [`Writing::with_digest`], whatever the form.
    pub(in crate::store) fn stamp<M: DigestedRow>(&self, model: &mut M) -> Result<(), StoreError> {
        self.digests.stamp(model)
    }
}

impl<'a> Reading<'a> {
    pub(in crate::store) fn conn(&self) -> &'a Conn {
        self.tx.conn()
    }

    /// The row for each of `keys`, which has the values of `key`, a unique one, if there is such a row.
    pub(in crate::store) async fn find<E: EntityTrait>(
        &self,
        key: &[E::Column],
        keys: Vec<Vec<Value>>,
    ) -> Result<Vec<E::Model>, StoreError> {
        bulk::find::<E>(self.tx, key, keys).await
    }

    /// The row for each of `ids`, if there is one.
    pub(in crate::store) async fn find_ids<E: EntityTrait>(
        &self,
        key: E::Column,
        ids: Vec<Uuid>,
    ) -> Result<Vec<E::Model>, StoreError> {
        self.find::<E>(&[key], ids.into_iter().map(|id| vec![id.into()]).collect()).await
    }

    pub(in crate::store) const fn seals(&self) -> &'a Seals {
        self.seals
    }

    /// In which form rows are written.
    pub(crate) const fn mode(&self) -> Mode {
        self.mode
    }

    /// `model`, if it is what was written.
    pub(in crate::store) fn checked<M: DigestedRow>(&self, model: M) -> Result<M, StoreError> {
        self.check(&model)?;
        Ok(model)
    }

    /// Whether `model` is what was written.
    pub(in crate::store) fn check<M: DigestedRow>(&self, model: &M) -> Result<(), StoreError> {
        match self.mode {
            Mode::Old | Mode::Both => Ok(()),
            Mode::New => self.seals.verify(model),
        }
    }
}

impl<'a> Writing<'a> {
    pub(crate) const fn tx(&self) -> &'a Tx {
        self.tx
    }

    /// `model` with its digest.
    pub(in crate::store) fn with_digest<M: DigestedRow>(&self, mut model: M) -> Result<M, StoreError> {
        if self.mode != Mode::Old {
            self.seals.stamp(&mut model)?;
        }
        Ok(model)
    }

    /// `model` as a statement writes it, with its digest.
    pub(in crate::store) fn stamped<M, A>(&self, model: M) -> Result<A, StoreError>
    where
        M: DigestedRow + IntoActiveModel<A> + ModelTrait<Entity = <A as ActiveModelTrait>::Entity>,
        A: ActiveModelTrait,
        <A as ActiveModelTrait>::Entity: EntityTrait<Model = M>,
    {
        Ok(self.with_digest(model)?.into_active_model().reset_all())
    }
}

impl<'a> Deref for Writing<'a> {
    type Target = Reading<'a>;

    fn deref(&self) -> &Reading<'a> {
        &self.reading
    }
}
