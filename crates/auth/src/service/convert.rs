//! Messages to domain types and back. A request is read whole: every violation is told at once.

mod factors;

use std::collections::BTreeSet;
use std::mem::take;

use portal_core::id::{AccountId, Id, SessionId};
use portal_core::{Invalid, PageSize, Role, Scope, Timestamp, Workload};
use portal_crypto::jose::PublicKey;
use portal_mesh::convert::{parse_timestamp, timestamp};
use portal_proto::auth::v1 as pb;
use portal_upkeep::audit::Sought;

use crate::app::accounts::{AccountChange, NewAccount, Shown};
use crate::app::contact::ProfileChange;
use crate::app::passwords::PasswordChange;
use crate::app::recovery::Recovery;
use crate::app::sign_in::{Challenged, SignIn, SignedIn};
use crate::app::signing::OpenedKey;
use crate::domain::{
    Account, Approval, DeviceName, DisplayName, Email, Etag, Handle, Lock, NamedSession, NewPassword,
    OfferedPassword, Profiled, Proof, ProofKey, Roles, Tombstone,
};

pub(super) use factors::{
    begin_registration, confirm_totp, delete_factor, enroll_totp, factor, factor_list, finish_authentication,
    finish_registration, hint, proven,
};
use factors::{factor_type, proof};

const MAX_DISPLAY_NAME: usize = 200;
const MAX_DEVICE_NAME: usize = 100;
const MAX_FACTOR_NAME: usize = 100;
const MAX_ACTIONS: usize = 50;
const MAX_LOCK_REASON: usize = 500;

/// The id of a request, in its one spelling.
pub(super) struct RequestId(pub(super) Option<String>);

pub(super) fn request_id(invalid: &mut Invalid, text: &str) -> Option<RequestId> {
    if text.is_empty() {
        return Some(RequestId(None));
    }
    // Any UUID will do; which newtype reads it does not matter.
    invalid.check("request_id", AccountId::parse(text)).map(|id| RequestId(Some(id.to_string())))
}

pub(super) fn etag(text: &str) -> Option<Etag> {
    (!text.is_empty()).then(|| Etag(text.to_owned()))
}

/// Takes the password out of `request`, which can be remembered then.
pub(super) fn new_account(
    request: &mut pb::CreateAccountRequest,
) -> Result<(NewAccount, RequestId), Invalid> {
    let mut invalid = Invalid::new();
    let email = invalid.check("email", Email::parse(&request.email));
    let password = invalid.check("password", NewPassword::parse(take(&mut request.password)));
    let display_name = invalid.text("display_name", request.display_name.clone(), 0, MAX_DISPLAY_NAME);
    let id = request_id(&mut invalid, &request.request_id);
    let parsed = email.zip(password).zip(display_name).zip(id);
    let (((email, password), name), id) = invalid.finish(parsed)?;
    Ok((NewAccount { email, password, display_name: DisplayName::new(name) }, id))
}

/// Takes the passwords out of `request`, which can be remembered then.
pub(super) fn change_password(
    request: &mut pb::ChangePasswordRequest,
) -> Result<(PasswordChange, RequestId), Invalid> {
    let mut invalid = Invalid::new();
    let account = invalid.check("account_id", AccountId::parse(&request.account_id));
    let current = OfferedPassword::parse(take(&mut request.current_password));
    let current = invalid.check("current_password", current);
    let new = invalid.check("new_password", NewPassword::parse(take(&mut request.new_password)));
    let id = request_id(&mut invalid, &request.request_id);
    let (((account, current), new), id) = invalid.finish(account.zip(current).zip(new).zip(id))?;
    Ok((PasswordChange { account, current, new }, id))
}

