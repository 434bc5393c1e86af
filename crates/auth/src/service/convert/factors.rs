//! Second factors and passkeys: messages to domain types and back.

use std::mem::take;

use portal_core::id::{AccountId, FactorId, Id, SessionId};
use portal_core::{Invalid, PageSize, Sensitive};
use portal_mesh::convert::timestamp;
use portal_proto::auth::v1 as pb;

use super::{MAX_DEVICE_NAME, MAX_FACTOR_NAME, RequestId, page_size, request_id};
use crate::app::passkeys::Hint;
use crate::app::sign_in::Wanted;
use crate::domain::{
    Assertion, DeviceName, DisplayName, Email, Factor, FactorKind, FactorSecret, FactorState, Handle, Proof,
};

pub(in crate::service) fn enroll_totp(
    request: pb::EnrollTotpRequest,
) -> Result<(AccountId, DisplayName), Invalid> {
    let mut invalid = Invalid::new();
    let account = invalid.check("account_id", AccountId::parse(&request.account_id));
    let name = invalid.text("display_name", request.display_name, 0, MAX_FACTOR_NAME);
    invalid.finish(account.zip(name.map(DisplayName::new)))
}

pub(in crate::service) fn confirm_totp(
    request: &pb::ConfirmTotpRequest,
) -> Result<((AccountId, FactorId), Proof), Invalid> {
    let mut invalid = Invalid::new();
    let account = invalid.check("account_id", AccountId::parse(&request.account_id));
    let factor = invalid.check("factor_id", FactorId::parse(&request.factor_id));
    let proof = invalid.check("code", Proof::totp(&request.code));
    invalid.finish(account.zip(factor).zip(proof))
}

/// Whose factor is proven, and how.
pub(in crate::service) fn proven(
    account_id: &str,
    shown: Option<&pb::FactorProof>,
) -> Result<(AccountId, Proof), Invalid> {
    let mut invalid = Invalid::new();
    let account = invalid.check("account_id", AccountId::parse(account_id));
    let proof = proof(&mut invalid, shown);
    invalid.finish(account.zip(proof))
}

pub(in crate::service) fn delete_factor(
    request: &pb::DeleteFactorRequest,
) -> Result<((AccountId, FactorId), Proof), Invalid> {
    let mut invalid = Invalid::new();
    let account = invalid.check("account_id", AccountId::parse(&request.account_id));
    let factor = invalid.check("factor_id", FactorId::parse(&request.factor_id));
    let proof = proof(&mut invalid, request.proof.as_ref());
    invalid.finish(account.zip(factor).zip(proof))
}

pub(in crate::service) fn factor_list(
    request: &pb::ListFactorsRequest,
) -> Result<(AccountId, PageSize), Invalid> {
    let mut invalid = Invalid::new();
    let account = invalid.check("account_id", AccountId::parse(&request.account_id));
    let page_size = page_size(&mut invalid, request.page_size);
    invalid.finish(account.zip(page_size))
}

pub(super) fn proof(invalid: &mut Invalid, proof: Option<&pb::FactorProof>) -> Option<Proof> {
    match proof.and_then(|proof| proof.proof.as_ref()) {
        Some(pb::factor_proof::Proof::TotpCode(code)) => invalid.check("proof.totp_code", Proof::totp(code)),
        Some(pb::factor_proof::Proof::RecoveryCode(code)) => {
            invalid.check("proof.recovery_code", Proof::recovery_code(code))
        }
        Some(pb::factor_proof::Proof::Passkey(shown)) => Some(Proof::Passkey(assertion(shown))),
        None => {
            invalid.add("proof", "must be a totp_code, a recovery_code or a passkey");
            None
        }
    }
}

/// What a passkey answered. Whatever is wrong with it is told by its use alone.
fn assertion(shown: &pb::PasskeyAssertion) -> Assertion {
    Assertion {
        ceremony: Handle::parse(&shown.authentication_id),
        credential_json: Sensitive::new(shown.credential_json.clone()),
    }
}

pub(in crate::service) fn begin_registration(
    request: &pb::BeginPasskeyRegistrationRequest,
) -> Result<AccountId, Invalid> {
    let mut invalid = Invalid::new();
    let account = invalid.check("account_id", AccountId::parse(&request.account_id));
    invalid.finish(account)
}

/// For whom, under which name; the answer; the request.
pub(in crate::service) fn finish_registration(
    request: &pb::FinishPasskeyRegistrationRequest,
) -> Result<((AccountId, DisplayName), Assertion, RequestId), Invalid> {
    let mut invalid = Invalid::new();
    let account = invalid.check("account_id", AccountId::parse(&request.account_id));
    let name = invalid.text("display_name", request.display_name.clone(), 0, MAX_FACTOR_NAME);
    let id = request_id(&mut invalid, &request.request_id);
    let ((account, name), id) = invalid.finish(account.zip(name).zip(id))?;
    let ceremony = Handle::parse(&request.registration_id);
    let credential_json = Sensitive::new(request.credential_json.clone());
    Ok(((account, DisplayName::new(name)), Assertion { ceremony, credential_json }, id))
}

pub(in crate::service) fn hint(request: &pb::BeginPasskeyAuthenticationRequest) -> Result<Hint, Invalid> {
    use pb::begin_passkey_authentication_request::Hint as Given;
    let mut invalid = Invalid::new();
    let hint = match &request.hint {
        None => Some(Hint::Anybody),
        Some(Given::Email(email)) => invalid.check("email", Email::parse(email)).map(Hint::Email),
        Some(Given::ChallengeToken(token)) => Some(Hint::Challenge(Handle::parse(token))),
    };
    invalid.finish(hint)
}

pub(in crate::service) fn finish_authentication(
    mut request: pb::FinishPasskeyAuthenticationRequest,
    raises: Option<SessionId>,
) -> Result<(Assertion, Wanted), Invalid> {
    let mut invalid = Invalid::new();
    let device_name = invalid.text("device_name", take(&mut request.device_name), 0, MAX_DEVICE_NAME);
    if request.assertion.is_none() {
        invalid.add("assertion", "must be there");
    }
    let (device_name, shown) = invalid.finish(device_name.zip(request.assertion))?;
    let wanted =
        Wanted { remember_me: request.remember_me, device_name: DeviceName::new(device_name), raises };
    Ok((assertion(&shown), wanted))
}

/// A factor that counts, without its secret.
pub(in crate::service) fn factor(factor: &Factor) -> pb::Factor {
    let confirmed_at = match factor.state {
        FactorState::Confirmed(at) => Some(timestamp(at)),
        FactorState::Pending(_) => None,
    };
    let remaining_codes = match &factor.secret {
        FactorSecret::RecoveryCodes(codes) => i32::try_from(codes.len()).unwrap_or(i32::MAX),
        FactorSecret::Passkey(_) | FactorSecret::Totp(_) => 0,
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

pub(super) const fn factor_type(kind: FactorKind) -> pb::FactorType {
    match kind {
        FactorKind::Passkey => pb::FactorType::Passkey,
        FactorKind::RecoveryCodes => pb::FactorType::RecoveryCodes,
        FactorKind::Totp => pb::FactorType::Totp,
    }
}
