//! Epochs and roots replace each other; no field notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use portal_core::Clock;
use portal_core::id::{EpochId, Id, RootId, SubjectId};
use portal_keys::{KeyState, KeyUse, Keys, KeysError, Provider, RewrapProgress};
use portal_store::leases;

use crate::fixture::{Fixture, opens, seal, subject, subjects, until};

/// Subjects with a key and an envelope each.
async fn people(keys: &Keys, count: u64) -> Vec<(SubjectId, Vec<u8>)> {
    let all = subjects(0..count);
    let made = keys.subjects_or_new(&all).await.unwrap();
    all.iter().map(|subject| (*subject, seal(made.get(*subject).unwrap()))).collect()
}

async fn all_open(keys: &Keys, people: &[(SubjectId, Vec<u8>)]) {
    let ids: Vec<_> = people.iter().map(|(subject, _)| *subject).collect();
    let found = keys.subjects(&ids).await.unwrap();
    for (subject, envelope) in people {
        assert!(opens(found.get(*subject).unwrap(), envelope), "{subject}");
    }
}

async fn keys_under(fixture: &Fixture, epoch: EpochId) -> i64 {
    let rows = fixture
        .query("SELECT COUNT(*) AS n FROM subject_key WHERE epoch_id = $1", [epoch.uuid().into()])
        .await;
    rows[0].try_get("", "n").unwrap()
}

async fn active_root(fixture: &Fixture) -> RootId {
    let ambient = fixture.ambient();
    let provider = Provider::open(&fixture.config, ambient.clock, ambient.entropy).await.unwrap();
    provider.active_root().await.unwrap()
}

