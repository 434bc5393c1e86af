//! The session of a browser: its handles in cookies that no script reads, that no other host gets, and that only come back over
//! an encrypted connection or on the own machine (RFC 6265bis, section 4.1.3.2).
//!
//! `SameSite=Lax`: a browser that an application sends here shows whose it is, and a form of another site does not.

use std::sync::{Mutex, PoisonError};

use http::{HeaderMap, HeaderValue, header};
use portal_core::Timestamp;
use portal_mesh::convert::parse_timestamp;
use portal_proto::auth::v1::Session;

const ACCESS: &str = "__Host-portal-access";
const REFRESH: &str = "__Host-portal-refresh";
const ATTRIBUTES: &str = "Path=/; Secure; HttpOnly; SameSite=Lax";

/// The handles of a browser.
#[derive(Clone, Default)]
pub(crate) struct Handles {
    /// Its access token, while the browser keeps it.
    pub(crate) access: Option<String>,
    /// Its refresh token.
    pub(crate) refresh: Option<String>,
}

/// The session that a browser got while its request was answered. The refresh token of before is spent by then: whatever the
/// answer is in the end, it brings the new one.
#[derive(Default)]
pub(super) struct Renewal(Mutex<Option<Session>>);

impl Renewal {
    /// This is the browser's session from now on; `None`: it has none any more.
    pub(super) fn set(&self, session: Option<Session>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = session;
    }

    /// Keeps the session in the browser, if it is a new one.
    pub(super) fn tell(self, now: Timestamp, headers: &mut HeaderMap) {
        if let Some(session) = self.0.into_inner().unwrap_or_else(PoisonError::into_inner) {
            keep(&session, now, headers);
        }
    }
}

/// The handles in a request. A cookie that came twice was set by somebody else: then there is none.
pub(crate) fn read(headers: &HeaderMap) -> Handles {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let pairs: Vec<(&str, &str)> =
        all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('=')).collect();
    let one = |name| {
        let mut values = pairs.iter().filter(|(found, value)| *found == name && !value.is_empty());
        let first = values.next().map(|(_, value)| (*value).to_owned());
        first.filter(|_| values.next().is_none())
    };
    Handles { access: one(ACCESS), refresh: one(REFRESH) }
}

/// Keeps the handles of `session` in the browser: the access token as long as it lives, the refresh token as long as it lives if
/// the person wants to be remembered, and else until the browser is closed.
pub(crate) fn keep(session: &Session, now: Timestamp, headers: &mut HeaderMap) {
    let seconds = |time: Option<prost_types::Timestamp>| {
        let end = time.and_then(|time| parse_timestamp(time).ok()).unwrap_or(now);
        end.since(now).as_secs()
    };
    let access = seconds(session.access_expire_time);
    append(headers, &format!("{ACCESS}={}; {ATTRIBUTES}; Max-Age={access}", session.access_token));
    let lasting = if session.remember_me {
        format!("; Max-Age={}", seconds(session.refresh_expire_time))
    } else {
        String::new()
    };
    append(headers, &format!("{REFRESH}={}; {ATTRIBUTES}{lasting}", session.refresh_token));
}

/// Takes the handles from the browser.
pub(crate) fn forget(headers: &mut HeaderMap) {
    for name in [ACCESS, REFRESH] {
        append(headers, &format!("{name}=; {ATTRIBUTES}; Max-Age=0"));
    }
}

fn append(headers: &mut HeaderMap, cookie: &str) {
    if let Ok(mut value) = HeaderValue::try_from(cookie) {
        value.set_sensitive(true);
        headers.append(header::SET_COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_two_are_none() {
        let now = Timestamp::from_seconds(1_000);
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let session = Session {
            access_token: "A".to_owned(),
            access_expire_time: at(1_900),
            refresh_token: "R".to_owned(),
            refresh_expire_time: at(2_000_000),
            ..Session::default()
        };
        let mut kept = HeaderMap::new();
        keep(&session, now, &mut kept);
        let kept = kept.get_all(header::SET_COOKIE);
        let cookies: Vec<_> = kept.into_iter().filter_map(|value| value.to_str().ok()).collect();
        assert_eq!(
            cookies,
            [
                "__Host-portal-access=A; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=900",
                "__Host-portal-refresh=R; Path=/; Secure; HttpOnly; SameSite=Lax",
            ]
        );
        let sent = |text| HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_static(text))]);
        let handles = read(&sent("x=1; __Host-portal-access=A; __Host-portal-refresh=R"));
        assert_eq!((handles.access.as_deref(), handles.refresh.as_deref()), (Some("A"), Some("R")));
        let handles = read(&sent("__Host-portal-refresh=R; __Host-portal-refresh=S; portal-access=A"));
        assert_eq!((handles.access, handles.refresh), (None, None));
    }
}
