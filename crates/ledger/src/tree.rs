//! The tree as it is stored: tiles read, proofs made of them.

use portal_crypto::hash::Sha256;
use portal_crypto::merkle::tiles::{Incomplete, Plan, TileId, Tiles};
use portal_store::{ReadTx, StoreError};
use sea_orm::entity::prelude::*;
use sea_orm::{Condition, DbErr};

use crate::entity::tile;
use crate::rows::{corrupt, signed};

/// The tiles at `ids`: those that are there.
pub(crate) async fn read(tx: &ReadTx, ids: impl IntoIterator<Item = TileId>) -> Result<Tiles, StoreError> {
    let mut wanted = Condition::any();
    for id in ids {
        let here = Condition::all().add(tile::Column::Level.eq(i64::from(id.level)));
        wanted = wanted.add(here.add(tile::Column::Tile.eq(signed(id.index)?)));
    }
    if wanted.is_empty() {
        return Ok(Tiles::new());
    }
    let rows = tile::Entity::find().filter(wanted).all(tx.conn()).await?;
    rows.iter().map(parse).collect()
}

pub(crate) fn parse(row: &tile::Model) -> Result<(TileId, Vec<Sha256>), StoreError> {
    let name = || format!("{}/{}", row.level, row.tile);
    let (hashes, rest) = row.hashes.as_chunks::<32>();
    let id = u8::try_from(row.level).ok().zip(u64::try_from(row.tile).ok());
    let (level, index) =
        id.filter(|_| rest.is_empty()).ok_or_else(|| corrupt("ledger_tile", "hashes", name()))?;
    Ok((TileId { level, index }, hashes.to_vec()))
}

/// Writes tiles that are new or longer than before.
pub(crate) async fn write(tx: &portal_store::Tx, tiles: Tiles) -> Result<(), StoreError> {
    use sea_orm::ActiveValue::Set;
    use sea_orm::sea_query::OnConflict;
    let rows = tiles.into_iter().map(|(id, hashes)| {
        Ok(tile::ActiveModel {
            level: Set(id.level.into()),
            tile: Set(signed(id.index)?),
            hashes: Set(hashes.concat()),
        })
    });
    let rows = rows.collect::<Result<Vec<_>, StoreError>>()?;
    if rows.is_empty() {
        return Ok(());
    }
    let grown = OnConflict::columns([tile::Column::Level, tile::Column::Tile])
        .update_column(tile::Column::Hashes)
        .to_owned();
    let written = tile::Entity::insert_many(rows).on_conflict(grown).exec_without_returning(tx.conn()).await;
    written.map(drop).map_err(|error: DbErr| error.into())
}

/// The hashes that `plan` is about.
pub(crate) async fn resolve(tx: &ReadTx, plan: &Plan) -> Result<Vec<Sha256>, StoreError> {
    let tiles = read(tx, plan.tiles()).await?;
    plan.resolve(&tiles).map_err(missing)
}

/// The root of the tree of the first `size` leaves.
pub(crate) async fn root(tx: &ReadTx, size: u64) -> Result<Sha256, StoreError> {
    match Plan::root(size) {
        None => Ok(portal_crypto::merkle::TreeHead::of(&[]).root),
        Some(plan) => {
            let root = resolve(tx, &plan).await?;
            root.first().copied().ok_or_else(|| corrupt("ledger_tile", "hashes", size))
        }
    }
}

pub(crate) fn missing(Incomplete(id): Incomplete) -> StoreError {
    corrupt("ledger_tile", "hashes", format!("{}/{}", id.level, id.index))
}
