//! The pages and endpoints of OAuth, in front of a real auth: what a browser is shown, keeps and may send.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use portal_auth::{OAuthConfig, OperatorConfig, PasswordConfig};
use portal_core::{Clock, Timestamp, Workload};
use portal_gateway::{EdgeConfig, Service};
use portal_mesh::Running;
use portal_mesh::config::{TelemetryConfig, UpstreamsConfig};
use portal_store::{Database, StoreError, Tx};
use portal_testkit::{TestDatabase, TestMesh};
use portal_upkeep::{IntegrityConfig, MigrationConfig};
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};
use totp_rs::{Builder, Secret};
use url::{Url, form_urlencoded};

use crate::client::{Answer, Client};

const OPERATOR: &str = "operator@portal.test";
pub const ANNA: &str = "anna@example.org";
const BERT: &str = "bert@example.org";
const PASSWORD: &str = "correct horse battery staple";
const CALLBACK: &str = "https://news.example.org/callback";
/// RFC 7636, appendix B.
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

pub type Fields<'a> = &'a [(&'a str, &'a str)];

/// A gateway, auth behind it, and nothing else.
pub struct Portal {
    mesh: TestMesh,
    database: TestDatabase,
    auth: Running,
    gateway: Running,
    address: SocketAddr,
}

/// A browser: what it keeps, and nothing that it executes.
pub struct Browser<'a> {
    portal: &'a Portal,
    pub cookies: HashMap<String, String>,
}

impl Portal {
    pub async fn start() -> Self {
        Self::with(EdgeConfig::default()).await
    }

    /// With another edge.
    pub async fn with(edge: EdgeConfig) -> Self {
        let (mesh, database) = (TestMesh::start().await, TestDatabase::sqlite());
        let password_file = mesh.path("operator-password");
        std::fs::write(&password_file, PASSWORD).unwrap();
        let many = NonZeroU32::new(1_000_000).unwrap();
        let config = portal_auth::Config {
            authorization: Default::default(),
            server: mesh.server(),
            identity: mesh.identity(Workload::Auth),
            database: database.config(),
            keys: database.keys("auth").await,
            integrity: IntegrityConfig::on_demand(),
            migrations: MigrationConfig::alone(),
            passwords: PasswordConfig {
                account_per_minute: many,
                client_per_minute: many,
                per_second: Some(many),
                ..PasswordConfig::default()
            },
            oauth: OAuthConfig {
                questions_per_minute: many,
                grants_per_minute: many,
                user_codes_per_minute: many,
                ..OAuthConfig::default()
            },
            mail: None,
            tokens: Default::default(),
            totp: Default::default(),
            passkeys: None,
            telemetry: TelemetryConfig::default(),
            operator: Some(OperatorConfig { email: OPERATOR.to_owned(), password_file }),
            upstreams: UpstreamsConfig::default(),
        };
        let auth = portal_auth::Service::start(config, mesh.host()).await.unwrap();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        let upstreams = [
            (Workload::Auth, auth.local_addr()),
            (Workload::Consent, nowhere),
            (Workload::Valuation, nowhere),
        ];
        let config = portal_gateway::Config {
            server: mesh.server(),
            identity: mesh.identity(Workload::Gateway),
            upstreams: UpstreamsConfig::new(&upstreams),
            edge,
            edge_tls: None,
            telemetry: TelemetryConfig::default(),
        };
        let gateway = Service::start(config, mesh.host()).await.unwrap();
        let address = gateway.local_addr();
        Self { mesh, database, auth, gateway, address }
    }

    pub async fn stop(self) {
        self.gateway.stop().await;
        self.auth.stop().await;
    }

