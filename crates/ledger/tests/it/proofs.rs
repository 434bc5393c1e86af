//! Proofs, checked by the code that clients check them with.

use portal_crypto::merkle::proof;
use portal_ledger::{LeafRef, LedgerError};
use portal_store::StoreError;
use portal_testkit::each_database;

use crate::world::{World, commitment};

each_database! {
    async fn every_leaf_under_every_size(database) {
        let world = World::new(database).await;
        let mut references = world.fill(300).await;
        references.extend(world.fill(250).await);
        let head = world.log.checkpoint().await.unwrap().checkpoint.head;
        assert_eq!(head.size, 550);
        for (at, reference) in (0..).zip(&references) {
            let leaf = commitment(*reference).leaf_hash();
            let shown = world.log.inclusion(LeafRef::Hash(leaf), None).await.unwrap();
            assert_eq!((shown.position, shown.leaf, shown.head), (at, leaf, head));
            assert!(shown.path.len() <= 10);
            proof::verify_inclusion(&leaf, at, &head, &shown.path).unwrap();
            if at % 37 == 0 {
                let then = world.log.inclusion(LeafRef::Position(at), Some(at + 1)).await.unwrap();
                proof::verify_inclusion(&leaf, at, &then.head, &then.path).unwrap();
                let grown = world.log.consistency(at + 1, None).await.unwrap();
                assert_eq!((grown.old, grown.new), (then.head, head));
                proof::verify_consistency(&grown.old, &grown.new, &grown.path).unwrap();
            }
        }
        let entries = world.log.entries(290, 20).await.unwrap();
        let expected: Vec<_> = references[290..310].iter().map(|reference| commitment(*reference)).collect();
        assert_eq!(entries.iter().map(|entry| entry.commitment).collect::<Vec<_>>(), expected);
        assert_eq!(world.log.entries(549, 20).await.unwrap().len(), 1);
        assert!(world.log.entries(550, 20).await.unwrap().is_empty());
    }

    async fn what_there_is_no_proof_of(database) {
        let world = World::new(database).await;
        assert!(matches!(world.log.checkpoint().await, Err(LedgerError::NotSigned)));
        world.fill(5).await;
        let unknown = LeafRef::Hash([9; 32]);
        assert!(matches!(world.log.inclusion(unknown, None).await, Err(LedgerError::NotFound)));
        let beyond = LeafRef::Position(5);
        assert!(matches!(world.log.inclusion(beyond, None).await, Err(LedgerError::NotFound)));
        let huge = LeafRef::Position(u64::MAX);
        assert!(matches!(world.log.inclusion(huge, None).await, Err(LedgerError::NotFound)));
        for (at, size) in [(4, 4), (4, 6), (0, u64::MAX)] {
            let shown = world.log.inclusion(LeafRef::Position(at), Some(size)).await;
            assert!(matches!(shown, Err(LedgerError::OutOfRange)), "{at} {size}");
        }
        for (old, new) in [(0, 5), (6, 5), (1, 6), (4, 3)] {
            let grown = world.log.consistency(old, Some(new)).await;
            assert!(matches!(grown, Err(LedgerError::OutOfRange)), "{old} {new}");
        }
    }

    /// Neither a changed leaf nor a changed tile is ever proven.
    async fn a_changed_row_is_not_proven(database) {
        let world = World::new(database).await;
        world.fill(300).await;
        let other = "(SELECT commitment FROM ledger_entry WHERE position = 8)";
        world.sql(&format!("UPDATE ledger_entry SET commitment = {other} WHERE position = 7")).await;
        let corrupt = |result: Result<_, LedgerError>| matches!(result, Err(LedgerError::Store(StoreError::Corrupt { .. })));
        assert!(corrupt(world.log.inclusion(LeafRef::Position(7), None).await.map(drop)));
        assert!(world.log.inclusion(LeafRef::Position(9), None).await.is_ok());
        let second = "(SELECT hashes FROM ledger_tile WHERE level = 0 AND tile = 1)";
        world.sql(&format!("UPDATE ledger_tile SET hashes = {second} WHERE level = 0 AND tile = 0")).await;
        assert!(corrupt(world.log.inclusion(LeafRef::Position(9), None).await.map(drop)));
        assert!(corrupt(world.log.consistency(100, None).await.map(drop)));
        world.sql("DELETE FROM ledger_entry WHERE position = 280").await;
        assert!(corrupt(world.log.entries(270, 20).await.map(drop)));
    }
}
