//! Sessions: signing in, refreshing, ending.

use std::collections::BTreeSet;

use portal_proto::auth::v1 as pb;
use portal_testkit::each_database;
use tonic::Code;

use crate::fixture::{Auth, PASSWORD, new_account, refused, session_of, sign_in};

const DAY: u64 = 86_400;

fn seconds(time: Option<prost_types::Timestamp>) -> u64 {
    u64::try_from(time.unwrap().seconds - portal_testkit::START.as_seconds()).unwrap()
}

each_database! {
    /// What somebody gets who signs in, with passwords of every kind.
    async fn signing_in(database) {
        let auth = Auth::start(database).await;
        let account = auth.sign_up("anna@example.org").await;
        let session = auth.sign_in(" ANNA@Example.org ").await;
        assert_eq!(session.account_id, account.account_id);
        assert_eq!(session.subject_id, account.subject_id);
        assert_eq!(session.roles, ["subject"]);
        assert_eq!(seconds(session.access_expire_time), 15 * 60);
        assert_eq!(seconds(session.refresh_expire_time), 7 * DAY);
        assert_eq!((session.access_token.len(), session.refresh_token.len()), (43, 43));

        let passwords = ["'; DROP TABLE account; --", "' AND ''='", "🔑🔑 🗝 🔓🔑🔑🗝🔒", "  spaces stay  ", "tab\tnull\0x", &"é".repeat(128)];
        for (number, password) in passwords.iter().enumerate() {
            let email = format!("person{number}@example.org");
            auth.accounts().create_account(new_account(&email, password)).await.unwrap();
            auth.try_sign_in(&email, password).await.unwrap();
            let wrong = auth.try_sign_in(&email, password.trim_end_matches(|c| c != 'x')).await;
            assert!(wrong.is_err() || password.ends_with('x'), "{password:?}");
        }
    }

    /// Nobody can tell a wrong e-mail address from a wrong password.
    async fn failures_are_the_same(database) {
        let auth = Auth::start(database).await;
        auth.sign_up("anna@example.org").await;
        let unknown = auth.try_sign_in("nobody@example.org", PASSWORD).await.unwrap_err();
        let wrong = auth.try_sign_in("anna@example.org", "wrong").await.unwrap_err();
        assert_eq!(unknown.code(), wrong.code());
        assert_eq!(unknown.message(), wrong.message());
        assert_eq!(unknown.details(), wrong.details());
        refused::<()>(Err(wrong), Code::Unauthenticated, "CREDENTIALS_REJECTED");
    }

    /// A refresh gives new tokens and spends the old one; the old access token lives on to its end.
    async fn refreshing(database) {
        let auth = Auth::start(database).await;
        let (_, first) = auth.person("anna@example.org").await;
        auth.advance(600);
        let second = auth.refresh(&first).await.unwrap();
        assert_eq!(second.session_id, first.session_id);
        let tokens = [&first, &second].map(|session| [session.access_token.clone(), session.refresh_token.clone()]);
        assert_eq!(tokens.as_flattened().iter().collect::<BTreeSet<_>>().len(), 4);
        assert_eq!(seconds(second.access_expire_time), 600 + 15 * 60);
        assert_eq!(seconds(second.refresh_expire_time), 600 + 7 * DAY);
        assert!(auth.exchange(&first.access_token, "consent").await.is_ok());
        auth.advance(300);
        refused(auth.exchange(&first.access_token, "consent").await, Code::Unauthenticated, "TOKEN_INVALID");
        assert!(auth.exchange(&second.access_token, "consent").await.is_ok());

        let swapped = pb::Session { refresh_token: second.access_token.clone(), ..second.clone() };
        refused(auth.refresh(&swapped).await, Code::Unauthenticated, "TOKEN_INVALID");
        refused(auth.exchange(&second.refresh_token, "consent").await, Code::Unauthenticated, "TOKEN_INVALID");

        let auth = auth.restart().await;
        let third = auth.refresh(&second).await.unwrap();
        auth.advance(7 * DAY);
        refused(auth.refresh(&third).await, Code::Unauthenticated, "TOKEN_INVALID");
    }

    /// Fifty refreshes of one token at once: one successor, nobody is signed out.
    async fn parallel_refreshes(database) {
        let auth = Auth::start(database).await;
        let (_, session) = auth.person("anna@example.org").await;
        let replies = futures_util::future::join_all((0..50).map(|_| auth.refresh(&session))).await;
        let successors: BTreeSet<_> = replies
            .into_iter()
            .map(|reply| reply.unwrap())
            .map(|session| (session.access_token, session.refresh_token))
            .collect();
        assert_eq!(successors.len(), 1);
        let (_, refresh_token) = successors.into_iter().next().unwrap();
        auth.refresh(&pb::Session { refresh_token, ..session }).await.unwrap();
    }

    /// Within ten seconds a spent token gets the same successor, across a restart; later its use ends the session.
    async fn replays(database) {
        let auth = Auth::start(database).await;
        let (_, first) = auth.person("anna@example.org").await;
        let second = auth.refresh(&first).await.unwrap();
        let auth = auth.restart().await;
        auth.advance(10);
        assert_eq!(auth.refresh(&first).await.unwrap(), second);
        let third = auth.refresh(&second).await.unwrap();
        auth.advance(1);
        let other = auth.sign_in("anna@example.org").await;
        refused(auth.refresh(&first).await, Code::Unauthenticated, "TOKEN_INVALID");
        for session in [&second, &third] {
            refused(auth.refresh(session).await, Code::Unauthenticated, "TOKEN_INVALID");
            let exchanged = auth.exchange(&session.access_token, "consent").await;
            refused(exchanged, Code::Unauthenticated, "TOKEN_INVALID");
        }
        assert!(auth.refresh(&other).await.is_ok(), "other sessions of the account go on");
    }

    /// Who asked to be remembered is remembered after each refresh, too.
    async fn remember_me(database) {
        let auth = Auth::start(database).await;
        auth.sign_up("anna@example.org").await;
        let request = sign_in("anna@example.org", PASSWORD, true);
        let session = session_of(auth.sessions().create_session(request).await.unwrap().into_inner());
        let forgotten = auth.sign_in("anna@example.org").await;
        assert!(session.remember_me && !forgotten.remember_me);
        assert_eq!(seconds(session.refresh_expire_time), 30 * DAY);
        auth.advance(8 * DAY);
        refused(auth.refresh(&forgotten).await, Code::Unauthenticated, "TOKEN_INVALID");
        let session = auth.refresh(&session).await.unwrap();
        assert!(session.remember_me);
        assert_eq!(seconds(session.refresh_expire_time), 38 * DAY);
    }

    /// The list shows live sessions without their tokens; one or all can be ended, by their owner or an operator.
    async fn listing_and_ending(database) {
        let auth = Auth::start(database).await;
        let (anna, first) = auth.person("anna@example.org").await;
        let (bert, berts) = auth.person("bert@example.org").await;
        auth.advance(1);
        let second = auth.sign_in("anna@example.org").await;
        auth.advance(1);
        let third = auth.sign_in("anna@example.org").await;
        let mut sessions = auth.sessions();
        let list = |account: &pb::Account| pb::ListSessionsRequest {
            account_id: account.account_id.clone(),
            page_size: 2,
            page_token: String::new(),
        };
        let page = sessions.list_sessions(auth.by(&second, list(&anna)).await).await.unwrap().into_inner();
        let ids: Vec<_> = page.sessions.iter().map(|session| &session.session_id).collect();
        assert_eq!(ids, [&third.session_id, &second.session_id]);
        assert_eq!(page.sessions.iter().map(|session| session.current).collect::<Vec<_>>(), [false, true]);
        assert!(page.sessions.iter().all(|s| s.access_token.is_empty() && s.refresh_token.is_empty()));
        assert_eq!(page.sessions[0].device_name, "Anna's laptop");
        let next = pb::ListSessionsRequest { page_token: page.next_page_token.clone(), ..list(&anna) };
        let next = sessions.list_sessions(auth.by(&second, next).await).await.unwrap().into_inner();
        assert_eq!(next.sessions[0].session_id, first.session_id);
        assert!(next.next_page_token.is_empty());
        let foreign = pb::ListSessionsRequest { page_token: page.next_page_token, ..list(&bert) };
        let reply = sessions.list_sessions(auth.by(&berts, foreign).await).await;
        refused(reply, Code::InvalidArgument, "INVALID_FIELD");
        let reply = sessions.list_sessions(auth.by(&berts, list(&anna)).await).await;
        refused(reply, Code::PermissionDenied, "NOT_YOUR_DATA");

        let end = |session: &pb::Session| pb::RevokeSessionRequest {
            session_id: session.session_id.clone(),
            request_id: String::new(),
        };
        let missing = pb::Session { session_id: anna.account_id.clone(), ..first.clone() };
        for other in [&first, &missing] {
            let reply = sessions.revoke_session(auth.by(&berts, end(other)).await).await;
            refused(reply, Code::PermissionDenied, "NOT_YOUR_DATA");
        }
        let ended = sessions.revoke_session(auth.by(&third, end(&first)).await).await.unwrap().into_inner();
        refused(auth.exchange(&first.access_token, "consent").await, Code::Unauthenticated, "TOKEN_INVALID");
        refused(auth.refresh(&first).await, Code::Unauthenticated, "TOKEN_INVALID");
        auth.advance(1);
        let again = sessions.revoke_session(auth.by(&third, end(&first)).await).await.unwrap().into_inner();
        assert_eq!(again, ended, "ending it again changes nothing");

        let all = |keep_current| pb::RevokeAllSessionsRequest {
            account_id: anna.account_id.clone(),
            keep_current,
            request_id: String::new(),
        };
        let reply = sessions.revoke_all_sessions(auth.by(&berts, all(false)).await).await;
        refused(reply, Code::PermissionDenied, "NOT_YOUR_DATA");
        let reply = sessions.revoke_all_sessions(auth.by(&third, all(true)).await).await.unwrap().into_inner();
        assert_eq!(reply.revoked_count, 1);
        assert!(auth.refresh(&second).await.is_err());
        assert!(auth.exchange(&third.access_token, "consent").await.is_ok());
        let operator = auth.operator().await;
        let reply = sessions.revoke_all_sessions(auth.by(&operator, all(false)).await).await.unwrap().into_inner();
        assert_eq!(reply.revoked_count, 1);
        assert!(auth.exchange(&third.access_token, "consent").await.is_err());
        assert!(auth.refresh(&berts).await.is_ok());
    }
}
