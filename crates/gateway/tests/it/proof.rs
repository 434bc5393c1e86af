//! Tokens that are bound to a key (RFC 9449), in each protocol: of use with a proof by that key, once each, and not otherwise.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, Request};
use http_body_util::Full;
use portal_core::{Clock, ManualClock, Timestamp};
use portal_crypto::hash::sha256;
use portal_crypto::jose::{Algorithm, Claims, SigningKey, sign_with_own_key};
use portal_crypto::suite::Suites;
use portal_gateway::EdgeConfig;
use portal_mesh::status::reason_of;
use portal_proto::auth::v1::revocation::Target;
use portal_proto::consent::v1::purpose_service_client::PurposeServiceClient;
use portal_proto::consent::v1::{GetPurposeRequest, WatchConsentChangesRequest};
use portal_testkit::{TestMesh, TestUser};
use serde_json::{Value, json};
use tonic::{Code, Request as Rpc};

use crate::client::{Answer, Channel, Client, framed, frames};
use crate::fixture::Setup;
use crate::oauth::{ANNA, Fields, Portal, VERIFIER, code, error};
use crate::tokens::{end_of, open_stream};

const MINE: &str = "/v1/purposes/1";
const WATCH: &str = "/portal.consent.v1.ConsentChangeService/WatchConsentChanges";
const RPC: &str = "/portal.consent.v1.PurposeService/GetPurpose";

/// Who holds a key, and has used it so often.
struct Holder {
    key: SigningKey,
    used: std::cell::Cell<u32>,
}

impl Holder {
    fn new(algorithm: Algorithm, seed: u8) -> Self {
        Self { key: SigningKey::from_seed(algorithm, &[seed; 32]).unwrap(), used: Default::default() }
    }

    /// Whose the token `alice` is from now on.
    fn owns_alice(self, setup: &Setup) -> Self {
        self.owns(setup, "alice");
        self
    }

    /// Whose `token` of a new user is from now on.
    fn owns(&self, setup: &Setup, token: &str) -> TestUser {
        let key = self.key.public_key().id().as_str().to_owned();
        setup.world.bound.lock().unwrap().insert(token.to_owned(), key);
        setup.world.user(token, &[])
    }

    fn proof(&self, setup: &Setup, method: &str, path: &str) -> String {
        self.proof_with(setup, "alice", (method, path), 0)
    }

    /// One for `token`, made so many seconds from now.
    fn proof_with(&self, setup: &Setup, token: &str, (method, path): (&str, &str), ahead: i64) -> String {
        let url = format!("http://{}{path}", setup.address);
        let made = setup.world.mesh.clock.now().as_seconds() + ahead;
        let hash = URL_SAFE_NO_PAD.encode(sha256(token.as_bytes()));
        self.signed(&json!({ "htm": method, "htu": url, "iat": made, "ath": hash }))
    }

    /// These claims, once.
    fn signed(&self, claims: &Value) -> String {
        self.used.set(self.used.get() + 1);
        let mut claims: Claims = claims.as_object().unwrap().clone();
        claims.insert("jti".to_owned(), self.used.get().to_string().into());
        sign_with_own_key(&claims, "dpop+jwt", &self.key, Suites::ALL).unwrap()
    }
}

async fn get(client: Client, authorization: &str, proofs: &[&str]) -> Answer {
    let mut request = Request::get(MINE).header("authorization", authorization);
    for proof in proofs {
        request = request.header("dpop", *proof);
    }
    client.send(request.body(Full::default()).unwrap()).await
}

