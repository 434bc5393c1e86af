//! Checkpoints: signed as the log grows, each a continuation of those before.

use std::time::Duration;

use portal_crypto::checkpoint::Checkpoint;
use portal_crypto::merkle::proof;
use portal_crypto::suite::Suites;
use portal_ledger::LedgerError;
use portal_testkit::each_database;
use tokio::time::timeout;

use crate::world::{ORIGIN, Running, World, reference};

each_database! {
    async fn each_head_continues_all_before(database) {
        let world = World::new(database).await;
        let running = Running::start(&world.log);
        let mut heads = Vec::new();
        let collect = async {
            while heads.len() < 5 {
                world.append(reference()).await;
                world.log.wake();
                if let Ok(signed) = world.log.checkpoint().await {
                    let key = world.log.verifying_key();
                    let read = Checkpoint::verify(&signed.note, ORIGIN, key, Suites::ALL).unwrap();
                    assert_eq!(read, signed.checkpoint);
                    if read.head.size > 0 && heads.last() != Some(&read.head) {
                        heads.push(read.head);
                    }
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(60), collect).await.unwrap();
        running.stop().await;
        for pair in heads.windows(2) {
            let grown = world.log.consistency(pair[0].size, Some(pair[1].size)).await.unwrap();
            assert_eq!((grown.old, grown.new), (pair[0], pair[1]));
            proof::verify_consistency(&pair[0], &pair[1], &grown.path).unwrap();
        }
    }

    /// A log that was set back, or whose past is another one, is not signed any more.
    async fn another_past_is_not_signed(database) {
        let world = World::new(database).await;
        world.fill(10).await;
        let before = world.log.checkpoint().await.unwrap();
        let other = "(SELECT hashes FROM ledger_tile WHERE level = 1)";
        world.fill(300).await;
        let signed = world.log.checkpoint().await.unwrap();
        world.sql(&format!("UPDATE ledger_tile SET hashes = {other} WHERE level = 0 AND tile = 1")).await;
        let fork = world.log.settle().await.unwrap_err();
        assert!(!matches!(fork, LedgerError::NotSigned), "{fork}");
        assert_eq!(world.log.checkpoint().await.unwrap(), signed);
        // The whole database as it was: everything in it fits together, and the memory says that there was more.
        for table in ["ledger_entry", "ledger_tile"] {
            world.sql(&format!("DELETE FROM {table}")).await;
        }
        world.sql("UPDATE ledger_head SET size = 0, signed_size = 0, checkpoint = NULL").await;
        world.append(reference()).await;
        assert!(matches!(world.log.settle().await, Err(LedgerError::Forked { size: 310 })));
        assert!(matches!(world.log.checkpoint().await, Err(LedgerError::NotSigned)));
        assert!(before.checkpoint.head.size < signed.checkpoint.head.size);
    }

    async fn a_forged_checkpoint_is_not_handed_out(database) {
        let world = World::new(database).await;
        world.fill(3).await;
        let signed = world.log.checkpoint().await.unwrap();
        world.sql("UPDATE ledger_head SET checkpoint = replace(checkpoint, 'test.local/consent', 'test.local/consen')").await;
        assert!(matches!(world.log.checkpoint().await, Err(LedgerError::Checkpoint(_))));
        world.sql("UPDATE ledger_head SET checkpoint = replace(checkpoint, 'test.local/consen', 'test.local/consent')").await;
        assert_eq!(world.log.checkpoint().await.unwrap(), signed);
    }
}