    pub fn advance(&self, seconds: u64) {
        self.mesh.clock.advance(Duration::from_secs(seconds));
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn now(&self) -> Timestamp {
        self.mesh.clock.now()
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub async fn json(&self, path: &str, token: Option<&str>, body: &Value) -> Value {
        let client = Client::one(self.address);
        let answer = client.json(http::Method::POST, path, token, &body.to_string()).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    /// A new account's id.
    pub async fn sign_up(&self, email: &str) -> String {
        let body = json!({ "email": email, "password": PASSWORD, "displayName": "Somebody" });
        self.json("/v1/accounts", None, &body).await["accountId"].as_str().unwrap().to_owned()
    }

    /// An access token by the way of programs.
    pub async fn sign_in(&self, email: &str) -> String {
        let reply = self.json("/v1/sessions", None, &json!({ "email": email, "password": PASSWORD })).await;
        reply["session"]["accessToken"].as_str().unwrap().to_owned()
    }

    /// Id and secret of a new application.
    pub async fn register(&self, changes: Value) -> (String, String) {
        let mut client = json!({
            "displayName": "Newsletter", "type": "TYPE_CONFIDENTIAL",
            "grantTypes": ["authorization_code", "refresh_token"], "redirectUris": [CALLBACK],
            "scopes": ["openid", "email", "offline_access"],
        });
        for (name, value) in changes.as_object().unwrap() {
            client[name] = value.clone();
        }
        let operator = self.sign_in(OPERATOR).await;
        let registered = self.json("/v1/clients", Some(&operator), &json!({ "client": client })).await;
        let text = |name: &str| registered[name].as_str().unwrap_or_default().to_owned();
        (text("clientId"), text("clientSecret"))
    }

    /// The answer of an endpoint to a client's form.
    pub async fn ask(&self, endpoint: &str, fields: Fields<'_>) -> Answer {
        self.ask_with(endpoint, fields, None).await
    }

    /// The same, with credentials in the header.
    async fn ask_with(&self, endpoint: &str, fields: Fields<'_>, basic: Option<(&str, &str)>) -> Answer {
        let mut request = form(&format!("/oauth2/{endpoint}"), fields);
        if let Some((id, secret)) = basic {
            let header = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
            request.headers_mut().insert("authorization", header.parse().unwrap());
        }
        Client::one(self.address).send(request).await
    }

    /// The same, with a proof of possession.
    pub async fn ask_proven(&self, endpoint: &str, fields: Fields<'_>, proof: &str) -> Answer {
        let mut request = form(&format!("/oauth2/{endpoint}"), fields);
        request.headers_mut().insert("dpop", proof.parse().unwrap());
        Client::one(self.address).send(request).await
    }

    /// What somebody does who has got at the database.
    async fn sql(&self, sql: &str) -> u64 {
        let store: Database = self.database.connect().await;
        let run = |tx: Tx| async move {
            let statement = Statement::from_string(tx.conn().get_database_backend(), sql);
            Ok::<_, StoreError>(tx.conn().execute_raw(statement).await?.rows_affected())
        };
        store.run_tx("sql", run).await.unwrap()
    }

    pub fn browser(&self) -> Browser<'_> {
        Browser { portal: self, cookies: HashMap::new() }
    }

    /// What an authenticator with this secret shows now.
    fn code(&self, secret: &str) -> String {
        let secret = Secret::try_from_base32(secret).unwrap();
        let now = u64::try_from(self.mesh.clock.now().as_seconds()).unwrap();
        Builder::new().with_secret(secret).build().unwrap().generate(now).to_string()
    }
}

fn form(path: &str, fields: Fields<'_>) -> Request<Full<Bytes>> {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
    request.body(Full::from(body)).unwrap()
}

impl Browser<'_> {
    async fn send(&mut self, mut request: Request<Full<Bytes>>) -> Answer {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !cookies.is_empty() {
            request.headers_mut().insert("cookie", cookies.join("; ").parse().unwrap());
        }
        let answer = Client::one(self.portal.address).send(request).await;
        for cookie in answer.headers.get_all("set-cookie") {
            let cookie = cookie.to_str().unwrap();
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
            self.cookies.retain(|_, value| !value.is_empty());
        }
        answer
    }

    pub async fn get(&mut self, uri: &str) -> Answer {
        self.send(Request::get(uri).body(Full::default()).unwrap()).await
    }

    /// Sends a form of one of Portal's own pages.
    pub async fn post(&mut self, path: &str, fields: Fields<'_>) -> Answer {
        let origin = self.portal.origin();
        self.post_from(Some(&origin), path, fields).await
    }

    async fn post_from(&mut self, origin: Option<&str>, path: &str, fields: Fields<'_>) -> Answer {
        let mut request = form(path, fields);
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        self.send(request).await
    }

    /// The page that a question of `client` leads to, and the fields that its forms repeat.
    async fn asks(&mut self, client: &str, changes: Fields<'_>) -> (Answer, String) {
        let mut fields = vec![
            ("client_id", client),
            ("redirect_uri", CALLBACK),
            ("response_type", "code"),
            ("scope", "openid email offline_access"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        fields.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
        fields.extend_from_slice(changes);
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish();
        let started = self.get(&format!("/oauth2/authorize?{query}")).await;
        assert_eq!(started.status, 303, "{}", text(&started));
        let again = started.header("location").to_owned();
        let page = self.get(&again).await;
        (page, again)
    }

    /// Signs in on the page that `page` is.
    pub async fn sign_in(&mut self, page: &Answer, email: &str) -> Answer {
        let mut fields = hidden(page);
        fields.extend([("email".to_owned(), email.to_owned()), ("password".to_owned(), PASSWORD.to_owned())]);
        self.post("/oauth2/sign-in", &borrowed(&fields)).await
    }

    /// The consent page of a question of `client`, for `email`, who signs in if need be.
    pub async fn consent_page(&mut self, client: &str, email: &str) -> Answer {
        let (page, again) = self.asks(client, &[]).await;
        if !shows(&page, "Sign in") {
            return page;
        }
        let entered = self.sign_in(&page, email).await;
        assert_eq!(entered.header("location"), again, "{}", text(&entered));
        self.get(&again).await
    }

    pub async fn decide(&mut self, page: &Answer, path: &str, decision: &str) -> Answer {
        let mut fields = hidden(page);
        fields.push(("decision".to_owned(), decision.to_owned()));
        self.post(path, &borrowed(&fields)).await
    }
}

pub fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.to_vec()).unwrap()
}

pub fn shows(answer: &Answer, heading: &str) -> bool {
    text(answer).contains(&format!("<h1>{heading}</h1>"))
}

/// The hidden fields of a page.
pub fn hidden(page: &Answer) -> Vec<(String, String)> {
    let text = text(page);
    let fields = text.split("<input type=\"hidden\" name=\"").skip(1);
    let field = |field: &str| {
        let (name, rest) = field.split_once('"').unwrap();
        let value = rest.strip_prefix(" value=\"").unwrap().split('"').next().unwrap();
        (name.to_owned(), value.to_owned())
    };
    fields.map(field).collect()
}

pub fn borrowed(fields: &[(String, String)]) -> Vec<(&str, &str)> {
    fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

pub fn code(answer: &Answer) -> String {
    let uri = Url::parse(answer.header("location")).unwrap();
    uri.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned()
}

pub fn error(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["error"].as_str().unwrap_or_default().to_owned())
}

/// Nobody frames a page, and no script runs in it.
pub fn is_shielded(page: &Answer) {
    let policy = page.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'; ") && policy.contains("frame-ancestors 'none'"),
        "{policy}"
    );
    assert!(!policy.contains("script-src") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-frame-options"), "DENY");
    assert_eq!(page.header("cache-control"), "no-store");
}

/// A form that did not come from a page of Portal does nothing, whoever's browser sent it; `null` is what a sandboxed frame says.
#[tokio::test]
async fn forms_are_taken_from_the_own_origin_alone() {
    let portal = Portal::start().await;
    portal.sign_up(ANNA).await;
    let (client, _) = portal.register(json!({})).await;
    let mut browser = portal.browser();
    let consent = browser.consent_page(&client, ANNA).await;
    let mut fields = hidden(&consent);
    fields.extend(
        [("decision", "approve"), ("email", ANNA), ("password", PASSWORD), ("challenge", "x"), ("code", "1")]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let kept = browser.cookies.clone();
    let (other_scheme, other_port) =
        (portal.origin().replace("http:", "https:"), "http://127.0.0.1:1".to_owned());
    for origin in
        [Some("https://evil.example"), Some("null"), Some(""), Some(&other_scheme), Some(&other_port), None]
    {
        for path in ["sign-in", "second-factor", "consent", "device", "logout"] {
            let answer = browser.post_from(origin, &format!("/oauth2/{path}"), &borrowed(&fields)).await;
            assert_eq!(answer.status, 403, "{path} from {origin:?}");
            assert!(shows(&answer, "Not from here") && answer.headers.get("set-cookie").is_none());
            is_shielded(&answer);
        }
    }
    assert_eq!(browser.cookies, kept);
    let approved = browser.post("/oauth2/consent", &borrowed(&fields)).await;
    assert!(approved.header("location").starts_with(CALLBACK), "nothing was decided before");
    portal.stop().await;
}

/// Every page, of whatever kind, is nobody's frame.
#[tokio::test]
async fn no_page_is_framed() {
    let portal = Portal::start().await;
    portal.sign_up(ANNA).await;
    let (client, _) = portal.register(json!({})).await;
    let mut browser = portal.browser();
    let (sign_in, _) = browser.asks(&client, &[]).await;
    let consent = browser.consent_page(&client, ANNA).await;
    assert!(shows(&sign_in, "Sign in") && shows(&consent, "Allow Newsletter?"));
    let others = [
        "/oauth2/authorize?client_id=x",
        "/oauth2/logout",
        "/oauth2/consent",
        "/oauth2/authorize?request_uri=x&client_id=y",
    ];
    for page in [sign_in, consent] {
        is_shielded(&page);
        assert!(
            page.header("content-security-policy").contains("form-action 'self' https://news.example.org;")
        );
    }
    for path in others {
        is_shielded(&browser.get(path).await);
    }
    portal.stop().await;
}

/// What a client has to push it has to push.
#[tokio::test]
async fn a_client_that_must_push_is_answered_at_no_other_door() {
    let portal = Portal::start().await;
    portal.sign_up(ANNA).await;
    let (client, secret) = portal.register(json!({ "requirePar": true })).await;
    let mut browser = portal.browser();
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("client_id", client.as_str()),
            ("redirect_uri", CALLBACK),
            ("response_type", "code"),
            ("scope", "openid"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
            ("state", "s"),
        ])
        .finish();
    let refused = browser.get(&format!("/oauth2/authorize?{query}")).await;
    assert!(
        refused.header("location").starts_with(&format!("{CALLBACK}?error=invalid_request&")),
        "{refused:?}"
    );
    let fields: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let pushed = portal.ask_with("par", &borrowed(&fields), Some((&client, &secret))).await;
    assert_eq!(pushed.status, 201, "{pushed:?}");
    let request_uri = pushed.json()["request_uri"].as_str().unwrap().to_owned();
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("client_id", client.as_str()), ("request_uri", &request_uri)])
        .finish();
    assert!(shows(&browser.get(&format!("/oauth2/authorize?{query}")).await, "Sign in"));
    let unproven = portal.ask_with("par", &borrowed(&fields), Some((&client, "x"))).await;
    assert_eq!(error(&unproven), (401, "invalid_client".to_owned()));
    portal.stop().await;
}

