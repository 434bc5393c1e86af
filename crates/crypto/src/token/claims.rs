//! What an access token says.

use std::str::FromStr;

use portal_core::id::{AccountId, Id, SessionId, SubjectId};
use portal_core::{Assurance, Role, Timestamp};
use serde_json::{Map, Value, json};

use super::{MAX_LIFE, TokenError};
use crate::strict_json;

/// How `cnf` names the holder.
const HOLDER: &str = "spiffe_id";

/// The claims of an access token; the JWT name of each stands in brackets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccessClaims {
    /// Who issued it (`iss`).
    pub issuer: String,
    /// Whom it is for (`aud`).
    pub audience: String,
    /// The account that acts (`sub`).
    pub subject: AccountId,
    /// The person whose data the account reaches (`subject_id`).
    pub subject_id: SubjectId,
    /// The client that the account acts through (`client_id`; RFC 9068 demands it).
    pub client_id: String,
    /// The session that it dies with (`sid`).
    pub session_id: SessionId,
    /// What the account may do (`roles`).
    pub roles: Vec<Role>,
    /// What the client may do (`scope`).
    pub scopes: Vec<Scope>,
    /// How sure one can be of the person (`acr`, `auth_time`, `second_factor`); nothing is known of it in tokens of earlier
    /// versions.
    pub assurance: Option<Assurance>,
    /// When it was issued (`iat`).
    pub issued_at: Timestamp,
    /// From when it is valid (`nbf`).
    pub not_before: Timestamp,
    /// From when it is no longer valid (`exp`).
    pub expires_at: Timestamp,
    /// Its own name (`jti`).
    pub token_id: String,
    /// The one workload that may present it, by its SPIFFE id (`cnf`, RFC 7800); whoever may present tokens if nobody is named.
    pub holder: Option<String>,
}

/// One scope: a word of printable ASCII (RFC 6749, section 3.3), so that a list of them reads back as written.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Scope(String);

/// The text is not a scope.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be 1 to 64 printable ASCII characters other than space, '\"' and '\\'")]
pub struct InvalidScope;

impl Scope {
    /// The scope as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        if text.is_empty() || text.len() > 64 || !text.bytes().all(allowed) {
            return Err(InvalidScope);
        }
        Ok(Self(text.to_owned()))
    }
}

impl AccessClaims {
    /// Refuses what [`super::verify`] would refuse whatever the time.
    pub(super) fn check(&self) -> Result<(), TokenError> {
        let named = [
            ("iss", &self.issuer),
            ("aud", &self.audience),
            ("client_id", &self.client_id),
            ("jti", &self.token_id),
        ];
        if let Some((name, _)) = named.into_iter().find(|(_, value)| value.is_empty()) {
            return Err(TokenError::Claim(name));
        }
        if self.expires_at < self.issued_at {
            return Err(TokenError::Expired);
        }
        if self.expires_at.since(self.issued_at) > MAX_LIFE {
            return Err(TokenError::LifeTooLong);
        }
        Ok(())
    }

    pub(super) fn to_json(&self) -> String {
        let mut claims = json!({
            "iss": self.issuer,
            "aud": self.audience,
            "sub": self.subject.to_string(),
            "subject_id": self.subject_id.to_string(),
            "client_id": self.client_id,
            "sid": self.session_id.to_string(),
            "roles": self.roles.iter().map(|role| role.name()).collect::<Vec<_>>(),
            "iat": self.issued_at.as_seconds(),
            "nbf": self.not_before.as_seconds(),
            "exp": self.expires_at.as_seconds(),
            "jti": self.token_id,
        });
        let Some(members) = claims.as_object_mut() else { return claims.to_string() };
        if let Some(holder) = &self.holder {
            members.insert("cnf".to_owned(), json!({ HOLDER: holder }));
        }
        if !self.scopes.is_empty() {
            let words: Vec<_> = self.scopes.iter().map(Scope::as_str).collect();
            members.insert("scope".to_owned(), words.join(" ").into());
        }
        if let Some(assurance) = &self.assurance {
            members.insert("acr".to_owned(), assurance.acr.name().into());
            members.insert("auth_time".to_owned(), assurance.authenticated_at.as_seconds().into());
            members.insert("second_factor".to_owned(), assurance.has_second_factor.into());
        }
        claims.to_string()
    }

    pub(super) fn from_json(bytes: &[u8]) -> Result<Self, TokenError> {
        let claims = Reader(strict_json::object(bytes)?);
        Ok(Self {
            issuer: claims.text("iss")?.to_owned(),
            audience: claims.text("aud")?.to_owned(),
            subject: claims.id("sub")?,
            subject_id: claims.id("subject_id")?,
            client_id: claims.text("client_id")?.to_owned(),
            session_id: claims.id("sid")?,
            roles: claims.roles()?,
            scopes: claims.scopes()?,
            assurance: claims.assurance()?,
            issued_at: claims.time("iat")?,
            not_before: claims.time("nbf")?,
            expires_at: claims.time("exp")?,
            token_id: claims.text("jti")?.to_owned(),
            holder: claims.holder()?,
        })
    }
}

/// Reads claims by name and shape.
struct Reader(Map<String, Value>);

impl Reader {
    fn text(&self, name: &'static str) -> Result<&str, TokenError> {
        let text = self.0.get(name).and_then(Value::as_str);
        text.filter(|text| !text.is_empty()).ok_or(TokenError::Claim(name))
    }

    fn id<T: Id>(&self, name: &'static str) -> Result<T, TokenError> {
        T::parse(self.text(name)?).map_err(|_| TokenError::Claim(name))
    }

    /// Who has to be the holder is not passed over when it is said in a way that is not known.
    fn holder(&self) -> Result<Option<String>, TokenError> {
        let Some(confirmation) = self.0.get("cnf") else { return Ok(None) };
        let members = confirmation.as_object().filter(|members| members.len() == 1);
        let holder = members.and_then(|members| members.get(HOLDER)?.as_str());
        let holder = holder.filter(|holder| !holder.is_empty()).ok_or(TokenError::Claim("cnf"))?;
        Ok(Some(holder.to_owned()))
    }

    fn time(&self, name: &'static str) -> Result<Timestamp, TokenError> {
        let seconds = self.0.get(name).and_then(Value::as_i64).ok_or(TokenError::Claim(name))?;
        Ok(Timestamp::from_seconds(seconds))
    }

    fn roles(&self) -> Result<Vec<Role>, TokenError> {
        let names = self.0.get("roles").and_then(Value::as_array).ok_or(TokenError::Claim("roles"))?;
        let role = |name: &Value| name.as_str()?.parse().ok();
        names.iter().map(role).collect::<Option<_>>().ok_or(TokenError::Claim("roles"))
    }

    fn assurance(&self) -> Result<Option<Assurance>, TokenError> {
        if !self.0.contains_key("acr") {
            return Ok(None);
        }
        let second_factor = self.0.get("second_factor").and_then(Value::as_bool);
        Ok(Some(Assurance {
            acr: self.text("acr")?.parse().map_err(|_| TokenError::Claim("acr"))?,
            authenticated_at: self.time("auth_time")?,
            has_second_factor: second_factor.ok_or(TokenError::Claim("second_factor"))?,
        }))
    }

    fn scopes(&self) -> Result<Vec<Scope>, TokenError> {
        if !self.0.contains_key("scope") {
            return Ok(Vec::new());
        }
        let scope = |word: &str| word.parse().map_err(|_| TokenError::Claim("scope"));
        self.text("scope")?.split(' ').map(scope).collect()
    }
}
