//! What clients ask people for, and what they get, as the gateway's endpoints ask auth.

mod grants;

use std::collections::HashMap;
use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portal_core::Workload;
use portal_mesh::MeshChannel;
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::client::Type;
use portal_proto::auth::v1::client_service_client::ClientServiceClient;
use portal_proto::auth::v1::decide_authorization_request::Decision;
use portal_proto::auth::v1::decide_authorization_response::Needed;
use portal_proto::auth::v1::grant_token_response::Result as Granted;
use portal_proto::auth::v1::introspect_grant_response::Result as Told;
use portal_proto::auth::v1::o_auth_service_client::OAuthServiceClient;
use portal_proto::auth::v1::start_authorization_response::Result as Started;
use portal_testkit::each_database;
use serde_json::Value;
use tonic::{Code, Request, Status};

use crate::fixture::{Auth, refused};
use crate::sql;

mod ending;

pub const ISSUER: &str = "https://portal.example.org";
const CALLBACK: &str = "https://news.example.org/callback";
/// RFC 7636, appendix B.
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const ALL: &[&str] = &["openid", "profile", "email", "offline_access", "consent.read"];

pub type Parameters<'a> = &'a [(&'a str, &'a str)];

pub fn wire(parameters: Parameters<'_>) -> Vec<pb::Parameter> {
    let parameter =
        |(name, value): &(&str, &str)| pb::Parameter { name: (*name).to_owned(), value: (*value).to_owned() };
    parameters.iter().map(parameter).collect()
}

pub fn credentials(client: &pb::Client) -> pb::ClientCredentials {
    pb::ClientCredentials { client_id: client.client_id.clone(), client_secret: client.client_secret.clone() }
}

/// The query of a URI.
pub fn query(uri: &str) -> HashMap<String, String> {
    url::Url::parse(uri).unwrap().query_pairs().into_owned().collect()
}

pub fn error(result: Granted) -> String {
    match result {
        Granted::Error(error) => error.error,
        Granted::Tokens(_) => panic!("tokens"),
    }
}

impl Auth {
    pub fn clients(&self) -> ClientServiceClient<MeshChannel> {
        ClientServiceClient::new(self.channel())
    }

    /// The endpoints, as the gateway calls them by itself.
    pub fn endpoints(&self) -> OAuthServiceClient<MeshChannel> {
        OAuthServiceClient::new(self.channel().as_workload())
    }

    pub async fn register(&self, client: pb::Client) -> Result<pb::Client, Status> {
        let operator = self.operator().await;
        let request = pb::CreateClientRequest { client: Some(client), ..Default::default() };
        Ok(self.clients().create_client(self.by(&operator, request).await).await?.into_inner())
    }

    /// A client that signs people in.
    pub async fn newsletter(&self) -> pb::Client {
        self.register(newsletter()).await.unwrap()
    }

