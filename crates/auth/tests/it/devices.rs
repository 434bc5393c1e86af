//! Devices without a browser (RFC 8628), as the gateway's endpoints ask auth.

mod codes;
mod ending;

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use portal_mesh::MeshChannel;
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::client::Type;
use portal_proto::auth::v1::decide_authorization_request::Decision as OfBrowser;
use portal_proto::auth::v1::decide_authorization_response::Needed;
use portal_proto::auth::v1::decide_device_authorization_request::Decision;
use portal_proto::auth::v1::grant_token_response::Result as Granted;
use portal_proto::auth::v1::o_auth_service_client::OAuthServiceClient;
use portal_proto::auth::v1::start_device_authorization_response::Result as Started;
use portal_testkit::each_database;
use tonic::{Code, Request, Status};

use crate::dpop::{KEY, OTHER};
use crate::fixture::{Auth, refused, with_token};
use crate::oauth::{ISSUER, claims, credentials, error, newsletter, tokens, wire};
use crate::sql;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
const SCOPE: &str = "openid offline_access consent.read";

pub fn television() -> pb::Client {
    pb::Client {
        display_name: "Television".to_owned(),
        r#type: Type::Public.into(),
        grant_types: vec![GRANT.to_owned(), "refresh_token".to_owned()],
        redirect_uris: vec![],
        ..newsletter()
    }
}

impl Auth {
    async fn start_device(&self, client: &pb::Client, scope: &str) -> Result<Started, Status> {
        let request = pb::StartDeviceAuthorizationRequest {
            issuer: ISSUER.to_owned(),
            client: Some(credentials(client)),
            parameters: wire(&[("scope", scope)]),
        };
        Ok(self.endpoints().start_device_authorization(request).await?.into_inner().result.unwrap())
    }

    pub async fn device(&self, client: &pb::Client) -> pb::PendingDevice {
        match self.start_device(client, SCOPE).await.unwrap() {
            Started::Pending(pending) => pending,
            Started::Error(error) => panic!("{error:?}"),
        }
    }

    pub async fn poll(&self, client: &pb::Client, device_code: &str) -> Granted {
        self.grant(client, &[("grant_type", GRANT), ("device_code", device_code)]).await
    }

    fn people(&self) -> OAuthServiceClient<MeshChannel> {
        OAuthServiceClient::new(self.channel())
    }

    async fn find(&self, session: &pb::Session, code: &str) -> Result<pb::DeviceAuthorization, Status> {
        let request = pb::FindDeviceAuthorizationRequest { user_code: code.to_owned() };
        let found = self.people().find_device_authorization(self.by(session, request).await).await?;
        Ok(found.into_inner())
    }

    pub async fn say(&self, session: &pb::Session, code: &str, decision: Decision) -> Result<(), Status> {
        self.say_as(session, code, (decision, &session.account_id)).await
    }

    async fn say_as(
        &self,
        session: &pb::Session,
        code: &str,
        (decision, account_id): (Decision, &str),
    ) -> Result<(), Status> {
        let request = pb::DecideDeviceAuthorizationRequest {
            user_code: code.to_owned(),
            decision: decision.into(),
            account_id: account_id.to_owned(),
        };
        self.people().decide_device_authorization(self.by(session, request).await).await.map(drop)
    }
}

fn unknown<T: std::fmt::Debug>(result: Result<T, Status>) {
    refused(result, Code::NotFound, "USER_CODE_UNKNOWN");
}

