//! Verifying a whole log: every entry, every tile, the signed head; and saying which row is not what was signed.
//!
//! The entries are hashed anew and compared with the tiles, level by level. If they lead to the signed root, every entry is
//! right, and a tile that differs is wrong; if they do not, an entry that differs from its tile is wrong, and of a tile
//! that differs from the one above it is known that one of its entries is.

use std::fmt;

use portal_crypto::checkpoint::{Checkpoint, CheckpointError};
use portal_crypto::hash::Sha256;
use portal_crypto::merkle::tiles::{TileId, Tiles, WIDTH};
use portal_crypto::merkle::{CompactRange, TreeHead};
use portal_store::{ReadTx, StoreError};
use sea_orm::entity::prelude::*;
use sea_orm::{Condition, QueryOrder, QuerySelect};

use crate::entity::{entry, tile};
use crate::rows::commitment;
use crate::{LedgerError, Log, rows, tree};

/// Rows that are read at once.
const PAGE: u64 = 256 * 16;
/// Faults that are told one by one; the others are counted.
const TOLD: usize = 1_000;

/// Something that is not what was signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The entry is not the one that was given this position.
    EntryChanged(u64),
    /// There is no entry at this position.
    EntryMissing(u64),
    /// There is an entry at this position, beyond the end of the log.
    EntryUnknown(u64),
    /// A hash of the tile is not the one that the entries lead to.
    TileChanged(TileId),
    /// One of the entries below the tile was changed, and the tile with it.
    BelowTile(TileId),
    /// The tile, or its end, is not there.
    TileMissing(TileId),
    /// The log has fewer leaves than were signed.
    SetBack {
        /// What was signed.
        signed: u64,
        /// What there is.
        size: u64,
    },
    /// The entries do not lead to the root that was signed for this size.
    WrongRoot(u64),
    /// The stored checkpoint is not one of this log.
    Checkpoint(CheckpointError),
}

/// What verification found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verified {
    /// The tree of the newest checkpoint, if that is one.
    pub head: Option<TreeHead>,
    /// Entries that were hashed.
    pub entries: u64,
    /// What is wrong; the first thousand.
    pub faults: Vec<Fault>,
    /// How many faults there are.
    pub count: u64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EntryChanged(at) => write!(f, "ledger_entry, position {at}: not the entry that was signed"),
            Self::EntryMissing(at) => write!(f, "ledger_entry, position {at}: the entry is missing"),
            Self::EntryUnknown(at) => write!(f, "ledger_entry, position {at}: beyond the end of the log"),
            Self::TileChanged(id) => {
                write!(f, "ledger_tile, level {}, tile {}: not what the entries lead to", id.level, id.index)
            }
            Self::BelowTile(id) => {
                let (first, last) = below(*id);
                write!(f, "ledger_entry, positions {first} to {last}: one was changed, and its tile with it")
            }
            Self::TileMissing(id) => {
                write!(f, "ledger_tile, level {}, tile {}: missing or too short", id.level, id.index)
            }
            Self::SetBack { signed, size } => {
                write!(f, "ledger_head: the log has {size} entries, and {signed} were signed")
            }
            Self::WrongRoot(size) => {
                write!(f, "the first {size} entries do not lead to the root that was signed")
            }
            Self::Checkpoint(error) => write!(f, "ledger_head: the stored checkpoint is refused: {error}"),
        }
    }
}

/// The positions below a tile.
fn below(id: TileId) -> (u64, u64) {
    let width = 1_u64.checked_shl(8 * (u32::from(id.level) + 1)).unwrap_or(u64::MAX);
    let first = id.index.saturating_mul(width);
    (first, first.saturating_add(width - 1))
}

/// What is being found.
#[derive(Default)]
struct Found {
    faults: Vec<Fault>,
    count: u64,
}

impl Found {
    fn add(&mut self, fault: Fault) {
        self.count += 1;
        if self.faults.len() < TOLD {
            self.faults.push(fault);
        }
    }
}

