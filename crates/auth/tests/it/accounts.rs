//! Accounts: signing up, reading, roles, locks, the first operator.

use portal_auth::Service;
use portal_core::Workload;
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::account::State;
use portal_testkit::each_database;
use tonic::Code;

use crate::fixture::{Auth, OPERATOR, PASSWORD, config, new_account, refused};

const REQUEST: &str = "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f";

fn get(account: &pb::Account) -> pb::GetAccountRequest {
    pb::GetAccountRequest { account_id: account.account_id.clone() }
}

fn set_roles(account: &pb::Account, roles: &[&str]) -> pb::SetRolesRequest {
    pb::SetRolesRequest {
        account_id: account.account_id.clone(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        ..pb::SetRolesRequest::default()
    }
}

fn lock(account: &pb::Account) -> pb::LockAccountRequest {
    pb::LockAccountRequest { account_id: account.account_id.clone(), ..pb::LockAccountRequest::default() }
}

each_database! {
    /// A new account is a subject, is found under any spelling of its e-mail address, and is there once.
    async fn sign_up(database) {
        let auth = Auth::start(database).await;
        let mut request = new_account("  Anna@Example.ORG ", PASSWORD);
        request.request_id = REQUEST.to_owned();
        let account = auth.accounts().create_account(request.clone()).await.unwrap().into_inner();
        assert_eq!(account.email, "anna@example.org");
        assert_eq!(account.roles, ["subject"]);
        assert_eq!(account.state(), State::Active);
        assert_ne!(account.subject_id, account.account_id);

        let again = auth.accounts().create_account(request.clone()).await.unwrap().into_inner();
        assert_eq!(again, account, "the same request again answers with the first reply");
        request.display_name = "Somebody else".to_owned();
        refused(auth.accounts().create_account(request).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
        let taken = auth.accounts().create_account(new_account("ANNA@example.org", "another password")).await;
        refused(taken, Code::AlreadyExists, "EMAIL_TAKEN");

        let auth = auth.restart().await;
        let session = auth.sign_in("ANNA@EXAMPLE.ORG").await;
        let found = auth.accounts().get_account(auth.by(&session, get(&account)).await).await.unwrap().into_inner();
        assert_eq!(found, account, "a restart keeps everything");
    }

    /// Twelve people who want one address at once, and one who asks twelve times.
    async fn concurrent_sign_ups(database) {
        let auth = Auth::start(database).await;
        let mut with_id = new_account("bert@example.org", PASSWORD);
        with_id.request_id = REQUEST.to_owned();
        let calls = (0..12).map(|number| {
            let mut accounts = auth.accounts();
            let with_id = with_id.clone();
            async move {
                let different = accounts.create_account(new_account("anna@example.org", PASSWORD)).await;
                let same = accounts.create_account(with_id).await.unwrap().into_inner();
                let _ = number;
                (different.map(tonic::Response::into_inner), same)
            }
        });
        let replies = futures_util::future::join_all(calls).await;
        let created = replies.iter().filter(|(different, _)| different.is_ok()).count();
        assert_eq!(created, 1);
        for (different, same) in replies.iter().cloned() {
            assert_eq!(same, replies[0].1);
            if different.is_err() {
                refused(different, Code::AlreadyExists, "EMAIL_TAKEN");
            }
        }
    }

    /// A subject reaches its own account and can't tell whether another exists; an operator reaches all.
    async fn own_other_operator(database) {
        let auth = Auth::start(database).await;
        let (anna, annas) = auth.person("anna@example.org").await;
        let (bert, _) = auth.person("bert@example.org").await;
        let operator = auth.operator().await;
        let mut accounts = auth.accounts();

        assert!(accounts.get_account(auth.by(&annas, get(&anna)).await).await.is_ok());
        let nobody = pb::Account { account_id: REQUEST.to_owned(), ..pb::Account::default() };
        for other in [&bert, &nobody] {
            let reply = accounts.get_account(auth.by(&annas, get(other)).await).await;
            refused(reply, Code::PermissionDenied, "NOT_YOUR_DATA");
        }
        assert!(accounts.get_account(auth.by(&operator, get(&bert)).await).await.is_ok());
        let reply = accounts.get_account(auth.by(&operator, get(&nobody)).await).await;
        refused(reply, Code::NotFound, "ACCOUNT_NOT_FOUND");

        refused(accounts.get_account(get(&anna)).await, Code::Unauthenticated, "TOKEN_MISSING");
        let list = pb::ListAccountsRequest::default();
        let reply = accounts.list_accounts(auth.by(&annas, list).await).await;
        refused(reply, Code::PermissionDenied, "ROLE_NOT_ALLOWED");
        let reply = accounts.set_roles(auth.by(&annas, set_roles(&anna, &["operator"])).await).await;
        refused(reply, Code::PermissionDenied, "ROLE_NOT_ALLOWED");
        let from_consent = auth.channel_from(Workload::Consent).as_workload();
        let mut from_consent = pb::account_service_client::AccountServiceClient::new(from_consent);
        refused(from_consent.get_account(get(&anna)).await, Code::PermissionDenied, "WORKLOAD_NOT_ALLOWED");
    }

    /// Pages of accounts, newest first; a token is good for its own list only.
    async fn listing(database) {
        let auth = Auth::start(database).await;
        let operator = auth.operator().await;
        for name in ["a", "b", "c", "d"] {
            auth.advance(1);
            auth.sign_up(&format!("{name}@example.org")).await;
        }
        let mut accounts = auth.accounts();
        let mut request = pb::ListAccountsRequest { page_size: 2, ..pb::ListAccountsRequest::default() };
        let mut emails = Vec::new();
        loop {
            let page = accounts.list_accounts(auth.by(&operator, request.clone()).await).await.unwrap().into_inner();
            assert!(page.accounts.len() <= 2);
            emails.extend(page.accounts.into_iter().map(|account| account.email));
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        let expected = ["d@example.org", "c@example.org", "b@example.org", "a@example.org", OPERATOR];
        assert_eq!(emails, expected);

        let foreign = pb::ListAccountsRequest { role: "operator".to_owned(), ..request.clone() };
        let reply = accounts.list_accounts(auth.by(&operator, foreign).await).await;
        refused(reply, Code::InvalidArgument, "INVALID_FIELD");
        for (filter, count) in [
            (pb::ListAccountsRequest { email: "B@Example.org".to_owned(), ..Default::default() }, 1),
            (pb::ListAccountsRequest { role: "operator".to_owned(), ..Default::default() }, 1),
            (pb::ListAccountsRequest { state: State::Locked.into(), ..Default::default() }, 0),
            (pb::ListAccountsRequest { state: State::Active.into(), ..Default::default() }, 5),
        ] {
            let page = accounts.list_accounts(auth.by(&operator, filter.clone()).await).await.unwrap().into_inner();
            assert_eq!(page.accounts.len(), count, "{filter:?}");
        }
    }

    /// New roles are in the next exchange of the same session; the last operator stays one; etags are checked.
    async fn roles(database) {
        let auth = Auth::start(database).await;
        let (anna, annas) = auth.person("anna@example.org").await;
        let operator = auth.operator().await;
        let mut accounts = auth.accounts();
        let request = pb::SetRolesRequest {
            etag: anna.etag.clone(),
            request_id: REQUEST.to_owned(),
            ..set_roles(&anna, &["controller", "operator"])
        };
        let changed = accounts.set_roles(auth.by(&operator, request.clone()).await).await.unwrap().into_inner();
        assert_eq!(changed.roles, ["controller", "operator", "subject"]);
        assert_ne!(changed.etag, anna.etag);
        let again = accounts.set_roles(auth.by(&operator, request.clone()).await).await.unwrap().into_inner();
        assert_eq!(again, changed);
        let stale = pb::SetRolesRequest { request_id: String::new(), ..request };
        refused(accounts.set_roles(auth.by(&operator, stale).await).await, Code::Aborted, "ETAG_MISMATCH");
        let exchanged = auth.exchange(&annas.access_token, "consent").await.unwrap();
        assert_eq!(exchanged.roles, changed.roles);

        let first = pb::Account { account_id: operator.account_id.clone(), ..pb::Account::default() };
        accounts.set_roles(auth.by(&annas, set_roles(&first, &[])).await).await.unwrap();
        for request in [set_roles(&anna, &[]), set_roles(&anna, &["auditor"])] {
            let reply = accounts.set_roles(auth.by(&annas, request).await).await;
            refused(reply, Code::FailedPrecondition, "LAST_OPERATOR");
        }
        let reply = accounts.lock_account(auth.by(&annas, lock(&anna)).await).await;
        refused(reply, Code::FailedPrecondition, "LAST_OPERATOR");
        assert!(accounts.set_roles(auth.by(&annas, set_roles(&anna, &["operator"])).await).await.is_ok());
    }

    /// Two operators who take the role from each other at the same time: one keeps it.
    async fn operators_do_not_vanish_in_a_race(database) {
        let auth = Auth::start(database).await;
        let (anna, annas) = auth.person("anna@example.org").await;
        let operator = auth.operator().await;
        let first = pb::Account { account_id: operator.account_id.clone(), ..pb::Account::default() };
        auth.accounts().set_roles(auth.by(&operator, set_roles(&anna, &["operator"])).await).await.unwrap();
        let (mut one, mut two) = (auth.accounts(), auth.accounts());
        let by_anna = auth.by(&annas, set_roles(&first, &[])).await;
        let by_first = auth.by(&operator, set_roles(&anna, &[])).await;
        let (one, two) = tokio::join!(one.set_roles(by_anna), two.set_roles(by_first));
        assert_eq!([one.is_ok(), two.is_ok()].iter().filter(|ok| **ok).count(), 1, "{one:?} {two:?}");
    }

    /// A locked account can't sign in, refresh or exchange, and is answered like a wrong password; unlocking lifts it.
    async fn locks(database) {
        let auth = Auth::start(database).await;
        let (anna, annas) = auth.person("anna@example.org").await;
        let operator = auth.operator().await;
        let mut accounts = auth.accounts();
        let locked = accounts.lock_account(auth.by(&operator, lock(&anna)).await).await.unwrap().into_inner();
        assert_eq!(locked.state(), State::Locked);
        let sign_in = auth.try_sign_in("anna@example.org", PASSWORD).await;
        refused(sign_in, Code::Unauthenticated, "CREDENTIALS_REJECTED");
        refused(auth.refresh(&annas).await, Code::Unauthenticated, "TOKEN_INVALID");
        refused(auth.exchange(&annas.access_token, "consent").await, Code::Unauthenticated, "TOKEN_INVALID");
        let locked = pb::ListAccountsRequest { state: State::Locked.into(), ..Default::default() };
        let page = accounts.list_accounts(auth.by(&operator, locked).await).await.unwrap().into_inner();
        assert_eq!(page.accounts.len(), 1);

        let unlock = pb::UnlockAccountRequest { account_id: anna.account_id.clone(), ..Default::default() };
        accounts.unlock_account(auth.by(&operator, unlock).await).await.unwrap();
        auth.sign_in("anna@example.org").await;
        refused(auth.refresh(&annas).await, Code::Unauthenticated, "TOKEN_INVALID");

        let end = prost_types::Timestamp { seconds: portal_testkit::START.as_seconds() + 60, nanos: 0 };
        let for_a_minute = pb::LockAccountRequest { expire_time: Some(end), ..lock(&anna) };
        let locked = accounts.lock_account(auth.by(&operator, for_a_minute).await).await.unwrap().into_inner();
        assert_eq!(locked.lock_expire_time, Some(end));
        assert!(auth.try_sign_in("anna@example.org", PASSWORD).await.is_err());
        auth.advance(60);
        auth.sign_in("anna@example.org").await;
    }

    /// Two replicas that start at once on an empty database make one operator, and a later start leaves it alone.
    async fn the_first_operator(database) {
        let mesh = portal_testkit::TestMesh::start().await;
        let config = config(&mesh, database).await;
        let (one, two) = tokio::join!(
            Service::start(config.clone(), mesh.host()),
            Service::start(config.clone(), mesh.host()),
        );
        one.unwrap().stop().await;
        two.unwrap().stop().await;
        let auth = Auth::start(database).await.restart().await;
        let operator = auth.operator().await;
        let list = auth.by(&operator, pb::ListAccountsRequest::default()).await;
        let list = auth.accounts().list_accounts(list).await.unwrap().into_inner();
        assert_eq!(list.accounts.len(), 1);
        assert_eq!(list.accounts[0].roles, ["operator", "subject"]);
    }
}