#[tokio::test]
async fn a_bound_token_is_taken_with_a_proof_alone() {
    let setup = Setup::start().await;
    let holder = Holder::new(Algorithm::MlDsa65, 1).owns_alice(&setup);
    let client = Client::one(setup.address);
    let good = holder.proof(&setup, "GET", MINE);
    assert_eq!(get(client, "DPoP alice", &[&good]).await.status, 200);
    let seen = setup.world.seen.lock().unwrap().clone();
    assert!(!seen.iter().any(|name| name == "dpop"), "{seen:?}");
    // What is remembered of it is of use to nobody else.
    let thief = Holder::new(Algorithm::MlDsa65, 2);
    let refusals = [
        (get(client, "DPoP alice", &[&good]).await, "DPOP_PROOF_REJECTED"),
        (get(client, "Bearer alice", &[]).await, "DPOP_PROOF_NEEDED"),
        (get(client, "Bearer alice", &[&holder.proof(&setup, "GET", MINE)]).await, "DPOP_PROOF_NEEDED"),
        (get(client, "DPoP alice", &[&thief.proof(&setup, "GET", MINE)]).await, "TOKEN_INVALID"),
        (get(client, "DPoP alice", &[]).await, "DPOP_PROOF_REJECTED"),
        (get(client, "DPoP alice", &[&holder.proof(&setup, "POST", MINE)]).await, "DPOP_PROOF_REJECTED"),
        (
            get(client, "DPoP alice", &[&holder.proof(&setup, "GET", "/v1/purposes")]).await,
            "DPOP_PROOF_REJECTED",
        ),
        (get(client, "DPoP bob", &[&holder.proof(&setup, "GET", MINE)]).await, "DPOP_PROOF_REJECTED"),
    ];
    for (answer, reason) in refusals {
        assert_eq!((answer.status, answer.reason().as_str()), (401, reason));
        assert!(
            answer.headers.get_all("www-authenticate").iter().any(|it| it.as_bytes().starts_with(b"DPoP "))
        );
    }
    setup.world.mesh.clock.advance(Duration::from_secs(61));
    let late = holder.proof(&setup, "GET", MINE);
    setup.world.mesh.clock.advance(Duration::from_secs(61));
    assert_eq!(get(client, "DPoP alice", &[&late]).await.reason(), "DPOP_PROOF_REJECTED");
    assert_eq!(get(client, "DPoP alice", &[&holder.proof(&setup, "GET", MINE)]).await.status, 200);
    setup.stop().await;
}

#[tokio::test]
async fn eight_at_once_with_one_proof_are_one() {
    let setup = Setup::start().await;
    let holder = Holder::new(Algorithm::Es256, 1).owns_alice(&setup);
    let client = Client::one(setup.address);
    let one = holder.proof(&setup, "GET", MINE);
    let all =
        futures_util::future::join_all((0..8).map(async |_| get(client, "DPoP alice", &[&one]).await)).await;
    assert_eq!(all.iter().filter(|answer| answer.status == 200).count(), 1);
    let own: Vec<_> = (0..8).map(|_| holder.proof(&setup, "GET", MINE)).collect();
    let all =
        futures_util::future::join_all(own.iter().map(async |own| get(client, "dpop alice", &[own]).await))
            .await;
    assert!(all.iter().all(|answer| answer.status == 200));
    setup.stop().await;
}

#[tokio::test]
async fn what_is_bound_to_none_takes_no_proof() {
    let setup = Setup::start().await;
    let holder = Holder::new(Algorithm::EdDsa, 1);
    setup.world.user("alice", &[]);
    let client = Client::one(setup.address);
    assert_eq!(
        get(client, "DPoP alice", &[&holder.proof(&setup, "GET", MINE)]).await.reason(),
        "TOKEN_INVALID"
    );
    assert_eq!(get(client, "Bearer alice", &[]).await.status, 200);
    // An auth that does not hear what is proven has bound nothing, whatever it answers.
    let holder = holder.owns_alice(&setup);
    *setup.world.unaware.lock().unwrap() = true;
    assert_eq!(
        get(client, "DPoP alice", &[&holder.proof(&setup, "GET", MINE)]).await.reason(),
        "TOKEN_INVALID"
    );
    setup.stop().await;
}