/// A public client has no secret, and needs none: its code takes the verifier. What it was given does not decide in its person's
/// name.
#[tokio::test]
async fn a_public_client_redeems_without_a_secret_and_decides_nothing() {
    let portal = Portal::start().await;
    portal.sign_up(ANNA).await;
    let (client, secret) = portal.register(json!({ "type": "TYPE_PUBLIC" })).await;
    assert_eq!(secret, "");
    let mut browser = portal.browser();
    let page = browser.consent_page(&client, ANNA).await;
    let approved = browser.decide(&page, "/oauth2/consent", "approve").await;
    let code = code(&approved);
    let redeem = async |fields: Fields<'_>| {
        let mut all = vec![
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("client_id", client.as_str()),
        ];
        all.extend_from_slice(fields);
        portal.ask("token", &all).await
    };
    assert_eq!(error(&redeem(&[]).await).1, "invalid_grant");
    assert_eq!(error(&redeem(&[("code_verifier", &VERIFIER.replace('d', "e"))]).await).1, "invalid_grant");
    let with_secret = [("code_verifier", VERIFIER), ("client_secret", CHALLENGE)];
    assert_eq!(error(&redeem(&with_secret).await), (400, "invalid_client".to_owned()));
    let given = redeem(&[("code_verifier", VERIFIER)]).await;
    assert_eq!(given.status, 200, "{given:?}");
    let given = given.json();
    let access = given["access_token"].as_str().unwrap();
    let told = Client::one(portal.address).get("/oauth2/userinfo", Some(access)).await;
    assert_eq!(told.json()["email"], ANNA);

    let (other, _) = portal.register(json!({})).await;
    let (_, again) = portal.browser().asks(&other, &[]).await;
    let query = Url::parse("http://x").unwrap().join(&again).unwrap();
    let request_uri = query.query_pairs().find(|(name, _)| name == "request_uri").unwrap().1.into_owned();
    let decide = |access: String| decided_by(&portal, access, request_uri.clone());
    assert_eq!(decide(access.to_owned()).await, Some("SCOPE_MISSING".to_owned()));
    // Nor does it in a cookie, as if it were the person's own.
    let mut thief = portal.browser();
    thief.cookies.insert("__Host-portal-access".to_owned(), access.to_owned());
    let page = thief.get(&again).await;
    assert!(!shows(&page, "Allow Newsletter?") && page.status != 303, "{}", text(&page));
    assert_eq!(decide(portal.sign_in(ANNA).await).await, None);
    portal.stop().await;
}

