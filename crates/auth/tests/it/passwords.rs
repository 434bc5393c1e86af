//! A password is changed by who knows it, once, and ends what the old one began.

use portal_proto::auth::v1 as pb;
use portal_testkit::each_database;
use tonic::{Code, Status};

use crate::fixture::{Auth, PASSWORD, refused, retry_seconds};

const ANNA: &str = "anna@example.org";
const NEW: &str = "another; password 🔐 of hers";
const REQUEST: &str = "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f";

impl Auth {
    pub async fn change_password(
        &self,
        by: &pb::Session,
        (account_id, current, new): (&str, &str, &str),
        request_id: &str,
    ) -> Result<i32, Status> {
        let request = pb::ChangePasswordRequest {
            account_id: account_id.to_owned(),
            current_password: current.to_owned(),
            new_password: new.to_owned(),
            request_id: request_id.to_owned(),
        };
        let reply = self.accounts().change_password(self.by(by, request).await).await?;
        Ok(reply.into_inner().revoked_session_count)
    }
}

each_database! {
    /// The old one is none any more, other sessions are over, the one that asked goes on; a repeated request is answered again.
    async fn it_ends_what_the_old_one_began(database) {
        let auth = Auth::start(database).await;
        let (anna, session) = auth.person(ANNA).await;
        let [second, third] = [auth.sign_in(ANNA).await, auth.sign_in(ANNA).await];
        let id = &*anna.account_id;
        assert_eq!(auth.change_password(&session, (id, PASSWORD, NEW), REQUEST).await.unwrap(), 2);
        assert_eq!(auth.change_password(&session, (id, PASSWORD, NEW), REQUEST).await.unwrap(), 2, "a lost reply");
        for ended in [&second, &third] {
            assert!(auth.exchange(&ended.access_token, "consent").await.is_err());
            assert!(auth.refresh(ended).await.is_err());
        }
        assert!(auth.refresh(&session).await.is_ok());
        refused(auth.try_sign_in(ANNA, PASSWORD).await, Code::Unauthenticated, "CREDENTIALS_REJECTED");
        auth.try_sign_in(ANNA, NEW).await.unwrap();
        let auth = auth.restart().await;
        auth.try_sign_in(ANNA, NEW).await.unwrap();
    }

    /// A token alone is not enough, and guesses by it lock like guesses at the sign-in.
    async fn a_stolen_token_does_not_change_it(database) {
        let auth = Auth::start(database).await;
        let (anna, session) = auth.person(ANNA).await;
        let id = &*anna.account_id;
        for _ in 0..5 {
            refused(auth.change_password(&session, (id, "a wrong one", NEW), "").await, Code::PermissionDenied, "PASSWORD_WRONG");
        }
        let locked = auth.change_password(&session, (id, PASSWORD, NEW), "").await.unwrap_err();
        assert_eq!(retry_seconds(&locked), 60);
        refused::<()>(Err(locked), Code::ResourceExhausted, "LOCKED_OUT");
        refused(auth.try_sign_in(ANNA, PASSWORD).await, Code::ResourceExhausted, "LOCKED_OUT");
        auth.advance(60);
        assert_eq!(auth.change_password(&session, (id, PASSWORD, NEW), "").await.unwrap(), 0);
    }

    /// One that is easy to guess is not taken, by the name of its field; somebody else's can't be changed by anybody.
    async fn what_is_refused(database) {
        let auth = Auth::start(database).await;
        let (anna, session) = auth.person(ANNA).await;
        let (_, bert) = auth.person("bert@example.org").await;
        let operator = auth.operator().await;
        let id = &*anna.account_id;
        for weak in ["password123", "anna@example.org", "example1990", "short"] {
            let status = auth.change_password(&session, (id, PASSWORD, weak), "").await.unwrap_err();
            assert!(status.code() == Code::InvalidArgument && status.message().contains("new_password"), "{status:?}");
        }
        for other in [&bert, &operator] {
            let status = auth.change_password(other, (id, PASSWORD, NEW), "").await;
            refused(status, Code::PermissionDenied, "NOT_YOUR_DATA");
        }
        auth.sign_in(ANNA).await;
    }
}