each_database! {
    /// From a code on a screen to tokens, and what the person sees of it.
    async fn somebody_connects_a_device(database) {
        let auth = Auth::start(database).await;
        let client = auth.register(television()).await.unwrap();
        let (account, anna) = auth.person("anna@example.org").await;
        let device = auth.device(&client).await;
        assert_eq!(URL_SAFE_NO_PAD.decode(&device.device_code).unwrap().len(), 32);
        assert_eq!((device.device_code.len(), device.user_code.len(), &device.user_code[4..5]), (43, 9, "-"));
        assert!(device.user_code.replace('-', "").bytes().all(|letter| b"BCDFGHJKLMNPQRSTVWXZ".contains(&letter)));
        assert_eq!((device.expires_in.unwrap().seconds, device.interval.unwrap().seconds), (600, 5));
        assert_eq!(error(auth.poll(&client, &device.device_code).await), "authorization_pending");
        let typed = device.user_code.to_lowercase().replace('-', " ");
        let found = auth.find(&anna, &typed).await.unwrap();
        assert_eq!((found.client_display_name.as_str(), &found.user_code), ("Television", &device.user_code));
        assert_eq!(found.scopes, ["consent.read", "offline_access", "openid"]);
        auth.say(&anna, &typed, Decision::Approve).await.unwrap();
        auth.advance(5);
        let given = tokens(auth.poll(&client, &device.device_code).await);
        assert_eq!(given.scopes, ["consent.read", "offline_access", "openid"]);
        let told = claims(&given.id_token);
        assert_eq!((&told["sub"], &told["aud"]), (&account.account_id.clone().into(), &client.client_id.clone().into()));
        assert_eq!((&told["iss"], &told["acr"], &told["nonce"]), (&ISSUER.into(), &"pwd".into(), &serde_json::Value::Null));
        let (sessions, _) = auth.sessions_of(&anna).await.unwrap();
        assert!(sessions.iter().any(|session| session.device_name == "Television"), "it is listed with the others");
        tokens(auth.refresh_grant(&client, &given.refresh_token).await);
        assert_eq!(error(auth.poll(&client, &device.device_code).await), "invalid_grant", "it has gone on");
        let store = database.connect().await;
        let actions = sql::rows(&store, "audit_event", &["action"]).await;
        assert!(actions.iter().any(|action| action.contains("client.approve")), "{actions:?}");
    }

    /// Whoever does not wait is told to wait longer; that is in the database, not in one process.
    async fn a_device_waits_between_questions(database) {
        let auth = Auth::start(database).await;
        let client = auth.register(television()).await.unwrap();
        let device = auth.device(&client).await.device_code;
        assert_eq!(error(auth.poll(&client, &device).await), "authorization_pending");
        assert_eq!(error(auth.poll(&client, &device).await), "slow_down");
        auth.advance(9);
        let auth = auth.restart().await;
        assert_eq!(error(auth.poll(&client, &device).await), "slow_down", "ten seconds by now");
        auth.advance(14);
        assert_eq!(error(auth.poll(&client, &device).await), "slow_down", "fifteen");
        auth.advance(20);
        assert_eq!(error(auth.poll(&client, &device).await), "authorization_pending");
    }

    /// Whoever asks on and on has little written, is told the same from memory, and does not wait for longer than a minute.
    async fn asking_on_and_on_writes_nothing(database) {
        let auth = Auth::start(database).await;
        let client = auth.register(television()).await.unwrap();
        let (_, anna) = auth.person("anna@example.org").await;
        let device = auth.device(&client).await;
        let store = database.connect().await;
        let changes = async || sql::one::<i64>(&store, "SELECT revision FROM device_authorization").await - 1;
        assert_eq!(error(auth.poll(&client, &device.device_code).await), "authorization_pending");
        for _ in 0..30 {
            assert_eq!(error(auth.poll(&client, &device.device_code).await), "slow_down");
        }
        assert_eq!(changes().await, 12, "one question, and eleven times five seconds more");
        auth.advance(59);
        assert_eq!(error(auth.poll(&client, &device.device_code).await), "slow_down");
        assert_eq!(changes().await, 12);
        auth.advance(1);
        assert_eq!(error(auth.poll(&client, &device.device_code).await), "authorization_pending");
        assert_eq!(changes().await, 13);
        auth.say(&anna, &device.user_code, Decision::Approve).await.unwrap();
        // More than a device asks in a minute, whoever asks: not looked at, in whatever state it is.
        let other = auth.device(&client).await;
        auth.say(&anna, &other.user_code, Decision::Deny).await.unwrap();
        for _ in 0..24 {
            assert_eq!(error(auth.poll(&client, &other.device_code).await), "access_denied");
        }
        assert_eq!(error(auth.poll(&client, &other.device_code).await), "slow_down");
        tokens(auth.poll(&client, &device.device_code).await);
        auth.advance(3);
        assert_eq!(error(auth.poll(&client, &other.device_code).await), "access_denied");
    }

    /// What a person decides is decided, and told to the device; so is that nobody did.
    async fn a_refusal_and_an_end_are_told(database) {
        let auth = Auth::start(database).await;
        let client = auth.register(television()).await.unwrap();
        let (_, anna) = auth.person("anna@example.org").await;
        let denied = auth.device(&client).await;
        auth.say(&anna, &denied.user_code, Decision::Deny).await.unwrap();
        assert_eq!(error(auth.poll(&client, &denied.device_code).await), "access_denied");
        unknown(auth.say(&anna, &denied.user_code, Decision::Approve).await);
        assert_eq!(error(auth.poll(&client, &denied.device_code).await), "access_denied");
        let (late, approved) = (auth.device(&client).await, auth.device(&client).await);
        auth.say(&anna, &approved.user_code, Decision::Approve).await.unwrap();
        auth.advance(600);
        let anna = auth.refresh(&anna).await.unwrap();
        for device in [&late, &approved] {
            assert_eq!(error(auth.poll(&client, &device.device_code).await), "expired_token");
        }
        unknown(auth.find(&anna, &late.user_code).await);
        unknown(auth.say(&anna, &late.user_code, Decision::Approve).await);
        // For ten minutes.
        auth.advance(599);
        assert_eq!(error(auth.poll(&client, &late.device_code).await), "expired_token");
        auth.advance(1);
        for device in [&late, &approved, &denied] {
            assert_eq!(error(auth.poll(&client, &device.device_code).await), "invalid_grant");
        }
    }

    /// Eight that hold one code get one grant, and the same tokens of it; eight decisions are one.
    async fn a_code_is_good_once(database) {
        let auth = Auth::start(database).await;
        let client = auth.register(television()).await.unwrap();
        let (_, anna) = auth.person("anna@example.org").await;
        let device = auth.device(&client).await;
        let all = join_all((0..8).map(|_| auth.say(&anna, &device.user_code, Decision::Approve))).await;
        assert_eq!(all.iter().filter(|said| said.is_ok()).count(), 1, "{all:?}");
        let all = join_all((0..8).map(|_| auth.poll(&client, &device.device_code))).await;
        let given: std::collections::BTreeSet<_> = all.into_iter().map(|result| tokens(result).refresh_token).collect();
        assert_eq!(given.len(), 1);
        let store = database.connect().await;
        assert_eq!(sql::one::<i64>(&store, "SELECT COUNT(*) FROM session_grant").await, 1);
    }

    /// A device whose reply was lost is told the same for ten seconds, unless it has gone on, or all that has ended.
    async fn a_lost_reply_is_told_again(database) {
        let auth = Auth::start(database).await;
        let client = auth.register(television()).await.unwrap();
        let (_, anna) = auth.person("anna@example.org").await;
        let got = async || {
            let device = auth.device(&client).await;
            auth.say(&anna, &device.user_code, Decision::Approve).await.unwrap();
            (tokens(auth.poll(&client, &device.device_code).await), device.device_code)
        };
        let (first, device) = got().await;
        auth.advance(10);
        let again = tokens(auth.poll(&client, &device).await);
        assert_eq!((&again.access_token, &again.refresh_token), (&first.access_token, &first.refresh_token));
        assert_eq!((first.expires_in.unwrap().seconds, again.expires_in.unwrap().seconds), (900, 890));
        let [before, now] = [&first, &again].map(|given| claims(&given.id_token));
        for same in ["sub", "aud", "iss", "sid", "acr", "auth_time", "at_hash"] {
            assert_eq!(before[same], now[same], "{same}");
        }
        auth.advance(1);
        assert_eq!(error(auth.poll(&client, &device).await), "invalid_grant");
        tokens(auth.refresh_grant(&client, &again.refresh_token).await);
        let (given, device) = got().await;
        auth.revoke_grant(&client, &given.refresh_token).await;
        assert_eq!(error(auth.poll(&client, &device).await), "invalid_grant", "given back");
        let (_, device) = got().await;
        assert_eq!(error(auth.with_key(&client, &[("grant_type", GRANT), ("device_code", &device)], KEY).await), "invalid_grant");
        tokens(auth.poll(&client, &device).await);
        let device = auth.device(&client).await;
        auth.say(&anna, &device.user_code, Decision::Approve).await.unwrap();
        let poll = [("grant_type", GRANT), ("device_code", &*device.device_code)];
        let bound = tokens(auth.with_key(&client, &poll, KEY).await);
        assert_eq!(error(auth.with_key(&client, &poll, OTHER).await), "invalid_grant");
        assert_eq!(error(auth.poll(&client, &device.device_code).await), "invalid_grant");
        assert_eq!(tokens(auth.with_key(&client, &poll, KEY).await).access_token, bound.access_token);
    }

    /// While nothing can be signed nothing is given, and nothing is lost either.
    async fn a_device_gets_its_tokens_once_they_can_be_signed(database) {
        let auth = Auth::start(database).await;
        let client = auth.register(pb::Client { id_token_signing_alg: "ES256".to_owned(), ..television() }).await.unwrap();
        let (_, anna) = auth.person("anna@example.org").await;
        let device = auth.device(&client).await;
        auth.say(&anna, &device.user_code, Decision::Approve).await.unwrap();
        let store = database.connect().await;
        let change = "UPDATE signing_key SET revision = revision + 1 WHERE algorithm = 'ES256'";
        assert_eq!(sql::run(&store, change, []).await, 1);
        auth.advance(1);
        let request = pb::GrantTokenRequest {
            dpop: None,
            client: Some(credentials(&client)),
            parameters: wire(&[("grant_type", GRANT), ("device_code", &device.device_code)]),
        };
        assert_eq!(auth.endpoints().grant_token(request).await.unwrap_err().code(), Code::Internal);
        assert_eq!(sql::one::<i64>(&store, "SELECT COUNT(*) FROM session_grant").await, 0);
        sql::run(&store, &change.replace("+ 1", "- 1"), []).await;
        auth.advance(60);
        assert!(!tokens(auth.poll(&client, &device.device_code).await).id_token.is_empty());
    }

    /// No code that somebody could know by heart opens anything, while devices wait and after they were approved; and no code
    /// comes twice.
    async fn a_fixed_device_code_never_verifies(database) {
        let auth = Auth::start(database).await;
        let client = auth.register(television()).await.unwrap();
        let (_, anna) = auth.person("anna@example.org").await;
        let (waiting, approved) = (auth.device(&client).await, auth.device(&client).await);
        auth.say(&anna, &approved.user_code, Decision::Approve).await.unwrap();
        let store = database.connect().await;
        let mut fixed: Vec<String> = [0_u8, 1, 7, 0x41, 0xff].map(|byte| URL_SAFE_NO_PAD.encode([byte; 32])).into();
        // The examples of RFC 8628, and what is in other hands than the device's.
        fixed.extend(["GmRhmhcxhwAzkoEqiMEg_DnyEysNkuNhszIySk9eS", "device_code", "123456", "test", " "].map(str::to_owned));
        fixed.extend([approved.user_code.clone(), client.client_id.clone(), anna.access_token.clone()]);
        for row in sql::query(&store, "SELECT device_hash, user_hash FROM device_authorization").await {
            for column in 0..2 {
                let hash: Vec<u8> = row.try_get_by_index(column).unwrap();
                fixed.push(URL_SAFE_NO_PAD.encode(hash));
            }
        }
        for code in &fixed {
            let result = error(auth.poll(&client, code).await);
            assert!(matches!(result.as_str(), "invalid_grant" | "invalid_request"), "{code}: {result}");
        }
        for (at, code) in ["BBBB-BBBB", "WDJB-MJHT", "BCDF-GHJK", "ZZZZ-ZZZZ", "0000-0000", "", "TEST-TEST"].iter().enumerate() {
            let (_, somebody) = auth.person(&format!("somebody{at}@example.org")).await;
            unknown(auth.find(&somebody, code).await);
            unknown(auth.say(&somebody, code, Decision::Approve).await);
        }
        assert_eq!(error(auth.poll(&client, &waiting.device_code).await), "authorization_pending");
        tokens(auth.poll(&client, &approved.device_code).await);
        let mut codes = std::collections::BTreeSet::new();
        for _ in 0..20 {
            let device = auth.device(&client).await;
            assert!(codes.insert(device.device_code) && codes.insert(device.user_code));
        }
    }

    /// What was approved in a browser approves no device, and the other way round.
    async fn an_approval_is_never_silent(database) {
        let auth = Auth::start(database).await;
        let mut grant_types = newsletter().grant_types;
        grant_types.push(GRANT.to_owned());
        let client = auth.register(pb::Client { grant_types, ..newsletter() }).await.unwrap();
        let (_, anna) = auth.person("anna@example.org").await;
        let (_, bert) = auth.person("bert@example.org").await;
        auth.tokens_of(&anna, &client).await;
        let device = auth.device(&client).await;
        auth.find(&anna, &device.user_code).await.unwrap();
        assert_eq!(error(auth.poll(&client, &device.device_code).await), "authorization_pending");
        auth.say(&bert, &device.user_code, Decision::Approve).await.unwrap();
        tokens(auth.poll(&client, &device.device_code).await);
        let request_uri = auth.started(&client, &[("scope", "openid")]).await;
        let decided = auth.decide(&bert, &request_uri, OfBrowser::Remembered).await.unwrap();
        assert_eq!(decided.needed(), Needed::Approval);
    }

    /// Who was asked decides, at Portal's own sign-in; and what a client may not do it is told.
    async fn only_who_was_asked_decides(database) {
        let auth = Auth::start(database).await;
        let client = auth.register(television()).await.unwrap();
        let (other, unable) = (auth.register(television()).await.unwrap(), auth.newsletter().await);
        let (_, anna) = auth.person("anna@example.org").await;
        let (account, bert) = auth.person("bert@example.org").await;
        let device = auth.device(&client).await;
        for decision in [Decision::Approve, Decision::Deny] {
            let said = auth.say_as(&anna, &device.user_code, (decision, &account.account_id)).await;
            refused(said, Code::PermissionDenied, "NOT_YOUR_DATA");
        }
        let undecided = auth.say(&anna, &device.user_code, Decision::Unspecified).await;
        refused(undecided, Code::InvalidArgument, "INVALID_FIELD");
        let given = auth.tokens_of(&anna, &unable).await;
        let token = auth.exchange(&given.access_token, "auth").await.unwrap().token;
        let find = pb::FindDeviceAuthorizationRequest { user_code: device.user_code.clone() };
        let by_client = auth.people().find_device_authorization(with_token(&token, find.clone())).await;
        refused(by_client, Code::PermissionDenied, "SCOPE_MISSING");
        let nobody = auth.people().find_device_authorization(Request::new(find)).await;
        refused(nobody, Code::Unauthenticated, "TOKEN_MISSING");
        auth.say(&bert, &device.user_code, Decision::Approve).await.unwrap();
        assert_eq!(error(auth.poll(&other, &device.device_code).await), "invalid_grant");
        assert_eq!(error(auth.poll(&unable, &device.device_code).await), "unauthorized_client");
        tokens(auth.poll(&client, &device.device_code).await);
        for (client, scope, expected) in [
            (&unable, SCOPE, "unauthorized_client"),
            (&client, "openid valuation.read", "invalid_scope"),
            (&client, "", "invalid_scope"),
            (&pb::Client { client_secret: "x".to_owned(), ..client.clone() }, SCOPE, "invalid_client"),
        ] {
            match auth.start_device(client, scope).await.unwrap() {
                Started::Error(error) => assert_eq!(error.error, expected),
                Started::Pending(_) => panic!("{expected}"),
            }
        }
    }

    /// Whoever knows a public client's id, or has a client, fills no table with devices.
    async fn devices_are_limited(database) {
        let auth = Auth::start(database).await;
        let public = auth.register(television()).await.unwrap();
        let confidential = auth.register(pb::Client { r#type: Type::Confidential.into(), ..television() }).await.unwrap();
        let auth = auth.restart_with(|config| {
            config.oauth.questions_per_minute = NonZeroU32::new(2).unwrap();
            config.oauth.grants_per_minute = NonZeroU32::new(2).unwrap();
        }).await;
        for client in [&public, &confidential] {
            let start = async || {
                let message = pb::StartDeviceAuthorizationRequest {
                    issuer: ISSUER.to_owned(),
                    client: Some(credentials(client)),
                    parameters: wire(&[("scope", "openid")]),
                };
                let mut request = Request::new(message);
                request.metadata_mut().insert("portal-client-address", "192.0.2.1".parse().unwrap());
                auth.endpoints().start_device_authorization(request).await
            };
            for _ in 0..2 {
                start().await.unwrap();
            }
            refused(start().await, Code::ResourceExhausted, "TOO_MANY_ATTEMPTS");
        }
    }

    /// Neither code is in the database, and who approves a device there is found out.
    async fn a_row_says_no_code_and_is_not_changed(database) {
        let auth = Auth::start(database).await;
        let client = auth.register(television()).await.unwrap();
        let (account, anna) = auth.person("anna@example.org").await;
        let device = auth.device(&client).await;
        let store = database.connect().await;
        let bytes = sql::everything(&store, "device_authorization").await;
        assert!(sql::contains(&bytes, ISSUER), "what is there is seen");
        let secret = URL_SAFE_NO_PAD.decode(&device.device_code).unwrap();
        assert!(!bytes.windows(32).any(|window| window == secret));
        for text in [&device.device_code, &device.user_code, &device.user_code.replace('-', "")] {
            assert!(!sql::contains(&bytes, text));
        }
        let approve = format!(
            "UPDATE device_authorization SET state = 'approved', acr = 'pwd', authenticated_at = 1, account_id = {}, session_id = {}",
            sql::id(&store, &account.account_id),
            sql::id(&store, &anna.session_id)
        );
        assert_eq!(sql::run(&store, &approve, []).await, 1);
        let request = pb::GrantTokenRequest {
            dpop: None,
            client: Some(credentials(&client)),
            parameters: wire(&[("grant_type", GRANT), ("device_code", &device.device_code)]),
        };
        refused(auth.endpoints().grant_token(request).await, Code::DataLoss, "ROW_CORRUPT");
        refused(auth.find(&anna, &device.user_code).await, Code::DataLoss, "ROW_CORRUPT");
    }
}
