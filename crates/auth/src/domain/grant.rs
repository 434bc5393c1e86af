//! What a client asks a person for, and what it was given.
//!
//! Invariants: every authorization request has a PKCE challenge of method S256; a code is good once, for a minute, for its own
//! client and redirect URI; scopes only ever shrink on the way from the client's registration to its tokens.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portal_core::id::{AccountId, ClientId, SessionId};
use portal_core::{Acr, Scope, Timestamp};
use portal_crypto::hash::sha256;

use super::ProofKey;

/// How long a person may take to decide.
const REQUEST_LIFE: Duration = Duration::from_secs(10 * 60);
/// How long a code waits for its client.
const CODE_LIFE: Duration = Duration::from_secs(60);
/// How long the access token that a client gets for itself lives.
pub const CLIENT_ACCESS_LIFE: Duration = Duration::from_secs(15 * 60);

/// How a request may involve the person (OpenID Connect Core, section 3.1.2.1); by default as far as it is needed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Prompt {
    /// They sign in anew, whoever is signed in.
    pub anew: bool,
    /// They are asked to approve whatever they approved before.
    pub ask: bool,
    /// Not at all.
    pub silent: bool,
}

/// The SHA-256 of a secret that only the client has (RFC 7636, method S256).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CodeChallenge([u8; 32]);

impl CodeChallenge {
    /// Reads 43 characters of base64url.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self(URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?))
    }

    /// As [`Self::parse`] reads it.
    #[must_use]
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Whether `verifier` is the secret: 43 to 128 unreserved characters (RFC 7636, section 4.1).
    #[must_use]
    pub fn is_met_by(&self, verifier: &str) -> bool {
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        (43..=128).contains(&verifier.len())
            && verifier.bytes().all(unreserved)
            && sha256(verifier.as_bytes()) == self.0
    }
}

/// What a client asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthorizationRequest {
    /// The client.
    pub client: ClientId,
    /// Who will have issued what it gets.
    pub issuer: String,
    /// Where the browser goes with the answer.
    pub redirect_uri: String,
    /// What it wants.
    pub scopes: BTreeSet<Scope>,
    /// What it gets back as it is.
    pub state: Option<String>,
    /// What its ID token repeats.
    pub nonce: Option<String>,
    /// What the code takes.
    pub code_challenge: CodeChallenge,
    /// The key that must be proven with the code; any or none without.
    pub proof_key: Option<ProofKey>,
    /// How the person may be involved.
    pub prompt: Prompt,
    /// How long ago they may have signed in.
    pub max_age: Option<Duration>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// What is to be asked of a person before a request can be approved.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Needed {
    /// Their approval.
    Approval,
    /// Nothing.
    Nothing,
    /// That they sign in again.
    SignIn,
}

impl AuthorizationRequest {
    /// When a request that begins at `now` ends.
    #[must_use]
    pub fn end(now: Timestamp) -> Timestamp {
        now.plus(REQUEST_LIFE)
    }

    /// What is to be asked of somebody who signed in at `authenticated_at` and once approved `approved` for this client.
    #[must_use]
    pub fn needs(&self, authenticated_at: Timestamp, approved: &BTreeSet<Scope>, now: Timestamp) -> Needed {
        // Whoever signed in for this request did so recently enough.
        let before = authenticated_at < self.started_at;
        let stale = self.max_age.is_some_and(|age| now.since(authenticated_at) > age);
        if before && (stale || self.prompt.anew) {
            return Needed::SignIn;
        }
        if self.prompt.ask || !self.scopes.is_subset(approved) {
            return Needed::Approval;
        }
        Needed::Nothing
    }

    /// The code that answers it, for the session of somebody who approved.
    #[must_use]
    pub fn code(
        &self,
        (account, origin): (AccountId, SessionId),
        authentication: (Acr, Timestamp),
        now: Timestamp,
    ) -> AuthorizationCode {
        let (acr, authenticated_at) = authentication;
        AuthorizationCode {
            client: self.client,
            account,
            issuer: self.issuer.clone(),
            redirect_uri: self.redirect_uri.clone(),
            scopes: self.scopes.clone(),
            nonce: self.nonce.clone(),
            code_challenge: self.code_challenge.clone(),
            proof_key: self.proof_key,
            acr,
            authenticated_at,
            expires_at: now.plus(CODE_LIFE),
            used_for: None,
            origin: Some(origin),
        }
    }
}