impl Log {
    /// Verifies the log; `progress` is told how many of how many entries are done.
    ///
    /// # Errors
    /// [`LedgerError`] if the database can't be read; what is wrong in it is no error of this.
    pub async fn verify(&self, progress: impl Fn(u64, u64)) -> Result<Verified, LedgerError> {
        let mut found = Found::default();
        let head = |tx: ReadTx| async move { Ok::<_, LedgerError>(rows::head(&tx).await?) };
        let row = self.0.database.read("verify_head", head).await?;
        let size = u64::try_from(row.size).unwrap_or_default();
        let signed = self.signed(row.checkpoint.as_deref(), &mut found);
        let recalled = self.0.signed_heads.recall().await.map_err(LedgerError::Recall)?;
        // What was noted elsewhere counts more than what stands in the database.
        let known = [signed, recalled].into_iter().flatten().max_by_key(|head| head.size);
        if let Some(known) = known.filter(|known| known.size > size) {
            found.add(Fault::SetBack { signed: known.size, size });
        }
        let hashed = self.hash(size, known, &mut found, progress).await?;
        let right = known.is_some_and(|known| hashed.root == Some(known.root));
        if let Some(known) = known.filter(|known| known.size <= size && !right) {
            found.add(Fault::WrongRoot(known.size));
        }
        self.compare_tiles(&hashed, right, &mut found).await?;
        self.look_beyond(size, &mut found).await?;
        let Found { faults, count } = found;
        Ok(Verified { head: signed, entries: size, faults, count })
    }

    fn signed(&self, note: Option<&str>, found: &mut Found) -> Option<TreeHead> {
        let verify = |note| Checkpoint::verify(note, &self.0.origin, self.verifying_key(), self.0.suites);
        match note.map(verify) {
            Some(Ok(checkpoint)) => Some(checkpoint.head),
            Some(Err(error)) => {
                found.add(Fault::Checkpoint(error));
                None
            }
            None => None,
        }
    }

    /// Hashes the entries: what is missing counts as what its tile says, so that the others can still be told apart.
    async fn hash(
        &self,
        size: u64,
        known: Option<TreeHead>,
        found: &mut Found,
        progress: impl Fn(u64, u64),
    ) -> Result<Hashed, LedgerError> {
        let mut hashed = Hashed::default();
        while hashed.range.size() < size {
            let from = hashed.range.size();
            let count = PAGE.min(size - from);
            let read = |tx: ReadTx| async move { Ok::<_, LedgerError>(page(&tx, from, count).await?) };
            let leaves = self.0.database.read("verify_entries", read).await?;
            for (at, leaf) in (from..).zip(leaves) {
                let leaf = leaf.unwrap_or_else(|| {
                    found.add(Fault::EntryMissing(at));
                    [0; 32]
                });
                hashed.push(leaf);
                if known.is_some_and(|known| known.size == at + 1) {
                    hashed.root = Some(hashed.range.head().root);
                }
            }
            progress(hashed.range.size(), size);
        }
        if known.is_some_and(|known| known.size == 0) {
            hashed.root = Some(TreeHead::of(&[]).root);
        }
        Ok(hashed)
    }

    /// Compares the stored tiles with those that the entries lead to, from the leaves up.
    async fn compare_tiles(
        &self,
        hashed: &Hashed,
        entries_are_right: bool,
        found: &mut Found,
    ) -> Result<(), LedgerError> {
        for (level, hashes) in (0_u8..).zip(&hashed.levels) {
            for (index, computed) in (0_u64..).zip(hashes.chunks(WIDTH)) {
                let id = TileId { level, index };
                let read = |tx: ReadTx| async move { Ok::<_, LedgerError>(stored(&tx, id).await?) };
                let Some(stored) = self.0.database.read("verify_tile", read).await? else {
                    found.add(Fault::TileMissing(id));
                    continue;
                };
                compare(id, computed, &stored, entries_are_right, found);
            }
        }
        Ok(())
    }

