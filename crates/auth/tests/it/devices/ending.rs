//! What ends before a device has come for its tokens.

use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::decide_device_authorization_request::Decision;
use portal_testkit::each_database;

use super::television;
use crate::fixture::Auth;
use crate::oauth::{error, tokens};
use crate::sql;

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
}
