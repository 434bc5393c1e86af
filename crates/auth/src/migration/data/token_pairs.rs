//! Token pairs: nothing personal, but whose session they open must not change unseen.

use async_trait::async_trait;
use portal_store::{ReadTx, StoreError};
use portal_upkeep::migration::MigrationError;
use sea_orm::{ColumnTrait, Condition, Value};

use super::Table;
use crate::store::token_pair::{Column, Entity, Model};
use crate::store::token_pairs::TokenPairs;

/// The migration of token pairs.
pub struct StampTokenPairs {
    /// Reads and writes rows.
    pub pairs: TokenPairs,
}

#[async_trait]
impl Table for StampTokenPairs {
    type Entity = Entity;

    fn key() -> Column {
        Column::RefreshHash
    }

    fn digest() -> Column {
        Column::RowDigest
    }

    fn columns() -> Vec<Column> {
        Vec::new()
    }

    fn old() -> Condition {
        // Nothing goes with the commit.
        Condition::all().add(Column::SessionId.is_null())
    }

    fn key_value(bytes: &[u8]) -> Value {
        bytes.to_vec().into()
    }

    async fn seal(&self, _: &ReadTx, rows: &mut [Model]) -> Result<(), MigrationError> {
        Ok(rows.iter_mut().try_for_each(|row| self.pairs.seal(row))?)
    }

    async fn sound(&self, rows: &[Model]) -> Result<Vec<bool>, MigrationError> {
        let sound = |row: &Model| match self.pairs.check(row) {
            Ok(()) => Ok(true),
            Err(StoreError::Corrupt { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        };
        rows.iter().map(sound).collect()
    }

    fn unseal(row: &mut Model) {
        row.row_digest = None;
    }

    async fn finish(&self, rows: &mut [Model]) -> Result<(), MigrationError> {
        Ok(rows.iter_mut().try_for_each(|row| self.pairs.seal(row))?)
    }
}
