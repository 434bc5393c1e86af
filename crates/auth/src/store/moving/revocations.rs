//! Revocations: nothing personal, but whom they reach must not change unseen.

use portal_store::StoreError;
use portal_upkeep::migration::sealing::{Column, Model, SealedTable};

use crate::store::{Seals, revocation};

/// The migration of revocations.
pub struct StampRevocations {
    /// Stamps rows.
    pub seals: Seals,
}

impl SealedTable for StampRevocations {
    type Entity = revocation::Entity;

    const KEY: &'static [Column<Self>] = &[revocation::Column::Position];
    const DIGESTS: &'static [Column<Self>] = &[revocation::Column::RowDigest];

    fn stamp(&self, row: &mut Model<Self>) -> Result<(), StoreError> {
        self.seals.digests.stamp(row)
    }

    fn is_stamped(&self, row: &Model<Self>) -> Result<bool, StoreError> {
        self.seals.digests.is_stamped(row)
    }
}
