//! Who is signed out is signed out where Portal signed them in: clients are told, by real HTTP, of each session that ends.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portal_crypto::jose::{Algorithm, Claims, Expect, PublicKey, verify};
use portal_crypto::suite::Suites;
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::client::Type;
use portal_testkit::each_database;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tonic::Code;
use url::form_urlencoded;

use crate::fixture::{Auth, PASSWORD, refused};
use crate::oauth::{ISSUER, claims, error, newsletter, query, tokens};
use crate::sql;

mod ends;
mod many;

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// What a client answers.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Status(u16),
    /// Nothing, and the connection stays open.
    Never,
}

/// An application's server.
struct Application {
    uri: String,
    posted: Arc<Mutex<Vec<String>>>,
    answer: Arc<Mutex<Answer>>,
    /// Ends with it.
    serving: JoinSet<()>,
}

impl Application {
    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/logout?of=portal", listener.local_addr().unwrap());
        let (posted, answer) = (Arc::default(), Arc::new(Mutex::new(answer)));
        let (to, told): (Arc<Mutex<Vec<String>>>, _) = (Arc::clone(&posted), Arc::clone(&answer));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&to), Arc::clone(&told)));
            }
        });
        Self { uri, posted, answer, serving }
    }

    fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn count(&self) -> usize {
        self.posted.lock().unwrap().len()
    }

    /// The logout tokens that it got, when there are as many.
    async fn told(&self, count: usize) -> Vec<String> {
        let told = async {
            while self.count() < count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), told).await;
        assert!(waited.is_ok(), "told {} times of {count}", self.count());
        // Whatever comes too often comes at once.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let posted = self.posted.lock().unwrap().clone();
        assert_eq!(posted.len(), count);
        posted
    }
}

