//! Devices without a browser (RFC 8628): from a device's question, over the person who types its code elsewhere, to its tokens.
//!
//! Whoever types codes is known: they have signed in. Codes that are not found count against their account, and against the
//! network they come from.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use portal_core::id::{AccountId, ClientId, Id};
use portal_core::{Scope, Timestamp};
use portal_crypto::envelope::SubjectKey;
use portal_keys::KeysError;
use portal_mesh::policy::Action;
use portal_mesh::{EndUser, Permit};
use portal_store::{ReadTx, Tx};
use portal_upkeep::audit::Happened;

use super::authorize::{Person, scopes};
use super::grant::{Approved, Given, LiveGrant};
use super::proof::Held;
use super::token::TokenSet;
use super::{Answer, Credentials, Parameters, Refusal};
use crate::app::sign_in::{failure, locking};
use crate::app::{App, check_reach};
use crate::domain::device::{Approver, DeviceState, INTERVAL, LIFE, Polled};
use crate::domain::failures::Failures;
use crate::domain::grant::scope_text;
use crate::domain::session::RefreshUse;
use crate::domain::{Client, DeviceRequest, GrantType, Handle, HandleHash, ProofKey, UserCode};
use crate::error::Error;
use crate::service::policy::{DecideDeviceAuthorization, FindDeviceAuthorization, StartDeviceAuthorization};
use crate::store::devices::{Code, StoredDevice};
use crate::store::failures::AddressHash;

const DEVICE_BAD: Refusal = Refusal::InvalidGrant("the device code is unknown or used, or another client's");

/// A device that waits for a person.
#[derive(Debug)]
pub struct StartedDevice {
    /// What it asks for tokens with.
    pub device_code: Handle,
    /// What it shows.
    pub user_code: UserCode,
    /// How long both live.
    pub life: Duration,
    /// How long it waits between questions.
    pub interval: Duration,
}

/// A device that somebody found by its code.
pub struct FoundDevice {
    /// What it asks for.
    pub scopes: BTreeSet<Scope>,
    /// Who asks.
    pub client: Client,
}

/// What a person says about a device.
pub struct SaidOfDevice {
    /// What it shows; `None` for what can't be a code.
    pub code: Option<UserCode>,
    /// Whether they approve.
    pub approved: bool,
    /// Whom the page named, if one did.
    pub asked: Option<AccountId>,
}

/// A code that somebody typed.
struct Typed {
    /// `None` for what can't be one.
    hash: Option<HandleHash>,
    /// By what those of this person are counted that nobody shows.
    by: AddressHash,
    /// What is recorded if nobody shows it.
    unknown: Happened,
    now: Timestamp,
}

