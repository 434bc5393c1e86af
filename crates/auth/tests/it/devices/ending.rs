//! What ends before a device has come for its tokens.

use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::decide_device_authorization_request::Decision;
use portal_proto::auth::v1::grant_token_response::Result as Granted;
use portal_testkit::each_database;

use super::television;
use crate::fixture::{Auth, PASSWORD};
use crate::oauth::{claims, error, tokens};
use crate::sql;

const NEW: &str = "an entirely different set of words";

each_database! {
    /// A locked account gives nothing; a deleted one takes what it approved along; a deleted client its devices.
    async fn what_ended_gives_nothing(database) {
        let auth = Auth::start(database).await;
        let client = auth.register(television()).await.unwrap();
        let (account, anna) = auth.person("anna@example.org").await;
        let device = auth.device(&client).await;
        auth.say(&anna, &device.user_code, Decision::Approve).await.unwrap();
        let operator = auth.operator().await;
        let lock = pb::LockAccountRequest { account_id: account.account_id.clone(), ..Default::default() };
        auth.accounts().lock_account(auth.by(&operator, lock).await).await.unwrap();
        assert_eq!(error(auth.poll(&client, &device.device_code).await), "invalid_grant", "taken back with the lock");
        let (account, bert) = auth.person("bert@example.org").await;
        let device = auth.device(&client).await;
        auth.say(&bert, &device.user_code, Decision::Approve).await.unwrap();
        let delete = pb::DeleteAccountRequest { account_id: account.account_id, ..Default::default() };
        auth.accounts().delete_account(auth.by(&bert, delete).await).await.unwrap();
        assert_eq!(error(auth.poll(&client, &device.device_code).await), "invalid_grant");
        auth.device(&client).await;
        let delete = pb::DeleteClientRequest { client_id: client.client_id.clone(), ..Default::default() };
        auth.clients().delete_client(auth.by(&operator, delete).await).await.unwrap();
        let store = database.connect().await;
        assert_eq!(sql::one::<i64>(&store, "SELECT COUNT(*) FROM device_authorization").await, 0);
    }

    /// Whoever signs out before the device has come for its tokens gives it none: an approval ends with the session that made it.
    async fn an_approval_ends_with_its_session(database) {
        let auth = Auth::start(database).await;
        let client = auth.register(television()).await.unwrap();
        for end in ["entry", "sign-out", "replay", "none"] {
            let email = format!("{end}@example.org");
            let (_, anna) = auth.person(&email).await;
            let other = auth.sign_in(&email).await;
            let (device, of_other) = (auth.device(&client).await, auth.device(&client).await);
            auth.say(&anna, &device.user_code, Decision::Approve).await.unwrap();
            auth.say(&other, &of_other.user_code, Decision::Approve).await.unwrap();
            match end {
                "entry" => auth.revoke(&other, &anna.session_id).await,
                "sign-out" => auth.sign_out(&anna).await,
                "replay" => {
                    auth.refresh(&anna).await.unwrap();
                    auth.advance(11);
                    auth.refresh(&anna).await.unwrap_err();
                }
                _ => {
                    tokens(auth.poll(&client, &device.device_code).await);
                    continue;
                }
            }
            for _ in 0..2 {
                assert_eq!(error(auth.poll(&client, &device.device_code).await), "invalid_grant", "{end}");
            }
            tokens(auth.poll(&client, &of_other.device_code).await);
        }
        let store = database.connect().await;
        assert_eq!(sql::one::<i64>(&store, "SELECT COUNT(*) FROM session_grant").await, 4, "none for those");
    }

    /// What ends an application ends what was approved for its devices, and no other's.
    async fn what_ends_an_application_ends_its_approvals(database) {
        let auth = Auth::with_mail(database).await;
        let (client, other) = (auth.register(television()).await.unwrap(), auth.register(television()).await.unwrap());
        let store = database.connect().await;
        for end in ["entry", "all", "password", "recovery"] {
            let email = &format!("{end}@example.org");
            let (account, anna) = auth.person(email).await;
            let account_id = account.account_id;
            auth.no_more_mails(1).await;
            let given = auth.device(&client).await;
            auth.say(&anna, &given.user_code, Decision::Approve).await.unwrap();
            let sid = claims(&tokens(auth.poll(&client, &given.device_code).await).id_token)["sid"].clone();
            let [device, of_other] = [auth.device(&client).await, auth.device(&other).await];
            for device in [&device, &of_other] {
                auth.say(&anna, &device.user_code, Decision::Approve).await.unwrap();
            }
            match end {
                "entry" => auth.revoke(&anna, sid.as_str().unwrap()).await,
                // In the session that approved: that goes on.
                "all" => {
                    let all = pb::RevokeAllSessionsRequest { account_id, keep_current: true, ..Default::default() };
                    auth.sessions().revoke_all_sessions(auth.by(&anna, all).await).await.unwrap();
                }
                "password" => {
                    auth.change_password(&anna, (&account_id, PASSWORD, NEW), "").await.unwrap();
                }
                _ => {
                    auth.start_recovery(email).await.unwrap();
                    auth.recover(&auth.mails(1).await[0].token("recover"), NEW).await.unwrap();
                }
            }
            assert_eq!(error(auth.poll(&client, &device.device_code).await), "invalid_grant", "{end}");
            let approved = "SELECT COUNT(*) FROM device_authorization WHERE state = 'approved'";
            let of_other = auth.poll(&other, &of_other.device_code).await;
            assert_eq!(matches!(of_other, Granted::Tokens(_)), end == "entry", "{end}: {of_other:?}");
            assert_eq!(sql::one::<i64>(&store, approved).await, 0, "{end}: nothing is left to come for");
        }
    }
}
