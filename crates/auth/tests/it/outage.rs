//! The keys are gone, or an algorithm is switched off: typed errors, and never anything in the clear.

use portal_proto::auth::v1 as pb;
use portal_testkit::each_database;
use tonic::Code;

use crate::fixture::{Auth, PASSWORD, new_account, refused};

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
}
