//! Whoever guesses passwords is locked out, and learns nothing from it.

use portal_proto::auth::v1 as pb;
use portal_testkit::each_database;
use tonic::{Code, Status};

use crate::fixture::{Auth, PASSWORD, refused, retry_seconds};
use crate::sql;

const ANNA: &str = "anna@example.org";

impl Auth {
    async fn fail(&self, email: &str, times: usize) {
        for _ in 0..times {
            refused(self.try_sign_in(email, "wrong").await, Code::Unauthenticated, "CREDENTIALS_REJECTED");
        }
    }

    /// For how many seconds nobody may sign in with this address, whatever the password.
    async fn locked_for(&self, email: &str) -> u64 {
        let [right, wrong] =
            [PASSWORD, "wrong"].map(async |password| self.try_sign_in(email, password).await);
        let (right, wrong): (Status, Status) = (right.await.unwrap_err(), wrong.await.unwrap_err());
        assert_eq!(
            (right.code(), right.message(), right.details()),
            (wrong.code(), wrong.message(), wrong.details())
        );
        let seconds = retry_seconds(&right);
        refused::<()>(Err(right), Code::ResourceExhausted, "LOCKED_OUT");
        seconds
    }
}

each_database! {
    /// The fifth failure locks for a minute, each further one for twice as long; time lifts it, and a success forgets all.
    async fn failures_lock(database) {
        let auth = Auth::start(database).await;
        auth.sign_up(ANNA).await;
        auth.fail(ANNA, 4).await;
        auth.sign_in(ANNA).await;
        auth.fail(" Anna@Example.org ", 5).await;
        assert_eq!(auth.locked_for(ANNA).await, 60);
        auth.advance(30);
        assert_eq!(auth.locked_for(ANNA).await, 30, "trying on does not prolong it");
        auth.advance(30);
        auth.fail(ANNA, 1).await;
        assert_eq!(auth.locked_for(ANNA).await, 120);
        let auth = auth.restart().await;
        assert_eq!(auth.locked_for(ANNA).await, 120);
        auth.advance(120);
        auth.sign_in(ANNA).await;
        auth.fail(ANNA, 4).await;
        auth.sign_in(ANNA).await;
    }

    /// An address that nobody has is locked like one that somebody has, and nobody else is.
    async fn unknown_addresses_are_locked_alike(database) {
        let auth = Auth::start(database).await;
        auth.sign_up(ANNA).await;
        for email in [ANNA, "nobody@example.org"] {
            auth.fail(email, 5).await;
        }
        let [known, unknown] = [auth.locked_for(ANNA).await, auth.locked_for("nobody@example.org").await];
        assert_eq!((known, unknown), (60, 60));
        auth.sign_up("bert@example.org").await;
        auth.sign_in("bert@example.org").await;
    }

    /// Many at once get no more guesses than one after the other; on another replica neither.
    async fn guesses_at_once(database) {
        let auth = Auth::start(database).await;
        auth.sign_up(ANNA).await;
        let all = (0..40).map(|_| auth.try_sign_in(ANNA, "wrong"));
        let all = futures_util::future::join_all(all).await;
        assert!(all.iter().all(Result::is_err));
        assert_eq!(auth.locked_for(ANNA).await, 60);
        let (replica, channel) = auth.replica().await;
        let mut sessions = pb::session_service_client::SessionServiceClient::new(channel);
        let right = sessions.create_session(crate::fixture::sign_in(ANNA, PASSWORD, false)).await;
        refused(right, Code::ResourceExhausted, "LOCKED_OUT");
        replica.stop().await;
    }

    /// What was hashed at another cost is hashed anew by the next sign-in, and still the same password.
    async fn hashes_follow_the_cost(database) {
        let auth = Auth::start(database).await;
        auth.sign_up(ANNA).await;
        let store = database.connect().await;
        let at = async |passes: u32| {
            let hashed = format!("SELECT COUNT(*) FROM account WHERE password_hash LIKE '%,t={passes},%'");
            sql::one::<i64>(&store, &hashed).await
        };
        assert_eq!((at(2).await, at(3).await), (2, 0), "the operator's and Anna's");
        let auth = auth.restart_with(|config| config.passwords.iterations = 3).await;
        auth.fail(ANNA, 1).await;
        assert_eq!(at(3).await, 0);
        let first = auth.sign_in(ANNA).await;
        assert_eq!((at(2).await, at(3).await), (1, 1));
        auth.sign_in(ANNA).await;
        auth.fail(ANNA, 1).await;
        assert!(auth.refresh(&first).await.is_ok());
        let auth = auth.restart_with(|config| config.passwords.iterations = 2).await;
        auth.sign_in(ANNA).await;
        assert_eq!((at(2).await, at(3).await), (2, 0));
    }

    /// An operator lifts it.
    async fn operators_unlock(database) {
        let auth = Auth::start(database).await;
        let account = auth.sign_up(ANNA).await;
        auth.fail(ANNA, 5).await;
        let operator = auth.operator().await;
        let unlock = pb::UnlockAccountRequest { account_id: account.account_id, ..Default::default() };
        auth.accounts().unlock_account(auth.by(&operator, unlock).await).await.unwrap();
        auth.sign_in(ANNA).await;
    }
}
