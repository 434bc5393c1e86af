//! The keys that sign tokens: how they follow each other, are published, ended and refused.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portal_auth::TokenConfig;
use portal_core::{Clock, Workload};
use portal_crypto::kdf::Label;
use portal_crypto::token::TokenKey;
use portal_mesh::MeshChannel;
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::key_service_client::KeyServiceClient;
use portal_proto::auth::v1::revocation::Target;
use portal_proto::auth::v1::session_service_client::SessionServiceClient;
use portal_proto::auth::v1::token_service_client::TokenServiceClient;
use portal_proto::common::v1 as common;
use portal_store::Database;
use portal_testkit::each_database;
use serde_json::Value;
use tonic::{Code, Status};

use crate::fixture::{Auth, refused, with_token};
use crate::revocations::{next_revocation, watch};
use crate::sql;

const DAY: u64 = 86_400;
/// How long a key is published before it signs.
const AHEAD: u64 = 600;
/// How long it verifies afterwards.
const OVERLAP: u64 = 3_900;

/// The published keys, by id.
async fn published(channel: &MeshChannel) -> BTreeMap<String, pb::JsonWebKey> {
    let mut tokens = TokenServiceClient::new(channel.as_workload());
    let set = tokens.get_key_set(pb::GetKeySetRequest {}).await.unwrap().into_inner();
    assert_eq!(set.max_age.unwrap().seconds, 300);
    set.keys.into_iter().map(|key| (key.kid.clone(), key)).collect()
}

/// A token for auth, and the key that signed it.
async fn signed(channel: &MeshChannel, session: &pb::Session) -> (String, String) {
    let request = pb::ExchangeTokenRequest {
        access_token: session.access_token.clone(),
        audience: "auth".to_owned(),
        ..Default::default()
    };
    let mut tokens = TokenServiceClient::new(channel.as_workload());
    let token = tokens.exchange_token(request).await.unwrap().into_inner().token;
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    (token, header["kid"].as_str().unwrap().to_owned())
}

/// Whether auth takes a token that comes over `channel`.
async fn takes(channel: &MeshChannel, session: &pb::Session, token: &str) -> Result<(), Status> {
    let list = pb::ListSessionsRequest { account_id: session.account_id.clone(), ..Default::default() };
    let mut sessions = SessionServiceClient::new(channel.clone());
    sessions.list_sessions(with_token(token, list)).await.map(drop)
}

/// The same service `seconds` later: certificates live a day.
async fn later(auth: Auth, seconds: u64) -> Auth {
    auth.advance(seconds);
    let (mesh, mut config) = auth.stop().await;
    config.identity = mesh.identity(Workload::Auth);
    config.tokens = TokenConfig { rotation_days: 1 };
    Auth::with(mesh, config).await
}

async fn store(auth: &Auth) -> Database {
    let host = auth.mesh.host();
    Database::connect(&auth.config.database, host.entropy, Default::default()).await.unwrap()
}

fn seconds(time: Option<prost_types::Timestamp>) -> Option<i64> {
    time.map(|time| time.seconds)
}

