//! The tokens of sessions: rows as they are found and written.

use portal_core::Timestamp;
use portal_core::id::Id;
use portal_store::{Inserts, ReadTx, StoreError, Tx, bulk};
use portal_upkeep::migration::Mode;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use super::token_pair::{self, Column};
use super::{Seals, rows};
use crate::domain::session::StoredPair;
use crate::domain::{HandleHash, Session};

/// A pair as it is stored, and checked.
pub struct StoredTokens {
    model: token_pair::Model,
    pair: StoredPair,
}

impl StoredTokens {
    /// By what the refresh token is found.
    pub(crate) fn refresh_hash(&self) -> &[u8] {
        &self.model.refresh_hash
    }

    /// The pair.
    #[must_use]
    pub const fn pair(&self) -> &StoredPair {
        &self.pair
    }
}

/// The table.
pub struct TokenPairs {
    seals: Seals,
}

impl TokenPairs {
    /// The table, checked with `seals`.
    #[must_use]
    pub const fn new(seals: Seals) -> Self {
        Self { seals }
    }

    /// Adds the tokens that `session` gives out now.
    pub fn add(
        &self,
        inserts: &mut Inserts,
        session: &Session,
        (access, refresh): (&HandleHash, &HandleHash),
        mode: Mode,
    ) -> Result<(), StoreError> {
        let mut model = token_pair::Model {
            refresh_hash: refresh.as_bytes().to_vec(),
            access_hash: access.as_bytes().to_vec(),
            session_id: session.id.uuid(),
            issued_at: session.last_used_at.as_micros(),
            access_expires_at: session.access_expires_at.as_micros(),
            refresh_expires_at: session.refresh_expires_at.as_micros(),
            spent_at: None,
            row_digest: None,
        };
        self.stamp(&mut model, mode)?;
        rows::add::<token_pair::Entity>(inserts, model)
    }

    /// The pair with this refresh token.
    pub async fn find_by_refresh(
        &self,
        tx: &ReadTx,
        refresh: &HandleHash,
    ) -> Result<Option<StoredTokens>, StoreError> {
        let by_hash = Column::RefreshHash.eq(refresh.as_bytes().as_slice());
        let Some(model) = token_pair::Entity::find().filter(by_hash).one(tx.conn()).await? else {
            return Ok(None);
        };
        let mode = self.seals.mode(tx).await?;
        self.checked(model, mode).map(Some)
    }

    /// Spends the refresh tokens of pairs, each once: of two who try, the other's transaction is run again and finds it spent.
    pub async fn spend(&self, tx: &Tx, tokens: Vec<StoredTokens>, now: Timestamp) -> Result<(), StoreError> {
        let mode = self.seals.mode(tx).await?;
        let (spent_at, expected) = (Some(now.as_micros()), tokens.len() as u64);
        let spend = |StoredTokens { model, .. }| {
            let mut model = token_pair::Model { spent_at, ..model };
            self.stamp(&mut model, mode)?;
            Ok(vec![model.refresh_hash.into(), model.spent_at.into(), model.row_digest.into()])
        };
        let rows = tokens.into_iter().map(spend).collect::<Result<_, StoreError>>()?;
        let set = [Column::SpentAt, Column::RowDigest];
        let done = bulk::update::<token_pair::Entity>(tx, &[Column::RefreshHash], &set, rows).await?;
        StoreError::check_rows(expected, done)
    }

    /// Forgets tokens that have expired, and says how many pairs.
    pub async fn purge(&self, tx: &Tx, now: Timestamp) -> Result<u64, StoreError> {
        let expired = Column::RefreshExpiresAt.lte(now.as_micros());
        Ok(token_pair::Entity::delete_many().filter(expired).exec(tx.conn()).await?.rows_affected)
    }

    /// A pair, checked against its digest once nobody writes rows without one.
    pub(crate) fn checked(&self, model: token_pair::Model, mode: Mode) -> Result<StoredTokens, StoreError> {
        match mode {
            Mode::Old | Mode::Both => {}
            Mode::New => self.seals.digests.check(&model)?,
        }
        Ok(StoredTokens { pair: rows::to_pair(&model), model })
    }

    fn stamp(&self, model: &mut token_pair::Model, mode: Mode) -> Result<(), StoreError> {
        match mode {
            Mode::Old => model.row_digest = None,
            Mode::Both | Mode::New => self.seals.digests.stamp(model)?,
        }
        Ok(())
    }
}
