//! The keys of tokens, of an auth that changes them, fails and is silent.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use portal_core::Workload;
use portal_crypto::suite::Suites;
use portal_crypto::token::{KeySet as VerifyingKeys, TokenError as Refused, TokenKey};
use portal_mesh::config::AuthorizationConfig;
use portal_mesh::token::{TokenError, Verified};
use portal_mesh::{Authorization, Identity, MeshChannel, MeshServer, Row, Running, TokenVerifier};
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::token_service_server::{TokenService, TokenServiceServer};
use portal_testkit::{TestMesh, TestUser};
use tonic::service::Routes;
use tonic::{Request, Response, Status, async_trait};

use crate::fixture::SECOND;

portal_mesh::actions! { "portal.auth.v1.TokenService" => GetKeySet }

static POLICY: [Row; 1] = [Row::of::<GetKeySet>().read()];

/// What auth does when it is asked.
#[derive(Clone)]
enum Mood {
    Tells(Vec<pb::JsonWebKey>),
    Fails,
    Silent,
}

#[derive(Clone)]
struct KeysOf {
    mood: Arc<Mutex<Mood>>,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl TokenService for KeysOf {
    async fn get_key_set(&self, _: Request<pb::GetKeySetRequest>) -> Result<Response<pb::KeySet>, Status> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mood = self.mood.lock().unwrap().clone();
        match mood {
            Mood::Tells(keys) => Ok(Response::new(pb::KeySet { keys, ..Default::default() })),
            Mood::Fails => Err(Status::internal("broken")),
            Mood::Silent => std::future::pending().await,
        }
    }
}

struct House {
    mesh: TestMesh,
    auth: KeysOf,
    verifier: TokenVerifier,
    _running: Running,
}

impl House {
    async fn start() -> Self {
        let mesh = TestMesh::start().await;
        let host = mesh.host();
        let auth =
            KeysOf { mood: Arc::new(Mutex::new(Mood::Tells(vec![published()]))), asked: Arc::default() };
        let identity = Identity::load(&mesh.identity(Workload::Auth), Workload::Auth, &host).unwrap();
        let tokens = TokenVerifier::local(&identity, VerifyingKeys::new(), Suites::ALL, &host);
        // Portal's own: what a key set is for is said there.
        let authorization = Authorization::load(&AuthorizationConfig::default(), &host.metrics).unwrap();
        let server = MeshServer { identity, policy: &POLICY, authorization, tokens, host: mesh.host() };
        let routes = Routes::new(TokenServiceServer::new(auth.clone()));
        let running = server.start(&mesh.server(), routes).await.unwrap();
        let identity = Identity::load(&mesh.identity(Workload::Consent), Workload::Consent, &host).unwrap();
        let address = running.local_addr().to_string();
        let channel = MeshChannel::new(Arc::clone(&identity), Workload::Auth, &address, &host);
        let verifier = TokenVerifier::remote(&identity, &channel, Suites::ALL, &host);
        Self { mesh, auth, verifier, _running: running }
    }

    fn mood(&self, mood: Mood) {
        *self.auth.mood.lock().unwrap() = mood;
    }

    fn asked(&self) -> usize {
        self.auth.asked.load(Ordering::SeqCst)
    }

    fn advance(&self, seconds: u64) {
        self.mesh.clock.advance(Duration::from_secs(seconds));
    }

    /// Whether a new token is taken.
    async fn verify(&self) -> Result<Verified, TokenError> {
        let token = self.mesh.token(&TestUser::subject(), Workload::Consent, 240 * SECOND);
        self.verifier.verify(&token, Workload::Gateway).await
    }
}

/// The key that [`TestMesh::token`] signs with.
fn published() -> pb::JsonWebKey {
    let key = TokenKey::from_seed(&[7; 32]).unwrap();
    pb::JsonWebKey {
        kid: key.id().as_str().to_owned(),
        kty: "AKP".to_owned(),
        alg: "ML-DSA-65".to_owned(),
        r#pub: key.verifying_key().as_bytes().to_vec(),
        ..Default::default()
    }
}

/// The first call after a pause, however long that was, does not believe a key that was ended more than ten seconds ago.
#[tokio::test]
async fn an_idle_service_refuses_what_an_ended_key_signed() {
    let house = House::start().await;
    let token = house.mesh.token(&TestUser::subject(), Workload::Consent, 240 * SECOND);
    let again = || house.verifier.verify(&token, Workload::Gateway);
    again().await.unwrap();
    house.mood(Mood::Tells(Vec::new()));
    house.advance(4);
    again().await.unwrap();
    assert_eq!(house.asked(), 1, "what is new is not asked for again");
    house.advance(6);
    // The one that is remembered, and one that is not.
    for refused in [again().await, house.verify().await] {
        assert!(matches!(refused, Err(TokenError::Refused(Refused::UnknownKey))), "{refused:?}");
    }
    assert_eq!(house.asked(), 2);
}

/// A service that is called asks before its calls have to wait.
#[tokio::test]
async fn a_busy_service_asks_beside_its_calls() {
    let house = House::start().await;
    house.verify().await.unwrap();
    house.mood(Mood::Silent);
    house.advance(6);
    for _ in 0..20 {
        tokio::time::timeout(SECOND, house.verify()).await.expect("it does not wait").unwrap();
    }
    tokio::time::timeout(10 * SECOND, async {
        while house.asked() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it has asked");
}

/// Tokens that name keys nobody has make no fetch each, though each of the fetches fails.
#[tokio::test]
async fn a_flood_of_unknown_keys_does_not_reach_a_broken_auth() {
    let house = House::start().await;
    house.mood(Mood::Fails);
    for round in 1..=2 {
        let flood = (0..50).map(|_| house.verify());
        for refused in futures_util::future::join_all(flood).await {
            assert!(matches!(refused, Err(TokenError::KeysUnavailable(_))), "{refused:?}");
        }
        assert_eq!(house.asked(), round, "one for all");
        house.advance(1);
    }
    house.mood(Mood::Tells(vec![published()]));
    house.verify().await.unwrap();
}

/// A call that is given up while it waits for keys leaves what it asked for to the others.
#[tokio::test]
async fn calls_that_are_given_up_do_not_ask_again_and_again() {
    let house = House::start().await;
    house.mood(Mood::Silent);
    for _ in 0..5 {
        assert!(tokio::time::timeout(SECOND / 5, house.verify()).await.is_err());
    }
    assert_eq!(house.asked(), 1);
}

/// While auth can't tell, what is known serves for five minutes, and then nothing does.
#[tokio::test]
async fn what_is_known_serves_while_auth_is_down() {
    let house = House::start().await;
    house.verify().await.unwrap();
    house.mood(Mood::Fails);
    for _ in 0..5 {
        house.advance(59);
        house.verify().await.unwrap();
    }
    house.advance(5);
    let refused = house.verify().await;
    assert!(matches!(refused, Err(TokenError::KeysUnavailable(_))), "{refused:?}");
    house.mood(Mood::Tells(vec![published()]));
    house.advance(1);
    house.verify().await.unwrap();
}

/// An auth that takes calls and answers none holds up a call for a second, not each one.
#[tokio::test]
async fn a_silent_auth_holds_up_few() {
    let house = House::start().await;
    house.verify().await.unwrap();
    house.mood(Mood::Silent);
    house.advance(30);
    house.verify().await.unwrap();
    for _ in 0..20 {
        let at_once = house.verify().now_or_never();
        at_once.expect("held up as well").unwrap();
    }
}