portal_testkit::each_database! {
    /// A new epoch, the keys of the old one wrapped under it, the old one destroyed: everything opens at each step, in
    /// this process, in another one and after a restart.
    async fn an_epoch_ends(database) {
        let fixture = Fixture::new(database).await;
        let (keys, replica) = (fixture.open().await, fixture.open().await);
        let people = people(&keys, 30).await;
        all_open(&replica, &people).await;
        let rotation = keys.rotate_epoch().await.unwrap();
        assert_eq!(keys_under(&fixture, rotation.retired).await, 30);
        all_open(&keys, &people).await;
        // The replica that made no new epoch makes no new key under the old one.
        replica.subject_or_new(subject(100)).await.unwrap();
        assert_eq!(keys_under(&fixture, rotation.active).await, 1);

        let in_use = keys.destroy_epoch(rotation.retired).await;
        assert!(matches!(in_use, Err(KeysError::InUse { keys: 30, epoch }) if epoch == rotation.retired));
        assert_eq!(keys.rewrap_pending().await.unwrap(), 30);
        let reports = AtomicU64::new(0);
        let progress = keys.rewrap(&|_| _ = reports.fetch_add(1, Ordering::Relaxed)).await.unwrap();
        assert_eq!(progress, RewrapProgress { total: 30, done: 30, corrupt: 0 });
        assert_eq!(reports.into_inner(), 2, "at the beginning and after the only batch");
        assert_eq!(keys.rewrap_pending().await.unwrap(), 0);
        assert_eq!(keys_under(&fixture, rotation.active).await, 31);
        for keys in [&keys, &replica] {
            all_open(keys, &people).await;
        }

        let active = keys.destroy_epoch(rotation.active).await;
        assert!(matches!(active, Err(KeysError::State { .. })));
        keys.destroy_epoch(rotation.retired).await.unwrap();
        assert!(matches!(keys.destroy_epoch(rotation.retired).await, Err(KeysError::State { .. })));
        let nobodys = EpochId::from_bytes([9; 16]);
        assert!(matches!(keys.destroy_epoch(nobodys).await, Err(KeysError::NoSuchKey(_))));
        assert_eq!(fixture.count("epoch_key WHERE record IS NULL").await, 1);
        for keys in [&keys, &replica, &fixture.open().await] {
            all_open(keys, &people).await;
        }
    }

    /// Rewrapping that is dropped between two batches, or killed in the middle of one, loses no key, does none twice,
    /// and goes on where it was.
    async fn interrupted_rewrapping_goes_on(database) {
        const PEOPLE: u64 = 7_000;
        let fixture = Fixture::new(database).await;
        let keys = fixture.open().await;
        let people = people(&keys, PEOPLE).await;
        let rotation = keys.rotate_epoch().await.unwrap();

        // Dropped as soon as the first batch is reported.
        let (sent, reported) = (tokio::sync::Notify::new(), AtomicU64::new(0));
        let report = |progress: RewrapProgress| {
            reported.store(progress.done, Ordering::Relaxed);
            if progress.done > 0 {
                sent.notify_one();
            }
        };
        tokio::select! {
            biased;
            () = sent.notified() => {}
            result = keys.rewrap(&report) => panic!("not interrupted: {result:?}"),
        }
        let left = keys_under(&fixture, rotation.retired).await;
        assert!(left > 0 && left < PEOPLE.cast_signed(), "{left} of {PEOPLE} left");
        let in_use = keys.destroy_epoch(rotation.retired).await;
        assert!(matches!(in_use, Err(KeysError::InUse { keys, .. }) if keys == left.cast_unsigned()));

        // Killed while it runs, at whatever it does then.
        let mut tasks = tokio::task::JoinSet::new();
        let other = fixture.open().await;
        tasks.spawn(async move { other.rewrap(&|_| {}).await });
        tokio::time::sleep(Duration::from_millis(25)).await;
        tasks.shutdown().await;
        all_open(&keys, &people).await;

        let left = keys_under(&fixture, rotation.retired).await.cast_unsigned();
        let progress = fixture.open().await.rewrap(&|_| {}).await.unwrap();
        assert_eq!(progress, RewrapProgress { total: left, done: left, corrupt: 0 });
        assert_eq!(keys_under(&fixture, rotation.active).await, PEOPLE.cast_signed());
        assert_eq!(fixture.count("subject_key").await, PEOPLE.cast_signed());
        all_open(&fixture.open().await, &people).await;
        keys.destroy_epoch(rotation.retired).await.unwrap();
    }

    /// Two processes that rewrap at once, while a third makes keys and erases, do each key once.
    async fn rewrapping_is_safe_among_others(database) {
        let fixture = Fixture::new(database).await;
        let (a, b, c) = (fixture.open().await, fixture.open().await, fixture.open().await);
        let people = people(&a, 5_000).await;
        let rotation = a.rotate_epoch().await.unwrap();
        let (nothing, everyday) = (&|_| {}, async {
            for (number, (erased, _)) in (0..10).zip(&people) {
                c.subject_or_new(subject(10_000 + number)).await.unwrap();
                c.erase(*erased).await.unwrap();
            }
        });
        let (from_a, from_b, ()) = tokio::join!(a.rewrap(nothing), b.rewrap(nothing), everyday);
        let done = from_a.unwrap().done + from_b.unwrap().done;
        assert!((4_990..=5_000).contains(&done), "{done}");
        assert_eq!(keys_under(&fixture, rotation.retired).await, 0);
        assert_eq!(keys_under(&fixture, rotation.active).await, 5_000);
        all_open(&fixture.open().await, &people[10..]).await;
    }

    /// After its days an epoch is replaced, and its keys are wrapped under the next one, by one of the replicas.
    async fn an_old_epoch_is_replaced_in_the_background(database) {
        let fixture = Fixture::new(database).await;
        let (keys, replica) = (fixture.open().await, fixture.open().await);
        let people = people(&keys, 10).await;
        fixture.clock.advance(Duration::from_secs(89 * 86_400));
        keys.subject_or_new(subject(50)).await.unwrap();
        assert_eq!(fixture.count("epoch_key").await, 1);
        fixture.clock.advance(Duration::from_secs(86_400));
        until("a new epoch has begun and has all keys", || async {
            fixture.count("epoch_key WHERE state = 2").await == 1
                && keys.rewrap_pending().await.unwrap() == 0
                && fixture.count("key_head WHERE rewrap_wanted").await == 0
        })
        .await;
        assert_eq!(fixture.count("epoch_key").await, 2);
        for keys in [&keys, &replica] {
            all_open(keys, &people).await;
        }
    }

    /// Rewrapping that was asked for is done in the background, also by a process that starts later.
    async fn rewrapping_that_was_asked_for_is_done(database) {
        let fixture = Fixture::new(database).await;
        let keys = fixture.open().await;
        let people = people(&keys, 10).await;
        keys.rotate_epoch().await.unwrap();
        keys.close().await;
        let keys = fixture.open().await;
        assert_eq!(keys.rewrap_pending().await.unwrap(), 10);
        keys.request_rewrap().await.unwrap();
        keys.close().await;
        // Had it begun already, it has left its lease behind, and nobody else's clock moves here.
        fixture.clock.advance(Duration::from_secs(31));
        let keys = fixture.open().await;
        until("all is rewrapped", || async { keys.rewrap_pending().await.unwrap() == 0 }).await;
        all_open(&keys, &people).await;
    }

    /// An epoch that was switched off opens nothing, on every replica, until it is on again.
    async fn an_epoch_is_switched_off_and_on(database) {
        let fixture = Fixture::new(database).await;
        let (keys, replica) = (fixture.open().await, fixture.open().await);
        let people = people(&keys, 3).await;
        all_open(&replica, &people).await;
        let rotation = keys.rotate_epoch().await.unwrap();
        assert!(matches!(keys.disable_epoch(rotation.active).await, Err(KeysError::State { .. })));
        keys.disable_epoch(rotation.retired).await.unwrap();
        let refused = |result: Result<_, KeysError>| {
            matches!(result, Err(KeysError::EpochDisabled(epoch)) if epoch == rotation.retired)
        };
        assert!(refused(keys.subject(people[0].0).await.map(drop)));
        until("the replica knows", || async { refused(replica.subject(people[0].0).await.map(drop)) }).await;
        let several = replica.subjects(&[people[0].0, people[1].0]).await.unwrap();
        assert!(refused(several.get(people[1].0).map(drop)));
        replica.subject_or_new(subject(50)).await.expect("another epoch is well");
        keys.enable_epoch(rotation.retired).await.unwrap();
        all_open(&keys, &people).await;
        until("the replica knows", || async { replica.subject(people[0].0).await.is_ok() }).await;
    }

    /// A new root key: epochs and service keys are wrapped under it, and the old one can go.
    async fn a_root_is_replaced(database) {
        let fixture = Fixture::new(database).await;
        let keys = fixture.open().await;
        let people = people(&keys, 3).await;
        keys.index_keys("account", "email").await.unwrap();
        keys.rotate_epoch().await.unwrap();
        let old = active_root(&fixture).await;
        let under_old = keys.destroy_root(old).await;
        assert!(matches!(under_old, Err(KeysError::RootInUse { keys: 10, root }) if root == old));

        let change = keys.rotate_root().await.unwrap();
        assert_eq!((change.epochs, change.service_keys), (2, 8));
        assert_eq!(change.root, active_root(&fixture).await);
        assert_ne!(change.root, old);
        let again = keys.rewrap_under_root().await.unwrap();
        assert_eq!((again.epochs, again.service_keys), (0, 0));
        let under = format!("root_id = '{}'", change.root);
        if let Some(postgres) = Some(under).filter(|_| fixture.is_postgres()) {
            assert_eq!(fixture.count(&format!("epoch_key WHERE {postgres}")).await, 2);
            assert_eq!(fixture.count(&format!("service_key WHERE {postgres}")).await, 8);
        }
        keys.destroy_root(old).await.unwrap();
        all_open(&fixture.open().await, &people).await;
        let roots = keys.inventory().await.unwrap();
        let roots = roots.keys.iter().filter(|key| key.key_use == KeyUse::Root && key.state != KeyState::Destroyed);
        assert_eq!(roots.map(|root| (root.id.clone(), root.wrapped)).collect::<Vec<_>>(), [(change.root.to_string(), 10)]);
    }

    /// However many want to replace a root key, in however many processes, it is replaced once; who comes while somebody is
    /// at it is told so, and whoever never comes back is waited for no longer than the lease holds.
    async fn a_root_is_replaced_once(database) {
        let fixture = Fixture::new(database).await;
        let old = active_root(&fixture).await;
        let processes = [fixture.open().await, fixture.open().await, fixture.open().await];
        let replace = processes.iter().cycle().take(12).map(|keys| keys.replace_root(old));
        let outcomes = futures_util::future::join_all(replace).await;
        let replaced = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Some(_)))).count();
        assert_eq!(replaced, 1, "{outcomes:?}");
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(KeysError::Rotating))), "{outcomes:?}");
        let provider = Provider::open(&fixture.config, fixture.ambient().clock, fixture.ambient().entropy).await.unwrap();
        assert_eq!(provider.roots().await.unwrap().len(), 2);

        // Of a process that is in the middle of it.
        let (now, time, holder) = (fixture.clock.now(), Duration::from_secs(35), subject(1).uuid());
        let take = |tx| async move { leases::acquire(&tx, "root-key", holder, now, time).await };
        assert!(fixture.database.run_tx("take", take).await.unwrap().is_some());
        for keys in &processes {
            assert!(matches!(keys.rotate_root().await, Err(KeysError::Rotating)));
            keys.rewrap_under_root().await.expect("this any number may do");
        }
        assert_eq!(provider.roots().await.unwrap().len(), 2);
        fixture.clock.advance(time);
        processes[0].rotate_root().await.unwrap();
        processes[1].rotate_root().await.expect("the lease was given back");
        assert_eq!(provider.roots().await.unwrap().len(), 4);
    }

    /// Whoever asked the provider for too long may have been taken for gone: it does not go on where another has begun.
    async fn a_late_rotation_does_nothing(database) {
        let fixture = Fixture::new(database).await;
        let keys = fixture.open().await;
        let old = active_root(&fixture).await;
        // By the time that it looks at its lease, somebody else holds it.
        let steal: &[&str] = if fixture.is_postgres() {
            &[
                "CREATE FUNCTION stolen() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                    NEW.holder := '00000000-0000-0000-0000-000000000001'; RETURN NEW; END $$",
                "CREATE TRIGGER stolen BEFORE INSERT ON lease FOR EACH ROW EXECUTE FUNCTION stolen()",
            ]
        } else {
            &["CREATE TRIGGER stolen AFTER INSERT ON lease BEGIN UPDATE lease SET holder = x'00000000000000000000000000000001'; END"]
        };
        for statement in steal {
            fixture.sql(statement, []).await;
        }
        assert!(matches!(keys.replace_root(old).await, Err(KeysError::Rotating)));
        assert_eq!(active_root(&fixture).await, old);
    }

    /// A root rotation that stopped half-way is finished by calling again.
    async fn an_interrupted_root_rotation_goes_on(database) {
        let fixture = Fixture::new(database).await;
        let keys = fixture.open().await;
        let people = people(&keys, 3).await;
        for _ in 0..3 {
            keys.rotate_epoch().await.unwrap();
        }
        let old = active_root(&fixture).await;
        let ambient = fixture.ambient();
        let provider = Provider::open(&fixture.config, ambient.clock, ambient.entropy).await.unwrap();
        // The provider has a new root key, and then the process died.
        let new = provider.rotate_root().await.unwrap();
        let keys = Arc::new(fixture.open().await);
        all_open(&keys, &people).await;
        let interrupted = Arc::clone(&keys);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { interrupted.rewrap_under_root().await });
        tokio::time::sleep(Duration::from_millis(3)).await;
        tasks.shutdown().await;
        all_open(&fixture.open().await, &people).await;
        assert_eq!(keys.rewrap_under_root().await.unwrap().root, new);
        keys.destroy_root(old).await.unwrap();
        all_open(&fixture.open().await, &people).await;
    }
}