    async fn look_beyond(&self, size: u64, found: &mut Found) -> Result<(), LedgerError> {
        let end = rows::signed(size)?;
        let beyond = |tx: ReadTx| async move {
            let positions: Vec<i64> = entry::Entity::find()
                .select_only()
                .column(entry::Column::Position)
                .filter(
                    Condition::any()
                        .add(entry::Column::Position.gte(end))
                        .add(entry::Column::Position.lt(0_i64)),
                )
                .order_by_asc(entry::Column::Position)
                .limit(TOLD as u64)
                .into_tuple()
                .all(tx.conn())
                .await
                .map_err(StoreError::from)?;
            Ok::<_, LedgerError>(positions)
        };
        for at in self.0.database.read("verify_end", beyond).await? {
            found.add(Fault::EntryUnknown(u64::try_from(at).unwrap_or(u64::MAX)));
        }
        Ok(())
    }
}

/// The tree that the entries lead to.
#[derive(Default)]
struct Hashed {
    range: CompactRange,
    /// The hashes that tiles have, by level.
    levels: Vec<Vec<Sha256>>,
    /// The root at the known size.
    root: Option<Sha256>,
}

impl Hashed {
    fn push(&mut self, leaf: Sha256) {
        self.range.append(leaf);
        let mut hash = leaf;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let Some(hashes) = self.levels.get_mut(level) else { return };
            hashes.push(hash);
            if hashes.len() % WIDTH != 0 {
                return;
            }
            let tile = hashes.get(hashes.len() - WIDTH..).unwrap_or_default();
            hash = TreeHead::of(tile).root;
        }
    }
}

/// Says what differs in a tile.
fn compare(id: TileId, computed: &[Sha256], stored: &[Sha256], entries_are_right: bool, found: &mut Found) {
    if stored.len() < computed.len() {
        found.add(Fault::TileMissing(id));
    }
    let different = || computed.iter().zip(stored).enumerate().filter(|(_, (one, other))| one != other);
    if entries_are_right {
        if different().next().is_some() {
            found.add(Fault::TileChanged(id));
        }
        return;
    }
    for (at, _) in different() {
        let at = id.index.saturating_mul(WIDTH as u64).saturating_add(at as u64);
        let fault = match id.level.checked_sub(1) {
            None => Fault::EntryChanged(at),
            Some(level) => Fault::BelowTile(TileId { level, index: at }),
        };
        // Known already where an entry below differs from its own tile, or is missing.
        if !found.covers(&fault) {
            found.add(fault);
        }
    }
}

impl Found {
    fn covers(&self, fault: &Fault) -> bool {
        let (first, last) = match fault {
            Fault::EntryChanged(at) => (*at, *at),
            Fault::BelowTile(id) => below(*id),
            _ => return false,
        };
        self.faults.iter().any(|known| match known {
            Fault::EntryChanged(at) | Fault::EntryMissing(at) => (first..=last).contains(at),
            Fault::BelowTile(id) => (first..=last).contains(&below(*id).0),
            _ => false,
        })
    }
}

/// The leaf hashes of the entries from position `from` on; nothing where there is none.
async fn page(tx: &ReadTx, from: u64, count: u64) -> Result<Vec<Option<Sha256>>, StoreError> {
    let first = rows::signed(from)?;
    let end = rows::signed(from.saturating_add(count))?;
    let rows: Vec<(i64, Vec<u8>)> = entry::Entity::find()
        .select_only()
        .columns([entry::Column::Position, entry::Column::Commitment])
        .filter(entry::Column::Position.gte(first))
        .filter(entry::Column::Position.lt(end))
        .into_tuple()
        .all(tx.conn())
        .await?;
    let mut leaves = vec![None; usize::try_from(count).unwrap_or_default()];
    for (at, bytes) in rows {
        let slot = usize::try_from(at - first).ok().and_then(|at| leaves.get_mut(at));
        // A commitment of another length is as good as another one.
        let leaf =
            commitment("ledger_entry", at, &bytes).map_or([0; 32], |commitment| commitment.leaf_hash());
        if let Some(slot) = slot {
            *slot = Some(leaf);
        }
    }
    Ok(leaves)
}

/// The hashes of a tile; nothing if it is not there or not made of hashes.
async fn stored(tx: &ReadTx, id: TileId) -> Result<Option<Vec<Sha256>>, StoreError> {
    let key = (i64::from(id.level), rows::signed(id.index)?);
    let row = tile::Entity::find_by_id(key).one(tx.conn()).await?;
    let tiles: Tiles = row.iter().flat_map(tree::parse).collect();
    Ok(tiles.into_values().next())
}
