//! Token pairs: nothing personal, but whose session they open must not change unseen.

use async_trait::async_trait;
use portal_store::ReadTx;
use portal_upkeep::migration::MigrationError;
use sea_orm::{ColumnTrait, Condition, Value};

use super::{Table, intact};
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
        Condition::any().add(Column::SessionId.is_null())
    }

    fn perhaps_old() -> Condition {
        Condition::any().add(Column::SessionId.is_not_null())
    }

    fn key_value(bytes: &[u8]) -> Value {
        bytes.to_vec().into()
    }

    async fn seal(&self, _: &ReadTx, rows: &mut [Model]) -> Result<(), MigrationError> {
        Ok(rows.iter_mut().try_for_each(|row| self.pairs.seal(row))?)
    }

    async fn sound(&self, rows: &[Model]) -> Result<Vec<bool>, MigrationError> {
        rows.iter().map(|row| intact(self.pairs.check(row))).collect()
    }

    fn unseal(row: &mut Model) {
        row.row_digest = None;
    }

    async fn finish(&self, rows: &mut [Model]) -> Result<(), MigrationError> {
        Ok(rows.iter_mut().try_for_each(|row| self.pairs.seal(row))?)
    }
}
