//! A person makes a passkey, turns a second factor on, uses both, and leaves a sign-in and a ceremony open.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::create_session_response::Result as SignIn;
use portal_proto::auth::v1::factor_proof::Proof;
use portal_proto::auth::v1::mfa_service_client::MfaServiceClient;
use portal_proto::auth::v1::session_service_client::SessionServiceClient;
use portal_testkit::Authenticator;
use portal_tests::{Channel, Person, uuid};
use tonic::Status;
use totp_rs::{Builder, Secret};

use crate::sought::Canary;
use crate::story::Values;

/// Where `portal up` takes passkeys.
const ORIGIN: &str = "http://localhost:8080";

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
    // Begun before there is a second factor: from then on it would have to be used first.
    let begin = pb::BeginPasskeyRegistrationRequest { account_id: account_id.clone() };
    let begun = factors.begin_passkey_registration(begin).await.unwrap().into_inner();
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
    let mut authenticator = made(&mut factors, &account_id, &begun, (values, errors)).await;
    let first = factors.confirm_totp(confirm).await.unwrap().into_inner().recovery_codes;
    let regenerate = pb::RegenerateRecoveryCodesRequest { account_id, proof: recovery(&first[0]) };
    let codes = factors.regenerate_recovery_codes(regenerate.clone()).await.unwrap().into_inner();
    errors.push(factors.regenerate_recovery_codes(regenerate).await.unwrap_err());
    let codes = codes.recovery_codes;

    let [used, open] = [challenge(channel, values).await, challenge(channel, values).await];
    let mut sessions = SessionServiceClient::new(channel.clone());
    let complete =
        pb::CompleteMfaRequest { challenge_token: used, proof: recovery(&codes[0]), raise_session: false };
    let session = sessions.complete_mfa(complete.clone()).await.unwrap().into_inner();
    errors.push(sessions.complete_mfa(complete).await.unwrap_err());
    let (by_passkey, left_open) = passkey(channel, values, &mut authenticator, errors).await;
    vec![
        Canary::text("passkey.ceremony", &left_open.authentication_id),
        Canary::text("passkey.challenge", &challenge_of(&left_open.options_json)),
        Canary::text("passkey.challenge", &challenge_of(&begun.options_json)),
        Canary::bytes("passkey.credential_id", &authenticator.credential_id),
        Canary::text("passkey.user_handle", &URL_SAFE_NO_PAD.encode(&authenticator.user_handle)),
        Canary::text("token_pair.access_token", &by_passkey.access_token),
        Canary::text("factor.secret", &enrolled.secret),
        Canary::bytes("factor.secret", secret.as_bytes()),
        Canary::text("factor.used_code", &first[0]),
        Canary::text("factor.code", &codes[1]),
        Canary::text("mfa_challenge.token", &open),
        Canary::text("token_pair.access_token", &session.access_token),
        Canary::text("token_pair.refresh_token", &session.refresh_token),
    ]
}

/// The passkey that was begun, made; after one that is refused.
async fn made(
    factors: &mut MfaServiceClient<Channel>,
    account_id: &str,
    begun: &pb::BeginPasskeyRegistrationResponse,
    (values, errors): (&Values, &mut Vec<Status>),
) -> Authenticator {
    let mut authenticator = Authenticator::new(ORIGIN);
    let finish = pb::FinishPasskeyRegistrationRequest {
        account_id: account_id.to_owned(),
        registration_id: begun.registration_id.clone(),
        credential_json: authenticator.register(&begun.options_json).to_string(),
        display_name: values.device_name.clone(),
        request_id: uuid(),
    };
    let wrong = pb::FinishPasskeyRegistrationRequest {
        credential_json: values.device_name.clone(),
        request_id: String::new(),
        ..finish.clone()
    };
    errors.push(factors.finish_passkey_registration(wrong).await.unwrap_err());
    factors.finish_passkey_registration(finish).await.unwrap();
    authenticator
}

/// A sign-in with the passkey, one that is refused, and one that is left open.
async fn passkey(
    channel: &Channel,
    values: &Values,
    authenticator: &mut Authenticator,
    errors: &mut Vec<Status>,
) -> (pb::Session, pb::BeginPasskeyAuthenticationResponse) {
    let mut factors = MfaServiceClient::new(channel.clone());
    let email = pb::begin_passkey_authentication_request::Hint::Email(values.email.clone());
    let hinted = pb::BeginPasskeyAuthenticationRequest { hint: Some(email) };
    let asked = factors.begin_passkey_authentication(hinted).await.unwrap().into_inner();
    let finish = pb::FinishPasskeyAuthenticationRequest {
        assertion: Some(pb::PasskeyAssertion {
            authentication_id: asked.authentication_id,
            credential_json: authenticator.sign(&asked.options_json).to_string(),
        }),
        device_name: values.device_name.clone(),
        ..Default::default()
    };
    let session = factors.finish_passkey_authentication(finish.clone()).await.unwrap().into_inner();
    errors.push(factors.finish_passkey_authentication(finish).await.unwrap_err());
    let nobody = pb::BeginPasskeyAuthenticationRequest { hint: None };
    (session, factors.begin_passkey_authentication(nobody).await.unwrap().into_inner())
}

fn challenge_of(options_json: &str) -> String {
    let options: serde_json::Value = serde_json::from_str(options_json).unwrap();
    options["challenge"].as_str().unwrap().to_owned()
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
