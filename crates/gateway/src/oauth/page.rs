//! The pages that people see on their way to an application: plain HTML, readable without style, without a script.

use std::fmt::Write;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use portal_core::Scope;
use portal_crypto::hash::sha256;
use portal_proto::auth::v1 as pb;
use tonic::body::Body;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8a8f98;--main:#1f4fbf;--bad:#b3261e}\
*{box-sizing:border-box}\
body{margin:0;min-height:100vh;display:grid;place-items:center;font:1rem/1.5 system-ui,sans-serif;padding:1rem}\
main{width:100%;max-width:26rem}\
h1{font-size:1.5rem;line-height:1.25;margin:0 0 1rem}\
label{display:block;margin:1rem 0 .25rem;font-weight:600}\
input:not([type=checkbox]){width:100%;font:inherit;padding:.6rem;border:1px solid var(--line);border-radius:.4rem}\
.check{display:flex;gap:.5rem;align-items:center;font-weight:400}\
button{font:inherit;font-weight:600;padding:.65rem 1rem;border-radius:.4rem;border:1px solid var(--main);cursor:pointer}\
.main{background:var(--main);color:#fff}.plain{background:transparent;color:inherit;border-color:var(--line)}\
.actions{display:flex;gap:.75rem;margin-top:1.5rem}.actions button{flex:1}\
pre{white-space:pre-wrap;overflow-wrap:anywhere;border:1px solid var(--line);border-radius:.4rem;padding:.8rem}\
ul{padding-left:1.2rem}li{margin:.35rem 0}\
[role=alert],[role=note]{border:2px solid var(--bad);border-radius:.4rem;padding:.6rem .8rem}\
small{display:block;margin-top:1.5rem;opacity:.8}\
:focus-visible{outline:3px solid var(--main);outline-offset:2px}";

/// The style in the form of a content security policy.
static STYLE_HASH: LazyLock<String> = LazyLock::new(|| STANDARD.encode(sha256(STYLE.as_bytes())));

/// Why somebody is asked again.
pub(super) type Problem<'a> = (StatusCode, &'a str);

/// What carries a person from page to page.
#[derive(Clone, Copy)]
pub(super) enum About<'a> {
    /// The request of an application.
    Application(Application<'a>),
    /// The code of a device, if they have typed one.
    Device(&'a str),
}

/// The field that carries such a code through a sign-in.
pub(super) const DEVICE: &str = "device";

/// A request of an application.
#[derive(Clone, Copy)]
pub(super) struct Application<'a> {
    /// Its reference.
    pub(super) request_uri: &'a str,
    /// The client that asks.
    pub(super) client_id: &'a str,
    /// The client's name.
    pub(super) client: &'a str,
    /// Where a form may lead in the end.
    pub(super) redirect_uri: &'a str,
}

/// Text as it is written in HTML.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// The scheme, host and port of a URI, as a content security policy names them.
fn origin(uri: &str) -> Option<String> {
    let uri: http::Uri = uri.parse().ok()?;
    Some(format!("{}://{}", uri.scheme_str()?, uri.authority()?))
}

/// A page. Browsers hold a form to the policy until its last redirect, so that names where this may end.
pub(crate) fn page(status: StatusCode, title: &str, body: &str, leads_to: Option<&str>) -> Response<Body> {
    let title = escaped(title);
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head><body><main><h1>{title}</h1>{body}</main></body></html>"
    );
    let leads_to = leads_to.and_then(origin).map(|origin| format!(" {origin}")).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'self'{leads_to}; \
         frame-ancestors 'none'",
        *STYLE_HASH
    );
    let mut response = Response::new(Body::new(Full::from(html)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.extend(HeaderValue::try_from(policy).map(|policy| (header::CONTENT_SECURITY_POLICY, policy)));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    let opener = HeaderName::from_static("cross-origin-opener-policy");
    headers.insert(opener, HeaderValue::from_static("same-origin"));
    response
}

fn hidden(name: &str, value: &str) -> String {
    format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escaped(value))
}

