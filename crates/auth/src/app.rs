//! The use cases: each is one transaction that loads, decides and saves. Whoever calls one holds the policy's permit.

pub mod accounts;
pub mod attempts;
pub mod audit;
pub mod ceremonies;
pub mod change;
pub mod clients;
pub mod contact;
pub mod deletion;
pub mod export;
pub mod factors;
pub mod feed;
pub mod hashing;
pub mod herald;
pub mod mailer;
pub mod oauth;
pub mod operator;
pub mod passkeys;
pub mod passwords;
pub mod post;
pub mod recovery;
pub mod refreshing;
pub mod sessions;
pub mod sign_in;
pub mod signing;
pub mod subject_keys;
pub mod tokens;

use std::sync::Arc;

use portal_core::id::AccountId;
use portal_core::{Clock, Entropy, Timestamp, TrustDomain};
use portal_crypto::kdf::Label;
use portal_crypto::mac::MacKey;
use portal_keys::{Keys, Replies};
use portal_ledger::Log;
use portal_mesh::context::Context;
use portal_mesh::outbound::Outbound;
use portal_mesh::policy::Action;
use portal_mesh::{Host, Permit};
use portal_store::{Database, Inserts, Tx};
use portal_upkeep::audit::{Audit, Happened};
use portal_upkeep::erasure::Erasures;
use portal_upkeep::together::Together;
use tokio::sync::Notify;

use crate::config::Rules;
use crate::domain::{Email, HandleKey};
use crate::error::Error;
use crate::metrics::Metrics;
use crate::store::Seals;
use crate::store::accounts::Accounts;
use crate::store::authorizations::Authorizations;
use crate::store::ceremonies::Ceremonies;
use crate::store::challenges::Challenges;
use crate::store::client_sign_ins::ClientSignIns;
use crate::store::clients::Clients;
use crate::store::contacts::Contacts;
use crate::store::contexts::Contexts;
use crate::store::devices::Devices;
use crate::store::email_index::{EmailIndexer, EmailIndexes};
use crate::store::factors::Factors;
use crate::store::failures::{AddressHash, SignInFailures};
use crate::store::grants::Grants;
use crate::store::live::Lives;
use crate::store::logout_notices::LogoutNotices;
use crate::store::mail_tokens::MailTokens;
use crate::store::outbox::Outbox;
use crate::store::recovery_requests::RecoveryRequests;
use crate::store::revocations::Revocations;
use crate::store::sessions::Sessions;
use crate::store::token_bindings::TokenBindings;
use crate::store::token_pairs::TokenPairs;
use crate::store::tombstones::Tombstones;
use crate::upkeep::Upkeep;

use attempts::Attempts;
use ceremonies::RelyingParty;
use feed::Feed;
use hashing::PasswordPool;
use mailer::Mailer;
use refreshing::Refreshing;
use signing::Signing;

pub use change::{Change, Reply};

/// The detail of an event that names the trace of the call.
pub(crate) const TRACE: &str = "trace";
/// The detail of an event that names the policies which let the call in.
pub(crate) const POLICY: &str = "policy";
/// The detail of an event that says why something was refused; events without it succeeded.
pub(crate) const REASON: &str = "reason";

/// What all use cases share.
pub struct App {
    pub(crate) database: Database,
    pub(crate) feed: Feed,
    pub(crate) keys: Keys,
    pub(crate) seals: Seals,
    pub(crate) accounts: Accounts,
    pub(crate) sessions: Sessions,
    pub(crate) pairs: TokenPairs,
    refreshes: Together<Refreshing>,
    pub(crate) lives: Lives,
    pub(crate) revocations: Revocations,
    pub(crate) emails: EmailIndexer,
    pub(crate) failures: SignInFailures,
    pub(crate) factors: Factors,
    pub(crate) challenges: Challenges,
    pub(crate) ceremonies: Ceremonies,
    pub(crate) contexts: Contexts,
    pub(crate) clients: Clients,
    pub(crate) authorizations: Authorizations,
    pub(crate) devices: Devices,
    pub(crate) grants: Grants,
    sign_ins: ClientSignIns,
    bindings: TokenBindings,
    notices: LogoutNotices,
    pub(crate) audit: Audit,
    pub(crate) log: Log,
    pub(crate) contacts: Contacts,
    pub(crate) mail_tokens: MailTokens,
    pub(crate) outbox: Outbox,
    pub(crate) requests: RecoveryRequests,
    pub(crate) tombstones: Tombstones,
    pub(crate) erasures: Erasures,
    /// None if this installation sends no mail.
    mailer: Option<Mailer>,
    /// Posts to clients.
    outbound: Outbound,
    /// That something may be to be sent.
    due: Notify,
    replies: Replies,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    fingerprints: MacKey,
    handles: HandleKey,
    pub(crate) attempts: Attempts,
    passwords: PasswordPool,
    pub(crate) signing: Signing,
    relying_party: RelyingParty,
    totp_issuer: String,
    issuer: String,
    trust_domain: TrustDomain,
    metrics: Metrics,
}

