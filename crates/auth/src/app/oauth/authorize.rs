//! The authorization endpoint, and pushed requests: from a client's question to a code.

use std::collections::BTreeSet;
use std::time::Duration;

use portal_core::id::{AccountId, ClientId, SessionId};
use portal_core::{Acr, Scope, Timestamp};
use portal_mesh::{EndUser, Permit};
use portal_store::Tx;
use portal_upkeep::audit::Happened;
use url::form_urlencoded;

use super::{Answer, Credentials, Parameters, Refusal};
use crate::app::{App, check_reach};
use crate::domain::grant::{CodeChallenge, Needed, parse_scopes, scope_text};
use crate::domain::{AuthorizationRequest, Client, GrantType, Handle, HandleHash, Prompt, ProofKey};
use crate::error::Error;
use crate::service::policy::{DecideAuthorization, GetAuthorization, StartAuthorization};
use crate::store::contexts::StoredContext;

const MAX_STATE: usize = 2_000;
const MAX_NONCE: usize = 500;

/// What became of a request.
pub enum Started {
    /// It waits under this reference.
    Pending(Handle, Timestamp),
    /// Its client is told by a redirect to this URI.
    Redirect(String),
    /// Nobody is known who could be told but the one who sent it.
    Refused(Refusal),
}

/// A request that waits, with who asks.
pub struct Pending {
    /// The request.
    pub request: AuthorizationRequest,
    /// The client.
    pub client: Client,
}

/// What was decided.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// The person approves.
    Approve,
    /// The person refuses.
    Deny,
    /// Nobody is signed in, and nobody may be asked.
    Nobody,
    /// Whatever was approved before is approved.
    Remembered,
}

/// An answer of the person: what, and the account that was asked if the page said so.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    /// What was decided.
    pub decision: Decision,
    /// Whom the page named.
    pub asked: Option<AccountId>,
}

/// What came of a decision.
pub enum Decided {
    /// The browser goes on to this URI.
    Redirect(String),
    /// Something is asked of the person first.
    Needs(Needed),
}

/// Who decides, and how they signed in.
pub(super) struct Person {
    pub(super) account: AccountId,
    pub(super) session: SessionId,
    pub(super) authentication: (Acr, Timestamp),
}

impl App {
    /// Takes a request, of a browser or pushed by its client.
    pub(crate) async fn start_authorization(
        &self,
        permit: &Permit<StartAuthorization>,
        (issuer, parameters): (String, &Parameters),
        pushed_by: Option<&Credentials>,
    ) -> Result<Started, Error> {
        let now = self.now();
        let id = parameters.get("client_id").and_then(|id| portal_core::id::Id::parse(id).ok());
        let find = |tx| async move {
            if let Some(credentials) = pushed_by {
                return self.authenticate(&tx, credentials, now).await;
            }
            let id: Option<ClientId> = id;
            let client = match id {
                Some(id) => self.clients.find(&tx, id).await?,
                None => None,
            };
            Ok::<_, Error>(client.ok_or(Refusal::InvalidClient))
        };
        let client = match self.database.read("find_client", find).await? {
            Ok(client) => client,
            Err(refusal) => return Ok(Started::Refused(refusal)),
        };
        let redirect_uri = match redirect_uri(&client, parameters) {
            Ok(uri) => uri,
            Err(refusal) => return Ok(Started::Refused(refusal)),
        };
        let pushed = pushed_by.is_some();
        match read(&client, (issuer.clone(), redirect_uri.clone()), parameters, (pushed, now)) {
            Ok(request) => {
                // Each is kept for ten minutes, and whoever knows a client's id can ask.
                if !pushed || client.secrets.is_none() {
                    self.attempts.admit_question(permit.caller().client_address())?;
                }
                self.keep(&request).await
            }
            Err(refusal) if pushed => Ok(Started::Refused(refusal)),
            Err(refusal) => {
                Ok(Started::Redirect(error_uri(&redirect_uri, refusal, state(parameters), &issuer)))
            }
        }
    }

