//! The blind index of accounts: its keys by calls of an operator, and what is left of somebody who was erased.

use std::time::Duration;

use portal_auth::Upkeep;
use portal_proto::auth::v1::key_service_client::KeyServiceClient;
use portal_proto::common::v1 as pb;
use portal_store::Database;
use portal_testkit::each_database;
use portal_upkeep::erasure::ErasureError;
use portal_upkeep::migration::State;
use tonic::Code;

use crate::fixture::{Auth, PASSWORD, new_account, refused, subject};
use crate::moving::{ANNA, upgraded};
use crate::sql;

const REINDEX: &str = "d0002_reindex_accounts";
const FIRST: &str = "blind-index/account.email/1";
const BERT: &str = "bert@example.org";
const REQUEST: &str = "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f";

/// How many accounts have an index of this generation.
async fn of(store: &Database, generation: u32) -> i64 {
    sql::one(store, &format!("SELECT COUNT(*) FROM account WHERE email_index_generation = {generation}"))
        .await
}

/// Waits until so many accounts are indexed under a key, and the migration rests.
async fn indexed(upkeep: &Upkeep, store: &Database, generation: u32, accounts: i64) {
    let indexed = async {
        loop {
            let migration = upkeep.migrations.find(REINDEX).await.unwrap();
            if migration.record.state == State::Done && of(store, generation).await == accounts {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), indexed).await.unwrap();
}

each_database! {
    /// A key of the index is replaced and destroyed by calls; not while a row is still found by it.
    async fn its_keys_are_rotated_and_destroyed_by_calls(database) {
        let auth = Auth::start(database).await;
        let anna = auth.person(ANNA).await.1;
        let bert = auth.sign_up(BERT).await;
        let operator = auth.operator().await;
        let (store, upkeep) = (database.connect().await, auth.upkeep().await);
        let is_bert = format!("id = {}", sql::id(&store, &bert.account_id));
        // Whoever can't be read can't be indexed anew.
        assert_eq!(sql::run(&store, &format!("UPDATE account SET roles = 17 WHERE {is_bert}"), []).await, 1);

        let mut keys = KeyServiceClient::new(auth.channel());
        let rotate = pb::RotateKeysRequest {
            r#use: pb::KeyUse::BlindIndex.into(),
            request_id: REQUEST.to_owned(),
            ..Default::default()
        };
        for (key_use, column) in [(pb::KeyUse::BlindIndex, "account.phone"), (pb::KeyUse::Epoch, "account.email")] {
            let wrong = pb::RotateKeysRequest { r#use: key_use.into(), column: column.to_owned(), ..Default::default() };
            let wrong = auth.by(&operator, wrong).await;
            refused(keys.rotate_keys(wrong).await, Code::InvalidArgument, "INVALID_FIELD");
        }
        let first = keys.rotate_keys(auth.by(&operator, rotate.clone()).await).await.unwrap().into_inner();
        let (active, retired) = (first.active_key.clone().unwrap(), first.retired_key.clone().unwrap());
        assert_eq!((retired.key_id.as_str(), retired.state()), (FIRST, pb::KeyState::Retired));
        assert_eq!((active.key_id.as_str(), active.state()), ("blind-index/account.email/2", pb::KeyState::Active));
        assert_eq!(keys.rotate_keys(auth.by(&operator, rotate).await).await.unwrap().into_inner(), first);

        let destroy = async |id: &str| {
            let request = pb::DestroyKeyRequest { key_id: id.to_owned() };
            keys.clone().destroy_key(auth.by(&operator, request).await).await.map(|key| key.into_inner().state())
        };
        refused(destroy(&active.key_id).await, Code::FailedPrecondition, "KEY_NOT_RETIRED");
        refused(destroy("blind-index/account.email/9").await, Code::NotFound, "KEY_NOT_FOUND");
        refused(destroy("row-digest/1").await, Code::InvalidArgument, "INVALID_FIELD");
        indexed(&upkeep, &store, 2, 2).await;
        refused(destroy(FIRST).await, Code::FailedPrecondition, "KEY_IN_USE");
        upkeep.erasures().erase(subject(&bert.subject_id)).await.unwrap();
        assert_eq!(destroy(FIRST).await.unwrap(), pb::KeyState::Destroyed);
        assert_eq!(destroy(FIRST).await.unwrap(), pb::KeyState::Destroyed, "and stays so");
        auth.sign_in(ANNA).await;
        assert!(auth.refresh(&anna).await.is_ok());
        // What was corrupt is so still: losing the index has not given the row a digest that is right.
        let withheld = auth.listed(&operator).await.1;
        assert_eq!(withheld, 1);
        upkeep.keys.close().await;
    }

    /// Nobody finds somebody who was erased, also after a backup of the data was put back.
    async fn it_goes_with_its_person(database) {
        let auth = Auth::start(database).await;
        let bert = auth.sign_up(BERT).await;
        let (store, upkeep) = (database.connect().await, auth.upkeep().await);
        let taken = async || auth.accounts().create_account(new_account(BERT, PASSWORD)).await;
        refused(taken().await, Code::AlreadyExists, "EMAIL_TAKEN");
        sql::run(&store, "CREATE TABLE backup AS SELECT * FROM account", []).await;
        let erased = upkeep.erasures().erase(subject(&bert.subject_id)).await.unwrap();
        assert_eq!((erased.keys.statement.keys, erased.indexes, of(&store, 0).await), (1, 1, 1));
        assert_eq!(upkeep.erasures().erase(subject(&bert.subject_id)).await.unwrap().indexes, 0);
        let refusal = auth.try_sign_in(BERT, PASSWORD).await;
        refused(refusal, Code::Unauthenticated, "CREDENTIALS_REJECTED");

        sql::run(&store, "DELETE FROM account", []).await;
        sql::run(&store, "INSERT INTO account SELECT * FROM backup", []).await;
        assert_eq!(of(&store, 0).await, 0);
        let (replayed, indexes) = upkeep.erasures().replay().await.unwrap();
        assert_eq!((replayed.entries, indexes, of(&store, 0).await), (1, 1, 1));
        let again = taken().await.unwrap().into_inner();
        assert_ne!(again.subject_id, bert.subject_id, "the address is free, and its new owner is another person");
        auth.sign_in(BERT).await;
        upkeep.keys.close().await;
    }

    /// While rows have what is personal in the clear, nobody is erased: it would stay.
    async fn nobody_is_erased_before_the_commit(database) {
        let (auth, _) = upgraded(database).await;
        let upkeep = auth.upkeep().await;
        let bert = auth.sign_up(BERT).await;
        let refusal = upkeep.erasures().erase(subject(&bert.subject_id)).await;
        let Err(ErasureError::Unsealed { migration }) = refusal else { panic!("{refusal:?}") };
        assert_eq!(migration, "d0001_seal_personal_data");
        assert_eq!(upkeep.keys.shreds(0, 1).await.unwrap().len(), 0);
        auth.sign_in(BERT).await;
        upkeep.keys.close().await;
    }
}
