//! The page where people connect devices that have no browser, in front of a real auth.

use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::oauth::{Browser, Portal, borrowed, hidden, is_shielded, shows, text};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
const ANNA: &str = "anna@example.org";
const BERT: &str = "bert@example.org";

async fn television(portal: &Portal) -> String {
    let grant_types = [GRANT, "refresh_token"];
    let changes = json!({
        "displayName": "Tele & <b>vision</b>", "type": "TYPE_PUBLIC", "grantTypes": grant_types, "redirectUris": [],
    });
    portal.register(changes).await.0
}

async fn begin(portal: &Portal, client: &str) -> Value {
    let begun = portal.ask("device_authorization", &[("client_id", client), ("scope", "openid email")]).await;
    assert_eq!((begun.status, begun.header("cache-control")), (200, "no-store"), "{begun:?}");
    begun.json()
}

async fn poll(portal: &Portal, client: &str, begun: &Value) -> (u16, Value) {
    let code = begun["device_code"].as_str().unwrap();
    let polled =
        portal.ask("token", &[("client_id", client), ("grant_type", GRANT), ("device_code", code)]).await;
    (polled.status, polled.json())
}

async fn told(portal: &Portal, client: &str, begun: &Value) -> String {
    let (status, told) = poll(portal, client, begun).await;
    assert_eq!(status, 400, "{told}");
    told["error"].as_str().unwrap().to_owned()
}

/// The path and query of an address of the portal.
fn path(uri: &Value) -> String {
    let uri: http::Uri = uri.as_str().unwrap().parse().unwrap();
    uri.path_and_query().unwrap().to_string()
}

/// Types a code on the page that asks for one.
async fn type_code(browser: &mut Browser<'_>, code: &str) -> Answer {
    browser.post("/oauth2/device", &[("user_code", code)]).await
}

/// An address brings the code through the sign-in to a page that wants it compared; nothing is decided before the person says so.
#[tokio::test]
async fn a_person_connects_a_device() {
    let portal = Portal::start().await;
    portal.sign_up(ANNA).await;
    let client = television(&portal).await;
    let document = Client::one(portal.address()).get("/.well-known/openid-configuration", None).await.json();
    assert!(document["grant_types_supported"].as_array().unwrap().contains(&json!(GRANT)));
    assert!(
        document["device_authorization_endpoint"].as_str().unwrap().ends_with("/oauth2/device_authorization")
    );
    let begun = begin(&portal, &client).await;
    let code = begun["user_code"].as_str().unwrap();
    assert_eq!((&begun["expires_in"], &begun["interval"]), (&json!(600), &json!(5)));
    let complete = path(&begun["verification_uri_complete"]);
    assert_eq!(complete, format!("{}?user_code={code}", path(&begun["verification_uri"])));

    let mut browser = portal.browser();
    let sign_in = browser.get(&complete).await;
    assert!(shows(&sign_in, "Sign in") && text(&sign_in).contains("to connect a device"));
    is_shielded(&sign_in);
    let entered = browser.sign_in(&sign_in, ANNA).await;
    assert_eq!(entered.status, 303, "{}", text(&entered));
    let compare = browser.get(entered.header("location")).await;
    assert!(shows(&compare, "Connect a device") && text(&compare).contains(&format!("value=\"{code}\"")));
    assert!(text(&compare).contains("Compare"));
    is_shielded(&compare);
    let consent = type_code(&mut browser, code).await;
    assert!(shows(&consent, "Allow Tele &amp; &lt;b&gt;vision&lt;/b&gt;?"), "{}", text(&consent));
    assert!(
        text(&consent).contains("in front of you")
            && text(&consent).contains(code)
            && text(&consent).contains(ANNA)
    );
    is_shielded(&consent);
    assert_eq!(told(&portal, &client, &begun).await, "authorization_pending");
    assert_eq!(told(&portal, &client, &begun).await, "slow_down");
    let connected = browser.decide(&consent, "/oauth2/device", "approve").await;
    assert!(shows(&connected, "The device is connected"), "{}", text(&connected));
    let (status, given) = poll(&portal, &client, &begun).await;
    assert_eq!((status, &given["token_type"]), (200, &json!("Bearer")), "{given}");
    let info = Client::one(portal.address()).get("/oauth2/userinfo", given["access_token"].as_str()).await;
    assert_eq!(info.json()["email"], ANNA);
    let (status, repeated) = poll(&portal, &client, &begun).await;
    assert_eq!(
        (status, &repeated["access_token"]),
        (200, &given["access_token"]),
        "the reply may have been lost"
    );
    portal.advance(11);
    assert_eq!(told(&portal, &client, &begun).await, "invalid_grant");
    let again = browser.decide(&consent, "/oauth2/device", "approve").await;
    assert_eq!((again.status, shows(&again, "Connect a device")), (400, true));
    portal.stop().await;
}

