//! An OAuth client: an application or a service that holds tokens.
//!
//! Invariants: a public client has no secret, a confidential one always has; what a client may ask for never contradicts
//! itself; a URI of a client is compared byte for byte.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use portal_core::id::ClientId;
use portal_core::{Invalid, Scope, Timestamp};
use portal_crypto::jose::Algorithm;
use url::{Host, Url};

use super::account::{Etag, EtagMismatch};
use super::{Handle, HandleHash, HandleKey, ProofKey};

const MAX_DISPLAY_NAME: usize = 200;
const MAX_URI: usize = 2_000;
const MAX_URIS: usize = 20;
/// The longest time that a secret lives on beside its successor.
pub const MAX_OVERLAP: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A way to get tokens; the name is the `grant_type` of a token request.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum GrantType {
    /// With a code that a person's browser brought (RFC 6749, section 4.1), always with PKCE.
    AuthorizationCode,
    /// For itself (section 4.4).
    ClientCredentials,
    /// With a code that a device showed to a person, who approved in a browser elsewhere (RFC 8628).
    DeviceCode,
    /// With a refresh token (section 6).
    RefreshToken,
}

impl GrantType {
    /// Every one.
    pub const ALL: [Self; 4] =
        [Self::AuthorizationCode, Self::ClientCredentials, Self::DeviceCode, Self::RefreshToken];

    /// The name in messages and requests.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::ClientCredentials => "client_credentials",
            Self::DeviceCode => "urn:ietf:params:oauth:grant-type:device_code",
            Self::RefreshToken => "refresh_token",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant| grant.name() == name)
    }
}

/// How ID tokens may be signed: the first, unless the client knows no other.
pub const ID_TOKEN_ALGORITHMS: [Algorithm; 3] = [Algorithm::MlDsa65, Algorithm::Es256, Algorithm::EdDsa];

/// Whether a client can keep a secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientKind {
    /// It can: a server.
    Confidential,
    /// It can't: an application on somebody's device.
    Public,
}

/// What is registered of a client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientSettings {
    /// Whether it keeps a secret.
    pub kind: ClientKind,
    /// The name that people are shown.
    pub display_name: String,
    /// How it gets tokens.
    pub grant_types: BTreeSet<GrantType>,
    /// Where browsers may be sent with a code.
    pub redirect_uris: Vec<String>,
    /// Where browsers may be sent after they signed out.
    pub post_logout_redirect_uris: Vec<String>,
    /// What it may ask for.
    pub scopes: BTreeSet<Scope>,
    /// How its ID tokens are signed.
    pub id_token_algorithm: Algorithm,
    /// Whether it must push its authorization requests.
    pub require_par: bool,
    /// What is registered beside that.
    pub options: ClientOptions,
}

/// What is registered of a client beside its settings.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClientOptions {
    /// Where it is told that somebody is signed out; nowhere without.
    pub backchannel_logout_uri: Option<String>,
    /// Whether it must be told of which session. It always is.
    pub backchannel_logout_session_required: bool,
    /// Whether what it gets must be bound to a key (RFC 9449).
    pub require_dpop: bool,
}

impl ClientSettings {
    /// Adds to `invalid` what contradicts itself or can't be used safely.
    pub fn check(&self, invalid: &mut Invalid) {
        let length = self.display_name.chars().count();
        if length == 0 || length > MAX_DISPLAY_NAME {
            invalid.add("client.display_name", "must have 1 to 200 characters");
        }
        let has = |grant| self.grant_types.contains(&grant);
        if self.grant_types.is_empty() {
            invalid.add("client.grant_types", "must name one at least");
        }
        if has(GrantType::ClientCredentials) && self.kind == ClientKind::Public {
            invalid.add("client.grant_types", "client_credentials takes a client that keeps a secret");
        }
        let of_people = has(GrantType::AuthorizationCode) || has(GrantType::DeviceCode);
        if has(GrantType::RefreshToken) && !of_people {
            invalid
                .add("client.grant_types", "refresh_token takes authorization_code or device_code as well");
        }
        if has(GrantType::AuthorizationCode) == self.redirect_uris.is_empty() {
            let problem = "must be given for authorization_code, and for nothing else";
            invalid.add("client.redirect_uris", problem);
        }
        if self.scopes.is_empty() {
            invalid.add("client.scopes", "must name one at least");
        }
        if self.scopes.contains(&Scope::OfflineAccess) && !has(GrantType::RefreshToken) {
            invalid.add("client.scopes", "offline_access takes the grant type refresh_token");
        }
        check_uris(invalid, "client.redirect_uris", &self.redirect_uris);
        check_uris(invalid, "client.post_logout_redirect_uris", &self.post_logout_redirect_uris);
        self.options.check(&self.scopes, invalid);
    }
}