/// The reason why `access` may not approve a request, by gRPC at the gateway.
async fn decided_by(portal: &Portal, access: String, request_uri: String) -> Option<String> {
    use portal_proto::auth::v1::decide_authorization_request::Decision;
    use portal_proto::auth::v1::o_auth_service_client::OAuthServiceClient;
    let channel = crate::client::Channel::connect(portal.address).await;
    let message = portal_proto::auth::v1::DecideAuthorizationRequest {
        request_uri,
        decision: Decision::Approve.into(),
        ..Default::default()
    };
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {access}").parse().unwrap());
    let decided = OAuthServiceClient::new(channel).decide_authorization(request).await;
    decided.err().map(|status| portal_mesh::status::reason_of(&status).unwrap_or_default())
}

/// Who has a second factor is asked for it, and has no session before.
#[tokio::test]
async fn a_second_factor_is_asked_for() {
    let portal = Portal::start().await;
    let account = portal.sign_up(ANNA).await;
    let session = portal.sign_in(ANNA).await;
    let totp = format!("/v1/accounts/{account}/totp");
    let enrolled = portal.json(&format!("{totp}:enroll"), Some(&session), &json!({})).await;
    let secret = enrolled["secret"].as_str().unwrap();
    let confirm = json!({ "factorId": enrolled["factorId"], "code": portal.code(secret) });
    portal.json(&format!("{totp}:confirm"), Some(&session), &confirm).await;
    portal.advance(30);

    let (client, _) = portal.register(json!({})).await;
    let mut browser = portal.browser();
    let (page, again) = browser.asks(&client, &[]).await;
    let page = browser.sign_in(&page, ANNA).await;
    assert!(shows(&page, "One more step") && browser.cookies.is_empty(), "{}", text(&page));
    is_shielded(&page);
    let answer = async |browser: &mut Browser<'_>, code: &str| {
        let mut fields = hidden(&page);
        fields.push(("code".to_owned(), code.to_owned()));
        browser.post("/oauth2/second-factor", &borrowed(&fields)).await
    };
    for wrong in ["000000", "not-a-code", ""] {
        let refused = answer(&mut browser, wrong).await;
        assert!(matches!(refused.status, 400 | 401) && shows(&refused, "One more step"), "{wrong}");
        assert!(browser.cookies.is_empty(), "{wrong}");
    }
    let entered = answer(&mut browser, &format!(" {} ", portal.code(secret))).await;
    assert_eq!((entered.status, entered.header("location")), (303, again.as_str()));
    assert!(shows(&browser.get(&again).await, "Allow Newsletter?"));
    portal.stop().await;
}