impl<'a> About<'a> {
    fn hidden(self) -> String {
        match self {
            Self::Application(application) => application.hidden(),
            Self::Device(code) => hidden(DEVICE, code),
        }
    }

    fn leads_to(self) -> Option<&'a str> {
        match self {
            Self::Application(application) => Some(application.redirect_uri),
            Self::Device(_) => None,
        }
    }

    /// What signing in is good for, as HTML.
    fn purpose(self) -> String {
        match self {
            Self::Application(Application { client, .. }) => {
                format!("to continue to <strong>{}</strong>", escaped(client))
            }
            Self::Device(_) => "to connect a device".to_owned(),
        }
    }
}

impl Application<'_> {
    fn hidden(self) -> String {
        hidden("request_uri", self.request_uri) + &hidden("client_id", self.client_id)
    }
}

fn alert(problem: Option<&str>) -> String {
    problem.map(|problem| format!("<p role=\"alert\">{}</p>", escaped(problem))).unwrap_or_default()
}

/// Asks who somebody is; `problem` says why again.
pub(super) fn sign_in(about: About<'_>, problem: Option<Problem<'_>>) -> Response<Body> {
    let body = format!(
        "{alert}<p>{purpose}</p>\
         <form method=\"post\" action=\"/oauth2/sign-in\">{hidden}\
         <label for=\"email\">E-mail address</label>\
         <input id=\"email\" name=\"email\" type=\"email\" autocomplete=\"username\" required autofocus>\
         <label for=\"password\">Password</label>\
         <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"current-password\" required>\
         <label class=\"check\"><input type=\"checkbox\" name=\"remember_me\" value=\"yes\"> Keep me signed in</label>\
         <div class=\"actions\"><button class=\"main\">Sign in</button></div></form>",
        alert = alert(problem.map(|(_, problem)| problem)),
        purpose = about.purpose(),
        hidden = about.hidden(),
    );
    let status = problem.map_or(StatusCode::OK, |(status, _)| status);
    page(status, "Sign in", &body, about.leads_to())
}

/// Asks for a second factor.
pub(super) fn second_factor(
    about: About<'_>,
    challenge: &str,
    problem: Option<Problem<'_>>,
) -> Response<Body> {
    let body = format!(
        "{alert}<p>Enter the code of your authenticator, or one of your recovery codes.</p>\
         <form method=\"post\" action=\"/oauth2/second-factor\">{hidden}\
         <input type=\"hidden\" name=\"challenge\" value=\"{challenge}\">\
         <label for=\"code\">Code</label>\
         <input id=\"code\" name=\"code\" autocomplete=\"one-time-code\" required autofocus>\
         <div class=\"actions\"><button class=\"main\">Continue</button></div></form>",
        alert = alert(problem.map(|(_, problem)| problem)),
        hidden = about.hidden(),
        challenge = escaped(challenge),
    );
    let status = problem.map_or(StatusCode::OK, |(status, _)| status);
    page(status, "One more step", &body, about.leads_to())
}

/// What scopes mean, as the items of a list.
fn wanted(scopes: &[String]) -> String {
    let mut wanted = String::new();
    for scope in scopes.iter().filter_map(|name| name.parse::<Scope>().ok()) {
        // Writing to a string does not fail.
        let _ = write!(wanted, "<li>{}</li>", escaped(scope.meaning()));
    }
    wanted
}

const CHOICE: &str = "<div class=\"actions\">\
    <button class=\"plain\" name=\"decision\" value=\"deny\">Refuse</button>\
    <button class=\"main\" name=\"decision\" value=\"approve\">Allow</button></div>";

