//! Sensitive methods want a fresh proof of who calls, by all that the person has; whoever gives it raises the session they have.

use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::create_session_response::Result as SignIn;
use portal_proto::auth::v1::revocation::Target;
use portal_proto::google::rpc;
use portal_testkit::each_database;
use prost::Message;
use tonic::{Code, Status};

use crate::factors::{recovery, totp};
use crate::fixture::{Auth, PASSWORD, refused, session_of, sign_in};
use crate::revocations::{next_revocation, watch};

const ANNA: &str = "anna@example.org";
const BERT: &str = "bert@example.org";

impl Auth {
    async fn try_enroll(&self, session: &pb::Session) -> Result<(), Status> {
        let request = pb::EnrollTotpRequest { account_id: session.account_id.clone(), ..Default::default() };
        self.factors().enroll_totp(self.by(session, request).await).await.map(drop)
    }

    /// Signs in to raise `session`.
    async fn try_raise(&self, session: &pb::Session, email: &str, password: &str) -> Result<SignIn, Status> {
        let request = pb::CreateSessionRequest {
            raise_session: true,
            ..sign_in(email, password, !session.remember_me)
        };
        let reply = self.sessions().create_session(self.by(session, request).await).await?;
        Ok(reply.into_inner().result.unwrap())
    }

    async fn raise(&self, session: &pb::Session) -> pb::Session {
        let result = self.try_raise(session, ANNA, PASSWORD).await.unwrap();
        session_of(pb::CreateSessionResponse { result: Some(result) })
    }

    async fn auth_time(&self, session: &pb::Session) -> (String, i64) {
        let request =
            pb::IntrospectTokenRequest { token: session.access_token.clone(), ..Default::default() };
        let told = self.tokens().introspect_token(request).await.unwrap().into_inner();
        (told.acr, told.auth_time.unwrap().seconds)
    }
}

#[track_caller]
fn step_up(result: Result<(), Status>, ways: &str) {
    let status = result.unwrap_err();
    let details = rpc::Status::decode(status.details()).unwrap().details;
    let info = rpc::ErrorInfo::decode(details[0].value.as_slice()).unwrap();
    assert_eq!((status.code(), info.reason.as_str()), (Code::Unauthenticated, "STEP_UP_REQUIRED"));
    assert_eq!((info.metadata["acr_values"].as_str(), info.metadata["max_age"].as_str()), (ways, "900"));
}

