//! Passkeys: made, used with and without an address, as a second factor and to raise a session; and everything that is refused.

use futures_util::future::join_all;
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::begin_passkey_authentication_request::Hint;
use portal_proto::auth::v1::create_session_response::Result as SignIn;
use portal_proto::auth::v1::factor_proof::Proof;
use portal_testkit::{Authenticator, each_database};
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::factors::recovery;
use crate::fixture::{Auth, ORIGIN, PASSWORD, refused, session_of, sign_in, subject};
use crate::sql;

const ANNA: &str = "anna@example.org";
const BERT: &str = "bert@example.org";
const PASSKEY: i32 = pb::FactorType::Passkey as i32;

type Asked = pb::BeginPasskeyAuthenticationResponse;

fn finish(asked: &Asked, answer: &Value) -> pb::FinishPasskeyAuthenticationRequest {
    pb::FinishPasskeyAuthenticationRequest {
        assertion: Some(assertion(asked, answer)),
        remember_me: true,
        device_name: "Anna's phone".to_owned(),
        raise_session: false,
    }
}

fn assertion(asked: &Asked, answer: &Value) -> pb::PasskeyAssertion {
    pb::PasskeyAssertion {
        authentication_id: asked.authentication_id.clone(),
        credential_json: answer.to_string(),
    }
}

fn proof(asked: &Asked, answer: &Value) -> Option<pb::FactorProof> {
    Some(pb::FactorProof { proof: Some(Proof::Passkey(assertion(asked, answer))) })
}

fn email(address: &str) -> Option<Hint> {
    Some(Hint::Email(address.to_owned()))
}

fn allowed(asked: &Asked) -> Vec<Value> {
    let options: Value = serde_json::from_str(&asked.options_json).unwrap();
    options["allowCredentials"].as_array().unwrap().clone()
}

#[track_caller]
fn rejected(result: Result<pb::Session, Status>) {
    refused(result, Code::Unauthenticated, "CHALLENGE_REJECTED");
}

impl Auth {
    async fn begin_registration(&self, session: &pb::Session) -> pb::BeginPasskeyRegistrationResponse {
        let request = pb::BeginPasskeyRegistrationRequest { account_id: session.account_id.clone() };
        let request = self.by(session, request).await;
        self.factors().begin_passkey_registration(request).await.unwrap().into_inner()
    }

    async fn finish_registration(
        &self,
        session: &pb::Session,
        registration_id: &str,
        answer: &Value,
    ) -> Result<pb::Factor, Status> {
        let request = pb::FinishPasskeyRegistrationRequest {
            account_id: session.account_id.clone(),
            registration_id: registration_id.to_owned(),
            credential_json: answer.to_string(),
            display_name: "Anna's key".to_owned(),
            request_id: String::new(),
        };
        let request = self.by(session, request).await;
        Ok(self.factors().finish_passkey_registration(request).await?.into_inner())
    }

    /// Makes a passkey for whoever holds `session`.
    async fn passkey(&self, session: &pb::Session) -> (Authenticator, pb::Factor) {
        let mut authenticator = Authenticator::new(ORIGIN);
        let asked = self.begin_registration(session).await;
        let answer = authenticator.register(&asked.options_json);
        let factor = self.finish_registration(session, &asked.registration_id, &answer).await.unwrap();
        (authenticator, factor)
    }

    async fn ask(&self, hint: Option<Hint>) -> Asked {
        let request = pb::BeginPasskeyAuthenticationRequest { hint };
        self.factors().begin_passkey_authentication(request).await.unwrap().into_inner()
    }

    async fn enter(&self, request: pb::FinishPasskeyAuthenticationRequest) -> Result<pb::Session, Status> {
        Ok(self.factors().finish_passkey_authentication(request).await?.into_inner())
    }

    /// Signs in without an address.
    async fn enter_with(&self, authenticator: &mut Authenticator) -> Result<pb::Session, Status> {
        let asked = self.ask(None).await;
        let answer = authenticator.sign(&asked.options_json);
        self.enter(finish(&asked, &answer)).await
    }
}