    async fn keep(&self, request: &AuthorizationRequest) -> Result<Started, Error> {
        let reference = Handle::generate(self.entropy.as_ref());
        let hash = &self.handles.authorization_request_hash(&reference);
        self.database
            .run_tx("start_authorization", |tx| async move {
                Ok::<_, Error>(self.authorizations.insert(&tx, hash, request).await?)
            })
            .await?;
        Ok(Started::Pending(reference, request.expires_at))
    }

    /// A request that waits; only if `client` asked, if it is given.
    pub(crate) async fn authorization(
        &self,
        _: &Permit<GetAuthorization>,
        reference: &Handle,
        client: Option<ClientId>,
    ) -> Result<Pending, Error> {
        let (hash, now) = (&self.handles.authorization_request_hash(reference), self.now());
        let find = |tx| async move {
            let request = self.authorizations.find(&tx, hash, now).await?;
            let request = request.filter(|request| client.is_none_or(|client| client == request.client));
            let request = request.ok_or(Error::AuthorizationNotFound)?;
            let client = self.clients.find(&tx, request.client).await?.ok_or(Error::AuthorizationNotFound)?;
            Ok::<_, Error>(Pending { request, client })
        };
        self.database.read("get_authorization", find).await
    }

    /// Decides about a request in the name of whoever is signed in.
    pub(crate) async fn decide_authorization(
        &self,
        permit: &Permit<DecideAuthorization>,
        reference: &Handle,
        said: Said,
    ) -> Result<Decided, Error> {
        // Whoever signed in after the page was shown was not asked.
        said.asked.map_or(Ok(()), |asked| check_reach(permit, asked))?;
        let (hash, now) = (&self.handles.authorization_request_hash(reference), self.now());
        let code = &Handle::generate(self.entropy.as_ref());
        let user = permit.caller().user();
        self.database
            .run_tx("decide_authorization", |tx| async move {
                let found = self.authorizations.find(&tx, hash, now).await?;
                let request = found.ok_or(Error::AuthorizationNotFound)?;
                let Some(person) = self.person(&tx, user, now).await? else {
                    return self.without_anybody(&tx, hash, &request).await;
                };
                let client = self.clients.find(&tx, request.client).await?;
                let client = client.ok_or(Error::AuthorizationNotFound)?;
                self.decided(&tx, (hash, &request, &client), (&person, said.decision), (code, now)).await
            })
            .await
    }

    /// Who is signed in, if their session goes on.
    pub(super) async fn person(
        &self,
        tx: &Tx,
        user: Option<&EndUser>,
        now: Timestamp,
    ) -> Result<Option<Person>, Error> {
        let Some(user) = user else { return Ok(None) };
        let session: SessionId = user.session;
        let found = self.sessions.find(tx, session).await?;
        let live = found.filter(|found| found.session().is_live(now));
        let Some(live) = live else { return Err(Error::TokenInvalid) };
        let contexts = self.contexts.find_all(tx, [session].into_iter()).await?;
        let authentication = contexts.get(&session).map(StoredContext::authentication);
        let authentication = authentication.unwrap_or((Acr::Password, live.session().created_at));
        Ok(Some(Person { account: user.account, session, authentication }))
    }

    async fn without_anybody(
        &self,
        tx: &Tx,
        hash: &HandleHash,
        request: &AuthorizationRequest,
    ) -> Result<Decided, Error> {
        if !request.prompt.silent {
            return Ok(Decided::Needs(Needed::SignIn));
        }
        self.authorizations.delete(tx, hash).await?;
        Ok(Decided::Redirect(refused(request, Refusal::LoginRequired)))
    }