each_database! {
    /// The first key is the one that earlier versions derived and sign with; there is one of each algorithm, in the terms of
    /// RFC 7517, and the same ones after a restart and at another replica.
    async fn the_first_keys(database) {
        let auth = Auth::start(database).await;
        let (_, session) = auth.person("anna@example.org").await;
        let derived = auth.keys().await.service_secret().derive(Label::TokenSigning);
        let derived = TokenKey::from_seed(derived.expose()).unwrap();
        assert_eq!(signed(&auth.channel(), &session).await.1, derived.id().as_str());
        let keys = published(&auth.channel()).await;
        let shapes: BTreeSet<_> = keys.values().map(|key| {
            (key.kty.as_str(), key.alg.as_str(), key.crv.as_str(), key.r#pub.len(), key.x.len(), key.y.len())
        }).collect();
        let expected = [("AKP", "ML-DSA-65", "", 1_952, 0, 0), ("EC", "ES256", "P-256", 0, 32, 32), ("OKP", "EdDSA", "Ed25519", 0, 32, 0)];
        assert_eq!(shapes, BTreeSet::from(expected));
        let now = auth.mesh.clock.now().as_seconds();
        for key in keys.values() {
            assert_eq!((key.r#use.as_str(), seconds(key.start_time), key.expire_time), ("sig", Some(now), None));
        }
        let (_replica, other) = auth.replica().await;
        assert_eq!(published(&other).await, keys);
        let auth = later(auth, 3_600).await;
        assert_eq!(published(&auth.channel()).await, keys);
    }

    /// A key is published ten minutes before it signs, and the one before it verifies until nothing that it signed is valid
    /// any more. The replicas follow each other.
    async fn rotation(database) {
        let auth = Auth::start(database).await;
        let first = published(&auth.channel()).await;
        let auth = later(auth, DAY - AHEAD).await;
        let start = auth.mesh.clock.now();
        let session = auth.operator().await;
        let (old_token, old) = signed(&auth.channel(), &session).await;
        assert!(first.contains_key(&old));
        let both = published(&auth.channel()).await;
        assert_eq!(both.len(), 6);
        let signs = start.as_seconds() + AHEAD as i64;
        for (id, key) in &both {
            let (begins, ends) = (seconds(key.start_time).unwrap(), seconds(key.expire_time));
            if first.contains_key(id) {
                assert_eq!(ends, Some(signs + OVERLAP as i64), "{key:?}");
            } else {
                assert_eq!((begins, ends), (signs, None), "{key:?}");
            }
        }
        // Another replica, which was there before it signs, and whoever comes after.
        let (replica, other) = auth.replica().await;
        auth.advance(AHEAD - 5);
        assert_eq!(signed(&other, &session).await.1, old);
        auth.advance(5);
        let (new_token, new) = signed(&auth.channel(), &session).await;
        assert!(!first.contains_key(&new) && both.contains_key(&new));
        assert_eq!(signed(&other, &session).await.1, new, "both sign with the same one");
        for channel in [auth.channel(), other] {
            takes(&channel, &session, &new_token).await.unwrap();
        }
        // It was signed ten minutes ago, and is refused for its age; by the key of that time a new one is believed.
        refused(takes(&auth.channel(), &session, &old_token).await, Code::Unauthenticated, "TOKEN_INVALID");
        assert_eq!(published(&auth.channel()).await.len(), 6);
        auth.advance(OVERLAP - 1);
        assert!(published(&auth.channel()).await.contains_key(&old));
        auth.advance(1);
        assert!(!published(&auth.channel()).await.contains_key(&old), "nobody is told of it any more");
        replica.stop().await;
        let auth = later(auth, 0).await;
        let store = store(&auth).await;
        assert_eq!(sql::one::<i64>(&store, "SELECT COUNT(*) FROM signing_key").await, 3, "and it is gone");
        assert_eq!(published(&auth.channel()).await.len(), 3);
    }

    /// Tokens of the old key and of the new one are taken side by side.
    async fn overlap(database) {
        let auth = Auth::start(database).await;
        let auth = later(auth, DAY - AHEAD).await;
        auth.advance(AHEAD - 60);
        let session = auth.operator().await;
        let (old_token, old) = signed(&auth.channel(), &session).await;
        auth.advance(60);
        let (new_token, new) = signed(&auth.channel(), &session).await;
        assert_ne!(old, new);
        for token in [&old_token, &new_token] {
            takes(&auth.channel(), &session, token).await.unwrap();
        }
        let auth = later(auth, 60).await;
        takes(&auth.channel(), &session, &old_token).await.unwrap();
    }

    /// An operator sees the keys, begins a rotation, and nobody else does.
    async fn operators(database) {
        let auth = Auth::start(database).await;
        let operator = auth.operator().await;
        let mut keys = KeyServiceClient::new(auth.channel());
        let list = common::ListKeysRequest { r#use: common::KeyUse::Token.into(), ..Default::default() };
        let listed = keys.list_keys(auth.by(&operator, list.clone()).await).await.unwrap().into_inner().keys;
        let ids: BTreeSet<_> = listed.iter().map(|key| key.key_id.clone()).collect();
        assert_eq!(ids, published(&auth.channel()).await.into_keys().collect());
        assert!(listed.iter().all(|key| key.state() == common::KeyState::Active));
        let inventory = common::GetCryptoInventoryRequest {};
        let inventory = keys.get_crypto_inventory(auth.by(&operator, inventory).await).await.unwrap().into_inner();
        for algorithm in [common::Algorithm::MlDsa65, common::Algorithm::EcdsaP256, common::Algorithm::Ed25519] {
            assert!(inventory.algorithms.contains(&algorithm.into()), "{algorithm:?}");
        }
        let (_, before) = signed(&auth.channel(), &operator).await;
        assert!(inventory.cyclonedx_json.contains(&before));

        let rotate = common::RotateKeysRequest { r#use: common::KeyUse::Token.into(), ..Default::default() };
        let rotated = keys.rotate_keys(auth.by(&operator, rotate.clone()).await).await.unwrap().into_inner();
        assert_eq!(rotated.retired_key.unwrap().key_id, before);
        let next = rotated.active_key.unwrap();
        assert_eq!((next.state(), next.algorithm()), (common::KeyState::Pending, common::Algorithm::MlDsa65));
        let again = keys.rotate_keys(auth.by(&operator, rotate.clone()).await).await.unwrap().into_inner();
        assert_eq!(again.active_key.unwrap().key_id, next.key_id, "it is under way");
        auth.advance(AHEAD);
        let operator = auth.operator().await;
        assert_eq!(signed(&auth.channel(), &operator).await.1, next.key_id);

        let (_, anna) = auth.person("anna@example.org").await;
        let reply = keys.rotate_keys(auth.by(&anna, rotate).await).await;
        refused(reply, Code::PermissionDenied, "ROLE_NOT_ALLOWED");
        let destroy = common::DestroyKeyRequest { key_id: next.key_id.clone() };
        let reply = keys.destroy_key(auth.by(&anna, destroy).await).await;
        refused(reply, Code::PermissionDenied, "ROLE_NOT_ALLOWED");
    }

    /// A key that somebody else may have is ended: what it signed is refused, here and at every other replica, the feed tells,
    /// another one signs at once, and no restart brings it back, though it can be derived.
    async fn compromise(database) {
        let auth = Auth::start(database).await;
        let (replica, other) = auth.replica().await;
        let operator = auth.operator().await;
        let (stolen, key) = signed(&auth.channel(), &operator).await;
        takes(&other, &operator, &stolen).await.unwrap();
        let mut feed = watch(&other, "").await.unwrap();
        let destroy = common::DestroyKeyRequest { key_id: key.clone() };
        let mut keys = KeyServiceClient::new(auth.channel());
        let ended = keys.destroy_key(auth.by(&operator, destroy.clone()).await).await.unwrap().into_inner();
        assert_eq!(ended.state(), common::KeyState::Destroyed);
        let told = next_revocation(&mut feed).await;
        assert_eq!(told.target, Some(Target::SigningKeyId(key.clone())));

        auth.advance(1);
        for channel in [auth.channel(), other.clone()] {
            refused(takes(&channel, &operator, &stolen).await, Code::Unauthenticated, "TOKEN_INVALID");
            assert!(!published(&channel).await.contains_key(&key));
            let (token, next) = signed(&channel, &operator).await;
            assert_ne!(next, key);
            for channel in [auth.channel(), other.clone()] {
                takes(&channel, &operator, &token).await.unwrap();
            }
        }
        let again = keys.destroy_key(auth.by(&operator, destroy).await).await.unwrap().into_inner();
        assert_eq!(again.state(), common::KeyState::Destroyed);
        replica.stop().await;
        let auth = later(auth, 1).await;
        refused(takes(&auth.channel(), &operator, &stolen).await, Code::Unauthenticated, "TOKEN_INVALID");
        assert!(!published(&auth.channel()).await.contains_key(&key));
        let store = store(&auth).await;
        let kept = "SELECT COUNT(*) FROM signing_key WHERE ended_at IS NOT NULL AND sealed_seed IS NULL";
        assert_eq!(sql::one::<i64>(&store, kept).await, 1, "its secret is gone, its record is not");
    }

    /// The next key is ended before it signs: another takes its place, and there is one that signs all the time, without a restart
    /// and before anybody looks what is due.
    async fn an_ended_successor(database) {
        let auth = Auth::start(database).await;
        let operator = auth.operator().await;
        let (_, before) = signed(&auth.channel(), &operator).await;
        let mut keys = KeyServiceClient::new(auth.channel());
        let rotate = common::RotateKeysRequest { r#use: common::KeyUse::Token.into(), ..Default::default() };
        let rotated = keys.rotate_keys(auth.by(&operator, rotate).await).await.unwrap().into_inner();
        let ended = rotated.active_key.unwrap().key_id;
        auth.advance(60);
        let destroy = common::DestroyKeyRequest { key_id: ended.clone() };
        keys.destroy_key(auth.by(&operator, destroy).await).await.unwrap();
        auth.advance(AHEAD - 60);
        let operator = auth.operator().await;
        assert_eq!(signed(&auth.channel(), &operator).await.1, before);
        auth.advance(60);
        let (token, after) = signed(&auth.channel(), &operator).await;
        assert!(after != before && after != ended);
        takes(&auth.channel(), &operator, &token).await.unwrap();
    }

    /// A row that somebody else has written is not believed: neither is it published, nor does it sign, and the others go on.
    async fn tampering(database) {
        let auth = Auth::start(database).await;
        let session = auth.operator().await;
        let (_, key) = signed(&auth.channel(), &session).await;
        let store = store(&auth).await;
        sql::run(&store, "CREATE TABLE kept AS SELECT * FROM signing_key", []).await;
        for change in [
            "not_before = not_before + 1",
            "sign_until = not_before + 1",
            "verify_until = 9000000000000000",
            "revision = revision + 1",
            "created_at = created_at - 1",
            "algorithm = 'EdDSA'",
            "sealed_seed = (SELECT k.sealed_seed FROM kept k WHERE k.algorithm = 'EdDSA')",
            "ended_at = not_before",
        ] {
            let tampered = sql::run(&store, &format!("UPDATE signing_key SET {change} WHERE key_id = '{key}'"), []).await;
            assert_eq!(tampered, 1, "{change}");
            auth.advance(1);
            let keys = published(&auth.channel()).await;
            assert!(!keys.contains_key(&key) && keys.len() == 2, "{change}");
            let request = pb::ExchangeTokenRequest { access_token: session.access_token.clone(), audience: "auth".to_owned(), ..Default::default() };
            assert_eq!(auth.tokens().exchange_token(request).await.unwrap_err().code(), Code::Internal, "{change}");
            let columns = "algorithm, sealed_seed, created_at, not_before, sign_until, verify_until, ended_at, revision, row_digest";
            let back = format!("UPDATE signing_key SET ({columns}) = (SELECT {columns} FROM kept k WHERE k.key_id = signing_key.key_id)");
            sql::run(&store, &back, []).await;
            auth.advance(1);
            assert_eq!(signed(&auth.channel(), &session).await.1, key);
        }
        // What is left is noticed, and made good: another key signs.
        sql::run(&store, &format!("UPDATE signing_key SET revision = 7 WHERE key_id = '{key}'"), []).await;
        let auth = later(auth, 1).await;
        assert_ne!(signed(&auth.channel(), &session).await.1, key);
    }
}
