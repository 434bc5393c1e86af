//! Deleting an account: what goes, and what stays.

use std::time::Duration;

use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::account::State;
use portal_store::{Database, Metrics};
use portal_testkit::each_database;
use tonic::{Code, Status};

use crate::factors::totp;
use crate::fixture::{Auth, PASSWORD, refused, subject};
use crate::scans::scan;
use crate::sql;

const ANNA: &str = "deleted-anna@example.org";

impl Auth {
    async fn delete(&self, by: &pb::Session, account_id: &str) -> Result<pb::DeleteAccountResponse, Status> {
        let request = pb::DeleteAccountRequest { account_id: account_id.to_owned(), ..Default::default() };
        Ok(self.accounts().delete_account(self.by(by, request).await).await?.into_inner())
    }
}

each_database! {
    /// Rows, keys, sessions and tokens go; ids and what happened stay; the address is free for somebody new.
    async fn a_person_is_forgotten(database) {
        let auth = Auth::with_mail(database).await;
        let holder = auth.holder(ANNA).await;
        let session = &holder.session;
        let account_id = &session.account_id;
        auth.advance(60);
        let challenge = auth.challenge(ANNA).await;
        let fresh = auth.complete(&challenge.challenge_token, totp(auth.code(&holder.secret))).await.unwrap();
        auth.readdress_at_once(&fresh, "deleted-anne@example.org").await.unwrap();
        auth.start_recovery(ANNA).await.unwrap();
        let mails = auth.mails(4).await;
        let token = mails.iter().find(|mail| mail.to == "deleted-anne@example.org").unwrap().token("verify-email");
        let recovery = mails.iter().find(|mail| mail.subject == "Set a new password").unwrap().token("recover");
        let operator = auth.operator().await;
        let before = auth.get(&operator, account_id).await.unwrap();

        // Who has a second factor proves it before all is gone.
        auth.advance(30);
        refused(auth.delete(session, account_id).await, Code::Unauthenticated, "STEP_UP_REQUIRED");
        let challenge = auth.challenge(ANNA).await;
        let proven = auth.complete(&challenge.challenge_token, totp(auth.code(&holder.secret))).await.unwrap();
        let deleted = auth.delete(&proven, account_id).await.unwrap();
        assert!(deleted.delete_time.is_some());
        assert!(auth.refresh(&proven).await.is_err());
        assert!(auth.refresh(session).await.is_err());
        assert!(auth.exchange(&session.access_token, "consent").await.is_err());
        assert!(auth.try_sign_in(ANNA, PASSWORD).await.is_err());
        assert!(auth.verify(&token).await.is_err());
        assert!(auth.recover(&recovery, "an entirely different set of words").await.is_err());

        let left = auth.get(&operator, account_id).await.unwrap();
        let stone = pb::Account {
            account_id: account_id.clone(),
            subject_id: before.subject_id.clone(),
            state: State::Deleted.into(),
            create_time: before.create_time,
            update_time: deleted.delete_time,
            delete_time: deleted.delete_time,
            ..Default::default()
        };
        assert_eq!(left, stone);
        let list = |state: State| pb::ListAccountsRequest { state: state.into(), ..Default::default() };
        let listed = auth.accounts().list_accounts(auth.by(&operator, list(State::Deleted)).await).await.unwrap().into_inner();
        assert_eq!(listed.accounts, [stone]);
        let (others, withheld) = auth.listed(&operator).await;
        assert_eq!((others.len(), withheld), (1, 0));
        refused(auth.delete(&operator, account_id).await, Code::NotFound, "ACCOUNT_NOT_FOUND");

        let store = database.connect().await;
        let of_account = sql::id(&store, account_id);
        let of_subject = sql::id(&store, &before.subject_id);
        for (table, column, id) in [
            ("account", "id", &of_account), ("session", "account_id", &of_account), ("factor", "account_id", &of_account),
            ("mail", "account_id", &of_account), ("mail_token", "account_id", &of_account),
            ("account_contact", "account_id", &of_account), ("session_context", "subject_id", &of_subject),
        ] {
            let count = format!("SELECT COUNT(*) FROM {table} WHERE {column} = {id}");
            assert_eq!(sql::one::<i64>(&store, &count).await, 0, "{table}");
        }
        let kept = format!("SELECT COUNT(*) FROM audit_event WHERE account_id = {of_account}");
        assert!(sql::one::<i64>(&store, &kept).await > 3);
        assert!(auth.actions(&operator).await.iter().any(|action| action == "account.delete"));
        let upkeep = auth.upkeep().await;
        let key = upkeep.keys.subject(subject(&before.subject_id)).await;
        assert!(matches!(key, Err(portal_keys::KeysError::Erased(_))), "{:?}", key.map(drop));
        assert_eq!(scan(&upkeep).await.0, []);
        upkeep.keys.close().await;

        let again = auth.sign_up(ANNA).await;
        assert_ne!(again.account_id, *account_id);
    }

    /// Nothing of what somebody was called, or was given, is in any file of the databases afterwards, sealed or not.
    async fn nothing_is_left_in_the_files(database) {
        let auth = Auth::with_mail(database).await;
        let (anna, session) = auth.person(ANNA).await;
        let store = database.connect().await;
        let cell = format!("SELECT sealed_email FROM account WHERE id = {}", sql::id(&store, &anna.account_id));
        let cell: Vec<u8> = sql::one(&store, &cell).await;
        assert!(in_tables(&store, &cell).await, "the search finds what is there");
        auth.mails(1).await;
        auth.delete(&session, &anna.account_id).await.unwrap();
        for table in ["account", "account_contact", "session", "mail", "mail_token", "idempotency_key", "audit_event"] {
            let stored = sql::everything(&store, table).await;
            assert!(!sql::contains(&stored, "deleted-anna"), "{table}");
        }
        assert!(!in_tables(&store, &cell).await);
        let (_mesh, _config) = auth.stop().await;
        let Some(file) = database.file() else { return };
        // Whoever closes a database last writes its log into it.
        store.close().await;
        for file in std::fs::read_dir(file.parent().unwrap()).unwrap() {
            let path = file.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            assert!(!sql::contains(&bytes, "deleted-anna"), "{}", path.display());
            assert!(!bytes.windows(cell.len()).any(|window| window == cell), "{}", path.display());
        }
    }

    /// Who may: the owner or an operator, of the version that was read; the last operator can't be deleted.
    async fn who_may(database) {
        let auth = Auth::with_mail(database).await;
        let (anna, annas) = auth.person(ANNA).await;
        let (bert, _) = auth.person("bert@example.org").await;
        let operator = auth.operator().await;
        refused(auth.delete(&annas, &bert.account_id).await, Code::PermissionDenied, "NOT_YOUR_DATA");
        let nobody = "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f";
        refused(auth.delete(&annas, nobody).await, Code::PermissionDenied, "NOT_YOUR_DATA");
        refused(auth.delete(&operator, nobody).await, Code::NotFound, "ACCOUNT_NOT_FOUND");
        refused(auth.delete(&operator, &operator.account_id).await, Code::FailedPrecondition, "LAST_OPERATOR");
        let request = pb::DeleteAccountRequest {
            account_id: bert.account_id.clone(),
            etag: "77".to_owned(),
            request_id: nobody.to_owned(),
        };
        let stale = auth.accounts().delete_account(auth.by(&operator, request.clone()).await).await;
        refused(stale, Code::Aborted, "ETAG_MISMATCH");
        let request = pb::DeleteAccountRequest { etag: bert.etag.clone(), ..request };
        let first = auth.accounts().delete_account(auth.by(&operator, request.clone()).await).await.unwrap().into_inner();
        auth.advance(5);
        let again = auth.accounts().delete_account(auth.by(&operator, request).await).await.unwrap().into_inner();
        assert_eq!(first, again);
        assert!(auth.get(&annas, &anna.account_id).await.is_ok());
    }

    /// Revocations are told of a deleted account, so that other services forget it too.
    async fn the_end_of_its_sessions_is_told(database) {
        let auth = Auth::start(database).await;
        let (anna, session) = auth.person(ANNA).await;
        let request = pb::WatchRevocationsRequest::default();
        let mut stream = auth.tokens().watch_revocations(request).await.unwrap().into_inner();
        stream.message().await.unwrap();
        auth.delete(&session, &anna.account_id).await.unwrap();
        let told = async {
            loop {
                let message = stream.message().await.unwrap().unwrap();
                if format!("{message:?}").contains(&anna.account_id) {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(5), told).await.unwrap();
    }

    /// While the keys can't be had the rows go all the same, and the keys when they can.
    async fn keys_are_destroyed_later_if_need_be(database) {
        let auth = Auth::start(database).await;
        let (anna, session) = auth.person(ANNA).await;
        auth.delete(&session, &anna.account_id).await.unwrap();
        let store = database.connect().await;
        let of = sql::id(&store, &anna.account_id);
        let unerased = format!("SELECT COUNT(*) FROM account_tombstone WHERE account_id = {of} AND erased_at IS NULL");
        assert_eq!(sql::one::<i64>(&store, &unerased).await, 0);
        let (bert, berts) = auth.person("bert@example.org").await;
        let bert_of = sql::id(&store, &bert.account_id);
        let entropy = std::sync::Arc::new(portal_core::SystemEntropy);
        let keys = Database::connect(&auth.config.keys.database, entropy, Metrics::default()).await.unwrap();
        sql::refuse_inserts(&keys, "shred").await;
        auth.delete(&berts, &bert.account_id).await.unwrap();
        let waiting = format!("SELECT COUNT(*) FROM account_tombstone WHERE account_id = {bert_of} AND erased_at IS NULL");
        assert_eq!(sql::one::<i64>(&store, &waiting).await, 1);
        assert!(auth.try_sign_in("bert@example.org", PASSWORD).await.is_err());
        // Two more: the first of the three is no longer what was written, and keeps the others from nothing.
        let (carl, carls) = auth.person("carl@example.org").await;
        auth.delete(&carls, &carl.account_id).await.unwrap();
        let corrupt = format!("UPDATE account_tombstone SET deleted_at = deleted_at + 1 WHERE account_id = {bert_of}");
        assert_eq!(sql::run(&store, &corrupt, []).await, 1);
        let carl_of = sql::id(&store, &carl.account_id);
        let carl_waits = format!("SELECT COUNT(*) FROM account_tombstone WHERE account_id = {carl_of} AND erased_at IS NULL");
        assert_eq!(sql::one::<i64>(&store, &carl_waits).await, 1);
        sql::allow_inserts(&keys, "shred").await;
        let auth = auth.restart().await;
        let done = async {
            while sql::one::<i64>(&store, &carl_waits).await > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), done).await.unwrap();
        assert_eq!(sql::one::<i64>(&store, &waiting).await, 1);
        sql::run(&store, &corrupt.replace("+ 1", "- 1"), []).await;
        let done = async {
            while sql::one::<i64>(&store, &waiting).await > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), done).await.unwrap();
        let upkeep = auth.upkeep().await;
        let key = upkeep.keys.subject(subject(&bert.subject_id)).await;
        assert!(matches!(key, Err(portal_keys::KeysError::Erased(_))), "{:?}", key.map(drop));
        upkeep.keys.close().await;
    }
}

/// Whether a sealed cell stands in the table of accounts.
async fn in_tables(store: &Database, cell: &[u8]) -> bool {
    let stored = sql::everything(store, "account").await;
    stored.windows(cell.len()).any(|window| window == cell)
}