each_database! {
    /// A refresh proves nothing; a password does, for the session that it raises and for no other.
    async fn a_password_raises_the_session(database) {
        let auth = Auth::start(database).await;
        let (_, session) = auth.person(ANNA).await;
        let other = auth.sign_in(ANNA).await;
        let (_, start) = auth.auth_time(&session).await;
        auth.advance(600);
        let [session, other] = [auth.refresh(&session).await.unwrap(), auth.refresh(&other).await.unwrap()];
        auth.advance(300);
        auth.try_enroll(&session).await.unwrap();
        auth.advance(1);
        step_up(auth.try_enroll(&session).await, "passkey mfa pwd");

        refused(auth.try_raise(&session, ANNA, "wrong").await, Code::Unauthenticated, "CREDENTIALS_REJECTED");
        auth.sign_up(BERT).await;
        refused(auth.try_raise(&session, BERT, PASSWORD).await, Code::PermissionDenied, "NOT_YOUR_DATA");
        let nobodys = pb::CreateSessionRequest { raise_session: true, ..sign_in(ANNA, PASSWORD, false) };
        refused(auth.sessions().create_session(nobodys).await, Code::Unauthenticated, "TOKEN_MISSING");
        step_up(auth.try_enroll(&session).await, "passkey mfa pwd");

        let raised = auth.raise(&session).await;
        assert_eq!((&raised.session_id, raised.refresh_token.as_str()), (&session.session_id, ""));
        assert_eq!((raised.remember_me, &raised.device_name), (session.remember_me, &session.device_name));
        assert_eq!(raised.refresh_expire_time, session.refresh_expire_time);
        assert_ne!(raised.access_token, session.access_token);
        auth.try_enroll(&raised).await.unwrap();
        assert_eq!(auth.auth_time(&raised).await, ("pwd".to_owned(), start + 901));
        assert_eq!(auth.sessions_of(&raised).await.unwrap().0.len(), 2, "no other session began");
        step_up(auth.try_enroll(&other).await, "passkey mfa pwd");

        // What the client had stays good, and knows of it.
        auth.try_enroll(&session).await.unwrap();
        let session = auth.refresh(&session).await.unwrap();
        auth.try_enroll(&session).await.unwrap();
        // The new access token is worth no more than any other.
        let end = pb::RevokeSessionRequest { session_id: session.session_id.clone(), ..Default::default() };
        auth.sessions().revoke_session(auth.by(&session, end).await).await.unwrap();
        assert!(auth.exchange(&raised.access_token, "auth").await.is_err());
    }

    /// From the moment that there is a second factor a password alone is not enough, however fresh; in what was given out before
    /// too.
    async fn who_has_a_second_factor_has_to_use_it(database) {
        let auth = Auth::start(database).await;
        let mut feed = watch(&auth.channel(), "").await.unwrap();
        let anna = auth.holder(ANNA).await;
        let seen = next_revocation(&mut feed).await;
        assert_eq!(seen.target, Some(Target::AccountId(anna.session.account_id.clone())));
        step_up(auth.try_enroll(&anna.session).await, "passkey mfa");

        let Ok(SignIn::MfaChallenge(challenge)) = auth.try_raise(&anna.session, ANNA, PASSWORD).await else {
            panic!("no challenge");
        };
        step_up(auth.try_enroll(&anna.session).await, "passkey mfa");
        let complete = |proof| pb::CompleteMfaRequest {
            challenge_token: challenge.challenge_token.clone(),
            proof,
            raise_session: true,
        };
        let wrong = auth.by(&anna.session, complete(recovery("AAAA-AAAA-AAAA-AAAA"))).await;
        refused(auth.sessions().complete_mfa(wrong).await, Code::Unauthenticated, "CHALLENGE_REJECTED");
        let right = complete(totp(auth.code(&anna.secret)));
        let raised = auth.sessions().complete_mfa(auth.by(&anna.session, right).await).await.unwrap().into_inner();
        assert_eq!((&raised.session_id, raised.acr.as_str()), (&anna.session.session_id, "mfa"));
        assert_eq!(raised.refresh_token, "");
        // It is on already: the method itself says so.
        refused(auth.try_enroll(&raised).await, Code::FailedPrecondition, "TOTP_ON");
        auth.advance(600);
        let later = auth.refresh(&anna.session).await.unwrap();
        assert_eq!(later.acr, "mfa");
        auth.advance(301);
        step_up(auth.try_enroll(&later).await, "passkey mfa");

        // Methods that take the factor themselves want no more, and without a factor a password is all there is.
        auth.disable(&later, recovery(&anna.codes[0])).await.unwrap();
        let seen = next_revocation(&mut feed).await;
        assert_eq!(seen.target, Some(Target::AccountId(later.account_id.clone())));
        step_up(auth.try_enroll(&later).await, "passkey mfa pwd");
        auth.try_enroll(&auth.raise(&later).await).await.unwrap();
    }

    /// A session that was ended is not raised, whatever is proven; a token of it is as good as none.
    async fn what_was_ended_stays_ended(database) {
        let auth = Auth::start(database).await;
        let (_, session) = auth.person(ANNA).await;
        let request = pb::CreateSessionRequest { raise_session: true, ..sign_in(ANNA, PASSWORD, false) };
        let request = auth.by(&session, request).await;
        let end = pb::RevokeSessionRequest { session_id: session.session_id.clone(), ..Default::default() };
        auth.sessions().revoke_session(auth.by(&session, end).await).await.unwrap();
        refused(auth.sessions().create_session(request).await, Code::Unauthenticated, "TOKEN_INVALID");
    }
}
