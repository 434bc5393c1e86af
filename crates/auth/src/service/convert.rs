//! Messages to domain types and back. A request is read whole: every violation is told at once.

use std::mem::take;

use portal_core::id::{AccountId, FactorId, Id, SessionId};
use portal_core::{Invalid, PageSize, Role, Timestamp, Workload};
use portal_mesh::convert::{parse_timestamp, timestamp};
use portal_proto::auth::v1 as pb;
use portal_upkeep::audit::Sought;

use crate::app::accounts::{AccountChange, NewAccount};
use crate::app::passwords::PasswordChange;
use crate::app::sign_in::{Challenged, SignIn, SignedIn};
use crate::domain::{
    Account, DeviceName, DisplayName, Email, Etag, Factor, FactorKind, FactorSecret, FactorState, Handle,
    Lock, NamedSession, NewPassword, OfferedPassword, Profiled, Proof, Roles,
};

const MAX_DISPLAY_NAME: usize = 200;
const MAX_DEVICE_NAME: usize = 100;
const MAX_FACTOR_NAME: usize = 100;
const MAX_ACTIONS: usize = 50;
const MAX_LOCK_REASON: usize = 500;

/// The id of a request, in its one spelling.
pub(super) struct RequestId(pub(super) Option<String>);

fn request_id(invalid: &mut Invalid, text: &str) -> Option<RequestId> {
    if text.is_empty() {
        return Some(RequestId(None));
    }
    // Any UUID will do; which newtype reads it does not matter.
    invalid.check("request_id", AccountId::parse(text)).map(|id| RequestId(Some(id.to_string())))
}

fn etag(text: &str) -> Option<Etag> {
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
    let locked = match pb::account::State::try_from(request.state) {
        Ok(pb::account::State::Unspecified) => None,
        Ok(pb::account::State::Active) => Some(false),
        Ok(pb::account::State::Locked) => Some(true),
        Ok(pb::account::State::Deleted) | Err(_) => {
            invalid.add("state", "must be STATE_ACTIVE, STATE_LOCKED or unspecified");
            None
        }
    };
    invalid.finish(page_size.map(|page_size| AccountList { email, role, locked, page_size }))
}