    async fn decided(
        &self,
        tx: &Tx,
        (hash, request, client): (&HandleHash, &AuthorizationRequest, &Client),
        (person, decision): (&Person, Decision),
        (code, now): (&Handle, Timestamp),
    ) -> Result<Decided, Error> {
        let actor = format!("account/{}", person.account);
        let happened = |action| {
            let scopes = scope_text(&request.scopes);
            Happened::new(action, actor.clone()).on(person.account).to(client.id).with("scopes", scopes)
        };
        if decision == Decision::Deny {
            self.authorizations.delete(tx, hash).await?;
            self.note(tx, happened("client.deny"), now).await?;
            return Ok(Decided::Redirect(refused(request, Refusal::AccessDenied)));
        }
        let before = self.clients.approval(tx, person.account, client.id).await?;
        let nothing = BTreeSet::new();
        let approved = before.as_ref().map_or(&nothing, |before| before.scopes());
        // Whoever takes the port of a public client on the person's machine passes for it (RFC 8252, section 8.6).
        let counts = if client.can_be_posed_as(&request.redirect_uri) { &nothing } else { approved };
        let needed = request.needs(person.authentication.1, counts, now);
        match (needed, decision) {
            (Needed::SignIn, _) if request.prompt.silent => {
                self.authorizations.delete(tx, hash).await?;
                return Ok(Decided::Redirect(refused(request, Refusal::LoginRequired)));
            }
            (Needed::Approval, Decision::Remembered | Decision::Nobody) if request.prompt.silent => {
                self.authorizations.delete(tx, hash).await?;
                return Ok(Decided::Redirect(refused(request, Refusal::ConsentRequired)));
            }
            (Needed::SignIn, _) | (Needed::Approval, Decision::Remembered | Decision::Nobody) => {
                return Ok(Decided::Needs(needed));
            }
            (Needed::Approval | Needed::Nothing, _) => {}
        }
        self.authorizations.delete(tx, hash).await?;
        let granted = request.code((person.account, person.session), person.authentication, now);
        self.authorizations.insert_code(tx, &self.handles.authorization_code_hash(code), &granted).await?;
        if needed == Needed::Approval {
            let union: BTreeSet<Scope> = approved.union(&request.scopes).copied().collect();
            let ids = (person.account, client.id);
            self.clients.approve(tx, ids, (before.as_ref(), &union), now).await?;
        }
        self.note(tx, happened("client.approve"), now).await?;
        Ok(Decided::Redirect(answered(request, &[("code", &code.to_text())])))
    }
}

/// Where the browser is to go: one of the client's, byte for byte. Until that is known nobody is sent anywhere.
fn redirect_uri(client: &Client, parameters: &Parameters) -> Answer<String> {
    let missing = Refusal::InvalidRequest("redirect_uri is missing");
    let uri = parameters.get("redirect_uri").ok_or(missing)?;
    let known = client.settings.redirect_uris.iter().any(|known| known == uri);
    let unknown = Refusal::InvalidRequest("redirect_uri is not one that this client is registered with");
    if known { Ok(uri.to_owned()) } else { Err(unknown) }
}

