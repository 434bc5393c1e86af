//! Requests that can't be taken: each names its fields, and nothing is written.

use portal_proto::auth::v1 as pb;
use portal_proto::google::rpc;
use portal_testkit::each_database;
use prost::Message;
use tonic::{Code, Response, Status};

use crate::fixture::{Auth, PASSWORD, new_account, sign_in};

/// The fields that the answer names.
#[track_caller]
fn fields<T: std::fmt::Debug>(reply: Result<Response<T>, Status>) -> Vec<String> {
    let status = reply.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = rpc::Status::decode(status.details()).unwrap().details;
    let bad = details.iter().find(|any| any.type_url.ends_with("BadRequest")).unwrap();
    let bad = rpc::BadRequest::decode(bad.value.as_slice()).unwrap();
    bad.field_violations.into_iter().map(|violation| violation.field).collect()
}

each_database! {
    /// Sign-up and sign-in.
    async fn credentials(database) {
        let auth = Auth::start(database).await;
        let long = "a".repeat(129);
        let all_wrong = pb::CreateAccountRequest {
            email: "anna".to_owned(),
            password: "short".to_owned(),
            display_name: "x".repeat(201),
            request_id: "1".to_owned(),
        };
        let cases = [
            (all_wrong, vec!["email", "password", "display_name", "request_id"]),
            (pb::CreateAccountRequest::default(), vec!["email", "password"]),
            (new_account("anna@example.org", &long), vec!["password"]),
            // Known from breaches, easy to guess, and the person's own name.
            (new_account("anna@example.org", "Liverpool1"), vec!["password"]),
            (new_account("anna@example.org", "qwertyuiop12"), vec!["password"]),
            (new_account("anna.schmidt@example.org", "AnnaSchmidt"), vec!["password"]),
            (new_account("a b@example.org", PASSWORD), vec!["email"]),
            (new_account(&format!("{long}@example.org"), PASSWORD), vec!["email"]),
        ];
        for (request, expected) in cases {
            assert_eq!(fields(auth.accounts().create_account(request.clone()).await), expected, "{request:?}");
        }
        for (request, expected) in [
            (sign_in("anna", PASSWORD, false), vec!["email"]),
            (sign_in("anna@example.org", "", false), vec!["password"]),
            (sign_in("anna@example.org", &long, false), vec!["password"]),
            (
                pb::CreateSessionRequest { device_name: "d".repeat(101), ..sign_in("a@b", PASSWORD, false) },
                vec!["device_name"],
            ),
        ] {
            assert_eq!(fields(auth.sessions().create_session(request).await), expected);
        }
        let operator = auth.operator().await;
        let list = auth.by(&operator, pb::ListAccountsRequest::default()).await;
        let list = auth.accounts().list_accounts(list).await.unwrap().into_inner();
        assert_eq!(list.accounts.len(), 1, "nothing was written");
    }

    /// Everything that takes an id, a page or a list.
    async fn ids_and_pages(database) {
        let auth = Auth::start(database).await;
        let operator = auth.operator().await;
        let (mut accounts, mut sessions) = (auth.accounts(), auth.sessions());
        let get = pb::GetAccountRequest { account_id: "anna".to_owned() };
        assert_eq!(fields(accounts.get_account(auth.by(&operator, get).await).await), ["account_id"]);
        for (request, expected) in [
            (pb::ListAccountsRequest { page_size: -1, ..Default::default() }, "page_size"),
            (pb::ListAccountsRequest { page_token: "x".to_owned(), ..Default::default() }, "page_token"),
            (pb::ListAccountsRequest { email: "x".to_owned(), ..Default::default() }, "email"),
            (pb::ListAccountsRequest { role: "king".to_owned(), ..Default::default() }, "role"),
            (pb::ListAccountsRequest { state: 99, ..Default::default() }, "state"),
        ] {
            assert_eq!(fields(accounts.list_accounts(auth.by(&operator, request).await).await), [expected]);
        }
        let roles = pb::SetRolesRequest {
            account_id: "x".to_owned(),
            roles: vec!["auditor".to_owned(), "king".to_owned()],
            ..Default::default()
        };
        assert_eq!(fields(accounts.set_roles(auth.by(&operator, roles).await).await), ["account_id", "roles[1]"]);
        let account_id = operator.account_id.clone();
        let service = pb::SetRolesRequest {
            account_id: account_id.clone(),
            roles: vec!["service".to_owned()],
            ..Default::default()
        };
        assert_eq!(fields(accounts.set_roles(auth.by(&operator, service).await).await), ["roles"]);
        let lock = pb::LockAccountRequest {
            account_id: account_id.clone(),
            reason: "r".repeat(501),
            expire_time: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
            ..Default::default()
        };
        assert_eq!(fields(accounts.lock_account(auth.by(&operator, lock).await).await), ["reason", "expire_time"]);
        let list = pb::ListSessionsRequest { account_id: "x".to_owned(), page_size: -1, ..Default::default() };
        let reply = sessions.list_sessions(auth.by(&operator, list).await).await;
        assert_eq!(fields(reply), ["account_id", "page_size"]);
        let end = pb::RevokeSessionRequest { session_id: "x".to_owned(), request_id: "y".to_owned() };
        let reply = sessions.revoke_session(auth.by(&operator, end).await).await;
        assert_eq!(fields(reply), ["session_id", "request_id"]);
    }
}
