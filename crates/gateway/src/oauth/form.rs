//! Reads forms, queries and the credentials of clients.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use percent_encoding::percent_decode;
use portal_proto::auth::v1::ClientCredentials;

use crate::route::content_type;

/// Most parameters of a request.
const MAX_PARAMETERS: usize = 64;

/// Names and values, in the order in which they came.
pub(super) type Parameters = Vec<(String, String)>;

/// Why a form can't be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unusable {
    /// It is of another type.
    ContentType,
    /// It is not text in UTF-8, or too many parameters.
    Malformed,
    /// It is larger than any request of the protocols.
    TooLarge,
}

impl Unusable {
    pub(super) const fn description(self) -> &'static str {
        match self {
            Self::ContentType => "the content type must be application/x-www-form-urlencoded",
            Self::Malformed => "the parameters are not UTF-8, or more than 64",
            Self::TooLarge => "the form is too large, or broke off",
        }
    }
}

pub(super) fn is_form(headers: &HeaderMap) -> bool {
    content_type(headers) == "application/x-www-form-urlencoded"
}

/// The parameters of a form or a query.
pub(super) fn read(bytes: &[u8]) -> Result<Parameters, Unusable> {
    let pairs = bytes.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    let mut parameters = Vec::new();
    for pair in pairs {
        if parameters.len() == MAX_PARAMETERS {
            return Err(Unusable::Malformed);
        }
        let at = pair.iter().position(|byte| *byte == b'=');
        let (name, value) = at.map_or((pair, &[][..]), |at| {
            let (name, value) = pair.split_at(at);
            (name, value.get(1..).unwrap_or_default())
        });
        parameters.push((decode(name)?, decode(value)?));
    }
    Ok(parameters)
}

fn decode(bytes: &[u8]) -> Result<String, Unusable> {
    let spaced: Vec<u8> = bytes.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    percent_decode(&spaced).decode_utf8().map(Into::into).map_err(|_| Unusable::Malformed)
}

/// The value of the first parameter with this name.
pub(super) fn value<'a>(parameters: &'a Parameters, name: &str) -> &'a str {
    parameters.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value.as_str())
}

/// Who a client says it is, taken out of its request: by the `authorization` header or by parameters, and not by both (RFC
/// 6749, section 2.3). `None` if it says it twice, or in a way that is not known.
pub(super) fn credentials(headers: &HeaderMap, parameters: &mut Parameters) -> Option<ClientCredentials> {
    let mut taken = |name: &str| {
        let mut found = Vec::new();
        parameters.retain(|(parameter, value)| {
            let other = parameter != name;
            if !other {
                found.push(value.clone());
            }
            other
        });
        match found.len() {
            0 => Some(None),
            1 => Some(found.pop()),
            _ => None,
        }
    };
    let (id, secret) = (taken("client_id")?, taken("client_secret")?);
    let Some(header) = headers.get(header::AUTHORIZATION) else {
        let (client_id, client_secret) = (id.unwrap_or_default(), secret.unwrap_or_default());
        return Some(ClientCredentials { client_id, client_secret });
    };
    let basic = basic(header.as_bytes())?;
    let same = id.is_none_or(|id| id == basic.client_id);
    (same && secret.is_none()).then_some(basic)
}

/// RFC 7617, with both parts encoded as in a form (RFC 6749, section 2.3.1).
fn basic(header: &[u8]) -> Option<ClientCredentials> {
    let (scheme, encoded) = header.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = STANDARD.decode(encoded).ok()?;
    let at = decoded.iter().position(|byte| *byte == b':')?;
    let (id, secret) = decoded.split_at(at);
    let client_secret = decode(secret.get(1..).unwrap_or_default()).ok()?;
    Some(ClientCredentials { client_id: decode(id).ok()?, client_secret })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::HeaderValue;

    use super::*;

    #[test]
    fn forms_are_read_as_the_standard_writes_them() {
        let read = |text: &str| read(text.as_bytes());
        let pairs = read("a=b+c&&d=%C3%A9%26&e").unwrap();
        let expected = [("a", "b c"), ("d", "é&"), ("e", "")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(read("a=%ff"), Err(Unusable::Malformed));
        assert_eq!(read(&"a=b&".repeat(65)), Err(Unusable::Malformed));
    }

    #[test]
    fn a_client_says_once_who_it_is() {
        let header = |text: &str| {
            HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(text).unwrap())])
        };
        let take = |headers: &HeaderMap, form: &str| {
            let mut parameters = read(form.as_bytes()).unwrap();
            let found = credentials(headers, &mut parameters)?;
            assert!(parameters.iter().all(|(name, _)| !name.starts_with("client_")));
            Some((found.client_id, found.client_secret))
        };
        let both = |id: &str, secret: &str| Some((id.to_owned(), secret.to_owned()));
        let nothing = HeaderMap::new();
        assert_eq!(take(&nothing, "client_id=a&client_secret=s&code=x"), both("a", "s"));
        assert_eq!(take(&nothing, "client_id=a"), both("a", ""));
        assert_eq!(take(&nothing, "client_id=a&client_id=b"), None);
        // The example of RFC 6749, section 2.3.1.
        let basic = header("Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3");
        assert_eq!(take(&basic, "code=x"), both("s6BhdRkqt3", "7Fjfp0ZBr1KtDRbnfVdmIw"));
        assert_eq!(take(&basic, "client_id=s6BhdRkqt3"), both("s6BhdRkqt3", "7Fjfp0ZBr1KtDRbnfVdmIw"));
        assert_eq!(take(&basic, "client_id=other"), None);
        assert_eq!(take(&basic, "client_secret=s"), None);
        for bad in ["Bearer abc", "Basic", "Basic !", "Basic YQ=="] {
            assert_eq!(take(&header(bad), ""), None, "{bad}");
        }
    }
}
