//! What stands in the database: nothing personal in the clear, and nothing that somebody else has written is believed.

use portal_proto::auth::v1 as pb;
use portal_store::Database;
use portal_testkit::{TestDatabase, each_database};
use sea_orm::Value;
use tonic::Code;

use crate::fixture::{Auth, PASSWORD, new_account, refused, subject};
use crate::sql;

const REQUEST: &str = "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f";
const EMAIL: &str = "canary-of-an-address@example.org";
const NAME: &str = "Anna Ω";
const DEVICE: &str = "Anna's laptop";
const CORRUPT: (Code, &str) = (Code::DataLoss, "ROW_CORRUPT");

/// The columns of a table that somebody may change, and its key.
type Table = (&'static str, &'static str, &'static str);
const ACCOUNT: Table = (
    "account",
    "id",
    "subject_id, email_index, email, display_name, password_hash, roles, locked_until, revision, created_at, \
     updated_at, sealed_email, sealed_display_name, email_index_generation, sealed_revision, row_digest",
);
const SESSION: Table = (
    "session",
    "id",
    "account_id, device_name, remember_me, created_at, last_used_at, access_expires_at, refresh_expires_at, \
     revoked_at, subject_id, sealed_device_name, row_digest",
);
const TOKENS: Table = (
    "token_pair",
    "refresh_hash",
    "access_hash, session_id, issued_at, access_expires_at, refresh_expires_at, spent_at, row_digest",
);

/// Keeps the rows of a table.
async fn keep(store: &Database, (table, ..): Table) {
    sql::run(store, &format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}"), []).await;
}

/// Puts the rows that were kept back.
async fn restore(store: &Database, (table, key, columns): Table) {
    let put_back = format!(
        "UPDATE {table} SET ({columns}) = (SELECT {columns} FROM kept_{table} k WHERE k.{key} = {table}.{key})"
    );
    sql::run(store, &put_back, []).await;
}

async fn tamper(store: &Database, change: &str) {
    assert_ne!(sql::run(store, change, []).await, 0, "{change}");
}

/// The cell, each time with another bit flipped: in its version, suite, generation, nonce, text and tag.
async fn flipped(store: &Database, table: &str, column: &str, row: &str) -> Vec<Vec<u8>> {
    let cell: Vec<u8> = sql::one(store, &format!("SELECT {column} FROM {table} WHERE {row}")).await;
    let flip = |at: usize| {
        let mut cell = cell.clone();
        cell[at] ^= 1 << (at % 8);
        cell
    };
    [0, 1, 5, 6, 17, 18, cell.len() - 16, cell.len() - 1].map(flip).into()
}

/// Whether any file beside a SQLite database holds `needle`: the database, its log, the keys' own.
fn in_files(database: &TestDatabase, needle: &str) -> bool {
    let Some(file) = database.file() else { return false };
    let files = std::fs::read_dir(file.parent().unwrap()).unwrap();
    let mut found = files.map(|file| sql::contains(&std::fs::read(file.unwrap().path()).unwrap(), needle));
    found.any(|found| found)
}

each_database! {
    /// Neither addresses nor names nor a kept reply stand anywhere; who may read them does, also after a restart and from
    /// another replica, and the same request is answered as before.
    async fn nothing_personal_is_in_the_clear(database) {
        let auth = Auth::start(database).await;
        let request = pb::CreateAccountRequest { request_id: REQUEST.to_owned(), ..new_account(EMAIL, PASSWORD) };
        let account = auth.accounts().create_account(request.clone()).await.unwrap().into_inner();
        let session = auth.sign_in(EMAIL).await;
        let operator = auth.operator().await;
        let roles = pb::SetRolesRequest {
            account_id: account.account_id.clone(),
            roles: vec!["auditor".to_owned()],
            request_id: REQUEST.to_owned(),
            ..Default::default()
        };
        let changed = auth.accounts().set_roles(auth.by(&operator, roles.clone()).await).await.unwrap().into_inner();
        assert_eq!((changed.email.as_str(), changed.display_name.as_str()), (EMAIL, NAME));

        let store = database.connect().await;
        for table in ["account", "session", "token_pair", "idempotency_key"] {
            let stored = sql::everything(&store, table).await;
            assert!(!stored.is_empty());
            for canary in [EMAIL, NAME, DEVICE, PASSWORD] {
                assert!(!sql::contains(&stored, canary), "{canary} in {table}");
            }
        }
        for canary in [EMAIL, NAME, DEVICE, PASSWORD] {
            assert!(!in_files(database, canary), "{canary}");
        }
        for unsealed in [
            "account WHERE sealed_email IS NULL OR sealed_display_name IS NULL OR row_digest IS NULL",
            "session WHERE sealed_device_name IS NULL OR row_digest IS NULL",
            "token_pair WHERE row_digest IS NULL",
            "idempotency_key WHERE sealed_reply IS NULL",
        ] {
            assert_eq!(sql::one::<i64>(&store, &format!("SELECT COUNT(*) FROM {unsealed}")).await, 0, "{unsealed}");
        }

        let auth = auth.restart().await;
        assert_eq!(auth.get(&operator, &account.account_id).await.unwrap(), changed);
        let (sessions, _) = auth.sessions_of(&session).await.unwrap();
        assert_eq!(sessions[0].device_name, DEVICE);
        let (replica, channel) = auth.replica().await;
        let mut accounts = pb::account_service_client::AccountServiceClient::new(channel);
        let get = pb::GetAccountRequest { account_id: account.account_id.clone() };
        assert_eq!(accounts.get_account(auth.by(&operator, get).await).await.unwrap().into_inner(), changed);
        assert_eq!(accounts.create_account(request.clone()).await.unwrap().into_inner(), account);
        let again = accounts.set_roles(auth.by(&operator, roles.clone()).await).await.unwrap().into_inner();
        assert_eq!(again, changed);
        let other = pb::SetRolesRequest { roles: Vec::new(), ..roles };
        let reused = accounts.set_roles(auth.by(&operator, other).await).await;
        refused(reused, Code::InvalidArgument, "REQUEST_ID_REUSED");
        replica.stop().await;
    }

    /// Whatever is changed in an account: it is not used, and nobody gets in by it. The others are answered.
    async fn forged_accounts_are_refused(database) {
        let auth = Auth::start(database).await;
        let anna = auth.sign_up("anna@example.org").await;
        let bert = auth.sign_up("bert@example.org").await;
        let operator = auth.operator().await;
        let store = database.connect().await;
        let (of_anna, of_bert) = (row(&store, &anna.account_id), row(&store, &bert.account_id));
        let older: Vec<u8> = sql::one(&store, &format!("SELECT sealed_email FROM account WHERE {of_anna}")).await;
        let roles = pb::SetRolesRequest {
            account_id: anna.account_id.clone(),
            roles: vec!["officer".to_owned()],
            ..Default::default()
        };
        let anna = auth.accounts().set_roles(auth.by(&operator, roles).await).await.unwrap().into_inner();
        keep(&store, ACCOUNT).await;

        let of_other = |column: &str| format!("{column} = (SELECT o.{column} FROM account o WHERE {of_bert})").replace("WHERE id", "WHERE o.id");
        let mut cells: Vec<(String, Vec<Value>)> = vec![("sealed_email = $1".to_owned(), vec![older.into()])];
        for column in ["sealed_email", "sealed_display_name", "row_digest"] {
            for cell in flipped(&store, "account", column, &of_anna).await {
                cells.push((format!("{column} = $1"), vec![cell.into()]));
            }
        }
        for change in [
            of_other("sealed_email"),
            of_other("sealed_display_name"),
            of_other("password_hash"),
            of_other("row_digest"),
            "sealed_email = sealed_display_name, sealed_display_name = sealed_email".to_owned(),
            "sealed_email = NULL".to_owned(),
            "email = 'eve@example.org'".to_owned(),
            "email = 'eve@example.org', display_name = 'Eve', sealed_email = NULL, sealed_display_name = NULL, row_digest = NULL".to_owned(),
            "row_digest = NULL".to_owned(),
            "roles = roles + 16".to_owned(),
            "locked_until = 1".to_owned(),
            "revision = revision - 1".to_owned(),
            "created_at = created_at + 1".to_owned(),
            "updated_at = updated_at + 1".to_owned(),
            "email_index_generation = NULL".to_owned(),
            "sealed_revision = revision".to_owned(),
        ] {
            cells.push((change, Vec::new()));
        }
        for (change, values) in cells {
            let update = format!("UPDATE account SET {change} WHERE {of_anna}");
            assert_eq!(sql::run(&store, &update, values).await, 1, "{change}");
            let status = auth.get(&operator, &anna.account_id).await.unwrap_err();
            assert!(status.message().contains(&anna.account_id) && status.message().contains("account"), "{status:?}");
            refused::<()>(Err(status), CORRUPT.0, CORRUPT.1);
            let wrong = auth.try_sign_in("anna@example.org", "wrong").await.unwrap_err();
            let right = auth.try_sign_in("anna@example.org", PASSWORD).await.unwrap_err();
            assert_eq!((right.code(), right.message(), right.details()), (wrong.code(), wrong.message(), wrong.details()));
            refused::<()>(Err(right), Code::Unauthenticated, "CREDENTIALS_REJECTED");
            // Nobody is locked out by so many.
            sql::run(&store, "DELETE FROM sign_in_failure", []).await;
            let (listed, withheld) = auth.listed(&operator).await;
            assert_eq!((listed.len(), &listed[0], withheld), (2, &bert, 1), "{change}");
            assert_eq!(auth.get(&operator, &bert.account_id).await.unwrap(), bert);
            restore(&store, ACCOUNT).await;
            assert_eq!(auth.get(&operator, &anna.account_id).await.unwrap(), anna, "{change}");
        }
        auth.sign_in("anna@example.org").await;
    }

    /// An account that was made somebody else's, or an operator's: tokens of before do not carry what was forged.
    async fn forged_roles_reach_nobody(database) {
        let auth = Auth::start(database).await;
        let (anna, annas) = auth.person("anna@example.org").await;
        let (_, berts) = auth.person("bert@example.org").await;
        let store = database.connect().await;
        tamper(&store, &format!("UPDATE account SET roles = 17 WHERE {}", row(&store, &anna.account_id))).await;
        refused(auth.exchange(&annas.access_token, "consent").await, CORRUPT.0, CORRUPT.1);
        refused(auth.refresh(&annas).await, CORRUPT.0, CORRUPT.1);
        assert_eq!(auth.exchange(&berts.access_token, "consent").await.unwrap().roles, ["subject"]);
        auth.refresh(&berts).await.unwrap();
    }

    /// Whatever is changed in a session: it does not go on, and is not listed. The others do, and are; it can be ended.
    async fn forged_sessions_are_refused(database) {
        let auth = Auth::start(database).await;
        let (_, annas) = auth.person("anna@example.org").await;
        let other = auth.sign_in("anna@example.org").await;
        let (bert, berts) = auth.person("bert@example.org").await;
        let store = database.connect().await;
        keep(&store, SESSION).await;
        let hit = row(&store, &annas.session_id);
        let cell = |of: &pb::Session| {
            let of = row(&store, &of.session_id).replace("id =", "o.id =");
            format!("sealed_device_name = (SELECT o.sealed_device_name FROM session o WHERE {of})")
        };
        let bert = sql::id(&store, &bert.account_id);
        let mut changes: Vec<(String, Vec<Value>)> = Vec::new();
        for bytes in flipped(&store, "session", "sealed_device_name", &hit).await {
            changes.push(("sealed_device_name = $1".to_owned(), vec![bytes.into()]));
        }
        for change in [
            cell(&other),
            cell(&berts),
            "sealed_device_name = NULL".to_owned(),
            "device_name = 'Eve'".to_owned(),
            "row_digest = NULL".to_owned(),
            "refresh_expires_at = refresh_expires_at + 1".to_owned(),
            "access_expires_at = access_expires_at + 1".to_owned(),
            "last_used_at = last_used_at + 1".to_owned(),
            "created_at = created_at - 1".to_owned(),
            "remember_me = (1 = 1)".to_owned(),
            format!("account_id = {bert}"),
            format!("subject_id = {bert}"),
        ] {
            changes.push((change, Vec::new()));
        }
        for (change, values) in changes {
            let update = format!("UPDATE session SET {change} WHERE {hit}");
            assert_eq!(sql::run(&store, &update, values).await, 1, "{change}");
            refused(auth.exchange(&annas.access_token, "consent").await, CORRUPT.0, CORRUPT.1);
            refused(auth.refresh(&annas).await, CORRUPT.0, CORRUPT.1);
            let (listed, withheld) = auth.sessions_of(&other).await.unwrap();
            let moved = usize::from(change.starts_with("account_id"));
            assert_eq!((listed.len(), withheld), (1, 1 - moved), "{change}");
            assert_eq!(listed[0].session_id, other.session_id);
            assert!(auth.exchange(&berts.access_token, "consent").await.is_ok());
            restore(&store, SESSION).await;
            assert!(auth.exchange(&annas.access_token, "consent").await.is_ok(), "{change}");
        }

        tamper(&store, &format!("UPDATE session SET created_at = 0 WHERE {hit}")).await;
        let all = pb::RevokeAllSessionsRequest { account_id: other.account_id.clone(), ..Default::default() };
        let reply = auth.sessions().revoke_all_sessions(auth.by(&other, all).await).await.unwrap().into_inner();
        assert_eq!(reply.revoked_count, 2);
        refused(auth.refresh(&other).await, Code::Unauthenticated, "TOKEN_INVALID");
        tamper(&store, &format!("UPDATE session SET revoked_at = NULL WHERE {}", row(&store, &other.session_id))).await;
        for session in [&annas, &other] {
            refused(auth.exchange(&session.access_token, "consent").await, CORRUPT.0, CORRUPT.1);
        }
    }

    /// A token that was made to open another session, or to be fresh again, opens nothing.
    async fn forged_tokens_are_refused(database) {
        let auth = Auth::start(database).await;
        let (_, annas) = auth.person("anna@example.org").await;
        let (_, berts) = auth.person("bert@example.org").await;
        let next = auth.refresh(&annas).await.unwrap();
        auth.advance(11);
        let store = database.connect().await;
        keep(&store, TOKENS).await;
        let (of_anna, of_bert) = (sql::id(&store, &annas.session_id), sql::id(&store, &berts.session_id));
        for change in [
            format!("session_id = {of_anna} WHERE session_id = {of_bert}"),
            format!("access_expires_at = access_expires_at + 1 WHERE session_id = {of_bert}"),
            format!("refresh_expires_at = refresh_expires_at + 1 WHERE session_id = {of_bert}"),
            format!("issued_at = issued_at + 1 WHERE session_id = {of_bert}"),
            format!("row_digest = NULL WHERE session_id = {of_bert}"),
        ] {
            tamper(&store, &format!("UPDATE token_pair SET {change}")).await;
            refused(auth.exchange(&berts.access_token, "consent").await, CORRUPT.0, CORRUPT.1);
            refused(auth.refresh(&berts).await, CORRUPT.0, CORRUPT.1);
            assert!(auth.exchange(&next.access_token, "consent").await.is_ok());
            restore(&store, TOKENS).await;
            assert!(auth.exchange(&berts.access_token, "consent").await.is_ok(), "{change}");
        }
        tamper(&store, "UPDATE token_pair SET spent_at = NULL WHERE spent_at IS NOT NULL").await;
        refused(auth.refresh(&annas).await, CORRUPT.0, CORRUPT.1);
        assert!(auth.refresh(&next).await.is_ok());
    }

    /// A kept reply is bound to its request: another one's does not open in its place.
    async fn a_kept_reply_of_another_request_is_refused(database) {
        let auth = Auth::start(database).await;
        let request = |email: &str, id: &str| pb::CreateAccountRequest { request_id: id.to_owned(), ..new_account(email, PASSWORD) };
        let anna = request("anna@example.org", REQUEST);
        let bert = request("bert@example.org", "0198c3a4-7d1e-7cc3-98c4-dc0c0c073990");
        for request in [&anna, &bert] {
            auth.accounts().create_account(request.clone()).await.unwrap();
        }
        let store = database.connect().await;
        let other = |column| format!("{column} = (SELECT o.{column} FROM idempotency_key o WHERE o.request_id <> idempotency_key.request_id)");
        let of = format!("'{REQUEST}'");
        let changes = [other("sealed_reply"), other("subject_id")].join(", ");
        tamper(&store, &format!("UPDATE idempotency_key SET {changes} WHERE request_id = {of}")).await;
        refused(auth.accounts().create_account(anna).await, CORRUPT.0, CORRUPT.1);
        assert!(auth.accounts().create_account(bert).await.is_ok());
    }

    /// With the key goes everything that was sealed under it, on every replica. To whoever signs in it is as if the
    /// password were wrong. Nobody else loses anything.
    async fn what_is_about_an_erased_person_is_gone(database) {
        let auth = Auth::start(database).await;
        let request = pb::CreateAccountRequest { request_id: REQUEST.to_owned(), ..new_account(EMAIL, PASSWORD) };
        let anna = auth.accounts().create_account(request.clone()).await.unwrap().into_inner();
        let annas = auth.sign_in(EMAIL).await;
        let (bert, berts) = auth.person("bert@example.org").await;
        let operator = auth.operator().await;
        assert_eq!(auth.get(&operator, &anna.account_id).await.unwrap(), anna);
        let keys = auth.keys().await;
        keys.erase(subject(&anna.subject_id)).await.unwrap();

        let gone = async {
            while auth.get(&operator, &anna.account_id).await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), gone).await.unwrap();
        refused(auth.get(&operator, &anna.account_id).await, Code::NotFound, "SUBJECT_ERASED");
        refused(auth.sessions_of(&annas).await, Code::NotFound, "SUBJECT_ERASED");
        refused(auth.accounts().create_account(request).await, Code::NotFound, "SUBJECT_ERASED");
        refused(auth.refresh(&annas).await, Code::Unauthenticated, "TOKEN_INVALID");
        let right = auth.try_sign_in(EMAIL, PASSWORD).await.unwrap_err();
        let wrong = auth.try_sign_in(EMAIL, "wrong").await.unwrap_err();
        let nobody = auth.try_sign_in("nobody@example.org", PASSWORD).await.unwrap_err();
        for status in [&right, &wrong] {
            assert_eq!((status.code(), status.message(), status.details()), (nobody.code(), nobody.message(), nobody.details()));
        }
        let (listed, withheld) = auth.listed(&operator).await;
        assert_eq!((listed.len(), &listed[0], withheld), (2, &bert, 1));
        assert_eq!(auth.sessions_of(&berts).await.unwrap().0[0].device_name, DEVICE);
        auth.sign_in("bert@example.org").await;
        let auth = auth.restart().await;
        refused(auth.get(&operator, &anna.account_id).await, Code::NotFound, "SUBJECT_ERASED");
        keys.close().await;
    }
}

/// The row with this id.
fn row(store: &Database, id: &str) -> String {
    format!("id = {}", sql::id(store, id))
}