/// What is to be changed of a profile; without a mask all that a mask may name.
pub(super) fn update_account(
    request: &pb::UpdateAccountRequest,
) -> Result<(AccountChange<ProfileChange>, RequestId), Invalid> {
    let mut invalid = Invalid::new();
    let none = pb::Account::default();
    let given = request.account.as_ref().unwrap_or(&none);
    let account = invalid.check("account.account_id", AccountId::parse(&given.account_id));
    let paths = request.update_mask.as_ref().map_or(&[][..], |mask| &mask.paths);
    for (index, path) in paths.iter().enumerate() {
        if !["display_name", "email"].contains(&path.as_str()) {
            invalid.add(&format!("update_mask.paths[{index}]"), "must be display_name or email");
        }
    }
    let named = |name: &str| paths.iter().any(|path| path == name);
    let display_name = (paths.is_empty() || named("display_name"))
        .then(|| invalid.text("account.display_name", given.display_name.clone(), 0, MAX_DISPLAY_NAME));
    let email = (paths.is_empty() || named("email"))
        .then(|| invalid.check("account.email", Email::parse(&given.email)));
    let id = request_id(&mut invalid, &request.request_id);
    let again = named("email");
    let (account, id) = invalid.finish(account.zip(id))?;
    let to = ProfileChange {
        display_name: display_name.flatten().map(DisplayName::new),
        email: email.flatten(),
        again,
    };
    Ok((AccountChange { account, etag: etag(&given.etag), to }, id))
}

pub(super) fn delete_account(
    request: &pb::DeleteAccountRequest,
) -> Result<(AccountChange<()>, RequestId), Invalid> {
    let mut invalid = Invalid::new();
    let account = invalid.check("account_id", AccountId::parse(&request.account_id));
    let id = request_id(&mut invalid, &request.request_id);
    let (account, id) = invalid.finish(account.zip(id))?;
    Ok((AccountChange { account, etag: etag(&request.etag), to: () }, id))
}

pub(super) fn export(request: &pb::ExportAccountRequest) -> Result<(AccountId, PageSize), Invalid> {
    let mut invalid = Invalid::new();
    let account = invalid.check("account_id", AccountId::parse(&request.account_id));
    let page_size = page_size(&mut invalid, request.page_size);
    invalid.finish(account.zip(page_size))
}

pub(super) fn start_recovery(request: &pb::StartRecoveryRequest) -> Result<(Email, RequestId), Invalid> {
    let mut invalid = Invalid::new();
    let email = invalid.check("email", Email::parse(&request.email));
    let id = request_id(&mut invalid, &request.request_id);
    invalid.finish(email.zip(id))
}

/// Takes the password out of `request`, which can be remembered then; its token is good once.
pub(super) fn complete_recovery(
    request: &mut pb::CompleteRecoveryRequest,
) -> Result<(Recovery, RequestId), Invalid> {
    let mut invalid = Invalid::new();
    let password = invalid.check("new_password", NewPassword::parse(take(&mut request.new_password)));
    let id = request_id(&mut invalid, &request.request_id);
    let (password, id) = invalid.finish(password.zip(id))?;
    Ok((Recovery { token: Handle::parse(&request.recovery_token), password }, id))
}

/// The token, if it can be one at all.
pub(super) fn verify_email(request: &pb::VerifyEmailRequest) -> Result<(Option<Handle>, RequestId), Invalid> {
    let mut invalid = Invalid::new();
    let id = request_id(&mut invalid, &request.request_id);
    Ok((Handle::parse(&request.verification_token), invalid.finish(id)?))
}

/// Which events are asked for.
pub(super) fn audit_list(request: &pb::ListAuditEventsRequest) -> Result<(Sought, PageSize), Invalid> {
    let mut invalid = Invalid::new();
    let page_size = page_size(&mut invalid, request.page_size);
    let account = Some(request.account_id.as_str()).filter(|text| !text.is_empty());
    let account = account.and_then(|text| invalid.check("account_id", AccountId::parse(text)));
    let mut time = |field, time| {
        let time: Option<prost_types::Timestamp> = time;
        time.and_then(|time| invalid.check(field, parse_timestamp(time)))
    };
    let (start, end) = (time("start_time", request.start_time), time("end_time", request.end_time));
    let actions = check_actions(&mut invalid, request.actions.clone());
    let sought = actions.map(|actions| Sought { account, actions, start, end });
    invalid.finish(sought.zip(page_size))
}

/// Which actions are followed.
pub(super) fn audit_actions(actions: Vec<String>) -> Result<Vec<String>, Invalid> {
    let mut invalid = Invalid::new();
    let actions = check_actions(&mut invalid, actions);
    invalid.finish(actions)
}

fn check_actions(invalid: &mut Invalid, actions: Vec<String>) -> Option<Vec<String>> {
    if actions.len() > MAX_ACTIONS {
        invalid.add("actions", "must be 50 at most");
        return None;
    }
    Some(actions)
}

