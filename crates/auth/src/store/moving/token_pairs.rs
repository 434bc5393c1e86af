//! Token pairs: nothing personal, but whose session they open must not change unseen.

use portal_store::StoreError;
use portal_upkeep::migration::sealing::{Column, Model, SealedTable};

use crate::store::{Seals, token_pair};

/// The migration of token pairs.
pub struct StampTokenPairs {
    /// Stamps rows.
    pub seals: Seals,
}

impl SealedTable for StampTokenPairs {
    type Entity = token_pair::Entity;

    const KEY: &'static [Column<Self>] = &[token_pair::Column::RefreshHash];
    const DIGESTS: &'static [Column<Self>] = &[token_pair::Column::RowDigest];

    fn stamp(&self, row: &mut Model<Self>) -> Result<(), StoreError> {
        self.seals.digests.stamp(row)
    }

    fn is_stamped(&self, row: &Model<Self>) -> Result<bool, StoreError> {
        self.seals.digests.is_stamped(row)
    }
}