/// Asks `person`, who is signed in, whether a client may have what it wants.
pub(super) fn consent(
    application: Application<'_>,
    scopes: &[String],
    person: &pb::UserInfo,
) -> Response<Body> {
    let Application { client, redirect_uri, .. } = application;
    let body = format!(
        "<p><strong>{client}</strong> at {host} would like to:</p><ul>{wanted}</ul>\
         <form method=\"post\" action=\"/oauth2/consent\">{hidden}{account}{CHOICE}</form>\
         <small>You are signed in as {email}. You can end this access at any time: it is listed with your sessions.</small>",
        client = escaped(client),
        host = escaped(&origin(redirect_uri).unwrap_or_default()),
        wanted = wanted(scopes),
        hidden = application.hidden(),
        account = hidden("account_id", &person.sub),
        email = escaped(&person.email),
    );
    page(StatusCode::OK, &format!("Allow {client}?"), &body, Some(redirect_uri))
}

/// Asks for the code that a device shows; one that an address brought along is shown to be compared.
pub(super) fn device(code: &str, problem: Option<Problem<'_>>) -> Response<Body> {
    let ask = if code.is_empty() {
        "Enter the code that your device shows."
    } else {
        "Compare: does the device in front of you show this very code? If not, close this page."
    };
    let body = format!(
        "{alert}<p>{ask}</p><form method=\"post\" action=\"/oauth2/device\">\
         <label for=\"user_code\">Code</label>\
         <input id=\"user_code\" name=\"user_code\" value=\"{code}\" maxlength=\"32\" autocomplete=\"off\" \
         autocapitalize=\"characters\" spellcheck=\"false\" required autofocus>\
         <div class=\"actions\"><button class=\"main\">Continue</button></div></form>",
        alert = alert(problem.map(|(_, problem)| problem)),
        code = escaped(code),
    );
    let status = problem.map_or(StatusCode::OK, |(status, _)| status);
    page(status, "Connect a device", &body, None)
}

/// Asks `person`, who is signed in, whether the device that shows a code may have what it wants.
pub(super) fn device_consent(device: &pb::DeviceAuthorization, person: &pb::UserInfo) -> Response<Body> {
    let client = &device.client_display_name;
    let body = format!(
        "<p><strong>{client}</strong> on the device that shows <strong>{code}</strong> would like to:</p><ul>{wanted}</ul>\
         <p role=\"note\">Allow this only if that device is in front of you and you started this there yourself. \
         Whoever sent you a code or a link would get your data.</p>\
         <form method=\"post\" action=\"/oauth2/device\">{hidden}{account}{CHOICE}</form>\
         <small>You are signed in as {email}. You can end this access at any time: it is listed with your sessions.</small>",
        client = escaped(client),
        code = escaped(&device.user_code),
        wanted = wanted(&device.scopes),
        hidden = hidden("user_code", &device.user_code),
        account = hidden("account_id", &person.sub),
        email = escaped(&person.email),
    );
    page(StatusCode::OK, &format!("Allow {client}?"), &body, None)
}

/// Asks whether somebody really wants to sign out: any site may have sent them.
pub(super) fn sign_out(fields: &[(&str, &str)], leads_to: &str) -> Response<Body> {
    let hidden: String = fields.iter().map(|(name, value)| hidden(name, value)).collect();
    let body = format!(
        "<p>You will be signed out of Portal in this browser.</p>\
         <form method=\"post\" action=\"/oauth2/logout\">{hidden}\
         <div class=\"actions\"><button class=\"main\">Sign out</button></div></form>"
    );
    page(StatusCode::OK, "Sign out?", &body, Some(leads_to))
}

/// Says something, and what to do next.
pub(crate) fn message(status: StatusCode, title: &str, text: &str) -> Response<Body> {
    page(status, title, &format!("<p>{}</p>", escaped(text)), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_stays_text() {
        assert_eq!(escaped(r#"<a href='x'>"&"#), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;");
        assert_eq!(origin("https://a.example:1/cb?x=1"), Some("https://a.example:1".to_owned()));
        assert_eq!(origin("x"), None);
    }
}
