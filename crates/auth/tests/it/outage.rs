//! The keys are gone, or an algorithm is switched off: typed errors, and never anything in the clear.

use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::account::State;
use portal_testkit::each_database;
use tonic::Code;

use crate::fixture::{Auth, PASSWORD, new_account, refused, subject};
use crate::scans::scan;
use crate::sql;

const REQUEST: &str = "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f";
const UNAVAILABLE: (Code, &str) = (Code::Unavailable, "KEYS_UNAVAILABLE");

each_database! {
    /// Without the root keys, what is at hand serves for its time; then everything that takes a person's key is
    /// unavailable, until the root keys are back. What takes none goes on.
    async fn without_root_keys(database) {
        let auth = Auth::start(database).await;
        let (anna, annas) = auth.person("anna@example.org").await;
        let operator = auth.operator().await;
        auth.root_keys_are_there(false);
        auth.advance(59);
        assert_eq!(auth.get(&operator, &anna.account_id).await.unwrap(), anna);
        auth.advance(1);
        refused(auth.get(&operator, &anna.account_id).await, UNAVAILABLE.0, UNAVAILABLE.1);
        refused(auth.sessions_of(&annas).await, UNAVAILABLE.0, UNAVAILABLE.1);
        refused(auth.refresh(&annas).await, UNAVAILABLE.0, UNAVAILABLE.1);
        refused(auth.try_sign_in("anna@example.org", PASSWORD).await, UNAVAILABLE.0, UNAVAILABLE.1);
        let new = auth.accounts().create_account(new_account("new@example.org", PASSWORD)).await;
        refused(new, UNAVAILABLE.0, UNAVAILABLE.1);
        let wrong = auth.try_sign_in("anna@example.org", "wrong").await;
        refused(wrong, Code::Unauthenticated, "CREDENTIALS_REJECTED");
        assert!(auth.exchange(&annas.access_token, "consent").await.is_ok());

        auth.root_keys_are_there(true);
        auth.advance(1);
        assert_eq!(auth.get(&operator, &anna.account_id).await.unwrap(), anna);
        auth.refresh(&annas).await.expect("the token was not spent meanwhile");
        auth.sign_up("new@example.org").await;
    }

    /// An algorithm that is switched off neither opens nor seals; switched on again, everything is there.
    async fn without_an_algorithm(database) {
        let auth = Auth::start(database).await;
        let (anna, annas) = auth.person("anna@example.org").await;
        let operator = auth.operator().await;
        let auth = auth
            .restart_with(|config| {
                config.keys.disabled_algorithms = vec!["AES-256-GCM".to_owned()];
                config.operator = None;
            })
            .await;
        let disabled = (Code::FailedPrecondition, "ALGORITHM_DISABLED");
        refused(auth.get(&operator, &anna.account_id).await, disabled.0, disabled.1);
        refused(auth.sessions_of(&annas).await, disabled.0, disabled.1);
        refused(auth.try_sign_in("anna@example.org", PASSWORD).await, disabled.0, disabled.1);
        let new = auth.accounts().create_account(new_account("new@example.org", PASSWORD)).await;
        refused(new, disabled.0, disabled.1);
        let auth = auth.restart_with(|config| config.keys.disabled_algorithms.clear()).await;
        assert_eq!(auth.get(&operator, &anna.account_id).await.unwrap(), anna);
        auth.refresh(&annas).await.unwrap();
    }

    /// ML-DSA-65 switched off: no token is signed, and one that was signed before is not believed any more.
    async fn without_the_algorithm_of_tokens(database) {
        let auth = Auth::start(database).await;
        let (anna, annas) = auth.person("anna@example.org").await;
        let operator = auth.operator().await;
        let before = auth.by(&operator, pb::GetAccountRequest { account_id: anna.account_id.clone() }).await;
        let (metadata, extensions, asked) = before.into_parts();
        let again = || tonic::Request::from_parts(metadata.clone(), extensions.clone(), asked.clone());
        assert_eq!(auth.accounts().get_account(again()).await.unwrap().into_inner(), anna);
        let auth = auth
            .restart_with(|config| config.keys.disabled_algorithms = vec!["ML-DSA-65".to_owned()])
            .await;
        refused(auth.accounts().get_account(again()).await, Code::Unauthenticated, "TOKEN_INVALID");
        refused(auth.exchange(&annas.access_token, "auth").await, Code::FailedPrecondition, "ALGORITHM_DISABLED");
        let auth = auth.restart_with(|config| config.keys.disabled_algorithms.clear()).await;
        assert_eq!(auth.accounts().get_account(again()).await.unwrap().into_inner(), anna);
    }

    /// Without the root keys an operator locks an account, takes its roles and lifts the lock: what is sealed is neither
    /// needed nor replied, and opens again later, as bound to its row as before.
    async fn operators_need_no_key(database) {
        let auth = Auth::start(database).await;
        let (anna, annas) = auth.person("anna@example.org").await;
        let operator = auth.operator().await;
        auth.root_keys_are_there(false);
        auth.advance(60);
        let account_id = anna.account_id.clone();
        let mut accounts = auth.accounts();
        let lock = pb::LockAccountRequest { account_id: account_id.clone(), request_id: REQUEST.to_owned(), ..Default::default() };
        let locked = accounts.lock_account(auth.by(&operator, lock.clone()).await).await.unwrap().into_inner();
        assert_eq!((locked.state(), locked.email.as_str(), locked.display_name.as_str()), (State::Locked, "", ""));
        let again = accounts.lock_account(auth.by(&operator, lock).await).await.unwrap().into_inner();
        assert_eq!(again, locked);
        refused(auth.exchange(&annas.access_token, "consent").await, Code::Unauthenticated, "TOKEN_INVALID");
        let roles = pb::SetRolesRequest { account_id: account_id.clone(), roles: vec!["officer".to_owned()], ..Default::default() };
        let changed = accounts.set_roles(auth.by(&operator, roles).await).await.unwrap().into_inner();
        assert_eq!((changed.roles.len(), changed.etag.as_str()), (2, "3"));

        auth.root_keys_are_there(true);
        auth.advance(1);
        let read = auth.get(&operator, &account_id).await.unwrap();
        assert_eq!((&read.email, &read.display_name, &read.roles), (&anna.email, &anna.display_name, &changed.roles));
        let store = database.connect().await;
        let kept = "SELECT COUNT(*) FROM account WHERE sealed_revision = 1 AND revision = 3";
        assert_eq!(sql::one::<i64>(&store, kept).await, 1);
        let upkeep = auth.upkeep().await;
        assert_eq!(scan(&upkeep).await.0, Vec::new());
        upkeep.keys.close().await;
        let unlock = pb::UnlockAccountRequest { account_id: account_id.clone(), ..Default::default() };
        let unlocked = accounts.unlock_account(auth.by(&operator, unlock).await).await.unwrap().into_inner();
        assert_eq!((unlocked.state(), &unlocked.email), (State::Active, &anna.email));
        let sealed_anew = "SELECT COUNT(*) FROM account WHERE sealed_revision IS NULL";
        assert_eq!(sql::one::<i64>(&store, sealed_anew).await, 2);
        auth.sign_in("anna@example.org").await;
    }

    /// An operator who was erased can't sign in, so the last who can is kept; and they are locked and demoted like anybody.
    async fn an_erased_operator_does_not_count(database) {
        let auth = Auth::start(database).await;
        let (anna, _) = auth.person("anna@example.org").await;
        let operator = auth.operator().await;
        let mut accounts = auth.accounts();
        let roles = |of: &str, roles: &[&str]| pb::SetRolesRequest {
            account_id: of.to_owned(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            ..Default::default()
        };
        let lock = |of: &str| pb::LockAccountRequest { account_id: of.to_owned(), ..Default::default() };
        accounts.set_roles(auth.by(&operator, roles(&anna.account_id, &["operator"])).await).await.unwrap();
        let keys = auth.keys().await;
        keys.erase(subject(&anna.subject_id)).await.unwrap();
        keys.close().await;
        let auth = auth.restart().await;
        let mut accounts = auth.accounts();
        let last = (Code::FailedPrecondition, "LAST_OPERATOR");
        let own = &operator.account_id;
        refused(accounts.lock_account(auth.by(&operator, lock(own)).await).await, last.0, last.1);
        refused(accounts.set_roles(auth.by(&operator, roles(own, &[])).await).await, last.0, last.1);
        let locked = accounts.lock_account(auth.by(&operator, lock(&anna.account_id)).await).await.unwrap().into_inner();
        assert_eq!((locked.state(), locked.email.as_str()), (State::Locked, ""));
        let demoted = accounts.set_roles(auth.by(&operator, roles(&anna.account_id, &[])).await).await.unwrap().into_inner();
        assert_eq!(demoted.roles, ["subject"]);
        refused(auth.get(&operator, &anna.account_id).await, Code::NotFound, "SUBJECT_ERASED");
    }

    /// A list leaves out who was erased, and says nothing of it in the log; keys that are switched off are no such thing:
    /// then there is no list.
    async fn lists_tell_erased_people_from_keys_that_are_off(database) {
        crate::logs::capture();
        let auth = Auth::start(database).await;
        let anna = auth.sign_up("anna@example.org").await;
        let bert = auth.sign_up("bert@example.org").await;
        let operator = auth.operator().await;
        let keys = auth.keys().await;
        keys.erase(subject(&anna.subject_id)).await.unwrap();
        let auth = auth.restart().await;
        let (listed, withheld) = auth.listed(&operator).await;
        assert_eq!((listed.len(), withheld), (2, 1));
        let log = crate::logs::captured();
        let told = |line: &&str| line.contains("left out of a list") && line.contains(&anna.account_id);
        assert_eq!(log.lines().find(told), None);

        let store = database.connect().await;
        let corrupt = format!("UPDATE account SET roles = 17 WHERE id = {}", sql::id(&store, &bert.account_id));
        assert_eq!(sql::run(&store, &corrupt, []).await, 1);
        assert_eq!(auth.listed(&operator).await.1, 2);
        let told = |line: &&str| line.contains("left out of a list") && line.contains(&bert.account_id);
        assert!(crate::logs::captured().lines().any(|line| told(&line)));

        let rotation = keys.rotate_epoch().await.unwrap();
        keys.disable_epoch(rotation.retired).await.unwrap();
        keys.close().await;
        let auth = auth.restart_with(|config| config.operator = None).await;
        let list = auth.by(&operator, pb::ListAccountsRequest::default()).await;
        refused(auth.accounts().list_accounts(list).await, UNAVAILABLE.0, UNAVAILABLE.1);
    }
}