each_database! {
    /// With and without an address; what is made says for whom, and is in the list.
    async fn a_passkey_signs_in(database) {
        let auth = Auth::start(database).await;
        let (_, session) = auth.person(ANNA).await;
        let asked = auth.begin_registration(&session).await;
        let options: Value = serde_json::from_str(&asked.options_json).unwrap();
        assert_eq!((options["rp"]["id"].as_str(), options["rp"]["name"].as_str()), (Some("portal.test"), Some("Portal of the test")));
        assert_eq!((options["user"]["name"].as_str(), options["user"]["displayName"].as_str()), (Some(ANNA), Some("Anna Ω")));
        let selection = &options["authenticatorSelection"];
        assert_eq!(selection["userVerification"], json!("required"));
        assert_eq!((&selection["residentKey"], &selection["requireResidentKey"]), (&json!("required"), &json!(true)));
        assert_eq!(options["excludeCredentials"], json!([]));
        let mut annas = Authenticator::new(ORIGIN);
        annas.backed_up = true;
        let answer = annas.register(&asked.options_json);
        let factor = auth.finish_registration(&session, &asked.registration_id, &answer).await.unwrap();
        assert_eq!((factor.r#type, factor.display_name.as_str()), (PASSKEY, "Anna's key"));
        let again = auth.finish_registration(&session, &asked.registration_id, &answer).await;
        refused(again, Code::InvalidArgument, "INVALID_FIELD");
        assert_eq!(auth.factors_of(&session).await, std::slice::from_ref(&factor));

        let signed_in = auth.enter_with(&mut annas).await.unwrap();
        assert_eq!((signed_in.acr.as_str(), &signed_in.account_id), ("passkey", &session.account_id));
        assert!(signed_in.remember_me && signed_in.device_name == "Anna's phone");
        assert!(auth.exchange(&signed_in.access_token, "consent").await.is_ok());
        let asked = auth.ask(email(ANNA)).await;
        assert_eq!(allowed(&asked).len(), 1);
        let answer = annas.sign(&asked.options_json);
        auth.enter(finish(&asked, &answer)).await.unwrap();
        assert!(auth.factors_of(&session).await[0].last_use_time.is_some());
        // After a restart too.
        let auth = auth.restart().await;
        auth.enter_with(&mut annas).await.unwrap();
        // Which of the page's origins it was does not matter, as long as it is one.
        annas.origin = "https://other.portal.test".to_owned();
        auth.enter_with(&mut annas).await.unwrap();
    }

    /// A challenge, an answer: whoever comes later with either is refused, also of many who come at once, and after five minutes.
    async fn everything_is_good_once(database) {
        let auth = Auth::start(database).await;
        let (_, session) = auth.person(ANNA).await;
        let (mut annas, _) = auth.passkey(&session).await;
        let asked = auth.ask(None).await;
        let answer = annas.sign(&asked.options_json);
        auth.enter(finish(&asked, &answer)).await.unwrap();
        rejected(auth.enter(finish(&asked, &answer)).await);
        let fresh = auth.ask(None).await;
        rejected(auth.enter(finish(&fresh, &answer)).await);
        let asked = auth.ask(email(ANNA)).await;
        let answer = annas.sign(&asked.options_json);
        let at_once = (0..8).map(|_| auth.enter(finish(&asked, &answer)));
        let entered = join_all(at_once).await;
        assert_eq!(entered.iter().filter(|entered| entered.is_ok()).count(), 1, "{entered:?}");
        let asked = auth.ask(None).await;
        let answer = annas.sign(&asked.options_json);
        auth.advance(300);
        rejected(auth.enter(finish(&asked, &answer)).await);
        auth.enter_with(&mut annas).await.unwrap();
        let session = auth.refresh(&session).await.unwrap();
        let late = auth.begin_registration(&auth.enter_with(&mut annas).await.unwrap()).await;
        let answer = Authenticator::new(ORIGIN).register(&late.options_json);
        auth.advance(300);
        let late = auth.finish_registration(&session, &late.registration_id, &answer).await;
        refused(late, Code::InvalidArgument, "INVALID_FIELD");
    }

    /// Of another page, without its person, of somebody else, for another ceremony: nothing is told but no.
    async fn what_is_wrong_is_refused(database) {
        let auth = Auth::start(database).await;
        let (_, session) = auth.person(ANNA).await;
        let (_, other) = auth.person(BERT).await;
        let ((mut annas, _), (mut berts, _)) = (auth.passkey(&session).await, auth.passkey(&other).await);
        for origin in ["https://evil.test", "https://sub.portal.test", "http://portal.test", "https://portal.test:8443"] {
            let mut elsewhere = Authenticator { origin: origin.to_owned(), ..annas.clone() };
            rejected(auth.enter_with(&mut elsewhere).await);
        }
        rejected(auth.enter_with(&mut Authenticator { verifies: false, ..annas.clone() }).await);
        rejected(auth.enter_with(&mut Authenticator { backed_up: true, ..annas.clone() }).await);
        // Bert's key says that it is Anna's; it signs in where Anna was asked; Anna's id with Bert's key.
        rejected(auth.enter_with(&mut Authenticator { user_handle: annas.user_handle.clone(), ..berts.clone() }).await);
        rejected(auth.enter_with(&mut Authenticator { user_handle: Vec::new(), ..berts.clone() }).await);
        rejected(auth.enter_with(&mut Authenticator {
            credential_id: annas.credential_id.clone(),
            user_handle: annas.user_handle.clone(),
            ..berts.clone()
        }).await);
        let asked = auth.ask(email(ANNA)).await;
        let answer = berts.sign(&asked.options_json);
        rejected(auth.enter(finish(&asked, &answer)).await);
        rejected(auth.enter_with(&mut Authenticator::new(ORIGIN)).await);
        let registration = auth.begin_registration(&auth.enter_with(&mut annas).await.unwrap()).await;
        let asked = Asked { authentication_id: registration.registration_id, ..asked };
        let answer = annas.sign(&asked.options_json);
        rejected(auth.enter(finish(&asked, &answer)).await);

        // Nothing of it has done anything to those that are right.
        auth.enter_with(&mut annas).await.unwrap();
        auth.enter_with(&mut berts).await.unwrap();
        let operator = auth.operator().await;
        let lock = pb::LockAccountRequest { account_id: session.account_id.clone(), ..Default::default() };
        auth.accounts().lock_account(auth.by(&operator, lock).await).await.unwrap();
        rejected(auth.enter_with(&mut annas).await);
    }

    /// Whatever is sent is answered, and the service lives.
    async fn rubbish_is_refused(database) {
        let auth = Auth::start(database).await;
        let (_, session) = auth.person(ANNA).await;
        let (mut annas, _) = auth.passkey(&session).await;
        let asked = auth.ask(None).await;
        let right = annas.sign(&asked.options_json);
        let mut rubbish: Vec<Value> = vec![json!(null), json!([]), json!({}), json!("x"), json!({ "id": 1 })];
        for part in ["clientDataJSON", "authenticatorData", "signature", "userHandle"] {
            for content in [json!(""), json!("!"), json!("AAAA"), json!("_".repeat(50_000)), json!(7), json!(null)] {
                if part == "userHandle" && content.is_null() {
                    continue;
                }
                let mut wrong = right.clone();
                wrong["response"][part] = content;
                rubbish.push(wrong);
            }
        }
        rubbish.push(json!({ "id": "", "rawId": "", "type": "x", "response": right["response"] }));
        for wrong in &rubbish {
            rejected(auth.enter(finish(&auth.ask(None).await, wrong)).await);
        }
        for json in ["", "{", "\u{0}", &"[".repeat(100_000)] {
            let mut request = finish(&asked, &right);
            request.assertion.as_mut().unwrap().credential_json = json.to_owned();
            rejected(auth.enter(request).await);
        }
        for id in ["", "x", &"A".repeat(100_000)] {
            let mut request = finish(&asked, &right);
            request.assertion.as_mut().unwrap().authentication_id = id.to_owned();
            rejected(auth.enter(request).await);
        }
        let none = pb::FinishPasskeyAuthenticationRequest::default();
        refused(auth.enter(none).await, Code::InvalidArgument, "INVALID_FIELD");

        let session = auth.enter_with(&mut annas).await.unwrap();
        let registration = auth.begin_registration(&session).await;
        let right = Authenticator::new(ORIGIN).register(&registration.options_json);
        for part in ["clientDataJSON", "attestationObject"] {
            for content in [json!(""), json!("!"), json!("AAAA"), json!("oA"), json!("_".repeat(50_000)), json!(7)] {
                let mut wrong = right.clone();
                wrong["response"][part] = content;
                rubbish.push(wrong);
            }
        }
        for wrong in &rubbish {
            let refusal = auth.finish_registration(&session, &registration.registration_id, wrong).await;
            refused(refusal, Code::InvalidArgument, "INVALID_FIELD");
        }
        let elsewhere = Authenticator::new("https://evil.test").register(&registration.options_json);
        let refusal = auth.finish_registration(&session, &registration.registration_id, &elsewhere).await;
        refused(refusal, Code::InvalidArgument, "INVALID_FIELD");
        auth.finish_registration(&session, &registration.registration_id, &right).await.unwrap();
        auth.enter_with(&mut annas).await.unwrap();
    }

    /// One whose counter does not go on was copied: it is refused, and that is noted. One that never counts is not suspected.
    async fn a_copy_is_refused(database) {
        let auth = Auth::start(database).await;
        let (_, session) = auth.person(ANNA).await;
        let (mut annas, _) = auth.passkey(&session).await;
        let mut copy = annas.clone();
        for _ in 0..3 {
            auth.enter_with(&mut annas).await.unwrap();
        }
        rejected(auth.enter_with(&mut copy).await);
        let cloned = "SELECT COUNT(*) FROM audit_event WHERE action = 'factor.cloned'";
        let store = database.connect().await;
        assert_eq!(sql::one::<i64>(&store, cloned).await, 1);
        auth.enter_with(&mut annas).await.unwrap();
        let (silent, _) = auth.passkey(&auth.enter_with(&mut annas).await.unwrap()).await;
        let mut silent = Authenticator { counter: None, ..silent };
        for _ in 0..2 {
            auth.enter_with(&mut silent).await.unwrap();
        }
        assert_eq!(sql::one::<i64>(&store, cloned).await, 1);
    }

    /// What is asked of an address tells nobody whether it is somebody's: there is something to choose from, always the same.
    async fn nobody_learns_who_has_one(database) {
        let auth = Auth::start(database).await;
        auth.person(BERT).await;
        let shape = |asked: &Asked| {
            let mut options: Value = serde_json::from_str(&asked.options_json).unwrap();
            options["challenge"] = json!("");
            options["allowCredentials"] = json!([]);
            options
        };
        let (_, session) = auth.person(ANNA).await;
        let (mut annas, _) = auth.passkey(&session).await;
        let anna = auth.ask(email(ANNA)).await;
        let nobodys: Vec<_> = (0..40).map(|number| format!("nobody{number}@example.org")).collect();
        for address in nobodys.iter().map(String::as_str).chain([BERT]) {
            let [first, second] = [auth.ask(email(address)).await, auth.ask(email(address)).await];
            assert_eq!(allowed(&first), allowed(&second), "{address}");
            assert_ne!(first.authentication_id, second.authentication_id);
            assert_eq!(shape(&first), shape(&anna));
            assert!(!allowed(&first).is_empty(), "{address} has something to choose from, as who has passkeys");
            // Nobody can answer it, whoever they are.
            let answer = annas.sign(&first.options_json);
            rejected(auth.enter(finish(&first, &answer)).await);
        }
        let unknown = auth.ask(Some(Hint::ChallengeToken("x".to_owned()))).await;
        assert_eq!(shape(&unknown), shape(&anna));
    }

    /// An account has twenty passkeys at most: neither does another ceremony begin, nor does one end that began before.
    async fn there_are_so_many(database) {
        let auth = Auth::start(database).await;
        let (_, session) = auth.person(ANNA).await;
        let (mut first, _) = auth.passkey(&session).await;
        let session = auth.enter_with(&mut first).await.unwrap();
        for _ in 2..20 {
            auth.passkey(&session).await;
        }
        let begun = auth.begin_registration(&session).await;
        let (_, last) = auth.passkey(&session).await;
        let late = Authenticator::new(ORIGIN).register(&begun.options_json);
        let full = auth.finish_registration(&session, &begun.registration_id, &late).await;
        refused(full, Code::FailedPrecondition, "PASSKEY_LIMIT");
        let request = pb::BeginPasskeyRegistrationRequest { account_id: session.account_id.clone() };
        let another = auth.factors().begin_passkey_registration(auth.by(&session, request).await).await;
        refused(another.map(drop), Code::FailedPrecondition, "PASSKEY_LIMIT");
        assert_eq!(auth.factors_of(&session).await.len(), 20);
        let store = database.connect().await;
        let gone = format!("DELETE FROM passkey WHERE id = {}", sql::id(&store, &last.factor_id));
        assert_eq!(sql::run(&store, &gone, []).await, 1);
        auth.finish_registration(&session, &begun.registration_id, &late).await.unwrap();
    }

    /// Beside a password; to raise a session; to make recovery codes; and to remove itself.
    async fn a_passkey_is_a_second_factor(database) {
        let auth = Auth::start(database).await;
        let (_, session) = auth.person(ANNA).await;
        let (mut annas, factor) = auth.passkey(&session).await;
        let challenge = auth.challenge(ANNA).await;
        assert_eq!(challenge.factor_types, [PASSKEY]);
        let asked = auth.ask(Some(Hint::ChallengeToken(challenge.challenge_token.clone()))).await;
        assert_eq!(allowed(&asked).len(), 1);
        let answer = annas.sign(&asked.options_json);
        let signed_in = auth.complete(&challenge.challenge_token, proof(&asked, &answer)).await.unwrap();
        assert_eq!(signed_in.acr, "mfa");
        let challenge = auth.challenge(ANNA).await;
        rejected(auth.complete(&challenge.challenge_token, proof(&asked, &answer)).await);

        // The session from before knows a password only.
        let begin = pb::BeginPasskeyRegistrationRequest { account_id: session.account_id.clone() };
        let begun = auth.factors().begin_passkey_registration(auth.by(&session, begin.clone()).await).await;
        refused(begun, Code::Unauthenticated, "STEP_UP_REQUIRED");
        let asked = auth.ask(None).await;
        let raise = pb::FinishPasskeyAuthenticationRequest { raise_session: true, ..finish(&asked, &annas.sign(&asked.options_json)) };
        let raised = auth.factors().finish_passkey_authentication(auth.by(&session, raise).await).await.unwrap().into_inner();
        assert_eq!((&raised.session_id, raised.acr.as_str(), raised.refresh_token.as_str()), (&session.session_id, "passkey", ""));
        auth.factors().begin_passkey_registration(auth.by(&raised, begin).await).await.unwrap();
        let mut without = auth.ask(None).await;
        let nobodys = pb::FinishPasskeyAuthenticationRequest { raise_session: true, ..finish(&without, &annas.sign(&without.options_json)) };
        refused(auth.enter(nobodys).await, Code::Unauthenticated, "TOKEN_MISSING");

        without = auth.ask(email(ANNA)).await;
        let regenerate = pb::RegenerateRecoveryCodesRequest {
            account_id: session.account_id.clone(),
            proof: proof(&without, &annas.sign(&without.options_json)),
        };
        let codes = auth.factors().regenerate_recovery_codes(auth.by(&raised, regenerate).await).await;
        assert_eq!(codes.unwrap().into_inner().recovery_codes.len(), 10);

        let delete = |proof| pb::DeleteFactorRequest {
            account_id: session.account_id.clone(),
            factor_id: factor.factor_id.clone(),
            proof,
        };
        let wrong = auth.by(&raised, delete(recovery("AAAA-AAAA-AAAA-AAAA"))).await;
        refused(auth.factors().delete_factor(wrong).await, Code::PermissionDenied, "FACTOR_REJECTED");
        let stale = auth.by(&raised, delete(proof(&without, &answer))).await;
        refused(auth.factors().delete_factor(stale).await, Code::PermissionDenied, "FACTOR_REJECTED");
        let asked = auth.ask(None).await;
        let right = auth.by(&raised, delete(proof(&asked, &annas.sign(&asked.options_json)))).await;
        auth.factors().delete_factor(right).await.unwrap();
        assert!(auth.factors_of(&raised).await.is_empty(), "the codes went with it");
        rejected(auth.enter_with(&mut annas).await);
        let reply = auth.sessions().create_session(sign_in(ANNA, PASSWORD, false)).await.unwrap().into_inner();
        assert!(matches!(reply.result, Some(SignIn::Session(_))));
        session_of(reply);
    }

    /// Nobody but the owner makes one; one that is somebody's can't be made another's; each is made once.
    async fn a_passkey_is_its_owners(database) {
        let auth = Auth::start(database).await;
        let (_, session) = auth.person(ANNA).await;
        let (_, other) = auth.person(BERT).await;
        let begin = pb::BeginPasskeyRegistrationRequest { account_id: session.account_id.clone() };
        let begun = auth.factors().begin_passkey_registration(auth.by(&other, begin.clone()).await).await;
        refused(begun, Code::PermissionDenied, "NOT_YOUR_DATA");
        let begun = auth.factors().begin_passkey_registration(begin).await;
        refused(begun, Code::Unauthenticated, "TOKEN_MISSING");
        let asked = auth.begin_registration(&session).await;
        let mut annas = Authenticator::new(ORIGIN);
        let answer = annas.register(&asked.options_json);
        let berts = auth.finish_registration(&other, &asked.registration_id, &answer).await;
        refused(berts, Code::InvalidArgument, "INVALID_FIELD");
        let finish = pb::FinishPasskeyRegistrationRequest {
            account_id: session.account_id.clone(),
            registration_id: asked.registration_id.clone(),
            credential_json: answer.to_string(),
            display_name: String::new(),
            request_id: "0198c3a4-7d1e-4cc3-98c4-dc0c0c07398f".to_owned(),
        };
        let [first, again] = [
            auth.factors().finish_passkey_registration(auth.by(&session, finish.clone()).await).await.unwrap().into_inner(),
            auth.factors().finish_passkey_registration(auth.by(&session, finish).await).await.unwrap().into_inner(),
        ];
        assert_eq!(first, again);
        let asked = auth.begin_registration(&other).await;
        let answer = annas.clone().register(&asked.options_json);
        let taken = auth.finish_registration(&other, &asked.registration_id, &answer).await;
        refused(taken, Code::InvalidArgument, "INVALID_FIELD");
        auth.enter_with(&mut annas).await.unwrap();
    }

    /// With the key of its person a passkey is gone as well; a row that was changed lets nobody in.
    async fn rows_are_checked_and_people_forgotten(database) {
        let auth = Auth::start(database).await;
        let (account, session) = auth.person(ANNA).await;
        let (mut annas, _) = auth.passkey(&session).await;
        let store = database.connect().await;
        sql::run(&store, "UPDATE passkey SET last_used_at = 1", []).await;
        let refusal = auth.enter_with(&mut annas).await.unwrap_err();
        assert_eq!(refusal.code(), Code::DataLoss);
        auth.ask(email(ANNA)).await;
        sql::run(&store, "UPDATE passkey SET last_used_at = NULL", []).await;
        auth.enter_with(&mut annas).await.unwrap();
        let upkeep = auth.upkeep().await;
        upkeep.erasures().erase(subject(&account.subject_id)).await.unwrap();
        // What it had of keys in memory is gone at once, which otherwise takes a second.
        let auth = auth.restart().await;
        rejected(auth.enter_with(&mut annas).await);
    }
}