#[tokio::test]
async fn each_protocol_has_its_url() {
    let setup = Setup::start().await;
    let holder = Holder::new(Algorithm::MlDsa65, 1).owns_alice(&setup);
    let mut purposes = PurposeServiceClient::new(Channel::connect(setup.address).await);
    for (method, path, good) in [("POST", RPC, true), ("GET", RPC, false), ("POST", MINE, false)] {
        let mut request = Rpc::new(GetPurposeRequest { purpose_id: "1".to_owned(), ..Default::default() });
        request.metadata_mut().insert("authorization", "DPoP alice".parse().unwrap());
        request.metadata_mut().insert("dpop", holder.proof(&setup, method, path).parse().unwrap());
        let answered = purposes.get_purpose(request).await;
        let refused = answered.err().map(|status| (status.code(), reason_of(&status)));
        let expected = (Code::Unauthenticated, Some("DPOP_PROOF_REJECTED".to_owned()));
        assert_eq!(refused, (!good).then_some(expected), "{method} {path}");
    }
    let client = Client::one(setup.address);
    let web = Request::builder().method(Method::POST).uri(RPC).header("authorization", "DPoP alice");
    let web = web
        .header("dpop", holder.proof(&setup, "POST", RPC))
        .header("content-type", "application/grpc-web+proto");
    let answer = client.send(web.body(Full::from(&b"\0\0\0\0\x03\x0a\x011"[..])).unwrap()).await;
    assert_eq!(answer.status, 200);
    setup.stop().await;
}

/// In each protocol, as with a token that is bound to nothing.
#[tokio::test]
async fn an_open_stream_of_a_bound_token_ends_with_its_session() {
    let setup = Setup::start().await;
    let holder = Holder::new(Algorithm::MlDsa65, 1);
    let revoke = |alice: TestUser| {
        setup.world.users.lock().unwrap().remove("alice");
        setup.world.revoke(Target::SessionId(alice.session.to_string()));
    };
    let alice = holder.owns(&setup, "alice");
    let proof = holder.proof(&setup, "POST", WATCH);
    let shown = [("authorization", "DPoP alice"), ("dpop", proof.as_str())];
    let open = open_stream(&setup, "silence", &shown).await.unwrap();
    revoke(alice);
    assert_eq!(end_of(open).await, (Code::Unauthenticated, Some("TOKEN_INVALID".to_owned())));

    let client = Client::one(setup.address);
    let shows = |request: http::request::Builder, proof: String| {
        request.header("authorization", "DPoP alice").header("dpop", proof)
    };
    let alice = holder.owns(&setup, "alice");
    let json = Request::get("/v1/consentChanges:watch?resumeToken=silence");
    let json = shows(json, holder.proof(&setup, "GET", "/v1/consentChanges:watch"));
    let open = client.response(json.body(Full::default()).unwrap()).await;
    revoke(alice);
    let told = Answer::of(open).await;
    let last: Value = serde_json::from_slice(told.body.split(|byte| *byte == b'\n').nth(2).unwrap()).unwrap();
    assert_eq!(last["error"]["details"][0]["reason"], "TOKEN_INVALID");

    let alice = holder.owns(&setup, "alice");
    let web = Request::post(WATCH).header("content-type", "application/grpc-web+proto");
    let watch = WatchConsentChangesRequest { resume_token: "silence".to_owned(), ..Default::default() };
    let web = shows(web, holder.proof(&setup, "POST", WATCH)).body(Full::from(framed(&watch))).unwrap();
    let open = client.response(web).await;
    revoke(alice);
    let told = frames(&Answer::of(open).await.body);
    let trailers = String::from_utf8_lossy(&told[2].1);
    assert!(told.len() == 3 && trailers.contains("grpc-status: 16"), "{trailers}");
    setup.stop().await;
}

/// A clock by which a second passes whenever somebody looks.
struct Hurried(Arc<ManualClock>);

impl Clock for Hurried {
    fn now(&self) -> Timestamp {
        self.0.advance(Duration::from_secs(1));
        self.0.now()
    }
}

/// A proof is judged by one time: what is too early to be looked after is too early to be let in.
#[tokio::test]
async fn no_stream_is_let_in_that_is_not_looked_after() {
    let mesh = TestMesh::start().await;
    let hurried = Arc::new(Hurried(Arc::clone(&mesh.clock)));
    let setup = Setup::with(mesh, |_, host| host.clock = hurried).await;
    let holder = Holder::new(Algorithm::Es256, 1);
    let mut let_in = Vec::new();
    for ahead in 58..68 {
        let alice = holder.owns(&setup, "alice");
        let proof = holder.proof_with(&setup, "alice", ("POST", WATCH), ahead);
        let shown = [("authorization", "DPoP alice"), ("dpop", proof.as_str())];
        let opened = open_stream(&setup, "silence", &shown).await;
        let_in.push(opened.is_ok());
        match opened {
            Err(status) => assert_eq!(reason_of(&status).as_deref(), Some("DPOP_PROOF_REJECTED")),
            Ok(open) => {
                setup.world.users.lock().unwrap().remove("alice");
                setup.world.revoke(Target::SessionId(alice.session.to_string()));
                assert_eq!(end_of(open).await.1.as_deref(), Some("TOKEN_INVALID"), "{ahead}");
            }
        }
    }
    assert!(let_in[0] && !let_in[9], "{let_in:?}");
    setup.stop().await;
}

