//! A person turns a second factor on, uses it, and leaves a sign-in open.

use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::create_session_response::Result as SignIn;
use portal_proto::auth::v1::factor_proof::Proof;
use portal_proto::auth::v1::mfa_service_client::MfaServiceClient;
use portal_proto::auth::v1::session_service_client::SessionServiceClient;
use portal_tests::{Channel, Person};
use tonic::Status;
use totp_rs::{Builder, Secret};

use crate::sought::Canary;
use crate::story::Values;

fn recovery(code: &str) -> Option<pb::FactorProof> {
    Some(pb::FactorProof { proof: Some(Proof::RecoveryCode(code.to_owned())) })
}

/// What was shown once, as canaries; and the refusals.
pub async fn turn_on(
    channel: &Channel,
    person: &Person,
    values: &Values,
    errors: &mut Vec<Status>,
) -> Vec<Canary> {
    let mut factors = MfaServiceClient::new(person.on(channel));
    let account_id = person.account_id.clone();
    let enroll =
        pb::EnrollTotpRequest { account_id: account_id.clone(), display_name: values.device_name.clone() };
    let long = pb::EnrollTotpRequest { display_name: values.device_name.repeat(99), ..enroll.clone() };
    errors.push(factors.enroll_totp(long).await.unwrap_err());
    let enrolled = factors.enroll_totp(enroll).await.unwrap().into_inner();
    let secret = Secret::try_from_base32(&enrolled.secret).unwrap();
    let totp = Builder::new().with_secret(secret.as_bytes().to_vec()).build().unwrap();
    let confirm = pb::ConfirmTotpRequest {
        account_id: account_id.clone(),
        factor_id: enrolled.factor_id,
        code: totp.generate_current().to_string(),
    };
    let wrong = pb::ConfirmTotpRequest { code: values.device_name.clone(), ..confirm.clone() };
    errors.push(factors.confirm_totp(wrong).await.unwrap_err());
    let first = factors.confirm_totp(confirm).await.unwrap().into_inner().recovery_codes;
    let regenerate = pb::RegenerateRecoveryCodesRequest { account_id, proof: recovery(&first[0]) };
    let codes = factors.regenerate_recovery_codes(regenerate.clone()).await.unwrap().into_inner();
    errors.push(factors.regenerate_recovery_codes(regenerate).await.unwrap_err());
    let codes = codes.recovery_codes;

    let [used, open] = [challenge(channel, values).await, challenge(channel, values).await];
    let mut sessions = SessionServiceClient::new(channel.clone());
    let complete = pb::CompleteMfaRequest { challenge_token: used, proof: recovery(&codes[0]) };
    let session = sessions.complete_mfa(complete.clone()).await.unwrap().into_inner();
    errors.push(sessions.complete_mfa(complete).await.unwrap_err());
    vec![
        Canary::text("factor.secret", &enrolled.secret),
        Canary::bytes("factor.secret", secret.as_bytes()),
        Canary::text("factor.used_code", &first[0]),
        Canary::text("factor.code", &codes[1]),
        Canary::text("mfa_challenge.token", &open),
        Canary::text("token_pair.access_token", &session.access_token),
        Canary::text("token_pair.refresh_token", &session.refresh_token),
    ]
}

async fn challenge(channel: &Channel, values: &Values) -> String {
    let request = pb::CreateSessionRequest {
        email: values.email.clone(),
        password: values.password.clone(),
        device_name: values.device_name.clone(),
        ..pb::CreateSessionRequest::default()
    };
    let reply = SessionServiceClient::new(channel.clone()).create_session(request).await.unwrap();
    match reply.into_inner().result {
        Some(SignIn::MfaChallenge(challenge)) => challenge.challenge_token,
        Some(SignIn::Session(_)) | None => panic!("a sign-in without a challenge"),
    }
}
