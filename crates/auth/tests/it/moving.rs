//! An installation of before: its rows are sealed while it works, rolled back, sealed again, and committed.

use std::sync::Arc;
use std::time::Duration;

use portal_auth::{Migrations, Upkeep};
use portal_core::id::{Id, SubjectId};
use portal_core::{Sensitive, SystemEntropy};
use portal_crypto::kdf::{Label, ServiceSecret};
use portal_crypto::mac::MacKey;
use portal_crypto::password::{Cost, PasswordHasher};
use portal_proto::auth::v1 as pb;
use portal_store::{Database, Metrics, migrate};
use portal_testkit::{TestDatabase, TestMesh, each_database};
use portal_upkeep::migration::{Migration, Operation, State};
use sea_orm::Value;
use sea_orm_migration::{MigrationTrait, MigratorTrait};
use tonic::Code;
use uuid::Uuid;

use crate::fixture::{Auth, PASSWORD, config, new_account, refused, session_of, sign_in, subject};
use crate::revocations::{next, next_revocation, watch};
use crate::sql;

const SEAL: &str = "d0001_seal_personal_data";
const REINDEX: &str = "d0002_reindex_accounts";
pub const ANNA: &str = "anna@example.org";
const BERT: &str = "bert@example.org";
const CARL: &str = "carl@example.org";
const DORA: &str = "dora@example.org";
const REQUEST: &str = "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f";
const START: Operation = Operation::Start { max_rows_per_second: None };

/// The columns of an earlier version, and those that came.
const OLD: [(&str, &[&str]); 3] = [
    (
        "account",
        &[
            "id",
            "subject_id",
            "email_index",
            "email",
            "display_name",
            "password_hash",
            "roles",
            "locked_until",
            "revision",
            "created_at",
            "updated_at",
        ],
    ),
    (
        "session",
        &[
            "id",
            "account_id",
            "device_name",
            "remember_me",
            "created_at",
            "last_used_at",
            "access_expires_at",
            "refresh_expires_at",
            "revoked_at",
        ],
    ),
    (
        "token_pair",
        &[
            "refresh_hash",
            "access_hash",
            "session_id",
            "issued_at",
            "access_expires_at",
            "refresh_expires_at",
            "spent_at",
        ],
    ),
];
const NEW: [(&str, &[&str]); 3] = [
    (
        "account",
        &["sealed_email", "sealed_display_name", "email_index_generation", "sealed_revision", "row_digest"],
    ),
    ("session", &["subject_id", "sealed_device_name", "row_digest"]),
    ("token_pair", &["row_digest"]),
];

/// The schema of the first version.
struct Before;

impl MigratorTrait for Before {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        Migrations::migrations().into_iter().take(1).collect()
    }
}

/// What the first version writes for a person who signs up.
async fn signed_up_before(store: &Database, number: u128, email: &str) {
    let secret = ServiceSecret::new(&[0x5a; 32]);
    let index =
        MacKey::new(secret.derive(Label::BlindIndex).expose()).tag(format!("email\0{email}").as_bytes());
    let hasher = PasswordHasher::new(&secret, Cost::default());
    let hash = hasher.hash(&Sensitive::new(PASSWORD.as_bytes().to_vec()), &SystemEntropy).unwrap();
    let insert = "INSERT INTO account (id, subject_id, email_index, email, display_name, password_hash, roles, \
                  locked_until, revision, created_at, updated_at) \
                  VALUES ($1, $2, $3, $4, 'From before', $5, 1, NULL, 1, 1795305600000000, 1795305600000000)";
    let values = [
        Value::from(Uuid::from_u128(number)),
        Value::from(Uuid::from_u128(number + 100)),
        Value::from(index.to_vec()),
        Value::from(email),
        Value::from(hash.as_str()),
    ];
    assert_eq!(sql::run(store, insert, values).await, 1);
}