/// What a code stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthorizationCode {
    /// Whose it is.
    pub client: ClientId,
    /// Who approved.
    pub account: AccountId,
    /// The issuer that was asked.
    pub issuer: String,
    /// Where it was sent.
    pub redirect_uri: String,
    /// What was approved.
    pub scopes: BTreeSet<Scope>,
    /// What the ID token repeats.
    pub nonce: Option<String>,
    /// What it takes.
    pub code_challenge: CodeChallenge,
    /// The key that must be proven with it; any or none without.
    pub proof_key: Option<ProofKey>,
    /// How the person proved who they are.
    pub acr: Acr,
    /// When they did.
    pub authenticated_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The session that it was used for.
    pub used_for: Option<SessionId>,
    /// The session in which it was approved; not known of those of an earlier version.
    pub origin: Option<SessionId>,
}

/// What a client was given: kept beside the session that it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Grant {
    /// The session.
    pub session: SessionId,
    /// The client.
    pub client: ClientId,
    /// The issuer that it knows.
    pub issuer: String,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
}

/// What somebody allowed a client, so that they are not asked again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Approval {
    /// The client.
    pub client: ClientId,
    /// Its name.
    pub client_name: String,
    /// What it may ask for.
    pub scopes: BTreeSet<Scope>,
    /// When they allowed it.
    pub approved_at: Timestamp,
}

impl Grant {
    /// Whether it goes on when its access token has ended.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        self.scopes.contains(&Scope::OfflineAccess)
    }
}

/// Scopes as one text (RFC 6749, section 3.3), in the order of their names.
#[must_use]
pub fn scope_text(scopes: &BTreeSet<Scope>) -> String {
    scopes.iter().map(|scope| scope.name()).collect::<Vec<_>>().join(" ")
}

/// Reads such a text; `None` if a word is not a scope.
#[must_use]
pub fn parse_scopes(text: &str) -> Option<BTreeSet<Scope>> {
    text.split(' ').filter(|word| !word.is_empty()).map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use portal_core::SeededEntropy;
    use portal_core::id::Id;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_000);

    /// RFC 7636, appendix B.
    #[test]
    fn the_challenge_of_the_standard_is_met_by_its_verifier_alone() {
        let challenge = CodeChallenge::parse("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM").unwrap();
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert!(challenge.is_met_by(verifier));
        for other in ["", &verifier[1..], &format!("{verifier}A"), &verifier.replace('d', "e")] {
            assert!(!challenge.is_met_by(other), "{other}");
        }
        assert_eq!(challenge.to_text(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert_eq!(CodeChallenge::parse("short"), None);
    }

    #[test]
    fn a_person_is_asked_what_is_needed() {
        let request = |prompt, max_age| AuthorizationRequest {
            client: ClientId::generate(NOW, &SeededEntropy::new(1)),
            issuer: "https://portal.example.org".to_owned(),
            redirect_uri: "https://news.example.org/callback".to_owned(),
            scopes: BTreeSet::from([Scope::OpenId, Scope::Email]),
            state: None,
            nonce: None,
            code_challenge: CodeChallenge([0; 32]),
            proof_key: None,
            prompt,
            max_age,
            started_at: NOW,
            expires_at: AuthorizationRequest::end(NOW),
        };
        let (before, after) = (NOW.minus(Duration::from_secs(100)), NOW.plus(Duration::from_secs(1)));
        let all = BTreeSet::from([Scope::OpenId, Scope::Email, Scope::Profile]);
        let some = BTreeSet::from([Scope::OpenId]);
        let now = NOW.plus(Duration::from_secs(2));
        let (anew, ask) =
            (Prompt { anew: true, ..Prompt::default() }, Prompt { ask: true, ..Prompt::default() });
        let plain = request(Prompt::default(), None);
        assert_eq!(plain.needs(before, &all, now), Needed::Nothing);
        assert_eq!(plain.needs(before, &some, now), Needed::Approval);
        assert_eq!(request(ask, None).needs(before, &all, now), Needed::Approval);
        assert_eq!(request(anew, None).needs(before, &all, now), Needed::SignIn);
        assert_eq!(request(anew, None).needs(after, &all, now), Needed::Nothing);
        let recent = request(Prompt::default(), Some(Duration::from_secs(60)));
        assert_eq!(recent.needs(before, &all, now), Needed::SignIn);
        assert_eq!(recent.needs(after, &all, now), Needed::Nothing);
        let at_once = request(Prompt::default(), Some(Duration::ZERO));
        assert_eq!(at_once.needs(before, &all, now), Needed::SignIn);
        assert_eq!(at_once.needs(after, &all, now), Needed::Nothing);
    }

    #[test]
    fn scopes_are_written_as_they_are_read() {
        let scopes = parse_scopes("openid  email openid").unwrap();
        assert_eq!(scope_text(&scopes), "email openid");
        assert_eq!(parse_scopes("openid admin"), None);
        assert_eq!(parse_scopes("").unwrap(), BTreeSet::new());
    }
}
