//! Which sign-ins end with what: of devices, of grants that are over, of persons whose own session is.

use std::collections::BTreeSet;
use std::time::Duration;

use portal_crypto::jose::Algorithm;
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::decide_device_authorization_request::Decision;
use portal_testkit::each_database;

use super::{Answer, Application, sid};
use crate::devices::television;
use crate::fixture::{Auth, PASSWORD};
use crate::oauth::{newsletter, tokens};

/// Longer than a session goes on without use.
const EIGHT_DAYS: u64 = 8 * 86_400;

impl Auth {
    /// The `sid`s that an application was told of, when there are as many.
    pub(super) async fn told_of(&self, application: &Application, count: usize) -> BTreeSet<String> {
        let mut sids = BTreeSet::new();
        for token in application.told(count).await {
            let said = self.logout(&token, Algorithm::MlDsa65).await;
            sids.insert(said["sid"].as_str().unwrap().to_owned());
        }
        sids
    }

    /// Ends all that somebody has, in this way.
    async fn end(&self, how: &str, session: &pb::Session) {
        let account_id = session.account_id.clone();
        match how {
            "all" => {
                let all = pb::RevokeAllSessionsRequest { account_id, ..Default::default() };
                self.sessions().revoke_all_sessions(self.by(session, all).await).await.unwrap();
            }
            "delete" => {
                let delete = pb::DeleteAccountRequest { account_id, ..Default::default() };
                self.accounts().delete_account(self.by(session, delete).await).await.unwrap();
            }
            "password" => {
                let change = pb::ChangePasswordRequest {
                    account_id,
                    current_password: PASSWORD.to_owned(),
                    new_password: "another; password of hers".to_owned(),
                    ..Default::default()
                };
                self.accounts().change_password(self.by(session, change).await).await.unwrap();
            }
            _ => {
                let lock = pb::LockAccountRequest { account_id, ..Default::default() };
                let operator = self.operator().await;
                self.accounts().lock_account(self.by(&operator, lock).await).await.unwrap();
            }
        }
    }
}

each_database! {
    /// A device is told when its entry ends, or all that its person has; that the browser is signed out in which it was approved
    /// is nothing to it.
    async fn devices_are_told(database) {
        let auth = Auth::start(database).await;
        let application = Application::start(Answer::Status(200)).await;
        let client = auth.told_at(&application, television()).await;
        let mut expected = BTreeSet::new();
        for how in ["entry", "lock", "delete", "all", "password"] {
            let email = format!("{how}@example.org");
            let (_, person) = auth.person(&email).await;
            let device = auth.device(&client).await;
            auth.say(&person, &device.user_code, Decision::Approve).await.unwrap();
            let given = tokens(auth.poll(&client, &device.device_code).await);
            auth.sign_out(&person).await;
            auth.exchange(&given.access_token, "auth").await.unwrap();
            let person = auth.sign_in(&email).await;
            match how {
                "entry" => auth.revoke(&person, &sid(&given)).await,
                _ => auth.end(how, &person).await,
            }
            expected.insert(sid(&given));
            assert_eq!(auth.told_of(&application, expected.len()).await, expected, "{how}");
        }
    }

    /// Ending the entry of an application signs out of all that it was signed in to, of what was forgotten here as well; of no
    /// other application.
    async fn an_entry_takes_what_was_before_it_along(database) {
        let auth = Auth::start(database).await;
        let application = Application::start(Answer::Status(200)).await;
        let client = auth.told_at(&application, newsletter()).await;
        let other = auth.told_at(&application, newsletter()).await;
        let (_, anna) = auth.person("anna@example.org").await;
        let first = auth.tokens_for(&anna, &client, "openid").await;
        auth.tokens_for(&anna, &other, "openid").await;
        auth.advance(16 * 60);
        let anna = auth.refresh(&anna).await.unwrap();
        let second = auth.tokens_for(&anna, &client, "openid").await;
        auth.revoke(&anna, &sid(&second)).await;
        let both = BTreeSet::from([sid(&first), sid(&second)]);
        assert_eq!(auth.told_of(&application, 2).await, both);
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        assert_eq!(application.count(), 2);
    }

    /// Whoever is locked out, or ends all that they have, is signed out where they went by a session that is over by now.
    async fn an_end_reaches_what_a_session_left_behind(database) {
        let auth = Auth::start(database).await;
        let application = Application::start(Answer::Status(200)).await;
        let client = auth.told_at(&application, newsletter()).await;
        let mut expected = BTreeSet::new();
        for how in ["lock", "delete", "all", "password"] {
            let email = format!("{how}@example.org");
            let (_, before) = auth.person(&email).await;
            let given = auth.tokens_for(&before, &client, "openid").await;
            auth.advance(EIGHT_DAYS);
            assert!(auth.refresh(&before).await.is_err(), "it is over");
            let person = auth.sign_in(&email).await;
            auth.end(how, &person).await;
            expected.insert(sid(&given));
            assert_eq!(auth.told_of(&application, expected.len()).await, expected, "{how}");
        }
    }

    /// Whoever recovers their account signs everybody else out.
    async fn a_recovery_is_told(database) {
        let auth = Auth::with_mail(database).await;
        let application = Application::start(Answer::Status(200)).await;
        let client = auth.told_at(&application, newsletter()).await;
        let (_, anna) = auth.person("anna@example.org").await;
        auth.no_more_mails(1).await;
        let over = auth.tokens_for(&anna, &client, "openid").await;
        auth.advance(EIGHT_DAYS);
        let anna = auth.sign_in("anna@example.org").await;
        let given = auth.tokens_of(&anna, &client).await;
        auth.start_recovery("anna@example.org").await.unwrap();
        let token = auth.mails(1).await[0].token("recover");
        auth.recover(&token, "an entirely different set of words").await.unwrap();
        assert_eq!(auth.told_of(&application, 2).await, BTreeSet::from([sid(&over), sid(&given)]));
    }
}
