//! What happens is in the ledger: once for each change, in its transaction, and to be opened with its salt alone.

use std::time::Duration;

use portal_core::id::Id;
use portal_ledger::{LeafRef, LedgerError, Salt};
use portal_proto::valuation::v1 as pb;
use portal_store::ReadTx;
use portal_testkit::each_database;
use portal_upkeep::audit::Recorded;
use portal_valuation::Upkeep;

use crate::sealed::Intruder;
use crate::world::{World, batch, new_id, synthetic};

async fn happened(upkeep: &Upkeep) -> Vec<Recorded> {
    let all = |tx: ReadTx| async move { upkeep.audit.page(&tx, None, 1_000).await };
    upkeep.database.read("happened", all).await.unwrap()
}

/// Actions, targets and details, sorted: some happen at the same time.
async fn told(upkeep: &Upkeep) -> Vec<(String, String, String)> {
    let told = |event: &Recorded| {
        let details =
            event.details.lines().filter(|line| !line.starts_with("worker=")).collect::<Vec<_>>().join(" ");
        (event.action.clone(), event.target.unwrap().to_string(), details)
    };
    let mut told: Vec<_> = happened(upkeep).await.iter().map(told).collect();
    told.sort();
    told
}

/// Waits until the ledger has signed `entries` entries.
async fn signed(upkeep: &Upkeep, entries: usize) {
    let signed = async {
        while upkeep.log.checkpoint().await.map_or(0, |signed| signed.checkpoint.head.size) < entries as u64 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), signed).await.unwrap();
}

async fn has(upkeep: &Upkeep, event: &Recorded) -> bool {
    match upkeep.log.inclusion(LeafRef::Hash(event.commitment().leaf_hash()), None).await {
        Ok(_) => true,
        Err(LedgerError::NotFound) => false,
        Err(error) => panic!("{error}"),
    }
}

each_database! {
    async fn each_change_is_in_the_ledger_once(database) {
        let mut world = World::start(database).await;
        let dataset = world.create(2).await.dataset_id;
        world.append(&dataset, &synthetic(8, 2, 2), 4).await.unwrap();
        let request = pb::AppendRecordBatchRequest {
            dataset_id: dataset.clone(),
            batch: Some(batch(&synthetic(12, 4, 4)[12..])),
            request_id: new_id(),
        };
        // Asked for twice, it happens once.
        world.datasets().append_record_batch(request.clone()).await.unwrap();
        world.datasets().append_record_batch(request).await.unwrap();
        let small = world.dataset(&dataset).await;
        let valued = world.valued(&world.start_valuation(&small).await.name).await.valuation_id;

        let large = world.filled(2, &synthetic(3_000, 900, 300)).await;
        let running = world.start_valuation(&large).await.name.strip_prefix("operations/").unwrap().to_owned();
        let get = pb::GetValuationRequest { valuation_id: running.clone() };
        let begun = async {
            while world.valuations().get_valuation(get.clone()).await.unwrap().into_inner().state() != pb::ValuationState::Running {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), begun).await.unwrap();
        // A service that stops gives the job back; the next one takes it up, and it is cancelled, once.
        world.restart().await;
        let again = async {
            while world.valuations().get_valuation(get.clone()).await.unwrap().into_inner().state() != pb::ValuationState::Running {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), again).await.unwrap();
        for _ in 0..2 {
            let cancel = pb::CancelValuationRequest { valuation_id: running.clone(), request_id: String::new() };
            world.valuations().cancel_valuation(cancel).await.unwrap();
        }

        let upkeep = Upkeep::open(&world.config(), &world.mesh.host()).await.unwrap();
        let event = |action: &str, target: &str, details: &str| (action.to_owned(), target.to_owned(), details.to_owned());
        let purpose = format!("purpose={}", world.purpose);
        let mut expected = [
            event("dataset.create", &dataset, &purpose),
            event("dataset.append", &dataset, "revision=1 records=10"),
            event("dataset.append", &dataset, "revision=2 records=4"),
            event("valuation.start", &valued, &format!("dataset={dataset} revision=2 k=5")),
            event("valuation.run", &valued, "attempt=1"),
            event("valuation.succeed", &valued, "records=8"),
            event("dataset.create", &large.dataset_id, &purpose),
            event("dataset.append", &large.dataset_id, "revision=1 records=3900"),
            event("valuation.start", &running, &format!("dataset={} revision=1 k=5", large.dataset_id)),
            event("valuation.run", &running, "attempt=1"),
            event("valuation.release", &running, ""),
            event("valuation.run", &running, "attempt=1"),
            event("valuation.cancel", &running, ""),
        ];
        expected.sort();
        assert_eq!(told(&upkeep).await, expected);

        signed(&upkeep, expected.len()).await;
        let verified = upkeep.log.verify(|_, _| {}).await.unwrap();
        assert_eq!((verified.entries, verified.count), (expected.len() as u64, 0));
        for event in happened(&upkeep).await {
            assert!(has(&upkeep, &event).await, "{event:?}");
            let controller = event.actor == format!("account/{}", event.account.unwrap());
            let by_worker = ["valuation.run", "valuation.succeed", "valuation.release"].contains(&event.action.as_str());
            assert!(controller != by_worker && (!by_worker || event.actor == "service"), "{event:?}");
            let changes: [fn(&mut Recorded); 4] = [
                |event| event.action.push('!'),
                |event| event.details.push('!'),
                |event| event.target = event.account.map(Id::uuid),
                |event| event.salt = Salt::new([0; 32]),
            ];
            for change in changes {
                let mut other = event.clone();
                change(&mut other);
                assert!(!has(&upkeep, &other).await, "{other:?}");
            }
        }
        upkeep.keys.close().await;
    }

    /// A change that can't be recorded does not happen.
    async fn a_change_and_its_entry_are_committed_together(database) {
        let world = World::start(database).await;
        let dataset = world.filled(2, &synthetic(8, 2, 2)).await;
        let intruder = Intruder::of(database).await;
        let counts = async || {
            let mut counts = Vec::new();
            for table in ["dataset", "record", "valuation", "audit_event"] {
                counts.push(intruder.count(table).await);
            }
            // In one statement: they move from one table to the other.
            let entries = "(SELECT kind FROM ledger_pending UNION ALL SELECT kind FROM ledger_entry) AS entries";
            counts.push(intruder.count(entries).await);
            counts
        };
        let before = counts().await;
        assert_eq!(before, [1, 10, 0, 2, 2]);
        // What is not there can't be appended to.
        intruder.write("ALTER TABLE ledger_pending RENAME TO ledger_gone", &[]).await;
        let message = Some(world.dataset_message(2));
        let create = pb::CreateDatasetRequest { dataset: message.clone(), request_id: String::new() };
        assert!(world.datasets().create_dataset(create.clone()).await.is_err());
        assert!(world.append(&dataset.dataset_id, &synthetic(20, 2, 2)[10..], 4).await.is_err());
        assert!(world.valuations().start_valuation(crate::world::start_request(&dataset)).await.is_err());
        intruder.write("ALTER TABLE ledger_gone RENAME TO ledger_pending", &[]).await;
        assert_eq!(counts().await, before);
        // A duplicate is found after all else was written.
        assert!(world.append(&dataset.dataset_id, &synthetic(8, 2, 2), 4).await.is_err());
        assert_eq!(counts().await, before);
        world.datasets().create_dataset(create).await.unwrap();
        assert_eq!(counts().await, [2, 10, 0, 3, 3]);
    }
}