/// The refresh token is spent when a page is answered: whatever the answer is, the browser gets the next.
#[tokio::test]
async fn a_renewed_session_is_kept_whatever_is_answered() {
    let portal = Portal::start().await;
    portal.sign_up(ANNA).await;
    let (client, _) = portal.register(json!({})).await;
    let mut browser = portal.browser();
    let page = browser.consent_page(&client, ANNA).await;
    browser.decide(&page, "/oauth2/consent", "approve").await;
    let before = browser.cookies.clone();
    portal.advance(16 * 60);
    assert_eq!(portal.sql("UPDATE client_approval SET scopes = 'openid'").await, 1);
    let (failed, _) = browser.asks(&client, &[]).await;
    assert_eq!(failed.status, 500, "{}", text(&failed));
    assert_ne!(browser.cookies["__Host-portal-refresh"], before["__Host-portal-refresh"]);
    assert_eq!(portal.sql("DELETE FROM client_approval").await, 1);
    portal.advance(11);
    let (page, _) = browser.asks(&client, &[]).await;
    assert!(shows(&page, "Allow Newsletter?"), "still signed in: {}", text(&page));
    portal.stop().await;
}

/// Whose session ended while the gateway still remembers its token is asked who they are.
#[tokio::test]
async fn who_is_signed_in_no_more_signs_in() {
    let portal = Portal::start().await;
    portal.sign_up(ANNA).await;
    let (client, _) = portal.register(json!({})).await;
    let mut browser = portal.browser();
    let consent = browser.consent_page(&client, ANNA).await;
    let access = browser.cookies["__Host-portal-access"].clone();
    assert!(portal.sql("DELETE FROM session").await > 0);
    let told = Client::one(portal.address).get("/oauth2/userinfo", Some(&access)).await;
    assert_eq!(told.status, 200, "the gateway remembers: {told:?}");
    let (page, _) = browser.asks(&client, &[]).await;
    assert_eq!((page.status, shows(&page, "Sign in")), (200, true), "{}", text(&page));
    let decided = browser.decide(&consent, "/oauth2/consent", "approve").await;
    assert_eq!((decided.status, shows(&decided, "Sign in")), (200, true), "{}", text(&decided));
    let out = browser.post("/oauth2/logout", &[]).await;
    assert!(shows(&out, "You are signed out") && browser.cookies.is_empty());
    portal.stop().await;
}