impl ClientOptions {
    fn check(&self, scopes: &BTreeSet<Scope>, invalid: &mut Invalid) {
        let field = "client.backchannel_logout_uri";
        match self.backchannel_logout_uri.as_deref().map(check_uri) {
            Some(Err(problem)) => invalid.add(field, problem),
            Some(Ok(())) if !scopes.contains(&Scope::OpenId) => {
                invalid.add(field, "takes the scope openid: nobody is signed in without it");
            }
            None if self.backchannel_logout_session_required => {
                let problem = "takes client.backchannel_logout_uri";
                invalid.add("client.backchannel_logout_session_required", problem);
            }
            Some(Ok(())) | None => {}
        }
    }
}

fn check_uris(invalid: &mut Invalid, field: &str, uris: &[String]) {
    if uris.len() > MAX_URIS {
        invalid.add(field, "must be 20 at most");
    }
    for (index, uri) in uris.iter().enumerate() {
        if let Err(problem) = check_uri(uri) {
            invalid.add(&format!("{field}[{index}]"), problem);
        }
    }
}

/// RFC 9700, section 2.1, and RFC 8252: encrypted, or on the person's own machine.
fn check_uri(uri: &str) -> Result<(), &'static str> {
    if uri.len() > MAX_URI || !uri.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("must be at most 2,000 printable ASCII characters");
    }
    let url = Url::parse(uri).map_err(|_| "must be an absolute URI")?;
    if uri.contains('#') || !url.username().is_empty() || url.password().is_some() {
        return Err("must have neither a fragment nor a user");
    }
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => return Err("must name a host"),
    };
    match url.scheme() {
        "https" => Ok(()),
        "http" if loopback => Ok(()),
        _ => Err("must be https, or http on loopback"),
    }
}

/// The secrets of a confidential client, as they are stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Secrets {
    /// The one in force.
    pub current: HandleHash,
    /// The one before, and when it ends.
    pub previous: Option<(HandleHash, Timestamp)>,
}

/// A client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Client {
    /// Its id.
    pub id: ClientId,
    /// What is registered.
    pub settings: ClientSettings,
    /// Its secrets; `None` for a public one.
    pub secrets: Option<Secrets>,
    /// Counts its changes, from 1.
    pub revision: i64,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A public client has no secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a public client has no secret")]
pub struct NoSecret;

impl Client {
    /// A new client; `secret` is used if it keeps one.
    #[must_use]
    pub fn register(id: ClientId, settings: ClientSettings, secret: HandleHash, now: Timestamp) -> Self {
        let confidential = settings.kind == ClientKind::Confidential;
        let secrets = confidential.then_some(Secrets { current: secret, previous: None });
        Self { id, settings, secrets, revision: 1, created_at: now, updated_at: now }
    }

    /// Its version, for callers.
    #[must_use]
    pub fn etag(&self) -> Etag {
        Etag(self.revision.to_string())
    }

    /// Refuses if the caller has read another version.
    ///
    /// # Errors
    /// [`EtagMismatch`].
    pub fn check_etag(&self, read: Option<&Etag>) -> Result<(), EtagMismatch> {
        if read.is_some_and(|read| *read != self.etag()) { Err(EtagMismatch) } else { Ok(()) }
    }

    /// The client with a new secret; the one of now lives on for `overlap`.
    ///
    /// # Errors
    /// [`NoSecret`].
    pub fn with_secret(
        self,
        secret: HandleHash,
        overlap: Duration,
        now: Timestamp,
    ) -> Result<Self, NoSecret> {
        let Secrets { current, .. } = self.secrets.ok_or(NoSecret)?;
        let previous = (!overlap.is_zero()).then(|| (current, now.plus(overlap)));
        let secrets = Some(Secrets { current: secret, previous });
        Ok(Self { secrets, revision: self.revision + 1, updated_at: now, ..self })
    }

    /// Whether the client is who it says: by its secret if it keeps one, and without one if not.
    #[must_use]
    pub fn is_proven_by(&self, secret: Option<&Handle>, key: &HandleKey, now: Timestamp) -> bool {
        match (&self.secrets, secret) {
            (None, None) => true,
            (None, Some(_)) | (Some(_), None) => false,
            (Some(secrets), Some(secret)) => {
                let hash = key.client_secret_hash(secret);
                let before = secrets.previous.filter(|(_, end)| *end > now).map(|(hash, _)| hash);
                hash == secrets.current || Some(hash) == before
            }
        }
    }

    /// Whether another program on the person's machine could pass for this client at `redirect_uri`: it proves nothing, and any
    /// program may listen there.
    #[must_use]
    pub fn can_be_posed_as(&self, redirect_uri: &str) -> bool {
        self.settings.kind == ClientKind::Public && redirect_uri.starts_with("http:")
    }

    /// Whether it may refresh tokens that are bound to `bound` by proving `proven`: with none they are refreshed by none, and by a
    /// client that keeps no secret with their own alone (RFC 9449, section 5).
    #[must_use]
    pub fn may_refresh(&self, bound: Option<ProofKey>, proven: Option<ProofKey>) -> bool {
        match bound {
            None => true,
            Some(_) if self.secrets.is_some() => proven.is_some(),
            Some(_) => proven == bound,
        }
    }

