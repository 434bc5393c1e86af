//! Codes that people type, and those who guess them.

use std::num::NonZeroU32;

use futures_util::future::join_all;
use portal_mesh::status::reason_of;
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::decide_device_authorization_request::Decision;
use portal_testkit::each_database;
use tonic::{Code, Status};

use super::{television, unknown};
use crate::fixture::{Auth, refused, retry_seconds};
use crate::oauth::{error, tokens};
use crate::sql;

/// Locked, for so many seconds.
fn locked<T: std::fmt::Debug>(result: Result<T, Status>) -> u64 {
    let status = result.unwrap_err();
    let seconds = retry_seconds(&status);
    refused::<()>(Err(status), Code::ResourceExhausted, "USER_CODES_LOCKED");
    seconds
}

each_database! {
    /// Five codes that no device shows, and the right one is not looked for either; a right one between them changes nothing.
    async fn whoever_guesses_codes_waits(database) {
        let auth = Auth::start(database).await;
        let client = auth.register(television()).await.unwrap();
        let (_, anna) = auth.person("anna@example.org").await;
        let (_, bert) = auth.person("bert@example.org").await;
        let device = auth.device(&client).await;
        for _ in 0..2 {
            unknown(auth.find(&anna, "BBBB-BBBB").await);
            auth.find(&anna, &device.user_code).await.unwrap();
            unknown(auth.say(&anna, "ZZZZ-ZZZZ", Decision::Approve).await);
        }
        unknown(auth.find(&anna, "not a code").await);
        assert_eq!(locked(auth.find(&anna, &device.user_code).await), 60);
        locked(auth.say(&anna, &device.user_code, Decision::Approve).await);
        auth.find(&bert, &device.user_code).await.unwrap();
        auth.advance(60);
        auth.find(&anna, &device.user_code).await.unwrap();
        unknown(auth.find(&anna, "BBBB-BBBB").await);
        assert_eq!(locked(auth.find(&anna, &device.user_code).await), 120);
    }

    /// Whoever types codes all at once is told no more than one after the other, right ones neither.
    async fn whoever_guesses_at_once_waits_too(database) {
        let auth = Auth::start(database).await;
        let auth = auth.restart_with(|config| config.passwords.account_per_minute = NonZeroU32::new(5).unwrap()).await;
        let client = auth.register(television()).await.unwrap();
        let (_, anna) = auth.person("anna@example.org").await;
        let (_, bert) = auth.person("bert@example.org").await;
        let device = auth.device(&client).await.user_code;
        let codes = [device.as_str(), "BBBB-BBBB"].repeat(10);
        let all = join_all(codes.iter().map(|code| auth.find(&anna, code))).await;
        let reasons = all.iter().map(|found| found.as_ref().map_or_else(|status| reason_of(status).unwrap(), |_| String::new()));
        let looked_for = reasons.clone().filter(|reason| reason.is_empty() || reason == "USER_CODE_UNKNOWN").count();
        let refused_at_once = reasons.filter(|reason| reason == "TOO_MANY_ATTEMPTS").count();
        assert_eq!((looked_for, refused_at_once), (5, 15), "{all:?}");
        refused(auth.say(&anna, &device, Decision::Approve).await, Code::ResourceExhausted, "TOO_MANY_ATTEMPTS");
        auth.find(&bert, &device).await.unwrap();
        auth.advance(60);
        join_all((0..5).map(|_| auth.say(&anna, "ZZZZ-ZZZZ", Decision::Approve))).await;
        auth.advance(30);
        locked(auth.say(&anna, &device, Decision::Approve).await);
    }

    /// What can't be counted is not looked for: whether a code is right is told by no transaction that others don't see.
    async fn codes_are_counted_where_they_are_looked_for(database) {
        let auth = Auth::start(database).await;
        let client = auth.register(television()).await.unwrap();
        let (_, anna) = auth.person("anna@example.org").await;
        let device = auth.device(&client).await;
        let store = database.connect().await;
        sql::refuse_inserts(&store, "sign_in_failure").await;
        for code in [&device.user_code, "BBBB-BBBB"] {
            assert_ne!(auth.find(&anna, code).await.unwrap_err().code(), Code::NotFound);
            assert_ne!(auth.say(&anna, code, Decision::Approve).await.unwrap_err().code(), Code::NotFound);
        }
        assert_eq!(error(auth.poll(&client, &device.device_code).await), "authorization_pending");
        sql::allow_inserts(&store, "sign_in_failure").await;
        auth.find(&anna, &device.user_code).await.unwrap();
        auth.say(&anna, &device.user_code, Decision::Approve).await.unwrap();
        tokens(auth.poll(&client, &device.device_code).await);
    }

    /// So many codes a minute are typed in one network, whoever has signed in there.
    async fn whoever_guesses_from_one_network_waits(database) {
        let auth = Auth::start(database).await;
        let auth = auth.restart_with(|config| config.oauth.user_codes_per_minute = NonZeroU32::new(2).unwrap()).await;
        let type_from = async |address: &str, email: &str| {
            let (_, somebody) = auth.person(email).await;
            let message = pb::FindDeviceAuthorizationRequest { user_code: "BBBB-BBBB".to_owned() };
            let mut request = auth.by(&somebody, message).await;
            request.metadata_mut().insert("portal-client-address", address.parse().unwrap());
            auth.people().find_device_authorization(request).await
        };
        unknown(type_from("192.0.2.1", "a@example.org").await);
        unknown(type_from("192.0.2.1", "b@example.org").await);
        refused(type_from("192.0.2.1", "c@example.org").await, Code::ResourceExhausted, "TOO_MANY_ATTEMPTS");
        unknown(type_from("192.0.2.2", "d@example.org").await);
    }
}
