//! The provider or the key database is gone: what is at hand serves for its time, then nothing does.

use std::error::Error;
use std::time::Duration;

use portal_keys::{KeysError, ProviderError};

use crate::fixture::{Fixture, opens, seal, subject, subjects, until};

portal_testkit::each_database! {
    /// Without the provider keys serve for sixty seconds from its last answer, then they are UNAVAILABLE with the cause,
    /// and when it is back they serve again.
    async fn without_the_provider_keys_serve_for_their_time(database) {
        let fixture = Fixture::new(database).await;
        let keys = fixture.open().await;
        let (anna, berta) = (subject(1), subject(2));
        let envelope = seal(&keys.subject_or_new(anna).await.unwrap());
        keys.subject_or_new(berta).await.unwrap();

        fixture.root_keys_are_there(false);
        fixture.clock.advance(Duration::from_millis(59_999));
        assert!(opens(&keys.subject(anna).await.unwrap(), &envelope));
        keys.subject_or_new(subject(3)).await.expect("the epoch key is still good");
        fixture.clock.advance(Duration::from_millis(1));
        assert!(keys.cached(anna).is_none());
        for refused in [keys.subject(anna).await, keys.subject_or_new(subject(4)).await] {
            let Err(error) = refused else { panic!("a key was given") };
            assert!(error.is_retryable() && error.source().is_some());
            let KeysError::Unavailable(cause) = error else { panic!("{error:?}") };
            assert!(matches!(*cause, ProviderError::KeyMissing { .. }), "{cause:?}");
        }
        assert!(keys.subjects(&[anna, berta]).await.is_err());
        until("the key is wiped", || async { fixture.metric("keys_cached") == 0 }).await;

        fixture.root_keys_are_there(true);
        fixture.clock.advance(Duration::from_secs(1));
        assert!(opens(&keys.subject(anna).await.unwrap(), &envelope));
    }

    /// While the provider is well, the background asks it again in time: nobody ever waits for it.
    async fn epoch_keys_are_kept_open(database) {
        let fixture = Fixture::new(database).await;
        let keys = fixture.open().await;
        keys.subject_or_new(subject(1)).await.unwrap();
        let calls = r#"keys_provider_calls_total{call="unwrap",outcome="ok"}"#;
        for _ in 0..5 {
            let before = fixture.metric(calls);
            fixture.clock.advance(Duration::from_secs(31));
            until("the provider was asked again", || async { fixture.metric(calls) > before }).await;
        }
        // 155 s after the start, in the second half of the window: without the provider it holds.
        fixture.root_keys_are_there(false);
        fixture.clock.advance(Duration::from_secs(25));
        keys.subject(subject(1)).await.unwrap();
    }

    /// What was made ready serves for some seconds without the provider, also to open keys that nobody has asked for yet.
    async fn ready_keys_need_no_provider_for_a_while(database) {
        let fixture = Fixture::new(database).await;
        fixture.open().await.subject_or_new(subject(1)).await.unwrap();
        let keys = fixture.open().await;
        keys.ready().await.unwrap();
        fixture.root_keys_are_there(false);
        fixture.clock.advance(Duration::from_millis(54_999));
        keys.ready().await.unwrap();
        keys.subject(subject(1)).await.unwrap();
        keys.subject_or_new(subject(2)).await.unwrap();
        fixture.clock.advance(Duration::from_millis(1));
        assert!(matches!(keys.ready().await, Err(KeysError::Unavailable(_))));
        keys.subject(subject(1)).await.expect("for the last seconds it serves who is at work");
        fixture.root_keys_are_there(true);
        fixture.clock.advance(Duration::from_secs(1));
        keys.ready().await.unwrap();
        // A key that is out of use keeps nobody from being ready.
        let rotation = keys.rotate_epoch().await.unwrap();
        keys.disable_epoch(rotation.retired).await.unwrap();
        keys.ready().await.unwrap();
    }

    /// However many want keys of an epoch that is not open, the provider is asked once; also when it fails.
    async fn the_provider_is_asked_once(database) {
        let fixture = Fixture::new(database).await;
        let all = subjects(0..64);
        fixture.open().await.subjects_or_new(&all).await.unwrap();
        let keys = fixture.open().await;
        let calls = |outcome: &str| {
            fixture.metric(&format!(r#"keys_provider_calls_total{{call="unwrap",outcome="{outcome}"}}"#))
        };
        let ask = || futures_util::future::join_all(all.iter().map(|subject| keys.subject(*subject)));
        let before = calls("ok");
        assert!(ask().await.iter().all(Result::is_ok));
        assert_eq!(calls("ok"), before + 1);

        fixture.root_keys_are_there(false);
        fixture.clock.advance(Duration::from_secs(60));
        let failed = || calls("key_missing");
        let before = failed();
        let refused = ask().await;
        assert!(refused.iter().all(|refused| matches!(refused, Err(KeysError::Unavailable(_)))));
        assert_eq!(failed(), before + 1);
    }

    /// A cache that can't hear of erasures is not used: the rows are asked every time, and without the database there is
    /// no key.
    async fn without_the_database_the_cache_is_not_trusted(database) {
        let fixture = Fixture::new(database).await;
        let keys = fixture.open().await;
        keys.subject_or_new(subject(1)).await.unwrap();
        assert!(keys.cached(subject(1)).is_some());
        fixture.sql("ALTER TABLE key_head RENAME TO hidden", []).await;
        // Let a look at the ledger that may have begun before end.
        tokio::time::sleep(Duration::from_millis(300)).await;
        fixture.clock.advance(Duration::from_millis(749));
        assert!(keys.cached(subject(1)).is_some());
        fixture.clock.advance(Duration::from_millis(1));
        assert!(keys.cached(subject(1)).is_none());
        assert!(fixture.metric("keys_cache_distrusted_total") > 0);
        keys.subject(subject(1)).await.expect("from its row");
        fixture.sql("ALTER TABLE subject_key RENAME TO hidden_too", []).await;
        assert!(matches!(keys.subject(subject(1)).await, Err(KeysError::Store(_))));
        fixture.sql("ALTER TABLE hidden_too RENAME TO subject_key", []).await;
        fixture.sql("ALTER TABLE hidden RENAME TO key_head", []).await;
        until("the cache is trusted again", || async {
            keys.subject(subject(1)).await.unwrap();
            keys.cached(subject(1)).is_some()
        })
        .await;
    }

    /// Without the provider a service does not start, whatever the database holds.
    async fn nothing_starts_without_the_provider(database) {
        let fixture = Fixture::new(database).await;
        fixture.open().await.close().await;
        fixture.root_keys_are_there(false);
        assert!(matches!(fixture.try_open(&fixture.config).await, Err(KeysError::Unavailable(_))));
    }
}
