//! What every provider must do.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use portal_core::id::{Id, RootId, TenantId};
use portal_core::{SystemClock, SystemEntropy, Timestamp, Workload};
use portal_crypto::envelope::Scope;
use portal_crypto::inventory::{KeyPurpose, KeyState};
use portal_crypto::key::KeyBytes;
use portal_crypto::wrapped::{KeyContext, KeyUse, WrappedKey};
use portal_keys::{KeysConfig, Provider, ProviderError};

/// `[keys]` with these lines about the provider.
pub fn config(lines: &str) -> KeysConfig {
    toml::from_str(&format!("database_url = 'sqlite::memory:'\n{lines}")).unwrap()
}

pub async fn open(config: &KeysConfig) -> Result<Provider, ProviderError> {
    Provider::open(config, Arc::new(SystemClock), Arc::new(SystemEntropy)).await
}

pub async fn create(config: &KeysConfig) -> Result<Provider, ProviderError> {
    Provider::create(config, Arc::new(SystemClock), Arc::new(SystemEntropy)).await
}

/// Writes a file that only we may read.
pub fn write_secret(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

pub const CONTEXT: KeyContext = KeyContext {
    key_use: KeyUse::Epoch,
    scope: Scope { service: Workload::Consent, tenant: TenantId::DEFAULT },
    key_id: [7; 16],
};

pub fn new_key() -> KeyBytes {
    KeyBytes::generate(&SystemEntropy)
}

/// The name of the error of a call that must fail.
pub fn failure<T>(outcome: Result<T, ProviderError>) -> &'static str {
    outcome.err().expect("it must fail").name()
}

/// A provider without a root key is opened only after one was made; what it wraps opens in its place only.
pub async fn holds(config: &KeysConfig) {
    assert_eq!(failure(open(config).await), "key_missing");
    let provider = create(config).await.unwrap();
    let root = provider.active_root().await.unwrap();
    assert_eq!(create(config).await.unwrap().active_root().await.unwrap(), root, "there is one already");
    let key = new_key();
    let wrapped = provider.wrap(&CONTEXT, &key).await.unwrap();
    assert_eq!(wrapped.root, root);
    assert!(!wrapped.bytes.windows(32).any(|window| window == key.expose()));
    assert_ne!(provider.wrap(&CONTEXT, &key).await.unwrap().bytes, wrapped.bytes);
    let elsewhere = open(config).await.unwrap();
    assert!(elsewhere.unwrap(&CONTEXT, &wrapped).await.unwrap().same_as(&key));
    another_context(&provider, &wrapped).await;
    any_change(&provider, &wrapped).await;
    rotation(config, &provider, &wrapped, &key).await;
}

async fn another_context(provider: &Provider, wrapped: &WrappedKey) {
    let scope = |service, tenant| Scope { service, tenant };
    let others = [
        KeyContext { key_use: KeyUse::ServiceSecret, ..CONTEXT },
        KeyContext { scope: scope(Workload::Auth, TenantId::DEFAULT), ..CONTEXT },
        KeyContext { scope: scope(Workload::Consent, TenantId::from_bytes([1; 16])), ..CONTEXT },
        KeyContext { key_id: [8; 16], ..CONTEXT },
    ];
    for other in others {
        assert_eq!(failure(provider.unwrap(&other, wrapped).await), "refused", "{other:?}");
    }
}

async fn any_change(provider: &Provider, wrapped: &WrappedKey) {
    // All of a short one; of an encapsulated key, which the tests of crypto change bit by bit, one byte in 16.
    let key = wrapped.bytes.len().saturating_sub(48);
    let step = if wrapped.bytes.len() > 512 { 16 } else { 1 };
    for at in (0..key).step_by(step).chain(key..wrapped.bytes.len()) {
        let mut changed = wrapped.clone();
        changed.bytes[at] ^= 1;
        refused(provider, &changed, &format!("byte {at}")).await;
    }
    for length in [0, 1, wrapped.bytes.len() - 1] {
        let mut changed = wrapped.clone();
        changed.bytes.truncate(length);
        refused(provider, &changed, &format!("{length} bytes")).await;
    }
    let mut longer = wrapped.clone();
    longer.bytes.push(b'A');
    refused(provider, &longer, "one byte more").await;
}

async fn refused(provider: &Provider, changed: &WrappedKey, what: &str) {
    let outcome = provider.unwrap(&CONTEXT, changed).await;
    let name = failure(outcome);
    // A changed version number of a Transit ciphertext names a version that may not exist.
    assert!(matches!(name, "refused" | "key_missing"), "{what}: {name}");
}

async fn rotation(config: &KeysConfig, provider: &Provider, old: &WrappedKey, key: &KeyBytes) {
    let first = old.root;
    let second = provider.rotate_root().await.unwrap();
    assert_ne!(second, first);
    let elsewhere = open(config).await.unwrap();
    for provider in [provider, &elsewhere] {
        assert_eq!(provider.active_root().await.unwrap(), second);
        assert!(provider.unwrap(&CONTEXT, old).await.unwrap().same_as(key));
        let new = provider.wrap(&CONTEXT, key).await.unwrap();
        assert_eq!(new.root, second);
        assert!(provider.unwrap(&CONTEXT, &new).await.unwrap().same_as(key));
        for mixed in [WrappedKey { root: first, ..new }, WrappedKey { root: second, ..old.clone() }] {
            assert_eq!(failure(provider.unwrap(&CONTEXT, &mixed).await), "refused");
        }
    }
    assert_eq!(lives(provider).await, [(second, KeyState::Active), (first, KeyState::Retired)]);

    let unknown = WrappedKey { root: RootId::from_bytes([9; 16]), ..old.clone() };
    assert_eq!(failure(provider.unwrap(&CONTEXT, &unknown).await), "key_missing");
    assert_eq!(failure(provider.destroy_root(second).await), "misconfigured", "it is active");
    assert_eq!(failure(provider.destroy_root(RootId::from_bytes([9; 16])).await), "key_missing");
    provider.destroy_root(first).await.unwrap();
    let gone = failure(provider.unwrap(&CONTEXT, old).await);
    assert!(matches!(gone, "key_missing" | "key_disabled"), "{gone}");
    let left: Vec<_> =
        lives(&elsewhere).await.into_iter().filter(|(_, state)| *state != KeyState::Destroyed).collect();
    assert_eq!(left, [(second, KeyState::Active)]);
    switched_off(config, key, &provider.wrap(&CONTEXT, key).await.unwrap()).await;
}

async fn lives(provider: &Provider) -> Vec<(RootId, KeyState)> {
    let roots = provider.roots().await.unwrap();
    assert!(
        roots.iter().all(|root| root.purpose() == KeyPurpose::Root && root.created() > Timestamp::default())
    );
    roots.into_iter().map(|root| (*root.id(), root.state())).collect()
}

async fn switched_off(config: &KeysConfig, key: &KeyBytes, wrapped: &WrappedKey) {
    let disabled_algorithms = vec![wrapped.algorithm.name().to_owned()];
    let without = open(&KeysConfig { disabled_algorithms, ..config.clone() }).await.unwrap();
    assert_eq!(failure(without.wrap(&CONTEXT, key).await), "key_disabled");
    assert_eq!(failure(without.unwrap(&CONTEXT, wrapped).await), "key_disabled");
    let misspelt = KeysConfig { disabled_algorithms: vec!["x-wing".to_owned()], ..config.clone() };
    assert_eq!(failure(open(&misspelt).await), "misconfigured");
}
