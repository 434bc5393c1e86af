//! Tokens: exchange, cache, revocation, and the feed that is lost.

use std::time::Duration;

use http::Request;
use http_body_util::Full;
use portal_mesh::status::reason_of;
use portal_proto::auth::v1::revocation::Target;
use portal_proto::consent::v1::consent_change_service_client::ConsentChangeServiceClient;
use portal_proto::consent::v1::{ConsentChange, WatchConsentChangesRequest};
use tonic::{Code, Request as Rpc, Status, Streaming};

use crate::client::{Channel, Client};
use crate::fixture::{BEAT, Setup};

const MINE: &str = "/v1/purposes/1";
const PUBLIC: &str = "/v1/purposes";

async fn get_with(client: Client, path: &str, authorization: &[&str]) -> crate::client::Answer {
    let mut request = Request::get(path);
    for value in authorization {
        request = request.header("authorization", *value);
    }
    client.send(request.body(Full::default()).unwrap()).await
}

#[tokio::test]
async fn three_refusals_and_none_of_them_closes_public_methods() {
    let setup = Setup::start().await;
    setup.world.user("alice", &[]);
    let client = Client::one(setup.address);
    for (authorization, reason) in [
        (&[][..], "TOKEN_MISSING"),
        (&["Basic YTpi"], "TOKEN_SCHEME"),
        (&["Bearer"], "TOKEN_SCHEME"),
        (&["Bearer alice", "Bearer bob"], "TOKEN_SCHEME"),
        (&["Bearer unknown"], "TOKEN_INVALID"),
    ] {
        let answer = get_with(client, MINE, authorization).await;
        assert_eq!((answer.status, answer.reason().as_str()), (401, reason), "{authorization:?}");
        assert_eq!(get_with(client, PUBLIC, authorization).await.status, 200, "{authorization:?}");
    }
    assert_eq!(get_with(client, MINE, &["bearer alice"]).await.status, 200);
    setup.stop().await;
}

#[tokio::test]
async fn an_exchange_is_remembered_until_shortly_before_its_end() {
    let setup = Setup::start().await;
    setup.world.user("alice", &[]);
    let client = Client::one(setup.address);
    setup.wait_for_cache(&client, "alice").await;
    let before = setup.world.exchanges();
    for _ in 0..5 {
        assert_eq!(client.get(MINE, Some("alice")).await.status, 200);
    }
    assert_eq!(setup.world.exchanges(), before);
    // It lives for 240 s, the last 30 of which it is not used from the cache.
    setup.world.mesh.clock.advance(Duration::from_secs(209));
    client.get(MINE, Some("alice")).await;
    assert_eq!(setup.world.exchanges(), before);
    setup.world.mesh.clock.advance(Duration::from_secs(2));
    client.get(MINE, Some("alice")).await;
    assert_eq!(setup.world.exchanges(), before + 1);
    setup.stop().await;
}

#[tokio::test]
async fn calls_at_once_exchange_once() {
    let setup = Setup::start().await;
    setup.world.user("alice", &[]);
    setup.world.user("bob", &[]);
    let client = Client::one(setup.address);
    setup.wait_for_cache(&client, "alice").await;
    let before = setup.world.exchanges();
    *setup.world.exchange_delay.lock().unwrap() = Duration::from_millis(300);
    let calls = (0..20).map(|_| client.get(MINE, Some("bob")));
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(setup.world.exchanges(), before + 1);
    setup.stop().await;
}

#[tokio::test]
async fn a_revocation_ends_what_is_remembered() {
    let setup = Setup::start().await;
    let client = Client::one(setup.address);
    for by_account in [false, true] {
        let alice = setup.world.user("alice", &[]);
        setup.world.user("bob", &[]);
        setup.wait_for_cache(&client, "alice").await;
        setup.wait_for_cache(&client, "bob").await;
        setup.world.users.lock().unwrap().remove("alice");
        assert_eq!(client.get(MINE, Some("alice")).await.status, 200, "still remembered");
        setup.world.revoke(if by_account {
            Target::AccountId(alice.account.to_string())
        } else {
            Target::SessionId(alice.session.to_string())
        });
        let begun = std::time::Instant::now();
        while client.get(MINE, Some("alice")).await.status == 200 {
            assert!(begun.elapsed() < Duration::from_secs(30), "the revocation was never heeded");
        }
        let answer = client.get(MINE, Some("alice")).await;
        assert_eq!((answer.status, answer.reason().as_str()), (401, "TOKEN_INVALID"));
        let before = setup.world.exchanges();
        assert_eq!(client.get(MINE, Some("bob")).await.status, 200);
        assert_eq!(setup.world.exchanges(), before, "others stay remembered");
    }
    setup.stop().await;
}

#[tokio::test]
async fn an_exchange_under_way_at_a_revocation_is_not_remembered() {
    let setup = Setup::start().await;
    let client = Client::one(setup.address);
    let alice = setup.world.user("alice", &[]);
    setup.world.user("bob", &[]);
    setup.wait_for_cache(&client, "bob").await;
    *setup.world.exchange_delay.lock().unwrap() = Duration::from_millis(600);
    let (answer, ()) = tokio::join!(client.get(MINE, Some("alice")), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        setup.world.revoke(Target::SessionId(alice.session.to_string()));
    });
    assert_eq!(answer.status, 200);
    setup.world.users.lock().unwrap().remove("alice");
    assert_eq!(client.get(MINE, Some("alice")).await.status, 401);
    setup.stop().await;
}

