//! Tokens that are bound to a key (RFC 9449), in each protocol: of use with a proof by that key, once each, and not otherwise.

use http::{Method, Request};
use http_body_util::Full;
use portal_core::Clock;
use portal_crypto::jose::{Algorithm, Claims, SigningKey, sign_with_own_key};
use portal_crypto::suite::Suites;
use portal_mesh::status::reason_of;
use portal_proto::consent::v1::GetPurposeRequest;
use portal_proto::consent::v1::purpose_service_client::PurposeServiceClient;
use serde_json::json;
use tonic::{Code, Request as Rpc};

use crate::client::{Answer, Channel, Client};
use crate::fixture::Setup;

const MINE: &str = "/v1/purposes/1";
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
        setup.world.user("alice", &[]);
        let key = self.key.public_key().id().as_str().to_owned();
        setup.world.bound.lock().unwrap().insert("alice".to_owned(), key);
        self
    }

    fn proof(&self, setup: &Setup, method: &str, path: &str) -> String {
        self.used.set(self.used.get() + 1);
        let claims = json!({
            "jti": self.used.get().to_string(), "htm": method, "htu": format!("http://{}{path}", setup.address),
            "iat": setup.world.mesh.clock.now().as_seconds(),
            // SHA-256 of "alice".
            "ath": "K9gGyX8OAK8aH8Myj6djqSaXI8jbj6xPk69x2xhtbpA",
        });
        let claims: Claims = claims.as_object().unwrap().clone();
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
    setup.world.mesh.clock.advance(std::time::Duration::from_secs(61));
    let late = holder.proof(&setup, "GET", MINE);
    setup.world.mesh.clock.advance(std::time::Duration::from_secs(61));
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