fn page_size(invalid: &mut Invalid, size: i32) -> Option<PageSize> {
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

pub(super) fn sign_in(mut request: pb::CreateSessionRequest) -> Result<SignIn, Invalid> {
    let mut invalid = Invalid::new();
    let email = invalid.check("email", Email::parse(&request.email));
    let password = invalid.check("password", OfferedPassword::parse(take(&mut request.password)));
    let device_name = invalid.text("device_name", take(&mut request.device_name), 0, MAX_DEVICE_NAME);
    let ((email, password), device) = invalid.finish(email.zip(password).zip(device_name))?;
    let remember_me = request.remember_me;
    Ok(SignIn { email, password, remember_me, device_name: DeviceName::new(device) })
}

/// The handle of the challenge, if it can be one at all, and the proof.
pub(super) fn complete_mfa(request: &pb::CompleteMfaRequest) -> Result<(Option<Handle>, Proof), Invalid> {
    let mut invalid = Invalid::new();
    let proof = proof(&mut invalid, request.proof.as_ref());
    Ok((Handle::parse(&request.challenge_token), invalid.finish(proof)?))
}

pub(super) fn enroll_totp(request: pb::EnrollTotpRequest) -> Result<(AccountId, DisplayName), Invalid> {
    let mut invalid = Invalid::new();
    let account = invalid.check("account_id", AccountId::parse(&request.account_id));
    let name = invalid.text("display_name", request.display_name, 0, MAX_FACTOR_NAME);
    invalid.finish(account.zip(name.map(DisplayName::new)))
}

pub(super) fn confirm_totp(
    request: &pb::ConfirmTotpRequest,
) -> Result<((AccountId, FactorId), Proof), Invalid> {
    let mut invalid = Invalid::new();
    let account = invalid.check("account_id", AccountId::parse(&request.account_id));
    let factor = invalid.check("factor_id", FactorId::parse(&request.factor_id));
    let proof = invalid.check("code", Proof::totp(&request.code));
    invalid.finish(account.zip(factor).zip(proof))
}

/// Whose factor is proven, and how.
pub(super) fn proven(
    account_id: &str,
    shown: Option<&pb::FactorProof>,
) -> Result<(AccountId, Proof), Invalid> {
    let mut invalid = Invalid::new();
    let account = invalid.check("account_id", AccountId::parse(account_id));
    let proof = proof(&mut invalid, shown);
    invalid.finish(account.zip(proof))
}

pub(super) fn delete_factor(
    request: &pb::DeleteFactorRequest,
) -> Result<((AccountId, FactorId), Proof), Invalid> {
    let mut invalid = Invalid::new();
    let account = invalid.check("account_id", AccountId::parse(&request.account_id));
    let factor = invalid.check("factor_id", FactorId::parse(&request.factor_id));
    let proof = proof(&mut invalid, request.proof.as_ref());
    invalid.finish(account.zip(factor).zip(proof))
}

pub(super) fn factor_list(request: &pb::ListFactorsRequest) -> Result<(AccountId, PageSize), Invalid> {
    let mut invalid = Invalid::new();
    let account = invalid.check("account_id", AccountId::parse(&request.account_id));
    let page_size = page_size(&mut invalid, request.page_size);
    invalid.finish(account.zip(page_size))
}

fn proof(invalid: &mut Invalid, proof: Option<&pb::FactorProof>) -> Option<Proof> {
    match proof.and_then(|proof| proof.proof.as_ref()) {
        Some(pb::factor_proof::Proof::TotpCode(code)) => invalid.check("proof.totp_code", Proof::totp(code)),
        Some(pb::factor_proof::Proof::RecoveryCode(code)) => {
            invalid.check("proof.recovery_code", Proof::recovery_code(code))
        }
        Some(pb::factor_proof::Proof::Passkey(_)) | None => {
            invalid.add("proof", "must be a totp_code or a recovery_code");
            None
        }
    }
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
pub(super) fn exchange(request: &pb::ExchangeTokenRequest) -> Result<(Workload, Option<Handle>), Invalid> {
    let mut invalid = Invalid::new();
    let audience = match request.audience.parse() {
        Ok(audience @ (Workload::Auth | Workload::Consent | Workload::Valuation)) => Some(audience),
        Ok(Workload::Gateway) | Err(_) => {
            invalid.add("audience", "must be one of auth, consent, valuation");
            None
        }
    };
    Ok((invalid.finish(audience)?, Handle::parse(&request.access_token)))
}

pub(super) fn account(profiled: &Profiled, now: Timestamp) -> pb::Account {
    let Profiled { account, profile } = profiled;
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

/// A session without its tokens.
pub(super) fn session(named: &NamedSession) -> pb::Session {
    let NamedSession { session, device_name, context } = named;
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
        ..pb::Session::default()
    }
}

pub(super) fn signed_in(signed_in: &SignedIn) -> pb::Session {
    pb::Session {
        access_token: signed_in.tokens.access().to_text(),
        refresh_token: signed_in.tokens.refresh().to_text(),
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

/// A factor that counts, without its secret.
pub(super) fn factor(factor: &Factor) -> pb::Factor {
    let confirmed_at = match factor.state {
        FactorState::Confirmed(at) => Some(timestamp(at)),
        FactorState::Pending(_) => None,
    };
    let remaining_codes = match &factor.secret {
        FactorSecret::RecoveryCodes(codes) => i32::try_from(codes.len()).unwrap_or(i32::MAX),
        FactorSecret::Totp(_) => 0,
    };
    pb::Factor {
        factor_id: factor.id.to_string(),
        account_id: factor.account.to_string(),
        r#type: factor_type(factor.kind()).into(),
        display_name: factor.name.expose().to_owned(),
        create_time: confirmed_at,
        last_use_time: factor.last_used_at.map(timestamp),
        remaining_codes,
    }
}

const fn factor_type(kind: FactorKind) -> pb::FactorType {
    match kind {
        FactorKind::RecoveryCodes => pb::FactorType::RecoveryCodes,
        FactorKind::Totp => pb::FactorType::Totp,
    }
}