/// An id and nothing else.
pub(super) fn id<T: Id>(field: &str, text: &str) -> Result<T, Invalid> {
    T::parse(text).map_err(|error| Invalid::field(field, error))
}

/// Which accounts to list; the e-mail address is looked up by the caller.
pub(super) struct AccountList {
    pub(super) email: Option<Email>,
    pub(super) role: Option<Role>,
    pub(super) locked: Option<bool>,
    /// What is left of deleted accounts, and nothing else.
    pub(super) deleted: bool,
    pub(super) page_size: PageSize,
}

pub(super) fn account_list(request: &pb::ListAccountsRequest) -> Result<AccountList, Invalid> {
    let mut invalid = Invalid::new();
    let page_size = page_size(&mut invalid, request.page_size);
    let given = |text: &str| !text.is_empty();
    let email = Some(request.email.as_str()).filter(|text| given(text));
    let email = email.and_then(|text| invalid.check("email", Email::parse(text)));
    let role = Some(request.role.as_str()).filter(|text| given(text));
    let role = role.and_then(|text| invalid.check("role", text.parse()));
    let (locked, deleted) = match pb::account::State::try_from(request.state) {
        Ok(pb::account::State::Unspecified) => (None, false),
        Ok(pb::account::State::Active) => (Some(false), false),
        Ok(pb::account::State::Locked) => (Some(true), false),
        Ok(pb::account::State::Deleted) => (None, true),
        Err(_) => {
            invalid.add("state", "must be STATE_ACTIVE, STATE_LOCKED, STATE_DELETED or unspecified");
            (None, false)
        }
    };
    if deleted && (email.is_some() || role.is_some()) {
        invalid.add("state", "must not be STATE_DELETED beside email or role: deleted accounts have neither");
    }
    invalid.finish(page_size.map(|page_size| AccountList { email, role, locked, deleted, page_size }))
}

pub(super) fn page_size(invalid: &mut Invalid, size: i32) -> Option<PageSize> {
    invalid.check("page_size", PageSize::parse(size).map_err(|_| "must not be negative"))
}

pub(super) fn roles(request: &pb::SetRolesRequest) -> Result<(AccountChange<Roles>, RequestId), Invalid> {
    let mut invalid = Invalid::new();
    let account = invalid.check("account_id", AccountId::parse(&request.account_id));
    let mut roles = Vec::new();
    for (index, name) in request.roles.iter().enumerate() {
        roles.extend(invalid.check(&format!("roles[{index}]"), name.parse::<Role>()));
    }
    let roles = invalid.check("roles", Roles::new(roles));
    let id = request_id(&mut invalid, &request.request_id);
    let ((account, to), id) = invalid.finish(account.zip(roles).zip(id))?;
    Ok((AccountChange { account, etag: etag(&request.etag), to }, id))
}

pub(super) fn lock(
    request: &pb::LockAccountRequest,
    now: Timestamp,
) -> Result<(AccountChange<Lock>, RequestId), Invalid> {
    let mut invalid = Invalid::new();
    let account = invalid.check("account_id", AccountId::parse(&request.account_id));
    let reason = invalid.text("reason", request.reason.clone(), 0, MAX_LOCK_REASON);
    let lock = match request.expire_time {
        None => Some(Lock::Open),
        Some(time) => invalid.check("expire_time", parse_timestamp(time)).map(Lock::Until),
    };
    if matches!(lock, Some(Lock::Until(end)) if end <= now) {
        invalid.add("expire_time", "must be in the future");
    }
    let id = request_id(&mut invalid, &request.request_id);
    let (((account, _reason), to), id) = invalid.finish(account.zip(reason).zip(lock).zip(id))?;
    Ok((AccountChange { account, etag: etag(&request.etag), to }, id))
}

pub(super) fn unlock(request: &pb::UnlockAccountRequest) -> Result<(AccountChange<()>, RequestId), Invalid> {
    let mut invalid = Invalid::new();
    let account = invalid.check("account_id", AccountId::parse(&request.account_id));
    let reason = invalid.text("reason", request.reason.clone(), 0, MAX_LOCK_REASON);
    let id = request_id(&mut invalid, &request.request_id);
    let ((account, _reason), id) = invalid.finish(account.zip(reason).zip(id))?;
    Ok((AccountChange { account, etag: etag(&request.etag), to: () }, id))
}