/// A refusal reaches the device; neither answer decides nothing; a code of nobody is said to be one, in the same way as one of
/// another shape.
#[tokio::test]
async fn a_device_is_refused() {
    let portal = Portal::start().await;
    portal.sign_up(ANNA).await;
    let client = television(&portal).await;
    let begun = begin(&portal, &client).await;
    let mut browser = portal.browser();
    let sign_in = browser.get("/oauth2/device").await;
    let entered = browser.sign_in(&sign_in, ANNA).await;
    assert_eq!(entered.header("location"), "/oauth2/device");
    let asked = browser.get("/oauth2/device").await;
    assert!(text(&asked).contains("Enter the code"));
    let unknown = type_code(&mut browser, "BBBB-BBBB").await;
    let malformed = type_code(&mut browser, "<script>").await;
    assert_eq!((unknown.status, &unknown.body), (400, &malformed.body));
    let code = begun["user_code"].as_str().unwrap().to_lowercase().replace('-', "");
    let consent = type_code(&mut browser, &code).await;
    let undecided = browser.decide(&consent, "/oauth2/device", "maybe").await;
    assert_eq!(undecided.status, 400);
    assert_eq!(told(&portal, &client, &begun).await, "authorization_pending");
    assert!(shows(&browser.decide(&consent, "/oauth2/device", "deny").await, "Refused"));
    assert_eq!(told(&portal, &client, &begun).await, "access_denied");
    portal.stop().await;
}

/// Who types codes that no device shows is not answered for a while; nobody types any before they have signed in.
#[tokio::test]
async fn codes_are_not_guessed() {
    let portal = Portal::start().await;
    portal.sign_up(ANNA).await;
    let client = television(&portal).await;
    let begun = begin(&portal, &client).await;
    let code = begun["user_code"].as_str().unwrap();
    let mut browser = portal.browser();
    for code in [code, "BBBB-BBBB"] {
        assert!(
            shows(&type_code(&mut browser, code).await, "Sign in"),
            "whether a device shows it is not told"
        );
    }
    let sign_in = browser.get("/oauth2/device").await;
    browser.sign_in(&sign_in, ANNA).await;
    for _ in 0..5 {
        assert_eq!(type_code(&mut browser, "BBBB-BBBB").await.status, 400);
    }
    let locked = type_code(&mut browser, code).await;
    assert_eq!((locked.status, shows(&locked, "Connect a device")), (429, true));
    portal.advance(60);
    assert!(text(&type_code(&mut browser, code).await).contains("in front of you"));
    portal.stop().await;
}

/// As on the pages of applications: whom a page names decides, and a form comes from Portal's own.
#[tokio::test]
async fn a_page_is_answered_by_whom_it_names() {
    let portal = Portal::start().await;
    portal.sign_up(ANNA).await;
    portal.sign_up(BERT).await;
    let client = television(&portal).await;
    let begun = begin(&portal, &client).await;
    let code = begun["user_code"].as_str().unwrap();
    let mut browser = portal.browser();
    let sign_in = browser.get("/oauth2/device").await;
    browser.sign_in(&sign_in, ANNA).await;
    let annas = type_code(&mut browser, code).await;
    browser.cookies.clear();
    let sign_in = browser.get("/oauth2/device").await;
    browser.sign_in(&sign_in, BERT).await;
    let shown = browser.decide(&annas, "/oauth2/device", "approve").await;
    assert!(text(&shown).contains(BERT) && text(&shown).contains("in front of you"), "{}", text(&shown));
    let mut fields = hidden(&annas);
    fields.retain(|(name, _)| name != "account_id");
    fields.push(("decision".to_owned(), "approve".to_owned()));
    let unnamed = browser.post("/oauth2/device", &borrowed(&fields)).await;
    assert!(text(&unnamed).contains("in front of you"));
    assert_eq!(told(&portal, &client, &begun).await, "authorization_pending");
    let head = Request::head("/oauth2/device").body(Full::default()).unwrap();
    let refused = Client::one(portal.address()).send(head).await;
    assert_eq!((refused.status, refused.header("allow")), (405, "GET, POST"));
    portal.stop().await;
}
