//! Positions: all that was committed, once, in an order that respects who saw what.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use portal_ledger::feed;
use portal_store::{ReadTx, StoreError};
use portal_testkit::each_database;
use sea_orm::entity::prelude::Uuid;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::world::{EVENT, Running, World, reference};

const HANG: Duration = Duration::from_secs(60);

impl World {
    async fn order(&self) -> Vec<Uuid> {
        let all = |tx: ReadTx| async move { feed::entries(&tx, 0, 100_000).await };
        let entries = self.database.read::<_, StoreError, _, _>("entries", all).await.unwrap();
        let positions: Vec<_> = entries.iter().map(|entry| entry.position).collect();
        assert_eq!(positions, Vec::from_iter(0..entries.len() as u64));
        entries.iter().map(|entry| entry.reference).collect()
    }

    /// When so many have positions.
    async fn sequenced(&self, count: usize) {
        let size = |tx: ReadTx| async move { feed::size(&tx).await };
        timeout(HANG, async {
            while self.database.read::<_, StoreError, _, _>("size", size).await.unwrap() < count as u64 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
    }
}

each_database! {
    /// Eight writers, each of whom waits for its own commit; some give up; sequencers die and are followed by others.
    async fn many_writers_and_dying_sequencers(database) {
        const WRITERS: usize = 8;
        const EACH: usize = 40;
        let world = Arc::new(World::new(database).await);
        let mut running = Running::start(&world.log);
        let waiting = Running::start(&world.other());
        let mut writers = JoinSet::new();
        for _ in 0..WRITERS {
            let world = Arc::clone(&world);
            writers.spawn(async move {
                let mut mine = Vec::new();
                for at in 0..EACH {
                    let id = reference();
                    if at % 5 == 4 {
                        world.try_append(id, false).await.unwrap_err();
                    } else {
                        world.append(id).await;
                        world.log.wake();
                        mine.push(id);
                    }
                }
                mine
            });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        running.kill().await;
        running = Running::start(&world.other());
        let written = writers.join_all().await;
        let count = written.iter().map(Vec::len).sum();
        world.sequenced(count).await;
        let order = world.order().await;
        assert_eq!(order.len(), count);
        assert_eq!(HashSet::<Uuid>::from_iter(order.iter().copied()).len(), count);
        let at: HashMap<Uuid, usize> = order.iter().copied().zip(0..).collect();
        for mine in written {
            let positions: Vec<_> = mine.iter().map(|id| at[id]).collect();
            assert!(positions.is_sorted(), "{positions:?}");
        }
        running.stop().await;
        waiting.stop().await;
    }

    /// What is committed is pending or has a position, in every transaction that looks at both.
    async fn nothing_is_ever_in_neither_place_nor_in_both(database) {
        let world = Arc::new(World::new(database).await);
        let running = Running::start(&world.log);
        let mut appended = HashSet::new();
        for _ in 0..150 {
            let id = reference();
            world.append(id).await;
            appended.insert(id);
            let look = |tx: ReadTx| async move {
                Ok::<_, StoreError>((feed::entries(&tx, 0, 10_000).await?, feed::pending(&tx).await?))
            };
            let (entries, pending) = world.database.read("look", look).await.unwrap();
            let seen: Vec<_> = entries.iter().map(|entry| entry.reference).chain(pending.iter().map(|(_, id)| *id)).collect();
            assert_eq!(seen.len(), appended.len());
            assert_eq!(HashSet::from_iter(seen), appended);
        }
        world.sequenced(150).await;
        let ids: Vec<_> = appended.iter().copied().chain([reference()]).collect();
        let find = |tx: ReadTx| { let ids = &ids; async move { feed::positions(&tx, EVENT, ids).await } };
        let positions = world.database.read::<_, StoreError, _, _>("find", find).await.unwrap();
        assert_eq!(positions.len(), 150);
        let order = world.order().await;
        assert!(positions.iter().all(|(id, at)| order[usize::try_from(*at).unwrap()] == *id));
        running.stop().await;
    }

    /// A lease that was lost is noticed in the transaction that needs it.
    async fn two_sequencers_never_write_at_once(database) {
        let world = Arc::new(World::new(database).await);
        let running = [Running::start(&world.log), Running::start(&world.other())];
        world.append(reference()).await;
        world.sequenced(1).await;
        // Somebody else takes it over, as if its holder had been asleep for long.
        assert_eq!(world.sql("UPDATE lease SET term = term + 1, expires_at = 0").await, 1);
        world.append(reference()).await;
        world.sequenced(2).await;
        assert_eq!(world.order().await.len(), 2);
        for running in running {
            running.stop().await;
        }
    }
}