pub(super) fn sign_in(
    mut request: pb::CreateSessionRequest,
    raises: Option<SessionId>,
) -> Result<SignIn, Invalid> {
    let mut invalid = Invalid::new();
    let email = invalid.check("email", Email::parse(&request.email));
    let password = invalid.check("password", OfferedPassword::parse(take(&mut request.password)));
    let device_name = invalid.text("device_name", take(&mut request.device_name), 0, MAX_DEVICE_NAME);
    let ((email, password), device) = invalid.finish(email.zip(password).zip(device_name))?;
    let remember_me = request.remember_me;
    Ok(SignIn { email, password, remember_me, device_name: DeviceName::new(device), raises })
}

/// The handle of the challenge, if it can be one at all, and the proof.
pub(super) fn complete_mfa(request: &pb::CompleteMfaRequest) -> Result<(Option<Handle>, Proof), Invalid> {
    let mut invalid = Invalid::new();
    let proof = proof(&mut invalid, request.proof.as_ref());
    Ok((Handle::parse(&request.challenge_token), invalid.finish(proof)?))
}

pub(super) fn session_list(request: &pb::ListSessionsRequest) -> Result<(AccountId, PageSize), Invalid> {
    let mut invalid = Invalid::new();
    let account = invalid.check("account_id", AccountId::parse(&request.account_id));
    let page_size = page_size(&mut invalid, request.page_size);
    invalid.finish(account.zip(page_size))
}

pub(super) fn revoke_session(request: &pb::RevokeSessionRequest) -> Result<(SessionId, RequestId), Invalid> {
    let mut invalid = Invalid::new();
    let session = invalid.check("session_id", SessionId::parse(&request.session_id));
    let id = request_id(&mut invalid, &request.request_id);
    invalid.finish(session.zip(id))
}

pub(super) fn revoke_all(request: &pb::RevokeAllSessionsRequest) -> Result<(AccountId, RequestId), Invalid> {
    let mut invalid = Invalid::new();
    let account = invalid.check("account_id", AccountId::parse(&request.account_id));
    let id = request_id(&mut invalid, &request.request_id);
    invalid.finish(account.zip(id))
}

/// The audience, and the handle if it can be one at all.
/// For whom, what and with which key proven a token is asked for.
pub(super) fn exchange(
    request: &pb::ExchangeTokenRequest,
) -> Result<(Workload, Option<Handle>, Option<ProofKey>), Invalid> {
    let mut invalid = Invalid::new();
    let audience = match request.audience.parse() {
        Ok(audience @ (Workload::Auth | Workload::Consent | Workload::Valuation)) => Some(audience),
        Ok(Workload::Gateway) | Err(_) => {
            invalid.add("audience", "must be one of auth, consent, valuation");
            None
        }
    };
    let proven = proof_key(&mut invalid, &request.dpop_jkt);
    let (audience, proven) = invalid.finish(audience.zip(proven))?;
    Ok((audience, Handle::parse(&request.access_token), proven))
}

/// A thumbprint, if there is one.
fn proof_key(invalid: &mut Invalid, text: &str) -> Option<Option<ProofKey>> {
    if text.is_empty() {
        return Some(None);
    }
    let key = ProofKey::parse(text).ok_or("must be the thumbprint of a key (RFC 7638)");
    invalid.check("dpop_jkt", key).map(Some)
}

pub(super) fn shown(shown: &Shown, now: Timestamp) -> pb::Account {
    match shown {
        Shown::Account(profiled) => account(profiled, now),
        Shown::Tombstone(stone) => tombstone(stone),
    }
}

/// What is left of a deleted account.
pub(super) fn tombstone(stone: &Tombstone) -> pb::Account {
    pb::Account {
        account_id: stone.account.to_string(),
        subject_id: stone.subject.to_string(),
        state: pb::account::State::Deleted.into(),
        create_time: Some(timestamp(stone.created_at)),
        update_time: Some(timestamp(stone.deleted_at)),
        delete_time: Some(timestamp(stone.deleted_at)),
        ..pb::Account::default()
    }
}