/// Answers one request, and keeps the logout token of it.
async fn serve(mut stream: TcpStream, posted: Arc<Mutex<Vec<String>>>, answer: Arc<Mutex<Answer>>) {
    let mut bytes = Vec::new();
    let (head, length) = loop {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
        let text = String::from_utf8(bytes.clone()).unwrap();
        let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        break (head.to_owned(), length.unwrap().parse::<usize>().unwrap());
    };
    while bytes.len() < head.len() + 4 + length {
        stream.read_buf(&mut bytes).await.unwrap();
    }
    assert!(head.starts_with("POST /logout?of=portal HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/x-www-form-urlencoded"), "{head}");
    let form: Vec<_> = form_urlencoded::parse(&bytes[head.len() + 4..]).into_owned().collect();
    assert_eq!(form.len(), 1);
    assert_eq!(form[0].0, "logout_token");
    let answer = *answer.lock().unwrap();
    posted.lock().unwrap().push(form[0].1.clone());
    match answer {
        Answer::Status(status) => {
            let answer = format!(
                "HTTP/1.1 {status} .\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 3\r\n\r\nyes"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        Answer::Never => std::future::pending().await,
    }
}

impl Auth {
    /// A client that is told of sign-outs by `application`.
    async fn told_at(&self, application: &Application, changes: pb::Client) -> pb::Client {
        let client = pb::Client {
            backchannel_logout_uri: application.uri.clone(),
            backchannel_logout_session_required: true,
            ..changes
        };
        self.register(client).await.unwrap()
    }

    /// What a logout token says, if it is one by a published key of `algorithm`.
    async fn logout(&self, token: &str, algorithm: Algorithm) -> Claims {
        let set = self.tokens().get_key_set(pb::GetKeySetRequest {}).await.unwrap().into_inner();
        let keys = set.keys.iter().filter(|key| key.alg == algorithm.name()).map(jwk);
        let expect = Expect { typ: Some("logout+jwt"), algorithms: &[algorithm], suites: Suites::ALL };
        let mut verified = keys.filter_map(|key| verify(token, &key, &expect).ok());
        verified.next().expect("nobody has signed it")
    }

    pub async fn revoke(&self, by: &pb::Session, session_id: &str) {
        let end = pb::RevokeSessionRequest { session_id: session_id.to_owned(), ..Default::default() };
        self.sessions().revoke_session(self.by(by, end).await).await.unwrap();
    }

    /// What the gateway does when somebody signs out in their browser.
    pub async fn sign_out(&self, session: &pb::Session) {
        let token = session.access_token.clone();
        let revoke = pb::RevokeTokenRequest { token, ..Default::default() };
        let mut tokens = pb::token_service_client::TokenServiceClient::new(self.channel());
        tokens.revoke_token(self.by(session, revoke).await).await.unwrap();
    }
}

/// What a client knows a sign-in by.
fn sid(given: &pb::TokenSet) -> String {
    claims(&given.id_token)["sid"].as_str().unwrap().to_owned()
}

fn jwk(key: &pb::JsonWebKey) -> PublicKey {
    use base64::Engine;
    let text = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let members = match key.kty.as_str() {
        "AKP" => json!({ "kty": "AKP", "alg": key.alg, "pub": text(&key.r#pub) }),
        "EC" => json!({ "kty": "EC", "crv": key.crv, "x": text(&key.x), "y": text(&key.y) }),
        _ => json!({ "kty": "OKP", "crv": key.crv, "x": text(&key.x) }),
    };
    PublicKey::from_jwk(members.as_object().unwrap()).unwrap()
}

each_database! {
    /// However a session ends, the client is told once, in a token that says what the specification wants, and no more.
    async fn each_end_is_told_once(database) {
        let auth = Auth::start(database).await;
        let application = Application::start(Answer::Status(200)).await;
        let operator = auth.operator().await;
        let ends = ["browser", "token", "grant", "all", "password", "lock", "delete", "code", "replay"];
        let mut ids = BTreeSet::new();
        for (index, end) in ends.into_iter().enumerate() {
            let algorithm = [Algorithm::MlDsa65, Algorithm::Es256, Algorithm::EdDsa][index % 3];
            let alg = algorithm.name().to_owned();
            let client = auth.told_at(&application, pb::Client { id_token_signing_alg: alg, ..newsletter() }).await;
            let email = format!("{end}@example.org");
            let (account, anna) = auth.person(&email).await;
            let other = auth.sign_in(&email).await;
            let code = auth.approved(&anna, &client).await;
            let given = tokens(auth.redeem(&client, &code).await);
            let sid = sid(&given);
            let account_id = account.account_id.clone();
            match end {
                "browser" => auth.revoke(&other, &anna.session_id).await,
                "token" => auth.sign_out(&anna).await,
                "grant" => auth.revoke(&other, &sid).await,
                "all" => {
                    let all = pb::RevokeAllSessionsRequest { account_id, ..Default::default() };
                    auth.sessions().revoke_all_sessions(auth.by(&anna, all).await).await.unwrap();
                }
                "password" => {
                    let change = pb::ChangePasswordRequest {
                        account_id,
                        current_password: PASSWORD.to_owned(),
                        new_password: "another; password of hers".to_owned(),
                        ..Default::default()
                    };
                    auth.accounts().change_password(auth.by(&other, change).await).await.unwrap();
                }
                "lock" => {
                    let lock = pb::LockAccountRequest { account_id, ..Default::default() };
                    auth.accounts().lock_account(auth.by(&operator, lock).await).await.unwrap();
                }
                "delete" => {
                    let delete = pb::DeleteAccountRequest { account_id, ..Default::default() };
                    auth.accounts().delete_account(auth.by(&anna, delete).await).await.unwrap();
                }
                "code" => assert_eq!(error(auth.redeem(&client, &code).await), "invalid_grant"),
                _ => {
                    tokens(auth.refresh_grant(&client, &given.refresh_token).await);
                    auth.advance(11);
                    auth.refresh_grant(&client, &given.refresh_token).await;
                }
            }
            let told = application.told(index + 1).await;
            let mut said = auth.logout(&told[index], algorithm).await;
            let now = said["iat"].as_i64().unwrap();
            assert!(ids.insert(said.remove("jti").unwrap().as_str().unwrap().to_owned()), "{end}");
            let expected = json!({
                "iss": ISSUER, "aud": client.client_id, "sub": account.account_id, "sid": sid, "iat": now, "exp": now + 120,
                "events": { EVENT: {} },
            });
            assert_eq!(Value::Object(said), expected, "{end}");
        }
        let store = database.connect().await;
        assert_eq!(sql::one::<i64>(&store, "SELECT COUNT(*) FROM logout_notice").await, 0);
    }

    /// What a client was given for no longer than the person is there ends with their session, long after its own tokens too;
    /// `offline_access` goes on. Who did not sign anybody in is told nothing, and a client that ends its own is neither.
    async fn who_is_told_and_what_ends(database) {
        let auth = Auth::start(database).await;
        let application = Application::start(Answer::Status(204)).await;
        let client = auth.told_at(&application, newsletter()).await;
        let quiet = auth.newsletter().await;
        let (_, anna) = auth.person("anna@example.org").await;
        let mut given = Vec::new();
        for (client, scope) in [
            (&client, "openid"), (&client, "openid offline_access"), (&client, "openid"), (&client, "consent.read"), (&quiet, "openid"),
        ] {
            let request_uri = auth.started(client, &[("scope", scope)]).await;
            let decided = auth.decide(&anna, &request_uri, pb::decide_authorization_request::Decision::Approve).await;
            let code = query(&decided.unwrap().redirect_uri)["code"].clone();
            given.push(tokens(auth.redeem(client, &code).await));
        }
        let own = auth.tokens_of(&anna, &client).await;
        auth.revoke_grant(&client, &own.refresh_token).await;
        let sids: Vec<_> = given[..3].iter().map(|given| claims(&given.id_token)["sid"].clone()).collect();
        // Its tokens have ended, and what they were was forgotten.
        let store = database.connect().await;
        let forgotten = sql::id(&store, sids[2].as_str().unwrap());
        assert_eq!(sql::run(&store, &format!("DELETE FROM session WHERE id = {forgotten}"), []).await, 1);
        auth.sign_out(&anna).await;
        let mut told = BTreeSet::new();
        for token in application.told(4).await {
            told.insert(auth.logout(&token, Algorithm::MlDsa65).await["sid"].as_str().unwrap().to_owned());
        }
        let mut expected: BTreeSet<_> = sids.iter().map(|sid| sid.as_str().unwrap().to_owned()).collect();
        expected.insert(claims(&own.id_token)["sid"].as_str().unwrap().to_owned());
        assert_eq!(told, expected, "the one that it ended itself is signed out as well");
        refused(auth.exchange(&given[0].access_token, "auth").await, Code::Unauthenticated, "TOKEN_INVALID");
        auth.exchange(&given[1].access_token, "auth").await.unwrap();
        auth.exchange(&given[3].access_token, "consent").await.unwrap();
        refused(auth.exchange(&given[4].access_token, "auth").await, Code::Unauthenticated, "TOKEN_INVALID");
        // What goes on is not told of twice.
        let anew = auth.sign_in("anna@example.org").await;
        let all = pb::RevokeAllSessionsRequest { account_id: anew.account_id.clone(), ..Default::default() };
        auth.sessions().revoke_all_sessions(auth.by(&anew, all).await).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(application.count(), 4);
    }

    /// Who does not take it is told again after pauses that grow, by a new token each time; who refuses it is not; after a day
    /// it is given up. Auditors see both.
    async fn who_does_not_listen_is_told_again(database) {
        let auth = Auth::start(database).await;
        let application = Application::start(Answer::Status(503)).await;
        let client = auth.told_at(&application, newsletter()).await;
        let store = database.connect().await;
        let waiting = async || sql::one::<i64>(&store, "SELECT COUNT(*) FROM logout_notice").await;
        let failures = async |count: i64| {
            let noted = format!("SELECT COUNT(*) FROM logout_notice WHERE failures = {count}");
            while sql::one::<i64>(&store, &noted).await == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let (_, anna) = auth.person("anna@example.org").await;
        auth.tokens_of(&anna, &client).await;
        auth.sign_out(&anna).await;
        application.told(1).await;
        failures(1).await;
        auth.advance(4);
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        assert_eq!(application.count(), 1, "not yet");
        application.answers(Answer::Status(302));
        auth.advance(1);
        application.told(2).await;
        failures(2).await;
        application.answers(Answer::Status(200));
        auth.advance(10);
        let told = application.told(3).await;
        let mut ids = BTreeSet::new();
        for token in &told {
            ids.insert(auth.logout(token, Algorithm::MlDsa65).await["jti"].as_str().unwrap().to_owned());
        }
        assert_eq!((ids.len(), waiting().await), (3, 0));
        let audited = "SELECT COUNT(*) FROM audit_event WHERE action = 'client.logout'";
        assert_eq!(sql::one::<i64>(&store, audited).await, 0);

        application.answers(Answer::Status(400));
        let anna = auth.sign_in("anna@example.org").await;
        auth.tokens_of(&anna, &client).await;
        auth.sign_out(&anna).await;
        application.told(4).await;
        while waiting().await > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(sql::one::<i64>(&store, audited).await, 1);

        application.answers(Answer::Status(500));
        let anna = auth.sign_in("anna@example.org").await;
        auth.tokens_of(&anna, &client).await;
        auth.sign_out(&anna).await;
        application.told(5).await;
        failures(1).await;
        auth.advance(86_400);
        while waiting().await > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(sql::one::<i64>(&store, audited).await, 2);
        assert_eq!(application.count(), 5);
    }

    /// A process that ends while it tells is followed by one that tells again; one that ends before it has begun, too.
    async fn what_was_not_told_before_the_end_is_told_after_it(database) {
        let auth = Auth::start(database).await;
        let application = Application::start(Answer::Never).await;
        let client = auth.told_at(&application, newsletter()).await;
        let (_, anna) = auth.person("anna@example.org").await;
        auth.tokens_of(&anna, &client).await;
        auth.sign_out(&anna).await;
        application.told(1).await;
        let auth = auth.restart().await;
        application.answers(Answer::Status(200));
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        assert_eq!(application.count(), 1, "held by the process that ended, for all that anybody knows");
        auth.advance(30);
        application.told(2).await;
        let store = database.connect().await;
        while sql::one::<i64>(&store, "SELECT COUNT(*) FROM logout_notice").await > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// An application that never answers, and one that is not there, keep neither another one nor the person waiting.
    async fn the_slow_keep_nobody_waiting(database) {
        let auth = Auth::start(database).await;
        let (slow, quick) = (Application::start(Answer::Never).await, Application::start(Answer::Status(200)).await);
        let mut gone = Application::start(Answer::Never).await;
        gone.serving.abort_all();
        let clients =
            [auth.told_at(&slow, newsletter()).await, auth.told_at(&gone, newsletter()).await, auth.told_at(&quick, newsletter()).await];
        let (_, anna) = auth.person("anna@example.org").await;
        for _ in 0..10 {
            auth.tokens_of(&anna, &clients[0]).await;
            auth.tokens_of(&anna, &clients[1]).await;
        }
        auth.tokens_of(&anna, &clients[2]).await;
        auth.sign_out(&anna).await;
        quick.told(1).await;
        assert!(slow.count() <= 4, "four at a time, and none had to end first");
    }

    /// Eight who end a session at once end it once.
    async fn eight_at_once(database) {
        let auth = Auth::start(database).await;
        let application = Application::start(Answer::Status(200)).await;
        let client = auth.told_at(&application, newsletter()).await;
        let (_, anna) = auth.person("anna@example.org").await;
        auth.tokens_of(&anna, &client).await;
        let other = auth.sign_in("anna@example.org").await;
        let (replica, _) = auth.replica().await;
        futures_util::future::join_all((0..8).map(|_| auth.revoke(&other, &anna.session_id))).await;
        application.told(1).await;
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        assert_eq!(application.count(), 1);
        replica.stop().await;
    }

    /// Where a client may be told is checked, kept, and in every answer about it.
    async fn where_clients_are_told(database) {
        let auth = Auth::start(database).await;
        for (client, field) in [
            (pb::Client { backchannel_logout_uri: "http://news.example.org/out".to_owned(), ..newsletter() }, "backchannel_logout_uri"),
            (pb::Client { backchannel_logout_uri: "https://news.example.org/out#x".to_owned(), ..newsletter() }, "backchannel_logout_uri"),
            (
                pb::Client {
                    backchannel_logout_uri: "https://news.example.org/out".to_owned(),
                    scopes: vec!["consent.read".to_owned()],
                    grant_types: vec!["authorization_code".to_owned()],
                    r#type: Type::Public.into(),
                    ..newsletter()
                },
                "backchannel_logout_uri",
            ),
            (pb::Client { backchannel_logout_session_required: true, ..newsletter() }, "backchannel_logout_session_required"),
        ] {
            let status = auth.register(client).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{field}");
            assert!(format!("{status:?}").contains(field), "{status:?}");
        }
        let application = Application::start(Answer::Never).await;
        let client = auth.told_at(&application, newsletter()).await;
        let mut people = Vec::new();
        for name in ["anna", "bert", "carl"] {
            let (_, session) = auth.person(&format!("{name}@example.org")).await;
            let given = auth.tokens_for(&session, &client, "openid").await;
            people.push((session, given));
        }
        let operator = auth.operator().await;
        let get = pb::GetClientRequest { client_id: client.client_id.clone() };
        let read = auth.clients().get_client(auth.by(&operator, get.clone()).await).await.unwrap().into_inner();
        assert_eq!((&read.backchannel_logout_uri, read.backchannel_logout_session_required), (&application.uri, true));
        let list = auth.by(&operator, pb::ListClientsRequest::default()).await;
        let listed = auth.clients().list_clients(list).await.unwrap().into_inner().clients;
        assert_eq!(listed[0].backchannel_logout_uri, application.uri);
        // Whoever writes another address into the database has nobody told anything.
        let store = database.connect().await;
        let elsewhere = "UPDATE client_option SET options = '{\"backchannel_logout_uri\":\"https://evil.example/\"}'";
        assert_eq!(sql::run(&store, elsewhere, []).await, 1);
        let status = auth.clients().get_client(auth.by(&operator, get).await).await;
        refused(status, Code::DataLoss, "ROW_CORRUPT");
        // Nor does anybody keep a session going on that way, or by other rows.
        assert_eq!(sql::run(&store, "UPDATE session_grant SET scopes = 'openid offline_access'", []).await, 3);
        let of_grants = "id IN (SELECT session_id FROM session_grant)";
        assert_eq!(sql::run(&store, &format!("UPDATE session SET last_used_at = 1 WHERE {of_grants}"), []).await, 3);
        let account_id = |place: usize| people[place].0.account_id.clone();
        auth.sign_out(&people[0].0).await;
        let lock = pb::LockAccountRequest { account_id: account_id(1), ..Default::default() };
        auth.accounts().lock_account(auth.by(&operator, lock).await).await.unwrap();
        assert_eq!(sql::run(&store, "UPDATE client SET kind = 'public'", []).await, 1);
        let delete = pb::DeleteAccountRequest { account_id: account_id(2), ..Default::default() };
        auth.accounts().delete_account(auth.by(&people[2].0, delete).await).await.unwrap();
        let live = format!("SELECT COUNT(*) FROM session WHERE revoked_at IS NULL AND {of_grants}");
        assert_eq!(sql::one::<i64>(&store, &live).await, 0);
        assert_eq!(application.count(), 0);
    }
}