    pub async fn start_with(&self, client: &pb::Client, changes: Parameters<'_>) -> Started {
        let mut parameters = vec![
            ("client_id", client.client_id.as_str()),
            ("redirect_uri", CALLBACK),
            ("response_type", "code"),
            ("scope", "openid profile email offline_access consent.read"),
            ("state", "a state"),
            ("nonce", "a nonce"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        for change in changes {
            parameters.retain(|(name, _)| name != &change.0);
            parameters.push(*change);
        }
        let (issuer, parameters) = (ISSUER.to_owned(), wire(&parameters));
        let request = pb::StartAuthorizationRequest { issuer, parameters, client: None };
        self.endpoints().start_authorization(request).await.unwrap().into_inner().result.unwrap()
    }

    pub async fn started(&self, client: &pb::Client, changes: Parameters<'_>) -> String {
        match self.start_with(client, changes).await {
            Started::Pending(pending) => pending.request_uri,
            other => panic!("{other:?}"),
        }
    }

    pub async fn decide(
        &self,
        session: &pb::Session,
        request_uri: &str,
        decision: Decision,
    ) -> Result<pb::DecideAuthorizationResponse, Status> {
        let request_uri = request_uri.to_owned();
        let request =
            pb::DecideAuthorizationRequest { request_uri, decision: decision.into(), ..Default::default() };
        let request = self.by(session, request).await;
        Ok(OAuthServiceClient::new(self.channel()).decide_authorization(request).await?.into_inner())
    }

    /// A code that the person of `session` approved.
    pub async fn approved(&self, session: &pb::Session, client: &pb::Client) -> String {
        let request_uri = self.started(client, &[]).await;
        let decided = self.decide(session, &request_uri, Decision::Approve).await.unwrap();
        query(&decided.redirect_uri)["code"].clone()
    }

    pub async fn grant(&self, client: &pb::Client, parameters: Parameters<'_>) -> Granted {
        let request = pb::GrantTokenRequest {
            client: Some(credentials(client)),
            parameters: wire(parameters),
            dpop: None,
        };
        self.endpoints().grant_token(request).await.unwrap().into_inner().result.unwrap()
    }

    pub async fn redeem(&self, client: &pb::Client, code: &str) -> Granted {
        let parameters = [("grant_type", "authorization_code"), ("code", code), ("code_verifier", VERIFIER)];
        self.grant(client, &parameters).await
    }

    pub async fn refresh_grant(&self, client: &pb::Client, refresh: &str) -> Granted {
        self.grant(client, &[("grant_type", "refresh_token"), ("refresh_token", refresh)]).await
    }

    /// Ends what a client has, as it asks for it.
    pub async fn revoke_grant(&self, client: &pb::Client, token: &str) {
        let request = pb::RevokeGrantRequest { client: Some(credentials(client)), token: token.to_owned() };
        assert_eq!(self.endpoints().revoke_grant(request).await.unwrap().into_inner().error, None);
    }

    pub async fn tokens_of(&self, session: &pb::Session, client: &pb::Client) -> pb::TokenSet {
        let code = self.approved(session, client).await;
        tokens(self.redeem(client, &code).await)
    }

    pub async fn told(&self, client: &pb::Client, token: &str) -> pb::GrantIntrospection {
        let request =
            pb::IntrospectGrantRequest { client: Some(credentials(client)), token: token.to_owned() };
        match self.endpoints().introspect_grant(request).await.unwrap().into_inner().result.unwrap() {
            Told::Introspection(told) => told,
            Told::Error(error) => panic!("{error:?}"),
        }
    }

    pub async fn user_info(&self, access: &str) -> Result<pb::UserInfo, Status> {
        let token = self.exchange(access, "auth").await?.token;
        let mut request = Request::new(pb::GetUserInfoRequest {});
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        Ok(OAuthServiceClient::new(self.channel()).get_user_info(request).await?.into_inner())
    }
}

pub fn newsletter() -> pb::Client {
    pb::Client {
        display_name: "Newsletter".to_owned(),
        r#type: Type::Confidential.into(),
        grant_types: vec!["authorization_code".to_owned(), "refresh_token".to_owned()],
        redirect_uris: vec![CALLBACK.to_owned()],
        post_logout_redirect_uris: vec!["https://news.example.org/bye?x=1".to_owned()],
        scopes: ALL.iter().map(|scope| (*scope).to_owned()).collect(),
        ..Default::default()
    }
}

pub fn machine() -> pb::Client {
    pb::Client {
        display_name: "Importer".to_owned(),
        r#type: Type::Confidential.into(),
        grant_types: vec!["client_credentials".to_owned()],
        scopes: vec!["consent.check".to_owned(), "consent.record".to_owned()],
        ..Default::default()
    }
}

pub fn tokens(result: Granted) -> pb::TokenSet {
    match result {
        Granted::Tokens(tokens) => tokens,
        Granted::Error(error) => panic!("{error:?}"),
    }
}

/// The claims of a token, unverified.
pub fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

each_database! {
    /// A client's secret is shown once; who has it is the client; a new one lets the old one live on as long as asked.
    async fn clients_are_registered_by_operators(database) {
        let auth = Auth::start(database).await;
        let operator = auth.operator().await;
        let request = pb::CreateClientRequest {
            client: Some(machine()),
            request_id: "0198b0a5-1111-7111-8111-111111111111".to_owned(),
        };
        let created = auth.clients().create_client(auth.by(&operator, request.clone()).await).await.unwrap().into_inner();
        assert_eq!(URL_SAFE_NO_PAD.decode(&created.client_secret).unwrap().len(), 32);
        let again = auth.clients().create_client(auth.by(&operator, request).await).await.unwrap().into_inner();
        assert_eq!(again, pb::Client { client_secret: String::new(), ..created.clone() });
        let get = pb::GetClientRequest { client_id: created.client_id.clone() };
        let read = auth.clients().get_client(auth.by(&operator, get.clone()).await).await.unwrap().into_inner();
        assert_eq!(read, again);
        let own = [("grant_type", "client_credentials")];
        tokens(auth.grant(&created, &own).await);
        for wrong in ["", "x", &created.client_secret[1..], &URL_SAFE_NO_PAD.encode([7; 32])] {
            let client = pb::Client { client_secret: wrong.to_owned(), ..created.clone() };
            assert_eq!(error(auth.grant(&client, &own).await), "invalid_client", "{wrong}");
        }

        let rotate = |seconds, etag: &str| pb::RotateClientSecretRequest {
            client_id: created.client_id.clone(),
            overlap: Some(prost_types::Duration { seconds, nanos: 0 }),
            etag: etag.to_owned(),
            ..Default::default()
        };
        let stale = auth.clients().rotate_client_secret(auth.by(&operator, rotate(60, "7")).await).await;
        refused(stale, Code::Aborted, "ETAG_MISMATCH");
        let long = auth.clients().rotate_client_secret(auth.by(&operator, rotate(31 * 86_400, "")).await).await;
        refused(long, Code::InvalidArgument, "INVALID_FIELD");
        let rotated = auth.clients().rotate_client_secret(auth.by(&operator, rotate(60, &created.etag)).await).await;
        let rotated = rotated.unwrap().into_inner();
        assert_ne!(rotated.client_secret, created.client_secret);
        for client in [&created, &rotated] {
            tokens(auth.grant(client, &own).await);
        }
        auth.advance(60);
        assert_eq!(error(auth.grant(&created, &own).await), "invalid_client");
        tokens(auth.grant(&rotated, &own).await);

        let public = auth.register(pb::Client { r#type: Type::Public.into(), ..newsletter() }).await.unwrap();
        assert_eq!(public.client_secret, "");
        let list = pb::ListClientsRequest { page_size: 1, ..Default::default() };
        let first = auth.clients().list_clients(auth.by(&operator, list.clone()).await).await.unwrap().into_inner();
        let list = pb::ListClientsRequest { page_token: first.next_page_token, ..list };
        let second = auth.clients().list_clients(auth.by(&operator, list).await).await.unwrap().into_inner();
        let ids: Vec<_> = first.clients.iter().chain(&second.clients).map(|client| &client.client_id).collect();
        assert_eq!(ids, [&public.client_id, &created.client_id]);
        let (_, anna) = auth.person("anna@example.org").await;
        refused(auth.clients().get_client(auth.by(&anna, get).await).await, Code::PermissionDenied, "ROLE_NOT_ALLOWED");
    }

    /// What a registration may not say is refused by field.
    async fn a_registration_is_checked(database) {
        let auth = Auth::start(database).await;
        for (client, field) in [
            (pb::Client { r#type: Type::Unspecified.into(), ..newsletter() }, "client.type"),
            (pb::Client { redirect_uris: vec!["http://news.example.org/".to_owned()], ..newsletter() }, "client.redirect_uris[0]"),
            (pb::Client { redirect_uris: vec![], ..newsletter() }, "client.redirect_uris"),
            (pb::Client { scopes: vec!["admin".to_owned()], ..newsletter() }, "client.scopes[0]"),
            (pb::Client { grant_types: vec!["password".to_owned()], ..newsletter() }, "client.grant_types"),
            (pb::Client { r#type: Type::Public.into(), ..machine() }, "client.grant_types"),
            (pb::Client { id_token_signing_alg: "none".to_owned(), ..newsletter() }, "client.id_token_signing_alg"),
        ] {
            let status = auth.register(client).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{field}");
            assert!(format!("{status:?}").contains(field) || status.message().contains(field), "{field}: {status:?}");
        }
    }

    /// From a question to a name: each step checked, nothing twice.
    async fn somebody_signs_in_at_a_client(database) {
        let auth = Auth::start(database).await;
        let client = auth.newsletter().await;
        let (account, anna) = auth.person("anna@example.org").await;
        let request_uri = auth.started(&client, &[]).await;
        let shown = pb::GetAuthorizationRequest { request_uri: request_uri.clone(), client_id: client.client_id.clone() };
        let shown = auth.endpoints().get_authorization(shown).await.unwrap().into_inner();
        assert_eq!((shown.client_display_name.as_str(), shown.redirect_uri.as_str()), ("Newsletter", CALLBACK));
        let remembered = auth.decide(&anna, &request_uri, Decision::Remembered).await.unwrap();
        assert_eq!((remembered.needed(), remembered.redirect_uri.as_str()), (Needed::Approval, ""));
        let decided = auth.decide(&anna, &request_uri, Decision::Approve).await.unwrap();
        let answer = query(&decided.redirect_uri);
        assert!(decided.redirect_uri.starts_with(CALLBACK));
        assert_eq!((answer["state"].as_str(), answer["iss"].as_str()), ("a state", ISSUER));
        refused(auth.decide(&anna, &request_uri, Decision::Approve).await, Code::NotFound, "AUTHORIZATION_NOT_FOUND");

        let given = tokens(auth.redeem(&client, &answer["code"]).await);
        assert_eq!(given.scopes, ["consent.read", "email", "offline_access", "openid", "profile"]);
        assert_eq!(given.expires_in.unwrap().seconds, 900);
        let told = claims(&given.id_token);
        assert_eq!((&told["iss"], &told["aud"]), (&ISSUER.into(), &client.client_id.clone().into()));
        assert_eq!((&told["sub"], &told["nonce"]), (&account.account_id.clone().into(), &"a nonce".into()));
        assert_eq!((&told["acr"], &told["subject_id"]), (&"pwd".into(), &account.subject_id.clone().into()));
        let info = auth.user_info(&given.access_token).await.unwrap();
        assert_eq!((info.sub, info.email.as_str()), (account.account_id.clone(), "anna@example.org"));

        // As much is not asked again; more is.
        let again = auth.started(&client, &[("scope", "openid email")]).await;
        let remembered = auth.decide(&anna, &again, Decision::Remembered).await.unwrap();
        assert!(query(&remembered.redirect_uri).contains_key("code"));
        let asked = auth.started(&client, &[("prompt", "consent")]).await;
        assert_eq!(auth.decide(&anna, &asked, Decision::Remembered).await.unwrap().needed(), Needed::Approval);
        let denied = auth.decide(&anna, &asked, Decision::Deny).await.unwrap();
        assert_eq!(query(&denied.redirect_uri)["error"], "access_denied");

        let (sessions, _) = auth.sessions_of(&anna).await.unwrap();
        let grant = sessions.iter().find(|session| session.device_name == "Newsletter").unwrap();
        assert_eq!(grant.client_id, client.client_id);
        assert!(sessions.iter().any(|session| session.client_id.is_empty()), "her own");
        let end = pb::RevokeSessionRequest { session_id: grant.session_id.clone(), ..Default::default() };
        auth.sessions().revoke_session(auth.by(&anna, end).await).await.unwrap();
        assert_eq!(auth.exchange(&given.access_token, "auth").await.unwrap_err().code(), Code::Unauthenticated);
        assert_eq!(error(auth.refresh_grant(&client, &given.refresh_token).await), "invalid_grant");
        let anew = auth.started(&client, &[("scope", "openid")]).await;
        let asked = auth.decide(&anna, &anew, Decision::Remembered).await.unwrap();
        assert_eq!(asked.needed(), Needed::Approval, "what she ended she is asked for again");
    }

    /// Whoever is nobody fills no table: so many questions a minute come from one network. A client that says who it is asks on.
    async fn questions_are_limited(database) {
        let auth = Auth::start(database).await;
        let client = auth.newsletter().await;
        let auth = auth.restart_with(|config| config.oauth.questions_per_minute = NonZeroU32::new(2).unwrap()).await;
        let ask = async |address: &str, pushed_by: Option<pb::ClientCredentials>| {
            let parameters = wire(&[
                ("client_id", &client.client_id), ("redirect_uri", CALLBACK), ("response_type", "code"), ("scope", "openid"),
                ("code_challenge", CHALLENGE), ("code_challenge_method", "S256"),
            ]);
            let message = pb::StartAuthorizationRequest { issuer: ISSUER.to_owned(), parameters, client: pushed_by };
            let mut request = Request::new(message);
            request.metadata_mut().insert("portal-client-address", address.parse().unwrap());
            auth.endpoints().start_authorization(request).await
        };
        for _ in 0..2 {
            ask("192.0.2.1", None).await.unwrap();
        }
        refused(ask("192.0.2.1", None).await, Code::ResourceExhausted, "TOO_MANY_ATTEMPTS");
        ask("192.0.2.2", None).await.unwrap();
        ask("192.0.2.1", Some(credentials(&client))).await.unwrap();
        auth.advance(30);
        ask("192.0.2.1", None).await.unwrap();
    }

    /// Until it is known where a browser may go nobody is sent anywhere; afterwards the client is told.
    async fn a_wrong_question_is_refused(database) {
        let auth = Auth::start(database).await;
        let client = auth.newsletter().await;
        let nobody = pb::Client { client_id: "0198b0a5-1111-7111-8111-111111111111".to_owned(), ..client.clone() };
        let here = |started: Started| match started {
            Started::Error(error) => error.error,
            other => panic!("{other:?}"),
        };
        let there = |started: Started| match started {
            Started::RedirectUri(uri) => {
                assert!(uri.starts_with(CALLBACK), "{uri}");
                let answer = query(&uri);
                assert_eq!((answer["state"].as_str(), answer["iss"].as_str()), ("a state", ISSUER));
                answer["error"].clone()
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(here(auth.start_with(&nobody, &[]).await), "invalid_client");
        for uri in ["", "https://news.example.org/callback/", "https://evil.example/", "https://news.example.org/callback?x=1"] {
            assert_eq!(here(auth.start_with(&client, &[("redirect_uri", uri)]).await), "invalid_request", "{uri}");
        }
        for (changes, expected) in [
            ([("response_type", "token")], "unsupported_response_type"),
            ([("response_type", "")], "invalid_request"),
            ([("scope", "openid valuation.read")], "invalid_scope"),
            ([("scope", "root")], "invalid_scope"),
            ([("scope", "")], "invalid_scope"),
            ([("code_challenge", "")], "invalid_request"),
            ([("code_challenge_method", "plain")], "invalid_request"),
            ([("prompt", "none login")], "invalid_request"),
            ([("max_age", "soon")], "invalid_request"),
            ([("request", "eyJ9")], "request_not_supported"),
            ([("response_mode", "fragment")], "invalid_request"),
        ] {
            assert_eq!(there(auth.start_with(&client, &changes).await), expected, "{changes:?}");
        }
        let long = "s".repeat(2_001);
        match auth.start_with(&client, &[("state", &long)]).await {
            Started::RedirectUri(uri) => {
                let answer = query(&uri);
                assert_eq!((answer["error"].as_str(), answer.contains_key("state")), ("invalid_request", false));
            }
            other => panic!("{other:?}"),
        }
        let twice = wire(&[("client_id", &client.client_id), ("client_id", &client.client_id)]);
        let request = pb::StartAuthorizationRequest { issuer: ISSUER.to_owned(), parameters: twice, client: None };
        let result = auth.endpoints().start_authorization(request).await.unwrap().into_inner().result.unwrap();
        assert_eq!(here(result), "invalid_request");
    }

    /// Who signed in too long ago signs in again; who may not be asked is not.
    async fn how_recent_a_sign_in_must_be_is_for_the_client_to_say(database) {
        let auth = Auth::start(database).await;
        let client = auth.newsletter().await;
        let (_, anna) = auth.person("anna@example.org").await;
        auth.approved(&anna, &client).await;
        auth.advance(100);
        for changes in [[("max_age", "60")], [("prompt", "login")], [("max_age", "0")]] {
            let request_uri = auth.started(&client, &changes).await;
            let decided = auth.decide(&anna, &request_uri, Decision::Approve).await.unwrap();
            assert_eq!(decided.needed(), Needed::SignIn, "{changes:?}");
            let anew = auth.sign_in("anna@example.org").await;
            let decided = auth.decide(&anew, &request_uri, Decision::Remembered).await.unwrap();
            assert!(query(&decided.redirect_uri).contains_key("code"), "{changes:?}");
        }
        let silent = auth.started(&client, &[("prompt", "none"), ("max_age", "60")]).await;
        let decided = auth.decide(&anna, &silent, Decision::Remembered).await.unwrap();
        assert_eq!(query(&decided.redirect_uri)["error"], "login_required");
        let (_, bert) = auth.person("bert@example.org").await;
        let silent = auth.started(&client, &[("prompt", "none")]).await;
        let decided = auth.decide(&bert, &silent, Decision::Remembered).await.unwrap();
        assert_eq!(query(&decided.redirect_uri)["error"], "consent_required");
        let silent = auth.started(&client, &[("prompt", "none")]).await;
        let nobody = pb::DecideAuthorizationRequest { request_uri: silent, decision: Decision::Nobody.into(), ..Default::default() };
        let decided = auth.endpoints().decide_authorization(nobody).await.unwrap().into_inner();
        assert_eq!(query(&decided.redirect_uri)["error"], "login_required");
        // The gateway by itself approves nothing.
        let request_uri = auth.started(&client, &[]).await;
        let alone = pb::DecideAuthorizationRequest { request_uri, decision: Decision::Approve.into(), ..Default::default() };
        let decided = auth.endpoints().decide_authorization(alone).await.unwrap().into_inner();
        assert_eq!((decided.needed(), decided.redirect_uri.as_str()), (Needed::SignIn, ""));
    }

    /// A code is good once, for a minute, for its own client with its own verifier; a second use ends what the first one gave.
    async fn a_code_is_good_once(database) {
        let auth = Auth::start(database).await;
        let (client, other) = (auth.newsletter().await, auth.newsletter().await);
        let (_, anna) = auth.person("anna@example.org").await;
        let code = auth.approved(&anna, &client).await;
        assert_eq!(error(auth.redeem(&other, &code).await), "invalid_grant");
        let wrong = [("grant_type", "authorization_code"), ("code", &code), ("code_verifier", &VERIFIER.replace('d', "e"))];
        assert_eq!(error(auth.grant(&client, &wrong).await), "invalid_grant");
        let elsewhere = [
            ("grant_type", "authorization_code"), ("code", &code), ("code_verifier", VERIFIER),
            ("redirect_uri", "https://evil.example/"),
        ];
        assert_eq!(error(auth.grant(&client, &elsewhere).await), "invalid_grant");
        let given = tokens(auth.redeem(&client, &code).await);
        assert!(auth.told(&client, &given.access_token).await.active);
        assert_eq!(error(auth.redeem(&other, &code).await), "invalid_grant");
        assert!(auth.told(&client, &given.access_token).await.active, "another client ends nothing");
        assert_eq!(error(auth.redeem(&client, &code).await), "invalid_grant");
        assert!(!auth.told(&client, &given.access_token).await.active, "somebody has a copy");
        let late = auth.approved(&anna, &client).await;
        auth.advance(60);
        assert_eq!(error(auth.redeem(&client, &late).await), "invalid_grant");
        let at_once = auth.approved(&anna, &client).await;
        let all = futures_util::future::join_all((0..8).map(|_| auth.redeem(&client, &at_once))).await;
        let given = all.iter().filter(|result| matches!(result, Granted::Tokens(_))).count();
        assert_eq!(given, 1);
    }

    /// What the client gives back is ended with all that it belongs to, spent or expired as it is; nobody else ends it.
    async fn a_revoked_token_takes_its_grant_along(database) {
        let auth = Auth::start(database).await;
        let (client, other) = (auth.newsletter().await, auth.newsletter().await);
        let (_, anna) = auth.person("anna@example.org").await;
        let revoke = async |client: &pb::Client, token: &str| {
            let request = pb::RevokeGrantRequest { client: Some(credentials(client)), token: token.to_owned() };
            auth.endpoints().revoke_grant(request).await.unwrap().into_inner().error
        };
        let first = auth.tokens_of(&anna, &client).await;
        let second = tokens(auth.refresh_grant(&client, &first.refresh_token).await);
        assert_eq!(revoke(&other, &first.refresh_token).await, None);
        assert!(auth.told(&client, &second.access_token).await.active, "another client ends nothing");
        let unproven = pb::Client { client_secret: other.client_secret.clone(), ..client.clone() };
        assert_eq!(revoke(&unproven, &first.refresh_token).await.unwrap().error, "invalid_client");
        assert!(auth.told(&client, &second.access_token).await.active, "nobody has proven anything");
        assert_eq!(revoke(&client, &first.refresh_token).await, None);
        assert!(!auth.told(&client, &second.access_token).await.active, "spent");
        assert_eq!(error(auth.refresh_grant(&client, &second.refresh_token).await), "invalid_grant");
        let third = auth.tokens_of(&anna, &client).await;
        auth.advance(1_000);
        assert!(auth.told(&client, &third.refresh_token).await.active);
        assert_eq!(revoke(&client, &third.access_token).await, None);
        assert!(!auth.told(&client, &third.refresh_token).await.active, "expired");
        for nothing in [&third.access_token, &third.refresh_token, "x"] {
            assert_eq!(revoke(&client, nothing).await, None);
        }
    }

    /// A client for itself fills no table either, and takes nothing from others.
    async fn a_client_gets_so_many_tokens_a_minute(database) {
        let auth = Auth::start(database).await;
        let (one, other) = (auth.register(machine()).await.unwrap(), auth.register(machine()).await.unwrap());
        let auth = auth.restart_with(|config| config.oauth.grants_per_minute = NonZeroU32::new(2).unwrap()).await;
        let ask = async |client: &pb::Client| {
            let parameters = wire(&[("grant_type", "client_credentials")]);
            auth.endpoints().grant_token(pb::GrantTokenRequest { client: Some(credentials(client)), parameters, dpop: None }).await
        };
        for _ in 0..2 {
            ask(&one).await.unwrap();
        }
        refused(ask(&one).await, Code::ResourceExhausted, "TOO_MANY_ATTEMPTS");
        ask(&other).await.unwrap();
        auth.advance(30);
        ask(&one).await.unwrap();
    }

    /// Who was asked decides, and nobody who signed in to the same browser meanwhile.
    async fn a_decision_is_of_who_was_asked(database) {
        let auth = Auth::start(database).await;
        let client = auth.newsletter().await;
        let (account, anna) = auth.person("anna@example.org").await;
        let (_, bert) = auth.person("bert@example.org").await;
        let request_uri = auth.started(&client, &[]).await;
        let say = async |session: &pb::Session, decision: Decision, account_id: &str| {
            let request = pb::DecideAuthorizationRequest {
                request_uri: request_uri.clone(),
                decision: decision.into(),
                account_id: account_id.to_owned(),
            };
            let request = auth.by(session, request).await;
            Ok::<_, Status>(OAuthServiceClient::new(auth.channel()).decide_authorization(request).await?.into_inner())
        };
        for decision in [Decision::Approve, Decision::Deny, Decision::Remembered] {
            refused(say(&bert, decision, &account.account_id).await, Code::PermissionDenied, "NOT_YOUR_DATA");
        }
        refused(say(&anna, Decision::Approve, "anna").await, Code::InvalidArgument, "INVALID_FIELD");
        let decided = say(&anna, Decision::Approve, &account.account_id).await.unwrap();
        assert!(query(&decided.redirect_uri).contains_key("code"));
    }

    /// Any program may listen on the person's own machine: there an application that can't prove itself is approved each time.
    async fn what_was_approved_for_a_port_is_asked_again(database) {
        let auth = Auth::start(database).await;
        let loopback = "http://127.0.0.1:4000/callback";
        let redirect_uris = vec![CALLBACK.to_owned(), loopback.to_owned()];
        let public = pb::Client { r#type: Type::Public.into(), redirect_uris: redirect_uris.clone(), ..newsletter() };
        let public = auth.register(public).await.unwrap();
        let confidential = auth.register(pb::Client { redirect_uris, ..newsletter() }).await.unwrap();
        let (_, anna) = auth.person("anna@example.org").await;
        for (client, uri, again) in [
            (&public, loopback, Needed::Approval),
            (&public, CALLBACK, Needed::Nothing),
            (&confidential, loopback, Needed::Nothing),
        ] {
            for _ in 0..2 {
                let request_uri = auth.started(client, &[("redirect_uri", uri)]).await;
                auth.decide(&anna, &request_uri, Decision::Approve).await.unwrap();
            }
            let request_uri = auth.started(client, &[("redirect_uri", uri)]).await;
            let decided = auth.decide(&anna, &request_uri, Decision::Remembered).await.unwrap();
            assert_eq!(decided.needed(), again, "{uri}");
        }
        let silent = auth.started(&public, &[("redirect_uri", loopback), ("prompt", "none")]).await;
        let decided = auth.decide(&anna, &silent, Decision::Remembered).await.unwrap();
        assert_eq!(query(&decided.redirect_uri)["error"], "consent_required");
    }

    /// As for people's own: one successor, the same for ten seconds, and the end of all for a copy.
    async fn a_refresh_token_of_a_client_is_spent_once(database) {
        let auth = Auth::start(database).await;
        let (client, other) = (auth.newsletter().await, auth.newsletter().await);
        let (_, anna) = auth.person("anna@example.org").await;
        let first = auth.tokens_of(&anna, &client).await;
        assert_eq!(error(auth.refresh_grant(&other, &first.refresh_token).await), "invalid_grant");
        let narrower = [("grant_type", "refresh_token"), ("refresh_token", &*first.refresh_token), ("scope", "openid")];
        assert_eq!(error(auth.grant(&client, &narrower).await), "invalid_scope");
        let all = futures_util::future::join_all((0..8).map(|_| auth.refresh_grant(&client, &first.refresh_token))).await;
        let all: Vec<_> = all.into_iter().map(tokens).collect();
        assert!(all.iter().all(|given| given.refresh_token == all[0].refresh_token), "one successor");
        let told = claims(&all[0].id_token);
        assert!(told["nonce"].is_null() && told["auth_time"] == claims(&first.id_token)["auth_time"]);
        auth.advance(11);
        assert_eq!(error(auth.refresh_grant(&client, &first.refresh_token).await), "invalid_grant");
        assert_eq!(error(auth.refresh_grant(&client, &all[0].refresh_token).await), "invalid_grant");
        assert!(!auth.told(&client, &all[0].access_token).await.active);
        // It is no refresh token of Portal's own, and its access token none either.
        let second = auth.tokens_of(&anna, &client).await;
        let session = pb::Session { refresh_token: second.refresh_token.clone(), ..anna.clone() };
        refused(auth.refresh(&session).await, Code::Unauthenticated, "TOKEN_INVALID");
    }

    /// Whoever asks for less gets less: no refresh token without offline_access, no ID token without openid.
    async fn what_was_not_asked_for_is_not_given(database) {
        let auth = Auth::start(database).await;
        let client = auth.newsletter().await;
        let (_, anna) = auth.person("anna@example.org").await;
        let request_uri = auth.started(&client, &[("scope", "consent.read")]).await;
        let decided = auth.decide(&anna, &request_uri, Decision::Approve).await.unwrap();
        let given = tokens(auth.redeem(&client, &query(&decided.redirect_uri)["code"]).await);
        assert_eq!((given.refresh_token.as_str(), given.id_token.as_str()), ("", ""));
        let status = auth.user_info(&given.access_token).await.unwrap_err();
        refused(Err::<(), _>(status), Code::PermissionDenied, "SCOPE_MISSING");
        let exchanged = auth.exchange(&given.access_token, "consent").await.unwrap();
        assert_eq!((exchanged.client_id, exchanged.scopes), (client.client_id.clone(), vec!["consent.read".to_owned()]));
        auth.advance(900);
        assert!(!auth.told(&client, &given.access_token).await.active);
        let (sessions, _) = auth.sessions_of(&auth.sign_in("anna@example.org").await).await.unwrap();
        assert!(sessions.iter().all(|session| session.device_name != "Newsletter"), "it ended with its token");
    }

    /// A client for itself: its own scopes, no person; it ends with the client.
    async fn a_client_acts_for_itself(database) {
        let auth = Auth::start(database).await;
        let client = auth.register(machine()).await.unwrap();
        let own = ("grant_type", "client_credentials");
        for scope in ["openid", "consent.read", "valuation.read"] {
            assert_eq!(error(auth.grant(&client, &[own, ("scope", scope)]).await), "invalid_scope", "{scope}");
        }
        let given = tokens(auth.grant(&client, &[own, ("scope", "consent.check")]).await);
        assert_eq!((given.refresh_token.as_str(), given.id_token.as_str()), ("", ""));
        let exchanged = auth.exchange(&given.access_token, "consent").await.unwrap();
        assert_eq!((exchanged.account_id.as_str(), exchanged.roles), ("", vec!["service".to_owned()]));
        let signed = claims(&exchanged.token);
        assert_eq!((&signed["sub"], &signed["client_id"]), (&client.client_id.clone().into(), &client.client_id.clone().into()));
        assert_eq!(signed["scope"], "consent.check");
        let told = auth.told(&client, &given.access_token).await;
        assert_eq!((told.active, told.sub.as_str()), (true, client.client_id.as_str()));
        let stranger = auth.newsletter().await;
        assert!(!auth.told(&stranger, &given.access_token).await.active, "another client's business");
        let grants = [("grant_type", "authorization_code"), ("grant_type", "refresh_token")];
        for grant in grants {
            assert_eq!(error(auth.grant(&client, &[grant]).await), "unauthorized_client");
        }
        assert_eq!(error(auth.grant(&client, &[("grant_type", "password")]).await), "unsupported_grant_type");

        let revoke = pb::RevokeGrantRequest { client: Some(credentials(&stranger)), token: given.access_token.clone() };
        assert_eq!(auth.endpoints().revoke_grant(revoke.clone()).await.unwrap().into_inner().error, None);
        assert!(auth.told(&client, &given.access_token).await.active);
        let revoke = pb::RevokeGrantRequest { client: Some(credentials(&client)), ..revoke };
        assert_eq!(auth.endpoints().revoke_grant(revoke).await.unwrap().into_inner().error, None);
        assert_eq!(auth.exchange(&given.access_token, "consent").await.unwrap_err().code(), Code::Unauthenticated);

        let given = tokens(auth.grant(&client, &[own]).await);
        assert_eq!(given.scopes, ["consent.check", "consent.record"]);
        let operator = auth.operator().await;
        let delete = pb::DeleteClientRequest { client_id: client.client_id.clone(), ..Default::default() };
        auth.clients().delete_client(auth.by(&operator, delete).await).await.unwrap();
        assert_eq!(auth.exchange(&given.access_token, "consent").await.unwrap_err().code(), Code::Unauthenticated);
        assert_eq!(error(auth.grant(&client, &[own]).await), "invalid_client");
    }

    /// With a client goes all that people gave it.
    async fn a_deleted_client_has_nothing(database) {
        let auth = Auth::start(database).await;
        let client = auth.newsletter().await;
        let (_, anna) = auth.person("anna@example.org").await;
        let given = auth.tokens_of(&anna, &client).await;
        let waiting = auth.started(&client, &[]).await;
        let operator = auth.operator().await;
        let delete = pb::DeleteClientRequest { client_id: client.client_id.clone(), ..Default::default() };
        auth.clients().delete_client(auth.by(&operator, delete.clone()).await).await.unwrap();
        assert_eq!(auth.exchange(&given.access_token, "auth").await.unwrap_err().code(), Code::Unauthenticated);
        refused(auth.decide(&anna, &waiting, Decision::Approve).await, Code::NotFound, "AUTHORIZATION_NOT_FOUND");
        let (sessions, _) = auth.sessions_of(&anna).await.unwrap();
        assert!(sessions.iter().all(|session| session.device_name != "Newsletter"));
        let again = auth.clients().delete_client(auth.by(&operator, delete).await).await;
        refused(again, Code::NotFound, "CLIENT_NOT_FOUND");
    }

    /// A token of a client that somebody moved into another table, or whose scopes somebody widened, opens nothing.
    async fn tampered_rows_open_nothing(database) {
        let auth = Auth::start(database).await;
        let client = auth.newsletter().await;
        let (_, anna) = auth.person("anna@example.org").await;
        let given = auth.tokens_of(&anna, &client).await;
        let store = database.connect().await;
        let widened = "UPDATE session_grant SET scopes = 'consent.read consent.record email offline_access openid profile'";
        assert_eq!(sql::run(&store, widened, []).await, 1);
        let status = auth.exchange(&given.access_token, "consent").await.unwrap_err();
        refused(Err::<(), _>(status), Code::DataLoss, "ROW_CORRUPT");
        let back = "UPDATE session_grant SET scopes = 'consent.read email offline_access openid profile'";
        assert_eq!(sql::run(&store, back, []).await, 1);
        auth.exchange(&given.access_token, "consent").await.unwrap();
        let moved = "INSERT INTO token_pair (refresh_hash, access_hash, session_id, issued_at, access_expires_at, \
                     refresh_expires_at, spent_at, row_digest) SELECT refresh_hash, access_hash, session_id, issued_at, \
                     access_expires_at, refresh_expires_at, spent_at, row_digest FROM grant_token";
        assert_eq!(sql::run(&store, moved, []).await, 1);
        assert_eq!(sql::run(&store, "DELETE FROM grant_token", []).await, 1);
        let status = auth.exchange(&given.access_token, "consent").await.unwrap_err();
        refused(Err::<(), _>(status), Code::Unauthenticated, "TOKEN_INVALID");
        let session = pb::Session { refresh_token: given.refresh_token.clone(), ..anna.clone() };
        refused(auth.refresh(&session).await, Code::Unauthenticated, "TOKEN_INVALID");
    }

    /// Where a browser goes after its person signed out: to the client's own page, or nowhere.
    async fn a_sign_out_leads_where_the_client_is_registered(database) {
        let auth = Auth::start(database).await;
        let client = auth.newsletter().await;
        let (_, anna) = auth.person("anna@example.org").await;
        let given = auth.tokens_of(&anna, &client).await;
        let bye = "https://news.example.org/bye?x=1";
        let resolve = |hint: &str, client_id: &str, uri: &str| pb::ResolveLogoutRequest {
            id_token_hint: hint.to_owned(),
            client_id: client_id.to_owned(),
            post_logout_redirect_uri: uri.to_owned(),
            state: "s&t".to_owned(),
        };
        let to = format!("{bye}&state=s%26t");
        let hint = given.id_token.as_str();
        for (request, expected) in [
            (resolve(hint, "", bye), to.as_str()),
            (resolve("", &client.client_id, bye), to.as_str()),
            (resolve(hint, &client.client_id, bye), to.as_str()),
            (resolve(hint, &anna.session_id, bye), ""),
            (resolve("", "", bye), ""),
            (resolve(&hint[1..], "", bye), ""),
            (resolve(hint, "", "https://evil.example/"), ""),
        ] {
            let told = auth.endpoints().resolve_logout(request).await.unwrap().into_inner();
            assert_eq!(told.redirect_uri, expected);
        }
    }

    /// Nobody but the gateway asks for clients; the gateway decides for nobody.
    async fn the_endpoints_are_the_gateways(database) {
        let auth = Auth::start(database).await;
        let (_, anna) = auth.person("anna@example.org").await;
        let mut outside = OAuthServiceClient::new(auth.channel());
        let grant = auth.by(&anna, pb::GrantTokenRequest::default()).await;
        refused(outside.grant_token(grant).await, Code::PermissionDenied, "ROLE_NOT_ALLOWED");
        let mut other = OAuthServiceClient::new(auth.channel_from(Workload::Consent).as_workload());
        refused(other.grant_token(pb::GrantTokenRequest::default()).await, Code::PermissionDenied, "WORKLOAD_NOT_ALLOWED");
    }
}