impl App {
    /// The use cases on the data and keys of `upkeep`.
    pub fn new(
        upkeep: &Upkeep,
        trust_domain: TrustDomain,
        (rules, mailer, outbound): (Rules, Option<Mailer>, Outbound),
        host: &Host,
    ) -> Self {
        let (keys, seals) = (&upkeep.keys, &upkeep.seals);
        let secret = keys.service_secret();
        Self {
            database: upkeep.database.clone(),
            feed: Feed::default(),
            accounts: Accounts::new(seals.clone()),
            sessions: Sessions::new(seals.clone()),
            pairs: TokenPairs::new(seals.clone()),
            refreshes: Together::default(),
            lives: Lives::new(seals),
            revocations: Revocations::new(seals.clone()),
            emails: upkeep.emails.clone(),
            failures: SignInFailures::new(seals.digests.clone()),
            factors: Factors::new(seals, &upkeep.cells),
            ceremonies: Ceremonies::new(seals, &upkeep.cells),
            challenges: Challenges::new(seals.sealing.clone(), seals.digests.clone()),
            contexts: Contexts::new(seals.sealing.clone(), seals.digests.clone()),
            clients: Clients::new(seals.digests.clone()),
            authorizations: Authorizations::new(seals.digests.clone()),
            devices: Devices::new(seals.digests.clone()),
            grants: Grants::new(seals.digests.clone()),
            sign_ins: ClientSignIns::new(seals.digests.clone()),
            bindings: TokenBindings::new(seals.digests.clone()),
            notices: LogoutNotices::new(seals.digests.clone()),
            contacts: Contacts::new(seals.sealing.clone(), seals.digests.clone()),
            mail_tokens: MailTokens::new(seals.sealing.clone(), seals.digests.clone()),
            outbox: Outbox::new(seals.sealing.clone(), seals.digests.clone()),
            requests: RecoveryRequests::new(keys, seals.digests.clone(), Arc::clone(&host.entropy)),
            tombstones: Tombstones::new(seals.digests.clone()),
            erasures: upkeep.erasures(),
            mailer,
            outbound,
            due: Notify::new(),
            seals: seals.clone(),
            audit: upkeep.audit.clone(),
            log: upkeep.log.clone(),
            replies: Replies::new(keys, upkeep.sealing.clone(), Arc::clone(&host.entropy)),
            attempts: Attempts::new(rules.passwords.quotas, rules.applications, &host.clock),
            relying_party: RelyingParty::new(rules.webauthn, secret),
            totp_issuer: rules.totp_issuer,
            clock: Arc::clone(&host.clock),
            entropy: Arc::clone(&host.entropy),
            fingerprints: MacKey::new(secret.derive(Label::BlindIndex).expose()),
            handles: HandleKey::new(secret),
            passwords: PasswordPool::new(secret, rules.passwords, Arc::clone(&host.entropy)),
            signing: Signing::new(upkeep.signing.clone(), rules.signing_key_life),
            issuer: portal_mesh::token::issuer(&trust_domain),
            trust_domain,
            metrics: host.metrics.register(Metrics::register),
            keys: keys.clone(),
        }
    }

    /// The current time: asked for once per use case.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The kept replies to request ids.
    pub(crate) const fn replies(&self) -> &Replies {
        &self.replies
    }

    /// Records what happens, in the transaction in which it does, with the trace of the call and the policies that let it in.
    pub(crate) async fn note(&self, tx: &Tx, happened: Happened, now: Timestamp) -> Result<(), Error> {
        let mut inserts = Inserts::of(tx);
        self.note_with(&mut inserts, happened, now)?;
        Ok(inserts.run(tx).await?)
    }

    /// The same, with what else is inserted.
    pub(crate) fn note_with(
        &self,
        inserts: &mut Inserts,
        happened: Happened,
        now: Timestamp,
    ) -> Result<(), Error> {
        let happened = match Context::current() {
            Some(context) => {
                happened.with(TRACE, context.trace.trace_id()).with(POLICY, context.decision.names())
            }
            None => happened,
        };
        Ok(self.audit.add(inserts, happened, now)?)
    }

    /// By what an account with this e-mail address is found.
    pub(crate) async fn indexes(&self, email: Option<&Email>) -> Result<Option<EmailIndexes>, Error> {
        match email {
            Some(email) => Ok(Some(self.emails.of(email).await?)),
            None => Ok(None),
        }
    }

    /// By what failures to sign in with this address are counted, whether anybody has it or not.
    pub(crate) fn address_hash(&self, email: &Email) -> AddressHash {
        self.fingerprints.tag(&[b"sign-in\0", email.expose().as_bytes()].concat())
    }

    /// By what the same request is known again. Keyed, since a request may hold personal data that could be guessed.
    pub(crate) fn request_fingerprint(&self, request: &[u8]) -> [u8; 32] {
        self.fingerprints.tag(&[b"request\0", request].concat())
    }
}

/// The one account that `permit` reaches, or `None` if it reaches all.
fn only_account<A: Action>(permit: &Permit<A>) -> Result<Option<AccountId>, Error> {
    match (permit.only(), permit.caller().user()) {
        (None, _) => Ok(None),
        (Some(_), Some(user)) => Ok(Some(user.account)),
        (Some(_), None) => Err(Error::NotYourData),
    }
}

/// Checks that `permit` reaches `account`, before it is known whether that exists.
fn check_reach<A: Action>(permit: &Permit<A>, account: AccountId) -> Result<(), Error> {
    match only_account(permit)? {
        Some(own) if own != account => Err(Error::NotYourData),
        Some(_) | None => Ok(()),
    }
}