pub(super) fn account(profiled: &Profiled, now: Timestamp) -> pb::Account {
    let Profiled { account, profile, contact } = profiled;
    let lock = account.lock_at(now);
    let state = if lock.is_some() { pb::account::State::Locked } else { pb::account::State::Active };
    pb::Account {
        account_id: account.id().to_string(),
        subject_id: account.subject().to_string(),
        email: profile.as_ref().map(|profile| profile.email.expose().to_owned()).unwrap_or_default(),
        display_name: profile
            .as_ref()
            .map(|profile| profile.display_name.expose().to_owned())
            .unwrap_or_default(),
        roles: role_names(account),
        state: state.into(),
        etag: account.etag().0,
        create_time: Some(timestamp(account.created_at())),
        update_time: Some(timestamp(account.updated_at())),
        email_verify_time: contact.verified_at.map(timestamp),
        pending_email: contact.pending.as_ref().map(|email| email.expose().to_owned()).unwrap_or_default(),
        lock_expire_time: match lock {
            Some(Lock::Until(end)) => Some(timestamp(end)),
            Some(Lock::Open) | None => None,
        },
        ..pb::Account::default()
    }
}

pub(super) fn role_names(account: &Account) -> Vec<String> {
    account.roles().iter().map(|role| role.name().to_owned()).collect()
}

/// Scopes by their names.
pub(super) fn scope_names(scopes: &BTreeSet<Scope>) -> Vec<String> {
    scopes.iter().map(|scope| scope.name().to_owned()).collect()
}

/// What a person allowed a client.
pub(super) fn approval(approval: &Approval) -> pb::export_account_response::Approval {
    pb::export_account_response::Approval {
        client_id: approval.client.to_string(),
        client_display_name: approval.client_name.clone(),
        scopes: scope_names(&approval.scopes),
        approve_time: Some(timestamp(approval.approved_at)),
    }
}

/// A session without its tokens.
pub(super) fn session(named: &NamedSession) -> pb::Session {
    let NamedSession { session, device_name, context, client } = named;
    pb::Session {
        session_id: session.id.to_string(),
        account_id: session.account.to_string(),
        access_expire_time: Some(timestamp(session.access_expires_at)),
        refresh_expire_time: Some(timestamp(session.refresh_expires_at)),
        device_name: device_name.expose().to_owned(),
        create_time: Some(timestamp(session.created_at)),
        last_use_time: Some(timestamp(session.last_used_at)),
        remember_me: session.remember_me,
        last_address: context.last_network.as_ref().map_or_else(String::new, |it| it.expose().to_owned()),
        acr: context.acr.name().to_owned(),
        client_id: client.map_or_else(String::new, |client| client.to_string()),
        ..pb::Session::default()
    }
}

pub(super) fn signed_in(signed_in: &SignedIn) -> pb::Session {
    pb::Session {
        access_token: signed_in.tokens.access().to_text(),
        refresh_token: if signed_in.raised { String::new() } else { signed_in.tokens.refresh().to_text() },
        subject_id: signed_in.account.subject().to_string(),
        roles: role_names(&signed_in.account),
        ..session(&signed_in.session)
    }
}

pub(super) fn challenge(challenged: &Challenged) -> pb::MfaChallenge {
    pb::MfaChallenge {
        challenge_token: challenged.handle.to_text(),
        expire_time: Some(timestamp(challenged.expires_at)),
        factor_types: challenged.kinds.iter().map(|kind| factor_type(*kind).into()).collect(),
    }
}

/// A key as RFC 7517 and RFC 9964 have it.
pub(super) fn json_web_key(key: &OpenedKey) -> pb::JsonWebKey {
    let of_type = |kty: &str, crv: &str| pb::JsonWebKey {
        kid: key.key.id.to_string(),
        kty: kty.to_owned(),
        alg: key.key.algorithm.name().to_owned(),
        r#use: "sig".to_owned(),
        crv: crv.to_owned(),
        start_time: Some(timestamp(key.key.not_before)),
        expire_time: key.key.verify_until.map(timestamp),
        ..pb::JsonWebKey::default()
    };
    match key.public() {
        PublicKey::MlDsa65(public) => {
            pb::JsonWebKey { r#pub: public.as_bytes().to_vec(), ..of_type("AKP", "") }
        }
        PublicKey::P256(public) => {
            pb::JsonWebKey { x: public.x().to_vec(), y: public.y().to_vec(), ..of_type("EC", "P-256") }
        }
        PublicKey::Ed25519(public) => {
            pb::JsonWebKey { x: public.as_bytes().to_vec(), ..of_type("OKP", "Ed25519") }
        }
    }
}