#[tokio::test]
async fn without_the_feed_every_call_exchanges() {
    let setup = Setup::start().await;
    setup.world.user("alice", &[]);
    let client = Client::one(setup.address);
    setup.wait_for_cache(&client, "alice").await;
    *setup.world.beating.lock().unwrap() = false;
    tokio::time::sleep(3 * BEAT).await;
    setup.world.users.lock().unwrap().remove("alice");
    assert_eq!(client.get(MINE, Some("alice")).await.status, 401, "the cache must not answer");
    setup.world.user("alice", &[]);
    let before = setup.world.exchanges();
    for _ in 0..3 {
        assert_eq!(client.get(MINE, Some("alice")).await.status, 200);
    }
    assert_eq!(setup.world.exchanges(), before + 3);
    *setup.world.beating.lock().unwrap() = true;
    setup.wait_for_cache(&client, "alice").await;
    setup.stop().await;
}

#[tokio::test]
async fn without_auth_a_token_is_unverifiable() {
    let mut setup = Setup::start().await;
    setup.world.user("alice", &[]);
    let client = Client::one(setup.address);
    setup.stop_auth().await;
    tokio::time::sleep(3 * BEAT).await;
    let answer = client.get(MINE, Some("alice")).await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "TOKEN_UNVERIFIABLE"));
    assert_eq!(client.get(PUBLIC, None).await.status, 200);
    setup.stop().await;
}

/// An open stream that was asked for with `metadata`, after its first two messages; then there is what `then` says.
pub async fn open_stream(
    setup: &Setup,
    then: &str,
    metadata: &[(&'static str, &str)],
) -> Result<Streaming<ConsentChange>, Status> {
    let mut changes = ConsentChangeServiceClient::new(Channel::connect(setup.address).await);
    let mut watch =
        Rpc::new(WatchConsentChangesRequest { resume_token: then.to_owned(), ..Default::default() });
    for (name, value) in metadata {
        watch.metadata_mut().insert(*name, value.parse().unwrap());
    }
    let mut open = changes.watch_consent_changes(watch).await?.into_inner();
    for _ in 0..2 {
        open.message().await?.unwrap();
    }
    Ok(open)
}

/// With what an open stream ends, once it has told all it has.
pub async fn end_of(mut open: Streaming<ConsentChange>) -> (Code, Option<String>) {
    let ended = async {
        loop {
            match open.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("nothing ended it"),
                Err(status) => return status,
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(30), ended).await;
    let status = ended.expect("the stream outlived its access");
    (status.code(), reason_of(&status))
}

/// What an open stream of `token` ends with, after its first two messages and what `meanwhile` does.
async fn end_of_stream(setup: &Setup, token: &str, meanwhile: impl AsyncFnOnce()) -> (Code, Option<String>) {
    let open = open_stream(setup, "silence", &[("authorization", &format!("Bearer {token}"))]).await.unwrap();
    meanwhile().await;
    end_of(open).await
}

#[tokio::test]
async fn an_open_stream_ends_with_its_session_and_others_go_on() {
    let setup = Setup::start().await;
    let client = Client::one(setup.address);
    let alice = setup.world.user("alice", &[]);
    setup.world.user("bob", &[]);
    setup.wait_for_cache(&client, "alice").await;
    setup.wait_for_cache(&client, "bob").await;
    let mut of_bob = open_stream(&setup, "silence", &[("authorization", "Bearer bob")]).await.unwrap();
    let ended = end_of_stream(&setup, "alice", async || {
        setup.world.users.lock().unwrap().remove("alice");
        setup.world.revoke(Target::SessionId(alice.session.to_string()));
    });
    assert_eq!(ended.await, (Code::Unauthenticated, Some("TOKEN_INVALID".to_owned())));
    let goes_on = tokio::time::timeout(Duration::from_secs(2), of_bob.message()).await;
    assert!(goes_on.is_err(), "nothing was revoked of bob's");
    setup.stop().await;
}

#[tokio::test]
async fn an_open_stream_ends_with_its_token() {
    let setup = Setup::start().await;
    let client = Client::one(setup.address);
    setup.world.user("alice", &[]);
    setup.wait_for_cache(&client, "alice").await;
    // Auth knows the token no longer, and tells nobody: it has simply come to its end.
    let ended = end_of_stream(&setup, "alice", async || {
        setup.world.users.lock().unwrap().remove("alice");
        setup.world.mesh.clock.advance(Duration::from_secs(240));
    });
    assert_eq!(ended.await, (Code::Unauthenticated, Some("TOKEN_INVALID".to_owned())));
    setup.stop().await;
}

#[tokio::test]
async fn an_open_stream_ends_when_nobody_can_say_whether_it_may_go_on() {
    let mut setup = Setup::start().await;
    setup.world.user("alice", &[]);
    let open = open_stream(&setup, "silence", &[("authorization", "Bearer alice")]).await.unwrap();
    setup.stop_auth().await;
    assert_eq!(end_of(open).await, (Code::Unavailable, Some("TOKEN_UNVERIFIABLE".to_owned())));
    setup.stop().await;
}

/// However much there is to tell.
#[tokio::test]
async fn a_stream_that_never_pauses_ends_too() {
    let setup = Setup::start().await;
    let client = Client::one(setup.address);
    let alice = setup.world.user("alice", &[]);
    setup.wait_for_cache(&client, "alice").await;
    let open = open_stream(&setup, "flood", &[("authorization", "Bearer alice")]).await.unwrap();
    setup.world.users.lock().unwrap().remove("alice");
    setup.world.revoke(Target::SessionId(alice.session.to_string()));
    assert_eq!(end_of(open).await, (Code::Unauthenticated, Some("TOKEN_INVALID".to_owned())));
    setup.stop().await;
}
