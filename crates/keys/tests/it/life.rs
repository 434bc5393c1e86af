//! Made once, found again.

use portal_core::Workload;
use portal_crypto::envelope::Scope;
use portal_crypto::kdf::Label;
use portal_keys::{Keys, KeysError};

use crate::fixture::{Fixture, START, opens, seal, subject, subjects};

/// What tells one set of service keys from another.
async fn fingerprint(keys: &Keys) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let secret = keys.service_secret().derive(Label::PageToken);
    let digest = portal_crypto::row_digest::RowDigest::new(keys.digest_key(), "t", &[0; 16], 1).finish();
    let index = keys.index_keys("account", "email").await.unwrap();
    let index = index.active().index(b"anna", portal_crypto::blind_index::IndexBits::FULL);
    (secret.expose().to_vec(), digest.to_vec(), index)
}

portal_testkit::each_database! {
    /// The keys of the first start are those of every later one, and of every replica.
    async fn a_restart_finds_the_same_keys(database) {
        let fixture = Fixture::new(database).await;
        let keys = fixture.open().await;
        let before = fingerprint(&keys).await;
        let anna = keys.subject_or_new(subject(1)).await.unwrap();
        let envelope = seal(&anna);
        assert!(matches!(keys.subject(subject(2)).await, Err(KeysError::Missing(missing)) if missing == subject(2)));
        keys.close().await;
        drop(keys);

        let keys = fixture.open().await;
        assert_eq!(fingerprint(&keys).await, before);
        let anna = keys.subject(subject(1)).await.unwrap();
        assert!(opens(&anna, &envelope));
        assert_eq!(anna.generation(), 1);
        let replica = fixture.open().await;
        assert_eq!(fingerprint(&replica).await, before);
        assert!(opens(&replica.subject_or_new(subject(1)).await.unwrap(), &envelope));
        assert_eq!(fixture.count("epoch_key").await, 1);
        assert_eq!(fixture.count("subject_key").await, 1);
    }

    /// A milestone stays, for every replica and every later start.
    async fn a_milestone_is_for_good(database) {
        let fixture = Fixture::new(database).await;
        let keys = fixture.open().await;
        assert!(keys.reached().await.unwrap().is_empty());
        keys.reach("d0001/committed").await.unwrap();
        let replica = fixture.open().await;
        replica.reach("d0001/committed").await.unwrap();
        assert_eq!(keys.reached().await.unwrap(), ["d0001/committed".to_owned()].into());
        keys.close().await;
        let keys = fixture.open().await;
        assert_eq!(keys.reached().await.unwrap().len(), 1);
        assert!(!keys.take_back("d0001/new_alone").await.unwrap());
        assert!(keys.take_back("d0001/committed").await.unwrap());
        assert!(fixture.open().await.reached().await.unwrap().is_empty());
    }

    /// Of processes that start at once on an empty database, all end with the same keys.
    async fn processes_that_start_at_once_agree(database) {
        let fixture = Fixture::new(database).await;
        let (a, b, c, d) = tokio::join!(fixture.open(), fixture.open(), fixture.open(), fixture.open());
        let first = fingerprint(&a).await;
        for other in [&b, &c, &d] {
            assert_eq!(fingerprint(other).await, first);
        }
        assert_eq!(fixture.count("epoch_key").await, 1);
        // Service secret, row digest, shred ledger, two halves each of the statement key and the ledger's, one index.
        assert_eq!(fixture.count("service_key").await, 8);
    }

    /// Of processes that make a key for the same subject at once, all get the same one.
    async fn a_subject_gets_one_key(database) {
        let fixture = Fixture::new(database).await;
        let (a, b) = (fixture.open().await, fixture.open().await);
        let all = subjects(0..40);
        let (from_a, from_b) = tokio::join!(a.subjects_or_new(&all), b.subjects_or_new(&all));
        let (from_a, from_b) = (from_a.unwrap(), from_b.unwrap());
        for subject in &all {
            assert!(opens(from_b.get(*subject).unwrap(), &seal(from_a.get(*subject).unwrap())));
        }
        assert_eq!(fixture.count("subject_key").await, 40);
    }

    /// A batch over several queries: all are found, each once, whatever the order and however often they are named.
    async fn batches_have_every_key(database) {
        let fixture = Fixture::new(database).await;
        let keys = fixture.open().await;
        let all = subjects(0..1_203);
        let made = keys.subjects_or_new(&all).await.unwrap();
        assert_eq!(made.len(), all.len());
        let envelopes: Vec<_> = all.iter().map(|subject| seal(made.get(*subject).unwrap())).collect();
        assert_eq!(fixture.count("subject_key").await, 1_203);

        let other = fixture.open().await;
        let mut asked = [all.clone(), all.clone()].concat();
        asked.push(subject(5_000));
        let found = other.subjects(&asked).await.unwrap();
        assert_eq!(found.len(), all.len() + 1);
        for (subject, envelope) in all.iter().zip(&envelopes) {
            assert!(opens(found.get(*subject).unwrap(), envelope));
            assert!(opens(&other.cached(*subject).unwrap(), envelope));
        }
        assert!(matches!(found.get(subject(5_000)), Err(KeysError::Missing(_))));
        assert!(matches!(found.get(subject(5_001)), Err(KeysError::Missing(_))), "not asked for");
        assert!(other.subjects(&[]).await.unwrap().is_empty());
    }

    /// One database per service: another one's is refused, before anything is made in it.
    async fn another_services_database_is_refused(database) {
        let fixture = Fixture::new(database).await;
        drop(fixture.open().await);
        let scope = Scope { service: Workload::Consent, ..crate::fixture::SCOPE };
        let refused = Keys::open(&fixture.config, scope, fixture.ambient()).await.err().unwrap();
        assert!(matches!(refused, KeysError::Foreign { owner } if owner == "auth"));
        assert_eq!(fixture.count("epoch_key").await, 1);
    }

    /// Seals are counted over restarts, and a key that has sealed often enough gives way to the next generation.
    async fn generations_follow_each_other(database) {
        let fixture = Fixture::new(database).await;
        let keys = fixture.open().await;
        let anna = keys.subject_or_new(subject(1)).await.unwrap();
        let old = seal(&anna);
        (0..4).for_each(|_| drop(seal(&anna)));
        keys.close().await;
        assert_eq!(fixture.count("subject_key WHERE seals = 5").await, 1);

        let keys = fixture.open().await;
        assert_eq!(keys.subject(subject(1)).await.unwrap().seals(), 5);
        // Almost as often as it may.
        fixture.sql("UPDATE subject_key SET seals = 268435450", []).await;
        let replica = fixture.open().await;
        let full = replica.subject(subject(1)).await.unwrap();
        assert_eq!((full.generation(), full.seals()), (1, 268_435_450));
        let next = replica.subject_or_new(subject(1)).await.unwrap();
        assert_eq!((next.generation(), next.seals()), (2, 0));
        assert!(opens(&next, &old));
        let new = seal(&next);
        assert!(opens(&next, &new));
        // The other replica hears of it, although it has the first generation in its cache.
        crate::fixture::until("the new generation is seen", || async {
            keys.subject(subject(1)).await.is_ok_and(|key| opens(&key, &new) && opens(&key, &old))
        })
        .await;
        assert_eq!(fixture.count("subject_key").await, 2);
        assert!(START.as_micros() > 0);
    }

    /// Where keys came from is counted; calls of the provider are counted by outcome and measured.
    async fn lookups_and_calls_are_counted(database) {
        let fixture = Fixture::new(database).await;
        let lookups = |outcome: &str| fixture.metric(&format!("keys_lookups_total{{outcome=\"{outcome}\"}}"));
        let all = || ["created", "loaded", "cached"].map(lookups);
        let keys = fixture.open().await;
        keys.subject_or_new(subject(1)).await.unwrap();
        assert_eq!(all(), [1, 1, 0]);
        keys.subject(subject(1)).await.unwrap();
        assert!(keys.cached(subject(1)).is_some() && keys.cached(subject(2)).is_none());
        assert_eq!(all(), [1, 1, 2]);
        keys.subjects_or_new(&[subject(1), subject(2), subject(3)]).await.unwrap();
        assert_eq!(all(), [3, 3, 3]);
        let calls = |call: &str, outcome: &str| {
            let labels = format!("{{call=\"{call}\",outcome=\"{outcome}\"}}");
            fixture.metric(&format!("keys_provider_calls_total{labels}"))
        };
        let measured =
            |call: &str| fixture.metric(&format!("keys_provider_call_duration_seconds_count{{call=\"{call}\"}}"));
        let unwraps = calls("unwrap", "ok");
        let restarted = fixture.open().await;
        restarted.subjects(&[subject(1), subject(2), subject(9)]).await.unwrap();
        assert_eq!(all(), [3, 5, 3]);
        // Seven keys of the service, and the epoch's.
        assert_eq!(calls("unwrap", "ok"), unwraps + 8);
        assert!(calls("wrap", "ok") >= 6 && measured("wrap") == calls("wrap", "ok"));
        fixture.root_keys_are_there(false);
        assert!(restarted.inventory().await.is_err());
        assert_eq!((calls("roots", "key_missing"), measured("unwrap")), (1, calls("unwrap", "ok")));
    }

    /// What the configuration switches off neither seals nor opens, from the next start on.
    async fn an_algorithm_can_be_switched_off(database) {
        let fixture = Fixture::new(database).await;
        let keys = fixture.open().await;
        keys.subject_or_new(subject(1)).await.unwrap();
        let mut config = fixture.config.clone();
        config.disabled_algorithms = vec!["AES-256-GCM".to_owned()];
        let without = fixture.try_open(&config).await.unwrap();
        for refused in [without.subject(subject(1)).await, without.subject_or_new(subject(2)).await] {
            assert!(matches!(refused, Err(KeysError::Disabled(_))));
        }
        config.disabled_algorithms = vec!["X-Wing".to_owned()];
        assert!(matches!(fixture.try_open(&config).await, Err(KeysError::Disabled(_))));
        // What is not used here would stay as it is, and whoever switched it off would believe otherwise.
        for name in ["provider-wrap", "ML-KEM-768", "ML-KEM-1024", "Cobblestone-256", "Kyber-768-r3", "Dilithium3-r3.1"] {
            config.disabled_algorithms = vec!["XAES-256-GCM".to_owned(), name.to_owned()];
            let told = fixture.try_open(&config).await.err().unwrap().to_string();
            let expected = "is used by no service with this provider; take it off the list";
            assert_eq!(told, format!("keys.disabled_algorithms: {name} {expected}"));
        }
        for name in ["ML-DSA-65", "Ed25519", "ECDSA-P-256", "ML-DSA-65+Ed25519", "XAES-256-GCM"] {
            config.disabled_algorithms = vec![name.to_owned()];
            fixture.try_open(&config).await.unwrap().close().await;
        }
        config.disabled_algorithms = vec!["AES".to_owned()];
        assert!(matches!(fixture.try_open(&config).await, Err(KeysError::UnknownAlgorithm(_))));
    }

    /// A cache with room for nothing holds nothing, and everything works.
    async fn a_cache_of_no_size_works(database) {
        let fixture = Fixture::new(database).await;
        let mut config = fixture.config.clone();
        config.cache_max_subjects = 0;
        let keys = fixture.try_open(&config).await.unwrap();
        let envelope = seal(&keys.subject_or_new(subject(1)).await.unwrap());
        assert!(keys.cached(subject(1)).is_none());
        assert!(opens(&keys.subject(subject(1)).await.unwrap(), &envelope));
    }
}