/// The request of `client`, if it is one.
fn read(
    client: &Client,
    (issuer, redirect_uri): (String, String),
    parameters: &Parameters,
    (pushed, now): (bool, Timestamp),
) -> Answer<AuthorizationRequest> {
    let invalid = |what| Err(Refusal::InvalidRequest(what));
    if ["request", "request_uri"].iter().any(|name| parameters.get(name).is_some()) {
        return Err(Refusal::RequestNotSupported);
    }
    if client.settings.require_par && !pushed {
        return invalid("this client has to push its authorization requests (RFC 9126)");
    }
    match parameters.get("response_type") {
        Some("code") => {}
        Some(_) => return Err(Refusal::UnsupportedResponseType),
        None => return invalid("response_type is missing"),
    }
    if !client.may(GrantType::AuthorizationCode) {
        return Err(Refusal::UnauthorizedClient);
    }
    if parameters.get("response_mode").is_some_and(|mode| mode != "query") {
        return invalid("response_mode must be query, or left out");
    }
    let challenge = parameters.get("code_challenge").and_then(CodeChallenge::parse);
    let (Some(code_challenge), Some("S256")) = (challenge, parameters.get("code_challenge_method")) else {
        return invalid("PKCE is needed: code_challenge, with code_challenge_method=S256 (RFC 7636)");
    };
    let (state, nonce) = (parameters.get("state"), parameters.get("nonce"));
    if state.is_some_and(|state| state.len() > MAX_STATE) || nonce.is_some_and(|it| it.len() > MAX_NONCE) {
        return invalid("state may have 2,000 bytes, and nonce 500");
    }
    let Ok(proof_key) = parameters.get("dpop_jkt").map(|it| ProofKey::parse(it).ok_or(())).transpose() else {
        return invalid("dpop_jkt must be the thumbprint of a key (RFC 7638)");
    };
    let max_age = parameters.get("max_age").map(str::parse).transpose();
    let Ok(max_age) = max_age else { return invalid("max_age must be a number of seconds") };
    Ok(AuthorizationRequest {
        client: client.id,
        issuer,
        redirect_uri,
        scopes: scopes(client, parameters.get("scope"))?,
        state: state.map(str::to_owned),
        nonce: nonce.map(str::to_owned),
        code_challenge,
        proof_key,
        prompt: prompt(parameters.get("prompt"))?,
        max_age: max_age.map(Duration::from_secs),
        started_at: now,
        expires_at: AuthorizationRequest::end(now),
    })
}

pub(super) fn scopes(client: &Client, asked: Option<&str>) -> Answer<BTreeSet<Scope>> {
    let asked = asked.ok_or(Refusal::InvalidScope("scope is missing"))?;
    let scopes = parse_scopes(asked).ok_or(Refusal::InvalidScope("a scope is not known"))?;
    if scopes.is_empty() {
        return Err(Refusal::InvalidScope("scope is empty"));
    }
    let own = scopes.is_subset(&client.settings.scopes);
    if own { Ok(scopes) } else { Err(Refusal::InvalidScope("this client may not ask for one of the scopes")) }
}

fn prompt(asked: Option<&str>) -> Answer<Prompt> {
    let mut prompt = Prompt::default();
    for word in asked.unwrap_or_default().split(' ').filter(|word| !word.is_empty()) {
        match word {
            "consent" => prompt.ask = true,
            // Whoever signs in anew chooses who they are.
            "login" | "select_account" => prompt.anew = true,
            "none" => prompt.silent = true,
            _ => {
                return Err(Refusal::InvalidRequest("prompt must be none, login, select_account or consent"));
            }
        }
    }
    if prompt.silent && (prompt.ask || prompt.anew) {
        return Err(Refusal::InvalidRequest("prompt=none goes with nothing else"));
    }
    Ok(prompt)
}

/// What the client gets back as it is, unless it is too long to be sent anywhere.
fn state(parameters: &Parameters) -> Option<&str> {
    parameters.get("state").filter(|state| state.len() <= MAX_STATE)
}

fn refused(request: &AuthorizationRequest, refusal: Refusal) -> String {
    error_uri(&request.redirect_uri, refusal, request.state.as_deref(), &request.issuer)
}

fn error_uri(redirect_uri: &str, refusal: Refusal, state: Option<&str>, issuer: &str) -> String {
    let error = [("error", refusal.code()), ("error_description", refusal.description())];
    with_query(redirect_uri, &error, state, issuer)
}

fn answered(request: &AuthorizationRequest, parameters: &[(&str, &str)]) -> String {
    with_query(&request.redirect_uri, parameters, request.state.as_deref(), &request.issuer)
}

/// The URI with these parameters, `state` (RFC 6749, section 4.1.2) and `iss` (RFC 9207). What stands in it stays as it is.
fn with_query(uri: &str, parameters: &[(&str, &str)], state: Option<&str>, issuer: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parameters);
    query.extend_pairs(state.map(|state| ("state", state)));
    query.append_pair("iss", issuer);
    let separator = if uri.contains('?') { '&' } else { '?' };
    format!("{uri}{separator}{}", query.finish())
}