#[tokio::test]
async fn a_key_that_takes_its_places_keeps_nobody_else_out() {
    let two = NonZeroUsize::new(2).unwrap();
    let setup = Setup::with(TestMesh::start().await, |config, _| config.edge.max_proofs = two).await;
    let (holder, other) = (Holder::new(Algorithm::Es256, 1), Holder::new(Algorithm::Es256, 2));
    holder.owns(&setup, "alice");
    other.owns(&setup, "bob");
    let client = Client::one(setup.address);
    let alice = async || get(client, "DPoP alice", &[&holder.proof(&setup, "GET", MINE)]).await;
    let bob = async || {
        let proof = other.proof_with(&setup, "bob", ("GET", MINE), 0);
        get(client, "DPoP bob", &[&proof]).await
    };
    assert_eq!(alice().await.status, 200);
    let refused = alice().await;
    assert_eq!((refused.status, refused.reason().as_str()), (503, "TOKEN_UNVERIFIABLE"));
    assert_eq!(bob().await.status, 200);
    assert_eq!(bob().await.status, 503);
    let metrics = setup.host.metrics.encode().unwrap();
    assert!(metrics.contains("portal_gateway_proofs_crowded_total 2"), "{metrics}");
    setup.world.mesh.clock.advance(Duration::from_secs(121));
    assert_eq!(alice().await.status, 200);
    setup.stop().await;
}

/// What a token endpoint gives it does not take back: there is a place for the proof before anything is spent.
#[tokio::test]
async fn what_there_is_no_place_for_spends_nothing() {
    let edge = EdgeConfig { max_proofs: NonZeroUsize::MIN, ..EdgeConfig::default() };
    let portal = Portal::with(edge).await;
    portal.sign_up(ANNA).await;
    let (client, _) = portal.register(json!({ "type": "TYPE_PUBLIC" })).await;
    let mut browser = portal.browser();
    let page = browser.consent_page(&client, ANNA).await;
    let approved = browser.decide(&page, "/oauth2/consent", "approve").await;
    let holder = Holder::new(Algorithm::MlDsa65, 1);
    // With the nonce that the first answer tells, unless it tells none.
    let ask = async |fields: Fields<'_>| {
        let url = format!("{}/oauth2/token", portal.origin());
        let mut claims = json!({ "htm": "POST", "htu": url, "iat": portal.now().as_seconds() });
        let answer = portal.ask_proven("token", fields, &holder.signed(&claims)).await;
        if answer.status != 400 || error(&answer).1 != "use_dpop_nonce" {
            return answer;
        }
        claims["nonce"] = answer.header("dpop-nonce").into();
        portal.ask_proven("token", fields, &holder.signed(&claims)).await
    };
    let code = code(&approved);
    let redeem = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("client_id", client.as_str()),
        ("code_verifier", VERIFIER),
    ];
    let wrong: Vec<_> = redeem.iter().filter(|(name, _)| *name != "code_verifier").copied().collect();
    assert_eq!(error(&ask(&wrong).await).1, "invalid_grant", "it took no place");
    let given = ask(&redeem).await;
    assert_eq!(given.status, 200, "{given:?}");
    let given = given.json();
    let refresh = [
        ("grant_type", "refresh_token"),
        ("refresh_token", given["refresh_token"].as_str().unwrap()),
        ("client_id", client.as_str()),
    ];
    assert_eq!(error(&ask(&refresh).await), (503, "temporarily_unavailable".to_owned()));
    // Longer than a spent one is good for again.
    portal.advance(121);
    let again = ask(&refresh).await;
    assert_eq!((again.status, &again.json()["token_type"]), (200, &json!("DPoP")), "{again:?}");
    portal.stop().await;
}
