//! Rows that a process wrote late, or that can't be read, on both databases.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use portal_core::id::TenantId;
use portal_core::{SystemClock, SystemEntropy, Timestamp, Workload};
use portal_crypto::envelope::Scope;
use portal_crypto::kdf::ServiceSecret;
use portal_crypto::row_digest::RowDigestKey;
use portal_keys::{Ambient, KeysConfig};
use portal_store::sealed::{RowDigests, Sealing};
use portal_store::{Database, Metrics, migrate};
use portal_testkit::{TestDatabase, each_database};
use portal_upkeep::migration::Finality;
use sea_orm::prelude::Uuid;
use sea_orm::{ActiveModelTrait, ConnectionTrait, IntoActiveModel, QueryOrder, Statement};

use super::*;
use crate::domain::{DisplayName, Email, Profile};
use crate::store::Seals;

const ALL: Page = Page { after: None, limit: 100 };

/// The migration over a database with the accounts `1..=people`, each indexed under the first key.
struct World {
    database: Database,
    config: KeysConfig,
    reindex: Reindex,
}

async fn keys(config: &KeysConfig) -> Keys {
    let scope = Scope { service: Workload::Auth, tenant: TenantId::DEFAULT };
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    Keys::open(config, scope, Ambient { clock, entropy, metrics: portal_keys::Metrics::default() })
        .await
        .unwrap()
}

impl World {
    async fn with(database: &TestDatabase, people: u128) -> Self {
        let config = database.keys("auth").await;
        let database = database.connect().await;
        migrate::up::<crate::Migrations>(&database).await.unwrap();
        let reindex = Self::reindex(keys(&config).await);
        let mut world = Self { database, config, reindex };
        for number in 1..=people {
            world.add(number).await;
        }
        world.reindex.keys.rotate_index_key("account", "email").await.unwrap();
        world
    }

    fn reindex(keys: Keys) -> Reindex {
        let metrics = Metrics::default();
        let digests = RowDigests::new(RowDigestKey::new(&[9; 32]), &metrics);
        let seals = Seals::new(
            Sealing::new(Arc::new(SystemEntropy), &metrics),
            digests,
            "d0001",
            &Finality::not_kept(),
        );
        let emails = EmailIndexer::new(keys.clone(), &ServiceSecret::new(&[7; 32]));
        Reindex { accounts: Accounts::new(seals), emails, keys }
    }

    async fn add(&mut self, number: u128) {
        let id = Uuid::from_u128(number);
        let mut model = Model {
            id,
            subject_id: Uuid::from_u128(number + 100),
            email_index: Vec::new(),
            email: String::new(),
            display_name: String::new(),
            password_hash: String::new(),
            roles: 1,
            locked_until: None,
            revision: 1,
            sealed_revision: None,
            created_at: Timestamp::default().as_micros(),
            updated_at: 0,
            sealed_email: None,
            sealed_display_name: None,
            email_index_generation: None,
            row_digest: None,
        };
        let Reindex { accounts, emails, keys } = &self.reindex;
        let profile = Profile {
            email: Email::parse(&format!("{number}@example.org")).unwrap(),
            display_name: DisplayName::new("Anna".to_owned()),
        };
        let key = keys.subject_or_new(SubjectId::from_uuid(model.subject_id)).await.unwrap();
        accounts.write(&mut model, &profile, Mode::New, &key).unwrap();
        let index = emails.of(&profile.email).await.unwrap().written(Mode::New);
        Accounts::index(&mut model, index);
        accounts.seals.digests.stamp(&mut model).unwrap();
        let model = &model;
        let insert = |tx: Tx| async move {
            let row = model.clone().into_active_model().reset_all();
            Entity::insert(row).exec_without_returning(tx.conn()).await?;
            Ok::<_, StoreError>(())
        };
        self.database.run_tx("insert", insert).await.unwrap();
    }

    /// The generations of the accounts.
    async fn generations(&self) -> Vec<Option<i64>> {
        let read = |tx: ReadTx| async move {
            Ok::<_, StoreError>(Entity::find().order_by_asc(Column::Id).all(tx.conn()).await?)
        };
        let rows = self.database.read("rows", read).await.unwrap();
        rows.into_iter().map(|row| row.email_index_generation).collect()
    }

    async fn moved(&self) -> Batch {
        let page = |tx: Tx| async move { self.reindex.move_batch(&tx, &ALL).await };
        self.database.run_tx("move", page).await.unwrap()
    }

    async fn verified(&self) -> Batch {
        let page = |tx: Tx| async move { self.reindex.verify_batch(&tx, &ALL).await };
        self.database.run_tx("verify", page).await.unwrap()
    }
}

each_database! {
    /// What a process has written late, under the key before, is not left behind.
    async fn verifying_moves_who_came_late(database) {
        let world = World::with(database, 3).await;
        assert_eq!(world.verified().await, Batch { rows: 3, moved: 3, next: None });
        assert_eq!(world.generations().await, [Some(2); 3]);
        assert_eq!(world.verified().await, Batch { rows: 3, moved: 0, next: None });
        world.reindex.keys.close().await;
    }

    /// Somebody whose keys are lost, or switched off with their epoch, is left where they are; the others are moved, and
    /// only they count as done.
    async fn who_can_not_be_read_keeps_nobody(database) {
        let World { database, config, reindex } = World::with(database, 2).await;
        let epoch = reindex.keys.rotate_epoch().await.unwrap().retired;
        let mut world = World { database, config, reindex };
        world.add(3).await;
        world.add(4).await;
        world.reindex.keys.disable_epoch(epoch).await.unwrap();
        let store = Database::connect(&world.config.database, Arc::new(SystemEntropy), Metrics::default());
        let store = store.await.unwrap();
        let forget = |tx: Tx| async move {
            let backend = tx.conn().get_database_backend();
            let delete = "DELETE FROM subject_key WHERE subject_id = $1";
            let delete = Statement::from_sql_and_values(backend, delete, [Uuid::from_u128(103).into()]);
            Ok::<_, StoreError>(tx.conn().execute_raw(delete).await?.rows_affected())
        };
        assert_eq!(store.run_tx("lose", forget).await.unwrap(), 1);
        world.reindex.keys.rotate_index_key("account", "email").await.unwrap();
        world.reindex.keys.close().await;
        world.reindex = World::reindex(keys(&world.config).await);
        assert_eq!(world.moved().await.rows, 1);
        assert_eq!(world.generations().await, [Some(1), Some(1), Some(2), Some(3)]);
        assert_eq!(world.verified().await.moved, 0);
        world.reindex.keys.enable_epoch(epoch).await.unwrap();
        assert_eq!(world.moved().await.rows, 2);
        assert_eq!(world.generations().await, [Some(3), Some(3), Some(2), Some(3)]);
        world.reindex.keys.close().await;
    }
}