    /// Whether it may get tokens this way.
    #[must_use]
    pub fn may(&self, grant: GrantType) -> bool {
        self.settings.grant_types.contains(&grant)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use portal_core::SeededEntropy;
    use portal_core::id::Id;
    use portal_crypto::kdf::ServiceSecret;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_000);

    fn settings(kind: ClientKind) -> ClientSettings {
        ClientSettings {
            kind,
            display_name: "Newsletter".to_owned(),
            grant_types: BTreeSet::from([GrantType::AuthorizationCode]),
            redirect_uris: vec!["https://news.example.org/callback".to_owned()],
            post_logout_redirect_uris: Vec::new(),
            scopes: BTreeSet::from([Scope::OpenId]),
            id_token_algorithm: Algorithm::MlDsa65,
            require_par: false,
            options: ClientOptions::default(),
        }
    }

    fn problems(settings: &ClientSettings) -> Vec<String> {
        let mut invalid = Invalid::new();
        settings.check(&mut invalid);
        match invalid.finish(Some(())) {
            Ok(()) => Vec::new(),
            Err(invalid) => invalid.violations().iter().map(|violation| violation.field.clone()).collect(),
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused_by_field() {
        let good = settings(ClientKind::Public);
        assert_eq!(problems(&good), Vec::<String>::new());
        let with = |change: &dyn Fn(&mut ClientSettings)| {
            let mut changed = good.clone();
            change(&mut changed);
            problems(&changed)
        };
        assert_eq!(with(&|it| it.display_name.clear()), ["client.display_name"]);
        assert_eq!(with(&|it| it.redirect_uris.clear()), ["client.redirect_uris"]);
        assert_eq!(with(&|it| it.scopes.clear()), ["client.scopes"]);
        assert_eq!(with(&|it| it.scopes.extend([Scope::OfflineAccess])), ["client.scopes"]);
        let credentials = |it: &mut ClientSettings| it.grant_types.extend([GrantType::ClientCredentials]);
        assert_eq!(with(&credentials), ["client.grant_types"]);
        let told_at = |uri: &str| Some(uri.to_owned());
        let uri =
            |it: &mut ClientSettings| it.options.backchannel_logout_uri = told_at("http://news.example.org/");
        assert_eq!(with(&uri), ["client.backchannel_logout_uri"]);
        let uri = |it: &mut ClientSettings| {
            it.options.backchannel_logout_uri = told_at("https://news.example.org/out");
            it.scopes = BTreeSet::from([Scope::ConsentRead]);
        };
        assert_eq!(with(&uri), ["client.backchannel_logout_uri"]);
        let session = |it: &mut ClientSettings| it.options.backchannel_logout_session_required = true;
        assert_eq!(with(&session), ["client.backchannel_logout_session_required"]);
        for uri in [
            "http://news.example.org/",
            "https://news.example.org/#part",
            "https://user@news.example.org/",
            "javascript:alert(1)",
            "com.example.app:/callback",
            "/relative",
            "https://news.example.org/a b",
            "",
        ] {
            let refused = with(&|it| it.redirect_uris.push(uri.to_owned()));
            assert_eq!(refused, ["client.redirect_uris[1]"], "{uri}");
        }
        for uri in
            ["http://127.0.0.1:4000/cb", "http://[::1]/cb", "http://localhost/cb", "https://a.example/?x=1"]
        {
            assert!(with(&|it| it.redirect_uris.push(uri.to_owned())).is_empty(), "{uri}");
        }
    }

    #[test]
    fn a_secret_proves_its_client_until_its_overlap_ends() {
        let key = HandleKey::new(&ServiceSecret::new(&[7; 32]));
        let entropy = SeededEntropy::new(1);
        let (first, second) = (Handle::generate(&entropy), Handle::generate(&entropy));
        let id = ClientId::generate(NOW, &entropy);
        let hash = |secret| key.client_secret_hash(secret);
        let client = Client::register(id, settings(ClientKind::Confidential), hash(&first), NOW);
        let proven = |client: &Client, secret, seconds| {
            client.is_proven_by(secret, &key, NOW.plus(Duration::from_secs(seconds)))
        };
        assert!(
            proven(&client, Some(&first), 0)
                && !proven(&client, Some(&second), 0)
                && !proven(&client, None, 0)
        );
        let rotated = client.clone().with_secret(hash(&second), Duration::from_secs(10), NOW).unwrap();
        assert!(proven(&rotated, Some(&first), 9) && proven(&rotated, Some(&second), 9));
        assert!(!proven(&rotated, Some(&first), 10) && proven(&rotated, Some(&second), 10));
        let at_once = client.with_secret(hash(&second), Duration::ZERO, NOW).unwrap();
        assert!(!proven(&at_once, Some(&first), 0));
        let public = Client::register(id, settings(ClientKind::Public), hash(&first), NOW);
        assert!(proven(&public, None, 0) && !proven(&public, Some(&first), 0));
        assert!(public.with_secret(hash(&second), Duration::ZERO, NOW).is_err());
    }
}