/// A service that finds an account of the first version, and so writes as that did.
pub async fn upgraded(database: &TestDatabase) -> (Auth, Database) {
    let store = database.connect().await;
    migrate::up::<Before>(&store).await.unwrap();
    signed_up_before(&store, 1, ANNA).await;
    let mesh = TestMesh::start().await;
    let mut config = config(&mesh, database).await;
    let secret = mesh.path("earlier.secret");
    std::fs::write(&secret, "5a".repeat(32)).unwrap();
    config.keys.import_service_secret_file = Some(secret);
    (Auth::with(mesh, config).await, store)
}

/// Lets the service do what an operator asks for.
async fn steer(upkeep: &Upkeep, operation: Operation, end: State) -> Migration {
    upkeep.migrations.apply(SEAL, operation).await.unwrap();
    until(upkeep, SEAL, end).await
}

async fn until(upkeep: &Upkeep, name: &str, end: State) -> Migration {
    let reached = async {
        loop {
            let migration = upkeep.migrations.find(name).await.unwrap();
            assert!(migration.record.state != State::Failed, "{:?}", migration.record.failure_reason);
            if migration.record.state == end {
                return migration;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reached).await.unwrap()
}

async fn count(store: &Database, rows: &str) -> i64 {
    sql::one(store, &format!("SELECT COUNT(*) FROM {rows}")).await
}

/// How many accounts and sessions have something in the clear, and how many have sealed cells.
async fn forms(store: &Database) -> [i64; 4] {
    [
        count(store, "account WHERE email <> '' OR display_name <> ''").await,
        count(store, "session WHERE device_name <> ''").await,
        count(store, "account WHERE sealed_email IS NOT NULL AND sealed_display_name IS NOT NULL").await,
        count(store, "session WHERE sealed_device_name IS NOT NULL").await,
    ]
}

async fn without_digest(store: &Database) -> i64 {
    let mut sum = 0;
    for (table, _) in OLD {
        sum += count(store, &format!("{table} WHERE row_digest IS NULL")).await;
    }
    sum
}

/// Every column of every row.
async fn raw(store: &Database) -> Vec<Vec<String>> {
    let mut tables = Vec::new();
    for ((table, old), (_, new)) in OLD.into_iter().zip(NEW) {
        tables.push(sql::rows(store, table, &[old, new].concat()).await);
    }
    tables
}

/// Everything that is replied to an operator and to `people`, in one text.
async fn replies(auth: &Auth, operator: &pb::Session, people: &[&pb::Session]) -> String {
    let (accounts, withheld) = auth.listed(operator).await;
    assert_eq!(withheld, 0);
    let mut text = String::new();
    for account in accounts {
        let pb::Account { email, display_name, roles, etag, account_id, .. } = &account;
        text += &format!("{email} {display_name} {roles:?} {etag} {account_id}\n");
        assert_eq!(auth.get(operator, account_id).await.unwrap(), account);
    }
    for person in people {
        let (sessions, withheld) = auth.sessions_of(person).await.unwrap();
        assert_eq!(withheld, 0);
        for session in sessions {
            text += &format!("{} {} {:?}\n", session.session_id, session.device_name, session.last_use_time);
        }
        assert!(auth.exchange(&person.access_token, "consent").await.is_ok());
    }
    text
}

/// An earlier version that is still running signs Dora up, changes Anna's name, signs her in and refreshes her session.
async fn an_earlier_version_writes(store: &Database, anna: &pb::Session) {
    signed_up_before(store, 2, DORA).await;
    let renamed = "UPDATE account SET display_name = 'Anna B', revision = revision + 1, updated_at = updated_at + 1 \
                   WHERE email = $1";
    assert_eq!(sql::run(store, renamed, [Value::from(ANNA)]).await, 1);
    let hit = format!("id = {}", sql::id(store, &anna.session_id));
    let copied = format!(
        "INSERT INTO session (id, account_id, device_name, remember_me, created_at, last_used_at, access_expires_at, \
         refresh_expires_at, revoked_at) SELECT $1, account_id, 'Her other laptop', remember_me, created_at, \
         last_used_at + 1, access_expires_at, refresh_expires_at, revoked_at FROM session WHERE {hit}"
    );
    assert_eq!(sql::run(store, &copied, [Value::from(Uuid::from_u128(3))]).await, 1);
    let used = format!("UPDATE session SET last_used_at = last_used_at + 2 WHERE {hit}");
    assert_eq!(sql::run(store, &used, []).await, 1);
    let spent = format!("UPDATE token_pair SET spent_at = 1 WHERE session_{hit}");
    assert_eq!(sql::run(store, &spent, []).await, 1);
}

each_database! {
    /// The same replies before, in between, after a way back, and after the commit, when nothing is in the clear. What an
    /// earlier version writes meanwhile counts.
    async fn an_earlier_installation_is_sealed(database) {
        let (auth, store) = upgraded(database).await;
        let bert = pb::CreateAccountRequest { request_id: REQUEST.to_owned(), ..new_account(BERT, PASSWORD) };
        auth.accounts().create_account(bert.clone()).await.unwrap();
        let (annas, berts) = (auth.sign_in(ANNA).await, auth.sign_in(BERT).await);
        let operator = auth.operator().await;
        let people = [&annas, &berts];
        assert_eq!(forms(&store).await, [3, 3, 0, 0]);
        for (table, new) in NEW {
            for column in new {
                assert_eq!(count(&store, &format!("{table} WHERE {column} IS NOT NULL")).await, 0, "{table} {column}");
            }
        }
        let before = replies(&auth, &operator, &people).await;
        assert!(before.contains(ANNA) && before.contains("From before") && before.contains("Anna's laptop"));
        let rows = raw(&store).await;

        let upkeep = auth.upkeep().await;
        let planned = upkeep.migrations.plan(SEAL, None).await.unwrap();
        assert_eq!(planned.progress.step_total, 9);
        let done = steer(&upkeep, START, State::Done).await;
        assert_eq!((done.progress.rows_total, done.progress.rows_done, done.progress.rows_verified), (9, 9, 9));
        assert_eq!((forms(&store).await, without_digest(&store).await), ([3, 3, 3, 3], 0));
        assert_eq!(replies(&auth, &operator, &people).await, before);

        steer(&upkeep, Operation::RollBack, State::RolledBack).await;
        assert_eq!(raw(&store).await, rows, "byte for byte");
        assert_eq!(replies(&auth, &operator, &people).await, before);

        steer(&upkeep, START, State::Done).await;
        let (_, carls) = auth.person(CARL).await;
        assert_eq!((forms(&store).await, without_digest(&store).await), ([4, 4, 4, 4], 0));
        an_earlier_version_writes(&store, &annas).await;
        assert_eq!((forms(&store).await, without_digest(&store).await), ([5, 5, 4, 4], 2));
        let people = [&annas, &berts, &carls];
        let before = replies(&auth, &operator, &people).await;
        assert!(before.contains(DORA) && before.contains("Anna B") && before.contains("Her other laptop"));

        let moved = upkeep.migrations.find(SEAL).await.unwrap().progress.rows_done;
        let done = steer(&upkeep, Operation::Verify, State::Done).await;
        assert_eq!(done.progress.rows_done, moved + 2, "those that lacked the new form have it");
        assert_eq!((forms(&store).await, without_digest(&store).await), ([5, 5, 5, 5], 0));
        assert_eq!(replies(&auth, &operator, &people).await, before);

        let done = steer(&upkeep, Operation::Commit, State::Done).await;
        assert!(done.record.committed);
        assert_eq!((forms(&store).await, without_digest(&store).await), ([0, 0, 5, 5], 0));
        assert_eq!(count(&store, "account WHERE email_index_generation IS NULL").await, 0);
        assert_eq!(replies(&auth, &operator, &people).await, before);
        assert!(upkeep.migrations.apply(SEAL, Operation::RollBack).await.is_err());
        upkeep.keys.close().await;

        let auth = auth.restart().await;
        assert_eq!(replies(&auth, &operator, &people).await, before);
        for email in [ANNA, BERT, CARL, DORA] {
            auth.sign_in(email).await;
            let taken = auth.accounts().create_account(new_account(email, PASSWORD)).await;
            refused(taken, Code::AlreadyExists, "EMAIL_TAKEN");
        }
        // Kept in the clear alone, before anything was sealed, it could be anybody's by now.
        refused(auth.accounts().create_account(bert).await, Code::DataLoss, "ROW_CORRUPT");
        auth.sign_up("emil@example.org").await;
        assert_eq!(forms(&store).await, [0, 0, 6, 9]);
        let forged = format!("UPDATE account SET email = 'eve@example.org' WHERE id = {}", sql::id(&store, &annas.account_id));
        assert_eq!(sql::run(&store, &forged, []).await, 1);
        refused(auth.get(&operator, &annas.account_id).await, Code::DataLoss, "ROW_CORRUPT");
    }

    /// The schema of before and that of now can be had from each other, and an account stays what it was.
    async fn the_schema_goes_back_and_forth(database) {
        let store = database.connect().await;
        migrate::up::<Before>(&store).await.unwrap();
        signed_up_before(&store, 1, ANNA).await;
        let before = sql::rows(&store, OLD[0].0, OLD[0].1).await;
        for _ in 0..2 {
            migrate::up::<Migrations>(&store).await.unwrap();
            for (table, new) in NEW {
                assert_eq!(count(&store, &format!("{table} WHERE {} IS NOT NULL", new[0])).await, 0);
            }
            migrate::down::<Migrations>(&store, 14).await.unwrap();
            // A connection of before may still know the columns of before.
            let row = &sql::query(&database.connect().await, "SELECT * FROM account").await[0];
            assert_eq!(row.column_names().len(), OLD[0].1.len());
        }
        assert_eq!(sql::rows(&store, OLD[0].0, OLD[0].1).await, before);
    }

    /// What an earlier version writes after the last look at it is found by the commit.
    async fn the_commit_takes_what_came_last(database) {
        let (auth, store) = upgraded(database).await;
        let (annas, operator) = (auth.sign_in(ANNA).await, auth.operator().await);
        let upkeep = auth.upkeep().await;
        steer(&upkeep, START, State::Done).await;
        let nameless = pb::CreateSessionRequest { device_name: String::new(), ..sign_in(ANNA, PASSWORD, false) };
        let nameless = session_of(auth.sessions().create_session(nameless).await.unwrap().into_inner());
        assert_eq!(without_digest(&store).await, 0);
        an_earlier_version_writes(&store, &annas).await;
        let used = format!("id = {}", sql::id(&store, &nameless.session_id));
        let used = format!("UPDATE session SET last_used_at = last_used_at + 3 WHERE {used}");
        assert_eq!(sql::run(&store, &used, []).await, 1);
        let people = [&annas, &nameless];
        let before = replies(&auth, &operator, &people).await;
        steer(&upkeep, Operation::Commit, State::Done).await;
        assert_eq!((forms(&store).await, without_digest(&store).await), ([0, 0, 3, 3], 0));
        assert_eq!(replies(&auth, &operator, &people).await, before);
        auth.sign_in(DORA).await;
        upkeep.keys.close().await;
    }

    /// Until the commit nothing but the text in the clear counts: a new form that somebody has changed is made again.
    async fn the_text_in_the_clear_counts(database) {
        let (auth, store) = upgraded(database).await;
        let (annas, operator) = (auth.sign_in(ANNA).await, auth.operator().await);
        let upkeep = auth.upkeep().await;
        steer(&upkeep, START, State::Done).await;
        let before = replies(&auth, &operator, &[&annas]).await;
        for change in [
            "account SET sealed_email = sealed_display_name",
            "account SET row_digest = NULL, sealed_display_name = NULL",
            "session SET sealed_device_name = NULL",
            "token_pair SET row_digest = access_hash",
        ] {
            assert_ne!(sql::run(&store, &format!("UPDATE {change}"), []).await, 0);
        }
        assert_eq!(replies(&auth, &operator, &[&annas]).await, before);
        steer(&upkeep, Operation::Verify, State::Done).await;
        steer(&upkeep, Operation::Commit, State::Done).await;
        assert_eq!((forms(&store).await, without_digest(&store).await), ([0, 0, 2, 2], 0));
        assert_eq!(replies(&auth, &operator, &[&annas]).await, before);
        upkeep.keys.close().await;
    }

    /// Somebody who is erased on the way keeps nobody from arriving, and nothing of theirs is left.
    async fn who_was_erased_is_not_sealed(database) {
        let (auth, store) = upgraded(database).await;
        auth.sign_in(ANNA).await;
        let (bert, berts) = auth.person(BERT).await;
        let operator = auth.operator().await;
        let upkeep = auth.upkeep().await;
        upkeep.keys.erase(SubjectId::from_uuid(Uuid::from_u128(101))).await.unwrap();
        steer(&upkeep, START, State::Done).await;
        upkeep.keys.erase(subject(&bert.subject_id)).await.unwrap();
        steer(&upkeep, Operation::Verify, State::Done).await;
        steer(&upkeep, Operation::Commit, State::Done).await;
        assert_eq!((forms(&store).await, without_digest(&store).await), ([0, 0, 1, 1], 0));
        assert_eq!(count(&store, "account WHERE email_index_generation = 0 AND LENGTH(email_index) = 16").await, 2);
        for email in [ANNA, BERT] {
            refused(auth.try_sign_in(email, PASSWORD).await, Code::Unauthenticated, "CREDENTIALS_REJECTED");
        }
        refused(auth.refresh(&berts).await, Code::Unauthenticated, "TOKEN_INVALID");
        refused(auth.get(&operator, &bert.account_id).await, Code::NotFound, "SUBJECT_ERASED");
        let (listed, withheld) = auth.listed(&operator).await;
        assert_eq!((listed.len(), withheld), (1, 2));
        assert!(auth.exchange(&operator.access_token, "consent").await.is_ok());
        upkeep.keys.close().await;
    }

    /// A key that was lost is not made anew: what it has sealed would never open again, not even with the key database put
    /// back. The migration fails until it is.
    async fn a_lost_key_stops_the_migration(database) {
        let (auth, _) = upgraded(database).await;
        auth.sign_in(ANNA).await;
        let upkeep = auth.upkeep().await;
        steer(&upkeep, START, State::Done).await;
        upkeep.keys.close().await;
        let config = database.keys("auth").await.database;
        let keys = Database::connect(&config, Arc::new(SystemEntropy), Metrics::default());
        let keys = keys.await.unwrap();
        sql::run(&keys, "CREATE TABLE lost AS SELECT * FROM subject_key", []).await;
        assert_eq!(sql::run(&keys, "DELETE FROM subject_key", []).await, 2);
        let auth = auth.restart().await;
        let upkeep = auth.upkeep().await;
        upkeep.migrations.apply(SEAL, Operation::Verify).await.unwrap();
        let failed = async {
            loop {
                let record = upkeep.migrations.find(SEAL).await.unwrap().record;
                if record.state == State::Failed {
                    return record;
                }
                assert_ne!(record.state, State::Done);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let failed = tokio::time::timeout(Duration::from_secs(60), failed).await.unwrap();
        assert_eq!(failed.failure_reason.as_deref(), Some("ROW_CORRUPT"));
        assert_eq!(sql::one::<i64>(&keys, "SELECT COUNT(*) FROM subject_key").await, 0);
        sql::run(&keys, "INSERT INTO subject_key SELECT * FROM lost", []).await;
        steer(&upkeep, START, State::Done).await;
        steer(&upkeep, Operation::Commit, State::Done).await;
        upkeep.keys.close().await;
    }

    /// A new key of the index takes over by itself: people are found before and after, and with the old key destroyed.
    /// An account that is corrupt does not keep the others.
    async fn a_new_key_of_the_index_takes_over(database) {
        let auth = Auth::start(database).await;
        for email in [ANNA, BERT, CARL] {
            auth.sign_up(email).await;
        }
        let operator = auth.operator().await;
        let (carl, dora) = (auth.sign_in(CARL).await, auth.person(DORA).await.1);
        let store = database.connect().await;
        let corrupt = format!("id = {}", sql::id(&store, &carl.account_id));
        assert_eq!(sql::run(&store, &format!("UPDATE account SET roles = 17 WHERE {corrupt}"), []).await, 1);
        let upkeep = auth.upkeep().await;
        upkeep.keys.erase(subject(&dora.subject_id)).await.unwrap();
        let made = upkeep.keys.rotate_index_key("account", "email").await.unwrap();
        assert_eq!(made, 2);
        auth.sign_in(ANNA).await;
        let of = |generation| format!("account WHERE email_index_generation = {generation}");
        let indexed = async {
            while count(&store, &of(2)).await < 3 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), indexed).await.unwrap();
        until(&upkeep, REINDEX, State::Done).await;
        let counts = [count(&store, &of(0)).await, count(&store, &of(1)).await, count(&store, &of(2)).await];
        assert_eq!(counts, [1, 1, 3]);

        upkeep.keys.destroy_index_key("account", "email", (1, 0)).await.unwrap();
        let auth = auth.restart().await;
        for email in [ANNA, BERT] {
            auth.sign_in(email).await;
            let taken = auth.accounts().create_account(new_account(email, PASSWORD)).await;
            refused(taken, Code::AlreadyExists, "EMAIL_TAKEN");
        }
        auth.try_sign_in(DORA, PASSWORD).await.unwrap_err();
        assert_eq!(auth.get(&operator, &operator.account_id).await.unwrap().roles, ["operator", "subject"]);
        upkeep.keys.close().await;
    }

    /// Revocations of an earlier version count before and after the commit; one that was changed after it is refused.
    async fn revocations_get_digests(database) {
        let (auth, store) = upgraded(database).await;
        let (annas, again) = (auth.sign_in(ANNA).await, auth.sign_in(ANNA).await);
        let end = |session: &pb::Session| pb::RevokeSessionRequest { session_id: session.session_id.clone(), ..Default::default() };
        let mut stream = watch(&auth.channel(), "").await.unwrap();
        let start = next(&mut stream).await.resume_token;
        auth.sessions().revoke_session(auth.by(&annas, end(&annas)).await).await.unwrap();
        assert_eq!(count(&store, "revocation WHERE row_digest IS NULL").await, 1);
        let upkeep = auth.upkeep().await;
        steer(&upkeep, START, State::Done).await;
        auth.sessions().revoke_session(auth.by(&again, end(&again)).await).await.unwrap();
        let before = sql::run(&store, "UPDATE revocation SET row_digest = NULL WHERE position = 1", []).await;
        assert_eq!((before, count(&store, "revocation WHERE row_digest IS NULL").await), (1, 1));
        steer(&upkeep, Operation::Verify, State::Done).await;
        steer(&upkeep, Operation::Commit, State::Done).await;
        assert_eq!(count(&store, "revocation WHERE row_digest IS NULL").await, 0);
        let mut stream = watch(&auth.channel(), &start).await.unwrap();
        for session in [&annas, &again] {
            let seen = next_revocation(&mut stream).await;
            assert_eq!(seen.target, Some(pb::revocation::Target::SessionId(session.session_id.clone())));
        }
        upkeep.keys.close().await;
    }
}
