//! Tokens: exchange, cache, revocation, and the feed that is lost.

use std::time::Duration;

use http::Request;
use http_body_util::Full;
use portal_proto::auth::v1::revocation::Target;

use crate::client::Client;
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