impl App {
    /// Takes the request of a device.
    pub(crate) async fn start_device(
        &self,
        permit: &Permit<StartDeviceAuthorization>,
        credentials: &Credentials,
        (issuer, parameters): (String, &Parameters),
    ) -> Result<Answer<StartedDevice>, Error> {
        let client = match self.client_of(credentials).await? {
            Ok(client) => client,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if !client.may(GrantType::DeviceCode) {
            return Ok(Err(Refusal::UnauthorizedClient));
        }
        let scopes = match scopes(&client, parameters.get("scope")) {
            Ok(scopes) => scopes,
            Err(refusal) => return Ok(Err(refusal)),
        };
        // Each is kept until its end has been told, and whoever knows a public client's id can ask.
        match client.secrets {
            Some(_) => self.attempts.admit_grant(client.id)?,
            None => self.attempts.admit_question(permit.caller().client_address())?,
        }
        let request = &DeviceRequest::start(client.id, issuer, scopes, self.now());
        let device_code = Handle::generate(self.entropy.as_ref());
        let device = &self.handles.device_code_hash(&device_code);
        let user_code = self
            .database
            .run_tx("start_device", |tx| async move {
                let (code, user) = self.unused_code(&tx).await?;
                self.devices.insert(&tx, (device, &user), request).await?;
                Ok::<_, Error>(code)
            })
            .await?;
        Ok(Ok(StartedDevice { device_code, user_code, life: LIFE, interval: INTERVAL }))
    }

    /// A code that no other device shows.
    async fn unused_code(&self, tx: &Tx) -> Result<(UserCode, HandleHash), Error> {
        loop {
            let code = UserCode::generate(self.entropy.as_ref());
            let hash = self.handles.user_code_hash(&code);
            if self.devices.find(tx, Code::User(&hash)).await?.is_none() {
                return Ok((code, hash));
            }
        }
    }

    /// The device that shows this code and waits.
    pub(crate) async fn find_device(
        &self,
        permit: &Permit<FindDeviceAuthorization>,
        code: Option<&UserCode>,
    ) -> Result<FoundDevice, Error> {
        let typed = &self.typed(permit, code)?;
        let find = |tx| async move { self.sought(&tx, typed).await };
        let (stored, client) =
            self.database.run_tx("find_device", find).await?.ok_or(Error::UserCodeUnknown)?;
        Ok(FoundDevice { scopes: stored.request().scopes.clone(), client })
    }

    /// What somebody typed, if they may: so many codes a minute, right or not.
    fn typed<A: Action>(&self, permit: &Permit<A>, code: Option<&UserCode>) -> Result<Typed, Error> {
        let account = user(permit)?.account;
        let by = self.user_codes_of(account);
        self.attempts.admit_user_code(permit.caller().client_address(), &by)?;
        let hash = code.map(|code| self.handles.user_code_hash(code));
        let unknown = failure("client.device", &permit.caller().key(), Some(account), "USER_CODE_UNKNOWN");
        Ok(Typed { hash, by, unknown, now: self.now() })
    }

    /// The device that shows what was typed and waits; one more failure of who typed it if there is none.
    async fn sought(&self, tx: &Tx, typed: &Typed) -> Result<Option<(StoredDevice, Client)>, Error> {
        let (by, now) = (&typed.by, typed.now);
        let before = self.failures.find(tx, by).await?;
        unless_locked(before, now)?;
        let found = match &typed.hash {
            Some(hash) => self.waiting(tx, hash, now).await?,
            None => None,
        };
        // Written when there is one too: whoever types many at once learns of each what they would have one after the other.
        let after = match found {
            Some(_) => before.unwrap_or(Failures::none(now)),
            None => Failures::one_more(before, now),
        };
        self.failures.put(tx, by, (before.as_ref(), &after)).await?;
        if found.is_none() {
            self.note(tx, locking(typed.unknown.clone(), &after, now), now).await?;
        }
        Ok(found)
    }

    async fn waiting(
        &self,
        tx: &ReadTx,
        hash: &HandleHash,
        now: Timestamp,
    ) -> Result<Option<(StoredDevice, Client)>, Error> {
        let found = self.devices.find(tx, Code::User(hash)).await?;
        let Some(stored) = found.filter(|found| found.request().waits(now)) else { return Ok(None) };
        let client = self.clients.find(tx, stored.request().client).await?;
        Ok(client.map(|client| (stored, client)))
    }

    /// By what codes are counted that `account` typed and nobody shows. Not forgotten by a right one: whoever guesses has a
    /// device of their own to find now and then.
    fn user_codes_of(&self, account: AccountId) -> AddressHash {
        self.fingerprints.tag(&[b"user-code\0".as_slice(), &account.bytes()].concat())
    }

    /// Decides about a device in the name of whoever is signed in.
    pub(crate) async fn decide_device(
        &self,
        permit: &Permit<DecideDeviceAuthorization>,
        said: &SaidOfDevice,
    ) -> Result<(), Error> {
        // Whoever signed in after the page was shown was not asked.
        said.asked.map_or(Ok(()), |asked| check_reach(permit, asked))?;
        let user = user(permit)?;
        let typed = &self.typed(permit, said.code.as_ref())?;
        let now = typed.now;
        let decided = self
            .database
            .run_tx("decide_device", |tx| async move {
                let person = self.person(&tx, Some(user), now).await?.ok_or(Error::TokenInvalid)?;
                let Some((stored, client)) = self.sought(&tx, typed).await? else { return Ok(None) };
                let Person { account, session, authentication } = person;
                let approver = Approver { account, session, authentication };
                let decided = stored.request().clone().decided(said.approved.then_some(approver));
                self.devices.update(&tx, stored, &decided).await?;
                let action = if said.approved { "client.approve" } else { "client.deny" };
                let happened = Happened::new(action, format!("account/{account}"));
                let happened = happened.on(account).to(client.id).with("flow", "device");
                self.note(&tx, happened.with("scopes", scope_text(&decided.scopes)), now).await?;
                Ok::<_, Error>(Some(()))
            })
            .await?;
        decided.ok_or(Error::UserCodeUnknown)
    }

    /// A device comes for its tokens.
    pub(super) async fn redeem_device(
        &self,
        client: &Client,
        parameters: &Parameters,
        key: Option<ProofKey>,
    ) -> Result<Answer<TokenSet>, Error> {
        let Some(text) = parameters.get("device_code") else {
            return Ok(Err(Refusal::InvalidRequest("device_code is missing")));
        };
        let Some(handle) = Handle::parse(text) else { return Ok(Err(DEVICE_BAD)) };
        let (hash, now) = (&self.handles.device_code_hash(&handle), self.now());
        let find = |tx| async move { self.device_of(&tx, client.id, hash).await };
        let Some(found) = self.database.read("find_device", find).await? else { return Ok(Err(DEVICE_BAD)) };
        if !self.attempts.admits_poll(hash) {
            return Ok(Err(Refusal::SlowDown));
        }
        let beginning = &self.beginning_of(client, found.request(), (&handle, key), now).await?;
        // Signed before anything is written: if that fails the device can ask again.
        let answer = match beginning {
            Some((given, _)) => Ok(self.token_set(client, given, (None, now)).await?),
            None => Err(Refusal::AuthorizationPending),
        };
        let poll = |tx| async move { self.device_polled(&tx, (client, hash), beginning.as_ref(), now).await };
        let polled = match found.request().clone().polled(now) {
            (polled, next) if next == *found.request() => polled,
            _ => self.database.run_tx("redeem_device", poll).await?,
        };
        let refusal = match polled {
            Polled::Approved(_) => return Ok(answer),
            Polled::Again => return self.given_before(client, (&handle, key), now).await,
            Polled::Denied => Refusal::AccessDenied,
            Polled::Expired => Refusal::ExpiredToken,
            Polled::Pending => Refusal::AuthorizationPending,
            Polled::TooSoon => Refusal::SlowDown,
            Polled::Gone => DEVICE_BAD,
        };
        Ok(Err(refusal))
    }

    async fn device_of(
        &self,
        tx: &ReadTx,
        client: ClientId,
        hash: &HandleHash,
    ) -> Result<Option<StoredDevice>, Error> {
        let found = self.devices.find(tx, Code::Device(hash)).await?;
        Ok(found.filter(|found| found.request().client == client))
    }

    /// The grant that begins if somebody approved whose account is there, and the key of that person.
    async fn beginning_of(
        &self,
        client: &Client,
        request: &DeviceRequest,
        (code, proof): (&Handle, Option<ProofKey>),
        now: Timestamp,
    ) -> Result<Option<(Given, Arc<SubjectKey>)>, Error> {
        let DeviceState::Approved(Approver { account, authentication, .. }) = request.state else {
            return Ok(None);
        };
        let find = |tx| async move { Ok::<_, Error>(self.accounts.find(&tx, account).await?) };
        let Some(stored) = self.database.read("find_account", find).await? else { return Ok(None) };
        let key = match self.key_of(&stored).await {
            Ok(key) => key,
            Err(Error::Keys(KeysError::Erased(_))) => return Ok(None),
            Err(error) => return Err(error),
        };
        // No browser goes on to the application: signing out of one is nothing to it, and it is signed in by itself.
        let approved =
            Approved { issuer: &request.issuer, scopes: &request.scopes, authentication, origin: None };
        let given = self.grant_of(client, &approved, (stored.account(), proof), now);
        // They follow from the code, so that whoever has it can be told them again without their being stored.
        Ok(Some((Given { tokens: self.handles.pair_of_device(code), ..given }, key)))
    }

    /// What the device got a moment ago, unless it has gone on with it or another key is proven now.
    async fn given_before(
        &self,
        client: &Client,
        (code, key): (&Handle, Option<ProofKey>),
        now: Timestamp,
    ) -> Result<Answer<TokenSet>, Error> {
        let tokens = self.handles.pair_of_device(code);
        let refresh = tokens.refresh();
        let find = |tx| async move { self.live_grant(&tx, Held::Refresh(refresh), now).await };
        let found = self.database.read("find_grant", find).await?;
        let same =
            |found: &LiveGrant| found.key == key && found.tokens.pair().refresh_use(now) == RefreshUse::First;
        let Some(found) = found.filter(same) else { return Ok(Err(DEVICE_BAD)) };
        let LiveGrant { grant, session, account, authentication, .. } = found;
        let (account, session) = (account.account().clone(), session.session().clone());
        let given = Given { grant, account, authentication, session, tokens, sign_in: None, key };
        self.token_set(client, &given, (None, now)).await.map(Ok)
    }

    /// What the device is told, written down; with the grant that begins if it gets its tokens.
    async fn device_polled(
        &self,
        tx: &Tx,
        (client, hash): (&Client, &HandleHash),
        beginning: Option<&(Given, Arc<SubjectKey>)>,
        now: Timestamp,
    ) -> Result<Polled, Error> {
        let Some(stored) = self.device_of(tx, client.id, hash).await? else { return Ok(Polled::Gone) };
        let (polled, next) = stored.request().clone().polled(now);
        if let Polled::Approved(approver) = polled {
            let account = self.accounts.find(tx, approver.account).await?;
            if account.is_none_or(|found| found.account().lock_at(now).is_some()) {
                return Ok(Polled::Denied);
            }
            let session = self.sessions.find(tx, approver.session).await?;
            if !session.is_some_and(|found| found.session().is_live(now)) {
                return Ok(Polled::Gone);
            }
            // Approved since it was looked up: the device asks again.
            let Some((given, key)) = beginning else { return Ok(Polled::Pending) };
            self.begin_grant(tx, given, (client, key), now).await?;
        }
        if next != *stored.request() {
            self.devices.update(tx, stored, &next).await?;
        }
        Ok(polled)
    }
}

/// Who is signed in.
fn user<A: Action>(permit: &Permit<A>) -> Result<&EndUser, Error> {
    permit.caller().user().ok_or(Error::TokenInvalid)
}

/// Refuses while so many codes were not found that none is looked for.
fn unless_locked(failures: Option<Failures>, now: Timestamp) -> Result<(), Error> {
    failures
        .and_then(|failures| failures.locked_at(now))
        .map_or(Ok(()), |left| Err(Error::UserCodesLocked(left)))
}
