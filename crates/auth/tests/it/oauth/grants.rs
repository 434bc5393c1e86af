//! What clients were given, when something becomes of the person who allowed it.

use portal_proto::auth::v1 as pb;
use portal_testkit::each_database;
use tonic::Code;

use super::{claims, error, tokens};
use crate::fixture::{Auth, PASSWORD, refused};

const ANNA: &str = "anna@example.org";
const NEW: &str = "an entirely different set of words";

impl Auth {
    /// Neither of the tokens is good for anything.
    async fn dead(&self, client: &pb::Client, given: &pb::TokenSet) {
        refused(self.exchange(&given.access_token, "auth").await, Code::Unauthenticated, "TOKEN_INVALID");
        for token in [&given.access_token, &given.refresh_token] {
            assert!(!self.told(client, token).await.active);
        }
        assert_eq!(error(self.refresh_grant(client, &given.refresh_token).await), "invalid_grant");
    }
}

each_database! {
    /// A lock ends what clients were given, and nothing of it comes back when the lock is lifted.
    async fn a_lock_ends_them(database) {
        let auth = Auth::start(database).await;
        let client = auth.newsletter().await;
        let (account, anna) = auth.person(ANNA).await;
        let given = auth.tokens_of(&anna, &client).await;
        assert!(auth.told(&client, &given.access_token).await.active);
        auth.user_info(&given.access_token).await.unwrap();
        let operator = auth.operator().await;
        let account_id = account.account_id;
        let lock = pb::LockAccountRequest { account_id: account_id.clone(), ..Default::default() };
        auth.accounts().lock_account(auth.by(&operator, lock).await).await.unwrap();
        auth.dead(&client, &given).await;
        let unlock = pb::UnlockAccountRequest { account_id, ..Default::default() };
        auth.accounts().unlock_account(auth.by(&operator, unlock).await).await.unwrap();
        auth.dead(&client, &given).await;
        let anna = auth.sign_in(ANNA).await;
        let again = auth.tokens_of(&anna, &client).await;
        auth.user_info(&again.access_token).await.unwrap();
    }

    /// A new password ends what clients were given, as it ends the sessions of other devices; the one that asked goes on.
    async fn a_new_password_ends_them(database) {
        let auth = Auth::start(database).await;
        let client = auth.newsletter().await;
        let (account, anna) = auth.person(ANNA).await;
        let given = auth.tokens_of(&anna, &client).await;
        let ended = auth.change_password(&anna, (&account.account_id, PASSWORD, NEW), "").await.unwrap();
        assert_eq!(ended, 1);
        auth.dead(&client, &given).await;
        auth.exchange(&anna.access_token, "auth").await.unwrap();
    }

    /// So does a recovery, which leaves no session.
    async fn a_recovery_ends_them(database) {
        let auth = Auth::with_mail(database).await;
        let client = auth.newsletter().await;
        let (_, anna) = auth.person(ANNA).await;
        auth.no_more_mails(1).await;
        let given = auth.tokens_of(&anna, &client).await;
        auth.start_recovery(ANNA).await.unwrap();
        auth.recover(&auth.mails(1).await[0].token("recover"), NEW).await.unwrap();
        auth.dead(&client, &given).await;
        assert!(auth.exchange(&anna.access_token, "auth").await.is_err());
    }

    /// A change of roles ends nothing, and gives a client nothing: whatever office its person has, it has none.
    async fn a_change_of_roles_is_nothing_to_them(database) {
        let auth = Auth::start(database).await;
        let client = auth.newsletter().await;
        let (account, anna) = auth.person(ANNA).await;
        let given = auth.tokens_of(&anna, &client).await;
        let before = auth.exchange(&given.access_token, "auth").await.unwrap().token;
        assert_eq!(claims(&before)["roles"], serde_json::json!(["subject"]));
        let operator = auth.operator().await;
        let roles = |roles: &[&str]| pb::SetRolesRequest {
            account_id: account.account_id.clone(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            ..Default::default()
        };
        auth.accounts().set_roles(auth.by(&operator, roles(&["auditor"])).await).await.unwrap();
        let after = auth.exchange(&given.access_token, "auth").await.unwrap().token;
        assert_eq!(claims(&after)["roles"], serde_json::json!(["subject"]));
        let own = auth.exchange(&anna.access_token, "auth").await.unwrap().token;
        assert_eq!(claims(&own)["roles"], serde_json::json!(["auditor", "subject"]), "hers has it");
        assert_eq!(claims(&after)["scope"], claims(&before)["scope"], "no more than was allowed");
        auth.accounts().set_roles(auth.by(&operator, roles(&[])).await).await.unwrap();
        let next = tokens(auth.refresh_grant(&client, &given.refresh_token).await);
        let last = auth.exchange(&next.access_token, "auth").await.unwrap().token;
        assert_eq!(claims(&last)["roles"], serde_json::json!(["subject"]));
        assert!(auth.told(&client, &next.access_token).await.active);
    }

    /// Whoever asks for what is held of them learns what they allowed whom, and which of their sessions a client holds.
    async fn they_are_exported(database) {
        let auth = Auth::start(database).await;
        let (client, other) = (auth.newsletter().await, auth.newsletter().await);
        let (account, anna) = auth.person(ANNA).await;
        let (_, bert) = auth.person("bert@example.org").await;
        auth.tokens_of(&anna, &client).await;
        auth.tokens_of(&bert, &other).await;
        let export = auth.export(&anna, &account.account_id, (0, "")).await.unwrap();
        let mut holders: Vec<_> = export.sessions.iter().map(|session| session.client_id.as_str()).collect();
        holders.sort_unstable();
        assert_eq!(holders, ["", client.client_id.as_str()]);
        let [approval] = &export.approvals[..] else { panic!("{:?}", export.approvals) };
        assert_eq!((&approval.client_id, approval.client_display_name.as_str()), (&client.client_id, "Newsletter"));
        assert_eq!(approval.scopes, ["consent.read", "email", "offline_access", "openid", "profile"]);
        assert_eq!(approval.approve_time, export.export_time);
    }
}