/// A page that was shown to one person is not answered by another who signed in to the browser meanwhile.
#[tokio::test]
async fn a_page_is_answered_by_whom_it_names() {
    let portal = Portal::start().await;
    portal.sign_up(ANNA).await;
    portal.sign_up(BERT).await;
    let (client, _) = portal.register(json!({})).await;
    let mut browser = portal.browser();
    let annas = browser.consent_page(&client, ANNA).await;
    assert!(text(&annas).contains(ANNA));
    browser.cookies.clear();
    let berts = browser.consent_page(&client, BERT).await;
    assert!(text(&berts).contains(BERT));
    for decision in ["approve", "deny"] {
        let refused = browser.decide(&annas, "/oauth2/consent", decision).await;
        let again = refused.header("location").to_owned();
        assert!(again.starts_with("/oauth2/authorize?"), "{refused:?}");
        let page = browser.get(&again).await;
        assert!(shows(&page, "Allow Newsletter?") && text(&page).contains(BERT));
    }
    let mut fields = hidden(&annas);
    fields.retain(|(name, _)| name != "account_id");
    fields.push(("decision".to_owned(), "approve".to_owned()));
    let unnamed = browser.post("/oauth2/consent", &borrowed(&fields)).await;
    assert!(unnamed.header("location").starts_with("/oauth2/authorize?"), "{unnamed:?}");
    let approved = browser.decide(&berts, "/oauth2/consent", "approve").await;
    assert!(approved.header("location").starts_with(CALLBACK));
    portal.stop().await;
}

/// RFC 7662, section 2.3: 401 however the client tried; elsewhere only who used the header is told of the header (RFC 6749,
/// section 5.2).
#[tokio::test]
async fn who_asks_about_tokens_proves_who_they_are() {
    let portal = Portal::start().await;
    let (client, secret) = portal.register(json!({})).await;
    let by_form = [("client_id", client.as_str()), ("client_secret", "x"), ("token", "y")];
    for (endpoint, status) in [("introspect", 401), ("revoke", 400), ("token", 400)] {
        let refused = portal.ask(endpoint, &by_form).await;
        assert_eq!(error(&refused), (status, "invalid_client".to_owned()), "{endpoint}");
        assert_eq!(refused.headers.contains_key("www-authenticate"), status == 401);
        let refused = portal.ask_with(endpoint, &[("token", "y")], Some((&client, "x"))).await;
        assert_eq!(error(&refused), (401, "invalid_client".to_owned()), "{endpoint}");
    }
    let twice = portal.ask_with("introspect", &by_form, Some((&client, &secret))).await;
    assert_eq!(error(&twice), (401, "invalid_client".to_owned()));
    let told = portal.ask_with("introspect", &[("token", "y")], Some((&client, &secret))).await;
    assert_eq!((told.status, told.json()), (200, json!({ "active": false })));
    portal.stop().await;
}
