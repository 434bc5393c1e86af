//! From a server of OpenBao to a person's field: what fails there, and what it means here.
//!
//! Slow, sealed, switched off: whatever it is, what is at hand serves for its time from the server's last word, then
//! everything is unavailable with that cause, no process starts, and nothing is sealed or opened in another way.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use portal_core::id::{Id, SubjectId, TenantId};
use portal_core::{ManualClock, SystemEntropy, Timestamp, Workload};
use portal_crypto::envelope::{Padding, Place, Scope, SubjectKey};
use portal_keys::{Ambient, Keys, KeysConfig, KeysError, Metrics};
use portal_testkit::TestDatabase;

use crate::contract::create;
use crate::vault::{Setting, delaying};

const START: Timestamp = Timestamp::from_seconds(1_795_305_600);
const SCOPE: Scope = Scope { service: Workload::Consent, tenant: TenantId::DEFAULT };
const ANNA: [u8; 16] = [1; 16];

fn place() -> Place<'static> {
    let owner = SCOPE.owner(SubjectId::from_bytes(ANNA));
    Place { owner, table: "account", column: "email", row: [7; 16], row_version: 1 }
}

/// A service's keys under a root key on a server, and a field of somebody.
struct Chain {
    config: KeysConfig,
    clock: Arc<ManualClock>,
    keys: Keys,
    envelope: Vec<u8>,
    _database: TestDatabase,
}

impl Chain {
    async fn new(config: KeysConfig) -> Self {
        create(&config).await.unwrap();
        let database = TestDatabase::sqlite();
        let config = KeysConfig { database: database.config(), ..config };
        let clock = Arc::new(ManualClock::new(START));
        let keys = open(&config, &clock).await.unwrap();
        let key = keys.subject_or_new(SubjectId::from_bytes(ANNA)).await.unwrap();
        let envelope = key.seal(&place(), Padding::None, b"anna@example.org", &SystemEntropy).unwrap();
        Self { config, clock, keys, envelope, _database: database }
    }

    async fn anna(&self) -> Result<Arc<SubjectKey>, KeysError> {
        self.keys.subject(SubjectId::from_bytes(ANNA)).await
    }

    fn opens_with(&self, key: &SubjectKey) -> bool {
        let opened = key.open(&place(), Padding::None, &self.envelope);
        opened.is_ok_and(|email| email.expose().as_slice() == b"anna@example.org")
    }

    /// The server fails in the way that is called `outcome`, from now on.
    async fn closes(&self, outcome: &str) {
        self.clock.advance(Duration::from_millis(59_999));
        assert!(self.opens_with(&self.anna().await.expect("it is cached")));
        let bert = self.keys.subject_or_new(SubjectId::from_bytes([2; 16])).await;
        drop(bert.expect("the epoch key is still good"));

        self.clock.advance(Duration::from_millis(1));
        assert!(self.keys.cached(SubjectId::from_bytes(ANNA)).is_none());
        let new = self.keys.subject_or_new(SubjectId::from_bytes([3; 16])).await;
        for refused in [self.anna().await, new] {
            let Err(error) = refused else { panic!("a key was given: {outcome}") };
            assert!(error.is_retryable() && error.source().is_some());
            let KeysError::Unavailable(cause) = error else { panic!("{outcome}: {error:?}") };
            assert_eq!(cause.name(), outcome);
        }
        let all = [SubjectId::from_bytes(ANNA), SubjectId::from_bytes([2; 16])];
        assert!(matches!(self.keys.subjects(&all).await, Err(KeysError::Unavailable(_))));
        let started = open(&self.config, &self.clock).await;
        assert!(matches!(started, Err(KeysError::Unavailable(cause)) if cause.name() == outcome));
    }

    /// The server is well again.
    async fn opens_again(&self) {
        self.clock.advance(Duration::from_secs(1));
        assert!(self.opens_with(&self.anna().await.unwrap()));
    }
}

async fn open(config: &KeysConfig, clock: &Arc<ManualClock>) -> Result<Keys, KeysError> {
    let ambient = Ambient {
        clock: Arc::clone(clock) as Arc<dyn portal_core::Clock>,
        entropy: Arc::new(SystemEntropy),
        metrics: Metrics::default(),
    };
    Keys::open(config, SCOPE, ambient).await
}

#[tokio::test]
async fn a_key_that_is_switched_off_closes_the_chain() {
    let Some(setting) = Setting::shared("chain") else { return };
    let chain = Chain::new(setting.config()).await;
    setting.bao(&["delete", &setting.path("/soft-delete")]);
    chain.closes("key_disabled").await;
    setting.bao(&["write", "-f", &setting.path("/soft-delete-restore")]);
    chain.opens_again().await;
}

#[tokio::test]
async fn a_sealed_server_closes_the_chain() {
    let Some(setting) = Setting::alone() else { return };
    let chain = Chain::new(setting.config()).await;
    setting.bao(&["operator", "seal"]);
    chain.closes("sealed").await;
}

#[tokio::test]
async fn a_slow_server_closes_the_chain() {
    let Some(setting) = Setting::shared("slow-chain") else { return };
    let calls = async {
        let delay = Arc::new(AtomicU64::new(0));
        let address = delaying(&setting.server, Arc::clone(&delay)).await;
        let chain = Chain::new(setting.config_at(&address, "provider_timeout_seconds = 1")).await;
        delay.store(600_000, Ordering::Relaxed);
        chain.closes("timed_out").await;
        delay.store(0, Ordering::Relaxed);
        chain.opens_again().await;
    };
    tokio::task::LocalSet::new().run_until(calls).await;
}
