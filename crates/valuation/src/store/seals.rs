//! What rows are sealed, opened, stamped and checked with, and in which form a transaction finds and leaves them.
//!
//! While rows are given their new form (see [`super::moving`]) an earlier version of the service may still write rows
//! without a digest, and change rows beneath one: until that is committed, what stands in the clear is the truth and
//! digests are not looked at. From then on what stands in the clear is not looked at, and a row whose digest is wrong or
//! missing is corrupt.

use std::ops::Deref;
use std::sync::Arc;

use portal_store::idempotency::Forms;
use portal_store::sealed::{DigestedRow, RowDigests, Sealing};
use portal_store::{Conn, ReadTx, StoreError, Tx};
use portal_upkeep::migration::{Finality, Mode, ModeOf};
use sea_orm::{ActiveModelTrait, EntityTrait, IntoActiveModel, ModelTrait};

use super::moving;

/// What rows are sealed, opened, stamped and checked with. Cheap to clone.
#[derive(Clone)]
pub struct Seals {
    pub(super) sealing: Sealing,
    digests: RowDigests,
    mode: Arc<ModeOf>,
}

/// A transaction, and the form in which it finds rows.
pub struct Reading<'a> {
    tx: &'a ReadTx,
    seals: &'a Seals,
    mode: Mode,
}

/// A transaction that changes rows, and the form in which it leaves them.
pub struct Writing<'a> {
    tx: &'a Tx,
    reading: Reading<'a>,
}

impl Seals {
    pub fn new(sealing: Sealing, digests: RowDigests, finality: &Finality) -> Self {
        Self { sealing, digests, mode: Arc::new(ModeOf::new(moving::NAME, finality.clone())) }
    }

    /// `tx` as it finds rows.
    pub async fn reading<'a>(&'a self, tx: &'a ReadTx) -> Result<Reading<'a>, StoreError> {
        Ok(Reading { tx, seals: self, mode: self.mode.get(tx).await? })
    }

    /// `tx` as it leaves rows.
    pub async fn writing<'a>(&'a self, tx: &'a Tx) -> Result<Writing<'a>, StoreError> {
        Ok(Writing { tx, reading: self.reading(tx).await? })
    }

    /// As [`Reading::check`], whatever the form.
    pub(super) fn verify<M: DigestedRow>(&self, model: &M) -> Result<(), StoreError> {
        self.digests.check(model)
    }

    /// Whether `model` has the right digest, whatever the form.
    pub(super) fn is_stamped<M: DigestedRow>(&self, model: &M) -> Result<bool, StoreError> {
        self.digests.is_stamped(model)
    }

    /// Gives `model` its digest, whatever the form.
    pub(super) fn stamp<M: DigestedRow>(&self, model: &mut M) -> Result<(), StoreError> {
        self.digests.stamp(model)
    }
}

impl<'a> Reading<'a> {
    pub fn conn(&self) -> &'a Conn {
        self.tx.conn()
    }

    pub(super) const fn tx(&self) -> &'a ReadTx {
        self.tx
    }

    /// Whether rows are found in their old form.
    pub(super) fn finds_old(&self) -> bool {
        self.mode != Mode::New
    }

    /// Whether `model` is what was written.
    pub(super) fn check<M: DigestedRow>(&self, model: &M) -> Result<(), StoreError> {
        if self.finds_old() { Ok(()) } else { self.seals.verify(model) }
    }

    /// The model, if it is what was written.
    pub(super) fn checked<M: DigestedRow>(&self, model: M) -> Result<M, StoreError> {
        self.check(&model)?;
        Ok(model)
    }
}

impl<'a> Writing<'a> {
    pub const fn tx(&self) -> &'a Tx {
        self.tx
    }

    /// In which forms replies are kept.
    pub fn forms(&self) -> Forms {
        match self.mode {
            Mode::Old => Forms::Plain,
            Mode::Both => Forms::Both,
            Mode::New => Forms::Sealed,
        }
    }

    /// Whether rows are left in their old form, alone or beside the new one.
    pub(super) fn leaves_old(&self) -> bool {
        self.mode != Mode::New
    }

    /// Whether rows are left in their new form, alone or beside the old one.
    pub(super) fn leaves_new(&self) -> bool {
        self.mode != Mode::Old
    }

    /// The model with its digest.
    pub(super) fn stamp<M: DigestedRow>(&self, mut model: M) -> Result<M, StoreError> {
        if self.leaves_new() {
            self.seals.stamp(&mut model)?;
        }
        Ok(model)
    }

    /// `model` as a statement writes it, with its digest.
    pub(super) fn stamped<M, A>(&self, model: M) -> Result<A, StoreError>
    where
        M: DigestedRow + IntoActiveModel<A> + ModelTrait<Entity = <A as ActiveModelTrait>::Entity>,
        A: ActiveModelTrait,
        <A as ActiveModelTrait>::Entity: EntityTrait<Model = M>,
    {
        Ok(self.stamp(model)?.into_active_model().reset_all())
    }
}

impl<'a> Deref for Writing<'a> {
    type Target = Reading<'a>;

    fn deref(&self) -> &Reading<'a> {
        &self.reading
    }
}
