//! What ends with a grant, and what a grant never holds.

use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::audit_service_client::AuditServiceClient;
use portal_proto::auth::v1::decide_authorization_request::Decision;
use portal_proto::auth::v1::decide_authorization_response::Needed;
use portal_testkit::each_database;
use tonic::Code;

use super::{claims, error, newsletter, tokens};
use crate::fixture::Auth;
use crate::sql;

impl Auth {
    /// Whether `client` is asked for again, if the person of `session` comes back.
    async fn is_asked(&self, session: &pb::Session, client: &pb::Client) -> bool {
        let request_uri = self.started(client, &[("scope", "openid")]).await;
        let decided = self.decide(session, &request_uri, Decision::Remembered).await.unwrap();
        decided.needed() == Needed::Approval
    }

    async fn is_live(&self, given: &pb::TokenSet) -> bool {
        match self.exchange(&given.access_token, "consent").await {
            Ok(_) => true,
            Err(status) => {
                assert_eq!(status.code(), Code::Unauthenticated);
                false
            }
        }
    }
}

each_database! {
    /// One entry of the list is all that an application has: its other grants, its codes and its approval go with it.
    async fn ending_one_grant_ends_the_application(database) {
        let auth = Auth::start(database).await;
        let (_, anna) = auth.person("anna@example.org").await;
        let (client, other) = (auth.newsletter().await, auth.newsletter().await);
        let first = auth.tokens_of(&anna, &client).await;
        let second = auth.tokens_of(&anna, &client).await;
        let of_other = auth.tokens_of(&anna, &other).await;
        let code = auth.approved(&anna, &client).await;
        let code_of_other = auth.approved(&anna, &other).await;
        let (sessions, _) = auth.sessions_of(&anna).await.unwrap();
        let grant = sessions.iter().find(|session| session.client_id == client.client_id).unwrap();
        let end = pb::RevokeSessionRequest { session_id: grant.session_id.clone(), ..Default::default() };
        auth.sessions().revoke_session(auth.by(&anna, end).await).await.unwrap();

        assert!(!auth.is_live(&first).await && !auth.is_live(&second).await);
        assert_eq!(error(auth.redeem(&client, &code).await), "invalid_grant");
        assert!(auth.is_asked(&anna, &client).await);
        // The other application keeps what it has.
        assert!(auth.is_live(&of_other).await);
        tokens(auth.redeem(&other, &code_of_other).await);
        assert!(!auth.is_asked(&anna, &other).await);
        let (left, _) = auth.sessions_of(&anna).await.unwrap();
        assert!(left.iter().all(|session| session.client_id != client.client_id));
        assert!(left.iter().any(|session| session.client_id.is_empty()), "she is still signed in");
    }

    async fn ending_all_sessions_takes_codes_and_approvals_back(database) {
        let auth = Auth::start(database).await;
        let (account, anna) = auth.person("anna@example.org").await;
        let (_, ben) = auth.person("ben@example.org").await;
        let client = auth.newsletter().await;
        let (code, of_ben) = (auth.approved(&anna, &client).await, auth.approved(&ben, &client).await);
        let all = pb::RevokeAllSessionsRequest {
            account_id: account.account_id.clone(), keep_current: true, ..Default::default()
        };
        auth.sessions().revoke_all_sessions(auth.by(&anna, all).await).await.unwrap();
        assert_eq!(error(auth.redeem(&client, &code).await), "invalid_grant");
        assert!(auth.is_asked(&anna, &client).await);
        tokens(auth.redeem(&client, &of_ben).await);
        assert!(!auth.is_asked(&ben, &client).await);
    }

    async fn a_lock_takes_codes_and_approvals_back(database) {
        let auth = Auth::start(database).await;
        let (account, anna) = auth.person("anna@example.org").await;
        let client = auth.newsletter().await;
        let code = auth.approved(&anna, &client).await;
        let operator = auth.operator().await;
        let lock = pb::LockAccountRequest { account_id: account.account_id.clone(), ..Default::default() };
        auth.accounts().lock_account(auth.by(&operator, lock).await).await.unwrap();
        let unlock = pb::UnlockAccountRequest { account_id: account.account_id, ..Default::default() };
        auth.accounts().unlock_account(auth.by(&operator, unlock).await).await.unwrap();
        assert_eq!(error(auth.redeem(&client, &code).await), "invalid_grant");
        let anna = auth.sign_in("anna@example.org").await;
        assert!(auth.is_asked(&anna, &client).await);
    }

    /// Who changes a password may have noticed that somebody else is about to redeem what they did not approve.
    async fn a_new_password_takes_codes_back(database) {
        let auth = Auth::start(database).await;
        let (account, anna) = auth.person("anna@example.org").await;
        let client = auth.newsletter().await;
        let given = auth.tokens_of(&anna, &client).await;
        let code = auth.approved(&anna, &client).await;
        let change = pb::ChangePasswordRequest {
            account_id: account.account_id,
            current_password: crate::fixture::PASSWORD.into(),
            new_password: "another long sentence 42".into(),
            ..Default::default()
        };
        auth.accounts().change_password(auth.by(&anna, change).await).await.unwrap();
        assert_eq!(error(auth.redeem(&client, &code).await), "invalid_grant");
        assert!(!auth.is_live(&given).await);
    }

    /// A code is as good as the session in which it was approved, however that ended.
    async fn a_code_ends_with_the_session_it_was_approved_in(database) {
        let auth = Auth::start(database).await;
        let (_, anna) = auth.person("anna@example.org").await;
        let client = auth.newsletter().await;
        let other = auth.sign_in("anna@example.org").await;
        let (code, code_of_other) = (auth.approved(&anna, &client).await, auth.approved(&other, &client).await);
        let end = pb::RevokeSessionRequest { session_id: anna.session_id.clone(), ..Default::default() };
        auth.sessions().revoke_session(auth.by(&other, end).await).await.unwrap();
        assert_eq!(error(auth.redeem(&client, &code).await), "invalid_grant");
        tokens(auth.redeem(&client, &code_of_other).await);

        let code = auth.approved(&other, &client).await;
        let end = pb::RevokeTokenRequest { token: other.refresh_token.clone(), ..Default::default() };
        let mut signed_in = pb::token_service_client::TokenServiceClient::new(auth.channel());
        signed_in.revoke_token(auth.by(&other, end).await).await.unwrap();
        assert_eq!(error(auth.redeem(&client, &code).await), "invalid_grant");
        let store = database.connect().await;
        assert_eq!(sql::one::<i64>(&store, "SELECT COUNT(*) FROM session_grant").await, 1);
    }

    /// The data of an officer's own: not everybody's, which an officer may read and no application asked for.
    async fn a_client_gets_no_office_of_its_person(database) {
        let auth = Auth::start(database).await;
        let operator = auth.operator().await;
        let (account, _) = auth.person("olga@example.org").await;
        let roles = pb::SetRolesRequest {
            account_id: account.account_id.clone(),
            roles: ["auditor", "controller", "officer", "operator"].map(str::to_owned).into(),
            ..Default::default()
        };
        auth.accounts().set_roles(auth.by(&operator, roles).await).await.unwrap();
        let olga = auth.sign_in("olga@example.org").await;
        let own = auth.exchange(&olga.access_token, "consent").await.unwrap();
        assert!(own.roles.contains(&"officer".to_owned()));

        let client = auth.register(newsletter()).await.unwrap();
        let given = auth.tokens_of(&olga, &client).await;
        let exchanged = auth.exchange(&given.access_token, "consent").await.unwrap();
        assert_eq!(exchanged.roles, ["subject"]);
        assert_eq!(claims(&exchanged.token)["roles"], serde_json::json!(["subject"]));
    }

    /// What an application does for somebody is told from what they do themselves.
    async fn the_trail_names_the_application(database) {
        let auth = Auth::start(database).await;
        let (account, anna) = auth.person("anna@example.org").await;
        let client = auth.newsletter().await;
        let given = auth.tokens_of(&anna, &client).await;
        auth.refresh_grant(&client, &given.refresh_token).await;
        let operator = auth.operator().await;
        let list = pb::ListAuditEventsRequest { account_id: account.account_id.clone(), page_size: 100, ..Default::default() };
        let listed = AuditServiceClient::new(auth.channel()).list_audit_events(auth.by(&operator, list).await).await;
        let events = listed.unwrap().into_inner().audit_events;
        let of = |action: &str| events.iter().filter(|event| event.action == action).collect::<Vec<_>>();
        let refreshed = of("session.refresh");
        assert_eq!(refreshed.len(), 1);
        assert_eq!(refreshed[0].actor_client_id, client.client_id);
        let ocsf: serde_json::Value = serde_json::from_str(&refreshed[0].ocsf_json).unwrap();
        assert_eq!(ocsf["actor"]["app_uid"], client.client_id);
        let approved = of("client.approve");
        assert_eq!((approved[0].actor_account_id.as_str(), approved[0].actor_client_id.as_str()), (&*account.account_id, ""));
    }
}
